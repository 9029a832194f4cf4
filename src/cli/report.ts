/** From an error to what the user sees, the JSON document, and the exit code. */
import { inspect } from 'node:util';
import { diskError, EXIT_CODES, ModeldlError } from '../errors.js';
import { redactDocument } from '../redact.js';
import { errorEvent, isEventOutput } from './event-output.js';
import type { Output } from './output.js';

/** The `error` object of a JSON document. */
export function describeError(error: ModeldlError, secrets: Iterable<string>): object {
  const { code, exitCode, message, hint, details } = error;
  const facts = redactDocument({ message, ...(hint === undefined ? {} : { hint }), ...details }, secrets);
  return { code, exitCode, ...(facts as object) };
}

/** Anything that is not a ModeldlError is a bug, but for a disk that failed, which any call may meet. */
export function asModeldlError(thrown: unknown): ModeldlError {
  const error = asDiskError(thrown);
  if (error instanceof ModeldlError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ModeldlError('INTERNAL', `Unexpected: ${message}`, {
    hint: 'this is a bug in modeldl: please report it with the output of `--verbose`',
    cause: error,
  });
}

function asDiskError(error: unknown): unknown {
  if (!(error instanceof Error) || !('path' in error) || typeof error.path !== 'string') return error;
  return diskError(error, error.path);
}

/**
 * Prints errors (the first decides the JSON `error`) with results that came about all the same; returns the exit code.
 * @param beside what else the document has, and how many succeeded where that is not the number of models
 */
export function reportErrors(
  output: Output,
  errors: readonly ModeldlError[],
  models: readonly object[],
  verbose: number,
  beside: { readonly succeeded?: number; readonly more?: object } = {},
): number {
  const [first] = errors;
  if (first === undefined) return 0;
  const exitCode = exitCodeOf(errors, beside.succeeded ?? models.length);
  const events = isEventOutput(output);
  if (events) for (const error of errors) output.emit(errorEvent(error));
  if (output.json) {
    const described = errors.map((error) => describeError(error, output.secrets));
    output.result([], { ok: false, error: described[0], errors: described, models, ...beside.more });
    return exitCode;
  }
  if (events) return exitCode;
  for (const error of errors) {
    const reference = error.details.reference;
    const about = reference === undefined || error.message.includes(reference) ? '' : ` (${reference})`;
    const more = error.hint === undefined ? [] : [`hint: ${error.hint}`];
    const page = error.details.url;
    if (page !== undefined && page !== reference && !error.message.includes(page)) more.push(`see: ${page}`);
    if (verbose > 0 && error.cause !== undefined) more.push(...inspect(error.cause).split('\n'));
    output.fail(`${error.message}${about}`, more);
  }
  return exitCode;
}

/** One failure, or all alike: its code. Several different ones, or some that succeeded: PARTIAL. */
function exitCodeOf(errors: readonly ModeldlError[], succeeded: number): number {
  const codes = new Set(errors.map((error) => error.exitCode));
  const [only] = codes;
  return codes.size === 1 && only !== undefined && succeeded === 0 ? only : EXIT_CODES.PARTIAL;
}

/** Talk as events: with `--progress json` every line on stderr is one, errors, warnings and notes included. */
import type { ModeldlError } from '../errors.js';
import type { Emit, ModeldlEvent } from '../events.js';
import { redactDocument } from '../redact.js';
import { jsonText, type Output } from './output.js';

export interface EventOutput extends Output {
  readonly emit: Emit;
}

export function isEventOutput(output: Output): output is EventOutput {
  return 'emit' in output;
}

/** Writes every event as a line of JSON. */
export function eventWriter({ stderr, secrets }: Pick<Output, 'stderr' | 'secrets'>): Emit {
  return (event) => {
    stderr.write(`${jsonText(redactDocument(event, secrets))}\n`);
  };
}

/** The same output, whose talk is events. */
export function asEventOutput(output: Output): EventOutput {
  const emit = eventWriter(output);
  return {
    ...output,
    emit,
    note(message) {
      if (!output.quiet) emit({ type: 'note', message });
    },
    warn(message) {
      emit({ type: 'warning', message });
    },
  };
}

/** An error as an event, with the fields of the JSON document's `error`. */
export function errorEvent({ code, exitCode, message, hint, details }: ModeldlError): ModeldlEvent {
  return { ...details, type: 'error', code, exitCode, message, ...(hint === undefined ? {} : { hint }) };
}

/** How the program refuses: in words for people, and as one JSON document for scripts. */
import { expect } from 'vitest';
import { EXIT_CODES, ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { Run, World } from './program.js';

export interface Refusal {
  readonly code: ErrorCode;
  /** What happened, with the model, file or address it happened to. */
  readonly message: string | RegExp;
  /** What to do next. */
  readonly hint: string | RegExp;
  readonly environment?: Readonly<Record<string, string>>;
  /** Must appear nowhere. */
  readonly secret?: string;
}

/** The document that a refused run prints with `--json`, as far as it is fixed by contract. */
export interface RefusalDocument {
  readonly ok: false;
  readonly error: {
    readonly code: string;
    readonly exitCode: number;
    readonly message: string;
    readonly hint?: string;
    readonly reference?: string;
    readonly url?: string;
    readonly file?: string;
    readonly [fact: string]: unknown;
  };
  readonly errors: readonly object[];
  readonly models: readonly object[];
}

/**
 * Runs the command twice, without and with `--json`, and expects the same refusal: the exit code of the error, nothing
 * but the document on stdout, message and hint in both, and never a stack trace.
 */
export async function expectRefusal(
  world: World,
  args: readonly string[],
  expected: Refusal,
): Promise<RefusalDocument> {
  const environment = expected.environment ?? {};
  const text = await world.runWith(environment, ...args);
  const json = await world.runWith(environment, ...args, '--json');
  expectRefusedInText(text, expected);
  return expectRefusedInJson(json, expected);
}

export function expectRefusedInText(run: Run, expected: Refusal): void {
  expectQuietAbout(run, expected);
  expect(run.stdout).toBe('');
  expect(run.stderr).toMatch(/^error: /m);
  expect(run.stderr).toMatch(expected.message);
  expect(run.stderr).toMatch(expected.hint);
  expect(run.exitCode, run.stderr).toBe(EXIT_CODES[expected.code]);
}

export function expectRefusedInJson(run: Run, expected: Refusal): RefusalDocument {
  expectQuietAbout(run, expected);
  expect(run.exitCode, run.stderr).toBe(EXIT_CODES[expected.code]);
  const document = JSON.parse(run.stdout) as RefusalDocument;
  expect(document).toMatchObject({
    ok: false,
    error: {
      code: expected.code,
      exitCode: EXIT_CODES[expected.code],
      message: expect.stringMatching(expected.message) as unknown,
      hint: expect.stringMatching(expected.hint) as unknown,
    },
    models: [],
  });
  expect(document.errors[0]).toEqual(document.error);
  return document;
}

function expectQuietAbout({ stdout, stderr }: Run, { secret }: Refusal): void {
  const said = `${stdout}\n${stderr}`;
  expect(said).not.toMatch(/^\s+at .+:\d+:\d+/m);
  if (secret !== undefined) expect(said).not.toContain(secret);
}

/** What work is refused with; anything else than a refusal fails the test. */
export async function rejected(work: Promise<unknown>): Promise<ModeldlError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ModeldlError) return error;
  throw new Error(`Expected a ModeldlError, got ${String(error)}`, { cause: error });
}

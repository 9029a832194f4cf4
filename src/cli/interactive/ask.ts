/** One question: how it is left, what it is drawn on, and that the terminal is as it was afterwards. */
import type { Key } from 'node:readline';
import { ModeldlError } from '../../errors.js';
import type { CliEnvironment } from '../command.js';
import { openScreen } from './screen.js';

export interface Streams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** The cause of the error of a question that was left by Escape. */
const ESCAPE = 'Escape';

/** Was a question left by Escape, so that the questions before it may be asked again? */
export function isLeft(error: unknown): boolean {
  return error instanceof ModeldlError && error.cause === ESCAPE;
}

/**
 * Asks one question.
 * @throws ModeldlError INTERRUPTED when it is left by Escape or Ctrl-C, or when the input ends
 */
export async function ask<Answer>(
  cli: CliEnvironment,
  question: (streams: Streams) => Promise<Answer>,
): Promise<Answer> {
  const { stdin } = cli;
  const left = new AbortController();
  const screen = openScreen(cli.stderr, cli.colors ?? true);
  let pressed: Key = {};
  let isOver = false;
  const onKey = (_text: unknown, key: Key = {}): void => {
    pressed = key;
    if (key.name === 'escape') left.abort(new ModeldlError('INTERRUPTED', 'Interrupted', { cause: ESCAPE }));
  };
  const onEnd = (): void => {
    left.abort(
      new ModeldlError('INTERRUPTED', 'The input ended before the question was answered', {
        hint: 'with `--no-input` the command says what it has to be told',
      }),
    );
  };
  // Ctrl-D ends the reading of a line, which no prompt listens to. After Ctrl-Z and `fg` the line is only paused.
  const onPause = (): void => {
    if (pressed.ctrl === true && pressed.name === 'd') onEnd();
    setImmediate(() => {
      if (!isOver) stdin.resume();
    });
  };
  const listeners = [
    ['keypress', onKey],
    ['pause', onPause],
    ...(['end', 'close', 'error'] as const).map((event) => [event, onEnd] as const),
  ] as const;
  for (const [event, listener] of listeners) stdin.on(event, listener);
  try {
    return await question({
      input: stdin,
      output: screen.stream,
      signal: AbortSignal.any([cli.signal, left.signal]),
    });
  } catch (error) {
    if (cli.signal.aborted || !left.signal.aborted) throw error;
    throw left.signal.reason;
  } finally {
    isOver = true;
    for (const [event, listener] of listeners) stdin.off(event, listener);
    screen.close();
  }
}

/** Letting others have a turn during a long row of synchronous file system calls. */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Timers, signals and sockets wait no longer than this and one call, milliseconds. */
const TURN_MS = 20;

/**
 * For loops over many files. A synchronous call on a local file takes a few microseconds, an asynchronous one through
 * the thread pool of Node.js fifty and more; where a call takes long, as on a network, this keeps the rest alive.
 *
 * @returns to be awaited once per file: a promise when it is time, mostly nothing
 */
export function createTurns(): () => Promise<void> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < TURN_MS) return undefined;
    return nextTurn().then(() => {
      since = performance.now();
    });
  };
}

/** Giving work some time. */
import { setMaxListeners } from 'node:events';
import { abortError, type ModeldlError } from './errors.js';

/** Node.js' timers end at once when they are set to more. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * Runs `work` with a signal that is aborted when its time is over or `stop` is. What does not listen to it is not waited
 * for, as a dead network disk does not.
 * @throws ModeldlError what `late` makes, when it did not end in time
 */
export async function within<Result>(
  stop: AbortSignal,
  limitMs: number,
  late: () => ModeldlError,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const limit = new AbortController();
  const timer = setTimeout(
    () => {
      limit.abort(late());
    },
    Math.min(limitMs, LONGEST_MS),
  );
  const signal = AbortSignal.any([stop, limit.signal]);
  // Every request in flight listens to it.
  setMaxListeners(0, signal);
  let onAbort = (): void => undefined;
  const over = new Promise<never>((_resolve, reject) => {
    onAbort = () => {
      reject(abortError(signal));
    };
  });
  signal.addEventListener('abort', onAbort);
  try {
    return await Promise.race([work(signal), over]);
  } finally {
    clearTimeout(timer);
    // A signal of several that is listened to is kept for good.
    signal.removeEventListener('abort', onAbort);
  }
}

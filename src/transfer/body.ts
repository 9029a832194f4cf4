/** Reading a response body: chunk by chunk, with a bound on silence, and without ever holding more than a few MiB. */
import type { Readable } from 'node:stream';
import { abortError, ModeldlError } from '../errors.js';

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Silence longer than this ends the reading, milliseconds. Our own pauses do not count. */
  readonly idleTimeoutMs: number;
  /** Takes a chunk; a promise pauses the body until it is done. */
  onChunk(chunk: Buffer): Promise<void> | undefined;
}

/** How often silence is looked for, milliseconds; more often when less of it is allowed. */
const WATCH_MS = 1000;

/** A body that broke off: reset, truncated or silent. The bytes before are good. */
export class BrokenBody extends Error {
  override readonly name = 'BrokenBody';
}

/**
 * Reads to the end.
 * @throws BrokenBody when the connection ended early or fell silent, INTERRUPTED, and what `onChunk` throws
 */
export function readBody(body: Readable, options: ReadOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let lastByteAt = performance.now();
    let paused = false;
    let settled = false;
    const settle = (error?: Error): void => {
      if (settled) return;
      settled = true;
      clearInterval(watchdog);
      options.signal.removeEventListener('abort', onAbort);
      if (error === undefined) {
        resolve();
        return;
      }
      body.destroy();
      reject(error);
    };
    const onAbort = (): void => {
      settle(abortError(options.signal));
    };
    const watchdog = setInterval(
      () => {
        if (paused || performance.now() - lastByteAt < options.idleTimeoutMs) return;
        settle(new BrokenBody(`no byte for ${Math.round(options.idleTimeoutMs / 1000)} s`));
      },
      Math.min(WATCH_MS, options.idleTimeoutMs),
    );
    options.signal.addEventListener('abort', onAbort, { once: true });
    if (options.signal.aborted) onAbort();
    // What broke before anybody listened says nothing any more.
    else if (body.destroyed && !body.readableEnded) settle(new BrokenBody('the connection ended early'));
    body.on('data', (chunk: Buffer) => {
      if (settled) return;
      lastByteAt = performance.now();
      let busy: Promise<void> | undefined;
      try {
        busy = options.onChunk(chunk);
      } catch (error) {
        settle(error as Error);
        return;
      }
      if (busy === undefined) return;
      paused = true;
      body.pause();
      busy.then(() => {
        paused = false;
        lastByteAt = performance.now();
        body.resume();
      }, settle);
    });
    body.once('end', () => {
      settle();
    });
    body.once('error', (error) => {
      settle(error instanceof ModeldlError ? error : new BrokenBody(error.message, { cause: error }));
    });
    body.once('close', () => {
      settle(new BrokenBody('the connection ended early'));
    });
  });
}

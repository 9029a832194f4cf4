/** Reading a response body: with a bound on silence, and without ever holding more than a few MiB. */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { abortError, ModeldlError, systemErrorCode } from '../errors.js';
import { divert, type DirectBody } from './direct.js';
import { reasonOf } from './network-error.js';
import { createSlabs, type SlabPool } from './slabs.js';

export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Silence longer than this ends the reading, milliseconds. Our own pauses do not count. */
  readonly idleTimeoutMs: number;
  /** Takes a chunk; a promise pauses the body until it is done. */
  onChunk(chunk: Buffer): Promise<void> | undefined;
}

/** A connection that brings less over the time that silence may last is as good as silent. */
export const LEAST_BYTES_PER_SECOND = 256;
/** How often silence is looked for, milliseconds; more often when less of it is allowed. */
const WATCH_MS = 1000;

/** A body that broke off: reset, truncated, silent or only dripping. The bytes before are good. */
export class BrokenBody extends Error {
  override readonly name = 'BrokenBody';
}

interface Watch {
  /** So many bytes came, or with 0 a pause of ours is over. */
  readonly heard: (bytes: number) => void;
  /** Only the first call counts. */
  readonly settle: (error?: unknown) => void;
}

/** Ends a reading at silence and at abortion; `onSettled` is called once. */
function watchOver(
  { signal, idleTimeoutMs }: Omit<ReadOptions, 'onChunk'>,
  isPaused: () => boolean,
  onSettled: (error: Error | undefined) => void,
): Watch {
  let heardAt = performance.now();
  let window = { since: heardAt, bytes: 0 };
  let settled = false;
  const settle = (error?: unknown): void => {
    if (settled) return;
    settled = true;
    clearInterval(timer);
    signal.removeEventListener('abort', onAbort);
    onSettled(
      error === undefined || error instanceof Error ? error : new Error('reading failed', { cause: error }),
    );
  };
  const onAbort = (): void => {
    settle(abortError(signal));
  };
  const look = (): void => {
    const now = performance.now();
    if (isPaused()) {
      heardAt = now;
      window = { since: now, bytes: 0 };
      return;
    }
    const seconds = Math.round(idleTimeoutMs / 1000);
    if (now - heardAt >= idleTimeoutMs) settle(new BrokenBody(`no byte for ${seconds} s`));
    if (now - window.since < idleTimeoutMs) return;
    if (window.bytes < (idleTimeoutMs / 1000) * LEAST_BYTES_PER_SECOND)
      settle(new BrokenBody(`only ${window.bytes} bytes in ${seconds} s`));
    window = { since: now, bytes: 0 };
  };
  const timer = setInterval(look, Math.min(WATCH_MS, idleTimeoutMs));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return {
    heard: (bytes) => {
      heardAt = performance.now();
      window.bytes += bytes;
    },
    settle,
  };
}

function breakOf(error: Error): Error {
  if (error instanceof ModeldlError) return error;
  // Node.js calls a connection that ends before its answer does `aborted`, as if the user had.
  return new BrokenBody(reasonOf(systemErrorCode(error)) ?? error.message, { cause: error });
}

/**
 * Reads to the end, chunk by chunk as they come.
 * @throws BrokenBody when the connection ended early or fell silent, INTERRUPTED, and what `onChunk` throws
 */
export function readBody(body: Readable, options: ReadOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    let paused = false;
    let ended = false;
    let over = false;
    const watch = watchOver(
      options,
      () => paused,
      (error) => {
        over = true;
        if (error === undefined) {
          resolve();
          return;
        }
        body.destroy();
        reject(error);
      },
    );
    // What broke before anybody listened says nothing any more.
    if (body.destroyed || body.readableEnded) watch.settle(new BrokenBody('the connection ended early'));
    body.on('data', (chunk: Buffer) => {
      if (over) return;
      watch.heard(chunk.length);
      let busy: Promise<void> | undefined;
      try {
        busy = options.onChunk(chunk);
      } catch (error) {
        watch.settle(error);
        return;
      }
      if (busy === undefined) return;
      paused = true;
      body.pause();
      busy.then(() => {
        paused = false;
        watch.heard(0);
        // A stream may end while it is paused.
        if (ended) watch.settle();
        else body.resume();
      }, watch.settle);
    });
    body.once('end', () => {
      ended = true;
      if (!paused) watch.settle();
    });
    body.once('error', (error) => {
      watch.settle(breakOf(error));
    });
    body.once('close', () => {
      if (!ended) watch.settle(new BrokenBody('the connection ended early'));
    });
  });
}

/**
 * Reads to the end in pieces of up to `slabBytes`, whose memory belongs to the reader again when `onChunk`'s promise
 * resolves. Several may be with `onChunk` at a time; they come in order.
 *
 * @throws BrokenBody after what came before the break was handed out; otherwise as {@link readBody}
 */
export async function readBodyInSlabs(
  message: IncomingMessage,
  options: ReadOptions & { readonly pool: SlabPool },
): Promise<void> {
  let direct: DirectBody | undefined;
  let fail: (error: unknown) => void = () => undefined;
  const slabs = createSlabs({
    pool: options.pool,
    onChunk: (chunk) => options.onChunk(chunk),
    onFree: () => direct?.resume(),
    onError: (error) => {
      fail(error);
    },
  });
  try {
    await new Promise<void>((resolve, reject) => {
      const watch = watchOver(
        options,
        () => !slabs.hasSpace(),
        (error) => {
          if (error === undefined) {
            resolve();
            return;
          }
          direct?.destroy();
          message.destroy();
          reject(error);
        },
      );
      fail = watch.settle;
      // What broke before anybody listened says nothing any more.
      if (message.destroyed && !message.readableEnded) {
        watch.settle(new BrokenBody('the connection ended early'));
        return;
      }
      direct = divert(message, {
        slabs,
        onBytes: watch.heard,
        onEnd: () => {
          watch.settle();
          direct?.release();
        },
        onError: watch.settle,
      });
      if (direct === undefined) {
        const onChunk = (chunk: Buffer): Promise<void> | undefined => {
          watch.heard(chunk.length);
          return slabs.put(chunk)?.then(() => {
            watch.heard(0);
          });
        };
        readBody(message, { ...options, onChunk }).then(() => {
          watch.settle();
        }, watch.settle);
        return;
      }
      message.once('error', (error) => {
        watch.settle(breakOf(error));
      });
      message.once('close', () => {
        watch.settle(new BrokenBody('the connection ended early'));
      });
    });
  } catch (error) {
    if (error instanceof BrokenBody) await slabs.finish();
    else slabs.close();
    throw error;
  }
  await slabs.finish();
}

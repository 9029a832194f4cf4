/**
 * A file that is put together from chunks, several connections at once: written where they belong, hashed in order, and
 * vouched for by a journal. Bytes that arrive in order are hashed in memory; what came ahead of them is read back when
 * its turn comes.
 */
import type { FileHandle } from 'node:fs/promises';
import type { Digest } from '../hub.js';
import { createHasher, type Hasher } from './digest.js';
import { createRanges, type Range, type Ranges } from './ranges.js';
import type { FileVersion } from './response.js';

/** Writes down which ranges are in the file, and which of them on the disk. */
export type WriteJournal = (
  written: readonly Range[],
  flushed: readonly Range[],
  source: FileVersion | undefined,
) => Promise<void>;

export interface AssemblyOptions {
  readonly handle: FileHandle;
  /** What an earlier run left, hashed as far as it reaches without a gap. */
  readonly ranges: readonly Range[];
  readonly hasher: Hasher;
  readonly source: FileVersion | undefined;
  readonly journal: WriteJournal | undefined;
  /** Flush before the journal names a range. */
  readonly durable: boolean;
  onProgress(receivedBytes: number): void;
}

export interface Assembly {
  /** Bytes that are in the file or on their way into it. */
  readonly received: Ranges;
  /** Of the answer that the first byte came from. */
  source: FileVersion | undefined;
  /** Do its bytes come from more than one answer, or from another run? */
  readonly isPieced: boolean;
  /** How often it started over. */
  readonly restarts: number;
  /** Takes a chunk for the offset `at`, whose memory is needed until the promise resolves. */
  write(chunk: Buffer, at: number): Promise<void>;
  /** Drops everything: the bytes at hand belong to another version of the file. Nobody may be writing. */
  restart(size: number | undefined, digest: Digest | undefined): Promise<void>;
  /** Waits until all is written and hashed and, with a journal, vouched for. Returns the hasher. */
  finish(): Promise<Hasher>;
  /** The same after a failure, as far as that is possible. */
  abandon(): Promise<void>;
}

/** The journal is written this often, bytes: so much is fetched twice at most after a kill. */
const JOURNAL_BYTES = 16 * 1024 * 1024;
/**
 * Without `durable`, data is flushed in the background this often, milliseconds, so that a power cut loses no more. What
 * took less time than this costs less to fetch again than to flush.
 */
const FLUSH_MS = 30_000;
const READ_BACK_BYTES = 1024 * 1024;

export function createAssembly(options: AssemblyOptions): Assembly {
  const { handle, journal } = options;
  const received = createRanges(options.ranges);
  const written = createRanges(options.ranges);
  let flushed: readonly Range[] = options.durable ? options.ranges : [];
  let hasher = options.hasher;
  /** Everything before this offset is hashed. */
  let hashed = received.endOf(0);
  let unjournaled = 0;
  let isPieced = options.ranges.length > 0;
  let restarts = 0;
  let flushedAt = performance.now();
  let flushing: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  /** Made when it is needed, which with one connection it never is. */
  let readBackBuffer: Buffer | undefined;
  /** One write after the other: several at once would only wait for each other in the kernel, on threads of the pool. */
  let writing = Promise.resolve();

  const assembly: Assembly = {
    received,
    source: options.source,
    get isPieced() {
      return isPieced;
    },
    get restarts() {
      return restarts;
    },
    write(chunk, at) {
      if (at !== received.endOf(0)) isPieced = true;
      received.add(at, at + chunk.length);
      hashInMemory(chunk, at);
      options.onProgress(received.total());
      writing = writing.then(() => store(chunk, at));
      // Whoever writes, finishes or abandons meets the failure; until then it is nobody's.
      writing.catch(() => undefined);
      return writing;
    },
    async restart(size, digest) {
      await settled();
      received.clear();
      written.clear();
      assembly.source = undefined;
      isPieced = false;
      restarts += 1;
      hasher = createHasher(digest, size);
      hashed = 0;
      unjournaled = 0;
      flushed = [];
      await handle.truncate(0);
      await record();
      options.onProgress(0);
    },
    async finish() {
      await settled();
      await record();
      return hasher;
    },
    async abandon() {
      // The failure that led here says more than another one now, such as a claim that was lost.
      await writing.catch(() => undefined);
      await following?.catch(() => undefined);
      await flushing;
      await record().catch(() => undefined);
    },
  };

  function hashInMemory(chunk: Buffer, at: number): void {
    if (at !== hashed) return;
    hasher.update(chunk);
    hashed += chunk.length;
  }

  async function settled(): Promise<void> {
    await writing;
    while (written.endOf(hashed) > hashed) await follow();
    await flushing;
  }

  async function record(): Promise<void> {
    await journal?.(written.list(), flushed, assembly.source);
  }

  async function store(chunk: Buffer, at: number): Promise<void> {
    await writeAll(handle, chunk, at);
    written.add(at, at + chunk.length);
    // What lacked before it may have been hashed meanwhile.
    hashInMemory(chunk, at);
    // A failure is met again at the end, which follows the rest of the way.
    follow().catch(() => undefined);
    unjournaled += chunk.length;
    if (journal === undefined || unjournaled < JOURNAL_BYTES) return;
    unjournaled = 0;
    if (options.durable) {
      const safe = written.list();
      await handle.datasync();
      flushed = safe;
    } else if (flushing === undefined && performance.now() - flushedAt >= FLUSH_MS) {
      flushing = flushInBackground(written.list());
    }
    await record();
  }

  /** A failure is met again by the next write, or costs a later run more than it could have kept. */
  async function flushInBackground(safe: readonly Range[]): Promise<void> {
    try {
      await handle.datasync();
      flushed = safe;
    } catch {
      // What is not known to be flushed is not named as such.
    }
    flushedAt = performance.now();
    flushing = undefined;
  }

  /** Hashes what is in the file behind the hashed bytes, until something lacks. */
  function follow(): Promise<void> {
    if (written.endOf(hashed) === hashed) return Promise.resolve();
    following ??= readBack().finally(() => (following = undefined));
    return following;
  }

  async function readBack(): Promise<void> {
    const buffer = (readBackBuffer ??= Buffer.allocUnsafeSlow(READ_BACK_BYTES));
    for (let end = written.endOf(hashed); hashed < end; end = written.endOf(hashed)) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, end - hashed), hashed);
      if (bytesRead === 0) throw new Error(`Expected bytes at ${hashed}, the file ends there`);
      hasher.update(buffer.subarray(0, bytesRead));
      hashed += bytesRead;
    }
  }

  return assembly;
}

/** Writes a chunk whole. Throws file system errors. */
export async function writeAll(handle: FileHandle, chunk: Buffer, at: number): Promise<void> {
  // A short write says nothing; the next one fails with the reason (mostly ENOSPC).
  for (let done = 0; done < chunk.length;) {
    done += (await handle.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
  }
}

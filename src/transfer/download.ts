/** Downloads: bytes from an address into a file, hashed on the way, resumed where that is possible. */
import { createReadStream } from 'node:fs';
import { open, rm, stat, type FileHandle } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { diskError, ModeldlError, systemErrorCode, throwIfAborted } from '../errors.js';
import type { Digest } from '../hub.js';
import { redactUrl } from '../redact.js';
import { BrokenBody, readBody } from './body.js';
import { createHasher, type Hasher } from './digest.js';
import type { HttpClient, HttpResponse } from './http.js';
import { backoff } from './limits.js';
import { openPartial } from './partial.js';
import {
  checkRange,
  isOtherVersion,
  rangeCondition,
  statusError,
  versionOf,
  type FileVersion,
} from './response.js';

export interface DownloadRequest {
  /** For messages: path of the file within its model. */
  readonly label: string;
  readonly url: string;
  /** Bytes, as upstream promised. */
  readonly size?: number;
  readonly digest?: Digest;
  /** More than this is refused while it arrives, bytes. */
  readonly maxBytes?: number;
}

export interface Downloaded {
  /** The complete, verified file. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Bytes that came over the network in this run. */
  readonly fetchedBytes: number;
}

export interface DownloadOptions {
  readonly signal: AbortSignal;
  readonly bootId: string;
  /** Flush before the journal names a range. */
  readonly durable: boolean;
  onStart(resumedBytes: number, size: number | undefined): void;
  onProgress(receivedBytes: number): void;
  /** Throws when another process took over. */
  assertOwned(): Promise<void>;
}

/** The journal is written this often, bytes: so much is fetched twice at most after a kill. */
const JOURNAL_BYTES = 16 * 1024 * 1024;
/**
 * Without `durable`, data is flushed in the background this often, milliseconds, so that a power cut loses no more. What
 * took less time than this costs less to fetch again than to flush.
 */
const FLUSH_MS = 30_000;
/** Progress of local files is told this often, bytes. */
const SHOWN_BYTES = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

/** Fetches a small file in one go, without a journal; `destination` must not exist and is removed on failure. */
export async function downloadSmall(
  http: HttpClient,
  request: DownloadRequest,
  destination: string,
  options: DownloadOptions,
): Promise<Downloaded> {
  const handle = await open(destination, 'wx').catch((error: unknown) => {
    throw diskError(error, destination);
  });
  try {
    return await transfer(http, request, options, {
      path: destination,
      handle,
      startBytes: 0,
      source: undefined,
      hasher: createHasher(request.digest, request.size),
      journal: undefined,
    });
  } catch (error) {
    await rm(destination, { force: true });
    throw diskError(error, destination);
  } finally {
    await handle.close();
  }
}

/**
 * Fetches a file into a partial that later runs continue. When the digest of a resumed file is wrong, it is fetched
 * once more from zero before that is an error. The caller moves the file away and removes the partial.
 *
 * @throws ModeldlError NETWORK, NOT_FOUND, AUTH, GATED, INTEGRITY, DISK, BUSY when the claim was lost
 */
export async function downloadResumable(
  http: HttpClient,
  request: DownloadRequest,
  directory: string,
  options: DownloadOptions,
): Promise<Downloaded> {
  for (let fresh = false; ; fresh = true) {
    const hasher = createHasher(request.digest, request.size);
    const partial = await openPartial(directory, {
      identity: identityOf(request),
      mayContinue: (source) => mayContinue(request, source),
      bootId: options.bootId,
      signal: options.signal,
      assertOwned: () => options.assertOwned(),
      onPrefix: (chunk) => {
        hasher.update(chunk);
      },
    });
    try {
      return await transfer(http, request, options, {
        path: partial.path,
        handle: partial.handle,
        startBytes: partial.prefixBytes,
        source: partial.source,
        hasher,
        journal: (bytes, flushedBytes, source) => partial.record(bytes, flushedBytes, source),
      });
    } catch (error) {
      const damaged = error instanceof ModeldlError && error.code === 'INTEGRITY';
      // Who took over has a partial of its own here, and removed the files of this process.
      if (damaged || systemErrorCode(error) === 'ENOENT') await options.assertOwned();
      if (!damaged) throw diskError(error, directory);
      await rm(directory, { recursive: true, force: true });
      if (fresh || partial.prefixBytes === 0) throw error;
    } finally {
      await partial.close();
    }
  }
}

function identityOf(request: DownloadRequest): string {
  const digest =
    request.digest === undefined
      ? redactUrl(request.url)
      : `${request.digest.algorithm}:${request.digest.hex}`;
  return `${digest} ${request.size ?? 'unknown'}`;
}

/**
 * A digest finds out when a file is pieced together of two versions; without one, the rest is asked for only under a
 * condition that excludes it.
 */
function mayContinue(request: DownloadRequest, source: FileVersion | undefined): boolean {
  return request.digest !== undefined || rangeCondition(source) !== undefined;
}

interface Target {
  readonly path: string;
  readonly handle: FileHandle;
  readonly startBytes: number;
  readonly source: FileVersion | undefined;
  readonly hasher: Hasher;
  readonly journal:
    ((bytes: number, flushedBytes: number, source: FileVersion | undefined) => Promise<void>) | undefined;
}

/** Where a transfer stands; one object because a restart resets all of it together. */
interface Position {
  bytes: number;
  /** Of the answer that the first byte came from. */
  source: FileVersion | undefined;
  hasher: Hasher;
  fetchedBytes: number;
  /** How often it started over. */
  restarts: number;
}

async function transfer(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  target: Target,
): Promise<Downloaded> {
  const position: Position = {
    bytes: target.startBytes,
    source: target.source,
    hasher: target.hasher,
    fetchedBytes: 0,
    restarts: 0,
  };
  options.onStart(position.bytes, request.size);
  const writer = createWriter(target, options, position);
  try {
    if (request.url.startsWith('file:')) await readLocal(request, options, position, writer);
    else if (position.bytes === 0 || position.bytes !== request.size) {
      await readRemote(http, request, options, target, position, writer);
    }
  } catch (error) {
    await writer.abandon();
    throw error;
  }
  await writer.finish();
  if (request.size !== undefined && position.bytes !== request.size) throw wrongSize(request, position.bytes);
  const sha256 = position.hasher.finish(request.label, position.bytes);
  await options.assertOwned();
  return { path: target.path, bytes: position.bytes, sha256, fetchedBytes: position.fetchedBytes };
}

function wrongSize(request: DownloadRequest, bytes: number): ModeldlError {
  return new ModeldlError(
    'INTEGRITY',
    `The size of ${request.label} is wrong: expected ${request.size ?? 0} bytes, got ${bytes}`,
    {
      hint: 'the source changed or something between cuts its answers; try again later',
      details: { file: request.label, url: redactUrl(request.url) },
    },
  );
}

interface Writer {
  /** Takes a chunk, whose memory is needed until the promise resolves. */
  write(chunk: Buffer): Promise<void>;
  /** Drops everything: the bytes at hand belong to another version of the file. */
  restart(size: number | undefined, digest: Digest | undefined): Promise<void>;
  /** Waits for all writes and, with a journal, says how far they go. */
  finish(): Promise<void>;
  /** The same after a failure, as far as that is possible. */
  abandon(): Promise<void>;
}

function createWriter(target: Target, options: DownloadOptions, position: Position): Writer {
  const { handle, journal } = target;
  /** One write after the other, so that what is in the file never has a gap. */
  let writing = Promise.resolve();
  let journaled = position.bytes;
  let flushed = 0;
  let flushedAt = performance.now();
  let flushing: Promise<void> | undefined;

  async function record(bytes: number): Promise<void> {
    if (journal === undefined) return;
    await options.assertOwned();
    await journal(bytes, flushed, position.source);
  }

  async function finish(): Promise<void> {
    await flushing;
    await writing;
    await record(position.bytes);
    options.onProgress(position.bytes);
  }

  async function store(chunk: Buffer, at: number): Promise<void> {
    await writeAll(handle, chunk, at);
    const reached = at + chunk.length;
    if (journal === undefined || reached - journaled < JOURNAL_BYTES) return;
    if (options.durable) {
      await handle.datasync();
      flushed = reached;
    } else if (flushing === undefined && performance.now() - flushedAt >= FLUSH_MS) {
      flushing = flushInBackground(reached);
    }
    await record(reached);
    journaled = reached;
  }

  /** A failure is met again by the next write, or costs a later run more than it could have kept. */
  async function flushInBackground(reached: number): Promise<void> {
    try {
      await handle.datasync();
      flushed = reached;
    } catch {
      // What is not known to be flushed is not named as such.
    }
    flushedAt = performance.now();
    flushing = undefined;
  }

  return {
    write(chunk) {
      const at = position.bytes;
      position.hasher.update(chunk);
      position.bytes += chunk.length;
      writing = writing.then(() => store(chunk, at));
      return writing;
    },
    async restart(size, digest) {
      await writing;
      await flushing;
      position.bytes = 0;
      position.source = undefined;
      position.restarts += 1;
      position.hasher = createHasher(digest, size);
      journaled = 0;
      flushed = 0;
      await handle.truncate(0);
      await record(0);
      options.onProgress(0);
    },
    finish,
    async abandon() {
      // The failure that led here says more than another one now, such as a claim that was lost.
      await finish().catch(() => undefined);
    },
  };
}

async function writeAll(handle: FileHandle, chunk: Buffer, at: number): Promise<void> {
  // A short write says nothing; the next one fails with the reason (mostly ENOSPC).
  for (let done = 0; done < chunk.length;) {
    done += (await handle.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
  }
}

async function readLocal(
  request: DownloadRequest,
  options: DownloadOptions,
  position: Position,
  writer: Writer,
): Promise<void> {
  const source = fileURLToPath(request.url);
  const found = await stat(source).catch((error: unknown) => {
    const missing = systemErrorCode(error) === 'ENOENT';
    throw new ModeldlError(
      missing ? 'NOT_FOUND' : 'DISK',
      `Cannot read ${source}: ${missing ? 'it is gone' : String(error)}`,
      {
        cause: error,
        details: { file: source },
      },
    );
  });
  if (position.bytes > 0) await writer.restart(request.size ?? found.size, request.digest);
  const stream = createReadStream(source, { highWaterMark: READ_BYTES });
  let shown = 0;
  await readBody(stream, {
    signal: options.signal,
    idleTimeoutMs: 3_600_000,
    onChunk: (chunk) => {
      const paused = writer.write(chunk);
      if (position.bytes - shown >= SHOWN_BYTES) {
        shown = position.bytes;
        options.onProgress(shown);
      }
      return paused;
    },
  });
}

/** Reads until the file is complete, on as many connections one after another as it takes. */
async function readRemote(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  target: Target,
  position: Position,
  writer: Writer,
): Promise<void> {
  let failures = 0;
  for (;;) {
    throwIfAborted(options.signal);
    const { bytes, restarts } = position;
    const problem = await readOnce(http, request, options, position, writer);
    if (problem === undefined) return;
    const advanced = position.bytes > bytes && position.restarts === restarts;
    failures = advanced ? 1 : failures + 1;
    // A file that starts over again and again may break off later each time, and never end.
    if (Math.max(failures, position.restarts) > http.settings.retries) {
      throw new ModeldlError('NETWORK', `Cannot finish ${request.label}: ${problem}`, {
        hint: mayContinue(request, position.source)
          ? 'run the same command again to resume; what was fetched is kept'
          : 'run the same command again; this server does not say enough about the file to resume it',
        details: { url: redactUrl(request.url), file: request.label },
      });
    }
    const waitMs = advanced ? 0 : backoff(failures, Math.random);
    http.settings.emit({
      type: 'retry',
      url: redactUrl(request.url),
      reason: problem,
      attempt: failures,
      waitMs,
    });
    if (waitMs > 0) await http.wait(waitMs, options.signal);
  }
}

/** One connection. Returns what went wrong when the rest should be asked for again, undefined when all is here. */
async function readOnce(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  position: Position,
  writer: Writer,
): Promise<string | undefined> {
  const headers: Record<string, string> = {};
  if (position.bytes > 0 && !mayContinue(request, position.source)) {
    await writer.restart(request.size, request.digest);
  }
  if (position.bytes > 0) {
    const condition = rangeCondition(position.source);
    headers['range'] = `bytes=${position.bytes}-`;
    if (condition !== undefined) headers['if-range'] = condition;
  }
  const response = await http.request(request.url, { headers, signal: options.signal });
  if (response.status === 416 && position.bytes > 0) {
    response.discard();
    await writer.restart(request.size, request.digest);
    return 'the server no longer has the part that was asked for';
  }
  if (response.status === 403 && new URL(response.url).origin !== new URL(request.url).origin) {
    // A signed address that expired: the stable address gives a new one.
    response.discard();
    return `the address it redirects to was refused (${new URL(response.url).host})`;
  }
  if (response.status !== 200 && response.status !== 206) throw await statusError(response, request);
  const expected = await acceptAnswer(response, request, position, writer);
  if (typeof expected === 'string') return expected;
  const limit = Math.min(expected ?? Infinity, request.size ?? Infinity, request.maxBytes ?? Infinity);
  try {
    await response.read((chunk) => {
      position.fetchedBytes += chunk.length;
      if (position.bytes + chunk.length > limit) throw tooLong(request, limit);
      const written = writer.write(chunk);
      options.onProgress(position.bytes);
      const waitMs = http.throttle(chunk.length);
      if (waitMs === 0) return written;
      return Promise.all([written, http.wait(waitMs, options.signal)]).then(() => undefined);
    });
  } catch (error) {
    if (!(error instanceof BrokenBody)) throw error;
    return error.message;
  }
  if (expected !== undefined && position.bytes < expected) return 'the connection ended early';
  return undefined;
}

/** Checks the answer against what was asked; returns the whole file's size if known, or why to ask again. */
async function acceptAnswer(
  response: HttpResponse,
  request: DownloadRequest,
  position: Position,
  writer: Writer,
): Promise<number | undefined | string> {
  const encoding = response.header('content-encoding');
  if (encoding !== undefined && encoding !== 'identity') {
    response.discard();
    throw new ModeldlError(
      'NETWORK',
      `${redactUrl(response.url)} answered ${encoding} although it was asked not to compress`,
      {
        hint: 'a proxy between may be changing answers',
        details: { url: redactUrl(response.url) },
      },
    );
  }
  if (request.digest === undefined) refuseWebPage(response, request);
  if (response.status === 200) {
    if (position.bytes > 0) await writer.restart(request.size, request.digest);
    const length = response.header('content-length');
    const size = length === undefined ? undefined : Number(length);
    position.source = versionOf(response, size);
    return size;
  }
  const range = checkRange(response.header('content-range'), position.bytes, request.size);
  const changed = isOtherVersion(position.source, versionOf(response, range?.total));
  if (range === undefined || changed) {
    response.discard();
    await writer.restart(request.size, request.digest);
    return changed ? 'the file changed at its source' : 'the server sent another range than was asked for';
  }
  return range.total;
}

/** Error pages and login forms come with status 200; without a digest nothing else would notice. */
function refuseWebPage(response: HttpResponse, request: DownloadRequest): void {
  if (!/^(text\/html|application\/xhtml)/i.test(response.header('content-type') ?? '')) return;
  if (/\.x?html?$/i.test(request.label)) return;
  response.discard();
  throw new ModeldlError(
    'INTEGRITY',
    `The address answers a web page, not a model: ${redactUrl(request.url)}`,
    {
      hint: 'use the address of the file itself, as the download button of the page has it',
      details: { url: redactUrl(request.url), file: request.label },
    },
  );
}

function tooLong(request: DownloadRequest, limit: number): ModeldlError {
  return new ModeldlError('INTEGRITY', `${request.label} is longer than the ${limit} bytes it may have`, {
    hint: 'the source changed, or the address is not a model',
    details: { file: request.label, url: redactUrl(request.url) },
  });
}

/** Small files: fetched into memory in one go, since the calls for a file in progress cost more than its bytes. */
import { throwIfAborted } from '../errors.js';
import { BrokenBody } from './body.js';
import { createHasher } from './digest.js';
import type { DownloadOptions, DownloadRequest } from './download.js';
import type { HttpClient, HttpResponse } from './http.js';
import { readLocalFile } from './local.js';
import {
  acceptPart,
  expiredAddress,
  mayContinue,
  rangeHeaders,
  refuseCompressed,
  refuseWebPage,
  statusError,
  tooLong,
  versionOf,
  wrongSize,
  type FileVersion,
} from './response.js';
import { createRetries } from './retries.js';

export interface SmallRequest extends DownloadRequest {
  /** All of it is held in memory. */
  readonly size: number;
}

export interface SmallDownload {
  /** Complete and verified. */
  readonly bytes: Buffer;
  readonly sha256: string;
  /** Bytes that came over the network. */
  readonly fetchedBytes: number;
}

export type SmallOptions = Pick<DownloadOptions, 'signal' | 'onStart' | 'onProgress'>;

/** What is here of a file. */
interface Held {
  readonly memory: Buffer;
  bytes: number;
  /** Of the answer that the first byte came from. */
  source: FileVersion | undefined;
  fetchedBytes: number;
  /** How often it started over. */
  restarts: number;
}

/**
 * Fetches a file into memory, on as many connections one after another as it takes.
 * @throws ModeldlError NETWORK, NOT_FOUND, AUTH, GATED, INTEGRITY, DISK for a local file, INTERRUPTED
 */
export async function downloadSmall(
  http: HttpClient,
  request: SmallRequest,
  options: SmallOptions,
): Promise<SmallDownload> {
  const memory = Buffer.allocUnsafe(request.size);
  const held: Held = { memory, bytes: 0, source: undefined, fetchedBytes: 0, restarts: 0 };
  options.onStart(0, request.size);
  if (request.url.startsWith('file:')) {
    await readLocalFile(request.url, options.signal, (chunk) => {
      take(request, options, held, chunk);
      return undefined;
    });
  } else if (request.url.startsWith('data:')) take(request, options, held, inlineBytes(request.url));
  else await readRemote(http, request, options, held);
  if (held.bytes !== request.size) throw wrongSize(request, held.bytes);
  const hasher = createHasher(request.digest, request.size);
  hasher.update(memory);
  const sha256 = hasher.finish(request.label, held.bytes);
  return { bytes: memory, sha256, fetchedBytes: held.fetchedBytes };
}

/** The bytes of a `data:` address, which hubs write in base64. */
export function inlineBytes(url: string): Buffer {
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
}

function take(request: SmallRequest, options: SmallOptions, held: Held, chunk: Buffer): void {
  const limit = Math.min(request.size, request.maxBytes ?? Infinity);
  if (held.bytes + chunk.length > limit) throw tooLong(request, limit);
  chunk.copy(held.memory, held.bytes);
  held.bytes += chunk.length;
  options.onProgress(held.bytes);
}

async function readRemote(
  http: HttpClient,
  request: SmallRequest,
  options: SmallOptions,
  held: Held,
): Promise<void> {
  const retries = createRetries(
    http,
    request,
    () => 'run the same command again; the files that are complete are kept',
  );
  for (;;) {
    throwIfAborted(options.signal);
    const { bytes: before, restarts } = held;
    const since = performance.now();
    const problem = await readOnce(http, request, options, held);
    if (problem === undefined) return;
    const bytes = held.restarts === restarts ? held.bytes - before : 0;
    await retries.after(problem, { bytes, since }, held.restarts, options.signal);
  }
}

/** One connection. Returns what went wrong when the rest should be asked for again, undefined when all is here. */
async function readOnce(
  http: HttpClient,
  request: SmallRequest,
  options: SmallOptions,
  held: Held,
): Promise<string | undefined> {
  if (held.bytes > 0 && !mayContinue(request, held.source)) restart(options, held);
  const headers = held.bytes === 0 ? {} : rangeHeaders(held.bytes, undefined, held.source);
  const response = await http.request(request.url, { headers, signal: options.signal });
  if (response.status === 416 && held.bytes > 0) {
    response.discard();
    restart(options, held);
    return 'the server no longer has the part that was asked for';
  }
  const expired = expiredAddress(response, request);
  if (expired !== undefined) {
    response.discard();
    return expired;
  }
  if (response.status !== 200 && response.status !== 206) throw await statusError(response, request);
  const expected = acceptAnswer(response, request, options, held);
  if (typeof expected === 'string') return expected;
  try {
    await response.read((chunk) => {
      held.fetchedBytes += chunk.length;
      take(request, options, held, chunk);
      const waitMs = http.throttle(chunk.length);
      return waitMs === 0 ? undefined : http.wait(waitMs, options.signal);
    });
  } catch (error) {
    if (!(error instanceof BrokenBody)) throw error;
    return error.message;
  }
  return expected !== undefined && held.bytes < expected ? 'the connection ended early' : undefined;
}

/** Checks the answer against what was asked; returns the whole file's size if known, or why to ask again. */
function acceptAnswer(
  response: HttpResponse,
  request: SmallRequest,
  options: SmallOptions,
  held: Held,
): number | string | undefined {
  refuseCompressed(response);
  if (request.digest === undefined || request.sources === 'more') refuseWebPage(response, request);
  if (response.status === 200) {
    if (held.bytes > 0) restart(options, held);
    const length = response.header('content-length');
    held.source = versionOf(response, length === undefined ? undefined : Number(length));
    return held.source.size;
  }
  const range = acceptPart(response, held.bytes, request.size, request.size, held.source);
  if (typeof range !== 'string') return range.total;
  response.discard();
  restart(options, held);
  return range;
}

function restart(options: SmallOptions, held: Held): void {
  held.bytes = 0;
  held.source = undefined;
  held.restarts += 1;
  options.onProgress(0);
}

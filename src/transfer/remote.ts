/** Fetching a file from a server: what lacks, on one connection or on as many as make it faster. */
import { ModeldlError, throwIfAborted } from '../errors.js';
import { redactUrl } from '../redact.js';
import type { Assembly } from './assembly.js';
import type { DownloadOptions, DownloadRequest } from './download.js';
import { helpWith, type Helpers } from './helpers.js';
import type { HttpClient, HttpResponse } from './http.js';
import { readPartBody, untilTaken, type Outcome, type Transfer } from './part-body.js';
import { createParts, type Part } from './parts.js';
import {
  acceptPart,
  expiredAddress,
  isWebPage,
  KEPT,
  mayContinue,
  rangeHeaders,
  refuseCompressed,
  refuseWebPage,
  statusError,
  tooLong,
  unusable,
  versionOf,
} from './response.js';
import { createRetries } from './retries.js';

const RESUME = `run the same command again to resume; ${KEPT}`;

/**
 * Fetches what the assembly lacks. One connection is always there and decides what happens to the file; others help.
 * Returns the bytes that came.
 */
export async function readRemote(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  assembly: Assembly,
): Promise<number> {
  const transfer: Transfer = {
    http,
    request,
    options,
    assembly,
    parts: createParts(assembly.received, () => transfer.size ?? Infinity),
    size: request.size,
    located: undefined,
    fetchedBytes: 0,
    limitedUntil: -Infinity,
  };
  const helpers = helpWith(transfer);
  const signal = AbortSignal.any([options.signal, helpers.failure]);
  try {
    await readAll(transfer, helpers, signal);
    return transfer.fetchedBytes;
  } catch (error) {
    throw withKept(helpers.failure.aborted ? helpers.failure.reason : error, request, assembly);
  } finally {
    await helpers.stop();
  }
}

/** A server that is gone in the middle of a file: what is here of it waits for the next run. */
function withKept(error: unknown, request: DownloadRequest, assembly: Assembly): unknown {
  if (!(error instanceof ModeldlError) || error.code !== 'NETWORK' || error.hint?.endsWith(KEPT) === true)
    return error;
  if (assembly.received.total() === 0 || !mayContinue(request, assembly.source)) return error;
  const { message, hint, cause, details } = error;
  const { label } = request;
  return new ModeldlError(
    'NETWORK',
    message.includes(label) ? message : `${message}, while fetching ${label}`,
    {
      hint: hint === undefined ? RESUME : `${hint}; then ${RESUME}`,
      cause,
      details: { file: label, ...details },
    },
  );
}

/** Reads until the file is complete, however many connections one after another it takes. */
async function readAll(transfer: Transfer, helpers: Helpers, signal: AbortSignal): Promise<void> {
  const { http, request, assembly, parts } = transfer;
  const retries = createRetries(http, request, () =>
    mayContinue(request, assembly.source)
      ? RESUME
      : 'run the same command again; this server does not say enough about the file to resume it',
  );
  for (;;) {
    throwIfAborted(signal);
    const part = helpers.active() > 0 ? parts.next() : parts.rest();
    if (part === undefined) {
      const isHere = transfer.size !== undefined && assembly.received.endOf(0) >= transfer.size;
      if (helpers.active() === 0 || isHere) return;
      await helpers.pause();
      continue;
    }
    const { restarts } = assembly;
    const before = part.at;
    const since = performance.now();
    const outcome = await untilTaken(part, signal, (untilThen) =>
      readPart(transfer, part, helpers, untilThen),
    ).finally(() => {
      parts.close(part);
    });
    if (outcome === 'whole') return;
    if (outcome === 'part') continue;
    const bytes = assembly.restarts === restarts ? part.at - before : 0;
    await retries.after(outcome.problem, { bytes, since }, assembly.restarts, signal);
  }
}

/** What servers answer that allow only so many connections. */
const CROWDED: readonly number[] = [403, 429, 503];

/** The connection that is always there: asks the stable address, and starts over when the file is another one. */
async function readPart(
  transfer: Transfer,
  part: Part,
  helpers: Helpers,
  signal: AbortSignal,
): Promise<Outcome> {
  const { http, request, assembly } = transfer;
  const restart = async (): Promise<void> => {
    await helpers.stop();
    await assembly.restart(request.size, request.digest);
    transfer.size = request.size;
    part.at = 0;
    part.end = request.size ?? Infinity;
  };
  if (assembly.received.total() > 0 && !mayContinue(request, assembly.source)) await restart();
  const { at: start, end: asked } = part;
  // No range for the whole file, an open one for all of its end.
  const isOpen = asked >= (transfer.size ?? Infinity);
  const headers =
    start === 0 && isOpen ? {} : rangeHeaders(start, isOpen ? undefined : asked, assembly.source);
  const response = await http.request(request.url, { headers, signal });
  const leave = (why: string): void => {
    if (request.sources === 'more') throw unusable(response, request, why);
  };
  if (response.status === 416 && start > 0) {
    leave('it has no such part of the file');
    response.discard();
    await restart();
    return { problem: 'the server no longer has the part that was asked for' };
  }
  if (helpers.active() > 0 && CROWDED.includes(response.status)) {
    // It counts connections, and those of the others are some.
    response.discard();
    await helpers.stop();
    return { problem: `the server refused one of several connections (${response.status})` };
  }
  const expired = expiredAddress(response, request);
  if (expired !== undefined) {
    response.discard();
    return { problem: expired };
  }
  if (response.status !== 200 && response.status !== 206) throw await statusError(response, request);
  refuseCompressed(response);
  if (isWebPage(response, request)) leave('it answers a web page');
  if (request.digest === undefined) refuseWebPage(response, request);
  transfer.located = response.url;
  if (response.status === 200) {
    const length = response.header('content-length');
    const size = length === undefined ? undefined : Number(length);
    if (size !== undefined && request.size !== undefined && size !== request.size)
      leave(`it has ${size} bytes in place of ${request.size}`);
    if (assembly.received.total() > 0) {
      leave('it gives no part of a file');
      await restart();
    }
    assembly.source = { ...versionOf(response, size), from: redactUrl(request.url) };
    // Nothing is here yet, so that an earlier answer's word holds no more.
    transfer.size = request.size ?? size;
    part.end = transfer.size ?? Infinity;
    refuseTooLong(transfer, response);
    return readPartBody(transfer, part, response, { end: size, whole: true });
  }
  const range = acceptPart(response, start, asked, request.size, assembly.source);
  if (typeof range === 'string') {
    leave(range);
    response.discard();
    await restart();
    return { problem: range };
  }
  // Where this answer leaves it open, the first one told how long this version of the file is.
  const total = range.total ?? request.size ?? assembly.source?.size;
  transfer.size ??= total;
  refuseTooLong(transfer, response);
  if (asked >= (transfer.size ?? Infinity)) {
    return readPartBody(transfer, part, response, { end: total, whole: true });
  }
  return readPartBody(transfer, part, response, { end: asked, whole: false });
}

/** Of several connections none sees how much all of them read: so it is asked before they begin. */
function refuseTooLong({ request, size = 0 }: Transfer, response: HttpResponse): void {
  if (request.maxBytes === undefined || size <= request.maxBytes) return;
  response.discard();
  throw tooLong(request, request.maxBytes);
}

/** One answer of a server, read into the part of the file that it was asked for. */
import type { Assembly } from './assembly.js';
import { BrokenBody } from './body.js';
import type { DownloadOptions, DownloadRequest } from './download.js';
import type { HttpClient, HttpResponse } from './http.js';
import type { Part, Parts } from './parts.js';
import { tooLong } from './response.js';

/** What the connections of one file share. */
export interface Transfer {
  readonly http: HttpClient;
  readonly request: DownloadRequest;
  readonly options: DownloadOptions;
  readonly assembly: Assembly;
  readonly parts: Parts;
  /** Of the whole file, bytes, as soon as anything tells it. */
  size: number | undefined;
  /** Where the address led at last. */
  located: string | undefined;
  fetchedBytes: number;
  /** Until when `--limit-rate` holds bytes up. */
  limitedUntil: number;
}

/** What a connection ended with. */
export type Outcome =
  /** The part is here. */
  | 'part'
  /** The file is here, as far as the server has one. */
  | 'whole'
  /** The rest should be asked for again. */
  | { readonly problem: string };

/** Ends the reading of a body whose rest another connection fetches. */
class PartTaken extends Error {
  override readonly name = 'PartTaken';
}

/**
 * Runs `work` on a part until all of it was taken over, however it waits: for an answer, for its turn or for bytes.
 * @param signal ends it as a failure
 */
export async function untilTaken<Result>(
  part: Part,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result | 'part'> {
  const taken = new AbortController();
  part.stop = () => {
    taken.abort();
  };
  try {
    return await work(AbortSignal.any([signal, taken.signal]));
  } catch (error) {
    if (taken.signal.aborted && !signal.aborted) return 'part';
    throw error;
  }
}

/**
 * Reads a body into the file, up to where the part ends by then.
 * @param promised where the body ends, as far as the server told, and whether the file ends there too
 */
export async function readPartBody(
  transfer: Transfer,
  part: Part,
  response: HttpResponse,
  promised: { readonly end: number | undefined; readonly whole: boolean },
): Promise<Outcome> {
  const { http, request, options, assembly } = transfer;
  const end = promised.end ?? Infinity;
  const limit = Math.min(end, request.size ?? Infinity, request.maxBytes ?? Infinity);
  part.end = Math.min(part.end, end);
  let written: Promise<void> | undefined;
  part.heardAt = performance.now();
  try {
    await response.read((chunk) => {
      if (promised.whole && part.at + chunk.length > limit && part.end >= limit)
        throw tooLong(request, limit);
      part.heardAt = performance.now();
      const wanted = chunk.subarray(0, Math.max(0, part.end - part.at));
      transfer.fetchedBytes += wanted.length;
      written = assembly.write(wanted, part.at);
      part.at += wanted.length;
      // Where the file ends with the part, what follows is for the check above.
      const isCut = part.end < limit || (!promised.whole && chunk.length > wanted.length);
      if (part.at >= part.end && isCut) throw new PartTaken();
      const waitMs = http.throttle(wanted.length);
      if (waitMs === 0) return written;
      transfer.limitedUntil = performance.now() + waitMs;
      // It is not the server that brings nothing meanwhile.
      part.heardAt = transfer.limitedUntil;
      return Promise.all([written, http.wait(waitMs, options.signal)]).then(() => undefined);
    });
  } catch (error) {
    // Its memory is in use until it is written.
    await written?.catch(() => undefined);
    if (error instanceof PartTaken) return 'part';
    if (!(error instanceof BrokenBody)) throw error;
    return part.at >= part.end && part.end < Infinity ? 'part' : { problem: error.message };
  }
  if (part.at < Math.min(part.end, end) && end < Infinity) return { problem: 'the connection ended early' };
  // An answer that is shorter than the file is said to be is all that the server has.
  return promised.whole && end !== transfer.size ? 'whole' : 'part';
}

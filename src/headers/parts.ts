/**
 * Files that are read in parts, to see what they say of themselves: at their hub by ranges, or where they lie. How much
 * is read is bounded, whatever a file says of its own lengths.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { format, hubNamed, type Context } from '../context.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { requestOf } from '../fetch.js';
import type { RemoteFile, Snapshot } from '../hub.js';
import { openSources, type Attempt, type ByteSources } from '../mirrors/bytes.js';
import { BrokenBody } from '../transfer/body.js';
import type { DownloadRequest } from '../transfer/download.js';
import type { HttpResponse } from '../transfer/http.js';
import {
  acceptPart,
  isCompressed,
  isWebPage,
  rangeHeaders,
  statusError,
  unusable,
  versionOf,
  type FileVersion,
} from '../transfer/response.js';
import { inlineBytes } from '../transfer/small.js';

/** Of a file, bytes. */
export interface PartlyRead {
  /** Undefined before anything was read of a file whose size its hub does not tell. */
  size(): number | undefined;
  /**
   * `[start, end)`: less of it where the file ends before, more where that is at hand. Unless
   * `ahead` says otherwise more is fetched than is asked for. @throws Unread
   */
  read(start: number, end: number, ahead?: number): Promise<Buffer>;
  /** Each byte comes over the network. */
  readonly isCostly: boolean;
}

/** Why a file does not tell something: words that follow its name. It is no failure of what was asked for. */
export class Unread extends Error {
  override readonly name = 'Unread';
}

/** What all files of a model together may cost. */
export interface Allowance {
  readonly mostBytes: number;
  /** With what was asked for and is on its way. */
  usedBytes: number;
}

/** For what is read of a model at its hub, at least: headers are small, and lists of tokens are not. */
const REMOTE_BYTES = 512 * 1024;
/** Of what a model holds: headers of many parts, or of hundreds of experts, are megabytes and still next to nothing. */
const REMOTE_SHARE = 1 / 1000;
/** Of files here, which are read fast; what is held of one is bounded by {@link PART_BYTES}. */
const LOCAL_BYTES = 256 * 1024 * 1024;
/** Of one part: longer headers of safetensors are of no model. */
export const PART_BYTES = 16 * 1024 * 1024;

export function localAllowance(): Allowance {
  return { mostBytes: LOCAL_BYTES, usedBytes: 0 };
}

/** @param bytes of all files that are listed */
export function remoteAllowance(bytes: number): Allowance {
  const mostBytes = Math.min(Math.max(REMOTE_BYTES, Math.floor(bytes * REMOTE_SHARE)), PART_BYTES);
  return { mostBytes, usedBytes: 0 };
}

/** Read at once of a file here. */
const LOCAL_STEP = 256 * 1024;

/** One more attempt after the first, and no long waits: a look is not a download. */
const LOOKING = { retries: 1, maxWaitMs: 10_000 } as const;

/** Readers of the files of a listing. */
export interface RemoteReader {
  /** @param ahead bytes that are asked for at least, so that a header comes by one request */
  open(file: RemoteFile, ahead: number): PartlyRead;
}

/** @param allowance for all files that are opened */
export function openRemote(context: Context, snapshot: Snapshot, allowance: Allowance): RemoteReader {
  const hub = hubNamed(context, snapshot.hub);
  let sources: Promise<ByteSources> | undefined;
  /** Why no part of any file can be had, once that is known. */
  let refused: Unread | ModeldlError | undefined;
  const ask: Asking = async (question) => {
    const { file } = question;
    if (refused !== undefined) throw refused;
    sources ??= openSources(context, hub, snapshot, format(context, snapshot));
    try {
      const part = await (
        await sources
      ).fetch(file, requestOf(file), context.signal, (attempt) => askForPart(context, attempt, question));
      if (!('why' in part)) return part;
      const unread = new Unread(part.why);
      if (part.all) refused = unread;
      throw unread;
    } catch (error) {
      if (error instanceof ModeldlError && ['AUTH', 'GATED', 'NETWORK'].includes(error.code)) refused = error;
      throw error;
    }
  };
  return {
    open(file, ahead) {
      if (/^file:/.test(file.url)) return openLocal(fileURLToPath(file.url), allowance);
      if (/^data:/.test(file.url)) return inMemory(inlineBytes(file.url));
      return remoteFile(file, ahead, allowance, ask);
    },
  };
}

/** Bytes of a file from `start` on; of all of it when the server sent no part. */
interface Part {
  readonly start: number;
  readonly bytes: Buffer;
  readonly size: number | undefined;
  readonly version: FileVersion;
}

/** `all`: it is so for every file of the source. */
interface NoPart {
  readonly why: string;
  readonly all: boolean;
}

interface Question {
  readonly start: number;
  readonly end: number;
  readonly source: FileVersion | undefined;
  readonly file: RemoteFile;
  /** Told of all that comes, of attempts that break off too. */
  readonly received: (bytes: number) => void;
}

type Asking = (question: Question) => Promise<Part>;

async function askForPart(
  context: Context,
  { http, request }: Attempt,
  question: Question,
): Promise<Part | NoPart> {
  const looking = http.as(LOOKING);
  for (let attempt = 0; ; attempt += 1) {
    const { start, end, source } = question;
    const response = await looking.request(request.url, {
      headers: rangeHeaders(start, end, source),
      signal: context.signal,
    });
    try {
      return await takePart(response, request, question);
    } catch (error) {
      if (!(error instanceof BrokenBody)) throw error;
      if (attempt >= LOOKING.retries)
        return { why: `the connection broke off (${error.message})`, all: false };
    }
  }
}

async function takePart(
  response: HttpResponse,
  request: DownloadRequest,
  { start, end, source, received }: Question,
): Promise<Part | NoPart> {
  const leave = (why: string, all: boolean): NoPart => {
    // Another source may do better.
    if (request.sources === 'more') throw unusable(response, request, why);
    response.discard();
    return { why, all };
  };
  if (response.status === 416) return leave('the server has no such part of it', false);
  if (response.status !== 200 && response.status !== 206) throw await statusError(response, request);
  if (isCompressed(response)) return leave('the server compresses what it sends', true);
  if (isWebPage(response, request)) return leave('the server answers a web page', false);
  if (response.status === 206) {
    const range = acceptPart(response, start, end, request.size, source);
    if (typeof range === 'string') return leave(range, false);
    const bytes = await readAtMost(response, end - start, received);
    if (bytes === undefined) return leave('the server sends more than was asked for', true);
    const size = range.total ?? request.size;
    return { start, bytes, size, version: { ...versionOf(response, size), ...fromOf(source) } };
  }
  const length = Number(response.header('content-length') ?? Infinity);
  // All of a file that is no longer than its part is as good.
  if (length > end) return leave('its server sends no part of a file, only all of it', true);
  const bytes = await readAtMost(response, length, received);
  if (bytes === undefined) return leave('the server sends more than it says', true);
  return { start: 0, bytes, size: bytes.length, version: versionOf(response, bytes.length) };
}

function fromOf(source: FileVersion | undefined): Pick<FileVersion, 'from'> {
  return source?.from === undefined ? {} : { from: source.from };
}

/** Undefined for a longer body, which is not read on. @throws BrokenBody */
async function readAtMost(
  response: HttpResponse,
  most: number,
  received: (bytes: number) => void,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  const tooLong = new Unread('too long');
  try {
    await response.read((chunk) => {
      length += chunk.length;
      received(chunk.length);
      if (length > most) throw tooLong;
      // Its memory is used again.
      chunks.push(Buffer.from(chunk));
      return undefined;
    });
  } catch (error) {
    if (error === tooLong) return undefined;
    throw error;
  }
  return Buffer.concat(chunks);
}

function remoteFile(file: RemoteFile, ahead: number, allowance: Allowance, ask: Asking): PartlyRead {
  let { size } = file;
  let version: FileVersion | undefined;
  const held: { readonly start: number; readonly bytes: Buffer }[] = [];
  const heldFrom = (start: number): Buffer | undefined => {
    const part = held.find((each) => each.start <= start && start < each.start + each.bytes.length);
    return part?.bytes.subarray(start - part.start);
  };
  return {
    size: () => size,
    isCostly: true,
    async read(start, wanted, further = ahead) {
      const end = Math.min(wanted, size ?? wanted);
      const pieces: Buffer[] = [];
      let at = start;
      while (at < end) {
        let piece = heldFrom(at);
        if (piece === undefined) {
          const upTo = Math.min(Math.max(end, at + further), size ?? Infinity);
          const left = allowance.mostBytes - allowance.usedBytes;
          if (end - at > left) {
            throw new Unread(`its header is longer than what is read of a model at its hub`);
          }
          const asked = { file, start: at, end: Math.min(upTo, at + left), source: version };
          const part = await counted(allowance, asked.end - at, (received) => ask({ ...asked, received }));
          ({ size, version } = { size: part.size ?? size, version: part.version });
          if (part.bytes.length > 0) held.push(part);
          piece = heldFrom(at);
          if (piece === undefined) break;
        }
        pieces.push(piece);
        at += piece.length;
      }
      return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
    },
  };
}

/** Counts what is expected until it is known what came. */
async function counted<Result>(
  allowance: Allowance,
  expected: number,
  ask: (received: (bytes: number) => void) => Promise<Result>,
): Promise<Result> {
  let came = 0;
  allowance.usedBytes += expected;
  try {
    return await ask((bytes) => {
      came += bytes;
    });
  } finally {
    allowance.usedBytes += came - expected;
  }
}

function inMemory(bytes: Buffer): PartlyRead {
  return {
    size: () => bytes.length,
    isCostly: false,
    read: (start) => Promise.resolve(bytes.subarray(start)),
  };
}

/** A file here, which is opened when it is read and may be gone by then. */
export function openLocal(path: string, allowance: Allowance): PartlyRead {
  let size: number | undefined;
  return {
    size: () => size,
    isCostly: false,
    async read(start, end) {
      return withHandle(path, async (handle) => {
        size ??= (await handle.stat()).size;
        const most = Math.min(PART_BYTES, allowance.mostBytes - allowance.usedBytes);
        const wanted = Math.min(end, size) - start;
        if (wanted > most) throw new Unread('its header is longer than that of any model');
        const length = Math.min(Math.max(wanted, LOCAL_STEP), most, Math.max(0, size - start));
        const bytes = Buffer.allocUnsafe(length);
        const { bytesRead } = await handle.read(bytes, 0, length, start);
        allowance.usedBytes += bytesRead;
        return bytes.subarray(0, bytesRead);
      });
    },
  };
}

/** @throws ModeldlError DISK, Unread for what is not there */
async function withHandle<Result>(
  path: string,
  work: (handle: FileHandle) => Promise<Result>,
): Promise<Result> {
  let handle: FileHandle;
  try {
    handle = await open(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw new Unread('it is not there');
    throw diskError(error, path, 'read');
  }
  try {
    return await work(handle);
  } catch (error) {
    if (systemErrorCode(error) === 'EISDIR') throw new Unread('it is a directory');
    throw diskError(error, path, 'read');
  } finally {
    await handle.close();
  }
}

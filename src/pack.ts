/** Archives that are the same bytes whenever and wherever they are made: tar, plain or by zstd, written as a stream. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { version as nodeVersion } from 'node:process';
import { Readable, Transform, type Duplex, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as zlib from 'node:zlib';
import type { Pack } from 'tar-stream';
import { ModeldlError, throwIfAborted } from './errors.js';
import { flush } from './store/durability.js';
import { uniqueName } from './store/layout.js';

export interface PackedFile {
  /** In the archive: relative, `/`-separated. */
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hex; a file that is no longer so is refused while it is read. */
  readonly sha256?: string;
  /** Absolute path, or the bytes themselves. */
  readonly from: string | Uint8Array;
}

export interface PackedLink {
  readonly path: string;
  /** Relative to the directory of the link, `/`-separated. */
  readonly to: string;
}

export type PackedEntry = PackedFile | PackedLink;

export interface PackOptions {
  /** Of every entry, seconds since 1970. */
  readonly time: number;
  readonly signal: AbortSignal;
  /** Told before a file is read, while it is, with the bytes of it so far, and after it. */
  readonly onFile?: (file: PackedFile, state: 'start' | 'progress' | 'done', bytes: number) => void;
}

export type Compression = 'none' | 'zstd';

/** 1980-01-01: the earliest time that every kind of archive can tell. */
const FIXED_TIME = 315_532_800;
/** A header of tar has room for it as a signed number of 32 bits in the library that writes it. */
const LATEST_TIME = 2 ** 31 - 1;
export const FILE_MODE = 0o644;
export const DIRECTORY_MODE = 0o755;
const BLOCK_BYTES = 512;
export const READ_BYTES = 1024 * 1024;

/**
 * The time that everything made to be reproducible has: of `SOURCE_DATE_EPOCH`, as reproducible-builds.org defines it,
 * else a fixed one. Seconds since 1970.
 * @throws ModeldlError CONFIG
 */
export function reproducibleTime(environment: Readonly<Record<string, string | undefined>>): number {
  const given = environment['SOURCE_DATE_EPOCH']?.trim() ?? '';
  if (given === '') return FIXED_TIME;
  const time = Number(given);
  if (/^\d+$/.test(given) && time <= LATEST_TIME) return time;
  throw new ModeldlError('CONFIG', `\`SOURCE_DATE_EPOCH\` is no number of seconds since 1970: ${given}`, {
    hint: `set it to a whole number from 0 to ${LATEST_TIME}, such as what \`git log -1 --format=%ct\` prints, or unset it`,
  });
}

/** The one order of entries; directories come before what they hold. */
export function inOrder<Entry extends { readonly path: string }>(
  entries: readonly Entry[],
): readonly Entry[] {
  return [...entries].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
}

/** Every directory above some paths, each once and before those below it, in the order in which the paths need them. */
export function directoriesOf(paths: readonly string[]): readonly string[] {
  const made = new Set<string>();
  for (const path of paths) {
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) made.add(path.slice(0, at));
  }
  return [...made];
}

/** Bytes that {@link packTar} gives for these entries, by their headers and sizes. */
export async function packedBytes(entries: readonly PackedEntry[], time = FIXED_TIME): Promise<number> {
  const pack = await createPack();
  const headers = headersOf(entries, time);
  for (const { header } of headers) pack.entry({ ...header, size: 0 }, Buffer.alloc(0));
  pack.finalize();
  let bytes = 0;
  for await (const chunk of pack as AsyncIterable<Buffer>) bytes += chunk.length;
  return entries.reduce(
    (sum, entry) => sum + ('to' in entry ? 0 : Math.ceil(entry.bytes / BLOCK_BYTES) * BLOCK_BYTES),
    bytes,
  );
}

/**
 * A tar of entries in the order given, with every directory above them: owner 0, fixed modes and one time, so that
 * equal entries are equal bytes. Files are read as they are written, none of them whole.
 * @throws ModeldlError INTEGRITY for a file that is not what it was, INTERRUPTED; file system errors as they are
 */
export async function* packTar(
  entries: readonly PackedEntry[],
  options: PackOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const pack = await createPack();
  const feeding = feed(pack, entries, options);
  // Who reads meets the same failure, as that of the stream.
  feeding.catch((error: unknown) => {
    pack.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    for await (const chunk of pack as AsyncIterable<Buffer>) {
      throwIfAborted(options.signal);
      yield chunk;
    }
  } finally {
    pack.destroy();
  }
  await feeding;
}

async function createPack(): Promise<Pack> {
  const { pack } = await import('tar-stream');
  return pack();
}

interface Member {
  readonly header: Parameters<Pack['entry']>[0];
  readonly file?: PackedFile;
}

function headersOf(entries: readonly PackedEntry[], time: number): readonly Member[] {
  const mtime = new Date(time * 1000);
  const owner = { uid: 0, gid: 0, uname: '', gname: '', mtime };
  const made = new Set<string>();
  return entries.flatMap((entry): readonly Member[] => {
    const above = directoriesOf([entry.path]).filter((directory) => !made.has(directory));
    for (const directory of above) made.add(directory);
    const directories = above.map((directory): Member => {
      const name = `${directory}/`;
      return { header: { ...owner, name, type: 'directory', mode: DIRECTORY_MODE, size: 0 } };
    });
    const own: Member =
      'to' in entry
        ? {
            header: { ...owner, name: entry.path, type: 'symlink', linkname: entry.to, mode: 0o777, size: 0 },
          }
        : {
            header: { ...owner, name: entry.path, type: 'file', mode: FILE_MODE, size: entry.bytes },
            file: entry,
          };
    return [...directories, own];
  });
}

async function feed(pack: Pack, entries: readonly PackedEntry[], options: PackOptions): Promise<void> {
  for (const { header, file } of headersOf(entries, options.time)) {
    throwIfAborted(options.signal);
    if (file === undefined || file.bytes === 0) {
      pack.entry(header, Buffer.alloc(0));
      if (file !== undefined) options.onFile?.(file, 'done', 0);
      continue;
    }
    options.onFile?.(file, 'start', 0);
    await pipeline(readFile(file, options), pack.entry(header));
    options.onFile?.(file, 'done', file.bytes);
  }
  pack.finalize();
}

/** Exactly as many bytes as the header says, with the digest that is promised. */
async function* readFile(file: PackedFile, { signal, onFile }: PackOptions): AsyncGenerator<Uint8Array> {
  const { from, bytes, sha256 } = file;
  const hash = sha256 === undefined ? undefined : createHash('sha256');
  let read = 0;
  const source: Iterable<Uint8Array> | AsyncIterable<Buffer> =
    typeof from === 'string' ? createReadStream(from, { highWaterMark: READ_BYTES, signal }) : [from];
  for await (const chunk of source) {
    read += chunk.length;
    if (read > bytes) throw changedFile(file);
    hash?.update(chunk);
    yield chunk;
    onFile?.(file, 'progress', read);
  }
  if (read < bytes || (hash !== undefined && hash.digest('hex') !== sha256)) throw changedFile(file);
}

/** A file that is not what it was when it was looked at. */
export function changedFile({ path, from }: PackedFile): ModeldlError {
  const file = typeof from === 'string' ? from : path;
  return new ModeldlError('INTEGRITY', `A stored file is not what it was: ${file}`, {
    hint: 'find out what is damaged with `modeldl verify`, and repair it with `--repair`',
    details: { file },
  });
}

export interface ArchiveOptions {
  readonly compression: Compression;
  /** As {@link packedBytes} has it. */
  readonly tarBytes: number;
  readonly signal: AbortSignal;
}

export interface WrittenArchive {
  readonly bytes: number;
  /** Of the archive as it was written, lower-case hex. */
  readonly sha256: string;
}

/**
 * Writes an archive into a file that is there whole or not at all. What was there is replaced: whether it may be, the
 * caller knows.
 * @throws ModeldlError UNSUPPORTED without zstd, and what the source throws; file system errors as they are
 */
export async function writeArchive(
  source: AsyncIterable<Buffer>,
  file: string,
  options: ArchiveOptions,
): Promise<WrittenArchive> {
  requireCompression(options.compression);
  const temporary = join(dirname(file), `.modeldl-${uniqueName()}`);
  try {
    const target = createWriteStream(temporary, { flags: 'wx', highWaterMark: READ_BYTES });
    const written = await sendArchive(source, target, options);
    await flush(temporary);
    throwIfAborted(options.signal);
    await rename(temporary, file);
    return written;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Writes an archive into a stream, as fast as that takes it. @throws as {@link writeArchive} */
export async function sendArchive(
  source: AsyncIterable<Buffer>,
  target: Writable,
  { compression, tarBytes, signal }: ArchiveOptions,
): Promise<WrittenArchive> {
  requireCompression(compression);
  const hash = createHash('sha256');
  let bytes = 0;
  const counted = new Transform({
    highWaterMark: READ_BYTES,
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  const compressed = compression === 'zstd' ? [zstd(tarBytes)] : [];
  try {
    await pipeline([Readable.from(source, { objectMode: false }), ...compressed, counted, target], {
      signal,
    });
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** Node.js has zstd from 22.15 and 23.8 on. */
function createZstd(): unknown {
  return Reflect.get(zlib, 'createZstdCompress');
}

/** @throws ModeldlError UNSUPPORTED where this Node.js has no zstd */
export function requireCompression(compression: Compression): void {
  if (compression === 'none' || typeof createZstd() === 'function') return;
  throw new ModeldlError('UNSUPPORTED', `Node.js ${nodeVersion} has no zstd to compress an archive with`, {
    hint: 'run modeldl with Node.js 22.15 or later; or write the archive to stdout, `-`, and pipe it into `zstd`',
  });
}

/** The size that is told ahead stands in the frame, so that a reader knows what it will need. */
function zstd(tarBytes: number): Duplex {
  const create = createZstd();
  if (typeof create !== 'function') throw new Error('Expected zstd');
  const options = { chunkSize: READ_BYTES, pledgedSrcSize: tarBytes };
  return Reflect.apply(create, zlib, [options]) as Duplex;
}

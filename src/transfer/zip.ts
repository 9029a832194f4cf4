/**
 * zip (and wheels), read by the central directory. A local header that says something else is how one file is shown to
 * a scanner and another to a reader, so it is refused.
 */
import { createReadStream, read } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { pipeline, Readable } from 'node:stream';
import { crc32, createInflateRaw } from 'node:zlib';
import type { Entry, LocalFileHeader, ZipFile } from 'yauzl';
import { shownName } from '../paths.js';
import { transformBytes, type ReadArchive } from './member.js';

/** Bits and values from the .ZIP File Format Specification (APPNOTE.TXT), sections 4.4.2, 4.4.4, 4.4.5, 4.5.3. */
const ENCRYPTED = 0x1;
const SIZES_FOLLOW = 0x8;
const STORED = 0;
const DEFLATED = 8;
/** Systems whose members carry a Unix mode: Unix and macOS. */
const UNIX_MODES = new Set([3, 19]);
const FILE_TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const DIRECTORY = 0o040000;
const ZIP64_FIELD = 1;
/** A size that is in the zip64 field. */
const IN_ZIP64 = 0xffffffff;
/** Records that may follow the central directory: its signature, the end of zip64, the end. */
const AFTER_DIRECTORY: ReadonlySet<number> = new Set([0x05054b50, 0x06064b50, 0x06054b50]);
const CHUNK_BYTES = 256 * 1024;

/** Where a member's header starts and its bytes end. */
interface Range {
  readonly start: number;
  readonly end: number;
  readonly name: string;
}

/** Reads every member in the order of the central directory. Throws what is wrong with the archive. */
export const readZip: ReadArchive = async (file, _format, visitor, signal) => {
  const handle = await open(file);
  try {
    const yauzl = await import('yauzl');
    const zip = await openDirectory(handle);
    const directory = cursor(zip);
    const ranges: Range[] = [];
    for await (const entry of zip.eachEntry()) {
      signal.throwIfAborted();
      const name = entry.fileName;
      checkReadable(entry);
      const local = await localHeader(zip, entry);
      const fields = yauzl.parseExtraFields(local.extraField);
      if (
        !local.fileName.equals(entry.fileNameRaw) ||
        yauzl.getFileNameLowLevel(local.generalPurposeBitFlag, local.fileName, fields, true) !== name
      ) {
        throw new Error(`the local header of ${shownName(name)} has another name`);
      }
      checkLocalHeader(entry, local, fields.find(({ id }) => id === ZIP64_FIELD)?.data);
      const end = local.fileDataStart + entry.compressedSize;
      ranges.push({ start: entry.relativeOffsetOfLocalHeader, end, name });
      await visitor.member({
        name: name.replace(/\/$/, ''),
        kind: kindOf(entry),
        bytes: entry.uncompressedSize,
        open: () => Promise.resolve(contents(file, local.fileDataStart, entry)),
      });
    }
    await refuseMoreEntries(handle, cursor(zip));
    refuseOverlaps([...ranges, { start: directory, end: Infinity, name: 'the central directory' }]);
  } finally {
    await handle.close();
  }
};

/** yauzl reads headers only, through this file: an offset that no file can have would end the whole program in its own reader. */
async function openDirectory(handle: FileHandle): Promise<ZipFile> {
  const { fromRandomAccessReaderPromise, RandomAccessReader } = await import('yauzl');
  const { size } = await handle.stat();
  class Reader extends RandomAccessReader {
    override read(
      buffer: Buffer,
      offset: number,
      length: number,
      position: number,
      callback: (error: Error | null) => void,
    ): void {
      if (position + length > size) {
        setImmediate(callback, new Error(`it points to ${position}, beyond its end at ${size}`));
        return;
      }
      read(handle.fd, buffer, offset, length, position, (error, bytesRead) => {
        callback(error ?? (bytesRead < length ? new Error('it became shorter while it was read') : null));
      });
    }
  }
  return fromRandomAccessReaderPromise(new Reader(), size, {
    strictFileNames: true,
    // Its message would not name the member.
    validateEntrySizes: false,
    autoClose: false,
  });
}

/** Where the next entry of the directory is read: before the first one its start, after the last one its end. */
function cursor(zip: ZipFile): number {
  // The types say boolean, which it never was.
  const at: unknown = zip.readEntryCursor;
  if (typeof at !== 'number') throw new TypeError(`Expected a position in the zip, got ${typeof at}`);
  return at;
}

/** The end record says how many entries there are; another reader may go by the directory's size. */
async function refuseMoreEntries(handle: FileHandle, end: number): Promise<void> {
  const signature = Buffer.alloc(4);
  await handle.read(signature, 0, signature.length, end);
  if (!AFTER_DIRECTORY.has(signature.readUInt32LE())) {
    throw new Error('its central directory holds more than the entries that are counted');
  }
}

function checkReadable(entry: Entry): void {
  const name = shownName(entry.fileName);
  if ((entry.generalPurposeBitFlag & ENCRYPTED) !== 0) throw new Error(`${name} is encrypted`);
  if (entry.compressionMethod !== STORED && entry.compressionMethod !== DEFLATED) {
    throw new Error(`${name} is compressed by method ${entry.compressionMethod}`);
  }
  if (entry.compressionMethod === STORED && entry.compressedSize !== entry.uncompressedSize) {
    throw new Error(`${name} is not compressed, and yet its two sizes differ`);
  }
}

async function localHeader(zip: ZipFile, entry: Entry): Promise<LocalFileHeader> {
  try {
    return await zip.readLocalFileHeaderPromise(entry);
  } catch (error) {
    throw new Error(`${shownName(entry.fileName)}: ${messageOf(error)}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function checkLocalHeader(entry: Entry, local: LocalFileHeader, zip64: Buffer | undefined): void {
  const name = shownName(entry.fileName);
  if (local.compressionMethod !== entry.compressionMethod) {
    throw new Error(`the local header of ${name} has another compression method`);
  }
  if ((local.generalPurposeBitFlag & ENCRYPTED) !== 0) {
    throw new Error(`the local header of ${name} says that it is encrypted`);
  }
  // With this bit the sizes follow the data, and the header has zeros.
  const follow = (local.generalPurposeBitFlag & SIZES_FOLLOW) !== 0;
  const differs = (written: number, real: number): boolean => written !== real && !(follow && written === 0);
  const sizes = localSizes(local, zip64);
  if (
    differs(local.crc32, entry.crc32) ||
    differs(sizes.compressed, entry.compressedSize) ||
    differs(sizes.uncompressed, entry.uncompressedSize)
  ) {
    throw new Error(`the local header of ${name} has other sizes or another checksum`);
  }
}

/** Sizes of all ones are in the zip64 field, in this order; without it they stay as they are. */
function localSizes(
  local: LocalFileHeader,
  zip64: Buffer | undefined,
): { uncompressed: number; compressed: number } {
  let at = 0;
  const real = (written: number): number => {
    if (written !== IN_ZIP64 || zip64 === undefined || at + 8 > zip64.length) return written;
    at += 8;
    return Number(zip64.readBigUInt64LE(at - 8));
  };
  return { uncompressed: real(local.uncompressedSize), compressed: real(local.compressedSize) };
}

function kindOf(entry: Entry): 'file' | 'directory' | 'other' {
  if (entry.fileName.endsWith('/')) return 'directory';
  const mode = UNIX_MODES.has(entry.versionMadeBy >> 8) ? entry.externalFileAttributes >>> 16 : 0;
  const type = mode & FILE_TYPE_MASK;
  if (type === 0 || type === REGULAR) return 'file';
  return type === DIRECTORY && entry.uncompressedSize === 0 ? 'directory' : 'other';
}

/** Members that share bytes are how a small file unpacks to petabytes. */
function refuseOverlaps(ranges: Range[]): void {
  ranges.sort((a, b) => a.start - b.start);
  for (let at = 1; at < ranges.length; at += 1) {
    const before = ranges[at - 1];
    const range = ranges[at];
    if (before !== undefined && range !== undefined && range.start < before.end) {
      throw new Error(`${shownName(before.name)} and ${shownName(range.name)} share bytes`);
    }
  }
}

/** A member's bytes, unpacked, with their checksum looked at when all have come. */
function contents(file: string, start: number, entry: Entry): Readable {
  const { compressedSize, compressionMethod, crc32: expected } = entry;
  // A range of no bytes cannot be named.
  const packed =
    compressedSize === 0
      ? Readable.from([])
      : createReadStream(file, { start, end: start + compressedSize - 1, highWaterMark: CHUNK_BYTES });
  let crc = 0;
  const check = transformBytes(
    (chunk) => {
      crc = crc32(chunk, crc);
    },
    () => {
      if (crc !== expected) throw new Error('its checksum is wrong');
    },
  );
  const inflate = compressionMethod === DEFLATED ? [createInflateRaw({ chunkSize: CHUNK_BYTES })] : [];
  // The reader of the last stream meets every failure.
  pipeline([packed, ...inflate, check], () => undefined);
  return check;
}

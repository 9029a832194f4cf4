/**
 * zip (and wheels), read by the central directory. A local header that says something else is how one file is shown to
 * a scanner and another to a reader, so it is refused.
 */
import { Transform, type Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import type { ReadArchive } from './archive.js';

/** Bits and values from the .ZIP File Format Specification (APPNOTE.TXT), sections 4.4.4, 4.4.5, 4.3.7. */
const ENCRYPTED = 0x1;
const SIZES_FOLLOW = 0x8;
const STORED = 0;
const DEFLATED = 8;
const UNIX = 3;
const FILE_TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const DIRECTORY = 0o040000;

/** Reads every member in the order of the central directory. Throws what is wrong with the archive. */
export const readZip: ReadArchive = async (file, _format, visit, signal) => {
  const yauzl = await import('yauzl');
  const zip = await yauzl.openPromise(file, { strictFileNames: true, validateEntrySizes: true });
  const starts: { start: number; end: number; name: string }[] = [];
  try {
    for await (const entry of zip.eachEntry()) {
      signal.throwIfAborted();
      const name = entry.fileName;
      if ((entry.generalPurposeBitFlag & ENCRYPTED) !== 0)
        throw new Error(`${JSON.stringify(name)} is encrypted`);
      if (entry.compressionMethod !== STORED && entry.compressionMethod !== DEFLATED) {
        throw new Error(`${JSON.stringify(name)} is compressed by method ${entry.compressionMethod}`);
      }
      const local = await zip.readLocalFileHeaderPromise(entry);
      checkLocalHeader(entry, local);
      starts.push({
        start: entry.relativeOffsetOfLocalHeader,
        end: local.fileDataStart + entry.compressedSize,
        name,
      });
      await visit({
        name: name.replace(/\/$/, ''),
        kind: kindOf(entry),
        bytes: entry.uncompressedSize,
        open: async () => checked(await zip.openReadStreamPromise(entry), entry.crc32, name),
      });
    }
    refuseOverlaps(starts);
  } finally {
    zip.close();
  }
};

interface CentralHeader {
  readonly fileName: string;
  readonly fileNameRaw: Buffer;
  readonly versionMadeBy: number;
  readonly externalFileAttributes: number;
  readonly generalPurposeBitFlag: number;
  readonly compressionMethod: number;
  readonly crc32: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

interface LocalHeader {
  readonly fileName: Buffer;
  readonly generalPurposeBitFlag: number;
  readonly compressionMethod: number;
  readonly crc32: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
}

function checkLocalHeader(entry: CentralHeader, local: LocalHeader): void {
  const name = JSON.stringify(entry.fileName);
  if (!local.fileName.equals(entry.fileNameRaw))
    throw new Error(`the local header of ${name} has another name`);
  if (local.compressionMethod !== entry.compressionMethod) {
    throw new Error(`the local header of ${name} has another compression method`);
  }
  // With this bit the sizes follow the data, and the header has zeros; zip64 puts all ones there.
  const follow = (local.generalPurposeBitFlag & SIZES_FOLLOW) !== 0;
  const differs = (written: number, real: number): boolean =>
    written !== real && !(follow && written === 0) && written !== 0xffffffff;
  if (
    differs(local.crc32, entry.crc32) ||
    differs(local.compressedSize, entry.compressedSize) ||
    differs(local.uncompressedSize, entry.uncompressedSize)
  ) {
    throw new Error(`the local header of ${name} has other sizes or another checksum`);
  }
}

function kindOf(entry: CentralHeader): 'file' | 'directory' | 'other' {
  if (entry.fileName.endsWith('/')) return 'directory';
  const type = entry.versionMadeBy >> 8 === UNIX ? (entry.externalFileAttributes >>> 16) & FILE_TYPE_MASK : 0;
  if (type === 0 || type === REGULAR) return 'file';
  return type === DIRECTORY ? 'directory' : 'other';
}

/** Members that share bytes are how a small file unpacks to petabytes. */
function refuseOverlaps(ranges: { start: number; end: number; name: string }[]): void {
  ranges.sort((a, b) => a.start - b.start);
  for (let at = 1; at < ranges.length; at += 1) {
    const before = ranges[at - 1];
    const range = ranges[at];
    if (before !== undefined && range !== undefined && range.start < before.end) {
      throw new Error(`${JSON.stringify(before.name)} and ${JSON.stringify(range.name)} share bytes`);
    }
  }
}

function checked(body: Readable, expected: number, name: string): Readable {
  let crc = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      crc = crc32(chunk, crc);
      done(null, chunk);
    },
    flush(done) {
      done(crc === expected ? null : new Error(`the checksum of ${JSON.stringify(name)} is wrong`));
    },
  });
  body.on('error', (error: Error) => check.destroy(error));
  return body.pipe(check);
}

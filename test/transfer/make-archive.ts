/** Archives built byte by byte, so that every field can lie. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { expect } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import type { Unpack } from '../../src/hub.js';
import {
  ARCHIVE_LIMITS,
  extractArchive,
  listArchive,
  type ArchiveLimits,
} from '../../src/transfer/archive.js';

/** One member of a tar, ustar unless a test says otherwise. */
export interface TarMember {
  readonly name: string | Buffer;
  readonly content?: string | Buffer;
  /** One character: `0` file, `1` hard link, `2` symlink, `5` directory, `x` PAX, `L` GNU long name, … */
  readonly type?: string;
  readonly linkname?: string;
  /** Declared bytes; default those of the content. */
  readonly size?: number;
  readonly magic?: 'ustar' | 'gnu' | 'none';
  /** Value of the checksum field, where it lies. */
  readonly checksum?: number;
}

const BLOCK = 512;
export const END_OF_TAR = Buffer.alloc(2 * BLOCK);
const MAGIC = { ustar: 'ustar\x0000', gnu: 'ustar  \0', none: '' };

/** Header block and padded contents of one member. */
export function tarMember(member: TarMember): Buffer {
  const content = Buffer.from(member.content ?? '');
  const header = Buffer.alloc(BLOCK);
  Buffer.from(member.name).copy(header, 0, 0, 100);
  header.write('0000644\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  writeSize(header, member.size ?? content.length);
  header.write('00000000000\0', 136);
  header.write(member.type ?? '0', 156);
  header.write(member.linkname ?? '', 157);
  header.write(MAGIC[member.magic ?? 'ustar'], 257, 'latin1');
  header.write('        ', 148);
  const sum = member.checksum ?? header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}

/** Octal digits where they fit, else GNU's base 256: the first byte is 0x80, or 0xff for negative numbers. */
function writeSize(header: Buffer, size: number): void {
  if (size >= 0 && size < 8 ** 11) {
    header.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
    return;
  }
  header.fill(size < 0 ? 0xff : 0, 124, 136);
  header.writeBigInt64BE(BigInt(size), 128);
  header[124] = size < 0 ? 0xff : 0x80;
}

export function tar(members: readonly TarMember[], end = END_OF_TAR): Buffer {
  return Buffer.concat([...members.map(tarMember), end]);
}

/** A PAX header for the member that follows it. */
export function pax(records: Readonly<Record<string, string>>, type: 'x' | 'g' = 'x'): TarMember {
  const lines = Object.entries(records).map(([key, value]) => {
    const text = ` ${key}=${value}\n`;
    let length = Buffer.byteLength(text);
    while (Buffer.byteLength(`${length}${text}`) !== length) length += 1;
    return `${length}${text}`;
  });
  return { name: 'PaxHeader', type, content: lines.join('') };
}

/** GNU's way to give the member that follows it a long name. */
export function gnuLongName(name: string): TarMember {
  return { name: '././@LongLink', type: 'L', content: `${name}\0`, magic: 'gnu' };
}

/** One member of a zip; `local` and `central` override what that header says. */
export interface ZipMember {
  readonly name: string | Buffer;
  readonly content?: string | Buffer;
  readonly method?: number;
  /** What is in the archive in place of the compressed content. */
  readonly raw?: Buffer;
  readonly flags?: number;
  /** Unix mode of the member; the archive is marked as made on Unix. */
  readonly mode?: number;
  /** System that made it: 3 is Unix, 19 is macOS, 0 is MS-DOS. */
  readonly madeBy?: number;
  readonly local?: Partial<ZipHeader>;
  readonly central?: Partial<ZipHeader>;
  /** Sizes follow the data, with zeros in the local header. */
  readonly dataDescriptor?: boolean;
  /** Where the local header lies, when another member's place is meant. */
  readonly offset?: number;
  readonly comment?: string;
}

export interface ZipHeader {
  readonly name: string | Buffer;
  readonly method: number;
  readonly flags: number;
  readonly crc32: number;
  readonly compressedSize: number;
  readonly uncompressedSize: number;
  readonly extra: Buffer;
}

export interface ZipOptions {
  readonly prefix?: Buffer;
  /** Between the last member and the central directory. */
  readonly gap?: Buffer;
  readonly comment?: Buffer;
  readonly suffix?: Buffer;
  /** Entries that the end record counts. */
  readonly count?: number;
  /** Bytes that the end record says the central directory has. */
  readonly directorySize?: number;
  readonly zip64?: {
    readonly directoryOffset?: bigint;
    readonly recordOffset?: bigint;
    readonly count?: bigint;
  };
}

const UTF8_NAME = 0x800;
const SIZES_FOLLOW = 0x8;

export function zip(members: readonly ZipMember[], options: ZipOptions = {}): Buffer {
  const parts: Buffer[] = [options.prefix ?? Buffer.alloc(0)];
  const directory: Buffer[] = [];
  let at = parts[0]?.length ?? 0;
  const add = (part: Buffer): void => {
    parts.push(part);
    at += part.length;
  };
  for (const member of members) {
    const header = headerOf(member);
    const body = member.raw ?? compressed(member);
    const offset = member.offset ?? at;
    if (member.offset === undefined) {
      const blank = { crc32: 0, compressedSize: 0, uncompressedSize: 0 };
      add(localHeader({ ...header, ...(member.dataDescriptor ? blank : {}), ...member.local }));
      add(body);
      if (member.dataDescriptor) add(descriptor(header));
    }
    directory.push(centralHeader({ ...header, ...member.central }, member, offset));
  }
  if (options.gap !== undefined) add(options.gap);
  const start = at;
  for (const entry of directory) add(entry);
  const size = at - start;
  if (options.zip64 !== undefined) {
    const count = options.zip64.count ?? BigInt(members.length);
    add(zip64End(count, BigInt(size), options.zip64.directoryOffset ?? BigInt(start)));
    add(zip64Locator(options.zip64.recordOffset ?? BigInt(start + size)));
  }
  const all = options.zip64 === undefined ? undefined : 0xffffffff;
  add(
    endRecord(
      options.count ?? (all === undefined ? members.length : 0xffff),
      options.directorySize ?? all ?? size,
      all ?? start,
      options.comment,
    ),
  );
  if (options.suffix !== undefined) add(options.suffix);
  return Buffer.concat(parts);
}

function compressed(member: ZipMember): Buffer {
  const content = Buffer.from(member.content ?? '');
  return member.method === 8 ? deflateRawSync(content) : content;
}

function headerOf(member: ZipMember): ZipHeader {
  const content = Buffer.from(member.content ?? '');
  return {
    name: member.name,
    method: member.method ?? 0,
    flags: (member.flags ?? UTF8_NAME) | (member.dataDescriptor ? SIZES_FOLLOW : 0),
    crc32: crc32(content),
    compressedSize: (member.raw ?? compressed(member)).length,
    uncompressedSize: content.length,
    extra: Buffer.alloc(0),
  };
}

function localHeader(header: ZipHeader): Buffer {
  const fixed = Buffer.alloc(30);
  fixed.writeUInt32LE(0x04034b50, 0);
  fixed.writeUInt16LE(20, 4);
  writeCommon(fixed, 6, header);
  return Buffer.concat([fixed, Buffer.from(header.name), header.extra]);
}

/** The fields that both headers have, from the flags on. */
function writeCommon(buffer: Buffer, at: number, header: ZipHeader): void {
  buffer.writeUInt16LE(header.flags, at);
  buffer.writeUInt16LE(header.method, at + 2);
  buffer.writeUInt32LE(header.crc32, at + 8);
  buffer.writeUInt32LE(header.compressedSize, at + 12);
  buffer.writeUInt32LE(header.uncompressedSize, at + 16);
  buffer.writeUInt16LE(Buffer.from(header.name).length, at + 20);
  buffer.writeUInt16LE(header.extra.length, at + 22);
}

function centralHeader(header: ZipHeader, member: ZipMember, offset: number): Buffer {
  const fixed = Buffer.alloc(46);
  const comment = Buffer.from(member.comment ?? '');
  fixed.writeUInt32LE(0x02014b50, 0);
  fixed.writeUInt16LE(((member.madeBy ?? 3) << 8) | 20, 4);
  fixed.writeUInt16LE(20, 6);
  writeCommon(fixed, 8, header);
  fixed.writeUInt16LE(comment.length, 32);
  fixed.writeUInt32LE(((member.mode ?? 0o100644) << 16) >>> 0, 38);
  fixed.writeUInt32LE(offset, 42);
  return Buffer.concat([fixed, Buffer.from(header.name), header.extra, comment]);
}

function descriptor(header: ZipHeader): Buffer {
  const record = Buffer.alloc(16);
  record.writeUInt32LE(0x08074b50, 0);
  record.writeUInt32LE(header.crc32, 4);
  record.writeUInt32LE(header.compressedSize, 8);
  record.writeUInt32LE(header.uncompressedSize, 12);
  return record;
}

function zip64End(count: bigint, size: bigint, offset: bigint): Buffer {
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(45, 12);
  record.writeUInt16LE(45, 14);
  record.writeBigUInt64LE(count, 24);
  record.writeBigUInt64LE(count, 32);
  record.writeBigUInt64LE(size, 40);
  record.writeBigUInt64LE(offset, 48);
  return record;
}

function zip64Locator(recordOffset: bigint): Buffer {
  const record = Buffer.alloc(20);
  record.writeUInt32LE(0x07064b50, 0);
  record.writeBigUInt64LE(recordOffset, 8);
  record.writeUInt32LE(1, 16);
  return record;
}

function endRecord(count: number, size: number, offset: number, comment: Buffer = Buffer.alloc(0)): Buffer {
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(count, 8);
  record.writeUInt16LE(count, 10);
  record.writeUInt32LE(size, 12);
  record.writeUInt32LE(offset, 16);
  record.writeUInt16LE(comment.length, 20);
  return Buffer.concat([record, comment]);
}

/** The extra field with 64-bit sizes: uncompressed, compressed, and offset where given. */
export function zip64Extra(...values: readonly bigint[]): Buffer {
  const field = Buffer.alloc(4 + 8 * values.length);
  field.writeUInt16LE(1, 0);
  field.writeUInt16LE(8 * values.length, 2);
  values.forEach((value, index) => field.writeBigUInt64LE(value, 4 + 8 * index));
  return field;
}

/** Info-ZIP's extra field that gives a member another name, for readers that know it. */
export function unicodePathExtra(rawName: string, name: string): Buffer {
  const field = Buffer.alloc(9);
  field.writeUInt16LE(0x7075, 0);
  field.writeUInt16LE(5 + Buffer.byteLength(name), 2);
  field.writeUInt8(1, 4);
  field.writeUInt32LE(crc32(rawName), 5);
  return Buffer.concat([field, Buffer.from(name)]);
}

/** What reading a whole archive gave. */
export type Contents = Readonly<Record<string, string>>;

export interface ReadOptions {
  readonly limits?: Partial<ArchiveLimits>;
  readonly strip?: number;
  readonly into?: string;
  readonly label?: string;
  /** Only these; default every member of the listing. */
  readonly wanted?: readonly string[];
}

const NO_RULES = { caseInsensitive: false, normalizing: false, windows: false };

/**
 * Writes the bytes to a file of their own, lists them, and takes out what was listed, as a pull does.
 * @throws what the archive's reader throws
 */
export async function readArchive(
  bytes: Buffer,
  format: Unpack['format'],
  options: ReadOptions = {},
): Promise<Contents> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-archive-'));
  try {
    const file = join(directory, 'archive');
    await writeFile(file, bytes);
    const { strip, into } = options;
    const unpack = {
      format,
      ...(strip === undefined ? {} : { strip }),
      ...(into === undefined ? {} : { into }),
    };
    const archive = { file, label: options.label ?? 'models/archive', bytes: bytes.length, unpack };
    const limits = { ...ARCHIVE_LIMITS, rules: NO_RULES, ...options.limits };
    const { signal } = new AbortController();
    const members = await listArchive(archive, limits, signal);
    const contents: Record<string, string> = {};
    const wanted = new Set(options.wanted ?? members.map(({ path }) => path));
    await extractArchive(archive, wanted, limits, signal, async (member, body) => {
      contents[member.path] = Buffer.concat(await body.toArray()).toString('latin1');
    });
    return contents;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The error that reading the archive ends with, which must be an INTEGRITY error that names the archive. */
export async function refusal(
  bytes: Buffer,
  format: Unpack['format'],
  options: ReadOptions = {},
): Promise<ModeldlError> {
  const label = 'models/hostile';
  let contents: Contents;
  try {
    contents = await readArchive(bytes, format, { ...options, label });
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    expect(error.code).toBe('INTEGRITY');
    expect(error.message).toContain(label);
    return error;
  }
  throw new Error(`Expected the archive to be refused, got ${JSON.stringify(Object.keys(contents))}`);
}

/**
 * Reading a bundle: one pass, in which every member has to be what the index said before it. Everything about it is
 * hostile: names, links, sizes that lie, what is left over.
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Context } from '../context.js';
import { abortError, diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { shownName } from '../paths.js';
import { ARCHIVE_LIMITS, RATIO_FREE_BYTES } from '../transfer/archive.js';
import type { RawMember } from '../transfer/member.js';
import { readTar } from '../transfer/tar.js';
import {
  contentsOf,
  damaged,
  INDEX_NAME,
  indexDigest,
  MAX_INDEX_BYTES,
  memberName,
  parseIndex,
  SEAL_NAME,
  sealOf,
  type BundleIndex,
} from './bundle-index.js';

export interface OpenedBundle {
  readonly index: BundleIndex;
  /** `sha256:<hex>` of the index, and so of all that it names. */
  readonly digest: string;
  /** Of the bundle as a file. */
  readonly fileBytes: number;
}

export interface BundleReader {
  /** Told what the bundle holds, before any of it is read. @returns whether to go on */
  readonly begin: (bundle: OpenedBundle) => Promise<boolean>;
  /**
   * Takes one content, whose bytes were not checked yet.
   * @returns nothing for one that is to be read over, and checked all the same
   */
  readonly take: (sha256: string, bytes: number) => Promise<ContentSink | undefined>;
  /** So many bytes of contents were read. */
  readonly onProgress?: (bytes: number) => void;
}

export interface ContentSink {
  write(chunk: Buffer): Promise<void>;
  /** The bytes are what the index says. */
  keep(): Promise<void>;
  /** After everything, whatever happened. */
  close(): Promise<void>;
}

/** Begins every frame of zstd (RFC 8878). */
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
/** What a member takes in a tar besides its bytes: a header, one for a long name or size, and what fills its last block. */
const MEMBER_OVERHEAD = 4096;
/** A reader of compressed archives looks ahead. */
const LOOK_AHEAD = 64 * 1024 * 1024;

/** Who reads has seen enough. */
const ENOUGH = new Error('enough');

/**
 * @throws ModeldlError NOT_FOUND, USAGE for what is no file, CONFIG for another version, INTEGRITY for what is not what
 *   the index says, and what the reader throws
 */
export async function readBundle(
  { signal }: Pick<Context, 'signal'>,
  file: string,
  reader: BundleReader,
): Promise<OpenedBundle> {
  const { bytes: fileBytes, format } = await lookAt(file);
  let read: { readonly index: BundleIndex; readonly text: Buffer } | undefined;
  let opened: OpenedBundle | undefined;
  let expected: [sha256: string, bytes: number][] = [];
  let most = MAX_INDEX_BYTES + LOOK_AHEAD;
  let done = 0;
  const member = async (raw: RawMember): Promise<void> => {
    if (read === undefined) {
      const text = await indexText(file, raw);
      read = { index: parseIndex(file, text), text };
      return;
    }
    if (opened === undefined) {
      const { index, text } = read;
      await checkSeal(file, raw, sealOf(text));
      opened = { index, digest: indexDigest(text), fileBytes };
      expected = [...contentsOf(index)];
      const contents = expected.reduce((sum, [, bytes]) => sum + bytes + MEMBER_OVERHEAD, 0);
      most = text.length + contents + LOOK_AHEAD;
      if (!(await reader.begin(opened))) throw ENOUGH;
      return;
    }
    const [hex, bytes] = expected.shift() ?? [];
    if (hex === undefined || bytes === undefined || raw.name !== memberName(hex))
      throw damaged(file, `its index does not name ${shownName(raw.name)} there`);
    if (raw.kind !== 'file') throw damaged(file, `${shownName(raw.name)} is no plain file`);
    if (raw.bytes !== bytes) throw damaged(file, `${raw.name} has ${raw.bytes} bytes instead of ${bytes}`);
    const before = done;
    await readContent(file, await raw.open(), hex, await reader.take(hex, bytes), (received) => {
      done = before + received;
      reader.onProgress?.(done);
    });
  };
  const unpacked = (bytes: number): void => {
    const isBomb = bytes > RATIO_FREE_BYTES && bytes > fileBytes * ARCHIVE_LIMITS.maxRatio;
    if (isBomb || bytes > most) throw damaged(file, 'it unpacks to more than it may hold');
  };
  try {
    await readTar(file, format, { member, unpacked }, signal);
  } catch (error) {
    if (error === ENOUGH && opened !== undefined) return opened;
    if (signal.aborted) throw abortError(signal);
    if (error instanceof ModeldlError) throw error;
    const disk = diskError(error, file, 'read');
    if (disk instanceof ModeldlError) throw disk;
    throw damaged(file, `it is damaged or cut off (${error instanceof Error ? error.message : ''})`, error);
  }
  if (read === undefined) throw noBundle(file);
  if (opened === undefined) throw damaged(file, 'it ends after its index');
  const [missing] = expected;
  if (missing !== undefined) throw damaged(file, `it lacks ${memberName(missing[0])}`);
  return opened;
}

async function lookAt(file: string): Promise<{ bytes: number; format: 'tar' | 'tar.zst' }> {
  try {
    const found = await stat(file);
    if (!found.isFile()) {
      throw new ModeldlError('USAGE', `Not a file: ${file}`, {
        hint: 'name the bundle itself, as `modeldl bundle create` printed it',
        details: { file },
      });
    }
    const handle = await open(file);
    try {
      const { buffer } = await handle.read(Buffer.alloc(ZSTD.length), 0, ZSTD.length, 0);
      return { bytes: found.size, format: buffer.equals(ZSTD) ? 'tar.zst' : 'tar' };
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw readFailure(error, file);
    throw new ModeldlError('NOT_FOUND', `No such file: ${file}`, {
      hint: '`modeldl bundle create -o FILE` makes a bundle',
      cause: error,
      details: { file },
    });
  }
}

/** The cache is not what cannot be read. */
function readFailure(error: unknown, file: string): unknown {
  const disk = diskError(error, file, 'read');
  if (!(disk instanceof ModeldlError) || disk === error) return error;
  return new ModeldlError(disk.code, disk.message, {
    hint: 'make the bundle readable for this user, or copy it to where it is',
    cause: error,
    details: { file },
  });
}

function noBundle(file: string): ModeldlError {
  return new ModeldlError('INTEGRITY', `Not a bundle of modeldl: ${file}`, {
    hint: '`modeldl bundle create` makes one; archives of other programs are pulled: `modeldl pull ./FILE//`',
    details: { file },
  });
}

async function indexText(file: string, raw: RawMember): Promise<Buffer> {
  if (raw.name !== INDEX_NAME || raw.kind !== 'file') throw noBundle(file);
  if (raw.bytes > MAX_INDEX_BYTES) throw damaged(file, `its index has more than ${MAX_INDEX_BYTES} bytes`);
  const text = await bytesOf(raw);
  if (text.length !== raw.bytes) throw damaged(file, 'its index is cut off');
  return text;
}

async function checkSeal(file: string, raw: RawMember, seal: Buffer): Promise<void> {
  const isSeal = raw.name === SEAL_NAME && raw.kind === 'file' && raw.bytes === seal.length;
  if (isSeal && (await bytesOf(raw)).equals(seal)) return;
  throw damaged(file, `its index is not what ${SEAL_NAME} says`);
}

async function bytesOf(raw: RawMember): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of await raw.open()) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function readContent(
  file: string,
  body: Readable,
  sha256: string,
  sink: ContentSink | undefined,
  onProgress: (bytes: number) => void,
): Promise<void> {
  try {
    const hash = createHash('sha256');
    let read = 0;
    for await (const piece of body) {
      const chunk = piece as Buffer;
      hash.update(chunk);
      await sink?.write(chunk);
      read += chunk.length;
      onProgress(read);
    }
    const actual = hash.digest('hex');
    if (actual !== sha256)
      throw damaged(file, `the bytes of ${memberName(sha256)} have another digest: ${actual}`);
    await sink?.keep();
  } finally {
    await sink?.close();
  }
}

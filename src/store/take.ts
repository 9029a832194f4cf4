/**
 * Files of others taken into the store as blobs: out of the caches of other tools, and out of caches that are only read.
 *
 * Blocks are shared where that is possible. A hard link shares the inode as well, and is made only where nothing changes
 * hands by it: the file must lie on the file system of the store, belong to the user and group that a file written here
 * gets, and let the same people read it. Then it becomes read-only like any blob, and a write to it by its owner, who
 * could write to the store as well, is found by its time. Everything else is copied. What was taken is hashed after it
 * was linked, or while it is copied, so that what becomes a blob is what was hashed.
 */
import { createReadStream, type Stats } from 'node:fs';
import { chmod, constants, copyFile, link, open, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { platform } from 'node:process';
import { createHash } from 'node:crypto';
import { diskError, systemErrorCode, throwIfAborted } from '../errors.js';
import { adoptBlob, MAY_READ } from './blobs.js';
import { hashFile } from './hash.js';
import { inStore, uniqueName, type Store } from './layout.js';
import type { LinkMode } from './link.js';

/** What a file has to be to become a blob. */
export interface PromisedBytes {
  readonly sha256: string;
  /** Unknown until it is looked at, when absent. */
  readonly bytes?: number | undefined;
}

export interface TakeOptions {
  readonly signal: AbortSignal;
  /** Told before the bytes are read. */
  readonly onStart?: (bytes: number) => void;
  /** Bytes hashed so far. */
  readonly onProgress?: (bytes: number) => void;
  /** Told before the blob is there. */
  readonly beforeKept: () => Promise<void>;
}

export interface Taken {
  readonly bytes: number;
  readonly mode: LinkMode;
}

/** Large reads, as {@link hashFile} does. */
const READ_BYTES = 1024 * 1024;

/**
 * Makes a blob of a file elsewhere.
 * @returns `wrong` for a file that is not what was promised, undefined for one that is gone or cannot be read
 * @throws ModeldlError DISK for the store, INTERRUPTED
 */
export async function takeFile(
  store: Store,
  source: string,
  promised: PromisedBytes,
  options: TakeOptions,
): Promise<Taken | 'wrong' | undefined> {
  const { signal, onProgress } = options;
  const temporary = inStore(store, 'tmp', uniqueName());
  try {
    const found = await readable(source);
    if (found === undefined) return undefined;
    if (promised.bytes !== undefined && found.size !== promised.bytes) return 'wrong';
    options.onStart?.(found.size);
    const shared = await shareFile(source, temporary);
    const before = shared === undefined ? undefined : await stat(temporary);
    const sha256 =
      shared === undefined
        ? await copyHashed(source, temporary, signal, onProgress)
        : await hashFile(temporary, signal, onProgress).catch((error: unknown) => {
            if (isReadError(error)) return undefined;
            throw error;
          });
    if (sha256 === undefined) return undefined;
    const { size: bytes } = before ?? (await stat(temporary));
    if (sha256 !== promised.sha256 || (promised.bytes ?? bytes) !== bytes) return 'wrong';
    await options.beforeKept();
    // Who wrote to it meanwhile may have changed what was hashed already.
    const after = await stat(temporary);
    if (before !== undefined && (after.mtimeMs !== before.mtimeMs || after.size !== bytes)) return 'wrong';
    await adoptBlob(store, temporary, sha256, bytes);
    return { bytes, mode: shared ?? 'copy' };
  } catch (error) {
    throw diskError(error, temporary);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Would taking this file cost no space? Found out by trying. */
export async function canShare(store: Store, source: string): Promise<boolean> {
  const temporary = inStore(store, 'tmp', uniqueName());
  try {
    return (await shareFile(source, temporary)) !== undefined;
  } catch {
    return false;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readable(source: string): Promise<Stats | undefined> {
  try {
    const found = await stat(source);
    return found.isFile() ? found : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes a file that shares its blocks with another; undefined where that cannot be, and then nothing is left behind.
 * Throws file system errors of the store.
 */
async function shareFile(source: string, temporary: string): Promise<'reflink' | 'hardlink' | undefined> {
  // Of a file that is written here, which tells whose it is and who may read it: by the umask and by the directory.
  await writeFile(temporary, '', { flag: 'wx' });
  const own = await stat(temporary);
  try {
    await copyFile(source, temporary, constants.COPYFILE_FICLONE_FORCE);
    await chmod(temporary, own.mode);
    return 'reflink';
  } catch {
    await rm(temporary, { force: true });
  }
  try {
    // A link of the Hugging Face cache may lead to another one.
    const file = await realpath(source);
    if (!mayShareInode(await stat(file), own)) return undefined;
    await link(file, temporary);
    return 'hardlink';
  } catch {
    await rm(temporary, { force: true });
    return undefined;
  }
}

function mayShareInode(found: Stats, own: Stats): boolean {
  return (
    // There a read-only file can be removed under none of its names.
    platform !== 'win32' &&
    found.dev === own.dev &&
    found.uid === own.uid &&
    found.gid === own.gid &&
    (found.mode & MAY_READ) === (own.mode & MAY_READ)
  );
}

/** @returns the sha256 of the copy, or undefined when the source cannot be read */
async function copyHashed(
  source: string,
  temporary: string,
  signal: AbortSignal,
  onProgress?: (bytes: number) => void,
): Promise<string | undefined> {
  const hash = createHash('sha256');
  const target = await open(temporary, 'wx');
  try {
    const stream = createReadStream(source, { highWaterMark: READ_BYTES, signal });
    let done = 0;
    for await (const chunk of stream) {
      const bytes = chunk as Buffer;
      await target.writeFile(bytes);
      hash.update(bytes);
      done += bytes.length;
      onProgress?.(done);
    }
    return hash.digest('hex');
  } catch (error) {
    throwIfAborted(signal);
    if (isReadError(error)) return undefined;
    throw error;
  } finally {
    await target.close();
  }
}

/** Whose fault it is, the call tells: the target is only written to. */
function isReadError(error: unknown): boolean {
  if (systemErrorCode(error) === undefined || !(error instanceof Error)) return false;
  return 'syscall' in error && (error.syscall === 'open' || error.syscall === 'read');
}

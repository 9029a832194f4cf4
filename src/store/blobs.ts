/** Blobs: the bytes of a file, stored once under their sha256, read-only, with a time in whole seconds. */
import {
  closeSync,
  fchmodSync,
  fstatSync,
  futimesSync,
  lstatSync,
  openSync,
  renameSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { chmod, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { isDigest, shownName } from '../paths.js';
import { flush } from './durability.js';
import { compareFile } from './hash.js';
import { inStore, uniqueName, type Store } from './layout.js';

/** Every permission to read. */
export const MAY_READ = 0o444;

/** @throws ModeldlError INTEGRITY for what is no sha256: its path could lead out of the cache */
export function blobPath(store: Store, sha256: string): string {
  if (!isDigest({ algorithm: 'sha256', hex: sha256 })) {
    throw new ModeldlError('INTEGRITY', `Not a sha256: ${shownName(sha256)}`, {
      hint: 'nothing was written; the source of this model is broken or hostile',
    });
  }
  return inStore(store, 'blobs/sha256', sha256.slice(0, 2), sha256);
}

/**
 * The size of a stored blob, or undefined when it is not there. With an expected size a blob of another size is
 * damaged: it is removed, so that it is fetched again.
 */
export async function hasBlob(store: Store, sha256: string, bytes?: number): Promise<number | undefined> {
  const found = lookAtBlob(store, sha256);
  if (found === undefined) return undefined;
  if (found.isFile() && (bytes === undefined || found.size === bytes)) return found.size;
  if (store.writable) await dropBlob(store, sha256);
  store.emit({
    type: 'warning',
    message: `A stored file had the wrong size and is fetched again: ${sha256}`,
  });
  return undefined;
}

/** Synchronous, as are all calls on files of a few KiB here: the thread pool's part would cost several times theirs. */
function lookAtBlob(store: Store, sha256: string): Stats | undefined {
  const path = blobPath(store, sha256);
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw diskError(error, path);
  }
}

/** Is there a blob that needs no doubt? */
export async function isSettled(store: Store, sha256: string, bytes: number): Promise<boolean> {
  const stored = (await hasBlob(store, sha256, bytes)) !== undefined;
  return stored && !isDoubtful(store, sha256) && !isTouched(store, sha256);
}

/**
 * Stores the bytes of a small file, whose digest the caller vouches for; no other process sees them before all are
 * there. Nothing is written when a blob that needs no doubt exists already.
 * @throws ModeldlError DISK
 */
export async function writeBlob(store: Store, sha256: string, bytes: Buffer): Promise<void> {
  if (await isSettled(store, sha256, bytes.length)) return;
  const path = blobPath(store, sha256);
  const temporary = inStore(store, 'tmp', uniqueName());
  try {
    writeWhole(temporary, bytes);
    // Its name is flushed with the model that needs it.
    if (store.durability === 'flush') await flush(temporary);
    try {
      renameSync(temporary, path);
    } catch (error) {
      // Of the directories most are there already.
      if (systemErrorCode(error) !== 'ENOENT') throw error;
      await makeDirectories(dirname(path));
      renameSync(temporary, path);
    }
    store.verified.add(sha256);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw diskError(error, path);
  }
}

/** Makes a read-only file whose time is in whole seconds of the file system's own clock. */
function writeWhole(path: string, bytes: Buffer): void {
  const file = openSync(path, 'wx');
  try {
    // A short write says nothing; the next one fails with the reason (mostly ENOSPC).
    for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
    const { mtimeMs, mode } = fstatSync(file);
    const seconds = Math.floor(mtimeMs / 1000);
    futimesSync(file, seconds, seconds);
    // Who may read it, the umask has decided.
    fchmodSync(file, mode & MAY_READ);
  } finally {
    closeSync(file);
  }
}

/**
 * Moves a complete, verified temporary file of the store's file system into place. The caller vouches for the digest;
 * when a blob that needs no doubt exists already, the temporary file is dropped.
 */
export async function adoptBlob(
  store: Store,
  temporary: string,
  sha256: string,
  bytes: number,
): Promise<void> {
  const path = blobPath(store, sha256);
  try {
    if (await isSettled(store, sha256, bytes)) {
      await rm(temporary, { force: true });
      return;
    }
    const { mtimeMs, mode } = await stat(temporary);
    const seconds = Math.floor(mtimeMs / 1000);
    await utimes(temporary, seconds, seconds);
    // Who may read it, the umask has decided.
    await chmod(temporary, mode & MAY_READ);
    // Its name is flushed with the model that needs it.
    if (store.durability === 'flush') await flush(temporary);
    // Whoever wrote to a linked file since then left another time, by which it is hashed again.
    const unchanged = (await stat(temporary)).mtimeMs === seconds * 1000;
    await makeDirectories(dirname(path));
    await rename(temporary, path);
    if (unchanged) store.verified.add(sha256);
  } catch (error) {
    throw diskError(error, path);
  }
}

/** Drops a blob whose bytes turned out to be wrong. */
export async function dropBlob(store: Store, sha256: string): Promise<void> {
  store.verified.delete(sha256);
  // A directory may stand there, as a repair of the file system leaves it.
  await rm(blobPath(store, sha256), { force: true, recursive: true });
}

/**
 * Was this blob written in an earlier boot, which may have ended before its bytes reached the disk? Its time is the
 * time it was written; one in the future is of a clock that was set back since, as a boot may do. A missing blob is not
 * doubtful.
 */
export function isDoubtful(store: Store, sha256: string): boolean {
  if (store.durability === 'trust' || store.verified.has(sha256)) return false;
  const found = lookAtBlob(store, sha256);
  return found !== undefined && (found.mtimeMs < store.bootedAt || found.mtimeMs > Date.now());
}

/** Did somebody write to this blob? Its own time is in whole seconds, as no other program's is but by chance. */
export function isTouched(store: Store, sha256: string): boolean {
  if (store.verified.has(sha256)) return false;
  const found = lookAtBlob(store, sha256);
  return found !== undefined && found.mtimeMs % 1000 !== 0;
}

/** Of another user's blob only that one may set the time: it is hashed again until he does. */
async function roundTime(path: string, mtimeMs: number): Promise<void> {
  if (mtimeMs % 1000 === 0) return;
  const seconds = Math.floor(mtimeMs / 1000);
  await utimes(path, seconds, seconds).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'EPERM') throw error;
  });
}

/** Hashes a doubtful blob once. A wrong one is dropped. @returns whether it is good */
export async function settleBlob(store: Store, sha256: string, signal?: AbortSignal): Promise<boolean> {
  const path = blobPath(store, sha256);
  const { mtimeMs } = await stat(path);
  const good = (await compareFile(path, sha256, signal)) === 'same';
  if (!good) await dropBlob(store, sha256);
  // What was written to while it was hashed stays in doubt.
  else if ((await stat(path)).mtimeMs === mtimeMs) {
    store.verified.add(sha256);
    await roundTime(path, mtimeMs);
  }
  return good;
}

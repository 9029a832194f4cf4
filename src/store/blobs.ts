/** Blobs: the bytes of a file, stored once under their sha256, read-only, with a time in whole seconds. */
import { chmod, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectories } from '../directories.js';
import { diskError, systemErrorCode } from '../errors.js';
import { flushFiles } from './durability.js';
import { hashFile } from './hash.js';
import { inStore, type Store } from './layout.js';

export function blobPath(store: Store, sha256: string): string {
  return inStore(store, 'blobs/sha256', sha256.slice(0, 2), sha256);
}

/**
 * The size of a stored blob, or undefined when it is not there. With an expected size a blob of another size is
 * damaged: it is removed, so that it is fetched again.
 */
export async function hasBlob(store: Store, sha256: string, bytes?: number): Promise<number | undefined> {
  const path = blobPath(store, sha256);
  try {
    const { size } = await stat(path);
    if (bytes === undefined || size === bytes) return size;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw diskError(error, path);
  }
  if (store.writable) await dropBlob(store, sha256);
  store.emit({
    type: 'warning',
    message: `A stored file had the wrong size and is fetched again: ${sha256}`,
  });
  return undefined;
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
    const stored = (await hasBlob(store, sha256, bytes)) !== undefined;
    if (stored && !(await isDoubtful(store, sha256)) && !(await isTouched(store, sha256))) {
      await rm(temporary, { force: true });
      return;
    }
    const { mtimeMs } = await stat(temporary);
    const seconds = Math.floor(mtimeMs / 1000);
    await utimes(temporary, seconds, seconds);
    await chmod(temporary, 0o444);
    if (store.durability === 'flush') await flushFiles([temporary]);
    await makeDirectories(dirname(path));
    await rename(temporary, path);
    store.verified.add(sha256);
  } catch (error) {
    throw diskError(error, path);
  }
}

/** Drops a blob whose bytes turned out to be wrong. */
export async function dropBlob(store: Store, sha256: string): Promise<void> {
  store.verified.delete(sha256);
  await rm(blobPath(store, sha256), { force: true });
}

/**
 * Was this blob written in an earlier boot, which may have ended before its bytes reached the disk? Its time is the
 * time it was written. A missing blob is not doubtful.
 */
export async function isDoubtful(store: Store, sha256: string): Promise<boolean> {
  if (store.durability === 'trust' || store.verified.has(sha256)) return false;
  try {
    return (await stat(blobPath(store, sha256))).mtimeMs < store.bootedAt;
  } catch {
    return false;
  }
}

/** Did somebody write to this blob? Its own time is in whole seconds, as no other program's is but by chance. */
export async function isTouched(store: Store, sha256: string): Promise<boolean> {
  if (store.verified.has(sha256)) return false;
  const found = await stat(blobPath(store, sha256)).catch(() => undefined);
  return found !== undefined && found.mtimeMs % 1000 !== 0;
}

/** Hashes a doubtful blob once. A wrong one is dropped. @returns whether it is good */
export async function settleBlob(store: Store, sha256: string, signal?: AbortSignal): Promise<boolean> {
  const path = blobPath(store, sha256);
  const good = (await hashFile(path, signal)) === sha256;
  if (!good) await dropBlob(store, sha256);
  else {
    store.verified.add(sha256);
    const seconds = Math.floor((await stat(path)).mtimeMs / 1000);
    await utimes(path, seconds, seconds);
  }
  return good;
}

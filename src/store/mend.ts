/**
 * Restoring what the store itself can restore, without network: permissions, blobs whose bytes a tree still has, trees
 * whose bytes the blobs have. Whoever calls says which trees are right; nothing here trusts a size or a time.
 */
import { chmod, lstat, readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { discard } from '../directories.js';
import { diskError, systemErrorCode } from '../errors.js';
import { adoptBlob, blobPath, dropBlob, MAY_READ, settleBlob } from './blobs.js';
import { compareFile } from './hash.js';
import { readText } from './json.js';
import { CACHEDIR_TAG, inStore, uniqueName, type Area, type Store } from './layout.js';
import { createLinker } from './link.js';
import { publishModel, type StoredModel } from './models.js';

const MAY_WRITE = 0o222;
const OWNER_MAY_READ = 0o400;
const OWNER_MAY_READ_AND_WRITE = 0o600;

function told(store: Store, message: string): void {
  store.emit({ type: 'note', message });
}

/** Restores the permissions of a model's files and of their blobs. @returns whether some were wrong */
export async function mendPermissions(store: Store, model: StoredModel): Promise<boolean> {
  let mended = false;
  for (const { path, sha256 } of model.record.files) {
    for (const file of [join(model.directory, path), blobPath(store, sha256)])
      if (await mendMode(store, file)) mended = true;
  }
  return mended;
}

/** Who else may read a blob or a file of a tree, the umask of whoever wrote it has decided. */
function isReadOnly(mode: number): boolean {
  return (mode & MAY_WRITE) === 0 && (mode & OWNER_MAY_READ) !== 0;
}

const readOnlyModes = new WeakMap<Store, Promise<number>>();

/** The permissions of a blob written now: asked of a file, since a default ACL decides as well as the umask. */
function readOnlyMode(store: Store): Promise<number> {
  const known = readOnlyModes.get(store) ?? probeMode(store);
  readOnlyModes.set(store, known);
  return known;
}

async function probeMode(store: Store): Promise<number> {
  const probe = inStore(store, 'tmp', uniqueName());
  try {
    await writeFile(probe, '', { flag: 'wx' });
    return ((await lstat(probe)).mode & MAY_READ) | OWNER_MAY_READ;
  } finally {
    await discard(probe);
  }
}

async function mendMode(store: Store, path: string): Promise<boolean> {
  try {
    const found = await lstat(path);
    if (!found.isFile() || isReadOnly(found.mode)) return false;
    await chmod(path, await readOnlyMode(store));
    // Some file systems have no permissions, and say that they were set.
    if (!isReadOnly((await lstat(path)).mode)) return false;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EPERM') return false;
    throw diskError(error, path);
  }
  told(store, `Restored the permissions of ${path}`);
  return true;
}

/**
 * Makes blobs again that are missing or wrong from the files of a tree that were found right.
 * @param right paths in the tree whose bytes are what the record says
 * @returns whether there were such blobs
 */
export async function mendBlobs(
  store: Store,
  model: StoredModel,
  right: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<boolean> {
  let mended = false;
  for (const { path, sha256, bytes } of model.record.files) {
    const file = join(model.directory, path);
    if (!right.has(path) || (await isRightBlob(store, sha256, file, signal))) continue;
    await dropBlob(store, sha256);
    const temporary = inStore(store, 'tmp', uniqueName());
    try {
      await createLinker(['reflink', 'hardlink', 'copy']).place(file, temporary);
      await adoptBlob(store, temporary, sha256, bytes);
    } catch (error) {
      throw diskError(error, blobPath(store, sha256));
    } finally {
      await discard(temporary);
    }
    told(store, `Restored from ${file}: ${blobPath(store, sha256)}`);
    mended = true;
  }
  return mended;
}

async function isRightBlob(
  store: Store,
  sha256: string,
  file: string,
  signal: AbortSignal,
): Promise<boolean> {
  const blob = await lstat(blobPath(store, sha256)).catch(() => undefined);
  if (blob === undefined || !blob.isFile()) return false;
  const tree = await lstat(file);
  // One file under two names, and that one was hashed.
  if (blob.dev === tree.dev && blob.ino === tree.ino) return true;
  return (await compareFile(blobPath(store, sha256), sha256, signal)) === 'same';
}

/**
 * Makes the tree of a model again from its blobs.
 * @param wrong paths in the tree that are missing or not what the record says; their blobs are hashed before
 * @returns false when blobs are missing: what is wrong with them was dropped
 */
export async function mendTree(
  store: Store,
  model: StoredModel,
  wrong: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const { version, placement, copiedBytes, ...record } = model.record;
  for (const { path, sha256 } of record.files) {
    if (!wrong.includes(path)) continue;
    const blob = await lstat(blobPath(store, sha256)).catch(() => undefined);
    if (blob?.isFile() === true) await settleBlob(store, sha256, signal);
    else await dropBlob(store, sha256);
  }
  if ('missing' in (await publishModel(store, model.record, record))) return false;
  told(store, `Restored from its blobs: ${model.directory}`);
  return true;
}

/**
 * Hashes blobs that no model was found to hold, and drops those whose bytes are not those of their name: a later pull
 * would take them.
 * @param known sha256 of blobs that need no look
 */
export async function mendStrayBlobs(
  store: Store,
  known: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<void> {
  const root = inStore(store, 'blobs/sha256');
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const sha256 = entry.name;
    const path = join(entry.parentPath, sha256);
    if (!/^[0-9a-f]{64}$/.test(sha256) || path !== blobPath(store, sha256) || known.has(sha256)) continue;
    try {
      await mendMode(store, path);
      if (entry.isFile() && (await settleBlob(store, sha256, signal))) continue;
      await dropBlob(store, sha256);
    } catch (error) {
      // Another process pruned it.
      if (systemErrorCode(error) === 'ENOENT') continue;
      throw diskError(error, path);
    }
    told(store, `Removed, since its bytes are not those of its name: ${path}`);
  }
}

const DOCUMENTS: readonly Area[] = ['records', 'snapshots', 'refs', 'removed'];

/** Makes documents readable again that their owner may not read, and the tag that keeps backups out of the cache. */
export async function mendDocuments(store: Store): Promise<void> {
  for (const area of DOCUMENTS) {
    for (const entry of await readdir(inStore(store, area), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      try {
        const { mode } = await lstat(path);
        if ((mode & OWNER_MAY_READ_AND_WRITE) === OWNER_MAY_READ_AND_WRITE) continue;
        await chmod(path, (mode & 0o7777) | OWNER_MAY_READ_AND_WRITE);
      } catch (error) {
        // Another process removed what it was of.
        if (systemErrorCode(error) === 'ENOENT') continue;
        throw diskError(error, path);
      }
      told(store, `Restored the permissions of ${path}`);
    }
  }
  await mendTag(store);
}

async function mendTag(store: Store): Promise<void> {
  const path = join(store.cacheDir, 'CACHEDIR.TAG');
  const text = (await readText(path).catch(() => '')) ?? '';
  // Only its first line is fixed; the rest may be anybody's words.
  if (text.startsWith(CACHEDIR_TAG.slice(0, CACHEDIR_TAG.indexOf('\n')))) return;
  try {
    await rename(path, inStore(store, 'trash', uniqueName()));
    await writeFile(path, CACHEDIR_TAG, { flag: 'wx' });
  } catch (error) {
    throw diskError(error, path);
  }
  told(store, `Restored ${path}`);
}

/** Trees on disk: staged from blobs, moved into place in one step, looked at, moved out of sight in one step. */
import { lstatSync, type Stats } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { discard, makeDirectories } from '../directories.js';
import { diskError, systemErrorCode } from '../errors.js';
import { blobPath, dropBlob, MAY_READ } from './blobs.js';
import { inStore, uniqueName, type Store } from './layout.js';
import { createLinker } from './link.js';
import type { ModelRecord } from './record.js';
import { createTurns } from './turns.js';

export type RecordFile = ModelRecord['files'][number];

/** Blobs that were expected and are not there: the caller fetches them again. */
export interface MissingBlobs {
  readonly missing: readonly string[];
}

/** Whose user knows that trees are copies: a store object is one run's. */
const toldOfCopies = new WeakSet<Store>();

/** Makes a tree from blobs in a directory that nobody sees. Throws file system errors. */
export async function stageTree(
  store: Store,
  wanted: readonly Omit<RecordFile, 'mtime'>[],
  staging: string,
): Promise<{ files: RecordFile[]; copiedBytes: number } | MissingBlobs> {
  const linker = createLinker(['reflink', 'hardlink', 'copy'], () => {
    if (toldOfCopies.has(store)) return;
    toldOfCopies.add(store);
    store.emit({ type: 'note', message: 'No links can be made here: models take their space twice' });
  });
  const files: RecordFile[] = [];
  const missing: string[] = [];
  let copiedBytes = 0;
  await makeDirectories(staging);
  const turn = createTurns();
  for (const file of wanted) {
    await turn();
    const target = join(staging, ...file.path.split('/'));
    try {
      if ((await linker.place(blobPath(store, file.sha256), target)) === 'copy') copiedBytes += file.bytes;
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
      missing.push(file.sha256);
      continue;
    }
    // What is no file can be linked as well.
    const placed = lstatSync(target);
    if (placed.isFile() && placed.size === file.bytes) {
      files.push({ ...file, mtime: Math.floor(placed.mtimeMs / 1000) });
    } else {
      await dropBlob(store, file.sha256);
      missing.push(file.sha256);
    }
  }
  return missing.length > 0 ? { missing } : { files, copiedBytes };
}

/** Another process may put its own tree there between our two steps; the last one stays, with its record. */
export async function moveIntoPlace(store: Store, staging: string, directory: string): Promise<void> {
  await makeDirectories(dirname(directory));
  for (let attempt = 1; ; attempt += 1) {
    await moveToTrash(store, directory);
    try {
      await rename(staging, directory);
      return;
    } catch (error) {
      const occupied = ['ENOTEMPTY', 'EEXIST', 'EPERM'].includes(systemErrorCode(error) ?? '');
      if (!occupied || attempt === 3) throw error;
    }
  }
}

/** Moves what lies there out of sight in one step, then deletes it; what a crash leaves behind is swept later. */
export async function moveToTrash(store: Store, path: string): Promise<void> {
  const grave = inStore(store, 'trash', uniqueName());
  try {
    await rename(path, grave);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  await discard(grave);
}

/** What names, sizes and times tell about a tree: paths that are absent, or have another size or no reader, and times. */
export interface TreeLook {
  readonly missing: string[];
  readonly damaged: string[];
  /** Seconds, by path, of what is there in the right size; modeldl itself writes whole ones only. */
  readonly mtimes: ReadonlyMap<string, number>;
}

/** @throws ModeldlError DISK */
export async function lookAtTree(directory: string, files: readonly RecordFile[]): Promise<TreeLook> {
  const missing: string[] = [];
  const damaged: string[] = [];
  const mtimes = new Map<string, number>();
  const turn = createTurns();
  for (const file of files) {
    await turn();
    const found = lookAtFile(directory, file.path);
    if (found === undefined || !found.isFile()) missing.push(file.path);
    // What nobody may read is of no use.
    else if (found.size !== file.bytes || (found.mode & MAY_READ) === 0) damaged.push(file.path);
    else mtimes.set(file.path, found.mtimeMs / 1000);
  }
  return { missing, damaged, mtimes };
}

/** No link is followed: a tree holds none. */
function lookAtFile(directory: string, path: string): Stats | undefined {
  try {
    return lstatSync(join(directory, path), { throwIfNoEntry: false });
  } catch (error) {
    throw diskError(error, directory);
  }
}

/** Models: trees and their records. Published whole or not at all; handed out only after a look. */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { diskError, systemErrorCode } from '../errors.js';
import { blobPath, hasBlob } from './blobs.js';
import { hashFile } from './hash.js';
import { readJson, writeJson } from './json.js';
import { assertWritable, inStore, uniqueName, type Store } from './layout.js';
import { createLinker } from './link.js';
import { modelPath, recordMatches, recordSchema, type ModelKey, type ModelRecord } from './record.js';

/** A record with the place it was found at. */
export interface StoredModel {
  readonly record: ModelRecord;
  /** Path below `models/` and `records/`, `/`-separated. */
  readonly path: string;
  /** Absolute directory of the tree. */
  readonly directory: string;
}

export type NewRecord = Omit<ModelRecord, 'version' | 'files' | 'placement'> & {
  readonly files: readonly Omit<ModelRecord['files'][number], 'mtime'>[];
};

function recordPath(store: Store, path: string): string {
  return inStore(store, 'records', ...`${path}.json`.split('/'));
}

function treePath(store: Store, path: string): string {
  return inStore(store, 'models', ...path.split('/'));
}

/** The model that a key names, or undefined. Looks no further than its record. */
export async function findModel(store: Store, key: ModelKey): Promise<StoredModel | undefined> {
  for (const length of [12, 20, 40]) {
    const path = modelPath(key, length);
    const record = await readJson(store, recordPath(store, path), recordSchema);
    if (record === undefined) return undefined;
    if (recordMatches(record, key)) return { record, path, directory: treePath(store, path) };
  }
  return undefined;
}

/** Every model in the store, or of one hub and id, sorted by path. */
export async function listModels(store: Store): Promise<readonly StoredModel[]> {
  const root = inStore(store, 'records');
  const files = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = files
    .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/').slice(0, -5))
    .sort();
  const models: StoredModel[] = [];
  for (const path of paths) {
    const record = await readJson(store, recordPath(store, path), recordSchema);
    if (record !== undefined) models.push({ record, path, directory: treePath(store, path) });
  }
  return models;
}

/** Blobs that were expected and are not there: the caller fetches them again. */
export interface MissingBlobs {
  readonly missing: readonly string[];
}

/**
 * Makes a model visible: its tree is staged from blobs, renamed into place, and its record written last. A tree that
 * stands there without a record is left over from a process that died, and goes.
 *
 * @returns the model, or the sha256 of blobs that a concurrent prune took
 * @throws ModeldlError DISK
 */
export async function publishModel(
  store: Store,
  key: ModelKey,
  record: NewRecord,
): Promise<StoredModel | MissingBlobs> {
  assertWritable(store);
  const path = await freePath(store, key);
  const directory = treePath(store, path);
  const staging = inStore(store, 'tmp', uniqueName());
  try {
    const linker = createLinker(['reflink', 'hardlink', 'copy'], () => {
      store.emit({ type: 'note', message: 'This file system has no links: models take their space twice' });
    });
    const files: ModelRecord['files'] = [];
    const missing: string[] = [];
    await mkdir(staging, { recursive: true });
    for (const file of record.files) {
      const target = join(staging, ...file.path.split('/'));
      try {
        await linker.place(blobPath(store, file.sha256), target);
        files.push({ ...file, mtime: Math.floor((await stat(target)).mtimeMs / 1000) });
      } catch (error) {
        if (systemErrorCode(error) !== 'ENOENT' || (await hasBlob(store, file.sha256)) !== undefined)
          throw error;
        missing.push(file.sha256);
      }
    }
    if (missing.length > 0) return { missing };
    if (store.durability === 'flush') await flushFiles(files.map((file) => blobPath(store, file.sha256)));
    await mkdir(dirname(directory), { recursive: true });
    await moveToTrash(store, directory);
    await rename(staging, directory);
    const { dev, ino } = await stat(directory);
    const placement = {
      bootId: store.bootId,
      device: dev,
      inode: ino,
      durable: store.durability === 'flush',
    };
    const complete: ModelRecord = { ...record, version: 1, files, placement };
    await writeJson(store, recordPath(store, path), complete);
    await touchUsed(store, path);
    return { record: complete, path, directory };
  } catch (error) {
    throw diskError(error, directory);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** The shortest path that no other model has. A record of the same model there is replaced, with its tree. */
async function freePath(store: Store, key: ModelKey): Promise<string> {
  for (const length of [12, 20, 40]) {
    const path = modelPath(key, length);
    const record = await readJson(store, recordPath(store, path), recordSchema);
    if (record === undefined) return path;
    if (recordMatches(record, key)) {
      await rm(recordPath(store, path), { force: true });
      return path;
    }
  }
  return modelPath(key, 64);
}

/** Moves a directory out of sight in one step, then deletes it; what stays behind after a crash is swept later. */
async function moveToTrash(store: Store, directory: string): Promise<void> {
  const grave = inStore(store, 'trash', uniqueName());
  try {
    await rename(directory, grave);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  await rm(grave, { recursive: true, force: true });
}

async function flushFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const file = await open(path, 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

/** Removes a model: its record first, so that it does not exist while its tree goes. Blobs stay until a sweep. */
export async function removeModel(store: Store, model: StoredModel): Promise<void> {
  assertWritable(store);
  try {
    await rm(recordPath(store, model.path), { force: true });
    await moveToTrash(store, model.directory);
    await rm(usedPath(store, model.path), { force: true });
  } catch (error) {
    throw diskError(error, model.directory);
  }
}

function usedPath(store: Store, path: string): string {
  return inStore(store, 'used', createHash('sha256').update(path).digest('hex').slice(0, 32));
}

/** Marks a model as used now. A cache that cannot be written keeps no such marks. */
export async function touchUsed(store: Store, path: string): Promise<void> {
  if (!store.writable) return;
  const file = usedPath(store, path);
  const now = new Date();
  try {
    await utimes(file, now, now);
  } catch {
    await writeFile(file, '').catch(() => undefined);
  }
}

/** Last use, or undefined when it was never marked. */
export async function lastUsed(store: Store, path: string): Promise<Date | undefined> {
  try {
    return (await stat(usedPath(store, path))).mtime;
  } catch {
    return undefined;
  }
}

export interface ModelCheck {
  /** Paths in the tree whose bytes are not what the record says. */
  readonly damaged: readonly string[];
  readonly missing: readonly string[];
}

/** Files re-hashed when only times differ, as after a copy of the cache. */
const SAMPLE = 8;

/**
 * Is a stored model what its record says? The cheap look compares size and time; what changed is hashed again; when
 * only times differ a sample is. A model of an earlier boot that was never flushed is hashed once, whole (promise 1).
 * Refreshes the record where that saves the next look.
 *
 * @param deep hash every file
 */
export async function checkModel(
  store: Store,
  model: StoredModel,
  deep: boolean,
  signal?: AbortSignal,
): Promise<ModelCheck> {
  const { record, directory } = model;
  const missing: string[] = [];
  const damaged: string[] = [];
  const touched: string[] = [];
  const mtimes = new Map<string, number>();
  for (const file of record.files) {
    const found = await stat(join(directory, ...file.path.split('/'))).catch((error: unknown) => {
      const code = systemErrorCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw diskError(error, directory);
    });
    if (found === undefined || !found.isFile()) missing.push(file.path);
    else if (found.size !== file.bytes) damaged.push(file.path);
    else {
      const mtime = Math.floor(found.mtimeMs / 1000);
      if (mtime !== file.mtime) touched.push(file.path);
      mtimes.set(file.path, mtime);
    }
  }
  const undurable = await needsBootCheck(store, model);
  const all = [...mtimes.keys()];
  const changed = touched.length > all.length / 2 ? touched.slice(0, SAMPLE) : touched;
  const hashes = deep || undurable === 'distrust' ? all : changed;
  for (const path of hashes) {
    const expected = record.files.find((file) => file.path === path)?.sha256;
    if ((await hashFile(join(directory, ...path.split('/')), signal)) !== expected) damaged.push(path);
  }
  if (
    missing.length + damaged.length === 0 &&
    store.writable &&
    (touched.length > 0 || undurable !== 'settled')
  ) {
    await refresh(store, model, mtimes);
  }
  return { damaged, missing };
}

/**
 * `settled`: flushed, or written by another machine or mount, whose boots say nothing here. `flush`: written in this
 * boot, so a flush now makes it durable. `distrust`: an earlier boot may have ended before its bytes reached the disk.
 */
async function needsBootCheck(store: Store, model: StoredModel): Promise<'settled' | 'flush' | 'distrust'> {
  const { placement } = model.record;
  if (placement.durable || store.durability === 'trust' || !store.writable) return 'settled';
  if (placement.bootId === store.bootId) return 'flush';
  try {
    const { dev, ino } = await stat(model.directory);
    return dev === placement.device && ino === placement.inode ? 'distrust' : 'settled';
  } catch {
    return 'settled';
  }
}

async function refresh(store: Store, model: StoredModel, mtimes: ReadonlyMap<string, number>): Promise<void> {
  const { record, directory } = model;
  await flushFiles(record.files.map((file) => join(directory, ...file.path.split('/'))));
  const { dev, ino } = await stat(directory);
  const refreshed: ModelRecord = {
    ...record,
    files: record.files.map((file) => ({ ...file, mtime: mtimes.get(file.path) ?? file.mtime })),
    placement: { bootId: store.bootId, device: dev, inode: ino, durable: true },
  };
  await writeJson(store, recordPath(store, model.path), refreshed);
}

/** Rewrites the record of a stored model with a later finding, such as the check of a conversion. */
export async function updateRecord(
  store: Store,
  model: StoredModel,
  record: ModelRecord,
): Promise<StoredModel> {
  await writeJson(store, recordPath(store, model.path), record);
  return { ...model, record };
}

/** Models: trees and their records. Published whole or not at all; handed out only after a look. */
import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { discard } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { blobPath, isDoubtful, isTouched, settleBlob } from './blobs.js';
import { flushFiles, flushTree, placementOf, standingOf, type Standing } from './durability.js';
import { compareFile } from './hash.js';
import { NewerDocument } from './json.js';
import { assertWritable, inStore, uniqueName, type Store } from './layout.js';
import {
  modelPath,
  recordMatches,
  shelfOf,
  recordSchema,
  type ModelKey,
  type ModelRecord,
} from './record.js';
import {
  lookAtTree,
  moveIntoPlace,
  moveToTrash,
  stageTree,
  type MissingBlobs,
  type RecordFile,
} from './tree.js';
import { createTurns } from './turns.js';
import {
  documentsAmong,
  mendCopy,
  readOtherwise,
  readTwice,
  removeCopy,
  restoreFromCopy,
  writeTwice,
} from './twice.js';

/** A record with the place it was found at. */
export interface StoredModel {
  readonly record: ModelRecord;
  /** Path below `models/` and `records/`, `/`-separated. */
  readonly path: string;
  /** Absolute directory of the tree. */
  readonly directory: string;
}

export type NewRecord = Omit<ModelRecord, 'version' | 'files' | 'placement' | 'copiedBytes'> & {
  readonly files: readonly Omit<RecordFile, 'mtime'>[];
};

function recordPath(store: Store, path: string): string {
  return inStore(store, 'records', ...`${path}.json`.split('/'));
}

function treePath(store: Store, path: string): string {
  return inStore(store, 'models', ...path.split('/'));
}

/** How much of revisions and hashes a path holds: more than the first only where shorter paths collide. */
const PATH_LENGTHS = [12, 20, 40, 64] as const;

/** The model that a key names, or undefined. Looks no further than its record. */
export async function findModel(store: Store, key: ModelKey): Promise<StoredModel | undefined> {
  for (const length of PATH_LENGTHS) {
    const model = await readModel(store, modelPath(key, length));
    if (model !== undefined && recordMatches(model.record, key)) return model;
  }
  return undefined;
}

/** Some file systems spell a directory as whoever made it did: what names have in common there. */
function spelt(text: string): string {
  return text.normalize().toLowerCase();
}

/** A record that names another model than its place is as damaged as one that cannot be read. */
function schemaAt(path: string) {
  const isHere = (record: ModelRecord): boolean =>
    PATH_LENGTHS.some((length) => spelt(modelPath(record, length)) === spelt(path));
  return v.pipe(recordSchema, v.check(isHere));
}

async function readModel(store: Store, path: string): Promise<StoredModel | undefined> {
  const record = await readTwice(store, recordPath(store, path), schemaAt(path));
  return record === undefined ? undefined : { record, path, directory: treePath(store, path) };
}

/** Told of each record that a later version wrote. */
export type OnNewer = (error: NewerDocument) => void;

function leaveOut(store: Store): OnNewer {
  return (error) => {
    store.emit({ type: 'warning', message: `${error.message}, it is left out: ${error.hint ?? ''}` });
  };
}

/**
 * Every model in the store, sorted by path.
 * @param onNewer by default such a record is left out with a warning
 */
export async function listModels(
  store: Store,
  onNewer: OnNewer = leaveOut(store),
): Promise<readonly StoredModel[]> {
  const models: StoredModel[] = [];
  const turn = createTurns();
  for (const shelf of listShelves(store)) {
    await turn();
    models.push(...(await modelsOn(store, shelf, onNewer)));
  }
  return models;
}

/** The models of one hub and some names there, found without a look into any other's directory. */
export async function modelsNamed(
  store: Store,
  hub: string,
  ids: readonly string[],
): Promise<readonly StoredModel[]> {
  const wanted = new Set(ids.map((id) => spelt(shelfOf({ hub, id }))));
  const models: StoredModel[] = [];
  for (const name of namesIn(inStore(store, 'records', hub))) {
    // As it is spelt here, since that is how a list of all models names it.
    const shelf = `${hub}/${name}`;
    if (wanted.has(spelt(shelf))) models.push(...(await modelsOn(store, shelf)));
  }
  return models.filter(({ record }) => record.hub === hub && ids.includes(record.id));
}

/** Where the records of one hub and id lie, below `records/` and `/`-separated; sorted. */
export function listShelves(store: Store): readonly string[] {
  const root = inStore(store, 'records');
  // `/` sorts before most characters that a name may hold, but not before all.
  return namesIn(root)
    .flatMap((hub) => namesIn(join(root, hub)).map((id) => `${hub}/${id}/`))
    .sort()
    .map((shelf) => shelf.slice(0, -1));
}

/** Sorted. What is no directory holds nothing, and a cache that cannot be written may not have been made yet. */
function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return [];
    throw diskError(error, directory);
  }
}

/** The models of one shelf, sorted by path. */
export async function modelsOn(
  store: Store,
  shelf: string,
  onNewer: OnNewer = leaveOut(store),
): Promise<readonly StoredModel[]> {
  const models: StoredModel[] = [];
  for (const name of documentsAmong(namesIn(inStore(store, 'records', ...shelf.split('/'))))) {
    try {
      const model = await readModel(store, `${shelf}/${name}`);
      if (model !== undefined) models.push(model);
    } catch (error) {
      if (!(error instanceof NewerDocument)) throw error;
      onNewer(error);
    }
  }
  return models;
}

/** What of a model takes space. */
export interface Occupied {
  /** Name and bytes of each. */
  readonly blobs: readonly (readonly [name: string, bytes: number])[];
  readonly copiedBytes: number;
}

/** Bytes that models take on disk: what is shared counts once, what had to be copied again. */
export function occupiedBytes(models: readonly Occupied[]): number {
  const blobs = new Map(models.flatMap((model) => model.blobs));
  const copied = models.reduce((sum, { copiedBytes }) => sum + copiedBytes, 0);
  return [...blobs.values()].reduce((sum, bytes) => sum + bytes, copied);
}

/** The same by their records. */
export function physicalBytes(models: readonly StoredModel[]): number {
  return occupiedBytes(
    models.map(({ record: { files, copiedBytes = 0 } }) => ({
      blobs: files.map(({ sha256, bytes }) => [sha256, bytes]),
      copiedBytes,
    })),
  );
}

/**
 * Makes a model visible: its tree is staged from blobs, renamed into place, and its record written last. A tree that
 * stands there without a record is left over from a process that died, and goes.
 *
 * @returns the model, or the sha256 of blobs that are gone (a concurrent prune) or no longer what they were
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
    await settleDoubts(store, record);
    const staged = await stageTree(store, record.files, staging);
    if ('missing' in staged) return staged;
    const durable = store.durability === 'flush';
    if (durable) await flushModel(store, record, staging);
    // Of the staged tree, since another process may put its own in its place at any time.
    const placement = await placementOf(store, staging, durable);
    await removeCopy(store, recordPath(store, path));
    await rm(recordPath(store, path), { force: true });
    await moveIntoPlace(store, staging, directory);
    if (durable) await flushFiles(store, [directory]);
    const { files, copiedBytes } = staged;
    const complete: ModelRecord = {
      ...record,
      version: 1,
      files,
      ...(copiedBytes === 0 ? {} : { copiedBytes }),
      placement,
    };
    await writeTwice(store, recordPath(store, path), complete);
    await touchUsed(store, path);
    return { record: complete, path, directory };
  } catch (error) {
    throw diskError(error, directory);
  } finally {
    await discard(staging);
  }
}

/** Flushes a tree and its blobs, which need not be the same files, and may be those of a run that flushed nothing. */
async function flushModel(store: Store, record: NewRecord, directory: string): Promise<void> {
  await flushTree(
    directory,
    record.files.map((file) => file.path),
  );
  await flushFiles(
    store,
    record.files.map((file) => blobPath(store, file.sha256)),
  );
}

/** The shortest path that no other model has. */
async function freePath(store: Store, key: ModelKey): Promise<string> {
  const existing = await findModel(store, key);
  if (existing !== undefined) return existing.path;
  for (const length of PATH_LENGTHS) {
    const path = modelPath(key, length);
    if ((await readModel(store, path)) === undefined) return path;
  }
  throw new Error(`No free path for ${key.hub} ${key.id} ${key.revision}`);
}

/**
 * Blobs of an earlier boot are hashed before they are used again, unless a model that holds them was flushed or made
 * in this boot; so are those that somebody wrote to. Wrong ones are dropped, and so found missing.
 */
async function settleDoubts(store: Store, record: NewRecord): Promise<void> {
  const doubtful = new Set<string>();
  const turn = createTurns();
  for (const { sha256 } of record.files) {
    await turn();
    if (isTouched(store, sha256)) await settleBlob(store, sha256);
    else if (isDoubtful(store, sha256)) doubtful.add(sha256);
  }
  if (doubtful.size === 0) return;
  for (const { record: other } of await listModels(store)) {
    if (!other.placement.durable && other.placement.bootId !== store.bootId) continue;
    for (const { sha256 } of other.files) doubtful.delete(sha256);
  }
  for (const sha256 of doubtful) await settleBlob(store, sha256);
}

/**
 * Removes a model: its record first, so that it does not exist while its tree goes. Blobs stay until a sweep, which
 * learns from the record, kept aside, that these were let go on purpose.
 */
export async function removeModel(store: Store, model: StoredModel): Promise<void> {
  assertWritable(store);
  const record = recordPath(store, model.path);
  const removed = inStore(store, 'removed', `${uniqueName()}.json`);
  try {
    await removeCopy(store, record);
    await rename(record, removed).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    });
    if (store.durability === 'flush') await flushFiles(store, [removed, record]);
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
export function lastUsed(store: Store, path: string): Date | undefined {
  try {
    return statSync(usedPath(store, path), { throwIfNoEntry: false })?.mtime;
  } catch {
    return undefined;
  }
}

export interface ModelCheck {
  /** Paths in the tree whose bytes are not what the record says. */
  readonly damaged: readonly string[];
  readonly missing: readonly string[];
  /** Those of the damaged ones whose bytes the disk does not give; absent when it gives all. */
  readonly unreadable?: readonly string[];
}

/** Is a model what its record says? */
export function isIntact({ damaged, missing }: ModelCheck): boolean {
  return damaged.length + missing.length === 0;
}

/** Of a copied cache this many files are hashed, and no further file once this many bytes were. */
const SAMPLE_FILES = 8;
const SAMPLE_BYTES = 1024 ** 3;

/**
 * Is a stored model what its record says? The cheap look compares size and time; what changed is hashed again; when
 * only times differ because the cache was copied, a sample is. A model of an earlier boot that was never flushed is
 * hashed once, whole (promise 1). Refreshes the record where that saves the next look.
 *
 * @param deep hash every file
 * @throws ModeldlError DISK
 */
export async function checkModel(
  store: Store,
  model: StoredModel,
  deep: boolean,
  signal?: AbortSignal,
): Promise<ModelCheck> {
  const { record, directory } = model;
  const { missing, damaged, mtimes } = await lookAtTree(directory, record.files);
  const unreadable: string[] = [];
  const present = record.files.filter((file) => mtimes.has(file.path));
  const touched = present.filter((file) => mtimes.get(file.path) !== file.mtime);
  const standing = await standingOf(store, record.placement, directory);
  const suspects = standing === 'copied' ? sample(touched) : touched;
  for (const file of deep || standing === 'distrust' ? present : suspects) {
    const found = await compareFile(join(directory, file.path), file.sha256, signal);
    if (found !== 'same') damaged.push(file.path);
    if (found === 'unreadable') unreadable.push(file.path);
  }
  const news = touched.length > 0 || standing === 'flush' || standing === 'distrust';
  const check = { damaged, missing, ...(unreadable.length === 0 ? {} : { unreadable }) };
  if (news && isIntact(check) && store.writable) await refresh(store, model, mtimes, standing);
  return check;
}

/** Files of all sizes, the small ones first. */
function sample(files: readonly RecordFile[]): readonly RecordFile[] {
  const bySize = [...files].sort((a, b) => a.bytes - b.bytes);
  const step = Math.max(1, bySize.length / SAMPLE_FILES);
  const chosen: RecordFile[] = [];
  let bytes = 0;
  for (let at = 0; at < bySize.length && bytes < SAMPLE_BYTES; at += step) {
    const file = bySize[Math.floor(at)];
    if (file === undefined) break;
    chosen.push(file);
    bytes += file.bytes;
  }
  return chosen;
}

/** Handing a model out needs no write, so one that fails is only told. */
async function refresh(
  store: Store,
  model: StoredModel,
  mtimes: ReadonlyMap<string, number>,
  standing: Standing,
): Promise<void> {
  const { record, directory } = model;
  const durable = standing === 'settled' ? record.placement.durable : store.durability !== 'trust';
  try {
    if (durable) {
      await flushModel(store, record, directory);
      await flushFiles(store, [directory]);
    }
    const files: RecordFile[] = [];
    for (const file of record.files) {
      const found = mtimes.get(file.path) ?? file.mtime;
      const mtime = Math.floor(found);
      if (mtime !== found) await utimes(join(directory, file.path), mtime, mtime);
      files.push({ ...file, mtime });
    }
    const refreshed: ModelRecord = {
      ...record,
      files,
      placement: await placementOf(store, directory, durable),
    };
    // A removal in the meantime wins.
    if ((await readModel(store, model.path)) !== undefined)
      await writeTwice(store, recordPath(store, model.path), refreshed, durable);
  } catch (error) {
    const reason = diskError(error, directory);
    if (!(reason instanceof ModeldlError) && systemErrorCode(error) !== 'ENOENT') throw error;
    store.emit({ type: 'note', message: `The record of ${record.reference} could not be refreshed` });
  }
}

/**
 * Rewrites the record of a stored model with a later finding, such as the check of a conversion.
 * @returns undefined when the model was removed in the meantime, which wins
 */
export async function updateRecord(
  store: Store,
  model: StoredModel,
  record: ModelRecord,
): Promise<StoredModel | undefined> {
  if ((await readModel(store, model.path)) === undefined) return undefined;
  await writeTwice(store, recordPath(store, model.path), record);
  return { ...model, record };
}

/** A model as the copy of its record has it, where that says something else of it. */
export async function copiedModel(store: Store, model: StoredModel): Promise<StoredModel | undefined> {
  const record = await readOtherwise(store, recordPath(store, model.path), schemaAt(model.path));
  return record === undefined ? undefined : { ...model, record };
}

/** Makes the record of a model again of its copy. */
export async function restoreRecord(store: Store, model: StoredModel): Promise<void> {
  await restoreFromCopy(store, recordPath(store, model.path));
}

/** Makes the record of a model and its copy the same again. @returns whether they were not */
export async function mendRecord(store: Store, model: StoredModel): Promise<boolean> {
  return mendCopy(store, recordPath(store, model.path));
}

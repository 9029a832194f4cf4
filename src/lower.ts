/**
 * Caches below the user's own: read, and never written to. Their models are listed and handed out as they are, after the
 * same look as the own ones. A pull makes one the user's own, so that nothing is missing when the lower cache goes.
 */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { sep } from 'node:path';
import { tellAdopted, adopt, costsNothing, type Adopted, type BlobSource } from './adopt.js';
import type { Context } from './context.js';
import { ModeldlError, systemErrorCode, throwIfAborted } from './errors.js';
import type { Emit } from './events.js';
import type { Snapshot } from './hub.js';
import { decidingRequest, keyOf, knownListing } from './listing.js';
import { below } from './select.js';
import { cacheNeed, requireSpace } from './space.js';
import { blobPath, hasBlob, isSettled } from './store/blobs.js';
import { readCatalogue, type Catalogue } from './store/catalogue.js';
import { inStore, openStore, type Store } from './store/layout.js';
import { workingMode } from './store/link.js';
import {
  checkModel,
  findModel,
  modelsNamed,
  publishModel,
  touchUsed,
  type NewRecord,
  type StoredModel,
} from './store/models.js';
import type { Asked, ConversionRecord, ModelKey, ModelRecord } from './store/record.js';
import { readRef, readSnapshot, saveSnapshot, type StoredSnapshot } from './store/snapshots.js';
import { createHasher } from './transfer/digest.js';

/** Opens the caches that are there and are not the own one; what else is named is told and left out. */
export async function openLowerStores(directories: readonly string[], own: Store): Promise<readonly Store[]> {
  const opened = new Set([await realOrGiven(own.cacheDir)]);
  const stores: Store[] = [];
  for (const cacheDir of directories) {
    const real = await realOrGiven(cacheDir);
    if (opened.has(real)) continue;
    opened.add(real);
    const emit = onceFor(cacheDir, own.emit);
    const store = await openStore({ cacheDir, durability: own.durability, emit, readOnly: true });
    const problem = await whyNoCache(store);
    if (problem === undefined) stores.push(store);
    else {
      const message = `A directory in \`cache.readFrom\` is ignored, ${problem}: ${cacheDir}`;
      own.emit({ type: 'note', message });
    }
  }
  return stores;
}

function realOrGiven(directory: string): Promise<string> {
  return realpath(directory).catch(() => directory);
}

async function whyNoCache({ root, cacheDir }: Store): Promise<string | undefined> {
  try {
    if ((await stat(root)).isDirectory()) return undefined;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EACCES' || code === 'EPERM') return 'it may not be read';
  }
  const exists = await stat(cacheDir).then(
    () => true,
    () => false,
  );
  return exists ? 'it is no cache of modeldl' : 'it does not exist';
}

/** What is wrong with a cache that the user cannot mend is told once. */
function onceFor(cacheDir: string, emit: Emit): Emit {
  let told = false;
  return (event) => {
    if (event.type !== 'note' && event.type !== 'warning') return;
    if (!told) {
      const message = `Something in the cache ${cacheDir} cannot be used and is ignored: ${event.message}`;
      emit({ type: 'note', message });
    }
    told = true;
  };
}

/** Reads something of a lower cache; what cannot be read is not there. */
async function reading<Result>(
  context: Context,
  store: Store,
  read: (store: Store) => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await read(store);
  } catch (error) {
    if (context.signal.aborted || !isUnreadable(error)) throw error;
    store.emit({ type: 'note', message: error.message });
    return undefined;
  }
}

function isUnreadable(error: unknown): error is Error {
  return error instanceof ModeldlError || (error instanceof Error && systemErrorCode(error) !== undefined);
}

/** The first that the own cache, or else a lower one, has of something. */
async function firstOf<Result>(
  context: Context,
  read: (store: Store) => Promise<Result | undefined>,
): Promise<Result | undefined> {
  const own = await read(context.store);
  if (own !== undefined) return own;
  for (const store of context.lower) {
    const found = await reading(context, store, read);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A stored listing, of whatever cache. */
export function anySnapshot(
  context: Context,
  hub: string,
  id: string,
  revision: string,
): Promise<StoredSnapshot | undefined> {
  return firstOf(context, (store) => readSnapshot(store, hub, id, revision));
}

/** What a floating name last resolved to in the nearest cache that knows it and has its listing. */
export function floatedTo(context: Context, hub: string, name: string): Promise<StoredSnapshot | undefined> {
  return firstOf(context, async (store) => {
    const last = await readRef(store, name);
    return last === undefined ? undefined : anySnapshot(context, hub, last.id, last.revision);
  });
}

/** The cache that a model lies in. */
export function storeOf(context: Context, model: Pick<StoredModel, 'directory'>): Store {
  const holds = (store: Store): boolean => model.directory.startsWith(inStore(store, 'models') + sep);
  return context.lower.find(holds) ?? context.store;
}

/** What tells a model from all others, in whatever cache it lies. */
interface IdentifiedModel extends Pick<StoredModel, 'path'> {
  readonly record: Pick<ModelRecord, 'hub' | 'id' | 'revision' | 'selection'> & {
    readonly conversion?: Pick<ConversionRecord, 'key'>;
  };
}

/** Own models and those of lower caches, sorted by path: a lower cache's only where no higher one has the same. */
async function withLower<Model extends IdentifiedModel>(
  context: Context,
  own: readonly Model[],
  read: (store: Store) => Promise<readonly Model[]>,
): Promise<readonly Model[]> {
  if (context.lower.length === 0) return own;
  const seen = new Map<string, Model>();
  const add = (models: readonly Model[]): void => {
    for (const model of models) {
      const { hub, id, revision, selection = '', conversion } = model.record;
      const identity = JSON.stringify([hub, id, revision, selection, conversion?.key]);
      if (!seen.has(identity)) seen.set(identity, model);
    }
  };
  add(own);
  for (const store of context.lower) add((await reading(context, store, read)) ?? []);
  return [...seen.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The stored models of one hub and some names there. */
export async function visibleModels(
  context: Context,
  hub: string,
  ids: readonly string[],
): Promise<readonly StoredModel[]> {
  const named = (store: Store): Promise<readonly StoredModel[]> => modelsNamed(store, hub, ids);
  return withLower(context, await named(context.store), named);
}

/** Every stored model as lists need it, and what the own ones take on disk. */
export async function visibleCatalogue(context: Context): Promise<Catalogue> {
  const { models: own, physicalBytes } = await readCatalogue(context.store);
  const models = await withLower(context, own, async (store) => (await readCatalogue(store)).models);
  return { models, physicalBytes };
}

/** Is this model stored, in whatever cache? No look at its files. */
export async function isStoredAnywhere(context: Context, key: ModelKey): Promise<boolean> {
  return (await firstOf(context, (store) => findModel(store, key))) !== undefined;
}

/** For operations that change what is stored: lower caches do not exist for them. */
export function ownOnly(context: Context): Context {
  return { ...context, lower: [] };
}

/** The blobs of a lower cache, of whatever model. */
export function lowerBlobs(store: Store): BlobSource {
  return {
    title: 'the cache',
    directory: store.cacheDir,
    emit: store.emit,
    find: (sha256) => {
      const path = blobPath(store, sha256);
      return stat(path).then(
        () => path,
        () => undefined,
      );
    },
  };
}

/** The model that a key names in the first lower cache where its files look as they should. */
export async function lowerModel(context: Context, key: ModelKey): Promise<StoredModel | undefined> {
  for (const store of context.lower) {
    const model = await reading(context, store, (lower) => findModel(lower, key));
    if (model !== undefined && (await looksIntact(context, store, model))) return model;
  }
  return undefined;
}

async function looksIntact(context: Context, store: Store, model: StoredModel): Promise<boolean> {
  const check = await reading(context, store, () => checkModel(store, model, false, context.signal));
  if (check === undefined) return false;
  const [first] = [...check.damaged, ...check.missing];
  if (first === undefined) return true;
  store.emit({ type: 'note', message: `${first} of ${model.record.reference} is damaged` });
  return false;
}

export interface Owned {
  readonly model: StoredModel;
  readonly adoptedBytes: number;
}

/**
 * Makes a model of a lower cache the user's own: every file is linked or copied, and hashed. The caller holds the claim.
 * @param asked what chose the files now
 * @param listing what the hub says of this revision, when it was asked
 * @returns undefined when no lower cache has it whole: what is good of it stays a blob
 * @throws ModeldlError DISK, INTERRUPTED
 */
export async function ownLowerModel(
  context: Context,
  key: ModelKey,
  asked?: Asked,
  listing?: Snapshot | StoredSnapshot,
): Promise<Owned | undefined> {
  const model = await lowerModel(context, key);
  return model === undefined ? undefined : ownModel(context, model, asked, listing);
}

async function ownModel(
  context: Context,
  model: StoredModel,
  asked: Asked | undefined,
  given?: Snapshot | StoredSnapshot,
): Promise<Owned | undefined> {
  const { store, signal } = context;
  const { reference } = model.record;
  const lower = storeOf(context, model);
  const sources = [treeBlobs(lower, model)];
  const session = await context.session();
  await session.want(model.record.files.map(({ sha256 }) => sha256));
  await requireRoom(context, sources, model);
  const adopted: Adopted[] = [];
  for (const { path, sha256, bytes } of model.record.files) {
    // One in doubt is taken anew, so that damage of the own cache is not taken for that of the lower one.
    if (await isSettled(store, sha256, bytes)) continue;
    const beforeKept = (): Promise<void> => Promise.resolve();
    const forWhat = { reference, path, signal, beforeKept };
    const taken = await adopt(context, sources, { sha256, bytes }, forWhat);
    if (taken === undefined) return undefined;
    adopted.push(taken);
  }
  const { hub, id, revision } = model.record;
  const snapshot = await anySnapshot(context, hub, id, revision);
  const listing = given ?? snapshot;
  const kept = await reading(context, lower, () => keepsPromises(context, model, listing));
  if (kept === undefined) return undefined;
  if (snapshot !== undefined) await saveSnapshot(store, snapshot);
  const published = await publishModel(store, model.record, ownRecord(model, asked));
  if ('missing' in published) return undefined;
  tellAdopted(context, adopted);
  return { model: published, adoptedBytes: adopted.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/**
 * Are the files that a record names, which are blobs now, those that the listing promises? What a conversion made, no
 * listing knows. @throws ModeldlError INTEGRITY
 */
export async function keepsPromises(
  { store, signal }: Context,
  {
    record,
  }: {
    readonly record: Omit<ModelRecord, 'placement' | 'version' | 'files' | 'pulledAt'> &
      Pick<NewRecord, 'files'>;
  },
  listing: Snapshot | StoredSnapshot | undefined,
): Promise<true> {
  const entries = listing === undefined ? undefined : knownListing(listing);
  if (record.conversion !== undefined || listing === undefined || entries === undefined) return true;
  const { revision, selection, subpath, files } = record;
  const listed = new Map(below(entries, subpath).candidates.map((chosen) => [chosen.path, chosen]));
  const chosen = files.flatMap(({ path }) => listed.get(path) ?? []);
  const complete = subpath === undefined && chosen.length === entries.length;
  const named = keyOf(listing, revision, { chosen, leftOut: [], complete });
  if (chosen.length !== files.length || named.selection !== selection)
    throw new ModeldlError('INTEGRITY', `The files of ${record.reference} are not those of its revision`);
  for (const { path, sha256, bytes } of files) {
    throwIfAborted(signal);
    const entry = listed.get(path)?.file;
    const digest = entry?.archive === undefined ? entry?.source.digest : undefined;
    if (digest === undefined || (digest.algorithm === 'sha256' && digest.hex === sha256)) continue;
    const hasher = createHasher(digest, bytes);
    for await (const chunk of createReadStream(blobPath(store, sha256))) hasher.update(chunk as Buffer);
    hasher.finish(path, bytes);
  }
  return true;
}

/** What is copied, and the tree where it cannot be links. */
async function requireRoom(
  context: Context,
  sources: readonly BlobSource[],
  { record }: StoredModel,
): Promise<void> {
  if (!context.spaceCheck) return;
  const copies = (await workingMode(context.store, ['reflink', 'hardlink', 'copy'])) === 'copy';
  let needed = 0;
  for (const { sha256, bytes } of record.files) {
    if (copies) needed += bytes;
    if ((await hasBlob(context.store, sha256, bytes)) !== undefined) continue;
    if (!(await costsNothing(context, sources, { sha256, bytes }))) needed += bytes;
  }
  await requireSpace(context, [cacheNeed(context, needed)]);
}

/** The files of one model, which has them also where a prune or a copy left its blobs behind. */
function treeBlobs(store: Store, { record, directory }: StoredModel): BlobSource {
  const paths = new Map(record.files.map(({ sha256, path }) => [sha256, `${directory}${sep}${path}`]));
  return { ...lowerBlobs(store), find: (sha256) => Promise.resolve(paths.get(sha256)) };
}

function ownRecord({ record }: StoredModel, now: Asked | undefined): NewRecord {
  const { version, placement, copiedBytes, asked: before, files, ...rest } = record;
  const asked = record.conversion === undefined ? decidingRequest(before, now) : before;
  return {
    ...rest,
    ...(asked === undefined ? {} : { asked }),
    files: files.map(({ mtime, ...file }) => file),
    pulledAt: new Date().toISOString(),
  };
}

/**
 * A stored model as the user's own, where that is possible: one of a lower cache stays there when the own cache cannot be
 * written. The caller has looked at its files. @throws ModeldlError DISK, INTEGRITY
 */
export async function owned(context: Context, model: StoredModel): Promise<Owned> {
  if (storeOf(context, model) !== context.store && context.store.writable) {
    const made = await ownModel(context, model, model.record.asked);
    if (made !== undefined) return made;
    throw new ModeldlError('INTEGRITY', `The stored model is damaged: ${model.record.reference}`, {
      hint: 'tell who keeps this cache, or remove its directory from `cache.readFrom`',
      details: { file: model.directory },
    });
  }
  await touchUsed(storeOf(context, model), model.path);
  return { model, adoptedBytes: 0 };
}

/**
 * What a list of all models shows, kept in one file, since reading ten thousand records takes seconds. It is made of the
 * records and never believed over them: a shelf's part holds only while its directory is the same and has not changed
 * since, by inode and change time, which every record that is written or removed there moves and no copy keeps. That of
 * a cache that cannot be written, which others keep, is not believed at all.
 */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readText } from './json.js';
import { fileSystemTime, inStore, uniqueName, type Store } from './layout.js';
import { listShelves, modelsOn, occupiedBytes, type StoredModel } from './models.js';
import type { ConversionRecord, ModelRecord } from './record.js';
import { createTurns } from './turns.js';

interface Entry {
  /** Below `models/`, `/`-separated. */
  readonly path: string;
  /** What tells it from others and names it, of its record. */
  readonly record: Pick<
    ModelRecord,
    'hub' | 'id' | 'revision' | 'reference' | 'selection' | 'asked' | 'single' | 'pulledAt'
  > & { readonly conversion?: Pick<ConversionRecord, 'key' | 'precision' | 'device'> };
  readonly bytes: number;
  readonly copiedBytes: number;
  /** `<16 hex of the sha256>:<bytes>` of each file, separated by spaces: one text is read faster than many. */
  readonly blobs: string;
}

/** A model as lists need it. */
export interface ListedEntry extends Entry {
  /** Absolute directory of the tree. */
  readonly directory: string;
}

interface Shelf {
  readonly inode: number;
  readonly changedMs: number;
  readonly models: readonly Entry[];
}

/** Raised with every change of what follows it. */
const VERSION = 1;

interface Contents {
  readonly shelves: Readonly<Record<string, Shelf>>;
  /** Of all models on these shelves. */
  readonly physicalBytes: number;
}

/**
 * Some file systems keep times in steps of two seconds: a directory that changed so lately may change again without
 * another time.
 */
const STEP_MS = 2000;
/** So many directories that had to be read make writing the file worthwhile. */
const WORTH_WRITING = 100;

export interface CatalogueOptions {
  readonly stepMs?: number;
  readonly worthWriting?: number;
}

export interface Catalogue {
  /** Sorted by path. */
  readonly models: readonly ListedEntry[];
  /** What they take on disk, as `physicalBytes` tells of their records. */
  readonly physicalBytes: number;
}

/** Every model. Tells of damaged and of newer records as `listModels` does. */
export async function readCatalogue(
  store: Store,
  { stepMs = STEP_MS, worthWriting = WORTH_WRITING }: CatalogueOptions = {},
): Promise<Catalogue> {
  const started = performance.now();
  const known = store.writable ? await readKnown(store) : NOTHING;
  const shelves = new Map<string, Shelf>();
  const models: ListedEntry[] = [];
  const records = inStore(store, 'records');
  const trees = inStore(store, 'models');
  const turn = createTurns();
  let read = 0;
  for (const name of listShelves(store)) {
    await turn();
    // Before what is in it, so that a change meanwhile is seen by the next look.
    const found = statSync(`${records}/${name}`, { throwIfNoEntry: false });
    if (found === undefined) continue;
    let shelf = known.shelves.get(name);
    if (shelf?.inode !== found.ino || shelf.changedMs !== found.ctimeMs) {
      const { models: listed, whole } = await readShelf(store, name);
      // What is told once is told by every list.
      shelf = { inode: found.ino, changedMs: whole ? found.ctimeMs : Infinity, models: listed };
      read += 1;
    }
    shelves.set(name, shelf);
    for (const model of shelf.models) models.push({ ...model, directory: join(trees, model.path) });
  }
  const same = read === 0 && shelves.size === known.shelves.size;
  const physicalBytes = same ? known.physicalBytes : sumPhysical(models);
  if (read >= worthWriting && store.writable)
    await write(store, shelves, performance.now() - started + stepMs);
  return { models, physicalBytes };
}

function sumPhysical(models: readonly Entry[]): number {
  return occupiedBytes(
    models.map(({ blobs, copiedBytes }) => ({
      blobs: blobs.split(' ').map((blob) => [blob, Number(blob.slice(17))]),
      copiedBytes,
    })),
  );
}

function cataloguePath(store: Store): string {
  return join(store.root, 'catalogue.jsonl');
}

interface Known {
  readonly shelves: ReadonlyMap<string, Shelf>;
  readonly physicalBytes: number;
}

const NOTHING: Known = { shelves: new Map(), physicalBytes: 0 };

async function readKnown(store: Store): Promise<Known> {
  const text = (await readText(cataloguePath(store)).catch(() => undefined)) ?? '';
  const [head, body = ''] = text.split('\n', 2);
  if (head !== headOf(body)) return NOTHING;
  const { shelves, physicalBytes } = JSON.parse(body) as Contents;
  return { shelves: new Map(Object.entries(shelves)), physicalBytes };
}

/** The line before the contents. Its digest says that a program of this version wrote them: a look at each takes longer. */
function headOf(body: string): string {
  return JSON.stringify({ version: VERSION, sha256: createHash('sha256').update(body).digest('hex') });
}

/** The catalogue as a file. */
export function sealCatalogue(body: string): string {
  return `${headOf(body)}\n${body}\n`;
}

async function readShelf(store: Store, name: string): Promise<{ models: readonly Entry[]; whole: boolean }> {
  let whole = true;
  const telling: Store = {
    ...store,
    emit: (event) => {
      whole = false;
      store.emit(event);
    },
  };
  return { models: (await modelsOn(telling, name)).map(entryOf), whole };
}

function entryOf({ path, record }: StoredModel): Entry {
  const { hub, id, revision, reference, selection, asked, single, conversion, pulledAt } = record;
  const { copiedBytes = 0, files } = record;
  return {
    path,
    record: {
      hub,
      id,
      revision,
      reference,
      ...(selection === undefined ? {} : { selection }),
      ...(asked === undefined ? {} : { asked }),
      ...(single === undefined ? {} : { single }),
      ...(conversion === undefined
        ? {}
        : {
            conversion: { key: conversion.key, precision: conversion.precision, device: conversion.device },
          }),
      pulledAt,
    },
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    copiedBytes,
    blobs: files.map(({ sha256, bytes }) => `${sha256.slice(0, 16)}:${bytes}`).join(' '),
  };
}

/**
 * Several processes may write it at once: each writes all it knows, and the last one stays.
 * @param agoMs only what has not changed since so long ago is written down
 */
async function write(store: Store, shelves: ReadonlyMap<string, Shelf>, agoMs: number): Promise<void> {
  const temporary = inStore(store, 'tmp', `${uniqueName()}.json`);
  try {
    const settledBefore = (await fileSystemTime(store)) - agoMs;
    const settled = [...shelves].filter(([, { changedMs }]) => changedMs < settledBefore);
    const contents: Contents = {
      shelves: Object.fromEntries(settled),
      physicalBytes: sumPhysical(settled.flatMap(([, { models }]) => models)),
    };
    await writeFile(temporary, sealCatalogue(JSON.stringify(contents)), { flag: 'wx' });
    await rename(temporary, cataloguePath(store));
  } catch {
    // Lists need no write; the next one reads the records again.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}

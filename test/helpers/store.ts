/** A store in a temporary directory, with what tests put into it. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { ModeldlEvent } from '../../src/events.js';
import { adoptBlob, blobPath } from '../../src/store/blobs.js';
import { sealCatalogue } from '../../src/store/catalogue.js';
import { inStore, openStore, uniqueName, type Durability, type Store } from '../../src/store/layout.js';
import { publishModel, type NewRecord, type StoredModel } from '../../src/store/models.js';
import { deviceSlug, type ModelKey } from '../../src/store/record.js';
import { copyPath } from '../../src/store/twice.js';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** A directory that is removed when the test ends. */
export async function temporaryDirectory(parent = tmpdir()): Promise<string> {
  const directory = await mkdtemp(join(parent, 'modeldl-store-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export interface TestStore extends Store {
  /** Everything the store told. */
  readonly events: ModeldlEvent[];
}

export async function temporaryStore(durability: Durability = 'lazy'): Promise<TestStore> {
  return openedStore(await temporaryDirectory(), durability);
}

export async function openedStore(cacheDir: string, durability: Durability = 'lazy'): Promise<TestStore> {
  const events: ModeldlEvent[] = [];
  const store = await openStore({ cacheDir, durability, emit: (event) => events.push(event) });
  return { ...store, events };
}

/** The same store as the next boot of the machine sees it. */
export function afterReboot(store: TestStore): TestStore {
  return { ...store, bootId: `${store.bootId}-next`, bootedAt: Date.now() + 2000, verified: new Set() };
}

export function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Stores a text as a blob; returns its sha256. */
export async function putBlob(store: Store, text: string): Promise<string> {
  const temporary = inStore(store, 'tmp', uniqueName());
  await writeFile(temporary, text);
  await adoptBlob(store, temporary, sha256Of(text), Buffer.byteLength(text));
  return sha256Of(text);
}

export function keyOf(id = 'org/name', revision = COMMIT): ModelKey {
  return { hub: 'hf', id, revision };
}

/** A record for files given as path and text, as a pull would make it. */
export function recordOf(key: ModelKey, files: Readonly<Record<string, string>>): NewRecord {
  const { hub, id, revision, selection } = key;
  return {
    hub,
    id,
    revision,
    ...(selection === undefined ? {} : { selection }),
    reference: `hf:${key.id}@${key.revision}`,
    files: Object.entries(files).map(([path, text]) => ({
      path,
      bytes: Buffer.byteLength(text),
      sha256: sha256Of(text),
    })),
    leftOut: [],
    pulledAt: '2026-01-01T00:00:00.000Z',
  };
}

/** Stores the files as blobs and publishes them as a model. */
export async function putModel(
  store: Store,
  files: Readonly<Record<string, string>>,
  key: ModelKey = keyOf(),
): Promise<StoredModel> {
  for (const text of Object.values(files)) await putBlob(store, text);
  const published = await publishModel(store, key, recordOf(key, files));
  if ('missing' in published) throw new Error(`Missing blobs: ${published.missing.join(', ')}`);
  return published;
}

/** Publishes a conversion of a stored model, as `convert` names and records it; `seed` decides its key. */
export async function putConversion(
  store: Store,
  origin: StoredModel,
  { precision, device = 'CPU', seed = precision }: { precision: string; device?: string; seed?: string },
): Promise<StoredModel> {
  const { placement, version, single, ...record } = origin.record;
  const xml = `<net name="${seed}"/>`;
  await putBlob(store, xml);
  const key = sha256Of(seed);
  const named = record.conversion === undefined ? record.reference : record.reference.replace(/\+[^+]*$/, '');
  const { hub, id, revision, selection } = record;
  const modelKey = {
    hub,
    id,
    revision,
    ...(selection === undefined ? {} : { selection }),
    conversion: { precision, device, key },
  };
  const published = await publishModel(store, modelKey, {
    ...record,
    reference: `${named}+${precision}-${deviceSlug(device)}`,
    files: [{ path: 'openvino_model.xml', bytes: Buffer.byteLength(xml), sha256: sha256Of(xml) }],
    leftOut: [],
    conversion: {
      key,
      converter: 'openvino',
      precision,
      device,
      settings: {},
      origin: origin.path,
      originReference: record.reference,
      toolchain: { name: 'openvino', versions: {} },
      seconds: 1,
      adjustments: [],
      consent: [],
    },
  });
  if ('missing' in published) throw new Error(`Missing blobs: ${published.missing.join(', ')}`);
  return published;
}

export async function isStored(store: Store, sha256: string): Promise<boolean> {
  return stat(blobPath(store, sha256)).then(
    () => true,
    () => false,
  );
}

/** Returns once the file system's clock, which ticks every few milliseconds, shows a later time than anything before. */
export async function clockTick(store: Store): Promise<void> {
  const probe = inStore(store, 'logs', uniqueName());
  const time = async (): Promise<number> => {
    await writeFile(probe, '');
    return (await stat(probe)).ctimeMs;
  };
  const start = await time();
  while ((await time()) <= start);
  // A store that may not be written to is judged by this clock, whose milliseconds are whole.
  while (Date.now() <= start);
  await rm(probe);
}

/** Changes what the catalogue says, so that it is told from the records. */
export async function changeCatalogue(store: Store, from: string, to: string): Promise<void> {
  const file = join(store.root, 'catalogue.jsonl');
  const [, body = ''] = (await readFile(file, 'utf8')).split('\n');
  await writeFile(file, sealCatalogue(body.replaceAll(from, to)));
}

/** Where a model's record lies, and its copy. */
export function recordFiles(store: Store, model: Pick<StoredModel, 'path'>): readonly [string, string] {
  const path = inStore(store, 'records', `${model.path}.json`);
  return [path, copyPath(path)];
}

/** The tree stays as a process that died between the two leaves it. */
export async function loseRecord(store: Store, model: StoredModel): Promise<void> {
  for (const path of recordFiles(store, model)) await rm(path);
}

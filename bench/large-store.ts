/**
 * A store of many models, planted without pulling them: the bytes, trees, records and listings that pulls would have
 * left, written with synchronous calls since that is what takes the time.
 */
import { createHash } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { blobPath } from '../src/store/blobs.js';
import { inStore, openStore, type Store } from '../src/store/layout.js';
import { modelPath, type ModelKey, type ModelRecord } from '../src/store/record.js';
import { copyPath } from '../src/store/twice.js';

export interface LargeStore {
  readonly cacheDir: string;
  readonly models: number;
  /** Own blobs of each model; one more is shared by all. */
  readonly filesPerModel: number;
}

/** A time in whole seconds, as the store has it, that no sweep takes for young by its modification time. */
const WRITTEN = 1_767_225_600;

/** The pinned reference of one of the planted models. */
export function plantedReference(index: number): string {
  return `hf:${nameOf(index)}@${revisionOf(index)}`;
}

function nameOf(index: number): string {
  return `org-${index % 97}/model-${index}`;
}

function revisionOf(index: number): string {
  return createHash('sha1').update(`revision ${index}`).digest('hex');
}

/** @param unwanted how many removed models of one blob each there were beside these, for a prune to find */
export async function plantStore(
  { cacheDir, models, filesPerModel }: LargeStore,
  unwanted = 0,
): Promise<void> {
  const store = await openStore({ cacheDir, durability: 'trust', emit: () => undefined });
  const made = new Set<string>();
  const shared = plantBlob(store, made, 'apache-2.0');
  for (let index = 0; index < models; index += 1) {
    const key = { hub: 'hf', id: nameOf(index), revision: revisionOf(index) } satisfies ModelKey;
    const path = modelPath(key);
    const tree = inStore(store, 'models', ...path.split('/'));
    const files: ModelRecord['files'][number][] = [];
    for (let file = 0; file < filesPerModel; file += 1) {
      const blob = plantBlob(store, made, `file ${file} of model ${index}`);
      const name = file === 0 ? 'config.json' : `part/model-${file}.safetensors`;
      files.push(plantFile(store, made, tree, name, blob));
    }
    files.push(plantFile(store, made, tree, 'LICENSE', shared));
    const { dev, ino } = statSync(tree);
    const record: ModelRecord = {
      version: 1,
      ...key,
      reference: plantedReference(index),
      files,
      leftOut: [],
      license: 'apache-2.0',
      pulledAt: '2026-01-01T00:00:00.000Z',
      placement: { bootId: store.bootId, device: dev, inode: ino, durable: true },
    };
    const recordPath = inStore(store, 'records', ...`${path}.json`.split('/'));
    for (const document of [recordPath, copyPath(recordPath)]) plantDocument(made, document, record);
    const used = createHash('sha256').update(path).digest('hex').slice(0, 32);
    writeFileSync(inStore(store, 'used', used), '');
    const remote = files.map(({ path: name, bytes, sha256 }) => ({
      path: name,
      size: bytes,
      digest: { algorithm: 'sha256', hex: sha256 },
      url: `http://127.0.0.1:9/${key.id}/resolve/${key.revision}/${name}`,
    }));
    plantDocument(made, inStore(store, 'snapshots', dirname(path), `${key.revision}.json`), {
      ...key,
      files: remote,
      metadata: {},
    });
  }
  for (let index = 0; index < unwanted; index += 1) {
    const blob = plantBlob(store, made, `unwanted ${index}`);
    // Only what was removed on purpose need not age before it is swept.
    const record: ModelRecord = {
      version: 1,
      hub: 'hf',
      id: `removed/${index}`,
      revision: revisionOf(index),
      reference: `hf:removed/${index}@${revisionOf(index)}`,
      files: [{ path: 'model.safetensors', ...blob, mtime: WRITTEN }],
      leftOut: [],
      pulledAt: '2026-01-01T00:00:00.000Z',
      placement: { bootId: store.bootId, device: 0, inode: 0, durable: true },
    };
    plantDocument(made, inStore(store, 'removed', `${index}.json`), record);
  }
}

interface PlantedBlob {
  readonly sha256: string;
  readonly bytes: number;
}

function plantBlob(store: Store, made: Set<string>, text: string): PlantedBlob {
  const sha256 = createHash('sha256').update(text).digest('hex');
  const path = blobPath(store, sha256);
  makeOnce(made, dirname(path));
  writeFileSync(path, text);
  utimesSync(path, WRITTEN, WRITTEN);
  chmodSync(path, 0o444);
  return { sha256, bytes: Buffer.byteLength(text) };
}

function plantFile(
  store: Store,
  made: Set<string>,
  tree: string,
  name: string,
  blob: PlantedBlob,
): ModelRecord['files'][number] {
  const path = join(tree, ...name.split('/'));
  makeOnce(made, dirname(path));
  linkSync(blobPath(store, blob.sha256), path);
  return { path: name, ...blob, mtime: WRITTEN, upstream: { algorithm: 'sha256', hex: blob.sha256 } };
}

function plantDocument(made: Set<string>, path: string, document: unknown): void {
  makeOnce(made, dirname(path));
  writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`);
}

function makeOnce(made: Set<string>, directory: string): void {
  if (made.has(directory)) return;
  mkdirSync(directory, { recursive: true });
  made.add(directory);
}

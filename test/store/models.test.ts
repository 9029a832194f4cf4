import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  cp,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { adoptBlob, blobPath, dropBlob, hasBlob } from '../../src/store/blobs.js';
import { inStore } from '../../src/store/layout.js';
import {
  checkModel,
  findModel,
  lastUsed,
  listModels,
  modelsNamed,
  publishModel,
  removeModel,
  touchUsed,
  updateRecord,
  type StoredModel,
} from '../../src/store/models.js';
import { transpile } from '../helpers/built.js';
import {
  afterReboot,
  isStored,
  keyOf,
  loseRecord,
  openedStore,
  putBlob,
  putModel,
  recordOf,
  sha256Of,
  temporaryDirectory,
  temporaryStore,
  type TestStore,
} from '../helpers/store.js';

const FILES = { 'config.json': '{}', 'weights/model.bin': 'weights' };
const SOUND = { damaged: [], missing: [] };

/** Changes bytes without changing size or time, as a dying disk does. */
async function rot(path: string): Promise<void> {
  const { mtime, size } = await stat(path);
  await chmod(path, 0o644);
  await writeFile(path, 'x'.repeat(size));
  await utimes(path, mtime, mtime);
}

async function reread(store: TestStore, model: StoredModel): Promise<StoredModel> {
  const found = await findModel(store, model.record);
  if (found === undefined) throw new Error('The model is gone');
  return found;
}

describe('whole or absent (promise 1)', () => {
  it('a model without its record does not exist, and its tree is rebuilt', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await loseRecord(store, model);
    await writeFile(join(model.directory, 'half'), 'left over');
    expect(await findModel(store, keyOf())).toBeUndefined();
    expect(await listModels(store)).toEqual([]);
    const again = await putModel(store, FILES);
    expect(await readdir(again.directory)).toEqual(['config.json', 'weights']);
    expect(await readdir(inStore(store, 'trash'))).toEqual([]);
  });

  it.each([
    ['a new model', false],
    ['a model that stood there', true],
  ])('%s whose tree cannot be put into place has no record', async (_what, before) => {
    const store = await temporaryStore();
    const { path } = await putModel(store, FILES, keyOf('org/other'));
    if (before) await putModel(store, FILES);
    const models = inStore(store, 'models', 'hf', 'org--name');
    await rm(models, { recursive: true, force: true });
    await writeFile(models, 'a file where the directory of the model must be');
    await expect(publishModel(store, keyOf(), recordOf(keyOf(), FILES))).rejects.toThrow();
    expect(await findModel(store, keyOf())).toBeUndefined();
    expect((await listModels(store)).map((model) => model.path)).toEqual([path]);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('nothing is published when blobs are gone, and a model that stood there stays', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await dropBlob(store, sha256Of('weights'));
    expect(await publishModel(store, keyOf(), recordOf(keyOf(), FILES))).toEqual({
      missing: [sha256Of('weights')],
    });
    expect(await checkModel(store, await reread(store, model), true)).toEqual(SOUND);
    expect(await readdir(inStore(store, 'tmp'))).toEqual([]);
  });

  it('a blob of the wrong size is no blob', async () => {
    const store = await temporaryStore();
    await putBlob(store, '{}');
    const sha256 = await putBlob(store, 'weights');
    await chmod(blobPath(store, sha256), 0o644);
    await writeFile(blobPath(store, sha256), 'weig');
    expect(await publishModel(store, keyOf(), recordOf(keyOf(), FILES))).toEqual({ missing: [sha256] });
    expect(await isStored(store, sha256)).toBe(false);
    await putBlob(store, 'weights');
    expect(await hasBlob(store, sha256, 4)).toBeUndefined();
    expect(await isStored(store, sha256)).toBe(false);
  });

  it('removal takes record, tree and mark of use, and leaves the blobs to a sweep', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await removeModel(store, model);
    expect(await listModels(store)).toEqual([]);
    expect(await readdir(join(model.directory, '..'))).toEqual([]);
    expect(lastUsed(store, model.path)).toBeUndefined();
    expect(await isStored(store, sha256Of('weights'))).toBe(true);
  });

  it('holds whenever the process is killed', async () => {
    const { directory, remove } = await transpile([
      'src/store',
      'src/converter.ts',
      'src/json.ts',
      'src/directories.ts',
      'src/errors.ts',
      'src/paths.ts',
    ]);
    onTestFinished(remove);
    const cacheDir = await temporaryDirectory();
    for (let kill = 0; kill < 8; kill += 1) {
      const publisher = fileURLToPath(new URL('fixtures/publisher.mjs', import.meta.url));
      const child = spawn(process.execPath, [publisher, directory, cacheDir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      // The publisher works on while this reads, so that each kill meets it elsewhere.
      let reached = 0;
      for await (const line of createInterface({ input: child.stdout })) {
        reached = Number(line);
        if (reached >= 3 + kill) break;
      }
      expect(reached).toBe(3 + kill);
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      const store = await openedStore(cacheDir);
      for (const model of await listModels(store))
        expect(await checkModel(store, model, true)).toEqual(SOUND);
      expect(store.events).toEqual([]);
    }
    const store = await openedStore(cacheDir);
    expect(await checkModel(store, await putModel(store, FILES, keyOf('org/model-0')), true)).toEqual(SOUND);
  });

  it('two processes that publish the same model at once leave one whole model', async () => {
    const store = await temporaryStore();
    const twin = await openedStore(store.cacheDir);
    for (const text of Object.values(FILES)) await putBlob(store, text);
    for (let round = 0; round < 20; round += 1) {
      await Promise.all([store, twin].map((each) => publishModel(each, keyOf(), recordOf(keyOf(), FILES))));
      const [model, ...others] = await listModels(store);
      expect(others).toEqual([]);
      expect(model && (await checkModel(store, model, true))).toEqual(SOUND);
    }
  });
});

describe('power cuts (promise 1)', () => {
  it('a later command of the same boot marks a model durable', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    expect(model.record.placement.durable).toBe(false);
    expect(await checkModel(store, model, false)).toEqual(SOUND);
    expect((await reread(store, model)).record.placement.durable).toBe(true);
  });

  it('an unmarked model of an earlier boot is hashed once, and damage is found', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await rot(join(model.directory, 'weights/model.bin'));
    expect(await checkModel({ ...store, durability: 'trust' }, model, false)).toEqual(SOUND);
    expect(await checkModel(afterReboot(store), model, false)).toEqual({
      damaged: ['weights/model.bin'],
      missing: [],
    });
    expect((await reread(store, model)).record.placement.durable).toBe(false);
  });

  it('a device that got another number with the boot is no copy', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await rot(join(model.directory, 'config.json'));
    const { placement } = model.record;
    const record = { ...model.record, placement: { ...placement, device: placement.device + 1 } };
    const found = await checkModel(afterReboot(store), { ...model, record }, false);
    expect(found).toEqual({ damaged: ['config.json'], missing: [] });
  });

  it('a sound model of an earlier boot is marked, and not hashed again', async () => {
    const store = await temporaryStore();
    const next = afterReboot(store);
    const model = await putModel(store, FILES);
    expect(await checkModel(next, model, false)).toEqual(SOUND);
    const marked = await reread(store, model);
    expect(marked.record.placement).toMatchObject({ durable: true, bootId: next.bootId });
    await rot(join(model.directory, 'weights/model.bin'));
    expect(await checkModel(next, marked, false)).toEqual(SOUND);
  });

  it('`flush` makes a model durable before its record exists', async () => {
    const store = await temporaryStore('flush');
    const model = await putModel(store, FILES);
    expect(model.record.placement.durable).toBe(true);
  });

  it('a copied cache and a read-only one skip the boot rule', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await rot(join(model.directory, 'config.json'));
    const readOnly = { ...afterReboot(store), writable: false };
    expect(await checkModel(readOnly, model, false)).toEqual(SOUND);
    const copy = await temporaryDirectory();
    await cp(store.cacheDir, copy, { recursive: true, preserveTimestamps: true });
    const copied = afterReboot(await openedStore(copy));
    const [there] = await listModels(copied);
    expect(there && (await checkModel(copied, there, false))).toEqual(SOUND);
  });

  it('a blob of an earlier boot is hashed before another model is made of it', async () => {
    const store = await temporaryStore();
    const sha256 = await putBlob(store, 'weights');
    await putBlob(store, '{}');
    await rot(blobPath(store, sha256));
    const next = afterReboot(store);
    expect(await publishModel(next, keyOf(), recordOf(keyOf(), FILES))).toEqual({ missing: [sha256] });
    expect(await isStored(store, sha256)).toBe(false);
  });

  it('a blob that a durable model vouches for is not hashed again', async () => {
    const store = await temporaryStore('flush');
    await putModel(store, FILES);
    await rot(blobPath(store, sha256Of('weights')));
    const published = await publishModel(
      afterReboot(store),
      keyOf('org/other'),
      recordOf(keyOf('org/other'), FILES),
    );
    expect(published).not.toHaveProperty('missing');
  });

  it('fetched bytes win over a doubtful blob', async () => {
    const store = await temporaryStore();
    const sha256 = await putBlob(store, 'weights');
    await rot(blobPath(store, sha256));
    await putBlob(afterReboot(store), 'weights');
    expect(await readFile(blobPath(store, sha256), 'utf8')).toBe('weights');
  });
});

describe('every byte is checked (promise 2)', () => {
  it('blobs are read-only, with a time in whole seconds', async () => {
    const store = await temporaryStore();
    const { mode, mtimeMs } = await stat(blobPath(store, await putBlob(store, 'weights')));
    expect(mode & 0o777).toBe(0o444);
    expect(mtimeMs % 1000).toBe(0);
  });

  it('a second arrival of the same bytes is dropped', async () => {
    const store = await temporaryStore();
    const sha256 = await putBlob(store, 'weights');
    const { ino } = await stat(blobPath(store, sha256));
    const temporary = inStore(store, 'tmp', 'again');
    await writeFile(temporary, 'weights');
    await adoptBlob(store, temporary, sha256, 7);
    expect((await stat(blobPath(store, sha256))).ino).toBe(ino);
    await expect(stat(temporary)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it.each<[string, (path: string) => Promise<void>, { damaged: string[]; missing: string[] }]>([
    ['a missing file', (path) => rm(path), { damaged: [], missing: ['weights/model.bin'] }],
    [
      'another size',
      async (path) => {
        await chmod(path, 0o644);
        await writeFile(path, 'longer than before');
      },
      { damaged: ['weights/model.bin'], missing: [] },
    ],
    [
      'other bytes of the same size at another time',
      async (path) => {
        await rot(path);
        await utimes(path, 1, 1);
      },
      { damaged: ['weights/model.bin'], missing: [] },
    ],
    [
      'a directory in its place',
      async (path) => {
        await rm(path);
        await mkdir(path);
      },
      { damaged: [], missing: ['weights/model.bin'] },
    ],
  ])('the cheap look finds %s', async (_what, change, expected) => {
    const store = await temporaryStore('flush');
    const model = await putModel(store, FILES);
    await change(join(model.directory, 'weights/model.bin'));
    expect(await checkModel(store, model, false)).toEqual(expected);
  });

  it('only a deep look finds other bytes of the same size and time', async () => {
    const store = await temporaryStore('flush');
    const model = await putModel(store, FILES);
    await rot(join(model.directory, 'weights/model.bin'));
    expect(await checkModel(store, model, false)).toEqual(SOUND);
    expect(await checkModel(store, model, true)).toEqual({ damaged: ['weights/model.bin'], missing: [] });
  });

  it('every file whose time changed is hashed where the cache was not copied', async () => {
    const store = await temporaryStore('flush');
    const files = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`${index}.txt`, `text ${index}`]),
    );
    const model = await putModel(store, files);
    for (const path of Object.keys(files)) await utimes(join(model.directory, path), 1, 1);
    await rot(join(model.directory, '7.txt'));
    await rot(join(model.directory, '33.txt'));
    expect((await checkModel(store, model, false)).damaged.toSorted()).toEqual(['33.txt', '7.txt']);
  });

  it('a copied cache that lost its times is sampled, its record refreshed', async () => {
    const store = await temporaryStore('flush');
    const files = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`${index}.txt`, `text ${index}`]),
    );
    await putModel(store, files);
    const copied = await openedStore(await temporaryDirectory());
    await rm(copied.root, { recursive: true });
    await cp(store.root, copied.root, { recursive: true });
    const model = await findModel(copied, keyOf());
    if (model === undefined) throw new Error('The copy has no model');
    for (const path of Object.keys(files)) await utimes(join(model.directory, path), 1, 1);
    const controller = new AbortController();
    expect(await checkModel(copied, model, false, controller.signal)).toEqual(SOUND);
    const refreshed = await reread(copied, model);
    expect(refreshed.record.files.every((file) => file.mtime === 1)).toBe(true);
    // Nothing is left to be hashed: an aborted hash would throw.
    controller.abort();
    expect(await checkModel(copied, refreshed, false, controller.signal)).toEqual(SOUND);
    for (const path of Object.keys(files)) {
      await rot(join(model.directory, path));
      await utimes(join(model.directory, path), 2, 2);
    }
    await rename(model.directory, `${model.directory}-aside`);
    await cp(`${model.directory}-aside`, model.directory, { recursive: true, preserveTimestamps: true });
    expect((await checkModel(copied, refreshed, false)).damaged).toHaveLength(8);
  });

  it('hashing stops when it is told to', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await expect(checkModel(store, model, true, AbortSignal.abort())).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
  });

  it('a refresh does not bring back a model that was removed meanwhile', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await loseRecord(store, model);
    await checkModel(store, model, false);
    expect(await findModel(store, keyOf())).toBeUndefined();
  });

  it('a model is handed out although its record cannot be refreshed', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await rm(inStore(store, 'tmp'), { recursive: true });
    expect(await checkModel(store, model, false)).toEqual(SOUND);
    expect(store.events).toMatchObject([{ type: 'note' }]);
  });
});

describe('use', () => {
  it('is remembered by time, and survives a damaged mark', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const [mark = ''] = await readdir(inStore(store, 'used'));
    await utimes(inStore(store, 'used', mark), 1000, 1000);
    await writeFile(inStore(store, 'used', mark), 'garbage');
    await utimes(inStore(store, 'used', mark), 1000, 1000);
    expect(lastUsed(store, model.path)).toEqual(new Date(1_000_000));
    await touchUsed(store, model.path);
    expect(lastUsed(store, model.path)?.getTime()).toBeGreaterThan(1_000_000);
  });

  it('a record can learn more', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await updateRecord(store, model, { ...model.record, task: 'feature-extraction' });
    expect((await reread(store, model)).record.task).toBe('feature-extraction');
  });

  it('finds nothing of a model that was removed meanwhile, which stays removed', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, { 'model.onnx': 'weights' });
    await removeModel(store, model);
    expect(await updateRecord(store, model, { ...model.record, task: 'late' })).toBeUndefined();
    expect(await listModels(store)).toEqual([]);
  });
});

describe('`durability: flush`', () => {
  /** Notes the inode of everything that is flushed from now on, in order. */
  async function watchFlushes(): Promise<readonly number[]> {
    const flushed: number[] = [];
    const handle = await open(fileURLToPath(import.meta.url));
    const prototype = Object.getPrototypeOf(handle) as FileHandle;
    await handle.close();
    const watch = vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
      flushed.push((await this.stat()).ino);
      await this.datasync();
    });
    onTestFinished(() => {
      watch.mockRestore();
    });
    return flushed;
  }
  const inodeOf = async (path: string): Promise<number> => (await stat(path)).ino;

  it('flushes files, the directories that name them and the tree before its record', async () => {
    const store = await temporaryStore('flush');
    for (const text of Object.values(FILES)) await putBlob(store, text);
    const flushed = await watchFlushes();
    const model = await publishModel(store, keyOf(), recordOf(keyOf(), FILES));
    if ('missing' in model) throw new Error('Missing blobs');
    const record = flushed.indexOf(await inodeOf(inStore(store, 'records', `${model.path}.json`)));
    expect(record).toBeGreaterThan(0);
    for (const path of ['config.json', 'weights/model.bin', 'weights', '.', '..']) {
      const at = flushed.indexOf(await inodeOf(join(model.directory, path)));
      expect(at, path).toBeGreaterThanOrEqual(0);
      expect(at, path).toBeLessThan(record);
    }
    expect(model.record.placement.durable).toBe(true);
  });

  it('flushes a blob before it has its name', async () => {
    const store = await temporaryStore('flush');
    const flushed = await watchFlushes();
    const sha256 = await putBlob(store, 'weights');
    expect(flushed).toContain(await inodeOf(blobPath(store, sha256)));
  });

  it('is the only one that flushes while it publishes', async () => {
    const flushed = await watchFlushes();
    for (const durability of ['lazy', 'trust'] as const) {
      const model = await putModel(await temporaryStore(durability), FILES);
      expect(model.record.placement.durable).toBe(false);
    }
    expect(flushed).toEqual([]);
  });
});

describe('models by name', () => {
  it('are those of the names and no others, each once', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    await putModel(store, FILES, keyOf('org/name-2'));
    expect(await modelsNamed(store, 'hf', ['org/name', 'org/name', 'org/Name'])).toEqual([model]);
    expect(await modelsNamed(store, 'hf', ['org/none'])).toEqual([]);
    expect(await modelsNamed(store, 'none', ['org/name'])).toEqual([]);
  });

  it('lie where a list of all finds them, also where another name of theirs spelt the directory', async () => {
    const store = await temporaryStore();
    await putModel(store, FILES);
    for (const area of ['records', 'models'] as const)
      await rename(inStore(store, area, 'hf', 'org--name'), inStore(store, area, 'hf', 'org--Name'));
    const all = await listModels(store);
    expect(all.map(({ directory }) => directory)).toEqual([expect.stringContaining('org--Name')]);
    expect(await modelsNamed(store, 'hf', ['org/name', 'org/Name'])).toEqual(all);
  });
});

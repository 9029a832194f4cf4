import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inStore, type Store } from '../../src/store/layout.js';
import {
  checkModel,
  copiedModel,
  findModel,
  listModels,
  mendRecord,
  publishModel,
  removeModel,
  updateRecord,
  type StoredModel,
} from '../../src/store/models.js';
import { readRef, saveRef, settleSnapshots } from '../../src/store/snapshots.js';
import { planSweep } from '../../src/store/sweep.js';
import { clockTick, keyOf, openedStore, putModel, recordFiles, temporaryStore } from '../helpers/store.js';

const FILES = { 'config.json': '{}' };

/** Reading its start fails as on a disk that gives up a sector. */
const BAD_SECTOR = '/proc/self/mem';

const DAMAGES: readonly (readonly [string, (path: string) => Promise<unknown>])[] = [
  ['lost', (path) => rm(path)],
  ['emptied', (path) => writeFile(path, '')],
  ['zeros', (path) => writeFile(path, '\0'.repeat(300))],
  [
    'a directory',
    async (path) => {
      await rm(path);
      await mkdir(join(path, 'sub'), { recursive: true });
    },
  ],
];

async function putTwice(): Promise<{
  store: Awaited<ReturnType<typeof temporaryStore>>;
  model: StoredModel;
}> {
  const store = await temporaryStore();
  return { store, model: await putModel(store, FILES) };
}

async function texts(store: Store, model: StoredModel): Promise<readonly string[]> {
  return Promise.all(recordFiles(store, model).map((path) => readFile(path, 'utf8')));
}

describe('a record', () => {
  it.each(DAMAGES)('that is %s comes back from its copy', async (_what, damage) => {
    for (const look of [
      (store: Store) => findModel(store, keyOf()),
      async (store: Store) => (await listModels(store))[0],
    ]) {
      const { store, model } = await putTwice();
      const [path, copy] = recordFiles(store, model);
      await damage(path);
      expect((await look(store))?.record).toEqual(model.record);
      expect(store.events.at(-1)).toEqual({ type: 'note', message: `Restored from its copy: ${path}` });
      expect(await readFile(path, 'utf8')).toBe(await readFile(copy, 'utf8'));
    }
  });

  it.each(DAMAGES)('whose copy is %s gets another one', async (_what, damage) => {
    const { store, model } = await putTwice();
    const [path, copy] = recordFiles(store, model);
    await damage(copy);
    expect(await mendRecord(store, model)).toBe(true);
    expect(await readFile(copy, 'utf8')).toBe(await readFile(path, 'utf8'));
    expect(await mendRecord(store, model)).toBe(false);
  });

  it.runIf(existsSync(BAD_SECTOR)).each([0, 1])(
    'of whose two places the disk does not give number %i is made again there',
    async (place) => {
      const { store, model } = await putTwice();
      const path = recordFiles(store, model)[place] ?? '';
      await rm(path);
      await symlink(BAD_SECTOR, path);
      expect(await listModels(store)).toEqual([model]);
      expect(await copiedModel(store, model)).toBeUndefined();
      expect(await mendRecord(store, model)).toBe(true);
      const [text, copied] = await texts(store, model);
      expect(copied).toBe(text);
      expect(await mendRecord(store, model)).toBe(false);
    },
  );

  it('that is lost does not let its tree be swept', async () => {
    const { store, model } = await putTwice();
    await rm(recordFiles(store, model)[0]);
    await clockTick(store);
    const plan = await planSweep(store, { minimumAgeMs: 0, partials: true });
    expect([...plan.blobs, ...plan.leftovers]).toEqual([]);
  });

  it('that is lost is read from its copy where nothing can be written', async () => {
    const { store, model } = await putTwice();
    await rm(recordFiles(store, model)[0]);
    const reader = { ...(await openedStore(store.cacheDir)), writable: false };
    expect((await findModel(reader, keyOf()))?.record).toEqual(model.record);
    await expect(readFile(recordFiles(store, model)[0])).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('that is lost is read from its copy where the disk takes no more', async () => {
    const { store, model } = await putTwice();
    await rm(recordFiles(store, model)[0]);
    await rm(inStore(store, 'tmp'), { recursive: true });
    expect((await findModel(store, keyOf()))?.record).toEqual(model.record);
    expect(store.events).toEqual([]);
  });

  it('is the same twice after every change', async () => {
    const { store, model } = await putTwice();
    await updateRecord(store, model, { ...model.record, license: 'mit' });
    for (const text of await texts(store, model)) expect(text).toContain('mit');
    await publishModel(store, keyOf(), { ...model.record, license: 'apache-2.0' });
    for (const text of await texts(store, model)) expect(text).toContain('apache-2.0');
    const later = { ...store, bootId: 'another boot' };
    const [found] = await listModels(later);
    if (found === undefined) throw new Error('Expected a model');
    expect(await checkModel(later, found, false)).toEqual({ damaged: [], missing: [] });
    for (const text of await texts(store, model)) expect(text).toContain('another boot');
  });

  it('of a removed model leaves no copy to come back from', async () => {
    const { store, model } = await putTwice();
    await removeModel(store, model);
    expect(await listModels(store)).toEqual([]);
    expect(await findModel(store, keyOf())).toBeUndefined();
  });

  it('is published although its copy cannot be written', async () => {
    const { store, model } = await putTwice();
    const [path, copy] = recordFiles(store, model);
    await rm(copy);
    // Nothing can be set aside where there is no trash.
    await mkdir(join(copy, 'sub'), { recursive: true });
    await rm(inStore(store, 'trash'), { recursive: true });
    await updateRecord(store, model, { ...model.record, license: 'mit' });
    expect(await readFile(path, 'utf8')).toContain('mit');
  });
});

describe('what a reference resolved to', () => {
  it.each(DAMAGES)('comes back when it is %s', async (_what, damage) => {
    const store = await temporaryStore();
    await saveRef(store, 'hf:org/name', { id: 'org/name', revision: 'abc', resolvedAt: '2026-01-01' });
    const saved = await readRef(store, 'hf:org/name');
    const [copy = '', document = ''] = (await readdir(inStore(store, 'refs'))).sort();
    await damage(inStore(store, 'refs', document));
    expect(await readRef(store, 'hf:org/name')).toEqual(saved);
    await damage(inStore(store, 'refs', copy));
    await settleSnapshots(store);
    await damage(inStore(store, 'refs', document));
    expect(await readRef(store, 'hf:org/name')).toEqual(saved);
  });
});

import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCatalogue, type CatalogueOptions } from '../../src/store/catalogue.js';
import { inStore, type Store } from '../../src/store/layout.js';
import { listModels, physicalBytes, removeModel, updateRecord } from '../../src/store/models.js';
import {
  changeCatalogue,
  clockTick,
  keyOf,
  openedStore,
  putConversion,
  putModel,
  temporaryDirectory,
  temporaryStore,
} from '../helpers/store.js';

/** Written by every list, of everything that has changed until now. */
const AT_ONCE: CatalogueOptions = { worthWriting: 1, stepMs: -60_000 };
const REVISION = 'fedcba9876543210fedcba9876543210fedcba98';

function catalogueFile(store: Store): string {
  return join(store.root, 'catalogue.jsonl');
}

/** Reads the catalogue, which is to say what the records do. */
async function expectTrue(store: Store): Promise<void> {
  const told = await readCatalogue(store, AT_ONCE);
  const models = await listModels(store);
  expect(told.models.map(({ path }) => path)).toEqual(models.map(({ path }) => path));
  for (const [index, { record, directory, bytes }] of told.models.entries()) {
    const model = models[index];
    expect(model?.record).toMatchObject(record);
    expect(model?.directory).toBe(directory);
    expect(model?.record.files.reduce((sum, file) => sum + file.bytes, 0)).toBe(bytes);
    expect(record.asked).toEqual(model?.record.asked);
    expect(record.conversion?.key).toBe(model?.record.conversion?.key);
    expect(record.selection).toBe(model?.record.selection);
  }
  expect(told.physicalBytes).toBe(physicalBytes(models));
  // What changes now gets another time than what was written down.
  await clockTick(store);
}

/** A mark in the catalogue that no record has: who tells it has not read the record. */
async function mark(store: Store): Promise<void> {
  await changeCatalogue(store, 'hf:org/', 'hf:marked/');
}

async function marked(store: Store): Promise<readonly boolean[]> {
  const { models } = await readCatalogue(store, AT_ONCE);
  return models.map(({ record }) => record.reference.startsWith('hf:marked/'));
}

describe('the catalogue', () => {
  it('spares the records of directories that did not change, and no others', async () => {
    const store = await temporaryStore();
    const first = await putModel(store, { 'config.json': '{}' }, keyOf('org/first'));
    await putModel(store, { 'config.json': '{}' }, keyOf('org/second'));
    await expectTrue(store);
    await mark(store);
    expect(await marked(store)).toEqual([true, true]);
    await updateRecord(store, first, { ...first.record, license: 'mit' });
    expect(await marked(store)).toEqual([false, true]);
  });

  it.each<readonly [string, (text: string) => string]>([
    ['empty', () => ''],
    ['cut', (text) => text.slice(0, text.length / 2)],
    ['of a later version', (text) => text.replace('"version":1', '"version":2')],
    ['of other values', (text) => text.replaceAll(/"bytes":\d+/g, '"bytes":"many"')],
    ['of a place elsewhere', (text) => text.replaceAll(/"path":"[^"]+"/g, '"path":"../../etc"')],
    ['no object', () => '[]'],
  ])('counts for nothing when it is %s', async (_what, damage) => {
    const store = await temporaryStore();
    await putModel(store, { 'config.json': '{}' });
    await expectTrue(store);
    await writeFile(catalogueFile(store), damage(await readFile(catalogueFile(store), 'utf8')));
    await expectTrue(store);
    expect(store.events).toEqual([]);
  });

  it('does not trust what changed just now, which may change again without another time', async () => {
    const store = await temporaryStore();
    await putModel(store, { 'config.json': '{}' });
    await readCatalogue(store, { worthWriting: 1 });
    expect(await readFile(catalogueFile(store), 'utf8')).toContain('"shelves":{}');
  });

  it('is not written for a few models', async () => {
    const store = await temporaryStore();
    await putModel(store, { 'config.json': '{}' });
    await readCatalogue(store);
    expect(await readdir(store.root)).not.toContain('catalogue.jsonl');
  });

  it('is not believed in a copy of the store, whose records may be others', async () => {
    const store = await temporaryStore();
    await putModel(store, { 'config.json': '{}' });
    await expectTrue(store);
    await mark(store);
    const cacheDir = join(await temporaryDirectory(), 'copy');
    await cp(store.cacheDir, cacheDir, { recursive: true, preserveTimestamps: true });
    expect(await marked(await openedStore(cacheDir))).toEqual([false]);
  });

  it('is neither believed nor written where the store can only be read', async () => {
    const store = { ...(await temporaryStore()), writable: false };
    await putModel({ ...store, writable: true }, { 'config.json': '{}' });
    await readCatalogue(store, AT_ONCE);
    expect(await readdir(store.root)).not.toContain('catalogue.jsonl');
    await expectTrue({ ...store, writable: true });
    await mark(store);
    expect(await marked(store)).toEqual([false]);
  });

  it('tells of a damaged and of a newer record every time', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, { 'config.json': '{}' });
    await writeFile(inStore(store, 'records', ...`${model.path}.json`.split('/')), '{"version":2}');
    for (const expected of [1, 2]) {
      await readCatalogue(store, AT_ONCE);
      expect(store.events).toHaveLength(expected);
    }
  });

  it('says what the records say, whatever happened to them', async () => {
    const action = fc.constantFrom('put', 'remove', 'convert', 'ask');
    const name = fc.constantFrom('org/a', 'org/a-b', 'org/A', 'z/%');
    const step = fc.record({ action, name, revision: fc.boolean(), text: fc.constantFrom('{}', '{ }', 'x') });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
        const store = await temporaryStore();
        for (const { action: what, name: id, revision, text } of steps) {
          const key = revision ? keyOf(id) : keyOf(id, REVISION);
          const model = (await listModels(store)).find(({ record }) => record.id === id);
          if (what === 'put') await putModel(store, { 'config.json': text, shared: 'shared' }, key);
          else if (model === undefined) continue;
          else if (what === 'remove') await removeModel(store, model);
          else if (what === 'ask')
            await updateRecord(store, model, { ...model.record, asked: { quant: text } });
          else await putConversion(store, model, { precision: 'int8', seed: text });
          await expectTrue(store);
        }
      }),
      { numRuns: 10 },
    );
  });
});

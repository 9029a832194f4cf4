import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createModeldl, type Modeldl } from '../src/index.js';
import { type StoredModel } from '../src/store/models.js';
import {
  openedStore,
  putConversion,
  putModel,
  recordFiles,
  temporaryDirectory,
  type TestStore,
} from './helpers/store.js';

const FILES = { 'config.json': '{}' };

/** A store with a conversion, which no hub has, and a modeldl that can ask nobody. */
async function converted(): Promise<{ store: TestStore; conversion: StoredModel; modeldl: Modeldl }> {
  const cwd = await temporaryDirectory();
  const store = await openedStore(`${cwd}/cache`);
  const conversion = await putConversion(store, await putModel(store, FILES), { precision: 'int8' });
  const modeldl = await createModeldl({
    cwd,
    home: cwd,
    environment: {},
    cacheDir: store.cacheDir,
    offline: true,
  });
  onTestFinished(() => modeldl.close());
  return { store, conversion, modeldl };
}

/** Another digit in the first value of this name, by which the record still is one. */
async function changeDigit(path: string, name: string): Promise<void> {
  const text = await readFile(path, 'utf8');
  const changed = text.replace(new RegExp(`("${name}": "?)(.)`), (_all, before: string, digit: string) => {
    return `${before}${digit === '1' ? '2' : '1'}`;
  });
  expect(changed).not.toBe(text);
  await writeFile(path, changed);
}

/** Twice the same, with the files that the model has. */
async function expectRecorded(store: TestStore, model: StoredModel): Promise<void> {
  const [text = '', copied] = await Promise.all(
    recordFiles(store, model).map((path) => readFile(path, 'utf8')),
  );
  expect(copied).toBe(text);
  expect(JSON.parse(text)).toMatchObject({ files: model.record.files });
}

describe('verify --repair', () => {
  it.each(['sha256', 'bytes', 'path'])(
    'takes a record with another %s for damaged, and not the files that its copy tells of',
    async (name) => {
      const { store, conversion, modeldl } = await converted();
      const [path] = recordFiles(store, conversion);
      await changeDigit(path, name);
      const found = (await modeldl.verify([], { repair: true })).find(
        ({ path: tree }) => tree === conversion.directory,
      );
      expect(found).toMatchObject({ ok: true, repaired: true, damaged: [], missing: [] });
      await expectRecorded(store, conversion);
    },
  );

  it('makes a damaged copy again of a record whose files are right', async () => {
    const { store, conversion, modeldl } = await converted();
    await changeDigit(recordFiles(store, conversion)[1], 'sha256');
    for (const { ok } of await modeldl.verify([], { repair: true })) expect(ok).toBe(true);
    await expectRecorded(store, conversion);
  });
});

import fc from 'fast-check';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inStore } from '../../src/store/layout.js';
import { findModel, listModels } from '../../src/store/models.js';
import { modelPath, recordSchema, revisionSegment, type ModelKey } from '../../src/store/record.js';
import * as v from 'valibot';
import { COMMIT, keyOf, putModel, recordFiles, temporaryStore } from '../helpers/store.js';

const KEY8 = 'f'.repeat(64);

describe('model paths', () => {
  it.each<[string, ModelKey, string]>([
    ['a commit', keyOf(), 'hf/org--name/0123456789ab'],
    ['a selection', { ...keyOf(), selection: 'abcdef0123456789' }, 'hf/org--name/0123456789ab+abcdef01'],
    [
      'a conversion beside its origin',
      { ...keyOf(), conversion: { precision: 'int8', device: 'CPU', key: KEY8 } },
      'hf/org--name/0123456789ab--openvino-int8-cpu-ffffffff',
    ],
    [
      'several devices',
      { ...keyOf(), conversion: { precision: 'int4', device: 'HETERO:GPU,CPU', key: KEY8 } },
      'hf/org--name/0123456789ab--openvino-int4-hetero_gpu_cpu-ffffffff',
    ],
  ])('%s', (_what, key, path) => {
    expect(modelPath(key)).toBe(path);
  });

  it('keep a tag readable and tell apart tags that look alike', () => {
    expect(revisionSegment('v8.3.0')).toMatch(/^v8\.3\.0-[0-9a-f]{8}$/);
    expect(revisionSegment('a/b')).not.toBe(revisionSegment('a--b'));
  });

  it('lengthen when two revisions begin alike, and both models stay to be found', async () => {
    const store = await temporaryStore();
    const one = keyOf('org/name', `${COMMIT.slice(0, 12)}${'1'.repeat(28)}`);
    const two = keyOf('org/name', `${COMMIT.slice(0, 12)}${'2'.repeat(28)}`);
    const first = await putModel(store, { 'a.txt': 'one' }, one);
    const second = await putModel(store, { 'a.txt': 'two' }, two);
    expect(second.path).toBe(`hf/org--name/${two.revision.slice(0, 20)}`);
    expect(await readFile(`${first.directory}/a.txt`, 'utf8')).toBe('one');
    expect((await findModel(store, two))?.path).toBe(second.path);
    // A gap at the short path must not hide the longer one.
    const { removeModel } = await import('../../src/store/models.js');
    await removeModel(store, first);
    expect((await findModel(store, two))?.path).toBe(second.path);
  });

  it('tell apart ids that share a directory, as on a case-insensitive file system', async () => {
    const store = await temporaryStore();
    const mine = await putModel(store, { 'a.txt': 'mine' }, keyOf('org/name'));
    const record = JSON.parse(
      await readFile(inStore(store, 'records', `${mine.path}.json`), 'utf8'),
    ) as object;
    await writeFile(
      inStore(store, 'records', `${mine.path}.json`),
      JSON.stringify({ ...record, id: 'Org/Name' }),
    );
    expect(await findModel(store, keyOf('org/name'))).toBeUndefined();
    expect((await putModel(store, { 'a.txt': 'mine' }, keyOf('org/name'))).path).not.toBe(mine.path);
  });
});

describe('damaged records', () => {
  const place = `records/${modelPath(keyOf())}.json`;

  it.each([
    ['nothing', ''],
    ['zeros, as after a power cut', '\0'.repeat(300)],
    ['half a document', '{"version": 1, "hub": "hf", "fi'],
    ['another document', '[]'],
  ])('%s: set aside with a warning, and the model is published anew', async (_what, text) => {
    const store = await temporaryStore();
    const model = await putModel(store, { 'a.txt': 'one' });
    for (const path of recordFiles(store, model)) await writeFile(path, text);
    expect(await findModel(store, keyOf())).toBeUndefined();
    expect(store.events).toContainEqual({
      type: 'warning',
      message: expect.stringContaining(`${store.root}/${place}`) as string,
    });
    expect(await readdir(dirname(`${store.root}/${place}`))).toEqual([]);
    expect((await putModel(store, { 'a.txt': 'one' })).directory).toBe(model.directory);
    expect(await listModels(store)).toHaveLength(1);
  });

  it('a directory in its place is set aside likewise', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, { 'a.txt': 'one' });
    for (const path of recordFiles(store, model)) {
      await rm(path);
      await mkdir(join(path, 'sub'), { recursive: true });
    }
    expect(await findModel(store, keyOf())).toBeUndefined();
    expect(store.events).toContainEqual({
      type: 'warning',
      message: expect.stringContaining(`${store.root}/${place}`) as string,
    });
    await putModel(store, { 'a.txt': 'one' });
    expect(await listModels(store)).toHaveLength(1);
  });

  it.each(['../../../evil', '/etc/passwd', 'a/../../b', 'a\\b', 'a\0b', ''])(
    'naming the file %j outside its tree are refused',
    async (path) => {
      const store = await temporaryStore();
      const model = await putModel(store, { 'a.txt': 'one' });
      const record = v.parse(recordSchema, JSON.parse(await readFile(`${store.root}/${place}`, 'utf8')));
      const files = record.files.map((file) => ({ ...file, path }));
      for (const file of recordFiles(store, model))
        await writeFile(file, JSON.stringify({ ...record, files }));
      expect(await listModels(store)).toEqual([]);
    },
  );

  it('of any content never throw', async () => {
    const store = await temporaryStore();
    await mkdir(dirname(`${store.root}/${place}`), { recursive: true });
    const key = fc.constantFrom('version', 'hub', 'files', 'placement', 'path', '__proto__');
    const document = fc.oneof(
      fc.string(),
      fc.jsonValue().map((value) => JSON.stringify(value)),
      fc.dictionary(key, fc.jsonValue()).map((value) => JSON.stringify(value)),
    );
    await fc.assert(
      fc.asyncProperty(document, async (text) => {
        await writeFile(`${store.root}/${place}`, text);
        expect(await listModels(store)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });
});

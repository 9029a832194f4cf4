import { rmSync } from 'node:fs';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath } from '../../src/store/blobs.js';
import { inStore } from '../../src/store/layout.js';
import { mendBlobs, mendDocuments, mendPermissions, mendStrayBlobs, mendTree } from '../../src/store/mend.js';
import { checkModel, listModels } from '../../src/store/models.js';
import { isStored, putBlob, putConversion, putModel, sha256Of, temporaryStore } from '../helpers/store.js';

const FILES = { 'config.json': '{}', 'model.onnx': 'weights' };
const SOUND = { damaged: [], missing: [] };
const { signal } = new AbortController();

describe('a store mends itself', () => {
  it('a conversion whose file is gone comes back from its blob, which no hub has', async () => {
    const store = await temporaryStore();
    const converted = await putConversion(store, await putModel(store, FILES), { precision: 'int8' });
    await rm(join(converted.directory, 'openvino_model.xml'));
    expect(await mendTree(store, converted, ['openvino_model.xml'], signal)).toBe(true);
    const model = (await listModels(store)).find(({ path }) => path === converted.path);
    expect(model && (await checkModel(store, model, true))).toEqual(SOUND);
    expect(store.events.map((event) => event.type)).toEqual(['note']);
  });

  it('what neither tree nor blob has is dropped, and not taken for mended', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const file = join(model.directory, 'model.onnx');
    await chmod(file, 0o644);
    await writeFile(file, 'WEIGHTS');
    await writeFile(blobPath(store, sha256Of('weights')), 'WEIGHTS');
    expect(await mendTree(store, model, ['model.onnx'], signal)).toBe(false);
    expect(await isStored(store, sha256Of('weights'))).toBe(false);
    expect(await isStored(store, sha256Of('{}'))).toBe(true);
  });

  it('a blob is made again from a tree that was found right, and from no other', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const blob = blobPath(store, sha256Of('weights'));
    await rm(blob);
    expect(await mendBlobs(store, model, new Set(['config.json']), signal)).toBe(false);
    expect(await isStored(store, sha256Of('weights'))).toBe(false);
    expect(await mendBlobs(store, model, new Set(Object.keys(FILES)), signal)).toBe(true);
    expect(await readFile(blob, 'utf8')).toBe('weights');
    expect((await stat(blob)).mode & 0o777).toBe(0o444);
    expect(await mendBlobs(store, model, new Set(Object.keys(FILES)), signal)).toBe(false);
  });

  it('permissions are restored once', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const file = join(model.directory, 'config.json');
    await chmod(file, 0);
    expect(await checkModel(store, model, false)).toEqual({ damaged: ['config.json'], missing: [] });
    expect([await mendPermissions(store, model), await mendPermissions(store, model)]).toEqual([true, false]);
    expect((await stat(file)).mode & 0o777).toBe(0o444);
  });

  it('what only its owner or group may read stays so', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const file = join(model.directory, 'config.json');
    for (const mode of [0o440, 0o400]) {
      await chmod(file, mode);
      expect(await mendPermissions(store, model)).toBe(false);
      expect((await stat(file)).mode & 0o777).toBe(mode);
    }
    expect(store.events).toEqual([]);
  });

  it('permissions that are restored are those that the umask leaves', async () => {
    const store = await temporaryStore();
    const model = await putModel(store, FILES);
    const umask = process.umask(0o027);
    onTestFinished(() => {
      process.umask(umask);
    });
    const file = join(model.directory, 'config.json');
    for (const mode of [0o640, 0]) {
      await chmod(file, mode);
      expect(await mendPermissions(store, model)).toBe(true);
      expect((await stat(file)).mode & 0o777).toBe(0o440);
    }
  });

  it('a document that its owner may not read gets no other reader', async () => {
    const store = await temporaryStore();
    const record = inStore(store, 'records', `${(await putModel(store, FILES)).path}.json`);
    await chmod(record, 0o040);
    await mendDocuments(store);
    expect((await stat(record)).mode & 0o777).toBe(0o640);
  });

  it('a blob that another process pruned meanwhile needs no mending', async () => {
    const store = await temporaryStore();
    await putBlob(store, 'stray');
    const known = new Set<string>();
    known.has = (sha256) => {
      rmSync(blobPath(store, sha256));
      return false;
    };
    await mendStrayBlobs(store, known, signal);
    expect(store.events).toEqual([]);
  });

  it('a blob that no model holds goes when its bytes are not those of its name', async () => {
    const store = await temporaryStore();
    const [good, bad] = [await putBlob(store, 'good'), await putBlob(store, 'bad!')];
    await chmod(blobPath(store, bad), 0o644);
    await writeFile(blobPath(store, bad), 'BAD!');
    await mendStrayBlobs(store, new Set([bad]), signal);
    expect(await isStored(store, bad)).toBe(true);
    await mendStrayBlobs(store, new Set(), signal);
    expect([await isStored(store, good), await isStored(store, bad)]).toEqual([true, false]);
  });

  it('the tag keeps words of others, and gets its first line back', async () => {
    const store = await temporaryStore();
    const tag = join(store.cacheDir, 'CACHEDIR.TAG');
    const words = `${(await readFile(tag, 'utf8')).split('\n', 1)[0] ?? ''}\nmine\n`;
    await writeFile(tag, words);
    await mendDocuments(store);
    expect(await readFile(tag, 'utf8')).toBe(words);
    await writeFile(tag, '');
    await mendDocuments(store);
    expect(await readFile(tag, 'utf8')).toMatch(/^Signature: 8a477f597d28d172789f06886806bc55\n/);
  });
});

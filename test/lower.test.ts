import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Converter } from '../src/converter.js';
import { createModeldl, type Modeldl, type ModeldlEvent } from '../src/index.js';
import { openLowerStores } from '../src/lower.js';
import { builtInPlugins } from '../src/plugins.js';
import { readCatalogue } from '../src/store/catalogue.js';
import { noToolchain, smallConverter } from './helpers/small-converter.js';
import {
  changeCatalogue,
  clockTick,
  COMMIT,
  keyOf,
  openedStore,
  putModel,
  temporaryDirectory,
  temporaryStore,
} from './helpers/store.js';

/** Counts how often it runs and checks. */
function countingConverter(): Converter & { readonly counts: { run: number; check: number } } {
  const counts = { run: 0, check: 0 };
  const converter = smallConverter(['model.onnx']);
  return {
    ...converter,
    counts,
    run: (...given) => {
      counts.run += 1;
      return converter.run(...given);
    },
    check: (...given) => {
      counts.check += 1;
      return converter.check(...given);
    },
  };
}

async function open(
  cwd: string,
  converter: Converter,
  cacheDir: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Modeldl & { readonly events: ModeldlEvent[] }> {
  const events: ModeldlEvent[] = [];
  const modeldl = await createModeldl({
    cwd,
    home: cwd,
    environment,
    cacheDir,
    emit: (event) => events.push(event),
    plugins: { ...builtInPlugins(), converters: [converter], toolchains: [noToolchain] },
  });
  onTestFinished(() => modeldl.close());
  return { ...modeldl, events };
}

describe('a conversion in a lower cache', () => {
  it('is not made again, becomes the own one, and is checked when it never was', async () => {
    const cwd = await temporaryDirectory();
    const [system, own] = [join(cwd, 'system'), join(cwd, 'own')];
    await writeFile(join(cwd, 'model.onnx'), 'weights');
    const converter = countingConverter();
    const made = await (await open(cwd, converter, system)).convert('./model.onnx', { check: false });
    expect(made.cached).toBe(false);
    const user = await open(cwd, converter, own, { MODELDL_CACHE_READ_FROM: system });
    expect((await user.planConvert('./model.onnx')).stored).toBe(true);
    const found = await user.convert('./model.onnx');
    expect(found).toMatchObject({ key: made.key, cached: true });
    expect(found.path.startsWith(own)).toBe(true);
    // How far it is: another disk may take its time.
    const { reference, files } = found;
    expect(files.length).toBeGreaterThan(0);
    for (const { path, bytes, sha256 } of files) {
      expect(user.events).toContainEqual({ type: 'file-start', reference, path, resumedBytes: 0, bytes });
      expect(user.events).toContainEqual({ type: 'file-done', reference, path, bytes, sha256 });
    }
    expect(converter.counts).toEqual({ run: 1, check: 1 });
    await rm(system, { recursive: true });
    expect((await user.path('./model.onnx', { precision: 'int8' })).path).toBe(found.path);
  });
});

describe('what a lower cache is opened by', () => {
  it('is its directory, once, by whatever name, and not the own one', async () => {
    const own = await temporaryStore();
    const system = await temporaryStore();
    const names = [system.cacheDir, `${system.cacheDir}/v1/..`, own.cacheDir, join(own.cacheDir, 'none')];
    const stores = await openLowerStores(names, own);
    expect(stores.map(({ cacheDir, writable }) => [cacheDir, writable])).toEqual([[system.cacheDir, false]]);
    expect(own.events).toHaveLength(1);
  });
});

describe('a list of own and lower models', () => {
  it('takes the own ones from the catalogue, and neither believes nor writes that of a lower cache', async () => {
    const cwd = await temporaryDirectory();
    const system = await openedStore(join(cwd, 'system'));
    const own = await openedStore(join(cwd, 'own'));
    await putModel(system, { 'config.json': 'of both' }, keyOf('org/both'));
    await putModel(system, { 'config.json': 'of the system' }, keyOf('org/system'));
    await putModel(own, { 'config.json': 'of both' }, keyOf('org/both'));
    await putModel(own, { 'config.json': 'own' }, keyOf('org/own'));
    const atOnce = { worthWriting: 1, stepMs: -60_000 };
    for (const store of [system, own]) {
      await readCatalogue(store, atOnce);
      // A mark that no record has: who tells it has not read the record.
      await changeCatalogue(store, '"reference":"hf:', '"reference":"marked:');
      await clockTick(store);
    }
    const written = await readFile(join(system.root, 'catalogue.jsonl'), 'utf8');
    const environment = { MODELDL_CACHE_READ_FROM: system.cacheDir };
    const user = await open(cwd, countingConverter(), own.cacheDir, environment);
    const both = { reference: `marked:org/both@${COMMIT}`, cache: own.cacheDir, bytes: 7 };
    const ownOne = { reference: `marked:org/own@${COMMIT}`, cache: own.cacheDir, bytes: 3 };
    const lowerOne = { reference: `hf:org/system@${COMMIT}`, cache: system.cacheDir, bytes: 13 };
    expect(await user.list()).toMatchObject({
      models: [both, ownOne, lowerOne],
      totals: { models: 3, bytes: 23, physicalBytes: 10 },
    });

    const later = COMMIT.replaceAll('0', 'f');
    await putModel(system, { 'config.json': 'later' }, keyOf('org/system', later));
    const { models, totals } = await user.list();
    expect(models.map(({ reference }) => reference)).toEqual([
      both.reference,
      ownOne.reference,
      `hf:org/system@${COMMIT}`,
      `hf:org/system@${later}`,
    ]);
    expect(totals.physicalBytes).toBe(10);
    for (const store of await openLowerStores([system.cacheDir], own)) await readCatalogue(store, atOnce);
    expect(await readFile(join(system.root, 'catalogue.jsonl'), 'utf8')).toBe(written);
  });
});

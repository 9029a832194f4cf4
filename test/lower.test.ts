import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Converter, Toolchain } from '../src/converter.js';
import { createModeldl, type Modeldl, type ModeldlEvent } from '../src/index.js';
import { openLowerStores } from '../src/lower.js';
import { builtInPlugins } from '../src/plugins.js';
import { temporaryDirectory, temporaryStore } from './helpers/store.js';

const toolchain: Toolchain = {
  name: 'none',
  title: 'nothing',
  downloadBytes: 0,
  digest: () => Promise.resolve('none'),
  status: () => Promise.resolve({ state: 'installed', versions: {} }),
  ensure: () => Promise.resolve({ python: '/bin/false' }),
  remove: () => Promise.resolve(0),
};

/** Counts how often it runs and checks. */
function countingConverter(): Converter & { readonly counts: { run: number; check: number } } {
  const counts = { run: 0, check: 0 };
  return {
    counts,
    name: 'small',
    accepts: 'everything',
    makes: 'a word',
    toolchain: toolchain.name,
    settings: {},
    plan: (_model, { precision, device }) =>
      Promise.resolve({
        converter: 'small',
        toolchain: toolchain.name,
        reads: ['model.onnx'],
        precision,
        device,
        settings: {},
        steps: [],
        adjustments: [],
        estimate: { diskBytes: 1, resultBytes: 1, memoryBytes: 1 },
      }),
    run: async (_model, _plan, outDir) => {
      counts.run += 1;
      await writeFile(join(outDir, 'model.xml'), 'converted');
      return { versions: {}, warnings: [] };
    },
    check: () => {
      counts.check += 1;
      return Promise.resolve({ passed: true, compared: false, outputs: [], warnings: [] });
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
    plugins: { ...builtInPlugins(), converters: [converter], toolchains: [toolchain] },
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

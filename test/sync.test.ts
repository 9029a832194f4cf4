/** Conversions of a list, by their lock. */
import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Converter, Toolchain } from '../src/converter.js';
import type { Hub } from '../src/hub.js';
import { createModeldl, type Modeldl, type ModeldlOptions } from '../src/index.js';
import { builtInPlugins } from '../src/plugins.js';
import { startHfHub, type HfHub } from './helpers/hf-hub.js';
import { startServer } from './hubs/server.js';
import { noToolchain, smallConverter } from './helpers/small-converter.js';
import { temporaryDirectory } from './helpers/store.js';

const IR = { 'openvino_model.xml': '<net/>', 'openvino_model.bin': 'weights' };

let hub: HfHub;
let directory: string;
let told: string[];

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      {
        id: 'org/Chat',
        license: 'mit',
        task: 'text-generation',
        files: { 'model.onnx': 'chat', 'config.json': '{}' },
      },
      { id: 'OpenVINO/Chat-int8-ov', files: IR },
      { id: 'org/Alone', files: { 'model.onnx': 'alone' } },
    ],
  });
  onTestFinished(() => hub.close());
  directory = await temporaryDirectory();
  told = [];
});

async function open(models: readonly unknown[], options: Partial<ModeldlOptions> = {}): Promise<Modeldl> {
  const configFile = join(directory, 'modeldl.config.json');
  await writeFile(configFile, JSON.stringify({ models }));
  const modeldl = await createModeldl({
    cwd: directory,
    home: directory,
    environment: { HF_ENDPOINT: hub.endpoint },
    cacheDir: join(directory, 'cache'),
    emit: (event) => {
      if (event.type === 'note' || event.type === 'warning') told.push(event.message);
    },
    plugins: pluginsWith(smallConverter(['model.onnx']), noToolchain),
    ...options,
  });
  onTestFinished(() => modeldl.close());
  return modeldl;
}

function pluginsWith(converter: Converter, toolchain: Toolchain): NonNullable<ModeldlOptions['plugins']> {
  return { ...builtInPlugins(), converters: [converter], toolchains: [toolchain] };
}

const lockText = (): Promise<string> => readFile(join(directory, 'modeldl.lock'), 'utf8');
const metadata = (): readonly string[] =>
  hub.requests.flatMap(({ server, url }) => (server === 'hub' && !url.includes('/resolve/') ? [url] : []));

describe('a list with conversions', () => {
  const MODELS = [
    'org/Chat',
    { reference: 'org/Chat', precision: 'fp16' },
    { reference: 'org/Alone', convert: true },
  ];

  it('pulls and converts, and finds both the next time', async () => {
    const modeldl = await open(MODELS);
    const { results, errors } = await modeldl.sync();
    expect(errors).toEqual([]);
    const kinds = results.map((model) => [
      model.kind,
      'precision' in model ? model.precision : null,
      model.cached,
    ]);
    expect(kinds).toEqual([
      ['pulled', null, false],
      ['converted', 'fp16', false],
      ['converted', 'int8', false],
    ]);
    const again = await modeldl.sync();
    expect(again.results.map(({ cached }) => cached)).toEqual([true, true, true]);
    expect(again.results.map(({ path }) => path)).toEqual(results.map(({ path }) => path));
  });

  it('is locked with the keys, and needs no metadata when frozen', async () => {
    const modeldl = await open(MODELS);
    const locked = await modeldl.lock();
    expect(locked.errors).toEqual([]);
    await rm(join(directory, 'cache'), { recursive: true });
    hub.clearRequests();
    const frozen = await (await open(MODELS)).sync({ frozen: true });
    expect(frozen.errors).toEqual([]);
    expect(metadata()).toEqual([]);
    const keys = frozen.results.flatMap((model) => ('key' in model ? [model.key] : []));
    expect(keys).toEqual(locked.results.flatMap(({ key }) => (key === null ? [] : [key])));
    hub.clearRequests();
    const again = await modeldl.sync({ frozen: true });
    expect(again.results.map(({ cached }) => cached)).toEqual([true, true, true]);
    expect(hub.requests).toEqual([]);
    const plan = await modeldl.planSync({ frozen: true });
    expect(plan.errors).toEqual([]);
    expect(hub.requests).toEqual([]);
  });

  it('tells a converter or toolchain of another version, and converts nothing', async () => {
    await (await open(MODELS)).lock();
    const other: Toolchain = { ...noToolchain, digest: () => Promise.resolve('another version') };
    let ran = 0;
    const converter: Converter = {
      ...smallConverter(['model.onnx']),
      run: () => {
        ran += 1;
        return Promise.resolve({ versions: {}, warnings: [] });
      },
    };
    const modeldl = await open(MODELS, { plugins: pluginsWith(converter, other) });
    const { results, errors } = await modeldl.sync({ frozen: true });
    expect(results).toHaveLength(1);
    expect(errors.map(({ code }) => code)).toEqual(['CONFIG', 'CONFIG']);
    expect(errors[0]?.message).toContain('another version of the converter or its toolchain');
    expect(errors[0]?.hint).toContain('modeldl lock');
    expect(ran).toBe(0);
  });

  it('names the platform that the lock was written on when that differs', async () => {
    await (await open(MODELS)).lock();
    const text = await lockText();
    await writeFile(
      join(directory, 'modeldl.lock'),
      text
        .replaceAll(/"platform": "[^"]+"/g, '"platform": "beos-m68k"')
        .replaceAll(/"key": "./g, (key) => (key.endsWith('0') ? '"key": "1' : '"key": "0')),
    );
    const { errors } = await (await open(MODELS)).sync({ frozen: true });
    expect(errors[0]?.message).toContain('instead of beos-m68k');
  });

  it('locks a conversion that is taken as published as that', async () => {
    const models = [{ reference: 'org/Chat', precision: 'int8', prebuilt: 'prefer' }];
    const modeldl = await open(models);
    expect((await modeldl.lock()).results).toMatchObject([
      { reference: `hf:OpenVINO/Chat-int8-ov@${hub.commitOf('OpenVINO/Chat-int8-ov')}`, converter: null },
    ]);
    await rm(join(directory, 'cache'), { recursive: true });
    hub.clearRequests();
    const text = await lockText();
    await writeFile(join(directory, 'modeldl.lock'), text.replaceAll('OpenVINO/Chat-int8-ov', 'org/Alone'));
    const other = await (await open(models)).sync({ frozen: true });
    expect(other.errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('The lock has hf:org/Alone@'),
    ]);
    await writeFile(join(directory, 'modeldl.lock'), text);
    const { results, errors } = await (await open(models)).sync({ frozen: true });
    expect(errors).toEqual([]);
    expect(results).toMatchObject([{ kind: 'converted', precision: 'int8', converter: null }]);
    expect(metadata()).toEqual([]);
  });

  it('keeps a conversion apart whose origin only the lock lists', async () => {
    const models = [{ reference: 'org/Alone', precision: 'fp16' }];
    await (await open(models)).lock();
    await rm(join(directory, 'cache'), { recursive: true });
    const evil = await startHfHub({ repos: [{ id: 'evil/evil', files: { 'model.onnx': 'evil!' } }] });
    onTestFinished(() => evil.close());
    const lock = JSON.parse(await lockText()) as {
      models: { files: object[]; conversion: { key: string } }[];
    };
    const sha256 = createHash('sha256').update('evil!').digest('hex');
    const url = `${evil.endpoint}/evil/evil/resolve/${evil.commitOf('evil/evil')}/model.onnx`;
    for (const model of lock.models)
      model.files = [{ path: 'model.onnx', size: 5, digest: `sha256:${sha256}`, url }];
    const write = (): Promise<void> => writeFile(join(directory, 'modeldl.lock'), JSON.stringify(lock));
    await write();
    const modeldl = await open(models);
    const [error] = (await modeldl.sync({ frozen: true })).errors;
    // The attacker knows the key as well.
    for (const model of lock.models) model.conversion.key = String(error?.details['key']);
    await write();
    expect((await modeldl.sync({ frozen: true })).errors).toEqual([]);
    await expect(modeldl.path('org/Alone', { precision: 'fp16' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(modeldl.path('org/Alone+fp16-cpu')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect((await modeldl.convert('org/Alone', { precision: 'fp16' })).cached).toBe(false);
  });

  it('brings other models in while one is converted, and one conversion at a time', async () => {
    const running: number[] = [];
    let now = 0;
    const converter: Converter = {
      ...smallConverter(['model.onnx']),
      run: async (model, plan, outDir, context) => {
        now += 1;
        running.push(now);
        const report = await smallConverter(['model.onnx']).run(model, plan, outDir, context);
        now -= 1;
        return report;
      },
    };
    const models = ['fp32', 'fp16', 'int8', 'int4'].map((precision) => ({
      reference: 'org/Alone',
      precision,
    }));
    const modeldl = await open(models, { plugins: pluginsWith(converter, noToolchain) });
    expect((await modeldl.sync()).results).toHaveLength(4);
    expect(running).toEqual([1, 1, 1, 1]);
  });
});

describe('a lock of files whose hub tells no digest', () => {
  it('holds what is pulled and what is converted, also without --frozen', async () => {
    let weights = 'as they were';
    const server = await startServer(() => ({ body: weights }));
    onTestFinished(() => server.close());
    const shelf: Hub = {
      name: 'shelf',
      title: 'Shelf',
      syntax: { hub: 'shelf', schemes: ['shelf'] },
      resolve: ({ id }) =>
        Promise.resolve({
          hub: 'shelf',
          id,
          revision: 'v1',
          files: [{ path: 'model.onnx', url: `${server.origin}/model.onnx` }],
          metadata: {},
        }),
    };
    const plugins = pluginsWith(smallConverter(['model.onnx']), noToolchain);
    const inCache = (name: string): Promise<Modeldl> =>
      open(['shelf:a@v1', { reference: 'shelf:b@v1', convert: true }], {
        cacheDir: join(directory, name),
        plugins: { ...plugins, hubs: [...plugins.hubs, shelf] },
      });

    const locked = await (await inCache('first')).lock();
    expect(locked.errors).toEqual([]);
    expect(locked.results.map(({ bytes }) => bytes)).toEqual([weights.length, weights.length]);
    expect((await (await inCache('second')).sync()).errors).toEqual([]);
    weights = 'as they ARE!';
    const { results, errors } = await (await inCache('third')).sync();
    expect(results).toEqual([]);
    expect(errors.map(({ code }) => code)).toEqual(['INTEGRITY', 'INTEGRITY']);
  });
});

import { readdir } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listModels, type StoredModel } from '../../src/store/models.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { COMMIT, openedStore, putConversion, putModel, sha256Of, type TestStore } from '../helpers/store.js';

const PINNED = `hf:org/name@${COMMIT}`;

let hub: HfHub;
let world: World;
let store: TestStore;

beforeAll(async () => {
  const weights = { 'model.safetensors': 's', 'pytorch_model.bin': 'p', 'config.json': '{}' };
  hub = await startHfHub({
    repos: [
      { id: 'org/weights', files: weights },
      { id: 'org/branches', files: { a: 'm' }, branches: { 'feature/x': { 'dir/config.json': '{"x":1}' } } },
      { id: 'org/new', formerIds: ['org/old'], files: { 'config.json': '{"renamed":true}' } },
      { id: 'org/gguf', files: { 'm-Q4_K_M.gguf': 'four', 'm-Q8_0.gguf': 'eight', 'README.md': 'r' } },
    ],
  });
});

afterAll(async () => {
  await hub.close();
});

beforeEach(async () => {
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  store = await openedStore(world.cacheDir);
});

afterEach(async () => {
  await world.remove();
});

async function listed(): Promise<readonly string[]> {
  const { stdout } = await world.run('list', '--quiet');
  return stdout === '' ? [] : stdout.split('\n');
}

async function storedAt(path: string): Promise<StoredModel> {
  const model = (await listModels(store)).find(({ directory }) => directory === path);
  if (model === undefined) throw new Error(`Expected a model at ${path}`);
  return model;
}

describe('modeldl remove, when several conversions match', () => {
  it('removes none of them and names each by its key', async () => {
    const origin = await putModel(store, { 'model.onnx': 'bytes' });
    await putConversion(store, origin, { precision: 'int8', seed: 'ratio=1' });
    await putConversion(store, origin, { precision: 'int8', seed: 'ratio=0.8' });
    const keys = ['ratio=1', 'ratio=0.8'].map((seed) => `${PINNED}+${sha256Of(seed).slice(0, 8)}`);

    for (const words of [['hf:org/name+int8-cpu'], ['hf:org/name', '--precision', 'int8']]) {
      const { exitCode, stderr } = await world.run('remove', ...words, '-y');
      expect(exitCode).toBe(2);
      for (const key of keys) expect(stderr).toContain(key);
    }
    expect(await listed()).toHaveLength(3);

    expect((await world.run('remove', keys[0] ?? '', '-y')).exitCode).toBe(0);
    expect(await listed()).toEqual([PINNED, expect.stringContaining(PINNED) as string]);
    expect((await world.run('remove', 'hf:org/name', '-y')).exitCode).toBe(0);
    expect(await listed()).toEqual([]);
  });
});

describe('what a bare reference means among the selections of a revision', () => {
  it('is no part that globs chose, though the hint names it', async () => {
    await world.run('pull', 'org/weights', '--include', '*.json');
    const { exitCode, stdout, stderr } = await world.run('path', 'org/weights');
    expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' });
    expect(stderr).toMatch(/parts of it are stored: hf:org\/weights@[0-9a-f]{40}\+[0-9a-f]{8};/);
    expect((await world.run('show', 'org/weights', '--offline')).exitCode).toBe(3);
  });

  it('is the default pull, also after a later one with globs, and the whole before it', async () => {
    const { stdout: byDefault } = await world.run('pull', 'org/weights');
    await world.run('pull', 'org/weights', '--include', '*.json');
    expect((await world.run('path', 'org/weights')).stdout).toBe(byDefault);
    const { stdout: whole } = await world.run('pull', 'org/weights', '--all-files');
    expect(whole).not.toBe(byDefault);
    expect((await world.run('path', 'org/weights')).stdout).toBe(whole);
  });

  it('is what globs chose once a pull without them chooses the same files, also when they are fetched again', async () => {
    const globs = ['pull', 'org/weights', '--include', '*.json', '--include', '*.safetensors'];
    const { stdout: chosen } = await world.run(...globs);
    expect((await world.run('path', 'org/weights')).exitCode).toBe(3);
    expect((await world.run('pull', 'org/weights')).stdout).toBe(chosen);
    expect((await world.run('path', 'org/weights')).stdout).toBe(chosen);
    await world.run(...globs, '--force');
    expect((await world.run('path', 'org/weights')).stdout).toBe(chosen);
  });

  it('is the one quantization that was chosen; of several none is guessed', async () => {
    await world.run('pull', 'org/gguf', '--include', '*.md');
    const { stdout: four } = await world.run('pull', 'org/gguf', '--quant', 'Q4_K_M');
    const found = await world.run('path', 'org/gguf');
    expect(found.stdout).toBe(four);
    expect(await readdir(found.stdout)).toContain('m-Q4_K_M.gguf');
    await world.run('pull', 'org/gguf', '--quant', 'Q8_0');
    const { exitCode, stderr } = await world.run('path', 'org/gguf');
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/\+[0-9a-f]{8} \(Q4_K_M\)/);
    expect(stderr).toMatch(/\+[0-9a-f]{8} \(Q8_0\)/);
  });
});

describe('what `list` prints is what every command takes', () => {
  it('names selections that are not the default, and conversions that share a name', async () => {
    const { stdout: json } = await world.run('pull', 'org/weights', '--include', '*.json');
    const { stdout: byDefault } = await world.run('pull', 'org/weights');
    const { record } = await storedAt(json);
    const keys = await Promise.all(
      ['ratio=1', 'ratio=0.8'].map(async (seed) => {
        const origin = await storedAt(byDefault);
        await putConversion(store, origin, { precision: 'int8', seed });
        return sha256Of(seed).slice(0, 8);
      }),
    );
    const half = await putConversion(store, await storedAt(json), { precision: 'fp16' });

    const names = await listed();
    const { reference, selection = '' } = record;
    expect([...names].sort()).toEqual(
      [
        reference,
        `${reference}+${selection.slice(0, 8)}`,
        ...keys.map((key) => `${reference}+${key}`),
        `${reference}+fp16-cpu`,
      ].sort(),
    );
    const paths = await Promise.all(names.map(async (name) => (await world.run('path', name)).stdout));
    expect(new Set(paths).size).toBe(names.length);
    for (const name of names) {
      const shown = await world.run('show', name, '--json', '--offline');
      expect(JSON.parse(shown.stdout)).toMatchObject({ models: [{ reference: name }] });
    }
    const verified = JSON.parse(
      (await world.run('verify', `${reference}+${selection.slice(0, 8)}`, '--json')).stdout,
    ) as {
      models: { reference: string }[];
    };
    expect(verified.models.map((model) => model.reference)).toEqual([
      `${reference}+${selection.slice(0, 8)}`,
    ]);

    // The part goes with what was converted from it, and nothing else does; a conversion goes alone.
    const again = await putConversion(store, half, { precision: 'int4' });
    expect(
      (await world.run('remove', `${reference}+fp16-cpu`, '-y', '--dry-run', '--json')).stdout,
    ).not.toContain(again.path);
    expect((await world.run('remove', `${reference}+${selection.slice(0, 8)}`, '-y')).exitCode).toBe(0);
    expect([...(await listed())].sort()).toEqual(
      [reference, ...keys.map((key) => `${reference}+${key}`)].sort(),
    );
  });

  it('is pulled from the store, whatever the files were chosen by', async () => {
    const { stdout: json } = await world.run('pull', 'org/weights', '--include', '*.json');
    const name = (await listed())[0] ?? '';
    const requests = hub.requests.length;
    expect(await world.run('pull', name)).toMatchObject({ exitCode: 0, stdout: json });
    expect(await world.run('pull', name, '--dry-run', '--json')).toMatchObject({ exitCode: 0 });
    expect((await world.run('pull', name, '--include', '*.bin')).exitCode).toBe(2);
    expect((await world.run('pull', `${name.slice(0, -8)}00000000`)).exitCode).toBe(3);
    expect((await world.run('pull', `${name.slice(0, -8)}00000000`, '--dry-run')).exitCode).toBe(3);
    expect(hub.requests.length).toBe(requests);
  });
});

describe('a pasted address whose branch has slashes', () => {
  it('is pulled with one request more the first time, and found again', async () => {
    const address = `${hub.endpoint}/org/branches/tree/feature/x/dir`;
    const { exitCode, stdout } = await world.run('pull', address);
    expect(exitCode).toBe(0);
    expect(await readdir(stdout)).toEqual(['config.json']);
    expect(await listed()).toEqual([`hf:org/branches@${hub.commitOf('org/branches', 'feature/x')}//dir`]);
    expect((await world.run('path', address)).stdout).toBe(stdout);
    expect((await world.run('path', 'org/branches@feature/x//dir')).stdout).toBe(stdout);
    expect((await world.run('pull', address, '--offline')).stdout).toBe(stdout);
    const before = hub.requests.length;
    expect((await world.run('pull', address)).stdout).toBe(stdout);
    expect(hub.requests.slice(before).some(({ url }) => url.includes('/refs'))).toBe(false);
  });

  it('shows at its hub what it names', async () => {
    const { stdout } = await world.run('show', `${hub.endpoint}/org/branches/tree/feature/x`, '--json');
    const revision = hub.commitOf('org/branches', 'feature/x');
    expect(JSON.parse(stdout)).toMatchObject({ models: [{ reference: `hf:org/branches@${revision}` }] });
  });
});

describe('a model that was renamed at its hub', () => {
  it('is found again by the name that was used, pinned or not', async () => {
    const { stdout } = await world.run('pull', 'org/old');
    const commit = hub.commitOf('org/new');
    expect((await world.run('path', 'org/old')).stdout).toBe(stdout);
    expect((await world.run('path', 'org/new')).stdout).toBe(stdout);
    expect((await world.run('pull', 'org/old', '--offline')).stdout).toBe(stdout);
    expect((await world.run('pull', `org/old@${commit}`)).stdout).toBe(stdout);
    const requests = hub.requests.length;
    expect((await world.run('pull', `org/old@${commit}`)).stdout).toBe(stdout);
    expect((await world.run('path', `org/old@${commit}`)).stdout).toBe(stdout);
    expect(hub.requests.length).toBe(requests);
  });
});

describe('a model that is not stored, without network', () => {
  it.each([
    ['hf:org/nane', '`hf:org/name`'],
    ['hf:org/name@v9', `\`${PINNED}\``],
    ['hf:other/elsewhere', 'run `modeldl pull hf:other/elsewhere`'],
  ])('is told with what is stored instead: %s', async (asked, hint) => {
    await putModel(store, { 'model.onnx': 'bytes' });
    const { exitCode, stderr } = await world.run('--offline', 'pull', asked);
    expect(exitCode).toBe(5);
    expect(stderr).toContain(`hint: ${hint.startsWith('`') ? `stored is ${hint}; run` : hint}`);
  });
});

describe('a conversion that is not stored', () => {
  it.each([
    [['+fp16-gpu'], '--precision fp16 --device GPU'],
    [['+fp16-hetero_gpu_cpu'], '--precision fp16 --device HETERO:GPU,CPU'],
    [['', '--precision', 'fp16'], '--precision fp16'],
    [['', '--device', 'NPU'], '--device NPU'],
  ])('is made as it was asked for: %j', async ([suffix = '', ...filter], options) => {
    await putConversion(store, await putModel(store, { 'model.onnx': 'bytes' }), { precision: 'int8' });
    const { exitCode, stderr } = await world.run('path', `${PINNED}${suffix}`, ...filter);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`make it with \`modeldl convert ${PINNED} ${options}\``);
    expect(stderr).toContain(`stored of it: ${PINNED}+int8-cpu`);
  });

  it.each(['+00000000', '+zzz', '+fp16'])('is not fetched when it is mistyped: %s', async (suffix) => {
    await putConversion(store, await putModel(store, { 'model.onnx': 'bytes' }), { precision: 'int8' });
    const { exitCode, stderr } = await world.run('path', `${PINNED}${suffix}`);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`${PINNED}+int8-cpu`);
    expect(stderr).not.toMatch(/modeldl (pull|convert)/);
  });
});

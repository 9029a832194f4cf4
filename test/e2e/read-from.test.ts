/** Read-only caches below the user's own: what is there is linked or copied, never fetched, and never changed. */
import { chmod, cp, lstat, mkdir, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMount, smallDisk, withReadOnly } from '../helpers/mounts.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';
import { requirePeer } from '../helpers/require.js';
import { openedStore, putBlob, putConversion } from '../helpers/store.js';
import { listModels, publishModel } from '../../src/store/models.js';

const MiB = 1024 * 1024;
const LARGE = Buffer.alloc(9 * MiB, 'large weights ');
const CONFIG = '{"model_type":"bert"}';
const USER = 1001;

const onDisks = requirePeer('root and `mount`', canMount);
const asUser = requirePeer('root, and a repository that all may read', canRunAs(USER));

let world: World;
let hub: HfHub;
/** The cache of the system, where the model is. */
let lower: string;
let commit: string;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/model', files: { 'config.json': CONFIG, 'model.safetensors': LARGE } },
      { id: 'org/other', files: { 'other.json': '{}', 'weights.safetensors': LARGE } },
    ],
  });
  commit = hub.commitOf('org/model');
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  lower = join(world.directory, 'system');
  const filled = await world.run('pull', 'hf:org/model', '--cache-dir', lower);
  expect(filled.exitCode, filled.stderr).toBe(0);
  hub.clearRequests();
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

interface Model {
  readonly reference: string;
  readonly path: string;
  readonly cache: string;
  readonly downloadedBytes: number;
  readonly adoptedBytes: number;
}

function run(...args: readonly string[]): Promise<Run> {
  return world.runWith({ MODELDL_CACHE_READ_FROM: lower }, ...args);
}

function only({ exitCode, stdout, stderr }: Run): Model {
  expect(exitCode, stderr).toBe(0);
  const { models } = JSON.parse(stdout) as { models: [Model] };
  expect(models).toHaveLength(1);
  return models[0];
}

async function pull(...options: readonly string[]): Promise<Model & { stderr: string }> {
  const ended = await run('pull', 'hf:org/model', '--json', '--progress', 'json', ...options);
  const model = only(ended);
  await expectWhole(model.path);
  return { ...model, stderr: ended.stderr };
}

async function expectWhole(path: string): Promise<void> {
  expect((await readFile(join(path, 'model.safetensors'))).equals(LARGE)).toBe(true);
  expect(await readFile(join(path, 'config.json'), 'utf8')).toBe(CONFIG);
}

/** Every name with what a write, a link or a mark would change of it. */
async function stateOf(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory, { recursive: true });
  const states = names.sort().map(async (name) => {
    const { ctimeMs, mtimeMs, size, nlink, mode } = await lstat(join(directory, name));
    return [name, ctimeMs, mtimeMs, size, nlink, mode].join(' ');
  });
  return Promise.all(states);
}

function fetchedBytes(): number {
  return hub.requests.reduce((sum, { server: from, bytes }) => (from === 'cdn' ? sum + bytes : sum), 0);
}

const BYTES = LARGE.length + CONFIG.length;

describe('a model of a lower cache', () => {
  it.each([
    ['pinned', (): string => `hf:org/model@${commit}`, []],
    ['floating, offline', (): string => 'hf:org/model', ['--offline']],
    ['floating, when what is stored is preferred', (): string => 'hf:org/model', ['--prefer-offline']],
  ])('needs no network: %s', async (_how, reference, options) => {
    const model = only(await run('pull', reference(), '--json', ...options));
    expect(model).toMatchObject({ downloadedBytes: 0, adoptedBytes: BYTES });
    expect(model.path.startsWith(world.cacheDir)).toBe(true);
    expect(hub.requests).toEqual([]);
    await expectWhole(model.path);
  });

  it('is asked for once where it floats, and not fetched', async () => {
    const { stderr, ...model } = await pull();
    expect(model).toMatchObject({ downloadedBytes: 0, adoptedBytes: BYTES });
    expect(stderr).toContain(`from the cache: ${lower}`);
    expect(hub.requests).toHaveLength(1);
    expect(fetchedBytes()).toBe(0);
  });

  it('is the own one after a pull, also when the lower cache is gone', async () => {
    const { path } = await pull();
    await rm(lower, { recursive: true });
    const verified = await world.run('verify', 'hf:org/model', '--json');
    expect(verified.exitCode, verified.stdout).toBe(0);
    const again = only(await world.run('pull', 'hf:org/model', '--json', '--offline'));
    expect(again).toMatchObject({ path, downloadedBytes: 0, adoptedBytes: 0 });
  });

  it('is listed, shown and handed out as it lies there, until it is pulled', async () => {
    const { path } = JSON.parse((await run('path', 'hf:org/model', '--json')).stdout) as { path: string };
    expect(path.startsWith(lower)).toBe(true);
    await expectWhole(path);
    expect(only(await run('list', '--json'))).toMatchObject({ path, cache: lower });
    expect(only(await run('show', 'hf:org/model', '--json'))).toMatchObject({ path, cache: lower });
    expect((await run('list')).stdout).toMatch(new RegExp(`READ FROM\\n.*${lower}\\n`));
    expect((await run('show', 'hf:org/model')).stdout).toContain(`read from  ${lower}`);
    // Nobody wrote, so there is no cache yet.
    await expect(readdir(world.cacheDir)).rejects.toMatchObject({ code: 'ENOENT' });

    const own = await pull();
    expect(only(await run('list', '--json'))).toMatchObject({ path: own.path, cache: world.cacheDir });
    expect((await run('list')).stdout).not.toContain('READ FROM');
    expect((await run('path', 'hf:org/model')).stdout).toBe(own.path);
  });

  it('is planned as what need not be fetched', async () => {
    const plan = only(await run('pull', 'hf:org/model', '--dry-run', '--json', '--offline'));
    expect(plan).toMatchObject({ downloadBytes: 0, adoptBytes: BYTES });
  });

  it('gives its blobs to other models', async () => {
    const model = only(await run('pull', 'hf:org/other', '--json'));
    expect(model).toMatchObject({ adoptedBytes: LARGE.length, downloadedBytes: 2 });
    expect(fetchedBytes()).toBe(0);
  });

  it('gives its files to a narrower choice of them, without network', async () => {
    const model = only(
      await run('pull', 'hf:org/model', '--json', '--offline', '--include', '*.safetensors'),
    );
    expect(model).toMatchObject({ downloadedBytes: 0, adoptedBytes: LARGE.length });
    expect(hub.requests).toEqual([]);
  });

  it('is never changed, whatever is done', async () => {
    const before = await stateOf(lower);
    await run('list');
    await run('path', 'hf:org/model');
    await expectRefusal(
      { ...world, runWith: (_none, ...args) => run(...args) },
      ['remove', 'hf:org/model', '--yes'],
      { code: 'NOT_FOUND', message: /Not stored/, hint: /lies in a cache of `cache.readFrom`/ },
    );
    expect((await run('verify')).exitCode).toBe(0);
    expect((await run('prune', '--older-than', '0s', '--yes')).exitCode).toBe(0);
    expect(await stateOf(lower)).toEqual(before);
    // Where its files are the user's own, a pull gives them one more name.
    const { path } = await pull();
    await run('remove', 'hf:org/model', '--prune', '--yes');
    expect(await readdir(join(path, '..'))).toEqual([]);
    const after = await stateOf(lower);
    const withoutChangeTime = (states: readonly string[]): readonly string[] =>
      states.map((state) => state.split(' ').toSpliced(1, 1).join(' '));
    expect(withoutChangeTime(after)).toEqual(withoutChangeTime(before));
  });

  /** Reference of a choice of the model that only the lower cache knows, as its hash names it. */
  async function choiceInLower(): Promise<string> {
    const args = ['--include', '*.safetensors', '--json', '--cache-dir', lower];
    const { reference, path } = only(await world.run('pull', 'hf:org/model', ...args));
    return `${reference}${/\+[0-9a-f]{8}$/.exec(path)?.[0] ?? ''}`;
  }

  it('takes the place of what is damaged in the own cache', async () => {
    const reference = await choiceInLower();
    expect((await world.run('pull', 'hf:org/other')).exitCode).toBe(0);
    const blobs = join(world.cacheDir, 'v1/blobs/sha256');
    for (const name of await readdir(blobs, { recursive: true })) {
      if ((await lstat(join(blobs, name))).size !== LARGE.length) continue;
      await chmod(join(blobs, name), 0o644);
      await writeFile(join(blobs, name), Buffer.alloc(LARGE.length, 'x'));
    }
    const { path } = only(await run('pull', reference, '--json'));
    expect(path.startsWith(world.cacheDir)).toBe(true);
    expect((await readFile(join(path, 'model.safetensors'))).equals(LARGE)).toBe(true);
  });

  it('becomes the own one once when two pulls name its choice at once', async () => {
    const reference = await choiceInLower();
    const pulls = await Promise.all([1, 2].map(() => run('pull', reference, '--json')));
    expect(pulls.map(only).reduce((sum, { adoptedBytes }) => sum + adoptedBytes, 0)).toBe(LARGE.length);
  });

  it('has conversions, which are found likewise', async () => {
    const store = await openedStore(lower);
    const [origin] = await listModels(store);
    if (origin === undefined) throw new Error('The lower cache is empty');
    const conversion = await putConversion(store, origin, { precision: 'int8' });
    const found = await run('path', 'hf:org/model+int8-cpu');
    expect(found.stdout, found.stderr).toBe(conversion.directory);
    expect((await run('list', '--json')).stdout).toContain('+int8-cpu');
  });
});

describe('a lower cache that is not as it should be', () => {
  it('is ignored with a note when it is missing, or is none', async () => {
    const absent = join(world.directory, 'absent');
    const other = join(world.directory, 'other');
    await mkdir(other);
    const environment = { MODELDL_CACHE_READ_FROM: `${absent}:${other}:${lower}` };
    const model = await world.runWith(environment, 'pull', 'hf:org/model', '--offline');
    expect(model.exitCode, model.stderr).toBe(0);
    expect(model.stderr).toContain(`\`cache.readFrom\` is ignored, it does not exist: ${absent}`);
    expect(model.stderr).toContain(`\`cache.readFrom\` is ignored, it is no cache of modeldl: ${other}`);
    expect(await readdir(other)).toEqual([]);
  });

  it('is the own one, and then no lower one', async () => {
    const listed = await run('list', '--json', '--cache-dir', lower);
    expect(only(listed)).toMatchObject({ cache: lower });
    expect((await run('remove', 'hf:org/model', '--yes', '--cache-dir', lower)).exitCode).toBe(0);
  });

  it('is told once and fetched around when its bytes are damaged', async () => {
    const path = (await run('path', 'hf:org/model')).stdout;
    for (const name of ['config.json', 'model.safetensors']) {
      const file = join(path, name);
      const { mtime, size } = await lstat(file);
      await chmod(file, 0o644);
      // In the size and with the time that they had: only hashing tells.
      await writeFile(file, Buffer.alloc(size, 'x'));
      await utimes(file, mtime, mtime);
    }
    const { stderr, ...model } = await pull();
    expect(model).toMatchObject({ adoptedBytes: 0, downloadedBytes: BYTES });
    expect(stderr.match(/Not what its name says in the cache/g)).toHaveLength(1);
  });

  it('is told once and fetched around when a file shows that it was changed', async () => {
    const path = (await run('path', 'hf:org/model')).stdout;
    await chmod(join(path, 'model.safetensors'), 0o644);
    await writeFile(join(path, 'model.safetensors'), LARGE.subarray(1));
    const { stderr } = await pull();
    expect(stderr.match(/is damaged/g)).toHaveLength(1);
    expect(fetchedBytes()).toBe(LARGE.length);
  });

  /** Makes the record name other bytes, whole and under their own sha256. */
  async function replaceInLower(name: string): Promise<void> {
    const store = await openedStore(lower);
    const [model] = await listModels(store);
    if (model === undefined) throw new Error('The lower cache is empty');
    const sha256 = await putBlob(store, 'other bytes');
    const files = model.record.files.map((file) =>
      file.path === name ? { ...file, sha256, bytes: 'other bytes'.length } : file,
    );
    await publishModel(store, model.record, { ...model.record, files });
  }

  it.each(['config.json', 'model.safetensors'])(
    'is told once and fetched around when its record names another %s than the revision has',
    async (name) => {
      await replaceInLower(name);
      const { stderr } = await pull();
      expect(stderr.match(new RegExp(`The bytes of ${name} do not match their digest`, 'g'))).toHaveLength(1);
    },
  );

  it('does not vouch for what its record says of a digest', async () => {
    await replaceInLower('config.json');
    const { path } = only(await run('pull', 'hf:org/model', '--json', '--include', 'config.json'));
    expect(await readFile(join(path, 'config.json'), 'utf8')).toBe(CONFIG);
  });

  it('is told once when its records are damaged', async () => {
    const records = join(lower, 'v1/records');
    const names = await readdir(records, { recursive: true });
    const [record] = names.filter((name) => name.endsWith('.json'));
    await writeFile(join(records, record ?? ''), '{');
    const { stderr } = await pull();
    expect(stderr.match(/cannot be used and is ignored/g)).toHaveLength(1);
    expect(stderr).toContain(lower);
  });

  asUser('is told once when it may not be read', async () => {
    await chmod(world.directory, 0o777);
    await chmod(lower, 0o700);
    const environment = { MODELDL_CACHE_READ_FROM: lower };
    const ended = await world.start({ environment, uid: USER }, 'pull', 'hf:org/model').done;
    expect(ended.exitCode, ended.stderr).toBe(0);
    expect(ended.stderr).toContain(`is ignored, it may not be read: ${lower}`);
  });
});

describe('a lower cache elsewhere', () => {
  asUser('of root is copied by another user, who may not write to it', async () => {
    await chmod(world.directory, 0o777);
    const before = await stateOf(lower);
    const environment = { MODELDL_CACHE_READ_FROM: lower };
    const args = ['pull', 'hf:org/model', '--json', '--offline'];
    const model = only(await world.start({ environment, uid: USER }, ...args).done);
    expect(model).toMatchObject({ downloadedBytes: 0, adoptedBytes: BYTES });
    expect(await lstat(join(model.path, 'model.safetensors'))).toMatchObject({ uid: USER });
    await expectWhole(model.path);
    expect(await stateOf(lower)).toEqual(before);
  });

  onDisks('on a read-only file system works', async () => {
    const environment = { MODELDL_CACHE_READ_FROM: lower };
    const under = withReadOnly(lower);
    const listed = await world.start({ environment, under }, 'path', 'hf:org/model').done;
    expect(listed.stdout.startsWith(lower), listed.stderr).toBe(true);
    const args = ['pull', 'hf:org/model', '--json', '--offline'];
    const model = only(await world.start({ environment, under }, ...args).done);
    expect(model).toMatchObject({ downloadedBytes: 0, adoptedBytes: BYTES });
    await expectWhole(model.path);
  });

  onDisks('on another file system is copied, and the room for it is looked for first', async () => {
    const disk = await smallDisk('size=20M');
    const args = ['pull', 'hf:org/model', '--offline', '--cache-dir', join(disk.directory, 'own')];
    const refused = await run(...args);
    expect(refused.exitCode).toBe(7);
    expect(refused.stderr).toContain('Not enough space for the cache');
    await disk.resize('size=60M');
    const copied = await run(...args);
    expect(copied.exitCode, copied.stderr).toBe(0);
    expect(copied.stderr).toContain('2 files were copied from the cache');
    await expectWhole(copied.stdout);
  });

  onDisks('is used as it lies there when the own cache can only be read', async () => {
    await mkdir(join(world.cacheDir, 'v1'), { recursive: true });
    const environment = { MODELDL_CACHE_READ_FROM: lower };
    const under = withReadOnly(world.cacheDir);
    const pulled = await world.start({ environment, under }, 'pull', 'hf:org/model', '--offline').done;
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    expect(pulled.stdout.startsWith(lower)).toBe(true);
  });

  it('that was copied from another machine is used', async () => {
    const copy = join(world.directory, 'copy');
    await cp(lower, copy, { recursive: true });
    const environment = { MODELDL_CACHE_READ_FROM: copy };
    const model = only(await world.runWith(environment, 'pull', 'hf:org/model', '--json', '--offline'));
    expect(model).toMatchObject({ adoptedBytes: BYTES });
  });
});

describe('cache.readFrom', () => {
  it('is relative to the file that sets it, and of several the first that has a model is used', async () => {
    const other = join(world.directory, 'deep/other');
    await mkdir(join(world.directory, 'deep'));
    await cp(lower, other, { recursive: true });
    await writeFile(
      join(world.directory, 'deep/named.json'),
      JSON.stringify({ cache: { readFrom: ['other', '../system'] } }),
    );
    const path = await world.run('path', 'hf:org/model', '--config', 'deep/named.json');
    expect(path.stdout.startsWith(other), path.stderr).toBe(true);
    const listed = await world.run('list', '--json', '--config', 'deep/named.json');
    expect(only(listed)).toMatchObject({ cache: other });
  });

  it('is set by the environment before a file', async () => {
    await writeFile(join(world.directory, 'named.json'), JSON.stringify({ cache: { readFrom: ['none'] } }));
    const got = await run('config', 'get', 'cache.readFrom', '--config', 'named.json', '--json');
    expect(JSON.parse(got.stdout)).toMatchObject({
      value: [lower],
      source: 'environment variable MODELDL_CACHE_READ_FROM',
    });
  });
});

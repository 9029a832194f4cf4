import { readdir, readFile, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startHfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';

let world: World;

beforeEach(async () => {
  world = await createWorld();
});

afterEach(() => world.remove());

interface Setting {
  readonly key: string;
  readonly value: unknown;
  readonly source: string;
}

async function list(environment: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const { stdout } = await world.runWith(environment, 'config', 'list', '--json', ...args);
  const { values } = JSON.parse(stdout) as { readonly values: readonly Setting[] };
  return (key: string) => values.find((setting) => setting.key === key);
}

describe('modeldl config', () => {
  it('list shows each value and where it came from, the nearest winning', async () => {
    const project = join(world.directory, 'modeldl.config.json');
    await writeFile(project, '{"convert":{"device":"GPU"}}');
    const { stdout: user } = await world.run('config', 'path');
    expect((await world.run('config', 'set', 'maxWait', '5m')).exitCode).toBe(0);
    const plain = await list({});
    expect(plain('cacheDir')).toMatchObject({
      value: world.cacheDir,
      source: 'environment variable MODELDL_CACHE_DIR',
    });
    expect(plain('convert.device')).toMatchObject({ value: 'GPU', source: project });
    expect(plain('maxWait')).toMatchObject({ value: '5m', source: user.split('\n')[0] });
    expect(plain('convert.precision')).toMatchObject({ value: 'int8', source: 'default' });
    const set = await list({ HF_ENDPOINT: 'https://mirror.example', MODELDL_OFFLINE: '1' });
    expect(set('offline')).toMatchObject({ value: true, source: 'environment variable MODELDL_OFFLINE' });
    expect(set('hubs.hf.endpoint')).toMatchObject({
      value: 'https://mirror.example',
      source: 'environment variable HF_ENDPOINT',
    });
    const given = await list(
      { MODELDL_OFFLINE: '0' },
      '--offline',
      '--max-wait',
      '3s',
      '--cache-dir',
      'here',
    );
    expect(given('offline')).toMatchObject({ value: true, source: 'option --offline' });
    expect(given('maxWait')).toMatchObject({ value: '3s', source: 'option --max-wait' });
    expect(given('cacheDir')).toMatchObject({
      value: join(world.directory, 'here'),
      source: 'option --cache-dir',
    });
  });

  it('list shows no password of a proxy', async () => {
    const { stdout } = await world.runWith({ HTTPS_PROXY: 'http://alice:hunter2@proxy:1' }, 'config', 'list');
    expect(stdout).toContain('"http://proxy:1"');
    expect(stdout).not.toContain('hunter2');
  });

  it('get prints one value, also a default, and names the key that was meant', async () => {
    expect((await world.run('config', 'get', 'jobs')).stdout).toBe('4');
    const unset = await world.run('config', 'get', 'caFile');
    expect(unset.exitCode).toBe(3);
    expect(unset.stderr).toContain('modeldl config set caFile');
    const unknown = await world.run('config', 'get', 'precision');
    expect(unknown.exitCode).toBe(2);
    expect(unknown.stderr).toContain('`convert.precision`');
  });

  it.each(['', '.', 'home'])('path is that of the user where HOME is "%s"', async (HOME) => {
    const { stdout } = await world.runWith({ HOME }, 'config', 'path');
    expect(dirname(dirname(stdout))).toBe(join(userInfo().homedir, '.config'));
  });

  it('init writes a file that the next command takes, and no second one', async () => {
    const { stdout: path } = await world.run('config', 'init');
    expect(path).toBe(join(world.directory, 'modeldl.config.json'));
    expect((await list({}))('convert.device')).toMatchObject({ value: 'CPU', source: path });
    await writeFile(path, '{"jobs":9}');
    expect((await world.run('config', 'init')).exitCode).toBe(2);
    expect(await readFile(path, 'utf8')).toBe('{"jobs":9}');
  });

  it.each([
    ['modeldl.config.yaml', 'jobs: 9'],
    ['package.json', '{"modeldl":{"convert":{"precision":"fp16"}}}'],
  ])('init writes nothing that %s would be hidden by', async (name, content) => {
    const there = join(world.directory, name);
    await writeFile(there, content);
    await expectRefusal(world, ['config', 'init'], {
      code: 'USAGE',
      message: new RegExp(name),
      hint: /edit it/,
    });
    expect(await readdir(world.directory)).not.toContain('modeldl.config.json');
  });

  it('trust lets a project decide where models come from, until its file changes', async () => {
    const project = join(world.directory, 'modeldl.config.json');
    await writeFile(project, '{"caFile":"/dev/null"}');
    expect((await world.run('list')).exitCode).toBe(2);
    expect((await world.run('config', 'trust')).stdout).toBe(project);
    expect((await world.run('list')).exitCode).toBe(0);
    await writeFile(project, '{"caFile":"/dev/zero"}');
    expect((await world.run('list')).stderr).toContain('modeldl config trust');
  });

  it('an endpoint of a project gets no token of the environment, one of the environment does', async () => {
    const token = 'hf_tokenOfAliceAaaaaaaaaaaaa';
    const hub = await startHfHub({ repos: [], tokens: [{ token, user: 'alice' }] });
    onTestFinished(() => hub.close());
    const project = join(world.directory, 'modeldl.config.json');
    await writeFile(project, JSON.stringify({ hubs: { hf: { endpoint: hub.endpoint } } }));
    await world.run('config', 'trust');
    const kept = await world.runWith({ HF_TOKEN: token }, 'whoami', 'hf');
    expect([kept.exitCode, kept.stdout]).toEqual([4, '']);
    expect(hub.requests).toEqual([]);
    await writeFile(project, '{"hubs":{"hf":{"endpoint":"http://127.0.0.1:1"}}}');
    await world.run('config', 'trust');
    const sent = await world.runWith({ HF_TOKEN: token, HF_ENDPOINT: hub.endpoint }, 'whoami', 'hf');
    expect([sent.exitCode, sent.stdout]).toEqual([0, 'alice']);
  });
});

describe('modeldl login', () => {
  it('says that a hub takes none, or is none, before it asks for a token', async () => {
    for (const args of [['url'], ['url', '--token-stdin']]) {
      const { exitCode, stderr } = await world.run('login', ...args);
      expect(exitCode).toBe(2);
      expect(stderr).toContain('takes no login');
    }
    expect((await world.run('login', 'oci')).stderr).toContain('run `docker login HOST`');
    expect((await world.run('login', 'hff')).stderr).toContain('Unknown hub: hff');
    expect((await world.run('login', 'hf')).stderr).toContain('Missing `--token-stdin`');
  });
});

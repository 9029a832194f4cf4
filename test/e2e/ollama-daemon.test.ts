/** Pulling by an Ollama that runs: it fetches, and the built program takes the model from its store. */
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startServer } from '../hubs/server.js';
import { gguf, LLAMA } from '../helpers/gguf.js';
import { startOllamaDaemon, type OllamaDaemon } from '../helpers/ollama-daemon.js';
import {
  sha256Of,
  startOllamaRegistry,
  type OllamaRegistry,
  type RegistryModel,
} from '../helpers/ollama-registry.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { requirePeer } from '../helpers/require.js';

const OTHER_USER = 1001;
const asRoot = requirePeer('root, and a repository that all may read', canRunAs(OTHER_USER));

/** Above the size that is fetched in one go. */
const WEIGHTS = gguf({ values: LLAMA, tensors: { weight: [1024, 2400] } });
const MODEL: RegistryModel = {
  name: 'library/tiny:1b',
  config: { model_format: 'gguf', model_family: 'llama', model_type: '1.2B', file_type: 'Q8_0' },
  layers: [
    { kind: 'model', bytes: WEIGHTS },
    { kind: 'system', bytes: Buffer.from('You are a test.') },
  ],
};
const FILE = 'tiny-1.2B-Q8_0.gguf';

let registry: OllamaRegistry;
let world: World;
let daemon: OllamaDaemon;
let models: string;

beforeEach(async () => {
  world = await createWorld();
  registry = await startOllamaRegistry({ models: [MODEL], storageHost: 'localhost' });
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  const hubs = { ollama: { endpoint: registry.endpoint } };
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs }));
  models = join(world.directory, '.ollama', 'models');
  daemon = await startOllamaDaemon(models);
});
afterEach(async () => {
  await daemon.close();
  await registry.close();
  await world.remove();
});

function pull(...args: readonly string[]): Promise<Run> {
  return pullWith({}, ...args);
}

function pullWith(environment: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Run> {
  const all = { OLLAMA_HOST: daemon.host, ...environment };
  return world.runWith(all, 'pull', '--daemon', ...args, '--max-wait', '1ms');
}

/** Addresses that modeldl itself asked for. */
function own(): readonly string[] {
  return [...registry.site.requests, ...registry.storage.requests].flatMap(({ url, headers }) =>
    headers['user-agent']?.startsWith('modeldl') === true ? [url] : [],
  );
}

describe('pulling by a running Ollama', () => {
  it('leaves the fetching to it, and gives the model that a pull of its own would', async () => {
    const run = await pull('ollama:tiny:1b');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(own()).toEqual([]);
    expect(run.stderr).toContain('linked from the Ollama store');
    expect(sha256Of(await readFile(join(run.stdout, FILE)))).toBe(sha256Of(WEIGHTS));
    const [listed] = (await world.run('list', '--quiet')).stdout.split('\n');
    const direct = await world.run('pull', 'ollama:tiny:1b', '--cache-dir', 'other', '--json');
    expect(direct.exitCode, direct.stderr).toBe(0);
    const { models: pulled } = JSON.parse(direct.stdout) as { models: readonly { reference: string }[] };
    expect(listed).toBe(pulled[0]?.reference);
  });

  it('tells how far it is', async () => {
    const run = await pull('ollama:tiny:1b', '--progress', 'json');
    const events = run.stderr.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    const path = `sha256:${sha256Of(WEIGHTS).slice(0, 12)}`;
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'file-start', path, bytes: WEIGHTS.length }) as unknown,
    );
    expect(events.filter((event) => event['type'] === 'file-done' && event['path'] === path)).toEqual([
      {
        type: 'file-done',
        reference: 'ollama:tiny:1b',
        path,
        bytes: WEIGHTS.length,
        sha256: sha256Of(WEIGHTS),
      },
    ]);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'stage', stage: 'Ollama: pulling manifest' }) as unknown,
    );
  });

  it('asks nobody for what is stored', async () => {
    const first = await pull('ollama:tiny:1b');
    await daemon.close();
    for (const freshness of ['--prefer-offline', '--offline']) {
      const run = await pull('ollama:tiny:1b', freshness);
      expect(run.exitCode, run.stderr).toBe(0);
      expect(run.stdout).toBe(first.stdout);
    }
  });

  it('ends at Ctrl-C, here and there', async () => {
    registry.storage.setFault('silent');
    const started = world.start(
      { environment: { OLLAMA_HOST: daemon.host } },
      'pull',
      '--daemon',
      'ollama:tiny:1b',
    );
    await registry.storage.reached();
    started.signal('SIGINT');
    const run = await started.done;
    expect(run.exitCode, run.stderr).toBe(130);
    await daemon.stopped();
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('says that a store is not here', async () => {
    const run = await pullWith({ OLLAMA_MODELS: join(world.directory, 'elsewhere') }, 'ollama:tiny:1b');
    expect([run.exitCode, run.stdout], run.stderr).toEqual([3, '']);
    expect(run.stderr).toContain('but its store is not in');
    expect(run.stderr).toContain('`modeldl pull ollama:tiny:1b` needs no Ollama');
  });

  asRoot('says that a store may not be read', async () => {
    await mkdir(models, { recursive: true });
    await chmod(models, 0o700);
    await chown(world.directory, OTHER_USER, OTHER_USER);
    const run = await world.start(
      { uid: OTHER_USER, environment: { OLLAMA_HOST: daemon.host } },
      'pull',
      '--daemon',
      'ollama:tiny:1b',
    ).done;
    expect([run.exitCode, run.stdout], run.stderr).toEqual([7, '']);
    expect(run.stderr).toContain(`Cannot read the store of Ollama in ${models}: permission denied`);
    expect(run.stderr).toContain('usermod -aG ollama');
  });

  it('takes no texts that are not what the manifest names', async () => {
    expect((await pull('ollama:tiny:1b')).exitCode).toBe(0);
    await rm(world.cacheDir, { recursive: true });
    const system = join(models, 'blobs', `sha256-${sha256Of(Buffer.from('You are a test.'))}`);
    await writeFile(system, 'You are a TEST.');
    const run = await pull('ollama:tiny:1b');
    expect(run.exitCode, run.stderr).toBe(6);
    expect(run.stderr).toContain('is damaged in the store of Ollama');
  });

  it('fetches what is damaged there, as it is not what its name says', async () => {
    expect((await pull('ollama:tiny:1b')).exitCode).toBe(0);
    await rm(world.cacheDir, { recursive: true });
    const blob = join(models, 'blobs', `sha256-${sha256Of(WEIGHTS)}`);
    await rm(blob);
    await writeFile(blob, Buffer.alloc(WEIGHTS.length, 'damaged '));
    const run = await pull('ollama:tiny:1b');
    expect(run.exitCode, run.stderr).toBe(0);
    expect(sha256Of(await readFile(join(run.stdout, FILE)))).toBe(sha256Of(WEIGHTS));
  });
});

describe('what no Ollama pulls', () => {
  it.each([
    ['a model that is not there', ['ollama:tiny:70b'], {}, 3, 'There is no model tiny:70b at'],
    ['a digest', [`ollama:tiny@sha256:${'a'.repeat(64)}`], {}, 2, 'Ollama pulls by tags'],
    ['a model of another hub', ['hf:org/name'], {}, 2, 'which is for `ollama:`'],
    ['a plan', ['ollama:tiny:1b', '--dry-run'], {}, 2, '`--daemon` and `--dry-run` exclude each other'],
    [
      'what is fetched again',
      ['ollama:tiny:1b', '--force'],
      {},
      2,
      '`--daemon` and `--force` exclude each other',
    ],
    [
      'without one',
      ['ollama:tiny:1b'],
      { OLLAMA_HOST: '127.0.0.1:9' },
      5,
      'No Ollama answers at http://127.0.0.1:9',
    ],
    ['on another machine', ['ollama:tiny:1b'], { OLLAMA_HOST: 'box.invalid' }, 2, 'whose store is not here'],
    ['at no address', ['ollama:tiny:1b'], { OLLAMA_HOST: 'ftp://box' }, 2, '`OLLAMA_HOST` is no address'],
    [
      'into a relative store',
      ['ollama:tiny:1b'],
      { OLLAMA_MODELS: 'models', OLLAMA_HOST: 'box.invalid' },
      2,
      'no absolute path',
    ],
    ['without network', ['ollama:tiny:1b', '--offline'], {}, 5, '--offline forbids'],
  ])('%s', async (_what, args, environment, exitCode, said) => {
    const run = await pullWith(environment, ...args);
    expect([run.exitCode, run.stdout], run.stderr).toEqual([exitCode, '']);
    expect(run.stderr).toContain(said);
    expect(run.stderr).toContain('hint: ');
    expect(await readdir(join(world.cacheDir, 'v1', 'models')).catch(() => [])).toEqual([]);
  });

  it('is told from a server of something else', async () => {
    const other = await startServer(() => ({ headers: { 'content-type': 'text/html' }, body: '<html>' }));
    try {
      const run = await pullWith({ OLLAMA_HOST: other.origin }, 'ollama:tiny:1b');
      expect(run.exitCode, run.stderr).toBe(5);
      expect(run.stderr).toContain(`No Ollama answers at ${other.origin}: it answers text/html`);
    } finally {
      await other.close();
    }
  });
});

/** Bytes that are in the cache of another tool are not fetched: beside the real Python client, and an Ollama store. */
import { createHash } from 'node:crypto';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMount, smallDisk } from '../helpers/mounts.js';
import { canRunAs, createWorld, type World } from '../helpers/program.js';
import { pythonClient } from '../helpers/python-client.js';
import { expectRefusal } from '../helpers/refused.js';
import { requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';

const MiB = 1024 * 1024;
/** One above and one below the size that is fetched in one go. */
const LARGE = Buffer.alloc(9 * MiB, 'large weights ');
const SMALL = Buffer.alloc(64 * 1024, 'small weights ');
const USER = 1001;
/** Notes are told in words or as events, not beside a document alone. */
const PULL = ['pull', 'hf:org/model', '--json', '--progress', 'json'];

const client = await pythonClient();
const withPython = requirePeer('python3 with huggingface_hub', client !== undefined);
const onDisks = requirePeer('root and `mount`', canMount);
const asUser = requirePeer('root, and a repository that all may read', canRunAs(USER));

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      {
        id: 'org/model',
        files: { 'config.json': '{}', 'model.safetensors': LARGE, 'adapter.safetensors': SMALL },
      },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function fetchedBytes(): number {
  return hub.requests.reduce((sum, { server: from, bytes }) => (from === 'cdn' ? sum + bytes : sum), 0);
}

interface Model {
  readonly path: string;
  readonly downloadedBytes: number;
  readonly adoptedBytes: number;
}

async function pull(environment: Readonly<Record<string, string>> = {}): Promise<Model & { stderr: string }> {
  const { exitCode, stdout, stderr } = await world.runWith(environment, ...PULL);
  expect(exitCode, stderr).toBe(0);
  const { models } = JSON.parse(stdout) as { models: [Model] };
  const [model] = models;
  expect((await readFile(join(model.path, 'model.safetensors'))).equals(LARGE)).toBe(true);
  expect((await readFile(join(model.path, 'adapter.safetensors'))).equals(SMALL)).toBe(true);
  return { ...model, stderr };
}

/** An Ollama store as `ollama pull` leaves it: blobs by digest, and a manifest that names them. */
async function ollamaStore(directory: string, ...layers: readonly Buffer[]): Promise<string> {
  const blobs = join(directory, 'blobs');
  const manifest = join(directory, 'manifests/registry.ollama.ai/library/model/latest');
  await mkdir(blobs, { recursive: true });
  await mkdir(dirname(manifest), { recursive: true });
  const described = layers.map((bytes) => ({
    mediaType: 'application/vnd.ollama.image.model',
    digest: `sha256:${sha256(bytes)}`,
    size: bytes.length,
  }));
  for (const bytes of layers) await writeFile(join(blobs, `sha256-${sha256(bytes)}`), bytes, { mode: 0o644 });
  const mediaType = 'application/vnd.docker.distribution.manifest.v2+json';
  await writeFile(manifest, JSON.stringify({ schemaVersion: 2, mediaType, layers: described }));
  return directory;
}

function layerOf(directory: string, bytes: Buffer): string {
  return join(directory, 'blobs', `sha256-${sha256(bytes)}`);
}

function blobOf(bytes: Buffer, cacheDir = world.cacheDir): string {
  const hex = sha256(bytes);
  return join(cacheDir, 'v1/blobs/sha256', hex.slice(0, 2), hex);
}

const BOTH = LARGE.length + SMALL.length;

describe('the cache of the Python client', () => {
  withPython('saves fetching what it holds, and goes on to work', async () => {
    const home = await temporaryDirectory();
    const options = { endpoint: hub.endpoint, home };
    await client?.hf(['download', 'org/model'], options);
    const before = await readFile(join(home, 'hub/models--org--model/blobs', sha256(LARGE)));
    expect(before.equals(LARGE)).toBe(true);
    hub.clearRequests();
    const model = await pull({ HF_HOME: home });
    expect(model.adoptedBytes).toBe(BOTH);
    expect(model.downloadedBytes).toBe(2);
    expect(fetchedBytes()).toBe(0);
    expect(model.stderr).toContain(`2 files were linked from the Hugging Face cache: ${join(home, 'hub')}`);
    // One inode, which nobody writes to any more.
    const theirs = await stat(join(home, 'hub/models--org--model/blobs', sha256(LARGE)));
    expect(theirs.ino).toBe((await stat(blobOf(LARGE))).ino);
    expect(theirs.mode & 0o777).toBe(0o444);

    // Theirs may fetch again over it, and be removed, without a change to ours.
    await client?.hf(['download', 'org/model', '--force-download'], options);
    await client?.hf(['cache', 'rm', 'model/org/model', '--yes'], options);
    expect(await readdir(join(home, 'hub'))).not.toContain('models--org--model');
    const verified = await world.run('verify', 'hf:org/model', '--json');
    expect(verified.exitCode, verified.stdout).toBe(0);
  });

  it.each([
    ['HF_HUB_CACHE', (place: string) => ({ HF_HUB_CACHE: place }), ''],
    ['HF_HOME', (place: string) => ({ HF_HOME: place }), 'hub'],
    ['XDG_CACHE_HOME', (place: string) => ({ XDG_CACHE_HOME: place }), 'huggingface/hub'],
  ])('is where %s says', async (_name, environment, below) => {
    const place = await temporaryDirectory();
    const blobs = join(place, below, 'models--other--name/blobs');
    await mkdir(blobs, { recursive: true });
    await writeFile(join(blobs, sha256(LARGE)), LARGE);
    expect(await pull(environment(place))).toMatchObject({ adoptedBytes: LARGE.length });
  });

  it('is in the home directory by default, and may hold links to blobs of all models', async () => {
    const cache = join(world.directory, '.cache/huggingface/hub');
    const shared = join(cache, 'blobs/ab/abcdef');
    const blob = join(cache, 'models--org--model/blobs', sha256(LARGE));
    await mkdir(dirname(shared), { recursive: true });
    await mkdir(dirname(blob), { recursive: true });
    await writeFile(shared, LARGE);
    await symlink('../../blobs/ab/abcdef', blob);
    expect(await pull()).toMatchObject({ adoptedBytes: LARGE.length });
    const stored = await lstat(blobOf(LARGE));
    expect(stored.isFile()).toBe(true);
    expect(stored.ino).toBe((await stat(shared)).ino);
  });
});

describe('an Ollama store', () => {
  it('is where OLLAMA_MODELS says, and in the home directory by default', async () => {
    const elsewhere = await ollamaStore(await temporaryDirectory(), LARGE);
    const first = await pull({ OLLAMA_MODELS: elsewhere });
    expect(first).toMatchObject({ adoptedBytes: LARGE.length, downloadedBytes: SMALL.length + 2 });
    expect(first.stderr).toContain(`1 file was linked from the Ollama store: ${elsewhere}`);

    await rm(world.cacheDir, { recursive: true });
    await ollamaStore(join(world.directory, '.ollama/models'), LARGE, SMALL);
    expect(await pull()).toMatchObject({ adoptedBytes: BOTH, downloadedBytes: 2 });
  });

  it('saves the rest of a file that was fetched in part', async () => {
    hub.addFault({ server: 'cdn', matches: new RegExp(sha256(LARGE)), kind: { stall: MiB } });
    const broken = world.start({}, 'pull', 'hf:org/model', '--connections', '1');
    await hub.stuck();
    broken.signal('SIGINT');
    expect((await broken.done).exitCode).toBe(130);
    hub.clearFaults();
    expect(await readdir(join(world.cacheDir, 'v1/partials'))).toHaveLength(1);
    await ollamaStore(join(world.directory, '.ollama/models'), LARGE, SMALL);
    expect(await pull()).toMatchObject({ adoptedBytes: LARGE.length });
    expect(await readdir(join(world.cacheDir, 'v1/partials'))).toEqual([]);
  });

  it('is hashed: what is not what its name says is told and fetched', async () => {
    const wrong = Buffer.from(LARGE);
    wrong[5_000_000] = 0;
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE, SMALL);
    await writeFile(layerOf(store, LARGE), wrong);
    await writeFile(layerOf(store, SMALL), SMALL.subarray(1));
    const model = await pull();
    expect(model).toMatchObject({ adoptedBytes: 0, downloadedBytes: BOTH + 2 });
    for (const bytes of [LARGE, SMALL]) {
      expect(model.stderr).toContain(
        `Not what its name says in the Ollama store, and not used: ${layerOf(store, bytes)}`,
      );
    }
    // Theirs is left as it was.
    expect((await readFile(layerOf(store, LARGE))).equals(wrong)).toBe(true);
    expect((await stat(layerOf(store, LARGE))).mode & 0o777).toBe(0o644);
  });

  it('that is written to later damages the model, which is found and repaired', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE, SMALL);
    const { path } = await pull();
    expect((await stat(layerOf(store, LARGE))).ino).toBe((await stat(join(path, 'model.safetensors'))).ino);
    await chmod(layerOf(store, LARGE), 0o644);
    await writeFile(layerOf(store, LARGE), Buffer.alloc(LARGE.length, 'other'));
    await utimes(layerOf(store, LARGE), 1000.5, 1000.5);
    await expectRefusal(world, ['path', 'hf:org/model'], {
      code: 'INTEGRITY',
      message: /model.safetensors/,
      hint: /verify --repair/,
    });
    const repaired = await world.run('verify', '--repair', 'hf:org/model');
    expect(repaired.exitCode, repaired.stderr).toBe(0);
    expect((await readFile(join(path, 'model.safetensors'))).equals(LARGE)).toBe(true);
  });

  it('of which the store is pruned keeps its blobs', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    await pull();
    const removed = await world.run('remove', 'hf:org/model', '--prune', '--yes');
    expect(removed.exitCode, removed.stderr).toBe(0);
    expect(await lstat(blobOf(LARGE)).catch(() => undefined)).toBeUndefined();
    expect((await readFile(layerOf(store, LARGE))).equals(LARGE)).toBe(true);
  });
});

describe('what is never linked', () => {
  it('is what fewer may read than the umask says', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    await chmod(layerOf(store, LARGE), 0o600);
    const { stderr } = await pull();
    expect(stderr).toContain('1 file was copied from the Ollama store');
    expect((await stat(layerOf(store, LARGE))).mode & 0o777).toBe(0o600);
    expect((await stat(blobOf(LARGE))).mode & 0o777).toBe(0o444);
  });

  asUser('is what belongs to another user', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    await chmod(world.directory, 0o777);
    const run = await world.start({ uid: USER }, ...PULL).done;
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stderr).toContain('1 file was copied from the Ollama store');
    expect(JSON.parse(run.stdout)).toMatchObject({ models: [{ adoptedBytes: LARGE.length }] });
    const theirs = await stat(layerOf(store, LARGE));
    expect(theirs).toMatchObject({ uid: 0, nlink: 1 });
    expect(theirs.mode & 0o777).toBe(0o644);
    expect((await stat(blobOf(LARGE))).uid).toBe(USER);
  });

  asUser('and what may not be read is fetched', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    await chmod(layerOf(store, LARGE), 0o600);
    await chmod(world.directory, 0o777);
    const run = await world.start({ uid: USER }, ...PULL).done;
    expect(run.exitCode, run.stderr).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({ models: [{ adoptedBytes: 0 }] });
  });

  onDisks('is what lies on another file system', async () => {
    const { directory } = await smallDisk('size=40M');
    await ollamaStore(join(directory, 'models'), LARGE);
    const { stderr } = await pull({ OLLAMA_MODELS: join(directory, 'models') });
    expect(stderr).toContain('1 file was copied from the Ollama store');
  });
});

describe('the room that is looked for first', () => {
  onDisks('leaves out what is linked, and counts what is copied', async () => {
    // Enough for the rest and the reserve, not for the large file.
    const { directory } = await smallDisk('size=40M');
    const cacheDir = join(directory, 'cache');
    const store = await ollamaStore(join(directory, 'models'), LARGE);
    await writeFile(join(directory, 'ballast'), Buffer.alloc(12 * MiB));
    const args = ['pull', 'hf:org/model', '--cache-dir', cacheDir];
    const away = await ollamaStore(join(world.directory, 'away'), LARGE);
    const copied = await world.runWith({ OLLAMA_MODELS: away }, ...args);
    expect(copied.exitCode).toBe(7);
    expect(copied.stderr).toContain('Not enough space for the cache');
    expect(fetchedBytes()).toBe(0);
    const linked = await world.runWith({ OLLAMA_MODELS: store }, ...args);
    expect(linked.exitCode, linked.stderr).toBe(0);
    expect((await stat(blobOf(LARGE, cacheDir))).ino).toBe((await stat(layerOf(store, LARGE))).ino);
  });
});

describe('adopting', () => {
  it('is planned by --dry-run, without a change', async () => {
    const store = await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    const run = await world.run('pull', 'hf:org/model', '--dry-run', '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({
      models: [{ adoptBytes: LARGE.length, downloadBytes: SMALL.length + 2 }],
    });
    const { stdout } = await world.run('pull', 'hf:org/model', '--dry-run');
    expect(stdout).toContain('9.0 MiB on this machine');
    expect(stdout).toMatch(/adopt {3}model.safetensors {2}9.0 MiB/);
    expect(await stat(layerOf(store, LARGE))).toMatchObject({ nlink: 1 });
  });

  it.each([
    ['the environment', { MODELDL_ADOPT: 'never' }, []],
    ['--force', {}, ['--force']],
  ])('is forgone by %s', async (_name, environment: Record<string, string>, options) => {
    await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    const run = await world.runWith(environment, 'pull', 'hf:org/model', '--json', ...options);
    expect(JSON.parse(run.stdout)).toMatchObject({
      models: [{ adoptedBytes: 0, downloadedBytes: BOTH + 2 }],
    });
  });

  it('is forgone by the configuration, and a word that means nothing is refused', async () => {
    await ollamaStore(join(world.directory, '.ollama/models'), LARGE);
    expect((await world.run('config', 'set', 'adopt', 'never')).exitCode).toBe(0);
    expect(await pull()).toMatchObject({ adoptedBytes: 0 });
    const { exitCode, stderr } = await world.runWith({ MODELDL_ADOPT: 'maybe' }, 'list');
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Wrong value for `MODELDL_ADOPT`: maybe');
  });
});

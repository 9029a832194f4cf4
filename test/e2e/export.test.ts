/** Exports as other programs meet them: directories, archives, and caches of Hugging Face's own client. */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { createModeldl } from '../../src/index.js';
import { gguf } from '../helpers/gguf.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { canMount, smallDisk, withReadOnly } from '../helpers/mounts.js';
import { ollamaStoreReader } from '../helpers/ollama-store.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { pythonClient } from '../helpers/python-client.js';
import { expectRefusal, rejected } from '../helpers/refused.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const client = await pythonClient();
const withPython = requirePeer("Hugging Face's Python client", client !== undefined);
const readStore = await ollamaStoreReader();
const withOllamaCode = requirePeer("Go, with the modules of Ollama's code", readStore !== undefined);
const withTar = requirePeer('tar', hasProgram('tar'));
const withMounts = requirePeer('root, and mounts', canMount);

const FIXED = 315_532_800;
const WEIGHTS = Buffer.alloc(300_000, 7);
const FILES = {
  'config.json': '{"model_type":"bert"}',
  'README.md': '---\nlicense: apache-2.0\n---\n',
  'onnx/model.onnx': 'graph',
  'model.safetensors': { content: WEIGHTS, lfs: true },
};

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/model', files: FILES, license: 'apache-2.0' },
      { id: 'org/other', files: { 'config.json': '{}' } },
      { id: 'org/claiming', files: { 'config.json': '{}', '.modeldl.json': '{"reference":"x","files":[]}' } },
      { id: 'OpenVINO/Chat-int8-ov', files: { 'config.json': '{}', 'openvino_model.xml': '<net/>' } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});
afterEach(async () => {
  await world.remove();
  await hub.close();
});

async function put(path: string, bytes: string | Uint8Array): Promise<void> {
  const file = join(world.directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, bytes);
}

async function exported(...args: readonly string[]): Promise<Run> {
  const run = await world.run('export', ...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return run;
}

interface Seen {
  readonly path: string;
  readonly mode: string;
  readonly time: number;
  readonly content: string;
}

/** Everything below a directory, itself included as `.`, with what an image layer keeps of it. */
async function seen(directory: string, ...without: readonly string[]): Promise<readonly Seen[]> {
  const names = ['.', ...(await readdir(directory, { recursive: true }))].filter(
    (name) => !without.some((other) => name.endsWith(other)),
  );
  const all = await Promise.all(
    names.map(async (path): Promise<Seen> => {
      const file = join(directory, path);
      const found = await lstat(file);
      const content = found.isDirectory()
        ? 'directory'
        : found.isSymbolicLink()
          ? `-> ${await readlink(file)}`
          : createHash('sha256')
              .update(await readFile(file))
              .digest('hex');
      return { path, mode: (found.mode & 0o777).toString(8), time: found.mtimeMs / 1000, content };
    }),
  );
  return all.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function at(...path: readonly string[]): string {
  return join(world.directory, ...path);
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('a plain directory', () => {
  it('has the files with fixed times and modes, and where they come from', async () => {
    const { stdout } = await exported('org/model', 'out');
    expect(stdout).toBe(at('out'));
    const found = await seen(at('out'));
    expect(found.map(({ path, mode }) => [path, mode])).toEqual([
      ['.', '755'],
      ['.modeldl.json', '644'],
      ['README.md', '644'],
      ['config.json', '644'],
      ['model.safetensors', '644'],
      ['onnx', '755'],
      ['onnx/model.onnx', '644'],
    ]);
    expect(new Set(found.map(({ time }) => time))).toEqual(new Set([FIXED]));
    const manifest: unknown = JSON.parse(await readFile(at('out/.modeldl.json'), 'utf8'));
    const reference = expect.stringMatching(/^hf:org\/model@[0-9a-f]{40}$/) as unknown;
    expect(manifest).toMatchObject({ reference, license: 'apache-2.0' });
    // A copy, not a link: who writes to it writes to nothing else.
    expect((await stat(at('out/model.safetensors'))).nlink).toBe(1);
  });

  it('is the same whatever the umask, the time and the cache are', async () => {
    await exported('org/model', 'one');
    const under = ['sh', '-c', 'umask 077 && exec "$@"', 'sh'];
    const environment = { MODELDL_CACHE_DIR: at('cache2') };
    const second = await world.start({ under, environment }, 'export', 'org/model', 'two').done;
    expect(second.exitCode, second.stderr).toBe(0);
    expect(await seen(at('two'))).toEqual(await seen(at('one')));
    const epoch = { SOURCE_DATE_EPOCH: '1700000000' };
    const third = await world.runWith(epoch, 'export', 'org/model', 'three');
    expect(third.exitCode, third.stderr).toBe(0);
    expect(new Set((await seen(at('three'))).map(({ time }) => time))).toEqual(new Set([1_700_000_000]));
  });

  it('is brought up to date, and what others put beside the model stays', async () => {
    await exported('org/model', 'out');
    await put('out/mine.txt', 'mine');
    await put('out/config.json', 'changed');
    const { stderr } = await exported('org/model', 'out');
    expect(stderr).toContain('exported');
    expect(await readFile(at('out/config.json'), 'utf8')).toBe(FILES['config.json']);
    await exported('org/other', 'out');
    expect((await readdir(at('out'))).sort()).toEqual(['.modeldl.json', 'config.json', 'mine.txt']);
  });

  it('of several models has a directory for each, and of one that was there before', async () => {
    const { stdout } = await exported('org/model', 'org/other', 'out', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      target: at('out'),
      layout: 'plain',
      models: [{ name: 'org/model', license: 'apache-2.0' }, { name: 'org/other' }],
      archive: null,
    });
    expect(await readdir(at('out/org'))).toEqual(['model', 'other']);
    await rm(at('out/org/other'), { recursive: true });
    await exported('org/model', 'org/other', 'out');
    expect(await readdir(at('out/org/other'))).toEqual(['.modeldl.json', 'config.json']);
  });

  it('tells nothing of this machine', async () => {
    await put('mine.onnx', 'graph');
    await exported('./mine.onnx', 'out');
    expect(await readFile(at('out/.modeldl.json'), 'utf8')).not.toContain(world.directory);
  });
});

describe('an archive', () => {
  withTar('is one and the same on disk and on stdout, and what a directory is', async () => {
    await exported('org/model', 'out');
    await exported('org/model', 'one.tar');
    await exported('org/model', 'two.tar', '--json');
    const one = await readFile(at('one.tar'));
    expect(digestOf(await readFile(at('two.tar')))).toBe(digestOf(one));
    const command = `"$0" "$@" | cat > three.tar`;
    const piped = await world.start({ under: ['sh', '-c', command] }, 'export', 'org/model', '-').done;
    expect(piped.exitCode, piped.stderr).toBe(0);
    expect(digestOf(await readFile(at('three.tar')))).toBe(digestOf(one));
    await mkdir(at('unpacked'));
    execFileSync('tar', ['xpf', at('one.tar'), '-C', at('unpacked')]);
    expect((await seen(at('unpacked'))).slice(1)).toEqual((await seen(at('out'))).slice(1));
    expect((await readdir(world.directory)).filter((name) => name.startsWith('.modeldl-'))).toEqual([]);
  });

  it('says its digest', async () => {
    const { stdout } = await exported('org/model', 'one.tar', '--json');
    const bytes = await readFile(at('one.tar'));
    expect(JSON.parse(stdout)).toMatchObject({
      target: at('one.tar'),
      archive: { bytes: bytes.length, sha256: digestOf(bytes) },
    });
  });

  it('whose reader goes away is told as cut off', async () => {
    await put('large.onnx', Buffer.alloc(4 * 1024 * 1024));
    const run = await world.start({ closed: 'stdout' }, 'export', './large.onnx', '-').done;
    expect(run.stderr).toContain('The archive on stdout is cut off: its reader went away');
    expect(run.exitCode).toBe(EXIT_CODES.DISK);
  });

  it('is replaced only when asked', async () => {
    await put('one.tar', 'mine');
    await expectRefusal(world, ['export', 'org/other', 'one.tar'], {
      code: 'USAGE',
      message: `The archive exists: ${at('one.tar')}`,
      hint: /--overwrite/,
    });
    expect(await readFile(at('one.tar'), 'utf8')).toBe('mine');
    await exported('org/other', 'one.tar', '--overwrite');
    expect((await stat(at('one.tar'))).size).toBeGreaterThan(1024);
  });
});

describe('a plan', () => {
  it('says files and bytes, fetches and writes nothing', async () => {
    const { stdout } = await exported('org/model', 'out', '--dry-run', '--json');
    const bytes = Object.values(FILES).reduce(
      (sum, file) => sum + (typeof file === 'string' ? file.length : file.content.length),
      0,
    );
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      target: at('out'),
      files: 4,
      bytes,
      downloadBytes: bytes,
      models: [{ requested: 'org/model', bytes }],
    });
    expect(await readdir(world.directory)).not.toContain('out');
    expect((await world.run('list', '-q')).stdout).toBe('');
    const text = await exported('org/model', 'x.tar', '--dry-run');
    expect(text.stdout).toContain(
      `${at('x.tar')}: 4 files, 293 KiB, in the layout plain, 293 KiB to fetch first`,
    );
  });
});

describe('the cache of Hugging Face', () => {
  function offline(home: string) {
    return { endpoint: 'http://127.0.0.1:9', home };
  }
  /** `snapshot_download` with nothing but what is in the cache. */
  async function found(cache: string, call: string): Promise<unknown> {
    const script = `
import os, json
os.environ["HF_HUB_OFFLINE"] = "1"
from huggingface_hub import snapshot_download, hf_hub_download
path = ${call}
print(json.dumps({f: os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(path) for f in fs}))`;
    return client?.script(script, offline(cache));
  }

  withPython('is what the real client finds, offline, by branch and by commit', async () => {
    const { stdout } = await exported(
      'org/model',
      'org/other',
      'OpenVINO/Chat-int8-ov',
      'hub',
      '--layout',
      'hf-cache',
      '--json',
    );
    const document = JSON.parse(stdout) as { models: { name: string; reference: string }[] };
    expect(document.models.map(({ name }) => name)).toEqual([
      'org/model',
      'org/other',
      'OpenVINO/Chat-int8-ov',
    ]);
    const cache = JSON.stringify(at('hub'));
    const sizes = {
      'config.json': FILES['config.json'].length,
      'README.md': FILES['README.md'].length,
      'model.onnx': 5,
      'model.safetensors': WEIGHTS.length,
    };
    const main = `snapshot_download("org/model", cache_dir=${cache}, local_files_only=True)`;
    expect(await found(at('home'), main)).toEqual(sizes);
    const [, commit = ''] = document.models[0]?.reference.split('@') ?? [];
    const pinned = `snapshot_download("org/model", revision="${commit}", cache_dir=${cache})`;
    expect(await found(at('home'), pinned)).toEqual(sizes);
    const one = `os.path.dirname(hf_hub_download("OpenVINO/Chat-int8-ov", "openvino_model.xml", cache_dir=${cache}))`;
    expect(await found(at('home'), one)).toEqual({ 'config.json': 2, 'openvino_model.xml': 6 });
  });

  withPython('is listed and verified by the real client, which fetches nothing again', async () => {
    await exported('org/model', 'hub', '--layout', 'hf-cache');
    const listed = await client?.hf(['cache', 'ls', '--cache-dir', at('hub')], offline(at('home')));
    expect(listed).toContain('model/org/model');
    const online = { endpoint: hub.endpoint, home: at('home') };
    const verified = await client?.hf(['cache', 'verify', 'org/model', '--cache-dir', at('hub')], online);
    expect(verified).toMatch(/4/);
    const before = hub.requests.filter(({ server }) => server === 'cdn').length;
    await client?.hf(['download', 'org/model', '--cache-dir', at('hub')], online);
    expect(hub.requests.filter(({ server }) => server === 'cdn')).toHaveLength(before);
  });

  withPython('that the client made gains a model, and keeps what it has', async () => {
    const online = { endpoint: hub.endpoint, home: at('home') };
    await client?.hf(['download', 'org/model', 'config.json', '--cache-dir', at('hub')], online);
    const before = await seen(at('hub'));
    await exported('org/model', 'org/other', 'hub', '--layout', 'hf-cache');
    const after = await seen(at('hub'));
    const kept = after.filter(({ path }) =>
      before.some((one) => one.path === path && one.content !== 'directory'),
    );
    expect(kept).toEqual(before.filter(({ content }) => content !== 'directory'));
    const call = `snapshot_download("org/model", cache_dir=${JSON.stringify(at('hub'))}, local_files_only=True)`;
    expect(Object.keys((await found(at('home'), call)) as object)).toHaveLength(4);
  });

  withPython('has a part of a model where it is in the repository', async () => {
    await exported('hf:org/model//onnx', 'hub', '--layout', 'hf-cache');
    const call = `os.path.dirname(hf_hub_download("org/model", "onnx/model.onnx", cache_dir=${JSON.stringify(at('hub'))}))`;
    expect(await found(at('home'), call)).toEqual({ 'model.onnx': 5 });
  });

  withTar('in an archive is what it is in a directory', async () => {
    await exported('org/model', 'hub', '--layout', 'hf-cache');
    await exported('org/model', 'hub.tar', '--layout', 'hf-cache');
    await mkdir(at('unpacked'));
    execFileSync('tar', ['xpf', at('hub.tar'), '-C', at('unpacked')]);
    expect((await seen(at('unpacked'))).slice(1)).toEqual((await seen(at('hub'))).slice(1));
  });

  it('leaves the branch of a model to what it is, when a revision is named', async () => {
    const commit = (await exported('org/model', 'hub', '--layout', 'hf-cache', '--json')).stdout;
    const [model] = (JSON.parse(commit) as { models: { reference: string }[] }).models;
    const revision = model?.reference.split('@')[1] ?? '';
    const refs = at('hub/models--org--model/refs');
    await writeFile(join(refs, 'main'), 'f'.repeat(40));
    await exported(`org/model@${revision}`, 'hub', '--layout', 'hf-cache');
    expect(await readFile(join(refs, 'main'), 'utf8')).toBe('f'.repeat(40));
    await exported('org/model', 'hub', '--layout', 'hf-cache');
    expect(await readFile(join(refs, 'main'), 'utf8')).toBe(revision);
    expect(await readdir(refs)).toEqual(['main']);
  });
});

describe('the store of Ollama', () => {
  const weights = gguf();

  withOllamaCode('is one that its own code reads', async () => {
    await put('Tiny-1B-Q4_K_M.gguf', weights);
    const { stdout } = await exported('./Tiny-1B-Q4_K_M.gguf', 'models', '--layout', 'ollama', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ models: [{ name: 'tiny-1b:q4_k_m' }] });
    await exported('./Tiny-1B-Q4_K_M.gguf', 'models', '--layout', 'ollama', '--name', 'mine');
    const listed = await readStore?.(at('models'));
    expect(listed?.map(({ Name }) => Name).sort()).toEqual(['mine:latest', 'tiny-1b:q4_k_m']);
  });

  it('gives no name away that another model has', async () => {
    await put('Tiny-1B-Q4_K_M.gguf', weights);
    await exported('./Tiny-1B-Q4_K_M.gguf', 'models', '--layout', 'ollama');
    const manifest = 'models/manifests/registry.ollama.ai/library/tiny-1b/q4_k_m';
    await put(manifest, '{"another":1}');
    await expectRefusal(world, ['export', './Tiny-1B-Q4_K_M.gguf', 'models', '--layout', 'ollama'], {
      code: 'USAGE',
      message: /Something else is in the place of manifests/,
      hint: /--overwrite/,
    });
    expect(await readFile(at(manifest), 'utf8')).toBe('{"another":1}');
  });
});

describe('the repository of a model server', () => {
  beforeEach(async () => {
    const python = await writeStandInOpenvino(at('python'));
    const config = { toolchains: { interpreters: { openvino: python } } };
    await put('modeldl.config.json', '{}');
    await put('own.json', JSON.stringify(config));
    await put('model.onnx', 'bytes that only a real toolchain would look at');
  });

  it.each(['ovms', 'model-download'])('%s is what convert --layout wrote', async (layout) => {
    const converting = ['--config', 'own.json', 'convert', './model.onnx', '--layout', layout, '-o', 'made'];
    const made = await world.run(...converting, '--name', 'det', '--json');
    expect(made.exitCode, made.stderr).toBe(0);
    const [{ reference }] = (JSON.parse(made.stdout) as { models: [{ reference: string }] }).models;
    await exported(reference, 'later', '--layout', layout, '--name', 'det');
    const contents = async (directory: string) =>
      (await seen(directory, '.modeldl.json')).map(({ path, content }) => [path, content]);
    expect(await contents(at('later'))).toEqual(await contents(at('made')));
    expect(new Set((await seen(at('later'))).map(({ time }) => time))).toEqual(new Set([FIXED]));
    await exported(reference, 'later.tar', '--layout', layout, '--name', 'det');
    await mkdir(at('unpacked'));
    execFileSync('tar', ['xpf', at('later.tar'), '-C', at('unpacked')]);
    expect((await seen(at('unpacked'))).slice(1)).toEqual((await seen(at('later'))).slice(1));
  });

  it('gains a model beside those that are served', async () => {
    const made = await world.run('--config', 'own.json', 'convert', './model.onnx', '--json');
    const [{ reference }] = (JSON.parse(made.stdout) as { models: [{ reference: string }] }).models;
    await put('models/config.json', '{"model_config_list":[{"config":{"name":"a","base_path":"/a"}}]}');
    const { stdout } = await exported(reference, 'models', '--layout', 'ovms', '--dry-run', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ downloadBytes: 0, models: [{ reference }] });
    await exported(reference, 'models', '--layout', 'ovms', '--name', 'b');
    const config: unknown = JSON.parse(await readFile(at('models/config.json'), 'utf8'));
    expect(config).toEqual({
      model_config_list: [
        { config: { name: 'a', base_path: '/a' } },
        { config: { name: 'b', base_path: 'b' } },
      ],
    });
  });

  it('takes no model that is not converted, and says how it becomes one', async () => {
    await expectRefusal(world, ['export', './model.onnx', 'models', '--layout', 'ovms'], {
      code: 'UNSUPPORTED',
      message: /takes OpenVINO IR, which this is not: .*model\.onnx/,
      hint: /modeldl convert .*model\.onnx/,
    });
    expect(await readdir(world.directory)).not.toContain('models');
  });
});

describe('what cannot be exported', () => {
  it.each<readonly [string, readonly string[], string | RegExp, string | RegExp]>([
    ['no target', ['org/other'], /Missing a target/, /modeldl export/],
    ['a target without a name', ['org/other', ''], /The target has no name/, /name a directory/],
    ['a target in the cache', ['org/other', 'cache/x'], /lies in the cache/, /outside/],
    ['a target that holds the cache', ['org/other', '.'], /holds the cache/, /outside/],
    ['a directory of others', ['org/other', 'full'], /files that modeldl did not write/, /--overwrite/],
    ['a file as a directory', ['org/other', 'full/mine'], /not a directory/, /choose another/],
    ['another kind of archive', ['org/other', 'x.zip'], /\.tar or \.tar\.zst: x\.zip/, /gzip/],
    ['an archive in no directory', ['org/other', 'no/x.tar'], /No such directory/, /make it/],
    ['an unknown layout', ['org/other', 'x', '--layout', 'oci'], /Unknown layout: oci/, /plain, hf-cache/],
    ['a name in a plain layout', ['org/other', 'x', '--name', 'y'], /--name/, /hf-cache/],
    [
      'a name that is none',
      ['org/other', 'x', '--layout', 'hf-cache', '--name', '../y'],
      /\.\.\/y/,
      /org\/model/,
    ],
    [
      'a model that claims to be of modeldl',
      ['org/claiming', 'x.tar'],
      /claiming@.* has a file \.modeldl\.json/,
      /--exclude .*--layout hf-cache/,
    ],
    ['the same model twice', ['org/other', 'org/other', 'x'], /Named twice: org\/other/, /once/],
    [
      'two that nest',
      ['org/model', 'hf:org/model//onnx', 'x'],
      /share the directory org\/model/,
      /a command each/,
    ],
    ['a target with --to', ['org/other', 'x', '--to', 'ollama'], /takes one reference/, /leave out/],
    ['a layout with --to', ['org/other', '--layout', 'plain', '--to', 'ollama'], /--layout/, /leave out/],
  ])('%s is refused, and leaves nothing', async (_what, args, message, hint) => {
    await put('full/mine', 'mine');
    await expectRefusal(world, ['export', ...args], { code: 'USAGE', message, hint });
    expect(
      (await readdir(world.directory)).filter((name) => !['cache', 'full', '.cache'].includes(name)),
    ).toEqual([]);
    expect(await readdir(at('full'))).toEqual(['mine']);
  });

  it('to stdout with --json, since stdout can have one', async () => {
    const run = await world.run('export', 'org/other', '-', '--json');
    expect(run.exitCode).toBe(EXIT_CODES.USAGE);
    expect(JSON.parse(run.stdout)).toMatchObject({ ok: false, error: { code: 'USAGE' } });
  });

  it('with a wrong SOURCE_DATE_EPOCH', async () => {
    await expectRefusal(world, ['export', 'org/other', 'x'], {
      code: 'CONFIG',
      message: /SOURCE_DATE_EPOCH.*: yesterday/,
      hint: /whole number/,
      environment: { SOURCE_DATE_EPOCH: 'yesterday' },
    });
  });

  it.each(['out', 'out.tar'])('to the end, since it is interrupted: %s', async (target) => {
    await put('large.onnx', Buffer.alloc(16 * 1024 * 1024));
    const pulled = await world.run('pull', './large.onnx');
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    const controller = new AbortController();
    const modeldl = await createModeldl({
      cwd: world.directory,
      home: world.directory,
      environment: {},
      cacheDir: world.cacheDir,
      signal: controller.signal,
      emit: ({ type }) => {
        if (type === 'file-start') controller.abort();
      },
    });
    try {
      const error = await rejected(modeldl.exportTree(['./large.onnx'], target));
      expect(error.code).toBe('INTERRUPTED');
    } finally {
      await modeldl.close();
    }
    expect((await readdir(world.directory)).sort()).toEqual(['cache', 'large.onnx']);
  });

  withMounts('to a disk that is too small, told before and met on the way', async () => {
    const disk = await smallDisk('size=256k');
    for (const [target, ...flags] of [
      ['out'],
      ['out.tar'],
      ['out', '--no-space-check'],
      ['out.tar', '--no-space-check'],
    ] as const) {
      await expectRefusal(world, ['export', 'org/model', join(disk.directory, target), ...flags], {
        code: 'DISK',
        message: flags.length === 0 ? /Not enough space/ : /no space left/,
        hint: flags.length === 0 ? /free space there/ : /nothing was left there/,
      });
      expect(await readdir(disk.directory)).toEqual([]);
    }
  });

  withMounts('to a directory that may only be read', async () => {
    const pulled = await world.run('pull', 'org/other');
    expect(pulled.exitCode, pulled.stderr).toBe(0);
    const place = await mkdtemp(join(world.directory, 'place-'));
    for (const target of ['out', 'out.tar']) {
      const run = await world.start(
        { under: withReadOnly(place) },
        'export',
        'org/other',
        join(place, target),
      ).done;
      expect(run.stderr).toMatch(/error: Cannot write .*read-only/);
      expect(run.stderr).toMatch(/hint: choose a /);
      expect(run.exitCode).toBe(EXIT_CODES.DISK);
    }
    expect(await readdir(place)).toEqual([]);
  });
});

/** Models of Open Model Zoo through the built program, from a local one. */
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startZoo, NEWEST, type Zoo } from '../helpers/omz.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { selfSigned } from '../transfer/certificate.js';
import { tar, zip } from '../transfer/make-archive.js';

const FACE = 'intel/face-detection-retail-0004';
const XML = Buffer.from('<net name="face" version="11"/>');
const WEIGHTS = Buffer.alloc(200_000, 'weights');
const files = Object.fromEntries(
  ['FP16', 'FP32'].flatMap((precision) => [
    [`${precision}/face-detection-retail-0004.xml`, XML],
    [`${precision}/face-detection-retail-0004.bin`, Buffer.concat([WEIGHTS, Buffer.from(precision)])],
  ]),
);
/** Line ends as on Windows, which Python reads as its own. */
const NET = 'import torch\r\nfrom .loss import Loss\r\n';
const yolox = {
  framework: 'pytorch',
  files: {
    'model/net.py': Buffer.from(NET),
    'model/weights.tar.gz': gzipSync(tar([{ name: './weights.pth', content: WEIGHTS }])),
    'package.whl': zip([{ name: 'package/__init__.py', content: Buffer.from('import wget\n') }]),
  },
  steps: `  - $type: unpack_archive
    file: model/weights.tar.gz
    format: gztar
  - $type: unpack_archive
    file: package.whl
    format: zip
  - $type: regex_replace
    file: model/net.py
    pattern: '(?m)^from \\.loss import (\\w+)$'
    replacement: '# \\g<0>\\n\\1 = None'
  - $type: regex_replace
    file: package/__init__.py
    pattern: import wget
    replacement: '# \\g<0>'
`,
};
const LOST = {
  files: { 'net.py': Buffer.from('import torch\n') },
  steps: `  - $type: regex_replace
    file: net.py
    pattern: import wget
    replacement: ''
`,
};

const MODELS = { [FACE]: { files }, 'public/yolox-tiny': yolox, 'public/aclnet': LOST };
const SAMPLE = '{"output_postproc": [{"converter": "detection_output"}]}';

let zoo: Zoo;
let world: World;

beforeEach(async () => {
  zoo = await startZoo({ models: MODELS, samples: { 'face.json': Buffer.from(SAMPLE) } });
  world = await createWorld();
  await configure({});
});

/** The user's configuration: settings of the hub beside the endpoint, and others. */
async function configure(
  settings: Readonly<Record<string, string>>,
  others: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  const hubs = { omz: { endpoint: zoo.endpoint, ...settings } };
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs, ...others }));
}
afterEach(async () => {
  await world.remove();
  await zoo.close();
});

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--max-wait', '1ms');
}

async function pulled(...args: readonly string[]): Promise<string> {
  const run = await pull(...args);
  expect(run.exitCode, run.stderr).toBe(0);
  return run.stdout;
}

describe('models of Open Model Zoo', () => {
  it('are fetched by precision, and without a request once they are stored', async () => {
    const half = await pulled('omz:face-detection-retail-0004//FP16');
    expect((await readdir(half)).sort()).toEqual([
      'face-detection-retail-0004.bin',
      'face-detection-retail-0004.xml',
    ]);
    expect(zoo.fetched().every((path) => path.startsWith(`${FACE}/FP16/`))).toBe(true);
    const all = await pulled('omz:face-detection-retail-0004');
    expect((await readdir(all)).sort()).toEqual(['FP16', 'FP32']);
    expect(await readFile(join(all, 'FP32', 'face-detection-retail-0004.xml'))).toEqual(XML);
    const before = zoo.server.requests.length;
    expect(await pulled('omz:face-detection-retail-0004@2024.6.0')).toBe(all);
    expect(await pulled(`omz:face-detection-retail-0004@${NEWEST}`, '--offline')).toBe(all);
    expect(zoo.server.requests.length).toBe(before);
    expect(zoo.asked()).toHaveLength(1);
    const shown = await world.run('show', 'omz:face-detection-retail-0004', '--json');
    expect(shown.stdout).toContain('apache-2.0');
  });

  it('are as their own tool leaves them: unpacked in their folders, and edited', async () => {
    const tree = await pulled('omz:yolox-tiny');
    const net = 'import torch\n# from .loss import Loss\nLoss = None\n';
    expect(await readFile(join(tree, 'model', 'net.py'), 'utf8')).toBe(net);
    expect(await readFile(join(tree, 'model', 'weights.pth'))).toEqual(WEIGHTS);
    expect(await readFile(join(tree, 'package', '__init__.py'), 'utf8')).toBe('# import wget\n');
    expect((await readdir(tree, { recursive: true })).sort()).toEqual([
      'model',
      'model/net.py',
      'model/weights.pth',
      'package',
      'package/__init__.py',
    ]);
    expect(await world.run('verify', 'omz:yolox-tiny')).toMatchObject({ exitCode: 0 });
    // Made again, also from what the store has of it, a file is edited once.
    expect(await pulled('omz:yolox-tiny', '--force')).toBe(tree);
    expect(await readFile(join(tree, 'model', 'net.py'), 'utf8')).toBe(net);
    await chmod(join(tree, 'model', 'net.py'), 0o644);
    await writeFile(join(tree, 'model', 'net.py'), NET);
    expect(await world.run('verify', 'omz:yolox-tiny', '--repair')).toMatchObject({ exitCode: 0 });
    expect(await readFile(join(tree, 'model', 'net.py'), 'utf8')).toBe(net);
    const model = await pulled('omz:yolox-tiny//model');
    expect(await readFile(join(model, 'net.py'), 'utf8')).toBe(net);
    const part = await pulled('omz:yolox-tiny', '--include', 'model/net.py');
    expect(await readFile(join(part, 'model', 'net.py'), 'utf8')).toBe(net);
    expect(await readdir(part)).toEqual(['model']);
  });

  it.each([
    ['omz:face-detection-retail-004', 3, 'face-detection-retail-0004'],
    ['omz:face-detection-retail-0004@2021.5', 3, '2021.4.2'],
    ['omz:face-detection-retail-0004//INT8', 3, 'FP16'],
    ['omz:face-detection-0200', 3, 'face-detection-0200'],
    ['omz:intel/face-detection-0200', 2, 'omz:face-detection-0200'],
    ['omz:aclnet', 6, 'matches nothing in net.py'],
  ])('that cannot be had are told: %s', async (reference, exitCode, message) => {
    const run = await pull(reference);
    expect(run).toMatchObject({ exitCode, stdout: '' });
    expect(run.stderr).toContain(message);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('are refused with other bytes than their SHA-384 promises, and nothing is left of them', async () => {
    zoo.swap(`${FACE}/FP16/face-detection-retail-0004.bin`, Buffer.alloc(200_004, 'w3ights'));
    const run = await pull('omz:face-detection-retail-0004//FP16');
    expect(run).toMatchObject({ exitCode: 6, stdout: '' });
    expect(run.stderr).toContain('face-detection-retail-0004.bin');
    expect(run.stderr).toContain('sha384');
    expect((await world.run('list', '--quiet')).stdout).toBe('');
    await expect(stat(join(world.directory, 'cache', 'v1', 'models', 'omz'))).rejects.toThrow('ENOENT');
  });

  it('are locked in a precision as published, and brought into an empty cache by the lock alone', async () => {
    const text = 'omz:face-detection-retail-0004';
    await writeFile(
      join(world.directory, 'modeldl.config.json'),
      JSON.stringify({ models: [text, { reference: text, precision: 'fp16' }] }),
    );
    const locked = await world.run('lock');
    expect(locked.exitCode, locked.stderr).toBe(0);
    for (const flags of [['--frozen'], []]) {
      await rm(world.cacheDir, { recursive: true });
      const described = zoo.asked().length;
      const run = await world.run('sync', ...flags);
      expect(run.exitCode, run.stderr).toBe(0);
      const [all = '', half = ''] = run.stdout.split('\n');
      expect((await readdir(all)).sort()).toEqual(['FP16', 'FP32']);
      expect(await readFile(join(half, 'face-detection-retail-0004.bin'))).toEqual(
        await readFile(join(all, 'FP16', 'face-detection-retail-0004.bin')),
      );
      if (flags.length > 0) expect(zoo.asked().length).toBe(described);
    }
  });

  it('are not taken as published for another revision than the list pins', async () => {
    const other = '0123456789abcdef0123456789abcdef01234567';
    await writeFile(
      join(world.directory, 'modeldl.config.json'),
      JSON.stringify({
        models: [{ reference: `omz:face-detection-retail-0004@${NEWEST}`, precision: 'fp16' }],
      }),
    );
    expect((await world.run('lock')).exitCode).toBe(0);
    const lockFile = join(world.directory, 'modeldl.lock');
    const lock = JSON.parse(await readFile(lockFile, 'utf8')) as { models: { revision: string }[] };
    for (const model of lock.models) model.revision = other;
    await writeFile(lockFile, JSON.stringify(lock));
    const run = await world.run('sync', '--frozen');
    expect(run).toMatchObject({ exitCode: 2, stdout: '' });
    expect(run.stderr).toContain(`The lock has omz:face-detection-retail-0004@${other}`);
  });
});

describe('a model_proc of Open Model Zoo', () => {
  const RULE = {
    'face-detection-retail-0004': {
      model_proc_src: '',
      model_proc_dst: 'face.json',
      labels_src: 'labels.txt',
      inject_labels: true,
    },
  };
  async function follow(rules: unknown): Promise<string> {
    const path = join(world.directory, 'rules.json');
    await writeFile(path, JSON.stringify({ rules }));
    return path;
  }

  it('comes into a tree that was pulled before there was a rule, and is restored without network', async () => {
    const bare = await pull('omz:face-detection-retail-0004');
    expect(bare.exitCode, bare.stderr).toBe(0);
    expect(bare.stderr).toContain('without its face-detection-retail-0004.json');
    expect((await readdir(bare.stdout)).sort()).toEqual(['FP16', 'FP32']);
    const before = zoo.fetched().length;
    await writeFile(join(world.directory, 'labels.txt'), '0 background\n1 face\n');
    const src = `${zoo.samples}/face.json`;
    await configure({
      rules: await follow({
        'face-detection-retail-0004': { ...RULE['face-detection-retail-0004'], model_proc_src: src },
      }),
    });
    const tree = await pulled('omz:face-detection-retail-0004');
    expect(tree).toBe(bare.stdout);
    const file = join(tree, 'face.json');
    const text = await readFile(file, 'utf8');
    expect(JSON.parse(text)).toEqual({
      output_postproc: [{ converter: 'detection_output', labels: ['background', 'face'] }],
    });
    expect(zoo.fetched().length).toBe(before);
    await chmod(file, 0o644);
    await writeFile(file, '{}');
    const repaired = await world.run('verify', 'omz:face-detection-retail-0004', '--repair', '--offline');
    expect(repaired, repaired.stderr).toMatchObject({ exitCode: 0 });
    expect(await readFile(file, 'utf8')).toBe(text);
    const asked = zoo.server.requests.length;
    expect(await pulled('omz:face-detection-retail-0004')).toBe(tree);
    expect(zoo.server.requests.length).toBe(asked);
  });

  it('is refused with a rule that cannot be followed, and may be left out by one', async () => {
    await configure({ rules: await follow(RULE) });
    const run = await pull('omz:face-detection-retail-0004');
    expect(run).toMatchObject({ exitCode: 2, stdout: '' });
    expect(run.stderr).toContain('hubs.omz.rules');
    await configure({ rules: await follow({ 'face-detection-retail-0004': null }) });
    const without = await pull('omz:face-detection-retail-0004');
    expect(without.exitCode, without.stderr).toBe(0);
    expect(without.stderr).not.toContain('face-detection-retail-0004.json');
  });

  it('is not made by rules of a project that nobody trusts', async () => {
    await writeFile(
      join(world.directory, 'modeldl.config.json'),
      JSON.stringify({ hubs: { omz: { rules: await follow({}) } } }),
    );
    const run = await pull('omz:face-detection-retail-0004');
    expect(run).toMatchObject({ exitCode: 2, stdout: '' });
    expect(run.stderr).toContain('modeldl config trust');
  });
});

describe('an Open Model Zoo that is not as it should be', () => {
  it('with a private certificate wants that to be known', async () => {
    const certificate = await selfSigned('IP:127.0.0.1');
    await zoo.close();
    zoo = await startZoo({ models: MODELS, certificate });
    await configure({});
    const refused = await pull('omz:face-detection-retail-0004//FP16');
    expect(refused).toMatchObject({ exitCode: 5, stdout: '' });
    expect(refused.stderr).toContain('`caFile` or `SSL_CERT_FILE`');
    const caFile = join(world.directory, 'ca.pem');
    await writeFile(caFile, certificate.cert);
    await configure({}, { caFile });
    expect((await readdir(await pulled('omz:face-detection-retail-0004//FP16'))).length).toBe(2);
  });

  it.each([
    ['a page', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }, 5, 'text/html'],
    ['an error', { status: 500, body: 'oops' }, 5, 'answered 500'],
    ['a refusal', { status: 403, body: 'no' }, 4, 'refuses access'],
    ['half a description', { headers: { 'content-type': 'text/plain' }, body: 'files: [' }, 9, 'no YAML'],
  ])('and answers %s is named, and nothing is left', async (_what, route, exitCode, message) => {
    zoo.refuse(route);
    const run = await pull('omz:face-detection-retail-0004', '--json');
    expect(run.exitCode).toBe(exitCode);
    const { error } = JSON.parse(run.stdout) as { error: { message: string; url: string; hint: string } };
    expect(error.message).toContain(message);
    expect(error.message).toContain('face-detection-retail-0004');
    expect(error.hint).not.toBe('');
    expect(error.url).toMatch(/^https?:/);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('and describes other files at the same commit later is not asked, nor believed', async () => {
    const half = await pulled('omz:face-detection-retail-0004//FP16');
    zoo.refuse({ headers: { 'content-type': 'text/plain' }, body: 'files: []' });
    const whole = await pulled('omz:face-detection-retail-0004');
    expect(await readFile(join(whole, 'FP16', 'face-detection-retail-0004.xml'))).toEqual(XML);
    expect(zoo.asked()).toHaveLength(1);
    const refreshed = await pull('omz:face-detection-retail-0004', '--refresh');
    expect(refreshed).toMatchObject({ exitCode: 9, stdout: '' });
    expect(await world.run('verify')).toMatchObject({ exitCode: 0 });
    expect(await pulled('omz:face-detection-retail-0004//FP16')).toBe(half);
  });
});

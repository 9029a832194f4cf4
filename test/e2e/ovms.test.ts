/** Model repositories as the built program writes them, and conversions that are published already. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { graphOf } from '../../src/layout/graph.js';
import { parseLoras } from '../../src/layout/loras.js';
import type { ServingSettings } from '../../src/layout/settings.js';
import type { GraphTask } from '../../src/layout/tasks.js';
import { dialectOf, OVMS_VERSIONS } from '../../src/layout/versions.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusal, type Refusal } from '../helpers/refused.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

let world: World;
let hub: HfHub;
let models: string;

const LLM = {
  'config.json': '{}',
  'openvino_model.xml': '<net/>',
  'openvino_model.bin': 'weights',
  'openvino_tokenizer.xml': '<net/>',
  'openvino_detokenizer.xml': '<net/>',
};

function saying(dtype: string, quantization: object = {}): string {
  return JSON.stringify({ dtype, quantization_config: quantization });
}

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/Chat', files: { 'config.json': '{}', 'onnx/model.onnx': 'bytes', 'tokenizer.json': '{}' } },
      { id: 'org/Odd', files: { 'model.onnx': 'bytes' } },
      { id: 'org/Alone', files: { 'model.onnx': 'bytes' } },
      { id: 'OpenVINO/Chat-int8-ov', files: { ...LLM, 'openvino_config.json': saying('int8') } },
      { id: 'OpenVINO/Chat-int4-ov', files: { ...LLM, 'README.md': 'group-wise' } },
      {
        id: 'OpenVINO/Chat-int4-cw-ov',
        files: { ...LLM, 'openvino_config.json': saying('int4', { bits: 4, sym: true, group_size: -1 }) },
      },
      { id: 'OpenVINO/chat-fp16-ov', files: LLM },
      { id: 'OpenVINO/Odd-int8-ov', files: { ...LLM, 'openvino_config.json': saying('int4') } },
      {
        id: 'OpenVINO/Odd-int4-cw-ov',
        files: { ...LLM, 'openvino_config.json': saying('int4', { bits: 4, sym: false }) },
      },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  models = join(world.directory, 'models');
  const python = await writeStandInOpenvino(join(world.directory, 'python'));
  const config = { toolchains: { interpreters: { openvino: python } } };
  await writeFile(join(world.directory, 'own.json'), JSON.stringify(config));
  await writeFile(join(world.directory, 'model.onnx'), 'bytes that only a real toolchain would look at');
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function convert(...args: readonly string[]): Promise<Run> {
  return world.run('--config', 'own.json', 'convert', ...args);
}

interface Result {
  readonly reference: string;
  readonly output: string | null;
  readonly converter: string | null;
  readonly precision: string;
  readonly prebuilt: { readonly reference: string; readonly confirmed: boolean } | null;
  readonly origin: { readonly reference: string };
  readonly layout: { readonly graph: string; readonly files: string } | null;
}

async function converted(...args: readonly string[]): Promise<Result> {
  const { exitCode, stdout, stderr } = await convert(...args, '--json');
  expect(exitCode, `${stdout}${stderr}`).toBe(0);
  const [model] = (JSON.parse(stdout) as { models: readonly Result[] }).models;
  if (model === undefined) throw new Error('Expected a model');
  return model;
}

async function served(file = join(models, 'config.json')): Promise<unknown> {
  return JSON.parse(await readFile(file, 'utf8'));
}

describe('modeldl convert --layout ovms', () => {
  it('of eight processes at once loses no model, and nothing of others', async () => {
    const foreign = { config: { name: 'theirs', base_path: '/theirs', nireq: 4 } };
    await mkdir(models);
    await writeFile(join(models, 'config.json'), JSON.stringify({ model_config_list: [foreign], x: 1 }));
    const names = Array.from({ length: 8 }, (_value, at) => `model${at}`);
    const ended = await Promise.all(
      names.map((name) => convert('./model.onnx', '--layout', 'ovms', '-o', 'models', '--name', name)),
    );
    for (const [at, { exitCode, stdout, stderr }] of ended.entries()) {
      expect(exitCode, stderr).toBe(0);
      expect(stdout).toBe(join(models, names[at] ?? ''));
    }
    const { model_config_list: list, x } = (await served()) as { model_config_list: unknown[]; x: number };
    expect([list[0], x]).toEqual([foreign, 1]);
    expect(list.slice(1)).toHaveLength(names.length);
    expect(list).toEqual(
      expect.arrayContaining(names.map((name) => ({ config: { name, base_path: name } }))),
    );
    for (const name of names) {
      const version = join(models, name, '1');
      expect((await readdir(version)).sort()).toEqual(['.modeldl.json', 'model.bin', 'model.xml']);
    }
    expect((await readdir(models)).sort()).toEqual(['config.json', ...names]);
  });

  it('shows what it would write', async () => {
    const { exitCode, stdout, stderr } = await convert(
      ...['./model.onnx', '--layout', 'ovms', '-o', 'models', '--name', 'det', '--dry-run'],
    );
    expect(exitCode, stderr).toBe(0);
    expect(stdout).toContain('  serve      det as plain, OVMS 2026.3\n');
    expect(stdout).toContain(
      `  write      ${join(models, 'det/1')}\n  write      ${join(models, 'config.json')}`,
    );
    expect(await readdir(world.directory)).not.toContain('models');
  });

  it.each<readonly [string, readonly string[], Omit<Refusal, 'code'>]>([
    ['no directory', ['--layout', 'ovms'], { message: /--layout ovms/, hint: /--output/ }],
    ['a name without one', ['--name', 'x'], { message: /--name/, hint: /--layout ovms/ }],
    [
      'a name that leads out',
      ['--layout', 'ovms', '-o', 'models', '--name', '../out'],
      { message: /"\.\.\/out"/, hint: /--name/ },
    ],
    [
      'a misspelt setting',
      ['--layout', 'ovms', '-o', 'models', '--set', 'cache_sise=1'],
      { message: /cache_sise/, hint: /--set cache_size=/ },
    ],
    [
      'a setting without a layout',
      ['--set', 'cache_size=1'],
      { message: /cache_size/, hint: /--layout ovms -o/ },
    ],
  ])('refuses %s, and leaves nothing', async (_what, flags, refusal) => {
    await expectRefusal(world, ['--config', 'own.json', 'convert', './model.onnx', ...flags], {
      code: 'USAGE',
      ...refusal,
    });
    expect(await readdir(world.directory)).not.toContain('models');
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('refuses a configuration that it cannot read, and leaves it', async () => {
    await mkdir(models);
    await writeFile(join(models, 'config.json'), '{"model_config_list": [');
    const args = ['--config', 'own.json', 'convert', './model.onnx', '--layout', 'ovms', '-o', 'models'];
    await expectRefusal(world, args, {
      code: 'CONFIG',
      message: join(models, 'config.json'),
      hint: /correct it or move it away/,
    });
    expect(await readdir(models)).toEqual(['config.json']);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });
});

describe('a published conversion', () => {
  const NOTE = 'hf:OpenVINO/Chat-int8-ov is published: `--prebuilt` takes it instead of converting';
  const asked = (): readonly string[] =>
    hub.requests.filter(({ url }) => url.includes('/api/models/OpenVINO/')).map(({ url }) => url);

  it('is told of by one request, once, and not of a conversion that is stored', async () => {
    const first = await convert('org/Chat');
    expect([first.exitCode, first.stderr]).toEqual([0, expect.stringContaining(NOTE)]);
    expect(asked()).toHaveLength(1);
    const second = await convert('org/Chat');
    expect([second.exitCode, second.stderr]).toEqual([0, expect.not.stringContaining('OpenVINO/')]);
    expect(asked()).toHaveLength(1);
  });

  it.each([
    ['there is none', 'org/Alone', []],
    ['nobody wants to know', 'org/Chat', ['--no-prebuilt']],
  ])('is not told of where %s', async (_what, reference, flags) => {
    const { exitCode, stderr } = await convert(reference, ...flags);
    expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining('is published')]);
    expect(asked()).toHaveLength(flags.length === 0 ? 1 : 0);
  });

  it('is no reason to fail when the hub does not tell, nor to ask it offline', async () => {
    hub.addFault({ matches: /OpenVINO/, kind: { reset: true } });
    const { exitCode, stderr } = await convert('org/Chat');
    expect(exitCode, stderr).toBe(0);
    hub.clearRequests();
    const offline = await convert('org/Chat', '--precision', 'fp16', '--offline');
    expect(offline.exitCode, offline.stderr).toBe(0);
    expect(hub.requests).toEqual([]);
  });

  it('is taken without a toolchain, and the result says where it comes from', async () => {
    const model = await converted('org/Chat', '--prebuilt');
    const reference = `hf:OpenVINO/Chat-int8-ov@${hub.commitOf('OpenVINO/Chat-int8-ov')}`;
    expect(model).toMatchObject({
      reference,
      origin: { reference: 'hf:org/Chat' },
      converter: null,
      precision: 'int8',
      prebuilt: { reference, confirmed: true },
    });
    expect(hub.requests.filter(({ url }) => url.includes('org/Chat'))).toEqual([]);
    hub.clearRequests();
    expect((await converted('org/Chat', '--prebuilt', '--offline')).reference).toBe(reference);
    expect(hub.requests).toEqual([]);
  });

  it.each([
    ['by channel for the NPU', ['--precision', 'int4', '--device', 'NPU'], 'OpenVINO/Chat-int4-cw-ov', true],
    ['by group for others', ['--precision', 'int4'], 'OpenVINO/Chat-int4-ov', false],
    ['by an older name', ['--precision', 'fp16'], 'OpenVINO/chat-fp16-ov', false],
  ])('is the one %s', async (_what, flags, id, confirmed) => {
    const { prebuilt } = await converted('org/Chat', '--prebuilt', ...flags);
    expect(prebuilt).toEqual({ reference: `hf:${id}@${hub.commitOf(id)}`, confirmed });
  });

  it('is laid out for a server under the name of the model that was asked for', async () => {
    const args = ['org/Chat', '--prebuilt', '--layout', 'ovms', '-o', 'models', '--set', 'cache-size=2'];
    const model = await converted(...args, '--ovms-version', '2026.1');
    expect(model.output).toBe(join(models, 'org/Chat'));
    expect(await readFile(model.layout?.graph ?? '', 'utf8')).toMatch(/^input_stream[^]*cache_size: 2\n/);
    expect(await served()).toEqual({
      model_config_list: [{ config: { name: 'org/Chat', base_path: 'org/Chat' } }],
    });
  });

  it('that is named itself is taken, whatever precision it has', async () => {
    const model = await converted('OpenVINO/Chat-int4-ov', '--layout', 'ovms', '-o', 'models');
    expect([model.precision, model.converter]).toEqual(['int4', null]);
    expect(model.output).toBe(join(models, 'OpenVINO/Chat-int4-ov'));
  });

  it('is shown by a plan, taken or not', async () => {
    const not = await convert('org/Chat', '--dry-run');
    expect(not.stdout).toContain('published  hf:OpenVINO/Chat-int8-ov, which `--prebuilt` takes');
    const taken = await convert('org/Chat', '--prebuilt', '--dry-run');
    expect(taken.stdout).toMatch(/^hf:OpenVINO\/Chat-int8-ov@[^]*step {7}take it as it is published/);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('is taken where that is preferred, and made where it is not to be had', async () => {
    const python = join(world.directory, 'python');
    const config = { convert: { prebuilt: 'prefer' }, toolchains: { interpreters: { openvino: python } } };
    await writeFile(join(world.directory, 'own.json'), JSON.stringify(config));
    expect((await converted('org/Chat')).converter).toBeNull();
    expect((await converted('org/Alone')).converter).toBe('nncf');
    const odd = await convert('org/Odd');
    expect([odd.exitCode, odd.stderr]).toEqual([0, expect.stringContaining('says int4')]);
    expect((await converted('org/Chat', '--converter', 'nncf')).converter).toBe('nncf');
  });

  it.each<readonly [string, readonly string[], Refusal]>([
    [
      'there is none',
      ['org/Alone'],
      {
        code: 'NOT_FOUND',
        message: /hf:org\/Alone to int8.*hf:OpenVINO\/Alone-int8-ov and hf:OpenVINO\/alone-int8-ov/,
        hint: /leave out `--prebuilt`/,
      },
    ],
    [
      'its hub publishes none',
      ['./model.onnx'],
      { code: 'NOT_FOUND', message: /Local files has none/, hint: /leave out `--prebuilt`/ },
    ],
    [
      'it is not what its name says',
      ['org/Odd'],
      { code: 'UNSUPPORTED', message: /OpenVINO\/Odd-int8-ov.*says int4/, hint: /--no-prebuilt/ },
    ],
    [
      'the NPU does not run it',
      ['org/Odd', '--precision', 'int4', '--device', 'NPU'],
      { code: 'UNSUPPORTED', message: /Odd-int4-cw-ov.*asymmetric/, hint: /--no-prebuilt/ },
    ],
    [
      'a setting would change nothing',
      ['org/Chat', '--set', 'ratio=0.8'],
      { code: 'USAGE', message: /--set ratio/, hint: /leave out/ },
    ],
  ])('that must be taken is refused when %s', async (_what, args, refusal) => {
    await expectRefusal(world, ['--config', 'own.json', 'convert', '--prebuilt', ...args], refusal);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('that must be taken needs the hub', async () => {
    await expectRefusal(world, ['convert', '--prebuilt', 'org/Chat', '--offline'], {
      code: 'NETWORK',
      message: /OpenVINO\/Chat-int8-ov/,
      hint: /modeldl pull/,
    });
  });
});

describe('graph.pbtxt', () => {
  const CACHE = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
  const READER = fileURLToPath(new URL('../layout/read_graph.py', import.meta.url));
  const present = hasProgram('python3', ['-m', 'pip', '--version']);
  let shared: World;
  let python: string;

  beforeAll(async () => {
    shared = await createWorld({ MODELDL_CACHE_DIR: join(CACHE, 'converted') });
    if (!present) return;
    const installed = await shared.run('toolchain', 'install', 'openvino');
    expect(installed.stderr).not.toContain('error:');
    python = join(installed.stdout, 'bin', 'python');
  }, 600_000);

  afterAll(() => shared.remove());

  const EVERYTHING: Readonly<Record<GraphTask, ServingSettings>> = {
    text_generation: {
      ov_cache_dir: 'C:\\it\'s "a" cache\n\u00e9\u0001',
      pipeline_type: 'VLM_CB',
      kv_cache_precision: 'u8',
      max_num_batched_tokens: 1,
      dynamic_split_fuse: false,
      draft_eagle3_mode: true,
      max_prompt_len: 1024,
      prompt_lookup_decoding: true,
      reasoning_parser: 'qwen3',
      tool_parser: 'llama3',
      enable_tool_guided_generation: true,
    },
    embeddings_ov: { pooling: 'MEAN', truncate: true, normalize: false, ov_cache_dir: '/c' },
    rerank_ov: { num_streams: 2 },
    image_generation: {
      num_streams: 2,
      resolution: '512x512 64x64',
      guidance_scale: 0.5,
      num_images_per_prompt: 2,
      max_resolution: '512x512',
      default_resolution: '64x64',
      max_num_images_per_prompt: 3,
      default_num_inference_steps: 4,
      max_num_inference_steps: 5,
      source_loras: parseLoras('a=o/a:0.5,b=o/b,c=@a:0.25+@b'),
    },
    text2speech: { speaker_name: 'it\'s "ann"', speaker_path: 'C:\\ann' },
    speech2text: { enable_word_timestamps: true, num_streams: 3 },
  };
  const TASKS = Object.keys(EVERYTHING) as GraphTask[];

  requirePeer('python3 with pip', present)(
    "is what protobuf's own parser reads, in every version",
    async () => {
      const written = OVMS_VERSIONS.flatMap((version) =>
        TASKS.flatMap((task) =>
          [{}, EVERYTHING[task]].map((settings) => {
            const loraPaths = new Map([
              ['a', 'loras/o/a/a.safetensors'],
              ['b', 'loras/o/b/b.safetensors'],
            ]);
            const options = { dialect: dialectOf(version), device: 'NPU', settings, loraPaths, draft: 'd' };
            return { version, task, settings, text: graphOf(task, options) };
          }),
        ),
      );
      const files = written.map((_graph, at) => join(world.directory, `${at}.pbtxt`));
      for (const [at, { text }] of written.entries()) await writeFile(files[at] ?? '', text);
      const { stdout } = await execa(python, ['-I', '-B', READER, ...files]);
      const read = stdout.split('\n').map((line) => JSON.parse(line) as ReadGraph);
      expect(read).toHaveLength(written.length);
      for (const [at, graph] of read.entries()) {
        const { version, task, settings } = written[at] ?? { version: '', task: '', settings: {} };
        const [node] = graph.node;
        const [options] = node?.node_options ?? [];
        expect(options, `${version} ${task}`).toMatchObject({ models_path: './' });
        const plugin = options?.plugin_config ?? '{}';
        if (settings.ov_cache_dir !== undefined) {
          expect(JSON.parse(plugin)).toMatchObject({ CACHE_DIR: settings.ov_cache_dir });
        }
        expect(node?.input_stream_handler === undefined).toBe(
          !['text_generation', 'speech2text'].includes(task),
        );
      }
      const last =
        read[
          written.findIndex(
            ({ version, task, settings }) =>
              version === '2026.3' && task === 'image_generation' && 'resolution' in settings,
          )
        ];
      expect(last?.node[0]?.node_options[0]).toMatchObject({
        resolution: '512x512 64x64',
        guidance_scale: 0.5,
        max_num_inference_steps: '5',
        lora_adapters: [
          { alias: 'a', path: 'loras/o/a/a.safetensors', alpha: 0.5, mode: 'DYNAMIC' },
          { alias: 'b', path: 'loras/o/b/b.safetensors', mode: 'DYNAMIC' },
        ],
        composite_lora_adapters: [
          { alias: 'c', components: [{ adapter_alias: 'a', alpha: 0.25 }, { adapter_alias: 'b' }] },
        ],
      });
    },
  );

  interface ReadGraph {
    readonly node: readonly {
      readonly node_options: readonly {
        readonly plugin_config?: string;
        readonly [field: string]: unknown;
      }[];
      readonly input_stream_handler?: object;
    }[];
  }
});

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

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/Chat', files: { 'config.json': '{}', 'onnx/model.onnx': 'bytes', 'tokenizer.json': '{}' } },
      { id: 'org/Alone', files: { 'model.onnx': 'bytes' } },
      { id: 'OpenVINO/Chat-int8-ov', files: { ...LLM, 'openvino_config.json': '{"dtype":"int8"}' } },
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

describe('modeldl convert --prebuilt', () => {
  it('takes what is published, laid out under the name of the model that was asked for', async () => {
    const args = ['org/Chat', '--prebuilt', '--layout', 'ovms', '-o', 'models', '--set', 'cache-size=2'];
    const { exitCode, stdout, stderr } = await convert(...args, '--ovms-version', '2026.1', '--json');
    expect(exitCode, `${stdout}${stderr}`).toBe(0);
    const reference = `hf:OpenVINO/Chat-int8-ov@${hub.commitOf('OpenVINO/Chat-int8-ov')}`;
    expect(JSON.parse(stdout)).toMatchObject({
      models: [
        {
          reference,
          origin: { reference: 'hf:org/Chat', revision: null },
          converter: null,
          output: join(models, 'org/Chat'),
          prebuilt: { reference, confirmed: true },
        },
      ],
    });
    const graph = await readFile(join(models, 'org/Chat/graph.pbtxt'), 'utf8');
    expect(graph).toMatch(/^input_stream[^]*cache_size: 2\n/);
    expect(await served()).toEqual({
      model_config_list: [{ config: { name: 'org/Chat', base_path: 'org/Chat' } }],
    });
  });

  it('is shown by a plan, taken or not', async () => {
    const not = await convert('org/Chat', '--dry-run');
    expect(not.stdout).toContain('published  hf:OpenVINO/Chat-int8-ov, which `--prebuilt` takes');
    const taken = await convert('org/Chat', '--prebuilt', '--dry-run');
    expect(taken.stdout).toMatch(/^hf:OpenVINO\/Chat-int8-ov@[^]*step {7}take it as it is published/);
    expect((await world.run('list', '-q')).stdout).toBe('');
  });

  it('is refused when nothing is published', async () => {
    await expectRefusal(world, ['convert', '--prebuilt', 'org/Alone'], {
      code: 'NOT_FOUND',
      message: /hf:org\/Alone to int8.*hf:OpenVINO\/Alone-int8-ov and hf:OpenVINO\/alone-int8-ov/,
      hint: /leave out `--prebuilt`/,
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

/** Conversions written as model servers read them, by converters that write what real ones do in name only. */
import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { ConversionRequest, Converter } from '../../src/converter.js';
import { createModeldl, type ConvertOptions, type Modeldl } from '../../src/index.js';
import { builtInPlugins } from '../../src/plugins.js';
import { startHfHub } from '../helpers/hf-hub.js';
import { noToolchain, smallConverter } from '../helpers/small-converter.js';
import { temporaryDirectory } from '../helpers/store.js';
import { rejected } from '../helpers/refused.js';

const LLM = [
  'openvino_model.xml',
  'openvino_model.bin',
  'openvino_tokenizer.xml',
  'openvino_detokenizer.xml',
];

let directory: string;
let repository: string;
/** What converters were asked for, one per run. */
let runs: string[];
let requests: ConversionRequest[];

beforeEach(async () => {
  directory = await temporaryDirectory();
  repository = join(directory, 'models');
  [runs, requests] = [[], []];
  for (const name of ['model', 'draft']) {
    await put(join(directory, name, 'tokenizer.json'), '{}');
    await put(join(directory, name, 'model.safetensors'), name);
  }
});

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

function making(task: string | undefined, files: readonly string[]): Converter {
  const small = smallConverter(['model.safetensors', 'tokenizer.json']);
  return {
    ...small,
    settings: { 'group-size': 'size of a group' },
    plan: async (model, request) => {
      requests.push(request);
      const plan = await small.plan(model, request);
      if ('refused' in plan) return plan;
      return { ...plan, ...(task === undefined ? {} : { task }), settings: request.settings };
    },
    run: async (model, _plan, outDir) => {
      runs.push(model.reference);
      for (const file of files)
        await put(
          join(outDir, file),
          `${file} of ${await readFile(join(model.root, 'model.safetensors'), 'utf8')}`,
        );
      return { versions: {}, warnings: [] };
    },
  };
}

async function open(
  task: string | undefined = 'text-generation-with-past',
  files: readonly string[] = LLM,
  environment: Readonly<Record<string, string>> = {},
): Promise<Modeldl> {
  const modeldl = await createModeldl({
    cwd: directory,
    home: directory,
    environment: { HF_ENDPOINT: 'http://127.0.0.1:9', ...environment },
    plugins: { ...builtInPlugins(), converters: [making(task, files)], toolchains: [noToolchain] },
  });
  onTestFinished(() => modeldl.close());
  return modeldl;
}

const OVMS = { layout: 'ovms' } as const;

function into(options: ConvertOptions = {}): ConvertOptions {
  return { ...OVMS, output: repository, name: 'org/name', ...options };
}

async function tree(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory() && entry.name !== '.modeldl.json')
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

describe('--layout ovms', () => {
  it('writes the model, its graph and the configuration of the server', async () => {
    const modeldl = await open();
    const model = await modeldl.convert('./model', into({ settings: { cache_size: '4' } }));
    expect(model.output).toBe(join(repository, 'org/name'));
    expect(model.layout).toEqual({
      kind: 'ovms',
      name: 'org/name',
      task: 'text_generation',
      ovmsVersion: '2026.3',
      directory: join(repository, 'org/name'),
      files: join(repository, 'org/name'),
      graph: join(repository, 'org/name/graph.pbtxt'),
      config: join(repository, 'config.json'),
    });
    expect(await tree(repository)).toEqual(
      ['config.json', ...[...LLM, 'graph.pbtxt'].map((file) => `org/name/${file}`)].sort(),
    );
    expect(await readFile(join(repository, 'org/name/graph.pbtxt'), 'utf8')).toContain(
      '      cache_size: 4\n',
    );
    expect(JSON.parse(await readFile(join(repository, 'config.json'), 'utf8'))).toEqual({
      model_config_list: [{ config: { name: 'org/name', base_path: 'org/name' } }],
    });
  });

  it('is no part of the conversion, and its settings never reach the converter', async () => {
    const modeldl = await open();
    const plain = await modeldl.convert('./model', { settings: { 'group-size': '64' } });
    const served = await modeldl.convert(
      './model',
      into({ settings: { 'group-size': '64', cache_size: '4' } }),
    );
    const again = await modeldl.convert(
      './model',
      into({ settings: { 'group-size': '64', cache_size: '8' } }),
    );
    expect(runs).toHaveLength(1);
    expect([served.key, again.key]).toEqual([plain.key, plain.key]);
    expect(requests.map(({ settings }) => settings)).toEqual(
      Array(requests.length).fill({ 'group-size': '64' }),
    );
    expect([requests[0]?.layout, requests.at(-1)?.layout]).toEqual([undefined, 'ovms']);
    expect(await readFile(join(repository, 'org/name/graph.pbtxt'), 'utf8')).toContain(
      '      cache_size: 8\n',
    );
  });

  it('names a model by its folder where it has no id', async () => {
    const modeldl = await open();
    const { layout } = await modeldl.convert('./model', { ...OVMS, output: repository });
    expect(layout?.name).toBe('model');
  });

  it('gives a plain IR a version', async () => {
    const modeldl = await open('image-classification', ['model.xml', 'model.bin']);
    const model = await modeldl.convert('./model', into());
    expect(model.output).toBe(join(repository, 'org/name'));
    expect(model.layout).toMatchObject({ task: 'plain', files: join(repository, 'org/name/1'), graph: null });
    expect(await tree(repository)).toEqual(['config.json', 'org/name/1/model.bin', 'org/name/1/model.xml']);
    expect((await modeldl.convert('./model', into())).cached).toBe(true);
  });

  it('puts no version beside a graph', async () => {
    const modeldl = await open('image-classification', ['model.xml', 'model.bin']);
    const graph = join(repository, 'org/name/graph.pbtxt');
    await put(graph, 'node {}');
    const error = await rejected(modeldl.convert('./model', into({ overwrite: true })));
    expect([error.code, error.details['file'], runs]).toEqual(['USAGE', graph, []]);
  });

  it('does not write over a graph that somebody changed', async () => {
    const modeldl = await open();
    await modeldl.convert('./model', into());
    const graph = join(repository, 'org/name/graph.pbtxt');
    await writeFile(graph, 'tuned by hand');
    const error = await rejected(modeldl.convert('./model', into({ settings: { cache_size: '4' } })));
    expect([error.code, error.details['file']]).toEqual(['USAGE', graph]);
    expect(await readFile(graph, 'utf8')).toBe('tuned by hand');
    await modeldl.convert('./model', into({ settings: { cache_size: '4' }, overwrite: true }));
    expect(await readFile(graph, 'utf8')).toContain('cache_size: 4');
  });

  it('refuses a directory that holds files of others before it converts', async () => {
    const modeldl = await open();
    await put(join(repository, 'org/name/notes.txt'), 'mine');
    const error = await rejected(modeldl.convert('./model', into()));
    expect([error.code, runs]).toEqual(['USAGE', []]);
    expect(await tree(repository)).toEqual(['org/name/notes.txt']);
    await modeldl.convert('./model', into({ overwrite: true }));
    expect(await readFile(join(repository, 'org/name/notes.txt'), 'utf8')).toBe('mine');
  });

  it.each(['{"model_config_list": [', '[]'])(
    'changes nothing where the configuration is %s',
    async (text) => {
      const modeldl = await open();
      await put(join(repository, 'config.json'), text);
      const error = await rejected(modeldl.convert('./model', into()));
      expect([error.code, error.details['file'], runs]).toEqual([
        'CONFIG',
        join(repository, 'config.json'),
        [],
      ]);
      expect(await tree(repository)).toEqual(['config.json']);
      expect(await readFile(join(repository, 'config.json'), 'utf8')).toBe(text);
    },
  );

  it('keeps the permissions of the configuration, and the link that leads to it', async () => {
    const modeldl = await open();
    const real = join(directory, 'elsewhere.json');
    await put(real, '{"monitoring": {}}');
    await chmod(real, 0o640);
    await mkdir(repository);
    await symlink(real, join(repository, 'config.json'));
    await modeldl.convert('./model', into());
    expect(await readlink(join(repository, 'config.json'))).toBe(real);
    expect((await stat(real)).mode & 0o777).toBe(0o640);
    expect(Object.keys(JSON.parse(await readFile(real, 'utf8')) as object)).toEqual([
      'monitoring',
      'model_config_list',
    ]);
    expect((await readdir(directory)).filter((name) => name.startsWith('.modeldl'))).toEqual([]);
  });

  it('links files of the model, and never the graph', async () => {
    const modeldl = await open();
    const { path } = await modeldl.convert('./model', into({ link: true }));
    const inode = async (file: string): Promise<number> => (await lstat(file)).ino;
    const output = join(repository, 'org/name');
    expect(await inode(join(output, LLM[0] ?? ''))).toBe(await inode(join(path, LLM[0] ?? '')));
    expect((await lstat(join(output, 'graph.pbtxt'))).nlink).toBe(1);
  });

  it('refuses a result that the server would not load, and writes none of it', async () => {
    const modeldl = await open('feature-extraction', ['openvino_model.xml', 'openvino_model.bin']);
    const error = await rejected(modeldl.convert('./model', into()));
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toMatch(/needs openvino_tokenizer\.xml for embeddings_ov/);
    await expect(readdir(repository)).rejects.toThrow('ENOENT');
  });

  it('refuses a task that the server has nothing for before it converts', async () => {
    const modeldl = await open('token-classification');
    const error = await rejected(modeldl.convert('./model', into()));
    expect([error.code, runs]).toEqual(['UNSUPPORTED', []]);
    const named = into({ settings: { 'ovms-task': 'text_generation' } });
    expect((await modeldl.convert('./model', named)).layout?.task).toBe('text_generation');
  });

  it('brings the draft model, converted alike, into a directory below', async () => {
    const modeldl = await open();
    const settings = { draft_source_model: './draft', draft_eagle3_mode: 'true' };
    await modeldl.convert('./model', into({ precision: 'int4', settings }));
    expect(runs).toHaveLength(2);
    expect(requests.at(-1)).toMatchObject({ precision: 'int4', task: 'text-generation-with-past' });
    const output = join(repository, 'org/name');
    expect(await readFile(join(output, 'draft/openvino_model.bin'), 'utf8')).toBe(
      'openvino_model.bin of draft',
    );
    expect(await readFile(join(output, 'graph.pbtxt'), 'utf8')).toContain('draft_models_path: "./draft"');
    await modeldl.convert('./model', into({ precision: 'int4', settings }));
    expect(runs).toHaveLength(2);
  });

  it('brings adapters, each of one file', async () => {
    const hub = await startHfHub({
      repos: [
        { id: 'org/one', files: { 'README.md': 'one', 'lora.safetensors': 'weights' } },
        { id: 'org/two', files: { 'a.safetensors': 'a', 'b.safetensors': 'b' } },
      ],
    });
    onTestFinished(() => hub.close());
    const modeldl = await open('text-to-image', ['model_index.json', 'unet/openvino_model.xml'], {
      HF_ENDPOINT: hub.endpoint,
    });
    const given = (source_loras: string): ConvertOptions => into({ settings: { source_loras } });
    const error = await rejected(modeldl.convert('./model', given('x=org/two')));
    expect([error.code, error.hint]).toEqual(['UNSUPPORTED', 'name it: `x=org/two@file.safetensors`']);
    await expect(readdir(repository)).rejects.toThrow('ENOENT');
    await modeldl.convert('./model', given('x=org/one:0.5,y=org/two@b.safetensors,z=org/two@a.safetensors'));
    const graph = await readFile(join(repository, 'org/name/graph.pbtxt'), 'utf8');
    const paths = [...graph.matchAll(/path: "(loras[^"]*)"/g)].map(([, path = '']) => path);
    expect(paths).toEqual([
      'loras/org/one/lora.safetensors',
      'loras/org/two/b.safetensors',
      'loras/org/two/a.safetensors',
    ]);
    for (const path of paths) await stat(join(repository, 'org/name', path));
  });

  it('says what it would write, and writes nothing', async () => {
    const modeldl = await open();
    const { layout } = await modeldl.planConvert('./model', into());
    expect(layout).toMatchObject({
      task: 'text_generation',
      graph: join(repository, 'org/name/graph.pbtxt'),
    });
    await expect(readdir(repository)).rejects.toThrow('ENOENT');
    expect(runs).toEqual([]);
  });
});

describe('--layout model-download', () => {
  it('has a directory per device and precision, with a configuration of its own', async () => {
    const modeldl = await open();
    const options = {
      layout: 'model-download',
      device: 'hetero:gpu,cpu',
      precision: 'int4',
      name: 'org/name',
    };
    const model = await modeldl.convert('./model', { ...options, output: repository });
    const root = 'openvino_models/hetero_gpu_cpu/int4';
    expect(model.output).toBe(join(repository, root, 'org/name'));
    expect(await tree(repository)).toEqual(
      [
        `${root}/config_all.json`,
        ...[...LLM, 'graph.pbtxt'].map((file) => `${root}/org/name/${file}`),
      ].sort(),
    );
    expect(requests.at(-1)?.layout).toBe('model-download');
  });

  it('has a place for models that no server reads', async () => {
    const modeldl = await open('token-classification', ['openvino_model.xml', 'openvino_tokenizer.xml']);
    await put(join(repository, 'other'), 'of others');
    await modeldl.convert('./model', { layout: 'model-download', output: repository });
    expect(await tree(repository)).toEqual([
      'openvino_models/cpu/int8/model/openvino_model.xml',
      'openvino_models/cpu/int8/model/openvino_tokenizer.xml',
      'other',
    ]);
  });
});

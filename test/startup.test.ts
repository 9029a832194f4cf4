/** The microservice's startup list, entry by entry, in modeldl's words. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { hubs } from '../hubs/index.js';
import { startupHubs } from '../hubs/startup.js';
import type { ModelEntry } from '../src/config/models.js';
import { configSchema } from '../src/config/schema.js';
import type { Context } from '../src/context.js';
import { readWanted, type ListOptions, type Wanted, type WantedList } from '../src/sync-list.js';
import { temporaryDirectory } from './helpers/store.js';

let directory: string;
let told: string[];

beforeEach(async () => {
  directory = await temporaryDirectory();
  told = [];
});

async function readList(text: string, options: ListOptions = {}): Promise<WantedList> {
  const { file = join(directory, 'startup.yaml') } = options;
  await writeFile(file, text);
  return readAt(file, options);
}

function readAt(file: string, options: ListOptions = {}): Promise<WantedList> {
  // What reading a list uses of it: no store, no network.
  const context = {
    cwd: directory,
    home: directory,
    environment: {},
    hubs,
    syntaxes: hubs.map(({ syntax }) => syntax),
    hubSettings: () => ({}),
    emit: (event: { readonly message?: string }) => told.push(event.message ?? ''),
  } as unknown as Context;
  const schema = configSchema(hubs);
  const loaded = { config: {}, sources: new Map<string, string>(), files: [], schema, userSchema: schema };
  return readWanted(context, loaded, startupHubs, { ...options, file });
}

const read = async (text: string, options: ListOptions = {}): Promise<readonly Wanted[]> =>
  (await readList(text, options)).models;

const readOne = async (entry: ModelEntry, options: ListOptions = {}): Promise<Wanted> => {
  const models = await read(JSON.stringify({ download_path: 'models', models: [entry] }), options);
  expect(models).toHaveLength(1);
  return models[0] as Wanted;
};

describe('a startup list', () => {
  it('is read as the microservice’s documentation has one', async () => {
    const models = await read(`
download_path: startup
parallel_downloads: true
models:
  - name: microsoft/Phi-3.5-mini-instruct
    hub: HuggingFace
    type: llm
  - name: microsoft/Phi-3.5-mini-instruct
    hub: openvino
    type: llm
    is_ovms: true
    config: {precision: int4, device: gpu, cache_size: 10}
  - name: llama3.2
    hub: ollama
    revision: 1b
  - name: yolo11n,yolov8s
    hub: ultralytics
    type: vision
`);
    expect(models.map(({ text, convert }) => [text, convert?.precision, convert?.device])).toEqual([
      ['hf:microsoft/Phi-3.5-mini-instruct', undefined, undefined],
      ['hf:microsoft/Phi-3.5-mini-instruct', 'int4', 'GPU'],
      ['ollama:llama3.2:1b', undefined, undefined],
      ['ultralytics:yolo11n', 'fp16', 'CPU'],
      ['ultralytics:yolov8s', 'fp16', 'CPU'],
    ]);
    expect(told.join('\n')).toContain(
      'models.0 (microsoft/Phi-3.5-mini-instruct): not used, since nothing is converted: type',
    );
    expect(told.join('\n')).toMatch(/models\.1 .*not used without `--output`.*: type, cache_size/);
    expect(told.join('\n')).toMatch(/models\.3 .*FP16 and FP32/);
  });

  it('takes a key without a value for one that is not there, as the microservice does', async () => {
    const models = await read(`
download_path: startup
parallel_downloads:
models:
  - {name: org/name, hub: huggingface, type: null, revision:, config: null, download_path: ~}
  - {name: llama3.2, hub: ollama, config: {precision: null, openvino_config: null}}
`);
    expect(models.map(({ text }) => text)).toEqual(['hf:org/name', 'ollama:llama3.2']);
    await expect(read('models: [{name: null, hub: huggingface}]')).rejects.toThrow('names no model');
    await expect(read('models: null')).rejects.toThrow('`models`');
    await expect(read('models: [null, [x]]')).rejects.toThrow('`models.0`');
  });

  it('puts two models into one directory only where that is made for several', async () => {
    const output = join(directory, 'opt');
    const listed = (...entries: readonly ModelEntry[]): Promise<readonly Wanted[]> =>
      read(JSON.stringify({ models: entries }), { output });
    const hub = 'huggingface';
    await expect(listed({ name: 'org/a_b', hub }, { name: 'org_a/b', hub })).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.stringMatching(/models\.0 .* and models\.1 .*huggingface\/org_a_b/) as unknown,
    });
    const nested = [
      { name: 'face', hub: 'omz' },
      { name: 'face', hub: 'omz', precision: 'FP16' },
    ];
    await expect(listed(...nested)).rejects.toThrow('both go to');
    await expect(
      listed({ reference: 'a', output: 'x' }, { reference: 'b', output: './x/y/' }),
    ).rejects.toThrow('both go to');
    expect(await listed({ name: 'a', hub }, { name: 'a', hub }, { name: 'ab', hub })).toHaveLength(3);
    const converted = { hub: 'openvino', is_ovms: true };
    const [a, b] = [
      { name: 'o/a', ...converted },
      { name: 'o/b', ...converted },
    ];
    expect(await listed(a, b, { ...a, precision: 'int4' })).toHaveLength(3);
    await expect(listed(a, { ...a, revision: 'v1' })).rejects.toThrow('as cpu int8 o/a');
    const served = (precision: string): ModelEntry => ({
      reference: 'o/a',
      precision,
      layout: 'ovms',
      output: 'served',
    });
    await expect(listed(served('int8'), served('int4'))).rejects.toThrow('as o/a');
    expect(await listed(served('int8'), { ...served('int4'), name: 'o/a-int4' })).toHaveLength(2);
  });

  it('has a lock that is neither the list nor the lock of the configuration', async () => {
    for (const [list, lock] of [
      ['startup.yaml', 'startup.lock'],
      ['startup', 'startup.lock'],
      ['startup.lock', 'startup.lock.lock'],
      ['modeldl.yaml', 'modeldl.yaml.lock'],
    ] as const) {
      const file = join(directory, list);
      expect((await readList('models: []', { file })).lockFile).toBe(join(directory, lock));
    }
  });

  it.each<readonly [ModelEntry, string]>([
    [{ name: 'org/name', hub: 'huggingface', revision: 'v1' }, 'hf:org/name@v1'],
    [{ name: 'OpenVINO/Qwen3-8B-int4-ov', hub: 'openvino', is_ovms: true }, 'hf:OpenVINO/Qwen3-8B-int4-ov'],
    [{ name: 'Qwen3-8B-int4-ov', hub: 'openvino', is_ovms: true }, 'openvino:Qwen3-8B-int4-ov'],
    [{ name: 'llama3.2:3b', hub: 'ollama' }, 'ollama:llama3.2:3b'],
    [{ name: 'user/model', hub: 'OLLAMA' }, 'ollama:user/model'],
    [{ name: 'face-detection-retail-0004', hub: 'omz' }, 'omz:face-detection-retail-0004'],
    [
      { name: 'face-detection-retail-0004', hub: 'omz', precision: 'int8' },
      'omz:face-detection-retail-0004//FP16-INT8',
    ],
    [
      { name: 'x', hub: 'remote-url', config: { url: 'https://host/{name}.tar.gz' } },
      'https://host/x.tar.gz',
    ],
    [{ name: 'Shop floor/SSD', hub: 'geti', revision: '2' }, 'geti:Shop%20floor/SSD@2'],
    [{ name: 'A%2FB/SSD', hub: 'geti', config: { precision: 'INT8' } }, 'geti:A%2FB/SSD//openvino-int8'],
    [{ name: 'shop/SSD//onnx', hub: 'geti' }, 'geti:shop/SSD//onnx'],
    [{ name: 'shop/SSD', hub: 'geti', is_ovms: true, config: { precision: 'int8' } }, 'geti:shop/SSD'],
    [
      {
        name: 'shop/SSD',
        hub: 'geti',
        config: { export_type: 'optimized', model_format: 'ONNX', precision: 'FP32' },
      },
      'geti:shop/SSD//onnx-fp32',
    ],
    [
      { name: 'shop/SSD', hub: 'geti', config: { export_type: 'base', precision: 'FP16' } },
      'geti:shop/SSD//base',
    ],
    [{ name: '@scope/package', hub: 'npm', revision: '1.0.0' }, 'npm:@scope/package@1.0.0'],
    [{ reference: 'pypi:name@1.0//model' }, 'pypi:name@1.0//model'],
  ])('means %j by its hub', async (entry, text) => {
    expect((await readOne(entry)).text).toBe(text);
  });

  it('converts where it is asked to, and to what the microservice would', async () => {
    const convert = async (entry: Partial<ModelEntry>): Promise<unknown> => {
      const found = await readOne({ name: 'org/name', hub: 'huggingface', ...entry });
      return found.convert === undefined ? undefined : [found.convert.precision, found.convert.device];
    };
    expect(await convert({})).toBeUndefined();
    expect(await convert({ config: { precision: 'int4' } })).toBeUndefined();
    expect(await convert({ is_ovms: true })).toEqual(['int8', 'CPU']);
    expect(
      await convert({ is_ovms: true, config: { 'weight-format': 'FP16', target_device: 'gpu' } }),
    ).toEqual(['fp16', 'GPU']);
    expect(await convert({ is_ovms: true, config: { device: 'npu' } })).toEqual(['int4', 'NPU']);
    expect(await convert({ is_ovms: true, config: { device: 'npu', precision: 'int8' } })).toEqual([
      'int4',
      'NPU',
    ]);
    expect(told.join('\n')).toContain('int4 is made instead of int8');
    expect(await convert({ is_ovms: true, device: 'NPU', precision: 'fp16' })).toEqual(['fp16', 'NPU']);
    expect(
      await convert({ is_ovms: true, config: { precision: 'int8', openvino_config: { precision: 'fp16' } } }),
    ).toEqual(['fp16', 'CPU']);
    expect(await convert({ precision: 'int4' })).toEqual(['int4', 'CPU']);
    expect(await convert({ hub: 'openvino' })).toEqual(['int8', 'CPU']);
    expect(told.join('\n')).toContain('which the microservice makes only with `is_ovms: true`');
  });

  it('hands on what serving and converting take, with --output into the microservice’s directories', async () => {
    const output = join(directory, 'opt');
    const entry = {
      name: 'org/name',
      hub: 'openvino',
      type: 'vlm',
      is_ovms: true,
      config: {
        cache_size: 4,
        openvino_config: { enable_prefix_caching: true, extra_quantization_params: '--sym --group-size 64' },
      },
    };
    const served = await readOne(entry, { output });
    expect(served.convert).toMatchObject({
      layout: 'model-download',
      output: join(output, 'models'),
      settings: {
        'ovms-task': 'vlm',
        cache_size: '4',
        enable_prefix_caching: 'true',
        sym: 'true',
        'group-size': '64',
      },
    });
    expect((await readOne(entry)).convert?.settings).toEqual({ sym: 'true', 'group-size': '64' });
    expect((await readOne({ name: 'org/name', hub: 'huggingface' }, { output })).pull.output).toBe(
      join(output, 'models/huggingface/org_name'),
    );
    const own = { name: 'l', hub: 'ollama', revision: '1b', download_path: 'chat/x' };
    expect((await readOne(own, { output })).pull.output).toBe(join(output, 'chat/x/ollama/l/1b'));
    const ssd = { name: 'Shop floor/SSD', hub: 'geti', config: { precision: 'INT8' } };
    expect((await readOne(ssd, { output })).pull.output).toBe(join(output, 'models/geti/ssd/int8'));
    const yolo = { name: 'yolo11n', hub: 'ultralytics', precision: 'fp32' };
    expect((await readOne(yolo, { output })).convert?.output).toBe(
      join(output, 'models/ultralytics/public/yolo11n/FP32'),
    );
  });

  it('leaves out the size of a cache where the microservice does', async () => {
    const config = { cache_size: 10, num_streams: 2 };
    const settings = async (type: string): Promise<unknown> => {
      const entry = { name: 'org/name', hub: 'openvino', is_ovms: true, type, config };
      return (await readOne(entry, { output: directory })).convert?.settings;
    };
    expect(await settings('embeddings')).toEqual({ 'ovms-task': 'embeddings', num_streams: '2' });
    expect(told.join('\n')).toContain('a server of embeddings has no use for it: cache_size');
    expect(await settings('rerank_ov')).toEqual({ 'ovms-task': 'rerank_ov', num_streams: '2' });
    expect(await settings('llm')).toMatchObject({ cache_size: '10' });
  });

  it.each<readonly [ModelEntry, string]>([
    [
      { name: 'yolo11n', hub: 'ultralytics', config: { quantize: 'coco8' } },
      '`models.0.config.quantize` has no counterpart',
    ],
    [{ name: 'm', hub: 'huggingface', config: { model_group_id: 'x' } }, 'config.model_group_id'],
    [
      { name: 'm', hub: 'huggingface', config: { openvino_config: { trust_remote_code: true } } },
      'openvino_config.trust_remote_code',
    ],
    [{ name: 'm', hub: 'huggingface', config: { precision: ['int8'] } }, 'config.precision'],
    [
      { name: 'm', hub: 'huggingface', precision: 'int4', config: { precision: 'int8' } },
      'is int4, and int8 in `config`',
    ],
    [{ name: 'all', hub: 'ultralytics' }, '`all` names no model'],
    [{ name: 'a,,b', hub: 'ultralytics' }, 'a name is empty'],
    [{ name: 'm:1b', hub: 'ollama', revision: '3b' }, 'names a tag twice'],
    [{ name: 'SSD', hub: 'geti' }, 'its name is not `project/model`: SSD'],
    [{ name: 'shop/SSD', hub: 'geti', config: { precision: ['FP16', 'INT8'] } }, 'names no one variant'],
    [{ name: 'shop/SSD', hub: 'geti', config: { export_type: 'all' } }, 'names no one variant'],
    [{ name: 'm', hub: 'remote-url' }, 'names no address'],
    [{ name: 'm', hub: 'remote-url', config: { url: 'ftp://host/x' } }, 'no web address'],
    [{ hub: 'huggingface' }, 'names no model'],
    [{ hub: 'hls' }, 'does not say which models'],
    [{ name: 'm', hub: 'hugginface' }, 'is unknown: hugginface'],
    [{ name: 'm', hub: 'huggingface', download_path: '../x' }, 'leads out of the directory of models'],
    [{ name: 'm', hub: 'huggingface', download_path: '/x' }, 'it is absolute'],
    [{ reference: 'm', config: { url: 'https://host' } }, 'config.url'],
  ])('refuses %j by name', async (entry, message) => {
    await expect(readOne(entry)).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.stringContaining(message) as unknown,
    });
  });

  it.each([
    ['models:\n  - {name: x, hub: huggingface, presicion: int8}', 'Unknown key `models.0.presicion`'],
    ['download_pth: x\nmodels: []', 'Unknown key `download_pth`'],
    ['download_path: x', 'models'],
    ['models: [{name: 1, hub: huggingface}]', '`models.0.name`'],
    ['models: [{name: x, hub: huggingface, config: {hf_token: y}}]', 'must not hold a token'],
    ['- a', 'Expected keys with values'],
    ['models: [', 'Cannot parse'],
    [`models: [${'a, '.repeat(101)}]`, 'lists more than 100 models'],
    [`models: []\n#${' '.repeat(1024 * 1024)}`, 'more than 1048576 bytes'],
    [
      `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [${'*a,'.repeat(10)}]\nc: &c [${'*b,'.repeat(10)}]\nd: &d [${'*c,'.repeat(10)}]\ne: &e [${'*d,'.repeat(10)}]\nf: &f [${'*e,'.repeat(10)}]\ng: &g [${'*f,'.repeat(10)}]\nmodels: [*g]`,
      'stands for more than',
    ],
  ])('refuses %j', async (text, message) => {
    await expect(read(text)).rejects.toMatchObject({
      code: 'CONFIG',
      message: expect.stringContaining(message) as unknown,
    });
  });

  it('is a regular file that is there', async () => {
    await mkdir(join(directory, 'folder.yaml'));
    await expect(readAt(join(directory, 'folder.yaml'))).rejects.toThrow('Not a file');
    await expect(readAt(join(directory, 'none.yaml'))).rejects.toThrow('Cannot read the list');
  });
});

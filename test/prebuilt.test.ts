/** Conversions that are published already: told of, taken, or neither. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { prebuiltIds } from '../hubs/hf/prebuilt.js';
import { createModeldl, type ConvertOptions, type Modeldl, type ModeldlOptions } from '../src/index.js';
import { builtInPlugins } from '../src/plugins.js';
import { saidBy } from '../src/prebuilt.js';
import { startHfHub, type HfHub } from './helpers/hf-hub.js';
import { noToolchain, smallConverter } from './helpers/small-converter.js';
import { temporaryDirectory } from './helpers/store.js';
import { rejected } from './helpers/refused.js';

const IR = {
  'openvino_model.xml': '<net/>',
  'openvino_model.bin': 'weights',
  'openvino_tokenizer.xml': '<net/>',
  'openvino_detokenizer.xml': '<net/>',
};

function saying(dtype: string, quantization: object = {}): string {
  return JSON.stringify({ dtype, quantization_config: quantization });
}

let hub: HfHub;
let directory: string;
let told: string[];

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/Chat', files: { 'model.onnx': 'bytes' } },
      { id: 'org/Odd', files: { 'model.onnx': 'bytes' } },
      { id: 'org/Alone', files: { 'model.onnx': 'bytes' } },
      { id: 'OpenVINO/Chat-int8-ov', files: { ...IR, 'openvino_config.json': saying('int8') } },
      { id: 'OpenVINO/Chat-int4-ov', files: { ...IR, 'README.md': 'by group' } },
      {
        id: 'OpenVINO/Chat-int4-cw-ov',
        files: { ...IR, 'openvino_config.json': saying('int4', { bits: 4, sym: true, group_size: -1 }) },
      },
      { id: 'OpenVINO/chat-fp16-ov', files: IR },
      { id: 'OpenVINO/Odd-int8-ov', files: { ...IR, 'openvino_config.json': saying('int4') } },
      {
        id: 'OpenVINO/Odd-int4-cw-ov',
        files: { ...IR, 'openvino_config.json': saying('int4', { bits: 4, sym: false }) },
      },
    ],
  });
  onTestFinished(() => hub.close());
  directory = await temporaryDirectory();
  told = [];
});

async function open(options: Partial<ModeldlOptions> = {}, config: object = {}): Promise<Modeldl> {
  const configFile = join(directory, 'own.json');
  await writeFile(configFile, JSON.stringify(config));
  const modeldl = await createModeldl({
    cwd: directory,
    home: directory,
    environment: { HF_ENDPOINT: hub.endpoint },
    cacheDir: join(directory, 'cache'),
    configFile,
    emit: (event) => {
      if (event.type === 'note' || event.type === 'warning') told.push(event.message);
    },
    plugins: { ...builtInPlugins(), converters: [smallConverter(['model.onnx'])], toolchains: [noToolchain] },
    ...options,
  });
  onTestFinished(() => modeldl.close());
  return modeldl;
}

/** Requests of the API about published conversions. */
function asked(): readonly string[] {
  return hub.requests.map(({ url }) => url).filter((url) => url.includes('/api/models/OpenVINO/'));
}

describe('a published conversion is told of', () => {
  const NOTE = 'hf:OpenVINO/Chat-int8-ov is published: `--prebuilt` takes it instead of converting';

  it('by one request, and not of a conversion that is stored', async () => {
    const modeldl = await open();
    expect((await modeldl.convert('org/Chat')).prebuilt).toBeNull();
    expect(told).toContain(NOTE);
    expect(asked()).toHaveLength(1);
    await modeldl.convert('org/Chat');
    expect(asked()).toHaveLength(1);
  });

  it.each<readonly [string, string, ConvertOptions, number]>([
    ['unless there is none', 'org/Alone', {}, 1],
    ['unless nobody wants to know', 'org/Chat', { prebuilt: 'never' }, 0],
    ['unless the model is a part', 'org/Chat//model.onnx', {}, 0],
  ])('%s', async (_what, reference, options, requests) => {
    await (await open()).convert(reference, options);
    expect(told.filter((message) => message.includes('is published'))).toEqual([]);
    expect(asked()).toHaveLength(requests);
  });

  it('unless a revision is pinned, which needs no network', async () => {
    const modeldl = await open();
    await modeldl.pull(['org/Chat']);
    hub.clearRequests();
    await modeldl.convert(`org/Chat@${hub.commitOf('org/Chat')}`);
    expect(hub.requests).toEqual([]);
    await modeldl.planConvert(`org/Chat@${hub.commitOf('org/Chat')}`, { precision: 'fp16' });
    expect(hub.requests).toEqual([]);
  });

  it('unless the hub does not tell', async () => {
    hub.addFault({ matches: /OpenVINO/, kind: { status: 500 } });
    const modeldl = await open({ maxWaitMs: 1 });
    expect((await modeldl.convert('org/Chat')).converter).toBe('small');
    expect(told).not.toContain(NOTE);
  });

  it('unless nothing may be asked', async () => {
    await (await open()).pull(['org/Chat']);
    hub.clearRequests();
    const offline = await open({ offline: true });
    expect((await offline.convert('org/Chat')).converter).toBe('small');
    expect(hub.requests).toEqual([]);
  });
});

describe('a published conversion is taken', () => {
  const TAKE: ConvertOptions = { prebuilt: 'take' };

  it('without a request for the model itself, and again without any', async () => {
    const model = await (await open()).convert('org/Chat', TAKE);
    const reference = `hf:OpenVINO/Chat-int8-ov@${hub.commitOf('OpenVINO/Chat-int8-ov')}`;
    expect(model).toMatchObject({
      reference,
      origin: { reference: 'hf:org/Chat', revision: null },
      converter: null,
      toolchain: null,
      precision: 'int8',
      prebuilt: { reference, confirmed: true },
    });
    expect(hub.requests.filter(({ url }) => url.includes('org/Chat'))).toEqual([]);
    hub.clearRequests();
    const again = await (await open({ offline: true })).convert('org/Chat', TAKE);
    expect([again.reference, again.cached, hub.requests]).toEqual([reference, true, []]);
  });

  it.each<readonly [string, ConvertOptions, string, boolean]>([
    ['by channel for the NPU', { precision: 'int4', device: 'NPU' }, 'OpenVINO/Chat-int4-cw-ov', true],
    ['by group for others', { precision: 'int4' }, 'OpenVINO/Chat-int4-ov', false],
    ['by an older name', { precision: 'fp16' }, 'OpenVINO/chat-fp16-ov', false],
  ])('%s', async (_what, options, id, confirmed) => {
    const { prebuilt } = await (await open()).convert('org/Chat', { ...TAKE, ...options });
    expect(prebuilt).toEqual({ reference: `hf:${id}@${hub.commitOf(id)}`, confirmed });
  });

  it('when it is what was named, whatever its precision', async () => {
    const model = await (
      await open()
    ).convert('OpenVINO/Chat-int4-ov', {
      layout: 'ovms',
      output: join(directory, 'models'),
    });
    expect([model.precision, model.converter]).toEqual(['int4', null]);
    expect(told).toContain('Its precision is int4, not int8');
    expect(model.output).toBe(join(directory, 'models/OpenVINO/Chat-int4-ov'));
  });

  it('where that is preferred, and made where it is not to be had or not wanted', async () => {
    const modeldl = await open({}, { convert: { prebuilt: 'prefer' } });
    expect((await modeldl.convert('org/Chat')).converter).toBeNull();
    expect((await modeldl.convert('org/Chat', { converter: 'small' })).converter).toBe('small');
    expect((await modeldl.convert('org/Chat', { prebuilt: 'never' })).converter).toBe('small');
    expect((await modeldl.convert('org/Alone')).converter).toBe('small');
    expect((await modeldl.convert('org/Odd')).converter).toBe('small');
    expect(told.filter((message) => message.includes('says int4'))).toHaveLength(1);
  });

  it.each<readonly [string, string, ConvertOptions, string, RegExp]>([
    ['there is none', 'org/Alone', {}, 'NOT_FOUND', /OpenVINO\/Alone-int8-ov and hf:OpenVINO\/alone-int8-ov/],
    ['its hub publishes none', './own.json', {}, 'NOT_FOUND', /the hub `file` publishes none/],
    ['a part is named', 'org/Chat//model.onnx', {}, 'NOT_FOUND', /only whole models/],
    ['it is not what its name says', 'org/Odd', {}, 'UNSUPPORTED', /OpenVINO\/Odd-int8-ov.*says int4/],
    [
      'the NPU does not run it',
      'org/Odd',
      { precision: 'int4', device: 'NPU' },
      'UNSUPPORTED',
      /Odd-int4-cw-ov.*asymmetric/,
    ],
    ['a setting would change nothing', 'org/Chat', { settings: { x: '1' } }, 'USAGE', /--set x/],
    ['a converter would do nothing', 'org/Chat', { converter: 'small' }, 'USAGE', /--converter/],
  ])('or refused when %s', async (_what, reference, options, code, message) => {
    const modeldl = await open();
    const error = await rejected(modeldl.convert(reference, { ...TAKE, ...options }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.hint).toMatch(/leave out|--no-prebuilt/);
    expect((await modeldl.list()).models).toEqual([]);
  });

  it('or refused where the hub cannot be asked', async () => {
    const modeldl = await open({ offline: true });
    expect((await rejected(modeldl.convert('org/Chat', TAKE))).code).toBe('NETWORK');
  });
});

describe('the names of published conversions', () => {
  it.each([
    ['Qwen/Qwen3-8B', 'int4', 'CPU', ['OpenVINO/Qwen3-8B-int4-ov', 'OpenVINO/qwen3-8b-int4-ov']],
    ['Qwen/Qwen3-8B', 'int4', 'NPU', ['OpenVINO/Qwen3-8B-int4-cw-ov', 'OpenVINO/qwen3-8b-int4-cw-ov']],
    ['openai/whisper-tiny', 'int8', 'NPU', ['OpenVINO/whisper-tiny-int8-ov']],
    ['OpenVINO/whisper-tiny-int8-ov', 'fp16', 'CPU', ['OpenVINO/whisper-tiny-int8-ov']],
    ['gpt2', 'fp16', 'GPU', ['OpenVINO/gpt2-fp16-ov']],
  ])('of %s in %s for %s', (id, precision, device, expected) => {
    expect(prebuiltIds(id, { precision, device })).toEqual(expected);
  });
});

describe('openvino_config.json', () => {
  it.each([
    [undefined, { precisions: [] }],
    ['no JSON', { precisions: [] }],
    ['[]', { precisions: [] }],
    // As optimum-intel 2.2 writes it for its own defaults.
    ['{"dtype": "", "quantization_config": {"quantization_configs": {}}}', { precisions: [] }],
    ['{"dtype": "int8"}', { precisions: ['int8'] }],
    ['{"dtype": "int4_int8"}', { precisions: ['int8', 'int4'] }],
    ['{"quantization_config": {"bits": 4, "sym": true}}', { precisions: ['int4'], symmetric: true }],
    ['{"dtype": null, "quantization_config": null}', { precisions: [] }],
  ])('%s', (text, expected) => {
    expect(saidBy(text)).toEqual(expected);
  });
});

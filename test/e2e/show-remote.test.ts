/** What `show` tells of a model before a download, by ranges, against a local hub that counts what it sends. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import * as v from 'valibot';
import { gguf, LLAMA, text, texts, uint16, uint32 } from '../helpers/gguf.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { listen, stop } from '../helpers/http-server.js';
import { createWorld, type World } from '../helpers/program.js';
import { safetensors } from '../helpers/safetensors.js';

const FEW_HUNDRED_KB = 600 * 1024;
const CONFIG = JSON.stringify({
  architectures: ['BertModel'],
  model_type: 'bert',
  max_position_embeddings: 512,
  num_hidden_layers: 1,
});

const shown = v.object({
  models: v.tuple([
    v.looseObject({
      kind: v.string(),
      access: v.nullable(v.string()),
      formats: v.array(v.looseObject({ format: v.string(), bytes: v.number() })),
      headers: v.array(v.looseObject({ file: v.string(), unread: v.nullable(v.string()) })),
      inputs: v.array(v.unknown()),
      outputs: v.array(v.unknown()),
      outlook: v.array(
        v.looseObject({ device: v.string(), refused: v.nullable(v.looseObject({ message: v.string() })) }),
      ),
      unread: v.array(v.string()),
      fetchedBytes: v.number(),
    }),
  ]),
});

let hub: HfHub;
let world: World;

/** 3 MB of weights, so that their header is a small part of them. */
const WEIGHTS = { a: { dtype: 'F16', shape: [1000, 1000] }, b: { dtype: 'F32', shape: [250, 1000] } };

beforeAll(async () => {
  const shard = (names: readonly string[]): Buffer =>
    safetensors(Object.fromEntries(names.map((name) => [name, { dtype: 'BF16', shape: [512, 1024] }])));
  const vocabulary = Array.from({ length: 60_000 }, (_each, index) => `token-${index}-${index % 7}`);
  const ir = await readFile(fileURLToPath(new URL('../fixtures/ir/int4.xml', import.meta.url)), 'utf8');
  hub = await startHfHub({
    tokens: [{ token: 'hf_granted_0123456789', user: 'ali' }],
    repos: [
      {
        id: 'org/bert',
        license: 'apache-2.0',
        task: 'feature-extraction',
        library: 'transformers',
        files: { 'config.json': CONFIG, 'model.safetensors': safetensors(WEIGHTS), 'tokenizer.json': '{}' },
      },
      {
        id: 'org/sharded',
        files: {
          'config.json': CONFIG,
          'model-00001-of-00002.safetensors': shard(['a', 'b']),
          'model-00002-of-00002.safetensors': shard(['c']),
          'model.safetensors.index.json': JSON.stringify({
            weight_map: {
              a: 'model-00001-of-00002.safetensors',
              b: 'model-00001-of-00002.safetensors',
              c: 'model-00002-of-00002.safetensors',
            },
          }),
        },
      },
      {
        id: 'org/wordy',
        files: Object.fromEntries(
          [0, 1, 2, 3, 4, 5].flatMap((folder): readonly (readonly [string, string | Buffer])[] => [
            [`${folder}/config.json`, CONFIG.replace('{', `{"words":"${'w'.repeat(200_000 + folder)}",`)],
            [`${folder}/model.safetensors`, safetensors({ a: { dtype: 'F16', shape: [100_000] } })],
          ]),
        ),
      },
      {
        id: 'org/quantized',
        files: {
          'model-Q4_K_M.gguf': gguf({ values: { ...LLAMA, 'llama.context_length': uint32(4096) } }),
          'model-Q8_0.gguf': gguf(),
        },
      },
      {
        id: 'org/vocabulary',
        files: {
          'model.gguf': gguf({
            values: {
              'general.architecture': text('llama'),
              'llama.context_length': uint32(8192),
              'tokenizer.ggml.model': text('gpt2'),
              'tokenizer.ggml.tokens': texts(vocabulary),
              'general.file_type': uint32(15),
            },
            tensors: { weight: [1024, 1024] },
          }),
        },
      },
      { id: 'org/ir', files: { 'int4.xml': ir, 'int4.bin': randomBytes(2000) } },
      {
        id: 'org/gated',
        license: 'llama3',
        gated: { kind: 'manual', granted: ['ali'] },
        files: { 'config.json': CONFIG, 'model.safetensors': safetensors(WEIGHTS) },
      },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterAll(async () => {
  await world.remove();
  await hub.close();
});

beforeEach(() => {
  hub.clearRequests();
});

/** Of one model, as many as are asked for at the same time. */
const PARTS = 16;
type Shapes = Readonly<Record<string, readonly number[]>>;

async function show(...args: readonly string[]): Promise<v.InferOutput<typeof shown>['models'][0]> {
  const { exitCode, stdout, stderr } = await world.run('show', ...args, '--json');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return v.parse(shown, JSON.parse(stdout)).models[0];
}

/** Bytes of bodies that were handed out, and that no request was for all of a large file. */
function sentBytes(): number {
  return hub.requests.reduce((sum, { bytes }) => sum + bytes, 0);
}

describe('show of a model at its hub', () => {
  it('reads the header of safetensors, and asks the planner for each device', async () => {
    const model = await show('hf:org/bert');
    expect(model).toMatchObject({
      kind: 'remote',
      license: 'apache-2.0',
      formats: [{ format: 'safetensors', files: 1, quantization: null }],
      headers: [
        {
          file: 'model.safetensors',
          files: 1,
          architecture: 'BertModel',
          parameters: 1_250_000,
          types: [
            { type: 'F16', bytes: 2_000_000 },
            { type: 'F32', bytes: 1_000_000 },
          ],
          contextLength: 512,
          unread: null,
        },
      ],
    });
    expect(model.outlook.map(({ device }) => device)).toEqual(['CPU', 'GPU', 'NPU']);
    expect(model.outlook[0]).toMatchObject({
      precision: 'int8',
      converter: 'optimum',
      stored: false,
      refused: null,
    });
    expect(sentBytes()).toBeLessThan(FEW_HUNDRED_KB);
    expect(model.fetchedBytes).toBeGreaterThan(0);
    expect(hub.requests.filter(({ server }) => server === 'cdn').every(({ headers }) => headers.range)).toBe(
      true,
    );
  });

  it('reads all parts of safetensors that the index names', async () => {
    const model = await show('hf:org/sharded');
    expect(model.headers).toMatchObject([
      { file: 'model-00001-of-00002.safetensors', files: 2, parameters: 3 * 512 * 1024, unread: null },
    ]);
    expect(sentBytes()).toBeLessThan(FEW_HUNDRED_KB);
  });

  it.each([
    [
      'safetensors',
      (tensors: Shapes) =>
        safetensors(
          Object.fromEntries(Object.entries(tensors).map(([name, shape]) => [name, { dtype: 'F32', shape }])),
        ),
    ],
    ['gguf', (tensors: Shapes) => gguf({ values: { 'split.count': uint16(PARTS) }, tensors })],
  ])('asks for the parts of %s at the same time, and counts each byte', async (format, make) => {
    const number = (part: number): string => String(part).padStart(5, '0');
    const files = Array.from({ length: PARTS }, (_part, at): [string, Buffer] => [
      `m-${number(at + 1)}-of-${number(PARTS)}.${format}`,
      make({ [`weight-${at}`]: [1000, at + 1] }),
    ]);
    const asked = new Set<string>();
    let meet: () => void = () => undefined;
    const met = new Promise<void>((resolve) => (meet = resolve));
    const apart = await startHfHub({
      repos: [{ id: 'org/parts', files: Object.fromEntries(files) }],
      // None is answered before all were asked for.
      hold: async ({ server, url }) => {
        if (server !== 'cdn') return;
        asked.add(new URL(url, 'http://cdn').pathname);
        if (asked.size === PARTS) meet();
        await met;
      },
    });
    onTestFinished(() => apart.close());
    const environment = { HF_ENDPOINT: apart.endpoint };
    const { exitCode, stdout, stderr } = await world.runWith(environment, 'show', 'hf:org/parts', '--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const [model] = v.parse(shown, JSON.parse(stdout)).models;
    const parameters = (1000 * PARTS * (PARTS + 1)) / 2;
    expect(model.headers).toMatchObject([{ files: PARTS, parameters, unread: null }]);
    const sent = apart.requests.filter(({ server }) => server === 'cdn');
    expect(model.fetchedBytes).toBe(sent.reduce((sum, { bytes }) => sum + bytes, 0));
  });

  it('counts the texts beside weights among what may be read', async () => {
    const { headers, fetchedBytes } = await show('hf:org/wordy');
    expect(headers).toHaveLength(6);
    expect(headers[0]).toMatchObject({ architecture: 'BertModel', parameters: 100_000 });
    expect(sentBytes()).toBeLessThan(FEW_HUNDRED_KB);
    expect(fetchedBytes).toBeGreaterThan(200 * 1024);
  });

  it('reads one GGUF of several quantizations, and says which there are', async () => {
    const model = await show('hf:org/quantized');
    expect(model).toMatchObject({
      formats: [
        { format: 'gguf', quantization: 'Q4_K_M' },
        { format: 'gguf', quantization: 'Q8_0' },
      ],
      headers: [
        {
          architecture: 'llama',
          quantization: 'Q4_K_M',
          contextLength: 4096,
          parameters: 1600,
          unread: null,
        },
      ],
    });
    expect(model.outlook[0]?.refused?.message).toContain('its weights are GGUF');
    const only = await show('hf:org/quantized//model-Q8_0.gguf');
    expect(only.headers.map(({ file }) => file)).toEqual(['model-Q8_0.gguf']);
  });

  it('passes by a list of tokens that is longer than what may be read', async () => {
    const model = await show('hf:org/vocabulary');
    expect(model.headers[0]).toMatchObject({
      architecture: 'llama',
      contextLength: 8192,
      parameters: 1024 * 1024,
      quantization: 'Q4_K_M',
      tokenizer: 'gpt2, 60000 tokens',
      unread: null,
    });
    expect(sentBytes()).toBeLessThan(FEW_HUNDRED_KB);
  });

  it('reads an IR', async () => {
    const model = await show('hf:org/ir');
    expect(model).toMatchObject({
      headers: [{ format: 'openvino', quantization: 'int4_sym' }],
      inputs: [{ file: 'int4.xml', name: 'x', type: 'f32', shape: ['?', 32] }],
      outputs: [{ name: 'y' }],
    });
  });

  it('says of a gate whether it is open to whoever asks', async () => {
    const closed = await show('hf:org/gated');
    expect(closed).toMatchObject({ access: 'refused', headers: [], gated: true });
    expect(closed.unread.join(' ')).toContain('org/gated');
    expect(closed.outlook.every(({ refused }) => refused !== null)).toBe(true);
    const { stdout } = await world.runWith(
      { HF_TOKEN: 'hf_granted_0123456789' },
      'show',
      'hf:org/gated',
      '--json',
    );
    expect(JSON.parse(stdout)).toMatchObject({
      models: [{ access: 'granted', headers: [{ parameters: 1_250_000 }] }],
    });
  });

  it('is one screen for people, and stores nothing', async () => {
    const { stdout } = await world.run('show', 'hf:org/bert');
    expect(stdout).toMatch(/^ {2}model {6}BertModel, 1\.25 million parameters, F16 67 %, F32 33 %/m);
    expect(stdout).toMatch(/^ {2}convert {4}CPU, GPU(, NPU)?: int8 by optimum, /m);
    expect(stdout.split('\n').length).toBeLessThan(24);
    expect((await world.run('list', '--quiet')).stdout).toBe('');
  });

  it('says the same once the model is stored, without network', async () => {
    const before = await show('hf:org/bert');
    await world.run('pull', 'hf:org/bert');
    const after = await show('hf:org/bert', '--offline');
    expect({ ...after.headers[0] }).toEqual({ ...before.headers[0] });
    expect(after.formats).toEqual(before.formats);
    expect(after.outlook[0]).toMatchObject({ converter: 'optimum', downloadBytes: 0 });
    await world.run('remove', 'hf:org/bert', '-y');
  });
});

describe('show of files here that are not stored', () => {
  it('reads all that they say, also offline, and counts none of it as fetched', async () => {
    const tokens = Array.from({ length: 60_000 }, (_each, index) => `token-${index}`);
    const values = { ...LLAMA, 'tokenizer.ggml.tokens': texts(tokens) };
    await writeFile(join(world.directory, 'own.gguf'), gguf({ values }));
    for (const option of ['--offline', '--prefer-offline']) {
      const model = await show('./own.gguf', option);
      expect(model).toMatchObject({
        kind: 'remote',
        headers: [{ parameters: 1600, quantization: 'Q4_K_M', unread: null }],
        fetchedBytes: 0,
      });
    }
  });
});

describe('show of a server', () => {
  it('that sends only whole files is left after its first answer', async () => {
    const piece = Buffer.alloc(1024 * 1024);
    const pieces = 64;
    let sent = 0;
    let asked = 0;
    const server = createServer((request, response) => {
      response.setHeader('content-length', String(pieces * piece.length));
      if (request.method === 'HEAD') {
        response.end();
        return;
      }
      asked += 1;
      const body = Readable.from(
        (function* () {
          for (; sent < pieces; sent += 1) yield piece;
        })(),
      );
      pipeline(body, response, () => undefined);
    });
    const port = await listen(server, 0);
    const { exitCode, stdout } = await world.run('show', `http://127.0.0.1:${port}/model.safetensors`);
    await stop(server);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('its server sends no part of a file, only all of it');
    expect(asked).toBeGreaterThan(0);
    expect(sent).toBeLessThan(pieces);
  });
});

/** Headers that lie, are cut off, or want memory: a sentence each, and no more read than may be. */
import type { TensorInfo } from '@huggingface/hub';
import { describe, expect, it } from 'vitest';
import { describeContents, type Contents } from '../../src/headers/describe.js';
import { formatsOf } from '../../src/headers/formats.js';
import { remoteAllowance, Unread, type PartlyRead } from '../../src/headers/parts.js';
import { summarize } from '../../src/headers/safetensors.js';
import { gguf, LLAMA, text, texts, uint32 } from '../helpers/gguf.js';
import { safetensors, withHeader } from '../helpers/safetensors.js';

const MOST = 512 * 1024;

interface Counted {
  readonly contents: Contents;
  readonly readBytes: number;
}

/** As a hub gives them: a part for each question, within an allowance. */
async function look(
  files: Readonly<Record<string, Buffer>>,
  texted: Readonly<Record<string, string>> = {},
): Promise<Counted> {
  let readBytes = 0;
  const open = (path: string): PartlyRead => {
    const bytes = files[path] ?? Buffer.alloc(0);
    return {
      size: () => bytes.length,
      isCostly: true,
      read(start, end, ahead = 8 * 1024) {
        const upTo = Math.min(bytes.length, Math.max(end, start + ahead));
        if (end - start > MOST - readBytes)
          return Promise.reject(new Unread('its header is longer than what is read'));
        readBytes += Math.max(0, upTo - start);
        return Promise.resolve(bytes.subarray(start, upTo));
      },
    };
  };
  const listed = [...Object.entries(files), ...Object.entries(texted)];
  const contents = await describeContents({
    files: listed.map(([path, { length }]) => ({ path, bytes: length })),
    text: (path) => Promise.resolve(texted[path]),
    open,
    isHere: false,
  });
  return { contents, readBytes };
}

async function headerOf(name: string, bytes: Buffer): Promise<Contents['headers'][0] | undefined> {
  const { contents, readBytes } = await look({ [name]: bytes });
  expect(readBytes).toBeLessThanOrEqual(MOST);
  return contents.headers[0];
}

const HUGE = 2n ** 60n;

/** A GGUF's beginning with counts of its own. */
function ggufCounts(tensors: bigint, values: bigint): Buffer {
  const bytes = Buffer.alloc(64);
  bytes.write('GGUF');
  bytes.writeUInt32LE(3, 4);
  bytes.writeBigUInt64LE(tensors, 8);
  bytes.writeBigUInt64LE(values, 16);
  return bytes;
}

function eight(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function counted(value: string): Buffer {
  return Buffer.concat([eight(BigInt(value.length)), Buffer.from(value)]);
}

function varint(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >> 7)];
}

const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
const entry = (shape: readonly number[], offsets: readonly number[]): string =>
  JSON.stringify({ a: { dtype: 'F32', shape, data_offsets: offsets } });

describe('a header that is not what it says', () => {
  it.each<readonly [string, string, Buffer, RegExp]>([
    ['safetensors of 2^60 bytes', 'm.safetensors', withHeader('{}', 0, HUGE), /length that nothing has/],
    [
      'safetensors of 2^64 - 1 bytes',
      'm.safetensors',
      withHeader('{}', 0, 2n ** 64n - 1n),
      /length that nothing has/,
    ],
    ['safetensors longer than the file', 'm.safetensors', withHeader('{}', 0, 1000n), /more than it holds/],
    ['safetensors of no JSON', 'm.safetensors', withHeader('{"a":'), /no JSON object/],
    [
      'safetensors of a list',
      'm.safetensors',
      withHeader('[]'),
      /tensor that is none|no JSON object|damaged/,
    ],
    ['safetensors of deep JSON', 'm.safetensors', withHeader(`{"a":${deep}}`), /tensor that is none/],
    [
      'safetensors cut off',
      'm.safetensors',
      safetensors({ a: { dtype: 'F32', shape: [9] } }).subarray(0, 20),
      /more than it holds/,
    ],
    ['safetensors of 5 bytes', 'm.safetensors', Buffer.from('12345'), /cut off/],
    ['an empty file', 'm.safetensors', Buffer.alloc(0), /cut off/],
    ['a tensor beyond the file', 'm.safetensors', withHeader(entry([9], [0, 36]), 8), /cannot hold/],
    [
      'a tensor of 2^60 numbers',
      'm.safetensors',
      withHeader(entry([2 ** 30, 2 ** 30], [0, 8]), 8),
      /cannot hold/,
    ],
    [
      'a tensor of 2^60 numbers of an unknown type',
      'm.safetensors',
      withHeader(entry([2 ** 30, 2 ** 30], [0, 8]).replace('F32', 'NEW'), 8),
      /more numbers/,
    ],
    [
      'a tensor with fewer bytes than numbers',
      'm.safetensors',
      withHeader(entry([9], [0, 8]), 8),
      /cannot hold/,
    ],
    [
      'tensors that share their bytes',
      'm.safetensors',
      withHeader(
        JSON.stringify(
          Object.fromEntries(
            ['a', 'b'].map((name) => [name, { dtype: 'F32', shape: [2], data_offsets: [0, 8] }]),
          ),
        ),
        8,
      ),
      /more than it holds/,
    ],
    [
      'a header of 1 MB',
      'm.safetensors',
      withHeader(JSON.stringify({ __metadata__: { x: 'y'.repeat(2 ** 20) } }), 8),
      /longer than what is read/,
    ],
    ['a GGUF that is none', 'm.gguf', Buffer.from('<html>not a model</html>'), /no GGUF/],
    ['a GGUF of version 1', 'm.gguf', gguf({ version: 1 }), /version/],
    ['a GGUF of 2^60 values', 'm.gguf', ggufCounts(1n, HUGE), /length that nothing has/],
    ['a GGUF of 2^40 tensors', 'm.gguf', ggufCounts(2n ** 40n, 1n), /more than it holds/],
    ['a GGUF cut off at once', 'm.gguf', gguf().subarray(0, 30), /cut off|more than it holds/],
    [
      'an ONNX model that is none',
      'm.onnx',
      Buffer.from('version https://git-lfs.github.com/spec/v1\n'),
      /no ONNX|more than it holds/,
    ],
    [
      'an ONNX graph of 2^50 bytes',
      'm.onnx',
      Buffer.from([8, 7, 0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3]),
      /more than it holds/,
    ],
    ['an empty ONNX model', 'm.onnx', Buffer.alloc(0), /no ONNX/],
  ])('%s is a sentence', async (_what, name, bytes, said) => {
    const header = await headerOf(name, bytes);
    expect(header?.unread).toMatch(said);
    expect(header?.parameters).toBeNull();
  });

  it.each<readonly [string, readonly (readonly [readonly number[], number])[]]>([
    ['more numbers of an unknown type than it has bits', [[[2 ** 40], 99]]],
    ['more numbers than can be counted', [[[2 ** 50, 2 ** 50, 2 ** 50], 99]]],
    ['tensors that share their bytes', Array.from({ length: 20 }, () => [[1000], 0] as const)],
  ])('of a GGUF with %s nothing is counted', async (_what, tensors) => {
    const described = tensors.flatMap(([shape, type], index) => [
      counted(`t${index}`),
      uint32(shape.length)[1],
      ...shape.map((side) => eight(BigInt(side))),
      uint32(type)[1],
      eight(0n),
    ]);
    const begin = ggufCounts(BigInt(tensors.length), 1n).subarray(0, 24);
    const value = [counted('general.architecture'), uint32(8)[1], counted('x')];
    const header = await headerOf(
      'm.gguf',
      Buffer.concat([begin, ...value, ...described, Buffer.alloc(8192)]),
    );
    expect(header).toMatchObject({ architecture: 'x', parameters: null, types: [] });
    expect(header?.unread).toMatch(/more than it holds/);
  });

  it.each([
    ['not a number', 6, [0, 0, 0xc0, 0x7f]],
    ['negative', 5, [0xff, 0xff, 0xff, 0xff]],
    ['beyond counting', 10, Array<number>(8).fill(0xff)],
  ] as const)('of a context that is %s there is none', async (_what, type, bytes) => {
    const values = { ...LLAMA, 'llama.context_length': [type, Buffer.from(bytes)] as const };
    expect(await headerOf('m.gguf', gguf({ values }))).toMatchObject({
      architecture: 'llama',
      contextLength: null,
      unread: null,
    });
  });

  it('of an ONNX graph whose end can be read in a thousand ways is left soon', async () => {
    // Fields of 6 bytes, in each of which one begins that leads to the end.
    const [places, step] = [30_000, 6];
    const fields = Buffer.alloc(places * step);
    for (let at = 0; at < fields.length; at += step) {
      const length = fields.length - at - step;
      fields.set([0x0a, 4, 0x5a, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14], at);
    }
    const before = Buffer.from([0x08, 7, 0x3a, ...varint(fields.length)]);
    const header = await headerOf('m.onnx', Buffer.concat([before, fields]));
    expect(header?.unread).toMatch(/inputs and outputs are not where/);
  });

  it('of a GGUF that is cut off later, what came before is said', async () => {
    const whole = gguf({ values: { ...LLAMA, 'llama.context_length': uint32(4096) } });
    const header = await headerOf('m.gguf', whole.subarray(0, whole.length - 100));
    expect(header).toMatchObject({ architecture: 'llama', contextLength: 4096, parameters: null });
    expect(header?.unread).toMatch(/more than it holds/);
  });

  it('of a list of tokens without an end is not followed', async () => {
    const tokens = texts(Array.from({ length: 40_000 }, (_each, index) => `token-${index}`));
    const header = await headerOf(
      'm.gguf',
      gguf({ values: { 'general.architecture': text('x'), 'a.tokens': tokens } }).subarray(0, 400_000),
    );
    expect(header).toMatchObject({ architecture: 'x', parameters: null });
    expect(header?.unread).toMatch(/longer than what is read/);
  });

  it('leaps only to where the rest fills the file', async () => {
    const values = {
      'general.architecture': text('x'),
      'tokenizer.ggml.tokens': texts(Array.from({ length: 40_000 }, (_each, index) => `token-${index}`)),
      'general.file_type': uint32(7),
    };
    const bytes = gguf({ values });
    expect(await headerOf('m.gguf', bytes)).toMatchObject({
      parameters: 1600,
      quantization: 'Q8_0',
      unread: null,
    });
    const longer = await headerOf('m.gguf', Buffer.concat([bytes, Buffer.alloc(64)]));
    expect(longer?.parameters).toBeNull();
    expect(longer?.unread).toContain('longer');
  });

  it('has no control characters of its own in what is said', async () => {
    const { contents } = await look(
      { 'm.safetensors': safetensors({ a: { dtype: 'F32', shape: [2] } }) },
      { 'config.json': JSON.stringify({ architectures: ['\u001b[31mred\u001b[0m\u0007\nline'] }) },
    );
    expect(contents.headers[0]?.architecture).toBe('red line');
  });

  it('of an index that names what is not there says so, and asks for nothing', async () => {
    const { contents, readBytes } = await look(
      { 'm-00001-of-00002.safetensors': safetensors({ a: { dtype: 'F32', shape: [2] } }) },
      { 'm.safetensors.index.json': JSON.stringify({ weight_map: { a: '../../etc/passwd' } }) },
    );
    expect(contents.headers[0]?.unread).toBe('its index names ../../etc/passwd, which the model lacks');
    expect(readBytes).toBe(0);
  });

  it('counts packed weights as what they are', async () => {
    const { contents } = await look(
      {
        'm.safetensors': safetensors({
          'l.qweight': { dtype: 'I32', shape: [16, 64] },
          'l.scales': { dtype: 'F16', shape: [1, 64] },
        }),
      },
      { 'config.json': JSON.stringify({ quantization_config: { quant_method: 'awq', bits: 4 } }) },
    );
    // Eight weights of 4 bits in each of 1024 words.
    expect(contents.headers[0]).toMatchObject({ parameters: 8192, quantization: 'awq 4 bit' });
  });
});

it.each([
  ['a small one, some hundred kilobytes', 90e6, 512 * 1024],
  ['one of gigabytes, a thousandth', 3e9, 3e6],
  ['the largest ones, no more than any part may have', 700e9, 16 * 1024 * 1024],
])('of %s may be read at the hub', (_what, bytes, mostBytes) => {
  expect(remoteAllowance(bytes)).toEqual({ mostBytes, usedBytes: 0 });
});

it('safetensors of more tensors than a call takes arguments are counted, packed ones by their scales', async () => {
  const count = 70_000;
  const tensors = new Map<string, TensorInfo>();
  const put = (name: string, dtype: 'U32' | 'F16'): void => {
    tensors.set(name, { dtype, shape: [2], data_offsets: [0, dtype === 'U32' ? 8 : 4] });
  };
  for (let at = 0; at < count; at += 1) put(`experts.${at}.weight`, 'U32');
  for (let at = 0; at < count; at += 1)
    for (const of of ['scales', 'biases']) put(`experts.${at}.${of}`, 'F16');
  const packing = { quant_method: 'mlx', bits: 4, group_size: 64, mode: 'affine' } as const;
  const { parameters, types } = await summarize([tensors], packing);
  expect(parameters).toBe(count * 2 * 8);
  expect(types).toEqual([
    { type: 'U32', bytes: 8 * count },
    { type: 'F16', bytes: 8 * count },
  ]);
});

it('an IR of more inputs than a call takes arguments is told of', async () => {
  const layer =
    '<layer name="p" type="Parameter"><output><port precision="FP32"><dim>1</dim></port></output></layer>\n';
  const count = 150_000;
  const bytes = Buffer.from(`<net name="x" version="11"><layers>\n${layer.repeat(count)}</layers></net>`);
  const { inputs } = await describeContents({
    files: ['m.xml', 'm.bin'].map((path) => ({ path, bytes: bytes.length })),
    text: () => Promise.resolve(undefined),
    open: () => ({
      size: () => bytes.length,
      isCostly: false,
      read: (start, end) => Promise.resolve(bytes.subarray(start, end)),
    }),
    isHere: true,
  });
  expect(inputs).toHaveLength(count);
});

it('formats are told by names, pairs of .xml and .bin by each other', () => {
  const bytes = 1;
  const paths = [
    'a.xml',
    'a.bin',
    'b.xml',
    'c.bin',
    'm-Q4_0.gguf',
    'm-Q8_0.gguf',
    'm.onnx',
    'm.onnx_data',
    'pytorch_model.bin',
    'config.json',
  ];
  expect(formatsOf(paths.map((path) => ({ path, bytes })))).toEqual([
    { format: 'openvino', quantization: null, files: 2, bytes: 2 },
    { format: 'onnx', quantization: null, files: 2, bytes: 2 },
    { format: 'gguf', quantization: 'Q4_0', files: 1, bytes: 1 },
    { format: 'gguf', quantization: 'Q8_0', files: 1, bytes: 1 },
    { format: 'pytorch', quantization: null, files: 1, bytes: 1 },
  ]);
});

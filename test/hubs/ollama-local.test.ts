/** What the hub reads and works out about an Ollama on this machine. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { daemonAddress } from '../../hubs/ollama/daemon.js';
import { readGguf, type GgufHeader } from '../../hubs/ollama/gguf.js';
import { register, shownCount } from '../../hubs/ollama/register.js';
import { floats, gguf, LLAMA, text, texts, uint16, uint32 } from '../helpers/gguf.js';
import { temporaryDirectory } from '../helpers/store.js';

async function headerOf(bytes: Buffer): Promise<GgufHeader | undefined> {
  const file = join(await temporaryDirectory(), 'model.gguf');
  await writeFile(file, bytes);
  return readGguf(file);
}

describe('the header of a GGUF', () => {
  it('tells what Ollama shows of a model, behind a list of tokens that no chunk holds', async () => {
    const tokens = Array.from({ length: 200_000 }, (_, index) => `token ${index}`);
    const values = {
      ...LLAMA,
      'tokenizer.ggml.tokens': texts(tokens),
      'tokenizer.chat_template': text('{{'),
    };
    expect(await headerOf(gguf({ values, tensors: { 'a.weight': [4096, 100], 'b.bias': [17] } }))).toEqual({
      architecture: 'llama',
      role: 'model',
      fileType: 'Q4_K_M',
      parameters: 409_617,
      parts: 0,
      hasChatTemplate: true,
    });
  });

  it.each([
    [
      'a projector',
      { 'general.architecture': text('clip'), 'clip.vision.block_count': uint32(2) },
      { role: 'projector' },
    ],
    ['a named projector', { ...LLAMA, 'general.type': text('projector') }, { role: 'projector' }],
    ['an adapter', { ...LLAMA, 'general.type': text('adapter') }, { role: 'adapter' }],
    ['a part of several', { ...LLAMA, 'split.count': uint16(3) }, { parts: 3 }],
    [
      'a quantization that Ollama does not show',
      { ...LLAMA, 'general.file_type': uint32(30) },
      { fileType: 'unknown' },
    ],
    [
      'a quantization of another type',
      { ...LLAMA, 'general.file_type': uint16(15) },
      { fileType: 'unknown' },
    ],
    ['nothing about itself', { x: floats(2) }, { architecture: 'unknown', role: 'model' }],
  ])('tells of %s', async (_what, values, expected) => {
    expect(await headerOf(gguf({ values }))).toMatchObject(expected);
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['another file', Buffer.from('PK\u0003\u0004 some archive')],
    ['a header that ends early', gguf().subarray(0, 90)],
    ['an older version', gguf({ version: 1 })],
    ['a later version', gguf({ version: 4 })],
    ['a type that is none', gguf({ values: { x: [77, Buffer.alloc(4)] } })],
    ['a text past the end', gguf({ values: { x: [8, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0])] } })],
    ['a tensor that no disk holds', withTensor(2n ** 40n)],
    ['a list without end', gguf({ values: { x: [9, Buffer.alloc(12, 0xff)] } })],
  ])('is not what is in %s', async (_what, bytes) => {
    expect(await headerOf(bytes)).toBeUndefined();
  });

  /** A file whose one tensor claims to be square. */
  function withTensor(side: bigint): Buffer {
    const bytes = gguf();
    const at = bytes.indexOf('weight') + 'weight'.length + 4;
    bytes.writeBigUInt64LE(side, at);
    bytes.writeBigUInt64LE(side, at + 8);
    return bytes;
  }
});

it.each([
  [999, '999'],
  [2500, '2K'],
  [3500, '4K'],
  [22_713_216, '22.71M'],
  [137_000_000, '137M'],
  [1_235_814_432, '1.2B'],
  [1_250_000_000, '1.2B'],
  [8_000_000_000, '8B'],
])('shows %i numbers as %s', (count, shown) => {
  expect(shownCount(count)).toBe(shown);
});

it.each([
  ['hf', 'org/Name-1.5B-GGUF', 'Name-1.5B-Q4_K_M.gguf', 'Q4_K_M', 'name-1.5b:q4_k_m'],
  ['hf', 'org/Name', 'UD-Q4_K_XL/Name.gguf', 'UD-Q4_K_XL', 'name:ud-q4_k_xl'],
  ['file', '/models/My Model.Q4_K_M.gguf', 'My Model.Q4_K_M.gguf', 'Q4_K_M', 'my-model:q4_k_m'],
  ['file', 'C:\\models\\tiny-Q8_0.gguf', 'tiny-Q8_0.gguf', 'Q8_0', 'tiny:q8_0'],
  ['url', 'https://host.example/a%20b.gguf', 'a b.gguf', undefined, 'a-b:q4_k_m'],
])('names a GGUF of %s, %s, as Ollama names models', async (hub, id, path, quantization, name) => {
  const home = await temporaryDirectory();
  await mkdir(join(home, '.ollama'));
  const location = join(home, 'weights');
  await writeFile(location, gguf());
  const file = { path, bytes: gguf().length, sha256: 'a'.repeat(64), location };
  const model = {
    hub,
    id,
    reference: `${hub}:${id}`,
    files: [quantization === undefined ? file : { ...file, quantization }],
  };
  const registration = await register(model, undefined, { settings: {}, environment: {}, home });
  expect(registration.name).toBe(name);
  expect(registration.contents.map(({ from }) => from)[0]).toBe(location);
});

describe('OLLAMA_HOST', () => {
  it.each([
    ['', 'http://127.0.0.1:11434'],
    ['  ', 'http://127.0.0.1:11434'],
    ['1.2.3.4', 'http://1.2.3.4:11434'],
    ['"1.2.3.4:8080"', 'http://1.2.3.4:8080'],
    [':8080', 'http://127.0.0.1:8080'],
    ['0.0.0.0', 'http://127.0.0.1:11434'],
    ['0.0.0.0:8080', 'http://127.0.0.1:8080'],
    ['[::]:8080', 'http://[::1]:8080'],
    ['::1', 'http://[::1]:11434'],
    ['[::1]', 'http://[::1]:11434'],
    ['box.example', 'http://box.example:11434'],
    ['http://box.example', 'http://box.example:80'],
    ['https://box.example', 'https://box.example:443'],
    ['https://box.example:1234/ollama/', 'https://box.example:1234/ollama'],
    ['box.example:99999', 'http://box.example:11434'],
    ['box.example:', 'http://box.example:11434'],
    ['ollama.com', 'https://ollama.com:443'],
  ])('%j is %s', (setting, address) => {
    expect(daemonAddress(setting)).toBe(address);
  });

  it.each(['ftp://box.example', 'no host', 'http://['])('%j is no address', (setting) => {
    expect(() => daemonAddress(setting)).toThrow('`OLLAMA_HOST` is no address');
  });
});

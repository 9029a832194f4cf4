import { execFileSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ollama } from '../../hubs/ollama.js';
import { bearerChallenge } from '../../hubs/challenge.js';
import { tokenAddress } from '../../hubs/ollama/challenge.js';
import { mayGrant, registryOf } from '../../hubs/ollama/endpoint.js';
import { parseKey, signed } from '../../hubs/ollama/key.js';
import { licenseOf } from '../../hubs/ollama/license.js';
import { placeLayers, type Layer } from '../../hubs/ollama/manifest.js';
import { writeModelfile, type ReadLayer } from '../../hubs/ollama/modelfile.js';
import type { ErrorCode } from '../../src/errors.js';
import type { RemoteFile, Snapshot } from '../../src/hub.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import {
  manifestOf,
  sha256Of,
  startOllamaRegistry,
  type OllamaRegistry,
  type RegistryModel,
  type RegistryOptions,
} from '../helpers/ollama-registry.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { writeOllamaKey } from '../helpers/ssh-key.js';
import { temporaryDirectory } from '../helpers/store.js';
import { selfSigned } from '../transfer/certificate.js';
import { describeHubConformance } from './conformance.js';

const GGUF = Buffer.from('GGUF, the weights');
const OTHER = Buffer.from('GGUF, other weights');
const TEMPLATE = Buffer.from('{{ .System }}\nUser: {{ .Prompt }}\n');
const PARAMS = Buffer.from('{"stop":["<|start|>","<|end|>"],"temperature":0.6}');
const LICENSE = Buffer.from('LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date');
const POLICY = Buffer.from('**Llama 3.2** **Acceptable Use Policy**');
const CONFIG = {
  model_format: 'gguf',
  model_family: 'llama',
  model_type: '3.2B',
  file_type: 'Q4_K_M',
  architecture: 'amd64',
};

const LLAMA: RegistryModel = {
  name: 'library/llama3.2:3b',
  config: CONFIG,
  layers: [
    { kind: 'model', bytes: GGUF },
    { kind: 'template', bytes: TEMPLATE },
    { kind: 'license', bytes: LICENSE },
    { kind: 'license', bytes: POLICY },
    { kind: 'params', bytes: PARAMS },
  ],
};
const LATEST: RegistryModel = { ...LLAMA, name: 'library/llama3.2:latest' };
const PRIVATE: RegistryModel = { ...LLAMA, name: 'me/secret:latest', isPrivate: true };
const MANIFEST = Buffer.from(manifestOf(LLAMA.layers, CONFIG));
const HEX = sha256Of(MANIFEST);
const PATHS = [
  'llama3.2-3.2B-Q4_K_M.gguf',
  'template',
  'LICENSE',
  'LICENSE-2',
  'params.json',
  'image.json',
  'Modelfile',
  'manifest.json',
];

function parse(text: string): Reference {
  return parseReference(text, [ollama.syntax], { cwd: '/work', home: '/home/user' });
}

describeHubConformance('ollama', async () => {
  const registry = await startOllamaRegistry({ models: [LLAMA, LATEST] });
  return {
    hub: ollama,
    options: { settings: { endpoint: registry.endpoint } },
    model: { text: 'ollama:llama3.2:3b', paths: PATHS },
    unknown: 'ollama:llama9',
    search: { text: 'llama3.2:3b', finds: ['ollama:llama3.2:3b'] },
    references: [
      'ollama:llama3.2',
      'ollama:library/llama3.2',
      'ollama:registry.ollama.ai/library/llama3.2:1b',
      'ollama:user/model:tag//template',
      'ollama:localhost:5000/ns/model:tag',
      'ollama:hf.co/org/name-GGUF:Q4_K_M',
      `ollama:llama3.2:3b@sha256:${HEX}`,
      `ollama:llama3.2@sha256-${HEX}//LICENSE`,
      'https://ollama.com/library/llama3.2:1b',
    ],
    secrets: ['X-Amz-Signature'],
    setFault: registry.setFault,
    reached: registry.site.reached,
    close: registry.close,
  };
});

describe('references', () => {
  it.each<[string, Partial<Reference>, string]>([
    ['ollama:llama3.2', { id: 'llama3.2' }, 'ollama:llama3.2'],
    ['ollama:llama3.2:3b', { id: 'llama3.2', revision: '3b' }, 'ollama:llama3.2:3b'],
    ['ollama:library/llama3.2:3b', { id: 'llama3.2', revision: '3b' }, 'ollama:llama3.2:3b'],
    ['ollama:registry.ollama.ai/me/x', { id: 'me/x' }, 'ollama:me/x'],
    ['ollama:Registry.Ollama.ai/x', { id: 'x' }, 'ollama:x'],
    [
      'ollama:HF.co/org/Name-GGUF:Q8_0',
      { id: 'hf.co/org/Name-GGUF', revision: 'Q8_0' },
      'ollama:hf.co/org/Name-GGUF:Q8_0',
    ],
    ['ollama:localhost:5000/ns/m', { id: 'localhost:5000/ns/m' }, 'ollama:localhost:5000/ns/m'],
    ['ollama:localhost/m', { id: 'localhost/library/m' }, 'ollama:localhost/library/m'],
    [
      'ollama:host.example:5000/m:t',
      { id: 'host.example:5000/library/m', revision: 't' },
      'ollama:host.example:5000/library/m:t',
    ],
    [`ollama:x@sha256:${HEX}`, { id: 'x', revision: HEX }, `ollama:x@sha256:${HEX}`],
    [
      `ollama:x:3b@sha256:${HEX}//a/b`,
      { id: 'x:3b', revision: HEX, subpath: 'a/b' },
      `ollama:x:3b@sha256:${HEX}//a/b`,
    ],
    ['ollama:x:3b+int4-npu', { id: 'x', revision: '3b', conversion: 'int4-npu' }, 'ollama:x:3b+int4-npu'],
    ['https://ollama.com/library/qwen3', { id: 'qwen3' }, 'ollama:qwen3'],
    ['https://ollama.com/library/qwen3/tags', { id: 'qwen3' }, 'ollama:qwen3'],
    ['https://www.ollama.com/me/x:1b', { id: 'me/x', revision: '1b' }, 'ollama:me/x:1b'],
  ])('%s', (text, expected, written) => {
    const reference = parse(text);
    expect(reference).toEqual({ hub: 'ollama', ...expected });
    expect(formatReference(reference, [ollama.syntax])).toBe(written);
  });

  it.each([
    ['ollama:', 'is no name of a model'],
    ['ollama:a/b/c', 'more parts than host, namespace and model'],
    ['ollama:host.example/a/b/c', 'more parts than host, namespace and model'],
    ['ollama:x:', 'is no tag'],
    ['ollama:x:a b', 'is no tag'],
    [`ollama:x:${HEX}`, 'the tag looks like a digest'],
    ['ollama:x@main', 'expected `sha256:`'],
    [`ollama:x@${HEX}`, 'expected `sha256:`'],
    ['ollama:../x', 'is no'],
    ['ollama:me/..', 'is no name of a model'],
    ['ollama:me.you/x/y/z', 'more parts'],
    ['ollama:%2e%2e/x', 'is no'],
    ['ollama:me/x%2fy', 'more parts'],
    ['ollama:http://localhost:5000/x', 'leave out the scheme'],
    ['ollama://llama3.2', 'leave out the scheme'],
    ['ollama:host.example:port/a/b', 'is no host'],
    ['ollama:host.example:99999/a/b', 'is no host'],
    ['ollama:1.2.3.999/a/b', 'is no host'],
    [`ollama:${'x'.repeat(81)}`, 'is no name of a model'],
  ])('refuses %s', (text, why) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    try {
      parse(text);
    } catch (error) {
      expect(String(error) + String((error as { hint?: string }).hint)).toContain(why);
    }
  });

  it.each([
    'https://ollama.com/blog/thinking',
    'https://ollama.com/download/ollama-linux-amd64.tgz',
    'https://ollama.com/install.sh',
    'https://ollama.com/library/qwen3?sort=newest',
    'https://ollama.com/library/qwen3/blobs/abc',
    'https://other.example/library/qwen3',
  ])('leaves to others: %s', (text) => {
    expect(ollama.syntax.fromWebAddress(new URL(text))).toBeUndefined();
  });
});

describe('addresses', () => {
  const insecure = ['plain.example:5000', 'usual.example', 'named.example:80'];
  const context = { settings: { insecure }, environment: {}, home: '/' };
  it.each([
    [undefined, 'https://registry.ollama.ai'],
    ['hf.co', 'https://hf.co'],
    ['localhost:5000', 'http://localhost:5000'],
    ['127.0.0.1:5000', 'http://127.0.0.1:5000'],
    ['plain.example:5000', 'http://plain.example:5000'],
    ['plain.example', 'https://plain.example'],
    ['usual.example:80', 'http://usual.example:80'],
    ['named.example:80', 'http://named.example:80'],
  ])('%s is at %s', (host, address) => {
    expect(registryOf(host === undefined ? {} : { host }, context)).toBe(address);
    expect(() => {
      ollama.allow(new URL(address), context);
    }).not.toThrow();
  });

  it.each([
    ['https://host.example/token', 'https://host.example', true],
    ['https://ollama.com/token', 'https://registry.ollama.ai', true],
    ['https://huggingface.co/token', 'https://hf.co', true],
    ['http://ollama.com/token', 'https://registry.ollama.ai', false],
    ['https://ollama.com/token', 'https://host.example', false],
    ['https://evil.example/token', 'https://registry.ollama.ai', false],
    ['https://host.example:444/token', 'https://host.example', false],
    ['https://huggingface.co/token', 'https://registry.ollama.ai', false],
  ])('a token of %s for %s: %s', (realm, registry, expected) => {
    expect(mayGrant(new URL(realm), new URL(registry))).toBe(expected);
  });
});

describe('trees', () => {
  const layer = (kind: string, name?: string): Layer => ({
    kind,
    hex: sha256Of(Buffer.from(kind + (name ?? ''))),
    size: 1,
    ...(name === undefined ? {} : { name }),
  });

  it.each<[string, readonly Layer[], object, readonly string[]]>([
    ['weights', [layer('model')], CONFIG, ['m-3.2B-Q4_K_M.gguf']],
    ['weights of unknown kind', [layer('model')], { file_type: 'unknown', model_type: '../x' }, ['m.gguf']],
    ['several', [layer('model'), layer('model', 'x')], {}, ['m.gguf', 'm-2.gguf']],
    [
      'what goes with weights',
      ['projector', 'adapter', 'draft', 'system', 'messages', 'prompt', 'embed', 'later'].map((kind) =>
        layer(kind),
      ),
      {},
      [
        'mmproj-m.gguf',
        'adapter-m.gguf',
        'draft-m.gguf',
        'system',
        'messages.json',
        'prompt',
        'embed',
        'layers/later',
      ],
    ],
    [
      'tensors',
      [layer('tensor', 'model.layers.0.weight'), layer('json', 'tokenizer/vocab.json')],
      {},
      ['tensors/model.layers.0.weight.safetensors', 'tokenizer/vocab.json'],
    ],
  ])('have readable names: %s', (_what, layers, about, paths) => {
    const placed = placeLayers('m', { layers, config: layer('config') }, about);
    expect(placed.map(({ path }) => path)).toEqual([...paths, 'image.json']);
  });

  it.each([
    [['LLAMA 3.2 COMMUNITY LICENSE AGREEMENT', 'Acceptable Use Policy'], 'llama3.2'],
    [
      [
        '                                 Apache License\n                           Version 2.0, January 2004',
      ],
      'apache-2.0',
    ],
    [['MIT License\n\nCopyright (c) 2025'], 'mit'],
    [['MIT License', 'Apache License\nVersion 2.0'], undefined],
    [['Ours, all rights reserved; not the MIT License'], undefined],
    [[], undefined],
  ])('know their licence: %j is %s', (texts, expected) => {
    expect(licenseOf(texts)).toBe(expected);
  });
});

describe('Modelfiles', () => {
  const layer = (kind: string, path: string, text?: string): ReadLayer => ({
    kind,
    path,
    hex: HEX,
    size: 1,
    ...(text === undefined ? {} : { text }),
  });

  it('say all that a model is made of', () => {
    const layers = [
      layer('model', 'm.gguf'),
      layer('projector', 'mmproj-m.gguf'),
      layer('adapter', 'adapter-m.gguf'),
      layer('template', 'template', '{{ .Prompt }}\n'),
      layer('system', 'system', 'You say "yes".'),
      layer('params', 'params.json', '{"stop":["<|a|>"," b"],"num_ctx":4096,"use_mmap":true}'),
      layer(
        'messages',
        'messages.json',
        '[{"role":"user","content":"Hi"},{"role":"assistant","content":""}]',
      ),
      layer('license', 'LICENSE', 'One\nTwo'),
    ];
    expect(writeModelfile(layers, { renderer: 'qwen3', parser: 'qwen3', requires: '0.14.0' })).toBe(
      [
        'FROM ./m.gguf',
        'ADAPTER ./adapter-m.gguf',
        'FROM ./mmproj-m.gguf',
        'TEMPLATE """{{ .Prompt }}\n"""',
        'SYSTEM You say "yes".',
        'RENDERER qwen3',
        'PARSER qwen3',
        'REQUIRES 0.14.0',
        'PARAMETER stop <|a|>',
        'PARAMETER stop """ b"""',
        'PARAMETER num_ctx 4096',
        'PARAMETER use_mmap true',
        'LICENSE """One\nTwo"""',
        'MESSAGE user Hi',
        'MESSAGE assistant """"""',
        '',
      ].join('\n'),
    );
  });

  it.each([
    ['a text too long to read', layer('license', 'LICENSE'), '# LICENSE is in ./LICENSE'],
    ['a text that would end its quotes', layer('system', 'system', 'a\n""" b'), '# SYSTEM is in ./system'],
    ['characters that Ollama drops', layer('system', 'system', 'a\u2028b'), '# SYSTEM is in ./system'],
    ['one that needs none', layer('system', 'system', 'a """ b'), 'SYSTEM a """ b'],
    [
      'a text that could add a command',
      layer('system', 'system', 'a\nFROM other'),
      'SYSTEM """a\nFROM other"""',
    ],
    ['settings that are none', layer('params', 'params.json', '[1]'), '# PARAMETER is in ./params.json'],
    [
      'a setting of several lines',
      layer('params', 'params.json', '{"a\\nFROM x":1}'),
      '# PARAMETER "a\\nFROM x" is in ./params.json',
    ],
    [
      'a role that there is not',
      layer('messages', 'messages.json', '[{"role":"x y","content":"z"}]'),
      '# MESSAGE is in ./messages.json',
    ],
  ])('leave nothing to chance: %s', (_what, what, line) => {
    expect(writeModelfile([what], {})).toBe(`${line}\n`);
  });
});

/** A key by the program that made the format. */
async function generateKey(
  home: string,
  ...options: readonly string[]
): Promise<{ text: string; key: string }> {
  const file = join(home, 'id_ed25519');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', ...options, '-f', file]);
  const [, key = ''] = (await readFile(`${file}.pub`, 'utf8')).split(' ');
  return { text: await readFile(file, 'utf8'), key: key.trim() };
}

const withKeygen = requirePeer('OpenSSH', hasProgram('ssh', ['-V']));

describe('keys and challenges', () => {
  withKeygen('are those of ssh-keygen', async () => {
    const { text, key } = await generateKey(await temporaryDirectory());
    const parsed = parseKey(text);
    expect(parsed.publicKey).toBe(key);
    const [, signature = ''] = signed(parsed, 'GET,https://x.example').split(':');
    const publicKey = createPublicKey(parsed.privateKey);
    expect(
      verify(null, Buffer.from('GET,https://x.example'), publicKey, Buffer.from(signature, 'base64')),
    ).toBe(true);
    expect(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')).toEqual(
      Buffer.from(key, 'base64').subarray(-32),
    );
  });

  withKeygen('are refused with a passphrase, and of another type', async () => {
    const locked = await generateKey(await temporaryDirectory(), '-N', 'secret', '-a', '1');
    expect(() => parseKey(locked.text)).toThrow('it is protected by a passphrase');
    const other = await generateKey(await temporaryDirectory(), '-t', 'ecdsa');
    expect(() => parseKey(other.text)).toThrow('expected ssh-ed25519');
  });

  it.each([
    [
      'Bearer realm="https://x.example/token",service="s",scope="repository:a/b:pull"',
      's',
      ['repository:a/b:pull'],
    ],
    ['bearer scope="a b", realm=https://x.example/token', undefined, ['a', 'b']],
  ])('reads %s', (header, service, scopes) => {
    expect(bearerChallenge(header)).toEqual({ realm: new URL('https://x.example/token'), service, scopes });
  });

  it.each([
    'Basic realm="x"',
    'Bearer',
    'Bearer realm="/token"',
    'Bearer realm="ftp://x/y"',
    'Bearer realm="https://a:b@x/"',
  ])('leaves alone: %s', (header) => {
    expect(bearerChallenge(header)).toBeUndefined();
  });

  it('asks for a token as Ollama does', () => {
    const challenge = bearerChallenge(
      'Bearer realm="https://x.example/token",service="s",scope="repository:a/b:pull"',
    );
    expect(challenge === undefined ? '' : tokenAddress(challenge, 1700000000, 'nonce-nonce')).toBe(
      'https://x.example/token?nonce=nonce-nonce&scope=repository%3Aa%2Fb%3Apull&service=s&ts=1700000000',
    );
  });
});

describe('answers', () => {
  let registry: OllamaRegistry;
  let home: string;
  const contexts: TestHubContext[] = [];

  async function start(more: Partial<RegistryOptions> = {}): Promise<void> {
    registry = await startOllamaRegistry({ models: [LLAMA, LATEST, PRIVATE], ...more });
  }
  beforeEach(async () => {
    home = await temporaryDirectory();
    await start();
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await registry.close();
  });

  function open(options: TestHubOptions = {}): TestHubContext {
    const context = createHubContext(ollama, { settings: { endpoint: registry.endpoint }, home, ...options });
    contexts.push(context);
    return context;
  }
  function resolve(text: string, context = open()): Promise<Snapshot> {
    return ollama.resolve(parse(text), context);
  }
  function refused(text: string, code: ErrorCode, options: TestHubOptions = {}) {
    return refusalOf(resolve(text, open(options)), code);
  }
  /** Names with the server's own host instead of an endpoint. */
  function here(name: string): string {
    return `ollama:${new URL(registry.endpoint).host}/${name}`;
  }
  const inlined = (bytes: Uint8Array): Partial<RemoteFile> => ({
    size: bytes.length,
    digest: { algorithm: 'sha256', hex: sha256Of(bytes) },
    url: `data:application/octet-stream;base64,${Buffer.from(bytes).toString('base64')}`,
  });

  it('are a listing by the digest of the manifest, which has the texts in it', async () => {
    const { files, ...snapshot } = await resolve('ollama:llama3.2:3b');
    expect(snapshot).toEqual({
      hub: 'ollama',
      id: 'llama3.2:3b',
      revision: HEX,
      metadata: { license: 'llama3.2', page: 'https://ollama.com/library/llama3.2:3b' },
    });
    expect(files.map(({ path }) => path)).toEqual(PATHS);
    expect(files[0]).toEqual({
      path: 'llama3.2-3.2B-Q4_K_M.gguf',
      size: GGUF.length,
      digest: { algorithm: 'sha256', hex: sha256Of(GGUF) },
      url: `${registry.endpoint}/v2/library/llama3.2/blobs/sha256:${sha256Of(GGUF)}`,
    });
    expect(files[1]).toMatchObject(inlined(TEMPLATE));
    expect(files.at(-1)).toMatchObject(inlined(MANIFEST));
    const modelfile = Buffer.from(files.at(-2)?.url.split(',')[1] ?? '', 'base64').toString();
    expect(modelfile).toContain('FROM ./llama3.2-3.2B-Q4_K_M.gguf\n');
    expect(modelfile).toContain('PARAMETER temperature 0.6\n');
    // The weights are not among what was asked for.
    expect(registry.asked()[0]).toBe('/v2/library/llama3.2/manifests/3b');
    expect(registry.asked()).toHaveLength(6);
    expect(registry.asked().join()).not.toContain(sha256Of(GGUF));
  });

  it('have the texts of so many layers that no manifest can ask for thousands', async () => {
    const license = (_: unknown, index: number) => ({
      kind: 'license',
      bytes: Buffer.from(`License ${index}`),
    });
    const layers = [...LLAMA.layers, ...Array.from({ length: 200 }, license)];
    registry.push({ ...LLAMA, name: 'library/many:latest', layers });
    const before = registry.asked().length;
    const { files } = await resolve('ollama:many');
    expect(registry.asked().slice(before)).toHaveLength(1 + 100);
    expect(files).toHaveLength(layers.length + 3);
    expect(files.filter(({ url }) => !url.startsWith('data:'))).toHaveLength(1 + 105);
  });

  it('mean the tag latest where none is named, and the tag that is given apart', async () => {
    expect(await resolve('ollama:llama3.2')).toMatchObject({ id: 'llama3.2:latest', revision: HEX });
    const apart = await ollama.resolve({ hub: 'ollama', id: 'llama3.2', revision: '3b' }, open());
    expect(apart).toMatchObject({ id: 'llama3.2:3b', revision: HEX });
    const digest = { hub: 'ollama', id: 'llama3.2', revision: `sha256:${HEX}` };
    expect(await ollama.resolve(digest, open())).toMatchObject({ id: 'llama3.2', revision: HEX });
    await refusalOf(ollama.resolve({ ...digest, revision: '../x' }, open()), 'USAGE');
  });

  it('take one request when that manifest is stored', async () => {
    const stored = await resolve('ollama:llama3.2:3b');
    const before = registry.asked().length;
    const known: TestHubOptions['known'] = (id, revision) =>
      Promise.resolve(id === stored.id && revision === HEX ? stored : undefined);
    expect(await resolve('ollama:llama3.2:3b', open({ known }))).toEqual(stored);
    expect(registry.asked().slice(before)).toEqual(['/v2/library/llama3.2/manifests/3b']);
    // What another registry gave has that one's addresses.
    const moved = await resolve(here('library/llama3.2:3b'), open({ known: () => Promise.resolve(stored) }));
    expect(moved.files).toEqual(stored.files);
  });

  it('are the manifest of a digest, also when the tag has moved on', async () => {
    registry.push({ ...LLAMA, layers: [{ kind: 'model', bytes: OTHER }] });
    expect((await resolve('ollama:llama3.2:3b')).revision).not.toBe(HEX);
    for (const text of [`ollama:llama3.2:3b@sha256:${HEX}`, `ollama:llama3.2@sha256:${HEX}`]) {
      const { revision, files } = await resolve(text);
      expect(revision).toBe(HEX);
      expect(files[0]?.digest?.hex).toBe(sha256Of(GGUF));
    }
    registry.swap(MANIFEST, Buffer.from(manifestOf([], {})));
    const swapped = await refused(`ollama:llama3.2@sha256:${HEX}`, 'INTEGRITY');
    expect(swapped.message).toContain(`expected sha256 ${HEX}`);
    registry.drop(MANIFEST);
    const gone = await refused(`ollama:llama3.2:3b@sha256:${HEX}`, 'NOT_FOUND');
    expect(gone.message).toContain(`There is no llama3.2 with the digest sha256:${HEX}`);
    expect(gone.hint).toContain('`ollama:llama3.2:3b` is what the tag means now');
    // It answers 500 to manifests by digest, and is not asked.
    expect(registry.asked().join()).not.toContain('manifests/sha256');
  });

  it('are of one manifest when the tag moves between two requests', async () => {
    const context = open();
    const fetch: typeof context.fetch = async (input, init) => {
      const response = await context.fetch(input, init);
      registry.push({ ...LLAMA, layers: [{ kind: 'model', bytes: OTHER }] });
      return response;
    };
    const { revision, files } = await ollama.resolve(parse('ollama:llama3.2:3b'), { ...context, fetch });
    expect(revision).toBe(HEX);
    expect(files.map(({ path }) => path)).toEqual(PATHS);
    expect((await resolve('ollama:llama3.2:3b')).revision).not.toBe(HEX);
  });

  it('say of an unknown name where names are found, and of an unknown tag where tags are', async () => {
    const name = await refused('ollama:lama3.2', 'NOT_FOUND');
    expect(name.message).toContain('There is no model lama3.2');
    expect(name.hint).toContain('https://ollama.com/search?q=lama3.2');
    const tag = await refused('ollama:llama3.2:7b', 'NOT_FOUND');
    expect(tag.message).toContain('llama3.2 has no tag 7b');
    expect(tag.message).toContain('https://ollama.com/library/llama3.2/tags');
    expect(tag.hint).toContain('there is `ollama:llama3.2:latest`');
    expect(tag.details.url).toBe('https://ollama.com/library/llama3.2/tags');
    const both = await refused('ollama:lama3.2:7b', 'NOT_FOUND');
    expect(both.message).toContain('There is no model lama3.2:7b');
    const own = await refused(here('library/llama3.2:7b'), 'NOT_FOUND');
    expect(own.message).toContain('library/llama3.2 has no tag 7b');
    expect(own.message).not.toContain('ollama.com');
  });

  it('name the tags that there are, where the registry lists them', async () => {
    await registry.close();
    await start({ listsTags: true });
    const tag = await refused(here('library/llama3.2:7b'), 'NOT_FOUND');
    expect(tag.hint).toContain(`\`${here('library/llama3.2:3b')}\``);
    const floating = await refused(here('library/llama9'), 'NOT_FOUND');
    expect(floating.message).toContain('There is no model');
    registry.push({ ...LLAMA, name: 'library/phi:mini' });
    const latest = await refused(here('library/phi'), 'NOT_FOUND');
    expect(latest.message).toContain('has no tag latest');
    expect(latest.hint).toContain(`\`${here('library/phi:mini')}\``);
  });

  it.each<[string, number, object | string, ErrorCode, string]>([
    ['403', 403, { error: 'no' }, 'GATED', 'refuses access to llama3.2:3b'],
    ['412', 412, { error: 'requires a newer version' }, 'UNSUPPORTED', 'requires a newer version'],
    ['400', 400, { errors: [{ message: 'manifest invalid' }] }, 'NETWORK', 'answered 400: manifest invalid'],
    ['500', 500, 'oops', 'NETWORK', 'answered 500'],
    ['an empty answer', 200, '', 'NETWORK', 'No answer of an Ollama registry'],
    ['another document', 200, { ok: true }, 'NETWORK', 'No answer of an Ollama registry'],
    ['an index', 200, { schemaVersion: 2, manifests: [] }, 'UNSUPPORTED', 'is no Ollama model'],
    [
      'an image',
      200,
      JSON.parse(
        manifestOf([{ kind: 'application/vnd.docker.image.rootfs.diff.tar.gzip', bytes: GGUF }], {}),
      ) as object,
      'UNSUPPORTED',
      'vnd.docker.image.rootfs',
    ],
    [
      'a digest that is a path',
      200,
      manifestOf(LLAMA.layers, CONFIG).replace(/sha256:[0-9a-f]{64}/, 'sha256:../../x'),
      'UNSUPPORTED',
      'its manifest is of another kind',
    ],
    [
      'a negative size',
      200,
      manifestOf(LLAMA.layers, CONFIG).replace(/"size":\d+/, '"size":-1'),
      'UNSUPPORTED',
      'another kind',
    ],
  ])('are told what they are: %s', async (_what, status, answer, code, message) => {
    const body = typeof answer === 'string' ? answer : JSON.stringify(answer);
    registry.answerManifests({ status, body, headers: { 'content-type': 'application/json' } });
    const error = await refused('ollama:llama3.2:3b', code);
    expect(error.message).toContain(message);
    expect(error.hint ?? '').not.toBe('');
  });

  it.each([401, 403, 404])('are told what they are: a web page for a %i', async (status) => {
    registry.answerManifests({ status, body: '<html>', headers: { 'content-type': 'text/html' } });
    for (const text of ['ollama:llama3.2:3b', `ollama:llama3.2:3b@sha256:${'1'.repeat(64)}`]) {
      const page = await refused(text, 'NETWORK');
      expect(page.message).toContain(`(${status}, text/html)`);
    }
  });

  it('are told what they are: a web page, a model without weights', async () => {
    registry.setFault('html');
    const page = await refused('ollama:llama3.2:3b', 'NETWORK');
    expect(page.message).toContain('(200, text/html)');
    expect(page.hint).toContain('`hubs.ollama.endpoint`');
    registry.setFault('none');
    registry.push({
      name: 'library/big:cloud',
      layers: [],
      config: { remote_host: 'https://ollama.com:443' },
    });
    const cloud = await refused('ollama:big:cloud', 'UNSUPPORTED');
    expect(cloud.message).toContain('runs at "https://ollama.com:443" and has no weights to pull');
    registry.push({ name: 'library/none:latest', layers: [{ kind: 'template', bytes: TEMPLATE }] });
    expect((await refused('ollama:none', 'UNSUPPORTED')).message).toContain('has no weights');
  });

  it('are refused when a text is not what its digest says, or is not there', async () => {
    registry.swap(TEMPLATE, Buffer.from('{{ .System }}\nUser: {{ .Evil }}!!\n'));
    const wrong = await refused('ollama:llama3.2:3b', 'INTEGRITY');
    expect(wrong.message).toContain(
      `The template of llama3.2:3b does not match its digest: expected sha256 ${sha256Of(TEMPLATE)}`,
    );
    registry.drop(PARAMS);
    registry.swap(TEMPLATE, TEMPLATE);
    expect((await refused('ollama:llama3.2:3b', 'NOT_FOUND')).message).toContain(
      'lacks the params of llama3.2:3b',
    );
  });

  it('are not asked for without encryption, unless they are here or it is permitted', async () => {
    const far = { settings: { endpoint: 'http://registry.example' } };
    const error = await refused('ollama:llama3.2', 'USAGE', far);
    expect(error.message).toContain('Not encrypted, so not asked: http://registry.example/v2/');
    expect(error.hint).toContain('list `registry.example` in `hubs.ollama.insecure`');
    await refused('ollama:llama3.2', 'CONFIG', { settings: { endpoint: 'registry.example' } });
    expect((await resolve(here('library/llama3.2:3b'), open({ settings: {} }))).id).toBe(
      `${new URL(registry.endpoint).host}/library/llama3.2:3b`,
    );
  });

  it('need a certificate that is known', async () => {
    await registry.close();
    await start({ certificate: await selfSigned('IP:127.0.0.1') });
    expect((await refused('ollama:llama3.2', 'NETWORK')).message).toContain('certificate');
  });

  it('are asked for nothing offline', async () => {
    await refused('ollama:llama3.2', 'NETWORK', { offline: true });
    expect(registry.asked()).toEqual([]);
  });

  describe('about private models', () => {
    it('come with the key of an account, one token for all of a model', async () => {
      const key = await writeOllamaKey(home);
      await registry.close();
      await start({ keys: [key] });
      const context = open();
      const { files } = await resolve('ollama:me/secret', context);
      expect(files.map(({ path }) => path)).toContain('secret-3.2B-Q4_K_M.gguf');
      const asked = registry.asked().filter((path) => path.startsWith('/token'));
      expect(asked).toHaveLength(1);
      const response = await context.fetch(files[0]?.url ?? '');
      expect(Buffer.from(await response.arrayBuffer())).toEqual(GGUF);
      // The token goes to its registry only, and nothing with models that all may have.
      expect(registry.storage.requests.map(({ headers }) => headers.authorization)).toEqual(
        registry.storage.requests.map(() => undefined),
      );
      await resolve('ollama:llama3.2', context);
      expect(registry.site.requests.at(-1)?.headers.authorization).toBeUndefined();
      expect(JSON.stringify(files)).not.toContain('authorization');
    });

    it('come also when the token ends midway', async () => {
      const key = await writeOllamaKey(home);
      await registry.close();
      await start({ keys: [key] });
      const context = open();
      const { files } = await resolve('ollama:me/secret', context);
      registry.expireTokens();
      expect((await context.fetch(files[0]?.url ?? '')).status).toBe(200);
      expect(registry.asked().filter((path) => path.startsWith('/token'))).toHaveLength(2);
    });

    it('are that there is no key', async () => {
      const error = await refused('ollama:me/secret', 'AUTH');
      expect(error.message).toContain(`There is no model me/secret:latest at`);
      expect(error.message).toContain(`or it is private: no key in ${join(home, '.ollama/id_ed25519')}`);
      expect(error.hint).toContain('https://ollama.com/settings/keys');
    });

    it('are not that an account elsewhere would help', async () => {
      for (const isThere of [false, true]) {
        if (isThere) await writeOllamaKey(home);
        const { hint } = await refused(here('me/secret'), 'AUTH');
        expect(hint).toContain(`whoever runs ${new URL(registry.endpoint).host} has to know`);
        expect(hint).not.toContain('ollama.com');
      }
    });

    it('are that no account knows the key', async () => {
      await writeOllamaKey(home);
      const error = await refused('ollama:me/secret', 'AUTH');
      expect(error.message).toContain(`does not accept the key in ${join(home, '.ollama/id_ed25519')}`);
      expect(error.hint).toContain(
        `add the text of ${join(home, '.ollama/id_ed25519')}.pub at https://ollama.com/settings/keys`,
      );
    });

    it('are what is wrong with the key', async () => {
      await mkdir(join(home, '.ollama'));
      const file = join(home, '.ollama/id_ed25519');
      await writeFile(file, 'something else');
      const error = await refused('ollama:me/secret', 'CONFIG');
      expect(error.message).toBe(`Cannot use the key of Ollama in ${file}: it is no private key of OpenSSH`);
      await writeFile(
        file,
        '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5v\n-----END OPENSSH PRIVATE KEY-----\n',
      );
      expect((await refused('ollama:me/secret', 'CONFIG')).message).toContain('it is damaged');
    });

    it('are signed for nobody but the registry', async () => {
      const key = await writeOllamaKey(home);
      const elsewhere = await startOllamaRegistry({ models: [PRIVATE], keys: [key] });
      await registry.close();
      await start({ keys: [key], realm: elsewhere.endpoint });
      await refused('ollama:me/secret', 'AUTH');
      expect(elsewhere.asked()).toEqual([]);
      await elsewhere.close();
    });
  });
});

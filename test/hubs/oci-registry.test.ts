/** The hub against Debian's docker-registry: what it asks for, what it serves, and what was written to it. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { oci } from '../../hubs/oci.js';
import { ModeldlError } from '../../src/errors.js';
import type { FileToPush, ModelToPush, PushContext } from '../../src/hub.js';
import { parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import {
  digestOf,
  IDENTITY_TOKEN,
  PASSWORD,
  putModel,
  startRegistry,
  USER,
  withRegistry,
  type Registry,
  type RegistryOptions,
  type TestManifest,
} from '../helpers/registry.js';

const WEIGHTS = Buffer.from('weights of a model');
const TITLED: TestManifest = {
  artifactType: 'application/vnd.example.model',
  layers: [
    {
      mediaType: 'application/octet-stream',
      bytes: WEIGHTS,
      annotations: { 'org.opencontainers.image.title': 'model.onnx' },
    },
  ],
};

let registry: Registry | undefined;
let home: string;
const contexts: TestHubContext[] = [];

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'modeldl-home-'));
  await mkdir(join(home, '.docker'));
});
afterEach(async () => {
  for (const context of contexts.splice(0)) context.close();
  await registry?.close();
  registry = undefined;
  await rm(home, { recursive: true });
});

async function start(options?: RegistryOptions): Promise<Registry> {
  registry = await startRegistry(options);
  return registry;
}
function open(options: TestHubOptions = {}): TestHubContext {
  const context = createHubContext(oci, { home, ...options });
  contexts.push(context);
  return context;
}
function at({ host }: Registry, rest: string): Reference {
  return parseReference(`oci:${host}/${rest}`, [oci.syntax], { cwd: '/work', home: '/home/user' });
}
async function login({ host }: Registry, entry: Readonly<Record<string, string>>): Promise<void> {
  await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths: { [host]: entry } }));
}
const basic = (password = PASSWORD): string => Buffer.from(`${USER}:${password}`).toString('base64');

/** A model whose files are texts in memory. */
function modelOf(files: Readonly<Record<string, string>>, more: Partial<ModelToPush> = {}): ModelToPush {
  return {
    hub: 'hf',
    id: 'org/model',
    revision: '0123456789abcdef0123456789abcdef01234567',
    origin: 'hf:org/model@0123456789abcdef0123456789abcdef01234567',
    metadata: { license: 'apache-2.0' },
    files: Object.entries(files).map(([path, text]) => ({
      path,
      bytes: Buffer.byteLength(text),
      sha256: digestOf(text).slice(7),
    })),
    ...more,
  };
}
function pushContext(files: Readonly<Record<string, string>>, beside: readonly string[] = []): PushContext {
  const context = open();
  return {
    ...context,
    beside,
    send: ({ path }: FileToPush, url, { method, headers, signal }) =>
      context.fetch(url, { method, headers, signal, body: files[path] ?? '' }),
  };
}
function push(
  to: Registry,
  rest: string,
  files: Readonly<Record<string, string>>,
  beside: readonly string[] = [],
  more: Partial<ModelToPush> = {},
) {
  return oci.push(modelOf(files, more), at(to, rest), pushContext(files, beside));
}

describe('a real registry', () => {
  withRegistry('serves what it was given, by tag and by digest', async () => {
    const server = await start();
    const { host, origin } = server;
    const digest = await putModel(server, 'org/model', 'v1', TITLED);
    await server.logged();
    const before = server.requests().length;
    const snapshot = await oci.resolve(at(server, 'org/model:v1'), open());
    await server.logged();
    expect(server.requests().slice(before)).toEqual(['GET /v2/org/model/manifests/v1 200']);
    expect(snapshot).toEqual({
      hub: 'oci',
      id: `${host}/org/model`,
      revision: digest.slice(7),
      metadata: {},
      files: [
        {
          path: 'model.onnx',
          size: WEIGHTS.length,
          digest: { algorithm: 'sha256', hex: digestOf(WEIGHTS).slice(7) },
          url: `${origin}/v2/org/model/blobs/${digestOf(WEIGHTS)}`,
        },
      ],
    });
    expect(await oci.resolve(at(server, `org/model@${digest}`), open())).toEqual(snapshot);
  });

  withRegistry('tells what it has instead of what was asked for', async () => {
    const server = await start();
    await putModel(server, 'org/model', 'v1.0', TITLED);
    const tag = await refusalOf(oci.resolve(at(server, 'org/model:v1'), open()), 'NOT_FOUND');
    expect(tag.message).toBe(`The repository ${server.host}/org/model has no tag v1`);
    expect(tag.hint).toBe('tags: v1.0');
    const name = await refusalOf(oci.resolve(at(server, 'org/modle:v1'), open()), 'NOT_FOUND');
    expect(name.hint).toBe(`did you mean \`oci:${server.host}/org/model\``);
    const digest = `sha256:${'0'.repeat(64)}`;
    const error = await refusalOf(oci.resolve(at(server, `org/model@${digest}`), open()), 'NOT_FOUND');
    expect(error.message).toContain(`no manifest ${digest}`);
  });

  withRegistry('takes a user and password', async () => {
    const server = await start({ auth: 'basic' });
    await putModel(server, 'org/model', 'latest', TITLED, `Basic ${basic()}`);
    const reference = at(server, 'org/model');
    expect((await refusalOf(oci.resolve(reference, open()), 'AUTH')).hint).toContain('docker login');
    await login(server, { auth: basic('wrong') });
    const wrong = await refusalOf(oci.resolve(reference, open()), 'AUTH');
    expect(wrong.message).toContain(join(home, '.docker', 'config.json'));
    await login(server, { auth: basic() });
    expect((await oci.resolve(reference, open())).files).toHaveLength(1);
  });

  withRegistry('takes tokens: anybody’s, a user’s, those of an identity token', async () => {
    const server = await start({ auth: 'token', anonymous: ['pull'] });
    const scope = 'repository:org/model:pull';
    await login(server, { auth: basic() });
    await push(server, 'org/model', { 'model.onnx': 'weights' });
    expect(server.tokenRequests).toEqual([
      { scopes: ['repository:org/model:pull,push'], by: `basic ${USER}` },
    ]);
    const bytes = async (context: TestHubContext): Promise<string> => {
      const { files } = await oci.resolve(at(server, 'org/model'), context);
      return (await context.fetch(files[0]?.url ?? '')).text();
    };
    expect(await bytes(open({ home: '/nonexistent' }))).toBe('weights');
    expect(server.tokenRequests.slice(1)).toEqual([{ scopes: [scope], by: 'anonymous' }]);
    await login(server, { identitytoken: IDENTITY_TOKEN });
    expect(await bytes(open())).toBe('weights');
    expect(server.tokenRequests.slice(2)).toEqual([{ scopes: [scope], by: 'refresh' }]);
    await login(server, { identitytoken: 'an expired one' });
    const expired = await refusalOf(oci.resolve(at(server, 'org/model'), open()), 'AUTH');
    expect(expired.message).toMatch(/does not accept the login from .*config\.json: wrong, or expired/);
  });

  withRegistry('gives no token for what a user may not have', async () => {
    const server = await start({ auth: 'token' });
    const error = await refusalOf(oci.resolve(at(server, 'org/model'), open()), 'AUTH');
    expect(error.message).toContain('wants a login for the model');
  });
});

describe('pushing to a real registry', () => {
  const FILES = { 'onnx/model.onnx': 'weights', 'config.json': '{}', LICENSE: 'Apache', 'empty.txt': '' };

  withRegistry('writes a ModelPack that is pulled as it was', async () => {
    const server = await start();
    const pushed = await push(server, 'org/model:v1', FILES);
    expect(pushed).toEqual({
      revision: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      sentBytes: 15,
      presentBytes: 0,
      mountedBytes: 0,
    });
    const context = open();
    const snapshot = await oci.resolve(at(server, 'org/model:v1'), context);
    expect(snapshot).toMatchObject({ revision: pushed.revision, metadata: { license: 'apache-2.0' } });
    const read = await Promise.all(
      snapshot.files.map(async ({ path, url }) => [path, await (await context.fetch(url)).text()] as const),
    );
    expect(Object.fromEntries(read)).toEqual(FILES);
    const response = await fetch(`${server.origin}/v2/org/model/manifests/v1`, {
      headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
    });
    const manifest: unknown = await response.json();
    expect(manifest).toMatchObject({
      artifactType: 'application/vnd.cncf.model.manifest.v1+json',
      config: { mediaType: 'application/vnd.cncf.model.config.v1+json' },
      layers: [
        { mediaType: 'application/vnd.cncf.model.doc.v1.raw' },
        { mediaType: 'application/vnd.cncf.model.weight.config.v1.raw' },
        { mediaType: 'application/vnd.cncf.model.weight.config.v1.raw' },
        {
          mediaType: 'application/vnd.cncf.model.weight.v1.raw',
          digest: digestOf('weights'),
          annotations: { 'org.cncf.model.filepath': 'onnx/model.onnx' },
        },
      ],
      annotations: {
        'vnd.modeldl.origin': 'hf:org/model@0123456789abcdef0123456789abcdef01234567',
        'org.opencontainers.image.licenses': 'apache-2.0',
      },
    });
  });

  withRegistry('sends nothing twice, and tells another place of the same registry from a copy', async () => {
    const server = await start();
    const first = await push(server, 'org/model:v1', FILES);
    const again = await push(server, 'org/model:v2', FILES);
    expect(again).toEqual({ revision: first.revision, sentBytes: 0, presentBytes: 15, mountedBytes: 0 });
    await server.logged();
    const before = server.requests().length;
    const other = await push(server, 'org/other', FILES, [
      `${server.host}/org/model`,
      'elsewhere.io/org/model',
    ]);
    expect(other).toMatchObject({ sentBytes: 0, mountedBytes: 15 });
    await server.logged();
    const requests = server.requests().slice(before);
    expect(requests.filter((line) => /mount=sha256.*from=org%2Fmodel.* 201$/.test(line))).toHaveLength(4);
    // The configuration, which is small, and the manifest.
    expect(requests.filter((line) => line.startsWith('PUT'))).toHaveLength(2);
    const fromThere = { hub: 'oci', id: `${server.host}/org/model` };
    expect(await push(server, 'org/third', FILES, [], fromThere)).toMatchObject({ mountedBytes: 15 });
  });

  withRegistry('sends what cannot be had from the other place', async () => {
    const server = await start();
    expect(await push(server, 'org/other', FILES, [`${server.host}/org/absent`])).toMatchObject({
      sentBytes: 15,
    });
  });

  withRegistry('asks for a token that lets it write, and read where it takes files from', async () => {
    const server = await start({ auth: 'token' });
    await login(server, { auth: basic() });
    await push(server, 'org/model', FILES);
    expect(await push(server, 'org/other', FILES, [`${server.host}/org/model`])).toMatchObject({
      mountedBytes: 15,
    });
    expect(server.tokenRequests.at(-1)?.scopes).toEqual([
      'repository:org/other:pull,push',
      'repository:org/model:pull',
    ]);
  });

  withRegistry('needs a login that may write', async () => {
    const server = await start({ auth: 'token', anonymous: ['pull'] });
    const error = await refusalOf(push(server, 'org/model', FILES), 'AUTH');
    expect(error.message).toContain(`${server.host} wants a login for writing to ${server.host}/org/model`);
  });

  withRegistry('is refused by one that is read only', async () => {
    const server = await start({ readOnly: true });
    const error = await refusalOf(push(server, 'org/model', FILES), 'UNSUPPORTED');
    expect(error.message).toContain(`${server.host} takes no models`);
  });

  withRegistry('leaves no name behind when other bytes arrive than the digest says', async () => {
    const server = await start();
    const context = { ...pushContext({ 'model.onnx': 'damaged' }) };
    const work = oci.push(modelOf({ 'model.onnx': 'weights' }), at(server, 'org/model'), context);
    const error = await refusalOf(work, 'INTEGRITY');
    expect(error.message).toContain('model.onnx');
    expect(error.hint).toContain('modeldl verify --repair hf:org/model@');
    await refusalOf(oci.resolve(at(server, 'org/model'), open()), 'NOT_FOUND');
  });

  /** The connection breaks in the middle of so many files. */
  function breaking(times: number): { context: PushContext; attempts: () => number } {
    const context = pushContext(FILES);
    let attempts = 0;
    const send: PushContext['send'] = (file, url, request) => {
      attempts += 1;
      if (attempts > times) return context.send(file, url, request);
      return Promise.reject(new ModeldlError('NETWORK', `Cannot reach ${url}: broken`));
    };
    return { context: { ...context, send }, attempts: () => attempts };
  }

  withRegistry('sends a file anew whose connection broke', async () => {
    const server = await start();
    const { context, attempts } = breaking(2);
    const files = { 'config.json': FILES['config.json'] };
    const pushed = await oci.push(modelOf(files), at(server, 'org/model'), context);
    expect(attempts()).toBe(3);
    expect(pushed.sentBytes).toBe(Buffer.byteLength(files['config.json']));
    expect((await oci.resolve(at(server, 'org/model'), open())).revision).toBe(pushed.revision);
  });

  withRegistry('gives up when it breaks again and again, and leaves no name behind', async () => {
    const server = await start();
    const { context, attempts } = breaking(Infinity);
    const files = { 'config.json': FILES['config.json'] };
    await refusalOf(oci.push(modelOf(files), at(server, 'org/model'), context), 'NETWORK');
    expect(attempts()).toBe(3);
    await refusalOf(oci.resolve(at(server, 'org/model'), open()), 'NOT_FOUND');
  });

  withRegistry('takes a tag, and no digest', async () => {
    const server = await start();
    await refusalOf(push(server, `org/model@sha256:${'0'.repeat(64)}`, FILES), 'USAGE');
  });
});

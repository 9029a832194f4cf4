/** The hub against a stand-in, which can fail as no real registry would; `oci-registry.test.ts` asks a real one. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { oci } from '../../hubs/oci.js';
import { bearerChallenge, wantsPassword } from '../../hubs/challenge.js';
import { allowAddress, originOf } from '../../hubs/oci/address.js';
import { findLogin, findPartLogin, type Login } from '../../hubs/oci/login.js';
import { candidates, contentsOf, readManifest, type Descriptor } from '../../hubs/oci/manifest.js';
import type { Snapshot } from '../../src/hub.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { digestOf, manifestOf, type TestManifest } from '../helpers/registry.js';
import { describeHubConformance } from './conformance.js';
import { startServer, type Route, type TestServer } from './server.js';

const WEIGHTS = Buffer.from('weights of a model');
const CONFIG = Buffer.from('{"hidden_size": 1}');
const HEX = createHash('sha256').update('x').digest('hex');
const OCI = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';

const PACKED: TestManifest = {
  artifactType: 'application/vnd.cncf.model.manifest.v1+json',
  layers: [
    layer('application/vnd.cncf.model.weight.v1.raw', WEIGHTS, 'org.cncf.model.filepath', 'onnx/model.onnx'),
    layer(
      'application/vnd.cncf.model.weight.config.v1.raw',
      CONFIG,
      'org.cncf.model.filepath',
      'config.json',
    ),
  ],
  annotations: {
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.url': 'https://example.com/model',
  },
};

function layer(mediaType: string, bytes: Uint8Array, name?: string, value = '') {
  return { mediaType, bytes, ...(name === undefined ? {} : { annotations: { [name]: value } }) };
}

function parse(text: string): Reference {
  return parseReference(text, [oci.syntax], { cwd: '/work', home: '/home/user' });
}

/** A registry that gives tokens to everybody who knows the password, or the one of `options`. */
interface StandIn extends TestServer {
  readonly host: string;
  /** What is served in place of the usual, by path. */
  readonly routes: Map<string, Route>;
  /** The token that is good now; another one than was given is an expired one. */
  token: string;
  wants: 'token' | 'basic' | 'nothing';
}

const LOGIN = `Basic ${Buffer.from('ali:open-sesame').toString('base64')}`;

async function startStandIn(): Promise<StandIn> {
  const routes = new Map<string, Route>();
  const state = { token: 'token-open-sesame', wants: 'nothing' as StandIn['wants'] };
  const json = (document: unknown, status = 200, type = 'application/json'): Route => ({
    status,
    headers: { 'content-type': type },
    body: typeof document === 'string' ? document : JSON.stringify(document),
  });
  const server = await startServer((request, path) => {
    if (path === '/token') {
      const isKnown = request.headers.authorization === LOGIN;
      return isKnown ? json({ token: state.token }) : json({ errors: [] }, 401);
    }
    const isLet =
      state.wants === 'nothing' ||
      request.headers.authorization === (state.wants === 'basic' ? LOGIN : `Bearer ${state.token}`);
    if (!isLet) {
      const challenge =
        state.wants === 'basic'
          ? 'Basic realm="test"'
          : `Bearer realm="http://${request.headers.host ?? ''}/token",service="test"`;
      const refused = json({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }, 401);
      return { ...refused, headers: { ...refused.headers, 'www-authenticate': challenge } };
    }
    const route = routes.get(path);
    if (route !== undefined) return route;
    if (path === '/v2/') return json({});
    if (
      path === '/v2/org/model/manifests/latest' ||
      path === `/v2/org/model/manifests/${digestOf(manifestOf(PACKED))}`
    )
      return json(manifestOf(PACKED), 200, OCI);
    const blob = PACKED.layers.find(({ bytes }) => path === `/v2/org/model/blobs/${digestOf(bytes)}`);
    if (blob !== undefined) return { body: blob.bytes };
    return json(
      { errors: [{ code: 'NAME_UNKNOWN', message: 'repository name not known to registry' }] },
      404,
    );
  });
  return Object.assign(state, server, { host: new URL(server.origin).host, routes });
}

/** A home with Docker's configuration. */
async function makeHome(config: unknown): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'modeldl-docker-'));
  await mkdir(join(home, '.docker'));
  await writeFile(join(home, '.docker', 'config.json'), JSON.stringify(config));
  return home;
}

function logins(host: string, login = 'ali:open-sesame'): unknown {
  return { auths: { [host]: { auth: Buffer.from(login).toString('base64') } } };
}

describeHubConformance('oci', async () => {
  const server = await startStandIn();
  server.wants = 'token';
  const home = await makeHome(logins(server.host));
  return {
    hub: oci,
    options: { home },
    model: { text: `oci:${server.host}/org/model`, paths: ['onnx/model.onnx', 'config.json'] },
    unknown: `oci:${server.host}/org/other:v1`,
    references: [
      'oci:ghcr.io/org/model:v1.0_rc',
      `oci:ghcr.io/org/model@sha256:${HEX}`,
      'oci:localhost:5000/model:v1//onnx/a b',
      'oci:[::1]:5000/a/b/c',
      'oci:docker.io/ai/smollm2:360M-Q4_K_M+int8-cpu',
    ],
    secrets: ['open-sesame', server.token],
    setFault: server.setFault,
    reached: server.reached,
    close: async () => {
      await server.close();
      await rm(home, { recursive: true });
    },
  };
});

describe('references', () => {
  it.each<[string, Partial<Reference>, string?]>([
    ['oci:ghcr.io/org/model', { id: 'ghcr.io/org/model' }],
    ['oci://ghcr.io/org/model:v1', { id: 'ghcr.io/org/model', revision: 'v1' }, 'oci:ghcr.io/org/model:v1'],
    ['oci:GHCR.io/org/model:V1', { id: 'ghcr.io/org/model', revision: 'V1' }, 'oci:ghcr.io/org/model:V1'],
    ['oci:localhost/model', { id: 'localhost/model' }],
    ['oci:registry:5000/a/b:t', { id: 'registry:5000/a/b', revision: 't' }],
    [
      `oci:h.io/m:v1@sha256:${HEX}//onnx`,
      { id: 'h.io/m', revision: HEX, subpath: 'onnx' },
      `oci:h.io/m@sha256:${HEX}//onnx`,
    ],
    ['oci:docker.io/model', { id: 'docker.io/library/model' }, 'oci:docker.io/library/model'],
    ['oci:index.docker.io/ai/m:x', { id: 'docker.io/ai/m', revision: 'x' }, 'oci:docker.io/ai/m:x'],
  ])('%s', (text, expected, written = text) => {
    expect(parse(text)).toEqual({ hub: 'oci', ...expected });
    expect(formatReference(parse(text), [oci.syntax])).toBe(written);
  });

  it.each([
    ['oci:org/model', 'names no registry'],
    ['oci:model:v1', 'names no registry'],
    ['oci:ghcr.io', 'names no registry'],
    ['oci:ghcr.io:99999/model', 'is no host'],
    ['oci:1.2.3.999/model', 'is no host'],
    ['oci:ghcr.io/', 'no name of a repository'],
    ['oci:ghcr.io/Org/model', 'lower case'],
    ['oci:ghcr.io/org//..', '..'],
    ['oci:ghcr.io/org/../model', 'no name of a repository'],
    ['oci:ghcr.io/org/model:', 'no tag'],
    ['oci:ghcr.io/org/model:-x', 'no tag'],
    [`oci:ghcr.io/org/model:${HEX}`, 'no tag'],
    ['oci:ghcr.io/org/model@sha256:abc', 'no sha256 digest'],
    ['oci:ghcr.io/org/model@v1', 'no sha256 digest'],
    ['oci:user@ghcr.io/org/model', 'names no registry'],
    ['oci:https://ghcr.io/org/model', 'has no scheme'],
  ])('refuses %s: %s', (text, why) => {
    expect(() => parse(text)).toThrow(
      expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(why) as string }),
    );
  });

  it('takes a tag or a digest as `--revision`, and nothing else', async () => {
    const context = createHubContext(oci, { offline: true });
    await refusalOf(oci.resolve({ ...parse('oci:h.io/m'), revision: '../x' }, context), 'USAGE');
    await refusalOf(oci.resolve({ ...parse('oci:h.io/m'), revision: `sha256:${HEX}` }, context), 'NETWORK');
  });
});

describe('which registries are asked without encryption', () => {
  it.each([
    ['localhost:5000', {}, 'http://localhost:5000'],
    ['127.0.0.1:5000', {}, 'http://127.0.0.1:5000'],
    ['[::1]:5000', {}, 'http://[::1]:5000'],
    ['registry.localhost:5000', {}, 'http://registry.localhost:5000'],
    ['127.0.0.1:5000', { secure: ['127.0.0.1:5000'] }, 'https://127.0.0.1:5000'],
    ['registry:5000', {}, 'https://registry:5000'],
    ['registry:5000', { insecure: ['registry:5000'] }, 'http://registry:5000'],
    ['registry:5001', { insecure: ['registry:5000'] }, 'https://registry:5001'],
    ['127.0.0.1.evil.io', {}, 'https://127.0.0.1.evil.io'],
    ['docker.io', {}, 'https://registry-1.docker.io'],
  ])('%s with %j: %s', (host, settings, origin) => {
    expect(originOf(host, { settings, environment: {}, home: '/' })).toBe(origin);
  });

  it('does not follow to one that is not', () => {
    const allowed = (address: string, settings = {}) => {
      allowAddress(new URL(address), { settings, environment: {}, home: '/' });
    };
    expect(() => {
      allowed('http://storage:9000/blob?sig=secret');
    }).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: expect.stringContaining('storage:9000') as string }),
    );
    allowed('http://storage:9000/blob', { insecure: ['storage:9000'] });
    allowed('http://storage:80/blob', { insecure: ['storage:80'] });
    allowed('https://storage/blob');
    allowed('http://[::1]:9000/blob');
  });
});

describe('the files that layers are', () => {
  const blob = (digest: string): string => `https://h.io/v2/m/blobs/${digest}`;
  const described = (
    mediaType: string,
    annotations: Readonly<Record<string, string>> = {},
    content = mediaType,
  ): Descriptor => ({
    mediaType,
    digest: digestOf(content),
    size: content.length,
    annotations,
  });
  const config = described('application/vnd.oci.empty.v1+json');
  const paths = (layers: readonly Descriptor[]): readonly string[] =>
    contentsOf({ config, layers: [...layers], annotations: null }, blob).files.map(
      ({ path, unpack }) => `${path}${unpack === undefined ? '' : ` ${unpack.format}`}`,
    );
  const title = (name: string) => ({ 'org.opencontainers.image.title': name });
  const short = (mediaType: string): string => `layer-${digestOf(mediaType).slice(7, 19)}`;

  it.each<[string, readonly Descriptor[], readonly string[]]>([
    [
      'ModelPack',
      [
        described('application/vnd.cncf.model.weight.v1.raw', { 'org.cncf.model.filepath': 'a/b.bin' }),
        described('application/vnd.cnai.model.doc.v1.raw', { 'org.cnai.model.filepath': 'README.md' }),
        described('application/vnd.cncf.model.weight.v1.safetensors', {
          'org.cncf.model.filepath': 'm.safetensors',
        }),
        described('application/vnd.cncf.model.code.v1.tar+gzip', { 'org.cncf.model.filepath': 'src' }),
        described('application/vnd.cncf.model.code.v1.tar', { 'org.cncf.model.filepath': 'src' }),
        described('application/vnd.cncf.model.code.v1.tar+zstd'),
      ],
      [
        'a/b.bin',
        'README.md',
        'm.safetensors',
        `${short('application/vnd.cncf.model.code.v1.tar+gzip')}.tar.gz tar.gz`,
        `${short('application/vnd.cncf.model.code.v1.tar')}.tar tar`,
        `${short('application/vnd.cncf.model.code.v1.tar+zstd')}.tar.zst tar.zst`,
      ],
    ],
    [
      'ORAS, whose files are tar by media type and folders by annotation',
      [
        described('application/vnd.oci.image.layer.v1.tar', title('model.onnx')),
        described('application/vnd.oci.image.layer.v1.tar+gzip', {
          ...title('folder'),
          'io.deis.oras.content.unpack': 'true',
        }),
        described('application/vnd.oci.empty.v1+json'),
      ],
      ['model.onnx', `${short('application/vnd.oci.image.layer.v1.tar+gzip')}.tar.gz tar.gz`],
    ],
    [
      'Docker models, one file of each kind',
      [
        described('application/vnd.docker.ai.gguf.v3'),
        described('application/vnd.docker.ai.mmproj'),
        described('application/vnd.docker.ai.chat.template.jinja'),
        described('application/vnd.docker.ai.license'),
        described('application/vnd.docker.ai.vllm.config.tar'),
      ],
      [
        'model.gguf',
        'mmproj.gguf',
        'chat_template.jinja',
        'LICENSE',
        `${short('application/vnd.docker.ai.vllm.config.tar')}.tar tar`,
      ],
    ],
    [
      'Docker models, shards in their order',
      ['a', 'b'].map((content) => described('application/vnd.docker.ai.safetensors', {}, content)),
      ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'],
    ],
    [
      'layers of images, the same one once',
      [
        'docker.image.rootfs.diff.tar.gzip',
        'docker.image.rootfs.diff.tar.gzip',
        'oci.image.layer.v1.tar',
      ].map((type) => described(`application/vnd.${type}`)),
      [
        `${short('application/vnd.docker.image.rootfs.diff.tar.gzip')}.tar.gz tar.gz`,
        `${short('application/vnd.oci.image.layer.v1.tar')}.tar tar`,
      ],
    ],
  ])('%s', (_kind, layers, expected) => {
    expect(paths(layers)).toEqual(expected);
  });

  it('keep what nothing names apart', () => {
    const layers = [described('application/vnd.ollama.image.model'), described('text/plain', title('a'))];
    const { files, unnamed } = contentsOf({ config, layers, annotations: null }, blob);
    expect(files.map(({ path }) => path)).toEqual(['a']);
    expect(unnamed.map(({ mediaType }) => mediaType)).toEqual(['application/vnd.ollama.image.model']);
  });

  it('are read with sha512 as well, and with no digest of another kind', () => {
    const hex = createHash('sha512').update('x').digest('hex');
    const manifest = (digest: string): unknown => ({
      config,
      layers: [{ ...described('x', title('x')), digest }],
    });
    const read = readManifest(manifest(`sha512:${hex}`));
    if (read === undefined || !('layers' in read)) throw new Error('Expected a manifest');
    expect(contentsOf(read, blob).files[0]?.digest).toEqual({ algorithm: 'sha512', hex });
    for (const digest of ['md5:00', `sha256:${hex}`, `sha256:${HEX}/../x`])
      expect(readManifest(manifest(digest))).toBeUndefined();
  });

  it.each<[string, readonly Record<string, unknown>[], readonly number[]]>([
    ['the one model', [{}], [0]],
    ['the ModelPack', [{}, { artifactType: 'application/vnd.cncf.model.manifest.v1+json' }], [1]],
    [
      'what most machines run',
      [
        { platform: { os: 'linux', architecture: 'arm64' } },
        { platform: { os: 'linux', architecture: 'amd64' } },
        { platform: { os: 'unknown', architecture: 'unknown' } },
        { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
      ],
      [1],
    ],
    ['none of several', [{}, {}], [0, 1]],
  ])('are of an index %s', (_what, manifests, expected) => {
    const index = {
      manifests: manifests.map((more, at) => ({ ...described(OCI, {}, String(at)), ...more })),
    };
    const read = readManifest(index);
    if (read === undefined || !('manifests' in read)) throw new Error('Expected an index');
    expect(candidates(read).map(({ digest }) => digest)).toEqual(expected.map((at) => digestOf(String(at))));
  });
});

describe('challenges', () => {
  const realm = new URL('https://a/t');
  it.each([
    ['Negotiate', undefined, false],
    ['Basic realm="x"', undefined, true],
    [
      'Bearer realm="https://a/t",service="s, t",scope="repository:a:pull,push registry:catalog:*"',
      { realm, service: 's, t', scopes: ['repository:a:pull,push', 'registry:catalog:*'] },
      false,
    ],
    ['bearer realm=https://a/t', { realm, service: undefined, scopes: [] }, false],
    ['Basic realm="x", Bearer realm="https://a/t"', { realm, service: undefined, scopes: [] }, true],
    ['Bearer realm="https://a/t", Basic realm="x"', { realm, service: undefined, scopes: [] }, true],
    ['Bearer realm="not an address"', undefined, false],
    ['Bearer realm="file:///etc/passwd"', undefined, false],
    ['Bearer realm="https://user:word@a/t"', undefined, false],
  ])('%s', (header, bearer, password) => {
    expect(bearerChallenge(header)).toEqual(bearer);
    expect(wantsPassword(header)).toBe(password);
  });
});

describe('logins', () => {
  let home: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'modeldl-docker-'));
  });
  afterEach(() => rm(home, { recursive: true }));

  async function find(
    host: string,
    config: unknown,
    environment: Readonly<Record<string, string>> = {},
    file = '.docker/config.json',
  ): Promise<Login | undefined> {
    await mkdir(join(home, file, '..'), { recursive: true });
    await writeFile(join(home, file), typeof config === 'string' ? config : JSON.stringify(config));
    return findLogin(host, { settings: {}, environment, home }, new AbortController().signal);
  }
  /** A helper as those of docker-credential-helpers: asked with `get`, the registry on its stdin. */
  async function helper(name: string, script: string): Promise<Readonly<Record<string, string>>> {
    const bin = join(home, 'bin');
    await mkdir(bin, { recursive: true });
    const path = join(bin, `docker-credential-${name}`);
    await writeFile(path, `#!/bin/sh\nread -r server\n[ "$1" = get ] || exit 9\n${script}\n`);
    await chmod(path, 0o755);
    return { PATH: `${bin}:${process.env['PATH'] ?? ''}` };
  }
  const auth = Buffer.from('ali:open:sesame').toString('base64');
  const password = { kind: 'password', user: 'ali', password: 'open:sesame' };

  it.each([
    ['h.io', { auths: { 'h.io': { auth } } }, password],
    ['h.io', { auths: { 'https://h.io': { auth } } }, password],
    ['h.io', { auths: { 'https://h.io/v1/': { auth } } }, password],
    ['docker.io', { auths: { 'https://index.docker.io/v1/': { auth } } }, password],
    ['h.io', { auths: { 'h.io': { auth, identitytoken: 'i' } } }, { kind: 'identity', token: 'i' }],
    ['h.io', { auths: { 'h.io': { registrytoken: 'r' } } }, { kind: 'registry', token: 'r' }],
    [
      'h.io',
      { auths: { 'h.io': { username: 'a', password: 'b' } } },
      { kind: 'password', user: 'a', password: 'b' },
    ],
  ])('for %s of %j', async (host, config, secret) => {
    expect(await find(host, config)).toEqual({ secret, source: join(home, '.docker/config.json') });
  });

  it.each([
    ['h.io', {}],
    ['h.io', { auths: null }],
    ['h.io', { auths: { 'h.io': {} } }],
    ['h.io', { auths: { 'h.io:5000': { auth }, 'evil.h.io': { auth } } }],
  ])('are none for %s of %j', async (host, config) => {
    expect(await find(host, config)).toBeUndefined();
  });

  it('are looked for where DOCKER_CONFIG, REGISTRY_AUTH_FILE and Podman have them', async () => {
    const config = logins('h.io');
    expect((await find('h.io', config, { DOCKER_CONFIG: join(home, 'd') }, 'd/config.json'))?.source).toBe(
      join(home, 'd/config.json'),
    );
    expect((await find('h.io', config, { REGISTRY_AUTH_FILE: join(home, 'a.json') }, 'a.json'))?.source).toBe(
      join(home, 'a.json'),
    );
    expect(
      (await find('h.io', config, { XDG_RUNTIME_DIR: join(home, 'run') }, 'run/containers/auth.json'))
        ?.source,
    ).toBe(join(home, 'run/containers/auth.json'));
    expect((await find('h.io', config, {}, '.config/containers/auth.json'))?.source).toBe(
      join(home, '.config/containers/auth.json'),
    );
  });

  it('may be for a part of a registry, of which the narrowest counts', async () => {
    const login = (user: string) => ({ auth: Buffer.from(`${user}:p`).toString('base64') });
    const auths = { 'h.io/org': login('org'), 'h.io/org/a': login('narrow'), 'h.io': login('all') };
    await find('h.io', { auths }, {}, '.config/containers/auth.json');
    const userFor = async (repository: string): Promise<unknown> =>
      (await findPartLogin('h.io', repository, { settings: {}, environment: {}, home }))?.secret;
    expect(await userFor('org/a/model')).toMatchObject({ user: 'narrow' });
    expect(await userFor('org/b')).toMatchObject({ user: 'org' });
    expect(await userFor('organisation/b')).toBeUndefined();
  });

  it('come from the helper of the registry before the general one, and before the file', async () => {
    const environment = {
      ...(await helper(
        'own',
        `printf '{"ServerURL":"%s","Username":"own","Secret":"%s"}' "$server" "$server"`,
      )),
      ...(await helper('all', `printf '{"Username":"<token>","Secret":"for %s"}' "$server"`)),
    };
    const config = { ...(logins('h.io') as object), credsStore: 'all', credHelpers: { 'h.io': 'own' } };
    expect(await find('h.io', config, environment)).toEqual({
      secret: { kind: 'password', user: 'own', password: 'h.io' },
      source: '`docker-credential-own`',
    });
    expect(await find('docker.io', config, environment)).toEqual({
      secret: { kind: 'identity', token: 'for https://index.docker.io/v1/' },
      source: '`docker-credential-all`',
    });
  });

  it('come from the file where the helper has none', async () => {
    const environment = await helper('all', 'echo "credentials not found in native keychain"; exit 1');
    const found = await find('h.io', { auths: { 'h.io': { auth } }, credsStore: 'all' }, environment);
    expect(found?.secret).toEqual(password);
    expect(await find('other.io', { credsStore: 'all' }, environment)).toBeUndefined();
  });

  it('tell what is wrong with a helper, since only a private model needs it', async () => {
    const broken = await helper('all', 'echo "the keychain is locked" >&2; exit 1');
    const config = { credsStore: 'all' };
    expect((await find('h.io', config, broken))?.problem).toContain('the keychain is locked');
    expect((await find('h.io', config, { PATH: join(home, 'nothing') }))?.problem).toContain('ENOENT');
    expect((await find('h.io', { credsStore: '../evil' }, broken))?.problem).toContain('no name of a helper');
  });

  it('name a file that is broken, and nothing that it holds', async () => {
    const error = await refusalOf(find('h.io', '{"auths": {"h.io": {"auth": "open-sesame"'), 'CONFIG');
    expect(error.message).toContain(join(home, '.docker/config.json'));
    expect(error.message + String(error.cause)).not.toContain('open-sesame');
  });
});

describe('a registry', () => {
  let server: StandIn;
  let home: string;
  const contexts: TestHubContext[] = [];

  beforeEach(async () => {
    server = await startStandIn();
    home = await makeHome(logins(server.host));
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await server.close();
    await rm(home, { recursive: true });
  });

  function open(options: TestHubOptions = {}): TestHubContext {
    const context = createHubContext(oci, { home, ...options });
    contexts.push(context);
    return context;
  }
  function resolve(rest = 'org/model', context = open()): Promise<Snapshot> {
    return oci.resolve(parse(`oci:${server.host}/${rest}`), context);
  }
  const asked = (): readonly string[] => server.requests.map(({ method, url }) => `${method} ${url}`);
  const serve = (document: unknown, type = OCI): Route => ({
    headers: { 'content-type': type },
    body: typeof document === 'string' ? document : JSON.stringify(document),
  });

  it('is asked for the manifest alone', async () => {
    const snapshot = await resolve();
    expect(asked()).toEqual(['GET /v2/org/model/manifests/latest']);
    expect(snapshot).toEqual({
      hub: 'oci',
      id: `${server.host}/org/model`,
      revision: digestOf(manifestOf(PACKED)).slice(7),
      metadata: { license: 'apache-2.0', page: 'https://example.com/model' },
      files: [
        {
          path: 'onnx/model.onnx',
          size: WEIGHTS.length,
          digest: { algorithm: 'sha256', hex: digestOf(WEIGHTS).slice(7) },
          url: `${server.origin}/v2/org/model/blobs/${digestOf(WEIGHTS)}`,
        },
        {
          path: 'config.json',
          size: CONFIG.length,
          digest: { algorithm: 'sha256', hex: digestOf(CONFIG).slice(7) },
          url: `${server.origin}/v2/org/model/blobs/${digestOf(CONFIG)}`,
        },
      ],
    });
  });

  it('is asked for one token, which requests at once share', async () => {
    server.wants = 'token';
    const context = open();
    await Promise.all([resolve('org/model', context), resolve('org/model', context)]);
    const tokens = server.requests.filter(({ url }) => url.startsWith('/token'));
    expect(tokens.map(({ url }) => url)).toEqual([
      '/token?service=test&scope=repository%3Aorg%2Fmodel%3Apull',
    ]);
    // Nobody but the server of tokens is told the password.
    expect(server.requests.filter(({ headers }) => headers.authorization === LOGIN)).toEqual(tokens);
  });

  it('that takes a token no more is asked for another, once', async () => {
    server.wants = 'token';
    const context = open();
    await resolve('org/model', context);
    server.token = 'another-token';
    expect((await resolve('org/model', context)).files).toHaveLength(2);
    expect(asked().filter((line) => line.startsWith('GET /token'))).toHaveLength(2);
  });

  it('may ask for a login only where it is needed', async () => {
    server.wants = 'basic';
    server.routes.set('/v2/', { status: 200 });
    const context = open({ environment: {} });
    expect((await resolve('org/model', context)).files).toHaveLength(2);
  });

  it('gets the login for the part of it that the model is in', async () => {
    server.wants = 'basic';
    const auths = { ...(logins(server.host, 'eve:wrong') as { auths: object }).auths };
    Object.assign(auths, (logins(`${server.host}/org`) as { auths: object }).auths);
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ auths }));
    expect((await resolve()).files).toHaveLength(2);
  });

  it('tells nobody without a login', async () => {
    for (const wants of ['basic', 'token'] as const) {
      server.wants = wants;
      const error = await refusalOf(resolve('org/model', open({ home: '/nonexistent' })), 'AUTH');
      expect(error.message).toContain(server.host);
      expect(error.hint).toContain(`docker login ${server.host}`);
      expect(error.details.url).toContain(server.origin);
    }
  });

  it('says why a helper gave no login', async () => {
    server.wants = 'basic';
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ credsStore: 'absent' }));
    const error = await refusalOf(resolve(), 'AUTH');
    expect(error.message).toContain('docker-credential-absent` failed: ENOENT');
  });

  it.each(['basic', 'token'] as const)('names where a wrong login came from: %s', async (wants) => {
    server.wants = wants;
    await writeFile(
      join(home, '.docker', 'config.json'),
      JSON.stringify(logins(server.host, 'ali:wrong-word')),
    );
    const error = await refusalOf(resolve(), 'AUTH');
    expect(error.message).toContain(join(home, '.docker', 'config.json'));
    expect(error.details['tokenSource']).toBe(join(home, '.docker', 'config.json'));
    expect(JSON.stringify(error) + error.message).not.toContain('wrong-word');
  });

  it('may deny', async () => {
    const denied = { errors: [{ code: 'DENIED', message: 'requested access is denied' }] };
    server.routes.set('/v2/org/model/manifests/latest', {
      ...serve(denied, 'application/json'),
      status: 403,
    });
    const error = await refusalOf(resolve(), 'AUTH');
    expect(error.message).toContain('requested access is denied');
  });

  it.each([429, 500, 503])('may fail: %i', async (status) => {
    server.routes.set('/v2/org/model/manifests/latest', { status });
    const error = await refusalOf(resolve(), 'NETWORK');
    expect(error.message).toContain(server.host);
  });

  it('is tried again by the client, and not twice over', async () => {
    server.setFault('503');
    await refusalOf(resolve('org/model', open({ retries: 2 })), 'NETWORK');
    expect(server.requests).toHaveLength(3);
    await server.close();
    const context = open({ retries: 2 });
    await refusalOf(resolve('org/model', context), 'NETWORK');
    expect(context.events.filter(({ type }) => type === 'retry')).toHaveLength(2);
  });

  it('offers tags near the unknown one', async () => {
    const unknown = { errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] };
    server.routes.set('/v2/org/model/manifests/v1', { ...serve(unknown, 'application/json'), status: 404 });
    server.routes.set(
      '/v2/org/model/tags/list',
      serve({ name: 'org/model', tags: ['latest', 'v1.0'] }, 'application/json'),
    );
    const error = await refusalOf(resolve('org/model:v1'), 'NOT_FOUND');
    expect(error.message).toContain('org/model has no tag v1');
    expect(error.hint).toContain('v1.0');
  });

  it('offers nothing that could be no reference', async () => {
    const unknown = { errors: [{ code: 'MANIFEST_UNKNOWN' }] };
    server.routes.set('/v2/org/model/manifests/v1', { ...serve(unknown, 'application/json'), status: 404 });
    const tags = { tags: ['latest', 'v1`; reboot`'] };
    server.routes.set('/v2/org/model/tags/list', serve(tags, 'application/json'));
    expect((await refusalOf(resolve('org/model:v1'), 'NOT_FOUND')).hint).toBe('tags: latest');
    const repositories = ['org/model; reboot', 'org/other'];
    server.routes.set('/v2/_catalog', serve({ repositories }, 'application/json'));
    const error = await refusalOf(resolve('org/modle'), 'NOT_FOUND');
    expect(error.hint).toBe(`did you mean \`oci:${server.host}/org/other\``);
  });

  it('offers the repository nearest to the unknown one, where it tells', async () => {
    server.routes.set(
      '/v2/_catalog',
      serve({ repositories: ['org/model', 'org/another'] }, 'application/json'),
    );
    const error = await refusalOf(resolve('org/modle'), 'NOT_FOUND');
    expect(error.message).toContain(`${server.host}/org/modle`);
    expect(error.hint).toBe(`did you mean \`oci:${server.host}/org/model\``);
  });

  it('is told from a web page', async () => {
    server.routes.set('/v2/org/model/manifests/latest', serve('<html>', 'text/html'));
    const error = await refusalOf(resolve(), 'NETWORK');
    expect(error.message).toContain('No answer of a registry (200, text/html)');
  });

  it.each(['{}', '[]', '{"schemaVersion":'])('is told from what answers something else: %s', async (text) => {
    server.routes.set('/v2/org/model/manifests/latest', serve(text, 'application/json'));
    const error = await refusalOf(resolve(), 'NETWORK');
    expect(error.message).toContain('No answer of a registry (200, application/json)');
  });

  it('is told from a web server that has no such page', async () => {
    const page = { ...serve('<html>', 'text/html'), status: 404 };
    server.routes.set('/v2/org/model/manifests/latest', page);
    const error = await refusalOf(resolve(), 'NETWORK');
    expect(error.message).toContain('No answer of a registry (404, text/html)');
    expect(error.hint).toContain('check the host');
  });

  it.each([
    ['by its header', 'org/model', { 'docker-content-digest': `sha256:${HEX}` }],
    ['by what was asked', `org/model@sha256:${HEX}`, {}],
  ])('that gives another manifest than it says is caught %s', async (_how, rest, headers) => {
    const route = { headers: { 'content-type': OCI, ...headers }, body: manifestOf(PACKED) };
    server.routes.set('/v2/org/model/manifests/latest', route);
    server.routes.set(`/v2/org/model/manifests/sha256:${HEX}`, route);
    await refusalOf(resolve(rest), 'INTEGRITY');
  });

  it.each([
    ['of a kind that its header denies', manifestOf(PACKED), INDEX],
    [
      'of the first schema',
      { schemaVersion: 1, fsLayers: [] },
      'application/vnd.docker.distribution.manifest.v1+json',
    ],
    ['without layers', manifestOf({ layers: [] }), OCI],
    ['of Ollama', manifestOf({ layers: [layer('application/vnd.ollama.image.model', WEIGHTS)] }), OCI],
    ['that are indexes alone', { mediaType: INDEX, manifests: [] }, INDEX],
  ])('may have manifests that hold no model: %s', async (_kind, document, type) => {
    server.routes.set('/v2/org/model/manifests/latest', serve(document, type));
    await refusalOf(resolve(), 'UNSUPPORTED');
  });

  it('warns of layers that nothing names', async () => {
    const layers = [...PACKED.layers, layer('application/x-unknown', Buffer.from('?'))];
    server.routes.set('/v2/org/model/manifests/latest', serve(manifestOf({ layers })));
    const context = open();
    expect((await resolve('org/model', context)).files).toHaveLength(2);
    expect(context.warnings).toEqual([expect.stringContaining('1 layers (application/x-unknown)')]);
  });

  it('may have an index, of which the model is meant', async () => {
    const packed = manifestOf(PACKED);
    const manifests = [
      {
        mediaType: OCI,
        digest: digestOf(packed),
        size: packed.length,
        platform: { os: 'linux', architecture: 'amd64' },
      },
      { mediaType: OCI, digest: `sha256:${HEX}`, size: 1, platform: { os: 'linux', architecture: 'arm64' } },
    ];
    server.routes.set('/v2/org/model/manifests/latest', serve({ mediaType: INDEX, manifests }, INDEX));
    expect((await resolve()).revision).toBe(digestOf(packed).slice(7));
    const both = manifests.map(({ platform, ...rest }) => rest);
    server.routes.set('/v2/org/model/manifests/latest', serve({ mediaType: INDEX, manifests: both }, INDEX));
    const error = await refusalOf(resolve(), 'UNSUPPORTED');
    expect(error.hint).toContain(`oci:${server.host}/org/model@${digestOf(packed)}`);
  });

  it('is told from a web server when it is pushed to', async () => {
    const page = { ...serve('<html>', 'text/html'), status: 404 };
    const digest = digestOf('weights');
    server.routes.set(`/v2/org/model/blobs/${digest}`, page);
    server.routes.set('/v2/org/model/blobs/uploads/', page);
    const file = { path: 'model.onnx', bytes: 7, sha256: digest.slice(7) };
    const model = { hub: 'hf', id: 'org/model', revision: 'main', metadata: {}, files: [file] };
    const context = { ...open(), beside: [], send: () => Promise.reject(new Error('Nothing to send')) };
    const target = parse(`oci:${server.host}/org/model`);
    const error = await refusalOf(oci.push(model, target, context), 'NETWORK');
    expect(error.message).toContain('No answer of a registry (404, text/html)');
  });

  it('is asked for nothing offline', async () => {
    await refusalOf(resolve('org/model', open({ offline: true })), 'NETWORK');
    expect(asked()).toEqual([]);
  });
});

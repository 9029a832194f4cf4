import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { npm, strongestDigest } from '../../hubs/npm.js';
import { parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { requirePeer } from '../helpers/require.js';
import { describeHubConformance } from './conformance.js';
import { startServer, type Route, type TestServer } from './server.js';

const TARBALL = Buffer.from('the bytes of a package');
const SHA512 = createHash('sha512').update(TARBALL).digest();

function parse(text: string): Reference {
  return parseReference(text, [npm.syntax], { cwd: '/work', home: '/home/user' });
}

interface Published {
  readonly tarball: (version: string) => string;
  readonly integrity?: string;
  readonly more?: Readonly<Record<string, unknown>>;
}

/** The full document of a package, as a registry gives it. */
function packument(
  name: string,
  versions: readonly string[],
  { tarball, integrity, more = {} }: Published,
): Route {
  const manifests = versions.map((version) => [
    version,
    {
      name,
      version,
      license: 'MIT',
      dist: { tarball: tarball(version), integrity: integrity ?? `sha512-${SHA512.toString('base64')}` },
      ...more,
    },
  ]);
  const latest = versions.filter((version) => !version.includes('-')).at(-1);
  return {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      name,
      'dist-tags': { latest, next: versions.at(-1) },
      versions: Object.fromEntries(manifests) as Record<string, unknown>,
    }),
  };
}

const homes: string[] = [];
async function makeHome(npmrc: string): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'modeldl-npm-'));
  homes.push(home);
  await writeFile(join(home, '.npmrc'), npmrc);
  return home;
}
afterAll(() => Promise.all(homes.map((home) => rm(home, { recursive: true }))));

describeHubConformance('npm', async () => {
  const server: TestServer = await startServer((request, path) => {
    if (request.headers.authorization !== 'Bearer open-sesame') return { status: 401 };
    if (path === '/npm/@org%2fmodels') {
      return packument('@org/models', ['1.0.0', '1.2.0'], {
        tarball: (version) => `${server.origin}/npm/@org/models/-/models-${version}.tgz`,
      });
    }
    return path.endsWith('.tgz') ? { body: TARBALL } : undefined;
  });
  const registry = `${server.origin}/npm/`;
  const home = await makeHome(
    `@org:registry=${registry}\nregistry=${registry}\n${registry.replace('http:', '')}:_authToken=\${THE_TOKEN}\n`,
  );
  return {
    hub: npm,
    options: { home, environment: { THE_TOKEN: 'open-sesame' } },
    model: { text: 'npm:@org/models', paths: ['package.tgz'] },
    unknown: 'npm:@org/absent',
    references: [
      'npm:name',
      'npm:name@1.2.3',
      'npm:@scope/pkg@1.2.3//dist/model.onnx',
      'npm:name@^1.0.0',
      'npm:name@>=1 <2',
      'npm:name@latest',
      'npm:name@1.x || 2.x+int8-cpu',
      'npm:name@1.0.0-rc.1%2Bdeadbeef',
    ],
    secrets: ['open-sesame'],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

describe('references', () => {
  it.each<[string, Partial<Reference>]>([
    ['npm:@scope/pkg', { id: '@scope/pkg' }],
    [
      'npm:@scope/pkg@1.2.3//dist/model.onnx',
      { id: '@scope/pkg', revision: '1.2.3', subpath: 'dist/model.onnx' },
    ],
    ['npm:pkg@>=1 <2', { id: 'pkg', revision: '>=1 <2' }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual({ hub: 'npm', ...expected });
  });

  it.each([
    'npm:pkg@npm:other@1',
    'npm:pkg@github:user/repo',
    'npm:pkg@user/repo',
    'npm:pkg@file:../x',
    'npm:pkg@../x',
    'npm:pkg@https://host/x.tgz',
    'npm:pkg@git+ssh://git@host/x.git',
  ])('refuses %s', async (text) => {
    const context = createHubContext(npm, { offline: true });
    await refusalOf((async () => npm.resolve(parse(text), context))(), 'USAGE');
  });

  it.each(['npm:UPPER CASE', 'npm:a/b', 'npm:../x', 'npm:node_modules'])(
    'refuses the name in %s',
    async (text) => {
      await refusalOf(npm.resolve(parse(text), createHubContext(npm, { offline: true })), 'USAGE');
    },
  );
});

describe('a registry', () => {
  let server: TestServer;
  let route: (path: string) => Route | undefined;
  let context: TestHubContext;

  beforeEach(async () => {
    server = await startServer((_request, path) => route(path));
  });
  afterEach(async () => {
    context.close();
    await server.close();
  });

  function resolve(text: string, options: TestHubOptions = {}) {
    context = createHubContext(npm, { settings: { endpoint: server.origin }, ...options });
    return npm.resolve(parse(text), context);
  }
  function publish(versions: readonly string[], more?: Published['more'], integrity?: string): void {
    const tarball = (version: string): string => `${server.origin}/files/m-${version}.tgz`;
    route = (path) =>
      path === '/m'
        ? packument('m', versions, { tarball, ...(more && { more }), ...(integrity && { integrity }) })
        : undefined;
  }

  it('gives version, tarball, digest and licence in one request', async () => {
    publish(['1.0.0', '2.0.0-rc.1'], { homepage: 'https://example.com/m' });
    expect(await resolve('npm:m')).toEqual({
      hub: 'npm',
      id: 'm',
      revision: '1.0.0',
      files: [
        {
          path: 'package.tgz',
          url: `${server.origin}/files/m-1.0.0.tgz`,
          digest: { algorithm: 'sha512', hex: SHA512.toString('hex') },
          unpack: { format: 'tar.gz', strip: 1 },
        },
      ],
      metadata: { license: 'mit', page: 'https://example.com/m' },
    });
    expect(server.requests.map((request) => request.url)).toEqual(['/m']);
  });

  it.each([
    ['npm:m@1', '1.9.0'],
    ['npm:m@^1.0.0', '1.9.0'],
    ['npm:m@~1.0.0', '1.0.0'],
    ['npm:m@1.0.0', '1.0.0'],
    ['npm:m@=2.0.0', '2.0.0'],
    ['npm:m@next', '3.0.0-rc.1'],
    ['npm:m@latest', '2.0.0'],
    ['npm:m', '2.0.0'],
  ])('%s is %s', async (text, version) => {
    publish(['1.0.0', '1.9.0', '2.0.0', '3.0.0-rc.1']);
    expect((await resolve(text)).revision).toBe(version);
  });

  it.each(['npm:m@4.0.0', 'npm:m@^4', 'npm:m@beta'])(
    'names other versions when %s does not exist',
    async (text) => {
      publish(['1.0.0', '1.9.0', '2.0.0']);
      const error = await refusalOf(resolve(text), 'NOT_FOUND');
      expect(error.hint).toContain('2.0.0');
    },
  );

  it('warns of a deprecated version', async () => {
    publish(['1.0.0'], { deprecated: 'use n' });
    await resolve('npm:m');
    expect(context.warnings).toEqual(['npm package m@1.0.0 is deprecated: use n']);
  });

  it.each([
    [
      'a document without versions',
      { body: '{"name":"m"}', headers: { 'content-type': 'application/json' } },
    ],
    ['no JSON', { body: 'hello', headers: { 'content-type': 'text/plain' } }],
  ])('says NETWORK for %s, and which setting to check', async (_what, answer) => {
    route = () => answer;
    const error = await refusalOf(resolve('npm:m'), 'NETWORK');
    expect(error.hint).toContain('hubs.npm.endpoint');
  });

  it.each([
    [401, 'AUTH'],
    [403, 'AUTH'],
    [404, 'NOT_FOUND'],
    [500, 'NETWORK'],
  ] as const)('%s is %s', async (status, code) => {
    route = () => ({ status });
    const error = await refusalOf(resolve('npm:m'), code);
    expect(error.details.url).toBe(`${server.origin}/m`);
    expect(error.hint).toBeTruthy();
  });

  it('that does not accept a login says where that came from', async () => {
    route = () => ({ status: 401 });
    const home = await makeHome(
      `registry=${server.origin}/\n${server.origin.replace('http:', '')}/:_authToken=open-sesame\n`,
    );
    const asking = createHubContext(npm, { home });
    const error = await refusalOf(npm.resolve(parse('npm:m'), asking), 'AUTH');
    asking.close();
    expect(error.message).toContain("does not accept the login from npm's configuration");
    expect(error.details['tokenSource']).toBe("npm's configuration");
    expect(error.message + (error.hint ?? '')).not.toContain('open-sesame');
  });

  it('gives no digest that is not one', async () => {
    publish(['1.0.0'], {}, 'sha512-AAAA');
    expect((await resolve('npm:m')).files[0]?.digest).toBeUndefined();
  });

  it.each(['file:///etc/passwd', 'javascript:0', 'ftp://host/x.tgz'])(
    'refuses the tarball address %s',
    async (tarball) => {
      route = () => packument('m', ['1.0.0'], { tarball: () => tarball });
      await refusalOf(resolve('npm:m'), 'INTEGRITY');
    },
  );

  it('keeps credentials and signatures of a tarball address out of what is recorded', async () => {
    route = () =>
      packument('m', ['1.0.0'], { tarball: () => 'https://user:secret@files.example.com/m.tgz?sig=1#x' });
    expect((await resolve('npm:m')).files[0]).toMatchObject({
      url: 'https://files.example.com/m.tgz',
      query: 'sig=1',
    });
  });

  it('asks a mirror for what it lists under the address of another registry, as npm is told to', async () => {
    route = () =>
      packument('m', ['1.0.0'], { tarball: () => 'https://elsewhere.example.com/m/-/m-1.0.0.tgz' });
    const environment = { npm_config_replace_registry_host: 'always' };
    expect((await resolve('npm:m', { environment })).files[0]?.url).toBe(`${server.origin}/m/-/m-1.0.0.tgz`);
  });

  it('opens no connection offline', async () => {
    publish(['1.0.0']);
    await refusalOf(resolve('npm:m', { offline: true }), 'NETWORK');
    expect(server.requests).toEqual([]);
  });
});

describe("npm's own configuration", () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await startServer(() => ({ status: 404 }));
  });
  afterEach(() => server.close());

  async function askedOf(
    text: string,
    options: TestHubOptions,
  ): Promise<TestServer['requests'][number] | undefined> {
    const context = createHubContext(npm, options);
    await refusalOf(npm.resolve(parse(text), context), 'NOT_FOUND');
    context.close();
    return server.requests.at(-1);
  }

  it('takes the registry of a scope, of the environment, and of the setting before both', async () => {
    const home = await makeHome(`@org:registry=${server.origin}/scoped/\nregistry=${server.origin}/user/\n`);
    expect((await askedOf('npm:@org/m', { home }))?.url).toBe('/scoped/@org%2fm');
    expect((await askedOf('npm:m', { home }))?.url).toBe('/user/m');
    const environment = { npm_config_registry: `${server.origin}/environment/` };
    expect((await askedOf('npm:m', { home, environment }))?.url).toBe('/environment/m');
    const settings = { endpoint: `${server.origin}/setting` };
    expect((await askedOf('npm:m', { home, environment, settings }))?.url).toBe('/setting/m');
    expect((await askedOf('npm:@org/m', { home, environment, settings }))?.url).toBe('/scoped/@org%2fm');
  });

  it('does not read the `.npmrc` of the working directory', async () => {
    const home = await makeHome(`registry=${server.origin}/user/\n`);
    const project = await makeHome(`registry=http://127.0.0.1:1/\n`);
    await writeFile(join(project, 'package.json'), '{}');
    const before = process.cwd();
    process.chdir(project);
    try {
      expect((await askedOf('npm:m', { home }))?.url).toBe('/user/m');
    } finally {
      process.chdir(before);
    }
  });

  it.each([
    ['a token', (host: string) => `//${host}/npm/:_authToken=tok`, 'Bearer tok'],
    ['a token of the whole host', (host: string) => `//${host}/:_authToken=tok`, 'Bearer tok'],
    [
      'a name and password',
      (host: string) => `//${host}/npm/:username=u\n//${host}/npm/:_password=${btoa('p')}`,
      `Basic ${btoa('u:p')}`,
    ],
    ['a basic credential', (host: string) => `//${host}/npm/:_auth=${btoa('u:p')}`, `Basic ${btoa('u:p')}`],
    ['nothing for another path', (host: string) => `//${host}/other/:_authToken=tok`, undefined],
  ])('sends %s', async (_what, line, expected) => {
    const host = new URL(server.origin).host;
    const home = await makeHome(`registry=${server.origin}/npm/\n${line(host)}\n`);
    expect((await askedOf('npm:m', { home }))?.headers.authorization).toBe(expected);
  });

  it('takes user information out of a registry address, and sends it as a header', async () => {
    const home = await makeHome(`registry=${server.origin.replace('//', '//u:p%40@')}/npm/\n`);
    expect((await askedOf('npm:m', { home }))?.headers.authorization).toBe(`Basic ${btoa('u:p@')}`);
  });

  it('authorizes a tarball on the registry’s server, and no other address', async () => {
    const home = await makeHome(
      'registry=https://npm.example.com/api/npm/\n//npm.example.com/api/npm/:_authToken=tok\n',
    );
    const context = { settings: {}, environment: {}, home };
    const ask = (address: string) => npm.authorize(new URL(address), context);
    expect(await ask('https://npm.example.com/files/m.tgz')).toEqual({ authorization: 'Bearer tok' });
    expect(await ask('https://files.example.com/m.tgz')).toBeUndefined();
    expect(await ask('https://npm.example.com:8443/m.tgz')).toBeUndefined();
    expect(await ask('http://npm.example.com/api/npm/m.tgz')).toBeUndefined();
  });

  it('passes on certificates and proxies', async () => {
    const home = await makeHome('');
    await writeFile(join(home, 'ca.pem'), '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n');
    await writeFile(
      join(home, '.npmrc'),
      `cafile=${join(home, 'ca.pem')}\nhttps-proxy=http://proxy:3128\nnoproxy=intern\n`,
    );
    const network = await npm.network({ settings: {}, environment: {}, home });
    expect(network.ca).toHaveLength(1);
    expect(network.ca?.[0]).toContain('AA==');
    expect(network.proxy).toMatchObject({
      https: expect.stringContaining('proxy:3128') as string,
      no: 'intern',
    });
  });

  it('adds nothing where npm is not configured', async () => {
    const home = await makeHome('');
    const environment = { npm_config_globalconfig: join(home, 'absent') };
    const { ca, proxy } = await npm.network({ settings: {}, environment, home });
    expect({ certificates: ca?.length, proxy }).toEqual({ certificates: undefined, proxy: undefined });
  });

  it('says CONFIG for a configuration that npm itself refuses', async () => {
    const home = await makeHome('');
    const environment = { npm_config_cafile: home };
    await refusalOf(npm.network({ settings: {}, environment, home }), 'CONFIG');
  });
});

describe('the strongest digest of an integrity text', () => {
  const hex = (bytes: number): string => 'ab'.repeat(bytes);
  const sri = (algorithm: string, bytes: number): string =>
    `${algorithm}-${Buffer.from(hex(bytes), 'hex').toString('base64')}`;
  it.each([
    [sri('sha1', 20), { algorithm: 'sha1', hex: hex(20) }],
    [`${sri('sha1', 20)} ${sri('sha512', 64)}`, { algorithm: 'sha512', hex: hex(64) }],
    [`${sri('sha384', 48)}?opt ${sri('sha256', 32)}`, { algorithm: 'sha384', hex: hex(48) }],
    [sri('sha512', 32), undefined],
    ['md5-AAAA', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s', (text, expected) => {
    expect(strongestDigest(text)).toEqual(expected);
  });
});

/** Is a registry reachable by npm's own word? */
function registryAnswers(): boolean {
  try {
    execFileSync('npm', ['ping', '--fetch-retries=0', '--fetch-timeout=5000'], {
      stdio: 'ignore',
      timeout: 20_000,
    });
    return true;
  } catch {
    return false;
  }
}

requirePeer('an npm registry', registryAnswers())(
  'resolves a real package through the real configuration',
  async () => {
    const network = await npm.network({ settings: {}, environment: process.env, home: homedir() });
    expect(network.ca?.every((text) => text.includes('BEGIN CERTIFICATE')) ?? true).toBe(true);
    const context = createHubContext(npm, { environment: process.env, home: homedir() });
    const snapshot = await npm.resolve(parse('npm:@ricky0123/vad-web@0.0.24'), context);
    const [tarball] = snapshot.files;
    expect(snapshot.revision).toBe('0.0.24');
    expect(tarball?.digest?.algorithm).toBe('sha512');
    const response = await context.fetch(tarball?.url ?? '');
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(createHash('sha512').update(bytes).digest('hex')).toBe(tarball?.digest?.hex);
    const models = await npm.resolve(parse('npm:@mediapipe/face_detection'), context);
    expect(models).toMatchObject({ id: '@mediapipe/face_detection', metadata: { license: 'apache-2.0' } });
    context.close();
  },
  60_000,
);

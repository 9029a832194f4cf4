import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { ultralytics } from '../../hubs/ultralytics.js';
import { apiOf, assetAddress, releasePage } from '../../hubs/ultralytics/endpoint.js';
import { NAMES, OTHER, PACKAGE, RELEASE } from '../../hubs/ultralytics/names.js';
import type { ErrorCode } from '../../src/errors.js';
import type { Snapshot } from '../../src/hub.js';
import { parseReference, type Reference } from '../../src/reference.js';
import { sha256Of, startGithub, type Github, type GithubOptions, type Refusal } from '../helpers/github.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { describeHubConformance } from './conformance.js';
import { startServer } from './server.js';

const OLD = Buffer.from('weights of the release before last');
const NEW = Buffer.from('weights of the latest release');
const SEGMENT = Buffer.from('weights that were published once');
const TOKEN = 'ghp_open-sesame';

const RELEASES: GithubOptions['releases'] = [
  { tag: 'v9.0.0', prerelease: true, assets: { 'yolo11n.pt': Buffer.from('a trial'), 'yolo30n.pt': NEW } },
  { tag: 'v8.4.0', assets: { 'yolo11n.pt': NEW, 'yolo26n-reid.onnx': NEW, 'bus.jpg': NEW } },
  { tag: 'v8.3.0', old: true, assets: { 'yolo11n.pt': OLD, 'yolo11n-seg.pt': SEGMENT } },
  { tag: 'v0.0.0', old: true, assets: { 'bus.jpg': OLD } },
];

function parse(text: string, endpoint?: string): Reference {
  const endpoints = { ultralytics: endpoint };
  return parseReference(text, [ultralytics.syntax], { cwd: '/work', home: '/home/user', endpoints });
}

describeHubConformance('ultralytics', async () => {
  const github = await startGithub({ releases: RELEASES, token: TOKEN });
  return {
    hub: ultralytics,
    options: { settings: { endpoint: github.endpoint }, credential: { token: TOKEN, source: 'GH_TOKEN' } },
    model: { text: 'ultralytics:yolo11n', paths: ['yolo11n.pt'] },
    unknown: 'ultralytics:yolo11q',
    search: { text: 'yolo11n-seg', finds: ['ultralytics:yolo11n-seg'] },
    references: [
      'ultralytics:yolo11n.pt',
      'ultralytics:yolo11n@v8.3.0',
      'ultralytics:yolo11n.pt@release/8.3',
      'ultralytics:yolo26n-reid.onnx',
      'ultralytics:sam2.1_b@v8.4.0//sam2.1_b.pt',
      'https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt',
    ],
    secrets: [TOKEN, 'sig='],
    setFault: github.setFault,
    reached: github.site.reached,
    close: github.close,
  };
});

describe('references', () => {
  const ENDPOINT = 'https://ghe.example/git';

  it.each<[string, Partial<Reference>]>([
    ['ultralytics:yolo11n', { id: 'yolo11n' }],
    ['ultralytics:yolo11n.pt', { id: 'yolo11n' }],
    ['ultralytics:yolo11n.pt@v8.3.0', { id: 'yolo11n', revision: 'v8.3.0' }],
    ['ultralytics:FastSAM-s', { id: 'FastSAM-s' }],
    ['ultralytics:yolo26n-reid.onnx', { id: 'yolo26n-reid.onnx' }],
    [
      'https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt',
      { id: 'yolo11n', revision: 'v8.3.0' },
    ],
    ['https://github.com/ultralytics/assets/releases/latest/download/yolo11n.pt', { id: 'yolo11n' }],
    [`${ENDPOINT}/ultralytics/assets/releases/download/a/b/sam_b.pt`, { id: 'sam_b', revision: 'a/b' }],
  ])('%s', (text, expected) => {
    expect(parse(text, ENDPOINT)).toEqual({ hub: 'ultralytics', ...expected });
  });

  it.each([
    'ultralytics:org/yolo11n',
    'ultralytics:../yolo11n',
    'ultralytics:.pt',
    'ultralytics:yolo11n:v8.3.0',
    'ultralytics:yolo11n@../../x',
    'ultralytics:yolo11n@a//b/../c',
    'ultralytics:yolo11n@a b',
    'ultralytics:yolo 11n',
  ])('refuses %s', (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });

  it.each([
    'https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt?raw=1',
    `https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt#sha256=${sha256Of(NEW)}`,
    'https://github.com/ultralytics/assets/releases/download/v0.0.0/coco8.zip',
    'https://github.com/ultralytics/yolov5/releases/download/v7.0/yolov5n.pt',
    'https://other.example/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt',
  ])('leaves to others: %s', (text) => {
    expect(ultralytics.syntax.fromWebAddress(new URL(text), ENDPOINT)).toBeUndefined();
  });
});

describe('addresses', () => {
  it.each([
    ['https://github.com', 'https://api.github.com'],
    ['https://octo.ghe.com', 'https://api.octo.ghe.com'],
    ['https://ghe.example', 'https://ghe.example/api/v3'],
    ['http://proxy.example:8080/github', 'http://proxy.example:8080/github/api/v3'],
  ])('the API of %s is %s', (endpoint, api) => {
    expect(apiOf(endpoint)).toBe(api);
  });

  it('is that of a public asset as its page links it', () => {
    expect(ultralytics.endpoint({ settings: {}, environment: {}, home: '/' })).toBe('https://github.com');
    expect(assetAddress('https://github.com', 'v8.3.0', 'yolo11n.pt')).toBe(
      'https://github.com/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt',
    );
    expect(releasePage('https://github.com', 'a+b/c')).toBe(
      'https://github.com/ultralytics/assets/releases/tag/a%2Bb/c',
    );
  });

  it.each(['github.com', 'ftp://github.com', 'https://user:secret@github.com'])(
    'refuses the endpoint %s',
    async (endpoint) => {
      const context = createHubContext(ultralytics, { settings: {} });
      const error = await refusalOf(
        ultralytics.resolve(parse('ultralytics:yolo11n'), { ...context, settings: { endpoint } }),
        'CONFIG',
      );
      expect(error.message).toContain('hubs.ultralytics.endpoint');
      expect(error.message + (error.hint ?? '')).not.toContain('secret');
    },
  );
});

describe('the names that Ultralytics knows', () => {
  const names: readonly string[] = [...Object.values(NAMES).flat(), ...OTHER];

  it('are of the package in the lock', async () => {
    const lock = await readFile(assetPath('requirements', 'ultralytics.txt'), 'utf8');
    // Made anew with `npm run names` after the lock.
    expect(lock).toContain(`\n${PACKAGE.replace(' ', '==')} `);
    expect(RELEASE).toMatch(/^v\d+\.\d+\.\d+$/);
  });

  it('are each there once, and read as references', () => {
    expect(new Set(names).size).toBe(names.length);
    for (const id of names)
      expect(parse(`ultralytics:${id}@${RELEASE}`)).toMatchObject({ id, revision: RELEASE });
  });

  it.each([
    ['detect', 'yolo11n'],
    ['detect', 'yolov8n-oiv7'],
    ['segment', 'yolo11n-seg'],
    ['segment', 'FastSAM-s'],
    ['pose', 'yolo26n-pose'],
    ['obb', 'yolov8x-obb'],
    ['classify', 'yolo11n-cls'],
  ] as const)('have their task: %s of %s', (task, name) => {
    expect(NAMES[task]).toContain(name);
  });
});

describe('answers', () => {
  let github: Github;
  const contexts: TestHubContext[] = [];

  async function start(more: Partial<GithubOptions> = {}): Promise<void> {
    github = await startGithub({ releases: RELEASES, ...more });
  }
  beforeEach(() => start());
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await github.close();
  });

  function open(options: TestHubOptions = {}): TestHubContext {
    const context = createHubContext(ultralytics, { settings: { endpoint: github.endpoint }, ...options });
    contexts.push(context);
    return context;
  }
  function resolve(text: string, context = open()): Promise<Snapshot> {
    return ultralytics.resolve(parse(text), context);
  }
  function refused(text: string, code: ErrorCode, options: TestHubOptions = {}) {
    return refusalOf(resolve(text, open(options)), code);
  }
  const base = '/repos/ultralytics/assets/releases';

  it('are the latest release for a bare name: one request', async () => {
    expect(await resolve('ultralytics:yolo11n')).toEqual({
      hub: 'ultralytics',
      id: 'yolo11n',
      revision: 'v8.4.0',
      files: [
        {
          path: 'yolo11n.pt',
          size: NEW.length,
          digest: { algorithm: 'sha256', hex: sha256Of(NEW) },
          url: `${github.endpoint}/ultralytics/assets/releases/download/v8.4.0/yolo11n.pt`,
        },
      ],
      metadata: {
        library: 'ultralytics',
        task: 'detect',
        page: `${github.endpoint}/ultralytics/assets/releases/tag/v8.4.0`,
      },
    });
    expect(github.asked()).toEqual([`${base}/latest`]);
    expect(github.site.requests[0]?.headers).toMatchObject({
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
    });
  });

  it('are the newest release that has it where the latest lacks it, and no trial', async () => {
    const { revision, files } = await resolve('ultralytics:yolo11n-seg');
    expect(revision).toBe('v8.3.0');
    // Old assets come without a digest.
    expect(files).toEqual([
      {
        path: 'yolo11n-seg.pt',
        size: SEGMENT.length,
        url: `${github.endpoint}/ultralytics/assets/releases/download/v8.3.0/yolo11n-seg.pt`,
      },
    ]);
    expect(github.asked()).toEqual([`${base}/latest`, `${base}?per_page=100&page=1`]);
    await refused('ultralytics:yolo30n', 'NOT_FOUND');
  });

  it('are one release for a tag, a trial or not, and of names that no list has', async () => {
    expect((await resolve('ultralytics:yolo11n.pt@v8.3.0')).files[0]?.size).toBe(OLD.length);
    const trial = await resolve('ultralytics:yolo30n@v9.0.0');
    expect(trial).toMatchObject({ revision: 'v9.0.0', metadata: { library: 'ultralytics' } });
    expect(trial.metadata.task).toBeUndefined();
    expect(github.asked()).toEqual([`${base}/tags/v8.3.0`, `${base}/tags/v9.0.0`]);
  });

  it('are looked for on all pages of the list', async () => {
    const fillers = Array.from({ length: 100 }, (_, index) => ({ tag: `v1.0.${index}`, assets: {} }));
    github.set([...fillers, ...RELEASES]);
    expect((await resolve('ultralytics:yolo11n-seg')).revision).toBe('v8.3.0');
    expect(github.asked().at(-1)).toBe(`${base}?per_page=100&page=2`);
  });

  it.each([
    ['ultralytics:yolo11q', 'yolo11q.pt', '`ultralytics:yolo11l`'],
    ['ultralytics:YOLO11n', 'YOLO11n.pt', '`ultralytics:yolo11n`'],
    ['ultralytics:yolo11n.yaml', 'yolo11n.yaml.pt', '`ultralytics:yolo11n`'],
    ['ultralytics:yolo26n-reid', 'yolo26n-reid.pt', '`ultralytics:yolo26n-reid.onnx`'],
    ['ultralytics:yolo11q@v8.3.0', 'yolo11q.pt', '`ultralytics:yolo11l`'],
    ['ultralytics:yolo12n@v8.3.0', 'yolo12n.pt', 'the page lists releases'],
    [
      'ultralytics:yolo11n-seg@v8.4.0',
      'The release v8.4.0 has no yolo11n-seg.pt',
      '`ultralytics:yolo11n-seg@v8.3.0`',
    ],
    ['ultralytics:yolo11n@v7', 'There is no release v7 with yolo11n.pt', '`ultralytics:yolo11n@v8.4.0`'],
    ['ultralytics:bus.jpg', 'bus.jpg.pt', 'ultralytics:'],
  ])('%s is not found, and what is near is named', async (text, message, hint) => {
    const error = await refused(text, 'NOT_FOUND');
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
    expect(error.details.url).toContain(`${github.endpoint}/ultralytics/assets/releases`);
  });

  it('says of what a token is for', async () => {
    await github.close();
    await start({ token: TOKEN, isPrivate: true });
    const anonymous = await refused('ultralytics:yolo11n', 'NOT_FOUND');
    expect(anonymous.message).toContain('or it is private and you are not logged in');
    expect(anonymous.hint).toContain('modeldl login ultralytics');
    const wrong = await refused('ultralytics:yolo11n', 'AUTH', {
      credential: { token: 'expired', source: 'the environment variable GH_TOKEN' },
    });
    expect(wrong.message).toContain(
      'does not accept the token from the environment variable GH_TOKEN: Bad credentials',
    );
    expect(`${wrong.message} ${wrong.hint ?? ''}`).not.toContain('expired');
    const right = open({ credential: { token: TOKEN, source: 'GH_TOKEN' } });
    expect((await resolve('ultralytics:yolo11n', right)).revision).toBe('v8.4.0');
    expect(await ultralytics.credentials.whoami(right)).toEqual({ name: 'octocat', scope: 'repo' });
  });

  it('gives the token to the API and never to the storage', async () => {
    await github.close();
    await start({ token: TOKEN });
    const context = open({ credential: { token: TOKEN, source: 'GH_TOKEN' } });
    const { files } = await resolve('ultralytics:yolo11n', context);
    const response = await context.fetch(files[0]?.url ?? '');
    expect(Buffer.from(await response.arrayBuffer())).toEqual(NEW);
    expect(github.site.requests[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
    expect(github.files.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it.each<[Refusal, ErrorCode, string]>([
    ['primary limit', 'NETWORK', 'takes no more requests until 2100-01-01 00:00 UTC'],
    ['primary limit, 429', 'NETWORK', 'takes no more requests until 2100-01-01 00:00 UTC'],
    ['secondary limit', 'NETWORK', 'takes no more requests for 60 s'],
    ['secondary limit in words', 'NETWORK', 'takes no more requests for a minute or more'],
    ['forbidden', 'AUTH', 'refuses access to the releases of ultralytics/assets: Resource protected'],
  ])('%s of the API', async (refusal, code, message) => {
    github.refuse(refusal);
    const error = await refused('ultralytics:yolo11n', code);
    expect(error.message).toContain(message);
    expect(error.hint).toContain('modeldl login ultralytics');
    if (code === 'NETWORK') expect(error.hint).toContain('`ultralytics:yolo11n@v8.4.0`');
    const unlisted = await refused('ultralytics:yolo30n', code);
    expect(unlisted.hint).not.toContain('yolo30n');
  });

  it('is not asked again before a limit that is used up starts anew', async () => {
    github.refuse('primary limit, 429');
    await refused('ultralytics:yolo11n', 'NETWORK', { retries: 5 });
    expect(github.asked()).toHaveLength(1);
  });

  it('says so when it is no API', async () => {
    github.setFault('html');
    const error = await refused('ultralytics:yolo11n', 'NETWORK');
    expect(error.message).toContain("No answer of GitHub's API (200, text/html)");
    expect(error.hint).toContain('hubs.ultralytics.endpoint');
    await refused('ultralytics:yolo11n@v8.3.0', 'NETWORK');
  });

  it('says so when there is no such page, or something else than a file', async () => {
    const nothing = await startServer((_request, path) =>
      path.endsWith('.pt')
        ? { headers: { 'content-type': 'application/json' }, body: '{}' }
        : { status: 404, headers: { 'content-type': 'text/html' } },
    );
    onTestFinished(() => nothing.close());
    const settings = { endpoint: nothing.origin };
    for (const text of ['ultralytics:yolo11n', 'ultralytics:yolo11n@v8.3.0']) {
      const error = await refused(text, 'NETWORK', { settings });
      expect(error.message).toContain("No answer of GitHub's API (404, text/html)");
    }
  });

  describe('for a release that is named, when the API is refused', () => {
    it.each<Refusal | 'no API'>(['primary limit', 'primary limit, 429', 'secondary limit', 'no API'])(
      'come from the address of the file: %s',
      async (kind) => {
        if (kind === 'no API') github.dropApi();
        else github.refuse(kind);
        const context = open();
        const { revision, files } = await resolve('ultralytics:yolo11n@v8.4.0', context);
        expect(revision).toBe('v8.4.0');
        expect(files).toEqual([
          {
            path: 'yolo11n.pt',
            size: NEW.length,
            url: `${github.endpoint}/ultralytics/assets/releases/download/v8.4.0/yolo11n.pt`,
          },
        ]);
        expect(context.warnings).toEqual([
          expect.stringMatching(/^The digest of yolo11n.pt of v8.4.0 is not known/),
        ]);
        expect(github.files.requests.map(({ headers }) => headers.range)).toEqual(['bytes=0-0']);
      },
    );

    it('are that there is none', async () => {
      github.refuse('primary limit');
      const error = await refused('ultralytics:yolo11n@v7', 'NOT_FOUND');
      expect(error.message).toContain('There is no release v7 with yolo11n.pt');
    });

    it('are why the API was refused, where the files are neither', async () => {
      github.setFault('503');
      const error = await refused('ultralytics:yolo11n@v8.4.0', 'NETWORK');
      expect(error.message).toContain('answered 503');
      expect(error.message).toContain(`${base}/tags/v8.4.0`);
      expect(github.asked()).toHaveLength(2);
    });

    it('do not hide that a token is wrong or access refused', async () => {
      github.refuse('forbidden');
      await refused('ultralytics:yolo11n@v8.4.0', 'AUTH');
      expect(github.asked()).toHaveLength(1);
    });
  });

  describe('about a release that was pulled before', () => {
    const digest = { algorithm: 'sha256', hex: sha256Of(OLD) } as const;
    const recorded = (sha256: typeof digest, size: number): TestHubOptions => ({
      known: (id, revision) =>
        Promise.resolve({
          hub: 'ultralytics',
          id,
          revision,
          files: [{ path: 'yolo11n.pt', size, digest: sha256, url: 'https://elsewhere.example/yolo11n.pt' }],
          metadata: {},
        }),
    });

    it('get the digest that was recorded, where GitHub tells none', async () => {
      const context = open(recorded(digest, OLD.length));
      expect((await resolve('ultralytics:yolo11n@v8.3.0', context)).files).toEqual([
        {
          path: 'yolo11n.pt',
          size: OLD.length,
          digest,
          url: `${github.endpoint}/ultralytics/assets/releases/download/v8.3.0/yolo11n.pt`,
        },
      ]);
      expect(context.warnings).toEqual([]);
    });

    it.each([
      ['v8.4.0', 'another digest', NEW.length],
      ['v8.3.0', 'another size', OLD.length + 1],
    ])('tell that the file of %s was replaced, by %s', async (tag, _by, size) => {
      const context = open(recorded(digest, size));
      const { files } = await resolve(`ultralytics:yolo11n@${tag}`, context);
      expect(files[0]).toMatchObject({ digest, size });
      expect(context.warnings).toEqual([
        expect.stringContaining(`\`modeldl pull --refresh --force ultralytics:yolo11n@${tag}\``),
      ]);
    });
  });

  it('are asked for nothing offline', async () => {
    await refused('ultralytics:yolo11n', 'NETWORK', { offline: true });
    expect(github.asked()).toEqual([]);
  });
});

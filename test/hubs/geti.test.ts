import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { geti } from '../../hubs/geti.js';
import type { ErrorCode, ModeldlError } from '../../src/errors.js';
import type { Snapshot } from '../../src/hub.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import {
  json,
  ORGANIZATION,
  objectId,
  startGeti,
  TOKEN,
  uuid,
  type Geti,
  type GetiOptions,
  type GetiProject,
  type GetiVersion,
} from '../helpers/geti.js';
import {
  createHubContext,
  refusalOf,
  type TestHubContext,
  type TestHubOptions,
} from '../helpers/hub-context.js';
import { describeHubConformance } from './conformance.js';
import { startServer } from './server.js';

const ir = (text: string): GetiVersion['variants'][number]['files'] => ({
  'model/model.xml': `<net name="${text}"/>`,
  'model/model.bin': `weights of ${text}`,
});
const version = (created: string, more: Partial<GetiVersion> = {}): GetiVersion => ({
  created,
  variants: [
    { format: 'PyTorch', precision: 'FP32', files: { 'weights.pth': `pickle of ${created}` } },
    { format: 'OpenVINO', precision: 'FP32', files: ir(`fp32 of ${created}`) },
    { format: 'OpenVINO', precision: 'FP16', files: ir(`fp16 of ${created}`) },
    { format: 'OpenVINO', precision: 'FP16', explains: true, files: ir(`fp16 of ${created}, explained`) },
    { format: 'OpenVINO', precision: 'INT8', optimization: 'POT', files: ir(`int8 of ${created}`) },
    { format: 'ONNX', precision: 'FP32', files: { 'model.onnx': `graph of ${created}` } },
  ],
  ...more,
});
const FIRST = '2026-01-05T10:00:00.120000+00:00';
const SECOND = '2026-02-05T10:00:00.120000+00:00';
const THIRD = '2026-03-05T10:00:00.120000+00:00';

const PROJECTS: readonly GetiProject[] = [
  {
    name: 'Shop floor',
    task: 'detection',
    models: [
      { name: 'SSD', versions: [version(FIRST), version(SECOND), version(THIRD, { untrained: true })] },
      { name: 'YOLOX', versions: [version(FIRST, { untrained: true })] },
      { name: 'ATSS', versions: [] },
    ],
  },
  { name: 'A/B test', models: [{ name: 'SSD', versions: [version(FIRST)] }] },
];

function parse(text: string): Reference {
  return parseReference(text, [geti.syntax], { cwd: '/work', home: '/home/user' });
}

for (const generation of [2, 3] as const) {
  describeHubConformance(`geti ${generation}.x`, async () => {
    const server = await startGeti({ generation, projects: PROJECTS, token: TOKEN });
    return {
      hub: geti,
      options: {
        settings: { endpoint: server.endpoint },
        ...(generation === 2 ? { credential: { token: TOKEN, source: 'GETI_TOKEN' } } : {}),
      },
      model: { text: 'geti:Shop%20floor/SSD', paths: ['openvino-fp16.zip'] },
      unknown: 'geti:Shop%20floor/SSSD',
      search: { text: 'floor', finds: ['geti:Shop%20floor/SSD'] },
      references: [
        'geti:Shop%20floor/SSD@2//openvino-int8',
        'geti:A%2FB%20test/SSD@2//openvino-int8/model/model.xml',
        `geti:${objectId('p')}/${objectId('m')}@${objectId('v')}`,
        'geti:100%2525/a%40b%2Bint8-cpu@YOLOX-X%20(76e07d18)',
      ],
      secrets: [TOKEN],
      setFault: server.setFault,
      reached: server.server.reached,
      close: server.close,
    };
  });
}

describe('references to models of Geti', () => {
  it.each<[string, Partial<Reference>]>([
    ['geti:shop/SSD', { id: 'shop/SSD' }],
    ['geti:Shop%20floor/SSD@3', { id: 'Shop floor/SSD', revision: '3' }],
    ['geti:shop/SSD//openvino-int8', { id: 'shop/SSD//openvino-int8' }],
    ['geti:shop/SSD@3//int8/model', { id: 'shop/SSD//int8', revision: '3', subpath: 'model' }],
    ['geti:a%2Fb/c%25', { id: 'a%2Fb/c%25' }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual({ hub: 'geti', ...expected });
    expect(parse(formatReference(parse(text), [geti.syntax]))).toEqual(parse(text));
  });

  it.each([
    'geti:shop',
    'geti:shop/',
    'geti:/SSD',
    'geti:a/b/c',
    'geti:shop/SSD@',
    'geti:shop/SSD//..',
    'geti:',
  ])('refuses %s', (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('a server of Geti', () => {
  let server: Geti;
  const contexts: TestHubContext[] = [];
  afterEach(async () => {
    for (const context of contexts.splice(0)) context.close();
    await server.close();
  });

  async function start(generation: 2 | 3, more: Partial<GetiOptions> = {}): Promise<void> {
    server = await startGeti({
      generation,
      projects: PROJECTS,
      ...(generation === 2 ? { token: TOKEN } : {}),
      ...more,
    });
  }
  function open(more: TestHubOptions = {}): TestHubContext {
    const context = createHubContext(geti, {
      credential: { token: TOKEN, source: 'the environment variable GETI_TOKEN' },
      ...more,
      settings: { endpoint: server.endpoint, ...more.settings },
    });
    contexts.push(context);
    return context;
  }
  function resolve(text: string, more: TestHubOptions = {}): Promise<Snapshot> {
    return geti.resolve(parse(text), open(more));
  }
  function refused(text: string, code: ErrorCode, more: TestHubOptions = {}): Promise<ModeldlError> {
    return refusalOf(resolve(text, more), code);
  }

  describe('of 2.x', () => {
    const base = `/api/v1/organizations/${ORGANIZATION}/workspaces/${objectId('workspace Default')}/projects`;
    const project = `${base}/${objectId('Shop floor')}`;
    const group = `${project}/model_groups/${objectId('Shop floor/SSD')}`;
    const trained = objectId('Shop floor/SSD/2');
    const half = objectId('Shop floor/SSD/2/openvino-fp16');

    it('gives the newest trained version in OpenVINO FP16, with the token on every request', async () => {
      await start(2);
      expect(await resolve('geti:shop%20floor/ssd')).toEqual({
        hub: 'geti',
        id: 'Shop floor/SSD//openvino-fp16',
        revision: half,
        files: [
          {
            path: 'openvino-fp16.zip',
            url: `${server.endpoint}${group}/models/${trained}/optimized_models/${half}/export`,
            unpack: { format: 'zip' },
          },
        ],
        metadata: {
          task: 'detection',
          library: 'openvino',
          page: `${server.endpoint}${project.replace('/api/v1', '')}/models/${objectId('Shop floor/SSD')}/${trained}`,
        },
      });
      expect(server.asked()).toEqual([
        '/api/v1/personal_access_tokens/organization',
        `/api/v1/organizations/${ORGANIZATION}/workspaces`,
        `${base}?limit=50&skip=0`,
        `${project}/model_groups`,
        `${group}/models/${trained}`,
      ]);
      expect(server.server.requests.map(({ headers }) => headers['x-api-key'])).toEqual(Array(5).fill(TOKEN));
      expect(server.server.requests.map(({ headers }) => headers.authorization)).toEqual(
        Array(5).fill(undefined),
      );
    });

    it.each([
      ['//openvino-int8', '2/openvino-int8-pot', 'openvino-int8'],
      ['//INT8', '2/openvino-int8-pot', 'openvino-int8'],
      ['@1//fp32', '1/openvino-fp32', 'openvino-fp32'],
      ['//openvino-fp16-xai', '2/openvino-fp16-xai', 'openvino-fp16-xai'],
      ['//onnx', '2/onnx-fp32', 'onnx-fp32'],
      ['@1//base', '1', 'pytorch-fp32'],
      [`@${objectId('Shop floor/SSD/1')}`, '1/openvino-fp16', 'openvino-fp16'],
      [`@${objectId('Shop floor/SSD/1')}//pytorch-fp32`, '1', 'pytorch-fp32'],
      [`@${objectId('Shop floor/SSD/1/onnx-fp32')}`, '1/onnx-fp32', 'onnx-fp32'],
    ])('takes %s', async (rest, revision, variant) => {
      await start(2);
      const snapshot = await resolve(`geti:Shop%20floor/SSD${rest}`);
      expect(snapshot).toMatchObject({
        id: `Shop floor/SSD//${variant}`,
        revision: objectId(`Shop floor/SSD/${revision}`),
        files: [{ path: `${variant}.zip` }],
      });
    });

    it('takes ids for names, and the id of a version for its model', async () => {
      await start(2);
      const id = objectId('Shop floor');
      const byIds = await resolve(`geti:${id}/${objectId('Shop floor/SSD')}`);
      expect(byIds).toMatchObject({ id: 'Shop floor/SSD//openvino-fp16', revision: half });
      const byVersion = await resolve(`geti:${id}/${objectId('Shop floor/SSD/1')}`);
      expect(byVersion.revision).toBe(objectId('Shop floor/SSD/1/openvino-fp16'));
    });

    it('takes what the SDK prefers of two of one precision, and leaves out what failed', async () => {
      const variants: GetiVersion['variants'] = [
        { format: 'OpenVINO', precision: 'INT8', optimization: 'POT', files: ir('pot') },
        { format: 'OpenVINO', precision: 'INT8', optimization: 'NNCF', files: ir('nncf') },
        { format: 'OpenVINO', precision: 'FP16', status: 'FAILED', files: ir('none') },
      ];
      const projects = [{ name: 'p', models: [{ name: 'm', versions: [{ created: FIRST, variants }] }] }];
      await start(2, { projects });
      expect((await resolve('geti:p/m//int8')).revision).toBe(objectId('p/m/1/openvino-int8-nncf'));
      expect((await resolve('geti:p/m')).revision).toBe(objectId('p/m/1/openvino-int8-nncf'));
      const pot = objectId('p/m/1/openvino-int8-pot');
      expect((await resolve(`geti:p/m@${pot}//openvino-int8`)).revision).toBe(pot);
    });

    it('has its token for itself: no storage that an archive redirects to gets it', async () => {
      await start(2);
      const storage = await startServer(() => ({ body: 'archive' }));
      onTestFinished(() => storage.close());
      server.swap(half, { status: 302, headers: { location: `${storage.origin}/blob` } });
      const context = open();
      const { files } = await geti.resolve(parse('geti:Shop%20floor/SSD'), context);
      const response = await context.fetch(files[0]?.url ?? '');
      expect(await response.text()).toBe('archive');
      expect(server.server.requests.at(-1)?.headers['x-api-key']).toBe(TOKEN);
      expect(storage.requests.map(({ headers }) => headers['x-api-key'])).toEqual([undefined]);
    });

    it('is asked for all pages of projects', async () => {
      const others = Array.from({ length: 120 }, (_, index) => ({ name: `other ${index}`, models: [] }));
      await start(2, { projects: [...others, ...PROJECTS] });
      expect((await resolve('geti:Shop%20floor/SSD')).revision).toBe(half);
      expect(server.asked().filter((path) => path.startsWith(`${base}?`))).toEqual(
        [0, 50, 100].map((skip) => `${base}?limit=50&skip=${skip}`),
      );
    });

    it('before 2.5 tells its one organisation', async () => {
      await start(2, { old: true });
      expect((await resolve('geti:Shop%20floor/SSD')).revision).toBe(half);
    });

    it('has a workspace chosen, where there are several', async () => {
      await start(2, { workspaces: ['Mine', 'Ours'] });
      const error = await refused('geti:Shop%20floor/SSD', 'USAGE');
      expect(error.message).toContain(
        `${objectId('workspace Mine')} (Mine), ${objectId('workspace Ours')} (Ours)`,
      );
      expect(error.hint).toContain('GETI_WORKSPACE_ID');
      const settings = { workspace: objectId('workspace Mine'), organization: ORGANIZATION };
      expect((await resolve('geti:Shop%20floor/SSD', { settings })).revision).toBe(half);
      const wrong = await refused('geti:Shop%20floor/SSD', 'NOT_FOUND', { settings: { workspace: 'other' } });
      expect(wrong.hint).toContain('hubs.geti.workspace');
    });

    it.each([
      ['geti:Shop/SSD', 'there is no project Shop', '`geti:Shop%20floor/SSD`'],
      ['geti:Shop%20floor/SDS', 'Shop floor has no model SDS', '`geti:Shop%20floor/SSD`'],
      ['geti:Shop%20floor/YOLOX', 'YOLOX is not trained yet', '`geti:Shop%20floor/SSD`'],
      ['geti:Shop%20floor/ATSS', 'ATSS is not trained yet', 'trained there: `geti:Shop%20floor/SSD`'],
      ['geti:Shop%20floor/SSD@3', 'SSD has no version 3 that is trained', '`geti:Shop%20floor/SSD@2`'],
      ['geti:Shop%20floor/SSD@9//int8', 'SSD has no version 9', '`geti:Shop%20floor/SSD@1//int8`'],
      [`geti:Shop%20floor/SSD@${'0'.repeat(24)}`, `no version ${'0'.repeat(24)}`, '@2`'],
      ['geti:Shop%20floor/SSD//int4', 'version 2 has no int4', '`geti:Shop%20floor/SSD//openvino-int8`'],
      [
        `geti:Shop%20floor/SSD@${half}//openvino-int8`,
        'is openvino-fp16, not openvino-int8',
        `\`geti:Shop%20floor/SSD@${half}//openvino-fp16\``,
      ],
    ])('has no %s', async (text, message, hint) => {
      await start(2);
      const error = await refused(text, 'NOT_FOUND');
      expect(error.message).toContain(message);
      expect(error.hint).toContain(hint);
    });

    it('lists the ids of what has one name', async () => {
      const model = (name: string) => ({ name, versions: [version(FIRST)] });
      await start(2, {
        projects: [
          { name: 'Shop', models: [model('SSD')] },
          { name: 'SHOP', models: [model('SSD')] },
        ],
      });
      const error = await refused('geti:shop/SSD', 'USAGE');
      expect(error.message).toContain(`${objectId('Shop')}, ${objectId('SHOP')}`);
      expect(error.hint).toContain(`\`geti:${objectId('SHOP')}/SSD\``);
      // Spelt as one of them it is that one, under its id since its name is not its own.
      const { id } = await resolve('geti:SHOP/SSD');
      expect(id).toBe(`${objectId('SHOP')}/SSD//openvino-fp16`);
    });

    it.each(['401', 'page', 'redirect'] as const)('wants a login: %s', async (anonymous) => {
      await start(2, { anonymous });
      const error = await refused('geti:Shop%20floor/SSD', 'AUTH', { credential: undefined });
      expect(error.hint).toContain('modeldl login geti');
      expect(error.details.url).toContain(server.endpoint);
      expect(server.asked().filter((path) => path.includes('dex'))).toEqual([]);
    });

    it('does not take another token, and says which it was', async () => {
      await start(2);
      const error = await refused('geti:Shop%20floor/SSD', 'AUTH', {
        credential: { token: 'geti_pat_expired', source: 'the environment variable GETI_TOKEN' },
      });
      expect(error.message).toContain(
        'the token from the environment variable GETI_TOKEN: it is wrong or expired',
      );
      expect(`${error.message} ${error.hint ?? ''}`).not.toContain('geti_pat_expired');
    });

    it.each<[string, Parameters<Geti['refuse']>[0], ErrorCode, string]>([
      [
        'no access',
        json({ message: 'User is not authorized' }, 403),
        'AUTH',
        'refuses access to this account',
      ],
      ['an error', json({ message: 'Internal server error' }, 500), 'NETWORK', 'answered 500'],
      ['another shape', json({ organizations: [] }), 'NETWORK', "No answer of Geti's API"],
      ['hostile ids', json({ organizationId: '../../x' }), 'NETWORK', "No answer of Geti's API"],
      [
        'broken JSON',
        { headers: { 'content-type': 'application/json' }, body: '{' },
        'NETWORK',
        "No answer of Geti's",
      ],
    ])('answers %s', async (_what, route, code, message) => {
      await start(2);
      server.refuse(route);
      const error = await refused('geti:Shop%20floor/SSD', code);
      expect(error.message).toContain(message);
      expect(error.details.url).toContain('/api/v1/personal_access_tokens/organization');
    });

    it('may be no Geti at all, which is no matter of a login', async () => {
      await start(2);
      for (const type of ['application/json', 'text/html']) {
        const nothing = await startServer(() => ({
          status: 404,
          headers: { 'content-type': type },
          body: '{}',
        }));
        onTestFinished(() => nothing.close());
        const settings = { endpoint: nothing.origin };
        const error = await refused('geti:Shop%20floor/SSD', 'NETWORK', { settings });
        expect(error.message).toContain(`No answer of Geti's API (404, ${type})`);
        expect(error.hint).toContain('hubs.geti.endpoint');
      }
    });

    it.each(['/model_groups', `/models/${trained}`])(
      'may have lost %s between two requests',
      async (ending) => {
        await start(2);
        server.drop(ending);
        const error = await refused('geti:Shop%20floor/SSD', 'NOT_FOUND');
        expect(error.hint).toContain('may just have been deleted');
      },
    );

    it('is not believed what could be no name of a file', async () => {
      const variants = [{ format: '../../OpenVINO', precision: 'FP16', files: ir('hostile') }];
      await start(2, {
        projects: [{ name: 'p', models: [{ name: 'm', versions: [{ created: FIRST, variants }] }] }],
      });
      const error = await refused('geti:p/m', 'NETWORK');
      expect(error.message).toContain('at `optimized_models.0.model_format`');
    });

    it('tells whose a token is', async () => {
      await start(2);
      expect(await geti.credentials.whoami(open())).toEqual({
        name: 'ada@example.com',
        organisations: [ORGANIZATION],
      });
    });

    it('is searched for trained models by words and task', async () => {
      await start(2);
      const find = async (text: string, task?: string): Promise<readonly string[]> => {
        const found: string[] = [];
        const query = { text, limit: 10, ...(task === undefined ? {} : { task }) };
        for await (const { reference } of geti.search(query, open())) found.push(reference.id);
        return found;
      };
      expect(await find('ssd')).toEqual(['Shop floor/SSD', 'A%2FB test/SSD']);
      expect(await find('floor ssd')).toEqual(['Shop floor/SSD']);
      expect(await find('', 'object-detection')).toEqual(['Shop floor/SSD', 'A%2FB test/SSD']);
      expect(await find('', 'anomaly')).toEqual([]);
      expect(await find('atss')).toEqual([]);
      await refusalOf(find('ssd', 'text-generation'), 'USAGE');
    });
  });

  describe('of 3.x', () => {
    const project = `/api/projects/${uuid('Shop floor')}`;
    const trained = uuid('Shop floor/SSD/2');
    const half = uuid('Shop floor/SSD/2/openvino-fp16');

    it('is known by its web page in place of 2.x, and gives the newest training', async () => {
      await start(3);
      expect(await resolve('geti:Shop%20floor/SSD', { credential: undefined })).toEqual({
        hub: 'geti',
        id: 'Shop floor/SSD//openvino-fp16',
        revision: half,
        files: [
          {
            path: 'openvino-fp16.zip',
            url: `${server.endpoint}${project}/models/${trained}/variants/${half}/binary`,
            unpack: { format: 'zip' },
          },
        ],
        metadata: {
          task: 'detection',
          library: 'openvino',
          page: `${server.endpoint}/projects/${uuid('Shop floor')}/models`,
        },
      });
      expect(server.asked()).toEqual([
        '/api/v1/personal_access_tokens/organization',
        '/api/projects',
        `${project}/models`,
      ]);
    });

    it('is asked nothing of 2.x where that is set', async () => {
      await start(3);
      await resolve('geti:Shop%20floor/SSD', { settings: { api: '3' } });
      expect(server.asked()).toEqual(['/api/projects', `${project}/models`]);
      const error = await refused('geti:Shop%20floor/SSD', 'AUTH', { settings: { api: '2' } });
      expect(error.message).toContain('answers a web page');
      expect((await refused('geti:a/b', 'CONFIG', { settings: { api: '4' } })).message).toContain(
        '`2` or `3`',
      );
    });

    it.each([
      [`geti:Shop%20floor/SSD@${uuid('Shop floor/SSD/1').slice(0, 8)}`, '1/openvino-fp16'],
      [`geti:Shop%20floor/SSD@${uuid('Shop floor/SSD/1')}//onnx`, '1/onnx-fp32'],
      [`geti:Shop%20floor/SSD%20(${uuid('Shop floor/SSD/1').slice(0, 8)})//int8`, '1/openvino-int8-pot'],
      [`geti:Shop%20floor/object-detection-ssd//base`, '2/pytorch-fp32'],
      [`geti:${uuid('Shop floor')}/${uuid('Shop floor/SSD/1')}`, '1/openvino-fp16'],
    ])('takes %s', async (text, revision) => {
      await start(3);
      expect((await resolve(text)).revision).toBe(uuid(`Shop floor/SSD/${revision}`));
    });

    it('leaves out what was deleted, and takes a training by the name that somebody gave it', async () => {
      const [pytorch, ...others] = version(FIRST).variants;
      const variants = [
        ...(pytorch === undefined ? [] : [pytorch]),
        ...others.map((one) => ({ ...one, deleted: true })),
      ];
      const versions = [
        version(FIRST, { name: 'good' }),
        { created: SECOND, variants },
        version(THIRD, { purged: true }),
      ];
      await start(3, { projects: [{ name: 'p', models: [{ name: 'm', architecture: 'arch', versions }] }] });
      expect((await resolve('geti:p/arch')).id).toBe('p/m//pytorch-fp32');
      expect((await resolve('geti:p/GOOD')).revision).toBe(uuid('p/m/1/openvino-fp16'));
      expect((await refused('geti:p/arch//int8', 'NOT_FOUND')).hint).toContain('`geti:p/arch//pytorch-fp32`');
      expect((await refused(`geti:p/arch@${uuid('p/m/3')}`, 'NOT_FOUND')).message).toContain(
        'that is trained',
      );
    });

    it('has no accounts', async () => {
      await start(3);
      const error = await refusalOf(geti.credentials.whoami(open()), 'USAGE');
      expect(error.message).toContain('3.x, which has no accounts');
    });

    it('says what it says', async () => {
      await start(3);
      server.refuse(json({ detail: 'Database is locked' }, 500));
      expect((await refused('geti:a/b', 'NETWORK')).message).toContain('answered 500: Database is locked');
    });
  });

  it('is asked for nothing offline', async () => {
    await start(2);
    await refused('geti:Shop%20floor/SSD', 'NETWORK', { offline: true });
    expect(server.asked()).toEqual([]);
  });
});

describe('the address of a server of Geti', () => {
  it.each([
    ['geti.example.com', 'https://geti.example.com'],
    ['https://geti.example.com/', 'https://geti.example.com'],
    ['https://geti.example.com:8443/api/v1/', 'https://geti.example.com:8443'],
    ['http://localhost:7860', 'http://localhost:7860'],
  ])('%s is %s', (text, endpoint) => {
    expect(geti.endpoint({ settings: { endpoint: text }, environment: {}, home: '/' })).toBe(endpoint);
  });

  it.each([
    'http://geti.example.com',
    'https://user:pass@geti.example.com',
    'ftp://geti.example.com',
    'https://',
  ])('is not %s', (text) => {
    expect(() => geti.endpoint({ settings: { endpoint: text }, environment: {}, home: '/' })).toThrow(
      expect.objectContaining({ code: 'CONFIG' }),
    );
  });

  it('has to be set', async () => {
    const context = createHubContext(geti);
    const error = await refusalOf(geti.resolve(parse('geti:a/b'), context), 'CONFIG');
    context.close();
    expect(error.hint).toContain('GETI_HOST');
    expect(geti.endpoint(context)).toBeUndefined();
  });
});

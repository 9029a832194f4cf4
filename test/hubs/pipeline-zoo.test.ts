import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveManifest } from '../../hubs/manifest.js';
import { pipelineZoo, zooManifest } from '../../hubs/pipeline-zoo.js';
import { COMMIT, MODELS, type ZooModel } from '../../hubs/pipeline-zoo/manifest.js';
import { search } from '../../hubs/pipeline-zoo/search.js';
import { isDigest } from '../../src/paths.js';
import type { ErrorCode } from '../../src/errors.js';
import type { Hub, SearchHit, Snapshot } from '../../src/hub.js';
import { createModeldl, type Modeldl } from '../../src/index.js';
import { parseReference } from '../../src/reference.js';
import { createHubContext, refusalOf, type TestHubOptions } from '../helpers/hub-context.js';
import { startRawFiles, type RawFiles } from '../helpers/raw-files.js';
import type { Route } from './server.js';
import { describeHubConformance, digestOf } from './conformance.js';

const CONTENTS: Readonly<Record<string, Buffer>> = {
  'FP16/net.xml': Buffer.from('<net name="small" version="11"/>'),
  'FP16/net.bin': Buffer.from('weights in half'),
  'FP32/net.xml': Buffer.from('<net name="small" version="11"/>'),
  'FP32/net.bin': Buffer.from('weights in full precision'),
  LICENSE: Buffer.from('Apache License'),
};
/** As the real list: sizes of what is large are not known. */
const SMALL: Readonly<Record<string, ZooModel>> = {
  'small-net': {
    license: 'apache-2.0',
    files: Object.entries(CONTENTS).map(([path, bytes]) => [
      path,
      digestOf(bytes, 'git-sha1'),
      path.endsWith('.bin') ? null : bytes.length,
    ]),
  },
  ...Object.fromEntries(['yolo', 'dbnet', 'atss', 'other'].map((name) => [name, { files: [] }])),
};
const FILES = Object.fromEntries(
  Object.entries(CONTENTS).map(([path, bytes]) => [`/${COMMIT}/storage/small-net/${path}`, bytes]),
);
const path = (file: string): string => `/${COMMIT}/storage/small-net/${file}`;

/** The hub with a list of its own. */
function smallZoo(server: RawFiles): Hub {
  return {
    ...pipelineZoo,
    resolve: (reference, context) =>
      resolveManifest(zooManifest(SMALL, COMMIT, server.origin), reference, context),
    async *search(query) {
      await Promise.resolve();
      yield* search(query, SMALL, (name) => `https://example.com/${name}`);
    },
  };
}

describeHubConformance('pipeline-zoo', async () => {
  const server = await startRawFiles(FILES);
  return {
    hub: smallZoo(server),
    options: {},
    model: { text: 'pipeline-zoo:small-net', paths: Object.keys(CONTENTS) },
    unknown: 'pipeline-zoo:small-ned',
    search: { text: 'small', finds: ['pipeline-zoo:small-net'] },
    references: [`pipeline-zoo:yolov5m-416_INT8@${COMMIT}//FP16-INT8`, 'pipeline-zoo:dbnet//FP16/dbnet.xml'],
    secrets: [],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

describe('the list of the Pipeline Zoo', () => {
  it('has a git blob for every file, and an IR for every model', async () => {
    expect(COMMIT).toMatch(/^[0-9a-f]{40}$/);
    const { models } = zooManifest(MODELS, COMMIT, 'https://raw.example.com/zoo');
    expect(models.size).toBe(22);
    for (const [name, { files, metadata }] of models) {
      expect(
        files.every(({ digest }) => isDigest(digest)),
        name,
      ).toBe(true);
      const paths = files.map((file) => file.path);
      for (const xml of paths.filter((file) => file.endsWith('.xml')))
        expect(paths, name).toContain(xml.replace(/xml$/, 'bin'));
      expect(
        paths.some((file) => file.endsWith('.xml')),
        name,
      ).toBe(true);
      expect(metadata.license, name).toMatch(/^(apache-2\.0|mit|gpl-3\.0)$/);
    }
    const context = createHubContext(pipelineZoo, { offline: true });
    const reference = parseReference('pipeline-zoo:dbnet', [pipelineZoo.syntax], { cwd: '/', home: '/' });
    // The sizes of its weights would have to be asked for.
    await refusalOf(pipelineZoo.resolve(reference, context), 'NETWORK');
    context.close();
  });
});

describe('searching the Pipeline Zoo', () => {
  it('needs no request, and names the folder of a precision', async () => {
    const find = async (text: string, precision?: string): Promise<readonly SearchHit[]> => {
      const hits: SearchHit[] = [];
      for await (const hit of pipelineZoo.search({
        text,
        limit: 100,
        ...(precision === undefined ? {} : { precision }),
      }))
        hits.push(hit);
      return hits;
    };
    expect(await find('')).toHaveLength(22);
    expect(await find('yolov5m 416')).toMatchObject([
      { reference: { id: 'yolov5m-416' }, precisions: ['fp16', 'fp32'] },
      { reference: { id: 'yolov5m-416_INT8' }, precisions: ['int8'] },
    ]);
    const [found, ...others] = await find('YOLOV5M-416', 'int8');
    expect(others).toEqual([]);
    expect(found).toMatchObject({
      reference: { id: 'yolov5m-416_INT8', subpath: 'FP16-INT8' },
      page: `https://github.com/dlstreamer/pipeline-zoo-models/tree/${COMMIT}/storage/yolov5m-416_INT8`,
    });
    expect(await find('yolov5m', 'int4')).toEqual([]);
  });
});

describe('models of the Pipeline Zoo', () => {
  let server: RawFiles;
  beforeEach(async () => {
    server = await startRawFiles(FILES);
  });
  afterEach(() => server.close());

  async function resolve(text: string, options: TestHubOptions = {}): Promise<Snapshot> {
    const hub = smallZoo(server);
    const context = createHubContext(hub, options);
    try {
      return await hub.resolve(parseReference(text, [hub.syntax], { cwd: '/', home: '/' }), context);
    } finally {
      context.close();
    }
  }

  it('ask for no more than the sizes that the list does not know, and for none that is stored', async () => {
    const snapshot = await resolve('pipeline-zoo:small-net//FP16');
    expect([...server.asked()].sort()).toEqual([path('FP16/net.bin'), path('FP32/net.bin')]);
    expect(server.requests.map(({ headers }) => headers.range)).toEqual(['bytes=0-0', 'bytes=0-0']);
    expect(snapshot.files.find((file) => file.path === 'FP16/net.bin')?.size).toBe(15);
    expect(snapshot).toMatchObject({
      revision: COMMIT,
      metadata: { license: 'apache-2.0', library: 'openvino' },
    });
    const known: TestHubOptions['known'] = () => Promise.resolve(snapshot);
    expect(await resolve(`pipeline-zoo:small-net@${COMMIT}`, { known, offline: true })).toEqual(snapshot);
  });

  it.each([
    ['pipeline-zoo:small-ned', 'has no model small-ned', '`pipeline-zoo:small-net`'],
    [
      'pipeline-zoo:small-net@main',
      'has no revision main of small-net',
      `\`pipeline-zoo:small-net@${COMMIT}\``,
    ],
    [
      'pipeline-zoo:small-net//INT4',
      'pipeline-zoo:small-net has no INT4',
      '`pipeline-zoo:small-net//FP16`, `pipeline-zoo:small-net//FP32`',
    ],
    ['pipeline-zoo:small-net//fp16/net.xml', 'has no fp16/net.xml', '`pipeline-zoo:small-net//FP16/net.xml`'],
    ['pipeline-zoo:small-net//LICENCE.txt', 'has no LICENCE.txt', '`pipeline-zoo:small-net//LICENSE`'],
  ])('are not %s', async (text, message, hint) => {
    const error = await refusalOf(resolve(text), 'NOT_FOUND');
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
    expect(server.asked()).toEqual([]);
  });

  it.each(['pipeline-zoo:storage/dbnet', 'pipeline-zoo:..', 'pipeline-zoo:', 'pipeline-zoo:a b'])(
    'are not written %s',
    (text) => {
      expect(() => parseReference(text, [pipelineZoo.syntax], { cwd: '/', home: '/' })).toThrow(
        expect.objectContaining({ code: 'USAGE' }),
      );
    },
  );

  it.each<[string, Route, ErrorCode, string]>([
    ['is gone', { status: 404 }, 'NOT_FOUND', 'no longer has a file'],
    ['is refused', { status: 403 }, 'AUTH', 'refuses access (403)'],
    ['fails', { status: 500 }, 'NETWORK', 'answered 500'],
    [
      'is a web page',
      { headers: { 'content-type': 'text/html' }, body: '<html>' },
      'NETWORK',
      'answers a web page',
    ],
    ['has no size', { chunked: true, body: 'weights' }, 'NETWORK', 'does not tell the size'],
  ])('say so when a file %s', async (_what, route, code, message) => {
    server.swap(path('FP16/net.bin'), route);
    const error = await refusalOf(resolve('pipeline-zoo:small-net'), code);
    expect(error.message).toContain(message);
    expect(error.details.url).toBe(`${server.origin}${path('FP16/net.bin')}`);
    expect(error.hint ?? '').not.toBe('');
  });

  describe('in a store', () => {
    let directory: string;
    let modeldl: Modeldl;
    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), 'modeldl-zoo-'));
      modeldl = await createModeldl({
        cwd: directory,
        home: directory,
        environment: {},
        plugins: { hubs: [smallZoo(server)], converters: [], toolchains: [] },
      });
    });
    afterEach(async () => {
      await modeldl.close();
      await rm(directory, { recursive: true });
    });

    it('are the part that is asked for, by the id of its git blob', async () => {
      const { results } = await modeldl.pull(['pipeline-zoo:small-net//FP16'], {});
      const [pulled] = results;
      if (pulled === undefined) expect.fail('Nothing was pulled');
      expect((await readdir(pulled.path)).sort()).toEqual(['net.bin', 'net.xml']);
      expect(await readFile(join(pulled.path, 'net.bin'))).toEqual(CONTENTS['FP16/net.bin']);
    });

    it('are nothing when a byte is another', async () => {
      server.swap(path('FP16/net.bin'), { body: 'weights in helf' });
      const { results, errors } = await modeldl.pull(['pipeline-zoo:small-net'], {});
      expect(results).toEqual([]);
      expect(errors).toMatchObject([{ code: 'INTEGRITY' }]);
      await expect(readdir(join(modeldl.cacheDir, 'v1', 'models', 'pipeline-zoo'))).rejects.toThrow('ENOENT');
    });
  });
});

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { hls, hlsManifest } from '../../hubs/hls.js';
import { MODELS } from '../../hubs/hls/manifest.js';
import { resolveManifest, type ManifestModel } from '../../hubs/manifest.js';
import { isDigest } from '../../src/paths.js';
import { parseReference } from '../../src/reference.js';
import { createHubContext, refusalOf } from '../helpers/hub-context.js';
import { createWorld } from '../helpers/program.js';
import { startRawFiles } from '../helpers/raw-files.js';
import { tar } from '../transfer/make-archive.js';
import { describeHubConformance, digestOf } from './conformance.js';

const ARCHIVE = gzipSync(tar([{ name: 'net.pth', content: 'pickle' }]));
const WEIGHTS = Buffer.from('weights of a heart');
const SMALL: Readonly<Record<string, ManifestModel>> = {
  'small-heart': {
    revision: '2022.1',
    files: [
      {
        path: 'net.tar.gz',
        url: 'https://storage.example.com/zoo/net.tar.gz',
        size: ARCHIVE.length,
        digest: { algorithm: 'sha384', hex: digestOf(ARCHIVE, 'sha384') },
        unpack: { format: 'tar.gz' },
      },
      {
        path: 'net.bin',
        url: 'https://raw.example.com/org/repo/c0ffee/net.bin',
        digest: { algorithm: 'git-sha1', hex: digestOf(WEIGHTS, 'git-sha1') },
      },
    ],
    metadata: {},
  },
};

describeHubConformance('hls', async () => {
  const server = await startRawFiles({
    '/mirror/storage.example.com/zoo/net.tar.gz': ARCHIVE,
    '/mirror/raw.example.com/org/repo/c0ffee/net.bin': WEIGHTS,
  });
  return {
    hub: {
      ...hls,
      resolve: (reference, context) =>
        resolveManifest(hlsManifest(SMALL, `${server.origin}/mirror`), reference, context),
    },
    options: {},
    model: { text: 'hls:small-heart', paths: ['net.tar.gz', 'net.bin'] },
    unknown: 'hls:small-hart',
    references: ['hls:3d-pose', 'hls:ai-ecg//ecg_8960_ir10_fp16.xml', 'hls:3d-pose@2022.1//model'],
    secrets: [],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

describe('the list of health and life sciences', () => {
  it('is what the microservice knows, each file by https and with a digest', () => {
    expect(Object.keys(MODELS)).toEqual(['3d-pose', 'rppg', 'ai-ecg']);
    for (const [name, { files, revision }] of Object.entries(MODELS)) {
      expect(
        files.every(({ digest }) => isDigest(digest)),
        name,
      ).toBe(true);
      for (const { url } of files) {
        expect(new URL(url).protocol).toBe('https:');
        // No branch, whose files may change.
        expect(url).toContain(`/${revision}/`);
      }
    }
  });

  it('keeps the places, or puts a mirror before them', () => {
    const urls = (endpoint?: string): readonly string[] =>
      hlsManifest(MODELS, endpoint)
        .models.get('rppg')
        ?.files.map(({ url }) => url) ?? [];
    const [original = ''] = urls();
    expect(original).toMatch(/^https:\/\/raw\.githubusercontent\.com\//);
    expect(urls('http://mirror.example:8080/m')).toEqual([
      `http://mirror.example:8080/m/${original.slice('https://'.length)}`,
    ]);
  });

  it.each(['3d-pose', 'rppg'])('says before anything is fetched why %s is not converted', async (name) => {
    const files = MODELS[name]?.files ?? [];
    const server = await startRawFiles(
      Object.fromEntries(
        files.map(({ url }) => [`/${url.slice('https://'.length)}`, Buffer.from('weights')] as const),
      ),
    );
    const world = await createWorld();
    const directory = join(world.directory, '.config', 'modeldl');
    await mkdir(directory, { recursive: true });
    await writeFile(
      join(directory, 'config.json'),
      JSON.stringify({ hubs: { hls: { endpoint: server.origin } } }),
    );
    const run = await world.run('convert', `hls:${name}`);
    expect(run).toMatchObject({ exitCode: 9, stdout: '' });
    expect(run.stderr).toMatch(/modeldl does not run\n {2}hint: .*a Python of your own.*`modeldl convert /);
    // No more than the size of what has none in the list.
    expect(server.requests.every(({ headers }) => headers.range === 'bytes=0-0')).toBe(true);
    await world.remove();
    await server.close();
  });

  it('needs no request for a model whose sizes it knows', async () => {
    const context = createHubContext(hls, { offline: true });
    const parse = (text: string) => parseReference(text, [hls.syntax], { cwd: '/', home: '/' });
    const { files, revision } = await hls.resolve(parse('hls:3d-pose'), context);
    expect(revision).toBe('2022.1');
    expect(files).toMatchObject([{ size: 18_421_831, unpack: { format: 'tar.gz' } }]);
    await refusalOf(hls.resolve(parse('hls:rppg'), context), 'NETWORK');
    const error = await refusalOf(hls.resolve(parse('hls:3dpose'), context), 'NOT_FOUND');
    expect(error.hint).toBe('there are `hls:3d-pose`, `hls:rppg`, `hls:ai-ecg`');
    context.close();
  });
});

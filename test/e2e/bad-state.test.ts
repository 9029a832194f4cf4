import {
  chmod,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusedInText } from '../helpers/refused.js';

const MiB = 1024 * 1024;
const MODEL = Buffer.alloc(MiB, 'weights ');
const LARGE = Buffer.alloc(24 * MiB, 'large weights ');
const REFERENCE = 'hf:org/model';

let world: World;
let hub: HfHub;

beforeAll(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/model', files: { 'config.json': '{}', 'sub/model.onnx': MODEL } },
      { id: 'org/twin', files: { 'weights.onnx': MODEL } },
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterAll(async () => {
  await world.remove();
  await hub.close();
});

beforeEach(() => {
  hub.clearFaults();
  hub.clearRequests();
});

interface Cache {
  readonly directory: string;
  run(...args: readonly string[]): Promise<Run>;
  /** Path of something below `v1`. */
  at(...path: readonly string[]): string;
  /** The one file in an area whose path ends so. */
  only(area: string, ending: string): Promise<string>;
}

async function replaceByDirectory(path: string): Promise<void> {
  await rm(path);
  await mkdir(join(path, 'sub'), { recursive: true });
}

function cacheAt(directory: string): Cache {
  const at = (...path: readonly string[]): string => join(directory, 'v1', ...path);
  return {
    directory,
    at,
    run: (...args) => world.run(...args, '--cache-dir', directory),
    only: async (area, ending) => {
      const names = await readdir(at(area), { recursive: true });
      const found = names.filter((name) => name.endsWith(ending));
      expect(found, `*${ending} in ${area}`).toHaveLength(1);
      return at(area, found[0] ?? '');
    },
  };
}

let caches = 0;

/** A cache of its own in which the model was pulled. */
async function pulledCache(reference = REFERENCE): Promise<Cache> {
  caches += 1;
  const cache = cacheAt(join(world.directory, `cache-${caches}`));
  expect(await cache.run('pull', reference)).toMatchObject({ exitCode: 0 });
  return cache;
}

const modelFile = (cache: Cache): Promise<string> => cache.only('models', 'model.onnx');
const record = (cache: Cache): Promise<string> => cache.only('records', '.json');

/** Other bytes in the same place, as a program that opens the file for writing leaves them. */
async function overwrite(path: string, bytes: string | Buffer): Promise<void> {
  await chmod(path, 0o644);
  await writeFile(path, bytes);
}

async function blobOf(cache: Cache, size: number): Promise<string> {
  const document = JSON.parse(await readFile(await record(cache), 'utf8')) as {
    readonly files: readonly { readonly bytes: number; readonly sha256: string }[];
  };
  const sha256 = document.files.find(({ bytes }) => bytes === size)?.sha256 ?? '';
  return cache.at('blobs/sha256', sha256.slice(0, 2), sha256);
}

function expectNoTrace({ stdout, stderr }: Run): void {
  expect(`${stdout}\n${stderr}`).not.toMatch(/^\s+at .+:\d+:\d+|Unexpected/m);
}

async function expectModel(run: Run): Promise<void> {
  expect(run.exitCode, run.stderr).toBe(0);
  expect((await readFile(join(run.stdout, 'sub/model.onnx'))).equals(MODEL)).toBe(true);
  expect(await readFile(join(run.stdout, 'config.json'), 'utf8')).toBe('{}');
}

/** What users run next; the first of each meets the damage. */
const COMMANDS = {
  look: [['list'], ['show', REFERENCE], ['prune', '-y']],
  path: [['path', REFERENCE]],
  verify: [['verify']],
  repair: [['verify', '--repair']],
  offline: [['pull', REFERENCE, '--offline']],
  pull: [['pull', REFERENCE]],
} as const;

type Codes = Partial<Record<keyof typeof COMMANDS, number>>;
type Row = readonly [what: string, damage: (cache: Cache) => Promise<unknown>, codes?: Codes];

/** Found by a look, repaired by bytes from the hub. */
const DAMAGED: Codes = { path: 6, verify: 6, offline: 5 };

describe('what is damaged is healed or named, and a pull hands out right bytes', () => {
  const rows: readonly Row[] = [
    ['a record that is cut', async (cache) => truncate(await record(cache), 40)],
    ['an empty record', async (cache) => truncate(await record(cache), 0)],
    ['a record of another shape', async (cache) => writeFile(await record(cache), '{"version":1}')],
    [
      'a record that names a file elsewhere',
      async (cache) => {
        const path = await record(cache);
        await writeFile(path, (await readFile(path, 'utf8')).replace('"config.json"', '"../../config.json"'));
      },
    ],
    ['a directory in place of a record', async (cache) => replaceByDirectory(await record(cache))],
    ['a record that is gone', async (cache) => rm(await record(cache))],
    [
      'a file with other bytes',
      async (cache) => overwrite(await modelFile(cache), Buffer.alloc(MiB, 'x')),
      DAMAGED,
    ],
    [
      'a file that is cut',
      async (cache) => {
        await chmod(await modelFile(cache), 0o644);
        await truncate(await modelFile(cache), 10);
      },
      DAMAGED,
    ],
    ['a file that is gone', async (cache) => rm(await modelFile(cache)), { ...DAMAGED, offline: 0 }],
    [
      'a directory in place of a file',
      async (cache) => {
        const path = await modelFile(cache);
        await rm(path);
        await mkdir(path);
      },
      { ...DAMAGED, offline: 0 },
    ],
    [
      'a link in place of a file',
      async (cache) => {
        const path = await modelFile(cache);
        await rm(path);
        await symlink(await blobOf(cache, MiB), path);
      },
      { ...DAMAGED, offline: 0 },
    ],
    [
      'a tree that is gone',
      async (cache) => rm(cache.at('models'), { recursive: true }),
      { ...DAMAGED, offline: 0 },
    ],
    ['a blob that is gone', async (cache) => rm(await blobOf(cache, MiB))],
    ['blobs that are gone', async (cache) => rm(cache.at('blobs'), { recursive: true })],
    ['a ref that is no JSON', async (cache) => writeFile(await cache.only('refs', '.json'), 'main')],
    [
      'a listing that is no JSON',
      async (cache) => writeFile(await cache.only('snapshots', '.json'), '\0'),
      { offline: 5 },
    ],
    ['a directory in place of a ref', async (cache) => replaceByDirectory(await cache.only('refs', '.json'))],
    [
      'a directory in place of a listing',
      async (cache) => replaceByDirectory(await cache.only('snapshots', '.json')),
      { offline: 5 },
    ],
    [
      'a session that says nothing',
      async (cache) => {
        await writeFile(cache.at('sessions/0123456789abcdef.json'), '');
        await writeFile(cache.at('sessions/0123456789abcdef.beat'), '');
      },
    ],
    [
      'marks of use that are something else',
      async (cache) => {
        for (const name of await readdir(cache.at('used'))) {
          await rm(cache.at('used', name));
          await mkdir(cache.at('used', name));
        }
      },
    ],
    [
      'files that nobody knows',
      async (cache) => {
        for (const area of [
          'tmp',
          'trash',
          'records',
          'refs',
          'snapshots',
          'partials',
          'sessions',
          'claims',
          'blobs/sha256',
          'models',
          'models/hf/org--model',
        ])
          await writeFile(cache.at(area, 'README.txt'), 'mine');
      },
    ],
    [
      'what a killed run left',
      async (cache) => {
        await mkdir(cache.at('tmp/0123456789abcdef'));
        await writeFile(cache.at('tmp/0123456789abcdef/model.onnx'), 'half');
        await mkdir(cache.at('trash/0123456789abcdef/sub'), { recursive: true });
        await mkdir(cache.at('models/hf/org--model/ffffffffffff'));
        await mkdir(cache.at('claims/0123456789abcdef0123456789abcdef01234567'));
      },
    ],
  ];
  it.each(rows.map(([what, damage, codes = {}]) => ({ what, damage, codes })))(
    '$what',
    async ({ damage, codes }) => {
      await Promise.all(
        (Object.keys(COMMANDS) as (keyof typeof COMMANDS)[]).map(async (name) => {
          const cache = await pulledCache();
          await damage(cache);
          for (const args of COMMANDS[name]) {
            const run = await cache.run(...args);
            expectNoTrace(run);
            const expected = codes[name] ?? 0;
            expect([args, run.exitCode], run.stderr).toEqual([args, expected]);
            if (expected !== 0) expect(run.stderr).toContain('hint: ');
          }
          const pulled = await cache.run('pull', REFERENCE);
          expectNoTrace(pulled);
          await expectModel(pulled);
          expect(await cache.run('verify')).toMatchObject({ exitCode: 0 });
        }),
      );
    },
  );
});

describe('bytes that others share', () => {
  it('stay while a plan is made for what is damaged', async () => {
    const cache = await pulledCache();
    const blob = await blobOf(cache, MiB);
    await overwrite(await modelFile(cache), Buffer.alloc(MiB, 'x'));
    const plan = await cache.run('pull', REFERENCE, '--dry-run', '--json');
    expect(JSON.parse(plan.stdout)).toMatchObject({ ok: true });
    expect((await readFile(blob)).length).toBe(MiB);
  });

  it('are hashed again when somebody wrote to them, before another model gets them', async () => {
    const cache = await pulledCache();
    await overwrite(await blobOf(cache, MiB), Buffer.alloc(MiB, 'x'));
    const { exitCode, stdout, stderr } = await cache.run('pull', 'hf:org/twin');
    expect(exitCode, stderr).toBe(0);
    expect((await readFile(join(stdout, 'weights.onnx'))).equals(MODEL)).toBe(true);
    await expectModel(await cache.run('pull', REFERENCE));
  });

  it('are taken as they are when only their times changed, and are not fetched', async () => {
    const cache = await pulledCache();
    await utimes(await blobOf(cache, MiB), 1_700_000_000.5, 1_700_000_000.5);
    const run = await cache.run('pull', 'hf:org/twin', '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({ models: [{ cached: true, downloadedBytes: 0 }] });
  });
});

describe('a cache that was moved or copied', () => {
  const preserved = { recursive: true, preserveTimestamps: true };
  type Copy = readonly [what: string, copy: (from: string, to: string) => Promise<unknown>, fetched: number];

  it.each<Copy>([
    ['moved', rename, 0],
    ['copied with its times', (from, to) => cp(from, to, preserved), 0],
    ['copied without its times', (from, to) => cp(from, to, { recursive: true }), 0],
    ['copied without blobs', (from, to) => copyBut('blobs', from, to), 0],
    ['copied without trees', (from, to) => copyBut('models', from, to), 0],
    ['copied without listings', (from, to) => copyBut('snapshots', from, to), 0],
    // The small file has no sha256 from its hub, and is fetched again.
    ['copied without records', (from, to) => copyBut('records', from, to), 2],
    [
      'copied without trees and blobs',
      async (from, to) => {
        await copyBut('models', from, to);
        await rm(join(to, 'v1/blobs'), { recursive: true });
      },
      MiB + 2,
    ],
  ])('%s', async (_what, copy, fetched) => {
    const old = await pulledCache();
    const cache = cacheAt(`${old.directory}-new`);
    await copy(old.directory, cache.directory);
    if (fetched === 0) expect((await cache.run('list', '--quiet')).stdout).toContain('hf:org/model@');
    const run = await cache.run('pull', REFERENCE, '--json');
    expectNoTrace(run);
    const [model] = (JSON.parse(run.stdout) as { models: { path: string; downloadedBytes: number }[] })
      .models;
    expect(model?.downloadedBytes).toBe(fetched);
    expect(model?.path.startsWith(cache.directory)).toBe(true);
    await expectModel(await cache.run('path', REFERENCE));
    expect(await cache.run('verify')).toMatchObject({ exitCode: 0 });
    expect((await cache.run('prune', '-y')).exitCode).toBe(0);
    await expectModel(await cache.run('path', REFERENCE));
  });

  async function copyBut(area: string, from: string, to: string): Promise<void> {
    await cp(from, to, preserved);
    await rm(join(to, 'v1', area), { recursive: true });
  }
});

describe('a cache that a newer modeldl wrote to', () => {
  it('is left as it is, and said to be newer; other models are served', async () => {
    const cache = await pulledCache();
    const path = await record(cache);
    const newer = (await readFile(path, 'utf8')).replace('"version": 1', '"version": 2');
    await writeFile(path, newer);
    expect(await cache.run('pull', 'hf:org/twin')).toMatchObject({ exitCode: 0 });
    for (const args of [
      ['pull', REFERENCE],
      ['prune', '-y'],
      ['pull', REFERENCE, '--force'],
    ])
      expectRefusedInText(await cache.run(...args), {
        code: 'DISK',
        message: `A newer modeldl wrote this: ${path}`,
        hint: /update modeldl.*--cache-dir/,
      });
    const listed = await cache.run('list', '--quiet');
    expect(listed.stdout).toMatch(/^hf:org\/twin@\S+$/);
    expect(listed.stderr).toMatch(/^warning: A newer modeldl wrote this: .*update modeldl/);
    expect((await cache.run('path', REFERENCE)).exitCode).toBe(3);
    expect((await cache.run('verify', '--repair')).exitCode).toBe(0);
    expect(await readFile(path, 'utf8')).toBe(newer);
    expect((await readFile(await cache.only('models', 'sub/model.onnx'))).equals(MODEL)).toBe(true);
    expect((await cache.run('path', 'hf:org/twin')).exitCode).toBe(0);
  });
});

describe('an unfinished download that is damaged', () => {
  type Part = (names: { journal: string; data: string; directory: string }) => Promise<unknown>;

  it.each<readonly [string, Part]>([
    ['in its journal', ({ journal }) => writeFile(journal, '{"version":1,')],
    [
      'in its journal, which promises too much',
      async ({ journal }) => {
        await writeFile(
          journal,
          (await readFile(journal, 'utf8')).replace(/\[\[0,\d+\]\]/g, '[[0,99999999]]'),
        );
      },
    ],
    [
      'in its journal, which names a file elsewhere',
      async ({ journal }) => {
        await writeFile(
          journal,
          (await readFile(journal, 'utf8')).replace(/"data\.[0-9a-f]+"/, '"../../../x"'),
        );
      },
    ],
    ['in its journal, which is gone', ({ journal }) => rm(journal)],
    ['in its bytes', ({ data }) => writeFile(data, Buffer.alloc(20 * MiB, 'x'))],
    ['in its bytes, which are cut', ({ data }) => truncate(data, 3 * MiB + 5)],
    ['in its bytes, which are gone', ({ data }) => rm(data)],
    [
      'in all',
      async ({ directory }) => {
        await rm(directory, { recursive: true });
        await writeFile(directory, '');
      },
    ],
  ])('%s', async (_what, damage) => {
    caches += 1;
    const cache = cacheAt(join(world.directory, `cache-${caches}`));
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
    const killed = world.start(
      {},
      'pull',
      'hf:org/large',
      '--cache-dir',
      cache.directory,
      '--connections',
      '1',
    );
    await hub.stuck();
    killed.signal('SIGINT');
    expect((await killed.done).exitCode).toBe(130);
    const journal = await cache.only('partials', 'journal.json');
    const directory = dirname(journal);
    const [data = ''] = (await readdir(directory)).filter((name) => name.startsWith('data.'));
    await damage({ journal, data: join(directory, data), directory });
    const run = await cache.run('pull', 'hf:org/large');
    expectNoTrace(run);
    expect(run.exitCode, run.stderr).toBe(0);
    expect((await readFile(join(run.stdout, 'model.onnx'))).equals(LARGE)).toBe(true);
    expect(await readdir(cache.at('partials'))).toEqual([]);
    expect(await readdir(world.directory)).not.toContain('x');
  });
});

/** `verify --repair` restores any single file of a store, whatever happened to it, and says what it did. */
import { createHash } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';
import { startServer, type TestServer } from '../hubs/server.js';
import { zip } from '../transfer/make-archive.js';

const MiB = 1024 * 1024;
const SHARED = Buffer.alloc(MiB, 'shared weights ');
const LARGE = Buffer.alloc(24 * MiB, 'large weights ');
const LOCAL = Buffer.from('bytes that only a real toolchain would look at');
/** Root may do anything, so that permissions mean nothing to it: the program runs as somebody else where it can. */
const NOBODY = 65534;
const uid = canRunAs(NOBODY) ? NOBODY : undefined;

type Files = Readonly<Record<string, Buffer>>;
const ONE: Files = { 'config.json': Buffer.from('{"one":1}'), 'model.onnx': SHARED };
const TWO: Files = { 'sub/config.json': Buffer.from('{"two":2}'), 'weights.onnx': SHARED };
const BIG: Files = { 'config.json': Buffer.from('{"big":1}'), 'model.onnx': LARGE };
const MEMBERS: Files = {
  'inner/model.xml': Buffer.from('<net/>'),
  'inner/model.bin': Buffer.alloc(5000, 'b'),
};
const CONVERTED: Files = { 'model.xml': Buffer.from('network\n'), 'model.bin': Buffer.from('weights\n') };

const UNFINISHED = createHash('sha256')
  .update(BIG['config.json'] ?? '')
  .digest('hex');

let hub: HfHub;
let server: TestServer;
let world: World;
/** A cache with everything in it; each case damages a copy. */
let template: string;

const started = (...args: readonly string[]): ReturnType<World['start']> =>
  world.start(uid === undefined ? {} : { uid }, '--config', 'own.json', ...args);

beforeAll(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/one', files: ONE },
      { id: 'org/two', files: TWO },
      { id: 'org/large', files: BIG },
    ],
  });
  const archive = zip(Object.entries(MEMBERS).map(([name, content]) => ({ name, method: 8, content })));
  server = await startServer(() => ({ body: archive, headers: { etag: '"1"' } }));
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  const python = await writeStandInOpenvino(join(world.directory, 'python'));
  const config = { toolchains: { interpreters: { openvino: python } } };
  await writeFile(join(world.directory, 'own.json'), JSON.stringify(config));
  await writeFile(join(world.directory, 'model.onnx'), LOCAL);
  await chmod(world.directory, 0o755);
  template = join(world.directory, 'template');
  await mkdir(template);
  if (uid !== undefined) await chown(template, uid, uid);
  for (const command of [...PULLS, CONVERT]) {
    const { exitCode, stderr } = await started('--cache-dir', template, ...command()).done;
    expect(exitCode, stderr).toBe(0);
  }
  // What a killed run leaves: a journal, half a file, its session and its claim.
  hub.addFault({ server: 'cdn', times: 1, kind: { stall: 20 * MiB } });
  const killed = started('--cache-dir', template, 'pull', 'hf:org/large');
  await hub.stuck();
  killed.signal('SIGKILL');
  await killed.done;
}, 120_000);

afterAll(async () => {
  await world.remove();
  await server.close();
  await hub.close();
});

const PULLS: readonly (() => readonly string[])[] = [
  () => ['pull', 'hf:org/one'],
  () => ['pull', 'hf:org/two'],
  () => ['pull', `${server.origin}/model.zip`, '--unpack'],
];
const CONVERT = (): readonly string[] => ['convert', './model.onnx'];

const flipped = async (path: string, random: () => number): Promise<void> => {
  const bytes = await readFile(path);
  const at = Math.floor(random() * bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  const { mtime } = await lstat(path);
  await chmod(path, 0o644);
  await writeFile(path, bytes);
  // As a disk forgets a bit: nothing but the bytes tells.
  await utimes(path, mtime, mtime);
};

const DAMAGES: Readonly<Record<string, (path: string, random: () => number) => Promise<unknown>>> = {
  'another bit': flipped,
  'a cut': async (path) => {
    await chmod(path, 0o644);
    await truncate(path, Math.floor((await lstat(path)).size / 2));
  },
  emptied: async (path) => {
    await chmod(path, 0o644);
    await truncate(path, 0);
  },
  'more bytes': async (path) => {
    await chmod(path, 0o644);
    await writeFile(path, 'more', { flag: 'a' });
  },
  gone: (path) => rm(path),
  'mode 000': (path) => chmod(path, 0),
  'mode 666': (path) => chmod(path, 0o666),
  'a directory in its place': async (path) => {
    await rm(path);
    await mkdir(join(path, 'sub'), { recursive: true });
    if (uid === undefined) return;
    await chown(path, uid, uid);
    await chown(join(path, 'sub'), uid, uid);
  },
  'a link to nothing in its place': async (path) => {
    await rm(path);
    await symlink('/nowhere', path);
  },
};

async function filesIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

async function expectFiles(directory: string, files: Files, what: string): Promise<void> {
  expect(await filesIn(directory), what).toEqual(Object.keys(files).sort());
  for (const [name, bytes] of Object.entries(files))
    expect((await readFile(join(directory, name))).equals(bytes), `${what}: ${name}`).toBe(true);
}

function expectTold({ exitCode, stdout, stderr }: Run, codes: readonly number[], what: string): void {
  expect(codes, `${what}: ${stdout} ${stderr}`).toContain(exitCode);
  expect(`${stdout}\n${stderr}`, what).not.toMatch(/^\s+at .+:\d+:\d+|Unexpected/m);
}

let caches = 0;

/** One file of a copy of the cache is damaged, and everything comes back. */
async function expectRestored(
  file: string,
  damage: string,
  random: () => number,
  what: string,
): Promise<void> {
  caches += 1;
  const cache = join(world.directory, `cache-${caches}`);
  await execa('cp', ['-a', template, cache]);
  const run = (...args: readonly string[]): Promise<Run> => started('--cache-dir', cache, ...args).done;
  await DAMAGES[damage]?.(join(cache, file), random);

  const repair = await run('verify', '--repair');
  const unmade = repair.stderr.includes('make it again with `modeldl convert`');
  expectTold(repair, unmade ? [6] : [0], what);
  const said = `${repair.stdout}\n${repair.stderr}`;
  const isBytes = /^v1\/(models|blobs)\//.test(file);
  // What the killed run fetched is of no model yet, so that nobody misses it.
  const isMissed = isBytes && !file.endsWith(UNFINISHED);
  if (isMissed) expect(said, what).toMatch(/^(Restored|Removed)|^repaired |was removed/m);
  const isDocument = /^v1\/(records|refs|snapshots)\//.test(file);
  if (isDocument && !['another bit', 'mode 666', 'gone', 'a link to nothing in its place'].includes(damage))
    expect(said, what).toMatch(/set aside|Restored/);

  const sound = await run('verify', '--json');
  expectTold(sound, [0], `${what}, after the repair`);
  for (const path of await filesIn(join(cache, 'v1/blobs/sha256'))) {
    const blob = join(cache, 'v1/blobs/sha256', path);
    const where = `${what}: ${path}`;
    expect(
      createHash('sha256')
        .update(await readFile(blob))
        .digest('hex'),
      where,
    ).toBe(path.slice(3));
    expect((await lstat(blob)).mode & 0o777, where).toBe(0o444);
  }
  expect((await readFile(join(cache, 'CACHEDIR.TAG'), 'utf8')).slice(0, 43), what).toBe(
    'Signature: 8a477f597d28d172789f06886806bc55',
  );

  const unfinished = /^v1\/(partials|sessions|claims|tmp)\//.test(file);
  const expected: readonly (readonly [readonly string[], readonly Files[]])[] = [
    [
      ['pull', 'hf:org/one', 'hf:org/two'],
      [ONE, TWO],
    ],
    [PULLS[2]?.() ?? [], [MEMBERS]],
    [CONVERT(), [CONVERTED]],
    ...(unfinished ? ([[['pull', 'hf:org/large'], [BIG]]] as const) : []),
  ];
  for (const [command, models] of expected) {
    const pulled = await run(...command);
    const where = `${what}, then ${command.join(' ')}`;
    expectTold(pulled, [0], where);
    const paths = pulled.stdout.split('\n');
    for (const [at, files] of models.entries()) await expectFiles(paths[at] ?? '', files, where);
  }
  for (const path of await filesIn(join(cache, 'v1/models')))
    expect((await lstat(join(cache, 'v1/models', path))).mode & 0o777, `${what}: ${path}`).toBe(0o444);
  if (!isBytes) expectTold(await run('prune', '--partials', '-y'), [0], `${what}, then prune`);
  await rm(cache, { recursive: true });
}

describe('whatever happened to any one file of a store', () => {
  it(
    'it is restored',
    async () => {
      const files = (await filesIn(template)).filter((path) => !path.startsWith('v1/logs/'));
      for (const area of ['blobs', 'models', 'records', 'refs', 'snapshots', 'used', 'partials', 'sessions'])
        expect(files.filter((path) => path.startsWith(`v1/${area}/`)).length, area).toBeGreaterThan(0);
      const cases = files.flatMap((file) => Object.keys(DAMAGES).map((damage) => ({ file, damage })));
      const random = seededRandom(SEED);
      const order = cases
        .map((each) => ({ ...each, rank: random() }))
        .sort((one, other) => one.rank - other.rank)
        .slice(0, runs(12, cases.length));
      const failures: string[] = [];
      const left = order.entries();
      const lane = async (): Promise<void> => {
        for (const [at, { file, damage }] of left) {
          const what = `MODELDL_SEED=${SEED} (${file}: ${damage})`;
          // All of them are shown, since they often have one cause.
          await expectRestored(file, damage, seededRandom(SEED + at), what).catch((error: unknown) => {
            failures.push(String(error));
          });
        }
      };
      await Promise.all([lane(), lane()]);
      expect(failures).toEqual([]);
    },
    runs(180_000, 10_800_000),
  );
});

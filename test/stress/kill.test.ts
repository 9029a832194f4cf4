/** `kill -9` at any moment of a command's life: the rerun completes, little is fetched twice, nothing is left over. */
import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream, watch, type FSWatcher } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { startHfHub, type HfFile, type HfHub, type HfRequest } from '../helpers/hf-hub.js';
import { createWorld, type Run, type Started, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { expectSoundStore } from '../helpers/sound-store.js';
import { openedStore } from '../helpers/store.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';

const MiB = 1024 * 1024;
/** So much of a connection's bytes is fetched twice at most after a kill, by the issue. */
const TWICE_BYTES = 32 * MiB;
/** What the server handed to the kernel and the program never saw: buffers of both sockets, and the server's chunks. */
const IN_FLIGHT_BYTES = 12 * MiB;
/** As many small files are fetched at the same time, by architecture.md. */
const SMALL_FILES_AT_ONCE = 32;
/** Kept by a prune although no model is left: listings, what names meant, logs, environments. */
const LASTING = new Set(['snapshots', 'refs', 'logs', 'toolchains']);
const AGED = {
  NODE_OPTIONS: `--import=${fileURLToPath(new URL('preloads/aged.mjs', import.meta.url))}`,
  AGED_MS: String(2 * 3_600_000),
};

/** A hub that tells of every request and chunk, and the world of the commands that use it. */
interface Stage {
  readonly world: World;
  readonly hub: HfHub;
  /** Whom everything is told that happens outside of the program. */
  readonly watchers: Set<(happening: Happening) => void>;
}

type Happening = { readonly kind: 'request' | 'file' } | { readonly kind: 'bytes'; readonly bytes: number };

/** When to kill: at the nth request, at the nth change of a file, when n bytes were sent, at the nth of all these. */
interface Moment {
  readonly kind: 'request' | 'file' | 'bytes' | 'any';
  readonly at: number;
}

const model = v.object({
  path: v.string(),
  files: v.array(v.object({ path: v.string(), bytes: v.number(), sha256: v.string() })),
});
const succeeded = v.object({ ok: v.literal(true), models: v.tuple([model]) });

async function setStage(repo: Readonly<Record<string, HfFile>>): Promise<Stage> {
  const watchers: Stage['watchers'] = new Set();
  const tell = (happening: Happening): void => {
    for (const watcher of watchers) watcher(happening);
  };
  const sentBefore = new WeakMap<HfRequest, number>();
  const hub = await startHfHub({
    repos: [{ id: 'org/model', files: repo }],
    hold: () => {
      tell({ kind: 'request' });
      return Promise.resolve();
    },
    sent: (request) => {
      const bytes = request.bytes - (sentBefore.get(request) ?? 0);
      sentBefore.set(request, request.bytes);
      if (request.server === 'cdn') tell({ kind: 'bytes', bytes });
    },
  });
  return { world: await createWorld({ HF_ENDPOINT: hub.endpoint }), hub, watchers };
}

/** Runs a command and tells of what happens meanwhile, including changes in the areas of the cache. */
async function observe(
  stage: Stage,
  args: readonly string[],
  onHappening: (happening: Happening, run: Started) => void,
): Promise<Run> {
  const { root } = await openedStore(stage.world.cacheDir);
  const run = stage.world.start({}, ...args);
  const tell = (happening: Happening): void => {
    onHappening(happening, run);
  };
  stage.watchers.add(tell);
  const areas = [...(await readdir(root)), 'blobs/sha256'].filter((area) => area !== 'toolchains');
  const areaWatchers = areas.map((area): FSWatcher =>
    watch(join(root, area), () => {
      tell({ kind: 'file' });
    }),
  );
  try {
    return await run.done;
  } finally {
    stage.watchers.delete(tell);
    for (const watcher of areaWatchers) watcher.close();
  }
}

type Counts = Record<Moment['kind'], number>;

function counter(): { readonly counts: Counts; add: (happening: Happening) => void } {
  const counts: Counts = { request: 0, file: 0, bytes: 0, any: 0 };
  return {
    counts,
    add: (happening) => {
      counts.any += 1;
      counts[happening.kind] += happening.kind === 'bytes' ? happening.bytes : 1;
    },
  };
}

/** How much of everything happens while the command runs to its end. */
async function lifeOf(stage: Stage, args: readonly string[]): Promise<Counts> {
  const { counts, add } = counter();
  const run = await observe(stage, args, add);
  expect(run.exitCode, run.stderr).toBe(0);
  return counts;
}

function drawMoment(random: () => number, life: Counts): Moment {
  const kinds = (['request', 'file', 'bytes', 'any'] as const).filter((kind) => life[kind] > 0);
  const kind = kinds[Math.floor(random() * kinds.length)] ?? 'any';
  return { kind, at: 1 + Math.floor(random() * life[kind]) };
}

/** @returns whether it was killed, not through before */
async function killAt(stage: Stage, args: readonly string[], moment: Moment): Promise<boolean> {
  const { counts, add } = counter();
  const { exitCode, stderr } = await observe(stage, args, (happening, run) => {
    add(happening);
    if (counts[moment.kind] >= moment.at) run.signal('SIGKILL');
  });
  expect([0, 137], stderr).toContain(exitCode);
  return exitCode === 137;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** Every file of the tree is what the result says, and there is no other. */
async function expectTree(run: Run): Promise<v.InferOutput<typeof model>> {
  expect(run.exitCode, run.stderr).toBe(0);
  const [made] = v.parse(succeeded, JSON.parse(run.stdout)).models;
  expect(await filesBelow(made.path)).toEqual(made.files.map(({ path }) => path).sort());
  for (const { path, sha256 } of made.files) {
    expect([path, await sha256Of(join(made.path, path))]).toEqual([path, sha256]);
  }
  return made;
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/** What is left in the cache, of files and of what an area holds, once nothing is stored and a prune had its hour. */
async function orphans(world: World, reference: string): Promise<readonly string[]> {
  const removed = await world.run('remove', reference, '-y');
  expect(removed.exitCode, removed.stderr).toBe(0);
  const pruned = await world.runWith(AGED, 'prune', '--partials', '-y');
  expect(pruned.exitCode, pruned.stderr).toBe(0);
  const root = join(world.cacheDir, 'v1');
  const left: string[] = [];
  for (const area of await readdir(root)) {
    if (LASTING.has(area)) continue;
    if (['blobs', 'models', 'records'].includes(area))
      left.push(...(await filesBelow(join(root, area))).map((file) => join(area, file)));
    else left.push(...(await readdir(join(root, area))).map((name) => join(area, name)));
  }
  return left;
}

interface Sent {
  bytes: number;
  /** Requests for it that did not get all they asked for. */
  cut: number;
}

/** What the hub sent of the file with this sha256. */
function sentOf(requests: readonly HfRequest[], sha256: string, size: number): Sent {
  const sent: Sent = { bytes: 0, cut: 0 };
  for (const { server, method, url, headers, bytes } of requests) {
    if (server !== 'cdn' || method !== 'GET' || !url.startsWith(`/${sha256}`)) continue;
    const [, first = '0', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
    sent.bytes += bytes;
    if (bytes < (last === '' ? size : Number(last) + 1) - Number(first)) sent.cut += 1;
  }
  return sent;
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function randomBytes(size: number): Uint8Array {
  return randomFillSync(new Uint8Array(size));
}

/** Kills so often, each in a world of its own; says with which seed and moment it failed. */
async function killOften(
  times: number,
  files: Readonly<Record<string, HfFile>>,
  args: readonly string[],
  check: (stage: Stage, moment: Moment) => Promise<void>,
  prepare: (world: World) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const random = seededRandom(SEED);
  const inStage = async <Result>(work: (stage: Stage) => Promise<Result>): Promise<Result> => {
    const stage = await setStage(files);
    try {
      await prepare(stage.world);
      return await work(stage);
    } finally {
      await stage.world.remove();
      await stage.hub.close();
    }
  };
  const life = await inStage((stage) => lifeOf(stage, args));
  let killed = 0;
  for (let round = 0; round < times; round += 1) {
    const moment = drawMoment(random, life);
    await inStage(async (stage) => {
      try {
        if (await killAt(stage, args, moment)) killed += 1;
        await check(stage, moment);
      } catch (error) {
        const when = `killed at ${moment.kind} ${moment.at}, round ${round}`;
        throw new Error(`${when}; repeat with MODELDL_SEED=${SEED}`, { cause: error });
      }
    });
  }
  // The last events come when a command is nearly through, so some run to their end.
  expect(killed).toBeGreaterThan(times / 2);
}

describe('a pull that is killed at any moment', () => {
  /** Enough of them that all 32 places are taken, and some wait. */
  const small = Object.fromEntries(
    Array.from({ length: 48 }, (_value, at) => [
      `part-${at}.onnx`,
      randomBytes(1 + ((at * 37_501) % 700_000)),
    ]),
  );
  const sizes = runs(0, 1) === 1 ? [20, 24, 64, 200] : [20, 96];
  const large = Object.fromEntries(sizes.map((size, at) => [`large-${at}.onnx`, randomBytes(size * MiB)]));

  it.each([
    ['small files', runs(4, 80), small],
    ['large files', runs(4, 80), large],
  ] as const)(
    '%s: is completed by the next, which fetches little twice',
    async (_what, times, files) => {
      const args = ['pull', 'hf:org/model', '--json'];
      const sizeOf = new Map(Object.values(files).map((file) => [digestOf(file), file.length]));
      await killOften(times, { ...files, 'config.json': '{}' }, args, async ({ world, hub }) => {
        const before = [...hub.requests];
        const cut = new Map([...sizeOf].map(([sha256, size]) => [sha256, sentOf(before, sha256, size).cut]));
        const made = await expectTree(await world.run(...args));
        expect(made.files.map(({ sha256 }) => sha256).sort()).toEqual(
          [...sizeOf.keys(), digestOf(Buffer.from('{}'))].sort(),
        );
        for (const [sha256, size] of sizeOf) {
          const { bytes } = sentOf(hub.requests, sha256, size);
          expect(bytes).toBeGreaterThanOrEqual(size);
          const connections = Math.max(1, cut.get(sha256) ?? 0);
          const twice = Math.min(size * connections, connections * (TWICE_BYTES + IN_FLIGHT_BYTES));
          expect(bytes).toBeLessThanOrEqual(size + twice);
        }
        // Of the small files, those that were under way, in as many places as there are.
        const refetched = [...sizeOf].filter(
          ([sha256, size]) => sentOf(hub.requests, sha256, size).bytes > size,
        );
        expect(refetched.length).toBeLessThanOrEqual(SMALL_FILES_AT_ONCE);
        await expectSoundStore(world);
        expect(await orphans(world, 'hf:org/model')).toEqual([]);
      });
    },
    3_600_000,
  );
});

describe('a conversion that is killed at any moment', () => {
  const CACHE = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
  const DETECTOR = 'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx';

  requirePeer('python3 with pip', hasProgram('python3', ['-m', 'pip', '--version']))(
    'is completed by the next',
    async () => {
      const shared = await createWorld({ MODELDL_CACHE_DIR: join(CACHE, 'converted') });
      try {
        const installed = await shared.run('toolchain', 'install', 'openvino');
        expect(installed.exitCode, installed.stderr).toBe(0);
        const pulled = await shared.run('pull', '--prefer-offline', DETECTOR);
        expect(pulled.exitCode, pulled.stderr).toBe(0);
        const file = join(shared.directory, 'detector.onnx');
        await copyFile(pulled.stdout, file);
        const files = { 'config.json': '{}', 'model.onnx': await readFile(file) };
        const args = ['convert', 'hf:org/model', '--precision', 'fp16', '--json'];
        const useToolchain = async ({ cacheDir }: World): Promise<void> => {
          const toolchain = join(cacheDir, 'v1', 'toolchains', basename(installed.stdout));
          await mkdir(dirname(toolchain), { recursive: true });
          await symlink(installed.stdout, toolchain);
        };
        const check = async ({ world }: Stage): Promise<void> => {
          const made = await expectTree(await world.run(...args));
          expect(made.files.map(({ path }) => path)).toEqual(
            expect.arrayContaining(['model.bin', 'model.xml']),
          );
          const verified = await world.run('verify');
          expect(verified.exitCode, verified.stderr).toBe(0);
          await expectSoundStore(world);
          expect(await orphans(world, 'hf:org/model')).toEqual([]);
        };
        await killOften(runs(3, 40), files, args, check, useToolchain);
      } finally {
        await shared.remove();
      }
    },
    3_600_000,
  );
});

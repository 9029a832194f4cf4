/** Eight processes and one cache (architecture.md, promise 5): each byte once, whoever dies or stands still. */
import { createHash, randomFillSync } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub, type HfRequest } from '../helpers/hf-hub.js';
import { createWorld, type Run, type Started, type World } from '../helpers/program.js';
import { expectSoundStore } from '../helpers/sound-store.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';

const MiB = 1024 * 1024;
const PROCESSES = 8;
/** What a kill may cost of a connection: the journal's step, and what was under way. */
const TWICE_BYTES = 44 * MiB;
const LARGE = [20, 30, 40].map((size) => randomFillSync(new Uint8Array(size * MiB)));
const [A, B, C] = LARGE.map((bytes) => ({ bytes, sha256: digestOf(bytes) }));
const SMALL = randomFillSync(new Uint8Array(300_000));
/** As large as a file may be that is fetched into memory, and of several models. */
const SHARED = randomFillSync(new Uint8Array(7 * MiB));

let world: World;
let hub: HfHub;
/** Told of every chunk that was sent; what comes next waits for it. */
let onChunk: (request: HfRequest) => Promise<void>;

beforeEach(async () => {
  onChunk = () => Promise.resolve();
  const files = (...large: readonly (typeof A)[]) =>
    Object.fromEntries(large.map((file, at) => [`${at}.onnx`, file?.bytes ?? '']));
  hub = await startHfHub({
    repos: [
      { id: 'org/one', files: { 'config.json': '{}', 'small.onnx': SMALL, ...files(A, B, C) } },
      { id: 'org/ab', files: { 'config.json': '{"of": "ab"}', 'shared.onnx': SHARED, ...files(A, B) } },
      { id: 'org/bc', files: { 'config.json': '{"of": "bc"}', 'shared.onnx': SHARED, ...files(B, C) } },
      { id: 'org/ca', files: { 'config.json': '{"of": "ca"}', 'shared.onnx': SHARED, ...files(C, A) } },
      { id: 'org/b', files: { 'config.json': '{"of": "b"}', 'shared.onnx': SHARED, ...files(B) } },
    ],
    sent: (request) => onChunk(request),
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Bytes that were sent of each large file. */
function sent(): readonly number[] {
  return [A, B, C].map((file) => sentOf(file?.sha256 ?? '?'));
}

function sentOf(sha256: string): number {
  return hub.requests
    .filter(({ server, method, url }) => server === 'cdn' && method === 'GET' && url.startsWith(`/${sha256}`))
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

const SIZES = LARGE.map((bytes) => bytes.length);

function start(id: string): Started {
  // What a server sent for nothing, when another connection took over the rest of a part, is none of this.
  return world.start({}, 'pull', `hf:org/${id}`, '--connections', '1');
}

async function expectLarge(run: Run, ...files: readonly (typeof A)[]): Promise<void> {
  expect(run.exitCode, run.stderr).toBe(0);
  for (const [at, file] of files.entries()) {
    expect(digestOf(await readFile(join(run.stdout, `${at}.onnx`)))).toBe(file?.sha256);
  }
}

async function expectNobodyLeft(): Promise<void> {
  for (const area of ['claims', 'sessions', 'partials', 'tmp', 'trash']) {
    expect([area, await readdir(join(world.cacheDir, 'v1', area))]).toEqual([area, []]);
  }
  await expectSoundStore(world);
}

describe('eight processes', () => {
  it('that pull the same model fetch each byte once', async () => {
    const ended = await Promise.all(Array.from({ length: PROCESSES }, () => start('one').done));
    for (const run of ended) await expectLarge(run, A, B, C);
    expect(sent()).toEqual(SIZES);
    await expectNobodyLeft();
  });

  it('that pull models with files in common fetch each byte once', async () => {
    const ids = ['ab', 'bc', 'ca', 'b', 'ab', 'bc', 'ca', 'b'];
    const [ab, bc, ca, b] = await Promise.all(ids.map((id) => start(id).done));
    if (ab === undefined || bc === undefined || ca === undefined || b === undefined)
      throw new Error('no runs');
    await expectLarge(ab, A, B);
    await expectLarge(bc, B, C);
    await expectLarge(ca, C, A);
    await expectLarge(b, B);
    expect(sent()).toEqual(SIZES);
    expect(sentOf(digestOf(SHARED))).toBe(SHARED.length);
    await expectNobodyLeft();
  });

  it('go on when the one that fetches is killed, again and again', async () => {
    const random = seededRandom(SEED);
    for (let round = 0; round < runs(2, 20); round += 1) {
      const when = `round ${round}; repeat with MODELDL_SEED=${SEED}`;
      await world.remove();
      world = await createWorld({ HF_ENDPOINT: hub.endpoint });
      hub.clearRequests();
      const pending = new Set(Array.from({ length: PROCESSES }, () => start('one')));
      // Only of who fetches chunks arrive, so each of these kills an owner of something; it is found by its claim.
      const kills = [1, 2, 3].map(() => 1 + Math.floor(random() * 80)).sort((a, b) => a - b);
      let chunks = 0;
      let killed = 0;
      onChunk = async ({ server }) => {
        chunks += server === 'cdn' ? 1 : 0;
        while (kills[0] !== undefined && kills[0] <= chunks) {
          kills.shift();
          const pid = await ownerOfPartial();
          for (const run of pending) {
            if (run.pid !== pid) continue;
            pending.delete(run);
            run.signal('SIGKILL');
            await run.done;
            killed += 1;
          }
        }
      };
      const survivors: Run[] = [];
      while (pending.size > survivors.length) {
        for (const run of [...pending].slice(survivors.length, survivors.length + 1)) {
          const ended = await run.done;
          if (pending.has(run)) survivors.push(ended);
        }
      }
      for (const run of survivors) await expectLarge(run, A, B, C);
      expect(survivors.length, when).toBe(PROCESSES - killed);
      expect(killed, when).toBeGreaterThan(0);
      for (const [at, bytes] of sent().entries()) {
        const size = SIZES[at] ?? 0;
        expect(bytes, when).toBeGreaterThanOrEqual(size);
        expect(bytes, when).toBeLessThanOrEqual(size + killed * Math.min(size, TWICE_BYTES));
      }
      onChunk = () => Promise.resolve();
      expect((await world.run('prune', '-y')).exitCode).toBe(0);
      await expectSoundStore(world);
    }
  }, 3_600_000);

  it('replace an owner that stands still, which then changes nothing of what they made', async () => {
    let stopped: () => void = () => undefined;
    const standing = new Promise<void>((resolve) => (stopped = resolve));
    let stalled = false;
    const first = start('one');
    onChunk = ({ url, bytes }) => {
      if (stalled || !url.startsWith(`/${C?.sha256 ?? '?'}`) || bytes < 4 * MiB) return Promise.resolve();
      stalled = true;
      first.signal('SIGSTOP');
      stopped();
      return Promise.resolve();
    };
    await standing;
    const others = await Promise.all([1, 2].map(() => start('one').done));
    for (const run of others) await expectLarge(run, A, B, C);
    first.signal('SIGCONT');
    const late = await first.done;
    // It had fetched all there was, or was replaced and says so.
    expect([0, 10], late.stderr).toContain(late.exitCode);
    for (const run of others) await expectLarge(run, A, B, C);
    expect((await world.run('verify')).exitCode).toBe(0);
    await expectSoundStore(world);
  }, 120_000);
});

/** The process whose session holds a claim, of those that there are. */
async function ownerOfPartial(): Promise<number | undefined> {
  const root = join(world.cacheDir, 'v1');
  for (const claim of await readdir(join(root, 'claims'))) {
    const [owner = ''] = await readdir(join(root, 'claims', claim)).catch(() => []);
    const text = await readFile(join(root, 'sessions', `${owner.split('.')[0] ?? ''}.json`), 'utf8').catch(
      () => '',
    );
    const pid = /"pid": (\d+)/.exec(text)?.[1];
    if (pid !== undefined) return Number(pid);
  }
  return undefined;
}

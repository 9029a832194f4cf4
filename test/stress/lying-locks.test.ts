/** Locks that lie (architecture.md, promise 4): every process believes that it alone owns what it works on. */
import { createHash, randomFillSync } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../../src/errors.js';
import { startHfHub, type HfHub, type HfRequest } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectSoundStore } from '../helpers/sound-store.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';

const MiB = 1024 * 1024;
const LYING = {
  NODE_OPTIONS: `--import=${fileURLToPath(new URL('preloads/lying-claims.mjs', import.meta.url))}`,
};
const FILES = {
  'config.json': '{}',
  'small-0.onnx': randomFillSync(new Uint8Array(600_000)),
  'small-1.onnx': randomFillSync(new Uint8Array(2 * MiB)),
  'large-0.onnx': randomFillSync(new Uint8Array(20 * MiB)),
  'large-1.onnx': randomFillSync(new Uint8Array(40 * MiB)),
};
/** What a process may end with that met another in its place; anything else is a fault, or a bug (1). */
const DOCUMENTED: ReadonlySet<number> = new Set([0, EXIT_CODES.BUSY, EXIT_CODES.DISK]);

let world: World;
let hub: HfHub;
/** Told of every request, and of every chunk that was sent; what comes next waits for it. */
let onRequest: (request: HfRequest) => Promise<void>;
let onChunk: () => Promise<void>;

beforeEach(async () => {
  onRequest = onChunk = () => Promise.resolve();
  hub = await startHfHub({
    repos: [{ id: 'org/model', files: FILES }],
    hold: (request) => onRequest(request),
    sent: () => onChunk(),
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function digestOf(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function expectRightTree(directory: string): Promise<void> {
  for (const [path, bytes] of Object.entries(FILES)) {
    expect([path, digestOf(await readFile(join(directory, path)))]).toEqual([path, digestOf(bytes)]);
  }
}

/** With honest claims again, the store is as good as any. */
async function expectWholeStore(): Promise<void> {
  await expectSoundStore(world);
  const again = await world.run('pull', 'hf:org/model');
  expect(again.exitCode, again.stderr).toBe(0);
  await expectRightTree(again.stdout);
  const verified = await world.run('verify');
  expect(verified.exitCode, verified.stderr).toBe(0);
}

function pull(): Promise<Run> {
  return world.start({ environment: LYING }, 'pull', 'hf:org/model', '--max-wait', '5s').done;
}

/** Resolves when it was called so often. */
function meeting(of: number): { readonly met: Promise<void>; readonly arrive: () => void } {
  let arrived = 0;
  let meet: () => void = () => undefined;
  const met = new Promise<void>((resolve) => (meet = resolve));
  return {
    met,
    arrive: () => {
      arrived += 1;
      if (arrived >= of) meet();
    },
  };
}

describe('processes that all believe they own the same model', () => {
  it('fetch the same file at the same time, or the stub would stub nothing', async () => {
    let together = false;
    const { met, arrive } = meeting(1);
    const contents = new Set(Object.values(FILES).map(digestOf));
    const asked = new Set<string>();
    // Nobody gets a byte before, so that neither gets so far that the other one has to give up.
    onRequest = async ({ url }) => {
      const digest = url.slice(1, 65);
      if (!contents.has(digest)) return;
      if (asked.has(digest)) {
        together = true;
        arrive();
      }
      asked.add(digest);
      await met;
    };
    const both = [pull(), pull()];
    // With honest claims one would give up waiting.
    await Promise.race([met, ...both]);
    expect(together).toBe(true);
    await Promise.all(both);
    await expectWholeStore();
  });

  it(
    'end with success or a documented code, and store no wrong byte',
    async () => {
      const random = seededRandom(SEED);
      for (let round = 0; round < runs(4, 60); round += 1) {
        const processes = 2 + Math.floor(random() * 7);
        const when = `${processes} processes, round ${round}; repeat with MODELDL_SEED=${SEED}`;
        await world.remove();
        world = await createWorld({ HF_ENDPOINT: hub.endpoint });
        // Each begins after so many chunks, and no more come until all have begun, so that they meet.
        const last = 1 + Math.floor(random() * 60);
        const starts = Array.from({ length: processes - 1 }, () => Math.floor(random() * last));
        const { met, arrive } = meeting(processes);
        let chunks = 0;
        onRequest = ({ url }) => {
          if (url.startsWith('/api/models/org/model/revision/')) arrive();
          return Promise.resolve();
        };
        onChunk = async () => {
          chunks += 1;
          for (const at of starts.splice(0)) {
            if (at <= chunks) all.push(pull());
            else starts.push(at);
          }
          if (chunks >= last) await met;
        };
        const first = pull();
        const all = [first];
        // It may end before so many chunks were sent.
        void first.then(() => {
          all.push(...starts.splice(0).map(() => pull()));
        });
        await met;
        for (const { exitCode, stdout, stderr } of await Promise.all(all)) {
          expect(DOCUMENTED, `${when}: ${stderr}`).toContain(exitCode);
          // Who succeeded may have been replaced by who came later, but by nothing else.
          if (exitCode === 0) await expectRightTree(stdout);
          else expect(stderr, when).toMatch(/^\s*hint: /m);
        }
        onChunk = () => Promise.resolve();
        await expectWholeStore();
      }
    },
    runs(180_000, 3_600_000),
  );
});

describe('a process whose unfinished download another one removed', () => {
  it('says so, and the next run completes', async () => {
    const partials = join(world.cacheDir, 'v1/partials');
    let removed = false;
    onChunk = async () => {
      const [unfinished] = removed ? [] : await readdir(partials).catch(() => []);
      if (unfinished === undefined) return;
      removed = true;
      await rm(join(partials, unfinished), { recursive: true });
    };
    const { exitCode, stderr } = await world.run('pull', 'hf:org/model');
    expect(exitCode, stderr).toBe(EXIT_CODES.BUSY);
    expect(stderr).toMatch(/error: Another process removed the unfinished download of large-\d\.onnx/);
    await expectWholeStore();
  });
});

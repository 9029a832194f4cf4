/** A disk that fills up at any moment of a pull: it is said, nothing is lost, and with space again the pull goes on. */
import { readdir, readFile, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMount, smallDisk, type SmallDisk } from '../helpers/mounts.js';
import { createWorld, type World } from '../helpers/program.js';
import { whereKernelHas } from '../helpers/require.js';
import { expectSoundStore } from '../helpers/sound-store.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';
import { startServer, type TestServer } from '../hubs/server.js';
import { tar } from '../transfer/make-archive.js';

const MiB = 1024 * 1024;
const SIZE = 'size=160M';
const FILES: Readonly<Record<string, Buffer>> = {
  ...Object.fromEntries(
    Array.from({ length: 12 }, (_, at) => [`part-${at}.json`, Buffer.alloc(200_000, `part ${at} `)]),
  ),
  'model.onnx': Buffer.alloc(40 * MiB, 'large weights '),
};
const BYTES = Object.values(FILES).reduce((sum, { length }) => sum + length, 0);

let hub: HfHub;
let archives: TestServer;
let world: World;
/** Called while bytes are on their way. */
let onBytes: (bytes: number) => Promise<void> = () => Promise.resolve();

beforeAll(async () => {
  hub = await startHfHub({
    repos: [{ id: 'org/model', files: FILES }],
    sent: () => onBytes(hub.requests.reduce((sum, request) => sum + request.bytes, 0)),
  });
  const packed = tar(Object.entries(FILES).map(([name, content]) => ({ name, content })));
  archives = await startServer(() => ({ body: packed, headers: { etag: '"1"' } }));
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterAll(async () => {
  await world.remove();
  await archives.close();
  await hub.close();
});

/** Leaves so little space, bytes; more when more is taken at that moment. */
async function fill(disk: SmallDisk, left: number): Promise<void> {
  for (let spare = left; ; spare += 64 * 1024) {
    const { blocks, bfree, bsize } = await statfs(disk.directory);
    const used = (blocks - bfree) * bsize;
    // What is used already is refused as a size.
    const done = await disk.resize(`size=${Math.ceil((used + spare) / 1024)}k`).then(
      () => true,
      () => false,
    );
    if (done) return;
  }
}

describe('a disk that fills up', () => {
  whereKernelHas('root and mount namespaces', canMount)(
    'at any moment ends in the disk code, and with space again all goes on',
    async () => {
      const disk = await smallDisk(SIZE);
      const cache = join(disk.directory, 'cache');
      let full = 0;
      for (let round = 0; round < runs(5, 120); round += 1) {
        const random = seededRandom(SEED + round);
        const unpacks = round % 3 === 2;
        const offset = Math.floor(random() * BYTES);
        const left = Math.floor(random() ** 3 * 4 * MiB);
        const command = unpacks
          ? ['pull', `${archives.origin}/model.tar`, '--unpack']
          : ['pull', 'hf:org/model'];
        const what = `MODELDL_SEED=${SEED + round} (${command.join(' ')}, ${left} bytes left at ${offset})`;
        const run = (...args: readonly string[]) => world.run('--cache-dir', cache, ...args);
        hub.clearRequests();
        let filled: Promise<void> | undefined;
        onBytes = async (bytes) => {
          if (bytes >= offset) await (filled ??= fill(disk, left));
        };
        if (unpacks) await disk.resize(`size=${Math.ceil((BYTES + offset) / 1024)}k`);
        const { exitCode, stdout, stderr } = await run(...command);
        onBytes = () => Promise.resolve();
        await filled;
        if (exitCode !== 0) {
          full += 1;
          expect(exitCode, `${what}: ${stderr}`).toBe(7);
          expect(stderr, what).toMatch(/^error: .*(space|full)/im);
          expect(stderr, what).not.toMatch(/^\s+at .+:\d+:\d+/m);
          expect(stdout, what).toBe('');
        }
        await disk.resize(SIZE);
        await expectSoundStore({ ...world, cacheDir: cache });
        const again = await run(...command);
        expect(again.exitCode, `${what}: ${again.stderr}`).toBe(0);
        for (const [path, bytes] of Object.entries(FILES))
          expect((await readFile(join(again.stdout, path))).equals(bytes), `${what}: ${path}`).toBe(true);
        expect((await run('prune', '--partials', '-y')).exitCode, what).toBe(0);
        for (const area of ['partials', 'tmp', 'trash', 'claims', 'sessions'])
          expect(await readdir(join(cache, 'v1', area)), `${what}: ${area}`).toEqual([]);
        await rm(cache, { recursive: true });
      }
      expect(full).toBeGreaterThan(0);
    },
    runs(180_000, 1_800_000),
  );
});

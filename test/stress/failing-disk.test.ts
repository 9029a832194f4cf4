/** A disk that fails at any step of a command: the exit code says so, and nothing that was whole is lost. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canCutPower, powerDisk } from '../helpers/power-disk.js';
import { createWorld, type World } from '../helpers/program.js';
import { whereKernelHas } from '../helpers/require.js';
import { FULL, runs, SEED, seededRandom } from '../helpers/stress.js';

const MiB = 1024 * 1024;
const LARGE = Buffer.alloc(12 * MiB, 'large weights ');
/** Changes of the disk that the longest command makes, and some. */
const STEPS = 140;
const COMMANDS: readonly (readonly string[])[] = [
  ['pull', 'hf:org/large'],
  ['pull', 'hf:org/kept', '--force'],
  ['path', 'hf:org/kept'],
  ['verify', '--repair'],
  ['remove', 'hf:org/kept', '-y', '--prune'],
  ['prune', '--partials', '-y'],
];

let hub: HfHub;
let world: World;

beforeAll(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/kept', files: { 'config.json': '{}', 'model.onnx': 'weights' } },
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterAll(async () => {
  await world.remove();
  await hub.close();
});

describe('a disk that fails with EIO', () => {
  // Beside other suites on loop devices a disk that was cut may not be found again at once.
  whereKernelHas('root, loop devices, ext4 and a full run', canCutPower && FULL)(
    'at any step ends in the disk code, and the next run completes',
    async () => {
      const failures: string[] = [];
      let failed = 0;
      for (let round = 0; round < runs(6, 300); round += 1) {
        const random = seededRandom(SEED + round);
        const command = COMMANDS[(SEED + round) % COMMANDS.length] ?? [];
        // The first steps of a command are the same in all of them, so later ones are as likely.
        const step = 1 + Math.floor(random() * (command[0] === 'pull' ? STEPS : STEPS / 2));
        const what = `MODELDL_SEED=${SEED + round} (${command.join(' ')}, step ${step})`;
        const disk = await powerDisk('ordered', 96 * MiB);
        const run = (environment: Readonly<Record<string, string>>, ...args: readonly string[]) =>
          world.runWith(environment, '--cache-dir', disk.directory, ...args);
        const kept = await run(disk.environment(), 'pull', 'hf:org/kept');
        expect(kept.exitCode, kept.stderr).toBe(0);
        await disk.flush();
        const { exitCode, stderr } = await run(disk.failingAt(step), ...command);
        if (exitCode === 7) failed += 1;
        // A step that only tidies up may fail unheard.
        const isTold = exitCode === 7 && /^error: .*input\/output error/m.test(stderr);
        if (!isTold && exitCode !== 0) failures.push(`${what}: ${exitCode} ${stderr}`);
        await disk.cut();
        const pulled = await run(disk.environment(), 'pull', 'hf:org/kept', 'hf:org/large');
        expect(pulled.exitCode, `${what}: ${pulled.stderr}`).toBe(0);
        const [small = '', large = ''] = pulled.stdout.split('\n');
        expect(await readFile(join(small, 'model.onnx'), 'utf8'), what).toBe('weights');
        expect((await readFile(join(large, 'model.onnx'))).equals(LARGE), what).toBe(true);
      }
      expect(failures).toEqual([]);
      expect(failed).toBeGreaterThan(0);
    },
    runs(120_000, 1_800_000),
  );
});

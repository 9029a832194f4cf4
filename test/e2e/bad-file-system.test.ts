/** File systems that cannot what others can, or that stop working midway. */
import { readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMountExfat, exfatDisk } from '../helpers/mounts.js';
import { canCutPower, powerDisk, type PowerDisk } from '../helpers/power-disk.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusedInText } from '../helpers/refused.js';
import { whereKernelHas } from '../helpers/require.js';

const MiB = 1024 * 1024;
const WEIGHTS = Buffer.alloc(MiB, 'weights ');
const LARGE = Buffer.alloc(40 * MiB, 'large weights ');

const onExfat = whereKernelHas('root, FUSE and exFAT', canMountExfat);
const onFailing = whereKernelHas('root, loop devices and ext4', canCutPower);

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/one', files: { 'config.json': '{}', 'model.onnx': WEIGHTS } },
      { id: 'org/two', files: { 'sub/copy.onnx': WEIGHTS } },
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

async function expectDone(run: Promise<Run>): Promise<Run> {
  const done = await run;
  expect(done.exitCode, done.stderr).toBe(0);
  return done;
}

function fetchedBytes(): number {
  return hub.requests.reduce((sum, { server, bytes }) => (server === 'cdn' ? sum + bytes : sum), 0);
}

describe('a file system without links, permissions and lasting file numbers', () => {
  onExfat('holds a cache, whose models are copies and can be repaired', async () => {
    const disk = await exfatDisk();
    const { directory } = disk;
    const run = (...args: readonly string[]): Promise<Run> => world.run('--cache-dir', directory, ...args);
    const pulled = await expectDone(run('pull', 'hf:org/one'));
    expect(pulled.stderr).toContain('No links can be made here');
    await expectDone(run('pull', 'hf:org/two'));
    expect(fetchedBytes()).toBe(MiB);
    for (const args of [['verify'], ['verify', '--repair']]) {
      const { stdout, stderr } = await expectDone(run(...args));
      expect(stdout.match(/^ok /gm)).toHaveLength(2);
      expect(stderr).toBe('');
    }
    // Blobs and trees are files of their own: each is restored from the other.
    const blobs = (
      await readdir(join(directory, 'v1/blobs/sha256'), { recursive: true, withFileTypes: true })
    )
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    const { mtime } = await stat(join(pulled.stdout, 'model.onnx'));
    hub.clearRequests();
    for (const path of [join(pulled.stdout, 'model.onnx'), ...blobs]) {
      await writeFile(path, Buffer.alloc((await stat(path)).size, 'x'));
      await utimes(path, mtime, mtime);
      const repair = await expectDone(run('verify', '--repair'));
      expect(repair.stdout).toContain('repaired ');
      expect(repair.stderr).toMatch(/^Restored from /m);
    }
    expect(fetchedBytes()).toBe(0);
    await disk.remount();
    const found = await expectDone(run('path', 'hf:org/one'));
    expect((await readFile(join(found.stdout, 'model.onnx'))).equals(WEIGHTS)).toBe(true);
    await expectDone(run('remove', 'hf:org/two', '-y', '--prune'));
    await expectDone(run('pull', 'hf:org/one', '--offline', '-o', join(world.directory, 'out')));
    expect((await readFile(join(world.directory, 'out/model.onnx'))).equals(WEIGHTS)).toBe(true);
  });

  onExfat('is no copy of another after every boot', async () => {
    const disk = await exfatDisk();
    const { directory } = disk;
    const present = { MODELDL_CACHE_DIR: directory };
    const { stdout } = await expectDone(world.runWith(present, 'pull', 'hf:org/one'));
    const path = join(stdout, 'model.onnx');
    const { mtime } = await stat(path);
    await writeFile(path, Buffer.alloc(MiB, 'x'));
    await utimes(path, mtime, mtime);
    await disk.remount();
    const boot = new URL('../helpers/power.mjs', import.meta.url);
    const next = {
      ...present,
      NODE_OPTIONS: `--import ${boot.href}`,
      MODELDL_TEST_BOOT: JSON.stringify({ id: 'next', at: Date.now(), upForMs: 60_000 }),
    };
    expectRefusedInText(await world.runWith(next, 'path', 'hf:org/one'), {
      code: 'INTEGRITY',
      message: /damaged: model\.onnx/,
      hint: /verify --repair/,
    });
  });

  onExfat('keeps what was fetched of a large file', async () => {
    const { directory } = await exfatDisk();
    // Alone, so that what the server sent is what was fetched.
    const pull = ['pull', 'hf:org/large', '--cache-dir', directory, '--connections', '1'];
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 36 * MiB } });
    const killed = world.start({}, ...pull);
    await hub.stuck();
    killed.signal('SIGINT');
    expect((await killed.done).exitCode).toBe(130);
    hub.clearRequests();
    const { stdout } = await expectDone(world.run(...pull));
    expect((await readFile(join(stdout, 'model.onnx'))).equals(LARGE)).toBe(true);
    // Of 36 MiB that were sent, the sockets still held some when it was interrupted.
    expect(fetchedBytes()).toBeLessThanOrEqual(LARGE.length - 16 * MiB);
  });
});

describe('a disk that stops working while a file comes', () => {
  const rows: readonly (readonly [string, (disk: PowerDisk) => Promise<void>, RegExp])[] = [
    ['altogether', (disk) => disk.fail(), /Cannot .* the device reported an input\/output error/],
    ['for writing', (disk) => disk.stopWriting(), /Cannot .* the file system is read-only/],
  ];
  for (const [how, stop, message] of rows) {
    onFailing(`${how} is named, and the next run completes`, async () => {
      const disk = await powerDisk('ordered');
      // Bytes arrive until the disk has failed: the server waits for that.
      let failed: () => void = () => undefined;
      const failure = new Promise<void>((resolve) => (failed = resolve));
      const slow = await startHfHub({
        repos: [{ id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } }],
        hold: (request) => (request.server === 'cdn' ? failure : Promise.resolve()),
      });
      const environment = { ...disk.environment(), HF_ENDPOINT: slow.endpoint };
      const pull = ['pull', 'hf:org/large', '--cache-dir', disk.directory];
      const running = world.start({ environment }, ...pull);
      const partials = join(disk.directory, 'v1/partials');
      while ((await readdir(partials).catch(() => [])).length === 0);
      await stop(disk);
      failed();
      expectRefusedInText(await running.done, { code: 'DISK', message, hint: /disk|cache/ });
      await disk.cut();
      const { stdout } = await expectDone(
        world.runWith({ ...disk.environment(), HF_ENDPOINT: slow.endpoint }, ...pull),
      );
      expect((await readFile(join(stdout, 'model.onnx'))).equals(LARGE)).toBe(true);
      await expectDone(world.runWith(disk.environment(), 'verify', '--cache-dir', disk.directory));
      await slow.close();
    });
  }
});

describe('a file that is larger than may be', () => {
  it('is refused as what the disk does, with what to do, and goes on where it can be', async () => {
    // As FAT refuses files of 4 GiB; blocks of half a KiB, or one.
    const limited = ['sh', '-c', 'ulimit -f 200; exec "$@"', 'sh'];
    const run = await world.start({ under: limited }, 'pull', 'hf:org/one').done;
    expectRefusedInText(run, {
      code: 'DISK',
      message: /Cannot write .+: the file is larger than the file system or a limit .+ allows/,
      hint: 'FAT',
    });
    expect((await expectDone(world.run('pull', 'hf:org/one'))).stdout).not.toBe('');
  });
});

describe('a link that leads to itself', () => {
  beforeEach(async () => {
    await symlink('loop', join(world.directory, 'loop'));
    await symlink('modeldl.lock', join(world.directory, 'modeldl.lock'));
    await writeFile(join(world.directory, 'modeldl.config.json'), '{"models":["hf:org/one"]}');
  });

  it.each([
    ['as the cache', ['list', '--cache-dir', 'loop']],
    ['above the cache', ['pull', 'hf:org/one', '--cache-dir', 'loop/cache']],
    ['above an output', ['pull', 'hf:org/one', '-o', 'loop/model']],
    ['above an export', ['export', 'hf:org/one', 'loop/model.tar']],
    ['as a bundle', ['bundle', 'import', 'loop']],
    ['as a lock', ['sync', '--frozen']],
  ])('%s is refused as that', async (_where, args) => {
    const message = 'a link of its path leads to itself';
    expectRefusedInText(await world.run(...args), { code: 'DISK', message, hint: /./ });
  });
});

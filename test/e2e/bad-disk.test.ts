import { chmod, chown, mkdir, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { canMount, smallDisk, withReadOnly } from '../helpers/mounts.js';
import { canRunAs, createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusal, expectRefusedInText } from '../helpers/refused.js';
import { requirePeer } from '../helpers/require.js';
import { openedStore, putConversion, putModel } from '../helpers/store.js';
import { startServer, type TestServer } from '../hubs/server.js';
import { zip } from '../transfer/make-archive.js';

const MiB = 1024 * 1024;
/** Above the size that is fetched in one go, so that there is something to resume. */
const LARGE = Buffer.alloc(24 * MiB, 'large weights ');
const ARCHIVE = zip([{ name: 'model.onnx', method: 8, content: LARGE }]);
/** The user `nobody`, who owns nothing. */
const NOBODY = 65534;

const onDisks = requirePeer('root and `mount`', canMount);
const asNobody = requirePeer('root, and a repository that all may read', canRunAs(NOBODY));

let world: World;
let hub: HfHub;
let server: TestServer;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/large', files: { 'config.json': '{}', 'model.onnx': LARGE } },
      { id: 'org/tiny', files: { 'config.json': '{}', 'model.onnx': 'weights' } },
    ],
  });
  server = await startServer(() => ({ body: ARCHIVE, headers: { etag: '"1"' } }));
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await server.close();
  await hub.close();
});

function fetchedBytes(): number {
  return hub.requests.reduce((sum, { server: from, bytes }) => (from === 'cdn' ? sum + bytes : sum), 0);
}

async function expectWeights(directory: string): Promise<void> {
  expect((await readFile(join(directory, 'model.onnx'))).equals(LARGE)).toBe(true);
}

describe('a disk that is too small is found before the first byte (promise 7)', () => {
  onDisks('for the cache, with the bytes that are needed and free', async () => {
    const { directory } = await smallDisk('size=20M');
    const args = ['pull', 'hf:org/large', '--cache-dir', directory];
    const { error } = await expectRefusal(world, args, {
      code: 'DISK',
      message: new RegExp(
        `the cache in ${directory}.*: \\d+ bytes needed and \\d+ to stay free, \\d+ bytes free`,
      ),
      hint: /modeldl prune.*--no-space-check/,
    });
    expect(error['neededBytes']).toBe(LARGE.length + 2);
    const { bavail, bsize } = await statfs(directory);
    // The session's files were there when it looked.
    expect(error['freeBytes']).toBeGreaterThan(19 * MiB);
    expect(error['freeBytes']).toBeLessThan(bavail * bsize);
    expect(fetchedBytes()).toBe(0);
    const waived = await world.run(...args, '--no-space-check');
    expectRefusedInText(waived, { code: 'DISK', message: /no space left/, hint: /what was fetched is kept/ });
    expect(fetchedBytes()).toBeGreaterThan(0);
  });

  onDisks('for an output elsewhere, where hard links cannot be', async () => {
    const { directory } = await smallDisk('size=20M');
    await expectRefusal(world, ['pull', 'hf:org/large', '-o', join(directory, 'out')], {
      code: 'DISK',
      message: new RegExp(`the output in ${directory}: ${LARGE.length + 2} bytes needed`),
      hint: /--no-space-check/,
    });
    expect(fetchedBytes()).toBe(0);
  });

  onDisks('for a cache and an output that fit alone, unless the output is links', async () => {
    // With what is left free always, 16 MiB, there is room for one of two.
    const { directory } = await smallDisk('size=56M');
    const pull = [
      'pull',
      'hf:org/large',
      '--cache-dir',
      join(directory, 'cache'),
      '-o',
      join(directory, 'out'),
    ];
    await expectRefusal(world, pull, {
      code: 'DISK',
      message: new RegExp(`the cache and the output in .*: ${2 * (LARGE.length + 2)} bytes needed`),
      hint: /--no-space-check/,
    });
    expect(fetchedBytes()).toBe(0);
    const linked = await world.run(...pull, '--link');
    expect(linked.exitCode, linked.stderr).toBe(0);
    await expectWeights(linked.stdout);
    const stored = await world.run(...pull, '--overwrite');
    expectRefusedInText(stored, { code: 'DISK', message: /the output in/, hint: /--no-space-check/ });
  });

  onDisks('and what an output has already is not counted again', async () => {
    const { directory } = await smallDisk('size=72M');
    const pull = [
      'pull',
      'hf:org/large',
      '--cache-dir',
      join(directory, 'cache'),
      '-o',
      join(directory, 'out'),
    ];
    for (const run of ['the first', 'the second']) {
      const { exitCode, stderr, stdout } = await world.run(...pull);
      expect([run, exitCode], stderr).toEqual([run, 0]);
      await expectWeights(stdout);
    }
  });
});

describe('a disk that fills up', () => {
  onDisks('while a file comes keeps what came, and the next run goes on', async () => {
    const disk = await smallDisk('size=20M');
    const args = ['pull', 'hf:org/large', '--cache-dir', disk.directory];
    const full = await world.run(...args, '--no-space-check');
    expectRefusedInText(full, {
      code: 'DISK',
      message: new RegExp(`Cannot write ${disk.directory}/.*: no space left on the device`),
      hint: /modeldl prune.*--cache-dir.*what was fetched is kept/,
    });
    expect((await world.run('path', 'hf:org/large', '--cache-dir', disk.directory)).exitCode).toBe(3);
    for (const area of ['records', 'models', 'tmp', 'claims', 'sessions'])
      expect([area, await readdir(join(disk.directory, 'v1', area))]).toEqual([area, []]);
    hub.clearRequests();
    // Enough for a copy of what is there, which is less than the whole file again.
    await disk.resize('size=58M');
    const { exitCode, stdout, stderr } = await world.run(...args);
    expect(exitCode, stderr).toBe(0);
    await expectWeights(stdout);
    expect(fetchedBytes()).toBeGreaterThan(0);
    expect(fetchedBytes()).toBeLessThanOrEqual(LARGE.length - 16 * MiB);
    expect(await readdir(join(disk.directory, 'v1/partials'))).toEqual([]);
  });

  onDisks('while an archive is unpacked keeps the archive, which is not fetched again', async () => {
    const disk = await smallDisk('size=20M');
    const args = ['pull', `${server.origin}/model.zip`, '--unpack', '--cache-dir', disk.directory];
    for (const more of [['--no-space-check'], []]) {
      expectRefusedInText(await world.run(...args, ...more), {
        code: 'DISK',
        message: /no space left|bytes needed/,
        hint: /modeldl prune/,
      });
      for (const area of ['blobs/sha256', 'records', 'models', 'tmp', 'claims', 'sessions'])
        expect([area, await readdir(join(disk.directory, 'v1', area))]).toEqual([area, []]);
    }
    await disk.resize('size=100M');
    const { exitCode, stdout, stderr } = await world.run(...args);
    expect(exitCode, stderr).toBe(0);
    await expectWeights(stdout);
    expect(await readdir(join(disk.directory, 'v1/partials'))).toEqual([]);
    expect(server.requests.filter(({ method }) => method === 'GET')).toHaveLength(1);
  });

  onDisks('while an output is written names it, and the next run completes it', async () => {
    const disk = await smallDisk('size=20M');
    const output = join(disk.directory, 'out');
    const args = ['pull', 'hf:org/large', '-o', output];
    expectRefusedInText(await world.run(...args, '--no-space-check'), {
      code: 'DISK',
      message: `Cannot write ${output}: no space left on the device`,
      hint: /--output.*the model is stored/,
    });
    await disk.resize('size=60M');
    const { exitCode, stderr } = await world.run(...args);
    expect(exitCode, stderr).toBe(0);
    await expectWeights(output);
    expect((await readdir(output)).sort()).toEqual(['.modeldl.json', 'config.json', 'model.onnx']);
  });

  // Each run gets a little further: the first directories, the session, claims, blobs, the tree, the record.
  for (const [what, limit] of [
    ['names', (count: number) => `nr_inodes=${count}`],
    ['blocks', (count: number) => `size=${count * 4}k`],
  ] as const) {
    onDisks(`at any moment, for want of ${what}, leaves a whole model or none`, async () => {
      const disk = await smallDisk(limit(2));
      const common = ['hf:org/tiny', '--cache-dir', disk.directory];
      const failures: string[] = [];
      // The store's directories take the first names.
      for (let count = 2; ; count += count < 14 ? 6 : 1) {
        expect(count).toBeLessThan(80);
        await disk.resize(limit(count));
        const { exitCode, stderr, stdout } = await world.run('pull', ...common, '--no-space-check');
        if (exitCode === 0) {
          expect(await readFile(join(stdout, 'model.onnx'), 'utf8')).toBe('weights');
          break;
        }
        expectRefusedInText(
          { exitCode, stderr, stdout },
          { code: 'DISK', message: /no space left/, hint: /prune/ },
        );
        failures.push(stderr);
        const found = await world.run('path', ...common);
        if (found.exitCode === 0)
          expect(await readFile(join(found.stdout, 'model.onnx'), 'utf8')).toBe('weights');
        else expect([3, 7]).toContain(found.exitCode);
        await rm(join(disk.directory, 'v1'), { recursive: true, force: true });
      }
      expect(failures.join('\n')).toMatch(/Cannot write .*\/records\/hf/);
      expect(await world.run('verify', '--cache-dir', disk.directory)).toMatchObject({ exitCode: 0 });
    });
  }
});

describe('a disk that does not give the bytes of a file', () => {
  async function withoutBytesOf(path: string): Promise<Readonly<Record<string, string>>> {
    const preload = new URL('../helpers/bad-sector.mjs', import.meta.url);
    return { NODE_OPTIONS: `--import ${preload.href}`, BAD_INODE: String((await stat(path)).ino) };
  }

  it('has that file fetched again by a repair', async () => {
    const { stdout } = await world.run('pull', 'hf:org/tiny');
    const path = join(stdout, 'model.onnx');
    const bad = await withoutBytesOf(path);
    const { exitCode, stderr } = await world.runWith(bad, 'verify');
    expect([exitCode, stderr]).toEqual([6, expect.stringContaining('wrong bytes in model.onnx')]);
    const repair = await world.runWith(bad, 'verify', '--repair');
    expect(repair.exitCode, repair.stderr).toBe(0);
    expect(repair.stdout).toMatch(/^repaired /);
    expect((await world.runWith(bad, 'verify')).exitCode).toBe(0);
    expect(await readFile(path, 'utf8')).toBe('weights');
  });

  it('keeps a conversion, which may be read again when the disk is back', async () => {
    const store = await openedStore(world.cacheDir);
    const conversion = await putConversion(store, await putModel(store, { 'config.json': '{}' }), {
      precision: 'int8',
    });
    const [file = { path: '' }] = conversion.record.files;
    const bad = await withoutBytesOf(join(conversion.directory, file.path));
    const repair = await world.runWith(bad, 'verify', '--repair');
    expect(repair.exitCode).toBe(6);
    expect(repair.stderr).toContain(`the disk does not give the bytes of ${file.path}`);
    expect(repair.stderr).toContain('the warning says what hinders the repair');
    expect((await world.run('verify')).exitCode).toBe(0);
  });
});

describe('an unfinished download that another user keeps to himself', () => {
  asNobody('does not hinder a prune, and stays', async () => {
    await chmod(world.directory, 0o755);
    const cacheDir = join(world.directory, 'shared');
    await mkdir(cacheDir);
    await chown(cacheDir, NOBODY, NOBODY);
    const prune = (): Promise<Run> =>
      world.start({ uid: NOBODY }, 'prune', '-y', '--cache-dir', cacheDir).done;
    expect((await prune()).exitCode).toBe(0);
    const partial = join(cacheDir, 'v1/partials', 'a'.repeat(32));
    await mkdir(partial, { mode: 0o700 });
    await writeFile(join(partial, 'data'), 'half');
    const { exitCode, stderr } = await prune();
    expect(exitCode, stderr).toBe(0);
    expect(await readFile(join(partial, 'data'), 'utf8')).toBe('half');
  });
});

describe('a cache that may not be written', () => {
  const STORED = 'hf:org/tiny';

  /** Reading commands work, what must write is refused by name. */
  async function expectReadable(
    why: string,
    start: (...args: readonly string[]) => ReturnType<World['run']>,
  ): Promise<void> {
    const { stdout: path } = await start('path', STORED);
    expect(await readFile(join(path, 'model.onnx'), 'utf8')).toBe('weights');
    expect((await start('list', '--quiet')).stdout).toContain('hf:org/tiny@');
    for (const args of [['show', STORED], ['verify'], ['pull', STORED], ['pull', STORED, '--offline']]) {
      const { exitCode, stderr } = await start(...args);
      expect([args, exitCode, stderr]).toEqual([args, 0, '']);
    }
    const copied = await start('pull', STORED, '-o', join(world.directory, 'out'));
    expect(copied.exitCode, copied.stderr).toBe(0);
    expect(await readFile(join(copied.stdout, 'model.onnx'), 'utf8')).toBe('weights');
    for (const args of [
      ['pull', 'hf:org/large'],
      ['pull', STORED, '--force'],
      ['remove', STORED, '-y'],
      ['prune', '--partials', '-y'],
      ['toolchain', 'remove', 'openvino'],
    ]) {
      expectRefusedInText(await start(...args), {
        code: 'DISK',
        message: `The cache ${why}: ${world.cacheDir}`,
        hint: /--cache-dir.*MODELDL_CACHE_DIR/,
      });
    }
    expect(fetchedBytes()).toBe(0);
  }

  onDisks('because it is mounted read-only is read', async () => {
    await world.run('pull', STORED);
    await mkdir(join(world.cacheDir, 'v1/toolchains/openvino-0123456789ab'), { recursive: true });
    hub.clearRequests();
    await expectReadable(
      'is read-only',
      (...args) => world.start({ under: withReadOnly(world.cacheDir) }, ...args).done,
    );
  });

  asNobody('because it belongs to somebody else is read', async () => {
    await world.run('pull', STORED);
    hub.clearRequests();
    await chmod(world.directory, 0o755);
    await mkdir(join(world.directory, 'out'));
    await chown(join(world.directory, 'out'), NOBODY, NOBODY);
    await expectReadable(
      `may not be written by this user, ${NOBODY}`,
      (...args) => world.start({ uid: NOBODY }, ...args).done,
    );
  });

  asNobody('but for a record, whose copy is read, is as good as any', async () => {
    await world.run('pull', STORED);
    await chmod(world.directory, 0o755);
    const records = join(world.cacheDir, 'v1/records');
    for (const entry of await readdir(records, { recursive: true, withFileTypes: true }))
      if (entry.name.endsWith('.json')) await chmod(join(entry.parentPath, entry.name), 0);
    const { exitCode, stdout, stderr } = await world.start({ uid: NOBODY }, 'list', '--quiet').done;
    expect([exitCode, stdout.split('\n').length], stderr).toEqual([0, 1]);
    expect((await world.start({ uid: NOBODY }, 'path', STORED).done).exitCode).toBe(0);
  });

  asNobody('nor an output is refused before anything is fetched', async () => {
    await chmod(world.directory, 0o755);
    const cacheDir = join(world.directory, 'own');
    await mkdir(cacheDir);
    await chown(cacheDir, NOBODY, NOBODY);
    for (const output of ['.', 'new/deep']) {
      const args = ['pull', 'hf:org/large', '--cache-dir', cacheDir, '-o', join(world.directory, output)];
      expectRefusedInText(await world.start({ uid: NOBODY }, ...args, '--overwrite').done, {
        code: 'DISK',
        message: `Cannot write ${join(world.directory, output)}: permission denied`,
        hint: /--output/,
      });
    }
    expect(fetchedBytes()).toBe(0);
  });

  asNobody('nor be read or made is named', async () => {
    await chmod(world.directory, 0o755);
    expectRefusedInText(await world.start({ uid: NOBODY }, 'pull', STORED).done, {
      code: 'DISK',
      message: `The cache may not be written by this user, ${NOBODY}: ${world.cacheDir}`,
      hint: /--cache-dir/,
    });
    expect((await world.start({ uid: NOBODY }, 'list', '--quiet').done).exitCode).toBe(0);
    await world.run('pull', STORED);
    await chmod(world.cacheDir, 0o700);
    for (const args of [['list'], ['path', STORED], ['pull', STORED], ['verify'], ['prune']]) {
      expectRefusedInText(await world.start({ uid: NOBODY }, ...args).done, {
        code: 'DISK',
        message: new RegExp(`${world.cacheDir}.*(permission denied|read-only)|read-only: ${world.cacheDir}`),
        hint: /--cache-dir/,
      });
    }
  });

  it('since it is a file is refused', async () => {
    const file = join(world.directory, 'file');
    await writeFile(file, 'mine');
    for (const args of [['list'], ['pull', STORED], ['prune'], ['verify']]) {
      await expectRefusal(world, [...args, '--cache-dir', file], {
        code: 'DISK',
        message: `The cache path is not a directory: ${file}`,
        hint: /--cache-dir/,
      });
    }
    expect(await readFile(file, 'utf8')).toBe('mine');
  });
});

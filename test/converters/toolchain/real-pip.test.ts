/** Environments made by the real venv and pip, of tiny wheels from indexes on this machine. */
import { randomBytes } from 'node:crypto';
import { access, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect } from 'vitest';
import { createToolchain } from '../../../converters/toolchain/environment.js';
import type { Toolchain, ToolchainEnvironment } from '../../../src/converter.js';
import { ModeldlError } from '../../../src/errors.js';
import type { Store } from '../../../src/store/layout.js';
import {
  quickPython,
  toolchainContext,
  type ContextOptions,
  type TestToolchainContext,
} from '../../helpers/interpreter.js';
import { hasProgram, requirePeer } from '../../helpers/require.js';
import { temporaryDirectory, temporaryStore } from '../../helpers/store.js';
import { makeWheel, packageIndex, type PackageIndex, type Wheel } from '../../helpers/wheels.js';

const PYTHON = hasProgram('python3', ['-m', 'pip', '--version']);
const test = requirePeer('python3 with pip', PYTHON);
const python = PYTHON ? await quickPython() : '';

const LINUX = "platform_machine == 'x86_64' and sys_platform == 'linux'";
const KERNEL = randomBytes(2_000_000);
const cublas = makeWheel('nvidia-cublas', '13.0.1', { marker: LINUX });
const triton = makeWheel('triton', '3.7.0', { marker: LINUX });
const torch = makeWheel('torch', '2.15.0', {
  requires: ['nvidia-cublas', 'triton'],
  files: { 'torch.py': "version = '2.15.0'\n", 'libtorch.so': KERNEL },
});
const cpuTorch = makeWheel('torch', '2.15.0+cpu');
const solver = makeWheel('solver', '1.2.0', {
  requires: ['torch>=2'],
  files: { 'solver/__init__.py': `${'# long\n'.repeat(5000)}import torch\n`, 'solver/kernel.so': KERNEL },
});
const LOCKED = [cublas, solver, torch, triton];

async function toolchainOf(
  name: string,
  wheels: readonly Wheel[],
  more: { readonly torchIndex?: string; readonly installedBytes?: number } = {},
): Promise<Toolchain> {
  const lock = join(await temporaryDirectory(), `${name}.txt`);
  await writeFile(lock, `# made by a test\n${wheels.map(({ locked }) => locked).join('')}`);
  const sizes = { downloadBytes: 1000, installedBytes: 1000 };
  return createToolchain({ name, title: name, ...sizes, shown: ['solver'], lock, ...more });
}

async function contextOf(
  store: Store,
  index: PackageIndex,
  settings: ContextOptions['settings'] = {},
): Promise<TestToolchainContext> {
  const { PATH = '' } = process.env;
  const home = await temporaryDirectory();
  const pip = {
    PIP_CONFIG_FILE: '/dev/null',
    PIP_INDEX_URL: index.address,
    PIP_CACHE_DIR: join(home, 'pip'),
  };
  return toolchainContext(store, {
    environment: { PATH: `${python}:${PATH}`, HOME: home, ...pip },
    settings,
  });
}

async function siteOf(directory: string | undefined): Promise<string> {
  const lib = join(directory ?? 'none', 'lib');
  const [python = 'none'] = await readdir(lib);
  return join(lib, python, 'site-packages');
}

/** Names and versions of what is installed, without what every environment begins with. */
async function installedIn(directory: string | undefined): Promise<readonly string[]> {
  const names = await readdir(await siteOf(directory));
  return names
    .filter((name) => name.endsWith('.dist-info') && !/^(pip|setuptools)-/.test(name))
    .map((name) => name.replace('.dist-info', ''))
    .sort();
}

async function failure(promise: Promise<unknown>): Promise<ModeldlError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ModeldlError) return error;
  throw new Error(`Expected a ModeldlError, got ${String(error)}`);
}

describe('PyTorch', () => {
  test('comes as CPU wheels of its own index, and all else with the hashes of the lock', async () => {
    const [index, torches] = [await packageIndex(LOCKED), await packageIndex([cpuTorch])];
    const toolchain = await toolchainOf('solving', LOCKED, { torchIndex: torches.address });
    const store = await temporaryStore();
    // By itself, since that index answers and has the version.
    const context = await contextOf(store, index);
    const made = await toolchain.ensure(context);
    expect(await installedIn(made.directory)).toEqual(['solver-1.2.0', 'torch-2.15.0+cpu']);
    expect(index.requests.filter((path) => /torch|nvidia|triton/.test(path))).toEqual([]);
    const { stdout } = await execa(made.python, ['-I', '-c', 'import solver, torch; print(torch.version)']);
    expect(stdout).toBe('2.15.0+cpu');
    // Whoever asks for that by an address means the same environment; `index` is another, of the same digest.
    const asked = await contextOf(store, index, { torch: torches.address, offline: true });
    expect(await toolchain.ensure(asked)).toEqual(made);
    const locked = await contextOf(store, index, { torch: 'index' });
    expect((await toolchain.status(locked)).state).toBe('missing');
    expect(await toolchain.digest(locked)).toBe(await toolchain.digest(context));
  });

  test('comes as it is locked when its own index does not answer, and a note says so', async () => {
    const index = await packageIndex(LOCKED);
    // A port that nobody listens on any more.
    const toolchain = await toolchainOf('solving', LOCKED, { torchIndex: 'http://127.0.0.1:9/simple' });
    const context = await contextOf(await temporaryStore(), index);
    const made = await toolchain.ensure(context);
    expect(await installedIn(made.directory)).toEqual([
      'nvidia_cublas-13.0.1',
      'solver-1.2.0',
      'torch-2.15.0',
      'triton-3.7.0',
    ]);
    expect(context.events).toContainEqual({
      type: 'note',
      message: expect.stringMatching(/CPU wheels cannot be had from 127\.0\.0\.1:9/) as unknown,
    });
    expect(await readdir(join(context.toolchainsDir, '..', 'tmp'))).toEqual([]);
  });

  test('is refused when its index lies about a hash, and leaves nothing', async () => {
    const index = await packageIndex(LOCKED);
    const lies = { [cpuTorch.filename]: '0'.repeat(64) };
    const torches = await packageIndex([cpuTorch], lies);
    const context = await contextOf(await temporaryStore(), index, { torch: torches.address });
    const error = await failure((await toolchainOf('solving', LOCKED)).ensure(context));
    expect([error.code, error.exitCode]).toEqual(['INTEGRITY', 6]);
    expect(error.hint).toContain('`toolchains.torch`');
    expect(await readdir(context.toolchainsDir)).toEqual([]);
  });

  test('does not spare the other packages their hashes', async () => {
    const other = makeWheel('solver', '1.2.0', { files: { 'solver.py': 'evil = True\n' } });
    const [index, torches] = [await packageIndex([other]), await packageIndex([cpuTorch])];
    const context = await contextOf(await temporaryStore(), index, { torch: torches.address });
    const error = await failure((await toolchainOf('solving', LOCKED)).ensure(context));
    expect([error.code, error.exitCode]).toEqual(['INTEGRITY', 6]);
    expect(await readdir(context.toolchainsDir)).toEqual([]);
  });
});

describe('packages that two environments have alike', () => {
  test('are fetched once, lie on the disk once, and stay whole when one of them is removed', async () => {
    const plain = makeWheel('numbers-only', '1.0', { files: { 'more/weights.bin': randomBytes(100_000) } });
    const alone = makeWheel('solver', '1.2.0', {
      files: {
        'solver/__init__.py': 'def main():\n    print(__file__)\n',
        'solver/kernel.so': KERNEL,
        'solver-1.2.0.dist-info/entry_points.txt': '[console_scripts]\nsolve = solver:main\n',
      },
    });
    const index = await packageIndex([alone, plain]);
    const [first, second] = [
      await toolchainOf('optimum', [alone], { installedBytes: 8_000_000 }),
      await toolchainOf('optimum-5.0', [alone, plain], { installedBytes: 8_000_000 }),
    ];
    const store = await temporaryStore();
    const context = await contextOf(store, index);
    const needed = async (toolchain: Toolchain): Promise<number | undefined> =>
      (await toolchain.status(context)).toInstall?.installedBytes;
    expect([await needed(first), await needed(second)]).toEqual([8_000_000, 8_000_000]);
    const one = await first.ensure(context);
    expect(await needed(second)).toBeLessThan(8_000_000 - KERNEL.length);
    expect(await needed(second)).toBeGreaterThan(8_000_000 - 2 * KERNEL.length);
    index.requests.length = 0;
    const two = await second.ensure(context);
    expect(index.requests.filter((path) => path.includes('solver'))).toEqual([]);
    expect(await installedIn(two.directory)).toEqual(['numbers_only-1.0', 'solver-1.2.0']);
    const kernel = async ({ directory }: ToolchainEnvironment): Promise<string> =>
      join(await siteOf(directory), 'solver', 'kernel.so');
    const kernels = [await kernel(one), await kernel(two)];
    const stats = await Promise.all(kernels.map((path) => stat(path)));
    expect(new Set(stats.map(({ ino }) => ino)).size).toBe(1);
    // Each as a tool for disks counts it: together they take the kernel's blocks once.
    const { stdout } = await execa('du', ['-sk', one.directory ?? '', two.directory ?? '']);
    const [alones = 0, rest = 0] = stdout.split('\n').map((line) => Number(line.split('\t')[0]));
    expect(alones - rest).toBeGreaterThan(KERNEL.length / 1024 - 300);
    // In use by this process: what uses it ends first.
    await context.end();
    const removed = await first.remove(await contextOf(store, index));
    expect(removed.sharedBytes).toBeGreaterThanOrEqual(KERNEL.length);
    await expect(access(one.directory ?? '')).rejects.toThrow('ENOENT');
    expect((await readFile(kernels[1] ?? '')).equals(KERNEL)).toBe(true);
    // Its programs are its own.
    const program = await execa(join(two.directory ?? '', 'bin', 'solve'), { env: {}, extendEnv: false });
    expect(program.stdout).toBe(join(await siteOf(two.directory), 'solver', '__init__.py'));
    const checked = await execa(two.python, ['-I', '-m', 'pip', 'check']);
    expect(checked.stdout).toContain('No broken requirements found');
    // Names that begin alike are not taken with it.
    expect(await readdir(context.toolchainsDir)).toEqual([basename(two.directory ?? '')]);
  });
});

test('PyTorch as another environment has it is preferred to one that were to be fetched', async () => {
  const [index, torches] = [await packageIndex(LOCKED), await packageIndex([cpuTorch])];
  const sizes = { torchIndex: torches.address, installedBytes: 6_000_000 };
  const first = await toolchainOf('optimum', [cublas, torch, triton], sizes);
  const second = await toolchainOf('optimum-5.0', [cublas, torch, triton], sizes);
  const context = await contextOf(await temporaryStore(), index, { torch: 'index' });
  await first.ensure(context);
  const automatic = { ...context, settings: { ...context.settings, torch: 'auto' } };
  expect((await second.status(automatic)).toInstall?.installedBytes).toBeLessThan(6_000_000 - KERNEL.length);
  const made = await second.ensure(automatic);
  expect(await installedIn(made.directory)).toContain('torch-2.15.0');
  expect(torches.requests).toEqual([]);
});

describe('a folder of wheels', () => {
  test('is filled with network and installed from without', async () => {
    const [index, torches] = [await packageIndex(LOCKED), await packageIndex([cpuTorch])];
    const toolchain = await toolchainOf('solving', LOCKED);
    const folder = join(await temporaryDirectory(), 'wheels');
    const online = await contextOf(await temporaryStore(), index, { torch: torches.address });
    const { files, bytes } = await toolchain.download(online, folder);
    const wheels = [solver, cpuTorch];
    expect((await readdir(folder)).sort()).toEqual(wheels.map(({ filename }) => filename));
    expect([files, bytes]).toEqual([2, wheels.reduce((sum, { content }) => sum + content.length, 0)]);
    const nowhere = { address: 'http://127.0.0.1:9/simple', requests: [] };
    const offline = await contextOf(await temporaryStore(), nowhere, { offline: true, wheels: folder });
    const made = await toolchain.ensure(offline);
    expect(await installedIn(made.directory)).toEqual(['solver-1.2.0', 'torch-2.15.0+cpu']);
  });
});

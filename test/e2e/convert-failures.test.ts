/** Conversions with the real toolchain that end badly: what is said, with which exit code, and that nothing is left. */
import { copyFile, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kill } from 'node:process';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { writeScript } from '../helpers/interpreter.js';
import { canMount, smallDisk } from '../helpers/mounts.js';
import type { Run, World } from '../helpers/program.js';
import { createConvertingWorld, PYTHON, type ConvertingWorld } from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { swellingGraph } from '../helpers/tiny-graphs.js';

const DETECTOR = 'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx';

let converting: ConvertingWorld;
let world: World;
let detector: string;

beforeAll(async () => {
  converting = await createConvertingWorld();
  ({ world } = converting);
  if (PYTHON) detector = await converting.copyOf(DETECTOR, 'detector.onnx');
}, 600_000);

afterAll(() => converting.remove());

/** Nothing but what was pulled is stored, and nothing lies in the cache's temporary directory. */
async function expectNothingLeft(reference: string, cache = world.cacheDir): Promise<void> {
  const flags = ['--cache-dir', cache];
  expect((await world.run('path', reference, '--precision', 'fp16', ...flags)).exitCode).toBe(3);
  expect(await readdir(join(cache, 'v1', 'tmp')).catch(() => [])).toEqual([]);
}

async function logOf({ stderr }: Run): Promise<string> {
  const file = /the log is (\S+)/.exec(stderr)?.[1];
  return readFile(file ?? 'none', 'utf8');
}

describe('a conversion', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('of an IR whose weights are cut off fails with what OpenVINO has against it', async () => {
    const { path } = await converting.convert(detector, '--precision', 'fp32', '--no-check');
    const folder = join(world.directory, 'cut');
    await mkdir(folder);
    for (const name of ['detector.xml', 'detector.bin']) await copyFile(join(path, name), join(folder, name));
    await truncate(join(folder, 'detector.bin'), 100_000);
    const run = await world.run('convert', './cut', '--precision', 'fp16');
    expect(run.exitCode).toBe(8);
    expect(run.stderr).toMatch(/error: Converting file:.*cut\S* failed: .*\b(bin|weights|size|offset)/i);
    expect(await logOf(run)).toContain('Traceback');
    await expectNothingLeft('./cut');
  });

  test('for lack of memory says how much it needs', async () => {
    const folder = join(world.directory, 'huge');
    await mkdir(folder);
    // 6.4 GB of zeros, which do not fit into the 4 GiB that the worker may have.
    await writeFile(join(folder, 'huge.onnx'), swellingGraph(40_000));
    const limited = join(world.directory, 'limited');
    const python = join(converting.toolchain, 'bin', 'python');
    await writeScript(limited, `case "$*" in *_worker.py*) ulimit -v 4194304;; esac`, `exec ${python} "$@"`);
    const config = join(world.directory, 'limited.json');
    await writeFile(config, JSON.stringify({ toolchains: { interpreters: { openvino: limited } } }));
    const run = await world.run('--config', config, 'convert', './huge', '--precision', 'fp16');
    expect(run.exitCode, run.stderr).toBe(8);
    expect(run.stderr).toContain('probably for lack of memory');
    expect(run.stderr).toMatch(/it needs about \d\.\d GiB/);
    await expectNothingLeft('./huge');
  });

  test('whose worker is killed is told from one that failed', async () => {
    const file = join(world.directory, 'killed.onnx');
    await copyFile(detector, file);
    const started = world.start({}, 'convert', file, '--precision', 'fp16', '--progress', 'json');
    await started.said('Reading the model');
    for (const pid of await childrenOf(started.pid)) kill(pid, 'SIGKILL');
    const run = await started.done;
    expect(run.exitCode).toBe(8);
    expect(run.stderr).toContain('The system ended the conversion of');
    await expectNothingLeft(file);
  });

  requirePeer('root and `mount`', PYTHON && canMount)(
    'on a disk that fills up midway leaves nothing half made',
    async () => {
      const disk = await smallDisk('size=7M');
      const config = join(world.directory, 'own.json');
      const openvino = join(converting.toolchain, 'bin', 'python');
      await writeFile(config, JSON.stringify({ toolchains: { interpreters: { openvino } } }));
      // The original fits and 32 bits of it do not, beside it.
      const flags = ['--config', config, '--cache-dir', disk.directory, '--no-space-check'];
      const run = await world.run('convert', detector, '--precision', 'fp32', ...flags);
      expect(run.exitCode, run.stderr).toBe(7);
      expect(run.stderr).toContain('no space left on the device');
      expect(run.stderr).toContain('modeldl prune');
      await expectNothingLeft(detector, disk.directory);
      await disk.resize('size=40M');
      const again = await world.run('convert', detector, '--precision', 'fp32', ...flags);
      expect(again.exitCode, again.stderr).toBe(0);
    },
  );
});

/** Processes that this one started, on Linux. */
async function childrenOf(pid: number): Promise<readonly number[]> {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')),
  );
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number));
}

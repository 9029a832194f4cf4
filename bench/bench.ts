/**
 * `npm run bench`: modeldl beside the programs that people would use instead, in alternating runs on this machine,
 * so that both meet the same load. Prints medians; asserts nothing about time.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { startHfHub } from '../test/helpers/hf-hub.js';
import { pythonClient, type PythonClient } from '../test/helpers/python-client.js';
import { plantedReference, plantStore } from './large-store.js';
import { startNginx } from './nginx.js';

const PROGRAM = fileURLToPath(new URL('../dist/bin/modeldl.js', import.meta.url));
const GIB = 1024 ** 3;
/** Nothing listens there: what is measured is no model of a hub. */
const NO_HUB = 'http://127.0.0.1:9';
/** A program that runs another and prints its peak memory in KiB, as the kernel counted it. */
const PEAK_MEMORY =
  'import resource,subprocess,sys;c=subprocess.call(sys.argv[1:],stdout=subprocess.DEVNULL);' +
  'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);sys.exit(c)';

type Run = (directory: string) => Promise<unknown>;

it('measures', async () => {
  const client = await pythonClient();
  const small = Object.fromEntries(
    Array.from({ length: 1000 }, (_, at) => [`part/${at}.bin`, { content: randomBytes(4096), lfs: false }]),
  );
  const large = { 'model.safetensors': { content: randomBytes(GIB), lfs: true } };
  const hub = await startHfHub({
    repos: [
      { id: 'bench/small', files: small },
      { id: 'bench/large', files: large },
    ],
  });
  try {
    const endpoint = hub.endpoint;
    const pull =
      (id: string): Run =>
      (directory) =>
        modeldl(['pull', `hf:${id}`, '--quiet'], directory, endpoint);
    const hf =
      (peer: PythonClient, id: string): Run =>
      (directory) =>
        peer.hf(['download', id, '--quiet'], { endpoint, home: directory });
    await compare('modeldl --version', 15, {
      modeldl: (directory) => modeldl(['--version'], directory, endpoint),
      'node -e 0': () => execa(process.execPath, ['-e', '0']),
    });
    const runs = (id: string): Record<string, Run> => ({
      modeldl: pull(id),
      ...(client === undefined ? {} : { 'hf download': hf(client, id) }),
    });
    await compare('1,000 files of 4 KiB', 5, runs('bench/small'));
    await compare('1,000 files, stored already', 7, runs('bench/small'), true);
    await compare('1 GiB, sha256 included', 3, runs('bench/large'));
  } finally {
    await hub.close();
  }
  expect(client, 'the Python client could not be installed').toBeDefined();
});

it('measures one large file beside curl', async () => {
  await inDirectory(async (root) => {
    // The workers of nginx run as another user.
    await chmod(root, 0o755);
    await writeFile(join(root, 'model.safetensors'), randomBytes(GIB));
    const nginx = await startNginx(root);
    if (nginx === undefined) throw new Error("nginx is missing: install it from the system's packages");
    const url = `${nginx.origin}/model.safetensors`;
    try {
      await compare('1 GiB from nginx, sha256 included', 5, {
        modeldl: (directory) => modeldl(['pull', url, '--quiet'], directory, NO_HUB),
        'curl, openssl dgst': async (directory) => {
          const file = join(directory, 'model');
          await execa('curl', ['-sSf', '-o', file, url]);
          await execa('openssl', ['dgst', '-sha256', file]);
        },
      });
      await inDirectory(async (directory) => {
        const args = [process.execPath, PROGRAM, 'pull', url, '--quiet'];
        const { stdout } = await execa(
          'python3',
          ['-c', PEAK_MEMORY, ...args],
          surroundings(directory, NO_HUB),
        );
        report(`peak memory of a 1 GiB pull: ${Math.round(Number(stdout.trim()) / 1024)} MiB`);
      });
    } finally {
      await nginx.stop();
    }
  });
});

it.each([1, 1000, 10_000])('measures a store of %d models', async (models) => {
  await inDirectory(async (directory) => {
    await plantStore({ cacheDir: join(directory, 'cache'), models, filesPerModel: 9 }, models);
    const run =
      (...args: readonly string[]): Run =>
      (home) =>
        modeldl(args, home, NO_HUB);
    const reference = plantedReference(0);
    await compare(
      `${models} models, ${models * 10} blobs`,
      5,
      {
        'modeldl list': run('list'),
        'modeldl list --json': run('list', '--json'),
        'modeldl path': run('path', reference),
        'modeldl pull': run('pull', reference),
        'modeldl verify': run('verify', reference),
        'modeldl prune -n': run('prune', '--dry-run'),
      },
      directory,
    );
    const start = performance.now();
    await modeldl(['prune', '--yes'], directory, NO_HUB);
    report(`  modeldl prune        ${((performance.now() - start) / 1000).toFixed(3)} s`);
  });
});

function surroundings(
  directory: string,
  endpoint: string,
): { env: Record<string, string>; extendEnv: false } {
  const { PATH = '' } = process.env;
  return {
    env: {
      PATH,
      HOME: directory,
      MODELDL_CACHE_DIR: join(directory, 'cache'),
      HF_ENDPOINT: endpoint,
    },
    extendEnv: false,
  };
}

function modeldl(args: readonly string[], directory: string, endpoint: string): Promise<unknown> {
  return execa(process.execPath, [PROGRAM, ...args], surroundings(directory, endpoint));
}

async function inDirectory<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-bench-'));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Alternates the programs, each in a fresh directory, in one where the same was done before (`true`), or in a given one. */
async function compare(
  title: string,
  times: number,
  programs: Readonly<Record<string, Run>>,
  stored: boolean | string = false,
): Promise<void> {
  const seconds = new Map(Object.keys(programs).map((name) => [name, new Array<number>()]));
  const once = async (name: string, run: Run, directory: string): Promise<void> => {
    const start = performance.now();
    await run(directory);
    seconds.get(name)?.push((performance.now() - start) / 1000);
  };
  const round = async (
    place: (work: (directory: string) => Promise<void>) => Promise<void>,
  ): Promise<void> => {
    for (const [name, run] of Object.entries(programs)) {
      await place((directory) => once(name, run, directory));
    }
  };
  if (stored !== false) {
    const inOne = (work: (directory: string) => Promise<void>): Promise<void> =>
      stored === true ? inDirectory(work) : work(stored);
    await inOne(async (directory) => {
      for (const run of Object.values(programs)) await run(directory);
      for (let time = 0; time < times; time += 1) await round((work) => work(directory));
    });
  } else for (let time = 0; time < times; time += 1) await round(inDirectory);
  const [first = NaN] = [...seconds.values()].map(median);
  report(title);
  for (const [name, measured] of seconds) {
    const middle = median(measured);
    report(`  ${name.padEnd(20)} ${middle.toFixed(3)} s  ${(middle / first).toFixed(2)} × modeldl`);
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

function report(line: string): void {
  process.stdout.write(`${line}\n`);
}

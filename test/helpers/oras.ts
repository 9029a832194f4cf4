/** ORAS, a client of registries that knows nothing of modeldl: built once from its source by Go. */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { hasProgram } from './require.js';

/** A release whose behaviour the tests were written for; another gets a folder of its own. */
const VERSION = 'v1.3.6';
/** Fetching and building take a minute on two cores, milliseconds. */
const BUILD_MS = 600_000;

export type Oras = (directory: string, ...args: readonly string[]) => Promise<string>;

const run = promisify(execFile);

/**
 * The program, in `MODELDL_TEST_CACHE` (default `~/.cache/modeldl-test`); undefined where there is neither it nor a Go
 * with modules to build it from, so that tests can be skipped by `requirePeer`.
 */
export async function orasClient(): Promise<Oras | undefined> {
  const cache = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
  const directory = join(cache, `oras-${VERSION}`);
  const program = join(directory, 'oras');
  try {
    await access(program).catch(() => build(cache, directory));
    await run(program, ['version']);
  } catch {
    return undefined;
  }
  return async (home, ...args) => {
    const environment = { PATH: process.env['PATH'] ?? '', HOME: home, NO_PROXY: '127.0.0.1' };
    return (await run(program, args, { cwd: home, env: environment })).stdout;
  };
}

/** What Go fetches and compiles on the way goes away again. */
async function build(cache: string, directory: string): Promise<void> {
  if (!hasProgram('go', ['version'])) throw new Error('no Go');
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'oras-build-'));
  const target = join(work, 'bin');
  try {
    await run('go', ['install', `oras.land/oras/cmd/oras@${VERSION}`], {
      cwd: work,
      env: {
        ...process.env,
        GOBIN: target,
        GOPATH: join(work, 'path'),
        GOCACHE: join(work, 'cache'),
        // Modules that may be written can be removed.
        GOFLAGS: '-modcacherw',
      },
      timeout: BUILD_MS,
    });
    await rename(target, directory);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

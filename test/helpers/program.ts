/** The built program as a child process, in a world of its own: empty HOME, empty cache, no proxy, no token. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const PROGRAM = fileURLToPath(new URL('../../dist/bin/modeldl.js', import.meta.url));

export interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface World {
  /** Working directory of the runs. */
  readonly directory: string;
  readonly cacheDir: string;
  run(...args: readonly string[]): Promise<Run>;
  runWith(environment: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Run>;
  remove(): Promise<void>;
}

export async function createWorld(fixed: Readonly<Record<string, string>> = {}): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-world-'));
  const cacheDir = fixed['MODELDL_CACHE_DIR'] ?? join(directory, 'cache');
  const { PATH = '', NODE_EXTRA_CA_CERTS, PIP_CERT, SSL_CERT_FILE } = process.env;
  const certificates = Object.entries({ NODE_EXTRA_CA_CERTS, PIP_CERT, SSL_CERT_FILE }).flatMap(
    ([name, value]) => (value === undefined ? [] : [[name, value] as const]),
  );
  const base = {
    PATH,
    HOME: directory,
    MODELDL_CACHE_DIR: cacheDir,
    ...Object.fromEntries(certificates),
    ...fixed,
  };
  const runWith: World['runWith'] = async (environment, ...args) => {
    const { exitCode, stdout, stderr } = await execa(process.execPath, [PROGRAM, ...args], {
      cwd: directory,
      env: { ...base, ...environment },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
    });
    return { exitCode: exitCode ?? -1, stdout, stderr };
  };
  return {
    directory,
    cacheDir,
    runWith,
    run: (...args) => runWith({}, ...args),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The built program as a child process, in a world of its own: empty HOME, empty cache, no proxy, no token. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** The built program. */
export const PROGRAM = fileURLToPath(new URL('../../dist/bin/modeldl.js', import.meta.url));

export interface Run {
  /** As a shell has it: 128 and the signal's number when one ended the program. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** Runs as this user and group; needs root. */
  readonly uid?: number;
  /** A command that runs the program with its arguments, such as `unshare -m`. */
  readonly under?: readonly string[];
  /** Nobody reads this stream any more, as after `| head -0`. */
  readonly closed?: 'stdout' | 'stderr';
}

/** A run that has not ended yet. */
export interface Started {
  readonly done: Promise<Run>;
  readonly pid: number;
  /** Resolves once stderr said this; rejects when the run ended without. */
  said(text: string): Promise<void>;
  signal(name: 'SIGINT' | 'SIGTERM' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void;
}

export interface World {
  /** Working directory of the runs. */
  readonly directory: string;
  readonly cacheDir: string;
  run(...args: readonly string[]): Promise<Run>;
  runWith(environment: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Run>;
  start(options: StartOptions, ...args: readonly string[]): Started;
  remove(): Promise<void>;
}

/** Can the program be run as this user? Only root can, and only where others may read it. */
export function canRunAs(uid: number): boolean {
  const { status } = spawnSync(process.execPath, [PROGRAM, '--version'], { uid, gid: uid, stdio: 'ignore' });
  return status === 0;
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
  const start: World['start'] = ({ environment, uid, under = [], closed }, ...args) => {
    const [command = process.execPath, ...rest] = [...under, process.execPath, PROGRAM, ...args];
    const child = execa(command, rest, {
      cwd: directory,
      env: { ...base, ...environment },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    if (closed !== undefined) child[closed].destroy();
    const ended = async (): Promise<Run> => {
      const { exitCode, signal, stdout, stderr } = await child;
      const code = exitCode ?? (signal === undefined ? -1 : 128 + constants.signals[signal]);
      return { exitCode: code, stdout, stderr };
    };
    const said = (text: string): Promise<void> =>
      new Promise((resolve, reject) => {
        let heard = '';
        child.stderr.on('data', (chunk: Buffer) => {
          heard += String(chunk);
          if (heard.includes(text)) resolve();
        });
        child.stderr.once('close', () => {
          reject(new Error(`Expected the program to say ${text}, got ${heard}`));
        });
      });
    return { done: ended(), pid: child.pid ?? -1, said, signal: (name) => child.kill(name) };
  };
  const runWith: World['runWith'] = (environment, ...args) => start({ environment }, ...args).done;
  return {
    directory,
    cacheDir,
    start,
    runWith,
    run: (...args) => runWith({}, ...args),
    // What a killed run had started may write for a moment longer.
    remove: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }),
  };
}

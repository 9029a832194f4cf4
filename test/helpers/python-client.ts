/** The real Python client of Hugging Face, in an environment of its own, to compare modeldl and the local hub with. */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { hasProgram } from './require.js';

const run = promisify(execFile);

export interface PythonClient {
  readonly version: string;
  /** Runs a script; its last line on stdout is JSON. @throws with what Python wrote, when it fails */
  script(text: string, options: PythonOptions): Promise<unknown>;
  /** `hf <arguments>`: its stdout. @throws with what it wrote, when it fails */
  hf(args: readonly string[], options: PythonOptions): Promise<string>;
  /** The same for whoever runs it. */
  command(
    args: readonly string[],
    options: PythonOptions,
  ): { readonly line: readonly string[]; readonly environment: Readonly<Record<string, string>> };
}

export interface PythonOptions {
  /** HF_ENDPOINT. */
  readonly endpoint: string;
  readonly token?: string;
  /** HF_HOME: its cache and tokens. */
  readonly home: string;
}

/** A release whose answers the tests were written for; another gets an environment of its own. */
const VERSION = '2.4.0';
/** The program `hf`. */
const START = 'from huggingface_hub.cli.hf import main; main()';
/** Installing takes a while on a slow network, milliseconds. */
const INSTALL_MS = 300_000;

/**
 * The client, installed once into `MODELDL_TEST_CACHE` (default `~/.cache/modeldl-test`); undefined where there is no
 * Python or no package index, so that tests can be skipped by `requirePeer`.
 */
export async function pythonClient(): Promise<PythonClient | undefined> {
  if (!hasProgram('python3', ['-m', 'venv', '--help'])) return undefined;
  const cache = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
  const directory = join(cache, `hf-client-${VERSION}`);
  const python = join(directory, 'bin', 'python');
  try {
    if (!(await exists(python))) await install(directory);
    const { stdout } = await run(python, [
      '-c',
      'import huggingface_hub; print(huggingface_hub.__version__)',
    ]);
    return {
      version: stdout.trim(),
      script: async (text, options) => {
        const { stdout: written } = await run(python, ['-c', text], {
          env: environment(options),
          maxBuffer: 64 * 1024 * 1024,
        });
        const answer: unknown = JSON.parse(written.trim().split('\n').at(-1) ?? '');
        return answer;
      },
      hf: async (args, options) =>
        (await run(python, ['-c', START, ...args], { env: environment(options) })).stdout,
      command: (args, options) => ({
        line: [python, '-c', START, ...args],
        environment: environment(options),
      }),
    };
  } catch {
    return undefined;
  }
}

/** Nothing of this machine's own configuration, and no request to anything but the endpoint. */
function environment({ endpoint, token, home }: PythonOptions): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    HF_HOME: home,
    HF_ENDPOINT: endpoint,
    HF_HUB_DISABLE_XET: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    HF_HUB_DISABLE_UPDATE_CHECK: '1',
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    NO_PROXY: '127.0.0.1',
    ...(token === undefined ? {} : { HF_TOKEN: token }),
  };
}

/** Made aside and renamed, so that test files that run at the same time never meet half an environment. */
async function install(directory: string): Promise<void> {
  await mkdir(dirname(directory), { recursive: true });
  const aside = await mkdtemp(join(dirname(directory), 'hf-client-venv-'));
  try {
    await run('python3', ['-m', 'venv', aside]);
    const wanted = `huggingface_hub==${VERSION}`;
    await run(join(aside, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', wanted], {
      timeout: INSTALL_MS,
    });
    await rename(aside, directory).catch(async (error: unknown) => {
      if (!(await exists(join(directory, 'bin', 'python')))) throw error;
    });
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** A fresh directory for {@link PythonOptions.home}; the caller removes it. */
export function pythonHome(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'modeldl-hf-home-'));
}

/** Running `venv` and `pip`: all they print in a log, their progress as events, ended when modeldl is. */
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import type { ToolchainContext } from '../../src/converter.js';
import { abortError, ModeldlError } from '../../src/errors.js';
import { assetPath } from '../assets.js';
import { endTogether } from '../process-group.js';
import { installFailure } from './failure.js';
import type { PackageSource } from './sources.js';

export interface PipJob {
  readonly context: ToolchainContext;
  /** Name of the toolchain. */
  readonly toolchain: string;
  /** `Installing the toolchain`: begins what is told. */
  readonly doing: string;
  readonly logFile: string;
}

export interface PipCall {
  /** Path of the interpreter. */
  readonly python: string;
  /** A module and its arguments. */
  readonly module: readonly [string, ...string[]];
  readonly source?: PackageSource;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Lines of an installer's output that are searched for its cause of failure. */
const LAST_LINES = 200;

/**
 * Runs a Python module to its end; returns the last lines it printed.
 * @throws ModeldlError TOOLCHAIN, NETWORK, INTEGRITY, DISK with the cause and the log's path, INTERRUPTED
 */
export async function runPip(job: PipJob, call: PipCall): Promise<readonly string[]> {
  const { context, toolchain, doing, logFile } = job;
  const log = createWriteStream(logFile, { flags: 'a' });
  const { execa } = await import('execa');
  const subprocess = execa(call.python, [assetPath('python', 'guarded.py'), ...call.module], {
    env: { ...installerEnvironment(context.environment), ...call.environment },
    extendEnv: false,
    all: true,
    buffer: false,
    reject: false,
    // Open as long as this process lives.
    stdin: 'pipe',
    detached: true,
  });
  endTogether(subprocess, context.signal);
  subprocess.stdin.on('error', () => undefined);
  subprocess.all.pipe(log);
  const lines = createInterface({ input: subprocess.all });
  const last: string[] = [];
  lines.on('line', (line) => {
    last.push(line);
    if (last.length > LAST_LINES) last.shift();
    const step = /^\s*(Collecting|Downloading|Installing) (.+)$/.exec(line);
    const what = step?.[2]?.split(/ @|;|\s\(|: /)[0]?.slice(0, 60);
    if (step?.[1] !== undefined && what !== undefined) {
      context.emit({ type: 'stage', stage: `${doing} ${toolchain}`, detail: `${step[1]} ${what}` });
    }
  });
  const result = await subprocess;
  if (context.signal.aborted) throw abortError(context.signal);
  if (!result.failed) return last;
  const { code, cause, hint } = installFailure(last, call.source ?? 'index');
  throw new ModeldlError(code, `${doing} \`${toolchain}\` failed: ${cause ?? result.shortMessage}`, {
    hint: `${hint}; the log is ${logFile}`,
    details: { file: logFile },
  });
}

/** For what lies on the disk meanwhile: never /tmp, which may be small; and all goes when this directory does. */
export function temporaryFilesIn(directory: string): Readonly<Record<string, string>> {
  return { TMPDIR: directory, TEMP: directory, TMP: directory };
}

/** What the user has for Python in general must not change what lands in an environment with a lock. */
function installerEnvironment(
  environment: ToolchainContext['environment'],
): Record<string, string | undefined> {
  const { PYTHONPATH, PYTHONHOME, PIP_TARGET, PIP_PREFIX, VIRTUAL_ENV, ...rest } = environment;
  // Of pip's configuration, addresses and certificates are wanted, but not its habit of installing for the user.
  return { ...rest, PYTHONNOUSERSITE: '1', PIP_USER: '0', PIP_NO_PYTHON_VERSION_WARNING: '1' };
}

/** Finding a Python to make environments with. */
import { ModeldlError, throwIfAborted } from '../../src/errors.js';
import type { ToolchainContext } from '../../src/converter.js';

export interface Python {
  readonly command: string;
  /** `3.11.7` */
  readonly version: string;
  /** `linux-x86_64`, as Python's sysconfig has it. */
  readonly platform: string;
}

/** Minor versions of Python 3 that the files of a lock are for. */
export interface PythonRange {
  readonly oldest: number;
  readonly newest: number;
}

const CANDIDATES = [
  'python3',
  'python3.14',
  'python3.13',
  'python3.12',
  'python3.11',
  'python3.10',
  'python',
];
/** The locks are made for 3.10 and later; the wheels of OpenVINO 2026.4 end at 3.14. */
export const USUAL_RANGE: PythonRange = { oldest: 10, newest: 14 };

const PROBE = 'import sys, sysconfig; print(sys.version.split()[0], sysconfig.get_platform())';

/** What commands said, by the variables of the run: each toolchain asks, several times, and a start takes 0.1 s. */
const probes = new WeakMap<ToolchainContext['environment'], Map<string, Promise<string | undefined>>>();

/** Undefined of what does not run. */
function probe({ environment, signal }: ToolchainContext, command: string): Promise<string | undefined> {
  const known = probes.get(environment) ?? new Map<string, Promise<string | undefined>>();
  probes.set(environment, known);
  const probed = known.get(command) ?? start(environment, signal, command);
  known.set(command, probed);
  return probed;
}

async function start(
  environment: ToolchainContext['environment'],
  signal: AbortSignal,
  command: string,
): Promise<string | undefined> {
  const { execa } = await import('execa');
  // Isolated: a module in the working directory or on PYTHONPATH is not run in place of Python's own.
  const { failed, stdout } = await execa(command, ['-I', '-c', PROBE], {
    env: { ...environment },
    extendEnv: false,
    reject: false,
    cancelSignal: signal,
  });
  return failed ? undefined : stdout;
}

/** @throws ModeldlError TOOLCHAIN naming the toolchain and what was found instead */
export async function findPython(
  context: ToolchainContext,
  toolchain: string,
  { oldest, newest }: PythonRange = USUAL_RANGE,
): Promise<Python> {
  const { python: chosen } = context.settings;
  const tried: string[] = [];
  for (const command of chosen === undefined ? CANDIDATES : [chosen]) {
    const said = await probe(context, command);
    throwIfAborted(context.signal);
    if (said === undefined) {
      if (chosen !== undefined) tried.push(`\`toolchains.python\` names ${chosen}, which does not run`);
      continue;
    }
    const [version = '', platform = ''] = said.split(' ');
    const [major, minor] = version.split('.').map(Number);
    if (major === undefined || minor === undefined || Number.isNaN(major + minor)) {
      if (chosen !== undefined) tried.push(`\`toolchains.python\` names ${chosen}, which is no Python`);
      continue;
    }
    if (major === 3 && minor >= oldest && minor <= newest) return { command, version, platform };
    tried.push(`${command} is ${version}`);
  }
  const found = tried.length === 0 ? 'none was found' : tried.join(', ');
  throw new ModeldlError(
    'TOOLCHAIN',
    `The toolchain \`${toolchain}\` needs Python 3.${oldest} to 3.${newest}: ${found}`,
    {
      hint:
        chosen === undefined
          ? 'install one (`apt-get install python3 python3-venv`), or name it in `toolchains.python`'
          : 'correct or unset `toolchains.python`',
    },
  );
}

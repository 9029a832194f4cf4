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

/** @throws ModeldlError TOOLCHAIN naming the toolchain and what was found instead */
export async function findPython(
  context: ToolchainContext,
  toolchain: string,
  { oldest, newest }: PythonRange = USUAL_RANGE,
): Promise<Python> {
  const { execa } = await import('execa');
  const { python: chosen } = context.settings;
  const tried: string[] = [];
  for (const command of chosen === undefined ? CANDIDATES : [chosen]) {
    // Isolated: a module in the working directory or on PYTHONPATH is not run in place of Python's own.
    const probed = await execa(command, ['-I', '-c', PROBE], {
      env: { ...context.environment },
      extendEnv: false,
      reject: false,
      cancelSignal: context.signal,
    });
    throwIfAborted(context.signal);
    if (probed.failed) {
      if (chosen !== undefined) tried.push(`\`toolchains.python\` names ${chosen}, which does not run`);
      continue;
    }
    const [version = '', platform = ''] = probed.stdout.split(' ');
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

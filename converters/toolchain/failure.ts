/** Why an installation failed, from what `venv` and `pip` (22 to 26) print. Pure. */
import type { ErrorCode } from '../../src/errors.js';
import type { PackageSource } from './sources.js';

export interface InstallFailure {
  readonly code: ErrorCode;
  /** The line that tells the cause. */
  readonly cause?: string;
  readonly hint: string;
}

interface Kind {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly hint: (source: PackageSource) => string;
}

/** The first that is found anywhere decides. */
const KINDS: readonly Kind[] = [
  {
    pattern: /ensurepip is not available|No module named '?(venv|ensurepip)/,
    code: 'TOOLCHAIN',
    hint: () => 'install the venv module: `apt-get install python3-venv`',
  },
  {
    pattern: /DO NOT MATCH THE HASHES|HashMismatch/i,
    code: 'INTEGRITY',
    hint: (source) =>
      ({
        index:
          'the package index serves other files than were locked: use another index in the configuration of pip',
        torch: "PyTorch's index serves other files than it says: try again, or set `toolchains.torch`",
        wheels: 'the folder `toolchains.wheels` holds other files than were locked: fill it anew',
      })[source],
  },
  {
    pattern: /No space left on device/,
    code: 'DISK',
    hint: () => 'free space with `modeldl prune`, or choose another cache with `--cache-dir`',
  },
  {
    // pip goes on after its attempts and then finds no versions: the connection is the cause, told before.
    pattern: /after connection broken by|Max retries exceeded|ReadTimeoutError|SSLError|ProxyError/,
    code: 'NETWORK',
    hint: (source) =>
      source === 'torch'
        ? "check the network, or set `toolchains.torch` to `index` for PyTorch from pip's own index"
        : "check the network, and pip's index, proxy and certificates with `python3 -m pip config list`, or set `toolchains.wheels` to a folder of wheels",
  },
  {
    pattern: /Could not find a version|No matching distribution/,
    code: 'TOOLCHAIN',
    hint: (source) =>
      ({
        index:
          'the package index lacks a locked version, or does not answer: look at `python3 -m pip config list`, and use another index there',
        torch:
          "PyTorch's index lacks a locked version: set `toolchains.torch` to `index` for PyTorch from pip's own index",
        wheels:
          'the folder `toolchains.wheels` lacks it: fill it with `modeldl toolchain download` on a machine with network, the same system and the same version of Python',
      })[source],
  },
];

const OTHER: Omit<Kind, 'pattern'> = {
  code: 'TOOLCHAIN',
  hint: () => 'choose another interpreter with `toolchains.python`',
};

/**
 * @param lines what the installer printed last, oldest first
 * @param source where packages were to come from
 */
export function installFailure(lines: readonly string[], source: PackageSource): InstallFailure {
  const kind = KINDS.find(({ pattern }) => lines.some((line) => pattern.test(line)));
  const cause =
    (kind === undefined ? undefined : lines.findLast((line) => kind.pattern.test(line))) ??
    lines.findLast((line) => /^ERROR:/.test(line)) ??
    lines.findLast((line) => /error|failed|not found/i.test(line)) ??
    lines.findLast((line) => line.trim() !== '');
  const { code, hint } = kind ?? OTHER;
  const told = cause?.trim().replace(/^(ERROR|WARNING): /, '');
  return { code, hint: hint(source), ...(told === undefined ? {} : { cause: told.slice(0, 300) }) };
}

/** Where the packages of a toolchain come from: pip's own index, PyTorch's, or a folder of wheels. */
import { readdir } from 'node:fs/promises';
import type { ToolchainContext, ToolchainSettings } from '../../src/converter.js';
import { diskError, ModeldlError, systemErrorCode } from '../../src/errors.js';
import { hasTorch, torchVersions, type LockedPackage } from './lock.js';

/** PyTorch's public index of CPU wheels; packages there carry the local version `+cpu`. */
export const PYTORCH_CPU_INDEX = 'https://download.pytorch.org/whl/cpu';

export type PackageSource = 'index' | 'torch' | 'wheels';

/** `locked`: as the lock has it, on Linux with the libraries for GPUs of NVIDIA. `cpu`: without. */
export type TorchBuild = 'locked' | 'cpu';

/**
 * Which builds of PyTorch an environment may have, the best first. Wheels for macOS and Windows compute on the CPU
 * wherever they come from, and have the lock's hashes.
 * @param platform as Python's sysconfig has it
 */
export function torchBuilds(
  { torch }: Pick<ToolchainSettings, 'torch'>,
  packages: readonly LockedPackage[],
  platform: string,
): readonly [TorchBuild, ...TorchBuild[]] {
  if (torch === 'index' || !hasTorch(packages) || !platform.startsWith('linux')) return ['locked'];
  return torch === 'auto' ? ['cpu', 'locked'] : ['cpu'];
}

/** Address of the index that has PyTorch's CPU wheels. */
export function cpuIndex({ torch }: Pick<ToolchainSettings, 'torch'>, standard: string): string {
  return torch === 'auto' || torch === 'cpu' || torch === 'index' ? standard : torch;
}

/** What pip is told so that it takes packages from there, besides its configuration. No address is on a command line. */
export function sourceOptions(
  { wheels }: Pick<ToolchainSettings, 'wheels'>,
  index?: string,
): { readonly flags: readonly string[]; readonly environment: Readonly<Record<string, string>> } {
  if (wheels !== undefined) return { flags: ['--no-index', '--find-links', wheels], environment: {} };
  if (index === undefined) return { flags: [], environment: {} };
  // A user who asks for hashes everywhere cannot have them here; those of the links are checked all the same.
  return { flags: [], environment: { PIP_INDEX_URL: index, PIP_REQUIRE_HASHES: '0' } };
}

/** Names of the wheels in a folder. @throws ModeldlError CONFIG when it is none */
export async function wheelsIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.whl'));
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw diskError(error, folder);
    throw new ModeldlError('CONFIG', `The folder of wheels is not there: ${folder}`, {
      hint: 'correct or unset `toolchains.wheels`; `modeldl toolchain download` fills such a folder',
      cause: error,
      details: { file: folder, key: 'toolchains.wheels' },
    });
  }
}

/** Does a folder have PyTorch as a CPU wheel? In the name of a file its version is spelt as it is. */
export async function hasCpuWheel(folder: string, packages: readonly LockedPackage[]): Promise<boolean> {
  const names = await wheelsIn(folder);
  return torchVersions(packages).some((version) =>
    names.some((name) => name.startsWith(`torch-${version}-`)),
  );
}

/** Where pip keeps what it downloaded, as far as the environment tells; undefined where it keeps nothing. */
export function pipCache(environment: ToolchainContext['environment']): string | undefined {
  const { PIP_NO_CACHE_DIR, PIP_CACHE_DIR, XDG_CACHE_HOME, HOME } = environment;
  if (PIP_NO_CACHE_DIR !== undefined && PIP_NO_CACHE_DIR !== '') return undefined;
  if (PIP_CACHE_DIR !== undefined && PIP_CACHE_DIR !== '') return PIP_CACHE_DIR;
  if (XDG_CACHE_HOME !== undefined && XDG_CACHE_HOME !== '') return XDG_CACHE_HOME;
  return HOME === '' ? undefined : HOME;
}

/** What a toolchain is made from: its lock, and what is known of its size before it is there. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { requirementText } from '../assets.js';
import type { PythonRange } from './python.js';
import type { TorchBuild } from './sources.js';

/** Bytes of an environment, measured on Linux x86_64. */
export interface ToolchainSizes {
  /** To download. */
  readonly downloadBytes: number;
  /** On disk: what is asked to be free before an installation, besides the download. */
  readonly installedBytes: number;
}

export interface ToolchainDefinition extends ToolchainSizes {
  readonly name: string;
  readonly title: string;
  /** The same with CPU wheels of PyTorch, where it has any. */
  readonly cpu?: ToolchainSizes;
  /** Packages whose versions are shown and recorded; nothing works without the first. */
  readonly shown: readonly [string, ...string[]];
  /** Versions of Python that the lock has wheels for; default 3.10 to 3.14. */
  readonly python?: PythonRange;
  /** Absolute path of its requirement file; default `<name>.txt` in `requirements/`. */
  readonly lock?: string;
  /** Where CPU wheels of PyTorch come from when the settings name no address; default PyTorch's own index. */
  readonly torchIndex?: string;
}

/** Its requirement file. */
export function lockText({ name, lock }: ToolchainDefinition): Promise<string> {
  return lock === undefined ? requirementText(name) : readFile(lock, 'utf8');
}

/** sha256 of its requirement file. */
export async function lockDigest(definition: ToolchainDefinition): Promise<string> {
  return createHash('sha256')
    .update(await lockText(definition))
    .digest('hex');
}

export function sizesOf(
  { cpu, downloadBytes, installedBytes }: ToolchainDefinition,
  build: TorchBuild,
): ToolchainSizes {
  return (build === 'cpu' ? cpu : undefined) ?? { downloadBytes, installedBytes };
}

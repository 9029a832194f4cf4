/** Machines that bundles are made on and brought to: caches of their own, in this process. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Toolchain } from '../../src/converter.js';
import { createModeldl, type Modeldl, type ModeldlOptions } from '../../src/index.js';
import { builtInPlugins } from '../../src/plugins.js';
import { noToolchain, smallConverter } from '../helpers/small-converter.js';
import { temporaryDirectory } from '../helpers/store.js';
import {
  INDEX_NAME,
  memberName,
  SEAL_NAME,
  sealOf,
  type BundleIndex,
} from '../../src/bundle/bundle-index.js';
import { tar, type TarMember } from '../transfer/make-archive.js';

export interface Machine {
  readonly directory: string;
  readonly cacheDir: string;
  /** Notes and warnings. */
  readonly told: string[];
  /** Another program run on it. */
  open(options?: MachineOptions): Promise<Modeldl>;
}

export interface MachineOptions extends Partial<ModeldlOptions> {
  /** The project's list. */
  readonly models?: readonly unknown[];
  readonly toolchain?: Toolchain;
}

/** @param endpoint of a Hugging Face hub; without it everything is refused */
export async function machine(endpoint?: string): Promise<Machine> {
  const directory = await temporaryDirectory();
  const cacheDir = join(directory, 'cache');
  const told: string[] = [];
  return {
    directory,
    cacheDir,
    told,
    async open({ models, toolchain = noToolchain, ...options } = {}) {
      const configFile = join(directory, 'modeldl.config.json');
      await writeFile(configFile, JSON.stringify(models === undefined ? {} : { models }));
      const modeldl = await createModeldl({
        cwd: directory,
        home: directory,
        configFile,
        environment: endpoint === undefined ? {} : { HF_ENDPOINT: endpoint },
        cacheDir,
        offline: endpoint === undefined,
        emit: (event) => {
          if (event.type === 'note' || event.type === 'warning') told.push(event.message);
        },
        plugins: {
          ...builtInPlugins(),
          converters: [smallConverter(['model.onnx'])],
          toolchains: [toolchain],
        },
        ...options,
      });
      onTestFinished(() => modeldl.close());
      return modeldl;
    },
  };
}

/** A bundle of an index and contents as they are given, right or wrong. */
export function bundleOf(index: unknown, ...contents: readonly TarMember[]): Buffer {
  const text = typeof index === 'string' ? index : JSON.stringify(index);
  const seal = { name: SEAL_NAME, content: sealOf(Buffer.from(text)) };
  return tar([{ name: INDEX_NAME, content: text }, seal, ...contents]);
}

export function contentMember(sha256: string, content: string | Buffer): TarMember {
  return { name: memberName(sha256), content };
}

/** An index of nothing. */
export const EMPTY: BundleIndex = {
  format: 'modeldl-bundle',
  version: 1,
  models: [],
  listings: [],
  references: [],
  toolchains: [],
};

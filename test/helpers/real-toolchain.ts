/** Real toolchains, built once per machine, in worlds that begin without conversions. */
import { cp, mkdir, readFile, readdir, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { execa } from 'execa';
import * as v from 'valibot';
import { expect } from 'vitest';
import { createWorld, type Run, type World } from './program.js';
import { hasProgram } from './require.js';

const CACHE = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');

export const PYTHON = hasProgram('python3', ['-m', 'pip', '--version']);

export interface ConvertingWorld {
  /** Empty of conversions; its toolchain is that of `shared`. */
  readonly world: World;
  /** Keeps the toolchain and what was pulled from one run of the tests to the next. */
  readonly shared: World;
  /** Absolute directory of the toolchain. */
  readonly toolchain: string;
  /** A model, pulled once per machine, as a file or directory of the world. */
  readonly copyOf: (reference: string, name: string) => Promise<string>;
  readonly convert: (reference: string, ...flags: readonly string[]) => Promise<Converted>;
  /** Runs a script in the toolchain's Python; its standard output is JSON. */
  readonly python: (script: string, ...args: readonly string[]) => Promise<unknown>;
  readonly remove: () => Promise<void>;
}

/** The cache that keeps toolchains and what was pulled from one run of the tests to the next. */
function sharedWorld(): Promise<World> {
  return createWorld({ MODELDL_CACHE_DIR: join(CACHE, 'converted') });
}

/** Absolute directory of a toolchain, which is installed if need be. */
async function installed(shared: World, name: string): Promise<string> {
  const { stdout, stderr } = await shared.run('toolchain', 'install', name);
  expect(stderr).not.toContain('error:');
  return stdout;
}

/** Absolute path of a toolchain's interpreter, for programs that people run in it. */
export async function toolchainPython(name: string): Promise<string> {
  const shared = await sharedWorld();
  try {
    return join(await installed(shared, name), 'bin', 'python');
  } finally {
    await shared.remove();
  }
}

export async function createConvertingWorld(name = 'openvino'): Promise<ConvertingWorld> {
  const shared = await sharedWorld();
  const world = await createWorld();
  let toolchain = 'missing';
  if (PYTHON) {
    const directory = await installed(shared, name);
    toolchain = join(world.cacheDir, 'v1', 'toolchains', basename(directory));
    await mkdir(dirname(toolchain), { recursive: true });
    await symlink(directory, toolchain);
  }
  return {
    world,
    shared,
    toolchain,
    copyOf: async (reference, name) => {
      const { stdout, stderr } = await shared.run('pull', '--prefer-offline', reference);
      expect(stderr).not.toContain('error:');
      const copy = join(world.directory, name);
      await cp(stdout, copy, { recursive: true });
      return copy;
    },
    convert: async (reference, ...flags) =>
      modelOf(await world.run('convert', reference, ...flags, '--json')),
    python: async (script, ...args) => {
      const interpreter = join(toolchain, 'bin', 'python');
      const { stdout } = await execa(interpreter, ['-I', '-B', '-c', script, ...args]);
      return JSON.parse(stdout) as unknown;
    },
    remove: async () => {
      await world.remove();
      await shared.remove();
    },
  };
}

const converted = v.object({
  reference: v.string(),
  path: v.string(),
  output: v.nullable(v.string()),
  key: v.string(),
  cached: v.boolean(),
  converter: v.string(),
  precision: v.string(),
  device: v.string(),
  bytes: v.number(),
  task: v.nullable(v.string()),
  toolchain: v.object({ name: v.string(), versions: v.record(v.string(), v.string()) }),
  check: v.nullable(
    v.object({
      passed: v.boolean(),
      compared: v.boolean(),
      reason: v.optional(v.string()),
      warnings: v.array(v.string()),
      outputs: v.array(
        v.looseObject({
          name: v.string(),
          cosine: v.optional(v.number()),
          maxDifference: v.optional(v.number()),
        }),
      ),
    }),
  ),
});
export type Converted = v.InferOutput<typeof converted>;

const succeeded = v.object({ ok: v.literal(true), models: v.tuple([converted]) });

export function modelOf(run: Run): Converted {
  expect(run.exitCode, run.stdout + run.stderr).toBe(0);
  return v.parse(succeeded, JSON.parse(run.stdout)).models[0];
}

/** The IR's own description of a converted model. */
export async function irOf(directory: string): Promise<string> {
  const name = (await readdir(directory)).find((file) => file.endsWith('.xml'));
  return readFile(join(directory, name ?? 'none'), 'utf8');
}

/** Share of the constants' bytes that each element type has. */
export async function weightTypes(directory: string): Promise<Readonly<Record<string, number>>> {
  const ir = await irOf(directory);
  const bytes: Record<string, number> = {};
  let whole = 0;
  for (const [, type = '', size] of ir.matchAll(
    /<data element_type="(\w+)"[^>]* offset="\d+" size="(\d+)"/g,
  )) {
    bytes[type] = (bytes[type] ?? 0) + Number(size);
    whole += Number(size);
  }
  return Object.fromEntries(Object.entries(bytes).map(([type, sum]) => [type, sum / whole]));
}

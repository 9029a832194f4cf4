/** Making a bundle: what is named or locked is brought in, and written with what it was made of into one file. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import { discard, makeDirectories } from '../directories.js';
import { ModeldlError } from '../errors.js';
import { checkFile, readTarget, refuseInCache, requireRoom, targetError } from '../export/target.js';
import {
  packedBytes,
  packTar,
  reproducibleTime,
  writeArchive,
  type Compression,
  type PackedFile,
} from '../pack.js';
import type { StartupHubs } from '../startup.js';
import { hashFile } from '../store/hash.js';
import { inStore, uniqueName } from '../store/layout.js';
import { downloadToolchain, toolchainContext, toolchainNamed } from '../toolchains.js';
import {
  contentsOf,
  INDEX_NAME,
  SEAL_NAME,
  sealOf,
  indexDigest,
  memberName,
  parseIndex,
  printIndex,
  type BundledToolchain,
} from './bundle-index.js';
import { bundledModel, collect } from './collect.js';
import type { ShownBundle } from './results.js';
import { shownBundle } from './show.js';

export interface CreateBundleOptions {
  /** Absolute; by zstd when its name ends in `.zst`. */
  readonly output: string;
  /** Replace a file that is there. */
  readonly overwrite?: boolean;
  /** Without any, what the list of models asks for by its lock. */
  readonly references?: readonly string[];
  /** Absolute path of a startup list, in place of the configuration. */
  readonly file?: string;
  /** Wheels of the toolchains that made the conversions in it. */
  readonly toolchains?: boolean;
  /** Wheels of these too. */
  readonly toolchain?: readonly string[];
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
}

/** A bundle, or why there is none. */
export type CreatedBundle =
  | { readonly bundle: ShownBundle & { readonly list: string | null; readonly lock: string | null } }
  | { readonly errors: readonly ModeldlError[] };

/** @throws ModeldlError USAGE for an output or a toolchain that cannot be, CONFIG for list and lock, and as pulling and converting do */
export async function createBundle(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: CreateBundleOptions,
): Promise<CreatedBundle> {
  const { output } = options;
  const archive = await requireOptions(context, options);
  const collected = await collect(context, loaded, startup, options);
  if ('errors' in collected) return collected;
  const { models, listings, references, list, lock } = collected;
  const sources = new Map(collected.sources);
  // A cache that is only read is not pruned from here either.
  if (context.store.writable) {
    const session = await context.session();
    await session.want([...sources.keys()]);
  }
  const made = models.flatMap(({ record }) => record.conversion?.toolchain.name ?? []);
  const names = toolchainsFor(context, options, made);
  const wheels = inStore(context.store, 'tmp', uniqueName());
  try {
    const kits = await kitsOf(context, names, wheels);
    const text = printIndex({
      models: await Promise.all(models.map((model) => bundledModel(context, model, sources))),
      listings: [...listings],
      references: [...references],
      toolchains: kits.map(({ kit }) => kit),
    });
    // As it will be read: what cannot be imported is not made.
    const index = parseIndex(output, text);
    for (const { kit, directory } of kits)
      for (const { name, sha256 } of kit.files) sources.set(sha256, join(directory, name));
    const fileBytes = await write(context, archive, text, [...contentsOf(index)], sources);
    return {
      bundle: { ...shownBundle(output, { index, digest: indexDigest(text), fileBytes }), list, lock },
    };
  } finally {
    await discard(wheels);
  }
}

/** Before anything is fetched. @throws ModeldlError USAGE, CONFIG, UNSUPPORTED without zstd, DISK */
export async function requireOptions(
  context: Context,
  { output, overwrite = false, toolchain = [] }: CreateBundleOptions,
): Promise<Archive> {
  for (const name of toolchain) toolchainNamed(context, name);
  const archive = archiveOf(context, output);
  await checkFile(archive.path, overwrite, 'archive');
  await refuseInCache(context, archive.path);
  return { ...archive, time: reproducibleTime(context.environment) };
}

/**
 * Names of the toolchains whose wheels go into a bundle: those that need none are left out.
 * @param made by which the conversions in it were made
 * @throws ModeldlError USAGE where they are asked for and there are none
 */
export function toolchainsFor(
  context: Context,
  { toolchains = false, toolchain = [] }: CreateBundleOptions,
  made: readonly string[],
): readonly string[] {
  const names = new Set([...(toolchains ? made : []), ...toolchain]);
  const wheeled = context.toolchains.filter(({ kit }) => kit !== undefined).map(({ name }) => name);
  const found = wheeled.filter((name) => names.has(name));
  if (!toolchains || found.length > 0) return found;
  throw new ModeldlError(
    'USAGE',
    'Nothing in the bundle was converted with Python, so it needs no toolchain',
    {
      hint: `leave out \`--toolchains\`, or name what shall be converted with: \`--toolchain\` and one of ${wheeled.join(', ')}`,
    },
  );
}

interface Archive {
  readonly path: string;
  readonly compression: Compression;
  /** Of its members, seconds since 1970. */
  readonly time: number;
}

function archiveOf(context: Context, output: string): Omit<Archive, 'time'> {
  const isNamed = /\.(tar|tar\.zst|tzst)$/i.test(output);
  const target = isNamed ? withZstd(() => readTarget(context.cwd, output)) : undefined;
  if (target?.kind === 'archive') return target;
  throw new ModeldlError('USAGE', `A bundle is one file, whose name ends in .tar or .tar.zst: ${output}`, {
    hint: 'name such a file, as in `--output models.tar`',
    details: { file: output },
  });
}

function withZstd<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'UNSUPPORTED') throw error;
    throw new ModeldlError('UNSUPPORTED', error.message, {
      hint: 'run modeldl with Node.js 22.15 or later; or write a `.tar`, which any `zstd` may compress: `bundle import` reads both',
      cause: error,
    });
  }
}

interface Kit {
  readonly kit: BundledToolchain;
  readonly directory: string;
}

/** Fetches the wheels of each toolchain into a directory of its own. */
async function kitsOf(context: Context, names: readonly string[], below: string): Promise<readonly Kit[]> {
  const kits: Kit[] = [];
  for (const name of names) {
    const toolchain = toolchainNamed(context, name);
    const described = await toolchain.kit?.(toolchainContext(context));
    // A converter of others may run in Node.js.
    if (described === undefined) continue;
    const directory = join(below, name);
    await makeDirectories(directory);
    await downloadToolchain(context, name, directory);
    const files: BundledToolchain['files'] = [];
    for (const wheel of (await readdir(directory)).sort()) {
      const file = join(directory, wheel);
      files.push({
        name: wheel,
        bytes: (await stat(file)).size,
        sha256: await hashFile(file, context.signal),
      });
    }
    const { lock, python, platform } = described;
    kits.push({ kit: { name, lock, python, platform, files }, directory });
  }
  return kits;
}

/** @returns bytes of the bundle */
async function write(
  context: Context,
  { path: output, compression, time }: Archive,
  index: Buffer,
  contents: readonly (readonly [sha256: string, bytes: number])[],
  sources: ReadonlyMap<string, string>,
): Promise<number> {
  const { signal } = context;
  const files = contents.map(([sha256, bytes]): PackedFile => {
    const from = sources.get(sha256);
    if (from === undefined) throw new Error(`No file has the content ${sha256}`);
    return { path: memberName(sha256), bytes, sha256, from };
  });
  const seal = sealOf(index);
  const entries: readonly PackedFile[] = [
    { path: INDEX_NAME, bytes: index.length, from: index },
    { path: SEAL_NAME, bytes: seal.length, from: seal },
    ...files,
  ];
  const tarBytes = await packedBytes(entries);
  await requireRoom(context, dirname(output), tarBytes);
  const progress = { reference: output, path: basename(output) };
  context.emit({ type: 'file-start', ...progress, bytes: tarBytes, resumedBytes: 0 });
  let done = 0;
  const onFile = (file: PackedFile, state: 'start' | 'progress' | 'done', bytes: number): void => {
    if (state === 'done') done += file.bytes;
    context.emit({
      type: 'file-progress',
      ...progress,
      receivedBytes: state === 'progress' ? done + bytes : done,
    });
  };
  try {
    const tar = packTar(entries, { time, signal, onFile });
    const written = await writeArchive(tar, output, { compression, tarBytes, signal });
    context.emit({ type: 'file-done', ...progress, ...written });
    return written.bytes;
  } catch (error) {
    throw targetError(error, output);
  }
}

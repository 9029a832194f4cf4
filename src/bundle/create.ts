/** Making a bundle: what is named or locked is brought in, and written with what it was made of into one file. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, sep, isAbsolute } from 'node:path';
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import { discard, makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import {
  packedBytes,
  packTar,
  requireCompression,
  reproducibleTime,
  writeArchive,
  type Compression,
  type PackedFile,
} from '../pack.js';
import { requireSpace } from '../space.js';
import type { StartupHubs } from '../startup.js';
import { hashFile } from '../store/hash.js';
import { inStore, uniqueName } from '../store/layout.js';
import { OUTPUT } from '../store/space.js';
import { downloadToolchain, toolchainContext, toolchainNamed } from '../toolchains.js';
import {
  contentsOf,
  INDEX_NAME,
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
  await requireOptions(context, options);
  const collected = await collect(context, loaded, startup, options);
  if ('errors' in collected) return collected;
  const { models, listings, references, list, lock } = collected;
  const session = await context.session();
  await session.want(models.flatMap(({ record }) => record.files.map(({ sha256 }) => sha256)));
  const made = models.flatMap(({ record }) => record.conversion?.toolchain.name ?? []);
  const names = toolchainsFor(context, options, made);
  const wheels = inStore(context.store, 'tmp', uniqueName());
  try {
    const kits = await kitsOf(context, names, wheels);
    const text = printIndex({
      models: await Promise.all(models.map((model) => bundledModel(context, model))),
      listings: [...listings],
      references: [...references],
      toolchains: kits.map(({ kit }) => kit),
    });
    // As it will be read: what cannot be imported is not made.
    const index = parseIndex(output, text);
    const sources = new Map<string, string>();
    for (const { kit, directory } of kits)
      for (const { name, sha256 } of kit.files) sources.set(sha256, join(directory, name));
    for (const { record, directory } of models)
      for (const { path, sha256 } of record.files) sources.set(sha256, join(directory, ...path.split('/')));
    const fileBytes = await write(context, output, text, [...contentsOf(index)], sources);
    return { bundle: { ...shownBundle(output, { index, digest: indexDigest(text), fileBytes }), list, lock } };
  } finally {
    await discard(wheels);
  }
}

/** Before anything is fetched. @throws ModeldlError USAGE, UNSUPPORTED without zstd, DISK */
export async function requireOptions(context: Context, options: CreateBundleOptions): Promise<void> {
  for (const name of options.toolchain ?? []) toolchainNamed(context, name);
  await requireTarget(context, options);
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
  throw new ModeldlError('USAGE', 'Nothing in the bundle was converted with Python, so it needs no toolchain', {
    hint: `leave out \`--toolchains\`, or name what shall be converted with: \`--toolchain\` and one of ${wheeled.join(', ')}`,
  });
}

function compressionOf(output: string): Compression {
  return output.endsWith('.zst') ? 'zstd' : 'none';
}

async function requireTarget(context: Context, { output, overwrite = false }: CreateBundleOptions): Promise<void> {
  requireCompression(compressionOf(output));
  const found = await stat(output).catch((error: unknown) => {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') return undefined;
    if (code !== 'ENOTDIR') throw diskError(error, output, 'write');
    throw new ModeldlError('DISK', `Cannot write ${output}: what is above it is no directory`, {
      hint: 'name another file with `--output`',
      cause: error,
      details: { file: output },
    });
  });
  if (found?.isDirectory() === true) {
    throw new ModeldlError('USAGE', `A bundle is one file, and this is a directory: ${output}`, {
      hint: `name the file, such as \`--output ${join(output, 'models.tar')}\``,
      details: { file: output },
    });
  }
  if (found !== undefined && !(overwrite && found.isFile())) {
    throw new ModeldlError('USAGE', `There is something already: ${output}`, {
      hint: found.isFile() ? 'choose another name, or pass `--overwrite`' : 'name a file with `--output`',
      details: { file: output },
    });
  }
  for (const store of [context.store, ...context.lower]) {
    if (!(await isInside(store.cacheDir, output))) continue;
    throw new ModeldlError('USAGE', `The bundle would lie inside the cache: ${output}`, {
      hint: `name a file outside of ${store.cacheDir}`,
      details: { file: output },
    });
  }
}

async function isInside(directory: string, path: string): Promise<boolean> {
  let above = path;
  let real: string | undefined;
  while (real === undefined) {
    above = dirname(above);
    real = await realpath(above).catch(() => (dirname(above) === above ? above : undefined));
  }
  const way = relative(await realpath(directory).catch(() => directory), join(real, relative(above, path)));
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
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
  output: string,
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
  const entries: readonly PackedFile[] = [{ path: INDEX_NAME, bytes: index.length, from: index }, ...files];
  const tarBytes = await packedBytes(entries);
  await requireSpace(context, [{ directory: dirname(output), bytes: tarBytes, what: OUTPUT }]);
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
    const tar = packTar(entries, { time: reproducibleTime(context.environment), signal, onFile });
    await makeDirectories(dirname(output));
    const written = await writeArchive(tar, output, { compression: compressionOf(output), tarBytes, signal });
    context.emit({ type: 'file-done', ...progress, ...written });
    return written.bytes;
  } catch (error) {
    throw unwritable(error, output);
  }
}

function unwritable(error: unknown, output: string): unknown {
  const code = systemErrorCode(error);
  const disk = diskError(error, output);
  if (!(disk instanceof ModeldlError) || disk === error) return error;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new ModeldlError(disk.code, disk.message, {
    hint: isFull
      ? 'free space there, or name a file elsewhere with `--output`; nothing was left of the bundle'
      : 'name a file that you may write with `--output`',
    cause: error,
    details: { file: output },
  });
}

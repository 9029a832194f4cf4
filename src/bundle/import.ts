/**
 * Importing a bundle: contents become blobs one by one, each once its bytes are what the index says; what names them,
 * listings, models and wheels, is written when all were read. So whatever ends an import, only blobs are left of it,
 * which the next one finds and which a sweep takes.
 */
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { format, hubNamed, parse, waitingFor, type Context } from '../context.js';
import { discard } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { decidingRequest } from '../listing.js';
import { anySnapshot, keepsPromises } from '../lower.js';
import { requireSpace, cacheNeed } from '../space.js';
import { modelLocation } from '../stored.js';
import { adoptBlob, blobPath, hasBlob, settleBlob } from '../store/blobs.js';
import { withClaim } from '../store/claim.js';
import { compareFile } from '../store/hash.js';
import { assertWritable, inStore, uniqueName, type Store } from '../store/layout.js';
import { createLinker, workingMode, type LinkMode } from '../store/link.js';
import {
  checkModel,
  findModel,
  isIntact,
  publishModel,
  touchUsed,
  updateRecord,
  type StoredModel,
} from '../store/models.js';
import { keptInputs, type ConversionInput } from '../store/record.js';
import { readRef, readSnapshot, saveRef, saveSnapshot, type StoredSnapshot } from '../store/snapshots.js';
import { moveIntoPlace } from '../store/tree.js';
import { toolchainContext } from '../toolchains.js';
import { writeAll } from '../transfer/assembly.js';
import { createHasher } from '../transfer/digest.js';
import {
  contentsOf,
  damaged,
  type BundledModel,
  type BundledReference,
  type BundledToolchain,
  type BundleIndex,
} from './bundle-index.js';
import { readBundle, type ContentSink, type OpenedBundle } from './read.js';
import type { ImportedBundle } from './results.js';
import { describeModels, describeToolchain, shownBundle } from './show.js';

export interface ImportBundleOptions {
  /** `sha256:<hex>`, as `bundle create` printed it. */
  readonly digest?: string;
  /** Take wheels too; default true. */
  readonly toolchains?: boolean;
}

/** A sweep in another process may take a blob in the instant before it is wanted here; then it is read again. */
const ATTEMPTS = 3;
const WAYS: readonly LinkMode[] = ['reflink', 'hardlink', 'copy'];

/**
 * @throws ModeldlError NOT_FOUND, USAGE, CONFIG for a bundle of another version or with hubs that are not here,
 *   INTEGRITY for one that is not what it was made or not what is known here, TOOLCHAIN for wheels of another platform,
 *   DISK, BUSY, INTERRUPTED
 */
export async function importBundle(
  context: Context,
  file: string,
  options: ImportBundleOptions,
): Promise<ImportedBundle> {
  const { digest } = options;
  if (digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    throw new ModeldlError(
      'USAGE',
      `Expected \`sha256:\` and 64 hex digits after \`--digest\`, got ${digest}`,
      {
        hint: 'pass the digest that `modeldl bundle create` printed',
      },
    );
  }
  assertWritable(context.store);
  let writtenBytes = 0;
  for (let attempt = 1; ; attempt += 1) {
    const read = await readContents(context, file, options);
    writtenBytes += read.writtenBytes;
    const imported = await publish(context, file, read, writtenBytes);
    if (imported !== undefined) return imported;
    if (attempt === ATTEMPTS) {
      throw new ModeldlError('BUSY', `Another process removed what was imported of ${file}`, {
        hint: 'run the command again when no `modeldl prune` runs',
        details: { file },
      });
    }
  }
}

interface Read {
  readonly bundle: OpenedBundle;
  /** Where the wheels of each toolchain go. */
  readonly kits: ReadonlyMap<BundledToolchain, string>;
  /** The sha256 of what the store lacked. */
  readonly written: ReadonlySet<string>;
  readonly writtenBytes: number;
}

async function readContents(
  context: Context,
  file: string,
  { digest, toolchains = true }: ImportBundleOptions,
): Promise<Read> {
  const { store } = context;
  const progress = { reference: file, path: file };
  let kits: ReadonlyMap<BundledToolchain, string> = new Map();
  let needless: ReadonlySet<string> = new Set();
  const written = new Set<string>();
  let writtenBytes = 0;
  const bundle = await readBundle(context, file, {
    begin: async ({ index, digest: actual }) => {
      if (digest !== undefined && digest !== actual) {
        throw new ModeldlError('INTEGRITY', `The bundle is another one: its digest is ${actual}: ${file}`, {
          hint: `expected ${digest}: ask who made it which digest \`modeldl bundle create\` printed`,
          details: { file, expected: digest, actual },
        });
      }
      await refuseUnknown(context, file, index);
      kits = toolchains ? await kitsFor(context, file, index) : new Map();
      needless = await neededNoMore(context, index, kits);
      const contents = [...contentsOf(index)];
      await (await context.session()).want(contents.map(([hex]) => hex));
      await requireRoom(context, index, kits, needless);
      const bytes = contents.reduce((sum, [, one]) => sum + one, 0);
      context.emit({ type: 'file-start', ...progress, bytes, resumedBytes: 0 });
      return true;
    },
    take: async (hex, bytes) => {
      if (needless.has(hex) || (await holdsBlob(context, hex, bytes))) return undefined;
      written.add(hex);
      writtenBytes += bytes;
      return blobSink(store, hex, bytes);
    },
    onProgress: (receivedBytes) => {
      context.emit({ type: 'file-progress', ...progress, receivedBytes });
    },
  });
  const bytes = [...contentsOf(bundle.index)].reduce((sum, [, one]) => sum + one, 0);
  context.emit({ type: 'file-done', ...progress, bytes, sha256: bundle.digest.slice('sha256:'.length) });
  return { bundle, kits, written, writtenBytes };
}

/** Hashes what is here: a bundle is what mends a machine that can ask nobody. */
async function holdsBlob({ store, signal }: Context, hex: string, bytes: number): Promise<boolean> {
  if ((await hasBlob(store, hex, bytes)) === undefined) return false;
  try {
    return await settleBlob(store, hex, signal);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    return false;
  }
}

async function blobSink(store: Store, hex: string, bytes: number): Promise<ContentSink> {
  const temporary = inStore(store, 'tmp', uniqueName());
  const failing = (error: unknown): never => {
    throw diskError(error, temporary);
  };
  const handle = await open(temporary, 'wx').catch(failing);
  let written = 0;
  return {
    write: async (chunk) => {
      await writeAll(handle, chunk, written).catch(failing);
      written += chunk.length;
    },
    keep: async () => {
      await handle.close().catch(failing);
      await adoptBlob(store, temporary, hex, bytes);
    },
    close: async () => {
      await handle.close().catch(() => undefined);
      await discard(temporary);
    },
  };
}

/** Before a byte is written: what is known here is not changed by what somebody else says. */
async function refuseUnknown(context: Context, file: string, index: BundleIndex): Promise<void> {
  const { store } = context;
  const known = new Set(context.hubs.map(({ name }) => name));
  for (const { hub, reference } of [...index.models, ...index.references]) {
    if (known.has(hub)) continue;
    throw new ModeldlError(
      'CONFIG',
      `The bundle holds ${reference} of the hub ${hub}, which is not here: ${file}`,
      {
        hint: 'name the plugin that brings this hub in `plugins`, as where the bundle was made',
        details: { file, reference },
      },
    );
  }
  for (const listing of index.listings) {
    const before = await readSnapshot(store, listing.hub, listing.id, listing.revision);
    if (before === undefined || isSameListing(before, listing)) continue;
    throw contradicted(file, `${listing.id} of revision ${listing.revision}`, 'what its hub has said here');
  }
  for (const model of index.models) {
    refuseOtherName(context, file, model);
    const before = await findModel(store, model);
    if (before === undefined || model.conversion !== undefined || isSameModel(before, model)) continue;
    throw contradicted(file, model.reference, 'what is stored of it here', model.reference);
  }
  for (const { reference, hub, id, revision } of index.references) {
    const isListed = index.listings.some(
      (one) => one.hub === hub && one.id === id && one.revision === revision,
    );
    if (!isListed || nameOf(context, reference) !== reference)
      throw damaged(file, 'its index names a revision that it does not hold');
  }
}

function nameOf(context: Context, text: string): string | undefined {
  try {
    return format(context, parse(context, text));
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

/** What a model is called is what people and scripts see of it. */
function refuseOtherName(
  context: Context,
  file: string,
  { hub, id, reference, revision }: BundledModel,
): void {
  const { syntax } = hubNamed(context, hub);
  // Paths are of the machine that they were read on.
  if (syntax.paths === true) return;
  const read = nameOf(context, reference) === reference ? parse(context, reference) : undefined;
  const named = read?.sha256 ?? read?.revision;
  if (read?.hub === hub && read.id === id && named === revision) return;
  throw damaged(file, `its index calls a model ${JSON.stringify(reference)}, which is another`);
}

/** Addresses may differ: those of mirrors and endpoints do. */
function isSameListing(one: StoredSnapshot, other: StoredSnapshot): boolean {
  const text = ({ files }: StoredSnapshot): string =>
    JSON.stringify(
      files.map(({ path, size, digest }) => [path, size, digest?.algorithm, digest?.hex]).sort(),
    );
  return text(one) === text(other);
}

function isSameModel({ record }: StoredModel, { files }: BundledModel): boolean {
  const text = (all: readonly { readonly path: string; readonly sha256: string }[]): string =>
    JSON.stringify(all.map(({ path, sha256 }) => [path, sha256]).sort());
  return text(record.files) === text(files);
}

function contradicted(file: string, what: string, known: string, reference?: string): ModeldlError {
  const forget =
    reference === undefined ? '' : `, or forget what is here with \`modeldl remove ${reference}\``;
  return new ModeldlError('INTEGRITY', `In the bundle ${what} is not ${known}: ${file}`, {
    hint: `find out which of them is right: ask who made the bundle${forget}`,
    details: { file, ...(reference === undefined ? {} : { reference }) },
  });
}

/** @throws ModeldlError TOOLCHAIN for wheels that cannot be installed here */
async function kitsFor(
  context: Context,
  file: string,
  { toolchains }: BundleIndex,
): Promise<ReadonlyMap<BundledToolchain, string>> {
  const kits = new Map<BundledToolchain, string>();
  for (const one of toolchains) {
    const { name, lock, python, platform } = one;
    const toolchain = context.toolchains.find((candidate) => candidate.name === name);
    const kit = await toolchain?.kit?.(toolchainContext(context));
    const otherwise = (why: string): ModeldlError =>
      new ModeldlError(
        'TOOLCHAIN',
        `The wheels of the toolchain \`${name}\` do not serve here, ${why}: ${file}`,
        {
          hint: 'make the bundle on a machine like this one, with this version of modeldl; `--no-toolchains` imports its models alone',
          details: { file, toolchain: name },
        },
      );
    if (kit === undefined) throw otherwise('this modeldl has no such toolchain');
    const theirs = `Python ${python} on ${platform}`;
    const ours = `Python ${kit.python} on ${kit.platform}`;
    if (theirs !== ours) throw otherwise(`they are for ${theirs}, and here is ${ours}`);
    if (lock !== kit.lock) throw otherwise('they are of another version of modeldl');
    kits.set(one, kit.directory);
  }
  return kits;
}

/** Wheels that are in their place already, and those that are not wanted. */
async function neededNoMore(
  context: Context,
  index: BundleIndex,
  kits: ReadonlyMap<BundledToolchain, string>,
): Promise<ReadonlySet<string>> {
  const needless = new Set<string>();
  const needed = new Set(contentsOf({ ...index, toolchains: [] }).keys());
  for (const one of index.toolchains) {
    const directory = kits.get(one);
    const isThere = directory === undefined || (await holdsKit(context, directory, one));
    for (const { sha256 } of one.files) (isThere ? needless : needed).add(sha256);
  }
  for (const sha256 of needed) needless.delete(sha256);
  return needless;
}

async function holdsKit(
  { signal }: Context,
  directory: string,
  { files }: BundledToolchain,
): Promise<boolean> {
  const names = await readdir(directory).catch(() => []);
  if (names.length !== files.length) return false;
  for (const { name, bytes, sha256 } of files) {
    const wheel = join(directory, name);
    const found = await stat(wheel).catch(() => undefined);
    if (found?.isFile() !== true || found.size !== bytes) return false;
    if ((await compareFile(wheel, sha256, signal)) !== 'same') return false;
  }
  return true;
}

/** What is not here, and trees and folders of wheels where they cannot be links. */
async function requireRoom(
  context: Context,
  index: BundleIndex,
  kits: ReadonlyMap<BundledToolchain, string>,
  needless: ReadonlySet<string>,
): Promise<void> {
  if (!context.spaceCheck) return;
  const { store } = context;
  let needed = 0;
  for (const [hex, bytes] of contentsOf(index)) {
    if (!needless.has(hex) && (await hasBlob(store, hex, bytes)) === undefined) needed += bytes;
  }
  if ((await workingMode(store, [...WAYS])) === 'copy') {
    const missing = [...kits.keys()].filter(({ files }) => files.some(({ sha256 }) => !needless.has(sha256)));
    for (const { files } of missing) needed += files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const model of index.models) {
      if ((await findModel(store, model)) !== undefined) continue;
      needed += model.files.reduce((sum, { bytes }) => sum + bytes, 0);
    }
  }
  await requireSpace(context, [cacheNeed(context, needed)]);
}

/** Names what was read. @returns undefined where blobs are gone again */
async function publish(
  context: Context,
  file: string,
  { bundle, kits, written }: Read,
  writtenBytes: number,
): Promise<ImportedBundle | undefined> {
  const { index } = bundle;
  const listings = new Map(index.listings.map((one) => [listingKey(one), one]));
  for (const model of index.models) {
    const listing =
      listings.get(listingKey(model)) ?? (await anySnapshot(context, model.hub, model.id, model.revision));
    if (!(await keptPromises(context, file, model, listing))) return undefined;
  }
  for (const listing of index.listings) {
    const { hub, id, revision } = listing;
    const before = await readSnapshot(context.store, hub, id, revision);
    if (before === undefined) await saveSnapshot(context.store, listing);
  }
  const models: ImportedBundle['models'][number][] = [];
  const described = describeModels(index.models);
  for (const [at, model] of index.models.entries()) {
    const published = await publishOne(context, model, written);
    if (published === undefined) return undefined;
    const state = described[at];
    if (state === undefined) throw new Error(`Expected a description of ${model.reference}`);
    models.push({ ...state, path: modelLocation(published.model), stored: published.stored });
  }
  for (const reference of index.references) await importReference(context, reference);
  const toolchains: ImportedBundle['toolchains'][number][] = [];
  for (const [one, directory] of kits) {
    if (!(await publishKit(context, one, directory))) return undefined;
    toolchains.push({ ...describeToolchain(one), directory });
  }
  return { ...shownBundle(file, bundle), models, toolchains, writtenBytes };
}

function listingKey({ hub, id, revision }: Pick<BundledModel, 'hub' | 'id' | 'revision'>): string {
  return JSON.stringify([hub, id, revision]);
}

/** @returns false where a blob is gone again @throws ModeldlError INTEGRITY for files that its listing does not promise */
async function keptPromises(
  context: Context,
  file: string,
  model: BundledModel,
  listing: StoredSnapshot | undefined,
): Promise<boolean> {
  try {
    for (const input of keptInputs(model)) await checkInput(context, input);
    // Of what only a lock has told, no listing knows.
    return model.unproven === true || (await keepsPromises(context, { record: model }, listing));
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    if (!(error instanceof ModeldlError) || error.code !== 'INTEGRITY') throw error;
    throw damaged(file, `it contradicts itself (${error.message})`, error);
  }
}

/** Later plans of the same revision read it in place of the file whose digest of its hub it claims to have. */
async function checkInput(
  { store }: Context,
  { path, bytes, sha256, upstream }: ConversionInput,
): Promise<void> {
  const hasher = createHasher(upstream, bytes);
  hasher.update(await readFile(blobPath(store, sha256)));
  hasher.finish(path, bytes);
}

async function publishOne(
  context: Context,
  model: BundledModel,
  written: ReadonlySet<string>,
): Promise<{ readonly model: StoredModel; readonly stored: boolean } | undefined> {
  const { store, signal } = context;
  const { hub, id, revision, conversion } = model;
  const name = conversion === undefined ? `model ${hub} ${id} ${revision}` : `conversion ${conversion.key}`;
  return exclusively(context, name, model.reference, async () => {
    const before = await findModel(store, model);
    // Its file may be another name of a blob that was wrong.
    const isSuspect = model.files.some(({ sha256 }) => written.has(sha256));
    if (before !== undefined && isIntact(await checkModel(store, before, isSuspect, signal))) {
      await touchUsed(store, before.path);
      return { model: await withRequest(store, before, model), stored: true };
    }
    const pulledAt = new Date().toISOString();
    const published = await publishModel(store, model, { ...model, pulledAt });
    return 'missing' in published ? undefined : { model: published, stored: false };
  });
}

/** What was chosen by globs here, and is what a bare reference means where the bundle was made, is so here as well. */
async function withRequest(
  store: Store,
  stored: StoredModel,
  { asked: now }: BundledModel,
): Promise<StoredModel> {
  const { asked, ...rest } = stored.record;
  const deciding = decidingRequest(asked, now);
  if (deciding === asked) return stored;
  const record = { ...rest, ...(deciding === undefined ? {} : { asked: deciding }) };
  return (await updateRecord(store, stored, record)) ?? stored;
}

/** From now on, until its hub is asked, a floating reference means what the bundle holds of it. */
async function importReference(
  { store }: Context,
  { reference, id, revision }: BundledReference,
): Promise<void> {
  const last = await readRef(store, reference);
  if (last?.revision === revision && last.id === id) return;
  await saveRef(store, reference, { id, revision, resolvedAt: new Date().toISOString() });
}

/** Wheels in a folder of their own, whole or absent. @returns false where blobs are gone again */
async function publishKit(context: Context, kit: BundledToolchain, directory: string): Promise<boolean> {
  const { store } = context;
  return exclusively(context, `the wheels at ${directory}`, `the wheels of ${kit.name}`, async () => {
    if (await holdsKit(context, directory, kit)) return true;
    const staging = inStore(store, 'tmp', uniqueName());
    const linker = createLinker([...WAYS]);
    try {
      for (const { name, bytes, sha256 } of kit.files) {
        if ((await hasBlob(store, sha256, bytes)) === undefined) return false;
        await linker.place(blobPath(store, sha256), join(staging, name));
      }
      await moveIntoPlace(store, staging, directory);
      return true;
    } catch (error) {
      throw diskError(error, directory);
    } finally {
      await discard(staging);
    }
  });
}

async function exclusively<Result>(
  context: Context,
  name: string,
  what: string,
  work: () => Promise<Result>,
): Promise<Result> {
  return withClaim(context.store, await context.session(), name, waitingFor(context, what), work);
}

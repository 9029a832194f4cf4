/** Pulling: from references to verified model trees in the store. */
import { join } from 'node:path';
import pLimit from 'p-limit';
import { isElsewhere } from './adopt.js';
import { bring, knownFiles, pinSnapshot, type BringOptions, type Brought } from './bring.js';
import { format, hubNamed, parse, waitingFor, type Context, withFileHint } from './context.js';
import { ModeldlError } from './errors.js';
import { digestKey, distinctBytes, promisedBytes, storedFile } from './fetch.js';
import type { RemoteFile } from './hub.js';
import {
  askedOf,
  choose,
  decidingRequest,
  isArchive,
  keyOf,
  knownListing,
  type SelectionRequest,
} from './listing.js';
import { anySnapshot, lowerModel, owned, ownLowerModel, storeOf } from './lower.js';
import { redactReference } from './redact.js';
import type { Reference } from './reference.js';
import {
  atPresentEndpoint,
  namedRevision,
  pinnedReference,
  rememberResolution,
  resolveReference,
  type Resolved,
} from './resolve.js';
import type { Outcome, PulledModel, PullPlan } from './results.js';
import { requireOutput, writeModelOutput } from './space.js';
import { assertIntact, findStored, modelLocation } from './stored.js';
import { dropBlob } from './store/blobs.js';
import { withClaim, type Claim } from './store/claim.js';
import { assertWritable } from './store/layout.js';
import {
  checkModel,
  findModel,
  isIntact,
  touchUsed,
  updateRecord,
  type StoredModel,
} from './store/models.js';
import { forEach } from './several.js';
import type { ConversionRecord, ModelKey } from './store/record.js';
import { readSnapshot } from './store/snapshots.js';

export interface PullOptions extends BringOptions {
  readonly revision?: string;
  /** Unpack an archive without a subpath. */
  readonly unpack?: boolean;
  /** Have the hub's own program on this machine fetch it into its store, and take it from there. */
  readonly daemon?: boolean;
  /** Make the tree again even when it looks right, fetching only blobs that are missing: for repairs. */
  readonly rebuild?: boolean;
}

/** Pulls every reference; one that fails does not stop the others. */
export async function pull(
  context: Context,
  references: readonly string[],
  options: PullOptions,
): Promise<Outcome<PulledModel>> {
  if (options.output !== undefined && references.length > 1) {
    throw new ModeldlError('USAGE', '`--output` takes one reference', { hint: 'run one command per output' });
  }
  return forEachReference(context, references, options, async (requested, reference) => {
    await requireOutput(options);
    const pulled = await (options.daemon === true ? viaDaemon : pullModel)(context, reference, options);
    await writeModelOutput(context, pulled.model, options);
    return describePulled(pulled, requested, options.output);
  });
}

/** Loaded when it is asked for, which is rare. */
async function viaDaemon(context: Context, reference: Reference, options: PullOptions): Promise<Pulled> {
  return (await import('./daemon.js')).pullByDaemon(context, reference, options);
}

/** What `pull` would do, without fetching files. @throws nothing: errors are in the outcome */
export async function planPull(
  context: Context,
  references: readonly string[],
  options: PullOptions,
): Promise<Outcome<PullPlan>> {
  if (options.daemon === true) {
    throw new ModeldlError('USAGE', '`--daemon` and `--dry-run` exclude each other', {
      hint: 'leave out `--daemon`: the files are the same',
    });
  }
  return forEachReference(context, references, options, (requested, reference) =>
    planReference(context, requested, reference, options),
  );
}

async function planReference(
  context: Context,
  requested: string,
  reference: Reference,
  options: PullOptions,
): Promise<PullPlan> {
  if (reference.conversion !== undefined)
    return describeStored(await storedSelection(context, reference, options), requested);
  const resolved = await resolveReference(context, reference);
  return planResolved(context, resolved, requested, options);
}

/** Of a stored conversion with what it is: nothing is to be done for it. */
export interface ModelPlan {
  readonly plan: PullPlan;
  readonly conversion?: ConversionRecord;
}

/** As {@link planPull}, for who takes stored conversions too. */
export async function planModels(
  context: Context,
  references: readonly string[],
  options: PullOptions,
): Promise<Outcome<ModelPlan>> {
  return forEachReference(context, references, options, async (requested, reference) => {
    const model = reference.conversion === undefined ? undefined : await findStored(context, reference, {});
    const conversion = model?.record.conversion;
    return model === undefined || conversion === undefined
      ? { plan: await planReference(context, requested, reference, options) }
      : { plan: describeStored(model, requested), conversion };
  });
}

/** Runs `work` for each reference, collecting results and errors in their order. Interruption ends it. */
export async function forEachReference<Result>(
  context: Context,
  references: readonly string[],
  options: PullOptions,
  work: (requested: string, reference: Reference) => Promise<Result>,
  atOnce = 1,
): Promise<Outcome<Result>> {
  if (options.revision !== undefined && references.length > 1) {
    throw new ModeldlError('USAGE', '`--revision` takes one reference', {
      hint: 'write `name@revision` for each',
    });
  }
  return forEach(
    context,
    references,
    atOnce,
    (text) => {
      const reference = parse(context, text, options.unpack);
      return work(redactReference(text), withRevision(context, reference, options.revision));
    },
    async (text, thrown) => {
      const error = await withFileHint(context, text, thrown);
      return error instanceof ModeldlError ? error.with({ reference: redactReference(text) }) : error;
    },
  );
}

/** What a user typed, with the revision of the options. @throws ModeldlError USAGE */
export async function referenceOf(
  context: Context,
  text: string,
  { unpack, revision }: Pick<PullOptions, 'unpack' | 'revision'>,
): Promise<Reference> {
  try {
    return withRevision(context, parse(context, text, unpack), revision);
  } catch (error) {
    throw await withFileHint(context, text, error);
  }
}

/** @throws ModeldlError USAGE when the reference names one already, or can have no such one */
function withRevision(context: Context, reference: Reference, revision: string | undefined): Reference {
  if (revision === undefined) return reference;
  const named = namedRevision(reference);
  const { pinsByDigest, title } = hubNamed(context, reference.hub);
  if (named !== undefined) {
    throw new ModeldlError('USAGE', `The reference names a revision already: ${named}`, {
      hint: `leave out \`--revision\` or the part after \`${pinsByDigest === true ? '#' : '@'}\``,
    });
  }
  if (pinsByDigest !== true) return { ...reference, revision };
  if (/^[0-9a-f]{64}$/.test(revision)) return { ...reference, sha256: revision };
  throw new ModeldlError('USAGE', `${title} have no revision but the sha256 of their bytes: ${revision}`, {
    hint: 'leave out `--revision`, or give the 64 hex digits of that digest',
  });
}

export interface Pulled {
  readonly model: StoredModel;
  /** As asked, without what selects a conversion. */
  readonly reference: Reference;
  readonly downloadedBytes: number;
  readonly adoptedBytes: number;
  readonly stale: boolean;
}

/** A model that needed no transfer. */
export function asFound(
  { reference, stale }: Pick<Resolved, 'reference' | 'stale'>,
  model: StoredModel,
): Pulled {
  return { model, reference, downloadedBytes: 0, adoptedBytes: 0, stale };
}

/** Brings one model into the store, or finds it there. @throws ModeldlError */
export async function pullModel(
  context: Context,
  reference: Reference,
  options: PullOptions,
): Promise<Pulled> {
  if (reference.conversion !== undefined) {
    const model = await storedSelection(context, reference, options);
    await assertIntact(context, model);
    const becomesOwn = context.store.writable && storeOf(context, model) !== context.store;
    const made = becomesOwn
      ? await withModelClaim(context, reference, scopeOf(model.record), async () => {
          // Another process may have made it the user's own meanwhile.
          const found = await storedSelection(context, reference, options);
          await assertIntact(context, found);
          return owned(context, found);
        })
      : await owned(context, model);
    return { ...made, reference, downloadedBytes: 0, stale: false };
  }
  return pullResolved(context, await resolveReference(context, reference), options);
}

/** Brings the chosen files of a revision into the store, or finds them there. @throws ModeldlError */
export async function pullResolved(
  context: Context,
  resolved: Resolved,
  options: PullOptions,
): Promise<Pulled> {
  const { stale } = resolved;
  const reuse = options.force !== true && options.rebuild !== true;
  if (reuse) {
    const stored = await storedModel(context, resolved, options);
    if (stored !== undefined) {
      return asFound(resolved, await confirm(context, resolved, stored));
    }
  }
  const key = reuse ? chosenKey(resolved, options) : undefined;
  if (reuse && !context.store.writable) {
    const model = await lowerStoredModel(context, resolved, options);
    if (model !== undefined) return asFound(resolved, model);
  }
  assertWritable(context.store);
  const scope = scopeOf(resolved.snapshot);
  return withModelClaim(context, resolved.reference, scope, async (held) => {
    const stored = reuse ? await storedModel(context, resolved, options, held) : undefined;
    if (stored !== undefined) return asFound(resolved, stored);
    const isLower = key !== undefined && (await lowerStoredModel(context, resolved, options)) !== undefined;
    const lower = isLower
      ? await ownLowerModel(context, key, askedOf(options), resolved.snapshot)
      : undefined;
    if (lower !== undefined) {
      const { hub: name, revision } = lower.model.record;
      const listing = await anySnapshot(context, name, lower.model.record.id, revision);
      if (listing !== undefined) await rememberResolution(context, resolved, listing);
      return { ...lower, reference: resolved.reference, downloadedBytes: 0, stale };
    }
    const outdated = resolved.remembered && !(await isComplete(context, resolved, options));
    const source = outdated ? await atPresentEndpoint(context, resolved) : resolved;
    const brought = await bringOrBelieve(context, source, options, scope);
    return { ...brought, reference: resolved.reference, stale };
  });
}

/** A model that a lock or a registry brought in is known by its hub from now on: its listing agrees, as {@link intactModel} saw. */
async function confirm(context: Context, resolved: Resolved, stored: StoredModel): Promise<StoredModel> {
  const { snapshot, remembered } = resolved;
  const { hub, id, revision } = snapshot;
  if (remembered || revision === undefined || context.locked === true || !context.store.writable)
    return stored;
  if (await isListed(context, { hub, id, revision })) return stored;
  const members = 'members' in snapshot ? (snapshot.members ?? []) : [];
  await rememberResolution(context, resolved, pinSnapshot(snapshot, revision, members));
  const model = await findModel(context.store, stored.record);
  if (model === undefined) return stored;
  const record = { ...model.record, ...snapshot.metadata };
  return (await updateRecord(context.store, model, record)) ?? stored;
}

/** Has its hub said what a revision is? */
async function isListed(
  context: Context,
  { hub, id, revision }: { readonly hub: string; readonly id: string; readonly revision: string },
): Promise<boolean> {
  const listing = await readSnapshot(context.store, hub, id, revision);
  return listing !== undefined && listing.believed !== true;
}

/** Is a stored model what the listing says now? Asked where only a lock or a registry has listed its revision before. */
async function agrees(
  context: Context,
  resolved: Resolved,
  model: StoredModel,
  options: PullOptions,
): Promise<boolean> {
  const { snapshot, reference, remembered } = resolved;
  const { hub, id, revision } = snapshot;
  const listing = knownListing(snapshot);
  if (remembered || revision === undefined || listing === undefined) return true;
  if (await isListed(context, { hub, id, revision })) return true;
  const { chosen } = choose(listing, reference, options);
  const files = new Map(model.record.files.map((file) => [file.path, file]));
  if (files.size !== chosen.length) return false;
  const edited = new Set((snapshot.edits ?? []).map(({ path }) => path));
  return chosen.every(({ path, file: { source, archive, path: listed } }) => {
    const stored = files.get(path);
    const { digest } = source;
    if (stored === undefined) return false;
    if (digest === undefined || archive !== undefined || edited.has(listed)) return true;
    if (digest.algorithm === 'sha256') return digest.hex === stored.sha256;
    return stored.upstream === undefined || digestKey(stored.upstream) === digestKey(digest);
  });
}

/** Where an archive cannot be had, a registry may hold what came out of it. */
async function bringOrBelieve(
  context: Context,
  source: Resolved,
  options: PullOptions,
  scope: string,
): Promise<Brought> {
  try {
    return await bring(context, source, options, scope);
  } catch (error) {
    const { snapshot, reference } = source;
    const revision = snapshot.revision ?? namedRevision(reference);
    const isUnreachable = error instanceof ModeldlError && error.code === 'NETWORK';
    if (!isUnreachable || context.signal.aborted || context.freshness === 'refresh') throw error;
    if (revision === undefined || !snapshot.files.some(isArchive)) throw error;
    // A lock says what the archive is.
    if (context.locked === true || context.refuseBelieved !== undefined) throw error;
    const { heldListing } = await import('./mirrors/held.js');
    const hub = hubNamed(context, snapshot.hub);
    const held = await heldListing(context, hub, { id: snapshot.id, revision }, error);
    if (held === undefined) throw error;
    return bring(context, { ...source, snapshot: held }, options, scope);
  }
}

function scopeOf({ hub, id, revision = '' }: Pick<Resolved['snapshot'], 'hub' | 'id' | 'revision'>): string {
  return `${hub} ${id} ${revision}`;
}

/**
 * One process at a time brings a revision in; the others wait and find it stored. So do models of one command, which is
 * told to nobody, and ends when the first of them does.
 */
async function withModelClaim<Result>(
  context: Context,
  reference: Reference,
  scope: string,
  work: (held: Claim) => Promise<Result>,
): Promise<Result> {
  const waiting = waitingFor(context, format(context, reference));
  const turn = context.turns.get(scope) ?? pLimit(1);
  context.turns.set(scope, turn);
  const session = await context.session();
  return turn(() => withClaim(context.store, session, `model ${scope}`, waiting, work));
}

/**
 * The stored selection that a reference names by its hash: which files that were, only the store knows.
 * @throws ModeldlError NOT_FOUND, and USAGE for a conversion and for options that choose files again
 */
async function storedSelection(
  context: Context,
  reference: Reference,
  options: PullOptions,
): Promise<StoredModel> {
  const text = format(context, reference);
  const converted = new ModeldlError('USAGE', 'A conversion is made by `modeldl convert`, not pulled', {
    hint: `run \`modeldl path ${text}\` for a stored one`,
  });
  if (!/^[0-9a-f]{8}$/.test(reference.conversion ?? '')) throw converted;
  if (askedOf(options) !== undefined || options.allFiles === true || options.force === true) {
    throw new ModeldlError('USAGE', `The reference names files that were chosen already: ${text}`, {
      hint: 'leave out the part after `+`, or the options that choose files',
    });
  }
  const model = await findStored(context, reference, {});
  if (model.record.conversion !== undefined) throw converted;
  return model;
}

/** What names the model that a resolution and selection mean; undefined while that takes bytes to know. */
function chosenKey({ snapshot, reference }: Resolved, options: PullOptions): ModelKey | undefined {
  const listing = knownListing(snapshot);
  if (snapshot.revision === undefined || listing === undefined) return undefined;
  return keyOf(snapshot, snapshot.revision, choose(listing, reference, options));
}

/** The stored model that a resolution and selection mean, as {@link intactModel}, which is used and asked for now. */
export async function storedModel(
  context: Context,
  resolved: Resolved,
  options: PullOptions,
  held?: Claim,
): Promise<StoredModel | undefined> {
  const model = await intactModel(context, resolved, options, held);
  if (model === undefined) return undefined;
  await touchUsed(context.store, model.path);
  await recordRequest(context, model, options);
  return model;
}

/**
 * The stored model that a resolution and selection mean, when its files are what its record says. Who holds the claim
 * tells what is wrong with them, and drops the bytes that are.
 */
export async function intactModel(
  context: Context,
  resolved: Resolved,
  options: PullOptions,
  held?: Claim,
): Promise<StoredModel | undefined> {
  const key = chosenKey(resolved, options);
  const model = key === undefined ? undefined : await findModel(context.store, key);
  if (model === undefined || !holdsWritten(model, resolved)) return undefined;
  if (!(await agrees(context, resolved, model, options))) return undefined;
  const check = await checkModel(context.store, model, false, context.signal);
  if (isIntact(check)) return model;
  const { damaged, missing } = check;
  if (held === undefined && context.store.writable) return undefined;
  context.emit({
    type: 'warning',
    message: `Files of the stored model changed and are restored: ${[...damaged, ...missing].join(', ')}`,
  });
  if (held !== undefined) await dropDamaged(context, model, damaged);
  return undefined;
}

/** The same model as it lies in a lower cache. */
export async function lowerStoredModel(
  context: Context,
  resolved: Resolved,
  options: PullOptions,
): Promise<StoredModel | undefined> {
  const key = context.lower.length === 0 ? undefined : chosenKey(resolved, options);
  const model = key === undefined ? undefined : await lowerModel(context, key);
  return model === undefined || holdsWritten(model, resolved) ? model : undefined;
}

/**
 * Files that a hub wrote itself are not all that a revision means: one may have been impossible to write before, or be
 * written anew. A tree without them is made again. Only of whole models: other selections are named by their digests.
 */
function holdsWritten({ record }: StoredModel, { snapshot }: Resolved): boolean {
  if (record.selection !== undefined) return true;
  const stored = new Map(record.files.map(({ path, sha256 }) => [path, sha256]));
  const written = snapshot.files.filter(({ url }) => url.startsWith('data:'));
  return written.every(
    ({ path, digest }) => digest?.algorithm !== 'sha256' || stored.get(path) === digest.hex,
  );
}

/** Is every chosen file a blob already, so that nothing need be fetched? */
async function isComplete(
  context: Context,
  { snapshot, reference }: Resolved,
  options: PullOptions,
): Promise<boolean> {
  const listing = knownListing(snapshot);
  if (options.force === true || listing === undefined || snapshot.files.some(isArchive)) return false;
  const known = await knownFiles(context, snapshot);
  for (const { path, file } of choose(listing, reference, options).chosen) {
    if ((await storedFile(context, { path, source: file.source }, known)) !== undefined) continue;
    const promised = promisedBytes(file.source, known);
    if (promised === undefined || !(await isElsewhere(context.elsewhere, promised))) return false;
  }
  return true;
}

/** What was chosen by globs and is asked for without them now is what the bare reference means from here on. */
async function recordRequest(
  context: Context,
  { record }: StoredModel,
  options: SelectionRequest,
): Promise<void> {
  if (record.unproven === true) return;
  if (!context.store.writable || decidingRequest(record.asked, askedOf(options)) === record.asked) return;
  // The check may have refreshed the record.
  const model = await findModel(context.store, record);
  if (model === undefined) return;
  const { asked, ...rest } = model.record;
  const deciding = decidingRequest(asked, askedOf(options));
  await updateRecord(context.store, model, {
    ...rest,
    ...(deciding === undefined ? {} : { asked: deciding }),
  });
}

/** A changed file may share its bytes with the blob, so that goes with it and is fetched again. */
async function dropDamaged(context: Context, model: StoredModel, paths: readonly string[]): Promise<void> {
  for (const file of model.record.files) {
    if (paths.includes(file.path)) await dropBlob(context.store, file.sha256);
  }
}

export function describePulled(pulled: Pulled, requested: string, output: string | undefined): PulledModel {
  const { model, downloadedBytes, adoptedBytes, stale } = pulled;
  const { record } = model;
  const outputPath =
    output === undefined ? null : record.single === undefined ? output : join(output, record.single);
  return {
    reference: record.reference,
    requested,
    hub: record.hub,
    id: record.id,
    revision: record.revision,
    path: modelLocation(model),
    output: outputPath,
    bytes: record.files.reduce((sum, { bytes }) => sum + bytes, 0),
    downloadedBytes,
    adoptedBytes,
    cached: downloadedBytes === 0,
    stale,
    license: record.license ?? null,
    files: record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    leftOut: record.leftOut.map(({ path, bytes }) => ({ path, ...(bytes === undefined ? {} : { bytes }) })),
  };
}

/** The plan of a pull that finds everything stored. */
function describeStored({ record }: StoredModel, requested: string): PullPlan {
  const { reference, hub, id, revision, files, leftOut } = record;
  return {
    reference,
    requested,
    hub,
    id,
    revision,
    files: files.map(({ path, bytes }) => ({ path, bytes, stored: true, elsewhere: false })),
    leftOut,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    downloadBytes: 0,
    adoptBytes: 0,
    archive: false,
  };
}

/** What pulling a resolved reference would do. */
export async function planResolved(
  context: Context,
  resolved: Resolved,
  requested: string,
  options: PullOptions,
): Promise<PullPlan> {
  const { snapshot, reference } = resolved;
  const { hub, id, revision } = snapshot;
  const head = {
    reference:
      revision === undefined
        ? format(context, reference)
        : format(context, pinnedReference(context, reference, { id, revision })),
    requested,
    hub,
    id,
    revision: revision ?? null,
  };
  const listing = knownListing(snapshot);
  if (listing === undefined) {
    const bytes = snapshot.files.reduce((sum, { size }) => sum + (size ?? 0), 0);
    const files = snapshot.files.map(({ path, size }) => ({
      path,
      bytes: size ?? null,
      stored: false,
      elsewhere: false,
    }));
    return { ...head, files, leftOut: [], bytes, downloadBytes: bytes, adoptBytes: 0, archive: true };
  }
  const stored = await intactModel(context, resolved, options);
  const lower =
    stored === undefined && options.force !== true
      ? await lowerStoredModel(context, resolved, options)
      : undefined;
  if (lower !== undefined) {
    const plan = describeStored(lower, requested);
    const files = plan.files.map((file) => ({ ...file, stored: false, elsewhere: true }));
    return { ...plan, files, adoptBytes: plan.bytes };
  }
  const selection = choose(listing, reference, options);
  const known = await knownFiles(context, snapshot);
  const archives = new Map(
    selection.chosen.flatMap(({ file }) =>
      file.archive === undefined ? [] : [[file.archive, file.source] as const],
    ),
  );
  const files: PullPlan['files'][number][] = [];
  const adopted: RemoteFile[] = [];
  const downloaded: RemoteFile[] = [];
  const archiveBytes =
    stored === undefined ? [...archives.values()].reduce((sum, { size }) => sum + (size ?? 0), 0) : 0;
  for (const { path, file } of selection.chosen) {
    const held =
      stored !== undefined ||
      (file.archive === undefined &&
        (await storedFile(context, { path, source: file.source }, known)) !== undefined);
    const settled = held || file.archive !== undefined || options.force === true;
    const promised = settled ? undefined : promisedBytes(file.source, known);
    const elsewhere = promised !== undefined && (await isElsewhere(context.elsewhere, promised));
    files.push({ path, bytes: file.size ?? null, stored: held, elsewhere });
    if (held || file.archive !== undefined) continue;
    if (elsewhere) adopted.push(file.source);
    else downloaded.push(file.source);
  }
  return {
    ...head,
    files,
    leftOut: selection.leftOut.map(({ path, size }) => ({
      path,
      ...(size === undefined ? {} : { bytes: size }),
    })),
    bytes: files.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0),
    downloadBytes: archiveBytes + distinctBytes(downloaded),
    adoptBytes: distinctBytes(adopted),
    archive: archives.size > 0,
  };
}

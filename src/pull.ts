/** Pulling: from references to verified model trees in the store. */
import { createHash } from 'node:crypto';
import { platform } from 'node:process';
import { basename, join } from 'node:path';
import { format, hubContext, hubNamed, parse, type Context, withFileHint } from './context.js';
import { ModeldlError } from './errors.js';
import {
  bytesToFetch,
  digestKey,
  fetchFiles,
  storedFile,
  type KnownFiles,
  type StoredFile,
  type WantedFile,
} from './fetch.js';
import type { RemoteFile, Snapshot } from './hub.js';
import { checkListing, fileSystemRules } from './paths.js';
import { redactReference } from './redact.js';
import { decodePart, type Reference } from './reference.js';
import { contentRevision, rememberResolution, resolveReference, type Resolved } from './resolve.js';
import type { Outcome, PulledModel, PullPlan } from './results.js';
import { select, type ListedFile, type Selection } from './select.js';
import {
  cacheNeed,
  outputNeed,
  requireOutput,
  requireSpace,
  writeModelOutput,
  type OutputRequest,
} from './space.js';
import { dropBlob } from './store/blobs.js';
import { withClaim, type Claim } from './store/claim.js';
import { assertWritable } from './store/layout.js';
import { workingMode } from './store/link.js';
import {
  checkModel,
  findModel,
  listModels,
  publishModel,
  touchUsed,
  type NewRecord,
  type StoredModel,
} from './store/models.js';
import type { OutputFile } from './store/output.js';
import type { ModelKey } from './store/record.js';
import type { StoredSnapshot } from './store/snapshots.js';
import type { SpaceNeed } from './store/space.js';
import type { ArchiveFile, OpenedArchive } from './unpack.js';

export interface PullOptions extends OutputRequest {
  readonly revision?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly allFiles?: boolean;
  /** Which of several GGUF quantizations. */
  readonly quant?: string;
  /** Unpack an archive without a subpath. */
  readonly unpack?: boolean;
  /** Fetch again what is stored. */
  readonly force?: boolean;
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
    const pulled = await pullModel(context, reference, options);
    await writeModelOutput(context, pulled.model, options);
    return describePulled(pulled, requested, options.output);
  });
}

/** What `pull` would do, without fetching files. @throws nothing: errors are in the outcome */
export async function planPull(
  context: Context,
  references: readonly string[],
  options: PullOptions,
): Promise<Outcome<PullPlan>> {
  return forEachReference(context, references, options, async (requested, reference) => {
    const resolved = await resolveReference(context, reference);
    return describePlan(context, resolved, requested, options);
  });
}

/** Runs `work` for each reference in order, collecting results and errors. Interruption ends it. */
async function forEachReference<Result>(
  context: Context,
  references: readonly string[],
  options: PullOptions,
  work: (requested: string, reference: Reference) => Promise<Result>,
): Promise<Outcome<Result>> {
  if (options.revision !== undefined && references.length > 1) {
    throw new ModeldlError('USAGE', '`--revision` takes one reference', {
      hint: 'write `name@revision` for each',
    });
  }
  const results: Result[] = [];
  const errors: ModeldlError[] = [];
  for (const text of references) {
    const requested = redactReference(text);
    try {
      const reference = parse(context, text, options.unpack);
      results.push(await work(requested, withRevision(reference, options.revision)));
    } catch (thrown) {
      const error = await withFileHint(context, text, thrown);
      if (context.signal.aborted || !(error instanceof ModeldlError)) throw error;
      errors.push(error.with({ reference: requested }));
    }
  }
  return { results, errors };
}

/** @throws ModeldlError USAGE when the reference names one already */
export function withRevision(reference: Reference, revision: string | undefined): Reference {
  if (revision === undefined) return reference;
  if (reference.revision === undefined) return { ...reference, revision };
  throw new ModeldlError('USAGE', `The reference names a revision already: ${reference.revision}`, {
    hint: 'leave out `--revision` or the part after `@`',
  });
}

export interface Pulled {
  readonly model: StoredModel;
  /** As asked, without what selects a conversion. */
  readonly reference: Reference;
  readonly downloadedBytes: number;
  readonly stale: boolean;
}

/** Brings one model into the store, or finds it there. @throws ModeldlError */
export async function pullModel(
  context: Context,
  reference: Reference,
  options: PullOptions,
): Promise<Pulled> {
  if (reference.conversion !== undefined) {
    throw new ModeldlError('USAGE', 'A conversion is made by `modeldl convert`, not pulled', {
      hint: `run \`modeldl path ${format(context, reference)}\` for a stored one`,
    });
  }
  const resolved = await resolveReference(context, reference);
  const { stale } = resolved;
  const reuse = options.force !== true && options.rebuild !== true;
  if (reuse) {
    const stored = await storedModel(context, resolved, options);
    if (stored !== undefined)
      return { model: stored, reference: resolved.reference, downloadedBytes: 0, stale };
  }
  assertWritable(context.store);
  const session = await context.session();
  const { hub, id } = resolved.snapshot;
  const scope = `${hub} ${id} ${resolved.snapshot.revision ?? ''}`;
  // One process at a time brings a revision in; the others wait and find it stored.
  const waiting = {
    maxWaitMs: context.maxWaitMs,
    signal: context.signal,
    onWait: (holder: string) => {
      context.emit({ type: 'waiting', what: format(context, resolved.reference), holder });
    },
  };
  return withClaim(context.store, session, `model ${scope}`, waiting, async (held) => {
    const stored = reuse ? await storedModel(context, resolved, options, held) : undefined;
    if (stored !== undefined)
      return { model: stored, reference: resolved.reference, downloadedBytes: 0, stale };
    const brought = await bring(context, resolved, options, scope);
    return { ...brought, reference: resolved.reference, stale };
  });
}

/**
 * The stored model that a resolution and selection mean, when its files are what its record says. Who holds the claim
 * tells what is wrong with them, and drops the bytes that are.
 */
async function storedModel(
  context: Context,
  { snapshot, reference }: Resolved,
  options: PullOptions,
  held?: Claim,
): Promise<StoredModel | undefined> {
  const listing = knownListing(snapshot);
  if (snapshot.revision === undefined || listing === undefined) return undefined;
  const selection = choose(listing, reference, options);
  const model = await findModel(context.store, keyOf(snapshot, snapshot.revision, selection));
  if (model === undefined) return undefined;
  const { damaged, missing } = await checkModel(context.store, model, false, context.signal);
  if (damaged.length + missing.length === 0) {
    await touchUsed(context.store, model.path);
    return model;
  }
  if (held === undefined && context.store.writable) return undefined;
  context.emit({
    type: 'warning',
    message: `Files of the stored model changed and are restored: ${[...damaged, ...missing].join(', ')}`,
  });
  if (held !== undefined) await dropDamaged(context, model, damaged);
  return undefined;
}

/** A changed file may share its bytes with the blob, so that goes with it and is fetched again. */
async function dropDamaged(context: Context, model: StoredModel, paths: readonly string[]): Promise<void> {
  for (const file of model.record.files) {
    if (paths.includes(file.path)) await dropBlob(context.store, file.sha256);
  }
}

interface ListingEntry extends ListedFile {
  readonly source: RemoteFile;
  /** Path of the archive it is a member of. */
  readonly archive?: string;
}

function isArchive(file: RemoteFile): file is ArchiveFile {
  return file.unpack !== undefined;
}

/** The files a selection works on; undefined while archives have not been listed. */
function knownListing(snapshot: Snapshot | StoredSnapshot): readonly ListingEntry[] | undefined {
  const plain = snapshot.files.filter((file) => !isArchive(file));
  const archives = snapshot.files.filter(isArchive);
  const entries = plain.map((source) => ({ path: source.path, size: source.size, source }));
  if (archives.length === 0) return entries;
  const members = 'members' in snapshot ? snapshot.members : undefined;
  if (members === undefined) return undefined;
  return [
    ...entries,
    ...members.flatMap(({ path, bytes, archive }) => {
      const source = archives.find((candidate) => candidate.path === archive);
      return source === undefined ? [] : [{ path, size: bytes, source, archive }];
    }),
  ];
}

function choose(
  listing: readonly ListingEntry[],
  reference: Reference,
  options: PullOptions,
): Selection<ListingEntry> {
  const selection = select(listing, {
    subpath: reference.subpath,
    include: options.include ?? [],
    exclude: options.exclude ?? [],
    allFiles: options.allFiles ?? false,
    quant: options.quant,
  });
  checkListing(
    selection.chosen.map(({ path }) => path),
    fileSystemRules(platform),
  );
  return selection;
}

function keyOf(
  snapshot: Snapshot | StoredSnapshot,
  revision: string,
  selection: Selection<ListingEntry>,
): ModelKey {
  const key = { hub: snapshot.hub, id: snapshot.id, revision };
  return selection.complete ? key : { ...key, selection: selectionHash(selection) };
}

/** Identity of a choice of files: their paths in the tree and what the revision says of each. */
function selectionHash(selection: Selection<ListingEntry>): string {
  const lines = selection.chosen.map(({ path, file }) => {
    const digest = file.archive === undefined ? file.source.digest : undefined;
    return `${path}\0${file.path}\0${digest === undefined ? (file.size ?? '') : digestKey(digest)}\n`;
  });
  return createHash('sha256').update(lines.sort().join('')).digest('hex');
}

/** Fetches what is missing and publishes the model. A prune that takes blobs meanwhile makes it start over. */
async function bring(
  context: Context,
  resolved: Resolved,
  options: PullOptions,
  scope: string,
): Promise<{ model: StoredModel; downloadedBytes: number }> {
  let downloadedBytes = 0;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const fetched = await fetchSelected(context, resolved, options, scope);
    downloadedBytes += fetched.downloadedBytes;
    await rememberResolution(context, resolved.reference, fetched.snapshot);
    const published = await publishModel(context.store, fetched.key, recordOf(context, resolved, fetched));
    if (!('missing' in published)) return { model: published, downloadedBytes };
  }
  throw new ModeldlError('BUSY', 'Another process keeps removing the files of this model', {
    hint: 'wait for `modeldl prune` to end and run the command again',
  });
}

interface FetchedSelection {
  readonly snapshot: StoredSnapshot;
  readonly selection: Selection<ListingEntry>;
  readonly key: ModelKey;
  readonly files: readonly StoredFile[];
  readonly downloadedBytes: number;
}

async function fetchSelected(
  context: Context,
  { snapshot, reference }: Resolved,
  options: PullOptions,
  scope: string,
): Promise<FetchedSelection> {
  const text = format(context, reference);
  const http = await context.httpFor(hubNamed(context, snapshot.hub));
  const known = options.force === true ? new Map<string, never>() : await knownFiles(context, snapshot);
  const opened = new Map<string, OpenedArchive>();
  let keep = false;
  try {
    let archiveBytes = 0;
    for (const archive of snapshot.files.filter(isArchive)) {
      // The archive and what comes out of it are on the disk together for a while.
      const bytes = (await bytesToFetch(context, scope, [archive])) + (archive.size ?? 0);
      await requireSpace(context, [cacheNeed(context, bytes)]);
      const { openArchive } = await import('./unpack.js');
      const open = await openArchive(context, text, scope, http, archive);
      opened.set(archive.path, open);
      archiveBytes += open.fetchedBytes;
    }
    const members = [...opened].flatMap(([archive, open]) =>
      open.members.map(({ path, bytes }) => ({ path, bytes, archive })),
    );
    const listed: Snapshot | StoredSnapshot = opened.size === 0 ? snapshot : { ...snapshot, members };
    const selection = choose(knownListing(listed) ?? [], reference, options);
    const wanted = selection.chosen
      .filter(({ file }) => file.archive === undefined)
      .map(({ path, file }): WantedFile => ({ path, source: file.source }));
    const plan = await divide(context, wanted, known, options.force === true);
    await requireSpace(context, await pullNeeds(context, options, scope, selection, plan));
    context.emit({
      type: 'plan',
      reference: text,
      files: plan.missing.length,
      bytes: plan.missingBytes,
      storedBytes: plan.stored.reduce((sum, { bytes }) => sum + bytes, 0),
    });
    if (plan.missing.length > 0) {
      const hub = hubNamed(context, snapshot.hub);
      await hub.checkAccess?.(snapshot, await hubContext(context, hub));
    }
    const session = await context.session();
    await session.want(plan.stored.map(({ sha256 }) => sha256));
    const fetched = await fetchFiles(context, text, scope, http, plan.missing, known);
    const unpacked: StoredFile[] = [];
    for (const [archive, open] of opened) {
      const chosen = selection.chosen.filter(({ file }) => file.archive === archive);
      const names = new Map(chosen.map(({ path, file }) => [file.path, path]));
      for (const file of await open.extract(new Set(names.keys()))) {
        unpacked.push({ ...file, path: names.get(file.path) ?? file.path });
      }
    }
    const files = [...plan.stored, ...fetched.files, ...unpacked].sort((a, b) => (a.path < b.path ? -1 : 1));
    await session.want(files.map(({ sha256 }) => sha256));
    const [onlyArchive] = opened.values();
    const revision =
      snapshot.revision ??
      (onlyArchive !== undefined && snapshot.files.length === 1
        ? onlyArchive.sha256
        : contentRevision(files));
    const pinned = pinSnapshot(listed, revision, members);
    return {
      snapshot: pinned,
      selection,
      key: keyOf(pinned, revision, selection),
      files,
      downloadedBytes: fetched.downloadedBytes + archiveBytes,
    };
  } catch (error) {
    // The next run goes on with what it need not fetch again.
    keep = context.signal.aborted || (error instanceof ModeldlError && error.code === 'DISK');
    throw error;
  } finally {
    for (const open of opened.values()) await open.close({ keep });
  }
}

/** The listing as it is stored: with its revision, without anything that must not be recorded. */
function pinSnapshot(
  snapshot: Snapshot,
  revision: string,
  members: NonNullable<StoredSnapshot['members']>,
): StoredSnapshot {
  const { hub, id, metadata, validator } = snapshot;
  return {
    hub,
    id,
    revision,
    ...(validator === undefined ? {} : { validator }),
    files: snapshot.files.map(({ path, size, digest, url, maxBytes, unpack }) => ({
      path,
      url,
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(size === undefined ? {} : { size }),
      ...(digest === undefined ? {} : { digest }),
      ...(unpack === undefined ? {} : { unpack }),
    })),
    ...(members.length === 0 ? {} : { members }),
    metadata,
  };
}

/** What is fetched and unpacked, the tree where it cannot be links, and the output. */
async function pullNeeds(
  context: Context,
  options: PullOptions,
  scope: string,
  selection: Selection<ListingEntry>,
  plan: Division,
): Promise<readonly SpaceNeed[]> {
  if (!context.spaceCheck) return [];
  const stored = new Map(plan.stored.map(({ path, sha256 }) => [path, sha256]));
  const files = selection.chosen.map(({ path, file }): OutputFile => {
    const { size = 0, archive, source } = file;
    const promised = source.digest?.algorithm === 'sha256' ? source.digest.hex : undefined;
    return { path, bytes: size, sha256: archive === undefined ? (stored.get(path) ?? promised) : undefined };
  });
  const sum = (counted: readonly { readonly bytes: number }[]): number =>
    counted.reduce((total, { bytes }) => total + bytes, 0);
  const members = files.filter((_file, index) => selection.chosen[index]?.file.archive !== undefined);
  const missing = plan.missing.map(({ source }) => source);
  const copies = (await workingMode(context.store, ['reflink', 'hardlink', 'copy'])) === 'copy';
  const bytes = (await bytesToFetch(context, scope, missing)) + sum(members) + (copies ? sum(files) : 0);
  return [cacheNeed(context, bytes), await outputNeed(context, options, files)];
}

/** What records of the same model say about upstream digests that are not sha256. */
async function knownFiles(context: Context, snapshot: Snapshot | StoredSnapshot): Promise<KnownFiles> {
  const known = new Map<string, { sha256: string; bytes: number }>();
  if (snapshot.files.every((file) => file.digest?.algorithm === 'sha256')) return known;
  for (const { record } of await listModels(context.store)) {
    if (record.hub !== snapshot.hub || record.id !== snapshot.id) continue;
    for (const { upstream, sha256, bytes } of record.files) {
      if (upstream !== undefined) known.set(digestKey(upstream), { sha256, bytes });
    }
  }
  return known;
}

interface Division {
  readonly stored: readonly StoredFile[];
  readonly missing: readonly WantedFile[];
  readonly missingBytes: number;
}

async function divide(
  context: Context,
  wanted: readonly WantedFile[],
  known: KnownFiles,
  force: boolean,
): Promise<Division> {
  const stored: StoredFile[] = [];
  const missing: WantedFile[] = [];
  for (const file of wanted) {
    const { digest } = file.source;
    if (force && digest?.algorithm === 'sha256') await dropBlob(context.store, digest.hex);
    const found = force ? undefined : await storedFile(context, file, known);
    if (found === undefined) missing.push(file);
    else stored.push(found);
  }
  return { stored, missing, missingBytes: missing.reduce((sum, { source }) => sum + (source.size ?? 0), 0) };
}

function recordOf(context: Context, { snapshot, reference }: Resolved, fetched: FetchedSelection): NewRecord {
  const { selection, key, files } = fetched;
  const { metadata } = snapshot;
  return {
    hub: key.hub,
    id: key.id,
    revision: key.revision,
    reference: format(context, pinnedReference(context, reference, key)),
    ...(key.selection === undefined ? {} : { selection: key.selection }),
    ...(reference.subpath === undefined ? {} : { subpath: reference.subpath }),
    ...singleFile(context, reference, selection, files),
    files: files.map((file) => ({ ...file })),
    leftOut: selection.leftOut.map(({ path, size }) => ({
      path,
      ...(size === undefined ? {} : { bytes: size }),
    })),
    ...metadata,
    pulledAt: new Date().toISOString(),
  };
}

/** A reference to one file prints that file's path: by its subpath, a web address of a file, or a local file. */
function singleFile(
  context: Context,
  reference: Reference,
  selection: Selection<ListingEntry>,
  files: readonly StoredFile[],
): { single?: string } {
  if (selection.single !== undefined) return { single: selection.single };
  const [only] = files;
  const hub = hubNamed(context, reference.hub);
  if (only === undefined || files.length > 1 || hub.namesFiles !== true || reference.subpath !== undefined)
    return {};
  const [entry] = selection.chosen;
  return entry?.file.archive === undefined && decodePart(basename(reference.id)) === only.path
    ? { single: only.path }
    : {};
}

/** The canonical reference of a revision: web addresses pin by digest, all others by revision. */
export function pinnedReference(
  context: Context,
  reference: Reference,
  to: { readonly id: string; readonly revision: string },
): Reference {
  const { hub, subpath } = reference;
  const pin =
    hubNamed(context, hub).pinsByDigest === true ? { sha256: to.revision } : { revision: to.revision };
  return {
    hub,
    id: to.id,
    ...pin,
    ...(subpath === undefined ? {} : { subpath }),
  };
}

/** Path that a user's program opens: the directory, or the one file that the reference named. */
export function modelLocation(model: StoredModel): string {
  const { single } = model.record;
  return single === undefined ? model.directory : join(model.directory, single);
}

export function describePulled(pulled: Pulled, requested: string, output: string | undefined): PulledModel {
  const { model, downloadedBytes, stale } = pulled;
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
    cached: downloadedBytes === 0,
    stale,
    license: record.license ?? null,
    files: record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    leftOut: record.leftOut.map(({ path, bytes }) => ({ path, ...(bytes === undefined ? {} : { bytes }) })),
  };
}

async function describePlan(
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
    const files = snapshot.files.map(({ path, size }) => ({ path, bytes: size ?? null, stored: false }));
    return { ...head, files, leftOut: [], bytes, downloadBytes: bytes, archive: true };
  }
  const stored = await storedModel(context, resolved, options);
  const selection = choose(listing, reference, options);
  const known = await knownFiles(context, snapshot);
  const archives = new Map(
    selection.chosen.flatMap(({ file }) =>
      file.archive === undefined ? [] : [[file.archive, file.source] as const],
    ),
  );
  const files: { path: string; bytes: number | null; stored: boolean }[] = [];
  let downloadBytes =
    stored === undefined ? [...archives.values()].reduce((sum, { size }) => sum + (size ?? 0), 0) : 0;
  for (const { path, file } of selection.chosen) {
    const held =
      stored !== undefined ||
      (file.archive === undefined &&
        (await storedFile(context, { path, source: file.source }, known)) !== undefined);
    files.push({ path, bytes: file.size ?? null, stored: held });
    if (!held && file.archive === undefined) downloadBytes += file.size ?? 0;
  }
  return {
    ...head,
    files,
    leftOut: selection.leftOut.map(({ path, size }) => ({
      path,
      ...(size === undefined ? {} : { bytes: size }),
    })),
    bytes: files.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0),
    downloadBytes,
    archive: archives.size > 0,
  };
}

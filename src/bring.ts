/** Bringing one revision's chosen files into the store as a model. */
import { basename } from 'node:path';
import { isElsewhere, type BlobSource } from './adopt.js';
import { format, hubContext, hubNamed, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import {
  bytesToFetch,
  digestKey,
  distinctBytes,
  fetchFiles,
  promisedBlob,
  promisedBytes,
  storedFile,
  type KnownFiles,
  type StoredFile,
  type WantedFile,
} from './fetch.js';
import type { Snapshot } from './hub.js';
import {
  askedOf,
  choose,
  decidingRequest,
  isArchive,
  keyOf,
  knownListing,
  type ListingEntry,
  type SelectionRequest,
} from './listing.js';
import { openSources } from './mirrors/bytes.js';
import { decodePart, type Reference } from './reference.js';
import { contentRevision, pinnedReference, rememberResolution, type Resolved } from './resolve.js';
import type { Selection } from './select.js';
import { cacheNeed, outputNeed, requireSpace, type OutputRequest } from './space.js';
import { dropBlob } from './store/blobs.js';
import { workingMode } from './store/link.js';
import { findModel, modelsNamed, publishModel, type NewRecord, type StoredModel } from './store/models.js';
import type { OutputFile } from './store/output.js';
import type { Asked, ModelKey } from './store/record.js';
import type { StoredSnapshot } from './store/snapshots.js';
import type { SpaceNeed } from './store/space.js';
import { createTurns } from './store/turns.js';
import type { SmallDownload } from './transfer/small.js';
import type { OpenedArchive } from './unpack.js';

export interface BringOptions extends OutputRequest, SelectionRequest {
  /** Fetch again what is stored. */
  readonly force?: boolean;
  /**
   * Small files of the listing that were fetched to plan by, by their paths there.
   * @internal
   */
  readonly fetched?: ReadonlyMap<string, SmallDownload>;
}

export interface Brought {
  readonly model: StoredModel;
  readonly downloadedBytes: number;
  readonly adoptedBytes: number;
}

/** Fetches what is missing and publishes the model. A prune that takes blobs meanwhile makes it start over. */
export async function bring(
  context: Context,
  resolved: Resolved,
  options: BringOptions,
  scope: string,
): Promise<Brought> {
  let downloadedBytes = 0;
  let adoptedBytes = 0;
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const fetched = await fetchSelected(context, resolved, options, scope);
    downloadedBytes += fetched.downloadedBytes;
    adoptedBytes += fetched.adoptedBytes;
    await rememberResolution(context, resolved, fetched.snapshot);
    const earlier = await findModel(context.store, fetched.key);
    const now = askedOf(options);
    const asked = earlier === undefined ? now : decidingRequest(earlier.record.asked, now);
    const record = recordOf(context, resolved, fetched, asked);
    const published = await publishModel(context.store, fetched.key, record);
    if (!('missing' in published)) return { model: published, downloadedBytes, adoptedBytes };
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
  readonly adoptedBytes: number;
}

async function fetchSelected(
  context: Context,
  resolved: Resolved,
  options: BringOptions,
  scope: string,
): Promise<FetchedSelection> {
  const { snapshot, reference } = resolved;
  const text = format(context, reference);
  const sources = await openSources(context, hubNamed(context, snapshot.hub), snapshot, text);
  const known = options.force === true ? new Map<string, never>() : await knownFiles(context, snapshot);
  const elsewhere = options.force === true ? [] : context.elsewhere;
  const opened = new Map<string, OpenedArchive>();
  let keep = false;
  try {
    let archiveBytes = 0;
    for (const archive of snapshot.files.filter(isArchive)) {
      // The archive and what comes out of it are on the disk together for a while.
      const bytes = (await bytesToFetch(context, scope, [archive], known, [])) + (archive.size ?? 0);
      await requireSpace(context, [cacheNeed(context, bytes)]);
      const { openArchive } = await import('./unpack.js');
      const open = await openArchive(context, text, scope, sources, archive);
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
      .map(({ path, file: { source } }): WantedFile => {
        const fetched = options.fetched?.get(source.path);
        return { path, source, ...(fetched === undefined ? {} : { fetched }) };
      });
    // Before it is looked for or fetched, so that no prune in another process takes it meanwhile.
    const session = await context.session();
    await session.want(wanted.flatMap(({ source }) => promisedBlob(source, known) ?? []));
    const plan = await divide(context, wanted, known, options.force === true);
    await requireSpace(context, await pullNeeds(context, options, scope, selection, plan, known, elsewhere));
    context.emit({
      type: 'plan',
      reference: text,
      files: plan.missing.length,
      bytes: plan.missingBytes,
      storedBytes: plan.stored.reduce((sum, { bytes }) => sum + bytes, 0),
    });
    if (sources.isAlone && (await mustFetch(plan.missing, known, elsewhere))) {
      const hub = hubNamed(context, snapshot.hub);
      await hub.checkAccess?.(snapshot, await hubContext(context, hub));
    }
    const fetched = await fetchFiles(context, text, scope, sources, plan.missing, known, elsewhere);
    const unpacked: StoredFile[] = [];
    const came = new Map<string, string>();
    for (const [archive, open] of opened) {
      const chosen = selection.chosen.filter(({ file }) => file.archive === archive);
      const names = new Map(chosen.map(({ path, file }) => [file.path, path]));
      for (const file of await open.extract(new Set(names.keys()))) {
        came.set(file.path, file.sha256);
        unpacked.push({ ...file, path: names.get(file.path) ?? file.path });
      }
    }
    const arrived = [...plan.stored, ...fetched.files, ...unpacked];
    const files = (await edited(context, snapshot, selection, arrived)).sort((a, b) =>
      a.path < b.path ? -1 : 1,
    );
    const [onlyArchive] = opened.values();
    const revision =
      snapshot.revision ??
      (onlyArchive !== undefined && snapshot.files.length === 1
        ? onlyArchive.sha256
        : contentRevision(files));
    const pinned = pinSnapshot(
      recorded(listed, files),
      revision,
      recordedMembers(context, resolved, members, came),
    );
    return {
      snapshot: pinned,
      selection,
      key: keyOf(snapshot, revision, selection),
      files,
      downloadedBytes: fetched.downloadedBytes + archiveBytes,
      adoptedBytes: fetched.adoptedBytes,
    };
  } catch (error) {
    // The next run goes on with what it need not fetch again.
    keep = context.signal.aborted || (error instanceof ModeldlError && error.code === 'DISK');
    throw withReplacement(context, resolved, error);
  } finally {
    for (const open of opened.values()) await open.close({ keep });
  }
}

/** The files as their hub's own tool leaves them. */
async function edited(
  context: Context,
  { edits = [] }: Snapshot | StoredSnapshot,
  selection: Selection<ListingEntry>,
  files: readonly StoredFile[],
): Promise<StoredFile[]> {
  if (edits.length === 0) return [...files];
  const { editFiles } = await import('./edit.js');
  return editFiles(context, edits, selection, files);
}

/** Other bytes than an earlier pull recorded: where the hub lets files be replaced, that is the likeliest cause. */
function withReplacement(context: Context, { reference, remembered }: Resolved, error: unknown): unknown {
  const replaces = hubNamed(context, reference.hub).replacesFiles === true;
  if (!replaces || !remembered || !(error instanceof ModeldlError) || error.code !== 'INTEGRITY')
    return error;
  return new ModeldlError('INTEGRITY', error.message, {
    hint: replacementHint(context, reference),
    cause: error.cause,
    details: error.details,
  });
}

function replacementHint(context: Context, reference: Reference): string {
  return `if the file was replaced at its hub, \`modeldl pull --refresh --force ${format(context, reference)}\` takes the new one`;
}

/**
 * An archive that its hub packs for every request has no digest to hold it to. So what came out of it first, or what a
 * lock says of it, is what the revision means, member by member.
 * @throws ModeldlError INTEGRITY for a member that is another one now
 */
function recordedMembers(
  context: Context,
  { snapshot, reference }: Resolved,
  members: NonNullable<StoredSnapshot['members']>,
  came: ReadonlyMap<string, string>,
): NonNullable<StoredSnapshot['members']> {
  const packed = new Set(
    snapshot.files.flatMap(({ path, digest, unpack }) =>
      unpack !== undefined && digest === undefined ? [path] : [],
    ),
  );
  if (snapshot.revision === undefined || packed.size === 0) return members;
  const earlier = new Map(
    ('members' in snapshot ? (snapshot.members ?? []) : []).map(({ path, sha256 }) => [path, sha256]),
  );
  if (context.locked === true) {
    const archives = new Map(members.map(({ path, archive }) => [path, archive]));
    refuseOthers(earlier, new Map([...came].filter(([path]) => packed.has(archives.get(path) ?? ''))));
  }
  return members.map((member) => {
    const then = earlier.get(member.path);
    const now = came.get(member.path);
    if (then !== undefined && now !== undefined && then !== now) {
      throw new ModeldlError(
        'INTEGRITY',
        `${member.path} in ${member.archive} is not what was first pulled: expected sha256 ${then}, got ${now}`,
        {
          hint: replacementHint(context, reference),
          details: { file: member.path, expected: then, actual: now },
        },
      );
    }
    const sha256 = now ?? then;
    return packed.has(member.archive) && sha256 !== undefined ? { ...member, sha256 } : member;
  });
}

/** @throws ModeldlError INTEGRITY where the members that came are not those that a lock lists */
function refuseOthers(
  locked: ReadonlyMap<string, string | undefined>,
  came: ReadonlyMap<string, string>,
): void {
  const asked = [...locked].filter(([, sha256]) => sha256 !== undefined).map(([path]) => path);
  const lacking = asked.filter((path) => !came.has(path)).map((path) => `${path} is gone`);
  const others = [...came]
    .filter(([path, sha256]) => locked.get(path) !== sha256)
    .map(([path]) => (locked.get(path) === undefined ? `${path} is new` : `${path} is another`));
  const differences = [...lacking, ...others];
  if (differences.length === 0) return;
  throw new ModeldlError('INTEGRITY', `What came is not what the lock says: ${differences.join(', ')}`, {
    hint: 'look who changed it, the lock or its hub; `modeldl lock` takes what the hub has now',
    details: { differences },
  });
}

/**
 * Where a hub tells no digest of the one file of a revision, what came is what the revision means from now on. (Of
 * several files each choice would be named anew by the digests that it brought.)
 */
function recorded<Listing extends Snapshot | StoredSnapshot>(
  listing: Listing,
  stored: readonly StoredFile[],
): Listing {
  const [file] = listing.files;
  const [came] = stored;
  const isOne = listing.revision !== undefined && listing.files.length === 1 && stored.length === 1;
  if (!isOne || file === undefined || came === undefined || file.digest !== undefined || isArchive(file))
    return listing;
  return { ...listing, files: [{ ...file, digest: { algorithm: 'sha256', hex: came.sha256 } }] };
}

/** The listing as it is stored: with its revision, without anything that must not be recorded. */
export function pinSnapshot(
  snapshot: Snapshot,
  revision: string,
  members: NonNullable<StoredSnapshot['members']>,
): StoredSnapshot {
  const { hub, id, metadata, validator, edits, believed } = snapshot;
  return {
    hub,
    id,
    revision,
    ...(validator === undefined ? {} : { validator }),
    ...(believed === undefined ? {} : { believed }),
    files: snapshot.files.map(({ path, size, digest, url, maxBytes, unpack }) => ({
      path,
      url,
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(size === undefined ? {} : { size }),
      ...(digest === undefined ? {} : { digest }),
      ...(unpack === undefined ? {} : { unpack }),
    })),
    ...(edits === undefined
      ? {}
      : { edits: edits.map((edit) => ({ ...edit, replacement: [...edit.replacement] })) }),
    ...(members.length === 0 ? {} : { members }),
    metadata,
  };
}

/** What is fetched and unpacked, the tree where it cannot be links, and the output. */
async function pullNeeds(
  context: Context,
  options: BringOptions,
  scope: string,
  selection: Selection<ListingEntry>,
  plan: Division,
  known: KnownFiles,
  elsewhere: readonly BlobSource[],
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
  const bytes =
    (await bytesToFetch(context, scope, missing, known, elsewhere)) +
    sum(members) +
    (copies ? sum(files) : 0);
  return [cacheNeed(context, bytes), await outputNeed(context, options, files)];
}

/**
 * What records of the same model say about upstream digests that are not sha256. Only the own ones vouch: what another
 * cache's say was not checked by this one.
 */
export async function knownFiles(context: Context, snapshot: Snapshot | StoredSnapshot): Promise<KnownFiles> {
  const known = new Map<string, { sha256: string; bytes: number }>();
  if (snapshot.files.every((file) => file.digest?.algorithm === 'sha256')) return known;
  for (const { record } of await modelsNamed(context.store, snapshot.hub, [snapshot.id])) {
    for (const { upstream, sha256, bytes } of record.files) {
      if (upstream !== undefined) known.set(digestKey(upstream), { sha256, bytes });
    }
  }
  return known;
}

/** Is anything missing that is not on this machine either, as far as names and sizes tell? */
async function mustFetch(
  missing: readonly WantedFile[],
  known: KnownFiles,
  elsewhere: readonly BlobSource[],
): Promise<boolean> {
  for (const { source } of missing) {
    const promised = promisedBytes(source, known);
    if (promised === undefined || !(await isElsewhere(elsewhere, promised))) return true;
  }
  return false;
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
  const turn = createTurns();
  for (const file of wanted) {
    await turn();
    const { digest } = file.source;
    if (force && digest?.algorithm === 'sha256') await dropBlob(context.store, digest.hex);
    const found = force ? undefined : await storedFile(context, file, known);
    if (found === undefined) missing.push(file);
    else stored.push(found);
  }
  return { stored, missing, missingBytes: distinctBytes(missing.map(({ source }) => source)) };
}

function recordOf(
  context: Context,
  { snapshot, reference }: Resolved,
  fetched: FetchedSelection,
  asked: Asked | undefined,
): NewRecord {
  const { selection, key, files } = fetched;
  const { metadata } = snapshot;
  return {
    hub: key.hub,
    id: key.id,
    revision: key.revision,
    reference: format(context, pinnedReference(context, reference, key)),
    ...(key.selection === undefined ? {} : { selection: key.selection }),
    ...(reference.subpath === undefined ? {} : { subpath: reference.subpath }),
    ...(asked === undefined ? {} : { asked }),
    ...('unproven' in snapshot ? { unproven: true as const, asked: asked ?? {} } : {}),
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

/** `modeldl lock`: asks the hubs what each model of a list is now, and writes that down. */
import pLimit from 'p-limit';
import type { LoadedConfig } from './config/load.js';
import { format, hubNamed, withFileHint, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { RemoteFile, Snapshot } from './hub.js';
import { choose, isArchive, knownListing } from './listing.js';
import {
  digestText,
  platformName,
  printLock,
  readLock,
  requestKey,
  requestText,
  type Lock,
  type LockedFile,
  type LockedModel,
} from './lock-file.js';
import { lockedAddress } from './locked-hub.js';
import { anySnapshot } from './lower.js';
import { planConvert, prepare, type ConvertOptions } from './plan.js';
import { pullModel, pullResolved, referenceOf, type PullOptions } from './pull.js';
import { redactReference } from './redact.js';
import type { Reference } from './reference.js';
import { withLayout } from './repository.js';
import { pinnedReference, resolveReference } from './resolve.js';
import type { LockedResult, LockOutcome } from './results.js';
import { forEach } from './several.js';
import type { StartupHubs } from './startup.js';
import type { ModelRecord } from './store/record.js';
import { replaceText } from './store/replace.js';
import type { StoredSnapshot } from './store/snapshots.js';
import { isLocal, isNamedAlike, MODELS_AT_ONCE } from './sync.js';
import { readWanted, type ListOptions, type Wanted, type WantedList } from './sync-list.js';

export interface LockOptions extends ListOptions {
  readonly dryRun?: boolean;
}

/** Where one model fails nothing is written. @throws ModeldlError CONFIG for the list, DISK */
export async function lock(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: LockOptions,
): Promise<LockOutcome> {
  const list = await readWanted(context, loaded, startup, options);
  const at = { ...context, cwd: list.directory, refuseBelieved };
  const before = await lockBefore(context, list);
  const oneAtATime = pLimit(1);
  const { results: models, errors } = await forEach(
    at,
    list.models,
    MODELS_AT_ONCE,
    async (wanted) =>
      wanted.convert === undefined
        ? lockPull(at, wanted)
        : oneAtATime(() => lockConversion(at, wanted, wanted.convert ?? {})),
    async ({ text, label }, thrown) => {
      const error = await withFileHint(at, text, thrown);
      return error instanceof ModeldlError
        ? error.with({ reference: redactReference(text), entry: label, list: list.file })
        : error;
    },
  );
  const earlier = new Map(before?.models.map((model) => [requestKey(model.asked), model]));
  const results = models.map((model) => describe(model, earlier.get(requestKey(model.asked))));
  const now = new Set(models.map((model) => requestKey(model.asked)));
  const removed =
    errors.length > 0
      ? []
      : [...earlier].filter(([key]) => !now.has(key)).map(([, { asked }]) => requestText(asked));
  const text = printLock(models);
  const written =
    errors.length === 0 &&
    options.dryRun !== true &&
    (before === undefined || printLock(before.models) !== text);
  if (written) await replaceText(list.lockFile, () => text);
  return { results, errors, file: list.file, lock: list.lockFile, removed, written };
}

/** A lock outlasts the registry, and others rely on it: what goes into it, the hub says. */
function refuseBelieved({ id }: Snapshot): never {
  throw new ModeldlError('NETWORK', `A lock is not written by what a registry says of ${id}`, {
    hint: 'run `modeldl lock` when its hub can be reached',
  });
}

/** What was locked before; of a lock that cannot be read nothing is, since it is written anew. */
async function lockBefore(context: Context, list: WantedList): Promise<Lock | undefined> {
  try {
    return await readLock(list.lockFile, list.lockOf);
  } catch (error) {
    if (!(error instanceof ModeldlError) || !['CONFIG', 'INTEGRITY'].includes(error.code)) throw error;
    context.emit({ type: 'warning', message: `The lock is written anew: ${error.message}` });
    return undefined;
  }
}

function describe(model: LockedModel, before: LockedModel | undefined): LockedResult {
  const { reference, asked, hub, id, revision, files, conversion } = model;
  const members = (model.members ?? []).filter(({ digest }) => digest !== undefined);
  const chosen =
    members.length > 0
      ? members.map(({ bytes }) => ({ size: bytes }))
      : files.filter(({ leftOut }) => leftOut !== true);
  const made = conversion !== undefined && 'key' in conversion ? conversion : undefined;
  const same = before !== undefined && printLock([before]) === printLock([model]);
  return {
    reference,
    requested: asked.reference,
    hub,
    id,
    revision,
    files: chosen.length,
    bytes: chosen.reduce((sum, { size = 0 }) => sum + size, 0),
    converter: made?.converter ?? null,
    key: made?.key ?? null,
    change: before === undefined ? 'new' : same ? 'same' : 'changed',
  };
}

/** By the listing where that tells all; else the model is pulled, since only its bytes can tell. */
async function lockPull(context: Context, wanted: Wanted): Promise<LockedModel> {
  const asked = await referenceOf(context, wanted.text, wanted.pull);
  const { output, ...selection } = wanted.pull;
  if (isLocal(context, asked)) {
    const { model } = await pullModel(context, asked, selection);
    return localModel(wanted, model.record);
  }
  return lockReference(context, wanted, wanted.text, selection);
}

async function lockReference(
  context: Context,
  wanted: Wanted,
  text: string,
  selection: PullOptions,
): Promise<LockedModel> {
  const resolved = await resolveReference(context, await referenceOf(context, text, selection));
  if (resolved.stale) {
    throw new ModeldlError(
      'NETWORK',
      `Its hub could not be reached, so it is not known what ${redactReference(text)} is now`,
      {
        hint: 'try again later, or list the revision that is meant',
      },
    );
  }
  const { snapshot, reference } = resolved;
  const { hub, revision } = snapshot;
  refuseOtherName(context, { ...reference, id: resolved.requestedId }, snapshot);
  const listing = knownListing(snapshot);
  const chosen = listing === undefined ? undefined : choose(listing, reference, selection).chosen;
  const pins = hubNamed(context, hub).pinsByDigest === true;
  const members = 'members' in snapshot ? (snapshot.members ?? []) : [];
  const unpacked = new Set(members.flatMap(({ path, sha256 }) => (sha256 === undefined ? [] : [path])));
  const isTold =
    pins || chosen?.every(({ file: { source, path } }) => source.digest !== undefined || unpacked.has(path));
  if (revision !== undefined && chosen !== undefined && isTold === true) {
    const paths = new Set(chosen.map(({ file }) => file.path));
    return lockedModel(context, wanted, { ...snapshot, revision }, reference, paths, []);
  }
  const { model } = await pullResolved(context, resolved, selection);
  const stored = await anySnapshot(context, model.record.hub, model.record.id, model.record.revision);
  if (stored === undefined) {
    throw new ModeldlError('BUSY', `Another process removed the listing of ${model.record.reference}`, {
      hint: 'run the command again',
    });
  }
  const all = choose(knownListing(stored) ?? [], reference, selection).chosen;
  const files = new Map(model.record.files.map((file) => [file.path, file]));
  const known = all.flatMap(({ path, file }) => {
    const stored = files.get(path);
    return stored === undefined ? [] : [{ path: file.path, sha256: stored.sha256, bytes: stored.bytes }];
  });
  return lockedModel(context, wanted, stored, reference, new Set(all.map(({ file }) => file.path)), known);
}

/** Which model a lock is about, its list has to tell: `sync` takes no other one. @throws ModeldlError CONFIG */
function refuseOtherName(
  context: Context,
  asked: Reference,
  { hub, id }: Pick<Snapshot, 'hub' | 'id'>,
): void {
  if (isNamedAlike(asked, { hub, id })) return;
  const { sha256, query, ...now } = { ...asked, hub, id };
  throw new ModeldlError(
    'CONFIG',
    `${format(context, asked)} is called ${format(context, { hub, id })} by its hub`,
    {
      hint: `list \`${format(context, now)}\` in its place`,
    },
  );
}

type Pinned = Omit<StoredSnapshot, 'files' | 'edits'> & {
  readonly files: readonly RemoteFile[];
  readonly edits?: StoredSnapshot['edits'] | undefined;
};

function lockedModel(
  context: Context,
  wanted: Wanted,
  snapshot: Omit<Pinned, 'edits'> & { readonly edits?: unknown },
  reference: Parameters<typeof pinnedReference>[1],
  chosen: ReadonlySet<string>,
  arrived: readonly { readonly path: string; readonly sha256: string; readonly bytes: number }[],
): LockedModel {
  const { hub: name, id, revision, metadata, members } = snapshot;
  const hub = hubNamed(context, name);
  const sha256 = new Map(arrived.map((file) => [file.path, file.sha256]));
  const bytes = new Map(arrived.map((file) => [file.path, file.bytes]));
  const { license, gated, task, library, recipe } = metadata;
  const edits = snapshot.edits as StoredSnapshot['edits'];
  const only = snapshot.files.length === 1 && hub.pinsByDigest === true ? revision : undefined;
  const files = snapshot.files.map((file): LockedFile => {
    const hex = sha256.get(file.path) ?? only;
    const digest = file.digest ?? (hex === undefined ? undefined : { algorithm: 'sha256' as const, hex });
    const url = lockedAddress(context, hub, { id, revision }, file);
    const size = file.size ?? bytes.get(file.path);
    return {
      path: file.path,
      ...(size === undefined ? {} : { size }),
      ...(digest === undefined ? {} : { digest: digestText(digest) }),
      ...(isArchive(file) || chosen.has(file.path) ? {} : { leftOut: true }),
      ...(url === undefined ? {} : { url }),
      ...(file.maxBytes === undefined ? {} : { maxBytes: file.maxBytes }),
      ...(file.unpack === undefined ? {} : { unpack: file.unpack }),
    };
  });
  const undigested = new Set(files.flatMap(({ path, digest }) => (digest === undefined ? [path] : [])));
  const byPath = (a: { path: string }, b: { path: string }): number => (a.path < b.path ? -1 : 1);
  return {
    asked: wanted.request,
    reference: format(context, pinnedReference(context, reference, { id, revision })),
    hub: name,
    id,
    revision,
    ...(license === undefined ? {} : { license }),
    ...(gated === true ? { gated } : {}),
    ...(task === undefined ? {} : { task }),
    ...(library === undefined ? {} : { library }),
    ...(recipe === undefined ? {} : { recipe }),
    files: files.sort(byPath),
    ...(members === undefined
      ? {}
      : {
          members: members
            .map(({ path, bytes, archive, sha256: known }) => {
              const came = sha256.get(path) ?? (chosen.has(path) ? known : undefined);
              const hex = undigested.has(archive) ? came : undefined;
              return { path, bytes, archive, ...(hex === undefined ? {} : { digest: `sha256:${hex}` }) };
            })
            .sort(byPath),
        }),
    ...(edits === undefined ? {} : { edits: edits.map((edit) => ({ ...edit })) }),
  };
}

/** A path is as it is written in the list, since the project may lie elsewhere tomorrow. */
function localModel(wanted: Wanted, record: ModelRecord): LockedModel {
  const { hub, revision, files } = record;
  const id = redactReference(wanted.text);
  return {
    asked: wanted.request,
    reference: id,
    hub,
    id,
    revision,
    files: files.map(({ path, bytes, sha256 }) => ({ path, size: bytes, digest: `sha256:${sha256}` })),
  };
}

/** With the key of the conversion, which what its converter reads decides: that is pulled where the listing does not tell. */
async function lockConversion(
  context: Context,
  wanted: Wanted,
  options: ConvertOptions,
): Promise<LockedModel> {
  const { text } = wanted;
  const { output, ...selection } = wanted.pull;
  const asked = await referenceOf(context, text, selection);
  const origin = isLocal(context, asked)
    ? localModel(wanted, (await pullModel(context, asked, selection)).model.record)
    : await lockReference(context, wanted, text, selection);
  // The key is of the revision that is locked, whatever its branch is by now.
  const pinned = asked.query === undefined ? origin.reference : text;
  const planned = await planConvert(context, pinned, options);
  if (planned.prebuilt?.taken === true) {
    const published = await lockReference(context, wanted, planned.prebuilt.reference, {});
    return { ...published, conversion: { published: true } };
  }
  const made =
    planned.key !== null && planned.converter !== null && planned.toolchain !== null
      ? { converter: planned.converter, toolchain: planned.toolchain.name, key: planned.key }
      : await preparedKey(context, pinned, options);
  return { ...origin, conversion: { ...made, platform: platformName() } };
}

async function preparedKey(
  context: Context,
  text: string,
  options: ConvertOptions,
): Promise<{ converter: string; toolchain: string; key: string }> {
  const { converter, plan, key } = await prepare(context, text, await withLayout(context, text, options));
  return { converter: converter.name, toolchain: plan.toolchain, key };
}

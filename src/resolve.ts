/** From a reference to a pinned listing: asked of the hub, or read from the store when that is allowed and enough. */
import { createHash } from 'node:crypto';
import { format, hubNamed, settingsContext, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { anySnapshot, floatedTo } from './lower.js';
import type { Hub, HubContext, Reading, Snapshot } from './hub.js';
import type { Reference } from './reference.js';
import { askSources } from './mirrors/asking.js';
import { sourcesOf } from './mirrors/sources.js';
import { checkDigests } from './paths.js';
import { readRef, saveRef, saveSnapshot, type StoredSnapshot } from './store/snapshots.js';

export interface Resolved {
  /** As asked, with the id as the hub spells it. */
  readonly reference: Reference;
  /** The id as asked: a model that was renamed is looked for by both. */
  readonly requestedId: string;
  readonly snapshot: Snapshot | StoredSnapshot;
  /** The snapshot came from the store because the hub was unreachable. */
  readonly stale: boolean;
  /** The snapshot is as an earlier command stored it. */
  readonly remembered: boolean;
}

/** The reference without what selects inside a revision: the name that floats. */
export function floatingName(context: Context, reference: Reference): string {
  const { hub, id, revision } = reference;
  return format(context, { hub, id, ...(revision === undefined ? {} : { revision }) });
}

/** The revision that a reference pins by itself, if any; only the store can tell whether it is a full one. */
export function namedRevision(reference: Reference): string | undefined {
  return reference.sha256 ?? reference.revision;
}

/**
 * The stored listing that a reference means without asking its hub: a pinned revision that is stored, else what the
 * floating reference last resolved to.
 */
export async function storedSnapshot(
  context: Context,
  reference: Reference,
): Promise<StoredSnapshot | undefined> {
  const named = namedRevision(reference);
  if (named !== undefined) {
    const pinned = await anySnapshot(context, reference.hub, reference.id, named);
    if (pinned !== undefined) return pinned;
  }
  return floatedTo(context, reference.hub, floatingName(context, reference));
}

/**
 * The reference of a pasted address, with its revision as long as it was when that was resolved: the first segment, else
 * the longest that is stored. What is not stored is left for the hub to tell.
 */
export async function storedReading(context: Context, reference: Reference): Promise<Reference> {
  if (reference.openRevision !== true) return reference;
  const { openRevision, revision = '', subpath = '', ...model } = reference;
  const segments = `${revision}/${subpath}`.split('/');
  const lengths = segments.map((_segment, index) => segments.length - index);
  for (const length of [1, ...lengths]) {
    const rest = segments.slice(length).join('/');
    const reading = {
      ...model,
      revision: segments.slice(0, length).join('/'),
      ...(rest === '' ? {} : { subpath: rest }),
    };
    if ((await storedSnapshot(context, reading)) !== undefined) return reading;
  }
  return reference;
}

/** What is left of a reference once its hub told where the revision ends. */
function withReading(reference: Reference, reading: Reading | undefined): Reference {
  const { openRevision, subpath, ...rest } = reference;
  if (reading !== undefined) return { ...rest, ...reading };
  return subpath === undefined ? rest : { ...rest, subpath };
}

/**
 * Resolves a reference by the context's freshness.
 * @throws ModeldlError NETWORK when offline and not stored, and whatever the hub throws
 */
export async function resolveReference(context: Context, asked: Reference): Promise<Resolved> {
  const reference = await storedReading(context, asked);
  const text = format(context, reference);
  const requestedId = reference.id;
  const stored = await acceptedSnapshot(context, reference);
  const hub = hubNamed(context, reference.hub);
  if (stored !== undefined) {
    const isLasting = hub.replacesFiles !== true || context.freshness !== 'refresh';
    const pinned = stored.revision === namedRevision(reference) && isLasting;
    // What lies on the disk is looked at also without network.
    const isOffline = context.freshness === 'offline' && hub.syntax.paths !== true;
    if (pinned || isOffline || context.freshness === 'stored')
      return {
        reference: { ...reference, id: stored.id },
        requestedId,
        snapshot: stored,
        stale: false,
        remembered: true,
      };
  }
  if (context.freshness === 'offline' && hub.syntax.paths !== true) {
    const { nearestStored } = await import('./nearest-stored.js');
    const near = (await nearestStored(context, reference)).map((other) => `\`${other}\``).join(', ');
    throw new ModeldlError('NETWORK', `Not stored, and --offline forbids asking ${hub.title}: ${text}`, {
      hint: `${near === '' ? '' : `stored is ${near}; `}run \`modeldl pull ${text}\` once with network`,
      details: { reference: text },
    });
  }

  try {
    const snapshot = await askHub(context, hub, reference);
    if (
      snapshot.revision === undefined &&
      stored !== undefined &&
      snapshot.validator !== undefined &&
      snapshot.validator === stored.validator
    ) {
      return { reference, requestedId, snapshot: stored, stale: false, remembered: true };
    }
    return await asResolved(context, reference, snapshot);
  } catch (error) {
    const unreachable = error instanceof ModeldlError && error.code === 'NETWORK' && !context.signal.aborted;
    if (!unreachable || stored === undefined || context.freshness === 'refresh') throw error;
    context.emit({
      type: 'warning',
      message: `${hub.title} could not be reached, using the stored revision ${stored.revision}: ${error.message}`,
    });
    return {
      reference: { ...reference, id: stored.id },
      requestedId,
      snapshot: stored,
      stale: true,
      remembered: true,
    };
  }
}

/** What is stored, but for what a registry said where that is not believed. */
async function acceptedSnapshot(context: Context, reference: Reference): Promise<StoredSnapshot | undefined> {
  const stored = await storedSnapshot(context, reference);
  if (stored?.believed !== true) return stored;
  if (context.freshness === 'refresh') return undefined;
  try {
    context.refuseBelieved?.(stored);
    return stored;
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

async function askHub(context: Context, hub: Hub, reference: Reference): Promise<Snapshot> {
  context.emit({ type: 'resolve', reference: format(context, reference) });
  // Once it answers, it tells itself what a registry was believed to have.
  const known: HubContext['known'] = async (id, revision) => {
    const listing = await anySnapshot(context, hub.name, id, revision);
    return listing?.believed === true ? undefined : listing;
  };
  const stored = context.freshness === 'refresh' ? {} : { known };
  const question = { id: reference.id, text: format(context, reference) };
  const ask = (patience: 'patient' | 'hasty'): Promise<Snapshot> =>
    askSources(context, hub, question, patience, stored, (asking) => hub.resolve(reference, asking));
  const snapshot = isHeldElsewhere(context, hub)
    ? await askOrBelieve(context, hub, reference, ask)
    : await ask('patient');
  checkDigests(snapshot.files);
  return snapshot;
}

/** May a registry hold models of this hub? */
function isHeldElsewhere(context: Context, hub: Hub): boolean {
  return context.freshness !== 'refresh' && sourcesOf(context, hub).some(({ kind }) => kind === 'registry');
}

/** A hub that does not answer is waited for only after no registry has what a pinned reference names. */
async function askOrBelieve(
  context: Context,
  hub: Hub,
  reference: Reference,
  ask: (patience: 'patient' | 'hasty') => Promise<Snapshot>,
): Promise<Snapshot> {
  const revision = namedRevision(reference);
  try {
    return await ask(revision === undefined ? 'patient' : 'hasty');
  } catch (error) {
    const isUnreachable = error instanceof ModeldlError && error.code === 'NETWORK';
    if (!isUnreachable || context.signal.aborted) throw error;
    if (revision === undefined) throw withPinHint(error);
    const { heldListing } = await import('./mirrors/held.js');
    const held = await heldListing(context, hub, { id: reference.id, revision }, error);
    return held ?? ask('patient');
  }
}

function withPinHint({ code, message, hint, cause, details }: ModeldlError): ModeldlError {
  return new ModeldlError(code, message, {
    hint: `${hint === undefined ? '' : `${hint}; `}a registry knows models by their full revision: name that`,
    cause,
    details,
  });
}

/** What a hub listed, with what the store knows of it. */
export async function asResolved(context: Context, asked: Reference, snapshot: Snapshot): Promise<Resolved> {
  const read = withReading(asked, snapshot.reading);
  return {
    reference: { ...read, id: snapshot.id },
    requestedId: asked.id,
    snapshot: await withMembers(context, read, snapshot),
    stale: false,
    remembered: false,
  };
}

/**
 * The same revision with addresses of the endpoint that is configured now: a remembered listing may hold those of one
 * that is gone, or that must no longer be asked. Only needed when something of it is fetched.
 * @throws ModeldlError whatever the hub throws
 */
export async function atPresentEndpoint(context: Context, resolved: Resolved): Promise<Resolved> {
  const { reference, snapshot, remembered } = resolved;
  const hub = hubNamed(context, snapshot.hub);
  const endpoint = hub.endpoint?.(settingsContext(context, hub), snapshot.id)?.replace(/\/+$/, '');
  if (!remembered || context.freshness === 'offline' || endpoint === undefined) return resolved;
  if (snapshot.revision === undefined) return resolved;
  const isThere = (url: string): boolean => url.startsWith(`${endpoint}/`) || url.startsWith('data:');
  if (snapshot.files.every(({ url }) => isThere(url))) return resolved;
  const pinned = pinnedReference(context, reference, { id: snapshot.id, revision: snapshot.revision });
  const { snapshot: present } = await asResolved(context, pinned, await askHub(context, hub, pinned));
  return { ...resolved, snapshot: present, remembered: false };
}

/**
 * Adds what an earlier pull learnt of the same revision: the members of its archives. Notes that the reference floats
 * to it, so that `path` and `--offline` know.
 */
async function withMembers(
  context: Context,
  reference: Reference,
  snapshot: Snapshot,
): Promise<Snapshot | StoredSnapshot> {
  const { hub, id, revision } = snapshot;
  if (revision === undefined) return snapshot;
  const stored = await anySnapshot(context, hub, id, revision);
  if (stored === undefined) return snapshot;
  await rememberRef(context, reference, stored);
  if (stored.members === undefined) return snapshot;
  // What was replaced at its hub is asked for anew: no digest holds it to what came before.
  const isAnew = context.freshness === 'refresh' && hubNamed(context, hub).replacesFiles === true;
  const members = isAnew
    ? stored.members.map(({ path, bytes, archive }) => ({ path, bytes, archive }))
    : stored.members;
  return { ...snapshot, revision, members };
}

/** Remembers a pinned listing, and that the reference floated to it: by the hub's name and by the one that was asked. */
export async function rememberResolution(
  context: Context,
  { reference, requestedId }: Resolved,
  snapshot: StoredSnapshot,
): Promise<void> {
  if (!context.store.writable || context.locked === true) return;
  await saveSnapshot(context.store, snapshot);
  for (const id of new Set([reference.id, requestedId]))
    await rememberRef(context, { ...reference, id }, snapshot);
}

async function rememberRef(context: Context, reference: Reference, snapshot: StoredSnapshot): Promise<void> {
  const pinned = namedRevision(reference) === snapshot.revision && reference.id === snapshot.id;
  if (!context.store.writable || pinned) return;
  const name = floatingName(context, reference);
  const last = await readRef(context.store, name);
  if (last?.revision === snapshot.revision && last.id === snapshot.id) return;
  await saveRef(context.store, name, {
    id: snapshot.id,
    revision: snapshot.revision,
    resolvedAt: new Date().toISOString(),
  });
}

/** The revision of content that no hub gave one: the file's own sha256, or the sha256 over the sorted listing. */
export function contentRevision(
  files: readonly { readonly path: string; readonly sha256: string }[],
): string {
  const [only] = files;
  if (only !== undefined && files.length === 1) return only.sha256;
  const hash = createHash('sha256');
  for (const file of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(`${file.path}\0${file.sha256}\n`);
  }
  return hash.digest('hex');
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

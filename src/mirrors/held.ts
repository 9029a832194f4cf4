/**
 * Models that registries hold for other hubs. While the hub's listing is at hand, a registry is a place where bytes of
 * known digests lie. When the hub cannot be reached, what the registry says of a pinned revision is believed: whoever may
 * write to it decides then.
 */
import { format, hubContext, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import type { HeldFile, HeldModel, Hub, HubContext, RemoteFile, Snapshot } from '../hub.js';
import { parseListing, type StoredSnapshot } from '../store/snapshots.js';
import { HASTE } from './asking.js';
import { failureOf, isUnreachable, noteUnreachable, warnLeft } from './failures.js';
import { endpointOf, nameOf, sourcesOf, type Source } from './sources.js';

type Registry = Extract<Source, { kind: 'registry' }>;

export interface HeldModels {
  /** Asked once for each registry. Failures are told, and nothing is there then. */
  at(source: Registry): Promise<HeldFiles>;
}

export interface HeldFiles {
  get(file: RemoteFile): HeldFile | undefined;
}

export function createHeldModels(
  context: Context,
  hub: Hub,
  snapshot: Snapshot,
  onFailure: (source: Registry, error: ModeldlError) => void,
): HeldModels {
  const asked = new Map<Registry, Promise<HeldFiles>>();

  async function look(source: Registry): Promise<HeldFiles> {
    const { id, revision } = snapshot;
    if (revision === undefined) return filesOf(undefined);
    try {
      return filesOf(await findHeld(context, hub, { id, revision }, source));
    } catch (thrown) {
      const error = failureOf(thrown, context.signal);
      noteUnreachable(context, source, error);
      onFailure(source, error);
      return filesOf(undefined);
    }
  }

  return {
    at(source) {
      let files = asked.get(source);
      if (files === undefined) {
        files = look(source);
        asked.set(source, files);
      }
      return files;
    },
  };
}

/** By their sha256, and by what their hub promises where that is another digest. */
function filesOf(model: HeldModel | undefined): HeldFiles {
  const files = new Map<string, HeldFile>();
  for (const file of model?.files ?? []) {
    const { sha256, upstream } = file;
    for (const { algorithm, hex } of [{ algorithm: 'sha256', hex: sha256 }, ...(upstream ? [upstream] : [])])
      for (const key of [`${algorithm}:${hex}`, `${algorithm}:${hex} ${file.path}`]) files.set(key, file);
  }
  return {
    get: ({ path, digest, fresh }) => {
      if (digest === undefined) return undefined;
      const key = `${digest.algorithm}:${digest.hex}`;
      // What a lock says of a path is proven by what lies there, not by a file of that digest somewhere else.
      return files.get(fresh === true ? `${key} ${path}` : key);
    },
  };
}

/** The pinned reference that a registry says of what it holds. */
export function originText(context: Context, hub: Hub, pinned: { id: string; revision: string }): string {
  const { id, revision } = pinned;
  return format(context, {
    hub: hub.name,
    id,
    ...(hub.pinsByDigest === true ? { sha256: revision } : { revision }),
  });
}

/** @throws ModeldlError NOT_FOUND, INTEGRITY for another model in its place, and as the registry's hub does */
async function findHeld(
  context: Context,
  hub: Hub,
  pinned: { readonly id: string; readonly revision: string },
  { hub: holder, prefix }: Registry,
): Promise<HeldModel> {
  const origin = originText(context, hub, pinned);
  const place = holder.holding?.place(prefix, { hub: hub.name, ...pinned });
  const held =
    place === undefined ? undefined : await holder.holding?.find(place, await askingHastily(context, holder));
  if (place === undefined || held === undefined) {
    throw new ModeldlError('NOT_FOUND', `it does not hold ${origin}`, {
      hint: `\`modeldl push ${origin}\` puts it there`,
    });
  }
  if (held.origin === origin) return held;
  throw new ModeldlError(
    'INTEGRITY',
    `${format(context, place)} says that it is ${held.origin ?? 'no model of another hub'}, not ${origin}`,
    { hint: 'look who writes to that registry' },
  );
}

async function askingHastily(context: Context, holder: Hub): Promise<HubContext> {
  const http = await context.httpFor(holder);
  return { ...(await hubContext(context, holder)), fetch: http.as(HASTE).fetch };
}

/**
 * The listing of a pinned revision as a registry has it, where the hub itself cannot be reached; undefined when none has
 * it.
 * @param failure of the hub
 */
export async function heldListing(
  context: Context,
  hub: Hub,
  { id, revision }: { readonly id: string; readonly revision: string },
  failure: ModeldlError,
): Promise<Snapshot | undefined> {
  const pinned = { id, revision };
  const text = originText(context, hub, pinned);
  for (const source of registriesOf(context, hub)) {
    if (isUnreachable(context, source)) continue;
    try {
      const snapshot = listingOf(context, hub, pinned, await findHeld(context, hub, pinned, source));
      context.refuseBelieved?.(snapshot);
      context.emit({
        type: 'warning',
        message: `${hub.title} could not be reached, so ${nameOf(hub, source)} is believed to have what ${text} is: ${failure.message}`,
      });
      return snapshot;
    } catch (thrown) {
      const error = failureOf(thrown, context.signal);
      noteUnreachable(context, source, error);
      warnLeft(context, hub, source, text, error);
    }
  }
  return undefined;
}

/** Registries that may hold models of a hub. */
export function registriesOf(context: Context, hub: Hub): readonly Registry[] {
  return sourcesOf(context, hub).filter((source) => source.kind === 'registry');
}

/** @throws ModeldlError INTEGRITY for a listing of something else */
function listingOf(
  context: Context,
  hub: Hub,
  { id, revision }: { readonly id: string; readonly revision: string },
  held: HeldModel,
): Snapshot {
  const { files, listing, metadata } = held;
  const plain = files.map(({ path, bytes, sha256, url }): RemoteFile => ({
    path,
    size: bytes,
    digest: { algorithm: 'sha256', hex: sha256 },
    url,
  }));
  if (listing === undefined) return { hub: hub.name, id, revision, believed: true, files: plain, metadata };
  const read = parseListing(listing);
  const endpoint = endpointOf(context, hub);
  const isAsked = read?.hub === hub.name && read.id === id && read.revision === revision;
  const addresses = read?.files.map(({ url }) => (url.startsWith('/') ? `${endpoint ?? ''}${url}` : url));
  if (!isAsked || addresses?.every((url) => /^(https?|data):/.test(url)) !== true) {
    throw new ModeldlError('INTEGRITY', 'its listing is none of that revision', {
      hint: 'push the model there again',
    });
  }
  return {
    ...read,
    believed: true,
    files: read.files.map((file, index) => ({ ...file, url: addresses[index] ?? file.url })),
  };
}

/** The listing as a registry keeps it: addresses below the endpoint are the same wherever that is. */
export function listingText(context: Context, hub: Hub, snapshot: StoredSnapshot): string | undefined {
  // What comes out of archives, or is changed afterwards, is not in the listing.
  if (snapshot.edits !== undefined || snapshot.files.some(({ unpack }) => unpack !== undefined))
    return undefined;
  const endpoint = endpointOf(context, hub);
  const { hub: name, id, revision, metadata } = snapshot;
  const files = snapshot.files
    .map((file) => {
      const isBelow = endpoint !== undefined && file.url.startsWith(`${endpoint}/`);
      return isBelow ? { ...file, url: file.url.slice(endpoint.length) } : file;
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  return JSON.stringify({ hub: name, id, revision, files, metadata });
}

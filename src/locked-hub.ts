/**
 * A hub that answers from a lock: no request but for bytes. A lock comes with a project, so nothing of it is believed
 * further than that project. What a file's address is, the hub itself says where it can; then its bytes are fetched from
 * there, and prove the lock. Where only the lock knows addresses, they are held to what a reference in the project's own
 * list may be, and the model is kept apart from what the hub says (`Snapshot.unproven`).
 */
import { settingsContext, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { Hub, RemoteFile, Snapshot } from './hub.js';
import { digestOf, type LockedFile, type LockedModel } from './lock-file.js';
import { modelsNamed } from './store/models.js';
import type { StoredSnapshot } from './store/snapshots.js';

const ENDPOINT = '{endpoint}/';

/** The context in which a locked model is brought in. */
export function lockedContext(
  context: Context,
  lockFile: string,
  model: LockedModel,
  known: StoredSnapshot | undefined,
): Context {
  const hubs = context.hubs.map((hub): Hub => {
    return {
      ...hub,
      checkAccess: () => Promise.resolve(),
      // Names tell what is published already; whether something is, the lock says.
      ...(hub.prebuilt === undefined
        ? {}
        : {
            prebuilt: {
              ids: (id, wanted) => hub.prebuilt?.ids(id, wanted) ?? [],
              exists: () => Promise.resolve(false),
              // Those lie in the listing, which the lock holds.
              ...(hub.prebuilt.parts === undefined ? {} : { parts: hub.prebuilt.parts }),
            },
          }),
      resolve: async ({ id, query }) => {
        if (hub.name !== model.hub || id !== model.id) {
          throw new ModeldlError(
            'CONFIG',
            `The lock does not hold ${hub.name}:${id}, which a setting draws in`,
            {
              hint: 'draft models and adapters are in no lock: run `modeldl sync` without `--frozen`',
              details: { file: lockFile },
            },
          );
        }
        const listed = await lockedSnapshot(context, lockFile, model, known !== undefined);
        return query === undefined
          ? listed
          : { ...listed, files: listed.files.map((file) => ({ ...file, query })) };
      },
    };
  });
  // What other caches and tools hold is no proof; a listing that is stored needs none.
  const alone = known === undefined ? { lower: [], elsewhere: [], locked: true as const } : {};
  // What answers needs no network, also where that is forbidden: then its client still opens no socket.
  return { ...context, ...alone, hubs, freshness: 'online' };
}

/**
 * The context in which a hub answers for itself about a locked model, and is held to the lock: where it tells no digests,
 * those of the lock decide. So is a registry that is believed when the hub cannot be reached.
 * @param compare refuses a listing that is not what the lock says
 */
export function heldContext(
  context: Context,
  model: LockedModel,
  compare: (listing: Snapshot) => void,
): Context {
  const digests = new Map(
    model.files.flatMap(({ path, digest }) => (digest === undefined ? [] : [[path, digestOf(digest)]])),
  );
  const members = lockedMembers(model);
  const isHeld = members.some(({ sha256 }) => sha256 !== undefined);
  const hubs = context.hubs.map((hub): Hub => {
    if (hub.name !== model.hub) return hub;
    return {
      ...hub,
      resolve: async (reference, asking) => {
        const snapshot = await hub.resolve(reference, asking);
        if (snapshot.id !== model.id || snapshot.revision !== model.revision) return snapshot;
        compare(snapshot);
        const files = snapshot.files.map((file): RemoteFile => {
          const digest = file.digest ?? digests.get(file.path);
          return digest === undefined ? file : { ...file, digest };
        });
        return { ...snapshot, files, ...(isHeld ? { members } : {}) };
      },
    };
  });
  const refuseBelieved = (listing: Snapshot): void => {
    if (listing.hub !== model.hub || listing.id !== model.id || listing.revision !== model.revision) return;
    if (model.files.some(({ unpack }) => unpack !== undefined)) {
      throw new ModeldlError('NETWORK', `The lock has the archive of ${model.id}, not what comes out of it`, {
        hint: 'try again when its hub can be reached',
      });
    }
    compare(listing);
  };
  return { ...context, hubs, refuseBelieved };
}

async function lockedSnapshot(
  context: Context,
  lockFile: string,
  model: LockedModel,
  confirmed: boolean,
): Promise<Snapshot> {
  const { hub: name, id, revision, files, members, edits, task, library, license, gated, recipe } = model;
  const hub = context.hubs.find((candidate) => candidate.name === name);
  if (hub === undefined) throw wrong(lockFile, model, `\`hub\` is unknown: ${name}`);
  // It becomes a part of addresses.
  if (/(^|[\\/])\.{1,2}([\\/]|$)/.test(revision))
    throw wrong(lockFile, model, `its revision is a path: ${revision}`);
  const [only] = files;
  if (hub.pinsByDigest === true && files.length === 1 && only?.digest !== `sha256:${revision}`)
    throw wrong(lockFile, model, `its revision is the digest of ${only?.path ?? 'a file'}, which is another`);
  const proven = edits === undefined && files.every(({ url }) => url === undefined);
  const vouched = proven && !confirmed ? await vouchedFiles(context, model) : new Set<string>();
  const listed = files.map((file): RemoteFile => {
    const { path, size, digest, maxBytes, unpack } = file;
    const fresh = proven && !confirmed && digest !== undefined && !vouched.has(`${path} ${digest}`);
    return {
      path,
      url: addressOf(context, lockFile, hub, model, file),
      ...(size === undefined ? {} : { size }),
      ...(digest === undefined ? {} : { digest: digestOf(digest) }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(unpack === undefined ? {} : { unpack }),
      ...(fresh ? { fresh: true } : {}),
    };
  });
  return {
    hub: name,
    id,
    revision,
    files: listed,
    ...(edits === undefined ? {} : { edits }),
    ...(members === undefined ? {} : { members: lockedMembers(model) }),
    ...(proven || confirmed ? {} : { unproven: true }),
    metadata: {
      ...(gated === undefined ? {} : { gated }),
      ...(task === undefined ? {} : { task }),
      ...(library === undefined ? {} : { library }),
      ...(recipe === undefined ? {} : { recipe }),
      // What a record says of a model under its own name, its hub has said.
      ...(proven || license === undefined ? {} : { license }),
    },
  };
}

function lockedMembers({ files, members = [] }: LockedModel): NonNullable<StoredSnapshot['members']> {
  const undigested = new Set(files.flatMap(({ path, digest }) => (digest === undefined ? [path] : [])));
  return members.map(({ path, bytes, archive, digest: held }) => ({
    path,
    bytes,
    archive,
    // Where its archive has a digest that decides.
    ...(held !== undefined && undigested.has(archive) ? { sha256: digestOf(held).hex } : {}),
  }));
}

/** Files that earlier revisions of the same model brought in under the same path. */
async function vouchedFiles(context: Context, { hub, id }: LockedModel): Promise<ReadonlySet<string>> {
  const vouched = new Set<string>();
  for (const { record } of await modelsNamed(context.store, hub, [id])) {
    if (record.unproven === true || record.conversion !== undefined) continue;
    const prefix = record.subpath === undefined || record.single !== undefined ? '' : `${record.subpath}/`;
    for (const { path, sha256, upstream } of record.files) {
      const listed = record.single === undefined ? `${prefix}${path}` : (record.subpath ?? path);
      vouched.add(`${listed} sha256:${sha256}`);
      if (upstream !== undefined) vouched.add(`${listed} ${upstream.algorithm}:${upstream.hex}`);
    }
  }
  return vouched;
}

/** @throws ModeldlError CONFIG for an address that is none, USAGE for one that may not be asked */
function addressOf(
  context: Context,
  lockFile: string,
  hub: Hub,
  model: LockedModel,
  file: LockedFile,
): string {
  const settings = settingsContext(context, hub);
  const { path, url } = file;
  if (url === undefined) {
    const own = hub.addressOf?.(path, model, settings);
    if (own !== undefined) return own;
    throw wrong(lockFile, model, `it tells no address of ${path}, and neither does ${hub.title}`);
  }
  // An archive that its hub packs anew for every request has none: its members are held to theirs.
  const isHeld = model.members?.some(({ archive, digest }) => archive === path && digest !== undefined);
  if (file.digest === undefined && file.leftOut !== true && isHeld !== true)
    throw wrong(lockFile, model, `it says where ${path} is, and not what its digest is`);
  if (url.startsWith('data:')) return url;
  if (url.startsWith(ENDPOINT)) {
    const rest = url.slice(ENDPOINT.length);
    if (/(^|[\\/])(\.|%2e){1,2}([\\/?#]|$)/i.test(rest))
      throw wrong(lockFile, model, `the address of ${path} leaves the endpoint: ${url}`);
    const endpoint = hub.endpoint?.(settings, model.id);
    if (endpoint === undefined) throw wrong(lockFile, model, `${hub.title} has no endpoint for ${path}`);
    return `${endpoint.replace(/\/+$/, '')}/${rest}`;
  }
  const address = URL.canParse(url) ? new URL(url) : undefined;
  const isWeb = address !== undefined && /^https?:$/.test(address.protocol);
  if (!isWeb || address.username !== '' || address.password !== '')
    throw wrong(lockFile, model, `the address of ${path} is no web address without a login: ${url}`);
  // As if the list itself named it.
  const web = context.hubs.find(({ syntax }) => syntax.schemes.includes('https'));
  web?.allow?.(address, settingsContext(context, web));
  return address.href;
}

/** What a lock says of a file's address: nothing where its hub tells it. */
export function lockedAddress(
  context: Context,
  hub: Hub,
  model: { readonly id: string; readonly revision: string },
  { path, url }: RemoteFile,
): string | undefined {
  const settings = settingsContext(context, hub);
  if (hub.addressOf?.(path, model, settings) === url) return undefined;
  const endpoint = hub.endpoint?.(settings, model.id)?.replace(/\/+$/, '');
  return endpoint !== undefined && url.startsWith(`${endpoint}/`)
    ? `${ENDPOINT}${url.slice(endpoint.length + 1)}`
    : url;
}

function wrong(lockFile: string, { id }: LockedModel, why: string): ModeldlError {
  return new ModeldlError('CONFIG', `The lock is wrong about ${id}: ${why}`, {
    hint: 'run `modeldl lock` to write it anew, or take it from version control',
    details: { file: lockFile },
  });
}

/** Weights of Ultralytics' models: files of the releases of one repository at GitHub. The revision is a release's tag. */
import { ModeldlError, throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, RemoteFile, Snapshot } from '../src/hub.js';
import { formatStandard, type Reference } from '../src/reference.js';
import { apiOf, assetAddress, endpointOf, PUBLIC_ENDPOINT, releasePage } from './ultralytics/endpoint.js';
import { missing, taskOf, unknownName, type Asked } from './ultralytics/known.js';
import { assetOf, checked, syntax } from './ultralytics/reference.js';
import { tokenPage } from './ultralytics/refusal.js';
import { openReleases, type Asset, type Release, type Releases } from './ultralytics/releases.js';

export const ultralytics = {
  name: 'ultralytics',
  title: 'Ultralytics',
  syntax,
  credentials: {
    environment: ['GH_TOKEN', 'GITHUB_TOKEN'],
    // The files themselves are asked for without it.
    endpoint: (context) => apiOf(endpointOf(context)),
    page: tokenPage(PUBLIC_ENDPOINT),
    whoami: (context) => openReleases(context, endpointOf(context)).whoami(),
  },
  settings: {
    endpoint: {
      description: 'Address of GitHub, or of a server or proxy with its addresses',
      type: 'string',
      trust: true,
    },
  },
  endpoint: endpointOf,
  replacesFiles: true,
  mayMean: (named, revision) => Promise.resolve(named === revision),
  addressOf: (path, { id, revision }, context) =>
    path === assetOf(id) ? assetAddress(endpointOf(context), revision, path) : undefined,
  resolve,
  async *search(query) {
    const { search } = await import('./ultralytics/search.js');
    yield* search(query);
  },
  searches: { filters: ['task', 'library'], orders: [], local: true },
} as const satisfies Hub;

interface Found {
  readonly tag: string;
  readonly asset: Asset;
}

/** One request where the release that is meant has the file. @throws ModeldlError as {@link Hub.resolve} */
async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  throwIfAborted(context.signal);
  checked(reference, formatStandard('ultralytics', reference));
  const { id, revision } = reference;
  const endpoint = endpointOf(context);
  const asked = { id, asset: assetOf(id), endpoint };
  const releases = openReleases(context, endpoint);
  const { tag, asset } =
    revision === undefined
      ? await newest(releases, asked)
      : await ofRelease(releases, asked, revision, context);
  const task = await taskOf(id);
  return {
    hub: 'ultralytics',
    id,
    revision: tag,
    files: [await asRecorded(remoteFile(asked, tag, asset), asked, tag, context)],
    metadata: {
      library: 'ultralytics',
      ...(task === undefined ? {} : { task }),
      page: releasePage(endpoint, tag),
    },
  };
}

/** The latest release, else the newest one that has the file. */
async function newest(releases: Releases, asked: Asked): Promise<Found> {
  try {
    const latest = await releases.latest();
    const found = latest === undefined ? undefined : foundIn(latest, asked);
    if (found !== undefined) return found;
    const all = await releases.all();
    for (const release of all.filter(({ stable }) => stable)) {
      const older = foundIn(release, asked);
      if (older !== undefined) return older;
    }
    throw await unknownName(asked, all);
  } catch (error) {
    throw await withPinnedHint(error, asked);
  }
}

/**
 * The file of one release. Where the API cannot be asked (its limit for people without a token is 60 requests an hour for
 * all behind one address) the file is taken by its address, which a name and a tag make; what is lost is the digest.
 */
async function ofRelease(releases: Releases, asked: Asked, tag: string, context: HubContext): Promise<Found> {
  let release: Release | undefined;
  try {
    release = await releases.tagged(tag);
  } catch (error) {
    if (context.signal.aborted || !(error instanceof ModeldlError) || error.code !== 'NETWORK') throw error;
    return withoutApi(releases, asked, tag, error, context);
  }
  const found = release === undefined ? undefined : foundIn(release, asked);
  if (found !== undefined) return found;
  let all: readonly Release[] = [];
  try {
    all = await releases.all();
  } catch (error) {
    if (context.signal.aborted || !(error instanceof ModeldlError)) throw error;
    // A mirror of files alone answers that there is no repository.
    if (error.code === 'NOT_FOUND') return withoutApi(releases, asked, tag, error, context);
  }
  throw await missing(asked, tag, release, all);
}

async function withoutApi(
  releases: Releases,
  asked: Asked,
  tag: string,
  reason: ModeldlError,
  context: HubContext,
): Promise<Found> {
  let asset: Asset | undefined;
  try {
    asset = await releases.probe(tag, asked.asset);
  } catch (error) {
    // What kept the API from answering is what a user has to know.
    throw context.signal.aborted ? error : reason;
  }
  if (asset === undefined && reason.code === 'NOT_FOUND') throw reason;
  if (asset === undefined) throw await missing(asked, tag, undefined, []);
  context.warn(`The digest of ${asked.asset} of ${tag} is not known before it is fetched: ${reason.message}`);
  return { tag, asset };
}

function foundIn({ tag, assets }: Release, { asset: name }: Asked): Found | undefined {
  const asset = assets.get(name);
  return asset === undefined ? undefined : { tag, asset };
}

function remoteFile({ asset: name, endpoint }: Asked, tag: string, { size, sha256 }: Asset): RemoteFile {
  return {
    path: name,
    ...(size === undefined ? {} : { size }),
    ...(sha256 === undefined ? {} : { digest: { algorithm: 'sha256', hex: sha256 } }),
    url: assetAddress(endpoint, tag, name),
  };
}

/**
 * A tag means the bytes that were first pulled by it: GitHub lets the owner of a release replace its files. What an
 * earlier pull recorded stays, so that other bytes are refused, and the user is told.
 */
async function asRecorded(
  file: RemoteFile,
  { id, asset }: Asked,
  tag: string,
  context: HubContext,
): Promise<RemoteFile> {
  const known = await context.known?.(id, tag);
  const recorded = known?.files.find(({ path }) => path === asset);
  if (recorded?.digest === undefined) return file;
  const differs = <Fact>(now: Fact | undefined, then: Fact | undefined): boolean =>
    now !== undefined && then !== undefined && now !== then;
  if (differs(file.digest?.hex, recorded.digest.hex) || differs(file.size, recorded.size)) {
    const again = formatStandard('ultralytics', { id, revision: tag });
    context.warn(
      `${asset} of the release ${tag} was replaced since it was first pulled, and the first one is meant; ` +
        `\`modeldl pull --refresh --force ${again}\` takes the new one`,
    );
  }
  const { size = file.size, digest } = recorded;
  return { ...file, ...(size === undefined ? {} : { size }), digest };
}

/** Where its limit is used up, the API is needed to tell what a floating name means, and not for a release that is named. */
async function withPinnedHint(error: unknown, { id }: Asked): Promise<unknown> {
  if (!(error instanceof ModeldlError) || error.code !== 'NETWORK') return error;
  const isLimit = error.details['status'] === 403 || error.details['status'] === 429;
  if (!isLimit || (await taskOf(id)) === undefined) return error;
  const { RELEASE } = await import('./ultralytics/names.js');
  const pinned = formatStandard('ultralytics', { id, revision: RELEASE });
  return new ModeldlError('NETWORK', error.message, {
    hint: `${error.hint ?? 'wait'}; \`${pinned}\` names a release, which takes no request of the API`,
    cause: error.cause,
    details: error.details,
  });
}

/** Hugging Face: models of the public hub, or of a mirror or own hub with the same API. */
import { isAbsolute, join } from 'node:path';
import { ModeldlError } from '../src/errors.js';
import type {
  Hub,
  HubContext,
  HubSettingsContext,
  Reading,
  RemoteFile,
  Snapshot,
  SnapshotMetadata,
} from '../src/hub.js';
import { formatStandard, type Reference } from '../src/reference.js';
import { readEndpoint } from './endpoint.js';
import { openApi, PUBLIC_ENDPOINT, type HubApi, type ModelInfo, type TreeEntry } from './hf/api.js';
import { prebuiltIds } from './hf/prebuilt.js';
import { checkParts, syntax } from './hf/reference.js';
import { longestRevision, pageOf, tokenPage } from './hf/refusal.js';

/** What `hf download` asks for when no revision is named, so that every mirror knows it. */
const DEFAULT_REVISION = 'main';
const COMMIT = /^[0-9a-f]{40}$/;

export const hf = {
  name: 'hf',
  title: 'Hugging Face',
  syntax,
  credentials: {
    environment: ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN'],
    files: (context) => [tokenFile(context)],
    endpoint: hubEndpoint,
    page: tokenPage(PUBLIC_ENDPOINT),
    whoami: (context) => openApi(context, { endpoint: hubEndpoint(context) }).whoami(),
  },
  settings: {
    endpoint: {
      description: 'Address of the hub: a mirror or an own one',
      type: 'string',
      trust: true,
      environment: ['HF_ENDPOINT'],
    },
  },
  endpoint: hubEndpoint,
  checkAccess,
  resolve,
  // Whatever is no commit may lead elsewhere.
  addressOf: (path, { id, revision }, context) =>
    COMMIT.test(revision) ? fileAddress(filesBase(hubEndpoint(context), id, revision), path) : undefined,
  prebuilt: { ids: prebuiltIds, exists },
  repository: (id) => id,
  async *search(query, context) {
    const { search } = await import('./hf/search.js');
    yield* search(query, context);
  },
  searches: { filters: ['task', 'library', 'license'], orders: ['downloads', 'likes', 'updated'] },
} as const satisfies Hub;

/**
 * Address of the hub, without a trailing slash; the environment wins over configuration files.
 * @throws ModeldlError CONFIG
 */
export function hubEndpoint({ settings, environment }: HubSettingsContext): string {
  const fromEnvironment = environment['HF_ENDPOINT']?.trim() ?? '';
  const configured = settings['endpoint'];
  const text =
    fromEnvironment === ''
      ? typeof configured === 'string'
        ? configured
        : PUBLIC_ENDPOINT
      : fromEnvironment;
  const place = fromEnvironment === '' ? '`hubs.hf.endpoint`' : 'the environment variable `HF_ENDPOINT`';
  return readEndpoint(text, place, PUBLIC_ENDPOINT);
}

/** Where huggingface_hub keeps the token that `hf auth login` saves. */
function tokenFile({ environment, home }: HubSettingsContext): string {
  const expand = (path: string): string => (path.startsWith('~/') ? join(home, path.slice(2)) : path);
  const path = environment['HF_TOKEN_PATH'] ?? '';
  if (path !== '') return expand(path);
  const hfHome = environment['HF_HOME'] ?? '';
  if (hfHome !== '') return join(expand(hfHome), 'token');
  const cache = environment['XDG_CACHE_HOME'] ?? '';
  return join(isAbsolute(cache) ? cache : join(home, '.cache'), 'huggingface', 'token');
}

/** Two requests: what the revision is, then its files unless that listing is stored. @throws ModeldlError as {@link Hub.resolve} */
async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  const text = formatStandard('hf', reference);
  checkParts(reference, text);
  const { id, revision: named = DEFAULT_REVISION, subpath } = reference;
  const endpoint = hubEndpoint(context);
  const asked = { revision: named, ...(subpath === undefined ? {} : { subpath }) };
  const api = openApi(context, { endpoint, id, ...asked });
  const { info, reading } = await find(api, reference, asked);
  const { revision } = reading;
  if (COMMIT.test(revision) && info.sha !== revision) throw otherCommit(text, info, endpoint);
  if (info.name !== id) context.warn(`The model ${id} is now called ${info.name} at ${endpoint}`);
  const base = filesBase(endpoint, info.name, info.sha);
  const known = await context.known?.(info.name, info.sha);
  return {
    hub: 'hf',
    id: info.name,
    revision: info.sha,
    // A listing of another endpoint has that one's addresses.
    files:
      known?.files.every(({ url }) => url.startsWith(base)) === true
        ? known.files
        : (await api.tree(info.name, info.sha))
            .filter((entry) => entry.type !== 'directory')
            .map((entry) => toRemoteFile(entry, base)),
    metadata: describe(info, endpoint),
    ...(reading === asked ? {} : { reading }),
  };
}

/**
 * What the named revision is. Where an address leaves open how long that name is, and the shortest is none, the longest
 * branch or tag that fits.
 */
async function find(
  api: HubApi,
  { id, openRevision }: Reference,
  asked: Reading,
): Promise<{ info: ModelInfo; reading: Reading }> {
  try {
    return { info: await api.info(id, asked.revision), reading: asked };
  } catch (error) {
    const refs = api.refusedRefs();
    if (openRevision !== true || refs === undefined) throw error;
    const reading = longestRevision(`${asked.revision}/${asked.subpath ?? ''}`, refs);
    if (reading === undefined) throw error;
    return { info: await api.info(id, reading.revision), reading };
  }
}

/** Listings of gated models are public and their bytes are not: asks for one file before many are begun. */
async function checkAccess(snapshot: Snapshot, context: HubContext): Promise<void> {
  const [file] = snapshot.files;
  if (snapshot.metadata.gated !== true || file === undefined) return;
  await openApi(context, { endpoint: hubEndpoint(context), id: snapshot.id }).checkFile(file.url);
}

/** One request. A model that is not there and one that is private look alike. */
async function exists(id: string, context: HubContext): Promise<boolean> {
  try {
    await openApi(context, { endpoint: hubEndpoint(context), id }).info(id, DEFAULT_REVISION);
    return true;
  } catch (error) {
    if (error instanceof ModeldlError && (error.code === 'NOT_FOUND' || error.code === 'AUTH')) return false;
    throw error;
  }
}

function filesBase(endpoint: string, id: string, commit: string): string {
  return `${endpoint}/${id}/resolve/${commit}/`;
}

function fileAddress(base: string, path: string): string {
  return `${base}${path.split('/').map(encodeURIComponent).join('/')}`;
}

function toRemoteFile(entry: TreeEntry, base: string): RemoteFile {
  const { path, lfs, oid, xetHash } = entry;
  const size = lfs?.size ?? entry.size;
  const file = {
    path,
    ...(size === undefined ? {} : { size }),
    url: fileAddress(base, path),
  };
  if (lfs != null) return { ...file, digest: { algorithm: 'sha256', hex: lfs.oid } };
  // Git's id of a file that is kept elsewhere is that of its pointer, not of its bytes.
  if (oid === undefined || xetHash != null) return file;
  return { ...file, digest: { algorithm: 'git-sha1', hex: oid } };
}

function describe(info: ModelInfo, endpoint: string): SnapshotMetadata {
  const license = licenseOf(info);
  return {
    ...(license === undefined ? {} : { license }),
    ...(info.gated === undefined ? {} : { gated: info.gated !== false }),
    ...(info.task == null ? {} : { task: info.task }),
    ...(info.library_name == null ? {} : { library: info.library_name }),
    page: pageOf({ endpoint, id: info.name }),
  };
}

function licenseOf({ cardData, tags }: ModelInfo): string | undefined {
  const card = cardData?.license;
  const named = Array.isArray(card) ? card.join(', ') : card;
  const tagged = tags?.find((tag) => tag.startsWith('license:'))?.slice('license:'.length);
  const license = (named ?? tagged ?? '').trim().toLowerCase();
  return license === '' ? undefined : license;
}

function otherCommit(text: string, { sha }: ModelInfo, endpoint: string): ModeldlError {
  return new ModeldlError('INTEGRITY', `${endpoint} answers another commit for ${text}: ${sha}`, {
    hint: 'the hub or a mirror is broken; try another endpoint',
    details: { url: endpoint },
  });
}

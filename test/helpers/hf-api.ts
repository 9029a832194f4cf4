/** The API of the local Hugging Face hub: models, revisions, listings, search, who am I. */
import {
  commitAt,
  divide,
  hexOf,
  json,
  open,
  refuse,
  sees,
  userOf,
  type Answer,
  type AskedHub,
  type HubState,
} from './hf-access.js';
import { cachedFile } from './hf-files.js';
import type { Commit, Repository, StoredFile } from './hf-repo.js';

const UPDATED_AT = '2026-01-02T00:00:00.000Z';

export function apiAnswer(state: HubState, asked: AskedHub): Answer {
  const { path } = asked;
  if (path === '/api/whoami-v2') return whoami(state, asked);
  if (path === '/api/models') return search(state, asked);
  if (path.startsWith('/api/resolve-cache/models/')) return cachedFile(state, asked);
  const model = /^\/api\/models\/(.+)$/.exec(path)?.[1];
  const words = ['revision', 'tree', 'refs', 'auth-check', 'paths-info'];
  const parts = model === undefined ? undefined : divide(model, words);
  if (parts === undefined) return refuse(404, 'Not found');
  const { id, word, rest } = parts;
  const opened = open(state, asked, id, word === 'auth-check');
  if ('refused' in opened) return opened.refused;
  const { repository } = opened;
  if (word === 'auth-check') return json({});
  if (word === 'refs') return refs(repository);
  const commit = commitAt(repository, decodeURIComponent(rest[0] ?? 'main'));
  if ('status' in commit) return commit;
  const below = rest.slice(1).map(decodeURIComponent).join('/');
  if (word === 'tree') return tree(state, asked, commit, below);
  if (word === 'paths-info') return pathsInfo(asked, commit);
  return info(repository, commit, asked.query);
}

function whoami(state: HubState, asked: AskedHub): Answer {
  const user = userOf(state, asked);
  if (user === 'anonymous') return refuse(401, 'Invalid username or password.');
  if (user === 'invalid') return refuse(401, 'Invalid credentials in Authorization header');
  return json({
    type: 'user',
    id: hexOf(user.user, 24),
    name: user.user,
    fullname: user.user,
    email: `${user.user}@example.org`,
    emailVerified: true,
    canPay: false,
    isPro: false,
    periodEnd: null,
    avatarUrl: '',
    orgs: (user.organisations ?? []).map((name) => ({
      type: 'org',
      id: hexOf(name, 24),
      name,
      fullname: name,
    })),
    auth: {
      type: 'access_token',
      accessToken: { displayName: 'test', role: user.role ?? 'read', createdAt: '2026-01-01T00:00:00.000Z' },
    },
  });
}

function search(state: HubState, asked: AskedHub): Answer {
  const { query } = asked;
  const user = userOf(state, asked);
  if (user === 'invalid') return refuse(401, 'Invalid credentials in Authorization header');
  const text = query.get('search')?.toLowerCase() ?? '';
  const author = query.get('author');
  const task = query.get('pipeline_tag');
  const found = [...state.repositories.values()]
    .filter((repository) => sees(repository, user))
    .filter(({ described }) => described.id.toLowerCase().includes(text))
    .filter(({ described }) => author === null || described.id.startsWith(`${author}/`))
    .filter(({ described }) => task === null || described.task === task)
    .filter((repository) => query.getAll('filter').every((tag) => tagsOf(repository).includes(tag)))
    .sort((a, b) => sortValue(b, query.get('sort')) - sortValue(a, query.get('sort')));
  const limit = Number(query.get('limit') ?? 1000);
  const start = Number(query.get('cursor') ?? 0);
  const page = found.slice(start, start + limit).map((repository) => {
    const commit = repository.refs.get('main');
    return commit === undefined ? {} : describeModel(repository, commit, query);
  });
  const more = start + limit < found.length;
  return json(page, more ? { link: nextLink(state, asked, String(start + limit)) } : {});
}

/** Most first, whatever is sorted by; downloads when nothing is named. */
function sortValue({ described }: Repository, sort: string | null): number {
  if (sort === 'likes') return described.likes ?? 0;
  if (sort === 'lastModified') return Date.parse(described.updatedAt ?? UPDATED_AT);
  return described.downloads ?? 0;
}

function info(repository: Repository, commit: Commit, query: URLSearchParams): Answer {
  return json(describeModel(repository, commit, query));
}

function tagsOf({ described }: Repository): readonly string[] {
  return [
    ...(described.library === undefined ? [] : [described.library]),
    ...(described.tagWords ?? []),
    ...(described.license === undefined ? [] : [`license:${described.license}`]),
  ];
}

/** All fields, or the ones that `expand` names. */
function describeModel(
  repository: Repository,
  commit: Commit,
  query: URLSearchParams,
): Record<string, unknown> {
  const { described } = repository;
  const blobs = query.get('blobs') === 'true';
  const fields: Record<string, unknown> = {
    author: described.id.split('/')[0],
    cardData: described.license === undefined ? undefined : { license: described.license },
    config: {},
    createdAt: '2026-01-01T00:00:00.000Z',
    disabled: described.disabled ?? false,
    downloads: described.downloads ?? 0,
    gated: described.gated?.kind ?? false,
    lastModified: described.updatedAt ?? UPDATED_AT,
    library_name: described.library,
    likes: described.likes ?? 0,
    pipeline_tag: described.task,
    private: described.privateTo !== undefined,
    ...(described.weights === undefined ? {} : { safetensors: safetensorsOf(described.weights) }),
    sha: commit.id,
    siblings: [...commit.files.values()].map((file) => ({
      rfilename: file.path,
      ...(blobs ? { size: file.bytes.length, blobId: file.oid, ...lfsOf(file, 'sha256') } : {}),
    })),
    tags: tagsOf(repository),
  };
  const expand = query.getAll('expand');
  const chosen =
    expand.length === 0
      ? fields
      : Object.fromEntries(Object.entries(fields).filter(([name]) => expand.includes(name)));
  return { _id: hexOf(described.id, 24), id: described.id, modelId: described.id, ...chosen };
}

function safetensorsOf(parameters: Readonly<Record<string, number>>): object {
  return { parameters, total: Object.values(parameters).reduce((sum, count) => sum + count, 0) };
}

function lfsOf(file: StoredFile, digest: 'oid' | 'sha256'): Record<string, unknown> {
  if (!file.lfs) return {};
  return { lfs: { [digest]: file.sha256, size: file.bytes.length, pointerSize: file.pointerSize } };
}

function entryOf(file: StoredFile): Record<string, unknown> {
  return { type: 'file', oid: file.oid, size: file.bytes.length, path: file.path, ...lfsOf(file, 'oid') };
}

function tree(state: HubState, asked: AskedHub, commit: Commit, below: string): Answer {
  const prefix = below === '' ? '' : `${below}/`;
  const recursive = asked.query.get('recursive') === 'true';
  const entries = new Map<string, Record<string, unknown>>();
  for (const file of commit.files.values()) {
    if (!file.path.startsWith(prefix)) continue;
    const segments = file.path.slice(prefix.length).split('/');
    const depth = recursive ? segments.length : 1;
    for (let length = 1; length <= Math.min(depth, segments.length - 1); length += 1) {
      const path = `${prefix}${segments.slice(0, length).join('/')}`;
      entries.set(`${path}/`, { type: 'directory', oid: hexOf(`${commit.id} ${path}`, 40), size: 0, path });
    }
    if (recursive || segments.length === 1) entries.set(file.path, entryOf(file));
  }
  if (below !== '' && entries.size === 0) {
    return refuse(404, `${below} does not exist on "${commit.id}"`, 'EntryNotFound');
  }
  const all = [...entries.values()];
  const size = Number(asked.query.get('limit') ?? state.options.pageSize ?? 1000);
  const start = Number(asked.query.get('cursor') ?? 0);
  const more = start + size < all.length;
  return json(
    all.slice(start, start + size),
    more ? { link: nextLink(state, asked, String(start + size)) } : {},
  );
}

function nextLink({ origin, options }: HubState, { path, query }: AskedHub, cursor: string): string {
  const next = new URLSearchParams(query);
  next.set('cursor', cursor);
  const below = `${path}?${next.toString()}`;
  const prefix = new URL(origin).pathname.replace(/\/$/, '');
  const roots = { absolute: origin, relative: prefix, foreign: 'https://huggingface.invalid' };
  return `<${roots[options.links ?? 'absolute']}${below}>; rel="next"`;
}

function pathsInfo({ body }: AskedHub, commit: Commit): Answer {
  const paths = body.startsWith('{') ? pathsOf(JSON.parse(body)) : new URLSearchParams(body).getAll('paths');
  const found = paths.map((path) => commit.files.get(path)).filter((file) => file !== undefined);
  return json(found.map(entryOf));
}

/** Python asks by a form, `@huggingface/hub` by JSON. */
function pathsOf(asked: unknown): readonly string[] {
  if (typeof asked !== 'object' || asked === null || !('paths' in asked)) return [];
  return Array.isArray(asked.paths) ? asked.paths.map(String) : [];
}

function refs({ refs: all, described }: Repository): Answer {
  const list = (names: readonly string[], kind: string): unknown =>
    names.map((name) => ({ name, ref: `refs/${kind}/${name}`, targetCommit: all.get(name)?.id }));
  const pulls = Object.keys(described.pullRequests ?? {});
  return json({
    branches: list(['main', ...Object.keys(described.branches ?? {})], 'heads'),
    converts: [],
    tags: list(Object.keys(described.tags ?? {}), 'tags'),
    pullRequests: pulls.map((number) => ({
      name: number,
      ref: `refs/pr/${number}`,
      targetCommit: all.get(`refs/pr/${number}`)?.id,
    })),
  });
}

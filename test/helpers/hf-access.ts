/** Who may see what on the local Hugging Face hub, and the form of its answers. */
import { createHash } from 'node:crypto';
import type { HfHubOptions, HfToken } from './hf-hub.js';
import type { Commit, Repository } from './hf-repo.js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** A Range header applies to it. */
  readonly ranges?: boolean;
}

export interface HubState {
  readonly repositories: Map<string, Repository>;
  readonly options: HfHubOptions;
  /** The endpoint, prefix included. */
  origin: string;
  /** A signed address of the CDN. */
  sign(path: string): string;
}

export interface AskedHub {
  /** Below the prefix, as received. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  readonly body: string;
}

const JSON_TYPE = 'application/json; charset=utf-8';

export function json(value: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status: 200, headers: { 'content-type': JSON_TYPE, ...headers }, body: JSON.stringify(value) };
}

/** A refusal in the hub's form: code and message as headers (HEAD has no body), the message as body too. */
export function refuse(
  status: number,
  message: string,
  code?: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return {
    status,
    headers: {
      'content-type': JSON_TYPE,
      // Headers are Latin-1 at most, and names are not.
      'x-error-message': encodeURI(message).replaceAll('%20', ' '),
      ...(code === undefined ? {} : { 'x-error-code': code }),
      ...headers,
    },
    body: JSON.stringify({ error: message }),
  };
}

export type User = HfToken | 'anonymous' | 'invalid';

export function userOf({ options }: HubState, { authorization }: AskedHub): User {
  if (authorization === undefined) return 'anonymous';
  const token = /^Bearer (.+)$/.exec(authorization)?.[1];
  return options.tokens?.find((candidate) => candidate.token === token) ?? 'invalid';
}

export function sees(repository: Repository, user: User): boolean {
  const { privateTo } = repository.described;
  return privateTo === undefined || (typeof user === 'object' && privateTo.includes(user.user));
}

/** The repository that an id means to a user, or why not; `files` asks for access to its bytes. */
export function open(
  state: HubState,
  asked: AskedHub,
  id: string,
  files: boolean,
): { readonly repository: Repository } | { readonly refused: Answer } {
  const user = userOf(state, asked);
  if (user === 'invalid') return { refused: refuse(401, 'Invalid credentials in Authorization header') };
  const repository = state.repositories.get(id);
  if (repository === undefined || !sees(repository, user)) {
    const moved = [...state.repositories.values()].find(
      ({ described }) =>
        (described.formerIds?.includes(id) ?? false) || described.id.toLowerCase() === id.toLowerCase(),
    );
    if (repository === undefined && moved !== undefined && sees(moved, user)) {
      return { refused: redirectTo(state, asked, id, moved.described.id) };
    }
    return {
      refused:
        user === 'anonymous'
          ? refuse(401, 'Invalid username or password.', 'RepoNotFound')
          : refuse(404, 'Repository not found', 'RepoNotFound'),
    };
  }
  const { described } = repository;
  if (described.disabled === true) return { refused: refuse(403, 'Access to this resource is disabled.') };
  const { gated } = described;
  if (gated !== undefined && (files || described.gatedMetadata === true)) {
    if (user === 'anonymous') {
      const message = `Access to model ${id} is restricted. You must have access to it and be authenticated to access it. Please log in.`;
      return { refused: refuse(401, message, 'GatedRepo') };
    }
    if (!gated.granted.includes(user.user)) {
      const message = `Access to model ${id} is restricted and you are not in the authorized list. Visit ${state.origin}/${id} to ask for access.`;
      return { refused: refuse(403, message, 'GatedRepo') };
    }
  }
  return { repository };
}

function redirectTo({ origin }: HubState, { path, query }: AskedHub, from: string, to: string): Answer {
  const prefix = new URL(origin).pathname.replace(/\/$/, '');
  const search = query.size === 0 ? '' : `?${query.toString()}`;
  const location = `${prefix}${path.replace(`/${from}`, `/${to}`)}${search}`;
  return { status: 307, headers: { location }, body: `Temporary Redirect. Redirecting to ${location}` };
}

export function commitAt(repository: Repository, revision: string): Commit | Answer {
  const name = revision === 'HEAD' ? 'main' : revision;
  const commit = repository.refs.get(name) ?? repository.commits.get(name);
  return commit ?? refuse(404, `Invalid rev id: ${revision}`, 'RevisionNotFound');
}

/** `name` or `org/name` before one of `words`, and what follows it. */
export function divide(
  path: string,
  words: readonly string[],
): { readonly id: string; readonly word: string; readonly rest: readonly string[] } | undefined {
  const segments = path.split('/').filter((segment) => segment !== '');
  const at = [1, 2].find((index) => words.includes(segments[index] ?? ''));
  if (at === undefined) {
    return segments.length === 0 || segments.length > 2
      ? undefined
      : { id: segments.join('/'), word: '', rest: [] };
  }
  return { id: segments.slice(0, at).join('/'), word: segments[at] ?? '', rest: segments.slice(at + 1) };
}

export function hexOf(text: string, length: number): string {
  return createHash('sha1').update(text).digest('hex').slice(0, length);
}

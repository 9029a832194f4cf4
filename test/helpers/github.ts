/**
 * A local GitHub: its API for releases, the addresses of their assets, and the storage that these redirect to, which is
 * another origin with signed queries. Answers have the shape of GitHub's own; a token is never wanted where files lie.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import type { ServerFault } from '../hubs/conformance.js';
import type { Certificate } from '../transfer/certificate.js';
import { ranged } from './http-server.js';

export const ASSETS = 'ultralytics/assets';

export interface GithubRelease {
  readonly tag: string;
  readonly prerelease?: boolean;
  readonly assets: Readonly<Record<string, Uint8Array>>;
  /** Uploaded before June 2025: no digests. */
  readonly old?: boolean;
}

export interface GithubOptions {
  /** Newest first. */
  readonly releases: readonly GithubRelease[];
  /** The only token that the API takes; without one it answers everybody. */
  readonly token?: string;
  /** Without that token nothing is found, as a private repository has it. */
  readonly isPrivate?: boolean;
  readonly certificate?: Certificate;
}

/** How the API refuses: each is a real answer of GitHub. */
export type Refusal =
  'primary limit' | 'primary limit, 429' | 'secondary limit' | 'secondary limit in words' | 'forbidden';

/** When the primary limit starts anew, in seconds: 2100-01-01 00:00 UTC, past every clock that tests run by. */
export const RESET = 4_102_444_800;

export interface Github {
  readonly endpoint: string;
  /** Origin of the storage. */
  readonly storage: string;
  /** Paths with queries that the site was asked for, the API's without `/api/v3`. */
  asked(): readonly string[];
  readonly site: TestServer;
  readonly files: TestServer;
  /** All of it, from now on. */
  set(releases: readonly GithubRelease[]): void;
  /** What the storage has in place of a file, as after the API was asked. */
  swap(path: string, bytes: Uint8Array): void;
  refuse(refusal: Refusal | 'nothing'): void;
  /** The API of a mirror that has files alone. */
  dropApi(): void;
  readonly setFault: (fault: ServerFault) => void;
  readonly close: () => Promise<void>;
}

export async function startGithub(options: GithubOptions): Promise<Github> {
  let { releases } = options;
  let refusal: Refusal | 'nothing' = 'nothing';
  let hasApi = true;
  const signature = randomUUID();
  const swapped = new Map<string, Uint8Array>();

  const files = await startServer(stored, options.certificate);
  const site = await startServer((request, path) => {
    if (path.startsWith('/api/v3/'))
      return hasApi ? api(request, path.slice('/api/v3/'.length)) : notFoundPage();
    return page(path);
  }, options.certificate);

  /** Azure Blob Storage: signed, and refusing any other authorization. */
  function stored(request: IncomingMessage, path: string): Route {
    const { searchParams } = new URL(request.url ?? '', files.origin);
    const name = decodeURIComponent(path).slice(1);
    const bytes = swapped.get(name) ?? bytesOf(name);
    if (searchParams.get('sig') !== signature || request.headers.authorization !== undefined)
      return {
        status: 403,
        headers: { 'content-type': 'application/xml' },
        body: '<Error><Code>AuthenticationFailed</Code></Error>',
      };
    if (bytes === undefined) return { status: 404 };
    const answer = ranged(
      {
        status: 200,
        headers: {
          'content-type': 'application/octet-stream',
          'accept-ranges': 'bytes',
          etag: `"0x${createHash('sha256').update(bytes).digest('hex').slice(0, 15).toUpperCase()}"`,
          'last-modified': 'Mon, 30 Sep 2024 15:18:41 GMT',
          'x-ms-blob-type': 'BlockBlob',
        },
        body: Buffer.from(bytes),
        ranges: true,
      },
      request,
    );
    return { status: answer.status, headers: answer.headers, body: answer.body };
  }

  function bytesOf(name: string): Uint8Array | undefined {
    const at = name.lastIndexOf('/');
    return releases.find(({ tag }) => tag === name.slice(0, at))?.assets[name.slice(at + 1)];
  }

  function page(path: string): Route {
    const base = `/${ASSETS}/releases`;
    const latest = latestRelease();
    const [, name] = /^\/latest\/download\/([^/]+)$/.exec(path.slice(base.length)) ?? [];
    if (path.startsWith(base) && name !== undefined && latest !== undefined)
      return { status: 302, headers: { location: `${site.origin}${base}/download/${latest.tag}/${name}` } };
    const asset = path.startsWith(`${base}/download/`)
      ? decodeURIComponent(path.slice(`${base}/download/`.length))
      : '';
    if (bytesOf(asset) === undefined)
      return { status: 404, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'Not Found' };
    const query = `sp=r&sv=2018-11-09&sr=b&spr=https&se=2026-11-27T20%3A00%3A00Z&sig=${signature}`;
    return {
      status: 302,
      headers: {
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-cache',
        location: `${files.origin}/${encodeURIComponent(asset)}?${query}`,
      },
    };
  }

  function latestRelease(): GithubRelease | undefined {
    return releases.find(({ prerelease }) => prerelease !== true);
  }

  function api(request: IncomingMessage, path: string): Route {
    const { authorization } = request.headers;
    const { token, isPrivate } = options;
    if (refusal !== 'nothing') return refused(refusal);
    if (authorization !== undefined && authorization !== `Bearer ${token ?? ''}`)
      return json(401, 'Bad credentials');
    if (path === 'user')
      return authorization === undefined
        ? json(401, 'Requires authentication')
        : json(200, { login: 'octocat', id: 1 }, { 'x-oauth-scopes': 'repo' });
    if (isPrivate === true && authorization === undefined) return json(404, 'Not Found');
    const base = `repos/${ASSETS}/releases`;
    const { searchParams } = new URL(request.url ?? '', site.origin);
    if (path === base) {
      const [size, at] = [Number(searchParams.get('per_page')), Number(searchParams.get('page'))];
      return json(200, releases.slice(size * (at - 1), size * at).map(described));
    }
    const wanted =
      path === `${base}/latest`
        ? latestRelease()
        : releases.find(({ tag }) => path === `${base}/tags/${encodeURIComponent(tag)}`);
    return wanted === undefined ? json(404, 'Not Found') : json(200, described(wanted));
  }

  function described({ tag, prerelease = false, assets, old = false }: GithubRelease): object {
    const url = `${site.origin}/api/v3/repos/${ASSETS}/releases`;
    return {
      url: `${url}/177886512`,
      html_url: `${site.origin}/${ASSETS}/releases/tag/${tag}`,
      id: 177_886_512,
      tag_name: tag,
      target_commitish: 'main',
      name: `${tag} - New models`,
      draft: false,
      immutable: false,
      prerelease,
      created_at: '2024-09-29T22:25:44Z',
      published_at: '2024-09-29T22:32:23Z',
      assets: Object.entries(assets).map(([name, bytes], index) => ({
        url: `${url}/assets/${195_719_000 + index}`,
        id: 195_719_000 + index,
        name,
        label: '',
        uploader: { login: 'glenn-jocher', id: 1 },
        content_type: 'application/octet-stream',
        state: 'uploaded',
        size: bytes.length,
        digest: old ? null : `sha256:${sha256Of(bytes)}`,
        download_count: 1,
        created_at: '2024-09-30T15:18:37Z',
        updated_at: '2024-09-30T15:18:41Z',
        browser_download_url: `${site.origin}/${ASSETS}/releases/download/${tag}/${name}`,
      })),
      body: '## What changed',
    };
  }

  return {
    endpoint: site.origin,
    storage: files.origin,
    site,
    files,
    asked: () => site.requests.map(({ url }) => url.replace('/api/v3', '')),
    set(next) {
      releases = next;
    },
    swap: (path, bytes) => swapped.set(path, bytes),
    refuse(next) {
      refusal = next;
    },
    dropApi() {
      hasApi = false;
    },
    setFault(fault) {
      site.setFault(fault);
    },
    async close() {
      await site.close();
      await files.close();
    },
  };
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function json(status: number, answer: unknown, more: Readonly<Record<string, string>> = {}): Route {
  const body =
    typeof answer === 'string'
      ? { message: answer, documentation_url: 'https://docs.github.com/rest', status: String(status) }
      : answer;
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'x-github-media-type': 'github.v3; format=json',
      'x-ratelimit-limit': '60',
      'x-ratelimit-remaining': '41',
      'x-ratelimit-reset': String(RESET),
      ...more,
    },
    body: JSON.stringify(body),
  };
}

function refused(refusal: Refusal): Route {
  const exceeded =
    "API rate limit exceeded for 203.0.113.7. (But here's the good news: Authenticated requests get more.)";
  const secondary =
    'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.';
  const used = { 'x-ratelimit-remaining': '0' };
  switch (refusal) {
    case 'primary limit':
      return json(403, exceeded, used);
    case 'primary limit, 429':
      return json(429, exceeded, used);
    case 'secondary limit':
      return json(403, secondary, { 'retry-after': '60' });
    case 'secondary limit in words':
      return json(403, secondary, { 'x-ratelimit-reset': '' });
    case 'forbidden':
      return json(403, 'Resource protected by organization SAML enforcement.');
  }
}

function notFoundPage(): Route {
  return {
    status: 404,
    headers: { 'content-type': 'text/html; charset=utf-8' },
    body: '<html>Not found</html>',
  };
}

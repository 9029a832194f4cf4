/**
 * A local Hugging Face hub, faithful in what clients depend on: two servers, one that knows repositories and one on
 * another origin that only has bytes behind signed addresses, as the real hub and its CDN. The real Python client
 * works against it (test/hubs/hf-python.test.ts).
 *
 * What it does not do: Xet, Git, uploads.
 */
import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Answer, AskedHub, HubState } from './hf-access.js';
import { apiAnswer } from './hf-api.js';
import { resolveAnswer } from './hf-files.js';
import { makeRepository, type HfRepo } from './hf-repo.js';
import { bufferOf, listen, listener, ranged, readBody, send, stop } from './http-server.js';

export type { HfFile, HfRepo } from './hf-repo.js';

export interface HfToken {
  readonly token: string;
  /** User name, for `privateTo` and `granted`. */
  readonly user: string;
  readonly role?: 'read' | 'write' | 'fineGrained';
  readonly organisations?: readonly string[];
}

export interface HfHubOptions {
  readonly repos: readonly HfRepo[];
  readonly tokens?: readonly HfToken[];
  /** Entries on a page of a listing; default 1,000. */
  readonly pageSize?: number;
  /** How the next page is named; default `absolute`, as the real hub does. */
  readonly links?: 'absolute' | 'relative' | 'foreign';
  /** Whether small files come from the address asked, or by a relative redirect to the hub's cache; default `direct`. */
  readonly smallFiles?: 'direct' | 'redirected';
  /** How long a signed address of the CDN is good, milliseconds; default an hour. */
  readonly signedForMs?: number;
  /** Bytes per second and connection of the CDN; default unlimited. */
  readonly bytesPerSecond?: number;
  /** An answer is held back until this resolves, so that a test sees what is asked at the same time. */
  readonly hold?: (request: HfRequest) => Promise<void>;
  /** Told after every chunk of a body that was handed to the socket; the next one waits until this resolves. */
  readonly sent?: (request: HfRequest) => Promise<void> | void;
  /** Another server that has the bytes of LFS files at `/<sha256>`, in place of the hub's own. */
  readonly cdn?: string;
  /** Delay of every answer, milliseconds. */
  readonly latencyMs?: number;
  /**
   * Requests left in the rate limit's window, of the API and of files alike; default 499 and not counted down. Counted
   * ones are refused with 429 when none is left, and are back `resetSeconds` after the first.
   */
  readonly rateLimit?: {
    readonly remaining: number;
    readonly resetSeconds: number;
    readonly counted?: boolean;
  };
  /** Path below the origin where the hub is, as mirrors have it: `/api/hf`. */
  readonly prefix?: string;
  /** Port of the hub; default a free one. */
  readonly port?: number;
}

/** What goes wrong with the next requests that `matches` takes. */
export interface HfFault {
  readonly server?: 'hub' | 'cdn';
  /** Of the path and query; default every request. */
  readonly matches?: RegExp;
  readonly method?: string;
  /** Only requests for the first bytes of a file, or only such for later ones; default both. */
  readonly part?: 'first' | 'later';
  /** How many requests; default all until {@link HfHub.clearFaults}. */
  readonly times?: number;
  /**
   * - status: answers it, with headers and body
   * - never: takes the request and does not answer
   * - reset: closes the connection
   * - cut: sends the headers and this many bytes of the body, then closes the connection
   * - stall: the same, then keeps the connection open
   * - corrupt: flips the first byte of the body
   * - change: answers what this makes of the answer; a body that differs from its content-length ends the connection
   * - dripLast: sends this many bytes at the end in little pieces, with a pause after each
   */
  readonly kind:
    | {
        readonly status: number;
        readonly headers?: Readonly<Record<string, string>>;
        readonly body?: string;
      }
    | { readonly never: true }
    | { readonly reset: true }
    | { readonly cut: number }
    | { readonly stall: number }
    | { readonly corrupt: true }
    | { readonly change: (answer: Answer) => Answer }
    | { readonly dripLast: number }
    | { readonly delayMs: number };
}

export interface HfRequest {
  readonly server: 'hub' | 'cdn';
  readonly method: string;
  /** Path and query as received. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  /** The status that was answered; 0 while or when it was not. */
  readonly status: number;
  /** Bytes of body handed to the socket. */
  readonly bytes: number;
}

export interface HfHub {
  /** What HF_ENDPOINT is set to. */
  readonly endpoint: string;
  /** Origin of the CDN. */
  readonly cdn: string;
  readonly requests: readonly HfRequest[];
  clearRequests(): void;
  /** Commit that a branch, tag or `refs/pr/N` of a repository stands at; default `main`. */
  commitOf(id: string, ref?: string): string;
  /** Adds or replaces a repository: a new commit on main, when only its files differ. */
  putRepo(repo: HfRepo): void;
  addFault(fault: HfFault): void;
  clearFaults(): void;
  /** Lets every signed address that was handed out expire at once. */
  expireSignatures(): void;
  /** Resolves once a request that a `never` or `stall` fault took has arrived. */
  stuck(): Promise<void>;
  close(): Promise<void>;
}

const HOUR_MS = 3_600_000;
const SECRET = 'key of the local CDN';

export async function startHfHub(options: HfHubOptions): Promise<HfHub> {
  const requests: { -readonly [Key in keyof HfRequest]: HfRequest[Key] }[] = [];
  const windows = new Map<string, { left: number; readonly endsAt: number }>();
  const faults: { readonly fault: HfFault; left: number }[] = [];
  let generation = 0;
  let arrived: () => void = () => undefined;
  let arrival = new Promise<void>((resolve) => (arrived = resolve));

  const state: HubState = {
    repositories: new Map(),
    options,
    origin: '',
    sign: (path) => {
      const expires = Date.now() + (options.signedForMs ?? HOUR_MS);
      return `${options.cdn ?? cdnOrigin}${path}?X-Amz-Expires=3600&Expires=${expires}&generation=${generation}&X-Amz-Signature=${signatureOf(path, expires, generation)}`;
    },
  };
  const put = (repo: HfRepo): void => {
    const made = makeRepository(repo);
    const before = state.repositories.get(repo.id);
    // Old commits stay reachable, as in git.
    const commits = new Map([...(before?.commits ?? []), ...made.commits]);
    state.repositories.set(repo.id, { ...made, commits });
  };
  for (const repo of options.repos) put(repo);

  const cdnServer = createServer(
    listener((request, response) => serve('cdn', request, response, () => cdnAnswer(request))),
  );
  const cdnOrigin = `http://127.0.0.1:${await listen(cdnServer, 0)}`;
  const hubServer = createServer(
    listener((request, response) => serve('hub', request, response, () => hubAnswer(request))),
  );
  const prefix = options.prefix ?? '';
  const origin = `http://127.0.0.1:${await listen(hubServer, options.port ?? 0)}`;
  state.origin = `${origin}${prefix}`;

  async function hubAnswer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '/', origin);
    if (!url.pathname.startsWith(`${prefix}/`)) return { status: 404, headers: {}, body: 'no hub here' };
    const path = url.pathname.slice(prefix.length);
    const body = request.method === 'POST' ? await readBody(request) : '';
    const asked = {
      path,
      query: url.searchParams,
      authorization: request.headers.authorization,
      body,
    };
    const answer = answerTo(state, asked);
    const bucket = path.startsWith('/api/') ? 'api' : 'resolvers';
    const { left, resetSeconds } = takeRequest(bucket);
    return {
      ...(left < 0 ? { status: 429, headers: {}, body: '' } : answer),
      headers: {
        'x-request-id': `Root=1-${requests.length}`,
        ratelimit: `"${bucket}";r=${Math.max(0, left)};t=${resetSeconds}`,
        'ratelimit-policy': `"fixed window";"${bucket}";q=500;w=300`,
        ...answer.headers,
      },
    };
  }

  /** What is left in a bucket after one more request; below 0 when that is one too many. */
  function takeRequest(bucket: string): { readonly left: number; readonly resetSeconds: number } {
    const {
      remaining,
      resetSeconds,
      counted = false,
    } = options.rateLimit ?? { remaining: 499, resetSeconds: 300 };
    if (!counted) return { left: remaining, resetSeconds };
    const now = Date.now();
    const current = windows.get(bucket);
    const window =
      current === undefined || now >= current.endsAt
        ? { left: remaining, endsAt: now + resetSeconds * 1000 }
        : current;
    window.left -= 1;
    windows.set(bucket, window);
    return { left: window.left, resetSeconds: Math.ceil((window.endsAt - now) / 1000) };
  }

  function cdnAnswer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '/', cdnOrigin);
    const expires = Number(url.searchParams.get('Expires'));
    const good =
      url.searchParams.get('X-Amz-Signature') === signatureOf(url.pathname, expires, generation) &&
      Date.now() < expires;
    const sha256 = url.pathname.slice(1);
    const file = [...state.repositories.values()]
      .flatMap(({ commits }) => [...commits.values()].flatMap(({ files }) => [...files.values()]))
      .find((candidate) => candidate.lfs && candidate.sha256 === sha256);
    if (!good || file === undefined) {
      const body = '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>';
      return Promise.resolve({ status: 403, headers: { 'content-type': 'application/xml' }, body });
    }
    return Promise.resolve({
      status: 200,
      headers: { 'content-type': 'binary/octet-stream', etag: `"${sha256}"`, 'accept-ranges': 'bytes' },
      body: file.bytes,
      ranges: true,
    });
  }

  function takeFault(server: 'hub' | 'cdn', request: IncomingMessage): HfFault['kind'] | undefined {
    const taken = faults.find(
      ({ fault, left }) =>
        left > 0 &&
        (fault.server ?? server) === server &&
        (fault.method ?? request.method) === request.method &&
        (fault.part === undefined || fault.part === partOf(request)) &&
        (fault.matches?.test(request.url ?? '') ?? true),
    );
    if (taken === undefined) return undefined;
    taken.left -= 1;
    return taken.fault.kind;
  }

  async function serve(
    server: 'hub' | 'cdn',
    request: IncomingMessage,
    response: ServerResponse,
    answerOf: () => Promise<Answer>,
  ): Promise<void> {
    const entry = {
      server,
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      status: 0,
      bytes: 0,
    };
    requests.push(entry);
    await options.hold?.(entry);
    const fault = takeFault(server, request);
    if (fault !== undefined && 'never' in fault) {
      arrived();
      return;
    }
    if (fault !== undefined && 'reset' in fault) {
      request.socket.destroy();
      return;
    }
    const pause = fault !== undefined && 'delayMs' in fault ? fault.delayMs : (options.latencyMs ?? 0);
    if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
    const failed = fault !== undefined && 'status' in fault;
    const right = failed
      ? { status: fault.status, headers: fault.headers ?? {}, body: fault.body ?? '' }
      : ranged(await answerOf(), request);
    const answer = fault !== undefined && 'change' in fault ? fault.change(right) : right;
    let body = bufferOf(answer.body);
    if (fault !== undefined && 'corrupt' in fault && body.length > 0) {
      body = Buffer.from(body);
      body[0] = (body[0] ?? 0) ^ 0xff;
    }
    response.writeHead(answer.status, { 'content-length': String(body.length), ...answer.headers });
    entry.status = answer.status;
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const ends =
      fault === undefined
        ? undefined
        : 'cut' in fault
          ? fault.cut
          : 'stall' in fault
            ? fault.stall
            : undefined;
    if (ends !== undefined) body = body.subarray(0, ends);
    response.flushHeaders();
    const rate = server === 'cdn' ? options.bytesPerSecond : undefined;
    const onSent = (bytes: number): Promise<void> | void => {
      entry.bytes += bytes;
      return options.sent?.(entry);
    };
    const slow = fault !== undefined && 'dripLast' in fault ? Math.min(fault.dripLast, body.length) : 0;
    await send(response, body.subarray(0, body.length - slow), rate, onSent);
    if (slow > 0) await send(response, body.subarray(body.length - slow), slow / 2, onSent);
    const { 'content-length': declared = String(body.length) } = answer.headers;
    if (Number(declared) !== body.length) response.socket?.destroySoon();
    else if (ends === undefined) response.end();
    else if (fault !== undefined && 'stall' in fault) arrived();
    else response.socket?.destroySoon();
  }

  return {
    endpoint: state.origin,
    cdn: cdnOrigin,
    requests,
    clearRequests: () => {
      requests.length = 0;
    },
    commitOf: (id, ref = 'main') => {
      const commit = state.repositories.get(id)?.refs.get(ref);
      if (commit === undefined) throw new Error(`Expected ${id} to have ${ref}`);
      return commit.id;
    },
    putRepo: put,
    addFault: (fault) => faults.push({ fault, left: fault.times ?? Infinity }),
    clearFaults: () => {
      faults.length = 0;
      arrival = new Promise<void>((resolve) => (arrived = resolve));
    },
    expireSignatures: () => {
      generation += 1;
    },
    stuck: () => arrival,
    close: async () => {
      await Promise.all([stop(hubServer), stop(cdnServer)]);
    },
  };
}

function answerTo(state: HubState, asked: AskedHub): Answer {
  try {
    return asked.path.startsWith('/api/') ? apiAnswer(state, asked) : resolveAnswer(state, asked);
  } catch (error) {
    // A client that does not encode addresses, or sends no JSON.
    if (!(error instanceof URIError || error instanceof SyntaxError)) throw error;
    return { status: 400, headers: { 'content-type': 'text/plain' }, body: 'Bad Request' };
  }
}

function partOf({ headers }: IncomingMessage): 'first' | 'later' {
  return /^bytes=0-/.test(headers.range ?? 'bytes=0-') ? 'first' : 'later';
}

function signatureOf(path: string, expires: number, generation: number): string {
  return createHmac('sha256', SECRET).update(`${path} ${expires} ${generation}`).digest('hex');
}

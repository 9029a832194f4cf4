/**
 * The one HTTP client: proxies, certificates, redirects, retries, rate limits, time-outs. Everything that leaves this
 * machine goes through it, SDKs included (they get it as a `fetch`).
 */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TLSSocket } from 'node:tls';
import { setTimeout as delay } from 'node:timers/promises';
import { abortError, ModeldlError, throwIfAborted } from '../errors.js';
import type { Emit } from '../events.js';
import { redactUrl, secretsIn } from '../redact.js';
import { createAgents, type ProxySettings } from './agents.js';
import { BrokenBody, readBody, readBodyInSlabs, type ReadOptions } from './body.js';
import {
  backoff,
  createRateLimiter,
  createServerLimits,
  resetAfter,
  retryAfter,
  type Grant,
  type Wait,
} from './limits.js';
import { createGrants, type Grant as AccessGrant } from './grants.js';
import { isTransient, networkError } from './network-error.js';
import { createSlabPool, type SlabPool } from './slabs.js';

export interface HttpSettings {
  readonly userAgent: string;
  readonly proxy: ProxySettings;
  /** Extra certificates, PEM texts. */
  readonly ca: readonly string[];
  /** True: every request fails without opening a socket. */
  readonly offline: boolean;
  /** Bytes per second over all bodies. */
  readonly limitRate?: number;
  /** Attempts after the first, per request. */
  readonly retries: number;
  /** Bound on the waits of one request together, milliseconds. */
  readonly maxWaitMs: number;
  /** Bound on connecting, milliseconds. */
  readonly connectTimeoutMs: number;
  /** A connection without a byte for this long is dropped, milliseconds. */
  readonly idleTimeoutMs: number;
  /** Headers for one address; asked for every hop, so that a credential never reaches another origin. */
  authorize?(url: URL): Promise<Readonly<Record<string, string>> | undefined>;
  /** Throws when an address, the first or a redirect's, may not be asked. */
  allow?(url: URL): void;
  /**
   * Answers a refusal that names what it wants (401 with `WWW-Authenticate`); the request is then sent once more.
   * @param ask sends requests whose own refusals are not answered
   */
  challenged?(url: URL, challenge: string, ask: typeof globalThis.fetch): Promise<AccessGrant | undefined>;
  readonly emit: Emit;
  /** Told of every secret that a request carries, before it is sent. */
  onSecret?(secret: string): void;
  /** For tests. */
  readonly wait?: Wait;
}

export const HTTP_DEFAULTS = {
  retries: 5,
  // The rate limits of Hugging Face reset within 300 s.
  maxWaitMs: 310_000,
  connectTimeoutMs: 20_000,
  idleTimeoutMs: 15_000,
};

/** A body that is read while it is sent, anew for each attempt. */
export interface StreamedBody {
  readonly bytes: number;
  open(): Readable;
}

export interface HttpRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | StreamedBody;
  readonly signal: AbortSignal;
  readonly redirect?: 'follow' | 'manual';
  /** Attempts after the first; default from the settings. */
  readonly retries?: number;
  /** False: a challenge is the answer. */
  readonly answersChallenge?: boolean;
  /** True: without any credential, wherever it goes. */
  readonly anonymous?: boolean;
  /** Bound on its waits together, milliseconds; default from the settings. */
  readonly maxWaitMs?: number;
  /** Told when it is tried again; default from the settings. */
  readonly emit?: Emit;
}

/** What holds for all requests of a client, where a request says nothing else. */
export interface HttpHabits extends Pick<HttpRequest, 'anonymous' | 'retries' | 'maxWaitMs' | 'emit'> {
  /** How often a download whose connections bring nothing is continued; default from the settings. */
  readonly continuations?: number;
}

export interface HttpResponse {
  /** After redirects. */
  readonly url: string;
  readonly status: number;
  header(name: string): string | undefined;
  /** Header names and values as received, lower-case names. */
  readonly headers: readonly (readonly [string, string])[];
  /**
   * Reads the body in pieces of up to 512 KiB, in order; several may be with `onChunk` at a time. A piece's memory is
   * valid until the promise resolves, or during the call without one.
   * @throws BrokenBody after all that came was handed out, INTERRUPTED, and what `onChunk` throws
   */
  read(onChunk: ReadOptions['onChunk']): Promise<void>;
  /** Reads a small body whole. @throws ModeldlError NETWORK past 32 MiB or when it breaks off */
  text(): Promise<string>;
  /** The body for whoever wants a web stream. It breaks with the same errors as `text`. */
  stream(): ReadableStream<Uint8Array>;
  /** Lets the connection be used again, or closes it. */
  discard(): void;
}

export interface HttpClient {
  readonly settings: HttpSettings;
  /** Any status is an answer, except 408, 429 and 5xx, which are retried first. @throws ModeldlError NETWORK */
  request(url: string, request: HttpRequest): Promise<HttpResponse>;
  /** Milliseconds to wait before `bytes` more may be read (`--limit-rate`). */
  throttle(bytes: number): number;
  readonly wait: Wait;
  readonly fetch: typeof globalThis.fetch;
  /** The same client, with its connections and limits, and other habits. */
  as(habits: HttpHabits): HttpClient;
  close(): void;
}

/** What one request may still wait for, its retries, redirects and rate limits together. */
interface WaitBudget {
  leftMs: number;
  /** Told of what is waited for. */
  readonly emit: Emit;
}

const MAX_REDIRECTS = 10;
const MAX_TEXT_BYTES = 32 * 1024 * 1024;
/** A body that nobody wants is read to its end for the sake of its connection only up to this length. */
const MAX_DISCARDED_BYTES = 64 * 1024;
/** Pieces that bodies are read in: the fastest size, and 32 files at once may have three each. */
const SLAB_BYTES = 512 * 1024;
/** A server may look at all of a long body before it answers, milliseconds after its last byte. */
const DIGESTION_MS = 300_000;
/** Smallest pieces, for rates so low that a full-sized one would take seconds. */
const MIN_SLAB_BYTES = 16 * 1024;
/** Pieces per second at a limited rate. */
const LIMITED_PIECES = 8;

export function createHttpClient(settings: HttpSettings): HttpClient {
  const agents = createAgents(settings.proxy, settings.ca);
  const limits = createServerLimits();
  const limiter = createRateLimiter(settings.limitRate);
  const grants = createGrants();
  const pool = createSlabPool(
    Math.max(
      MIN_SLAB_BYTES,
      Math.min(SLAB_BYTES, Math.ceil((settings.limitRate ?? Infinity) / LIMITED_PIECES)),
    ),
  );
  const wait = settings.wait ?? abortableWait;
  const tell = (secrets: readonly string[]): void => {
    for (const secret of secrets) settings.onSecret?.(secret);
  };
  for (const address of [settings.proxy.http, settings.proxy.https]) tell(secretsIn(address ?? ''));

  const request = (url: string, options: HttpRequest): Promise<HttpResponse> =>
    requestFor(url, options, (response) => Promise.resolve(response));

  /** @param use makes of an answer what the caller wants of it; where that breaks off, it is asked for again */
  async function requestFor<Result>(
    url: string,
    options: HttpRequest,
    use: (response: HttpResponse) => Promise<Result>,
  ): Promise<Result> {
    const retries = options.retries ?? settings.retries;
    const { emit = settings.emit } = options;
    const budget: WaitBudget = { leftMs: options.maxWaitMs ?? settings.maxWaitMs, emit };
    for (let attempt = 0; ; attempt += 1) {
      throwIfAborted(options.signal);
      let failure: { reason: string; error?: ModeldlError; response?: HttpResponse; waitMs?: number };
      try {
        const response = await followRedirects(url, options, budget);
        if (!isRetried(response.status)) return await use(response);
        const now = Date.now();
        const asked =
          retryAfter(response.header('retry-after'), now) ??
          resetAfter(response.header('x-ratelimit-remaining'), response.header('x-ratelimit-reset'), now);
        failure = {
          reason: `answered ${response.status}`,
          response,
          ...(asked === undefined ? {} : { waitMs: asked }),
        };
      } catch (error) {
        if (options.signal.aborted) throw abortError(options.signal);
        if (!(error instanceof ModeldlError) || error.code !== 'NETWORK' || !isTransient(error)) throw error;
        failure = { reason: error.message, error };
      }
      const waitMs = failure.waitMs ?? backoff(attempt, Math.random);
      if (attempt >= retries || waitMs > budget.leftMs) {
        if (failure.error) throw failure.error;
        if (failure.response) return await use(failure.response);
      }
      failure.response?.discard();
      emit({
        type: 'retry',
        url: redactUrl(url),
        reason: failure.reason,
        attempt: attempt + 1,
        waitMs,
      });
      budget.leftMs -= waitMs;
      await wait(waitMs, options.signal);
    }
  }

  async function followRedirects(
    first: string,
    options: HttpRequest,
    budget: WaitBudget,
  ): Promise<HttpResponse> {
    let url = parseUrl(first);
    let method = options.method ?? 'GET';
    let headers = options.headers ?? {};
    let body = options.body;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      settings.allow?.(url);
      const sendNow = (): Promise<HttpResponse> =>
        sendWithinLimits(url, options.signal, budget, () => send(url, method, headers, body, options));
      const granted = grants.headersFor(url);
      let response = await sendNow();
      if (
        response.status === 401 &&
        options.answersChallenge !== false &&
        options.anonymous !== true &&
        // Another request may have got something since this one was sent.
        (grants.headersFor(url) !== granted || (await answered(url, response)))
      ) {
        response.discard();
        response = await sendNow();
      }
      const location = response.header('location');
      const redirected = [301, 302, 303, 307, 308].includes(response.status) && location !== undefined;
      if (!redirected || options.redirect === 'manual') return response;
      response.discard();
      const next = redirectTarget(url, location);
      if (next.origin !== url.origin) headers = withoutCredentials(headers);
      if (response.status === 303 || (response.status < 303 && method === 'POST')) {
        method = method === 'HEAD' ? 'HEAD' : 'GET';
        body = undefined;
      }
      url = next;
    }
    throw new ModeldlError('NETWORK', `Too many redirects: ${redactUrl(first)}`, {
      hint: 'check the address in a browser',
      details: { url: redactUrl(first) },
    });
  }

  async function answered(url: URL, response: HttpResponse): Promise<boolean> {
    const header = response.header('www-authenticate');
    if (header === undefined || settings.challenged === undefined) return false;
    const ask = fetchBy({ answersChallenge: false });
    try {
      return await grants.answer(url, header, async () => settings.challenged?.(url, header, ask));
    } catch (error) {
      throw final(error);
    }
  }

  async function sendWithinLimits(
    url: URL,
    signal: AbortSignal,
    budget: WaitBudget,
    sendNow: () => Promise<HttpResponse>,
  ): Promise<HttpResponse> {
    const grant = await takeTurn(url, signal, budget);
    let response: HttpResponse;
    try {
      response = await sendNow();
    } catch (error) {
      grant.lost();
      throw error;
    }
    grant.answered(response.header('ratelimit'), performance.now());
    return response;
  }

  async function takeTurn(url: URL, signal: AbortSignal, budget: WaitBudget): Promise<Grant> {
    let now = performance.now();
    for (;;) {
      const turn = limits.take(url, now);
      if (!('waitMs' in turn)) return turn;
      const { waitMs, change, isNews } = turn;
      if (change !== undefined) {
        const waited = await waitForChange(change, waitMs, signal);
        now = Math.max(performance.now(), waited ? now + waitMs : now);
        continue;
      }
      if (waitMs > budget.leftMs) throw usedUp(url, waitMs);
      if (isNews) {
        const reason = 'its rate limit is used up';
        budget.emit({ type: 'retry', url: url.origin, reason, attempt: 0, waitMs });
      }
      budget.leftMs -= waitMs;
      await wait(waitMs, signal);
      now = Math.max(performance.now(), now + waitMs);
    }
  }

  /** Did the time pass, with no change before? */
  async function waitForChange(change: Promise<void>, waitMs: number, signal: AbortSignal): Promise<boolean> {
    const stop = new AbortController();
    const timer = wait(waitMs, AbortSignal.any([signal, stop.signal])).then(() => true);
    try {
      return await Promise.race([change.then(() => false), timer]);
    } finally {
      timer.catch(() => undefined);
      stop.abort(new ModeldlError('INTERRUPTED', 'No longer waited for'));
    }
  }

  async function send(
    url: URL,
    method: string,
    headers: Readonly<Record<string, string>>,
    body: HttpRequest['body'],
    { signal, anonymous }: HttpRequest,
  ): Promise<HttpResponse> {
    if (settings.offline) {
      throw new ModeldlError('NETWORK', `Offline, so not asked: ${redactUrl(url.href)}`, {
        hint: 'run without `--offline`',
        details: { url: redactUrl(url.href), offline: true },
      });
    }
    const authorization =
      anonymous === true ? {} : { ...(await settings.authorize?.(url)), ...grants.headersFor(url) };
    tell(secretsIn(url.href, { ...headers, ...authorization }));
    const secure = url.protocol === 'https:';
    const open = secure ? httpsRequest : httpRequest;
    const { agent, proxy, options } = await agents.for(url);
    return new Promise((resolve, reject) => {
      const message: ClientRequest = open(url, {
        method,
        agent,
        ...options,
        signal,
        headers: {
          'user-agent': settings.userAgent,
          accept: '*/*',
          'accept-encoding': 'identity',
          ...authorization,
          ...headers,
          ...(body === undefined ? {} : { 'content-length': String(lengthOf(body)) }),
        },
      });
      let isAnswered = false;
      const fail = (error: unknown): void => {
        // An error after the answer belongs to the body's reader; ending the request would drop what it has not read.
        if (isAnswered) return;
        stopTimers();
        message.destroy();
        reject(signal.aborted ? abortError(signal) : networkError(error, url, proxy));
      };
      const onTimeout = (): void => {
        fail(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
      };
      const connecting = setTimeout(onTimeout, settings.connectTimeoutMs);
      let answering = setTimeout(onTimeout, settings.connectTimeoutMs + settings.idleTimeoutMs);
      const stopTimers = (): void => {
        clearTimeout(connecting);
        clearTimeout(answering);
      };
      message.once('socket', (socket) => {
        const connected = (): void => {
          clearTimeout(connecting);
        };
        if (socket.connecting) socket.once(secure ? 'secureConnect' : 'connect', connected);
        else connected();
      });
      message.once('response', (response) => {
        if (response.statusCode === 407 && proxy !== undefined) {
          fail(proxyLogin(url, proxy));
          return;
        }
        if (secure && proxy !== undefined && !(response.socket instanceof TLSSocket)) {
          fail(proxyRefusal(url, proxy, response.statusCode ?? 0));
          return;
        }
        stopTimers();
        isAnswered = true;
        resolve(describe(url, response, { signal, idleTimeoutMs: settings.idleTimeoutMs, pool }));
      });
      // Kept for the life of the request: an error that nobody listens to would end the program.
      message.on('error', fail);
      if (!isStreamed(body)) {
        message.end(body);
        return;
      }
      const pieces = onEach(body.open(), () => answering.refresh());
      pipeline(pieces, message).then(() => {
        clearTimeout(answering);
        if (!isAnswered) answering = setTimeout(onTimeout, DIGESTION_MS);
      }, fail);
    });
  }

  function fetchBy(
    more: Omit<HttpHabits, 'continuations'> & Pick<HttpRequest, 'answersChallenge'>,
  ): typeof globalThis.fetch {
    return async (input, init) => {
      const given = new Request(input, init);
      const body = given.body === null ? undefined : new Uint8Array(await given.arrayBuffer());
      const headers = Object.fromEntries(given.headers);
      const asked: HttpRequest = {
        method: given.method,
        headers,
        // Not `given.signal`: it follows the caller's only until `given` is collected as garbage.
        signal: init?.signal ?? (input instanceof Request ? input.signal : given.signal),
        redirect: given.redirect === 'manual' ? 'manual' : 'follow',
        ...(body === undefined ? {} : { body }),
        ...more,
      };
      // What an SDK reads whole is not an answer before all of it is here.
      const isRead = given.method === 'GET' && !given.headers.has('range');
      return requestFor(given.url, asked, async (response) =>
        toFetchResponse(response, isRead && isDocument(response) ? await response.text() : undefined),
      );
    };
  }

  const clientOf = (habits: HttpHabits): HttpClient => {
    const { continuations = settings.retries, ...each } = habits;
    const { emit = settings.emit } = each;
    return {
      settings: { ...settings, retries: continuations, emit },
      request: (url, options) => request(url, { ...each, ...options }),
      wait,
      throttle: (bytes) => limiter.take(bytes, performance.now()),
      fetch: fetchBy(each),
      as: (more) => clientOf({ ...habits, ...more }),
      close: () => {
        agents.close();
      },
    };
  };
  return clientOf({});
}

/** What was tried again already: the request that waited for it must not do so once more. */
function final(error: unknown): unknown {
  if (!(error instanceof ModeldlError) || error.code !== 'NETWORK') return error;
  const { systemCode, ...details } = error.details;
  return new ModeldlError('NETWORK', error.message, { hint: error.hint, cause: error.cause, details });
}

function isStreamed(body: HttpRequest['body']): body is StreamedBody {
  return typeof body === 'object' && 'open' in body;
}

function lengthOf(body: NonNullable<HttpRequest['body']>): number {
  return isStreamed(body) ? body.bytes : Buffer.byteLength(body);
}

async function* onEach(source: Readable, tell: () => void): AsyncGenerator {
  for await (const piece of source) {
    tell();
    yield piece;
  }
}

function proxyLogin(url: URL, proxy: string): ModeldlError {
  const variable = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  return new ModeldlError('NETWORK', `Cannot reach ${url.host}: the proxy ${proxy} wants a login`, {
    // Without a scheme, since what looks like the login of an address is taken out of everything that is said.
    hint: `put its user and password, or the right ones, into its address, as in \`${variable}=user:password@host:port\``,
    details: { url: redactUrl(url.href), status: 407 },
  });
}

/** No tunnel was made: what it said is no answer of the server. A proxy that cannot reach it may do so later. */
function proxyRefusal(url: URL, proxy: string, status: number): ModeldlError {
  const systemCode = status >= 500 || status === 429 ? { systemCode: 'ERR_PROXY_TUNNEL' } : {};
  return new ModeldlError('NETWORK', `Cannot reach ${url.host}: the proxy ${proxy} answered ${status}`, {
    hint: `ask whoever runs the proxy to let it through, or name the host in \`NO_PROXY\` when it can be reached directly`,
    details: { url: redactUrl(url.href), status, ...systemCode },
  });
}

function usedUp(url: URL, waitMs: number): ModeldlError {
  return new ModeldlError('NETWORK', `${url.host} takes no more requests for ${Math.ceil(waitMs / 1000)} s`, {
    hint: 'try again later, log in for a higher limit, or allow more with `--max-wait`',
    details: { url: redactUrl(url.href) },
  });
}

/** Is it what hubs answer with, a listing for one, and not a file of a model? */
function isDocument(response: HttpResponse): boolean {
  return /\b(json|html|xml|yaml|plain)\b/.test(response.header('content-type') ?? '');
}

function isRetried(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'https:' || url?.protocol === 'http:') return url;
  throw new ModeldlError('NETWORK', `Not an http or https address: ${redactUrl(text)}`, {
    details: { url: redactUrl(text) },
  });
}

function redirectTarget(from: URL, location: string): URL {
  const target = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  // What cannot be read as an address is cut where a query would begin.
  const shown = target === undefined ? (/^[^?#]*/.exec(location)?.[0] ?? '') : redactUrl(target.href);
  const refuse = (why: string): ModeldlError =>
    new ModeldlError('NETWORK', `${redactUrl(from.href)} redirects to ${why}: ${shown}`, {
      hint: 'ask whoever runs the server, or use another address of the file',
      details: { url: shown },
    });
  if (target === undefined || !/^https?:$/.test(target.protocol))
    throw refuse('an address that is not http or https');
  if (from.protocol === 'https:' && target.protocol === 'http:') throw refuse('an unencrypted address');
  return target;
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !/^(authorization|cookie|proxy-authorization)$/i.test(name)),
  );
}

function describe(url: URL, message: IncomingMessage, reading: Reading): HttpResponse {
  const headers: (readonly [string, string])[] = [];
  for (let at = 0; at + 1 < message.rawHeaders.length; at += 2) {
    headers.push([(message.rawHeaders[at] ?? '').toLowerCase(), message.rawHeaders[at + 1] ?? '']);
  }
  return {
    url: url.href,
    status: message.statusCode ?? 0,
    headers,
    header: (name) => headers.find(([candidate]) => candidate === name)?.[1],
    read: (onChunk) => readBodyInSlabs(message, { ...reading, onChunk }),
    text: () =>
      readWhole(message, MAX_TEXT_BYTES, reading).then(
        (bytes) => bytes.toString('utf8'),
        (error: unknown) => {
          throw bodyError(error, url);
        },
      ),
    stream: () => streamOf(message, url, reading),
    discard: () => {
      const declared = Number(message.headers['content-length'] ?? 0);
      if (declared > MAX_DISCARDED_BYTES) message.destroy();
      // However it ends, nobody wants to know.
      else readWhole(message, MAX_DISCARDED_BYTES, reading).catch(() => undefined);
    },
  };
}

type Reading = Omit<ReadOptions, 'onChunk'> & { readonly pool: SlabPool };

async function readWhole(message: IncomingMessage, maxBytes: number, reading: Reading): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  await readBody(message, {
    ...reading,
    onChunk: (chunk) => {
      bytes += chunk.length;
      if (bytes > maxBytes) throw Object.assign(new Error('too long'), { code: 'EMSGSIZE' });
      chunks.push(chunk);
      return undefined;
    },
  });
  return Buffer.concat(chunks);
}

/** The body as SDKs read it, with the same bound on silence and the same errors as everywhere else. */
function streamOf(message: IncomingMessage, url: URL, reading: Reading): ReadableStream<Uint8Array> {
  let wanted: () => void = () => undefined;
  let cancelled = false;
  return new ReadableStream({
    start(controller) {
      const read = readBody(message, {
        ...reading,
        onChunk: (chunk) => {
          controller.enqueue(chunk);
          if ((controller.desiredSize ?? 0) > 0) return undefined;
          return new Promise((resolve) => (wanted = resolve));
        },
      });
      read.then(
        () => {
          if (!cancelled) controller.close();
        },
        (error: unknown) => {
          controller.error(bodyError(error, url));
        },
      );
    },
    pull() {
      wanted();
    },
    cancel() {
      cancelled = true;
      message.destroy();
    },
  });
}

function bodyError(error: unknown, url: URL): ModeldlError {
  return networkError(error instanceof BrokenBody ? (error.cause ?? error) : error, url);
}

/** @param text the body, where it was read already */
function toFetchResponse(response: HttpResponse, text?: string): Response {
  const headers = new Headers(response.headers.map(([name, value]): [string, string] => [name, value]));
  const empty = [204, 205, 304].includes(response.status);
  if (empty) response.discard();
  const body = empty ? null : (text ?? response.stream());
  const made = new Response(body, { status: response.status, headers });
  Object.defineProperty(made, 'url', { value: response.url });
  return made;
}

async function abortableWait(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal });
  } catch {
    throw abortError(signal);
  }
}

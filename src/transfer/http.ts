/**
 * The one HTTP client: proxies, certificates, redirects, retries, rate limits, time-outs. Everything that leaves this
 * machine goes through it, SDKs included (they get it as a `fetch`).
 */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { abortError, ModeldlError, throwIfAborted } from '../errors.js';
import type { Emit } from '../events.js';
import { redactUrl } from '../redact.js';
import { createAgents, type ProxySettings } from './agents.js';
import { backoff, createRateLimiter, createServerLimits, retryAfter, type Wait } from './limits.js';
import { isTransient, networkError } from './network-error.js';

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
  readonly emit: Emit;
  /** For tests. */
  readonly wait?: Wait;
}

export const HTTP_DEFAULTS = {
  retries: 5,
  maxWaitMs: 120_000,
  connectTimeoutMs: 20_000,
  idleTimeoutMs: 15_000,
};

export interface HttpRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly signal: AbortSignal;
  readonly redirect?: 'follow' | 'manual';
  /** Attempts after the first; default from the settings. */
  readonly retries?: number;
}

export interface HttpResponse {
  /** After redirects. */
  readonly url: string;
  readonly status: number;
  header(name: string): string | undefined;
  /** Header names and values as received, lower-case names. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: IncomingMessage;
  /** Reads a small body whole. @throws ModeldlError NETWORK past 32 MiB or when it breaks off */
  text(): Promise<string>;
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
  close(): void;
}

const MAX_REDIRECTS = 10;
const MAX_TEXT_BYTES = 32 * 1024 * 1024;
const RETRIED = new Set([408, 429, 500, 502, 503, 504]);

export function createHttpClient(settings: HttpSettings): HttpClient {
  const agents = createAgents(settings.proxy, settings.ca);
  const limits = createServerLimits();
  const limiter = createRateLimiter(settings.limitRate);
  const wait = settings.wait ?? abortableWait;

  async function request(url: string, options: HttpRequest): Promise<HttpResponse> {
    const retries = options.retries ?? settings.retries;
    let waited = 0;
    for (let attempt = 0; ; attempt += 1) {
      throwIfAborted(options.signal);
      let failure: { reason: string; error?: ModeldlError; response?: HttpResponse; waitMs?: number };
      try {
        const response = await followRedirects(url, options);
        if (!RETRIED.has(response.status)) return response;
        const asked = retryAfter(response.header('retry-after'), Date.now());
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
      if (attempt >= retries || waited + waitMs > settings.maxWaitMs) {
        if (failure.error) throw failure.error;
        if (failure.response) return failure.response;
      }
      failure.response?.discard();
      settings.emit({
        type: 'retry',
        url: redactUrl(url),
        reason: failure.reason,
        attempt: attempt + 1,
        waitMs,
      });
      waited += waitMs;
      await wait(waitMs, options.signal);
    }
  }

  async function followRedirects(first: string, options: HttpRequest): Promise<HttpResponse> {
    let url = parseUrl(first);
    let method = options.method ?? 'GET';
    let headers = options.headers ?? {};
    let body = options.body;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      settings.allow?.(url);
      await obeyLimits(url, options.signal);
      const response = await send(url, method, headers, body, options.signal);
      limits.observe(url, response.header('ratelimit'), performance.now());
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

  async function obeyLimits(url: URL, signal: AbortSignal): Promise<void> {
    const waitMs = limits.delay(url, performance.now());
    if (waitMs === 0) return;
    if (waitMs > settings.maxWaitMs) {
      throw new ModeldlError(
        'NETWORK',
        `${url.host} takes no more requests for ${Math.ceil(waitMs / 1000)} s`,
        {
          hint: 'try again later, log in for a higher limit, or allow more with `--max-wait`',
          details: { url: redactUrl(url.href) },
        },
      );
    }
    settings.emit({
      type: 'retry',
      url: url.origin,
      reason: 'its rate limit is used up',
      attempt: 0,
      waitMs,
    });
    await wait(waitMs, signal);
  }

  async function send(
    url: URL,
    method: string,
    headers: Readonly<Record<string, string>>,
    body: string | Uint8Array | undefined,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    if (settings.offline) {
      throw new ModeldlError('NETWORK', `Offline, so not asked: ${redactUrl(url.href)}`, {
        hint: 'run without `--offline`',
        details: { url: redactUrl(url.href), offline: true },
      });
    }
    const authorization = await settings.authorize?.(url);
    const open = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const message: ClientRequest = open(url, {
        method,
        agent: agents.for(url),
        signal,
        headers: {
          'user-agent': settings.userAgent,
          accept: '*/*',
          'accept-encoding': 'identity',
          ...authorization,
          ...headers,
          ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
        },
      });
      const fail = (error: unknown): void => {
        message.destroy();
        reject(signal.aborted ? abortError(signal) : networkError(error, url));
      };
      const connecting = setTimeout(() => {
        fail(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
      }, settings.connectTimeoutMs + settings.idleTimeoutMs);
      message.once('response', (response) => {
        clearTimeout(connecting);
        resolve(describe(url, response));
      });
      // Kept for the life of the request: an error after the answer belongs to the body's reader.
      message.on('error', (error) => {
        clearTimeout(connecting);
        fail(error);
      });
      message.end(body);
    });
  }

  const client: HttpClient = {
    settings,
    request,
    wait,
    throttle: (bytes) => limiter.take(bytes, performance.now()),
    fetch: async (input, init) => {
      const given = new Request(input, init);
      const body = given.body === null ? undefined : new Uint8Array(await given.arrayBuffer());
      const headers = Object.fromEntries(given.headers);
      const response = await request(given.url, {
        method: given.method,
        headers,
        signal: given.signal,
        redirect: given.redirect === 'manual' ? 'manual' : 'follow',
        ...(body === undefined ? {} : { body }),
      });
      return toFetchResponse(response);
    },
    close: () => {
      agents.close();
    },
  };
  return client;
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
  const shown = redactUrl(target?.href ?? location);
  const refuse = (why: string): ModeldlError =>
    new ModeldlError('NETWORK', `${redactUrl(from.href)} redirects to ${why}: ${shown}`, {
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

function describe(url: URL, message: IncomingMessage): HttpResponse {
  const headers: (readonly [string, string])[] = [];
  for (let at = 0; at + 1 < message.rawHeaders.length; at += 2) {
    headers.push([(message.rawHeaders[at] ?? '').toLowerCase(), message.rawHeaders[at + 1] ?? '']);
  }
  return {
    url: url.href,
    status: message.statusCode ?? 0,
    headers,
    header: (name) => headers.find(([candidate]) => candidate === name)?.[1],
    body: message,
    text: () => readText(url, message),
    discard: () => {
      // An unread error of a body that nobody wants must not end the process.
      message.on('error', () => undefined);
      if (Number(message.headers['content-length'] ?? 0) <= 65_536) message.resume();
      else message.destroy();
    },
  };
}

async function readText(url: URL, message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of message) {
      const buffer = chunk as Buffer;
      bytes += buffer.length;
      if (bytes > MAX_TEXT_BYTES) throw Object.assign(new Error('too long'), { code: 'EMSGSIZE' });
      chunks.push(buffer);
    }
  } catch (error) {
    throw networkError(error, url);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function toFetchResponse(response: HttpResponse): Response {
  const headers = new Headers(response.headers.map(([name, value]): [string, string] => [name, value]));
  const empty = [204, 205, 304].includes(response.status);
  if (empty) response.discard();
  const body = empty ? null : (Readable.toWeb(response.body) as ReadableStream<Uint8Array>);
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

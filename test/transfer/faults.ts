/** Local servers that misbehave on order, and a client that talks to them without waiting. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { expect } from 'vitest';
import { ModeldlError, type ErrorCode } from '../../src/errors.js';
import type { ModeldlEvent } from '../../src/events.js';
import { createConnectionBudget } from '../../src/transfer/helpers.js';
import { createHttpClient, type HttpClient, type HttpSettings } from '../../src/transfer/http.js';

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export interface Local {
  /** `http://127.0.0.1:port`, or https. */
  readonly origin: string;
  readonly host: string;
  readonly requests: readonly SeenRequest[];
  /** How many connections it took. */
  readonly connections: () => number;
}

/** Everything a test opened; `close` ends it all. */
export interface World {
  serve(answer: RequestListener, tls?: { readonly key: string; readonly cert: string }): Promise<Local>;
  /** @param tunnel what it says to each `CONNECT`, or to the first, second and so on */
  proxy(
    tunnel?: TunnelAnswer | ((at: number) => TunnelAnswer),
  ): Promise<Local & { readonly tunnels: readonly SeenRequest[] }>;
  client(settings?: Partial<HttpSettings>): TestClient;
  close(): Promise<void>;
}

/**
 * What a proxy says to `CONNECT`: `open` makes the tunnel, `silent` never answers, a number refuses, `dropAfter` makes a
 * tunnel that is dropped once so many bytes came back through it.
 */
export type TunnelAnswer = 'open' | 'silent' | number | { readonly dropAfter: number };

export interface TestClient {
  readonly http: HttpClient;
  readonly events: readonly ModeldlEvent[];
  /** What it would have waited, milliseconds. */
  readonly waits: readonly number[];
}

export function createWorld(): World {
  const closers: (() => Promise<void> | void)[] = [];

  async function listen(server: Server, scheme: string, requests: SeenRequest[]): Promise<Local> {
    const sockets = new Set<Socket>();
    let connections = 0;
    server.on('connection', (socket: Socket) => {
      connections += 1;
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    return { origin: `${scheme}://${host}`, host, requests, connections: () => connections };
  }

  return {
    serve(answer, tls) {
      const requests: SeenRequest[] = [];
      const listener: RequestListener = (request, response) => {
        requests.push(seen(request));
        answer(request, response);
      };
      const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
      return listen(server, tls === undefined ? 'http' : 'https', requests);
    },
    async proxy(tunnel = 'open') {
      const requests: SeenRequest[] = [];
      const tunnels: SeenRequest[] = [];
      const server = createServer((request, response) => {
        requests.push(seen(request));
        if (typeof tunnel === 'number') response.statusCode = tunnel;
        response.end(`proxied ${request.url ?? ''}`);
      });
      server.on('connect', (request: IncomingMessage, socket: Socket) => {
        const answer = typeof tunnel === 'function' ? tunnel(tunnels.length) : tunnel;
        tunnels.push(seen(request));
        if (answer === 'silent') return;
        if (answer === 'open') openTunnel(request.url ?? '', socket, Infinity);
        else if (typeof answer === 'object') openTunnel(request.url ?? '', socket, answer.dropAfter);
        else socket.end(`HTTP/1.1 ${answer} No\r\ncontent-length: 0\r\n\r\n`);
      });
      return { ...(await listen(server, 'http', requests)), tunnels };
    },
    client(settings = {}) {
      const events: ModeldlEvent[] = [];
      const waits: number[] = [];
      const http = createHttpClient({
        userAgent: 'modeldl-test',
        proxy: {},
        ca: [],
        offline: false,
        retries: 3,
        maxWaitMs: 120_000,
        connectTimeoutMs: 20_000,
        idleTimeoutMs: 15_000,
        emit: (event) => events.push(event),
        wait: (milliseconds) => {
          waits.push(milliseconds);
          return Promise.resolve();
        },
        ...settings,
      });
      closers.push(() => {
        http.close();
      });
      return { http, events, waits };
    },
    async close() {
      for (const close of closers.splice(0).reverse()) await close();
    },
  };
}

function seen(request: IncomingMessage): SeenRequest {
  return { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
}

function openTunnel(target: string, socket: Socket, dropAfter: number): void {
  const { hostname, port } = new URL(`http://${target}`);
  const upstream = connect(Number(port), hostname, () => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    socket.pipe(upstream).pipe(socket);
  });
  let came = 0;
  upstream.on('data', (bytes: Buffer) => {
    came += bytes.length;
    if (came > dropAfter) socket.destroy();
  });
  upstream.on('error', () => socket.destroy());
  socket.on('error', () => upstream.destroy());
}

/** For downloads whose requests a test counts. */
export const ONE_CONNECTION = createConnectionBudget(1, 0);

/** A signal that never fires. */
export function live(): AbortSignal {
  return new AbortController().signal;
}

/** The ModeldlError that a promise rejects with; anything else fails the test. */
export async function refusal(work: Promise<unknown>, code: ErrorCode): Promise<ModeldlError> {
  const outcome = await work.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in outcome)) expect.fail(`Expected ${code}, got ${inspect(outcome.value, { depth: 1 })}`);
  if (!(outcome.error instanceof ModeldlError)) throw outcome.error;
  expect({ code: outcome.error.code, message: outcome.error.message }).toMatchObject({ code });
  return outcome.error;
}

/** Everything about an error that a program could print. */
export function everythingSaid(error: ModeldlError): string {
  return JSON.stringify([error.message, error.hint, error.details]);
}

/** A local server for a hub's tests: routes as a function, faults by a word, and a record of what was asked. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { listen, stop } from '../helpers/http-server.js';
import type { Certificate } from '../transfer/certificate.js';
import type { ServerFault } from './conformance.js';

export interface Route {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Sent without its length, as a server streams what it makes for the request. */
  readonly chunked?: boolean;
}

export interface TestServer {
  /** `http://127.0.0.1:port`; `https` with a certificate. */
  readonly origin: string;
  readonly requests: readonly {
    readonly method: string;
    readonly url: string;
    readonly headers: IncomingMessage['headers'];
  }[];
  readonly setFault: (fault: ServerFault) => void;
  readonly reached: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Starts one; `route` gives what a request is answered with, undefined for 404. */
export async function startServer(
  route: (request: IncomingMessage, path: string) => Route | undefined,
  certificate?: Certificate,
): Promise<TestServer> {
  const requests: TestServer['requests'][number][] = [];
  let fault: ServerFault = 'none';
  let arrived: () => void = () => undefined;
  let arrival = new Promise<void>((resolve) => (arrived = resolve));

  function answer(request: IncomingMessage, response: ServerResponse): void {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers });
    if (fault === 'silent') {
      arrived();
      return;
    }
    const path = new URL(request.url ?? '/', 'http://x').pathname;
    const {
      status = 200,
      headers = {},
      body = '',
      chunked = false,
    } = faulty(fault) ?? route(request, path) ?? { status: 404 };
    const bytes = Buffer.from(body);
    const length = chunked ? {} : { 'content-length': String(bytes.length) };
    response.writeHead(status, { ...length, ...headers });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  const server = certificate === undefined ? createServer(answer) : createSecureServer(certificate, answer);
  const port = await listen(server, 0);
  return {
    origin: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    setFault(kind) {
      fault = kind;
      arrival = new Promise<void>((resolve) => (arrived = resolve));
    },
    reached: () => arrival,
    close: () => stop(server),
  };
}

function faulty(fault: ServerFault): Route | undefined {
  if (fault === '503') return { status: 503 };
  if (fault === 'html')
    return { headers: { 'content-type': 'text/html' }, body: '<html><body>Log in</body></html>' };
  return undefined;
}

/** Bodies that are read while they are sent. */
import { createServer, type Server } from 'node:http';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createHttpClient,
  HTTP_DEFAULTS,
  type HttpClient,
  type StreamedBody,
} from '../../src/transfer/http.js';

const PIECES = Array.from({ length: 64 }, (_piece, at) => Buffer.alloc(64 * 1024, at));
const BYTES = PIECES.reduce((sum, { length }) => sum + length, 0);

let server: Server;
let client: HttpClient;
let opened: number;
/** Of each request: its declared length, and the bytes that came. */
let received: { readonly declared: string | undefined; readonly body: Buffer }[];
let answers: readonly number[];

beforeEach(async () => {
  [opened, received, answers] = [0, [], [201]];
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ declared: request.headers['content-length'], body: Buffer.concat(chunks) });
      response.writeHead(answers[received.length - 1] ?? 201, { location: '/elsewhere' });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  client = createHttpClient({
    ...HTTP_DEFAULTS,
    userAgent: 'modeldl-test',
    proxy: {},
    ca: [],
    offline: false,
    emit: () => undefined,
    wait: () => Promise.resolve(),
  });
});
afterEach(async () => {
  client.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function body(pieces: () => Iterable<Buffer> | AsyncIterable<Buffer> = () => PIECES): StreamedBody {
  return {
    bytes: BYTES,
    open: () => {
      opened += 1;
      return Readable.from(pieces());
    },
  };
}
async function send(streamed: StreamedBody, signal = new AbortController().signal) {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('Expected a port');
  return client.request(`http://127.0.0.1:${address.port}/`, { method: 'PUT', body: streamed, signal });
}

describe('a streamed body', () => {
  it('arrives whole, with its length', async () => {
    expect((await send(body())).status).toBe(201);
    expect(received.map(({ declared }) => declared)).toEqual([String(BYTES)]);
    expect(received[0]?.body.equals(Buffer.concat(PIECES))).toBe(true);
  });

  it.each([
    ['after a failure of the server', [503, 201]],
    ['after a redirect that keeps it', [307, 201]],
  ])('is read anew %s', async (_when, statuses) => {
    answers = statuses;
    expect((await send(body())).status).toBe(201);
    expect(opened).toBe(2);
    expect(received.map(({ body: { length } }) => length)).toEqual([BYTES, BYTES]);
  });

  it('that cannot be read fails the request, and nothing like it arrives', async () => {
    const broken = body(function* () {
      yield Buffer.alloc(1024);
      throw Object.assign(new Error('bad sector'), { code: 'EIO' });
    });
    await expect(send(broken)).rejects.toMatchObject({ name: 'ModeldlError', cause: { code: 'EIO' } });
    expect(received).toEqual([]);
  });

  it('stops when it is aborted in between', async () => {
    const stop = new AbortController();
    const endless = body(async function* () {
      yield Buffer.alloc(1024);
      stop.abort();
      await new Promise(() => undefined);
    });
    await expect(send(endless, stop.signal)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(received).toEqual([]);
  });
});

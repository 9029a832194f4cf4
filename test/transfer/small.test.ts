import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import type { Digest } from '../../src/hub.js';
import {
  downloadSmall,
  type SmallDownload,
  type SmallOptions,
  type SmallRequest,
} from '../../src/transfer/small.js';
import { temporaryDirectory } from '../helpers/store.js';
import { createWorld, everythingSaid, refusal, type Local, type TestClient } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

const BYTES = Buffer.from(Array.from({ length: 30_000 }, (_value, at) => (at * 7919) % 251));
const OTHER = Buffer.from(BYTES.map((byte) => byte ^ 0xff));
const HALF = 12_000;
const hashOf = (algorithm: string, bytes: Buffer): string =>
  createHash(algorithm).update(bytes).digest('hex');
const sha256 = hashOf('sha256', BYTES);

let controller: AbortController;
let reported: number[];
let options: SmallOptions;
beforeEach(() => {
  controller = new AbortController();
  reported = [];
  options = {
    signal: controller.signal,
    onStart: () => undefined,
    onProgress: (bytes) => reported.push(bytes),
  };
});

function requestOf(server: Local, digest?: Digest): SmallRequest {
  return {
    label: 'config.json',
    url: `${server.origin}/config.json?signature=secret`,
    size: BYTES.length,
    ...(digest === undefined ? {} : { digest }),
  };
}

const promised: Digest = { algorithm: 'sha256', hex: sha256 };

function download(client: TestClient, request: SmallRequest): Promise<SmallDownload> {
  return downloadSmall(client.http, request, options);
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const whole =
  (bytes = BYTES, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-length': String(bytes.length), ...headers }).end(bytes);
  };
const rest =
  (bytes = BYTES, headers: Readonly<Record<string, string>> = {}): Answer =>
  (request, response) => {
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1]);
    const contentRange = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { 'content-range': contentRange, ...headers }).end(bytes.subarray(start));
  };
const broken =
  (headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-length': String(BYTES.length), ...headers });
    response.write(BYTES.subarray(0, HALF), () => response.destroy());
  };

/** Gives the answers one after another; the last one again and again. */
function answering(...answers: readonly Answer[]): Promise<Local> {
  let next = 0;
  return world.serve((request, response) => {
    answers[Math.min(next, answers.length - 1)]?.(request, response);
    next += 1;
  });
}

function rangesOf(server: Local): readonly (string | undefined)[] {
  return server.requests.map(({ headers }) => headers.range);
}

test.each<readonly [string, Digest | undefined]>([
  ['sha256', promised],
  ['sha512', { algorithm: 'sha512', hex: hashOf('sha512', BYTES) }],
  [
    'git-sha1',
    {
      algorithm: 'git-sha1',
      hex: hashOf('sha1', Buffer.concat([Buffer.from(`blob ${BYTES.length}\0`), BYTES])),
    },
  ],
  ['no digest', undefined],
])('%s is checked, and the sha256 is given', async (_name, digest) => {
  const server = await answering(whole());
  const client = world.client();
  expect(await download(client, requestOf(server, digest))).toEqual({
    bytes: BYTES,
    sha256,
    fetchedBytes: BYTES.length,
  });
  expect(reported.at(-1)).toBe(BYTES.length);
  if (digest === undefined) return;
  const wrong = await answering(whole(OTHER));
  await refusal(download(client, requestOf(wrong, digest)), 'INTEGRITY');
});

test('a server that only drips is given up after so many attempts', async () => {
  const server = await world.serve((request, response) => {
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const contentRange = { 'content-range': `bytes ${start}-${BYTES.length - 1}/${BYTES.length}` };
    response.writeHead(start === 0 ? 200 : 206, {
      'content-length': String(BYTES.length - start),
      etag: '"1"',
      ...(start === 0 ? {} : contentRange),
    });
    let at = start;
    const drip = setInterval(() => response.write(BYTES.subarray(at, (at += 1))), 20);
    response.on('close', () => {
      clearInterval(drip);
    });
  });
  const client = world.client({ retries: 2, idleTimeoutMs: 200 });
  const error = await refusal(download(client, requestOf(server, promised)), 'NETWORK');
  expect(error.message).toMatch(/^Cannot finish config\.json: only \d+ bytes in 0 s$/);
  expect(server.requests).toHaveLength(3);
});

test('a file of no bytes', async () => {
  const server = await answering(whole(Buffer.alloc(0)));
  const request = { ...requestOf(server), size: 0 };
  expect(await download(world.client(), request)).toMatchObject({
    sha256: hashOf('sha256', Buffer.alloc(0)),
  });
});

test('a file of this machine, which may be gone or another one by now', async () => {
  const file = join(await temporaryDirectory(), 'config.json');
  await writeFile(file, BYTES);
  const request = { label: 'config.json', url: pathToFileURL(file).href, size: BYTES.length };
  const client = world.client();
  expect(await download(client, request)).toMatchObject({ bytes: BYTES, fetchedBytes: 0 });
  await refusal(download(client, { ...request, size: BYTES.length - 1 }), 'INTEGRITY');
  await refusal(download(client, { ...request, size: BYTES.length + 1 }), 'INTEGRITY');
  const gone = await refusal(download(client, { ...request, url: `${request.url}.gone` }), 'NOT_FOUND');
  expect(gone.message).toContain('it is gone');
});

describe('a broken connection', () => {
  test('is continued at once, on the condition that the file is the same', async () => {
    const server = await answering(broken({ etag: '"v1"' }), rest(BYTES, { etag: '"v1"' }));
    const client = world.client();
    const downloaded = await download(client, requestOf(server, promised));
    expect(downloaded).toMatchObject({ bytes: BYTES, fetchedBytes: BYTES.length });
    expect(rangesOf(server)).toEqual([undefined, `bytes=${HALF}-`]);
    expect(server.requests[1]?.headers['if-range']).toBe('"v1"');
    expect(client.waits).toEqual([]);
    expect(client.events).toMatchObject([{ type: 'retry' }]);
    expect(JSON.stringify(client.events)).not.toContain('secret');
  });

  test('starts over where nothing would tell two versions apart', async () => {
    const server = await answering(broken(), whole(OTHER));
    expect(await download(world.client(), requestOf(server))).toMatchObject({ bytes: OTHER });
    expect(rangesOf(server)).toEqual([undefined, undefined]);
  });

  test.each<readonly [string, Answer]>([
    ['the whole file for a part', whole()],
    ['that there is no such part', (_request, response) => response.writeHead(416).end()],
    ['a part of another version', rest(OTHER, { etag: '"v2"' })],
    [
      'another part',
      (_request, response) => {
        response.writeHead(206, { 'content-range': `bytes 0-9/${BYTES.length}` }).end('0123456789');
      },
    ],
  ])('starts over when the server then answers %s', async (_name, second) => {
    const server = await answering(broken({ etag: '"v1"' }), second, whole());
    expect(await download(world.client(), requestOf(server, promised))).toMatchObject({ bytes: BYTES });
    expect(reported).toContain(0);
  });

  test('ends after so many attempts', async () => {
    const server = await answering((_request, response) => {
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      response.flushHeaders();
      response.destroy();
    });
    const error = await refusal(
      download(world.client({ retries: 2 }), requestOf(server, promised)),
      'NETWORK',
    );
    expect(server.requests).toHaveLength(3);
    expect(everythingSaid(error)).not.toContain('secret');
  });

  test('ends when each answer begins the file anew and breaks off later', async () => {
    let reach = 1000;
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { 'content-length': String(BYTES.length), etag: '"v1"' });
      reach += 1000;
      response.write(BYTES.subarray(0, reach), () => response.destroy());
    });
    await refusal(download(world.client({ retries: 3 }), requestOf(server, promised)), 'NETWORK');
    expect(server.requests.length).toBeLessThanOrEqual(6);
  });
});

describe('what is refused', () => {
  test.each<readonly [string, Answer, ErrorCode]>([
    ['a compressed answer', whole(BYTES, { 'content-encoding': 'gzip' }), 'NETWORK'],
    ['a web page', whole(BYTES, { 'content-type': 'text/html; charset=utf-8' }), 'INTEGRITY'],
    ['a file that is too short', whole(BYTES.subarray(1)), 'INTEGRITY'],
    ['a file that is too long', whole(Buffer.concat([BYTES, BYTES])), 'INTEGRITY'],
    ['a file that is not there', (_request, response) => response.writeHead(404).end(), 'NOT_FOUND'],
    ['a file that needs a login', (_request, response) => response.writeHead(401).end(), 'AUTH'],
    ['a file that needs access', (_request, response) => response.writeHead(403).end(), 'GATED'],
  ])('%s', async (_name, answer, code) => {
    const server = await answering(answer);
    const error = await refusal(download(world.client(), requestOf(server)), code);
    expect(everythingSaid(error)).not.toContain('secret');
  });

  test('more bytes than the hub allows', async () => {
    const server = await answering(whole());
    const request = { ...requestOf(server, promised), maxBytes: BYTES.length - 1 };
    await refusal(download(world.client(), request), 'INTEGRITY');
  });
});

test('an interrupted download ends', async () => {
  const server = await answering((_request, response) => {
    response.writeHead(200, { 'content-length': String(BYTES.length) });
    response.write(BYTES.subarray(0, HALF), () => {
      controller.abort();
    });
  });
  await refusal(download(world.client(), requestOf(server, promised)), 'INTERRUPTED');
});

test('an expired address is asked for again', async () => {
  let signed = 0;
  const storage = await world.serve((_request, response) => {
    signed += 1;
    if (signed === 1) response.writeHead(403).end();
    else response.end(BYTES);
  });
  const server = await world.serve((_request, response) => {
    response.writeHead(302, { location: `${storage.origin}/signed?x=secret` }).end();
  });
  expect(await download(world.client(), requestOf(server, promised))).toMatchObject({ bytes: BYTES });
  expect(signed).toBe(2);
});

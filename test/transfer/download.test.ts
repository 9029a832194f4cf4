import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import type { Digest } from '../../src/hub.js';
import {
  downloadResumable,
  type Downloaded,
  type DownloadOptions,
  type DownloadRequest,
} from '../../src/transfer/download.js';
import { openPartial } from '../../src/transfer/partial.js';
import { temporaryDirectory } from '../helpers/store.js';
import {
  createWorld,
  everythingSaid,
  refusal,
  type Local,
  type TestClient,
  ONE_CONNECTION,
} from './faults.js';

const world = createWorld();
afterEach(() => world.close());

const BYTES = Buffer.from(Array.from({ length: 300_000 }, (_value, at) => (at * 7919) % 251));
const OTHER = Buffer.from(BYTES.map((byte) => byte ^ 0xff));
const HALF = 120_000;
const MONDAY = 'Mon, 05 Jan 2026 10:00:00 GMT';
const TUESDAY = 'Tue, 06 Jan 2026 10:00:00 GMT';
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

let directory: string;
let controller: AbortController;
let started: (readonly [number, number | undefined])[];
let reported: number[];

beforeEach(async () => {
  directory = join(await temporaryDirectory(), 'partial');
  controller = new AbortController();
  started = [];
  reported = [];
});

function options(more: Partial<DownloadOptions> = {}): DownloadOptions {
  return {
    signal: controller.signal,
    bootId: 'this boot',
    durable: false,
    connections: ONE_CONNECTION,
    onStart: (...given) => started.push(given),
    onProgress: (bytes) => reported.push(bytes),
    assertOwned: () => Promise.resolve(),
    ...more,
  };
}

function requestOf(server: Local, more: Partial<DownloadRequest> = {}): DownloadRequest {
  return {
    label: 'model.onnx',
    url: `${server.origin}/model.onnx?signature=secret`,
    size: BYTES.length,
    digest: { algorithm: 'sha256', hex: sha256(BYTES) },
    ...more,
  };
}

function resume(
  client: TestClient,
  request: DownloadRequest,
  more: Partial<DownloadOptions> = {},
): Promise<Downloaded> {
  return downloadResumable(client.http, request, directory, options(more));
}

type Answer = (request: IncomingMessage, response: ServerResponse, start: number) => void;

/** Answers of a good server, and of bad ones. */
const whole =
  (bytes = BYTES, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-length': String(bytes.length), ...headers }).end(bytes);
  };
const range =
  (bytes = BYTES, headers: Readonly<Record<string, string>> = {}): Answer =>
  (request, response, start) => {
    if (request.headers.range === undefined) {
      whole(bytes, headers)(request, response, start);
      return;
    }
    response
      .writeHead(206, {
        'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
        'content-length': String(bytes.length - start),
        ...headers,
      })
      .end(bytes.subarray(start));
  };
/** Half of the body, then the connection breaks. */
const broken =
  (headers: Readonly<Record<string, string>> = {}, bytes = BYTES): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-length': String(bytes.length), ...headers });
    response.write(bytes.subarray(0, HALF), () => response.destroy());
  };

/** Gives the answers one after another; the last one again and again. */
function answering(...answers: readonly Answer[]): Promise<Local> {
  let next = 0;
  return world.serve((request, response) => {
    const answer = answers[Math.min(next, answers.length - 1)];
    next += 1;
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    answer?.(request, response, start);
  });
}

/** Leaves a partial of the first half behind, as a run that lost its network does. */
async function leaveHalf(
  bytes = BYTES,
  headers: Readonly<Record<string, string>> = {},
  more: Partial<DownloadRequest> = {},
): Promise<void> {
  const server = await answering(broken(headers, bytes), (_request, response) => response.destroy());
  const request = { ...requestOf(server), ...more };
  await refusal(resume(world.client({ retries: 0 }), request), 'NETWORK');
  expect(reported.at(-1)).toBe(HALF);
  started = [];
  reported = [];
}

function rangesOf(server: Local): readonly (string | undefined)[] {
  return server.requests.map(({ headers }) => headers.range);
}

describe('a whole file', () => {
  test.each<readonly [string, Digest | undefined]>([
    ['sha256', { algorithm: 'sha256', hex: sha256(BYTES) }],
    ['sha512', { algorithm: 'sha512', hex: createHash('sha512').update(BYTES).digest('hex') }],
    ['sha1', { algorithm: 'sha1', hex: createHash('sha1').update(BYTES).digest('hex') }],
    [
      'git-sha1',
      {
        algorithm: 'git-sha1',
        hex: createHash('sha1').update(`blob ${BYTES.length}\0`).update(BYTES).digest('hex'),
      },
    ],
    ['no digest', undefined],
  ])('%s is checked, and its sha256 is given', async (_name, digest) => {
    const server = await answering(range());
    const { digest: _dropped, ...plain } = requestOf(server);
    const request = { ...plain, ...(digest === undefined ? {} : { digest }) };
    const downloaded = await resume(world.client(), request);
    expect(downloaded).toMatchObject({
      bytes: BYTES.length,
      sha256: sha256(BYTES),
      fetchedBytes: BYTES.length,
    });
    expect(await readFile(downloaded.path)).toEqual(BYTES);
    expect(started).toEqual([[0, BYTES.length]]);
    expect(reported.at(-1)).toBe(BYTES.length);
    expect(rangesOf(server)).toEqual([undefined]);
    expect(server.requests[0]?.headers['accept-encoding']).toBe('identity');
  });

  test('of no bytes', async () => {
    const empty = Buffer.alloc(0);
    const server = await answering(whole(empty));
    const request = requestOf(server, { size: 0, digest: { algorithm: 'sha256', hex: sha256(empty) } });
    expect(await resume(world.client(), request)).toMatchObject({ bytes: 0, sha256: sha256(empty) });
  });

  test('of unknown size', async () => {
    const server = await answering((_request, response) => response.end(BYTES));
    const { size: _size, digest: _digest, ...request } = requestOf(server);
    expect(await resume(world.client(), request)).toMatchObject({
      bytes: BYTES.length,
      sha256: sha256(BYTES),
    });
  });

  test('of this machine', async () => {
    const file = join(await temporaryDirectory(), 'model.onnx');
    await writeFile(file, BYTES);
    const request = { label: 'model.onnx', url: pathToFileURL(file).href, size: BYTES.length };
    expect(await resume(world.client(), request)).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: 0 });
    const gone = { ...request, url: `${request.url}.gone` };
    expect((await refusal(resume(world.client(), gone), 'NOT_FOUND')).message).toContain('it is gone');
  });
});

describe('resuming', () => {
  test('after a broken connection asks for the rest, at once', async () => {
    const server = await answering(broken({ etag: '"v1"' }), range(BYTES, { etag: '"v1"' }));
    const client = world.client();
    expect(await resume(client, requestOf(server))).toMatchObject({ fetchedBytes: BYTES.length });
    expect(rangesOf(server)).toEqual([undefined, `bytes=${HALF}-`]);
    expect(server.requests[1]?.headers['if-range']).toBe('"v1"');
    expect(client.waits).toEqual([]);
    expect(client.events).toMatchObject([{ type: 'retry', url: `${server.origin}/model.onnx` }]);
    expect(JSON.stringify(client.events)).not.toContain('secret');
  });

  test('in a later run fetches only the rest', async () => {
    await leaveHalf();
    const server = await answering(range());
    const downloaded = await resume(world.client(), requestOf(server));
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: BYTES.length - HALF });
    expect(await readFile(downloaded.path)).toEqual(BYTES);
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`]);
    expect(started).toEqual([[HALF, BYTES.length]]);
  });

  test('a file that was complete needs no request', async () => {
    const first = await answering(range());
    await resume(world.client(), requestOf(first));
    const server = await answering(range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({
      fetchedBytes: 0,
      sha256: sha256(BYTES),
    });
    expect(server.requests).toEqual([]);
  });

  test('after an interruption keeps a partial that the next run continues', async () => {
    const reason = new ModeldlError('INTERRUPTED', 'Interrupted');
    const server = await answering((_request, response) => {
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      response.write(BYTES.subarray(0, HALF), () => {
        controller.abort(reason);
      });
    });
    expect(await refusal(resume(world.client(), requestOf(server)), 'INTERRUPTED')).toBe(reason);
    const kept = reported.at(-1) ?? 0;
    controller = new AbortController();
    const again = await answering(range());
    expect(await resume(world.client(), requestOf(again))).toMatchObject({
      sha256: sha256(BYTES),
      fetchedBytes: BYTES.length - kept,
    });
  });

  test('what another boot did not flush is fetched again', async () => {
    await leaveHalf();
    const server = await answering(range());
    const downloaded = await resume(world.client(), requestOf(server), { bootId: 'the next boot' });
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: BYTES.length });
    expect(rangesOf(server)).toEqual([undefined]);
  });

  test('bytes of another file are not continued', async () => {
    await leaveHalf(OTHER, {}, { digest: { algorithm: 'sha256', hex: sha256(OTHER) } });
    const server = await answering(range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({ fetchedBytes: BYTES.length });
    expect(rangesOf(server)).toEqual([undefined]);
  });

  test('a data file that lost its end counts as far as it goes', async () => {
    await leaveHalf();
    const [data = ''] = (await readdir(directory)).filter((name) => name.startsWith('data.'));
    await truncate(join(directory, data), 1000);
    const server = await answering(range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
    expect(rangesOf(server)).toEqual(['bytes=1000-']);
  });

  test.each(['', '{', '{"version":2}', '{"version":1,"data":"../../etc/passwd"}'])(
    'a damaged journal (%s) starts over',
    async (journal) => {
      await leaveHalf();
      await writeFile(join(directory, 'journal.json'), journal);
      const server = await answering(range());
      expect(await resume(world.client(), requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
      expect(rangesOf(server)).toEqual([undefined]);
    },
  );

  test.each(['journal.', 'data.'])('a directory in the place of its %s file starts over', async (kind) => {
    await leaveHalf();
    const [name = ''] = (await readdir(directory)).filter((entry) => entry.startsWith(kind));
    await rm(join(directory, name));
    await mkdir(join(directory, name, 'sub'), { recursive: true });
    const server = await answering(range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({ fetchedBytes: BYTES.length });
    expect(await readdir(directory)).toHaveLength(2);
  });

  test('leaves one data file and one journal', async () => {
    await leaveHalf();
    const server = await answering(range());
    const { path } = await resume(world.client(), requestOf(server));
    expect((await readdir(directory)).map((name) => join(directory, name)).sort()).toEqual(
      [path, join(directory, 'journal.json')].sort(),
    );
  });
});

test('a copy of what was fetched that is not finished takes no room, also one of a run that was killed', async () => {
  await leaveHalf();
  const before = await readdir(directory);
  await writeFile(join(directory, 'data.00'), BYTES);
  const copying = openPartial(directory, {
    ...options(),
    identity: `sha256:${sha256(BYTES)} ${BYTES.length}`,
    mayContinue: () => true,
    onPrefix: () => {
      throw Object.assign(new Error('no space left on device, write'), { code: 'ENOSPC' });
    },
  });
  await refusal(copying, 'DISK');
  expect(await readdir(directory)).toEqual(before);
});

describe('an answer that is not the range asked for', () => {
  test('200 to a range starts over with its body', async () => {
    await leaveHalf();
    const server = await answering(whole());
    const downloaded = await resume(world.client(), requestOf(server));
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: BYTES.length });
    expect(await readFile(downloaded.path)).toEqual(BYTES);
    expect(server.requests).toHaveLength(1);
  });

  test('416 starts over', async () => {
    await leaveHalf();
    const server = await answering((_request, response) => response.writeHead(416).end(), range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
  });

  test.each([
    ['of another start', `bytes 0-${BYTES.length - 1}/${BYTES.length}`],
    ['of another file size', `bytes ${HALF}-${BYTES.length}/${BYTES.length + 1}`],
    ['that is none', 'half of it'],
    ['that is missing', undefined],
  ])('a Content-Range %s starts over', async (_what, header) => {
    await leaveHalf();
    const server = await answering((_request, response) => {
      response.writeHead(206, header === undefined ? {} : { 'content-range': header }).end(BYTES);
    }, range());
    expect(await resume(world.client(), requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
  });

  test('another ETag starts over: the file changed', async () => {
    await leaveHalf(OTHER, { etag: '"old"' });
    const server = await answering(range(BYTES, { etag: '"new"' }));
    const client = world.client();
    expect(await resume(client, requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
    expect(server.requests[0]?.headers['if-range']).toBe('"old"');
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
    expect(client.events).toMatchObject([{ reason: 'the file changed at its source' }]);
  });

  test('a weak ETag is never a condition, and the same one goes on', async () => {
    await leaveHalf(BYTES, { etag: 'W/"v1"' });
    const server = await answering(range(BYTES, { etag: 'W/"v1"' }));
    expect(await resume(world.client(), requestOf(server))).toMatchObject({
      fetchedBytes: BYTES.length - HALF,
    });
    expect(server.requests[0]?.headers['if-range']).toBeUndefined();
  });

  test.each([
    ['weak ETag', { etag: 'W/"v1"' }, { etag: 'W/"v2"' }],
    ['time of change', { 'last-modified': MONDAY }, { 'last-modified': TUESDAY }],
  ])('another %s starts over', async (_what, first, second) => {
    await leaveHalf(OTHER, first);
    const server = await answering(range(BYTES, second));
    const client = world.client();
    expect(await resume(client, requestOf(server))).toMatchObject({ sha256: sha256(BYTES) });
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
    expect(client.events).toMatchObject([{ reason: 'the file changed at its source' }]);
  });

  test.each(['gzip', 'br'])('a body in %s is refused by the name of the host', async (encoding) => {
    await leaveHalf();
    const server = await answering(range(BYTES, { 'content-encoding': encoding }));
    const error = await refusal(resume(world.client(), requestOf(server)), 'NETWORK');
    expect(error.message).toContain(`${server.origin}/model.onnx answered ${encoding}`);
    expect(error.hint).toContain('proxy');
    expect(everythingSaid(error)).not.toContain('secret');
  });

  test('a web page is no model where no digest tells', async () => {
    const server = await answering(
      whole(Buffer.from('<html>'), { 'content-type': 'text/html; charset=utf-8' }),
    );
    const { digest: _digest, size: _size, ...request } = requestOf(server);
    const error = await refusal(resume(world.client(), request), 'INTEGRITY');
    expect(error.message).toContain('a web page, not a model');
    expect(everythingSaid(error)).not.toContain('secret');
  });
});

describe('a file without a digest', () => {
  const undigested = (server: Local, size?: number): DownloadRequest => ({
    label: 'model.onnx',
    url: `${server.origin}/model.onnx`,
    ...(size === undefined ? {} : { size }),
  });
  const changedBefore = (seconds: number): Readonly<Record<string, string>> => ({
    'last-modified': MONDAY,
    date: new Date(Date.parse(MONDAY) + 1000 * seconds).toUTCString(),
  });
  const runs = [['one run'], ['two runs']] as const;

  async function interruptedBy(runs: string, server: Local): Promise<Downloaded> {
    if (runs === 'two runs') {
      await refusal(resume(world.client({ retries: 0 }), undigested(server, BYTES.length)), 'NETWORK');
      expect(reported.at(-1)).toBe(HALF);
    }
    return resume(world.client(), undigested(server, BYTES.length));
  }

  describe.each(runs)('interrupted in %s', (runs) => {
    test.each<readonly [string, Readonly<Record<string, string>>]>([
      ['nothing', {}],
      ['a weak ETag', { etag: 'W/"v1"' }],
      ['a time of change just before the answer', changedBefore(59)],
      ['a time of change and no Date', { 'last-modified': MONDAY, date: '' }],
      ['an ETag without quotes', { etag: 'v1' }],
    ])('starts over where the server tells %s', async (_what, headers) => {
      const server = await answering(broken(headers, OTHER), range(BYTES, headers));
      const downloaded = await interruptedBy(runs, server);
      expect(downloaded.sha256).toBe(sha256(BYTES));
      expect(await readFile(downloaded.path)).toEqual(BYTES);
      expect(rangesOf(server)).toEqual([undefined, undefined]);
    });

    test.each([
      ['a strong ETag', { etag: '"v1"' }, '"v1"'],
      ['a time of change long before the answer', changedBefore(60), MONDAY],
      ['that and a weak ETag', { ...changedBefore(60), etag: 'W/"v1"' }, MONDAY],
    ])('goes on under a condition where it tells %s', async (_what, headers, condition) => {
      const server = await answering(broken(headers), range(BYTES, headers));
      expect((await interruptedBy(runs, server)).sha256).toBe(sha256(BYTES));
      expect(server.requests[1]?.headers).toMatchObject({ range: `bytes=${HALF}-`, 'if-range': condition });
    });

    test.each([
      ['ETag', { etag: '"v1"' }, { etag: '"v2"' }],
      ['weak ETag', { ...changedBefore(60), etag: 'W/"v1"' }, { ...changedBefore(60), etag: 'W/"v2"' }],
      ['time of change', changedBefore(60), { 'last-modified': TUESDAY }],
    ])('starts over when a part comes with another %s', async (_what, first, second) => {
      // A server that pays no heed to the condition.
      const server = await answering(broken(first, OTHER), range(BYTES, second));
      expect((await interruptedBy(runs, server)).sha256).toBe(sha256(BYTES));
      expect(rangesOf(server)).toEqual([undefined, `bytes=${HALF}-`, undefined]);
    });
  });

  test('starts over when a part is of a file of another size', async () => {
    const longer = Buffer.concat([OTHER, OTHER]);
    const etag = { etag: '"v1"' };
    const server = await answering(broken(etag, longer), range(BYTES, etag));
    expect((await resume(world.client(), undigested(server))).sha256).toBe(sha256(BYTES));
    expect(rangesOf(server)).toEqual([undefined, `bytes=${HALF}-`, undefined]);
  });

  test('a journal that does not tell the version starts over', async () => {
    const etag = { etag: '"v1"' };
    const server = await answering(broken(etag, OTHER), range(BYTES, etag));
    const request = undigested(server, BYTES.length);
    await refusal(resume(world.client({ retries: 0 }), request), 'NETWORK');
    const journal = join(directory, 'journal.json');
    const { source, ...rest } = JSON.parse(await readFile(journal, 'utf8')) as Record<string, unknown>;
    expect(source).toMatchObject(etag);
    await writeFile(journal, JSON.stringify(rest));
    expect((await resume(world.client(), request)).sha256).toBe(sha256(BYTES));
    expect(rangesOf(server)).toEqual([undefined, undefined]);
  });

  test('that always breaks off is given up, however far each attempt gets', async () => {
    let attempts = 0;
    const server = await world.serve((_request, response) => {
      attempts += 1;
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      response.write(BYTES.subarray(0, attempts * 1000), () => response.destroy());
    });
    const request = undigested(server, BYTES.length);
    const error = await refusal(resume(world.client({ retries: 3 }), request), 'NETWORK');
    expect(error.hint).toContain('does not say enough about the file to resume it');
    expect(server.requests).toHaveLength(4);
  });
});

describe('a connection that fails', () => {
  test('by silence is dropped, and the rest is asked for on another', async () => {
    const server = await answering((_request, response) => {
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      response.write(BYTES.subarray(0, HALF));
    }, range());
    const downloaded = await resume(world.client({ idleTimeoutMs: 50 }), requestOf(server));
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: BYTES.length });
    expect(rangesOf(server)).toEqual([undefined, `bytes=${HALF}-`]);
    expect(server.connections()).toBe(2);
  });

  test('of a server that is gone then says that what came is kept, and which file it is of', async () => {
    const server = await answering(broken({ etag: '"1"' }), (_request, response) => response.destroy());
    const error = await refusal(resume(world.client({ retries: 1 }), requestOf(server)), 'NETWORK');
    expect(error.message).toMatch(/model\.onnx/);
    expect(error.hint).toMatch(/check the network.*run the same command again to resume/);
    expect(error.details).toMatchObject({ file: 'model.onnx' });
  });

  test('of a server that then has an error says once that what came is kept', async () => {
    const server = await answering(broken({ etag: '"1"' }), (_request, response) => {
      response.writeHead(500).end();
    });
    const error = await refusal(resume(world.client({ retries: 1 }), requestOf(server)), 'NETWORK');
    expect(error.message).toMatch(/model\.onnx answered 500/);
    expect(error.hint).toBe('try again later; what was fetched is kept');
  });

  test('without a byte of progress is given up after the retries, and what came is kept', async () => {
    const server = await answering(broken(), (_request, response) => {
      response.writeHead(206, { 'content-range': `bytes ${HALF}-${BYTES.length - 1}/${BYTES.length}` });
      response.flushHeaders();
      response.destroy();
    });
    const error = await refusal(resume(world.client({ retries: 2 }), requestOf(server)), 'NETWORK');
    expect(error.message).toContain('Cannot finish model.onnx');
    expect(error.hint).toContain('resume');
    expect(everythingSaid(error)).not.toContain('secret');
    const good = await answering(range());
    expect(await resume(world.client(), requestOf(good))).toMatchObject({
      fetchedBytes: BYTES.length - HALF,
    });
  });

  test('while it makes progress never uses its retries up', async () => {
    const step = 30_000;
    const server = await answering((_request, response, start) => {
      const end = BYTES.length - 1;
      response.writeHead(start === 0 ? 200 : 206, {
        'content-length': String(BYTES.length - start),
        ...(start === 0 ? {} : { 'content-range': `bytes ${start}-${end}/${BYTES.length}` }),
      });
      response.write(BYTES.subarray(start, start + step), () => response.destroy());
    });
    expect(await resume(world.client({ retries: 1 }), requestOf(server))).toMatchObject({
      sha256: sha256(BYTES),
    });
    expect(server.requests.length).toBeGreaterThanOrEqual(BYTES.length / step);
  });

  test('a signed address that expired is asked for again at the stable one', async () => {
    let signed = 0;
    const cdn = await world.serve((request, response) => {
      if (request.url !== `/blob?generation=${signed}`) response.writeHead(403).end('expired');
      else if (signed === 1) broken()(request, response, 0);
      else range()(request, response, HALF);
    });
    const hub = await world.serve((_request, response) => {
      signed += 1;
      // The second one expires before it is used.
      const generation = signed === 2 ? 1 : signed;
      response.writeHead(302, { location: `${cdn.origin}/blob?generation=${generation}` }).end();
    });
    const downloaded = await resume(world.client(), requestOf(hub));
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES) });
    expect(hub.requests).toHaveLength(3);
    expect(rangesOf(cdn)).toEqual([undefined, `bytes=${HALF}-`, `bytes=${HALF}-`]);
  });

  test.each([
    [401, 'AUTH'],
    [403, 'GATED'],
    [404, 'NOT_FOUND'],
    [410, 'NOT_FOUND'],
    [400, 'NETWORK'],
  ] as const)('%d of the stable address is %s, not asked again', async (status, code) => {
    const server = await answering((_request, response) => response.writeHead(status).end());
    const error = await refusal(resume(world.client(), requestOf(server)), code);
    expect(error.details).toMatchObject({ file: 'model.onnx', url: `${server.origin}/model.onnx`, status });
    expect(everythingSaid(error)).not.toContain('secret');
    expect(server.requests).toHaveLength(1);
  });
});

describe('what a server says of a refusal', () => {
  const SIGNED = '/s?X-Goog-Signature=abc&X-Goog-Credential=me%40here';

  test.each([
    ['text', 'text/plain', `no such object ${SIGNED} here`, {}],
    ['JSON', 'application/json', JSON.stringify({ message: `no such object ${SIGNED}`, type: 'x' }), {}],
    [
      'JSON of registries',
      'application/json',
      JSON.stringify({ errors: [{ message: `no such object ${SIGNED}` }] }),
      {},
    ],
    ['JSON of npm', 'application/json', JSON.stringify({ error: `no such object ${SIGNED}` }), {}],
    ['a header', 'text/html', '', { 'x-error-message': `no such object ${SIGNED}` }],
  ])('is quoted without the queries in it: %s', async (_how, type, body, headers) => {
    const server = await answering((_request, response) =>
      response.writeHead(404, { 'content-type': type, ...headers }).end(body),
    );
    const error = await refusal(resume(world.client(), requestOf(server)), 'NOT_FOUND');
    expect(error.message).toContain('no such object');
    expect(error.message).toContain('/s');
    expect(everythingSaid(error)).not.toMatch(/X-Goog|abc|me%40here/);
  });
});

describe('a refusal says what to do', () => {
  test.each([
    [401, 'AUTH', 'run `their login`'],
    [404, 'NOT_FOUND', 'in a browser'],
  ] as const)('%d', async (status, code, hint) => {
    const server = await answering((_request, response) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end('{"odd":{}}'),
    );
    const request = { ...requestOf(server), loginHint: 'run `their login`' };
    const error = await refusal(resume(world.client(), request), code);
    expect(error.hint).toContain(hint);
    expect(error.message).not.toContain('odd');
  });
});

describe('bytes that are not those promised', () => {
  test('fresh ones are an integrity error that names both digests, and leave nothing to resume', async () => {
    const server = await answering(range(OTHER));
    const error = await refusal(resume(world.client(), requestOf(server)), 'INTEGRITY');
    expect(error.message).toContain(sha256(BYTES));
    expect(error.message).toContain(sha256(OTHER));
    expect(server.requests).toHaveLength(1);
    await expect(stat(directory)).rejects.toThrow('ENOENT');
  });

  test('resumed ones are fetched once more from zero', async () => {
    // The first half is of other bytes, under the same promise.
    await leaveHalf(OTHER);
    const server = await answering(range());
    const downloaded = await resume(world.client(), requestOf(server));
    expect(downloaded).toMatchObject({ sha256: sha256(BYTES), fetchedBytes: BYTES.length });
    expect(await readFile(downloaded.path)).toEqual(BYTES);
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
  });

  test('resumed ones that are wrong from zero too are an error', async () => {
    await leaveHalf(BYTES);
    const server = await answering(range(OTHER));
    await refusal(resume(world.client(), requestOf(server)), 'INTEGRITY');
    expect(rangesOf(server)).toEqual([`bytes=${HALF}-`, undefined]);
  });

  test.each([
    ['longer', Buffer.concat([BYTES, Buffer.from('more')]), {}],
    ['longer than the bound', BYTES, { maxBytes: 1000 }],
  ] as const)('a body %s is refused while it arrives', async (_what, body, more) => {
    const server = await answering((_request, response) => response.end(body));
    const error = await refusal(resume(world.client(), requestOf(server, more)), 'INTEGRITY');
    expect(error.message).toMatch(/model\.onnx is longer than the \d+ bytes it may have/);
  });

  test('a body that is shorter than promised is refused by its size', async () => {
    const server = await answering((_request, response) => response.end(BYTES.subarray(0, 1000)));
    const error = await refusal(resume(world.client(), requestOf(server)), 'INTEGRITY');
    expect(error.message).toContain(`expected ${BYTES.length} bytes, got 1000`);
  });
});

describe('a file whose size and digest nobody knows', () => {
  const unknown = (server: Local): DownloadRequest => ({
    label: 'model.onnx',
    url: `${server.origin}/model.onnx`,
  });

  test('is as long as the answer that its bytes come from says, not as one before says that brought none', async () => {
    const server = await answering((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).flushHeaders();
      response.socket?.destroySoon();
    }, whole());
    const downloaded = await resume(world.client(), unknown(server));
    expect(downloaded).toMatchObject({ bytes: BYTES.length, sha256: sha256(BYTES) });
  });

  test('is as long as its first answer said, where a part leaves that open', async () => {
    const strong = { etag: '"one"' };
    const end = 200_000;
    const server = await answering(
      broken(strong),
      (_request, response, start) => {
        const range = {
          'content-range': `bytes ${start}-${end - 1}/*`,
          'content-length': String(end - start),
        };
        response.writeHead(206, { ...range, ...strong }).end(BYTES.subarray(start, end));
      },
      range(BYTES, strong),
    );
    const downloaded = await resume(world.client(), unknown(server));
    expect(downloaded).toMatchObject({ bytes: BYTES.length, sha256: sha256(BYTES) });
  });
});

describe('who lost the claim', () => {
  test('does not hand the file out', async () => {
    const server = await answering(range());
    const lost = new ModeldlError('BUSY', 'another process took over');
    await refusal(
      resume(world.client(), requestOf(server), { assertOwned: () => Promise.reject(lost) }),
      'BUSY',
    );
  });

  test('does not write the journal when it starts over', async () => {
    await leaveHalf();
    let lost = false;
    const journal = join(directory, 'journal.json');
    let before = '';
    const server = await world.serve((_request, response) => {
      void readFile(journal, 'utf8').then((text) => {
        before = text;
        lost = true;
        response.writeHead(416).end();
      });
    });
    const assertOwned = (): Promise<void> =>
      lost ? Promise.reject(new ModeldlError('BUSY', 'another process took over')) : Promise.resolve();
    await refusal(resume(world.client(), requestOf(server), { assertOwned }), 'BUSY');
    expect(before).toContain(`"ranges":[[0,${HALF}]]`);
    expect(await readFile(journal, 'utf8')).toBe(before);
  });
});

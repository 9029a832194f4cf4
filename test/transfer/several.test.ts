/** One file on several connections. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import {
  downloadResumable,
  type Downloaded,
  type DownloadOptions,
  type DownloadRequest,
} from '../../src/transfer/download.js';
import { createConnectionBudget, type ConnectionBudget } from '../../src/transfer/helpers.js';
import { checkRange } from '../../src/transfer/response.js';
import { temporaryDirectory } from '../helpers/store.js';
import { createWorld, refusal, type Local, type TestClient } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

const MiB = 1024 * 1024;
const BYTES = randomBytes(72 * MiB + 12_345);
const SHA256 = createHash('sha256').update(BYTES).digest('hex');
/** The first connection stops here until another one was answered. */
const ALONE_BYTES = 2 * MiB;

let directory: string;
let controller: AbortController;

beforeEach(async () => {
  directory = join(await temporaryDirectory(), 'partial');
  controller = new AbortController();
});

/** Wants so many connections, whatever they bring. */
function wanting(connections: number): ConnectionBudget & { readonly refusals: readonly number[] } {
  const refusals: number[] = [];
  let wanted = connections;
  return {
    ...createConnectionBudget(connections, connections),
    refusals,
    count: () => ({
      observe: () => wanted,
      refused: (open) => {
        refusals.push(open);
        wanted = open;
      },
      interrupted: () => undefined,
    }),
  };
}

function options(more: Partial<DownloadOptions> = {}): DownloadOptions {
  return {
    signal: controller.signal,
    bootId: 'this boot',
    durable: false,
    connections: wanting(4),
    onStart: () => undefined,
    onProgress: () => undefined,
    assertOwned: () => Promise.resolve(),
    ...more,
  };
}

function requestOf(server: Local, more: Partial<DownloadRequest> = {}): DownloadRequest {
  return {
    label: 'model.safetensors',
    url: `${server.origin}/model.safetensors`,
    size: BYTES.length,
    digest: { algorithm: 'sha256', hex: SHA256 },
    ...more,
  };
}

function download(
  client: TestClient,
  request: DownloadRequest,
  more: Partial<DownloadOptions> = {},
): Promise<Downloaded> {
  return downloadResumable(client.http, request, directory, options(more));
}

interface Ask {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** In the order of requests, from 0. */
  readonly number: number;
}

interface Answering {
  /** Another answer than the right one; returns false where the right one is to come. */
  readonly instead?: (ask: Ask) => boolean;
  readonly headers?: Readonly<Record<string, string>>;
  readonly bytes?: Buffer;
}

/** A good server, whose first answer stops after a while until somebody asks for something else. */
async function serve(
  answering: Answering = {},
): Promise<Local & { readonly sent: () => readonly number[][] }> {
  const { instead = () => false, headers = {}, bytes = BYTES } = answering;
  const sent: number[][] = [];
  let number = 0;
  let release: () => void = () => undefined;
  const another = new Promise<void>((resolve) => (release = resolve));
  const server = await world.serve((request, response) => {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const start = Number(from);
    const end = to === '' ? bytes.length : Number(to) + 1;
    const ask: Ask = { request, response, start, end, number };
    number += 1;
    if (ask.number > 0) release();
    if (instead(ask)) return;
    sent.push([start, end]);
    const range = { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` };
    const isPart = request.headers.range !== undefined;
    response.writeHead(isPart ? 206 : 200, {
      'content-length': String(end - start),
      ...(isPart ? range : {}),
      ...headers,
    });
    if (ask.number > 0) response.end(bytes.subarray(start, end));
    else {
      response.write(bytes.subarray(start, start + ALONE_BYTES));
      void another.then(() => response.end(bytes.subarray(start + ALONE_BYTES, end)));
    }
  });
  return { ...server, sent: () => sent };
}

/** Answers every connection but the first like this. */
function others(answer: (ask: Ask) => void): Answering {
  return {
    instead: (ask) => {
      if (ask.number === 0) return false;
      answer(ask);
      return true;
    },
  };
}

async function expectBytes(downloaded: Downloaded): Promise<void> {
  expect(downloaded).toMatchObject({ bytes: BYTES.length, sha256: SHA256 });
  const file = await readFile(downloaded.path);
  expect(createHash('sha256').update(file).digest('hex')).toBe(SHA256);
}

describe('several connections', () => {
  test('bring a file together, each byte once, in parts of bounded size', async () => {
    const server = await serve();
    const downloaded = await download(world.client(), requestOf(server));
    await expectBytes(downloaded);
    expect(downloaded.fetchedBytes).toBe(BYTES.length);
    expect(server.connections()).toBeGreaterThan(1);
    expect(server.connections()).toBeLessThanOrEqual(5);
    const parts = server.sent().slice(1);
    expect(parts.length).toBeGreaterThan(2);
    for (const [start = 0, end = 0] of parts) expect(end - start).toBeLessThanOrEqual(17 * MiB);
  });

  test('are as many as may be, and one where no more may', async () => {
    const server = await serve();
    const answered = server.requests.length;
    const first = download(world.client(), requestOf(server), {
      connections: { ...wanting(4), take: () => false },
      onProgress: (bytes) => {
        if (bytes >= ALONE_BYTES) controller.abort();
      },
    });
    await refusal(first, 'INTERRUPTED');
    expect(server.requests.length - answered).toBe(1);
  });

  test('do not become more while a limited rate holds bytes up, for however long at a time', async () => {
    const server = await serve();
    const mayGrow: boolean[] = [];
    // At this rate each piece takes four seconds, of which a part is enough.
    const slow = world.client({
      limitRate: 4096,
      wait: () =>
        delay(1500).then(() => {
          controller.abort();
        }),
    });
    const connections: ConnectionBudget = {
      ...wanting(4),
      count: () => ({
        observe: (sample) => {
          mayGrow.push(sample.mayGrow);
          return 1;
        },
        refused: () => undefined,
        interrupted: () => undefined,
      }),
    };
    await refusal(download(slow, requestOf(server), { connections }), 'INTERRUPTED');
    expect(mayGrow.length).toBeGreaterThan(10);
    expect(mayGrow).not.toContain(true);
  });

  test.each([403, 429, 503])('are given up where the server answers %i to the second one', async (status) => {
    const server = await serve({
      instead: ({ number, response }) => {
        if (number !== 1) return false;
        response.writeHead(status, { 'retry-after': '100' }).end();
        return true;
      },
    });
    const connections = wanting(2);
    const client = world.client();
    await expectBytes(await download(client, requestOf(server), { connections }));
    expect(connections.refusals).toEqual([1]);
    expect(client.waits).toEqual([]);
  });

  test.each<readonly [string, Answering]>([
    ['the whole file for a part', others(({ response }) => response.writeHead(200).end(BYTES))],
    [
      'another part than was asked for',
      others(({ response, start, end }) =>
        response
          .writeHead(206, { 'content-range': `bytes ${start + 1}-${end}/${BYTES.length}` })
          .end(BYTES.subarray(start, end)),
      ),
    ],
    [
      'a part of a file of another size',
      others(({ response, start, end }) =>
        response
          .writeHead(206, { 'content-range': `bytes ${start}-${end - 1}/${BYTES.length + 1}` })
          .end(BYTES.subarray(start, end)),
      ),
    ],
    [
      'a part that is compressed',
      others(({ response, start, end }) =>
        response
          .writeHead(206, {
            'content-range': `bytes ${start}-${end - 1}/${BYTES.length}`,
            'content-encoding': 'gzip',
          })
          .end(BYTES.subarray(start, end)),
      ),
    ],
  ])('are given up where they get %s', async (_what, { instead = () => false }) => {
    // The first one is cut where the second one began, and asks for the rest then.
    const server = await serve({ instead: (ask) => ask.number === 1 && instead(ask) });
    await expectBytes(await download(world.client(), requestOf(server), { connections: wanting(2) }));
    expect(server.requests.length).toBeLessThanOrEqual(3);
  });

  test('are given up where they get a part of another version', async () => {
    const server = await serve({
      headers: { etag: '"one"' },
      instead: ({ number, response, start, end }) => {
        if (number !== 1) return false;
        response
          .writeHead(206, { 'content-range': `bytes ${start}-${end - 1}/${BYTES.length}`, etag: '"two"' })
          .end(Buffer.alloc(end - start));
        return true;
      },
    });
    await expectBytes(await download(world.client(), requestOf(server), { connections: wanting(2) }));
    expect(server.requests.length).toBeLessThanOrEqual(3);
  });

  test('leave what one did not finish to the others', async () => {
    let broken = 0;
    const server = await serve({
      instead: ({ number, response, start, end }) => {
        if (number === 0 || broken >= 3) return false;
        broken += 1;
        response.writeHead(206, {
          'content-range': `bytes ${start}-${end - 1}/${BYTES.length}`,
          'content-length': String(end - start),
        });
        response.write(BYTES.subarray(start, start + MiB), () => response.destroy());
        return true;
      },
    });
    await expectBytes(await download(world.client(), requestOf(server)));
    expect(broken).toBe(3);
  });

  test('bring no file that is longer than it may be', async () => {
    const server = await serve();
    const { size: _unknown, ...request } = requestOf(server, { maxBytes: 60 * MiB });
    await refusal(download(world.client(), request), 'INTEGRITY');
  });

  test('come again after all of them broke off at once', async () => {
    const HELPERS = 7;
    const broken: ServerResponse[] = [];
    /** More than the retries: so many begin anew before the last one breaks off. */
    const AGAIN = 5;
    let together: () => void = () => undefined;
    const allAgain = new Promise<void>((resolve) => (together = resolve));
    let again = 0;
    const server = await serve({
      instead: ({ number, response, start, end }) => {
        if (number === 0) return false;
        const range = { 'content-range': `bytes ${start}-${end - 1}/${BYTES.length}` };
        response.writeHead(206, { ...range, 'content-length': String(end - start) });
        if (number <= HELPERS) {
          response.write(BYTES.subarray(start, start + MiB / 2), () => {
            broken.push(response);
            if (broken.length === HELPERS) for (const one of broken) one.destroy();
          });
          return true;
        }
        again += 1;
        // Fewer would wait here for ever.
        if (again === AGAIN) together();
        void allAgain.then(() => response.end(BYTES.subarray(start, end)));
        return true;
      },
    });
    const connections = wanting(HELPERS + 1);
    await expectBytes(await download(world.client({ retries: 3 }), requestOf(server), { connections }));
    expect(again).toBeGreaterThanOrEqual(AGAIN);
  });

  test('are none where nothing says which version of a file its bytes are of', async () => {
    const server = await serve();
    const { digest: _none, ...request } = requestOf(server);
    const work = download(world.client({ idleTimeoutMs: 300, retries: 0 }), request);
    // Alone, the first one waits for ever.
    await refusal(work, 'NETWORK');
    expect(server.requests.every(({ headers }) => headers.range === undefined)).toBe(true);
  });

  test('ask for one version where an ETag tells it', async () => {
    const server = await serve({ headers: { etag: '"one"' } });
    const { digest: _none, ...request } = requestOf(server);
    await expectBytes(await download(world.client(), request));
    const parts = server.requests.slice(1);
    expect(parts.map(({ headers }) => headers['if-range'])).toEqual(parts.map(() => '"one"'));
  });

  test('ask where the address led, and the address itself again when that has expired', async () => {
    const cdn = await serve({
      instead: ({ request, response }) => {
        const isOld = request.url?.includes('signature=1') === true && cdn.requests.length > 2;
        if (isOld) response.writeHead(403).end();
        return isOld;
      },
    });
    let signature = 0;
    const hub = await world.serve((_request, response) => {
      signature += 1;
      response.writeHead(302, { location: `${cdn.origin}/model?signature=${signature}` }).end();
    });
    await expectBytes(await download(world.client(), requestOf(hub)));
    expect(cdn.requests.length).toBeGreaterThan(4);
    // Once for the first connection, once for every one whose address had expired.
    expect(hub.requests.length).toBeGreaterThan(1);
    expect(hub.requests.length).toBeLessThan(cdn.requests.length);
  });

  test('go on alone where the server refuses the next part of the first one', async () => {
    const cdn = await serve();
    let refused = false;
    const hub = await world.serve((_request, response) => {
      // Its first part was cut for the others, and now it asks for another one.
      if (hub.requests.length > 1 && !refused) {
        refused = true;
        response.writeHead(403).end();
      } else response.writeHead(302, { location: `${cdn.origin}/model` }).end();
    });
    await expectBytes(await download(world.client(), requestOf(hub)));
    expect(refused).toBe(true);
  });

  test('are not waited for when all bytes are here', async () => {
    const server = await serve({ instead: ({ number }) => number === 1 });
    const forever = { connectTimeoutMs: 3_600_000, idleTimeoutMs: 3_600_000 };
    await expectBytes(await download(world.client(forever), requestOf(server)));
  });

  test('are not kept from the end by the first one, which the server asks to wait', async () => {
    const cdn = await serve();
    const hub = await world.serve((_request, response) => {
      if (hub.requests.length === 1) response.writeHead(302, { location: `${cdn.origin}/model` }).end();
      else response.writeHead(503, { 'retry-after': '100' }).end();
    });
    const forever = (_milliseconds: number, signal: AbortSignal): Promise<void> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(new ModeldlError('INTERRUPTED', 'No longer waited for'));
        });
      });
    await expectBytes(await download(world.client({ wait: forever }), requestOf(hub)));
    expect(hub.requests.length).toBeGreaterThan(1);
  });

  test('end where their part ends, however much the server sends', async () => {
    const server = await serve({
      instead: ({ number, response, start, end }) => {
        if (number !== 1) return false;
        response.writeHead(206, { 'content-range': `bytes ${start}-${end - 1}/${BYTES.length}` });
        response.write(BYTES.subarray(start, end));
        const more = (): void => {
          if (response.destroyed) return;
          response.write(Buffer.alloc(MiB));
          setImmediate(more);
        };
        more();
        return true;
      },
    });
    await expectBytes(await download(world.client(), requestOf(server)));
  });

  test('are one and the whole file again, when what they pieced together is not the file', async () => {
    const wrong = Buffer.from(BYTES);
    wrong.fill(0, 40 * MiB, 41 * MiB);
    const server = await world.serve((request, response) => {
      const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
      const end = to === '' ? BYTES.length : Number(to) + 1;
      const range = `bytes ${from}-${end - 1}/${BYTES.length}`;
      if (request.headers.range !== undefined) {
        response.writeHead(206, { 'content-range': range }).end(wrong.subarray(Number(from), end));
        return;
      }
      const isFirst = server.requests.length === 1;
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      response.write(BYTES.subarray(0, ALONE_BYTES));
      const goOn = (): void => void response.end(BYTES.subarray(ALONE_BYTES));
      if (!isFirst) goOn();
      else {
        const timer = setInterval(() => {
          if (server.requests.length < 4) return;
          clearInterval(timer);
          goOn();
        }, 5);
      }
    });
    await expectBytes(await download(world.client(), requestOf(server)));
    expect(server.requests.filter(({ headers }) => headers.range === undefined)).toHaveLength(2);
  });
});

test.each([
  ['bytes 5-9/20', { total: 20 }],
  ['bytes 5-7/*', { total: undefined }],
  ['bytes 5-10/20', undefined],
  ['bytes 4-9/20', undefined],
  ['bytes 5-4/20', undefined],
  ['bytes 5-9/21', undefined],
  ['bytes */20', undefined],
  [undefined, undefined],
])('the part %j of 20 bytes is what was asked for from 5 to 10, or not', (header, expected) => {
  expect(checkRange(header, 5, 10, 20)).toEqual(expected);
});

describe('what several connections left behind', () => {
  const RANGES = [
    [0, 10 * MiB],
    [16 * MiB, 20 * MiB],
    [64 * MiB, BYTES.length],
  ] as const;

  async function leave(journal: Readonly<Record<string, unknown>>): Promise<void> {
    await mkdir(directory, { recursive: true });
    const data = Buffer.alloc(BYTES.length);
    for (const [start, end] of RANGES) BYTES.copy(data, start, start, end);
    await writeFile(join(directory, 'data.00'), data);
    const common = {
      version: 1,
      data: 'data.00',
      identity: `sha256:${SHA256} ${BYTES.length}`,
      bootId: 'this boot',
    };
    await writeFile(
      join(directory, 'journal.json'),
      JSON.stringify({ ...common, ranges: RANGES, flushed: [], ...journal }),
    );
  }

  test('is all kept: only what lacks is fetched', async () => {
    await leave({});
    const server = await serve({ instead: () => false });
    const lacking = BYTES.length - RANGES.reduce((sum, [start, end]) => sum + end - start, 0);
    const started: number[] = [];
    const downloaded = await download(world.client(), requestOf(server), {
      onStart: (resumed) => started.push(resumed),
    });
    await expectBytes(downloaded);
    expect(started).toEqual([BYTES.length - lacking]);
    expect(downloaded.fetchedBytes).toBe(lacking);
  });

  test('is kept as far as it was flushed, after a power cut', async () => {
    await leave({ bootId: 'another boot', flushed: [RANGES[1]] });
    const server = await serve();
    const downloaded = await download(world.client(), requestOf(server));
    await expectBytes(downloaded);
    expect(downloaded.fetchedBytes).toBe(BYTES.length - 4 * MiB);
  });

  test('takes up no more than it holds where it is copied', async () => {
    await leave({ ranges: [RANGES[2]] });
    controller.abort();
    const server = await serve();
    await refusal(download(world.client(), requestOf(server)), 'INTERRUPTED').catch(() => undefined);
    const sizes = await Promise.all(
      (await readdir(directory)).map(async (name) => (await stat(join(directory, name))).blocks * 512),
    );
    expect(Math.max(...sizes)).toBeLessThanOrEqual(BYTES.length + 8192);
  });

  test.each([
    ['backwards', [[10, 5]]],
    ['negative', [[-5, 10]]],
    ['broken', [[0.5, 10]]],
    ['endless', [[0, 1e300]]],
    ['no numbers', [['0', '10']]],
  ])('is of no use when its journal names ranges that are %s', async (_what, ranges) => {
    await leave({ ranges });
    const server = await serve();
    const downloaded = await download(world.client(), requestOf(server));
    await expectBytes(downloaded);
    expect(downloaded.fetchedBytes).toBe(BYTES.length);
  });
});

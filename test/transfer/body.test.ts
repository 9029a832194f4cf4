import { createHash, randomBytes } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import { BrokenBody } from '../../src/transfer/body.js';
import type { HttpSettings } from '../../src/transfer/http.js';
import { selfSigned, type Certificate } from './certificate.js';
import { createWorld, live, type Local } from './faults.js';

const MiB = 1024 * 1024;
const BODY = randomBytes(9 * MiB + 12_345);
const SMALL = BODY.subarray(0, 5000);

const world = createWorld();
afterEach(() => world.close());

let certificate: Certificate;
beforeAll(async () => {
  certificate = await selfSigned('IP:127.0.0.1');
});

/** Writes a body in pieces of odd sizes, and at the server's own pace. */
function inPieces(
  body: Buffer,
  announced: number | undefined,
  end: 'end' | 'reset' = 'end',
): RequestListener {
  return (_request, response) => {
    response.writeHead(200, announced === undefined ? {} : { 'content-length': String(announced) });
    const sizes = [1, 700, 65_536, 3, 200_001];
    let at = 0;
    let turn = 0;
    const step = (): void => {
      while (at < body.length) {
        const size = sizes[turn % sizes.length] ?? 1;
        const more = response.write(body.subarray(at, at + size));
        at += size;
        turn += 1;
        if (!more) {
          response.once('drain', step);
          return;
        }
      }
      if (end === 'end') response.end();
      else response.socket?.destroySoon();
    };
    step();
  };
}

type Taking = 'at once' | 'late';

/** Reads a body as a writer does; `late` answers after several turns of the loop, with the memory looked at only then. */
async function readAll(
  url: string,
  taking: Taking,
  settings: Partial<HttpSettings> = {},
): Promise<{ sha256: string; bytes: number; largest: number; most: number; error: unknown }> {
  const { http } = world.client(settings);
  const response = await http.request(url, { signal: live() });
  const hash = createHash('sha256');
  let bytes = 0;
  let largest = 0;
  let held = 0;
  let most = 0;
  let order = Promise.resolve();
  const take = (chunk: Buffer): void => {
    hash.update(chunk);
    bytes += chunk.length;
  };
  const error: unknown = await response
    .read((chunk) => {
      largest = Math.max(largest, chunk.length);
      if (taking === 'at once') {
        take(chunk);
        return undefined;
      }
      held += chunk.length;
      most = Math.max(most, held);
      order = order.then(async () => {
        for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
        take(chunk);
        held -= chunk.length;
      });
      return order;
    })
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  return { sha256: hash.digest('hex'), bytes, largest, most, error };
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

type Way = readonly [
  name: string,
  serve: (answer: RequestListener) => Promise<{ url: string; settings: Partial<HttpSettings>; local: Local }>,
];

const WAYS: readonly Way[] = [
  [
    'http',
    async (answer) => {
      const local = await world.serve(answer);
      return { url: local.origin, settings: {}, local };
    },
  ],
  [
    'https',
    async (answer) => {
      const local = await world.serve(answer, certificate);
      return { url: local.origin, settings: { ca: [certificate.cert] }, local };
    },
  ],
  [
    'https through a proxy',
    async (answer) => {
      const local = await world.serve(answer, certificate);
      const proxy = await world.proxy();
      return {
        url: local.origin,
        settings: { ca: [certificate.cert], proxy: { https: proxy.origin } },
        local,
      };
    },
  ],
];

describe.each(WAYS)('a body over %s', (way, serve) => {
  test.each<readonly [string, Buffer, number | undefined, Taking]>([
    ['of known length', BODY, BODY.length, 'at once'],
    ['of known length, taken late', BODY, BODY.length, 'late'],
    ['of unknown length', BODY, undefined, 'at once'],
    ['of unknown length, taken late', BODY, undefined, 'late'],
    ['that fits into one read', SMALL, SMALL.length, 'late'],
    ['without bytes', Buffer.alloc(0), 0, 'late'],
  ])('%s comes whole and in order', async (_what, body, announced, taking) => {
    const { url, settings } = await serve(inPieces(body, announced));
    const read = await readAll(url, taking, settings);
    expect(read).toMatchObject({ error: undefined, bytes: body.length, sha256: sha256Of(body) });
    expect(read.largest).toBeLessThanOrEqual(MiB / 2);
    expect(read.most).toBeLessThanOrEqual(3 * MiB);
  });

  test('comes in small pieces at a low rate', async () => {
    const body = BODY.subarray(0, 2 * MiB + 7);
    const { url, settings } = await serve(inPieces(body, body.length));
    const read = await readAll(url, 'late', { ...settings, limitRate: 1000 });
    expect(read).toMatchObject({ error: undefined, bytes: body.length, sha256: sha256Of(body) });
    expect(read.largest).toBeLessThanOrEqual(16 * 1024);
  });

  test.each<Taking>(['at once', 'late'])('that breaks off gives all that came (%s)', async (taking) => {
    const part = BODY.subarray(0, 5 * MiB + 99);
    const { url, settings } = await serve(inPieces(part, BODY.length, 'reset'));
    const read = await readAll(url, taking, settings);
    expect(read.error).toBeInstanceOf(BrokenBody);
    expect(read.sha256).toBe(sha256Of(part.subarray(0, read.bytes)));
    // What the HTTP parser holds of a body that broke off, up to 1 MiB, is lost.
    const least = way === 'https through a proxy' ? part.length - MiB : part.length;
    expect(read.bytes).toBeGreaterThanOrEqual(least);
  });

  test('that falls silent breaks off with all that came', async () => {
    const part = BODY.subarray(0, 3 * MiB);
    const { url, settings } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': String(BODY.length) });
      response.write(part);
    });
    const read = await readAll(url, 'late', { ...settings, idleTimeoutMs: 20 });
    expect(read.error).toBeInstanceOf(BrokenBody);
    expect(read).toMatchObject({ bytes: part.length, sha256: sha256Of(part) });
  });

  test('that only drips breaks off with all that came', async () => {
    const part = BODY.subarray(0, 3 * MiB);
    const { url, settings } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': String(BODY.length) });
      response.write(part);
      const drip = setInterval(() => response.write('d'), 20);
      response.on('close', () => {
        clearInterval(drip);
      });
    });
    const read = await readAll(url, 'late', { ...settings, idleTimeoutMs: 300 });
    expect(read.error).toMatchObject({
      message: expect.stringMatching(/^only \d+ bytes in 0 s$/) as unknown,
    });
    expect(read.bytes).toBeGreaterThan(part.length);
  });

  test.each<readonly [string, () => Promise<void>]>([
    [
      'throws',
      () => {
        throw new ModeldlError('DISK', 'full');
      },
    ],
    ['rejects', () => Promise.reject(new ModeldlError('DISK', 'full'))],
  ])('ends with what its taker %s', async (_how, fail) => {
    const { url, settings } = await serve(inPieces(BODY, BODY.length));
    const { http } = world.client(settings);
    const response = await http.request(url, { signal: live() });
    let seen = 0;
    const reading = response.read((chunk) => {
      seen += chunk.length;
      return seen > 2 * MiB ? fail() : undefined;
    });
    await expect(reading).rejects.toMatchObject({ code: 'DISK', message: 'full' });
    expect(seen).toBeLessThan(BODY.length);
  });

  test('ends when it is interrupted, even while its taker is busy', async () => {
    const { url, settings } = await serve(inPieces(BODY, BODY.length));
    const { http } = world.client(settings);
    const interruption = new AbortController();
    const response = await http.request(url, { signal: interruption.signal });
    let takes = 0;
    const reading = response.read(() => {
      takes += 1;
      if (takes === 3) {
        setImmediate(() => {
          interruption.abort(new ModeldlError('INTERRUPTED', 'Interrupted'));
        });
      }
      return new Promise(() => undefined);
    });
    await expect(reading).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

test('a body of unknown length may take longer than a server may be silent', async () => {
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] });
  try {
    const server = await world.serve((_request, response) => {
      let pieces = 0;
      const next = (): void => {
        pieces += 1;
        if (pieces > 30) response.end();
        else {
          response.write(SMALL, () => {
            vi.advanceTimersByTime(100);
            setImmediate(next);
          });
        }
      };
      next();
    });
    const read = await readAll(server.origin, 'at once', { idleTimeoutMs: 1000 });
    expect(read).toMatchObject({ error: undefined, bytes: 30 * SMALL.length });
  } finally {
    vi.useRealTimers();
  }
});

describe('a connection', () => {
  test('is used again after bodies that came whole with their headers', async () => {
    const server = await world.serve((_request, response) => response.end(SMALL));
    const { http } = world.client();
    for (let round = 0; round < 3; round += 1) {
      const response = await http.request(server.origin, { signal: live() });
      let bytes = 0;
      await response.read((chunk) => {
        bytes += chunk.length;
        return undefined;
      });
      expect(bytes).toBe(SMALL.length);
    }
    expect(server.connections()).toBe(1);
  });

  test.each([4 * 1024, 100 * 1024, MiB - 1])('is used again after bodies of %d bytes', async (size) => {
    const body = BODY.subarray(0, size);
    let send: () => void = () => undefined;
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { 'content-length': String(size) });
      response.flushHeaders();
      send = () => response.end(body);
    });
    const { http } = world.client();
    for (let round = 0; round < 3; round += 1) {
      // The headers have arrived before the first byte of the body goes.
      const response = await http.request(server.origin, { signal: live() });
      const hash = createHash('sha256');
      const reading = response.read((chunk) => {
        hash.update(chunk);
        return undefined;
      });
      send();
      await reading;
      expect(hash.digest('hex')).toBe(sha256Of(body));
    }
    expect(server.connections()).toBe(1);
  });

  test.each([5 * MiB, 1000])(
    'whose server sends more than the %d bytes it announced gives these',
    async (announced) => {
      const server = await world.serve((_request, response) => {
        response.socket?.end(
          Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${announced}\r\n\r\n`), BODY]),
        );
      });
      const read = await readAll(server.origin, 'late');
      const part = BODY.subarray(0, announced);
      expect(read).toMatchObject({ error: undefined, bytes: announced, sha256: sha256Of(part) });
    },
  );
});

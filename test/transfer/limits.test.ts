import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  backoff,
  createRateLimiter,
  createServerLimits,
  resetAfter,
  retryAfter,
  type Grant,
  type ServerLimits,
} from '../../src/transfer/limits.js';
import { downloadSmall } from '../../src/transfer/small.js';
import { createWorld, live } from './faults.js';

const world = createWorld();
afterEach(async () => {
  vi.useRealTimers();
  await world.close();
});

describe('the rate limiter', () => {
  // 1,000 bytes a second: a byte is a millisecond.
  test.each<
    readonly [what: string, taken: readonly (readonly [bytes: number, now: number, waits: number])[]]
  >([
    [
      'lets 100 ms of traffic run ahead, and no more',
      [
        [100, 0, 0],
        [1, 0, 101],
      ],
    ],
    [
      'makes up for everything that ran ahead',
      [
        [60, 0, 0],
        [60, 0, 120],
        [60, 0, 180],
      ],
    ],
    [
      'forgets what was paid for by time',
      [
        [150, 0, 150],
        [150, 150, 150],
        [100, 300, 0],
      ],
    ],
    [
      'counts what is still owed',
      [
        [150, 0, 150],
        [150, 100, 200],
      ],
    ],
    [
      'saves nothing while it is idle',
      [
        [150, 0, 150],
        [150, 10_000, 150],
      ],
    ],
  ])('%s', (_what, taken) => {
    const limiter = createRateLimiter(1000);
    expect(taken.map(([bytes, now]) => limiter.take(bytes, now))).toEqual(taken.map(([, , waits]) => waits));
  });

  test('waits for nothing without a rate', () => {
    expect(createRateLimiter(undefined).take(1e12, 0)).toBe(0);
  });

  test('makes a download as slow as the rate demands', async () => {
    const bytes = Buffer.alloc(300_000, 'bytes ');
    const server = await world.serve((_request, response) => response.end(bytes));
    // The only clock there is moves by the waits.
    vi.useFakeTimers({ toFake: ['performance'] });
    const waits: number[] = [];
    const { http } = world.client({
      limitRate: 10_000,
      wait: (milliseconds) => {
        waits.push(milliseconds);
        vi.advanceTimersByTime(milliseconds);
        return Promise.resolve();
      },
    });
    const digest = { algorithm: 'sha256', hex: createHash('sha256').update(bytes).digest('hex') } as const;
    const request = { label: 'model', url: `${server.origin}/model`, size: bytes.length, digest };
    await downloadSmall(http, request, {
      signal: live(),
      onStart: () => undefined,
      onProgress: () => undefined,
    });
    const waited = waits.reduce((sum, milliseconds) => sum + milliseconds, 0);
    // 30 s, less what may run ahead at the end, and with each wait rounded as a clock of whole milliseconds has it.
    expect(waited).toBeGreaterThan(29_800);
    expect(waited).toBeLessThan(30_200);
  });
});

describe('the wait before another attempt', () => {
  test.each([
    [0, 250, 500],
    [1, 500, 1000],
    [2, 1000, 2000],
    [3, 2000, 4000],
    [4, 4000, 8000],
    [5, 4000, 8000],
    [1000, 4000, 8000],
  ])('%d is from %d to %d ms, by chance', (attempt, least, most) => {
    expect(backoff(attempt, () => 0)).toBe(least);
    expect(backoff(attempt, () => 0.5)).toBe((least + most) / 2);
    expect(backoff(attempt, () => 1)).toBe(most);
  });
});

describe('`Retry-After`', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  test.each<readonly [string | undefined, number | undefined]>([
    ['0', 0],
    ['120', 120_000],
    [' 7 ', 7000],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Wed, 31 Dec 2025 23:59:00 GMT', 0],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j is %j ms', (header, expected) => {
    expect(retryAfter(header, now)).toBe(expected);
  });
});

describe('resetAfter', () => {
  const now = Date.UTC(2026, 10, 27, 19, 0);

  test.each([
    ['0', String(now / 1000 + 90), 90_000],
    ['0', String(now / 1000 - 90), 0],
    ['1', String(now / 1000 + 90), undefined],
    ['0', '90', undefined],
    ['0', 'soon', undefined],
    ['0', undefined, undefined],
    [undefined, String(now / 1000 + 90), undefined],
  ])('%s left until %s: %s ms', (remaining, reset, expected) => {
    expect(resetAfter(remaining, reset, now)).toBe(expected);
  });
});

describe('the limits that servers announce', () => {
  const api = new URL('https://hub.example/api/models/a');
  const otherApi = new URL('https://hub.example/api/models/b');
  const file = new URL('https://hub.example/a/resolve/main/model.onnx');
  const elsewhere = new URL('https://other.example/api/models/a');

  /** Sends a request that may be sent. */
  function send(limits: ServerLimits, url: URL, now: number): Grant {
    const turn = limits.take(url, now);
    if ('waitMs' in turn) expect.fail(`Expected to be let through, was held for ${turn.waitMs} ms`);
    return turn;
  }

  /** Sends a request and gets this answer at once. */
  function ask(limits: ServerLimits, url: URL, header: string | undefined, now: number): void {
    send(limits, url, now).answered(header, now);
  }

  /** How many requests are let through at once, up to a hundred. */
  function letThrough(limits: ServerLimits, url: URL, now: number): readonly Grant[] {
    const grants: Grant[] = [];
    for (;;) {
      const turn = limits.take(url, now);
      if ('waitMs' in turn || grants.length === 100) return grants;
      grants.push(turn);
    }
  }

  test('hold back the bucket that has none left until a second after its reset, and no other', () => {
    const limits = createServerLimits();
    ask(limits, file, '"resolvers";r=5;t=9', 1000);
    ask(limits, api, '"api";r=0;t=9', 1000);
    expect(limits.take(api, 1000)).toEqual({ waitMs: 10_000, isNews: true });
    expect(limits.take(otherApi, 8000)).toEqual({ waitMs: 3000, isNews: false });
    send(limits, file, 1000);
    send(limits, elsewhere, 1000);
    send(limits, api, 11_000);
  });

  test.each<readonly [string | undefined, number]>([
    ['"api";r=10;t=9', 10],
    ['api;r=10;t=9', 10],
    ['"api"; r=3; t=1', 3],
    ['"minute";r=7;t=9, "hour";r=2;t=900', 2],
    ['"api";r=10', 100],
    ['"api";t=9', 100],
    ['nonsense', 100],
    [undefined, 100],
  ])('after the answer %j as many as %d go at once', (header, count) => {
    const limits = createServerLimits();
    ask(limits, api, header, 0);
    expect(letThrough(limits, otherApi, 0)).toHaveLength(count);
  });

  test('one that is in flight counts as taken until its answer tells', async () => {
    const limits = createServerLimits();
    ask(limits, api, '"api";r=3;t=9', 0);
    const [first, second] = letThrough(limits, api, 0);
    const held = limits.take(api, 0);
    expect(held).toMatchObject({ waitMs: 10_000, isNews: false });
    // All three were counted when it was answered, or none but itself: two are in flight, so none is surely left.
    first?.answered('"api";r=2;t=9', 10);
    await ('change' in held ? held.change : undefined);
    expect(letThrough(limits, api, 10)).toHaveLength(0);
    // The two that are answered were all that it had counted.
    second?.answered('"api";r=2;t=9', 20);
    expect(letThrough(limits, api, 20)).toHaveLength(1);
  });

  test('an answer that was overtaken does not bring requests back', () => {
    const limits = createServerLimits();
    ask(limits, api, '"api";r=9;t=9', 0);
    const [early, late] = letThrough(limits, api, 0);
    late?.answered('"api";r=0;t=9', 10);
    early?.answered('"api";r=8;t=9', 20);
    expect(limits.take(api, 20)).toMatchObject({ waitMs: 9990 });
  });

  test('an answer to a later request does, and so does one of the next window', () => {
    const limits = createServerLimits();
    ask(limits, api, '"api";r=1;t=60', 0);
    ask(limits, api, '"api";r=5;t=60', 0);
    const before = letThrough(limits, api, 0);
    expect(before).toHaveLength(5);
    before[0]?.answered('"api";r=0;t=1', 59_000);
    before[1]?.answered('"api";r=99;t=60', 60_000);
    expect(letThrough(limits, api, 60_000)).toHaveLength(96);
    // Of the window that is over.
    before[2]?.answered('"api";r=0;t=0', 60_100);
    expect(letThrough(limits, api, 60_100)).toHaveLength(1);
  });

  test('addresses of one limit share it, whatever their paths', () => {
    const limits = createServerLimits();
    ask(limits, api, '"all";r=9;t=9', 0);
    ask(limits, file, '"all";r=8;t=9', 0);
    expect(letThrough(limits, api, 0)).toHaveLength(8);
    expect(letThrough(limits, file, 0)).toHaveLength(0);
  });

  test('a request that got no answer counts as taken', () => {
    const limits = createServerLimits();
    ask(limits, api, '"api";r=2;t=9', 0);
    send(limits, api, 0).lost();
    expect(letThrough(limits, api, 0)).toHaveLength(1);
  });

  test('an answer without the header, as of a gateway in trouble, changes nothing', () => {
    const limits = createServerLimits();
    ask(limits, api, '"api";r=2;t=9', 0);
    ask(limits, api, undefined, 0);
    expect(letThrough(limits, api, 0)).toHaveLength(2);
  });

  describe('where nothing is known yet', () => {
    test('one request goes ahead and tells the others', async () => {
      const limits = createServerLimits();
      ask(limits, api, '"api";r=99;t=9', 0);
      const [first, ...more] = letThrough(limits, file, 0);
      expect(more).toEqual([]);
      const held = limits.take(file, 500);
      expect(held).toMatchObject({ waitMs: 1500, isNews: false });
      first?.answered('"resolvers";r=4;t=9', 600);
      await ('change' in held ? held.change : undefined);
      expect(letThrough(limits, file, 600)).toHaveLength(4);
    });

    test('the others wait no longer than 2 s, should it hang', () => {
      const limits = createServerLimits();
      ask(limits, api, '"api";r=99;t=9', 0);
      expect(letThrough(limits, file, 0)).toHaveLength(1);
      expect(letThrough(limits, file, 1999)).toHaveLength(0);
      expect(letThrough(limits, file, 2000)).toHaveLength(100);
    });

    test('the same holds after a reset', () => {
      const limits = createServerLimits();
      ask(limits, api, '"api";r=0;t=9', 0);
      expect(letThrough(limits, api, 10_000)).toHaveLength(1);
    });

    test('a server that announces nothing holds nobody up', () => {
      const limits = createServerLimits();
      expect(letThrough(limits, file, 0)).toHaveLength(100);
      const others = createServerLimits();
      ask(others, api, '"api";r=99;t=9', 0);
      ask(others, file, undefined, 0);
      expect(letThrough(others, file, 0)).toHaveLength(100);
    });
  });
});

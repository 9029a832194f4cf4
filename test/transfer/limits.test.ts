import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { backoff, createRateLimiter, createServerLimits, retryAfter } from '../../src/transfer/limits.js';
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

describe('the limits that servers announce', () => {
  const api = new URL('https://hub.example/api/models/a');
  const otherApi = new URL('https://hub.example/api/models/b');
  const file = new URL('https://hub.example/a/resolve/main/model.onnx');
  const elsewhere = new URL('https://other.example/api/models/a');

  test('hold back the bucket that has none left until a second after its reset, and no other', () => {
    const limits = createServerLimits();
    limits.observe(api, '"api";r=0;t=9', 1000);
    expect([api, otherApi].map((url) => limits.delay(url, 1000))).toEqual([10_000, 10_000]);
    expect([file, elsewhere].map((url) => limits.delay(url, 1000))).toEqual([0, 0]);
    expect(limits.delay(api, 8000)).toBe(3000);
    expect(limits.delay(api, 11_000)).toBe(0);
    expect(limits.delay(api, 99_000)).toBe(0);
  });

  test.each<readonly [string | undefined, number]>([
    ['"api";r=1;t=9', 0],
    ['"api";r=10;t=9', 0],
    ['"api";r=0', 5000],
    ['"api";t=9', 5000],
    ['nonsense', 5000],
    [undefined, 5000],
    ['"api"; r=0; t=1', 2000],
  ])('after none were left, %j means to wait %d ms', (header, expected) => {
    const limits = createServerLimits();
    limits.observe(api, '"api";r=0;t=4', 0);
    limits.observe(otherApi, header, 0);
    expect(limits.delay(api, 0)).toBe(expected);
  });
});

import { describe, expect, test } from 'vitest';
import { createConnectionCount, type ConnectionCount } from '../../src/transfer/connections.js';

/** A network on which time passes by itself: `rateOf` says how many bytes a millisecond so many connections bring. */
function run(
  count: ConnectionCount,
  rateOf: (connections: number, now: number) => number,
  milliseconds: number,
  mayGrow: (now: number) => boolean = () => true,
): readonly number[] {
  let receivedBytes = 0;
  let connections = 1;
  const seen = [1];
  for (let now = 0; now <= milliseconds; now += 25) {
    connections = count.observe({ now, receivedBytes, delivering: connections, mayGrow: mayGrow(now) });
    if (connections !== seen.at(-1)) seen.push(connections);
    receivedBytes += 25 * rateOf(connections, now);
  }
  return seen;
}

describe('the number of connections', () => {
  test('doubles up to its bound while each brings as much as the first', () => {
    expect(run(createConnectionCount(16), (n) => n * 1000, 2000)).toEqual([1, 2, 4, 8, 16]);
  });

  test('never passes its bound', () => {
    expect(run(createConnectionCount(6), (n) => n * 1000, 10_000)).toEqual([1, 2, 4, 6]);
    expect(run(createConnectionCount(1), (n) => n * 1000, 10_000)).toEqual([1]);
  });

  test('stays where more bring no more', () => {
    expect(run(createConnectionCount(16), (n) => Math.min(n, 4) * 1000, 4000)).toEqual([1, 2, 4, 8, 4]);
    expect(run(createConnectionCount(16), () => 1000, 4000)).toEqual([1, 2, 1]);
  });

  test('is tried again later, less and less often', () => {
    const changes = run(createConnectionCount(16), () => 1000, 60_000).length;
    expect(changes).toBeGreaterThan(3);
    expect(changes).toBeLessThan(12);
  });

  test('grows when the network gives more later', () => {
    const seen = run(createConnectionCount(16), (n, now) => (now < 3000 ? 1000 : n * 1000), 20_000);
    expect(seen.at(-1)).toBe(16);
  });

  test('does not grow while something else holds the bytes up', () => {
    expect(
      run(
        createConnectionCount(16),
        (n) => n * 1000,
        5000,
        () => false,
      ),
    ).toEqual([1]);
  });

  test('falls when so many bring next to nothing', () => {
    const seen = run(createConnectionCount(16), (n, now) => (now < 3000 || n < 8 ? n * 1000 : 5), 12_000);
    expect(seen.slice(0, 5)).toEqual([1, 2, 4, 8, 16]);
    expect(Math.min(...seen.slice(5))).toBeLessThan(8);
  });

  test('begins anew after the network was gone', () => {
    const count = createConnectionCount(16);
    const seen = run(
      count,
      (n, now) => {
        if (now === 3000) count.interrupted(now);
        return n * 1000;
      },
      12_000,
    );
    expect(seen).toEqual([1, 2, 4, 8, 16, 1, 2, 4, 8, 16]);
  });

  test('is what the server takes, once it refused one more', () => {
    const count = createConnectionCount(16);
    let refusals = 0;
    const seen = run(
      count,
      (n, now) => {
        if (n > 2) {
          refusals += 1;
          count.refused(2, now);
        }
        return Math.min(n, 2) * 1000;
      },
      100_000,
    );
    expect(seen).toEqual([1, 2, 4, 2]);
    expect(refusals).toBe(1);
  });
});

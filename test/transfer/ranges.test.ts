import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRanges, type Range } from '../../src/transfer/ranges.js';

const SPAN = 60;
const anyRange = fc
  .tuple(fc.nat({ max: SPAN }), fc.nat({ max: SPAN }))
  .map(([a, b]): Range => [Math.min(a, b), Math.max(a, b)]);

/** The same, a flag for every byte. */
function flags(ranges: readonly Range[]): readonly boolean[] {
  return Array.from({ length: SPAN }, (_value, at) => ranges.some(([start, end]) => start <= at && at < end));
}

describe('ranges', () => {
  test('are what was added, sorted and merged', () => {
    fc.assert(
      fc.property(fc.array(anyRange), (added) => {
        const ranges = createRanges(added);
        const list = ranges.list();
        expect(flags(list)).toEqual(flags(added));
        for (const [at, [start, end]] of list.entries()) {
          expect(start).toBeLessThan(end);
          if (at > 0) expect(list[at - 1]?.[1]).toBeLessThan(start);
        }
        expect(ranges.total()).toBe(flags(added).filter(Boolean).length);
      }),
    );
  });

  test('and their gaps make up any stretch', () => {
    fc.assert(
      fc.property(fc.array(anyRange), anyRange, (added, [start, end]) => {
        const lacking = flags(createRanges(added).gaps(start, end));
        const expected = flags(added).map((has, at) => !has && start <= at && at < end);
        expect(lacking).toEqual(expected);
      }),
    );
  });

  test('reach from an offset as far as no byte lacks', () => {
    fc.assert(
      fc.property(fc.array(anyRange), fc.nat({ max: SPAN - 1 }), (added, start) => {
        const has = flags(added);
        let end = start;
        while (has[end] === true) end += 1;
        expect(createRanges(added).endOf(start)).toBe(end);
      }),
    );
  });

  test('are none after clearing', () => {
    const ranges = createRanges([[0, 5]]);
    ranges.clear();
    expect([ranges.list(), ranges.total(), ranges.endOf(0)]).toEqual([[], 0, 0]);
  });
});

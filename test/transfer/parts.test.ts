import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createParts, PART_BYTES, type Part, type Parts } from '../../src/transfer/parts.js';
import { createRanges, type Ranges } from '../../src/transfer/ranges.js';

const MiB = 1024 * 1024;
const GIB = 1024 * MiB;

interface Queue {
  readonly parts: Parts;
  readonly received: Ranges;
  readonly advance: (milliseconds: number) => void;
}

function queueOf(size: number, had: readonly (readonly [number, number])[] = []): Queue {
  const received = createRanges(had);
  let now = 0;
  const parts = createParts(
    received,
    () => size,
    () => now,
  );
  return { parts, received, advance: (milliseconds) => (now += milliseconds) };
}

const ends = (part: Part | undefined): readonly unknown[] => [part?.at, part?.end];

describe('the queue of a file', () => {
  test('gives all of it to a connection that is alone', () => {
    const { parts } = queueOf(GIB);
    expect(ends(parts.rest())).toEqual([0, GIB]);
    expect(parts.rest()).toBeUndefined();
  });

  test('gives what lacks only, in order', () => {
    const { parts } = queueOf(10 * MiB, [
      [0, MiB],
      [3 * MiB, 4 * MiB],
    ]);
    expect(ends(parts.rest())).toEqual([MiB, 3 * MiB]);
    expect(ends(parts.rest())).toEqual([4 * MiB, 10 * MiB]);
    expect(parts.rest()).toBeUndefined();
  });

  test('gives a second connection the end of the file, so that the first can go on when that did not help', () => {
    const { parts, received } = queueOf(GIB);
    const first = parts.rest();
    const second = parts.next();
    expect(ends(second)).toEqual([GIB - PART_BYTES, GIB]);
    expect(ends(first)).toEqual([0, GIB - PART_BYTES]);
    // The second one brought a MiB and was given up.
    received.add(GIB - PART_BYTES, GIB - PART_BYTES + MiB);
    if (second !== undefined) parts.close(second);
    expect(ends(parts.rest())).toEqual([GIB - PART_BYTES + MiB, GIB]);
  });

  test('gives parts of one size to several connections', () => {
    const { parts } = queueOf(GIB);
    const first = parts.rest();
    parts.next();
    expect(ends(parts.next())).toEqual([PART_BYTES, 2 * PART_BYTES]);
    expect(ends(first)).toEqual([0, PART_BYTES]);
    expect(ends(parts.next())).toEqual([2 * PART_BYTES, 3 * PART_BYTES]);
  });

  test('gives half of what another one has left, when nothing else is', () => {
    const { parts, received } = queueOf(PART_BYTES);
    const first = parts.next();
    if (first === undefined) throw new Error('Expected a part');
    received.add(0, 4 * MiB);
    first.at = 4 * MiB;
    expect(ends(parts.next())).toEqual([10 * MiB, PART_BYTES]);
    expect(ends(first)).toEqual([4 * MiB, 10 * MiB]);
  });

  test('takes nothing from who has little left', () => {
    const { parts, received } = queueOf(PART_BYTES);
    const first = parts.next();
    if (first === undefined) throw new Error('Expected a part');
    first.at = PART_BYTES - 400 * 1024;
    received.add(0, first.at);
    expect(parts.next()).toBeUndefined();
  });

  test('takes all from who has been silent, and stops it', () => {
    const { parts, received, advance } = queueOf(PART_BYTES);
    const first = parts.next();
    if (first === undefined) throw new Error('Expected a part');
    let stopped = 0;
    first.stop = () => (stopped += 1);
    first.at = PART_BYTES - 100;
    received.add(0, first.at);
    advance(1999);
    expect(parts.next()).toBeUndefined();
    advance(1);
    expect(ends(parts.next())).toEqual([PART_BYTES - 100, PART_BYTES]);
    expect(ends(first)).toEqual([PART_BYTES - 100, PART_BYTES - 100]);
    expect(stopped).toBe(1);
  });

  test('never gives a byte twice, and every byte once', () => {
    const step = fc.record({
      kind: fc.constantFrom('next', 'rest', 'read', 'fail'),
      at: fc.nat(),
      bytes: fc.nat(),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.array(step, { maxLength: 60 }), (mebibytes, steps) => {
        const size = mebibytes * MiB - 7;
        const { parts, received } = queueOf(size);
        const read = (part: Part, bytes: number): void => {
          const end = Math.min(part.end, part.at + bytes);
          expect(received.gaps(part.at, end)).toEqual(part.at < end ? [[part.at, end]] : []);
          received.add(part.at, end);
          part.at = end;
          if (part.at >= part.end) parts.close(part);
        };
        for (const { kind, at, bytes } of steps) {
          const open = [...parts.open];
          const part = open[at % Math.max(1, open.length)];
          if (kind === 'next') parts.next();
          else if (kind === 'rest') parts.rest();
          else if (part !== undefined && kind === 'read') read(part, bytes % (40 * MiB));
          else if (part !== undefined) parts.close(part);
        }
        for (const part of parts.open) read(part, Infinity);
        for (let part = parts.rest(); part !== undefined; part = parts.rest()) read(part, Infinity);
        expect(received.list()).toEqual([[0, size]]);
      }),
    );
  });
});

/** Which bytes of a file are there: sorted, disjoint, half-open ranges. All offsets are bytes. */

/** `[start, end)`. */
export type Range = readonly [start: number, end: number];

export interface Ranges {
  add(start: number, end: number): void;
  /** End of the range that `start` lies in or touches; `start` itself when there is none. */
  endOf(start: number): number;
  /** What lacks within `[start, end)`, in order. */
  gaps(start: number, end: number): readonly Range[];
  total(): number;
  list(): readonly Range[];
  clear(): void;
}

export function createRanges(initial: readonly Range[] = []): Ranges {
  let known: Range[] = [];

  const ranges: Ranges = {
    add(start, end) {
      if (end <= start) return;
      const touching = known.filter(([from, to]) => from <= end && to >= start);
      const merged: Range = [
        Math.min(start, ...touching.map(([from]) => from)),
        Math.max(end, ...touching.map(([, to]) => to)),
      ];
      known = [
        ...known.filter(([, to]) => to < merged[0]),
        merged,
        ...known.filter(([from]) => from > merged[1]),
      ];
    },
    endOf: (start) => known.find(([from, to]) => from <= start && start <= to)?.[1] ?? start,
    gaps(start, end) {
      const found: Range[] = [];
      let at = start;
      for (const [from, to] of known) {
        if (to <= at) continue;
        if (from >= end) break;
        if (from > at) found.push([at, from]);
        at = to;
      }
      if (at < end) found.push([at, end]);
      return found;
    },
    total: () => known.reduce((sum, [start, end]) => sum + end - start, 0),
    list: () => [...known],
    clear: () => {
      known = [];
    },
  };
  for (const [start, end] of initial) ranges.add(start, end);
  return ranges;
}

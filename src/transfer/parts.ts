/**
 * Who fetches which bytes of a file: the work queue of its connections. What nobody has and nobody is fetching is the
 * queue; when that is empty, whoever has nothing to do takes from those who have most left.
 */
import type { Range, Ranges } from './ranges.js';

/** A stretch of the file that one connection fetches. */
export interface Part {
  /** Offset of the next byte that it expects; the connection moves it on. */
  at: number;
  /** Where it stops; others may move it down to take over the rest. Infinity while the file's size is unknown. */
  end: number;
  /** When bytes came last, milliseconds on a clock that never jumps. */
  heardAt: number;
  /** Where and when it began. */
  readonly from: number;
  readonly since: number;
  /** Ends the reading at once, after everything was taken from it. */
  stop?: () => void;
}

export interface Parts {
  readonly open: ReadonlySet<Part>;
  /** All of the first stretch that nobody fetches, for a connection that is alone; undefined when there is none. */
  rest(): Part | undefined;
  /** A part for one connection of several: from the queue, else from another one. */
  next(): Part | undefined;
  close(part: Part): void;
}

/** What one of several connections asks for at once, bytes. */
export const PART_BYTES = 16 * 1024 * 1024;
/** Less than twice this is left to whoever fetches it: another request would take longer. */
const LEAST_BYTES = 256 * 1024;
/** Who brings so little in so long is as good as silent. */
const SLOW_MS = 10_000;
const SLOW_BYTES_PER_MS = 16;
/** Who brings nothing for so long loses its part to whoever has nothing to do, milliseconds. */
const SILENT_MS = 2000;

/**
 * @param received bytes that are here
 * @param size of the whole file, Infinity while unknown
 * @param clock milliseconds, never jumping
 */
export function createParts(
  received: Ranges,
  size: () => number,
  clock: () => number = () => performance.now(),
): Parts {
  const open = new Set<Part>();

  function firstGap(): Range | undefined {
    for (const [start, end] of received.gaps(0, size())) {
      // Parts that are fetched begin at the start of what lacks, or within it.
      let at = start;
      const within = [...open].filter((part) => part.at < end && part.end > start);
      for (const part of within.sort((a, b) => a.at - b.at)) {
        if (part.at > at) return [at, part.at];
        at = Math.max(at, part.end);
      }
      if (at < end) return [at, end];
    }
    return undefined;
  }

  function take(start: number, end: number): Part {
    const part: Part = { at: start, end, heardAt: clock(), from: start, since: clock() };
    open.add(part);
    return part;
  }

  function isSlow({ at, from, since }: Part): boolean {
    const elapsed = clock() - since;
    return elapsed >= SLOW_MS && (at - from) / elapsed < SLOW_BYTES_PER_MS;
  }

  function steal(): Part | undefined {
    const left = (part: Part): number => part.end - part.at;
    const busy = [...open].filter((part) => left(part) > 0).sort((a, b) => left(b) - left(a));
    const silent = busy.find((part) => clock() - part.heardAt >= SILENT_MS || isSlow(part));
    if (silent !== undefined) {
      const { at, end } = silent;
      silent.end = at;
      silent.stop?.();
      return take(at, end);
    }
    const [victim] = busy;
    if (victim === undefined || left(victim) < 2 * LEAST_BYTES) return undefined;
    const { at, end } = victim;
    if (left(victim) > 2 * PART_BYTES) {
      // One that was alone has all of it: the second one begins at the end, so that the first can go on for long when
      // two prove no faster than one. With a third it becomes one of several.
      victim.end = open.size === 1 ? end - PART_BYTES : at + PART_BYTES;
      return take(victim.end, victim.end + PART_BYTES);
    }
    victim.end = at + Math.ceil(left(victim) / 2);
    return take(victim.end, end);
  }

  return {
    open,
    rest() {
      const gap = firstGap();
      return gap === undefined ? undefined : take(...gap);
    },
    next() {
      const gap = firstGap();
      if (gap === undefined) return steal();
      const [start, end] = gap;
      // A rest that is hardly worth a request of its own goes with the part before it.
      return take(start, end - start < PART_BYTES + LEAST_BYTES ? end : start + PART_BYTES);
    },
    close: (part) => open.delete(part),
  };
}

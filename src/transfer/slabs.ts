/**
 * Memory that bodies are read into: a few slabs used in turn, so that a body of any length costs no garbage and whoever
 * takes its bytes gets them in pieces that are worth a write.
 */

export interface Slabs {
  /** Where the next bytes go; undefined while all memory is in use. */
  space(): Buffer | undefined;
  hasSpace(): boolean;
  /** So many bytes were put at the start of `space()`. */
  filled(bytes: number): void;
  /** Copies a chunk in; a promise when it has to wait for memory. */
  put(chunk: Buffer): Promise<void> | undefined;
  /** Hands out what is left, waits until everything was taken and gives the memory back. Throws what `onChunk` throws. */
  finish(): Promise<void>;
  /** Takes no more: whoever waits with a chunk drops it. What was handed out may still be in use. */
  close(): void;
}

/** Memory that one body after another uses. */
export interface SlabPool {
  /** Bytes of each. */
  readonly slabBytes: number;
  /** @param held how many the body has; undefined when it gets no more now */
  take(held: number): Buffer | undefined;
  /** Nobody may use it any more. */
  give(memory: Buffer): void;
  /** So many are not given back, since somebody may still use them. */
  forget(count: number): void;
}

/** One is written, one waits, one is filled. */
const ENOUGH_SLABS = 3;
/** While few bodies are read, one gets more: a busy machine gives the thread that writes its turn late. */
const MAX_SLABS = 6;
/** So many in all are no reason to be sparing. */
const FEW_SLABS = 12;

export function createSlabPool(slabBytes: number): SlabPool {
  const free: Buffer[] = [];
  let taken = 0;
  return {
    slabBytes,
    take(held) {
      if (held >= (taken < FEW_SLABS ? MAX_SLABS : ENOUGH_SLABS)) return undefined;
      taken += 1;
      return free.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
    },
    give(memory) {
      taken -= 1;
      free.push(memory);
    },
    forget(count) {
      taken -= count;
    },
  };
}

export interface SlabOptions {
  readonly pool: SlabPool;
  /** Takes bytes; their memory is used again once the promise resolves, or at once without one. */
  onChunk(chunk: Buffer): Promise<void> | undefined;
  /** There is space again. */
  readonly onFree: () => void;
  /** What `onChunk` threw. */
  readonly onError: (error: unknown) => void;
}

/** Bytes that come slowly are handed out this often, milliseconds: progress and limits go by what was handed out. */
const HAND_OUT_MS = 200;

interface Slab {
  readonly memory: Buffer;
  /** Handed out up to here. */
  start: number;
  end: number;
  pending: number;
}

export function createSlabs(options: SlabOptions): Slabs {
  const { pool } = options;
  const { slabBytes } = pool;
  /** A slab with less space than this counts as full: reads of a few bytes are not worth their call. */
  const leastSpace = Math.max(1, Math.floor(slabBytes / 16));
  const free: Slab[] = [];
  const taken = new Set<Promise<void>>();
  const waiting: (() => void)[] = [];
  /** Chunks that wait for memory. */
  const placing = new Set<Promise<void>>();
  let made = 0;
  let current: Slab | undefined;
  let isOver = false;
  let handedOutAt = performance.now();

  function next(): Slab | undefined {
    if (current !== undefined || isOver) return current;
    current = free.pop();
    const memory = current === undefined ? pool.take(made) : undefined;
    if (memory !== undefined) {
      made += 1;
      current = { memory, start: 0, end: 0, pending: 0 };
    }
    return current;
  }

  function release(slab: Slab): void {
    if (slab === current || slab.pending > 0) return;
    slab.start = 0;
    slab.end = 0;
    free.push(slab);
    for (const resolve of waiting.splice(0)) resolve();
    options.onFree();
  }

  function handOut(slab: Slab): void {
    handedOutAt = performance.now();
    const chunk = slab.memory.subarray(slab.start, slab.end);
    slab.start = slab.end;
    if (chunk.length === 0) return;
    const busy = options.onChunk(chunk);
    if (busy === undefined) return;
    slab.pending += 1;
    taken.add(busy);
    busy
      .then(() => {
        slab.pending -= 1;
        release(slab);
      }, options.onError)
      .finally(() => taken.delete(busy));
  }

  const slabs: Slabs = {
    space: () => {
      const slab = next();
      return slab?.memory.subarray(slab.end);
    },
    hasSpace: () => next() !== undefined,
    filled(bytes) {
      const slab = current;
      if (slab === undefined) throw new Error('Expected bytes in the space that was given');
      slab.end += bytes;
      const full = slabBytes - slab.end < leastSpace;
      if (full) current = undefined;
      if (full || performance.now() - handedOutAt >= HAND_OUT_MS) handOut(slab);
      if (full) release(slab);
    },
    put(chunk) {
      // Whoever waited for memory comes too late.
      if (isOver) return undefined;
      let rest = chunk;
      while (rest.length > 0) {
        const space = slabs.space();
        if (space === undefined) {
          const left = rest;
          const placed = new Promise<void>((resolve) => waiting.push(resolve)).then(() => slabs.put(left));
          placing.add(placed);
          // Its failure is the caller's.
          placed.catch(() => undefined).finally(() => placing.delete(placed));
          return placed;
        }
        const bytes = rest.copy(space);
        rest = rest.subarray(bytes);
        slabs.filled(bytes);
      }
      return undefined;
    },
    close() {
      isOver = true;
      pool.forget(made);
      made = 0;
      current = undefined;
      free.length = 0;
    },
    async finish() {
      try {
        // Memory comes from what was taken; a failure of that is the end.
        while (placing.size > 0) await Promise.race([...placing, ...taken]);
        isOver = true;
        if (current !== undefined) handOut(current);
        while (taken.size > 0) await Promise.all(taken);
      } catch (error) {
        slabs.close();
        throw error;
      }
      if (current !== undefined && current.pending === 0) free.push(current);
      current = undefined;
      for (const { memory } of free.splice(0)) pool.give(memory);
    },
  };
  return slabs;
}

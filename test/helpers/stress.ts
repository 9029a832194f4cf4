/** Suites with many rounds: how many, and the seed that repeats one. */

/** Is this `npm run stress`? */
export const FULL = process.env['MODELDL_STRESS'] === 'full';

/** Rounds of a suite: few where every test runs, all with `npm run stress`. */
export function runs(reduced: number, full: number): number {
  return FULL ? full : reduced;
}

/** What random choices start from: the same in every reduced run, another in every full one; `MODELDL_SEED` repeats one. */
export const SEED = Number(process.env['MODELDL_SEED'] ?? (FULL ? Date.now() % 2 ** 32 : 1));

/** Numbers in `[0, 1)` that a seed decides (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

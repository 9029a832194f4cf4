import { expect, test } from 'vitest';
import { createSlabPool, createSlabs, type Slabs } from '../../src/transfer/slabs.js';

const SLAB_BYTES = 1024;

function slabsOf(pool: ReturnType<typeof createSlabPool>, onChunk: () => Promise<void> | undefined): Slabs {
  return createSlabs({ pool, onChunk, onFree: () => undefined, onError: () => undefined });
}

/** How many pieces a body may have in use at a time. */
function mostOf(pool: ReturnType<typeof createSlabPool>): number {
  let taken = 0;
  const slabs = slabsOf(pool, () => {
    taken += 1;
    return new Promise(() => undefined);
  });
  void slabs.put(Buffer.alloc(100 * SLAB_BYTES));
  slabs.close();
  return taken;
}

const failed = new Error('taken over');

test.each<readonly [string, (slabs: Slabs) => Promise<unknown> | undefined, () => Promise<void> | undefined]>(
  [
    [
      'is not read to its end',
      (slabs) => slabs.put(Buffer.alloc(SLAB_BYTES)),
      () => {
        throw failed;
      },
    ],
    ['is not taken whole', (slabs) => slabs.finish(), () => Promise.reject(failed)],
  ],
)('a body that %s leaves as much memory to the next ones as there was', async (_what, end, onChunk) => {
  const pool = createSlabPool(SLAB_BYTES);
  const most = mostOf(pool);
  expect(most).toBeGreaterThan(1);
  for (let body = 0; body < 20; body += 1) {
    const slabs = slabsOf(pool, onChunk);
    void slabs.put(Buffer.alloc(10));
    await expect((async () => end(slabs))()).rejects.toThrow(failed);
    slabs.close();
  }
  expect(mostOf(pool)).toBe(most);
});

/** Several models at once: one that fails does not stop the others. */
import { atMost } from './at-most.js';
import type { Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { Outcome } from './results.js';

/**
 * Runs `work` for each item, so many at a time, and collects results and errors in the order of the items.
 * Interruption ends it, and so does what is a bug.
 * @param explain what an error means for an item
 */
export async function forEach<Item, Result>(
  context: Context,
  items: readonly Item[],
  atOnce: number,
  work: (item: Item) => Promise<Result>,
  explain: (item: Item, error: unknown) => unknown,
): Promise<Outcome<Result>> {
  type Settled = { readonly result: Result; readonly seconds: number } | { readonly error: ModeldlError };
  const settled = await atMost(atOnce, items, async (item): Promise<Settled> => {
    const started = performance.now();
    try {
      const result = await work(item);
      return { result, seconds: (performance.now() - started) / 1000 };
    } catch (thrown) {
      const error = await explain(item, thrown);
      if (!context.signal.aborted && error instanceof ModeldlError) return { error };
      throw error;
    }
  });
  return {
    results: settled.flatMap((one) => ('result' in one ? [one.result] : [])),
    seconds: settled.flatMap((one) => ('result' in one ? [one.seconds] : [])),
    errors: settled.flatMap((one) => ('error' in one ? [one.error] : [])),
  };
}

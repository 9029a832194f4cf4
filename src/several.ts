/** Several models at once: one that fails does not stop the others. */
import pLimit from 'p-limit';
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
  const limit = pLimit(atOnce);
  let end: { readonly thrown: unknown } | undefined;
  const settled = await Promise.all(
    items.map((item) =>
      limit(async (): Promise<{ result: Result; seconds: number } | { error: ModeldlError } | undefined> => {
        if (end !== undefined) return undefined;
        const started = performance.now();
        try {
          const result = await work(item);
          return { result, seconds: (performance.now() - started) / 1000 };
        } catch (thrown) {
          const error = await explain(item, thrown);
          if (!context.signal.aborted && error instanceof ModeldlError) return { error };
          end ??= { thrown: error };
          return undefined;
        }
      }),
    ),
  );
  if (end !== undefined) throw end.thrown;
  return {
    results: settled.flatMap((one) => (one !== undefined && 'result' in one ? [one.result] : [])),
    seconds: settled.flatMap((one) => (one !== undefined && 'result' in one ? [one.seconds] : [])),
    errors: settled.flatMap((one) => (one !== undefined && 'error' in one ? [one.error] : [])),
  };
}

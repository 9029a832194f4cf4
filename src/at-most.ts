/** Many of one kind at the same time, but not too many. */
import pLimit from 'p-limit';

/** Results in the items' order. After the first failure nothing more begins, and it is thrown once what runs has ended. */
export async function atMost<Item, Result>(
  limit: number,
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const queue = pLimit(limit);
  let first: { readonly error: unknown } | undefined;
  const results: Result[] = [];
  const begin = async (item: Item, index: number): Promise<void> => {
    if (first !== undefined) return;
    try {
      results[index] = await work(item);
    } catch (error) {
      first ??= { error };
    }
  };
  await Promise.all(items.map((item, index) => queue(begin, item, index)));
  if (first !== undefined) throw first.error;
  return results;
}

/**
 * Works on items two at a time, in order. Most of a conversion is imports, on one core: two at once fill a small machine.
 * @returns each item with what came of it
 */
export async function inPairs<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly (readonly [Item, Result])[]> {
  const done: (readonly [Item, Result])[] = [];
  for (let at = 0; at < items.length; at += 2) {
    const pair = items.slice(at, at + 2);
    done.push(...(await Promise.all(pair.map(async (item) => [item, await work(item)] as const))));
  }
  return done;
}

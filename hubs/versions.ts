/** Versions to offer when the one asked for does not exist. Pure. */

/** The versions that begin most like the one asked for, newest first among equals, and the newest of all. */
export function nearestVersions(asked: string, versions: readonly string[]): readonly string[] {
  const numerically = new Intl.Collator('en', { numeric: true });
  const newestFirst = [...versions].sort((a, b) => numerically.compare(b, a));
  const near = newestFirst
    .map((version) => ({ version, shared: sharedPrefix(asked, version) }))
    .sort((a, b) => b.shared - a.shared)
    .slice(0, 4)
    .map(({ version }) => version);
  const [newest] = newestFirst;
  return newest === undefined || near.includes(newest) ? near : [...near, newest];
}

function sharedPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}

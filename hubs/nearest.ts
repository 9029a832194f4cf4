/** Names to offer in place of one that does not exist. Pure. */
import { closest, distance } from 'fastest-levenshtein';

/** Up to four, likeliest first; at least one, however far it is. */
export function nearestNames(asked: string, names: Iterable<string>): readonly string[] {
  const known = [...new Set(names)];
  const wanted = asked.toLowerCase();
  const near = known
    .map((name) => {
      const candidate = name.toLowerCase();
      // One that goes on, or is gone on with, is nearer than one that is spelt alike.
      const kin = candidate.startsWith(wanted) ? 2 : wanted.startsWith(candidate) ? 1 : 0;
      return { name, kin, away: distance(wanted, candidate) };
    })
    .filter(({ kin, away }) => kin > 0 || away <= Math.max(2, Math.floor(asked.length / 2)))
    .sort((a, b) => b.kin - a.kin || a.away - b.away || a.name.localeCompare(b.name, 'en', { numeric: true }))
    .slice(0, 4)
    .map(({ name }) => name);
  return near.length > 0 || known.length === 0 ? near : [closest(asked, known)];
}

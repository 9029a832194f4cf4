/** Search in lists of names that are shipped, for hubs that have no search or need none. Pure. */
import { ModeldlError } from '../src/errors.js';
import { nearestNames } from './nearest.js';

const compare = new Intl.Collator('en', { numeric: true }).compare;

/**
 * The entries that have every word of a text in their name or task: the name itself, what begins with it, all others.
 */
export function matching<Entry extends { readonly name: string; readonly task?: string }>(
  entries: Iterable<Entry>,
  text: string,
): readonly Entry[] {
  const wanted = text.toLowerCase();
  const rank = (name: string): number => (name === wanted ? 0 : name.startsWith(wanted) ? 1 : 2);
  return [...entries]
    .filter(({ name, task }) => hasWords(text, name, task))
    .map((entry) => ({ entry, name: entry.name.toLowerCase() }))
    .sort((a, b) => rank(a.name) - rank(b.name) || compare(a.name, b.name))
    .map(({ entry }) => entry);
}

/** Does each word of a text occur in a name or task? */
export function hasWords(text: string, name: string, task = ''): boolean {
  const words = text.toLowerCase().split(/\s+/);
  return words.every((word) => name.toLowerCase().includes(word) || asWord(task).includes(asWord(word)));
}

/**
 * A hub's tasks that a word means: one of its own, or of Hugging Face's.
 * @param inOthersWords by the hub's word
 * @throws ModeldlError USAGE where it has no such task
 */
export function tasksMeant(
  asked: string,
  tasks: readonly string[],
  inOthersWords: Readonly<Record<string, string>>,
  title: string,
): ReadonlySet<string> {
  const wanted = asWord(asked);
  const meant = tasks.filter((task) => [task, inOthersWords[task] ?? task].map(asWord).includes(wanted));
  if (meant.length > 0) return new Set(meant);
  const others = tasks.flatMap((task) => inOthersWords[task] ?? []);
  const near = nearestNames(asked, [...tasks, ...others]);
  const [first = ''] = near;
  throw new ModeldlError('USAGE', `${title} has no task ${asked}`, {
    hint: `the nearest ${near.length > 1 ? `are ${near.join(', ')}` : `is ${first}`}; its tasks are ${tasks.join(', ')}`,
  });
}

/** Hubs write tasks with `-` or `_`. */
function asWord(text: string): string {
  return text.toLowerCase().replaceAll('_', '-');
}

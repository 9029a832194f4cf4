/** What is stored under names like one that is not: for hints, where nobody else can be asked. */
import { distance } from 'fastest-levenshtein';
import { format, parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { visibleCatalogue } from './lower.js';
import type { Reference } from './reference.js';

/** Most names that a hint has. */
const OFFERED = 4;

/**
 * References that are stored: other revisions of the same model, else models of the same hub that are spelt alike,
 * likeliest first.
 */
export async function nearestStored(context: Context, { hub, id }: Reference): Promise<readonly string[]> {
  const { models } = await visibleCatalogue(context);
  const stored = models.flatMap(({ record: { reference } }) => read(context, reference) ?? []);
  const same = stored.filter((other) => other.hub === hub && other.id === id);
  const revisions = same.map(({ conversion, subpath, ...whole }) => format(context, whole));
  if (revisions.length > 0) return [...new Set(revisions)].slice(0, OFFERED);
  const ids = new Set(stored.filter((other) => other.hub === hub).map((other) => other.id));
  return [...ids]
    .map((other) => ({ other, away: distance(id.toLowerCase(), other.toLowerCase()) }))
    .filter(({ away }) => away <= Math.max(2, Math.floor(id.length / 4)))
    .sort((a, b) => a.away - b.away)
    .slice(0, OFFERED)
    .map(({ other }) => format(context, { hub, id: other }));
}

/** Undefined for models of a hub that is no longer there. */
function read(context: Context, text: string): Reference | undefined {
  try {
    return parse(context, text);
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

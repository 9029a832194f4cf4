/** From a short name to the listing that Hugging Face has, or to the names that are published instead. */
import { ModeldlError, throwIfAborted } from '../../src/errors.js';
import type { HubContext, Snapshot } from '../../src/hub.js';
import { formatStandard, type Reference } from '../../src/reference.js';
import { hf, hubEndpoint } from '../hf.js';
import { openApi } from '../hf/api.js';
import { nearestNames } from '../nearest.js';
import { fullId, ORGANISATION, readName, shortId } from './names.js';

/** Names that are looked at for a hint: the organisation has some hundred. */
const MAX_NAMES = 1000;

/** The requests of `hf`, and up to two more for a name that is not there. @throws ModeldlError as `hf` does */
export async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  const asking: HubContext = {
    ...context,
    known: async (id, revision) => context.known?.(shortId(id) ?? id, revision),
  };
  let snapshot: Snapshot;
  try {
    snapshot = await hf.resolve({ ...reference, hub: 'hf', id: fullId(reference.id) }, asking);
  } catch (error) {
    throw await withNames(error, reference, context);
  }
  const id = shortId(snapshot.id);
  if (id !== undefined) return { ...snapshot, hub: 'openvino', id };
  throw new ModeldlError('NOT_FOUND', `${reference.id} is no longer published by ${ORGANISATION}`, {
    hint: `it is now \`${formatStandard('hf', { ...reference, id: snapshot.id })}\``,
  });
}

/**
 * Without a login the hub says of what is not there that it may be private. What the organisation publishes is public, so
 * a list without the name tells.
 */
async function withNames(error: unknown, { id }: Reference, context: HubContext): Promise<unknown> {
  const isAbsence = error instanceof ModeldlError && (error.code === 'NOT_FOUND' || error.code === 'AUTH');
  if (!isAbsence || context.signal.aborted) return error;
  const endpoint = hubEndpoint(context);
  let names: readonly string[];
  try {
    const api = openApi(context, { endpoint });
    const namesWith = async (text: string): Promise<readonly string[]> =>
      (await api.names(ORGANISATION, text, MAX_NAMES)).flatMap((full) => shortId(full) ?? []);
    // Other precisions, sizes and generations begin alike; where none does, its first word is misspelt.
    const [start = id] = /^[A-Za-z]+/.exec(id) ?? [];
    names = await namesWith(start);
    if (names.length === 0) names = await namesWith('');
  } catch {
    throwIfAborted(context.signal);
    return error;
  }
  if (names.includes(id)) return error;
  const url = `${endpoint}/${ORGANISATION}`;
  return new ModeldlError('NOT_FOUND', `${ORGANISATION} publishes no ${id}: ${url}`, {
    hint: hintOf(id, names),
    cause: error,
    details: { url },
  });
}

function hintOf(id: string, names: readonly string[]): string {
  const offer = (name: string): string => `\`${formatStandard('openvino', { id: name })}\``;
  const base = (readName(id)?.base ?? id.replace(/-ov$/, '')).toLowerCase();
  const same = names.filter((name) => readName(name)?.base.toLowerCase() === base);
  if (same.length > 0) return `of that model there are ${same.map(offer).join(', ')}`;
  const near = nearestNames(id, names);
  const offered =
    near.length === 0
      ? 'the page lists what there is'
      : `the nearest ${near.length > 1 ? 'are' : 'is'} ${near.map(offer).join(', ')}`;
  return `${offered}; any other model is \`hf:org/name\`, which \`convert\` makes IR of`;
}

/** A registry as a source of other hubs' models. */
import { ModeldlError } from '../../src/errors.js';
import type { Holding } from '../../src/hub.js';
import { originOf } from './address.js';
import { repositoryName, tagName } from './names.js';
import { syntax } from './reference.js';

export const holding = {
  readPrefix,
  address: (prefix, context) => `${originOf(hostOf(prefix), context)}/v2/`,
  place: (prefix, { hub, id, revision }) => ({
    hub: 'oci',
    id: `${prefix}/${hub}/${repositoryName(id)}`,
    revision: tagName(revision),
  }),
  find: async (place, context) => (await import('./held.js')).find(place, context),
} as const satisfies Holding;

function hostOf(prefix: string): string {
  return prefix.split('/', 1)[0] ?? prefix;
}

/** A registry alone, or with the start of names. */
function readPrefix(text: string): string | undefined {
  const last = 'model';
  try {
    const { id, revision, subpath } = syntax.parse(`${text.replace(/\/+$/, '')}/${last}`);
    if (revision !== undefined || subpath !== undefined) return undefined;
    return id.slice(0, -last.length - 1);
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

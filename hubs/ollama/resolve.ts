/** From a name to the listing of what its registry has under it. */
import type { HubContext, Snapshot } from '../../src/hub.js';
import { registryOf, repositoryAddress } from './endpoint.js';
import { idOf, type askedName } from './reference.js';
import { openRegistry } from './registry.js';
import { snapshotOf } from './snapshot.js';

/**
 * One request where the listing of that manifest is stored, and else one more for each text. A tag that stays on the
 * manifest it had is found stored by its digest.
 * @throws ModeldlError as `Hub.resolve`
 */
export async function resolve(
  { name, hex }: ReturnType<typeof askedName>,
  context: HubContext,
): Promise<Snapshot> {
  const registry = openRegistry(name, context);
  const found = await (hex === undefined ? registry.tagged() : registry.pinned(hex));
  const id = idOf(name);
  const base = `${repositoryAddress(registryOf(name, context), name)}/`;
  const known = await context.known?.(id, found.hex);
  // A listing of another endpoint has that one's addresses.
  if (known?.files.every(({ url }) => url.startsWith('data:') || url.startsWith(base)) === true) return known;
  return snapshotOf(name, registry, found);
}

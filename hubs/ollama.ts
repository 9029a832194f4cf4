/** Models of Ollama's registry, and of others that speak like it: no Ollama is needed. The revision is a manifest's digest. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, Snapshot } from '../src/hub.js';
import type { Reference } from '../src/reference.js';
import { answerChallenge } from './ollama/challenge.js';
import { allowAddress, endpointOf, KEYS_PAGE, registryOf, repositoryAddress } from './ollama/endpoint.js';
import { keyFile, publicLineOf } from './ollama/key.js';
import { askedName, idOf, readName, syntax } from './ollama/reference.js';
import { openRegistry } from './ollama/registry.js';
import { snapshotOf } from './ollama/snapshot.js';

export const ollama = {
  name: 'ollama',
  title: 'Ollama',
  syntax,
  settings: {
    endpoint: {
      description: 'Address of the registry for names without a host: a mirror or an own one',
      type: 'string',
      trust: true,
    },
    insecure: {
      description: 'Registries, with their port unless it is 80, that are asked without encryption',
      type: 'string[]',
      trust: true,
    },
  },
  endpoint: (context, id) => (id === undefined ? endpointOf(context) : registryOf(readName(id, id), context)),
  allow: allowAddress,
  answerChallenge,
  resolve,
  async *search(query, context) {
    const { search } = await import('./ollama/search.js');
    yield* search(query, context);
  },
  searches: {
    filters: [],
    orders: [],
    note: 'its registry has no search, so only a model of exactly this name is found; https://ollama.com/search knows the names',
  },
  program: {
    pull: async (reference, context) =>
      (await import('./ollama/daemon.js')).pullByDaemon(reference, context, resolve),
    checkRegistration: async (name, context) =>
      (await import('./ollama/register.js')).checkRegistration(name, context),
    register: async (model, name, context) =>
      (await import('./ollama/register.js')).register(model, name, context),
  },
  key: {
    page: KEYS_PAGE,
    made: '`ollama serve` makes one on its first start',
    file: keyFile,
    publicLine: publicLineOf,
  },
} as const satisfies Hub;

/**
 * One request where the listing of that manifest is stored, and else one more for each text. A tag that stays on the
 * manifest it had is found stored by its digest.
 * @throws ModeldlError as {@link Hub.resolve}
 */
async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  throwIfAborted(context.signal);
  const { name, hex } = askedName(reference);
  const registry = openRegistry(name, context);
  const found = await (hex === undefined ? registry.tagged() : registry.pinned(hex));
  const id = idOf(name);
  const base = `${repositoryAddress(registryOf(name, context), name)}/`;
  const known = await context.known?.(id, found.hex);
  // A listing of another endpoint has that one's addresses.
  if (known?.files.every(({ url }) => url.startsWith('data:') || url.startsWith(base)) === true) return known;
  return snapshotOf(name, registry, found);
}

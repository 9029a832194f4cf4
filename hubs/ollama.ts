/** Models of Ollama's registry, and of others that speak like it: no Ollama is needed. The revision is a manifest's digest. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, Snapshot } from '../src/hub.js';
import type { Reference } from '../src/reference.js';
import { allowAddress, endpointOf, KEYS_PAGE, registryOf } from './ollama/endpoint.js';
import { keyFile, publicLineOf } from './ollama/key.js';
import { askedName, readName, syntax } from './ollama/reference.js';

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
  answerChallenge: async (challenge, context) =>
    (await import('./ollama/challenge.js')).answerChallenge(challenge, context),
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
    checkRegistration: async (name, context, directory) =>
      (await import('./ollama/register.js')).checkRegistration(name, context, directory),
    register: async (model, name, context, directory) =>
      (await import('./ollama/register.js')).register(model, name, context, directory),
  },
  loginHint: '`modeldl whoami ollama` prints the key that the account has to know',
  key: {
    page: KEYS_PAGE,
    made: '`ollama serve` makes one on its first start',
    file: keyFile,
    publicLine: publicLineOf,
  },
} as const satisfies Hub;

/** @throws ModeldlError as {@link Hub.resolve} */
async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  throwIfAborted(context.signal);
  const asked = askedName(reference);
  return (await import('./ollama/resolve.js')).resolve(asked, context);
}

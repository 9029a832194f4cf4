/** Open Model Zoo: models that its repository describes at a release, from the places that the descriptions name. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub } from '../src/hub.js';
import { formatStandard } from '../src/reference.js';
import { endpointOf } from './omz/descriptions.js';
import { precisionsOf } from './omz/precisions.js';
import { checked, syntax } from './omz/reference.js';

export const omz = {
  name: 'omz',
  title: 'Open Model Zoo',
  syntax,
  settings: {
    endpoint: {
      description: "Address of the repository's files: `<commit>/models/…` lies below it",
      type: 'string',
      trust: true,
    },
    samples: {
      description:
        "Address of DL Streamer's files, for `model_proc`: `<commit>/samples/…` lies below it (default its repository; none where `endpoint` is set)",
      type: 'string',
      trust: true,
    },
    rules: {
      description: 'Absolute path of a YAML or JSON file with rules of your own for `model_proc`',
      type: 'string',
      trust: true,
    },
  },
  endpoint: endpointOf,
  prebuilt: {
    ids: () => [],
    exists: () => Promise.resolve(false),
    parts: { mayHold: async (id) => !(await import('./omz/known.js')).isPublic(id), of: precisionsOf },
  },
  mayMean: async (named, revision) => (await import('./omz/known.js')).mayMean(named, revision),
  async resolve(reference, context) {
    throwIfAborted(context.signal);
    checked(reference, formatStandard('omz', reference));
    const { resolve } = await import('./omz/resolve.js');
    return resolve(reference, context);
  },
  async *search(query) {
    const { search } = await import('./omz/search.js');
    yield* search(query);
  },
  searches: { filters: ['task', 'precision', 'library'], orders: [], local: true },
} as const satisfies Hub;

/** Intel Geti: models that were trained on a platform of one's own, 2.x or 3.x. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub } from '../src/hub.js';
import { credentialEndpoint, endpointOf } from './geti/endpoint.js';
import { syntax } from './geti/reference.js';

export const geti = {
  name: 'geti',
  title: 'Intel Geti',
  syntax,
  credentials: {
    environment: ['GETI_TOKEN'],
    endpoint: credentialEndpoint,
    headers: ({ token }) => ({ 'x-api-key': token }),
    whoami: async (context) => {
      const { openPlatform } = await import('./geti/open.js');
      return (await openPlatform(context)).whoami();
    },
  },
  settings: {
    endpoint: {
      description: 'Address of the Geti server',
      type: 'string',
      trust: true,
      environment: ['GETI_HOST'],
    },
    workspace: {
      description: 'Id of the workspace, where the account has several (2.x)',
      type: 'string',
      environment: ['GETI_WORKSPACE_ID'],
    },
    organization: {
      description: 'Id of the organisation; default the one that was there first (2.x)',
      type: 'string',
    },
    api: {
      description: '`2` or `3`: generation of the server, which is asked otherwise',
      type: 'string',
    },
  },
  endpoint: endpointOf,
  replacesFiles: true,
  async resolve(reference, context) {
    throwIfAborted(context.signal);
    const { resolve } = await import('./geti/resolve.js');
    return resolve(reference, context);
  },
  async *search(query, context) {
    const { search } = await import('./geti/search.js');
    yield* search(query, context);
  },
  searches: { filters: ['task'], orders: [] },
} as const satisfies Hub;

/** The organisation OpenVINO on Hugging Face, whose models are IR already, under its short names. */
import { throwIfAborted } from '../src/errors.js';
import type { Hub } from '../src/hub.js';
import { formatStandard } from '../src/reference.js';
import { hf } from './hf.js';
import { fullId, publishedIds } from './openvino/names.js';
import { checked, syntax } from './openvino/reference.js';

export const openvino = {
  name: 'openvino',
  title: 'OpenVINO on Hugging Face',
  syntax,
  servedBy: 'hf',
  credentials: hf.credentials,
  endpoint: hf.endpoint,
  async resolve(reference, context) {
    throwIfAborted(context.signal);
    checked(reference, formatStandard('openvino', reference));
    const { resolve } = await import('./openvino/resolve.js');
    return resolve(reference, context);
  },
  addressOf: (path, { id, revision }, context) => hf.addressOf(path, { id: fullId(id), revision }, context),
  checkAccess: (snapshot, context) => hf.checkAccess({ ...snapshot, id: fullId(snapshot.id) }, context),
  repository: fullId,
  prebuilt: { ids: publishedIds, exists: (id, context) => hf.prebuilt.exists(fullId(id), context) },
  async *search(query, context) {
    const { search } = await import('./openvino/search.js');
    yield* search(query, context);
  },
  searches: {
    filters: ['task', 'precision', 'library', 'license'],
    orders: ['downloads', 'likes', 'updated'],
  },
} as const satisfies Hub;

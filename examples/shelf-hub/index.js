// @ts-check
/**
 * The hub `shelf`: folders of models on any web server. Beside the files of a model lies SHA256SUMS, as `sha256sum` writes
 * it; `shelf:bert` is the folder `bert` below the endpoint. A revision is the sha256 of that list.
 */
import { createHash } from 'node:crypto';
import { ModeldlError } from 'modeldl';

/** @import { Hub, HubContext, HubSettingsContext, RemoteFile, Snapshot } from 'modeldl' */

const LIST = 'SHA256SUMS';
const ID = /^\w[\w.-]*(\/\w[\w.-]*)*$/;

/** @type {Hub} */
const shelf = {
  name: 'shelf',
  title: 'Shelf',
  syntax: { hub: 'shelf', schemes: ['shelf'] },
  settings: {
    endpoint: {
      description: 'Address that folders of models lie below',
      type: 'string',
      trust: true,
      environment: ['SHELF_ENDPOINT'],
    },
  },
  credentials: {
    environment: ['SHELF_TOKEN'],
    endpoint: (context) => endpointOf(context),
    whoami: async (context) => {
      const endpoint = endpointOf(context);
      const response = await context.fetch(`${endpoint}/`, { method: 'HEAD', signal: context.signal });
      if (response.status === 401 || response.status === 403) throw await refused(context, endpoint);
      return { name: 'the owner of the token' };
    },
  },
  endpoint: ({ settings }) => (settings['endpoint'] === undefined ? undefined : String(settings['endpoint'])),
  resolve: async ({ id, revision }, context) => {
    if (!ID.test(id)) {
      throw new ModeldlError('USAGE', `\`${id}\` is no name of a folder`, {
        hint: 'write `shelf:name` or `shelf:folder/name`',
      });
    }
    const folder = `${endpointOf(context)}/${id}`;
    const list = await readList(id, `${folder}/${LIST}`, context);
    const found = createHash('sha256').update(list).digest('hex');
    if (revision !== undefined && revision !== found) {
      throw new ModeldlError(
        'NOT_FOUND',
        `The shelf has another revision of ${id} than ${revision}: ${found}`,
        {
          hint: `a shelf keeps one revision; \`shelf:${id}\` is what it has now`,
          details: { url: `${folder}/${LIST}` },
        },
      );
    }
    /** @type {Snapshot} */
    const snapshot = {
      hub: 'shelf',
      id,
      revision: found,
      files: filesOf(list, folder),
      metadata: { page: `${folder}/` },
    };
    return snapshot;
  },
};

export const hubs = [shelf];

/** @param {HubSettingsContext} context */
function endpointOf({ settings }) {
  const endpoint = String(settings['endpoint'] ?? '').replace(/\/+$/, '');
  if (/^https?:/.test(endpoint) && URL.canParse(endpoint)) return endpoint;
  throw new ModeldlError('CONFIG', 'The hub shelf has no address', {
    hint: 'set it with `modeldl config set hubs.shelf.endpoint https://models.example`',
  });
}

/**
 * @param {string} id
 * @param {string} url
 * @param {HubContext} context
 */
async function readList(id, url, context) {
  const response = await context.fetch(url, { signal: context.signal });
  if (response.status === 404) {
    throw new ModeldlError('NOT_FOUND', `There is no model ${id} on the shelf`, {
      hint: `look at ${new URL(url).origin} for what there is`,
      details: { url },
    });
  }
  if (response.status === 401 || response.status === 403) throw await refused(context, url);
  const text = response.ok ? await response.text() : '';
  if (!text.split('\n').some((line) => LINE.test(line))) {
    throw new ModeldlError('NETWORK', `No list of files (${response.status}): ${url}`, {
      hint: 'check `hubs.shelf.endpoint`, and whether a proxy wants a login first',
      details: { url, status: response.status },
    });
  }
  return text;
}

/**
 * @param {HubContext} context
 * @param {string} url
 */
async function refused(context, url) {
  const credential = await context.credential(url);
  return new ModeldlError(
    'AUTH',
    credential === undefined
      ? `The shelf wants a token: ${url}`
      : `The shelf refuses the token from ${credential.source}: ${url}`,
    { hint: 'run `modeldl login shelf`, or set SHELF_TOKEN', details: { url } },
  );
}

/** `<hex>  <path>`; a `*` marks binary mode, which is the same everywhere but on Windows. */
const LINE = /^([0-9a-f]{64}) [ *](.+)$/;

/**
 * @param {string} list
 * @param {string} folder
 * @returns {RemoteFile[]}
 */
function filesOf(list, folder) {
  return list.split('\n').flatMap((line) => {
    const [, hex, path] = LINE.exec(line) ?? [];
    if (hex === undefined || path === undefined || path === LIST) return [];
    const clean = path.replace(/^\.\//, '');
    const url = `${folder}/${clean.split('/').map(encodeURIComponent).join('/')}`;
    return [{ path: clean, digest: { algorithm: 'sha256', hex }, url }];
  });
}

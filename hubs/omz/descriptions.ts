/** Descriptions of models, as the repository of Open Model Zoo has them at a commit, or a mirror of its files. */
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, HubSettingsContext } from '../../src/hub.js';
import { readEndpoint } from '../endpoint.js';

const PUBLIC_ENDPOINT = 'https://raw.githubusercontent.com/openvinotoolkit/open_model_zoo';
const PUBLIC_SAMPLES = 'https://raw.githubusercontent.com/open-edge-platform/dlstreamer';

export type DescriptionFile = 'model.yml' | 'composite-model.yml';

/** Address that `<commit>/models/…` lies below, without a trailing slash. @throws ModeldlError CONFIG */
export function endpointOf({ settings }: HubSettingsContext): string {
  const configured = settings['endpoint'];
  return readEndpoint(
    typeof configured === 'string' ? configured : PUBLIC_ENDPOINT,
    '`hubs.omz.endpoint`',
    PUBLIC_ENDPOINT,
  );
}

/**
 * Address that `<commit>/samples/…` lies below, without a trailing slash. Who set another endpoint wants that asked, and
 * no other host: undefined then. @throws ModeldlError CONFIG
 */
export function samplesOf({ settings }: HubSettingsContext): string | undefined {
  const configured = settings['samples'];
  if (typeof configured === 'string') return readEndpoint(configured, '`hubs.omz.samples`', PUBLIC_SAMPLES);
  return typeof settings['endpoint'] === 'string' ? undefined : PUBLIC_SAMPLES;
}

export function descriptionAddress(
  endpoint: string,
  commit: string,
  place: string,
  file: DescriptionFile,
): string {
  return `${endpoint}/${commit}/models/${place}/${file}`;
}

/** More than that is no description, and no sample; the largest have 35 KiB. */
export const MAX_BYTES = 1024 ** 2;

/** Its text; undefined when there is none. @throws ModeldlError NETWORK, AUTH */
export async function fetchDescription(
  url: string,
  endpoint: string,
  context: HubContext,
): Promise<string | undefined> {
  const response = await context.fetch(url, { signal: context.signal });
  const type = response.headers.get('content-type')?.split(';', 1)[0] ?? 'no content type';
  const isPage = /^(text\/html|application\/xhtml\+xml)$/i.test(type);
  if (response.ok && !isPage) {
    const bytes = await readBytes(response);
    if (bytes !== undefined) return bytes.toString('utf8');
    throw refusal(response, `more than ${MAX_BYTES} bytes`, url, endpoint);
  }
  await response.body?.cancel();
  if (response.status === 404 || response.status === 410) return undefined;
  throw refusal(response, type, url, endpoint);
}

/** The whole body; undefined when it is larger than such texts are. @throws ModeldlError NETWORK */
export async function readBytes(response: Response): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: Iterable<Uint8Array> | ReadableStream<Uint8Array> = response.body ?? [];
  for await (const chunk of body) {
    bytes += chunk.length;
    // Leaving the loop ends the request.
    if (bytes > MAX_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function refusal({ status, ok }: Response, type: string, url: string, endpoint: string): ModeldlError {
  const { host } = new URL(url);
  const details = { url, status };
  const check = `check \`hubs.omz.endpoint\` (${endpoint}), and whether a proxy wants a login first`;
  if (ok) {
    const message = `No description of a model (${status}, ${type}): ${url}`;
    return new ModeldlError('NETWORK', message, { hint: check, details });
  }
  if (status === 401 || status === 403)
    return new ModeldlError('AUTH', `${host} refuses access (${status}): ${url}`, { hint: check, details });
  if (status === 429) {
    const message = `${host} takes no more requests for now: ${url}`;
    return new ModeldlError('NETWORK', message, { hint: 'wait some minutes', details });
  }
  const message = `${host} answered ${status}: ${url}`;
  return new ModeldlError('NETWORK', message, { hint: 'try again later', details });
}

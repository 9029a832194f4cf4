/** Where the Geti server is: every one is somebody's own. Pure. */
import { ModeldlError } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { isLoopback, readEndpoint } from '../endpoint.js';

/** Credentials of no server: names below `.invalid` are nobody's (RFC 2606). */
const NOWHERE = 'https://geti.invalid';

/**
 * Address of the server, without a trailing slash; undefined when none is set. A host alone is asked by https.
 * @throws ModeldlError CONFIG
 */
export function endpointOf({ settings }: HubSettingsContext): string | undefined {
  const configured = settings['endpoint'];
  if (typeof configured !== 'string') return undefined;
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(configured) ? configured : `https://${configured}`;
  const place = '`hubs.geti.endpoint` (GETI_HOST)';
  // A base address copied from the API's documentation.
  const endpoint = readEndpoint(text, place, 'https://geti.example.com').replace(/\/api(\/v1)?$/, '');
  const { protocol, hostname } = new URL(endpoint);
  if (protocol === 'https:' || isLoopback(hostname)) return endpoint;
  throw new ModeldlError('CONFIG', `Geti is not asked without encryption: ${endpoint} in ${place}`, {
    hint: `write https://${new URL(endpoint).host}; a private certificate authority is named by \`caFile\``,
    details: { key: 'hubs.geti.endpoint', url: endpoint },
  });
}

/** @throws ModeldlError CONFIG when none is set */
export function requireEndpoint(context: HubSettingsContext): string {
  const endpoint = endpointOf(context);
  if (endpoint !== undefined) return endpoint;
  throw new ModeldlError('CONFIG', 'The address of the Geti server is not known', {
    hint: 'set GETI_HOST, or run `modeldl config set hubs.geti.endpoint https://geti.example.com`',
    details: { key: 'hubs.geti.endpoint' },
  });
}

/** What a credential belongs to, also while no server is set. @throws ModeldlError CONFIG */
export function credentialEndpoint(context: HubSettingsContext): string {
  return endpointOf(context) ?? NOWHERE;
}

/** Where the releases of Ultralytics' assets are: GitHub, or a server with the same addresses. Pure. */
import type { HubSettingsContext } from '../../src/hub.js';
import { readEndpoint } from '../endpoint.js';

export const PUBLIC_ENDPOINT = 'https://github.com';
/** The repository whose releases hold the weights. */
export const ASSETS = 'ultralytics/assets';

/** Address of the web site, without a trailing slash. @throws ModeldlError CONFIG */
export function endpointOf({ settings }: HubSettingsContext): string {
  const configured = settings['endpoint'];
  return readEndpoint(
    typeof configured === 'string' ? configured : PUBLIC_ENDPOINT,
    '`hubs.ultralytics.endpoint`',
    PUBLIC_ENDPOINT,
  );
}

/**
 * Address of the REST API that belongs to a web site: a host of its own at github.com and ghe.com, a path at GitHub
 * Enterprise Server. (docs.github.com, "Getting started with the REST API")
 */
export function apiOf(endpoint: string): string {
  const { protocol, host } = new URL(endpoint);
  return /^(github\.com|[^.]+\.ghe\.com)$/.test(host) ? `${protocol}//api.${host}` : `${endpoint}/api/v3`;
}

export function assetAddress(endpoint: string, tag: string, asset: string): string {
  const path = [...tag.split('/'), asset].map(encodeURIComponent).join('/');
  return `${endpoint}/${ASSETS}/releases/download/${path}`;
}

/** The page of a release, or of all. */
export function releasePage(endpoint: string, tag?: string): string {
  const page = `${endpoint}/${ASSETS}/releases`;
  return tag === undefined ? page : `${page}/tag/${tag.split('/').map(encodeURIComponent).join('/')}`;
}

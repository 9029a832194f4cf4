/** Addresses of a registry's API, and which may be asked without encryption. Pure. */
import { ModeldlError } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { isLoopback } from '../endpoint.js';
import type { Place } from './reference.js';

/** Docker Hub's API has a host of its own. */
const DOCKER_HUB_API = 'registry-1.docker.io';

/** A repository in an address of the API. */
export interface Addressed {
  readonly origin: string;
  /** Undefined for what belongs to the whole registry. */
  readonly repository?: string;
}

/** Address of a registry, without a trailing slash: plain http for this machine, and for hosts that are listed. */
export function originOf(host: string, { settings }: HubSettingsContext): string {
  if (host === 'docker.io') return `https://${DOCKER_HUB_API}`;
  const isPlain =
    listed(settings['insecure'], host) ||
    (isLoopback(new URL(`http://${host}`).hostname) && !listed(settings['secure'], host));
  return `${isPlain ? 'http' : 'https'}://${host}`;
}

/** The host as references name it. */
export function hostOf(origin: string): string {
  const { host } = new URL(origin);
  return host === DOCKER_HUB_API ? 'docker.io' : host;
}

/** Address below a repository: `manifests/latest`, `blobs/sha256:…`. */
export function apiAddress({ host, repository }: Place, rest: string, context: HubSettingsContext): string {
  return `${originOf(host, context)}/v2/${repository}/${rest}`;
}

/** What an address of the API is about; undefined for other addresses: storage, a token's realm. */
export function addressed({ origin, pathname }: URL): Addressed | undefined {
  if (pathname === '/v2/_catalog') return { origin };
  const repository = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(pathname)?.[1];
  return repository === undefined ? undefined : { origin, repository };
}

/** @throws ModeldlError USAGE for an address that is not encrypted, the first one or a redirect's */
export function allowAddress(url: URL, { settings }: HubSettingsContext): void {
  // An address does not say its usual port, a setting may.
  const names = url.port === '' ? [url.host, `${url.host}:80`] : [url.host];
  const isListed = names.some((name) => listed(settings['insecure'], name));
  if (url.protocol === 'https:' || isLoopback(url.hostname) || isListed) return;
  const shown = `${url.origin}${url.pathname}`;
  throw new ModeldlError('USAGE', `Not encrypted, so not asked: ${shown}`, {
    hint: `list \`${url.host}\` in \`hubs.oci.insecure\` if nobody else can listen`,
    details: { url: shown },
  });
}

function listed(setting: unknown, host: string): boolean {
  return Array.isArray(setting) && setting.includes(host);
}

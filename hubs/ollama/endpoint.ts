/** Where a registry is, and where its pages for people are. Pure. */
import { ModeldlError } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { isLoopback, readEndpoint } from '../endpoint.js';
import { DEFAULT_TAG, PUBLIC_HOST, type Name } from './reference.js';

export const PUBLIC_ENDPOINT = `https://${PUBLIC_HOST}`;
/** Where Ollama's keys are registered. */
export const KEYS_PAGE = 'https://ollama.com/settings/keys';
/** Hosts of Hugging Face's registry: the same model at both, and challenges of one name the other. */
const HUGGING_FACE = ['hf.co', 'huggingface.co'];
/** Hosts that give tokens for the public registry. */
const OLLAMA = [PUBLIC_HOST, 'ollama.com', 'ollama.ai'];

/** Address of the registry that names without a host belong to, without a trailing slash. @throws ModeldlError CONFIG */
export function endpointOf({ settings }: HubSettingsContext): string {
  const configured = settings['endpoint'];
  return readEndpoint(
    typeof configured === 'string' ? configured : PUBLIC_ENDPOINT,
    '`hubs.ollama.endpoint`',
    PUBLIC_ENDPOINT,
  );
}

/** Address of the registry of a name. Only on this machine, or where it is asked for, it is one without encryption. */
export function registryOf({ host }: Pick<Name, 'host'>, context: HubSettingsContext): string {
  if (host === undefined) return endpointOf(context);
  const isPlain =
    isLoopback(new URL(`http://${host}`).hostname) || insecureHosts(context).includes(bare(host));
  return `${isPlain ? 'http' : 'https'}://${host}`;
}

/** @throws ModeldlError USAGE for an address without encryption that is neither here nor permitted */
export function allowAddress(url: URL, context: HubSettingsContext): void {
  if (url.protocol === 'https:' || isLoopback(url.hostname) || insecureHosts(context).includes(url.host))
    return;
  const shown = `${url.origin}${url.pathname}`;
  throw new ModeldlError('USAGE', `Not encrypted, so not asked: ${shown}`, {
    hint: `use https, or list \`${url.host}\` in \`hubs.ollama.insecure\``,
    details: { url: shown },
  });
}

function insecureHosts({ settings }: HubSettingsContext): readonly string[] {
  const hosts = settings['insecure'];
  return Array.isArray(hosts) ? hosts.filter((host) => typeof host === 'string').map(bare) : [];
}

/** As addresses have it, which do not say the usual port. */
function bare(host: string): string {
  return host.replace(/:80$/, '');
}

/** Address of a repository of a registry, without a trailing slash. */
export function repositoryAddress(registry: string, { namespace, model }: Name): string {
  return `${registry}/v2/${namespace}/${model}`;
}

export function isHuggingFace(host: string | undefined): boolean {
  return host !== undefined && HUGGING_FACE.includes(host);
}

/**
 * May tokens of this host be for a registry of that one? What a registry names in a challenge gets a signature, and what
 * it gives in return goes to the registry, so that neither may be just anybody.
 */
export function mayGrant(realm: URL, registry: URL): boolean {
  if (realm.origin === registry.origin) return true;
  return [HUGGING_FACE, OLLAMA].some(
    (hosts) =>
      hosts.includes(realm.host) &&
      hosts.includes(registry.host) &&
      realm.protocol === 'https:' &&
      registry.protocol === 'https:',
  );
}

/** The page of a model, where its registry has one for people. */
export function modelPage(name: Name): string | undefined {
  const { host, namespace, model, tag = DEFAULT_TAG } = name;
  if (isHuggingFace(host)) return `https://${String(host)}/${namespace}/${model}`;
  if (host !== undefined) return undefined;
  return `https://ollama.com/${namespace}/${model}:${tag}`;
}

/** The page that lists the tags of a model. */
export function tagsPage(name: Name): string | undefined {
  const { host, namespace, model } = name;
  if (isHuggingFace(host)) return `https://${String(host)}/${namespace}/${model}/tree/main`;
  return host === undefined ? `https://ollama.com/${namespace}/${model}/tags` : undefined;
}

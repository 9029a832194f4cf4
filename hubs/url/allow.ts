/** Which web addresses may be asked: encrypted ones, narrowed by `hubs.url.allow`. Pure. */
import { ModeldlError } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { isLoopback } from '../endpoint.js';

/**
 * Checks an address, the first or a redirect's.
 * @throws ModeldlError USAGE when it may not be asked, CONFIG when the allow-list is malformed
 */
export function allowAddress(url: URL, context: HubSettingsContext): void {
  const shown = `${url.origin}${url.pathname}`;
  const insecure = strings(context.settings['insecure']) ?? [];
  if (
    url.protocol !== 'https:' &&
    !(url.protocol === 'http:' && (isLoopback(url.hostname) || insecure.includes(url.host)))
  ) {
    throw new ModeldlError('USAGE', `Not encrypted, so not asked: ${shown}`, {
      hint: `use https, or list \`${url.host}\` in \`hubs.url.insecure\``,
      details: { url: shown },
    });
  }
  const allow = strings(context.settings['allow']);
  if (allow === undefined) return;
  const prefixes = allow.map(parsePrefix);
  if (!prefixes.some((prefix) => isUnder(url, prefix))) {
    throw new ModeldlError('USAGE', `Not among the addresses that \`hubs.url.allow\` permits: ${shown}`, {
      hint: 'ask whoever keeps the configuration to add its prefix',
      details: { url: shown },
    });
  }
}

/** Same scheme, host and port, and a path at or below the prefix's, segment by segment. */
function isUnder(url: URL, prefix: URL): boolean {
  if (url.origin !== prefix.origin) return false;
  const base = prefix.pathname.replace(/\/+$/, '');
  if (url.pathname !== base && !url.pathname.startsWith(`${base}/`)) return false;
  // URL has resolved plain and encoded dots; a server that decodes slashes first would still leave the prefix.
  return (
    base === '' ||
    !/(^|[/\\])\.\.([/\\]|$)/.test(
      url.pathname.replace(/%2f/gi, '/').replace(/%5c/gi, '\\').replace(/%2e/gi, '.'),
    )
  );
}

function strings(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : undefined;
}

function parsePrefix(text: string): URL {
  const prefix = URL.canParse(text) ? new URL(text) : undefined;
  const plain =
    prefix?.search === '' && prefix.hash === '' && prefix.username === '' && prefix.password === '';
  if (prefix !== undefined && plain && /^https?:$/.test(prefix.protocol)) return prefix;
  throw new ModeldlError(
    'CONFIG',
    `Expected prefixes of web addresses in \`hubs.url.allow\`, got ${JSON.stringify(text)}`,
    {
      hint: 'write `https://host/path/`, without query and user information',
      details: { key: 'hubs.url.allow' },
    },
  );
}

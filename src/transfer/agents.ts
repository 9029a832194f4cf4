/** Keep-alive agents by destination: direct or through the proxy that the settings name for it. */
import type { Agent as HttpAgent } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { BlockList, isIP } from 'node:net';
import * as tls from 'node:tls';
import { ModeldlError } from '../errors.js';
import { redactUrl } from '../redact.js';
import { directHttpAgent, directHttpsAgent } from './direct.js';

export interface ProxySettings {
  readonly http?: string;
  readonly https?: string;
  /** Comma-separated hosts that are reached directly, as in `NO_PROXY`. */
  readonly no?: string;
}

export interface Route {
  readonly agent: HttpAgent | HttpsAgent;
  /** For every request: a tunnel takes nothing from its agent for the connection inside it. */
  readonly options?: tls.ConnectionOptions;
  /** Host and port of the proxy on the way. */
  readonly proxy?: string;
}

export interface Agents {
  /** @throws ModeldlError CONFIG when the proxy's address cannot be used */
  for(url: URL): Promise<Route>;
  close(): void;
}

/** Idle sockets are kept this long, milliseconds. */
const KEEP_ALIVE_MS = 10_000;
/** Buffer of a socket and of the body it carries: the default of 16 KiB costs up to half the throughput. */
const READ_BYTES = 1024 * 1024;

/** @param ca extra certificates in PEM form, added to those that Node.js trusts */
export function createAgents(proxy: ProxySettings, ca: readonly string[]): Agents {
  const options = {
    keepAlive: true,
    keepAliveMsecs: KEEP_ALIVE_MS,
    maxSockets: Infinity,
    highWaterMark: READ_BYTES,
  };
  const trusted = {
    // Said outright, since `NODE_TLS_REJECT_UNAUTHORIZED=0` would decide it otherwise.
    rejectUnauthorized: true,
    ...(ca.length === 0 ? {} : { ca: [...defaultCertificates(), ...ca] }),
  };
  const made = new Map<string, HttpAgent | HttpsAgent>();
  const remember = (key: string, make: () => HttpAgent | HttpsAgent): HttpAgent | HttpsAgent => {
    const existing = made.get(key);
    if (existing !== undefined) return existing;
    const agent = make();
    made.set(key, agent);
    return agent;
  };
  return {
    async for(url) {
      const secure = url.protocol === 'https:';
      const through = bypasses(url, proxy.no) ? undefined : secure ? proxy.https : proxy.http;
      if (through === undefined || through === '') {
        const agent = secure
          ? remember('https', () => directHttpsAgent({ ...options, ...trusted }))
          : remember('http', () => directHttpAgent(options));
        return { agent };
      }
      const { href, host } = proxyAddress(through);
      if (!secure) {
        const { HttpProxyAgent } = await import('http-proxy-agent');
        const agent = remember(`http ${href}`, () => new HttpProxyAgent(href, { ...options, ...trusted }));
        return { agent, proxy: host };
      }
      const { HttpsProxyAgent } = await import('https-proxy-agent');
      const agent = remember(`https ${href}`, () => new HttpsProxyAgent(href, { ...options, ...trusted }));
      const name = url.hostname.replace(/^\[|\]$/g, '');
      return {
        agent,
        proxy: host,
        options: {
          ...trusted,
          highWaterMark: READ_BYTES,
          // Without it a tunnel to an address, which is no server name, would be checked as one to `localhost`.
          checkServerIdentity: (_name, certificate) => tls.checkServerIdentity(name, certificate),
        },
      };
    },
    close() {
      for (const agent of made.values()) agent.destroy();
    },
  };
}

/** Proxies are often named without a scheme, as curl reads them too: `proxy.example.com:3128`. */
function proxyAddress(text: string): URL {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  throw new ModeldlError(
    'CONFIG',
    `Not an http or https proxy: ${url === undefined ? 'its address cannot be read' : redactUrl(url.href)}`,
    { hint: 'check `proxy` in the configuration, `HTTP_PROXY` and `HTTPS_PROXY`' },
  );
}

/** Giving `ca` replaces the defaults, so they are named as well; older Node.js can only name the bundled ones. */
function defaultCertificates(): readonly string[] {
  const get: unknown = Reflect.get(tls, 'getCACertificates');
  if (typeof get !== 'function') return tls.rootCertificates;
  const certificates: unknown = Reflect.apply(get, tls, ['default']);
  return Array.isArray(certificates) ? certificates.map(String) : tls.rootCertificates;
}

/** `NO_PROXY`: `*`, host names with their subdomains, addresses and their blocks, with an optional port (as curl reads it). */
export function bypasses(url: URL, no: string | undefined): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return (no ?? '').split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    if (isIP(host) !== 0 && isWithin(host, entry)) return true;
    const [, name = '', entryPort] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (name === '' || (entryPort !== undefined && entryPort !== port)) return false;
    const bare = name.replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
    return host === bare || host.endsWith(`.${bare}`);
  });
}

/** Is an address the one that an entry names, or in its block (`10.0.0.0/8`)? */
function isWithin(host: string, entry: string): boolean {
  const [address = '', bits] = entry.split('/');
  const version = isIP(address);
  if (version === 0 || version !== isIP(host)) return false;
  const prefix = bits === undefined ? (version === 4 ? 32 : 128) : Number(bits);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const block = new BlockList();
  block.addSubnet(address, prefix, family);
  return block.check(host, family);
}

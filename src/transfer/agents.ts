/** Keep-alive agents by destination: direct or through the proxy that the settings name for it. */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import * as tls from 'node:tls';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';

export interface ProxySettings {
  readonly http?: string;
  readonly https?: string;
  /** Comma-separated hosts that are reached directly, as in `NO_PROXY`. */
  readonly no?: string;
}

export interface Agents {
  for(url: URL): HttpAgent | HttpsAgent;
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
  const trusted = ca.length === 0 ? {} : { ca: [...defaultCertificates(), ...ca] };
  const made = new Map<string, HttpAgent | HttpsAgent>();
  const remember = (key: string, make: () => HttpAgent | HttpsAgent): HttpAgent | HttpsAgent => {
    const existing = made.get(key);
    if (existing !== undefined) return existing;
    const agent = make();
    made.set(key, agent);
    return agent;
  };
  return {
    for(url) {
      const secure = url.protocol === 'https:';
      const through = bypasses(url, proxy.no) ? undefined : secure ? proxy.https : proxy.http;
      if (through === undefined || through === '') {
        return secure
          ? remember('https', () => new HttpsAgent({ ...options, ...trusted }))
          : remember('http', () => new HttpAgent(options));
      }
      return secure
        ? remember(`https ${through}`, () => new HttpsProxyAgent(through, { ...options, ...trusted }))
        : remember(`http ${through}`, () => new HttpProxyAgent(through, { ...options, ...trusted }));
    },
    close() {
      for (const agent of made.values()) agent.destroy();
    },
  };
}

/** Giving `ca` replaces the defaults, so they are named as well; older Node.js can only name the bundled ones. */
function defaultCertificates(): readonly string[] {
  const get: unknown = Reflect.get(tls, 'getCACertificates');
  if (typeof get !== 'function') return tls.rootCertificates;
  const certificates: unknown = Reflect.apply(get, tls, ['default']);
  return Array.isArray(certificates) ? certificates.map(String) : tls.rootCertificates;
}

/** `NO_PROXY`: `*`, host names with their subdomains, with an optional port (as curl reads it). */
export function bypasses(url: URL, no: string | undefined): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return (no ?? '').split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    const [, name = '', entryPort] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    if (name === '' || (entryPort !== undefined && entryPort !== port)) return false;
    const bare = name.replace(/^\*?\./, '');
    return host === bare || host.endsWith(`.${bare}`);
  });
}

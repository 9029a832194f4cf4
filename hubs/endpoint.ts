/** Reading addresses of hubs: one that a user configured, and whether it is of this machine. Pure. */
import { ModeldlError } from '../src/errors.js';

/**
 * The address without a trailing slash.
 * @param place where it was set, for messages: `` `hubs.hf.endpoint` ``
 * @throws ModeldlError CONFIG
 */
export function readEndpoint(text: string, place: string, example: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') {
    return `${url.origin}${url.pathname}`.replace(/\/+$/, '');
  }
  throw new ModeldlError('CONFIG', `The endpoint in ${place} is no http or https address without a login`, {
    hint: `expected an address such as ${example}`,
  });
}

/**
 * Does a host name stand for this machine, so that nobody else can listen? (RFC 6761, section 6.3)
 * @param hostname as a URL has it: without a port, IPv6 in brackets
 */
export function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127(\.\d+){3}$/.test(hostname)
  );
}

/** Reading the address of a hub that a user configured. Pure. */
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

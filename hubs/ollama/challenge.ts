/** A registry that wants to know who asks: its challenge is signed with Ollama's key, and a token comes back. */
import { createHash, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { Challenge, Grant, HubSettingsContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { bearerChallenge, type BearerChallenge } from '../challenge.js';
import { mayGrant } from './endpoint.js';
import { readKey, signed } from './key.js';

const tokenSchema = v.object({ token: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,16384}$/)) });

/** The end of what is signed: that there is no body (server/auth.go). */
const NO_BODY = Buffer.from(createHash('sha256').digest('hex')).toString('base64');

/**
 * Gets a token for the repository that a refused address is in. Undefined where there is no key, or nothing that may be
 * signed: the refusal then stands for itself.
 * @throws ModeldlError CONFIG for a key that cannot be used, AUTH when it is refused, NETWORK
 */
export async function answerChallenge(
  { url, header, fetch, signal }: Challenge,
  context: HubSettingsContext,
): Promise<Grant | undefined> {
  const challenge = bearerChallenge(header);
  const repository = /^\/v2\/[^/]+\/[^/]+\//.exec(url.pathname)?.[0];
  if (challenge === undefined || repository === undefined || !mayGrant(challenge.realm, url))
    return undefined;
  const key = await readKey(context);
  if (key === undefined) return undefined;
  const address = tokenAddress(
    challenge,
    Math.floor(Date.now() / 1000),
    randomBytes(16).toString('base64url'),
  );
  const response = await fetch(address, {
    headers: { authorization: signed(key, `GET,${address},${NO_BODY}`) },
    redirect: 'manual',
    signal,
  });
  const text = await response.text();
  const { host } = challenge.realm;
  if (response.status === 401 || response.status === 403) return undefined;
  const answer = v.safeParse(tokenSchema, parseJson(text));
  if (!response.ok || !answer.success) {
    throw new ModeldlError('NETWORK', `${host} gives no token for ${url.host} (${response.status})`, {
      hint: 'try again later',
      details: { url: `${challenge.realm.origin}${challenge.realm.pathname}`, status: response.status },
    });
  }
  return {
    covers: `${url.origin}${repository}`,
    headers: { authorization: `Bearer ${answer.output.token}` },
  };
}

/** The address that is signed and asked, character for character. Its query is sorted by name, as Ollama's is. */
export function tokenAddress(
  { realm, service, scopes }: BearerChallenge,
  seconds: number,
  nonce: string,
): string {
  const address = new URL(realm);
  for (const [name, value] of [
    ['service', service ?? ''],
    ...scopes.map((scope) => ['scope', scope] as const),
    ['ts', String(seconds)],
    ['nonce', nonce],
  ] as const)
    address.searchParams.append(name, value);
  address.searchParams.sort();
  return address.href;
}

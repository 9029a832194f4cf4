/**
 * Getting access to a registry: what it asks for (its challenge), the user's login, and tokens that the login is traded
 * for. Kept for one run of the program: a challenge by registry, a token by what it permits.
 */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { AuthorizationContext, HubSettingsContext } from '../../src/hub.js';
import { addressed, hostOf } from './address.js';
import { findLogin, type Login, type Secret } from './login.js';
import { loginRefused, notARegistry, serverFailed } from './refusal.js';

export type Challenge =
  | { readonly scheme: 'none' }
  | { readonly scheme: 'basic' }
  | { readonly scheme: 'bearer'; readonly realm: string; readonly service?: string };

interface Token {
  readonly text: string;
  /** When it is no longer sent, by `Date.now()`. */
  readonly until: number;
}

interface Access {
  readonly challenges: Map<string, Promise<Challenge>>;
  readonly logins: Map<string, Promise<Login | undefined>>;
  readonly tokens: Map<string, Promise<Token>>;
  /** Scopes to ask for, by `origin repository`, where reading is not enough. */
  readonly wider: Map<string, readonly string[]>;
}

/** Without a word from the server, seconds. (distribution, "Token Authentication Specification") */
const TOKEN_SECONDS = 60;
/** A token that ends so soon may end before its request arrives, milliseconds. */
const TOKEN_MARGIN_MS = 10_000;

const tokenSchema = v.object({
  token: v.optional(v.string()),
  access_token: v.optional(v.string()),
  expires_in: v.optional(v.number()),
});

/** The environment object is the run's. */
const runs = new WeakMap<HubSettingsContext['environment'], Access>();

function accessOf({ environment }: HubSettingsContext): Access {
  let access = runs.get(environment);
  if (access === undefined) {
    access = { challenges: new Map(), logins: new Map(), tokens: new Map(), wider: new Map() };
    runs.set(environment, access);
  }
  return access;
}

/** The headers that a registry wants for one of its addresses. @throws ModeldlError AUTH, NETWORK, CONFIG */
export async function authorize(
  url: URL,
  context: AuthorizationContext,
): Promise<Readonly<Record<string, string>> | undefined> {
  const place = addressed(url);
  if (place === undefined) return undefined;
  const { origin, repository } = place;
  const challenge = await challengeOf(origin, context);
  if (challenge.scheme === 'none') return undefined;
  const login = await loginTo(origin, context);
  if (challenge.scheme === 'basic') return headersOf(login?.secret);
  if (login?.secret?.kind === 'registry') return headersOf(login.secret);
  const scopes =
    repository === undefined
      ? ['registry:catalog:*']
      : (accessOf(context).wider.get(`${origin} ${repository}`) ?? [`repository:${repository}:pull`]);
  const token = await tokenFor(origin, scopes, challenge, login, context);
  return { authorization: `Bearer ${token.text}` };
}

/** The login in use for a registry, for messages. */
export async function loginTo(
  origin: string,
  context: Pick<AuthorizationContext, 'environment' | 'home' | 'settings' | 'signal'>,
): Promise<Login | undefined> {
  const { logins } = accessOf(context);
  return once(logins, origin, () => findLogin(hostOf(origin), context, context.signal));
}

/** From here on tokens for a repository permit writing, and reading the repositories that blobs are mounted from. */
export function widen(
  origin: string,
  repository: string,
  sources: readonly string[],
  context: HubSettingsContext,
): void {
  accessOf(context).wider.set(`${origin} ${repository}`, [
    `repository:${repository}:pull,push`,
    ...sources.map((source) => `repository:${source}:pull`),
  ]);
}

/**
 * After a refusal: takes what the registry asks for now, and forgets the tokens that it no longer takes.
 * @returns whether asking again may help
 */
export function renew(response: Response, context: HubSettingsContext): boolean {
  const challenge = readChallenge(response.headers.get('www-authenticate'));
  if (response.status !== 401 || challenge === undefined) return false;
  const { challenges, tokens } = accessOf(context);
  const { origin } = new URL(response.url);
  challenges.set(origin, Promise.resolve(challenge));
  for (const key of tokens.keys()) if (key.startsWith(`${origin} `)) tokens.delete(key);
  return true;
}

/** Keeps what work gives, unless it fails. */
function once<Value>(
  kept: Map<string, Promise<Value>>,
  key: string,
  work: () => Promise<Value>,
): Promise<Value> {
  const known = kept.get(key);
  if (known !== undefined) return known;
  const started = work();
  kept.set(key, started);
  started.catch(() => {
    if (kept.get(key) === started) kept.delete(key);
  });
  return started;
}

/** One request for each registry: the base of its API tells what it wants. (distribution-spec, "Determining Support") */
function challengeOf(origin: string, context: AuthorizationContext): Promise<Challenge> {
  return once(accessOf(context).challenges, origin, async () => {
    const response = await settled(context.fetch(`${origin}/v2/`, { signal: context.signal }));
    await response.body?.cancel();
    if (response.status === 401)
      return readChallenge(response.headers.get('www-authenticate')) ?? { scheme: 'none' };
    if (response.status === 429 || response.status >= 500) throw serverFailed(response, '');
    // Some registries answer 403 or 404 here, and what they are asked for nevertheless.
    return { scheme: 'none' };
  });
}

/** RFC 9110, section 11.6.1: of several challenges the one with tokens. */
export function readChallenge(header: string | null): Challenge | undefined {
  const text = header ?? '';
  const bearer = /(?:^|,\s*)bearer\s+(.*)$/i.exec(text)?.[1];
  if (bearer !== undefined) {
    const parameters = new Map<string, string>();
    for (const [, name = '', quoted, plain] of bearer.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/g))
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '');
    const realm = parameters.get('realm') ?? '';
    const service = parameters.get('service');
    if (URL.canParse(realm))
      return { scheme: 'bearer', realm, ...(service === undefined ? {} : { service }) };
  }
  return /(?:^|,\s*)basic\b/i.test(text) ? { scheme: 'basic' } : undefined;
}

function headersOf(secret: Secret | undefined): Readonly<Record<string, string>> | undefined {
  if (secret === undefined) return undefined;
  if (secret.kind !== 'password') return { authorization: `Bearer ${secret.token}` };
  const { user, password } = secret;
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
}

async function tokenFor(
  origin: string,
  scopes: readonly string[],
  challenge: Extract<Challenge, { scheme: 'bearer' }>,
  login: Login | undefined,
  context: AuthorizationContext,
): Promise<Token> {
  const { tokens } = accessOf(context);
  const key = `${origin} ${scopes.join(' ')}`;
  const known = await tokens.get(key);
  if (known !== undefined && known.until > Date.now()) return known;
  if (known !== undefined) tokens.delete(key);
  return once(tokens, key, () => askForToken(origin, scopes, challenge, login, context));
}

/** distribution, "Token Authentication Specification"; with an identity token its "OAuth2 Token Authentication". */
async function askForToken(
  origin: string,
  scopes: readonly string[],
  { realm, service }: Extract<Challenge, { scheme: 'bearer' }>,
  login: Login | undefined,
  context: AuthorizationContext,
): Promise<Token> {
  const address = new URL(realm);
  const secret = login?.secret;
  const asked = new URLSearchParams(service === undefined ? {} : { service });
  let response: Response;
  if (secret?.kind === 'identity') {
    asked.set('grant_type', 'refresh_token');
    asked.set('client_id', 'modeldl');
    asked.set('scope', scopes.join(' '));
    asked.set('refresh_token', secret.token);
    response = await settled(
      context.fetch(address, { method: 'POST', body: asked, signal: context.signal, redirect: 'manual' }),
    );
  } else {
    for (const scope of scopes) asked.append('scope', scope);
    for (const [name, value] of asked) address.searchParams.append(name, value);
    response = await settled(
      context.fetch(address, { headers: headersOf(secret) ?? {}, signal: context.signal }),
    );
  }
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  const text = isJson ? await response.text() : '';
  if (!isJson) await response.body?.cancel();
  if ([400, 401, 403].includes(response.status)) throw loginRefused(response, hostOf(origin), login);
  if (!response.ok) throw serverFailed(response, text);
  const answer = v.safeParse(tokenSchema, parseJson(text));
  const token = answer.success ? answer.output.token || answer.output.access_token : undefined;
  if (!answer.success || token === undefined) throw notARegistry(response);
  const lifetimeMs = (answer.output.expires_in ?? TOKEN_SECONDS) * 1000;
  return { text: token, until: Date.now() + lifetimeMs - Math.min(TOKEN_MARGIN_MS, lifetimeMs / 2) };
}

/** The client has tried again already: the request that waits for this one must not do so once more. */
async function settled(work: Promise<Response>): Promise<Response> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'NETWORK') throw error;
    const { systemCode, ...details } = error.details;
    throw new ModeldlError('NETWORK', error.message, { hint: error.hint, cause: error.cause, details });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

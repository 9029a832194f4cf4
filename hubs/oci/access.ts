/** Getting access to a registry: the user's login for it, or a token that the login is traded for. */
import * as v from 'valibot';
import type { Challenge, Grant, HubSettingsContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';
import { bearerChallenge, wantsPassword, type BearerChallenge } from '../challenge.js';
import { addressed, hostOf, type Addressed } from './address.js';
import { findLogin, findPartLogin, type Login, type Secret } from './login.js';
import { loginRefused, notARegistry, serverFailed } from './refusal.js';

/** Of one run of the program. */
interface Access {
  readonly logins: Map<string, Promise<Login | undefined>>;
  /** Scopes to ask for, by `origin repository`, where reading is not enough. */
  readonly wider: Map<string, readonly string[]>;
}

const tokenSchema = v.object({ token: v.optional(v.string()), access_token: v.optional(v.string()) });

/** The environment object is the run's. */
const runs = new WeakMap<HubSettingsContext['environment'], Access>();

function accessOf({ environment }: HubSettingsContext): Access {
  let access = runs.get(environment);
  if (access === undefined) {
    access = { logins: new Map(), wider: new Map() };
    runs.set(environment, access);
  }
  return access;
}

/** The headers that a registry wants. @throws ModeldlError AUTH, NETWORK, CONFIG */
export async function answerChallenge(
  { url, header, fetch, signal }: Challenge,
  context: HubSettingsContext,
): Promise<Grant | undefined> {
  const place = addressed(url);
  if (place === undefined) return undefined;
  const { origin, repository } = place;
  const covers = repository === undefined ? url.href : `${origin}/v2/${repository}/`;
  const bearer = bearerChallenge(header);
  if (bearer === undefined && !wantsPassword(header)) return undefined;
  const login = await loginTo(place, context, signal);
  if (bearer === undefined || login?.secret?.kind === 'registry') {
    const headers = headersOf(login?.secret);
    return headers === undefined ? undefined : { covers, headers };
  }
  const needed = accessOf(context).wider.get(`${origin} ${repository ?? ''}`) ?? bearer.scopes;
  const scopes = needed.length === 0 && repository !== undefined ? [`repository:${repository}:pull`] : needed;
  const token = await askForToken(origin, { ...bearer, scopes }, login, { fetch, signal });
  return { covers, headers: { authorization: `Bearer ${token}` } };
}

/** The login in use for a repository, or for all of a registry. */
export function loginTo(
  { origin, repository }: Addressed,
  context: HubSettingsContext,
  signal: AbortSignal,
): Promise<Login | undefined> {
  const { logins } = accessOf(context);
  const name = `${origin}/${repository ?? ''}`;
  let login = logins.get(name);
  if (login === undefined) {
    const host = hostOf(origin);
    login =
      repository === undefined
        ? findLogin(host, context, signal)
        : findPartLogin(host, repository, context).then(
            (narrow) => narrow ?? loginTo({ origin }, context, signal),
          );
    logins.set(name, login);
  }
  return login;
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

function headersOf(secret: Secret | undefined): Readonly<Record<string, string>> | undefined {
  if (secret === undefined) return undefined;
  if (secret.kind !== 'password') return { authorization: `Bearer ${secret.token}` };
  const { user, password } = secret;
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` };
}

/** distribution, "Token Authentication Specification"; with an identity token its "OAuth2 Token Authentication". */
async function askForToken(
  origin: string,
  { realm, service, scopes }: BearerChallenge,
  login: Login | undefined,
  { fetch, signal }: Pick<Challenge, 'fetch' | 'signal'>,
): Promise<string> {
  const address = new URL(realm);
  const secret = login?.secret;
  const asked = new URLSearchParams(service === undefined ? {} : { service });
  let response: Response;
  if (secret?.kind === 'identity') {
    asked.set('grant_type', 'refresh_token');
    asked.set('client_id', 'modeldl');
    asked.set('scope', scopes.join(' '));
    asked.set('refresh_token', secret.token);
    response = await fetch(address, { method: 'POST', body: asked, signal, redirect: 'manual' });
  } else {
    for (const scope of scopes) asked.append('scope', scope);
    for (const [name, value] of asked) address.searchParams.append(name, value);
    response = await fetch(address, { headers: headersOf(secret) ?? {}, signal });
  }
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  const text = isJson ? await response.text() : '';
  if (!isJson) await response.body?.cancel();
  if ([400, 401, 403].includes(response.status)) throw loginRefused(response, hostOf(origin), login);
  if (!response.ok) throw serverFailed(response, text);
  const answer = v.safeParse(tokenSchema, parseJson(text));
  const token = answer.success ? answer.output.token || answer.output.access_token : undefined;
  if (token === undefined) throw notARegistry(response);
  return token;
}

/** Hubs as a user sees them: which there are, whether they answer, and logging in. */
import { hubContext, hubNamed, serverOf, settingsContext, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { Credential, CredentialSpec, Hub, Identity, UserKey } from './hub.js';
import { keyOf, sourcesOf, type Source } from './mirrors/sources.js';
import { redactSecrets } from './redact.js';
import type { HubState, LoggedIn } from './results.js';
import type { HttpClient } from './transfer/http.js';

/** Where `login` keeps tokens. */
export interface CredentialKeeper {
  /** Saves a token for a hub, bound to the origin of its endpoint. */
  save(hub: string, origin: string, token: string): Promise<void>;
  /** Forgets it; false when there was none. */
  remove(hub: string): Promise<boolean>;
}

const UNASKED = { reachable: null, problem: null };

export async function hubs(
  context: Context,
  options: { readonly check: boolean },
): Promise<readonly HubState[]> {
  return Promise.all(
    context.hubs.map((hub) =>
      describe(context, hub, options.check).catch((error: unknown): HubState => {
        // An address that cannot be read is a matter of its hub alone.
        if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
        const { name, title, credentials } = hub;
        const takesCredentials = credentials !== undefined;
        return {
          ...{ name, title, endpoint: null, credentials: null, takesCredentials },
          ...{ reachable: false, problem: error.message, mirrors: [] },
        };
      }),
    ),
  );
}

async function describe(context: Context, hub: Hub, check: boolean): Promise<HubState> {
  const endpoint = hub.endpoint?.(settingsContext(context, hub)) ?? null;
  const credential = hub.credentials === undefined ? undefined : await context.credential(hub);
  const state =
    check && endpoint !== null ? await answerOf(context, await context.httpFor(hub), endpoint) : UNASKED;
  return {
    name: hub.name,
    title: hub.title,
    // It may hold a login.
    endpoint: endpoint === null ? null : redactSecrets(endpoint),
    credentials: credential?.source ?? null,
    takesCredentials: hub.credentials !== undefined,
    ...state,
    mirrors: await mirrorsOf(context, hub, check),
  };
}

async function mirrorsOf(context: Context, hub: Hub, check: boolean): Promise<HubState['mirrors']> {
  try {
    const mirrors = sourcesOf(context, hub).filter((source) => source.kind !== 'origin');
    return await Promise.all(
      mirrors.map(async (mirror) => ({
        address: mirror.address,
        ...(check ? await checkSource(context, hub, mirror) : UNASKED),
      })),
    );
  } catch (error) {
    // A list that cannot be read is a matter of its hub alone.
    if (!(error instanceof ModeldlError) || error.code !== 'CONFIG') throw error;
    return [{ address: keyOf(hub), reachable: false, problem: error.message }];
  }
}

/** What an address answered to. */
export interface Answer {
  readonly status: number;
  /** As the server's clock has it. */
  readonly date: string | undefined;
}

async function ask({ signal }: Context, http: HttpClient, address: string): Promise<Answer> {
  const response = await http.request(address, { signal, method: 'HEAD', retries: 0 });
  response.discard();
  return { status: response.status, date: response.header('date') };
}

async function answerOf(
  context: Context,
  http: HttpClient,
  address: string,
): Promise<Pick<HubState, 'reachable' | 'problem'>> {
  try {
    await ask(context, http, address);
    return { reachable: true, problem: null };
  } catch (error) {
    if (!(error instanceof ModeldlError) || context.signal.aborted) throw error;
    return { reachable: false, problem: error.message };
  }
}

async function checkSource(
  context: Context,
  hub: Hub,
  source: Source,
): Promise<Pick<HubState, 'reachable' | 'problem'>> {
  const { http, address } = await serverOfSource(context, hub, source);
  return answerOf(context, http, address);
}

/** Asks the server of a source, once. @throws ModeldlError NETWORK, CONFIG */
export async function askSource(context: Context, hub: Hub, source: Source): Promise<Answer> {
  const { http, address } = await serverOfSource(context, hub, source);
  return ask(context, http, address);
}

async function serverOfSource(
  context: Context,
  hub: Hub,
  source: Source,
): Promise<{ readonly http: HttpClient; readonly address: string }> {
  const http = await context.httpFor(source.kind === 'registry' ? source.hub : hub);
  if (source.kind === 'mirror') return { http: http.as({ anonymous: true }), address: source.address };
  if (source.kind === 'origin') return { http, address: source.address ?? '' };
  const { hub: holder, prefix } = source;
  return { http, address: holder.holding?.address(prefix, settingsContext(context, holder)) ?? '' };
}

/** @throws ModeldlError USAGE for an unknown hub, and for one that takes no token, saying what it takes instead */
export async function assertTakesLogin(context: Context, name: string): Promise<void> {
  const hub = hubNamed(context, name);
  if (hub.key === undefined) {
    withCredentials(context, name);
    return;
  }
  const line = await hub.key.publicLine(settingsContext(context, hub));
  throw new ModeldlError(
    'USAGE',
    `${hub.title} takes no token: accounts know its key, ${hub.key.file(settingsContext(context, hub))}`,
    { hint: keyHint(hub.key, line), details: { url: hub.key.page } },
  );
}

function keyHint({ page, made }: UserKey, line: string | undefined): string {
  return line === undefined
    ? `there is none yet: ${made}; its public part is added at ${page}`
    : `add its public part to your account at ${page}: \`${line}\``;
}

/** Checks a token with its hub, then keeps it. @throws ModeldlError AUTH, NETWORK, USAGE */
export async function login(
  context: Context,
  keeper: CredentialKeeper,
  name: string,
  token: string,
): Promise<LoggedIn> {
  const { hub, spec } = withCredentials(context, name);
  if (token === '') {
    throw new ModeldlError('USAGE', 'The token is empty', { hint: 'pipe it to `--token-stdin`' });
  }
  const identity = await whoamiWith(context, hub, spec, { token, source: 'this login' });
  const { origin } = new URL(spec.endpoint(settingsContext(context, hub)));
  await keeper.save(serverOf(hub), origin, token);
  return { ...identity, hub: hub.name, source: '`modeldl login`' };
}

export async function logout(
  context: Context,
  keeper: CredentialKeeper,
  name: string,
): Promise<{ hub: string; removed: boolean }> {
  const { hub } = withCredentials(context, name);
  return { hub: hub.name, removed: await keeper.remove(serverOf(hub)) };
}

/** Who the credential in use belongs to. @throws ModeldlError AUTH without one or when the hub refuses it */
export async function whoami(context: Context, name: string): Promise<LoggedIn> {
  const known = hubNamed(context, name);
  if (known.key !== undefined) return byKey(context, known, known.key);
  const { hub, spec } = withCredentials(context, name);
  const credential = await context.credential(hub);
  if (credential === undefined) {
    throw new ModeldlError('AUTH', `Not logged in to ${hub.title}`, {
      hint: `run \`modeldl login ${hub.name}\`, or set ${spec.environment.join(' or ')}`,
      ...(spec.page === undefined ? {} : { details: { url: spec.page } }),
    });
  }
  const identity = await whoamiWith(context, hub, spec, credential);
  return { ...identity, hub: hub.name, source: credential.source };
}

/** The key is what its hub would know; whose account has it, only that one does. */
async function byKey(context: Context, hub: Hub, key: UserKey): Promise<LoggedIn> {
  const settings = settingsContext(context, hub);
  const line = await key.publicLine(settings);
  const file = key.file(settings);
  if (line !== undefined)
    return {
      name: line,
      hub: hub.name,
      source: `the key in ${file}, for the account that has it at ${key.page}`,
    };
  throw new ModeldlError('AUTH', `Unknown to ${hub.title}: no key in ${file}`, {
    hint: keyHint(key, line),
    details: { url: key.page, file },
  });
}

async function whoamiWith(
  context: Context,
  hub: Hub,
  spec: CredentialSpec,
  credential: Credential,
): Promise<Identity> {
  const base = await hubContext({ ...context, credential: () => Promise.resolve(credential) }, hub);
  const headers = spec.headers?.(credential) ?? { authorization: `Bearer ${credential.token}` };
  const { origin } = new URL(spec.endpoint(settingsContext(context, hub)));
  const fetch: typeof globalThis.fetch = (input, init) => {
    const request = new Request(input, init);
    if (new URL(request.url).origin === origin) {
      for (const [header, value] of Object.entries(headers)) request.headers.set(header, value);
    }
    return base.fetch(request);
  };
  try {
    return await spec.whoami({ ...base, fetch });
  } catch (error) {
    throw withoutMirrors(error, sourcesOf(context, hub));
  }
}

/** Only the hub knows whose a token is, and no other gets to see it. */
function withoutMirrors(error: unknown, sources: readonly Source[]): unknown {
  if (!(error instanceof ModeldlError) || error.code !== 'NETWORK' || sources.length === 1) return error;
  const { code, message, hint, cause, details } = error;
  const why = 'mirrors are not asked, since no token goes there';
  return new ModeldlError(code, message, {
    hint: hint === undefined ? why : `${hint}; ${why}`,
    cause,
    details,
  });
}

function withCredentials(context: Context, name: string): { hub: Hub; spec: CredentialSpec } {
  const hub = hubNamed(context, name);
  if (hub.credentials !== undefined) return { hub, spec: hub.credentials };
  const others = context.hubs.flatMap((other) => (other.credentials ? [other.name] : [])).join(', ');
  throw new ModeldlError('USAGE', `${hub.title} takes no login`, {
    hint: hub.loginHint ?? `hubs that do: ${others}`,
  });
}

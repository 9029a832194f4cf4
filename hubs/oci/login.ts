/** Logins to registries as Docker, Podman and ORAS keep them: `config.json`, `auth.json`, credential helpers. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { ModeldlError, systemErrorCode } from '../../src/errors.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { parseJson } from '../../src/json.js';

/** One of: a user with a password, a token to trade for others, a token for the registry itself. */
export type Secret =
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  | { readonly kind: 'identity'; readonly token: string }
  | { readonly kind: 'registry'; readonly token: string };

export interface Login {
  readonly secret?: Secret;
  /** Where it comes from, for messages. */
  readonly source: string;
  /** Why there is none, where one was to be had: told when the registry wants a login. */
  readonly problem?: string;
}

/** A helper may ask its user to unlock a keychain. */
const HELPER_TIMEOUT_MS = 60_000;
/** What a helper says that has nothing for a registry. (docker-credential-helpers, "credentials/error.go") */
const NOTHING = /credentials not found in native keychain/;
/** User name that marks an identity token. (docker-credential-helpers, README) */
const IDENTITY = '<token>';

const entrySchema = v.object({
  auth: v.optional(v.string()),
  username: v.optional(v.string()),
  password: v.optional(v.string()),
  identitytoken: v.optional(v.string()),
  registrytoken: v.optional(v.string()),
});
const configSchema = v.object({
  auths: v.optional(v.nullable(v.record(v.string(), entrySchema))),
  credsStore: v.optional(v.string()),
  credHelpers: v.optional(v.nullable(v.record(v.string(), v.string()))),
});
const helperSchema = v.object({ Username: v.string(), Secret: v.string() });

type Config = v.InferOutput<typeof configSchema>;

/** The login for a registry of the first file that knows one. @throws ModeldlError CONFIG for a file that cannot be read */
export async function findLogin(
  host: string,
  context: HubSettingsContext,
  signal: AbortSignal,
): Promise<Login | undefined> {
  let unusable: Login | undefined;
  for (const file of files(context)) {
    const config = await readConfig(file);
    const login = config === undefined ? undefined : await loginOf(config, file, host, context, signal);
    if (login?.secret !== undefined) return login;
    unusable ??= login;
  }
  return unusable;
}

/**
 * The login for a part of a registry that holds a repository, as Podman keeps them beside those for registries: the
 * narrowest of all files. Helpers know registries only. (containers-auth.json(5))
 * @throws ModeldlError CONFIG for a file that cannot be read
 */
export async function findPartLogin(
  host: string,
  repository: string,
  context: HubSettingsContext,
): Promise<Login | undefined> {
  const found: { readonly file: string; readonly config: Config }[] = [];
  for (const file of files(context)) {
    const config = await readConfig(file);
    if (config !== undefined) found.push({ file, config });
  }
  const segments = repository.split('/');
  for (let length = segments.length; length > 0; length -= 1) {
    const key = [host, ...segments.slice(0, length)].join('/');
    for (const { file, config } of found) {
      const secret = secretOf(config.auths?.[key]);
      if (secret !== undefined) return { secret, source: file };
    }
  }
  return undefined;
}

/** Best first: the order of Podman, which reads Docker's as well. */
function files({ environment, home }: HubSettingsContext): readonly string[] {
  const { REGISTRY_AUTH_FILE: named, XDG_RUNTIME_DIR: runtime, DOCKER_CONFIG: docker } = environment;
  if (named !== undefined && named !== '') return [named];
  const isSet = (directory: string | undefined): directory is string =>
    directory !== undefined && directory !== '';
  return [
    join(isSet(docker) ? docker : join(home, '.docker'), 'config.json'),
    ...(isSet(runtime) ? [join(runtime, 'containers', 'auth.json')] : []),
    join(home, '.config', 'containers', 'auth.json'),
  ];
}

async function readConfig(file: string): Promise<Config | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw malformed(file, error);
  }
  try {
    return v.parse(configSchema, JSON.parse(text));
  } catch (error) {
    throw malformed(file, error);
  }
}

function malformed(file: string, error: unknown): ModeldlError {
  // What the parser says may quote the file, which holds secrets.
  const why = systemErrorCode(error) ?? 'it is not what Docker writes';
  return new ModeldlError('CONFIG', `Cannot read the logins to registries: ${file}: ${why}`, {
    hint: 'correct the file, or remove it and run `docker login` again; `DOCKER_CONFIG` names another folder',
    details: { file },
  });
}

async function loginOf(
  config: Config,
  file: string,
  host: string,
  context: HubSettingsContext,
  signal: AbortSignal,
): Promise<Login | undefined> {
  const keys = keysOf(host);
  const own = keys.flatMap((key) => {
    const helper = config.credHelpers?.[key];
    return helper === undefined ? [] : [{ helper, key }];
  });
  const store = config.credsStore;
  const stored =
    store === undefined || store === '' ? [] : keys.slice(0, 1).map((key) => ({ helper: store, key }));
  let problem: Login | undefined;
  const [asked] = [...own, ...stored];
  if (asked !== undefined) {
    const answer = await askHelper(asked.helper, asked.key, context, signal);
    if (answer?.secret !== undefined) return answer;
    problem = answer;
  }
  for (const key of keys) {
    const secret = secretOf(config.auths?.[key]);
    if (secret !== undefined) return { secret, source: file };
  }
  return problem;
}

/** What a registry may be called in those files. (docker/cli, "ConvertToHostname"; Docker Hub keeps its first address) */
function keysOf(host: string): readonly string[] {
  const names =
    host === 'docker.io' ? ['https://index.docker.io/v1/', 'docker.io', 'index.docker.io'] : [host];
  return [...names, ...names.map((name) => `https://${name}`), `http://${host}`, `https://${host}/v1/`];
}

function secretOf(entry: v.InferOutput<typeof entrySchema> | undefined): Secret | undefined {
  if (entry === undefined) return undefined;
  const { auth = '', identitytoken = '', registrytoken = '', username = '', password = '' } = entry;
  if (identitytoken !== '') return { kind: 'identity', token: identitytoken };
  if (registrytoken !== '') return { kind: 'registry', token: registrytoken };
  const decoded = Buffer.from(auth, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon > 0)
    return {
      kind: 'password',
      user: decoded.slice(0, colon),
      // Docker once padded it with NUL.
      password: decoded.slice(colon + 1).replace(/\0+$/, ''),
    };
  return username === '' ? undefined : { kind: 'password', user: username, password };
}

/** Asks `docker-credential-<helper>`. One that is missing is a problem only where a login is needed. */
async function askHelper(
  helper: string,
  key: string,
  { environment, home }: HubSettingsContext,
  signal: AbortSignal,
): Promise<Login | undefined> {
  const program = `docker-credential-${helper}`;
  const source = `\`${program}\``;
  if (!/^[\w.-]+$/.test(helper))
    return { source, problem: `${JSON.stringify(helper)} is no name of a helper` };
  const { execa } = await import('execa');
  const result = await execa(program, ['get'], {
    env: { ...environment },
    extendEnv: false,
    cwd: home,
    input: key,
    timeout: HELPER_TIMEOUT_MS,
    cancelSignal: signal,
    reject: false,
  });
  const answer = result.failed ? undefined : v.safeParse(helperSchema, parseJson(result.stdout));
  if (answer?.success === true) {
    const { Username: user, Secret: secret } = answer.output;
    return {
      secret:
        user === IDENTITY
          ? { kind: 'identity', token: secret }
          : { kind: 'password', user, password: secret },
      source,
    };
  }
  if (NOTHING.test(result.stdout) || NOTHING.test(result.stderr)) return undefined;
  const why =
    result.code ?? (result.timedOut ? 'it took too long' : (lastLine(result.stderr) ?? 'no usable answer'));
  return { source, problem: `${source} failed: ${why}` };
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.trim().slice(0, 200) || undefined;
}

/** npm's own configuration, read by npm's own library: registries by scope, credentials by address, proxy, certificates. */
import { platform } from 'node:os';
import { dirname, join } from 'node:path';
import { execPath } from 'node:process';
import type { Options } from 'pacote';
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubNetwork, HubSettingsContext } from '../../src/hub.js';
import { basicAuthorization, sameServer } from '../package-index.js';

/** Options as npm passes them to its libraries; `@scope:registry` and `//host/path:_authToken` are among them. */
export interface NpmOptions extends Options {
  registry: string;
  httpsProxy?: string | false | null;
}

const optionsSchema = v.looseObject({
  registry: v.string(),
  ca: v.nullish(v.union([v.string(), v.array(v.string())])),
  proxy: v.nullish(v.union([v.string(), v.literal(false)])),
  httpsProxy: v.nullish(v.union([v.string(), v.literal(false)])),
  noProxy: v.nullish(v.string()),
});

/** What is read here is checked; the rest goes to npm's own libraries as npm's own library made it. */
const npmOptionsSchema = v.custom<NpmOptions>(
  (input) => v.is(optionsSchema, input),
  'its values are of unexpected types',
);

/** One reading per program run: the environment object is the run's. */
const readings = new WeakMap<HubSettingsContext['environment'], Promise<NpmOptions>>();

/**
 * The options that npm would pass to its libraries here, with `hubs.npm.endpoint` in place of its default registry.
 *
 * Read are npm's own defaults, its built-in, global and user files and the environment. A `.npmrc` of the working
 * directory is not: it may come with a cloned repository, which must not decide where bytes come from.
 */
export async function npmOptions(context: HubSettingsContext): Promise<NpmOptions> {
  let reading = readings.get(context.environment);
  if (reading === undefined) {
    reading = read(context);
    readings.set(context.environment, reading);
  }
  const options = await reading;
  const endpoint = context.settings['endpoint'];
  return typeof endpoint === 'string' ? { ...options, registry: endpoint } : options;
}

async function read(context: HubSettingsContext): Promise<NpmOptions> {
  const { default: Config } = await import('@npmcli/config');
  const { default: definitions } = await import('@npmcli/config/lib/definitions/index.js');
  const environment = Object.entries(context.environment).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  const prefix = dirname(execPath);
  const config = new Config({
    ...definitions,
    // Where npm lies beside the node that runs, with its built-in file; absent it is not read.
    npmPath:
      platform() === 'win32' ? join(prefix, 'node_modules/npm') : join(prefix, '../lib/node_modules/npm'),
    // The library writes into the environment it is given: it gets its own.
    env: { HOME: context.home, ...Object.fromEntries(environment) },
    // `location` global is what leaves a project's file out.
    argv: ['node', 'npm', '--location=global'],
    cwd: context.home,
    warn: false,
  });
  try {
    await config.load();
    return v.parse(npmOptionsSchema, config.flat);
  } catch (error) {
    throw new ModeldlError(
      'CONFIG',
      `Cannot read npm's configuration: ${error instanceof Error ? error.message : ''}`,
      {
        hint: 'check it with `npm config list`',
        cause: error,
      },
    );
  }
}

/** The header with which npm would ask for an address: of its path, else of a registry on the same server. */
export async function npmAuthorization(
  url: URL,
  context: HubSettingsContext,
): Promise<Readonly<Record<string, string>> | undefined> {
  const options = await npmOptions(context);
  const registries = registriesOf(options);
  // npm binds credentials to host and path only: unencrypted they go nowhere but to a registry that is so itself.
  const here = registries.filter((registry) => sameServer(registry, url));
  if (url.protocol !== 'https:' && here.length === 0) return undefined;
  const { default: npmFetch } = await import('npm-registry-fetch');
  for (const address of [url.href, ...here]) {
    const { token, auth } = npmFetch.getAuth(address, options);
    if (token) return { authorization: `Bearer ${token}` };
    if (auth) return { authorization: `Basic ${auth}` };
  }
  return embedded(here);
}

/** User information in a registry's own address. */
function embedded(registries: readonly string[]): Readonly<Record<string, string>> | undefined {
  const url = registries.map((registry) => new URL(registry)).find(({ username }) => username !== '');
  return url === undefined ? undefined : { authorization: basicAuthorization(url) };
}

function registriesOf(options: NpmOptions): readonly string[] {
  const values: unknown[] = [options.registry];
  for (const [name, value] of Object.entries<unknown>({ ...options })) {
    if (/^@.*:registry$/.test(name)) values.push(value);
  }
  return values.filter((value) => typeof value === 'string').filter((value) => URL.canParse(value));
}

/** npm's `cafile` or `ca`, and its proxies. */
export async function npmNetwork(context: HubSettingsContext): Promise<HubNetwork> {
  const options = await npmOptions(context);
  const given = options.ca ?? [];
  const ca = (Array.isArray(given) ? given : [given]).map((text) => text.toString());
  // npm takes either one for both kinds of addresses, the one for https first.
  const proxy = options.httpsProxy || options.proxy;
  return {
    ...(ca.length === 0 ? {} : { ca }),
    ...(proxy
      ? {
          proxy: {
            http: proxy,
            https: proxy,
            ...(options.noProxy ? { no: String(options.noProxy) } : {}),
          },
        }
      : {}),
  };
}

/** What environment variables set, as one more file would that beats the others. */
import { delimiter, resolve } from 'node:path';
import { ModeldlError } from '../errors.js';
import { ADOPT, type Config, type HubKeys } from './schema.js';

export interface EnvironmentLayer {
  readonly config: Config;
  /** The variable that set each key, by `a.b.c`. */
  readonly variables: ReadonlyMap<string, string>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables of keys that no hub owns, best first. An empty proxy means none, as curl has it. */
const VARIABLES = {
  cacheDir: ['MODELDL_CACHE_DIR'],
  offline: ['MODELDL_OFFLINE', 'HF_HUB_OFFLINE'],
  adopt: ['MODELDL_ADOPT'],
  'cache.readFrom': ['MODELDL_CACHE_READ_FROM'],
  'proxy.http': ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'],
  'proxy.https': ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'],
  'proxy.no': ['no_proxy', 'NO_PROXY'],
} as const;

/**
 * @param cwd absolute directory that relative paths start from
 * @throws ModeldlError CONFIG naming the variable
 */
export function environmentLayer(
  environment: Environment,
  hubs: readonly HubKeys[],
  cwd: string,
): EnvironmentLayer {
  const variables = new Map<string, string>();
  const read = (key: string, names: readonly string[], emptyCounts = false): string | undefined => {
    const name = names.find((candidate) => {
      const value = environment[candidate]?.trim();
      return value !== undefined && (emptyCounts || value !== '');
    });
    if (name !== undefined) variables.set(key, name);
    return name === undefined ? undefined : environment[name]?.trim();
  };
  const cacheDir = read('cacheDir', VARIABLES.cacheDir);
  const offline = read('offline', VARIABLES.offline);
  const readFrom = read('cache.readFrom', VARIABLES['cache.readFrom']);
  const adopt = read('adopt', VARIABLES.adopt);
  const http = read('proxy.http', VARIABLES['proxy.http'], true);
  const https = read('proxy.https', VARIABLES['proxy.https'], true);
  const no = read('proxy.no', VARIABLES['proxy.no'], true);
  const settings = hubs.map((hub) => {
    const own = Object.entries(hub.settings ?? {}).flatMap(([key, { environment: names = [] }]) => {
      const value = read(`hubs.${hub.name}.${key}`, names);
      return value === undefined ? [] : [[key, value] as const];
    });
    return [hub.name, Object.fromEntries(own)] as const;
  });
  const config: Config = {
    ...(cacheDir === undefined ? {} : { cacheDir: resolve(cwd, cacheDir) }),
    ...(offline === undefined ? {} : { offline: isTrue(offline) }),
    ...(readFrom === undefined ? {} : { cache: { readFrom: pathList(readFrom, cwd) } }),
    ...(adopt === undefined ? {} : { adopt: adoptNamed(adopt) }),
    proxy: {
      ...(http === undefined ? {} : { http }),
      ...(https === undefined ? {} : { https }),
      ...(no === undefined ? {} : { no }),
    },
    hubs: Object.fromEntries(settings),
  };
  return { config, variables };
}

/** As PATH has it: separated by `:`, on Windows by `;`. */
function pathList(text: string, cwd: string): string[] {
  const paths = text.split(delimiter).map((path) => path.trim());
  return paths.filter((path) => path !== '').map((path) => resolve(cwd, path));
}

function adoptNamed(text: string): (typeof ADOPT)[number] {
  const value = ADOPT.find((candidate) => candidate === text.toLowerCase());
  if (value !== undefined) return value;
  throw new ModeldlError('CONFIG', `Wrong value for \`MODELDL_ADOPT\`: ${text}`, {
    hint: `expected ${ADOPT.join(' or ')}`,
    details: { variable: 'MODELDL_ADOPT' },
  });
}

/** Does a variable that switches something on do so? */
export function isTrue(value: string): boolean {
  return /^(1|true|yes|on)$/i.test(value);
}

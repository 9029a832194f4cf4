/**
 * What completion offers of this machine: stored references, and the names of hubs, converters, toolchains and settings.
 * It has to answer whatever state things are in, so what cannot be read is left out: a broken file, a cache that is
 * away. Nothing is asked or run, no network, no plugin of others; and nothing is written, save the catalogue of a large
 * cache, which every list keeps so that the next is fast.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { environmentLayer } from './config/environment.js';
import { contentDigest, findProjectFile, parseFile } from './config/load.js';
import { isTrusted } from './config/trust.js';
import { userConfigPath } from './config/user-file.js';
import { encodePart } from './reference.js';
import { readCatalogue, type ListedEntry } from './store/catalogue.js';
import { openStore } from './store/layout.js';
import { namesAmong } from './stored-names.js';
import { userConfigDirectory, userDirectory } from './user-directories.js';

export interface CompletionOptions {
  /** Absolute directory that relative paths start from. */
  readonly cwd: string;
  readonly home: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cacheDir?: string;
  readonly configFile?: string;
}

export interface StoredName {
  /** As `list` prints it. */
  readonly reference: string;
  /** The same without its revision; equal to it where the reference has none. */
  readonly floating: string;
}

/** The part of a configuration that says where models are stored. One wrong value does not hide the others. */
const placesSchema = v.object({
  cacheDir: v.fallback(v.optional(v.string()), undefined),
  cache: v.fallback(v.optional(v.object({ readFrom: v.optional(v.array(v.string()), []) })), undefined),
  hubs: v.fallback(v.optional(v.record(v.string(), v.unknown())), undefined),
});

interface Places {
  readonly hubs?: readonly string[];
  readonly cacheDir?: string | undefined;
  readonly readFrom?: readonly string[] | undefined;
}

/** Every stored model of the caches that a command would look into, nearest cache first. */
export async function storedNames(options: CompletionOptions): Promise<readonly StoredName[]> {
  const { cacheDir, readFrom } = await places(options);
  const names = new Map<string, StoredName>();
  for (const [directory, readOnly] of [
    [cacheDir, false],
    ...readFrom.map((lower) => [lower, true] as const),
  ] as const) {
    const models = await catalogued(directory, readOnly).catch(() => []);
    const nameOf = namesAmong(models);
    for (const model of models) {
      const reference = nameOf(model);
      if (!names.has(reference))
        names.set(reference, { reference, floating: withoutRevision(reference, model) });
    }
  }
  return [...names.values()];
}

async function catalogued(cacheDir: string, readOnly: boolean): Promise<readonly ListedEntry[]> {
  const store = await openStore({
    cacheDir,
    durability: 'lazy',
    emit: () => undefined,
    readOnly,
    create: false,
  });
  return (await readCatalogue(store)).models;
}

/** By the text alone: the hubs, which know how their references are written, are not loaded. */
function withoutRevision(reference: string, { record: { revision } }: ListedEntry): string {
  for (const written of [`@${encodePart(revision)}`, `@${revision}`, `#sha256=${revision}`]) {
    const at = reference.lastIndexOf(written);
    if (at > 0) return reference.slice(0, at) + reference.slice(at + written.length);
  }
  return reference;
}

/** Own cache and those below it, by the precedence of the configuration, and hubs that it has settings of. */
async function places(
  options: CompletionOptions,
): Promise<{ cacheDir: string; readFrom: readonly string[]; hubs: readonly string[] }> {
  const { cwd, home, environment } = options;
  const layers: readonly Places[] = [
    options.cacheDir === undefined ? {} : { cacheDir: resolve(cwd, options.cacheDir) },
    environmentPlaces(options),
    await projectPlaces(options).catch(() => ({})),
    await filePlaces(await userConfigPath(userConfigDirectory(environment, home))).catch(() => ({})),
  ];
  const cacheDir = layers.find((layer) => layer.cacheDir !== undefined)?.cacheDir;
  return {
    cacheDir: cacheDir ?? userDirectory(environment, home, 'cache'),
    readFrom: layers.find((layer) => layer.readFrom !== undefined)?.readFrom ?? [],
    hubs: layers.flatMap(({ hubs = [] }) => hubs),
  };
}

function environmentPlaces({ environment, cwd }: CompletionOptions): Places {
  const { MODELDL_CACHE_DIR, MODELDL_CACHE_READ_FROM } = environment;
  const { cacheDir, cache } = environmentLayer(
    { MODELDL_CACHE_DIR, MODELDL_CACHE_READ_FROM },
    [],
    cwd,
  ).config;
  return { cacheDir, readFrom: cache?.readFrom };
}

/** Of the file that is named, else of the project's, where a cache counts only when it was trusted. */
async function projectPlaces({ cwd, home, environment, configFile }: CompletionOptions): Promise<Places> {
  const named = configFile ?? (environment['MODELDL_CONFIG'] || undefined);
  if (named !== undefined) return filePlaces(resolve(cwd, named));
  const found = await findProjectFile(cwd, home);
  return found === undefined ? {} : filePlaces(found, userConfigDirectory(environment, home));
}

/** @param trustedIn where trust is kept, for a file that needs it */
async function filePlaces(path: string, trustedIn?: string): Promise<Places> {
  // Reading a pipe would wait for its writer.
  if (!(await stat(path)).isFile()) return {};
  const content = await readFile(path, 'utf8');
  if (trustedIn !== undefined && !(await isTrusted(trustedIn, path, contentDigest(content)))) return {};
  const { cacheDir, cache, hubs = {} } = v.parse(placesSchema, parseFile(path, content));
  const below = (place: string): string => resolve(dirname(path), place);
  return {
    cacheDir: cacheDir === undefined ? undefined : below(cacheDir),
    readFrom: cache?.readFrom.map(below),
    hubs: Object.keys(hubs),
  };
}

export interface NamedValue {
  readonly name: string;
  readonly title: string;
}

export interface KnownNames {
  readonly hubs: readonly (NamedValue & {
    readonly takesToken: boolean;
    readonly hasAccount: boolean;
    readonly searches: boolean;
  })[];
  /** What references start with; the hub of paths has none. */
  readonly schemes: readonly NamedValue[];
  readonly converters: readonly (NamedValue & { readonly settings: readonly NamedValue[] })[];
  readonly toolchains: readonly NamedValue[];
  /** As `a.b.c`, with the values of those that have a few. */
  readonly keys: readonly (NamedValue & { readonly values: readonly string[] })[];
}

/**
 * What modeldl has built in, and hubs of plugins as far as they have settings: no plugin is run. Loads the tables, which
 * stored references do without.
 */
export async function knownNames(options: CompletionOptions): Promise<KnownNames> {
  const [{ builtInPlugins }, { configSchema, describedKeys }] = await Promise.all([
    import('./plugins.js'),
    import('./config/schema.js'),
  ]);
  const { hubs, converters, toolchains } = builtInPlugins();
  const configured = new Set(
    (await places(options)).hubs.filter((name) => hubs.every((hub) => hub.name !== name)),
  );
  const others = [...configured].map((name) => ({ name, title: 'of a plugin' }));
  return {
    hubs: [
      ...hubs.map((hub) => ({
        name: hub.name,
        title: hub.title,
        takesToken: hub.credentials !== undefined && hub.key === undefined,
        hasAccount: hub.credentials !== undefined || hub.key !== undefined,
        searches: hub.search !== undefined,
      })),
      ...others.map((hub) => ({ ...hub, takesToken: true, hasAccount: true, searches: true })),
    ],
    schemes: [
      ...hubs.flatMap(({ title, syntax }) => {
        const [scheme] = syntax.schemes;
        return scheme === undefined || syntax.paths === true ? [] : [{ name: scheme, title }];
      }),
      ...others,
    ],
    converters: converters.map(({ name, makes, settings }) => ({
      name,
      title: makes,
      settings: Object.entries(settings).map(([key, title]) => ({ name: key, title })),
    })),
    toolchains: toolchains.map(({ name, title }) => ({ name, title })),
    keys: describedKeys(configSchema(hubs)).flatMap(({ key, description, values }) =>
      key.endsWith('.<name>')
        ? toolchains.map(({ name }) => ({ name: key.replace('<name>', name), title: description, values }))
        : [{ name: key, title: description, values }],
    ),
  };
}

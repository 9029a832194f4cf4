/**
 * The programmatic API of modeldl; the command line uses nothing else.
 *
 * @example
 * const modeldl = await createModeldl({ cwd: process.cwd(), home: homedir(), environment: process.env });
 * const { results } = await modeldl.pull(['hf:org/name'], {});
 * await modeldl.close();
 */
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { arch, platform, version as nodeVersion } from 'node:process';
import pLimit from 'p-limit';
import { otherTools, type BlobSource } from './adopt.js';
import { findCredential, removeCredential, saveCredential } from './config/credentials.js';
import { loadConfig, type LoadedConfig } from './config/load.js';
import { configSchema, DEFAULTS, type Config, type ConfigSchema } from './config/schema.js';
import { parseDuration, parseRate } from './config/units.js';
import { serverOf, settingsContext, type Context, type Freshness } from './context.js';
import type { CacheKeyOptions } from './ci/key.js';
import type { CreateBundleOptions, CreatedBundle } from './bundle/create.js';
import type { ImportBundleOptions } from './bundle/import.js';
import type * as bundles from './bundle/results.js';
import type { ConvertOptions } from './plan.js';
import type { DoctorOptions } from './doctor/doctor.js';
import { ModeldlError } from './errors.js';
import type { Emit } from './events.js';
import type { ExportTreeOptions } from './export/export.js';
import type { ExportOptions } from './export/program.js';
import type { Credential, Hub } from './hub.js';
import type { CredentialKeeper } from './hub-operations.js';
import { builtInPlugins, type Plugins } from './plugins.js';
import type { PullOptions } from './pull.js';
import type { PushOptions } from './push.js';
import type { PruneOptions } from './remove.js';
import type * as results from './results.js';
import type { ReportOptions } from './report/report.js';
import type { SearchOptions } from './search.js';
import type { ConversionFilter } from './stored.js';
import type { LockOptions } from './lock.js';
import type { StartupHubs } from './startup.js';
import type { SyncOptions } from './sync.js';
import { openStore, type Store, type StoreOptions } from './store/layout.js';
import { openSession, type Session } from './store/session.js';
import { createConnectionBudget } from './transfer/helpers.js';
import { createHttpClient, HTTP_DEFAULTS, type HttpClient } from './transfer/http.js';
import { userConfigDirectory, userDirectory } from './user-directories.js';

export { EXIT_CODES, ModeldlError, type ErrorCode, type ErrorDetails, type ErrorOptions } from './errors.js';
export { userConfigDirectory };
export type { Emit, ModeldlEvent } from './events.js';
export type * from './hub.js';
export type * from './converter.js';
export type * from './results.js';
export type * from './bundle/results.js';
export type { CreateBundleOptions, CreatedBundle, ImportBundleOptions };
export type { ConfigFile } from './config/load.js';
export type { HubValue, HubValues } from './config/schema.js';
export type { Plugins } from './plugins.js';
export type { PrebuiltChoice } from './prebuilt.js';
export type { StartupEntry, StartupHub, StartupHubs, StartupReading, StartupRefusal } from './startup.js';
export type { ListOptions } from './sync-list.js';
export type { Environment } from './user-directories.js';
export type { Reference, ReferenceParts, ReferenceSyntax, ParseOptions } from './reference.js';
export type { DoctorOptions, LockOptions, SyncOptions };
export type {
  CacheKeyOptions,
  ConvertOptions,
  ConversionFilter,
  ExportOptions,
  ExportTreeOptions,
  LoadedConfig,
  PruneOptions,
  PullOptions,
  PushOptions,
  ReportOptions,
  SearchOptions,
};

export interface ModeldlOptions {
  /** Absolute directory that relative paths start from. */
  readonly cwd: string;
  readonly home: string;
  /** Environment variables; nothing else of the process is read. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cacheDir?: string;
  /** Make the cache where none is, as operations that write need it; default true. */
  readonly createCache?: boolean;
  /** Configuration file to use instead of searching for a project file. */
  readonly configFile?: string;
  /** No socket at all. */
  readonly offline?: boolean;
  /** No request when something suitable is stored. */
  readonly preferOffline?: boolean;
  /** An unreachable hub is an error even when a revision is stored. */
  readonly refresh?: boolean;
  /**
   * Bound on waiting, milliseconds: for other processes, by default ten minutes, and for servers that ask one request
   * to wait, by default some five.
   */
  readonly maxWaitMs?: number;
  /** Compare free space with what is needed before fetching; default true. */
  readonly spaceCheck?: boolean;
  /** Large files at once; default 4. */
  readonly jobs?: number;
  /** Most connections for one large file; default 16, of which as many are used as make it faster. */
  readonly connections?: number;
  /** Bytes per second over everything, at least one. */
  readonly limitRate?: number;
  /** `never`: a missing toolchain is an error. */
  readonly install?: 'auto' | 'never';
  readonly signal?: AbortSignal;
  readonly emit?: Emit;
  /** Told of every secret that is used, before it is, so that it can be kept out of what is printed. */
  readonly onSecret?: (secret: string) => void;
  /** Hubs, converters and toolchains instead of the built-in ones. */
  readonly plugins?: Plugins;
}

/** Who calls, beside others. */
export interface Caller {
  /** Ends what it called; the signal of all does so too. */
  readonly signal: AbortSignal;
  readonly emit: Emit;
}

export interface Modeldl {
  readonly config: LoadedConfig;
  /** Absolute path of the cache. */
  readonly cacheDir: string;
  pull(references: readonly string[], options?: PullOptions): Promise<results.Outcome<results.PulledModel>>;
  planPull(references: readonly string[], options?: PullOptions): Promise<results.Outcome<results.PullPlan>>;
  convert(reference: string, options?: ConvertOptions): Promise<results.ConvertedModel>;
  planConvert(reference: string, options?: ConvertOptions): Promise<results.ConvertPlan>;
  /**
   * Writes a model to a hub, pulling it first where it is not stored; without a target to the registry among the mirrors
   * of its own hub.
   */
  push(reference: string, target?: string, options?: PushOptions): Promise<results.PushedModel>;
  /** Brings in what a list of models asks for: the configuration's, or a startup file's. */
  sync(options?: SyncOptions): Promise<results.SyncOutcome<results.SyncedModel>>;
  planSync(options?: SyncOptions): Promise<results.SyncOutcome<results.SyncPlan>>;
  /** Writes what these models are now into a lock beside the list. */
  lock(options?: LockOptions): Promise<results.LockOutcome>;
  /** The name of a CI system's cache for what the lock says. */
  cacheKey(options?: CacheKeyOptions): Promise<results.CacheKey>;
  /** Registers a model with another program on this machine, pulling it first where it is not stored. */
  export(reference: string, options: ExportOptions): Promise<results.ExportedModel>;
  /** Writes what is named, or what a list of models asks for by its lock, into one file for machines without network. */
  createBundle(options: CreateBundleOptions): Promise<CreatedBundle>;
  planBundle(
    options: CreateBundleOptions,
  ): Promise<{ readonly plan: bundles.BundlePlan } | { readonly errors: readonly ModeldlError[] }>;
  /** Brings in what a bundle at an absolute path holds, without network. */
  importBundle(file: string, options?: ImportBundleOptions): Promise<bundles.ImportedBundle>;
  /** What a bundle at an absolute path holds, by its index. */
  showBundle(file: string): Promise<bundles.ShownBundle>;
  /** Writes models to a directory, a `.tar`, a `.tar.zst` or, `-`, a stream, pulling them first where they are not stored. */
  exportTree(
    references: readonly string[],
    target: string,
    options?: ExportTreeOptions,
  ): Promise<results.ExportedTree>;
  planExportTree(
    references: readonly string[],
    target: string,
    options?: ExportTreeOptions,
  ): Promise<results.ExportPlan>;
  list(): Promise<results.ModelList>;
  /** What each stored model takes on disk. */
  usage(): Promise<results.SpaceUsage>;
  show(reference: string, filter?: ConversionFilter): Promise<results.ShownModel>;
  /** One page of HTML about models and their stored conversions, without network where they are stored. */
  report(references: readonly string[], options?: ReportOptions): Promise<results.MadeReport>;
  path(reference: string, filter?: ConversionFilter): Promise<{ reference: string; path: string }>;
  planRemove(references: readonly string[], filter?: ConversionFilter): Promise<results.RemovalPlan>;
  remove(plan: results.RemovalPlan, options: { readonly prune: boolean }): Promise<results.RemovalResult>;
  planPrune(options: PruneOptions): Promise<results.PrunePlan>;
  prune(plan: results.PrunePlan, options: PruneOptions): Promise<results.PruneResult>;
  verify(
    references: readonly string[],
    options: { readonly repair: boolean },
  ): Promise<readonly results.VerifiedModel[]>;
  /** Models at hubs, by words that their names have and by filters. */
  search(words: string, options?: SearchOptions): Promise<results.SearchResult>;
  hubs(options: { readonly check: boolean }): Promise<readonly results.HubState[]>;
  converters(): Promise<readonly results.ConverterState[]>;
  /** Optional native packages; found without loading them. */
  runtimes(): Promise<readonly results.RuntimeState[]>;
  toolchains(): Promise<readonly results.ToolchainState[]>;
  installToolchain(name: string): Promise<results.ToolchainState>;
  /** Puts what a toolchain is made of into an absolute directory, which `toolchains.wheels` may name elsewhere. */
  downloadToolchain(name: string, directory: string): Promise<results.ToolchainWheels>;
  removeToolchain(name: string): Promise<results.RemovedToolchain>;
  /** @throws ModeldlError USAGE when one of them is unknown */
  assertToolchains(names: readonly string[]): Promise<void>;
  /** Before a token is asked for. @throws ModeldlError USAGE when the hub is unknown or takes none */
  assertTakesLogin(hub: string): Promise<void>;
  login(hub: string, token: string): Promise<results.LoggedIn>;
  logout(hub: string): Promise<{ hub: string; removed: boolean }>;
  whoami(hub: string): Promise<results.LoggedIn>;
  /**
   * The same for one of several callers at once, such as a request to a server. Connections and bounds (`jobs`) are shared;
   * its signal, its events and its session in the store are its own, and tokens are looked for anew. Its `close` ends
   * that session only.
   */
  forCaller(caller: Caller): Modeldl;
  /** Ends sockets and the session in the store. */
  close(): Promise<void>;
}

/** The schema of configuration files, with the settings of the hubs there are; `open` to those of plugins' hubs. */
export function configurationSchema(
  plugins: Plugins = builtInPlugins(),
  options: { readonly open?: boolean } = {},
): ConfigSchema {
  return configSchema(plugins.hubs, options);
}

/** Of all large files together, besides one for each: no more than there are for small files. */
const FURTHER_CONNECTIONS = 32;
/** Node.js' timers end at once when they are set to more, some 24 days. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** @throws ModeldlError CONFIG, DISK */
export async function createModeldl(options: ModeldlOptions): Promise<Modeldl> {
  const { loaded, plugins, configDir } = await configure(options);
  const context = await createContext(options, plugins, loaded, configDir);
  const startup = async (): Promise<StartupHubs> => (await plugins.startup?.()) ?? {};
  const keeper: CredentialKeeper = {
    save: (hub, origin, token) => saveCredential(configDir, hub, origin, token),
    remove: (hub) => removeCredential(configDir, hub),
  };
  const operations = (base: OpenContext): Modeldl => ({
    config: loaded,
    cacheDir: base.store.cacheDir,
    // Loaded when they are called: a command needs one of them, and each costs every start.
    pull: async (references, given = {}) => (await import('./pull.js')).pull(base, references, given),
    planPull: async (references, given = {}) => (await import('./pull.js')).planPull(base, references, given),
    convert: async (reference, given = {}) =>
      (await import('./convert.js')).convert(base, reference, withDefaults(given, loaded.config)),
    planConvert: async (reference, given = {}) =>
      (await import('./plan.js')).planConvert(base, reference, withDefaults(given, loaded.config)),
    push: async (reference, target, given = {}) =>
      (await import('./push.js')).push(base, reference, target, given),
    sync: async (given = {}) => (await import('./sync.js')).sync(base, loaded, await startup(), given),
    planSync: async (given = {}) =>
      (await import('./sync.js')).planSync(base, loaded, await startup(), given),
    lock: async (given = {}) => (await import('./lock.js')).lock(base, loaded, await startup(), given),
    cacheKey: async (given = {}) =>
      (await import('./ci/key.js')).cacheKey(base, loaded, await startup(), given),
    createBundle: async (given) =>
      (await import('./bundle/create.js')).createBundle(base, loaded, await startup(), given),
    planBundle: async (given) =>
      (await import('./bundle/plan.js')).planBundle(base, loaded, await startup(), given),
    importBundle: async (file, given = {}) =>
      (await import('./bundle/import.js')).importBundle(base, file, given),
    showBundle: async (file) => (await import('./bundle/show.js')).showBundle(base, file),
    export: async (reference, given) =>
      (await import('./export/program.js')).exportModel(base, reference, given),
    exportTree: async (references, target, given = {}) =>
      (await import('./export/export.js')).exportTree(base, references, target, given),
    planExportTree: async (references, target, given = {}) =>
      (await import('./export/export.js')).planExportTree(base, references, target, given),
    list: async () => (await import('./list.js')).list(base),
    usage: async () => (await import('./usage.js')).usage(base),
    show: async (reference, filter = {}) =>
      (await import('./show.js')).show(base, reference, filter, withDefaults({}, loaded.config)),
    report: async (references, given = {}) =>
      (await import('./report/report.js')).report(base, references, given),
    path: async (reference, filter = {}) => (await import('./list.js')).path(base, reference, filter),
    planRemove: async (references, filter = {}) =>
      (await import('./remove.js')).planRemove(base, references, filter),
    remove: async (plan, given) => (await import('./remove.js')).remove(base, plan, given),
    planPrune: async (given) => (await import('./remove.js')).planPrune(base, given),
    prune: async (plan, given) => (await import('./remove.js')).prune(base, plan, given),
    verify: async (references, given) => (await import('./verify.js')).verify(base, references, given),
    search: async (words, given = {}) => (await import('./search.js')).search(base, words, given),
    hubs: async (given) => (await import('./hub-operations.js')).hubs(base, given),
    converters: async () => (await import('./toolchains.js')).converters(base),
    runtimes: async () => (await import('./toolchains.js')).runtimes(plugins.runtimes ?? []),
    toolchains: async () => (await import('./toolchains.js')).toolchains(base),
    installToolchain: async (name) => (await import('./toolchains.js')).installToolchain(base, name),
    downloadToolchain: async (name, directory) =>
      (await import('./toolchains.js')).downloadToolchain(base, name, directory),
    removeToolchain: async (name) => (await import('./toolchains.js')).removeToolchain(base, name),
    assertToolchains: async (names) => {
      const { toolchainNamed } = await import('./toolchains.js');
      for (const name of names) toolchainNamed(base, name);
    },
    assertTakesLogin: async (hub) => {
      await (await import('./hub-operations.js')).assertTakesLogin(base, hub);
    },
    login: async (hub, token) => (await import('./hub-operations.js')).login(base, keeper, hub, token),
    logout: async (hub) => (await import('./hub-operations.js')).logout(base, keeper, hub),
    whoami: async (hub) => (await import('./hub-operations.js')).whoami(base, hub),
    forCaller: (caller) => operations(base.forCaller(caller)),
    close: () => base.close(),
  });
  return operations(context);
}

/** The configuration, and the plugins that it names beside the built-in ones. @throws ModeldlError CONFIG */
async function configure(
  options: ModeldlOptions,
  untrusted: 'refuse' | 'ignore' = 'refuse',
  leftOut: ReadonlySet<string> = new Set(),
): Promise<{
  readonly loaded: LoadedConfig;
  readonly plugins: Plugins;
  readonly states: readonly results.PluginState[];
  readonly configDir: string;
}> {
  const { environment, home, cwd, signal, emit = () => undefined } = options;
  const configDir = userConfigDirectory(environment, home);
  const configFile = options.configFile ?? environment['MODELDL_CONFIG'];
  let plugins = options.plugins ?? builtInPlugins();
  let states: readonly results.PluginState[] = [];
  const loaded = await loadConfig({
    cwd,
    home,
    configDir,
    ...(configFile === undefined || configFile === '' ? {} : { file: configFile }),
    cacheDir: userDirectory(environment, home, 'cache'),
    environment,
    hubs: plugins.hubs,
    untrusted,
    warn: (message) => {
      emit({ type: 'warning', message });
    },
    leftOut,
    loadPlugins: async (named) => {
      // Loaded where there are any: it costs every start.
      const { loadPlugins } = await import('./plugins/load.js');
      const found = await loadPlugins(named, plugins, { configDir, emit, signal, untrusted });
      ({ plugins, states } = found);
      return found;
    },
  });
  return { loaded, plugins, states, configDir };
}

/** Built-in and configured hubs and converters. Nothing of a project that is not trusted is run. @throws ModeldlError CONFIG */
export async function pluginStates(options: ModeldlOptions): Promise<readonly results.PluginState[]> {
  const builtIn = options.plugins ?? builtInPlugins();
  const { states } = await configure({ ...options, plugins: builtIn }, 'ignore');
  const of = (kind: 'hub' | 'converter', { name }: { readonly name: string }): results.PluginState => ({
    ...{ name, kind, version: null, from: 'built-in', path: null, configuredIn: null, trusted: true },
    ...{ state: 'loaded', error: null },
  });
  return [
    ...builtIn.hubs.map((hub) => of('hub', hub)),
    ...builtIn.converters.map((converter) => of('converter', converter)),
    ...states,
  ];
}

/**
 * Looks for what keeps modeldl from working here, also where its configuration is broken. Nothing is written but what is
 * tried in the cache, and gone at once.
 * @param words topics, names of hubs and references; everything when there are none
 * @throws ModeldlError USAGE for a word that is none of these, INTERRUPTED
 */
export async function doctor(
  options: ModeldlOptions,
  words: readonly string[] = [],
  given: DoctorOptions = {},
): Promise<results.DoctorReport> {
  const { examine } = await import('./doctor/doctor.js');
  const { withoutBroken, without } = await import('./doctor/opening.js');
  const { environment } = options;
  const { result, problems } = await withoutBroken(async (aside) => {
    const whole = { ...options, environment: without(environment, aside.variables) };
    return { whole, ...(await configure(whole, aside.untrusted, aside.files)) };
  });
  const { whole, loaded, plugins, states, configDir } = result;
  const told: string[] = [];
  const emit: Emit = (event) => {
    if (event.type === 'warning' || event.type === 'note') told.push(event.message);
    else options.emit?.(event);
  };
  const context = await createContext({ ...whole, emit }, plugins, loaded, configDir, true);
  const { sources, config } = loaded;
  const isOffline = options.offline ?? config.offline === true;
  const patient = {
    ...{ context, plugins, loaded, states, problems, told: [...told], nodeVersion },
    offline: !isOffline
      ? undefined
      : options.offline === true
        ? '`--offline`'
        : `offline by ${sources.get('offline') ?? ''}`,
    cacheSource: options.cacheDir === undefined ? (sources.get('cacheDir') ?? 'default') : '`--cache-dir`',
  };
  try {
    return await examine(patient, words, given);
  } finally {
    await context.close();
  }
}

/**
 * Trusts the project file above a directory as it is now, with the plugins that it names.
 * @throws ModeldlError NOT_FOUND without one, CONFIG when it is broken
 */
export async function trustProject(
  options: Pick<ModeldlOptions, 'cwd' | 'home' | 'environment'>,
): Promise<results.TrustedProject> {
  const configDir = userConfigDirectory(options.environment, options.home);
  return (await import('./plugins/trust.js')).trustProject(configDir, options);
}

function withDefaults(options: ConvertOptions, config: Config): ConvertOptions {
  return { ...config.convert, ...options };
}

interface OpenContext extends Context {
  forCaller(caller: Caller): OpenContext;
  close(): Promise<void>;
}

async function createContext(
  options: ModeldlOptions,
  plugins: Plugins,
  loaded: LoadedConfig,
  configDir: string,
  readOnly = false,
): Promise<OpenContext> {
  const { environment, home, cwd } = options;
  const { config, sources } = loaded;
  const signal = options.signal ?? new AbortController().signal;
  // Every request in flight listens to it, which is no leak.
  setMaxListeners(0, signal);
  const emit = options.emit ?? (() => undefined);
  const offline = options.offline ?? config.offline ?? DEFAULTS.offline;
  const freshness: Freshness = offline
    ? 'offline'
    : options.refresh === true
      ? 'refresh'
      : options.preferOffline === true
        ? 'stored'
        : 'online';
  const maxWaitMs = options.maxWaitMs ?? parseDuration(config.maxWait ?? DEFAULTS.maxWait, 'maxWait');
  const rate = options.limitRate ?? config.limitRate;
  const limitRate = rate === undefined ? undefined : parseRate(String(rate), 'limitRate');
  const waitIsChosen = options.maxWaitMs !== undefined || sources.get('maxWait') !== 'default';
  const serverWaitMs = waitIsChosen ? maxWaitMs : HTTP_DEFAULTS.maxWaitMs;
  const place: StoreOptions = {
    cacheDir: resolve(cwd, options.cacheDir ?? config.cacheDir ?? userDirectory(environment, home, 'cache')),
    durability: config.durability ?? DEFAULTS.durability,
    emit,
    create: options.createCache ?? true,
    readOnly,
  };
  const store = await openStore(place);

  const jobs = options.jobs ?? config.jobs ?? DEFAULTS.jobs;
  const lower = await openLower(config.cache?.readFrom ?? [], store);
  const tools = (config.adopt ?? DEFAULTS.adopt) === 'never' ? [] : otherTools(environment, home);

  let session: Promise<Session> | undefined;
  const clients = new Map<string, Promise<HttpClient>>();
  const credentials = new Map<string, Promise<Credential | undefined>>();
  const secrets = new Set<string>();
  const context: Context = {
    cwd,
    home,
    environment,
    signal,
    emit,
    hubs: plugins.hubs,
    converters: plugins.converters,
    toolchains: plugins.toolchains,
    syntaxes: plugins.hubs.map((hub) => hub.syntax),
    store,
    lower: lower.stores,
    elsewhere: [...lower.blobs, ...tools],
    secrets,
    unreachable: new Set(),
    freshness,
    maxWaitMs,
    spaceCheck: options.spaceCheck ?? true,
    jobs,
    transfers: pLimit(jobs),
    turns: new Map(),
    connections: createConnectionBudget(
      options.connections ?? config.connections ?? DEFAULTS.connections,
      FURTHER_CONNECTIONS,
    ),
    toolchainSettings: {
      install: options.install ?? config.toolchains?.install ?? DEFAULTS.toolchains.install,
      offline,
      ...(config.toolchains?.python === undefined ? {} : { python: config.toolchains.python }),
      interpreters: config.toolchains?.interpreters ?? {},
      torch: config.toolchains?.torch ?? DEFAULTS.toolchains.torch,
      ...(config.toolchains?.wheels === undefined ? {} : { wheels: config.toolchains.wheels }),
    },
    hubSettings: (hub) => config.hubs?.[hub] ?? {},
    // Looked for once, not for every request.
    credential: (hub) => {
      const server = serverOf(hub);
      let credential = credentials.get(server);
      if (credential === undefined) {
        credential = credentialFor(hub);
        credentials.set(server, credential);
      }
      return credential;
    },
    httpFor: (hub) => {
      let client = clients.get(hub.name);
      if (client === undefined) {
        client = httpClient(hub);
        clients.set(hub.name, client);
      }
      return client;
    },
    session: () => (session ??= openSession(store)),
  };

  function credentialFor(hub: Hub): Promise<Credential | undefined> {
    if (hub.credentials === undefined) return Promise.resolve(undefined);
    const from = sources.get(`hubs.${serverOf(hub)}.endpoint`);
    return findCredential({
      hub: serverOf(hub),
      spec: hub.credentials,
      settings: settingsContext(context, hub),
      configDir,
      endpointIsUsers: loaded.files.every((file) => file.kind !== 'project' || file.path !== from),
      warn: (message) => {
        emit({ type: 'warning', message });
      },
    });
  }

  async function httpClient(hub: Hub): Promise<HttpClient> {
    const settings = settingsContext(context, hub);
    const network = await hub.network?.(settings);
    const ca = [...(await certificates(config, environment)), ...(network?.ca ?? [])];
    const spec = hub.credentials;
    return createHttpClient({
      ...HTTP_DEFAULTS,
      userAgent: `modeldl (node ${nodeVersion}; ${platform} ${arch})`,
      proxy: { ...network?.proxy, ...config.proxy },
      ca,
      offline,
      ...(limitRate === undefined ? {} : { limitRate }),
      maxWaitMs: Math.min(serverWaitMs, LONGEST_TIMER_MS),
      emit,
      onSecret: (secret) => {
        secrets.add(secret);
        options.onSecret?.(secret);
      },
      allow: (url) => hub.allow?.(url, settings),
      ...(hub.answerChallenge === undefined
        ? {}
        : {
            challenged: async (url, header, fetch) =>
              hub.answerChallenge?.({ url, header, fetch, signal }, settings),
          }),
      authorize: async (url) => {
        const own = await hub.authorize?.(url, settings);
        if (own !== undefined) return own;
        if (spec === undefined || new URL(spec.endpoint(settings)).origin !== url.origin) return undefined;
        const credential = await context.credential(hub);
        if (credential === undefined) return undefined;
        return spec.headers?.(credential) ?? { authorization: `Bearer ${credential.token}` };
      },
    });
  }

  function forCaller(caller: Caller): OpenContext {
    // Somebody may have logged in since the last one called.
    credentials.clear();
    const stop = AbortSignal.any([signal, caller.signal]);
    setMaxListeners(0, stop);
    let own: Promise<Session> | undefined;
    return {
      ...context,
      signal: stop,
      emit: caller.emit,
      store: { ...store, emit: caller.emit, verified: new Set() },
      unreachable: new Set(),
      httpFor: async (hub) => (await context.httpFor(hub)).as({ emit: caller.emit }),
      // Somebody may have removed the cache since: it is made again before it is written to.
      session: () => (own ??= openStore(place).then(() => openSession(store))),
      forCaller,
      close: async () => {
        await (await own?.catch(() => undefined))?.close();
      },
    };
  }

  return {
    ...context,
    forCaller,
    close: async () => {
      for (const client of clients.values()) (await client.catch(() => undefined))?.close();
      await (await session?.catch(() => undefined))?.close();
    },
  };
}

/** Loaded where there are any: it costs every start. */
async function openLower(
  directories: readonly string[],
  own: Store,
): Promise<{ readonly stores: readonly Store[]; readonly blobs: readonly BlobSource[] }> {
  if (directories.length === 0) return { stores: [], blobs: [] };
  const { lowerBlobs, openLowerStores } = await import('./lower.js');
  const stores = await openLowerStores(directories, own);
  return { stores, blobs: stores.map(lowerBlobs) };
}

/** Extra certificates by the configuration and by the variables that other tools read. */
async function certificates(
  config: Config,
  environment: ModeldlOptions['environment'],
): Promise<readonly string[]> {
  const files = [config.caFile, environment['SSL_CERT_FILE'], environment['NODE_EXTRA_CA_CERTS']];
  const texts: string[] = [];
  for (const file of new Set(files)) {
    if (file === undefined || file === '') continue;
    try {
      texts.push(await readFile(file, 'utf8'));
    } catch (error) {
      throw new ModeldlError('CONFIG', `Cannot read the certificate file: ${file}`, {
        hint: 'check `caFile`, `SSL_CERT_FILE` and `NODE_EXTRA_CA_CERTS`',
        cause: error,
        details: { file },
      });
    }
  }
  return texts;
}

/** Plugins of others: found, imported, looked at, and added to the built-in hubs and converters. */
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { NamedPlugin, PluginKeys } from '../config/load.js';
import { isTrusted } from '../config/trust.js';
import type { Converter, Toolchain } from '../converter.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import type { Emit } from '../events.js';
import type { Hub } from '../hub.js';
import type { Plugins } from '../plugins.js';
import type { PluginState } from '../results.js';
import { findPlugin, pluginDigest, type FoundPlugin } from './find.js';
import { guardConverter, guardHub, said, untilAborted, type Guard } from './guard.js';
import { asConverter, asHub } from './shape.js';

export interface LoadedPlugins extends PluginKeys {
  /** The built-in ones and what was added to them. */
  readonly plugins: Plugins;
  /** Of every plugin that is named, and of each hub and converter in one. */
  readonly states: readonly PluginState[];
}

export interface LoadingContext {
  /** The user's configuration directory, which knows what is trusted. */
  readonly configDir: string;
  readonly emit: Emit;
  readonly signal?: AbortSignal | undefined;
  /** What becomes of a plugin that is not trusted as it is now: an error, or it is not loaded. */
  readonly untrusted: 'refuse' | 'ignore';
  /** Milliseconds that importing one may take. */
  readonly importMs?: number;
  /** Milliseconds that one may do nothing while it works. */
  readonly silenceMs?: number;
}

/** A module has nothing to wait for while it is imported. */
const IMPORT_MS = 10_000;
/** Servers are slow, and what a plugin reads of an answer cannot be seen: a multiple of what a stalled request gets. */
const SILENCE_MS = 120_000;

/** Runs in no environment: for converters of plugins that do their work in Node.js. */
const noToolchain: Toolchain = {
  name: 'none',
  title: 'nothing: its converters run in Node.js',
  downloadBytes: 0,
  digest: () => Promise.resolve('none'),
  status: () => Promise.resolve({ state: 'installed', versions: {} }),
  ensure: () =>
    Promise.reject(
      new ModeldlError('TOOLCHAIN', 'The toolchain `none` has no Python', {
        hint: 'a converter that needs one names another toolchain; `modeldl toolchain list` knows them',
      }),
    ),
  download: () => Promise.resolve({ files: 0, bytes: 0 }),
  remove: () => Promise.resolve({ freedBytes: 0, sharedBytes: 0 }),
};

/**
 * Loads what configuration files name. One that cannot be loaded is told of and left out.
 * @throws ModeldlError CONFIG for a project's plugin that changed since it was trusted, INTERRUPTED
 */
export async function loadPlugins(
  named: readonly NamedPlugin[],
  builtIn: Plugins,
  context: LoadingContext,
): Promise<LoadedPlugins> {
  const hubs = [...builtIn.hubs];
  const usersHubs = [...builtIn.hubs];
  const converters = [...builtIn.converters];
  const toolchains = [...builtIn.toolchains];
  const states: PluginState[] = [];
  const seen = new Set<string>();
  offerModeldl();
  // One that hangs keeps the others no longer than itself; which of two has a name is decided by their order.
  const brought = await Promise.all(named.map((plugin) => bring(plugin, context)));
  for (const { plugin, found, guard, items = [], error } of brought) {
    const state = { ...stateOf(plugin), ...(found === undefined ? {} : whereIs(found)) };
    // The user's file and the project's may name the same one.
    if (found !== undefined && seen.has(found.entry)) continue;
    if (found !== undefined) seen.add(found.entry);
    if (error !== undefined) {
      states.push({ ...state, ...problemOf(error) });
      tell(error, context);
    } else if (guard === undefined) {
      states.push({ ...state, trusted: false, state: 'untrusted' });
    } else {
      for (const { kind, value, place } of items) {
        let item: PluginState = { ...state, kind };
        try {
          item = { ...item, name: nameOf(value) ?? state.name };
          if (kind === 'converter') addConverter(value, place, { converters, toolchains }, guard);
          else {
            const hub = addHub(value, place, hubs, guard);
            if (plugin.kind === 'user') usersHubs.push(hub);
          }
          states.push({ ...item, state: 'loaded' });
        } catch (thrown) {
          // Reading a value runs code of the plugin where it has getters, or is a proxy.
          const problem =
            thrown instanceof ModeldlError
              ? thrown
              : malformed(guard, place, `reading it ends in ${said(thrown)}`);
          states.push({ ...item, ...problemOf(problem) });
          tell(problem, context);
        }
      }
    }
  }
  const complete = states.every(({ state }) => state === 'loaded');
  const plugins = { ...builtIn, hubs, converters, toolchains };
  return { plugins, hubs, usersHubs, states, complete };
}

/** Hooks of Node.js' loader run in a thread of their own, and are a module of their own. */
const RESOLVE = `let own;
export const initialize = (url) => { own = url; };
export const resolve = (specifier, context, next) => specifier === 'modeldl'
  ? next(specifier, context).catch(() => ({ url: own, shortCircuit: true }))
  : next(specifier, context);`;

let offersModeldl = false;

/** What plugins import of `modeldl` is this one where none is installed for them: in a folder there is none beside them. */
function offerModeldl(): void {
  if (offersModeldl) return;
  offersModeldl = true;
  register(`data:text/javascript,${encodeURIComponent(RESOLVE)}`, {
    data: new URL('../index.js', import.meta.url).href,
  });
}

/** A plugin as far as it was got: without `guard` and `error` it is not trusted. */
interface Brought {
  readonly plugin: NamedPlugin;
  readonly found?: FoundPlugin;
  readonly guard?: Guard;
  readonly items?: readonly Offered[];
  readonly error?: ModeldlError;
}

async function bring(plugin: NamedPlugin, context: LoadingContext): Promise<Brought> {
  let found: FoundPlugin | undefined;
  try {
    found = await findPlugin(plugin.specifier, plugin.file);
    if (plugin.kind === 'project' && !(await mayRun(plugin, found, context))) return { plugin, found };
    const guard = await guardOf(plugin, found, context);
    return { plugin, found, guard, items: offered(await importWithin(found, plugin, context), plugin) };
  } catch (error) {
    const known = diskError(error, found?.path ?? plugin.specifier);
    if (!(known instanceof ModeldlError) || context.signal?.aborted === true || known.details['untrusted'])
      throw error;
    return { plugin, ...(found === undefined ? {} : { found }), error: known };
  }
}

function stateOf({ specifier, file, trusted }: NamedPlugin): PluginState {
  return {
    name: specifier,
    kind: null,
    version: null,
    from: specifier,
    path: null,
    configuredIn: file,
    trusted,
    state: 'failed',
    error: null,
  };
}

function whereIs({ version, entry }: FoundPlugin): Pick<PluginState, 'version' | 'path'> {
  return { version, path: entry };
}

function problemOf({ code, message, hint }: ModeldlError): Pick<PluginState, 'state' | 'error'> {
  return { state: code === 'USAGE' ? 'refused' : 'failed', error: { message, hint: hint ?? null } };
}

function tell({ message, hint }: ModeldlError, { emit }: LoadingContext): void {
  emit({ type: 'warning', message: hint === undefined ? message : `${message} (${hint})` });
}

/**
 * What a project brings along is run as long as it is what was trusted.
 * @throws ModeldlError CONFIG
 */
async function mayRun(
  { specifier, file, trusted }: NamedPlugin,
  found: FoundPlugin,
  { configDir, untrusted }: LoadingContext,
): Promise<boolean> {
  if (trusted && (await isTrusted(configDir, found.path, await pluginDigest(found)))) return true;
  if (untrusted === 'ignore') return false;
  throw new ModeldlError('CONFIG', `The plugin ${specifier} is not trusted as it is now: ${found.path}`, {
    hint: `${file} names it, and it changed or came since that was trusted: read it, then run \`modeldl config trust\``,
    details: { file: found.path, untrusted: true },
  });
}

async function guardOf(
  { specifier, file }: NamedPlugin,
  found: FoundPlugin,
  { emit, silenceMs = SILENCE_MS }: LoadingContext,
): Promise<Guard> {
  const { name, version } = found;
  return {
    plugin: specifier,
    file,
    // A module without a version is another one with every change.
    identity: `${name}@${version ?? (await pluginDigest(found))}`,
    warn: (message) => {
      emit({ type: 'warning', message });
    },
    silenceMs,
  };
}

/** @throws ModeldlError CONFIG that tells why it cannot be imported */
async function importWithin(
  found: FoundPlugin,
  plugin: NamedPlugin,
  { signal, importMs = IMPORT_MS }: LoadingContext,
): Promise<unknown> {
  const refuse = (why: string, hint: string, cause?: unknown): ModeldlError =>
    new ModeldlError('CONFIG', `Cannot load the plugin ${plugin.specifier}: ${why}`, {
      hint: `${hint}, or take it out of \`plugins\` in ${plugin.file}`,
      cause,
      details: { file: found.entry },
    });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const seconds = importMs / 1000;
      reject(
        refuse(
          `importing ${found.entry} hangs: it did not end in ${seconds} s`,
          'its module must wait for nothing',
        ),
      );
    }, importMs);
  });
  try {
    return await untilAborted(signal, () =>
      Promise.race([import(pathToFileURL(found.entry).href) as Promise<unknown>, late]),
    );
  } catch (error) {
    if (error instanceof ModeldlError) throw error;
    throw refuse(`importing ${found.entry} failed with ${said(error)}`, importHint(error, found), error);
  } finally {
    clearTimeout(timer);
  }
}

function importHint(error: unknown, found: FoundPlugin): string {
  // Node.js tells the place of one only to a person who runs it.
  if (error instanceof SyntaxError) return `\`node --check ${found.entry}\` shows where`;
  switch (systemErrorCode(error)) {
    case 'ERR_MODULE_NOT_FOUND':
    case 'MODULE_NOT_FOUND':
      return `install what it depends on: \`npm install\` where ${found.path} is`;
    case 'ERR_UNKNOWN_FILE_EXTENSION':
      return 'build it first: this version of Node.js imports JavaScript only';
    default:
      return 'correct or update it';
  }
}

interface Offered {
  readonly kind: 'hub' | 'converter';
  readonly value: unknown;
  /** For messages: `hubs[0]`. */
  readonly place: string;
}

/** What a module exports as `hubs` and `converters`, itself or by its default export. @throws ModeldlError CONFIG */
function offered(module: unknown, { specifier, file }: NamedPlugin): readonly Offered[] {
  try {
    const exported = ['hubs', 'converters'].some((key) => read(module, key) !== undefined)
      ? module
      : read(module, 'default');
    const items = (['hub', 'converter'] as const).flatMap((kind) => {
      const values = read(exported, `${kind}s`);
      if (values === undefined) return [];
      if (!Array.isArray(values)) throw refuse(`exports \`${kind}s\` that is no list`);
      return values.map((value: unknown, index) => ({ kind, value, place: `${kind}s[${index}]` }));
    });
    if (items.length === 0) throw refuse('exports neither hubs nor converters');
    return items;
  } catch (error) {
    if (error instanceof ModeldlError) throw error;
    throw refuse(`cannot be read: that ends in ${said(error)}`);
  }

  function refuse(what: string): ModeldlError {
    return new ModeldlError('CONFIG', `The plugin ${specifier} ${what}`, {
      hint: `a plugin is a module that exports \`hubs\` or \`converters\`, lists of them; correct it, or take it out of \`plugins\` in ${file}`,
    });
  }
}

function read(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && key in value
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

function nameOf(value: unknown): string | undefined {
  const name = read(value, 'name');
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** @throws ModeldlError CONFIG when it is none, USAGE when its name is taken */
function addHub(value: unknown, place: string, hubs: Hub[], guard: Guard): Hub {
  const result = asHub(value);
  if ('wrong' in result) throw malformed(guard, `${place} is no hub`, result.wrong);
  const hub = result.value;
  const { name, syntax, servedBy } = hub;
  if (syntax.hub !== name) throw malformed(guard, `${place} is no hub`, `\`syntax.hub\` should be "${name}"`);
  if (servedBy !== undefined && servedBy !== name)
    throw malformed(guard, `the hub \`${name}\``, `\`servedBy\` would give it the token of \`${servedBy}\``);
  const words = new Set([name, ...syntax.schemes]);
  const taken = hubs.find((other) => [other.name, ...other.syntax.schemes].some((word) => words.has(word)));
  if (taken !== undefined) {
    const word = [...words].find((one) => one === taken.name || taken.syntax.schemes.includes(one)) ?? name;
    throw clash(guard, `the hub \`${name}\``, `\`${word}\``, `the hub ${taken.title}`);
  }
  const guarded = guardHub(hub, guard);
  hubs.push(guarded);
  return guarded;
}

/** @throws ModeldlError CONFIG when it is none, USAGE when its name is taken */
function addConverter(
  value: unknown,
  place: string,
  known: { readonly converters: Converter[]; readonly toolchains: Toolchain[] },
  guard: Guard,
): void {
  const result = asConverter(value);
  if ('wrong' in result) throw malformed(guard, `${place} is no converter`, result.wrong);
  const converter = result.value;
  const { name, toolchains } = converter;
  if (known.converters.some((other) => other.name === name))
    throw clash(guard, `the converter \`${name}\``, `\`${name}\``, 'another converter');
  const there = new Set([noToolchain.name, ...known.toolchains.map((toolchain) => toolchain.name)]);
  const missing = toolchains.find((toolchain) => !there.has(toolchain));
  if (missing !== undefined) {
    const expected = `\`toolchains\` should be of ${[...there].join(', ')}, and names ${missing}`;
    throw malformed(guard, `the converter \`${name}\``, expected);
  }
  if (toolchains.includes(noToolchain.name) && !known.toolchains.includes(noToolchain))
    known.toolchains.push(noToolchain);
  known.converters.push(guardConverter(converter, guard));
}

function malformed({ plugin, file }: Guard, what: string, wrong: string): ModeldlError {
  return new ModeldlError('CONFIG', `The plugin ${plugin} is malformed: ${what}: ${wrong}`, {
    hint: `correct or update it, or take it out of \`plugins\` in ${file}`,
  });
}

function clash({ plugin, file }: Guard, what: string, word: string, other: string): ModeldlError {
  return new ModeldlError('USAGE', `Refused ${what} of the plugin ${plugin}: ${word} is ${other} already`, {
    hint: `use a version of it with another name, or take it out of \`plugins\` in ${file}`,
  });
}

/**
 * Finding, reading and checking the configuration. Data formats only: nothing of a file is ever run. Precedence, lowest
 * first: defaults, user file, project file, environment; flags are applied by the caller.
 */
import { createHash } from 'node:crypto';
import { access, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { geteuid } from 'node:process';
import { defaultLoaders } from 'cosmiconfig';
import * as v from 'valibot';
import { ModeldlError } from '../errors.js';
import { jsonFault } from '../json.js';
import { environmentLayer } from './environment.js';
import {
  configSchema,
  DEFAULTS,
  leaves,
  nearestKey,
  needsTrust,
  type Config,
  type ConfigSchema,
  type HubKeys,
} from './schema.js';
import { isTrusted } from './trust.js';

/** Names of a project file, best first, as cosmiconfig's search places have them, without those that run code. */
const PROJECT_FILES = [
  'modeldl.config.json',
  'modeldl.config.yaml',
  'modeldl.config.yml',
  '.modeldlrc',
  '.modeldlrc.json',
  '.modeldlrc.yaml',
  'package.json',
] as const;

/** Names of the user's file, best first. */
export const USER_FILES = ['config.json', 'config.yaml'] as const;
const TOKEN_KEY = /token|password|secret|apikey|api-key|credential/i;
/** In lists, whose keys others chose: `max_num_batched_tokens` is none. */
const TOKEN_NAME = /(^|[._-])(token|password|secret|api[-_]?key)$/i;
const TOKEN_VALUE =
  /^(hf_[A-Za-z0-9]{8,}|npm_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|pypi-[A-Za-z0-9_-]{8,})/;

export interface ConfigFile {
  readonly path: string;
  readonly kind: 'user' | 'project' | 'named';
  readonly config: Config;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Where the value of each key came from, by `a.b.c`: a file's path, an environment variable, or `default`. */
  readonly sources: ReadonlyMap<string, string>;
  readonly files: readonly ConfigFile[];
  /** What files were checked with: the settings of plugins' hubs are in it. */
  readonly schema: ConfigSchema;
  /** The same without what only the project's plugins add. */
  readonly userSchema: ConfigSchema;
}

/** A plugin as a configuration file names it. */
export interface NamedPlugin {
  /** As written: a package, or a path. */
  readonly specifier: string;
  /** Absolute path of the file that names it; paths and packages are looked for from there. */
  readonly file: string;
  /** What comes with a project is run only as long as it is what was trusted. */
  readonly kind: ConfigFile['kind'];
  /** False for one of a project file that is not trusted. */
  readonly trusted: boolean;
}

/** What plugins add to the configuration. */
export interface PluginKeys {
  /** All hubs, the built-in ones too. */
  readonly hubs: readonly HubKeys[];
  /** Those of them that are there in every project: a user's own file may set no others. */
  readonly usersHubs: readonly HubKeys[];
  /** False when one was not loaded: its hubs and their settings are not known. */
  readonly complete: boolean;
}

export interface LoadOptions {
  readonly cwd: string;
  readonly home: string;
  /** The user's configuration directory. */
  readonly configDir: string;
  /** `--config` or `MODELDL_CONFIG`: instead of searching. */
  readonly file?: string;
  /** Where models are stored when nothing says so. */
  readonly cacheDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly hubs: readonly HubKeys[];
  /** Called when a file names plugins, before settings of hubs are checked. */
  readonly loadPlugins?: (named: readonly NamedPlugin[]) => Promise<PluginKeys>;
  /** Absolute paths of files that do not count, as broken ones for whoever looks for what is wrong. */
  readonly leftOut?: ReadonlySet<string>;
  /** What becomes of a project file that is not trusted: an error, or nothing of it counts. */
  readonly untrusted?: 'refuse' | 'ignore';
  warn?(message: string): void;
}

/** A file that was read, and not checked yet. */
interface ReadFile {
  readonly path: string;
  readonly kind: ConfigFile['kind'];
  readonly content: string;
  readonly parsed: unknown;
}

/** @throws ModeldlError CONFIG naming file and key */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const found = await findFiles(options);
  const { hubs, usersHubs, complete, ignored } = await bringPlugins(found, options);
  const schema = configSchema(hubs, { open: !complete });
  const userSchema = hubs === usersHubs ? schema : configSchema(usersHubs, { open: !complete });
  const files: ConfigFile[] = [];
  for (const file of found) {
    if (ignored.has(file)) continue;
    const config = checkConfig(file.path, file.kind, file.parsed, schema);
    if (file.kind === 'project') await requireTrust(file, config, options.configDir, hubs);
    files.push({ path: file.path, kind: file.kind, config: absolutePaths(config, dirname(file.path)) });
  }
  const sources = new Map<string, string>();
  let config: Config = {};
  const lay = (over: Config, source: (key: string) => string): void => {
    config = merge(config, over);
    for (const [key] of leaves(over)) sources.set(key, source(key));
  };
  lay({ cacheDir: options.cacheDir, ...DEFAULTS }, () => 'default');
  for (const file of files) {
    const before = sources.get('plugins');
    lay(file.config, (key) =>
      key === 'plugins' && before !== undefined ? `${before}, ${file.path}` : file.path,
    );
  }
  const fromEnvironment = environmentLayer(options.environment, hubs, options.cwd);
  lay(fromEnvironment.config, (key) => `environment variable ${fromEnvironment.variables.get(key) ?? ''}`);
  return { config, sources, files, schema, userSchema };
}

/** The files that count, lowest precedence first. */
async function findFiles(options: LoadOptions): Promise<readonly ReadFile[]> {
  const files: ReadFile[] = [];
  const read = async (path: string, kind: ConfigFile['kind']): Promise<void> => {
    if (options.leftOut?.has(path) !== true) files.push(await readConfigFile(path, kind));
  };
  for (const name of USER_FILES) {
    const path = join(options.configDir, name);
    if (await exists(path)) {
      await read(path, 'user');
      break;
    }
  }
  if (options.file !== undefined) {
    await read(resolve(options.cwd, options.file), 'named');
  } else {
    const project = await findProjectFile(options.cwd, options.home, (path) => {
      options.warn?.(
        `Not read, since it belongs to another user: ${path}; \`--config\` or \`MODELDL_CONFIG\` reads it`,
      );
    });
    if (project !== undefined) await read(project, 'project');
  }
  return files;
}

/** Loads what files name under `plugins`; nothing of a project's that is not trusted. @throws ModeldlError CONFIG */
async function bringPlugins(
  files: readonly ReadFile[],
  options: LoadOptions,
): Promise<PluginKeys & { readonly ignored: ReadonlySet<ReadFile> }> {
  const { hubs, configDir, loadPlugins, untrusted = 'refuse' } = options;
  const ignored = new Set<ReadFile>();
  const named: NamedPlugin[] = [];
  for (const file of files) {
    if (!isNamingPlugins(file.parsed)) continue;
    // Their hubs are not known yet; all else of the file has to be right before code of it is run.
    const config = checkConfig(file.path, file.kind, file.parsed, configSchema(hubs, { open: true }));
    if (file.kind === 'project' && !(await isTrusted(configDir, file.path, contentDigest(file.content)))) {
      if (untrusted === 'refuse') await requireTrust(file, config, configDir, hubs);
      ignored.add(file);
    }
    for (const specifier of config.plugins ?? [])
      named.push({ specifier, file: file.path, kind: file.kind, trusted: !ignored.has(file) });
  }
  if (named.length === 0 || loadPlugins === undefined)
    return { hubs, usersHubs: hubs, complete: true, ignored };
  return { ...(await loadPlugins(named)), ignored };
}

function isNamingPlugins(parsed: unknown): boolean {
  return typeof parsed === 'object' && parsed !== null && 'plugins' in parsed;
}

/** A project file as it is, and the plugins that it names. @throws ModeldlError CONFIG when it cannot be read */
export async function pluginsNamedIn(
  path: string,
): Promise<{ readonly content: string; readonly specifiers: readonly string[] }> {
  const { content, parsed } = await readConfigFile(path, 'project');
  if (!isNamingPlugins(parsed)) return { content, specifiers: [] };
  const { plugins = [] } = checkConfig(path, 'project', parsed, configSchema([], { open: true }));
  return { content, specifiers: plugins };
}

/**
 * The nearest project file, upwards to the repository's root or the home directory, never one of another user.
 * @param onForeign told of each that is passed over because it is another user's, as what is mounted into a container may be
 */
export async function findProjectFile(
  cwd: string,
  home: string,
  onForeign: (path: string) => void = () => undefined,
): Promise<string | undefined> {
  for (let directory = cwd; ; directory = dirname(directory)) {
    for (const name of PROJECT_FILES) {
      const path = join(directory, name);
      if (!(await exists(path)) || (name === 'package.json' && !(await hasModeldlKey(path)))) continue;
      if (await isOwn(path)) return path;
      if (await isFile(path)) onForeign(path);
    }
    const top = directory === home || (await exists(join(directory, '.git')));
    if (top || dirname(directory) === directory) return undefined;
  }
}

/** A file of another user could redirect downloads; root's own files are as trusted as the program. */
export async function isOwn(path: string): Promise<boolean> {
  try {
    const found = await stat(path);
    const user = geteuid?.();
    return found.isFile() && (user === undefined || found.uid === user || found.uid === 0);
  } catch {
    return false;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function hasModeldlKey(path: string): Promise<boolean> {
  // A pipe would be waited for.
  if (!(await isFile(path))) return false;
  try {
    const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof parsed === 'object' && parsed !== null && 'modeldl' in parsed;
  } catch {
    return false;
  }
}

async function readConfigFile(path: string, kind: ConfigFile['kind']): Promise<ReadFile> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    throw new ModeldlError('CONFIG', `Cannot read the configuration file: ${path}`, {
      hint:
        kind === 'named'
          ? 'check the path in `--config` or `MODELDL_CONFIG`'
          : 'check who may read it, or move it away',
      cause: error,
      details: { file: path },
    });
  }
  return { path, kind, content, parsed: parseFile(path, content) };
}

/** @throws ModeldlError CONFIG, with the place */
export function parseFile(path: string, content: string): unknown {
  try {
    if (path.endsWith('package.json')) {
      const manifest: unknown = JSON.parse(content);
      return typeof manifest === 'object' && manifest !== null && 'modeldl' in manifest
        ? manifest.modeldl
        : {};
    }
    // Not its loader of JSON: that one's errors hold a coloured piece of the file.
    if (path.endsWith('.json')) return JSON.parse(content) as unknown;
    return (defaultLoaders['.yaml'](path, content) as unknown) ?? {};
  } catch (error) {
    throw new ModeldlError('CONFIG', `Cannot parse the configuration file: ${path}`, {
      hint: whatIsWrong(path, content, error),
      cause: error,
      details: { file: path },
    });
  }
}

const yamlError = v.object({
  reason: v.string(),
  mark: v.object({ line: v.number(), column: v.number() }),
});

/** What a parser says, and where when it tells; lines and columns count from 1. */
function whatIsWrong(path: string, content: string, error: unknown): string {
  const said = (format: string, what: string, line?: number, column?: number): string =>
    line === undefined
      ? `correct the ${format}: ${what}`
      : `correct the ${format} at line ${line}, column ${column}: ${what}`;
  const yaml = v.safeParse(yamlError, error);
  if (yaml.success) {
    const { reason, mark } = yaml.output;
    return said('YAML', reason, mark.line + 1, mark.column + 1);
  }
  const reason = jsonFault(error);
  const what = reason.replace(/(?: in JSON)? at position .*$/, '');
  const position = /at position (\d+)/.exec(reason)?.[1];
  const format = path.endsWith('.json') ? 'JSON' : 'YAML';
  if (position === undefined) return said(format, what);
  const before = content.slice(0, Number(position)).split('\n');
  return said(format, what, before.length, (before.at(-1)?.length ?? 0) + 1);
}

/** Of a file with aliases, which may stand for more than it holds. */
const MAX_VALUES = 100_000;

/** Of what an alias stands for every time, up to the bound. */
function countValues(value: unknown, count = 0): number {
  if (typeof value !== 'object' || value === null) return count + 1;
  let total = count + 1;
  for (const inner of Object.values(value)) {
    if (total > MAX_VALUES) break;
    total = countValues(inner, total);
  }
  return total;
}

/** Every value with its key, those in lists too. */
function* values(parsed: unknown): Generator<readonly [string, unknown]> {
  for (const [key, value] of leaves(parsed)) {
    if (!Array.isArray(value)) yield [key, value];
    else
      for (const [at, item] of value.entries()) {
        for (const [below, inner] of values(item))
          yield [`${key}.${at}${below === '' ? '' : `.${below}`}`, inner];
      }
  }
}

/** @throws ModeldlError CONFIG naming the key */
export function refuseTokens(path: string, kind: ConfigFile['kind'], parsed: unknown): void {
  if (countValues(parsed) > MAX_VALUES) {
    throw new ModeldlError('CONFIG', `The file stands for more than ${MAX_VALUES} values: ${path}`, {
      hint: 'write out what its aliases repeat',
      details: { file: path },
    });
  }
  for (const [key, value] of values(parsed)) {
    const names = /\.\d+(\.|$)/.test(key) ? TOKEN_NAME : TOKEN_KEY;
    const looksSecret = names.test(key) || (typeof value === 'string' && TOKEN_VALUE.test(value));
    if (!looksSecret) continue;
    throw new ModeldlError(
      'CONFIG',
      `A ${kind === 'user' ? 'configuration' : 'project'} file must not hold a token: \`${key}\` in ${path}`,
      {
        hint: 'remove it, revoke that token if the file was shared, and use `modeldl login` or an environment variable',
        details: { file: path, key },
      },
    );
  }
}

/**
 * What a file holds, checked.
 * @param setting key whose value is about to be written, so that the file does not have it yet
 * @throws ModeldlError CONFIG naming file and key
 */
export function checkConfig(
  path: string,
  kind: ConfigFile['kind'],
  parsed: unknown,
  schema: ConfigSchema,
  setting?: string,
): Config {
  refuseTokens(path, kind, parsed);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ModeldlError('CONFIG', `Expected keys with values in the configuration file: ${path}`, {
      hint: 'for example `{ "convert": { "precision": "fp16" } }`',
      details: { file: path },
    });
  }
  const result = v.safeParse(schema, parsed);
  if (!result.success) throw schemaError(path, result.issues[0], (key) => nearestKey(key, schema), setting);
  return result.output;
}

/** What is wrong in the part of a union that was meant: an entry that is no text was meant as an object. */
function meantIssue(issue: v.BaseIssue<unknown>): {
  readonly key: string;
  readonly issue: v.BaseIssue<unknown>;
} {
  const key = v.getDotPath(issue) ?? '';
  const inner = issue.type === 'union' ? issue.issues?.find(({ path }) => path !== undefined) : undefined;
  if (inner === undefined) return { key, issue };
  const below = meantIssue(inner);
  return { key: `${key}.${below.key}`, issue: below.issue };
}

/**
 * @param nearest the known key that was probably meant
 * @param setting key whose value the file does not have yet
 */
export function schemaError(
  path: string,
  outer: v.BaseIssue<unknown>,
  nearest: (key: string) => string,
  setting?: string,
): ModeldlError {
  const { key, issue } = meantIssue(outer);
  const isSetting =
    setting !== undefined && (`${key}.`.startsWith(`${setting}.`) || `${setting}.`.startsWith(`${key}.`));
  const place = isSetting ? '' : ` in ${path}`;
  const details = isSetting ? { key } : { file: path, key };
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    return new ModeldlError('CONFIG', `Unknown key \`${key}\`${place}`, {
      hint: `the nearest known key is \`${nearest(key)}\``,
      details,
    });
  }
  const isList = issue.type === 'array';
  const expected =
    issue.type === 'regex' ? issue.message : isList ? 'a list' : (issue.expected ?? 'another value');
  return new ModeldlError(
    'CONFIG',
    `Wrong value for \`${key}\`${place}: expected ${expected}, got ${issue.received}`,
    {
      hint: isList
        ? `write the list as JSON, such as \`[${typeof issue.input === 'string' ? issue.received : '"…"'}]\``
        : isSetting
          ? 'nothing was changed; README.md lists the settings and what they take'
          : 'correct the value, or remove the key to have its default',
      details,
    },
  );
}

async function requireTrust(
  { path, content }: ReadFile,
  config: Config,
  configDir: string,
  hubs: readonly HubKeys[],
): Promise<void> {
  const keys = leaves(config)
    .map(([key]) => key)
    .filter((key) => needsTrust(key, hubs));
  if (keys.length === 0 || (await isTrusted(configDir, path, contentDigest(content)))) return;
  throw new ModeldlError(
    'CONFIG',
    `This project file is not trusted yet, and sets more than conversions: ${path}`,
    {
      hint: `it sets ${keys.join(', ')}; read it, then run \`modeldl config trust\``,
      details: { file: path, keys },
    },
  );
}

export function contentDigest(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Paths in a file are relative to it; a Python without a slash is looked for on the PATH. */
function absolutePaths(config: Config, directory: string): Config {
  const { cacheDir, cache, caFile, toolchains } = config;
  const program = (name: string): string => (/[\\/]/.test(name) ? resolve(directory, name) : name);
  const interpreters = Object.entries(toolchains?.interpreters ?? {});
  return {
    ...config,
    ...(cacheDir === undefined ? {} : { cacheDir: resolve(directory, cacheDir) }),
    ...(cache?.readFrom === undefined
      ? {}
      : { cache: { ...cache, readFrom: cache.readFrom.map((path) => resolve(directory, path)) } }),
    ...(caFile === undefined ? {} : { caFile: resolve(directory, caFile) }),
    toolchains: {
      ...toolchains,
      ...(toolchains?.python === undefined ? {} : { python: program(toolchains.python) }),
      ...(toolchains?.wheels === undefined ? {} : { wheels: resolve(directory, toolchains.wheels) }),
      interpreters: Object.fromEntries(interpreters.map(([name, python]) => [name, program(python)])),
    },
  };
}

function merge(base: Config, over: Config): Config {
  const hubs = { ...base.hubs };
  for (const [name, settings] of Object.entries(over.hubs ?? {})) hubs[name] = { ...hubs[name], ...settings };
  return {
    ...base,
    ...over,
    cache: { ...base.cache, ...over.cache },
    proxy: { ...base.proxy, ...over.proxy },
    convert: { ...base.convert, ...over.convert },
    toolchains: {
      ...base.toolchains,
      ...over.toolchains,
      interpreters: { ...base.toolchains?.interpreters, ...over.toolchains?.interpreters },
    },
    hubs,
    // Of another file, none is meant to be less: a user's own hubs are there in every project.
    ...(over.plugins === undefined ? {} : { plugins: [...(base.plugins ?? []), ...over.plugins] }),
  };
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

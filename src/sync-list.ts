/** The models that a project wants: read from the configuration or a startup list, and said as `pull` and `convert` take it. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, resolve, sep } from 'node:path';
import { closest } from 'fastest-levenshtein';
import * as v from 'valibot';
import type { LoadedConfig } from './config/load.js';
import { parseFile, refuseTokens, schemaError } from './config/load.js';
import { MODEL_KEYS, modelEntry, modelList, type ListedEntry, type ModelEntry } from './config/models.js';
import type { Config } from './config/schema.js';
import { DEFAULTS } from './config/schema.js';
import { format, parse, type Context } from './context.js';
import { isBelow } from './directories.js';
import { diskError, ModeldlError } from './errors.js';
import { requestKey, type LockedRequest } from './lock-file.js';
import { pathProblem } from './paths.js';
import type { ConvertOptions } from './plan.js';
import type { PullOptions } from './pull.js';
import { redactReference } from './redact.js';
import { partSettings, startupSettings, type StartupHubs, type StartupReading } from './startup.js';

/** A model that is wanted, and how. */
export interface Wanted {
  /** For messages: which entry it is. */
  readonly label: string;
  readonly name: string | null;
  /** As `pull` takes it. */
  readonly text: string;
  /** What a lock compares. */
  readonly request: LockedRequest;
  readonly pull: PullOptions;
  /** Present for a model that is converted. */
  readonly convert?: ConvertOptions;
}

export interface WantedList {
  /** That relative paths in the list start from. */
  readonly directory: string;
  /** The file that it is from. */
  readonly file: string;
  readonly lockFile: string;
  /** Whose lock is believed: beside a list that was found, the user's own, beside one that was named, anybody's. */
  readonly lockOf: 'user' | 'anybody';
  readonly models: readonly Wanted[];
}

export interface ListOptions {
  /** Absolute path of a startup list, in place of the configuration. */
  readonly file?: string;
  /** Absolute directory: what the microservice keeps models in. */
  readonly output?: string;
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
  readonly check?: boolean;
}

/** Of the configuration. */
const LOCK_FILE = 'modeldl.lock';

/** Bounds of the microservice's reader (core/startup_config.py). */
const MAX_FILE_BYTES = 1024 * 1024;
const MAX_MODELS = 100;
const MAX_PATH = 4096;

interface ReadList {
  readonly file: string;
  readonly lockFile: string;
  readonly entries: readonly ListedEntry[];
  /** It may come from a cloned repository. */
  readonly confined: boolean;
  readonly downloadPath?: string;
}

/** @throws ModeldlError CONFIG naming file and key, NOT_FOUND, DISK */
export async function readWanted(
  context: Context,
  loaded: LoadedConfig,
  startupHubs: StartupHubs,
  options: ListOptions,
): Promise<WantedList> {
  const list = options.file === undefined ? configured(loaded) : await readStartup(options.file);
  const at = { ...context, cwd: dirname(list.file) };
  const models: Wanted[] = [];
  for (const [index, entry] of list.entries.entries()) {
    const reader = { context: at, list, startupHubs, options, config: loaded.config };
    models.push(...(await wantedBy(reader, entry, index)));
  }
  refuseSharedOutputs(at, list.file, models);
  const { file, lockFile, confined } = list;
  return { directory: dirname(file), file, lockFile, lockOf: confined ? 'user' : 'anybody', models };
}

/** Two models in one directory would be mixed, or each write over the other; so would two of one name in a repository. */
function refuseSharedOutputs(context: Context, file: string, models: readonly Wanted[]): void {
  const places = models.flatMap((wanted) => {
    const { label, request, pull, convert } = wanted;
    const output = convert === undefined ? pull.output : convert.output;
    const key = requestKey(request);
    return output === undefined ? [] : [{ label, output, key, name: servedName(context, wanted) }];
  });
  for (const [index, one] of places.entries()) {
    const other = places
      .slice(0, index)
      .find(
        ({ key, output, name }) =>
          key !== one.key &&
          name === one.name &&
          (name === undefined ? contains(output, one.output) : output === one.output),
      );
    if (other === undefined) continue;
    const as = one.name === undefined ? '' : ` as ${one.name}`;
    throw new ModeldlError(
      'CONFIG',
      `${other.label} and ${one.label} are not the same, and both go to ${one.output}${as}: ${file}`,
      {
        hint: 'give each an `output` of its own, or a `download_path` in a startup list',
        details: { file, output: one.output },
      },
    );
  }
}

/** What a model is called in a repository of several; undefined for a copy that has its directory to itself. */
function servedName(context: Context, { text, convert }: Wanted): string | undefined {
  const { layout = 'plain', name, device, precision } = convert ?? {};
  if (layout === 'plain') return undefined;
  const served = name ?? parse(context, text).id;
  return layout === 'model-download' ? [device, precision, served].join(' ').toLowerCase() : served;
}

/** Is one of two directories the other, or in it? */
function contains(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other}${sep}`) || other.startsWith(`${one}${sep}`);
}

function configured({ files }: LoadedConfig): ReadList {
  const holder = [...files].reverse().find(({ config }) => config.models !== undefined);
  if (holder?.config.models === undefined) {
    throw new ModeldlError('CONFIG', 'No models are listed: the configuration has no `models`', {
      hint: 'add `models: [hf:org/name]` to modeldl.config.yaml, or name a startup list with `--file`',
      ...(files.length === 0 ? {} : { details: { file: files.at(-1)?.path ?? '', key: 'models' } }),
    });
  }
  return {
    file: holder.path,
    lockFile: join(dirname(holder.path), LOCK_FILE),
    entries: holder.config.models,
    confined: holder.kind === 'project',
  };
}

const startupSchema = v.strictObject({
  download_path: v.exactOptional(v.pipe(v.string(), v.nonEmpty(), v.maxLength(MAX_PATH))),
  parallel_downloads: v.exactOptional(v.boolean()),
  models: modelList,
});

async function readStartup(file: string): Promise<ReadList> {
  const parsed = parseFile(file, await startupText(file));
  refuseTokens(file, 'named', parsed);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ModeldlError('CONFIG', `Expected keys with values in the list of models: ${file}`, {
      hint: 'write `models:` with one entry for each, such as `- {name: org/name, hub: huggingface}`',
      details: { file },
    });
  }
  const said = Object.entries(withoutNulls(parsed)).map(([key, value]: [string, unknown]) => [
    key,
    key === 'models' && Array.isArray(value) ? value.map(entryWithoutNulls) : value,
  ]);
  const result = v.safeParse(startupSchema, Object.fromEntries(said));
  if (!result.success) throw schemaError(file, result.issues[0], nearest);
  const { models, download_path: downloadPath } = result.output;
  if (models.length > MAX_MODELS) throw tooLarge(file, `it lists more than ${MAX_MODELS} models`);
  const named = `${basename(file, extname(file))}.lock`;
  // Neither the list itself nor what belongs to the configuration beside it is written over.
  const isTaken = named === basename(file) || named === LOCK_FILE;
  const lockFile = join(dirname(file), isTaken ? `${basename(file)}.lock` : named);
  return {
    file,
    lockFile,
    entries: models,
    confined: true,
    ...(downloadPath === undefined ? {} : { downloadPath }),
  };
}

/** As the microservice reads a list: a key without a value is one that is not there. */
function withoutNulls(object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

function entryWithoutNulls(entry: unknown): unknown {
  return typeof entry === 'object' && entry !== null && !Array.isArray(entry) ? withoutNulls(entry) : entry;
}

async function startupText(file: string): Promise<string> {
  try {
    const found = await stat(file);
    if (!found.isFile()) {
      throw new ModeldlError('CONFIG', `Not a file: ${file}`, {
        hint: 'name the list of models with `--file`',
        details: { file },
      });
    }
    if (found.size > MAX_FILE_BYTES) throw tooLarge(file, `it has more than ${MAX_FILE_BYTES} bytes`);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof ModeldlError) throw error;
    const disk = diskError(error, file, 'read');
    if (disk instanceof ModeldlError) throw disk;
    throw new ModeldlError('CONFIG', `Cannot read the list of models: ${file}`, {
      hint: 'check the path after `--file`',
      cause: error,
      details: { file },
    });
  }
}

function tooLarge(file: string, why: string): ModeldlError {
  return new ModeldlError('CONFIG', `The list of models is too large, ${why}: ${file}`, {
    hint: 'divide it into several files',
    details: { file },
  });
}

function nearest(key: string): string {
  const [, entry, named = key] = /^(models\.\d+)\.(.+)$/.exec(key) ?? [];
  if (entry === undefined) return closest(key, ['models', 'download_path', 'parallel_downloads']);
  return `${entry}.${closest(named, [...MODEL_KEYS])}`;
}

interface Reader {
  readonly context: Context;
  readonly list: ReadList;
  readonly startupHubs: StartupHubs;
  readonly options: ListOptions;
  readonly config: Config;
}

async function wantedBy(reader: Reader, listed: ListedEntry, index: number): Promise<readonly Wanted[]> {
  const entry: ModelEntry = typeof listed === 'string' ? { reference: listed } : v.parse(modelEntry, listed);
  const shown = redactReference(entry.reference ?? entry.name ?? entry.type ?? '');
  const label = `models.${index} (${shown})`;
  const place = { reader, entry, label, key: `models.${index}` };
  const reading = readEntry(place);
  for (const note of reading.notes ?? []) tell(place, note);
  const used = reading.used ?? [];
  const said = startupSettings(entry.config ?? {}, used);
  const [refused] = said.refused;
  if (refused !== undefined) throw wrong(place, refused.key, 'has no counterpart in modeldl', refused.hint);
  const precision = agreed(
    place,
    'precision',
    used.includes('precision') ? undefined : entry.precision,
    said.precision,
  );
  const device = agreed(place, 'device', entry.device, said.device);
  const converts =
    entry.convert ??
    entry.is_ovms ??
    (reading.converts !== undefined ||
      (entry.precision !== undefined && !used.includes('precision')) ||
      entry.device !== undefined);
  const wanted: Wanted[] = [];
  for (const text of reading.references) {
    const chosen = { place, reading, text, precision, device, said, several: reading.references.length > 1 };
    wanted.push(converts ? await conversionOf(chosen) : await pullOf(chosen));
  }
  return wanted;
}

/** An entry on its way to what is wanted. */
interface Place {
  readonly reader: Reader;
  readonly entry: ModelEntry;
  readonly label: string;
  readonly key: string;
}

interface Chosen {
  readonly place: Place;
  readonly reading: StartupReading;
  readonly text: string;
  readonly precision: string | undefined;
  readonly device: string | undefined;
  readonly said: ReturnType<typeof startupSettings>;
  readonly several: boolean;
}

function wrong(place: Place, key: string, why: string, hint: string): ModeldlError {
  const { file } = place.reader.list;
  const at = `${place.key}.${key}`;
  return new ModeldlError('CONFIG', `\`${at}\` ${why}: ${file}`, { hint, details: { file, key: at } });
}

function tell({ reader, label }: Place, message: string): void {
  reader.context.emit({ type: 'warning', message: `${label}: ${message}` });
}

/** Which models an entry means, by its reference or by its hub. */
function readEntry(place: Place): StartupReading {
  const { entry, reader } = place;
  const { hub, name, reference, revision, type, precision, config = {} } = entry;
  if (reference !== undefined) {
    for (const [key, value] of Object.entries({ hub, revision })) {
      if (value === undefined) continue;
      throw wrong(place, key, 'stands beside `reference`, which says it too', `leave out \`${key}\``);
    }
    return {
      references: [reference],
      directory: () => '',
      ...(entry.unpack === true ? { unpack: true } : {}),
    };
  }
  if (hub === undefined) {
    throw wrong(
      place,
      name === undefined ? 'reference' : 'hub',
      'is missing',
      'write `hub` and `name`, or `reference`',
    );
  }
  const asked = hub.toLowerCase();
  const own = reader.startupHubs[asked];
  if (own !== undefined) {
    const converts = entry.convert ?? entry.is_ovms ?? false;
    const read = own({ name, hub: asked, type, revision, precision, converts, config });
    if ('references' in read) return read;
    throw wrong(place, 'hub', `is ${hub}, and ${read.refused}`, read.hint);
  }
  const known = reader.context.hubs.find((candidate) => candidate.name === asked);
  if (known === undefined) {
    const names = [
      ...new Set([...Object.keys(reader.startupHubs), ...reader.context.hubs.map((one) => one.name)]),
    ];
    throw wrong(place, 'hub', `is unknown: ${hub}`, `the nearest known one is \`${closest(asked, names)}\``);
  }
  if (name === undefined) throw wrong(place, 'name', 'is missing', 'write the model’s name at its hub');
  const parts = { hub: known.name, id: name, ...(revision === undefined ? {} : { revision }) };
  return {
    references: [format(reader.context, parts)],
    directory: () => `${known.name}/${name.replaceAll('/', '_')}`,
  };
}

/** Two places for one setting must not differ. */
function agreed(
  place: Place,
  key: 'precision' | 'device',
  own: string | undefined,
  below: string | undefined,
): string | undefined {
  if (own !== undefined && below !== undefined && own.toLowerCase() !== below.toLowerCase()) {
    throw wrong(place, key, `is ${own}, and ${below} in \`config\``, 'leave out one of them');
  }
  return own ?? below;
}

/** What of the files is wanted. */
function selectionOf({ place: { entry }, reading }: Chosen): PullOptions {
  const { include, exclude, allFiles, quant } = entry;
  const unpack = entry.unpack ?? reading.unpack;
  return {
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(allFiles === undefined ? {} : { allFiles }),
    ...(quant === undefined ? {} : { quant }),
    ...(unpack === undefined ? {} : { unpack }),
  };
}

async function pullOf(chosen: Chosen): Promise<Wanted> {
  const { place, said, precision, device, text, reading } = chosen;
  const { entry, label } = place;
  const ignored = [
    ...(precision === undefined ? [] : ['precision']),
    ...(device === undefined ? [] : ['device']),
    ...(entry.type === undefined || reading.references[0]?.includes(entry.type) === true ? [] : ['type']),
    ...(said.overwrite === undefined ? [] : ['overwrite_models']),
    ...Object.keys(said.settings),
    ...CONVERSION_KEYS.filter((key) => entry[key] !== undefined),
  ];
  if (ignored.length > 0) tell(place, `not used, since nothing is converted: ${ignored.join(', ')}`);
  const selection = selectionOf(chosen);
  const output = await outputOf(chosen, reading.directory(text));
  return {
    label,
    name: entry.name ?? null,
    text,
    request: {
      reference: lockedText(place, text, selection.unpack),
      ...selectionRequest(selection),
    },
    pull: { ...selection, ...(output === undefined ? {} : { output }) },
  };
}

/** Keys that only conversions heed. */
const CONVERSION_KEYS = [
  'task',
  'converter',
  'toolchain',
  'calibration',
  'settings',
  'prebuilt',
  'layout',
  'ovmsVersion',
] as const;

async function conversionOf(chosen: Chosen): Promise<Wanted> {
  const { place, said, text, reading } = chosen;
  const { entry, reader, label } = place;
  const { options, config } = reader;
  const device =
    chosen.device ?? (entry.is_ovms === true ? 'CPU' : config.convert?.device) ?? DEFAULTS.convert.device;
  const precision = precisionFor(chosen, device);
  const given = Object.fromEntries(
    Object.entries({ ...servedSettings(chosen), ...entry.settings }).map(([key, value]) => [
      key,
      String(value),
    ]),
  );
  const isMicroservice = options.output !== undefined && entry.output === undefined;
  const weights = isMicroservice && reading.converts?.precision !== undefined;
  const layout = entry.layout ?? (isMicroservice && !weights ? 'model-download' : undefined);
  const serves = layout !== undefined && layout !== 'plain';
  const { serving, conversion } = partSettings(
    entry.type === undefined || entry.type === 'vision' ? given : { 'ovms-task': entry.type, ...given },
  );
  if (!serves && Object.keys(serving).length > 0) {
    const keys = Object.keys(serving).map((key) => (key === 'ovms-task' ? 'type' : key));
    tell(
      place,
      `not used without \`--output\`, since they say how a server serves the model: ${keys.join(', ')}`,
    );
  }
  const settings = serves ? { ...conversion, ...serving } : conversion;
  const base = serves
    ? ''
    : weights
      ? `${reading.directory(text)}/${precision.toUpperCase()}`
      : reading.directory(text);
  const output = await outputOf(chosen, base);
  const confined = reader.list.confined && entry.output !== undefined ? reader.context.cwd : undefined;
  const selection = selectionOf(chosen);
  const calibration =
    entry.calibration === undefined ? undefined : resolve(reader.context.cwd, entry.calibration);
  const { task, converter, toolchain, ovmsVersion } = entry;
  const prebuilt = entry.prebuilt ?? config.convert?.prebuilt ?? DEFAULTS.convert.prebuilt;
  const same = {
    precision,
    device,
    ...(task === undefined ? {} : { task }),
    ...(converter === undefined ? {} : { converter }),
    ...(toolchain === undefined ? {} : { toolchain }),
    ...(Object.keys(settings).length === 0 ? {} : { settings }),
    ...(serves ? { layout } : {}),
    prebuilt,
  };
  const { trustRemoteCode, trustPickle } = options;
  const check = options.check ?? config.convert?.check;
  const overwrite = said.overwrite === true || isMicroservice;
  const servedAs = serves && entry.reference !== undefined ? entry.name : undefined;
  return {
    label,
    name: entry.name ?? null,
    text,
    request: {
      reference: lockedText(place, text, selection.unpack),
      ...selectionRequest(selection),
      conversion: {
        ...same,
        ...(entry.calibration === undefined ? {} : { calibration: entry.calibration }),
      },
    },
    pull: selection,
    convert: {
      ...selection,
      ...same,
      settings,
      ...(calibration === undefined ? {} : { calibration }),
      ...(output === undefined ? {} : { output }),
      ...(confined === undefined ? {} : { confined }),
      ...(serves && ovmsVersion !== undefined ? { ovmsVersion } : {}),
      ...(servedAs === undefined ? {} : { name: servedAs }),
      ...(overwrite && serves ? { overwrite: true } : {}),
      ...(check === undefined ? {} : { check }),
      ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
      ...(trustPickle === undefined ? {} : { trustPickle }),
    },
  };
}

/** Settings of `config`, but for one that the microservice hands to every model and drops where nothing takes it. */
function servedSettings({ place, said }: Chosen): Readonly<Record<string, string>> {
  const { cache_size: dropped, ...rest } = said.settings;
  if (dropped === undefined || !/^(embeddings|rerank)(_ov)?$/.test(place.entry.type ?? ''))
    return said.settings;
  tell(place, `not used, since a server of ${place.entry.type ?? 'these'} has no use for it: cache_size`);
  return rest;
}

/** The microservice makes int8, and int4 of everything for the NPU, whatever its `config` says. */
function precisionFor({ place, reading, precision: named }: Chosen, device: string): string {
  const { entry, reader } = place;
  const isNpu = device.toUpperCase() === 'NPU';
  const isForced = isNpu && entry.is_ovms === true && entry.precision === undefined;
  if (named !== undefined && (!isForced || named === 'int4')) return named;
  if (reading.converts?.precision !== undefined) return reading.converts.precision;
  if (entry.is_ovms !== true) return reader.config.convert?.precision ?? DEFAULTS.convert.precision;
  if (!isNpu) return 'int8';
  const instead = named === undefined ? '' : ` instead of ${named}`;
  tell(
    place,
    `int4 is made${instead}, as the microservice makes it for the NPU; \`precision\` beside \`name\` names another`,
  );
  return 'int4';
}

/** Where a copy goes: what the entry says, else below the directory of `--output`. */
async function outputOf(chosen: Chosen, below: string): Promise<string | undefined> {
  const { place } = chosen;
  const { entry, reader, key } = place;
  const { list, options, context } = reader;
  const downloadPath = entry.download_path ?? list.downloadPath;
  if (downloadPath !== undefined) {
    const problem = isAbsolute(downloadPath)
      ? 'it is absolute'
      : pathProblem(downloadPath.replace(/^\.\/|\/$/g, ''), {
          caseInsensitive: true,
          normalizing: true,
          windows: true,
        });
    if (problem !== undefined && downloadPath !== '.') {
      const at = entry.download_path === undefined ? 'download_path' : `${key}.download_path`;
      throw new ModeldlError(
        'CONFIG',
        `\`${at}\` leads out of the directory of models, ${problem}: ${list.file}`,
        {
          hint: 'write a path below it, such as `chat/models`; `--output` names the directory itself',
          details: { file: list.file, key: at },
        },
      );
    }
  }
  if (entry.output !== undefined) {
    const output = resolve(context.cwd, entry.output);
    if (list.confined && !(await isBelow(context.cwd, output))) {
      throw wrong(
        place,
        'output',
        'leads out of the project',
        'name a directory below the file, or use `--output`',
      );
    }
    return output;
  }
  if (options.output === undefined) {
    if (entry.download_path !== undefined) tell(place, 'not used without `--output`: download_path');
    return undefined;
  }
  return join(options.output, downloadPath ?? '.', below);
}

/** A reference as a lock has it: canonical; a local one as it is written, since a lock goes along with its project. */
function lockedText(place: Place, text: string, unpack: boolean | undefined): string {
  const { context } = place.reader;
  const reference = parse(context, text, unpack);
  if (reference.conversion !== undefined) {
    const hint = 'write `precision` and `device` beside it, or leave out what follows `+`';
    throw wrong(place, 'reference', `names a stored conversion, ${redactReference(text)}`, hint);
  }
  const isLocal = context.hubs.some(({ name, syntax }) => name === reference.hub && syntax.paths === true);
  return isLocal ? text : format(context, reference);
}

function selectionRequest({
  include,
  exclude,
  allFiles,
  quant,
  unpack,
}: PullOptions): Omit<LockedRequest, 'reference'> {
  return {
    ...(include === undefined ? {} : { include: [...include] }),
    ...(exclude === undefined ? {} : { exclude: [...exclude] }),
    ...(allFiles === undefined ? {} : { allFiles }),
    ...(quant === undefined ? {} : { quant }),
    ...(unpack === undefined ? {} : { unpack }),
  };
}

/**
 * The configuration: its keys, their defaults, and which of them a project file may set only after it was trusted.
 * `modeldl.config.schema.json` is made of this (`npm run schema`).
 */
import { closest } from 'fastest-levenshtein';
import * as v from 'valibot';
import { PRECISIONS } from '../converter.js';
import type { HubSetting } from '../hub.js';
import { MODEL_KEYS, modelList } from './models.js';
import { DURATION, RATE } from './units.js';

const text = v.pipe(v.string(), v.nonEmpty());

export const ADOPT = ['auto', 'never'] as const;
export const PREBUILT = ['tell', 'prefer', 'never'] as const;

/** A path that says so by its first characters, or the name of an npm package, which npm gave its version. */
const PLUGIN =
  /^(\.{0,2}\/.+|\.{1,2}|[A-Za-z]:[\\/].+|(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*)$/;

/** Credentials for an index are in pip's configuration or `.netrc`. */
const TORCH = /^(auto|cpu|index|https?:\/\/[^@\s]+)$/;

const ENTRIES = {
  $schema: v.exactOptional(v.string()),
  cacheDir: v.exactOptional(
    v.pipe(text, v.description('Where models are stored; relative to the file that sets it')),
  ),
  cache: v.exactOptional(
    v.strictObject({
      readFrom: v.exactOptional(
        v.pipe(
          v.array(text),
          v.description(
            'Caches of others below the own one, nearest first: read, never written to; relative to the file that sets them',
          ),
        ),
      ),
    }),
  ),
  offline: v.exactOptional(v.pipe(v.boolean(), v.description('Open no connection'))),
  jobs: v.exactOptional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(64),
      v.description('Large files fetched at once'),
    ),
  ),
  connections: v.exactOptional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(16),
      v.description('Most connections for one large file'),
    ),
  ),
  limitRate: v.exactOptional(
    v.pipe(
      v.string(),
      v.regex(RATE, 'a size above 0 such as 20M'),
      v.description('Bytes per second over everything, such as 20M'),
    ),
  ),
  maxWait: v.exactOptional(
    v.pipe(
      v.string(),
      v.regex(DURATION, 'a duration such as 10m'),
      v.description('How long to wait for other processes, such as 10m'),
    ),
  ),
  durability: v.exactOptional(
    v.pipe(
      v.picklist(['lazy', 'flush', 'trust']),
      v.description(
        'What a power cut may cost. lazy: models stored just before it are hashed once more; flush: nothing, by waiting for the disk on every pull; trust: nothing is hashed again',
      ),
    ),
  ),
  adopt: v.exactOptional(
    v.pipe(
      v.picklist(ADOPT),
      v.description(
        'auto: what is in the Hugging Face cache or an Ollama store already is linked or copied from there, and hashed, instead of fetched; never: it is fetched',
      ),
    ),
  ),
  models: v.exactOptional(
    v.pipe(modelList, v.description('The models that `modeldl sync` brings into the store')),
  ),
  caFile: v.exactOptional(
    v.pipe(text, v.description('PEM file with extra certificates; relative to the file that sets it')),
  ),
  proxy: v.exactOptional(
    v.strictObject({
      http: v.exactOptional(v.pipe(v.string(), v.description('Proxy for http addresses'))),
      https: v.exactOptional(v.pipe(v.string(), v.description('Proxy for https addresses'))),
      no: v.exactOptional(v.pipe(v.string(), v.description('Hosts asked without a proxy, comma-separated'))),
    }),
  ),
  convert: v.exactOptional(
    v.strictObject({
      precision: v.exactOptional(
        v.pipe(v.picklist(PRECISIONS), v.description('Precision of conversions that name none')),
      ),
      device: v.exactOptional(
        v.pipe(text, v.description('CPU, GPU, NPU, AUTO or HETERO:GPU,CPU, for conversions that name none')),
      ),
      check: v.exactOptional(v.pipe(v.boolean(), v.description('Load and run the result of a conversion'))),
      prebuilt: v.exactOptional(
        v.pipe(
          v.picklist(PREBUILT),
          v.description(
            'A conversion that is published already. tell: named in a note; prefer: taken instead of converting; never: not looked for',
          ),
        ),
      ),
    }),
  ),
  toolchains: v.exactOptional(
    v.strictObject({
      install: v.exactOptional(
        v.pipe(v.picklist(['auto', 'never']), v.description('never: a missing toolchain is an error')),
      ),
      python: v.exactOptional(v.pipe(text, v.description('Python that environments are made with'))),
      interpreters: v.exactOptional(
        v.pipe(
          v.record(v.string(), text),
          v.description('Python to use as it is instead of an environment, by toolchain'),
        ),
      ),
      torch: v.exactOptional(
        v.pipe(
          v.string(),
          v.regex(TORCH, 'auto, cpu, index or an address without user information'),
          v.description(
            'Where PyTorch comes from. cpu: its own index of CPU wheels; index: the package index, on Linux with libraries for GPUs; auto: the first that can be reached; or the address of another index of CPU wheels',
          ),
        ),
      ),
      wheels: v.exactOptional(
        v.pipe(
          text,
          v.description(
            'Folder of wheels to install from, without network; relative to the file that sets it',
          ),
        ),
      ),
    }),
  ),
  plugins: v.exactOptional(
    v.pipe(
      v.array(v.pipe(v.string(), v.regex(PLUGIN, 'a package, or a path such as ./plugin.js'))),
      v.description(
        'Hubs and converters of others: npm packages, or modules by a path relative to the file that names them. Those of the user and of a project add up',
      ),
    ),
  ),
};

export type HubValue = string | boolean | number | string[];
/** By hub and key. */
export type HubValues = Record<string, Record<string, HubValue | undefined> | undefined>;

/** What a hub that is not known may be set to: one of a plugin, which is not loaded. */
const OTHER_HUB = v.pipe(
  v.record(v.string(), v.union([v.string(), v.boolean(), v.number(), v.array(v.string())])),
  v.description('A hub of a plugin, with the settings that it declares'),
);

const HUB_VALUES: Readonly<Record<HubSetting['type'], v.GenericSchema<HubValue>>> = {
  string: text,
  boolean: v.boolean(),
  number: v.number(),
  'string[]': v.array(text),
};

/** The part of a hub that the configuration knows: what may stand below `hubs.<name>`. */
export interface HubKeys {
  readonly name: string;
  readonly title: string;
  readonly settings?: Readonly<Record<string, HubSetting>>;
  readonly servedBy?: string;
  readonly syntax?: { readonly paths?: boolean };
  readonly holding?: object;
}

/** Of every hub whose models come over the network from a place that may have others beside it. */
const MIRRORS = {
  description:
    'Other sources of its models, asked in this order before the hub itself: addresses, and registries as oci:host/prefix',
  type: 'string[]',
  trust: true,
} as const satisfies HubSetting;

function settingsOf({ settings = {}, servedBy, syntax, holding }: HubKeys): NonNullable<HubKeys['settings']> {
  const isAlone = servedBy !== undefined || syntax?.paths === true || holding !== undefined;
  return isAlone ? settings : { ...settings, mirrors: MIRRORS };
}

/**
 * The schema with the settings of these hubs. `open` to those of hubs that are not known, it is what editors check with,
 * and what holds while a plugin is not loaded.
 */
export function configSchema(hubs: readonly HubKeys[], { open = false } = {}) {
  const entries = hubs.map((hub) => {
    const { name, title } = hub;
    const keys = Object.entries(settingsOf(hub)).map(([key, { type, description }]) => {
      return [key, v.exactOptional(v.pipe(HUB_VALUES[type], v.description(description)))] as const;
    });
    return [
      name,
      v.exactOptional(v.pipe(v.strictObject(Object.fromEntries(keys)), v.description(title))),
    ] as const;
  });
  const known = Object.fromEntries(entries);
  const settings: v.GenericSchema<HubValues> = open
    ? v.objectWithRest(known, OTHER_HUB)
    : v.strictObject(known);
  return v.strictObject({ ...ENTRIES, hubs: v.exactOptional(settings) });
}

export type ConfigSchema = ReturnType<typeof configSchema>;
export type Config = v.InferOutput<ConfigSchema>;

/** What holds where nothing is set; the cache's place depends on the platform. */
export const DEFAULTS = {
  offline: false,
  jobs: 4,
  connections: 16,
  maxWait: '10m',
  durability: 'lazy',
  adopt: 'auto',
  convert: { precision: 'int8', device: 'CPU', check: true, prebuilt: 'tell' },
  toolchains: { install: 'auto', torch: 'auto' },
} as const satisfies Config;

/**
 * What a project file may set by itself (cli.md). All else decides where bytes and code come from, or is how a user wants
 * this machine treated: a cloned repository must not change it unasked.
 */
const PROJECT_KEYS = [/^\$schema$/, /^convert\./, /^models$/];

/** Is the value of a key a path? A program's name alone is looked for on the PATH. */
export function isPath(key: string, value: string): boolean {
  if (/^(cacheDir|caFile|toolchains\.wheels)$/.test(key)) return value !== '';
  return /^toolchains\.(python|interpreters\..+)$/.test(key) && /[\\/]/.test(value);
}

/** May a project file set this key only after it was trusted? Sources always, other settings of a hub by its word. */
export function needsTrust(key: string, hubs: readonly HubKeys[]): boolean {
  const [, hub, setting] = /^hubs\.([^.]+)\.(.+)$/.exec(key) ?? [];
  if (hub === undefined || setting === undefined) return !PROJECT_KEYS.some((pattern) => pattern.test(key));
  const declared = hubs.find(({ name }) => name === hub)?.settings?.[setting];
  return setting === 'endpoint' || setting === 'mirrors' || declared?.trust === true;
}

/** Every leaf of a configuration as `a.b.c` with its value. Arrays are leaves. */
export function leaves(config: unknown, prefix = ''): readonly (readonly [string, unknown])[] {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return [[prefix, config]];
  return Object.entries(config).flatMap(([key, value]) =>
    leaves(value, prefix === '' ? key : `${prefix}.${key}`),
  );
}

/** What is walked to find the keys: optional entries, objects, names of the user's choice, and values. */
type Node =
  | v.GenericSchema
  | v.ExactOptionalSchema<v.GenericSchema, undefined>
  | v.StrictObjectSchema<v.ObjectEntries, undefined>
  | v.ObjectWithRestSchema<v.ObjectEntries, v.GenericSchema, undefined>
  | v.RecordSchema<v.GenericSchema<string>, v.GenericSchema, undefined>;

export interface DescribedKey {
  /** As `a.b.c`; `<name>` stands for a name that the user chooses. */
  readonly key: string;
  readonly description: string;
  /** Of a key that takes one of a few. */
  readonly values: readonly string[];
}

export function describedKeys(schema: Node, prefix = ''): readonly DescribedKey[] {
  const below = (key: string): string => (prefix === '' ? key : `${prefix}.${key}`);
  if (v.isOfType('exact_optional', schema)) return describedKeys(schema.wrapped, prefix);
  const description = v.getDescription(schema) ?? '';
  if (v.isOfType('record', schema)) return [{ key: below('<name>'), description, values: [] }];
  if (!v.isOfType('strict_object', schema) && !v.isOfType('object_with_rest', schema))
    return [{ key: prefix, description, values: valuesOf(schema) }];
  return Object.entries(schema.entries).flatMap(([key, entry]) => describedKeys(entry, below(key)));
}

function valuesOf(
  schema: v.GenericSchema | v.PicklistSchema<readonly string[], undefined>,
): readonly string[] {
  if (v.isOfType('picklist', schema)) return schema.options;
  return v.isOfType('boolean', schema) ? ['true', 'false'] : [];
}

/** The keys of a schema as `a.b.c`. */
export function knownKeys(schema: Node): readonly string[] {
  return describedKeys(schema).map(({ key }) => key);
}

/** The key that was probably meant: one that ends alike, else the nearest of the same depth. */
export function nearestKey(key: string, schema: ConfigSchema): string {
  const [, entry, named] = /^(models\.\d+)\.(.+)$/.exec(key) ?? [];
  if (entry !== undefined && named !== undefined) return `${entry}.${closest(named, [...MODEL_KEYS])}`;
  const known = knownKeys(schema).filter((candidate) => candidate !== '$schema');
  const last = key.slice(key.lastIndexOf('.') + 1);
  const alike = known.filter((candidate) => candidate.endsWith(`.${last}`));
  if (alike.length === 1 && alike[0] !== undefined) return alike[0];
  const depth = key.split('.').length;
  const level = new Set(known.map((candidate) => candidate.split('.').slice(0, depth).join('.')));
  return closest(key, [...level]);
}

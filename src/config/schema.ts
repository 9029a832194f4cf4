/** The configuration: its keys, and which of them a project file may set only after it was trusted. */
import * as v from 'valibot';

const text = v.pipe(v.string(), v.nonEmpty());
const count = v.pipe(v.number(), v.integer(), v.minValue(1));

/** Settings that every hub has; a hub's own come from its `settings`. */
const hubSettings = v.record(v.string(), v.union([v.string(), v.boolean(), v.number(), v.array(v.string())]));

export const configSchema = v.strictObject({
  $schema: v.exactOptional(v.string()),
  /** Absolute, or relative to the file that sets it. */
  cacheDir: v.exactOptional(text),
  offline: v.exactOptional(v.boolean()),
  /** Large files at once. */
  jobs: v.exactOptional(v.pipe(count, v.maxValue(64))),
  /** `20M`: bytes per second. */
  limitRate: v.exactOptional(text),
  /** `10m`: how long to wait for other processes. */
  maxWait: v.exactOptional(text),
  durability: v.exactOptional(v.picklist(['lazy', 'flush', 'trust'])),
  /** PEM file with extra certificates. */
  caFile: v.exactOptional(text),
  proxy: v.exactOptional(
    v.strictObject({ http: v.exactOptional(text), https: v.exactOptional(text), no: v.exactOptional(text) }),
  ),
  convert: v.exactOptional(
    v.strictObject({
      precision: v.exactOptional(text),
      device: v.exactOptional(text),
      check: v.exactOptional(v.boolean()),
    }),
  ),
  hubs: v.exactOptional(v.record(v.string(), hubSettings)),
  toolchains: v.exactOptional(
    v.strictObject({
      install: v.exactOptional(v.picklist(['auto', 'never'])),
      /** Interpreter that environments are made with. */
      python: v.exactOptional(text),
      /** Interpreters to use as they are, by toolchain. */
      interpreters: v.exactOptional(v.record(v.string(), text)),
    }),
  ),
});

export type Config = v.InferOutput<typeof configSchema>;

/** Keys that decide where bytes and code come from (cli.md): a cloned repository must not set them unasked. */
const TRUST_KEYS = [/^caFile$/, /^proxy\b/, /^cacheDir$/, /^toolchains\.(python|interpreters)\b/];

/** @param hubTrustKeys `<hub>.<key>` of hub settings that need trust beside `endpoint` and `mirrors` */
export function needsTrust(key: string, hubTrustKeys: ReadonlySet<string>): boolean {
  if (TRUST_KEYS.some((pattern) => pattern.test(key))) return true;
  const hubKey = /^hubs\.(.+)$/.exec(key)?.[1];
  return hubKey !== undefined && (/\.(endpoint|mirrors)$/.test(hubKey) || hubTrustKeys.has(hubKey));
}

/** Every leaf of a configuration as `a.b.c` with its value. Arrays are leaves. */
export function leaves(config: unknown, prefix = ''): readonly (readonly [string, unknown])[] {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return [[prefix, config]];
  return Object.entries(config).flatMap(([key, value]) =>
    leaves(value, prefix === '' ? key : `${prefix}.${key}`),
  );
}

/** The keys of the schema, for naming the nearest one. */
export const KNOWN_KEYS: readonly string[] = [
  'cacheDir',
  'offline',
  'jobs',
  'limitRate',
  'maxWait',
  'durability',
  'caFile',
  'proxy.http',
  'proxy.https',
  'proxy.no',
  'convert.precision',
  'convert.device',
  'convert.check',
  'toolchains.install',
  'toolchains.python',
];

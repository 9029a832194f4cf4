/**
 * The startup list of the Model Download microservice in modeldl's words: what an entry asks for, which of its settings
 * have a counterpart, and what is said of the others. Which hub is meant by its names, `hubs/startup.ts` knows. Pure.
 */
import * as v from 'valibot';
import { settingsOf } from './layout/settings.js';
import { OVMS_TASKS } from './layout/tasks.js';

/** What a table of hubs is asked about: an entry, its texts as they stand. */
export interface StartupEntry {
  readonly name: string | undefined;
  /** Lower case. */
  readonly hub: string;
  readonly type: string | undefined;
  readonly revision: string | undefined;
  readonly precision: string | undefined;
  readonly converts: boolean;
  readonly config: Readonly<Record<string, unknown>>;
}

/** How a hub of the microservice reads an entry. */
export interface StartupReading {
  /** As `pull` takes them: an entry may name several models. */
  readonly references: readonly string[];
  /** Where the microservice puts a download, below the download path. */
  readonly directory: (reference: string) => string;
  /** The hub always converts; with this precision, unless another is named. */
  readonly converts?: { readonly precision?: string };
  readonly unpack?: boolean;
  /** Keys of `config` that are in the references already. */
  readonly used?: readonly string[];
  /** Where it differs from what the microservice does. */
  readonly notes?: readonly string[];
}

/** Why an entry cannot be read. */
export interface StartupRefusal {
  readonly refused: string;
  readonly hint: string;
}

export type StartupHub = (entry: StartupEntry) => StartupReading | StartupRefusal;

/** By the microservice's names. */
export type StartupHubs = Readonly<Record<string, StartupHub>>;

/** What `config` and its `openvino_config` ask for, once they are one. */
export interface StartupSettings {
  readonly precision?: string;
  readonly device?: string;
  readonly calibration?: string;
  readonly overwrite?: boolean;
  /** For the converter and the server's layout, as `--set` takes them. */
  readonly settings: Readonly<Record<string, string>>;
  /** Keys without a counterpart, with the reason. */
  readonly refused: readonly { readonly key: string; readonly hint: string }[];
}

const scalar = v.union([v.string(), v.number(), v.boolean()]);

/** Keys of the microservice that mean another one's. */
const PRECISION = ['precision', 'weight-format', 'weight_format'];
const DEVICE = ['device', 'target_device'];

/** What modeldl says by other means, or does not do. */
const REFUSED: Readonly<Record<string, string>> = {
  quantize:
    'it names a data set; name its files with `calibration: path/to/data.yaml` beside `precision: int8`',
  model_group_id: 'write `reference: geti:project/model@version` in place of `hub` and `name`',
  optimized_model_id:
    'write `reference: geti:project/model@version//openvino-int8` in place of `hub` and `name`',
  export_type: 'write the variant as the reference has it: `geti:project/model//openvino-fp16`',
  model_only: 'the microservice has no use for it either; leave it out',
  url: 'it is for `hub: remote-url`',
  version: 'the microservice passes it on to a script without such an option; leave it out',
  trust_remote_code: 'a file cannot allow that: pass `--trust-remote-code` to `modeldl sync`',
};

/**
 * Reads `config`: what is in `openvino_config` wins over what lies beside it, as there.
 * @param used keys that the hub has read
 */
export function startupSettings(
  config: Readonly<Record<string, unknown>>,
  used: readonly string[] = [],
): StartupSettings {
  const { openvino_config: own, ...flat } = config;
  const nested = v.safeParse(v.record(v.string(), v.unknown()), own ?? {});
  const refused: { key: string; hint: string }[] = [];
  if (!nested.success) refused.push({ key: 'config.openvino_config', hint: 'expected keys with values' });
  const entries = new Map<string, { at: string; value: unknown }>();
  for (const [key, value] of Object.entries(flat)) entries.set(key, { at: `config.${key}`, value });
  for (const [key, value] of Object.entries(nested.success ? nested.output : {}))
    entries.set(key, { at: `config.openvino_config.${key}`, value });
  const settings: Record<string, string> = {};
  let precision: string | undefined;
  let device: string | undefined;
  let overwrite: boolean | undefined;
  for (const [key, { at, value }] of entries) {
    if (used.includes(key) || value == null) continue;
    const hint = REFUSED[key];
    if (hint !== undefined) {
      refused.push({ key: at, hint });
      continue;
    }
    const plain = v.safeParse(scalar, value);
    if (!plain.success) {
      refused.push({ key: at, hint: 'expected a text, a number, true or false' });
      continue;
    }
    const said = String(plain.output);
    if (PRECISION.includes(key)) precision = said.toLowerCase();
    else if (DEVICE.includes(key)) device = said.toUpperCase();
    else if (key === 'overwrite_models') overwrite = plain.output === true;
    else if (key === 'extra_quantization_params') {
      const extra = extraParameters(said);
      if (extra === undefined)
        refused.push({ key: at, hint: 'write each in `settings`, such as `group-size: 64`' });
      else Object.assign(settings, extra);
    } else settings[key] = said;
  }
  return {
    settings,
    refused,
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(overwrite === undefined ? {} : { overwrite }),
  };
}

/** `--sym --group-size 64` as settings; undefined for what cannot be told apart. */
function extraParameters(text: string): Readonly<Record<string, string>> | undefined {
  const settings: Record<string, string> = {};
  let open: string | undefined;
  for (const word of text.split(/\s+/).filter((part) => part !== '')) {
    const [, key, value] = /^--([a-z][\w-]*)(?:=(.+))?$/i.exec(word) ?? [];
    if (key !== undefined) {
      settings[key] = value ?? 'true';
      open = value === undefined ? key : undefined;
    } else if (open === undefined) return undefined;
    else {
      settings[open] = word;
      open = undefined;
    }
  }
  return settings;
}

/** Settings that say how a server serves a model, not how one is converted. */
const SERVING: ReadonlySet<string> = new Set([
  'ovms-task',
  ...OVMS_TASKS.flatMap((task) => settingsOf(task)),
]);

/** Parts the settings of the server from those of the conversion. `max_doc_length` and `vocoder` are both's. */
export function partSettings(settings: Readonly<Record<string, string>>): {
  readonly serving: Readonly<Record<string, string>>;
  readonly conversion: Readonly<Record<string, string>>;
} {
  const isServing = ([key]: readonly [string, string]): boolean => SERVING.has(key);
  const entries = Object.entries(settings);
  return {
    serving: Object.fromEntries(entries.filter(isServing)),
    conversion: Object.fromEntries(entries.filter((entry) => !isServing(entry))),
  };
}

/**
 * The settings of `export_model.py`, which decide how a model is served: their names, values and tasks. They are given
 * with `--set`, beside those of the converter. Pure.
 */
import { closest, distance } from 'fastest-levenshtein';
import { ModeldlError } from '../errors.js';
import { parseLoras } from './loras.js';
import { taskNamed, type OvmsTask } from './tasks.js';
import type { Dialect } from './versions.js';

type Read<Value> = (text: string, name: string) => Value;

function wrong(name: string, text: string, expected: string): ModeldlError {
  return new ModeldlError('USAGE', `Expected ${expected} for --set ${name}, got ${text}`);
}

const flag: Read<boolean> = (text, name) => {
  if (text === 'true' || text === 'false') return text === 'true';
  throw wrong(name, text, 'true or false');
};

/** An integer that the server's graph can hold. */
function count(least: 0 | 1): Read<number> {
  return (text, name) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value < 2 ** 31) return value;
    throw wrong(name, text, least === 0 ? 'a whole number, 0 or more' : 'a whole number above 0');
  };
}

function choice<const Choice extends string>(...choices: readonly Choice[]): Read<Choice> {
  return (text, name) => {
    const found = choices.find((candidate) => candidate === text);
    if (found !== undefined) return found;
    throw wrong(name, text, `one of ${choices.join(', ')}`);
  };
}

const positive: Read<number> = (text, name) => {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && Number.isFinite(value)) return value;
  throw wrong(name, text, 'a number above 0');
};

const words: Read<string> = (text, name) => {
  if (text !== '') return text;
  throw wrong(name, text, 'a text');
};

const SIZE = /^[1-9]\d{0,4}x[1-9]\d{0,4}$/;

const size: Read<string> = (text, name) => {
  if (SIZE.test(text)) return text;
  throw wrong(name, text, 'width and height, such as 512x512');
};

const sizes: Read<string> = (text, name) => {
  if (text.split(' ').every((one) => SIZE.test(one))) return text;
  throw wrong(name, text, 'widths and heights, such as "512x512 768x768"');
};

/** A directory below the model's. */
const directoryName: Read<string> = (text, name) => {
  if (/^[\w-][\w.-]*$/.test(text)) return text;
  throw wrong(name, text, 'the name of a directory');
};

const SETTINGS = {
  'ovms-task': (text: string) => taskNamed(text),
  ov_cache_dir: words,
  pipeline_type: choice('LM', 'LM_CB', 'VLM', 'VLM_CB', 'AUTO'),
  kv_cache_precision: choice('u8'),
  enable_prefix_caching: flag,
  dynamic_split_fuse: flag,
  disable_dynamic_split_fuse: flag,
  max_num_batched_tokens: count(1),
  max_num_seqs: count(1),
  cache_size: count(0),
  draft_source_model: words,
  draft_model_name: directoryName,
  draft_eagle3_mode: flag,
  max_prompt_len: count(1),
  prompt_lookup_decoding: flag,
  reasoning_parser: words,
  tool_parser: words,
  enable_tool_guided_generation: flag,
  normalize: flag,
  skip_normalize: flag,
  pooling: choice('CLS', 'LAST', 'MEAN'),
  truncate: flag,
  num_streams: count(0),
  max_doc_length: count(1),
  resolution: sizes,
  guidance_scale: positive,
  num_images_per_prompt: count(1),
  max_resolution: size,
  default_resolution: size,
  max_num_images_per_prompt: count(0),
  default_num_inference_steps: count(0),
  max_num_inference_steps: count(0),
  source_loras: parseLoras,
  model_type: choice('kokoro', 'speecht5'),
  vocoder: words,
  speaker_name: words,
  speaker_path: words,
  enable_word_timestamps: flag,
} satisfies Readonly<Record<string, Read<unknown>>>;

type Name = keyof typeof SETTINGS;
export type ServingSettings = { readonly [Key in Name]?: ReturnType<(typeof SETTINGS)[Key]> };

const NAMES = Object.keys(SETTINGS) as readonly Name[];

const OF_TASK: Readonly<Record<OvmsTask, readonly Name[]>> = {
  text_generation: [
    'ov_cache_dir',
    'pipeline_type',
    'kv_cache_precision',
    'enable_prefix_caching',
    'dynamic_split_fuse',
    'disable_dynamic_split_fuse',
    'max_num_batched_tokens',
    'max_num_seqs',
    'cache_size',
    'draft_source_model',
    'draft_model_name',
    'draft_eagle3_mode',
    'max_prompt_len',
    'prompt_lookup_decoding',
    'reasoning_parser',
    'tool_parser',
    'enable_tool_guided_generation',
  ],
  embeddings_ov: ['ov_cache_dir', 'normalize', 'skip_normalize', 'pooling', 'truncate', 'num_streams'],
  rerank_ov: ['ov_cache_dir', 'num_streams', 'max_doc_length'],
  image_generation: [
    'ov_cache_dir',
    'num_streams',
    'resolution',
    'guidance_scale',
    'num_images_per_prompt',
    'max_resolution',
    'default_resolution',
    'max_num_images_per_prompt',
    'default_num_inference_steps',
    'max_num_inference_steps',
    'source_loras',
  ],
  text2speech: ['ov_cache_dir', 'num_streams', 'model_type', 'vocoder', 'speaker_name', 'speaker_path'],
  speech2text: ['ov_cache_dir', 'num_streams', 'enable_word_timestamps'],
  plain: [],
};

/** Names of the settings that a task has. */
export function settingsOf(task: OvmsTask): readonly string[] {
  return OF_TASK[task];
}

/** What `export_model.py` also takes and modeldl has an option for. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['source_model', 'the reference is it'],
  ['model_repository_path', 'use `--output`'],
  ['model_name', 'use `--name`'],
  ['weight_format', 'use `--precision`'],
  ['target_device', 'use `--device`'],
  ['overwrite_models', 'use `--overwrite` or `--force`'],
  ['config_file_path', 'the file is `config.json` in the directory of `--output`'],
  ['extra_quantization_params', 'give each as a setting of its own, such as `--set group-size=64`'],
]);

/** How far a misspelt name may be from the one that was meant, in characters. */
const NEAR = 2;

function nameOf(key: string): Name | undefined {
  const underscored = key.replaceAll('-', '_');
  return NAMES.find((name) => name === key || name.replaceAll('-', '_') === underscored);
}

export interface SplitSettings {
  readonly serving: ServingSettings;
  /** The converter's own, which alone belong to the conversion. */
  readonly converter: Readonly<Record<string, string>>;
}

/**
 * Tells settings of the layout from those of converters. The latter are left to the converter, which knows its own.
 * @param converters names of all settings that converters take
 * @throws ModeldlError USAGE for a malformed value, and for a name that is none and near to one of these
 */
export function splitSettings(
  given: Readonly<Record<string, string>>,
  converters: readonly string[],
): SplitSettings {
  const serving = new Map<Name, unknown>();
  const converter: Record<string, string> = {};
  for (const [key, text] of Object.entries(given)) {
    const name = nameOf(key);
    if (name === undefined) {
      if (!converters.includes(key)) refuseMisspelt(key, converters);
      converter[key] = text;
      continue;
    }
    if (serving.has(name)) throw new ModeldlError('USAGE', `--set ${name} is given twice`);
    serving.set(name, SETTINGS[name](text, key));
  }
  const settings = Object.fromEntries(serving) as ServingSettings;
  const shared = forConverter(settings);
  const twice = Object.keys(shared).find((key) => key in converter);
  if (twice !== undefined) {
    throw new ModeldlError('USAGE', `--set ${twice} and --set vocoder exclude each other`, {
      hint: `name the vocoder in ${twice}, or leave that out`,
    });
  }
  return { serving: settings, converter: { ...converter, ...shared } };
}

/** What decides the conversion too. */
function forConverter({
  vocoder,
  max_doc_length: longest,
}: ServingSettings): Readonly<Record<string, string>> {
  return {
    ...(vocoder === undefined ? {} : { 'model-kwargs': JSON.stringify({ vocoder }) }),
    ...(longest === undefined ? {} : { 'max-doc-length': String(longest) }),
  };
}

function refuseMisspelt(key: string, converters: readonly string[]): void {
  const elsewhere = ELSEWHERE.get(key.replaceAll('-', '_'));
  if (elsewhere !== undefined) {
    throw new ModeldlError('USAGE', `\`--layout\` has no setting ${key}`, { hint: elsewhere });
  }
  const plain = key.replaceAll('-', '_').toLowerCase();
  const nearest = closest(plain, [...NAMES]);
  const other = converters.length === 0 ? undefined : closest(key, [...converters]);
  const away = distance(plain, nearest);
  if (away > NEAR || (other !== undefined && distance(key, other) <= away)) return;
  throw new ModeldlError('USAGE', `Neither the converter nor \`--layout\` has a setting ${key}`, {
    hint: `the nearest is \`--set ${nearest}=…\``,
  });
}

/** Without a layout, its settings decide nothing. @throws ModeldlError USAGE */
export function refuseServingSettings(
  given: Readonly<Record<string, string>>,
  converters: readonly string[],
): void {
  for (const key of Object.keys(given)) {
    if (converters.includes(key) || nameOf(key) === undefined) continue;
    throw new ModeldlError('USAGE', `${key} says how OVMS serves a model, not how one is converted`, {
      hint: 'pass `--layout ovms -o REPOSITORY` with it, or leave it out',
    });
  }
}

export interface Served {
  readonly task: OvmsTask;
  readonly device: string;
  readonly dialect: Dialect;
}

/** @throws ModeldlError USAGE for settings that the task does not have, or that exclude each other */
export function checkSettings(settings: ServingSettings, served: Served): void {
  const { task, device, dialect } = served;
  const known = OF_TASK[task];
  for (const name of NAMES) {
    if (settings[name] === undefined || name === 'ovms-task' || known.includes(name)) continue;
    throw new ModeldlError('USAGE', `${task === 'plain' ? 'A plain model' : task} has no setting ${name}`, {
      hint: `it is for ${tasksWith(name).join(' and ')}, which \`--set ovms-task=…\` names; ${
        known.length === 0 ? 'a plain model takes none' : `${task} takes ${known.join(', ')}`
      }`,
    });
  }
  if (task === 'text_generation') checkTextGeneration(settings, device, dialect);
  if (task === 'embeddings_ov') {
    refuseBoth(settings, 'normalize', 'skip_normalize');
  }
  if (task === 'embeddings_ov' || task === 'rerank_ov') {
    if (settings.num_streams === 0) throw wrong('num_streams', '0', 'a whole number above 0');
  }
  if (task === 'text2speech') checkSpeech(settings, dialect);
}

function tasksWith(name: Name): readonly string[] {
  return Object.entries(OF_TASK).flatMap(([task, names]) => (names.includes(name) ? [task] : []));
}

function refuseBoth(settings: ServingSettings, one: Name, other: Name): void {
  if (settings[one] === undefined || settings[other] === undefined) return;
  throw new ModeldlError('USAGE', `--set ${one} and --set ${other} exclude each other`);
}

function checkTextGeneration(settings: ServingSettings, device: string, dialect: Dialect): void {
  const { reasoning_parser: reasoning, tool_parser: tool, pipeline_type: pipeline } = settings;
  const { version } = dialect;
  refuseBoth(settings, 'dynamic_split_fuse', 'disable_dynamic_split_fuse');
  if (settings.max_prompt_len !== undefined && device !== 'NPU') {
    throw new ModeldlError('USAGE', `--set max_prompt_len is for the NPU, and the device is ${device}`, {
      hint: 'leave it out, or pass `--device NPU`',
    });
  }
  for (const [name, parser, known] of [
    ['reasoning_parser', reasoning, dialect.reasoningParsers],
    ['tool_parser', tool, dialect.toolParsers],
  ] as const) {
    if (parser === undefined || known.includes(parser)) continue;
    throw wrong(name, parser, `one of ${known.join(', ')} (OVMS ${version})`);
  }
  if ((reasoning === 'gptoss') !== (tool === 'gptoss')) {
    throw new ModeldlError('USAGE', 'gptoss is both parsers of a model, or neither', {
      hint: 'pass `--set reasoning_parser=gptoss --set tool_parser=gptoss`',
    });
  }
  for (const name of ['draft_model_name', 'draft_eagle3_mode'] as const) {
    if (settings[name] === undefined || settings.draft_source_model !== undefined) continue;
    throw new ModeldlError('USAGE', `--set ${name} is for a draft model, and none is named`, {
      hint: 'name it with `--set draft_source_model=…`',
    });
  }
  if (device.startsWith('HETERO') && !dialect.deviceProperties && pipeline !== 'LM' && pipeline !== 'VLM') {
    throw new ModeldlError('USAGE', `OVMS ${version} serves ${device} with the pipelines LM and VLM only`, {
      hint: 'pass `--set pipeline_type=LM`, or a later `--ovms-version`',
    });
  }
}

function checkSpeech(settings: ServingSettings, { kokoro, version }: Dialect): void {
  const { model_type: type, vocoder, speaker_name: name, speaker_path: path } = settings;
  if (type === 'kokoro' && !kokoro) {
    throw new ModeldlError('USAGE', `OVMS ${version} has no kokoro`, {
      hint: 'pass a later `--ovms-version`',
    });
  }
  if (type === 'speecht5' && vocoder === undefined) {
    throw new ModeldlError('USAGE', 'speecht5 needs a vocoder', {
      hint: 'name it with `--set vocoder=microsoft/speecht5_hifigan`',
    });
  }
  if ((name === undefined) !== (path === undefined)) {
    throw new ModeldlError('USAGE', '`speaker_name` and `speaker_path` belong together', {
      hint: 'pass both with `--set`, or neither',
    });
  }
  const only = Object.entries({ vocoder, speaker_name: name }).find(([, value]) => value !== undefined);
  if (only !== undefined && type !== 'speecht5') {
    throw new ModeldlError('USAGE', `--set ${only[0]} is for speecht5`, {
      hint: 'pass `--set model_type=speecht5` with it',
    });
  }
}

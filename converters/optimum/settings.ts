/**
 * `--set` values of the `optimum` converter: those of `optimum-cli export openvino` (optimum-intel 2.2), under the same
 * names, checked here so that what cannot work is refused before anything is fetched. Pure.
 */
import { isAbsolute } from 'node:path';
import type { ConversionRequest, Precision } from '../../src/converter.js';
import { ModeldlError } from '../../src/errors.js';
import { refuseOtherGroups } from '../compression.js';
import {
  choiceSetting,
  flagSetting,
  numberSetting,
  refuseUnknownSettings,
  wrongSetting,
  type Settings,
} from '../settings.js';

export const OPTIMUM_SETTINGS: Readonly<Record<string, string>> = {
  ratio: 'share of the layers that gets 4 bits, 0 to 1; the rest is int8 (default 1)',
  sym: 'symmetric quantization: true or false (default false)',
  'group-size': 'weights that share a scale; -1 is one scale per channel (default 128)',
  'group-size-fallback':
    'when the group does not divide the channels: error, ignore or adjust (default error)',
  'backup-precision': 'for what does not get 4 bits: none, int8_sym or int8_asym (default int8_asym)',
  'all-layers': 'embeddings and the last layer in 4 bits too: true or false (default false)',
  awq: 'activation-aware scaling: true or false; from data with `dataset`, else from the weights',
  'scale-estimation': 'scales that keep the outputs of layers: true or false; needs `dataset`',
  gptq: 'GPTQ: true or false; needs `dataset`',
  'lora-correction': 'low-rank correction of the error: true or false; needs `dataset`',
  'sensitivity-metric': 'how layers are chosen for the higher precision where ratio is below 1',
  dataset:
    'data for calibration: wikitext2, c4, c4-new, gsm8k, textvqa, conceptual_captions, …; auto lets the model write it',
  'num-samples': 'how many samples of the data set are used at most',
  'quantization-statistics-path': 'directory that keeps statistics of the data for the next conversion',
  'quant-mode':
    'quantizes activations too: int8, f8e4m3, f8e5m2, cb4_f8e4m3, int4_f8e4m3 or int4_f8e5m2; needs `dataset`',
  'smooth-quant-alpha': 'smoothing of activations with quant-mode, 0 to 1; -1 switches it off',
  'disable-stateful': 'the cache as inputs and outputs instead of inside: true or false (default false)',
  variant: 'weights of this variant, such as fp16',
  'pad-token-id': 'token that fills up, where the tokenizer does not tell',
  'model-kwargs': 'JSON object of arguments to the model',
  'max-doc-length': 'tokens of a document that a reranker behind `--layout ovms` takes (default 16000)',
  library: 'transformers, diffusers, sentence_transformers, timm, open_clip or kokoro',
};

const FOUR_BITS: readonly Precision[] = ['int4', 'nf4', 'mxfp4', 'cb4'];
const LIBRARIES = [
  'transformers',
  'diffusers',
  'sentence_transformers',
  'timm',
  'open_clip',
  'kokoro',
] as const;
export type Library = (typeof LIBRARIES)[number];

/** Quantization of activations by the precision that the weights get with it. */
const QUANT_MODES: Readonly<Record<string, Precision>> = {
  int8: 'int8',
  f8e4m3: 'int8',
  f8e5m2: 'int8',
  cb4_f8e4m3: 'cb4',
  int4_f8e4m3: 'int4',
  int4_f8e5m2: 'int4',
};
const METRICS = [
  'weight_quantization_error',
  'hessian_input_activation',
  'mean_activation_variance',
  'max_activation_variance',
  'mean_activation_magnitude',
];
/** Data sets that optimum-intel knows, those of transformers, diffusers and segmentation. */
const DATASETS = [
  'auto',
  'wikitext2',
  'c4',
  'c4-new',
  'gsm8k',
  'textvqa',
  'contextual',
  'conceptual_captions',
  'laion/220k-GPT4Vision-captions-from-LIVIS',
  'laion/filtered-wit',
  'coco',
  'librispeech',
];
/** Flags of the command line that are there or not. */
const SWITCHES = ['sym', 'all-layers', 'awq', 'scale-estimation', 'gptq', 'lora-correction'] as const;
const FROM_DATA = ['scale-estimation', 'gptq', 'lora-correction'] as const;
/** Settings that become something else than an argument of the same name. */
const OWN: readonly string[] = ['quant-mode', 'library', 'max-doc-length'];
/** What one of, given, means that a model's own default configuration does not apply (`no_…_parameter_provided`). */
const COMPRESSION = [
  'ratio',
  'group-size',
  'sym',
  'all-layers',
  'dataset',
  'num-samples',
  'awq',
  'scale-estimation',
  'gptq',
  'lora-correction',
  'sensitivity-metric',
  'backup-precision',
  'group-size-fallback',
] as const;
const QUANTIZATION = ['sym', 'dataset', 'num-samples', 'smooth-quant-alpha'] as const;

export interface OptimumSettings {
  /** Arguments of the command line beside model, task, library and output. */
  readonly arguments: readonly string[];
  /** Switches that were given as false, which the command line cannot say: by the name of argparse. */
  readonly given: Readonly<Record<string, boolean>>;
  /** Kind of full quantization. */
  readonly quantMode?: string;
  /** Nothing was given that keeps a model's own default configuration from being applied. */
  readonly takesDefault: boolean;
  readonly dataset?: string;
  readonly library?: Library;
  /** Tokens. */
  readonly maxDocLength?: number;
  readonly variant?: string;
}

/** @throws ModeldlError USAGE for what is unknown, malformed or contradictory */
export function readSettings({
  precision,
  settings,
}: Pick<ConversionRequest, 'precision' | 'settings'>): OptimumSettings {
  refuseUnknownSettings('optimum', OPTIMUM_SETTINGS, settings);
  const values = valuesOf(settings);
  const quantMode = values['quant-mode'];
  refuseContradictions(precision, settings, values);
  const list: string[] =
    quantMode === undefined ? ['--weight-format', precision] : ['--quant-mode', quantMode];
  const given: Record<string, boolean> = {};
  for (const name of SWITCHES) {
    const on = flagSetting(settings, name);
    if (on === true) list.push(`--${name}`);
    else if (on === false) given[name.replaceAll('-', '_')] = false;
  }
  if (flagSetting(settings, 'disable-stateful') === true) list.push('--disable-stateful');
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && !OWN.includes(name)) list.push(`--${name}=${value}`);
  }
  const deciding = quantMode === undefined ? COMPRESSION : QUANTIZATION;
  const { library, dataset, variant } = values;
  return {
    arguments: list,
    given,
    takesDefault: deciding.every((name) => settings[name] === undefined),
    ...(quantMode === undefined ? {} : { quantMode }),
    ...(dataset === undefined ? {} : { dataset }),
    ...(variant === undefined ? {} : { variant }),
    ...(values['max-doc-length'] === undefined ? {} : { maxDocLength: Number(values['max-doc-length']) }),
    ...(library === undefined
      ? {}
      : { library: LIBRARIES.find((name) => name === library) ?? 'transformers' }),
  };
}

/** Checked values of all that is no switch, as the command line takes them. */
function valuesOf(settings: Settings): Readonly<Record<string, string | undefined>> {
  const text = (value: number | undefined): string | undefined =>
    value === undefined ? undefined : String(value);
  const count = (name: string): string | undefined =>
    text(
      numberSetting(
        settings,
        name,
        (value) => Number.isInteger(value) && value > 0,
        'a whole number above 0',
      ),
    );
  return {
    ratio: text(
      numberSetting(settings, 'ratio', (value) => value >= 0 && value <= 1, 'a number from 0 to 1'),
    ),
    'group-size': text(
      numberSetting(
        settings,
        'group-size',
        (value) => value === -1 || (Number.isInteger(value) && value > 0),
        '-1 or a whole number above 0',
      ),
    ),
    'group-size-fallback': choiceSetting(settings, 'group-size-fallback', ['error', 'ignore', 'adjust']),
    'backup-precision': choiceSetting(settings, 'backup-precision', ['none', 'int8_sym', 'int8_asym']),
    'sensitivity-metric': choiceSetting(settings, 'sensitivity-metric', METRICS),
    dataset: datasetOf(settings),
    'num-samples': count('num-samples'),
    'quantization-statistics-path': directoryOf(settings, 'quantization-statistics-path'),
    'quant-mode': choiceSetting(settings, 'quant-mode', Object.keys(QUANT_MODES)),
    'smooth-quant-alpha': text(
      numberSetting(
        settings,
        'smooth-quant-alpha',
        (value) => value === -1 || (value >= 0 && value <= 1),
        'a number from 0 to 1, or -1',
      ),
    ),
    variant: settings['variant'],
    'pad-token-id': text(
      numberSetting(
        settings,
        'pad-token-id',
        (value) => Number.isInteger(value) && value >= 0,
        'a whole number',
      ),
    ),
    'max-doc-length': count('max-doc-length'),
    'model-kwargs': jsonOf(settings, 'model-kwargs'),
    library: choiceSetting(settings, 'library', LIBRARIES),
  };
}

/** `name` or `name:seq_len=128`. */
function datasetOf(settings: Settings): string | undefined {
  const { dataset } = settings;
  if (dataset === undefined) return undefined;
  const [, name = '', length] = /^([^:]*)(?::seq_len=(\d+))?$/.exec(dataset) ?? [];
  if (DATASETS.includes(name) && Number(length ?? 1) > 0) return dataset;
  throw wrongSetting('dataset', dataset, `one of ${DATASETS.join(', ')}, perhaps with :seq_len=128,`);
}

function directoryOf(settings: Settings, key: string): string | undefined {
  const value = settings[key];
  if (value === undefined || isAbsolute(value)) return value;
  throw wrongSetting(key, value, 'an absolute path');
}

function jsonOf(settings: Settings, key: string): string | undefined {
  const value = settings[key];
  if (value === undefined) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    parsed = undefined;
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return value;
  throw wrongSetting(key, value, 'a JSON object');
}

function refuseContradictions(
  precision: Precision,
  settings: Settings,
  values: Readonly<Record<string, string | undefined>>,
): void {
  const on = (name: string): boolean => flagSetting(settings, name) === true;
  const refuse = (message: string, hint: string): never => {
    throw new ModeldlError('USAGE', message, { hint });
  };
  const meaningless = (names: readonly string[]): void => {
    const name = names.find((candidate) => settings[candidate] !== undefined);
    if (name !== undefined)
      refuse(`\`--set ${name}\` has no meaning with ${precision}`, 'use `--precision int4`');
  };
  const mode = values['quant-mode'];
  if (mode !== undefined) {
    const needed = QUANT_MODES[mode];
    if (needed !== undefined && needed !== precision) {
      refuse(`\`--set quant-mode=${mode}\` makes ${needed} weights`, `use it with \`--precision ${needed}\``);
    }
  } else if (settings['smooth-quant-alpha'] !== undefined) {
    refuse('`--set smooth-quant-alpha` is for quantized activations', 'add `--set quant-mode=int8`');
  }
  if (precision === 'fp32' || precision === 'fp16') {
    meaningless([...COMPRESSION, 'quantization-statistics-path']);
  } else if (precision === 'int8') {
    meaningless(COMPRESSION.filter((name) => !['sym', 'dataset', 'num-samples'].includes(name)));
  }
  const ofData = FROM_DATA.find(on);
  if (ofData !== undefined && values['dataset'] === undefined) {
    refuse(`\`--set ${ofData}\` works on data`, 'add `--set dataset=wikitext2`, or `dataset=auto` for text');
  }
  if (on('gptq') && on('lora-correction')) {
    refuse('`gptq` and `lora-correction` exclude each other', 'leave one of them out');
  }
  refuseOtherGroups(precision, settings);
  const noInt4 = FOUR_BITS.includes(precision) && precision !== 'int4';
  const data = ['awq', ...FROM_DATA].find(on);
  if (precision === 'mxfp4' && noInt4 && data !== undefined) {
    refuse(`\`--set ${data}\` has no meaning with mxfp4`, 'use `--precision int4`');
  }
}

/** What is done with images of timm: weights are compressed, without data, and nothing generates. */
const NOT_FOR_TIMM = [
  ...['dataset', 'num-samples', 'awq', ...FROM_DATA, 'quant-mode', 'smooth-quant-alpha'],
  ...['quantization-statistics-path', 'disable-stateful', 'variant', 'pad-token-id', 'model-kwargs'],
];

/** @throws ModeldlError USAGE for a setting that models of this library have no use for */
export function refuseUnfit(library: Library, settings: Settings): void {
  if (library !== 'timm') return;
  const name = NOT_FOR_TIMM.find((candidate) => settings[candidate] !== undefined);
  if (name === undefined) return;
  throw new ModeldlError('USAGE', `\`--set ${name}\` has no meaning for models of timm`, {
    hint: 'leave it out; to quantize with data of your own, convert to fp32, and that with `--converter nncf --calibration`',
  });
}

/** A data set that has to be fetched: all but the one that the model writes itself. */
export function isFetched(dataset: string | undefined): dataset is string {
  return dataset !== undefined && !/^auto(:|$)/.test(dataset);
}

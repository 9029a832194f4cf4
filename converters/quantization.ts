/** `--set` values of post-training quantization, from text to what nncf.quantize takes (nncf 3.4). Pure. */
import type { ConversionRequest } from '../src/converter.js';
import { devicesOf } from './rules.js';
import { choiceSetting, flagSetting, numberSetting, wrongSetting, type Settings } from './settings.js';

export const QUANTIZATION_SETTINGS: Settings = {
  preset: 'performance (symmetric) or mixed (activations asymmetric; default for transformers)',
  'subset-size': 'samples of the calibration data that are used, spread over all of it (default 300)',
  'model-type': 'transformer, for models that are one',
  'fast-bias-correction': 'false takes longer and may be more exact (default true)',
  'overflow-fix': 'for processors without VNNI: enable, first_layer_only or disable',
  'smooth-quant-alpha':
    'strength of SmoothQuant for matrix products, 0 to 1; -1 switches it off (default 0.95)',
};

/** Both kinds of int8 and int4 leave out such layers. */
export const IGNORED_SETTINGS: Settings = {
  'ignored-names': 'layers to leave as they are, by name, with commas between',
  'ignored-types': 'layers to leave as they are, by type, such as Add,MatMul',
  'ignored-patterns': 'layers to leave as they are, by regular expressions on their names',
};

/** How images become inputs; what is not given comes from the model's own `model_info`, where it has one. */
export const IMAGE_SETTINGS: Settings = {
  'image-size': 'height x width, such as 640x640, where the model leaves it open',
  'image-resize': 'standard, crop, fit-to-window or letterbox (default standard, which stretches)',
  'image-pad': 'what fit-to-window and letterbox fill up with, 0 to 255 (default 0)',
  'image-color': 'rgb or bgr (default rgb)',
  'image-range': '0..255 or 0..1 (default 0..255)',
  'image-mean': 'subtracted from pixels in that range, one value or one for each channel',
  'image-scale': 'what pixels are divided by after that, one value or one for each channel',
  'image-layout': 'nchw, nhwc, chw or hwc (default: what the model says or its shape tells)',
};

/** nncf's own default. */
const SUBSET_SIZE = 300;

export interface Ignored {
  readonly names?: readonly string[];
  readonly types?: readonly string[];
  readonly patterns?: readonly string[];
}

export interface Quantization {
  readonly target_device: string;
  readonly subset_size: number;
  readonly preset?: string;
  readonly model_type?: string;
  readonly fast_bias_correction?: boolean;
  readonly overflow_fix?: string;
  readonly smooth_quant_alpha?: number;
  readonly ignored?: Ignored;
}

/** @throws ModeldlError USAGE for a malformed value */
export function quantizationOf({
  settings,
  device,
}: Pick<ConversionRequest, 'settings' | 'device'>): Quantization {
  const preset = choiceSetting(settings, 'preset', ['performance', 'mixed']);
  const isCount = (value: number): boolean => Number.isInteger(value) && value > 0;
  const subsetSize = numberSetting(settings, 'subset-size', isCount, 'a whole number above 0');
  const modelType = choiceSetting(settings, 'model-type', ['transformer']);
  const fastBias = flagSetting(settings, 'fast-bias-correction');
  const overflow = choiceSetting(settings, 'overflow-fix', ['enable', 'first_layer_only', 'disable']);
  const isAlpha = (value: number): boolean => value === -1 || (value >= 0 && value <= 1);
  const alpha = numberSetting(settings, 'smooth-quant-alpha', isAlpha, 'a number from 0 to 1, or -1');
  const ignored = ignoredOf(settings);
  return {
    target_device: targetOf(device),
    subset_size: subsetSize ?? SUBSET_SIZE,
    ...(preset === undefined ? {} : { preset }),
    ...(modelType === undefined ? {} : { model_type: modelType }),
    ...(fastBias === undefined ? {} : { fast_bias_correction: fastBias }),
    ...(overflow === undefined ? {} : { overflow_fix: overflow }),
    ...(alpha === undefined ? {} : { smooth_quant_alpha: alpha }),
    ...(ignored === undefined ? {} : { ignored }),
  };
}

/** nncf knows one device, or any. */
function targetOf(device: string): string {
  const [only = '', ...others] = devicesOf(device);
  return others.length === 0 && ['CPU', 'GPU', 'NPU'].includes(only) ? only : 'ANY';
}

/** @throws ModeldlError USAGE */
export function ignoredOf(settings: Settings): Ignored | undefined {
  const [names, types, patterns] = ['ignored-names', 'ignored-types', 'ignored-patterns'].map((key) => {
    const text = settings[key];
    if (text === undefined) return undefined;
    const parts = text.split(',').map((part) => part.trim());
    if (parts.includes('')) throw wrongSetting(key, text, 'values with commas between');
    return parts;
  });
  if (names === undefined && types === undefined && patterns === undefined) return undefined;
  return {
    ...(names === undefined ? {} : { names }),
    ...(types === undefined ? {} : { types }),
    ...(patterns === undefined ? {} : { patterns }),
  };
}

export interface ImageSettings {
  /** Height and width. */
  readonly size?: readonly [number, number];
  readonly resize?: string;
  readonly pad?: number;
  readonly color?: string;
  readonly range?: string;
  readonly mean?: readonly number[];
  readonly scale?: readonly number[];
  readonly layout?: string;
}

/** @throws ModeldlError USAGE for a malformed value */
export function imageSettingsOf(settings: Settings): ImageSettings {
  const size = imageSize(settings['image-size']);
  const resize = choiceSetting(settings, 'image-resize', ['standard', 'crop', 'fit-to-window', 'letterbox']);
  const isPixel = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= 255;
  const pad = numberSetting(settings, 'image-pad', isPixel, 'a whole number from 0 to 255');
  const color = choiceSetting(settings, 'image-color', ['rgb', 'bgr']);
  const range = choiceSetting(settings, 'image-range', ['0..255', '0..1']);
  const mean = perChannel(settings, 'image-mean', () => true, 'one number, or one for each channel');
  const divides = (value: number): boolean => value !== 0;
  const scale = perChannel(
    settings,
    'image-scale',
    divides,
    'numbers other than 0, one or one for each channel',
  );
  const layout = choiceSetting(settings, 'image-layout', ['nchw', 'nhwc', 'chw', 'hwc']);
  return {
    ...(size === undefined ? {} : { size }),
    ...(resize === undefined ? {} : { resize }),
    ...(pad === undefined ? {} : { pad }),
    ...(color === undefined ? {} : { color }),
    ...(range === undefined ? {} : { range }),
    ...(mean === undefined ? {} : { mean }),
    ...(scale === undefined ? {} : { scale }),
    ...(layout === undefined ? {} : { layout }),
  };
}

function imageSize(text: string | undefined): readonly [number, number] | undefined {
  if (text === undefined) return undefined;
  const [, height, width = height] = /^([1-9]\d*)(?:x([1-9]\d*))?$/.exec(text) ?? [];
  if (height === undefined) throw wrongSetting('image-size', text, 'height x width, such as 640x640');
  return [Number(height), Number(width)];
}

function perChannel(
  settings: Settings,
  key: string,
  accepts: (value: number) => boolean,
  expected: string,
): readonly number[] | undefined {
  const text = settings[key];
  if (text === undefined) return undefined;
  const inner = /^\[(.*)\]$/.exec(text.trim())?.[1] ?? text;
  const values = inner.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (!values.every((value) => Number.isFinite(value) && accepts(value)))
    throw wrongSetting(key, text, expected);
  return values;
}

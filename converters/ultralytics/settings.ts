/** `--set` values of an export, from text to what `yolo export format=openvino` takes (Ultralytics 8.4). Pure. */
import { closest } from 'fastest-levenshtein';
import type { ConversionRequest } from '../../src/converter.js';
import { ModeldlError } from '../../src/errors.js';
import {
  choiceSetting,
  flagSetting,
  numberSetting,
  refuseUnknownSettings,
  wrongSetting,
  type Settings,
} from '../settings.js';

const MODEL_INFO = 'model-info.';

export const EXPORT_SETTINGS: Readonly<Record<string, string>> = {
  imgsz: 'input size in pixels, one number or height,width (default the size it was trained with)',
  batch: 'images in a batch (default 1)',
  dynamic: 'batch and size left open: true or false (default false)',
  nms: 'true puts NMS into the model, false takes the head that needs none (default raw outputs)',
  conf: 'least confidence of a box, with nms (default 0.25)',
  iou: 'overlap from which NMS drops a box, 0 to 1 (default 0.7)',
  max_det: 'boxes at most, with nms (default 300)',
  agnostic_nms: 'NMS over all classes together: true or false (default false)',
  fraction: 'part of the calibration images that is used, above 0 to 1 (default 1)',
  split: 'part of the data set to calibrate with: val, test or train (default val)',
  [`${MODEL_INFO}KEY`]: 'a key of model_info that the export does not write, such as confidence_threshold',
};

/**
 * Keys of `model_info` that OpenVINO's Model API and DL Streamer read (model_api 0.3, dlstreamer 2026.1), by which a
 * misspelt one is found.
 */
const MODEL_INFO_KEYS = [
  'agnostic_nms',
  'color_space',
  'confidence_threshold',
  'embedded_processing',
  'hierarchical',
  'image_threshold',
  'input_dtype',
  'iou_threshold',
  'labels',
  'mean_values',
  'model_name',
  'model_type',
  'multilabel',
  'orig_height',
  'orig_width',
  'output_raw_scores',
  'pad_value',
  'pixel_threshold',
  'resize_type',
  'reverse_input_channels',
  'scale_values',
  'soft_threshold',
  'task',
  'topk',
] as const;

/** Names that Ultralytics has for what modeldl has options for. */
const OPTIONS: ReadonlyMap<string, string> = new Map([
  ['quantize', '--precision'],
  ['half', '--precision'],
  ['int8', '--precision'],
  ['data', '--calibration'],
  ['format', '--converter'],
  ['device', '--device'],
  ['task', '--task'],
]);

export type ExportArguments = Readonly<Record<string, number | boolean | string | readonly number[]>>;

export interface ExportSettings {
  /** As the exporter takes them; what is left out keeps its default. */
  readonly arguments: ExportArguments;
  /** Keys of `model_info` with their values as text. */
  readonly modelInfo: Readonly<Record<string, string>>;
}

/** @throws ModeldlError USAGE for a setting that does not exist, is malformed or has no meaning here */
export function exportSettings(request: Pick<ConversionRequest, 'precision' | 'settings'>): ExportSettings {
  const { precision, settings } = request;
  const modelInfo: Record<string, string> = {};
  const rest: Record<string, string> = {};
  for (const [key, value] of Object.entries(settings)) {
    if (key.startsWith(MODEL_INFO)) modelInfo[modelInfoKey(key.slice(MODEL_INFO.length))] = value;
    else rest[key] = value;
  }
  for (const key of Object.keys(rest)) {
    const option = OPTIONS.get(key);
    if (option === undefined) continue;
    throw new ModeldlError('USAGE', `\`ultralytics\` has no setting ${key}`, { hint: `use \`${option}\`` });
  }
  refuseUnknownSettings('ultralytics', EXPORT_SETTINGS, rest);
  if (precision !== 'int8') refuseIdle(rest, ['fraction', 'split'], `with ${precision}`);
  const nms = flagSetting(rest, 'nms');
  if (nms !== true) refuseIdle(rest, ['conf', 'agnostic_nms'], 'without `--set nms`');
  const isShare = (value: number): boolean => value >= 0 && value <= 1;
  const isCount = (value: number): boolean => Number.isInteger(value) && value > 0;
  const found = {
    imgsz: imageSize(rest),
    batch: numberSetting(rest, 'batch', isCount, 'a whole number above 0'),
    dynamic: flagSetting(rest, 'dynamic'),
    nms,
    conf: numberSetting(rest, 'conf', isShare, 'a number from 0 to 1'),
    iou: numberSetting(rest, 'iou', isShare, 'a number from 0 to 1'),
    max_det: numberSetting(rest, 'max_det', isCount, 'a whole number above 0'),
    agnostic_nms: flagSetting(rest, 'agnostic_nms'),
    fraction: numberSetting(
      rest,
      'fraction',
      (value) => value > 0 && value <= 1,
      'a number above 0, at most 1',
    ),
    split: choiceSetting(rest, 'split', ['val', 'test', 'train']),
  };
  const given = Object.entries(found).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  return { arguments: Object.fromEntries(given), modelInfo };
}

function refuseIdle(settings: Settings, keys: readonly string[], where: string): void {
  for (const key of keys) {
    if (settings[key] === undefined) continue;
    throw new ModeldlError('USAGE', `\`--set ${key}\` has no meaning ${where}`, { hint: 'leave it out' });
  }
}

function modelInfoKey(key: string): string {
  if (MODEL_INFO_KEYS.some((known) => known === key)) return key;
  throw new ModeldlError('USAGE', `model_info has no key ${key}`, {
    hint: `the nearest is \`--set ${MODEL_INFO}${closest(key, [...MODEL_INFO_KEYS])}=…\``,
  });
}

/** Pixels: one number for a square, else height and width. */
function imageSize(settings: Settings): number | readonly number[] | undefined {
  const text = settings['imgsz'];
  if (text === undefined) return undefined;
  const match = /^([1-9]\d{0,4})(?:,([1-9]\d{0,4}))?$/.exec(text);
  if (match === null) throw wrongSetting('imgsz', text, 'a number of pixels or height,width');
  const [, height, width] = match;
  return width === undefined ? Number(height) : [Number(height), Number(width)];
}

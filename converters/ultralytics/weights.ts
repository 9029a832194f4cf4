/** Finding the YOLO weights that are to be exported among the files of a model, by names alone. Pure. */
import type { ConversionRequest, PlannedModel, Refusal } from '../../src/converter.js';
import { findSource, severalModels } from '../source.js';

export interface Weights {
  /** Path of the `.pt` within the model. */
  readonly path: string;
  /** Its file name without the ending, which names the files of the result. */
  readonly name: string;
  readonly bytes: number;
}

/** Families of the assets that Ultralytics publishes (`GITHUB_ASSETS_NAMES` of 8.4), and what people call their own. */
const FAMILY = /^(yolo|rt-?detr|(mobile_)?sam\d?[._-]|fastsam)/i;
/** Models of other makers among those assets, which Ultralytics runs and has no exporter for. */
const NOT_EXPORTED = /^(mobile_sam|sam\d?(\.\d)?_|yolo_nas)/i;
const WEIGHTS = /\.pt$/i;
/** Tasks whose models the exporter calibrates, as its worker knows them too. */
const CALIBRATED: readonly string[] = ['detect', 'segment', 'pose', 'obb', 'classify'];
/** Formats of weights that other converters take; a `.pt` beside them is more often something else of theirs. */
const OTHER_WEIGHTS = /\.(safetensors|ckpt|gguf|h5|keras|pth|bin|onnx|tflite|pdmodel|pb)$/i;
/** What libraries other than Ultralytics keep beside their weights. */
const OTHER_CONFIGURATION = /(^|\/)(config|model_index|modules|adapter_config)\.json$/;

const NOT_YOLO =
  'its exporter takes YOLO, RT-DETR and FastSAM: for segmentation take one such as yolo11n-seg';

/** The one `.pt` of a model that may be YOLO's; which it is its worker tells. */
export function findWeights(model: PlannedModel): Weights | Refusal {
  const found = model.files.filter(({ path }) => WEIGHTS.test(path));
  const [only] = found;
  if (only === undefined) return { refused: 'it holds no .pt of a YOLO model', handlesModel: false };
  if (!isYolo(model, found)) {
    return {
      refused: 'nothing tells that its .pt is a YOLO model',
      hint: 'name the file itself if it is one',
      handlesModel: false,
    };
  }
  if (found.length > 1)
    return severalModels(
      model,
      found.map(({ path }) => path),
    );
  const name = only.path.slice(only.path.lastIndexOf('/') + 1).replace(WEIGHTS, '');
  if (model.hub === 'ultralytics' && NOT_EXPORTED.test(name)) {
    return { refused: `Ultralytics exports no models like ${only.path}`, hint: NOT_YOLO, handlesModel: true };
  }
  return { path: only.path, name, bytes: only.bytes };
}

function isYolo(model: PlannedModel, weights: readonly { readonly path: string }[]): boolean {
  const { hub, metadata, files } = model;
  if (hub === 'ultralytics' || metadata.library === 'ultralytics') return true;
  if (weights.some(({ path }) => FAMILY.test(path.slice(path.lastIndexOf('/') + 1)))) return true;
  const others = files.some(({ path }) => OTHER_WEIGHTS.test(path) || OTHER_CONFIGURATION.test(path));
  return !others && 'refused' in findSource(model);
}

/** A hub of Ultralytics' own names tells the task; of other files only the worker can. */
export function refuseTask(
  { hub, metadata }: PlannedModel,
  { precision }: ConversionRequest,
): Refusal | undefined {
  const { task } = metadata;
  if (precision !== 'int8' || hub !== 'ultralytics' || task === undefined || CALIBRATED.includes(task))
    return undefined;
  return {
    refused: `int8 is made of models for ${CALIBRATED.join(', ')}, and this is one for ${task}`,
    hint: 'use `--precision fp16`',
    handlesModel: true,
  };
}

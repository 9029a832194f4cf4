/** Plain conversion to IR, fp32 or fp16, weight compression and post-training quantization, in one toolchain. */
import { join } from 'node:path';
import * as v from 'valibot';
import type {
  ConversionPlan,
  ConversionRequest,
  Converter,
  ConverterContext,
  LocalModel,
  PlannedModel,
  Precision,
  Refusal,
} from '../src/converter.js';
import { ModeldlError } from '../src/errors.js';
import { calibrationDigest, findCalibrationData, type CalibrationData } from './calibration.js';
import { COMPRESSION_SETTINGS, compressionOf } from './compression.js';
import { checkInNode, inNode, runInNode, type FindRuntime } from './node-conversion.js';
import { usableOpenvinoNode } from './openvino-node.js';
import { withExternalData } from './external-data.js';
import { describeInputs, INPUT_SETTINGS, inputsOf, leavesOpen, outputsOf } from './inputs.js';
import {
  IGNORED_SETTINGS,
  IMAGE_SETTINGS,
  imageSettingsOf,
  QUANTIZATION_SETTINGS,
  quantizationOf,
  type Quantization,
} from './quantization.js';
import { devicesOf, judge, needsFixedShapes, refusalOf } from './rules.js';
import { refuseUnknownSettings, type Settings } from './settings.js';
import { findSource, stemOf, whyNotCompared, type Source } from './source.js';
import { createToolchain } from './toolchain/environment.js';
import { workerJobs, type Job, type JobWorker } from './worker-jobs.js';
import { workerDigest } from './worker.js';

export const openvinoToolchain = createToolchain({
  name: 'openvino',
  title: 'openvino, nncf and runtimes of the originals',
  downloadBytes: 202_000_000,
  installedBytes: 760_000_000,
  shown: ['openvino', 'nncf', 'onnxruntime', 'ai-edge-litert', 'numpy'],
});

const TAKES = 'ONNX, TensorFlow Lite, TensorFlow (SavedModel, frozen), PaddlePaddle, OpenVINO IR';
const WORKER = 'openvino_worker.py';
/** What is read and written sits in memory together with one copy that compression works on. */
const MEMORY_FACTOR = 3;
const MEMORY_BASE_BYTES = 400 * 1024 ** 2;
/** What quantization keeps of activations, beside the model itself. */
const QUANTIZATION_BYTES = 600 * 1024 ** 2;
/** Output bytes per byte of 32-bit weights, scales included. */
const SHRINK: Readonly<Record<Precision, number>> = {
  fp32: 1,
  fp16: 0.5,
  int8: 0.3,
  int4: 0.2,
  nf4: 0.2,
  mxfp4: 0.2,
  cb4: 0.2,
};

/** Settings of `optimum`, which knows how to feed what it exports. */
const DATA_AWARE_SETTINGS: Settings = Object.fromEntries(
  ['awq', 'scale-estimation', 'gptq', 'lora-correction', 'dataset', 'num-samples', 'sensitivity-metric'].map(
    (name) => [name, ''],
  ),
);

const NNCF_ONLY_SETTINGS = {
  ...COMPRESSION_SETTINGS,
  ...QUANTIZATION_SETTINGS,
  ...IGNORED_SETTINGS,
  ...IMAGE_SETTINGS,
};

/** What the two converters differ in. */
type Kind = Pick<Converter, 'name' | 'settings'> & { readonly precisions: readonly Precision[] };
const PLAIN: Kind = { name: 'openvino', precisions: ['fp32', 'fp16'], settings: INPUT_SETTINGS };
const COMPRESSING: Kind = {
  name: 'nncf',
  precisions: ['int8', 'int4', 'nf4', 'mxfp4', 'cb4'],
  settings: { ...NNCF_ONLY_SETTINGS, ...INPUT_SETTINGS },
};

const inPython = workerJobs({
  script: WORKER,
  toolchain: () => openvinoToolchain,
  call,
  expected: ({ precision, calibration }) => (calibration === undefined ? precision : 'calibrated int8'),
});

export const openvino: Converter = plainConverter(usableOpenvinoNode);

/** @param findRuntime finds openvino-node where it can be used */
export function plainConverter(findRuntime: FindRuntime): Converter {
  return {
    name: PLAIN.name,
    accepts: TAKES,
    makes: 'IR fp32, fp16',
    toolchains: ['openvino'],
    settings: PLAIN.settings,
    plan: async (model, request) => {
      const planned = await plan(PLAIN, model, request);
      return 'refused' in planned ? planned : inNode(planned, await findRuntime());
    },
    run: async (model, conversion, outDir, context) =>
      (await runInNode(findRuntime, { model, plan: conversion, outDir, context })) ??
      inPython.run(model, conversion, outDir, context),
    check: async (model, conversion, outDir, context) =>
      ((await comparesInPython(model, context))
        ? undefined
        : await checkInNode(findRuntime, { model, plan: conversion, outDir, context })) ??
      inPython.check(model, conversion, outDir, context),
  };
}

export const nncf: Converter = {
  name: COMPRESSING.name,
  accepts: TAKES,
  makes: 'IR int8, int4, nf4, mxfp4, cb4 by weight compression; int8 by quantization with `--calibration`',
  toolchains: ['openvino'],
  settings: COMPRESSING.settings,
  plan: (model, request) => plan(COMPRESSING, model, request),
  ...inPython,
};

async function plan(
  kind: Kind,
  model: PlannedModel,
  given: ConversionRequest,
): Promise<ConversionPlan | Refusal> {
  const source = await withExternalData(model, findSource(model));
  if ('refused' in source) return source;
  const refusal = refuse(kind, given);
  if (refusal !== undefined) return refusal;
  refuseSettings(kind, given);
  const recipe = followedRecipe(model, given);
  const request = { ...given, settings: { ...recipe?.settings, ...given.settings } };
  const { precision, device, calibration: data } = request;
  const inputs = inputsOf(request.settings);
  const outputs = outputsOf(request.settings);
  const fixed = devicesOf(device).find(needsFixedShapes);
  if (fixed !== undefined && inputs !== undefined && leavesOpen(inputs)) {
    return {
      refused: `the ${fixed} runs models of fixed shapes only, and \`--set input-shape\` leaves dimensions open`,
      hint: 'give every size, such as `--set input-shape=[1,3,640,640]`',
      handlesModel: true,
    };
  }
  const work = await workOf(request);
  const { quantization, calibration } = work;
  const resultBytes = Math.ceil(source.bytes * SHRINK[precision]);
  return {
    converter: kind.name,
    toolchain: 'openvino',
    reads: source.reads,
    precision,
    device,
    ...(request.task === undefined ? {} : { task: request.task }),
    settings: {
      ...work.settings,
      ...(inputs === undefined ? {} : { inputs }),
      ...(outputs === undefined ? {} : { outputs }),
      ...(fixed === undefined ? {} : { fixed }),
      ...(recipe === undefined ? {} : { recipe: recipe.built }),
      input: source.path,
      worker: await workerDigest(WORKER),
    },
    ...(data === undefined ? {} : { calibration: data }),
    steps: [
      `read ${source.path === '.' ? 'saved_model.pb' : source.path} as ${source.format}`,
      ...(recipe === undefined ? [] : recipe.steps),
      ...(outputs === undefined ? [] : [`end at ${outputs.join(', ')}`]),
      ...(inputs === undefined ? [] : describeInputs(inputs)),
      ...work.steps,
      `write ${stemOf(source)}.xml and .bin`,
    ],
    adjustments: [],
    estimate: {
      // The result and the copy that is written before it is moved.
      diskBytes: resultBytes * 2,
      resultBytes,
      memoryBytes: Math.ceil(
        source.bytes * MEMORY_FACTOR +
          MEMORY_BASE_BYTES +
          (quantization === undefined ? 0 : QUANTIZATION_BYTES) +
          (calibration?.kind === 'arrays' ? calibration.bytes : 0),
      ),
    },
  };
}

/** What a published recipe says, apart from settings of the user's own. */
interface Followed {
  readonly settings: Settings;
  /** What no setting says: it decides the result as they do. */
  readonly built: {
    readonly name: string;
    readonly begins: readonly string[];
    readonly model_info?: Readonly<Record<string, unknown>>;
  };
  readonly steps: readonly string[];
}

function followedRecipe(
  { metadata: { recipe } }: PlannedModel,
  { settings: own }: ConversionRequest,
): Followed | undefined {
  if (recipe === undefined || 'refused' in recipe) return undefined;
  const { settings, name, begins, modelInfo } = recipe;
  const followed = Object.keys(settings).filter((key) => !Object.hasOwn(own, key));
  const what = followed.length === 0 ? '' : `: ${followed.join(', ')}`;
  return {
    settings,
    built: { name, begins, ...(modelInfo === undefined ? {} : { model_info: modelInfo }) },
    steps: [`follow its published recipe${what}`],
  };
}

/** What can be told without the model. */
function refuse({ name, precisions }: Kind, request: ConversionRequest): Refusal | undefined {
  const { precision, device, calibration } = request;
  if (!precisions.includes(precision)) {
    return {
      refused: `\`${name}\` does not make ${precision}`,
      hint: `it makes ${precisions.join(', ')}; without \`--converter\` the one that makes ${precision} is taken`,
      handlesModel: false,
    };
  }
  const forbidden = refusalOf(judge(precision, device));
  if (forbidden !== undefined || calibration === undefined || precision === 'int8') return forbidden;
  return {
    refused: `calibration data are for int8, and ${precision} takes none`,
    hint: `use \`--precision int8\`, or leave out \`--calibration\`: weights become ${precision} without data`,
    handlesModel: true,
  };
}

/** @throws ModeldlError USAGE for a setting of another converter or precision, and one that is not known */
function refuseSettings({ name, settings }: Kind, { precision, settings: given }: ConversionRequest): void {
  refuseWithout(
    given,
    DATA_AWARE_SETTINGS,
    `is for compression with data, which \`${name}\` does not do`,
    'leave it out; models of transformers take it with `--converter optimum`',
  );
  if (name === PLAIN.name) {
    const hint = 'use `--precision int8` or `int4`, or leave it out';
    refuseWithout(given, NNCF_ONLY_SETTINGS, `has no meaning with ${precision}`, hint);
  }
  refuseUnknownSettings(name, settings, given);
}

interface Work {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly steps: readonly string[];
  readonly quantization?: Quantization;
  readonly calibration?: CalibrationData;
}

/** What is done to the weights, and by what data. @throws ModeldlError USAGE, DISK */
async function workOf(request: ConversionRequest): Promise<Work> {
  const { settings, calibration: path } = request;
  if (path === undefined) {
    refuseWithout(
      settings,
      { ...QUANTIZATION_SETTINGS, ...IMAGE_SETTINGS },
      'needs `--calibration DATA`',
      'give data, or leave it out',
    );
    const compression = compressionOf(request);
    if (compression === undefined) return { settings: {}, steps: [] };
    const { mode } = compression;
    const only =
      request.precision === 'int8' ? ' (activations stay; `--calibration DATA` quantizes them too)' : '';
    return { settings: { compression }, steps: [`compress weights to ${mode}${only}`] };
  }
  refuseWithout(
    settings,
    COMPRESSION_SETTINGS,
    'is for weight compression',
    'leave it or `--calibration` out',
  );
  const quantization = quantizationOf(request);
  const calibration = await findCalibrationData(path, quantization.subset_size);
  const { kind, files, found } = calibration;
  if (kind === 'arrays') {
    refuseWithout(settings, IMAGE_SETTINGS, 'is for images, and arrays are taken as they are');
  }
  const image = imageSettingsOf(settings);
  const what =
    kind === 'images'
      ? `${files.length} of ${found} images`
      : `arrays of ${files.map(({ name }) => name).join(', ')}`;
  return {
    settings: {
      quantization,
      calibration: {
        kind,
        digest: await calibrationDigest(calibration),
        ...(Object.keys(image).length === 0 ? {} : { image }),
      },
    },
    steps: [`quantize weights and activations to int8 with ${what}`],
    quantization,
    calibration,
  };
}

/** @throws ModeldlError USAGE for a setting that has no meaning in what is asked for */
function refuseWithout(settings: Settings, meaningless: Settings, why: string, hint = 'leave it out'): void {
  const found = Object.keys(settings).find((key) => Object.hasOwn(meaningless, key));
  if (found !== undefined) throw new ModeldlError('USAGE', `\`--set ${found}\` ${why}`, { hint });
}

async function call({ kind, model, plan: conversion, outDir }: Job): ReturnType<JobWorker['call']> {
  const source = sourceOf(model);
  const { compression, quantization, inputs, outputs, fixed, recipe } = conversion.settings;
  const original = join(model.root, source.path);
  const result = join(outDir, `${stemOf(source)}.xml`);
  const calibration = await calibrationFor(conversion);
  if (kind === 'check') {
    const reason = whyNotCompared(source);
    const compared = reason === undefined ? { original } : { reason };
    return { request: { model: result, ...compared, calibration, inputs, outputs, recipe } };
  }
  const { precision } = conversion;
  const made = { input: original, output: result, precision, compression, quantization, fixed };
  return { request: { ...made, calibration, inputs, outputs, recipe } };
}

const planned = v.object({
  quantization: v.looseObject({ subset_size: v.number() }),
  calibration: v.looseObject({ image: v.exactOptional(v.looseObject({})) }),
});

/** The data of a plan as the worker takes them; undefined for a plan without. @throws ModeldlError USAGE, DISK */
async function calibrationFor({
  settings,
  calibration,
}: ConversionPlan): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (calibration === undefined) return undefined;
  const { quantization, calibration: given } = v.parse(planned, settings);
  const { kind, files } = await findCalibrationData(calibration, quantization.subset_size);
  return { kind, files, subset: quantization.subset_size, image: given.image };
}

/**
 * Whether the toolchain is here already and can run the original, which openvino-node can only of an IR: a comparison is
 * worth more than a faster check, and no installation. @throws ModeldlError BUSY
 */
async function comparesInPython(model: LocalModel, context: ConverterContext): Promise<boolean> {
  const source = sourceOf(model);
  if (source.format === 'ir' || whyNotCompared(source) !== undefined) return false;
  const settings = { ...context.settings, install: 'never' as const };
  try {
    await openvinoToolchain.ensure({ ...context, settings });
    return true;
  } catch (error) {
    if (error instanceof ModeldlError && error.code === 'TOOLCHAIN') return false;
    throw error;
  }
}

function sourceOf(model: LocalModel): Source {
  const source = findSource(model);
  if ('refused' in source) throw new Error(`Planned without a source: ${source.refused}`);
  return source;
}

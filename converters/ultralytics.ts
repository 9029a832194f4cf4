/** YOLO weights of Ultralytics to IR, by its own exporter: fp32, fp16, and int8 calibrated with the user's images. */
import { join } from 'node:path';
import * as v from 'valibot';
import type {
  ConversionPlan,
  ConversionRequest,
  Converter,
  LocalModel,
  PlannedModel,
  Precision,
  Refusal,
} from '../src/converter.js';
import { devicesOf, judge, refusalOf } from './rules.js';
import { createToolchain } from './toolchain/environment.js';
import { copyCalibration, describeCalibration } from './ultralytics/calibration.js';
import { EXPORT_SETTINGS, exportSettings, type ExportSettings } from './ultralytics/settings.js';
import { findWeights, refuseTask, type Weights } from './ultralytics/weights.js';
import { workerJobs, type Job, type JobWorker } from './worker-jobs.js';
import { workerDigest, type WorkerCall } from './worker.js';

export const ultralyticsToolchain = createToolchain({
  name: 'ultralytics',
  title: 'ultralytics, openvino, nncf and torch',
  downloadBytes: 2_900_000_000,
  installedBytes: 6_400_000_000,
  // By the sizes of the wheels: not measured.
  cpu: { downloadBytes: 700_000_000, installedBytes: 2_000_000_000 },
  shown: ['ultralytics', 'openvino', 'nncf', 'torch', 'picklescan'],
});

const WORKER = 'ultralytics_worker.py';
const PRECISIONS: readonly Precision[] = ['fp32', 'fp16', 'int8'];

/** Output bytes per byte of a `.pt`, which holds 16-bit weights as Ultralytics publishes them. */
const GROWTH: Readonly<Partial<Record<Precision, number>>> = { fp32: 2, fp16: 1.1, int8: 0.7 };
/** Seen with Ultralytics 8.4.190: 860 MB for models of 6 MB, 990 MB with nncf. */
const MEMORY_BASE_BYTES = 850 * 1024 ** 2;
const CALIBRATION_BYTES = 150 * 1024 ** 2;
/** The original, the traced graph and the result, each in 32 bits. */
const MEMORY_FACTOR = 8;

/**
 * Switches against calling out, installing and keeping files elsewhere (`utils/__init__.py` of 8.4.190): `YOLO_OFFLINE`
 * against its probe of the network, `YOLO_AUTOINSTALL` against pip, and its safe loader for pickles.
 */
const SWITCHES = {
  YOLO_OFFLINE: 'true',
  YOLO_AUTOINSTALL: 'false',
  ULTRALYTICS_SAFE_LOAD: '1',
  NO_ALBUMENTATIONS_UPDATE: '1',
};

export const ultralytics: Converter = {
  name: 'ultralytics',
  accepts: 'YOLO weights of Ultralytics (.pt)',
  makes: 'IR fp32, fp16, int8 by calibration, with metadata',
  toolchains: ['ultralytics'],
  settings: EXPORT_SETTINGS,
  plan,
  ...workerJobs({
    script: WORKER,
    toolchain: () => ultralyticsToolchain,
    call,
    // What is made in int8 here is calibrated.
    expected: ({ precision }) => (precision === 'int8' ? 'calibrated int8' : precision),
  }),
};

async function plan(model: PlannedModel, request: ConversionRequest): Promise<ConversionPlan | Refusal> {
  const weights = findWeights(model);
  if ('refused' in weights) return weights;
  const settings = exportSettings(request);
  const refusal = refuseTask(model, request) ?? refuse(request, settings);
  if (refusal !== undefined) return refusal;
  const { precision, device, task, calibration: images } = request;
  const calibration = images === undefined ? undefined : await describeCalibration(images, splitOf(settings));
  const resultBytes = Math.ceil(weights.bytes * (GROWTH[precision] ?? 1));
  return {
    converter: 'ultralytics',
    toolchain: 'ultralytics',
    reads: [weights.path],
    precision,
    device,
    ...(task === undefined ? {} : { task }),
    settings: {
      ...settings,
      ...(calibration === undefined ? {} : { calibration: { ...calibration } }),
      input: weights.path,
      worker: await workerDigest(WORKER),
    },
    ...(images === undefined ? {} : { calibration: images }),
    steps: [
      `load ${weights.path}${request.trustPickle ? ', as code if need be' : ' without running code of its pickle'}`,
      ...(calibration === undefined
        ? []
        : [`calibrate with ${counted(calibration.images)} of ${calibration.name}`]),
      `write ${weights.name}.xml, .bin and metadata.yaml`,
    ],
    adjustments: [],
    estimate: {
      // The result and the copy that is written before it is moved.
      diskBytes: resultBytes * 2,
      resultBytes,
      memoryBytes: Math.ceil(
        weights.bytes * MEMORY_FACTOR +
          MEMORY_BASE_BYTES +
          (calibration === undefined ? 0 : CALIBRATION_BYTES),
      ),
    },
    ...(request.trustPickle ? { consent: [`the pickle in ${weights.path} may run code`] } : {}),
  };
}

function counted(images: number): string {
  return images === 1 ? 'the image' : `the ${images} images`;
}

function splitOf({ arguments: given }: ExportSettings): 'val' | 'test' | 'train' {
  const { split } = given;
  return split === 'test' || split === 'train' ? split : 'val';
}

/** What can be told without the model. */
function refuse(request: ConversionRequest, settings: ExportSettings): Refusal | undefined {
  const { precision, device, calibration } = request;
  const refused = (reason: string, hint: string): Refusal => ({ refused: reason, hint, handlesModel: true });
  if (!PRECISIONS.includes(precision)) {
    return refused(
      `YOLO models are not made in ${precision}`,
      'the nearest is `--precision int8 --calibration …`',
    );
  }
  const forbidden = refusalOf(judge(precision, device, 'vision'));
  if (forbidden !== undefined) return forbidden;
  if (devicesOf(device).includes('NPU') && settings.arguments['dynamic'] === true) {
    return refused('the NPU runs vision models of a fixed size only', 'leave out `--set dynamic`');
  }
  if (precision === 'int8' && calibration === undefined) {
    return refused(
      'int8 needs images to calibrate a YOLO model with',
      'name them with `--calibration`: the yaml of a data set, or for classification a folder with images at ' +
        'val/<class>/; or use `--precision fp16`',
    );
  }
  if (precision !== 'int8' && calibration !== undefined) {
    return refused(
      `nothing is calibrated for ${precision}`,
      'leave out `--calibration`, or use `--precision int8`',
    );
  }
  return undefined;
}

async function call(job: Job): ReturnType<JobWorker['call']> {
  const { kind, model, plan: conversion, outDir, context } = job;
  const { path, name } = weightsOf(model);
  return {
    request: {
      ...(kind === 'convert' ? await exportRequest(job) : { directory: outDir }),
      input: join(model.root, path),
      file: path,
      name,
      precision: conversion.precision,
      trustPickle: conversion.consent !== undefined,
    },
    environment: { ...SWITCHES, YOLO_CONFIG_DIR: context.workDir },
  };
}

async function exportRequest({
  plan: { settings, task, calibration: images },
  outDir,
  context,
}: Job): Promise<WorkerCall['request']> {
  const given = v.parse(settingsOf, settings);
  const request = {
    output: outDir,
    check: context.wantsCheck,
    ...given,
    ...(task === undefined ? {} : { task }),
  };
  if (images === undefined) return request;
  const calibration = v.parse(v.looseObject({ kind: v.string(), name: v.string() }), settings['calibration']);
  const path = await copyCalibration(images, splitOf(given), join(context.workDir, 'data'));
  return { ...request, calibration: { ...calibration, path } };
}

const settingsOf = v.object({
  arguments: v.record(v.string(), v.union([v.number(), v.boolean(), v.string(), v.array(v.number())])),
  modelInfo: v.record(v.string(), v.string()),
});

function weightsOf(model: LocalModel): Weights {
  const weights = findWeights(model);
  if ('refused' in weights) throw new Error(`Planned without weights: ${weights.refused}`);
  return weights;
}

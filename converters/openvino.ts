/** Plain conversion to IR, fp32 or fp16, and weight compression to int8, int4 and relatives, in one toolchain. */
import { join } from 'node:path';
import * as v from 'valibot';
import type {
  CheckReport,
  ConversionPlan,
  ConversionReport,
  ConversionRequest,
  Converter,
  ConverterContext,
  LocalModel,
  PlannedModel,
  Precision,
  Refusal,
} from '../src/converter.js';
import { assetPath } from './assets.js';
import { COMPRESSION_SETTINGS, compressionOf } from './compression.js';
import { checkReport } from './check-report.js';
import { judgeCheck } from './expectations.js';
import { judge } from './rules.js';
import { refuseUnknownSettings } from './settings.js';
import { findSource, stemOf, type Source } from './source.js';
import { createToolchain } from './toolchain/environment.js';
import { runWorker, workerDigest } from './worker.js';

export const openvinoToolchain = createToolchain({
  name: 'openvino',
  title: 'openvino, nncf and runtimes of the originals',
  downloadBytes: 202_000_000,
  installedBytes: 760_000_000,
  shown: ['openvino', 'nncf', 'onnxruntime', 'ai-edge-litert', 'numpy'],
});

const TAKES = 'ONNX, TensorFlow Lite, TensorFlow (frozen), PaddlePaddle, OpenVINO IR';
const WORKER = 'openvino_worker.py';
/** What is read and written sits in memory together with one copy that compression works on. */
const MEMORY_FACTOR = 3;
const MEMORY_BASE_BYTES = 400 * 1024 ** 2;
/** Formats whose own runtime is in the toolchain. */
const COMPARABLE: ReadonlySet<string> = new Set(['onnx', 'ir', 'tflite']);
/** Larger originals are not run beside the result: both would sit in memory together. */
const COMPARE_BYTES = 2 * 1024 ** 3;

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

export const openvino: Converter = {
  name: 'openvino',
  accepts: TAKES,
  makes: 'IR fp32, fp16',
  toolchains: ['openvino'],
  settings: {},
  plan: (model, request) => plan('openvino', ['fp32', 'fp16'], {}, model, request),
  run,
  check,
};

export const nncf: Converter = {
  name: 'nncf',
  accepts: TAKES,
  makes: 'IR int8, int4, nf4, mxfp4, cb4 by weight compression',
  toolchains: ['openvino'],
  settings: COMPRESSION_SETTINGS,
  plan: (model, request) =>
    plan('nncf', ['int8', 'int4', 'nf4', 'mxfp4', 'cb4'], COMPRESSION_SETTINGS, model, request),
  run,
  check,
};

async function plan(
  converter: string,
  precisions: readonly Precision[],
  known: Readonly<Record<string, string>>,
  model: PlannedModel,
  request: ConversionRequest,
): Promise<ConversionPlan | Refusal> {
  const source = findSource(model);
  if ('refused' in source) return source;
  if (!precisions.includes(request.precision)) {
    return { refused: `\`${converter}\` does not make ${request.precision}`, handlesModel: false };
  }
  const verdict = judge(request.precision, request.device);
  if (!verdict.allowed) {
    return {
      refused: verdict.reason ?? 'the device does not run this precision',
      ...(verdict.instead === undefined ? {} : { hint: `use \`${verdict.instead}\`` }),
      handlesModel: true,
    };
  }
  if (request.calibration !== undefined) {
    return {
      refused: 'calibrated quantization is not available yet',
      hint: 'leave out `--calibration` for weight compression',
      handlesModel: true,
    };
  }
  refuseUnknownSettings(converter, known, request.settings);
  const compression = compressionOf(request);
  const resultBytes = Math.ceil(source.bytes * SHRINK[request.precision]);
  return {
    converter,
    toolchain: 'openvino',
    reads: source.reads,
    precision: request.precision,
    device: request.device,
    ...(request.task === undefined ? {} : { task: request.task }),
    settings: {
      ...(compression === undefined ? {} : { compression }),
      input: source.path,
      worker: await workerDigest(WORKER),
    },
    steps: [
      `read ${source.path} as ${source.format}`,
      ...(compression === undefined ? [] : [`compress weights to ${compression.mode}`]),
      `write ${stemOf(source)}.xml and .bin`,
    ],
    adjustments: [],
    estimate: {
      // The result and the copy that is written before it is moved.
      diskBytes: resultBytes * 2,
      resultBytes,
      memoryBytes: Math.ceil(source.bytes * MEMORY_FACTOR + MEMORY_BASE_BYTES),
    },
  };
}

const converted = v.object({
  versions: v.record(v.string(), v.string()),
  warnings: v.array(v.string()),
});

async function run(
  model: LocalModel,
  conversion: ConversionPlan,
  outDir: string,
  context: ConverterContext,
): Promise<ConversionReport> {
  const source = sourceOf(model);
  const { compression } = conversion.settings;
  const result = await work(model, conversion, context, {
    job: 'convert',
    input: join(model.root, source.path),
    output: join(outDir, `${stemOf(source)}.xml`),
    precision: conversion.precision,
    ...(compression === undefined ? {} : { compression }),
  });
  return v.parse(converted, result);
}

async function check(
  model: LocalModel,
  conversion: ConversionPlan,
  outDir: string,
  context: ConverterContext,
): Promise<CheckReport> {
  const source = sourceOf(model);
  const { format, bytes } = source;
  const reason = !COMPARABLE.has(format)
    ? `the toolchain has no runtime for ${format}`
    : bytes > COMPARE_BYTES
      ? 'the original weighs over 2 GB'
      : undefined;
  const result = await work(model, conversion, context, {
    job: 'check',
    model: join(outDir, `${stemOf(source)}.xml`),
    ...(reason === undefined ? { original: join(model.root, source.path) } : { reason }),
  });
  return judgeCheck(conversion.precision, v.parse(checkReport, result));
}

async function work(
  model: LocalModel,
  conversion: ConversionPlan,
  context: ConverterContext,
  request: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const { python } = await openvinoToolchain.ensure(context);
  const { memoryBytes } = conversion.estimate;
  return runWorker(
    { python, script: assetPath('python', WORKER), request, reference: model.reference, memoryBytes },
    context,
  );
}

function sourceOf(model: LocalModel): Source {
  const source = findSource(model);
  if ('refused' in source) throw new Error(`Planned without a source: ${source.refused}`);
  return source;
}

/** Models of transformers, sentence-transformers, diffusers and timm, exported as `optimum-cli export openvino` does. */
import { join } from 'node:path';
import * as v from 'valibot';
import {
  PRECISIONS,
  type ConversionPlan,
  type ConversionRequest,
  type Converter,
  type ConverterContext,
  type PlannedModel,
  type Precision,
  type Refusal,
  type Toolchain,
} from '../src/converter.js';
import type { Expected } from './expectations.js';
import { linkTree } from './linked.js';
import { describeOriginal, type Original } from './optimum/describe.js';
import { npuSettings } from './optimum/npu.js';
import { readsOf } from './optimum/reads.js';
import {
  isFetched,
  OPTIMUM_SETTINGS,
  readSettings,
  refuseUnfit,
  type OptimumSettings,
} from './optimum/settings.js';
import { defaultConfiguration, locks, typeNamed } from './optimum/table.js';
import { kindOf, taskOf } from './optimum/task.js';
import { OPTIMUM_PACKAGES, optimumToolchains } from './optimum-toolchains.js';
import { devicesOf, judge, refusalOf } from './rules.js';
import { workerJobs, type Job, type JobWorker } from './worker-jobs.js';
import { variables, workerDigest } from './worker.js';

const WORKER = 'optimum_worker.py';
/** Larger originals are not run beside the result: both would sit in memory together. */
const COMPARE_BYTES = 2 * 1024 ** 3;
/** Tokens of a document, as `export_model.py` has it. */
const MAX_DOC_LENGTH = 16_000;
/** Of a process that exports, by its peak for models of 90 MB to 0.5 GB: libraries, and copies of the weights. */
const MEMORY_BASE_BYTES = 900 * 1024 ** 2;
const MEMORY_FACTOR = 2.5;
/** Bytes of a weight in the result, scales included. */
const RESULT_BYTES: Readonly<Record<Precision, number>> = {
  fp32: 4,
  fp16: 2,
  int8: 1.05,
  int4: 0.65,
  nf4: 0.65,
  mxfp4: 0.65,
  cb4: 0.65,
};

export const optimum: Converter = {
  name: 'optimum',
  accepts: 'transformers, sentence-transformers, diffusers, timm (safetensors or PyTorch)',
  makes: `IR ${PRECISIONS.join(', ')}, with tokenizers`,
  toolchains: ['optimum', 'optimum-5.0', 'optimum-4.57', 'optimum-4.53'],
  settings: OPTIMUM_SETTINGS,
  plan,
  ...workerJobs({ script: WORKER, toolchain, call, expected }),
};

/** What the worker needs to know beside the files. JSON values: a part of the key. */
const settingsSchema = v.object({
  name: v.string(),
  library: v.string(),
  arguments: v.array(v.string()),
  given: v.record(v.string(), v.boolean()),
  configuration: v.exactOptional(v.unknown()),
  pairs: v.exactOptional(v.object({ length: v.number() })),
  shape: v.exactOptional(v.record(v.string(), v.array(v.number()))),
  /** What it is calibrated with, where that has to be fetched. */
  dataset: v.exactOptional(v.string()),
  code: v.exactOptional(v.boolean()),
  pickle: v.exactOptional(v.boolean()),
  worker: v.string(),
});

async function plan(model: PlannedModel, request: ConversionRequest): Promise<ConversionPlan | Refusal> {
  const original = await describeOriginal(model);
  if (original === undefined) {
    return {
      refused: 'it has no config.json or model_index.json of transformers, diffusers or timm',
      handlesModel: false,
    };
  }
  if ('refused' in original) return original;
  const asked = readSettings(request);
  const { variant } = asked;
  const reads = readsOf(model, original, {
    ...(variant === undefined ? {} : { variant }),
    withCode: request.trustRemoteCode,
  });
  if ('refused' in reads) return reads;
  const library = asked.library ?? original.library;
  refuseUnfit(library, request.settings);
  if (request.calibration !== undefined) return withoutOwnData();
  const code = codeNeeded(original, request);
  if (code !== undefined) return code;
  // What nobody exports has no task either.
  const lock = lockFor(original, library, request.toolchain);
  if ('refused' in lock) return lock;
  const task = taskOf(model, { ...original, library }, request.task);
  if ('refused' in task) return task;
  const kind = kindOf(model, original, task.name);
  const verdict = judge(request.precision, request.device, kind);
  const forbidden = refusalOf(verdict);
  if (forbidden !== undefined) return forbidden;
  const ownCode = reads.paths.some((path) => path.endsWith('.py'));
  const parameters = reads.weightBytes / original.weightBytes;
  const forNpu = devicesOf(request.device).includes('NPU');
  const suited = forNpu
    ? npuSettings(request, kind, { parameters, original })
    : { settings: request.settings, adjustments: [] };
  if ('refused' in suited) return suited;
  const settings = readSettings({ precision: request.precision, settings: suited.settings });
  const configuration = configurationOf(model, original, request, settings);
  if (configuration !== undefined && 'refused' in configuration) return configuration;
  return {
    converter: 'optimum',
    toolchain: lock.name,
    reads: reads.paths,
    precision: request.precision,
    device: request.device,
    task: task.name,
    settings: {
      name: model.name,
      library,
      arguments: settings.arguments,
      given: settings.given,
      ...(configuration === undefined ? {} : { configuration: configuration.applied }),
      ...(isFetched(configuration?.dataset) ? { dataset: configuration.dataset } : {}),
      ...(suited.shape === undefined ? {} : { shape: suited.shape }),
      ...(ownCode ? { code: true } : {}),
      ...(request.trustPickle && reads.pickles.length > 0 ? { pickle: true } : {}),
      ...(kind === 'rerank' && request.layout === 'ovms'
        ? { pairs: { length: settings.maxDocLength ?? MAX_DOC_LENGTH } }
        : {}),
      worker: await workerDigest(WORKER),
    },
    steps: [
      `load ${original.architecture ?? original.type} with ${library}${reads.pickles.length > 0 ? ' from a pickle' : ''}`,
      `export for ${task.name}`,
      ...(configuration === undefined ? [] : [`compress weights: ${configuration.shown}`]),
      ...(suited.shape === undefined ? [] : ['fix the shapes']),
      ...(reads.paths.some(isVocabulary) ? ['convert the tokenizer'] : []),
    ],
    adjustments: [
      ...suited.adjustments,
      ...(verdict.notice === undefined ? [] : [verdict.notice]),
      ...loadedOtherwise(original, request),
      ...untriedIn(request.toolchain, original, library),
    ],
    estimate: estimateOf(parameters, original, request.precision),
    consent: [
      ...(ownCode ? ['remote code'] : []),
      ...(request.trustPickle && reads.pickles.length > 0 ? ['pickle'] : []),
    ],
  };
}

/** Its data come by name, or the model writes them itself; a path would be left out without a word. */
function withoutOwnData(): Refusal {
  return {
    refused: '`optimum` takes data for calibration by name, not as files',
    hint: 'use `--set dataset=…`, such as `wikitext2`, in place of `--calibration`',
    handlesModel: true,
  };
}

/** @returns why it cannot be loaded, undefined when it can */
function codeNeeded(original: Original, request: ConversionRequest): Refusal | undefined {
  const elsewhere = original.code.find((origin) => origin !== '.');
  if (elsewhere !== undefined && request.trustRemoteCode) {
    return {
      refused: `it is loaded by code of another model, ${elsewhere}, which is not fetched`,
      hint: 'ask its maker for a copy that holds its code, or for one that transformers can load without',
      handlesModel: true,
    };
  }
  const known = typeNamed(original.library, original.type);
  if (original.code.length === 0 || request.trustRemoteCode || known?.remoteCode !== true) return undefined;
  return {
    refused: `${original.architecture ?? original.type} is loaded by code that comes with the model`,
    hint: 'read that code; if you trust it, `--trust-remote-code` runs it',
    handlesModel: true,
  };
}

/** Where transformers has a class of its own, the result may be another model than its maker means. */
function loadedOtherwise(
  { code, type }: Original,
  { trustRemoteCode }: ConversionRequest,
): readonly string[] {
  if (code.length === 0 || trustRemoteCode) return [];
  return [`Code that comes with the model is not run: the tools load it as a ${type} of their own`];
}

/** A toolchain that somebody insists on may hold more than its lock does. */
function untriedIn(asked: string | undefined, original: Original, library: string): readonly string[] {
  const known = typeNamed(library, original.type)?.locks ?? [];
  if (asked === undefined || known.includes(asked)) return [];
  const others = known.length === 0 ? 'none does' : `${known.join(', ')} can`;
  return [`The toolchain \`${asked}\` is not known to export models of type ${original.type}: ${others}`];
}

/** The newest toolchain that exports such models, or the one that was asked for. */
function lockFor(
  original: Original,
  library: string,
  asked: string | undefined,
): { readonly name: string } | Refusal {
  if (asked !== undefined) return { name: asked };
  const type = typeNamed(library, original.type);
  const [name] = type?.locks ?? [];
  if (name !== undefined) return { name };
  const tried = locks().map(
    ({ optimumIntel, transformers }) => `${optimumIntel} with transformers ${transformers}`,
  );
  return {
    refused: `no optimum-intel exports models of type ${original.type}: not ${tried.join(', not ')}`,
    hint: 'look for an ONNX or OpenVINO copy of it',
    handlesModel: true,
  };
}

interface Configuration {
  /** What the exporter applies, undefined where its settings say it all. */
  readonly applied: unknown;
  /** For people. */
  readonly shown: string;
  readonly dataset?: string | undefined;
}

/** How weights are compressed: by the settings, by the exporter's own configuration for this model, or by its default. */
function configurationOf(
  model: PlannedModel,
  original: Original,
  request: ConversionRequest,
  settings: OptimumSettings,
): Configuration | Refusal | undefined {
  const { precision } = request;
  if (precision === 'fp32' || precision === 'fp16') return undefined;
  const how = settings.quantMode ?? precision;
  const names = [model.name, ...(original.nameOrPath === undefined ? [] : [original.nameOrPath])];
  const own = settings.takesDefault
    ? defaultConfiguration(how, settings.quantMode !== undefined, names)
    : undefined;
  const dataset = own === undefined ? settings.dataset : own.dataset;
  if (own === undefined && settings.quantMode !== undefined && dataset === undefined) {
    return {
      refused: `quant-mode ${settings.quantMode} quantizes activations, which takes data`,
      hint: 'add `--set dataset=wikitext2`, or `dataset=auto` for models that generate text',
      handlesModel: true,
    };
  }
  if (request.offline && isFetched(dataset)) {
    return {
      refused: `${how} of this model is calibrated with the data set ${dataset}, which \`--offline\` forbids to fetch`,
      hint: 'give settings of your own, such as `--set group-size=128`, or leave out `--offline`',
      handlesModel: true,
    };
  }
  const given = settings.arguments.slice(2).map((argument) => argument.replace(/^--/, ''));
  const shown =
    own === undefined
      ? [how, ...given].join(', ')
      : `${how} by the configuration of optimum-intel for ${own.model}${dataset === undefined ? '' : `, with the data set ${dataset}`}`;
  return { applied: own?.configuration ?? null, shown, dataset };
}

function estimateOf(
  parameters: number,
  original: Original,
  precision: Precision,
): ConversionPlan['estimate'] {
  const resultBytes = Math.ceil(parameters * RESULT_BYTES[precision]);
  // Compressed weights are made of exported ones, which are on the disk beside them.
  const exportedBytes = precision === 'fp32' || precision === 'fp16' ? 0 : parameters * original.weightBytes;
  return {
    diskBytes: Math.ceil(exportedBytes + resultBytes * 2),
    resultBytes,
    memoryBytes: Math.ceil(parameters * original.weightBytes * MEMORY_FACTOR + MEMORY_BASE_BYTES),
  };
}

/** Where activations are quantized as well, a result is as near as its data made it. */
function expected({ precision, settings }: ConversionPlan): Expected {
  const { arguments: given } = v.parse(settingsSchema, settings);
  return given.includes('--quant-mode') && precision === 'int8' ? 'calibrated int8' : precision;
}

function toolchain({ toolchain: name }: ConversionPlan): Toolchain {
  const found = optimumToolchains.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`Planned with an unknown toolchain: ${name}`);
  return found;
}

async function call({ model, plan: conversion, outDir, context }: Job): ReturnType<JobWorker['call']> {
  const settings = v.parse(settingsSchema, conversion.settings);
  const { name, library, code = false, pickle = false, shape, pairs } = settings;
  const { task = '', precision, reads } = conversion;
  // Apart from what the tools put into their home.
  const directory = join(context.workDir, 'model');
  await linkTree(model.root, reads, join(directory, name));
  const source = model.files.reduce((sum, { path, bytes }) => sum + (reads.includes(path) ? bytes : 0), 0);
  const statistics = argumentOf(settings.arguments, 'quantization-statistics-path');
  const tokenizer = reads.some((path) => !path.includes('/') && isVocabulary(path));
  const fetches = settings.dataset !== undefined;
  return {
    request: {
      directory,
      name,
      output: outDir,
      task,
      library,
      precision,
      arguments: [
        // With `=`: a name may begin as an option does.
        ...[`--model=${name}`, `--task=${task}`, `--library=${library}`],
        ...settings.arguments,
        ...(code ? ['--trust-remote-code'] : []),
        // transformers 5 makes an empty one where there is none, and a server would take it for the model's.
        ...(library === 'transformers' && !tokenizer ? ['--disable-convert-tokenizer'] : []),
        outDir,
      ],
      given: settings.given,
      trustRemoteCode: code,
      trustPickle: pickle,
      tokenizer,
      packages: OPTIMUM_PACKAGES,
      check: context.wantsCheck,
      network: fetches,
      writes: statistics === undefined ? [] : [statistics],
      ...(shape === undefined ? {} : { shape }),
      ...(pairs === undefined ? {} : { pairs }),
      ...(source > COMPARE_BYTES ? { reason: 'the original weighs over 2 GB' } : {}),
    },
    environment: {
      ...(pickle ? {} : { TORCH_FORCE_WEIGHTS_ONLY_LOAD: '1' }),
      ...(fetches ? dataAccess(context, !code && !pickle) : {}),
    },
  };
}

function argumentOf(given: readonly string[], name: string): string | undefined {
  const start = `--${name}=`;
  return given.find((argument) => argument.startsWith(start))?.slice(start.length);
}

/** What a tokenizer is made of: beside the model, and of pipelines in the directories of their tokenizers. */
function isVocabulary(path: string): boolean {
  return /(^|\/)(tokenizer\.json|vocab\.(json|txt)|[^/]*\.(model|spm|tiktoken))$/.test(path);
}

/**
 * Data sets come through their own library: the one thing that a worker fetches, and only when it is asked for. Code of
 * the model, which could read the token, gets none.
 */
function dataAccess({ environment }: ConverterContext, withToken: boolean): Record<string, string> {
  const kept = ['HF_ENDPOINT', 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'SSL_CERT_FILE'];
  return {
    ...variables(environment, withToken ? [...kept, 'HF_TOKEN'] : kept),
    HF_HUB_OFFLINE: '0',
    TRANSFORMERS_OFFLINE: '0',
  };
}

/** Converting: from a stored model to another one beside it, made once per set of inputs and settings. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { DEFAULTS } from './config/schema.js';
import { parse, withFileHint, type Context } from './context.js';
import {
  PRECISIONS,
  type CheckReport,
  type ConversionPlan,
  type ConversionRequest,
  type Converter,
  type ConverterContext,
  type LocalModel,
  type Precision,
  type Refusal,
} from './converter.js';
import { makeDirectories } from './directories.js';
import { diskError, ModeldlError } from './errors.js';
import { describePulled, pullModel, withRevision, type Pulled, type PullOptions } from './pull.js';
import { redactReference } from './redact.js';
import type { Reference } from './reference.js';
import type { ConvertedModel, ConvertPlan } from './results.js';
import { outputNeed, requireOutput, requireSpace, writeModelOutput } from './space.js';
import { conversionName, findStored, modelLocation } from './stored.js';
import { adoptBlob } from './store/blobs.js';
import { withClaim } from './store/claim.js';
import { hashFile } from './store/hash.js';
import { assertWritable, inStore, uniqueName } from './store/layout.js';
import {
  checkModel,
  findModel,
  publishModel,
  touchUsed,
  updateRecord,
  type StoredModel,
} from './store/models.js';
import type { ConversionRecord, ModelKey } from './store/record.js';
import { toolchainContext, toolchainNamed } from './toolchains.js';

export interface ConvertOptions extends PullOptions {
  readonly precision?: string;
  readonly device?: string;
  readonly task?: string;
  /** Name of the converter, when not the first that takes the model. */
  readonly converter?: string;
  /** Absolute path. */
  readonly calibration?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
  /** Load and run the result once; default true. */
  readonly check?: boolean;
}

interface Prepared {
  readonly pulled: Pulled;
  readonly local: LocalModel;
  readonly converter: Converter;
  readonly plan: ConversionPlan;
  /** sha256 over everything that decides the result. */
  readonly key: string;
  readonly modelKey: ModelKey;
}

/** Pulls if needed, converts if not stored, checks. @throws ModeldlError CONVERSION, UNSUPPORTED, TOOLCHAIN, … */
export async function convert(
  context: Context,
  text: string,
  options: ConvertOptions,
): Promise<ConvertedModel> {
  await requireOutput(options);
  const prepared = await prepare(context, text, options);
  const { model, fresh } = await storedOrMade(context, prepared, options);
  // Of a stored one too: who asks the second time must not take it for better than the first did.
  for (const message of model.record.conversion?.check?.warnings ?? []) {
    context.emit({ type: 'warning', message: `${prepared.local.reference}: ${message}` });
  }
  await writeModelOutput(context, model, options);
  return describe(prepared, model, redactReference(text), options.output, !fresh);
}

/** What `convert` would do. Pulls the model, since the files decide; converts nothing. */
export async function planConvert(
  context: Context,
  text: string,
  options: ConvertOptions,
): Promise<ConvertPlan> {
  const { pulled, converter, plan, key, modelKey } = await prepare(context, text, options);
  const toolchain = toolchainNamed(context, converter.toolchain);
  const { state } = await toolchain.status(toolchainContext(context));
  return {
    reference: conversionReference(pulled.model, plan),
    converter: converter.name,
    precision: plan.precision,
    device: plan.device,
    task: plan.task ?? null,
    toolchain: {
      name: toolchain.name,
      state,
      downloadBytes: state === 'missing' ? toolchain.downloadBytes : 0,
    },
    steps: plan.steps,
    adjustments: plan.adjustments,
    settings: plan.settings,
    key,
    stored: (await findModel(context.store, modelKey)) !== undefined,
    estimate: plan.estimate,
  };
}

async function prepare(context: Context, text: string, options: ConvertOptions): Promise<Prepared> {
  const request = requestOf(options);
  const pulled = await pullNamed(context, text, options).catch(async (error: unknown) => {
    throw await withFileHint(context, text, error);
  });
  const { record, directory } = pulled.model;
  const local: LocalModel = {
    reference: record.reference,
    hub: record.hub,
    id: record.id,
    root: directory,
    files: record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    metadata: {
      ...(record.task === undefined ? {} : { task: record.task }),
      ...(record.library === undefined ? {} : { library: record.library }),
      ...(record.license === undefined ? {} : { license: record.license }),
    },
  };
  const { converter, plan } = await chooseConverter(context, local, request, options.converter);
  const toolchain = await toolchainNamed(context, converter.toolchain).digest(toolchainContext(context));
  const key = conversionKey(local, plan, toolchain);
  const { hub, id, revision, selection: chosen } = record;
  const modelKey = {
    hub,
    id,
    revision,
    ...(chosen === undefined ? {} : { selection: chosen }),
    conversion: { precision: plan.precision, device: plan.device, key },
  };
  return { pulled, local, converter, plan, key, modelKey };
}

async function pullNamed(context: Context, text: string, options: ConvertOptions): Promise<Pulled> {
  const reference = withRevision(parse(context, text, options.unpack), options.revision);
  if (reference.conversion !== undefined) return storedConversion(context, reference);
  // The output is the conversion's.
  const { output, ...selection } = options;
  return pullModel(context, reference, { ...selection, force: false });
}

/** A conversion as the origin of another one. @throws ModeldlError NOT_FOUND, USAGE when several match, INTEGRITY */
async function storedConversion(context: Context, reference: Reference): Promise<Pulled> {
  const model = await findStored(context, reference, {});
  const { damaged, missing } = await checkModel(context.store, model, false, context.signal);
  if (damaged.length + missing.length > 0) {
    const { originReference = '' } = model.record.conversion ?? {};
    throw new ModeldlError('INTEGRITY', `The stored conversion is damaged: ${model.record.reference}`, {
      hint: `make it again with \`modeldl convert ${originReference}\``,
      details: { reference: model.record.reference },
    });
  }
  return { model, reference, downloadedBytes: 0, stale: false };
}

/** What a conversion is called: by the model it began with, however many conversions lie between. */
function conversionReference({ record }: StoredModel, plan: ConversionPlan): string {
  const origin =
    record.conversion === undefined ? record.reference : record.reference.replace(/\+[^+]*$/, '');
  return `${origin}+${conversionName(plan)}`;
}

/** @throws ModeldlError USAGE for a precision or device that does not exist */
function requestOf(options: ConvertOptions): ConversionRequest {
  const { task, calibration } = options;
  return {
    precision: precisionNamed(options.precision ?? DEFAULTS.convert.precision),
    device: deviceNamed(options.device ?? DEFAULTS.convert.device),
    ...(task === undefined ? {} : { task }),
    ...(calibration === undefined ? {} : { calibration }),
    settings: options.settings ?? {},
    trustRemoteCode: options.trustRemoteCode ?? false,
    trustPickle: options.trustPickle ?? false,
  };
}

function precisionNamed(text: string): Precision {
  const precision = PRECISIONS.find((candidate) => candidate === text.toLowerCase());
  if (precision !== undefined) return precision;
  throw new ModeldlError('USAGE', `Unknown precision: ${text}`, {
    hint: `expected one of ${PRECISIONS.join(', ')}`,
  });
}

const DEVICE = /^(CPU|GPU|NPU|AUTO)(\.\d+)?$|^HETERO:(CPU|GPU|NPU)(\.\d+)?(,(CPU|GPU|NPU)(\.\d+)?)+$/;

function deviceNamed(text: string): string {
  const device = text.toUpperCase();
  if (DEVICE.test(device)) return device;
  throw new ModeldlError('USAGE', `Unknown device: ${text}`, {
    hint: 'expected CPU, GPU, NPU, AUTO or HETERO with at least two of them, such as HETERO:GPU,CPU',
  });
}

async function chooseConverter(
  context: Context,
  local: LocalModel,
  request: ConversionRequest,
  name: string | undefined,
): Promise<{ converter: Converter; plan: ConversionPlan }> {
  const candidates = context.converters.filter((converter) => name === undefined || converter.name === name);
  if (candidates.length === 0) {
    throw new ModeldlError('USAGE', `Unknown converter: ${name ?? ''}`, {
      hint: `known converters: ${context.converters.map((converter) => converter.name).join(', ')}`,
    });
  }
  const refusals: Refusal[] = [];
  for (const converter of candidates) {
    const plan = await converter.plan(local, request);
    if (!('refused' in plan)) return { converter, plan };
    refusals.push(plan);
  }
  const refusal = refusals.find(({ handlesModel }) => handlesModel) ?? refusals[0];
  throw new ModeldlError(
    'UNSUPPORTED',
    `Cannot convert ${local.reference}: ${refusal?.refused ?? 'no converter takes it'}`,
    {
      hint: refusal?.hint ?? '`modeldl converters` lists what each takes',
      details: { reference: local.reference },
    },
  );
}

/**
 * sha256 over everything that decides the result, and nothing else: names of models, what people are told and what is
 * estimated may change without a new conversion.
 */
export function conversionKey(
  local: Pick<LocalModel, 'files'>,
  plan: ConversionPlan,
  toolchain: string,
): string {
  const reads = local.files
    .filter(({ path }) => plan.reads.includes(path))
    .map(({ path, sha256 }) => `${path}\0${sha256}`)
    .sort();
  const { converter, precision, device, task, settings } = plan;
  return createHash('sha256')
    .update(canonicalJson({ reads, converter, precision, device, task: task ?? null, settings, toolchain }))
    .digest('hex');
}

/** JSON with sorted keys, so that equal values have equal text. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

async function storedOrMade(
  context: Context,
  prepared: Prepared,
  options: ConvertOptions,
): Promise<{ model: StoredModel; fresh: boolean }> {
  const wantsCheck = options.check ?? true;
  const reuse = async (): Promise<StoredModel | undefined> => {
    const model = options.force === true ? undefined : await findIntact(context, prepared.modelKey);
    if (model === undefined) return undefined;
    const needsCheck = wantsCheck && model.record.conversion?.check === undefined && context.store.writable;
    return needsCheck ? checkStored(context, prepared, model) : model;
  };
  const stored = await reuse();
  if (stored !== undefined) return { model: stored, fresh: false };
  assertWritable(context.store);
  const session = await context.session();
  const waiting = {
    maxWaitMs: context.maxWaitMs,
    signal: context.signal,
    onWait: (holder: string) => {
      context.emit({ type: 'waiting', what: `the conversion of ${prepared.local.reference}`, holder });
    },
  };
  return withClaim(context.store, session, `conversion ${prepared.key}`, waiting, async () => {
    const meanwhile = await reuse();
    if (meanwhile !== undefined) return { model: meanwhile, fresh: false };
    return { model: await make(context, prepared, options), fresh: true };
  });
}

async function findIntact(context: Context, key: ModelKey): Promise<StoredModel | undefined> {
  const model = await findModel(context.store, key);
  if (model === undefined) return undefined;
  const { damaged, missing } = await checkModel(context.store, model, false, context.signal);
  if (damaged.length + missing.length > 0) {
    context.emit({ type: 'warning', message: `The stored conversion was damaged and is made again` });
    return undefined;
  }
  await touchUsed(context.store, model.path);
  return model;
}

/** A directory of this conversion, with what its converter may use. Removed afterwards. */
async function inWorkDirectory<Result>(
  context: Context,
  prepared: Prepared,
  work: (directory: string, converterContext: ConverterContext) => Promise<Result>,
): Promise<Result> {
  const directory = inStore(context.store, 'tmp', uniqueName());
  const workDir = join(directory, 'work');
  const logFile = inStore(
    context.store,
    'logs',
    `${prepared.converter.name}-${prepared.key.slice(0, 8)}.log`,
  );
  try {
    await makeDirectories(workDir);
    await mkdir(join(directory, 'out'));
    return await work(join(directory, 'out'), { ...toolchainContext(context), logFile, workDir });
  } catch (error) {
    throw diskError(error, directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function make(context: Context, prepared: Prepared, options: ConvertOptions): Promise<StoredModel> {
  const { local, converter, plan } = prepared;
  const { check: wantsCheck = true } = options;
  const { reference } = local;
  const { diskBytes, resultBytes } = plan.estimate;
  await requireSpace(context, [
    { directory: context.store.root, bytes: diskBytes, what: 'the conversion' },
    // One file as large as the result, whose names are not known yet.
    await outputNeed(context, options, [{ path: prepared.key, bytes: resultBytes }]),
  ]);
  context.emit({ type: 'note', message: `Converting with \`${converter.name}\`: ${plan.steps.join(', ')}` });
  for (const adjustment of plan.adjustments) context.emit({ type: 'note', message: adjustment });
  return inWorkDirectory(context, prepared, async (outDir, converterContext) => {
    const started = performance.now();
    const report = await converter.run(local, plan, outDir, converterContext);
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    for (const warning of report.warnings) {
      context.emit({ type: 'warning', message: `${reference}: ${warning}` });
    }
    const check = wantsCheck ? await converter.check(local, plan, outDir, converterContext) : undefined;
    refuseFailedCheck(reference, check, converterContext.logFile);
    const files = await adoptTree(context, outDir);
    const { record, path } = prepared.pulled.model;
    const conversion: ConversionRecord = {
      key: prepared.key,
      converter: converter.name,
      precision: plan.precision,
      device: plan.device,
      ...(plan.task === undefined ? {} : { task: plan.task }),
      settings: { ...plan.settings },
      origin: path,
      originReference: record.reference,
      toolchain: { name: plan.toolchain, versions: { ...report.versions } },
      seconds,
      adjustments: [...plan.adjustments, ...report.warnings],
      consent: [...(plan.consent ?? [])],
      ...(check === undefined ? {} : { check: copyCheck(check) }),
    };
    const { single, placement, version, ...origin } = record;
    const published = await publishModel(context.store, prepared.modelKey, {
      ...origin,
      reference: conversionReference(prepared.pulled.model, plan),
      files,
      leftOut: [],
      pulledAt: new Date().toISOString(),
      conversion,
    });
    if (!('missing' in published)) return published;
    throw new ModeldlError('BUSY', 'Another process removed the files of this conversion', {
      hint: 'run the command again',
    });
  });
}

function refuseFailedCheck(reference: string, check: CheckReport | undefined, logFile: string): void {
  if (check === undefined || check.passed) return;
  throw new ModeldlError(
    'CONVERSION',
    `The converted model failed its check: ${check.reason ?? 'its outputs are wrong'}`,
    {
      hint: `the log is ${logFile}; \`--no-check\` keeps such a result`,
      details: { reference, file: logFile },
    },
  );
}

function copyCheck(check: CheckReport): NonNullable<ConversionRecord['check']> {
  const { outputs, warnings } = check;
  return {
    ...check,
    outputs: outputs.map((output) => ({ ...output, shape: [...output.shape] })),
    warnings: [...warnings],
  };
}

/** Moves what a converter wrote into the store as blobs. */
async function adoptTree(
  context: Context,
  directory: string,
): Promise<{ path: string; bytes: number; sha256: string }[]> {
  const session = await context.session();
  const files: { path: string; bytes: number; sha256: string }[] = [];
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const sha256 = await hashFile(file, context.signal);
    const { size: bytes } = await stat(file);
    await session.want([sha256]);
    const temporary = inStore(context.store, 'tmp', uniqueName());
    await rename(file, temporary);
    await adoptBlob(context.store, temporary, sha256, bytes);
    files.push({ path: relative(directory, file).split(sep).join('/'), bytes, sha256 });
  }
  if (files.length === 0)
    throw new ModeldlError('CONVERSION', 'The converter wrote no files', { hint: 'report this' });
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** A stored conversion that was made with `--no-check` is checked when a check is wanted. */
async function checkStored(context: Context, prepared: Prepared, model: StoredModel): Promise<StoredModel> {
  const { conversion } = model.record;
  if (conversion === undefined) return model;
  return inWorkDirectory(context, prepared, async (_outDir, converterContext) => {
    const check = await prepared.converter.check(
      prepared.local,
      prepared.plan,
      model.directory,
      converterContext,
    );
    refuseFailedCheck(prepared.local.reference, check, converterContext.logFile);
    return updateRecord(context.store, model, {
      ...model.record,
      conversion: { ...conversion, check: copyCheck(check) },
    });
  });
}

function describe(
  prepared: Prepared,
  model: StoredModel,
  requested: string,
  output: string | undefined,
  cached: boolean,
): ConvertedModel {
  const { conversion } = model.record;
  if (conversion === undefined) throw new Error(`Not a conversion: ${modelLocation(model)}`);
  const { key, converter, precision, device, task, toolchain, seconds, check, originReference } = conversion;
  const pulled = describePulled({ ...prepared.pulled, model }, requested, output);
  return {
    ...pulled,
    cached,
    origin: { reference: originReference, revision: prepared.pulled.model.record.revision },
    converter,
    precision,
    device,
    task: task ?? null,
    toolchain,
    key,
    seconds,
    check: check ?? null,
  };
}

/** Converting: from a stored model to another one beside it, made once per set of inputs and settings. */
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { waitingFor, type Context } from './context.js';
import type { CheckReport, ConverterContext } from './converter.js';
import { discard, makeDirectories } from './directories.js';
import { diskError, ModeldlError } from './errors.js';
import { lowerModel, ownLowerModel } from './lower.js';
import type { PlannedLayout } from './layout/layout.js';
import { requireMemory } from './memory.js';
import { conversionReference, prepare, requestOf, type ConvertOptions, type Prepared } from './plan.js';
import { publishedReference } from './prebuilt.js';
import { requireConversionRoom } from './preflight.js';
import { describePublished, takePublished } from './published.js';
import { describePulled, pullModel, referenceOf } from './pull.js';
import { redactReference } from './redact.js';
import { withLayout, writeLayout, type Companions } from './repository.js';
import type { ConvertedModel, WrittenLayout } from './results.js';
import { requireOutput, writeModelOutput } from './space.js';
import { modelLocation } from './stored.js';
import { adoptBlob } from './store/blobs.js';
import { withClaim } from './store/claim.js';
import { hashFile } from './store/hash.js';
import { assertWritable, inStore, uniqueName } from './store/layout.js';
import {
  checkModel,
  findModel,
  isIntact,
  publishModel,
  touchUsed,
  updateRecord,
  type StoredModel,
} from './store/models.js';
import type { ConversionRecord, ModelKey } from './store/record.js';
import { toolchainContext, toolchainNamed } from './toolchains.js';

/** Pulls if needed, converts if not stored, checks. @throws ModeldlError CONVERSION, UNSUPPORTED, TOOLCHAIN, … */
export async function convert(
  context: Context,
  text: string,
  given: ConvertOptions,
): Promise<ConvertedModel> {
  const options = await withLayout(context, text, given);
  if (options.asked === undefined) await requireOutput(options);
  const published = await takePublished(context, text, options, requestOf(context, options));
  if (published !== undefined) {
    const { model, layout } = published;
    const written = await writeResult(context, model, layout, options);
    return describePublished(published, redactReference(text), written?.directory ?? options.output, written);
  }
  const prepared = await prepare(context, text, options);
  const { layout } = prepared;
  const { model, fresh } = await storedOrMade(context, prepared, options);
  // Of a stored one too: who asks the second time must not take it for better than the first did.
  for (const message of model.record.conversion?.check?.warnings ?? []) {
    context.emit({ type: 'warning', message: `${prepared.local.reference}: ${message}` });
  }
  const written = await writeResult(context, model, layout, options);
  const output = written?.directory ?? options.output;
  return { ...describe(prepared, model, redactReference(text), output, !fresh), layout: written };
}

/** A model in the store, and the reference that asked for it. */
export interface NamedModel {
  readonly text: string;
  readonly model: StoredModel;
}

/**
 * As {@link convert}, into the store alone: no output, and nothing for a server, though a layout decides how it is
 * converted. @returns also the other models that the layout needs
 */
export async function convertStored(
  context: Context,
  text: string,
  given: ConvertOptions,
): Promise<{ readonly model: StoredModel; readonly beside: readonly NamedModel[] }> {
  const options = await withLayout(context, text, given);
  const published = await takePublished(context, text, options, requestOf(context, options));
  if (published !== undefined) {
    const { model, layout } = published;
    return { model, beside: await besideLayout(context, layout, options) };
  }
  const prepared = await prepare(context, text, options);
  const { model } = await storedOrMade(context, prepared, options);
  return { model, beside: await besideLayout(context, prepared.layout, options) };
}

async function besideLayout(
  context: Context,
  layout: PlannedLayout | undefined,
  options: ConvertOptions,
): Promise<readonly NamedModel[]> {
  if (layout === undefined) return [];
  const { draft, loras } = await bringCompanions(context, layout, options);
  const adapters = layout.serving.source_loras?.adapters ?? [];
  return [
    ...(draft === undefined || layout.draft === undefined
      ? []
      : [{ text: layout.draft.reference, model: draft }]),
    ...adapters.flatMap(({ alias, repository }) => {
      const model = loras.get(alias);
      return model === undefined ? [] : [{ text: repository, model }];
    }),
  ];
}

/** Writes to the output that is asked for, if any. */
async function writeResult(
  context: Context,
  model: StoredModel,
  layout: PlannedLayout | undefined,
  options: ConvertOptions,
): Promise<WrittenLayout | null> {
  if (layout === undefined) {
    await writeModelOutput(context, model, options);
    return null;
  }
  const companions = await bringCompanions(context, layout, options);
  return writeLayout(context, model, layout, companions, options);
}

/** Brings in what a layout needs beside the model: its draft model, converted alike, and adapters. */
export async function bringCompanions(
  context: Context,
  { draft, serving }: PlannedLayout,
  options: ConvertOptions,
): Promise<Companions> {
  const loras = new Map<string, StoredModel>();
  const pulled = new Map<string, StoredModel>();
  for (const { alias, repository } of serving.source_loras?.adapters ?? []) {
    const model =
      pulled.get(repository) ??
      (await pullModel(context, await referenceOf(context, repository, {}), {})).model;
    pulled.set(repository, model);
    loras.set(alias, model);
  }
  if (draft === undefined) return { loras };
  const { precision, device, trustRemoteCode, trustPickle, check, prebuilt } = options;
  const like: ConvertOptions = {
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
    ...(trustPickle === undefined ? {} : { trustPickle }),
    ...(check === undefined ? {} : { check }),
    ...(draft.task === undefined ? {} : { task: draft.task }),
    // A draft that is not published is converted, whatever the model itself is.
    prebuilt: prebuilt === 'take' ? 'prefer' : (prebuilt ?? 'tell'),
  };
  const published = await takePublished(context, draft.reference, like, requestOf(context, like));
  if (published !== undefined) return { loras, draft: published.model };
  const prepared = await prepare(context, draft.reference, like);
  return { loras, draft: (await storedOrMade(context, prepared, like)).model };
}

async function storedOrMade(
  context: Context,
  prepared: Prepared,
  options: ConvertOptions,
): Promise<{ model: StoredModel; fresh: boolean }> {
  const { check = true, force = false } = options;
  if (prepared.made !== undefined) return { model: prepared.made, fresh: false };
  const lacksCheck = ({ record }: StoredModel): boolean =>
    check && record.conversion?.check === undefined && context.store.writable;
  const stored = force ? undefined : await findUsable(context, prepared.modelKey);
  if (stored !== undefined && !lacksCheck(stored)) return { model: stored, fresh: false };
  assertWritable(context.store);
  const session = await context.session();
  const waiting = waitingFor(context, `the conversion of ${prepared.local.reference}`);
  return withClaim(context.store, session, `conversion ${prepared.key}`, waiting, async () => {
    const meanwhile = force ? undefined : await findOrOwn(context, prepared.modelKey);
    const checked =
      meanwhile !== undefined && lacksCheck(meanwhile)
        ? await checkStored(context, prepared, meanwhile)
        : meanwhile;
    // A conversion that is removed while it is checked is made again.
    if (checked !== undefined) return { model: checked, fresh: false };
    return { model: await make(context, prepared, options), fresh: true };
  });
}

async function findIntact(context: Context, key: ModelKey): Promise<StoredModel | undefined> {
  const model = await findModel(context.store, key);
  if (model === undefined) return undefined;
  if (!isIntact(await checkModel(context.store, model, false, context.signal))) {
    context.emit({ type: 'warning', message: `The stored conversion was damaged and is made again` });
    return undefined;
  }
  await touchUsed(context.store, model.path);
  return model;
}

/** One of a lower cache is used as it lies there only where it cannot be made our own. */
async function findUsable(context: Context, key: ModelKey): Promise<StoredModel | undefined> {
  const own = await findIntact(context, key);
  return own ?? (context.store.writable ? undefined : lowerModel(context, key));
}

async function findOrOwn(context: Context, key: ModelKey): Promise<StoredModel | undefined> {
  return (await findIntact(context, key)) ?? (await ownLowerModel(context, key))?.model;
}

/** A directory of this conversion, with what its converter may use. Removed afterwards. */
async function inWorkDirectory<Result>(
  context: Context,
  prepared: Prepared,
  wantsCheck: boolean,
  work: (directory: string, converterContext: ConverterContext) => Promise<Result>,
): Promise<Result> {
  const directory = inStore(context.store, 'tmp', uniqueName());
  const workDir = join(directory, 'work');
  const logFile = inStore(
    context.store,
    'logs',
    `${prepared.converter.name}-${prepared.key.slice(0, 8)}.log`,
  );
  const asked = toolchainContext(context);
  try {
    await makeDirectories(workDir);
    await mkdir(join(directory, 'out'));
    return await work(join(directory, 'out'), {
      ...asked,
      logFile,
      workDir,
      wantsCheck,
      interpreter: async () => (await toolchainNamed(context, prepared.plan.toolchain).ensure(asked)).python,
    });
  } catch (error) {
    throw diskError(error, directory);
  } finally {
    await discard(directory);
  }
}

async function make(context: Context, prepared: Prepared, options: ConvertOptions): Promise<StoredModel> {
  const { local, converter, plan } = prepared;
  const { check: wantsCheck = true } = options;
  const { reference } = local;
  // What was fetched for it was preceded by this.
  if (prepared.pulled.downloadedBytes === 0) await requireMemory(context, reference, plan);
  await requireConversionRoom(context, plan, 0, options);
  await tellPublished(context, prepared, options);
  context.emit({ type: 'note', message: `Converting with \`${converter.name}\`: ${plan.steps.join(', ')}` });
  for (const adjustment of plan.adjustments) context.emit({ type: 'note', message: adjustment });
  return inWorkDirectory(context, prepared, wantsCheck, async (outDir, converterContext) => {
    const started = performance.now();
    const report = await converter.run(local, plan, outDir, converterContext);
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    for (const warning of report.warnings) {
      context.emit({ type: 'warning', message: `${reference}: ${warning}` });
    }
    const check = wantsCheck
      ? (report.check ?? (await converter.check(local, plan, outDir, converterContext)))
      : undefined;
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
      given: { ...prepared.settings },
      origin: path,
      originReference: record.reference,
      toolchain: { name: plan.toolchain, versions: { ...report.versions } },
      seconds,
      adjustments: [...plan.adjustments, ...report.warnings],
      consent: [...(plan.consent ?? [])],
      ...(check === undefined ? {} : { check }),
      inputs: [...prepared.inputs],
    };
    // A recipe is followed once: what comes of it is no longer what it is for.
    const { single, placement, version, selection, copiedBytes, recipe, ...origin } = record;
    const { selection: subpath } = prepared.modelKey;
    const published = await publishModel(context.store, prepared.modelKey, {
      ...origin,
      ...(subpath === undefined ? {} : { selection: subpath }),
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

/** Who pinned a revision wants that one, and needs no network for it. */
async function tellPublished(
  context: Context,
  { pulled, plan }: Prepared,
  { prebuilt }: ConvertOptions,
): Promise<void> {
  const { reference, stale, model } = pulled;
  const { hub, id, subpath, revision } = reference;
  const pinned = revision === model.record.revision;
  if (prebuilt === 'never' || stale || pinned || model.record.conversion !== undefined) return;
  const asked = { hub, id, ...(subpath === undefined ? {} : { subpath }) };
  const published = await publishedReference(context, asked, plan);
  if (published === undefined) return;
  context.emit({
    type: 'note',
    message: `${published} is published: \`--prebuilt\` takes it instead of converting`,
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

/** Checks a conversion that was made with `--no-check`; undefined when it was removed meanwhile. */
async function checkStored(
  context: Context,
  prepared: Prepared,
  model: StoredModel,
): Promise<StoredModel | undefined> {
  const { conversion } = model.record;
  if (conversion === undefined) return model;
  return inWorkDirectory(context, prepared, true, async (_outDir, converterContext) => {
    const check = await prepared.converter.check(
      prepared.local,
      prepared.plan,
      model.directory,
      converterContext,
    );
    refuseFailedCheck(prepared.local.reference, check, converterContext.logFile);
    return updateRecord(context.store, model, {
      ...model.record,
      conversion: { ...conversion, check },
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
    prebuilt: null,
    layout: null,
  };
}

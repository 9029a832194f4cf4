/**
 * What a conversion is of and how it would be done: from a reference and a request to a converter, its plan and the
 * files it reads. Rules come first, so that what cannot work is refused before a byte moves.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isElsewhere } from './adopt.js';
import { chooseConverter, refuseRecipe } from './choose-converter.js';
import { DEFAULTS } from './config/schema.js';
import { format, withFileHint, type Context } from './context.js';
import {
  PRECISIONS,
  type ConversionPlan,
  type ConversionRecipe,
  type ConversionRequest,
  type Converter,
  type LocalModel,
  type PlannedModel,
  type Precision,
} from './converter.js';
import { ModeldlError } from './errors.js';
import { distinctBytes, promisedBytes, storedFile } from './fetch.js';
import type { RemoteFile } from './hub.js';
import { choose, knownListing, type ListingEntry, type SelectionRequest } from './listing.js';
import { sortedKeys } from './json.js';
import { isStoredAnywhere, visibleModels } from './lower.js';
import {
  asFound,
  intactModel,
  lowerStoredModel,
  pullResolved,
  storedModel,
  referenceOf,
  type Pulled,
  type PullOptions,
} from './pull.js';
import type { Reference } from './reference.js';
import { pinnedReference, resolveReference, type Resolved } from './resolve.js';
import type { LayoutRequest, PlannedLayout } from './layout/layout.js';
import { publishedReference, type PrebuiltChoice } from './prebuilt.js';
import { planPublished } from './published.js';
import { describeLayout, withLayout } from './repository.js';
import type { ConvertPlan } from './results.js';
import { literalGlob, type Chosen } from './select.js';
import { assertIntact, conversionName, findStored } from './stored.js';
import { requireMemory } from './memory.js';
import { requireConversionRoom } from './preflight.js';
import { listedTexts, localTexts } from './small-text.js';
import { requireOutput } from './space.js';
import { blobPath, hasBlob, writeBlob } from './store/blobs.js';
import { checkModel, findModel, isIntact, touchUsed, type StoredModel } from './store/models.js';
import { LARGEST_TEXT_BYTES, type ConversionInput, type ModelKey } from './store/record.js';
import type { SmallDownload } from './transfer/small.js';
import { refuseUninstallable, toolchainContext, toolchainNamed } from './toolchains.js';

export interface ConvertOptions extends PullOptions {
  readonly precision?: string;
  readonly device?: string;
  readonly task?: string;
  /** Name of the converter, when not the first that takes the model. */
  readonly converter?: string;
  /** Absolute path. */
  readonly calibration?: string;
  /** Name of the toolchain, when not the one that fits the model. */
  readonly toolchain?: string;
  readonly settings?: Readonly<Record<string, string>>;
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
  /** Load and run the result once; default true. */
  readonly check?: boolean;
  /** `ovms` and `model-download` write what servers read below `output`; default `plain`. */
  readonly layout?: string;
  /** Version of the model server; default the newest. */
  readonly ovmsVersion?: string;
  /** Name that the server knows the model by. */
  readonly name?: string;
  /** What becomes of a conversion that is published already; default `tell`. */
  readonly prebuilt?: PrebuiltChoice;
}

/** With the layout that was asked for, once it is read. */
export interface PlanOptions extends ConvertOptions {
  readonly asked?: LayoutRequest | undefined;
}

export interface Prepared {
  readonly pulled: Pulled;
  readonly local: LocalModel;
  readonly converter: Converter;
  readonly plan: ConversionPlan;
  readonly layout?: PlannedLayout | undefined;
  /** What `--set` says to the converter. */
  readonly settings: Readonly<Record<string, string>>;
  /** sha256 over everything that decides the result. */
  readonly key: string;
  readonly modelKey: ModelKey;
  /** What its converter reads and what it was planned by. */
  readonly inputs: readonly ConversionInput[];
  /** The conversion, where it is stored and what it was made from is not: then that is `pulled` too. */
  readonly made?: StoredModel;
}

/** A model as it was brought in for a conversion, with the files beside it that the conversion was planned by. */
type Brought = Pulled & { readonly consulted?: readonly ConversionInput[] };

/** What a reference names: a stored conversion, or a revision at its hub. */
type Named = { readonly pulled: Pulled } | { readonly resolved: Resolved };

async function named(context: Context, text: string, options: ConvertOptions): Promise<Named> {
  const reference = await referenceOf(context, text, options);
  try {
    if (reference.conversion !== undefined) return { pulled: await storedAsNamed(context, reference) };
    return { resolved: await resolveReference(context, reference) };
  } catch (error) {
    throw await withFileHint(context, text, error);
  }
}

/** A stored model as it is: a conversion, or files that were chosen. @throws ModeldlError NOT_FOUND, USAGE, INTEGRITY */
async function storedAsNamed(context: Context, reference: Reference): Promise<Pulled> {
  const model = await findStored(context, reference, {});
  await assertIntact(context, model);
  return asFound({ reference, stale: false }, model);
}

function selectionOf({ include, exclude, allFiles, quant }: ConvertOptions): SelectionRequest {
  return {
    ...(include === undefined ? {} : { include }),
    ...(exclude === undefined ? {} : { exclude }),
    ...(allFiles === undefined ? {} : { allFiles }),
    ...(quant === undefined ? {} : { quant }),
  };
}

/** Plans a conversion and brings in what it reads. @throws ModeldlError as pulling does, UNSUPPORTED, USAGE */
export async function prepare(context: Context, text: string, options: PlanOptions): Promise<Prepared> {
  const request = requestOf(context, options);
  const found = await named(context, text, options);
  const pulled =
    'pulled' in found ? found.pulled : await pullNeeded(context, found.resolved, request, options);
  return 'made' in pulled ? pulled : planLocal(context, pulled, request, options);
}

/** Of a model that is not stored, the converter's files are enough; nothing is needed where its conversion is stored. */
async function pullNeeded(
  context: Context,
  resolved: Resolved,
  request: ConversionRequest,
  options: PlanOptions,
): Promise<Brought | (Prepared & { readonly made: StoredModel })> {
  const selection = selectionOf(options);
  const listed = listedFiles(resolved, selection);
  refuseRecipe(plannedModel(context, resolved, []));
  // Archives have no listing before they are here.
  if (listed === undefined) return pullResolved(context, resolved, selection);
  const stored = await storedModel(context, resolved, selection);
  if (stored !== undefined) return asFound(resolved, stored);
  const inputs = await knownInputs(context, resolved, listed);
  const isPacked = listed.some(({ file }) => file.archive !== undefined);
  // What members of archives say, only their bytes tell.
  if (isPacked && inputs.size === 0) return pullResolved(context, resolved, selection);
  const fetched = new Map<string, SmallDownload>();
  const looked = new Set<string>();
  const model = notingTexts(plannedModel(context, resolved, listed, inputs, fetched), looked);
  const { converter, plan, layout } = await chooseConverter(context, model, request, options);
  const known = await knownConversion(context, resolved, listed, plan, inputs);
  if (known?.stored === true && options.force !== true) {
    const made = await usableConversion(context, known.modelKey, options);
    if (made !== undefined) {
      const { key, modelKey } = known;
      const pulled = asFound(resolved, made);
      const local: LocalModel = { ...model, root: made.directory, files: [] };
      const { settings } = request;
      return { pulled, local, converter, plan, layout, settings, key, modelKey, inputs: [], made };
    }
  }
  if (isPacked) return pullResolved(context, resolved, selection);
  if (options.force === true || known?.stored !== true) {
    // Before all is known it may be stored, and then needs no toolchain.
    const perhapsStored = known === undefined && (await hasAlike(context, resolved, plan));
    if (!perhapsStored && plan.toolchainOptional !== true) {
      await refuseUninstallable(context, plan.toolchain);
    }
    await requireMemory(context, model.reference, plan);
    await requireConversionRoom(context, plan, await bytesToFetch(context, listed, plan), options);
  }
  const all = listed.every(({ path }) => plan.reads.includes(path));
  const needed = all ? selection : { include: plan.reads.map(literalGlob) };
  const pulled = await pullResolved(context, resolved, { ...needed, fetched });
  const beside = listed.filter(({ path }) => looked.has(path) && !plan.reads.includes(path));
  return { ...pulled, consulted: await keepTexts(context, beside, inputs, fetched) };
}

/** The same model, and which of its texts are looked at. */
function notingTexts<Model extends PlannedModel>(model: Model, looked: Set<string>): Model {
  return {
    ...model,
    text: (path: string) => {
      looked.add(path);
      return model.text(path);
    },
  };
}

/** Small files that no converter reads, as blobs: with them a later run plans the same, also where the model is gone. */
async function keepTexts(
  context: Context,
  files: readonly Chosen<ListingEntry>[],
  inputs: KnownInputs,
  fetched: ReadonlyMap<string, SmallDownload>,
): Promise<readonly ConversionInput[]> {
  const kept: ConversionInput[] = [];
  for (const { path, file } of files) {
    const { source } = file;
    const download = fetched.get(source.path);
    const known = inputs.get(path) ?? (await storedFile(context, { path, source }, new Map()));
    const sha256 = download?.sha256 ?? known?.sha256;
    const bytes = download?.bytes.length ?? known?.bytes;
    if (sha256 === undefined || bytes === undefined) continue;
    await (await context.session()).want([sha256]);
    if (download !== undefined) await writeBlob(context.store, sha256, download.bytes);
    const upstream = source.digest;
    kept.push({ path, bytes, sha256, ...(upstream === undefined ? {} : { upstream }) });
  }
  return kept;
}

function listedFiles(
  { snapshot, reference }: Resolved,
  selection: SelectionRequest,
): readonly Chosen<ListingEntry>[] | undefined {
  const listing = knownListing(snapshot);
  return listing === undefined ? undefined : choose(listing, reference, selection).chosen;
}

/** What conversions of a revision read of it, by path. */
type KnownInputs = ReadonlyMap<string, ConversionInput>;

/** Of the listed files, as far as they are still what was read. */
async function knownInputs(
  context: Context,
  { snapshot, reference }: Resolved,
  listed: readonly Chosen<ListingEntry>[],
): Promise<KnownInputs> {
  const { hub, id, revision } = snapshot;
  const inputs = new Map<string, ConversionInput>();
  // What only a lock says is proven by its bytes alone.
  if (revision === undefined || 'unproven' in snapshot) return inputs;
  const entries = new Map(listed.map(({ path, file }) => [path, file]));
  for (const { record } of await visibleModels(context, hub, [id])) {
    if (record.revision !== revision || record.subpath !== reference.subpath || record.unproven === true)
      continue;
    for (const input of record.conversion?.inputs ?? []) {
      const entry = entries.get(input.path);
      if (entry !== undefined && isStill(entry, input)) inputs.set(input.path, input);
    }
  }
  return inputs;
}

/** Does a listing promise what was read? */
function isStill(
  { size, source, archive }: ListingEntry,
  { bytes, sha256, upstream }: ConversionInput,
): boolean {
  const digest = archive === undefined ? source.digest : undefined;
  if (size !== undefined && size !== bytes) return false;
  if (digest === undefined) return size !== undefined;
  const before =
    digest.algorithm === 'sha256' ? sha256 : upstream?.algorithm === digest.algorithm && upstream.hex;
  return before === digest.hex;
}

/** A stored conversion that needs nothing more. A lower cache's becomes the user's own when its origin is here. */
async function usableConversion(
  { store, signal }: Context,
  key: ModelKey,
  { check = true }: PlanOptions,
): Promise<StoredModel | undefined> {
  const model = await findModel(store, key);
  if (model === undefined || (check && model.record.conversion?.check === undefined)) return undefined;
  if (!isIntact(await checkModel(store, model, false, signal))) return undefined;
  await touchUsed(store, model.path);
  return model;
}

/** A model by its listing alone; `fetched` gets what is fetched to plan by. */
function plannedModel(
  context: Context,
  { snapshot, reference }: Resolved,
  listed: readonly Chosen<ListingEntry>[],
  inputs: KnownInputs = new Map(),
  fetched?: Map<string, SmallDownload>,
): PlannedModel {
  const { hub, id, revision, metadata } = snapshot;
  const files = listed.flatMap(({ path, file: { archive, source } }) =>
    archive === undefined ? [{ path, source }] : [],
  );
  const listedText = listedTexts(context, snapshot, files, fetched);
  return {
    reference: format(
      context,
      revision === undefined ? reference : pinnedReference(context, reference, { id, revision }),
    ),
    hub,
    id,
    name: nameOf(id, reference.subpath),
    files: listed.map(({ path, file }) => ({ path, bytes: file.size ?? 0 })),
    metadata: metadataOf(metadata, reference.subpath),
    text: async (path) => {
      const input = inputs.get(path);
      const isKept = input !== undefined && input.bytes <= LARGEST_TEXT_BYTES;
      if (!isKept || (await hasBlob(context.store, input.sha256, input.bytes)) === undefined)
        return listedText(path);
      return readFile(blobPath(context.store, input.sha256), 'utf8');
    },
  };
}

/** `org/name` of hubs, else the last part of a path or an address, with nothing in it that a file name may not have. */
function nameOf(id: string, subpath: string | undefined): string {
  if (subpath === undefined && /^[\w.-]+(\/[\w.-]+)?$/.test(id)) return id;
  const last = (subpath ?? id).split(/[/\\]/).findLast((part) => part !== '') ?? '';
  return last.replaceAll(/[^\w.-]/g, '_').replace(/^\.*$/, 'model');
}

function metadataOf(
  { task, library, license, recipe: published }: PlannedModel['metadata'],
  subpath: string | undefined,
): PlannedModel['metadata'] {
  const recipe = recipeWithin(published, subpath);
  return {
    ...(recipe === undefined ? {} : { recipe }),
    ...(task === undefined ? {} : { task }),
    ...(library === undefined ? {} : { library }),
    ...(license === undefined ? {} : { license }),
  };
}

/** A recipe in the terms of a part of the model; it is not for parts that lack what it converts. */
function recipeWithin(
  recipe: ConversionRecipe | undefined,
  subpath: string | undefined,
): ConversionRecipe | undefined {
  if (recipe === undefined || subpath === undefined) return recipe;
  if ('refused' in recipe) return undefined;
  const { input } = recipe;
  if (input === subpath) return { ...recipe, input: input.slice(input.lastIndexOf('/') + 1) };
  return input.startsWith(`${subpath}/`) ? { ...recipe, input: input.slice(subpath.length + 1) } : undefined;
}

async function planLocal(
  context: Context,
  pulled: Brought,
  request: ConversionRequest,
  options: PlanOptions,
): Promise<Prepared> {
  const { record, directory } = pulled.model;
  const looked = new Set<string>();
  const local: LocalModel = {
    reference: record.reference,
    hub: record.hub,
    id: record.id,
    name: nameOf(record.id, record.subpath),
    root: directory,
    files: record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    metadata: metadataOf(record, record.subpath),
    text: localTexts(directory),
  };
  const { converter, plan, layout } = await chooseConverter(
    context,
    notingTexts(local, looked),
    request,
    options,
  );
  const inputs = record.files
    .filter(({ path }) => plan.reads.includes(path) || looked.has(path))
    .map(({ mtime, ...file }): ConversionInput => file);
  const key = conversionKey(local, plan, await toolchainDigest(context, plan));
  const { settings } = request;
  return {
    ...{ pulled, local, converter, plan, layout, settings, key },
    modelKey: modelKeyOf(record, plan, key),
    inputs: [...inputs, ...(pulled.consulted ?? [])],
  };
}

/** Whether a conversion is stored that may be the one that is planned. */
async function hasAlike(context: Context, { snapshot }: Resolved, plan: ConversionPlan): Promise<boolean> {
  const models = await visibleModels(context, snapshot.hub, [snapshot.id]);
  return models.some(
    ({ record: { conversion } }) =>
      conversion?.converter === plan.converter &&
      conversion.precision === plan.precision &&
      conversion.device === plan.device,
  );
}

function toolchainDigest(context: Context, { toolchain }: ConversionPlan): Promise<string> {
  return toolchainNamed(context, toolchain).digest(toolchainContext(context));
}

/**
 * Where a conversion lies in the store. Its key says which files it was made from, so that it is found whatever else was
 * pulled beside them; only a subpath makes it another model.
 */
function modelKeyOf(
  origin: {
    readonly hub: string;
    readonly id: string;
    readonly revision: string;
    readonly subpath?: string | undefined;
    readonly unproven?: true | undefined;
  },
  plan: ConversionPlan,
  key: string,
): ModelKey {
  const { hub, id, revision, subpath, unproven } = origin;
  const apart = unproven === true ? `unproven ${subpath ?? ''}` : subpath;
  return {
    hub,
    id,
    revision,
    ...(apart === undefined ? {} : { selection: createHash('sha256').update(apart).digest('hex') }),
    conversion: { precision: plan.precision, device: plan.device, key },
  };
}

/** What may be converted: a stored model, or a listing. */
export type Convertible =
  | { readonly stored: StoredModel; readonly reference: Reference }
  | {
      readonly resolved: Resolved;
      readonly model: PlannedModel;
      readonly listed: readonly Chosen<ListingEntry>[];
    };

/**
 * A model by its listing, with all that lies below the reference's subpath where no default says what is converted;
 * undefined for archives that are not here.
 * @throws ModeldlError as choosing files does
 */
export function convertible(
  context: Context,
  resolved: Resolved,
): Extract<Convertible, { readonly resolved: Resolved }> | undefined {
  let listed: readonly Chosen<ListingEntry>[] | undefined;
  try {
    listed = listedFiles(resolved, {});
  } catch (error) {
    // Of several quantizations none is meant, and any tells as much.
    if (!(error instanceof ModeldlError) || error.code !== 'USAGE') throw error;
    listed = listedFiles(resolved, { allFiles: true });
  }
  return listed && { resolved, model: plannedModel(context, resolved, listed), listed };
}

/**
 * What `convert` would do with a request, by what is known already. A stored model is asked about without network, and
 * of a listing nothing but small files is fetched.
 * @throws ModeldlError UNSUPPORTED and as converters plan
 */
export async function planKnown(
  context: Context,
  what: Convertible,
  options: ConvertOptions,
): Promise<ConvertPlan> {
  const request = requestOf(context, options);
  if ('resolved' in what)
    return planListed(context, what.resolved, what.listed, request, options, what.model);
  const pulled = asFound({ reference: what.reference, stale: false }, what.stored);
  return describePrepared(context, await planLocal(context, pulled, request, options), options);
}

/** What `convert` would do. Nothing is fetched, unless an archive has to be opened to see what it holds. */
export async function planConvert(
  context: Context,
  text: string,
  given: ConvertOptions,
): Promise<ConvertPlan> {
  const options = await withLayout(context, text, given);
  if (options.asked === undefined) await requireOutput(options);
  const taken = await planPublished(context, text, options, requestOf(context, options));
  if (taken !== undefined) return taken;
  const plan = await planConversion(context, text, options);
  const reference = await referenceOf(context, text, options);
  // Who pinned a revision wants that one, and needs no network for it.
  const pinned = plan.reference.startsWith(`${format(context, reference)}+`);
  if (plan.stored || pinned || options.prebuilt === 'never') return plan;
  const published = await publishedReference(context, reference, requestOf(context, options));
  return published === undefined ? plan : { ...plan, prebuilt: { reference: published, taken: false } };
}

async function planConversion(context: Context, text: string, options: PlanOptions): Promise<ConvertPlan> {
  const request = requestOf(context, options);
  const found = await named(context, text, options);
  if ('pulled' in found)
    return describePrepared(context, await planLocal(context, found.pulled, request, options), options);
  const { resolved } = found;
  const selection = selectionOf(options);
  const stored =
    (await intactModel(context, resolved, selection)) ??
    // Carried out, the plan makes this model the user's own.
    (await lowerStoredModel(context, resolved, selection));
  if (stored !== undefined) {
    const pulled = asFound(resolved, stored);
    return describePrepared(context, await planLocal(context, pulled, request, options), options);
  }
  const listed = listedFiles(resolved, selection);
  if (listed === undefined) {
    refuseRecipe(plannedModel(context, resolved, []));
    context.emit({ type: 'note', message: 'What an archive holds is seen when it is here: it is fetched' });
    const pulled = await pullResolved(context, resolved, selection);
    return describePrepared(context, await planLocal(context, pulled, request, options), options);
  }
  return planListed(context, resolved, listed, request, options);
}

async function describePrepared(
  context: Context,
  { pulled, converter, plan, layout, key, modelKey }: Prepared,
  options: PlanOptions,
): Promise<ConvertPlan> {
  const stored = await isStoredAnywhere(context, modelKey);
  const reference = conversionReference(pulled.model, plan);
  return describePlan(
    context,
    converter,
    plan,
    { reference, key, stored, downloadBytes: 0 },
    layout,
    options,
  );
}

/** By a listing. */
async function planListed(
  context: Context,
  resolved: Resolved,
  listed: readonly Chosen<ListingEntry>[],
  request: ConversionRequest,
  options: PlanOptions,
  asked?: PlannedModel,
): Promise<ConvertPlan> {
  const inputs = await knownInputs(context, resolved, listed);
  const model = asked ?? plannedModel(context, resolved, listed, inputs);
  const { converter, plan, layout } = await chooseConverter(context, model, request, options);
  const known = await knownConversion(context, resolved, listed, plan, inputs);
  const { key = null, stored = false } = known ?? {};
  const downloadBytes = stored ? 0 : await bytesToFetch(context, listed, plan);
  const reference = `${model.reference}+${conversionName(plan)}`;
  return describePlan(context, converter, plan, { reference, key, stored, downloadBytes }, layout, options);
}

/** Of what a plan reads: all that is not on this machine. */
async function bytesToFetch(
  context: Context,
  listed: readonly Chosen<ListingEntry>[],
  plan: ConversionPlan,
): Promise<number> {
  const missing: RemoteFile[] = [];
  for (const { path, file } of listed) {
    if (!plan.reads.includes(path)) continue;
    const { source } = file;
    const held = await storedFile(context, { path, source }, new Map());
    const promised = promisedBytes(source, new Map());
    const near = promised !== undefined && (await isElsewhere(context.elsewhere, promised));
    if (held === undefined && !near) missing.push(source);
  }
  return distinctBytes(missing);
}

/** Which conversion a plan makes, and whether it is stored: undefined before the sha256 of all that is read is known. */
async function knownConversion(
  context: Context,
  { snapshot, reference }: Resolved,
  listed: readonly Chosen<ListingEntry>[],
  plan: ConversionPlan,
  inputs: KnownInputs,
): Promise<{ readonly key: string; readonly modelKey: ModelKey; readonly stored: boolean } | undefined> {
  const { hub, id, revision } = snapshot;
  if (revision === undefined) return undefined;
  const files: { path: string; bytes: number; sha256: string }[] = [];
  for (const { path, file } of listed) {
    if (!plan.reads.includes(path)) continue;
    const digest = file.archive === undefined ? file.source.digest : undefined;
    const sha256 = digest?.algorithm === 'sha256' ? digest.hex : inputs.get(path)?.sha256;
    if (sha256 === undefined) return undefined;
    files.push({ path, bytes: file.size ?? 0, sha256 });
  }
  const key = conversionKey({ files }, plan, await toolchainDigest(context, plan));
  const { subpath } = reference;
  const unproven = 'unproven' in snapshot ? snapshot.unproven : undefined;
  const modelKey = modelKeyOf({ hub, id, revision, subpath, unproven }, plan, key);
  return { key, modelKey, stored: await isStoredAnywhere(context, modelKey) };
}

async function describePlan(
  context: Context,
  converter: Converter,
  plan: ConversionPlan,
  facts: Pick<ConvertPlan, 'reference' | 'key' | 'stored' | 'downloadBytes'>,
  layout: PlannedLayout | undefined,
  options: PlanOptions,
): Promise<ConvertPlan> {
  if (!facts.stored) {
    await requireMemory(context, facts.reference, plan);
    await tellRoom(context, plan, facts.downloadBytes, options);
  }
  const toolchain = toolchainNamed(context, plan.toolchain);
  const { state, toInstall } = await toolchain.status(toolchainContext(context));
  return {
    ...facts,
    converter: converter.name,
    precision: plan.precision,
    device: plan.device,
    task: plan.task ?? null,
    toolchain: {
      name: toolchain.name,
      state,
      downloadBytes: plan.toolchainOptional === true ? 0 : (toInstall?.downloadBytes ?? 0),
      installedBytes: plan.toolchainOptional === true ? 0 : (toInstall?.installedBytes ?? 0),
    },
    steps: plan.steps,
    adjustments: plan.adjustments,
    settings: plan.settings,
    estimate: plan.estimate,
    prebuilt: null,
    layout: layout === undefined ? null : describeLayout(layout),
  };
}

/** A plan says what a conversion needs, also where that is more than there is. */
async function tellRoom(
  context: Context,
  plan: ConversionPlan,
  downloadBytes: number,
  options: PlanOptions,
): Promise<void> {
  try {
    await requireConversionRoom(context, plan, downloadBytes, options);
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'DISK') throw error;
    context.emit({ type: 'warning', message: `The conversion would be refused: ${error.message}` });
  }
}

/** What a conversion is called: by the model it began with, however many conversions lie between. */
export function conversionReference({ record }: StoredModel, plan: ConversionPlan): string {
  const origin =
    record.conversion === undefined ? record.reference : record.reference.replace(/\+[^+]*$/, '');
  return `${origin}+${conversionName(plan)}`;
}

/** @throws ModeldlError USAGE for a precision or device that does not exist */
export function requestOf(context: Context, options: PlanOptions): ConversionRequest {
  const { task, calibration, toolchain, asked } = options;
  return {
    precision: precisionNamed(options.precision ?? DEFAULTS.convert.precision),
    device: deviceNamed(options.device ?? DEFAULTS.convert.device),
    ...(task === undefined ? {} : { task }),
    ...(calibration === undefined ? {} : { calibration }),
    ...(toolchain === undefined ? {} : { toolchain: toolchainNamed(context, toolchain).name }),
    offline: context.toolchainSettings.offline,
    settings: asked?.converterSettings ?? options.settings ?? {},
    ...(asked === undefined ? {} : { layout: asked.kind }),
    trustRemoteCode: options.trustRemoteCode ?? false,
    trustPickle: options.trustPickle ?? false,
  };
}

/** @throws ModeldlError USAGE */
export function precisionNamed(text: string): Precision {
  const precision = PRECISIONS.find((candidate) => candidate === text.toLowerCase());
  if (precision !== undefined) return precision;
  throw new ModeldlError('USAGE', `Unknown precision: ${text}`, {
    hint: `expected one of ${PRECISIONS.join(', ')}`,
  });
}

const DEVICE = /^(CPU|GPU|NPU|AUTO)(\.\d+)?$|^HETERO:(CPU|GPU|NPU)(\.\d+)?(,(CPU|GPU|NPU)(\.\d+)?)+$/;

/** @throws ModeldlError USAGE */
export function deviceNamed(text: string): string {
  const device = text.toUpperCase();
  if (DEVICE.test(device)) return device;
  throw new ModeldlError('USAGE', `Unknown device: ${text}`, {
    hint: 'expected CPU, GPU, NPU, AUTO or HETERO with at least two of them, such as HETERO:GPU,CPU',
  });
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
  const decisive = { reads, converter, precision, device, task: task ?? null, settings, toolchain };
  return createHash('sha256').update(JSON.stringify(decisive, sortedKeys)).digest('hex');
}

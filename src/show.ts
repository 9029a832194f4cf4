/**
 * One model: the stored one, else what its hub says. Before a download that is its listing, and what its files say of
 * themselves in their first bytes; nothing is stored of it.
 */
import { join } from 'node:path';
import { format, hubContext, hubNamed, parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { describeContents, type Contents, type LookedAt } from './headers/describe.js';
import { formatsOf, isPickle } from './headers/formats.js';
import { localAllowance, openLocal, openRemote, remoteAllowance, type Allowance } from './headers/parts.js';
import type { TensorEntry } from './headers/shares.js';
import type { Snapshot } from './hub.js';
import { knownListing, type ListingEntry } from './listing.js';
import { storeOf } from './lower.js';
import { convertible, planKnown, requestOf, type Convertible, type ConvertOptions } from './plan.js';
import { publishedReference } from './prebuilt.js';
import { planPublished } from './published.js';
import { redactSecrets } from './redact.js';
import type { Reference } from './reference.js';
import { pinnedReference, resolveReference, type Resolved } from './resolve.js';
import type { ConversionOutlook, ConvertPlan, ShownModel } from './results.js';
import { below } from './select.js';
import { localTexts } from './small-text.js';
import {
  describeListed,
  findStored,
  measured,
  modelLocation,
  namesAmong,
  storedModels,
  wantsConversion,
  type ConversionFilter,
} from './stored.js';
import type { StoredModel } from './store/models.js';

const DEVICES = ['CPU', 'GPU', 'NPU'] as const;

/**
 * One model: the stored one, without network, else what its hub says.
 * @param conversion as it is configured
 * @throws ModeldlError NOT_FOUND and as the hub does
 */
export async function show(
  context: Context,
  text: string,
  filter: ConversionFilter,
  conversion: ConvertOptions,
): Promise<ShownModel> {
  const reference = parse(context, text);
  try {
    const model = await findStored(context, reference, filter);
    const siblings = await storedModels(
      context,
      { ...reference, revision: model.record.revision },
      { allRevisions: false },
    );
    return await showStored(context, reference, model, siblings, conversion);
  } catch (error) {
    const absent = error instanceof ModeldlError && error.code === 'NOT_FOUND';
    if (!absent || wantsConversion(reference, filter) || !mayLook(context, reference)) throw error;
  }
  const resolved = await resolveReference(context, reference);
  const { shown, what } = await describeRemote(context, resolved);
  if (what === undefined) return shown;
  return { ...shown, outlook: await outlook(context, text, resolved.reference, what, conversion) };
}

/** May what is not stored be looked at? Files that are here need no network. */
export function mayLook(context: Context, { hub }: Reference): boolean {
  return context.freshness !== 'offline' || hubNamed(context, hub).syntax.paths === true;
}

/** Told of the tensors of a model, as `LookedAt.onTensor` is. */
type OnTensorOf = (file: string, tensor: TensorEntry) => void;

/** What a hub says of a model, and its files of themselves, without an outlook; and what that would be asked by. */
export async function describeRemote(
  context: Context,
  resolved: Resolved,
  onTensor?: OnTensorOf,
): Promise<{ readonly shown: ShownModel; readonly what: Convertible | undefined }> {
  const { snapshot, reference } = resolved;
  const { hub, id, revision, metadata } = snapshot;
  const listing = knownListing(snapshot);
  // What archives hold is seen when they are here: till then they are the files.
  const entries: readonly ListingEntry[] =
    listing ?? snapshot.files.map((source) => ({ path: source.path, size: source.size, source }));
  const listed = below(entries, listing === undefined ? undefined : reference.subpath).candidates;
  const files = listed.map(({ path, file }) => ({ path, bytes: file.size ?? null, file }));
  const isHere = snapshot.files.every(({ url }) => url.startsWith('file:'));
  const bytes = files.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
  const allowance = isHere ? localAllowance() : remoteAllowance(bytes);
  const access = await accessTo(context, snapshot);
  const { what, why } = convertibleOr(context, resolved);
  const contents =
    what === undefined
      ? nothing(why)
      : access.state === 'refused'
        ? nothing(access.why)
        : await describeContents({
            ...lookAt(context, snapshot, files, what, allowance),
            isHere,
            ...(onTensor === undefined ? {} : { onTensor }),
          });
  const pinned = revision === undefined ? reference : pinnedReference(context, reference, { id, revision });
  const shown: ShownModel = {
    reference: format(context, pinned),
    hub,
    id,
    revision: revision ?? '',
    path: null,
    cache: null,
    kind: 'remote',
    bytes,
    license: metadata.license ?? null,
    gated: metadata.gated ?? null,
    task: metadata.task ?? null,
    page: metadata.page ?? null,
    recipe: metadata.recipe ?? null,
    files: files.map(({ path, bytes, file: { source, archive } }) => ({
      path,
      bytes,
      sha256: archive === undefined && source.digest?.algorithm === 'sha256' ? source.digest.hex : null,
    })),
    pickles: files.map(({ path }) => path).filter(isPickle),
    leftOut: [],
    conversions: [],
    precision: null,
    device: null,
    converter: null,
    settings: {},
    pulledAt: null,
    check: null,
    access: access.state,
    formats: formatsOf(files.map(({ path, bytes }) => ({ path, bytes: bytes ?? 0 }))),
    ...withoutSecrets(context, contents),
    outlook: [],
    fetchedBytes: isHere ? 0 : allowance.usedBytes,
  };
  return { shown, what };
}

/** What the planner may be asked about; a listing whose names cannot be files here is shown all the same. */
function convertibleOr(
  context: Context,
  resolved: Resolved,
): { readonly what?: NonNullable<ReturnType<typeof convertible>>; readonly why: string } {
  try {
    const what = convertible(context, resolved);
    const why = 'What its archive holds is seen once it is fetched';
    return what === undefined ? { why } : { what, why };
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    return { why: error.message };
  }
}

function nothing(why: string): Contents {
  return { headers: [], inputs: [], outputs: [], weights: [], unread: [why] };
}

/** Why something was not read may be what a server answered. */
function withoutSecrets({ secrets }: Context, contents: Contents): Contents {
  return {
    ...contents,
    headers: contents.headers.map((header) => ({
      ...header,
      unread: header.unread === null ? null : redactSecrets(header.unread, secrets),
    })),
    unread: contents.unread.map((sentence) => redactSecrets(sentence, secrets)),
  };
}

function lookAt(
  context: Context,
  snapshot: Snapshot,
  files: readonly { readonly path: string; readonly bytes: number | null; readonly file: ListingEntry }[],
  what: NonNullable<ReturnType<typeof convertible>>,
  allowance: Allowance,
): Omit<LookedAt, 'isHere'> {
  const reader = openRemote(context, snapshot, allowance);
  const counted = new Set<string>();
  // Members of an archive have no address of their own.
  const own = files.filter(({ file }) => file.archive === undefined);
  return {
    files: own.map(({ path, bytes }) => ({ path, bytes: bytes ?? 0 })),
    text(path) {
      const bytes = own.find((each) => each.path === path)?.bytes ?? 0;
      if (!counted.has(path)) {
        if (bytes > allowance.mostBytes - allowance.usedBytes) return Promise.resolve(undefined);
        counted.add(path);
        allowance.usedBytes += bytes;
      }
      return what.model.text(path);
    },
    open(path, ahead) {
      const found = own.find((each) => each.path === path);
      if (found === undefined) throw new Error(`Not among the files: ${path}`);
      return reader.open(found.file.source, ahead);
    },
  };
}

/** May the files be had? One request where the hub says that not everybody may. */
async function accessTo(
  context: Context,
  snapshot: Snapshot,
): Promise<
  { readonly state: 'open' | 'granted' | null } | { readonly state: 'refused'; readonly why: string }
> {
  const { gated } = snapshot.metadata;
  if (gated !== true) return { state: gated === false ? 'open' : null };
  const hub = hubNamed(context, snapshot.hub);
  if (hub.checkAccess === undefined || context.freshness === 'offline') return { state: null };
  try {
    await hub.checkAccess(snapshot, await hubContext(context, hub));
    return { state: 'granted' };
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    if (error.code !== 'GATED' && error.code !== 'AUTH') return { state: null };
    const hint = error.hint === undefined ? '' : `: ${error.hint}`;
    return { state: 'refused', why: `${error.message}${hint}` };
  }
}

async function outlook(
  context: Context,
  text: string | undefined,
  reference: Reference,
  what: Convertible,
  conversion: ConvertOptions,
): Promise<readonly ConversionOutlook[]> {
  const published = new Map<string, string | undefined>();
  const outlooks: ConversionOutlook[] = [];
  for (const device of DEVICES) {
    const warnings: string[] = [];
    const quiet: Context = {
      ...context,
      emit: (event) => {
        if (event.type === 'warning') warnings.push(event.message);
      },
    };
    const options = { ...conversion, device };
    const request = requestOf(quiet, options);
    const told = async (plan: ConvertPlan): Promise<ConvertPlan> => {
      if (text === undefined || plan.stored || conversion.prebuilt === 'never') return plan;
      const key = hubNamed(context, reference.hub).prebuilt?.ids(reference.id, request).join(' ') ?? '';
      if (!published.has(key)) published.set(key, await publishedReference(quiet, reference, request));
      const found = published.get(key);
      return found === undefined ? plan : { ...plan, prebuilt: { reference: found, taken: false } };
    };
    try {
      const taken = text === undefined ? undefined : await planPublished(quiet, text, options, request);
      const plan = taken ?? (await told(await planKnown(quiet, what, options)));
      outlooks.push({
        device,
        precision: plan.precision,
        converter: plan.converter,
        toolchain: plan.toolchain,
        stored: plan.stored,
        downloadBytes: plan.downloadBytes,
        estimate: plan.estimate,
        adjustments: plan.adjustments,
        prebuilt: plan.prebuilt,
        warnings,
        refused: null,
      });
    } catch (error) {
      if (!(error instanceof ModeldlError) || context.signal.aborted) throw error;
      outlooks.push({
        device,
        precision: request.precision,
        converter: null,
        toolchain: null,
        stored: false,
        downloadBytes: 0,
        estimate: null,
        adjustments: [],
        prebuilt: null,
        warnings,
        refused: { message: redactSecrets(error.message, context.secrets), hint: error.hint ?? null },
      });
    }
  }
  return outlooks;
}

async function showStored(
  context: Context,
  reference: Reference,
  model: StoredModel,
  siblings: readonly StoredModel[],
  conversion: ConvertOptions,
): Promise<ShownModel> {
  const shown = await describeStored(context, model, siblings);
  if (model.record.conversion !== undefined) return shown;
  const here: Context = { ...context, freshness: 'offline' };
  const what = { stored: model, reference };
  return { ...shown, outlook: await outlook(here, undefined, reference, what, conversion) };
}

/**
 * What is known of a stored model, and its files say of themselves, without an outlook.
 * @param siblings what is stored of its revision
 */
export async function describeStored(
  context: Context,
  model: StoredModel,
  siblings: readonly StoredModel[],
  onTensor?: OnTensorOf,
): Promise<ShownModel> {
  const { record, directory } = model;
  // Of a pulled model all of its revision: what each read may have been pulled for it alone.
  const conversions = siblings.filter(({ record: { conversion: made } }) =>
    record.conversion === undefined ? made !== undefined : made?.origin === model.path,
  );
  const nameOf = namesAmong(siblings);
  const allowance = localAllowance();
  const contents = await describeContents({
    files: record.files,
    text: localTexts(directory),
    open: (path) => openLocal(join(directory, path), allowance),
    isHere: true,
    ...(onTensor === undefined ? {} : { onTensor }),
  });
  return {
    reference: nameOf(model),
    hub: record.hub,
    id: record.id,
    revision: record.revision,
    path: modelLocation(model),
    cache: storeOf(context, model).cacheDir,
    kind: record.conversion === undefined ? 'pulled' : 'converted',
    bytes: measured(model).bytes,
    license: record.license ?? null,
    gated: record.gated ?? null,
    task: record.conversion?.task ?? record.task ?? null,
    page: record.page ?? null,
    recipe: record.recipe ?? null,
    files: record.files.map(({ path: name, bytes, sha256 }) => ({ path: name, bytes, sha256 })),
    pickles: record.files.map((file) => file.path).filter(isPickle),
    leftOut: record.leftOut,
    conversions: conversions.map((each) => describeListed(context, measured(each), nameOf(each))),
    precision: record.conversion?.precision ?? null,
    device: record.conversion?.device ?? null,
    converter: record.conversion?.converter ?? null,
    settings: record.conversion?.given ?? {},
    pulledAt: record.pulledAt,
    check: record.conversion?.check ?? null,
    access: null,
    formats: formatsOf(record.files),
    ...contents,
    outlook: [],
    fetchedBytes: 0,
  };
}

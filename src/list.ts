/** Looking at the store: list, path, show. */
import { format, parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { describeIrs } from './ir.js';
import { storeOf, visibleCatalogue, visibleModels } from './lower.js';
import { pinnedReference, resolveReference } from './resolve.js';
import type { ListedModel, ModelList, ShownModel } from './results.js';
import {
  assertIntact,
  describeListed,
  findStored,
  measured,
  modelLocation,
  namesAmong,
  storedModels,
  wantsConversion,
  type ConversionFilter,
} from './stored.js';
import { touchUsed, type StoredModel } from './store/models.js';
import { createTurns } from './store/turns.js';

export async function list(context: Context): Promise<ModelList> {
  const { models: stored, physicalBytes } = await visibleCatalogue(context);
  const nameOf = namesAmong(stored);
  const models: ListedModel[] = [];
  const turn = createTurns();
  for (const model of stored) {
    await turn();
    models.push(describeListed(context, model, nameOf(model)));
  }
  const bytes = models.reduce((sum, model) => sum + model.bytes, 0);
  return { models, totals: { models: models.length, bytes, physicalBytes } };
}

/**
 * Path of a stored model, after a cheap look at its files. No network.
 * @throws ModeldlError NOT_FOUND, INTEGRITY for a model that was damaged
 */
export async function path(
  context: Context,
  text: string,
  filter: ConversionFilter,
): Promise<{ reference: string; path: string }> {
  const model = await findStored(context, parse(context, text), filter);
  await assertIntact(context, model);
  await touchUsed(storeOf(context, model), model.path);
  const nameOf = namesAmong(await visibleModels(context, model.record.hub, [model.record.id]));
  return { reference: nameOf(model), path: modelLocation(model) };
}

/** What PyTorch and Python write as a pickle. A `.bin` is one only by the names that transformers and diffusers give. */
const PICKLE = /\.(pt|pth|ckpt|pkl|pickle)$|(^|\/)(diffusion_)?(pytorch|adapter)_model[^/]*\.bin$/i;

function isPickle(path: string): boolean {
  return PICKLE.test(path);
}

/** One model: the stored one, else what its hub says. @throws ModeldlError NOT_FOUND and as the hub does */
export async function show(context: Context, text: string, filter: ConversionFilter): Promise<ShownModel> {
  const reference = parse(context, text);
  try {
    const model = await findStored(context, reference, filter);
    const siblings = await storedModels(
      context,
      { ...reference, revision: model.record.revision },
      { allRevisions: false },
    );
    return await showStored(context, model, siblings);
  } catch (error) {
    const absent = error instanceof ModeldlError && error.code === 'NOT_FOUND';
    if (!absent || wantsConversion(reference, filter) || context.freshness === 'offline') throw error;
  }
  const { snapshot, reference: read } = await resolveReference(context, reference);
  const { hub, id, revision, metadata } = snapshot;
  const pinned = revision === undefined ? read : pinnedReference(context, read, { id, revision });
  return {
    reference: format(context, pinned),
    hub,
    id,
    revision: revision ?? '',
    path: null,
    cache: null,
    kind: 'remote',
    bytes: snapshot.files.reduce((sum, { size }) => sum + (size ?? 0), 0),
    license: metadata.license ?? null,
    gated: metadata.gated ?? null,
    task: metadata.task ?? null,
    page: metadata.page ?? null,
    recipe: metadata.recipe ?? null,
    files: snapshot.files.map(({ path: name, size, digest }) => ({
      path: name,
      bytes: size ?? null,
      sha256: digest?.algorithm === 'sha256' ? digest.hex : null,
    })),
    pickles: snapshot.files.map((file) => file.path).filter(isPickle),
    leftOut: [],
    conversions: [],
    precision: null,
    device: null,
    converter: null,
    settings: {},
    pulledAt: null,
    check: null,
    inputs: [],
    outputs: [],
    weights: [],
  };
}

async function showStored(
  context: Context,
  model: StoredModel,
  siblings: readonly StoredModel[],
): Promise<ShownModel> {
  const { record } = model;
  // Of a pulled model all of its revision: what each read may have been pulled for it alone.
  const conversions = siblings.filter(({ record: { conversion } }) =>
    record.conversion === undefined ? conversion !== undefined : conversion?.origin === model.path,
  );
  const nameOf = namesAmong(siblings);
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
    conversions: conversions.map((conversion) =>
      describeListed(context, measured(conversion), nameOf(conversion)),
    ),
    precision: record.conversion?.precision ?? null,
    device: record.conversion?.device ?? null,
    converter: record.conversion?.converter ?? null,
    settings: record.conversion?.given ?? {},
    pulledAt: record.pulledAt,
    check: record.conversion?.check ?? null,
    ...(await describeIrs(context, model)),
  };
}

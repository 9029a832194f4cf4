/** Finding what a reference means among the stored models, and describing it. No network. */
import { join } from 'node:path';
import { format, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { onlyQuantization } from './listing.js';
import { storeOf, visibleModels } from './lower.js';
import type { Reference } from './reference.js';
import { namedRevision, storedReading, storedSnapshot } from './resolve.js';
import type { ListedModel } from './results.js';
import { checkModel, isIntact, lastUsed, type StoredModel } from './store/models.js';
import { deviceSlug } from './store/record.js';
import { exactReference, namesAmong, wholeOrDefault, type NamedModel } from './stored-names.js';

export { namesAmong };

/** Path that a user's program opens: the directory, or the one file that the reference named. */
export function modelLocation(model: NamedModel): string {
  const { single } = model.record;
  return single === undefined ? model.directory : join(model.directory, single);
}

/** Which of several conversions is meant. */
export interface ConversionFilter {
  readonly precision?: string;
  readonly device?: string;
  readonly converter?: string;
}

export function wantsConversion(reference: Reference, filter: ConversionFilter): boolean {
  const { precision, device, converter } = filter;
  return [reference.conversion, precision, device, converter].some((value) => value !== undefined);
}

/** Short name of a conversion, as `list` prints it after `+`. */
export function conversionName(conversion: { readonly precision: string; readonly device: string }): string {
  return `${conversion.precision}-${deviceSlug(conversion.device)}`;
}

/** Is this what a reference and a filter want: a conversion, a selection by its hash, or without wants any selection? */
export function conversionMatches(
  model: StoredModel,
  reference: Reference,
  filter: ConversionFilter,
): boolean {
  const { conversion, selection, unproven } = model.record;
  if (unproven === true && !/^[0-9a-f]{8}$/.test(reference.conversion ?? '')) return false;
  if (!wantsConversion(reference, filter)) return conversion === undefined;
  const named = reference.conversion;
  if (conversion === undefined) {
    return (
      named !== undefined &&
      named === selection?.slice(0, 8) &&
      !wantsConversion(withoutSuffix(reference), filter)
    );
  }
  return (
    (named === undefined || named === conversionName(conversion) || named === conversion.key.slice(0, 8)) &&
    (filter.precision === undefined || filter.precision === conversion.precision) &&
    (filter.device === undefined || filter.device.toUpperCase() === conversion.device) &&
    (filter.converter === undefined || filter.converter === conversion.converter)
  );
}

/** The reference without what names a conversion or selection of it. */
function withoutSuffix({ conversion, ...origin }: Reference): Reference {
  return origin;
}

/** Every stored model of the reference's hub, id, revision (all revisions without one) and subpath. */
export async function storedModels(
  context: Context,
  asked: Reference,
  options: { readonly allRevisions: boolean },
): Promise<readonly StoredModel[]> {
  const reference = await storedReading(context, asked);
  const snapshot = await storedSnapshot(context, reference);
  const named = namedRevision(reference);
  const revision = snapshot?.revision ?? named;
  const id = snapshot?.id ?? reference.id;
  const anyRevision = named === undefined && (options.allRevisions || revision === undefined);
  return (await visibleModels(context, reference.hub, [id, reference.id])).filter(
    ({ record }) =>
      (anyRevision || record.revision === revision) &&
      (reference.subpath === undefined
        ? options.allRevisions || record.subpath === undefined
        : record.subpath === reference.subpath),
  );
}

/**
 * The one stored model that a reference means.
 * @throws ModeldlError NOT_FOUND when none is stored, USAGE naming the candidates when it may be several
 */
export async function findStored(
  context: Context,
  reference: Reference,
  filter: ConversionFilter,
): Promise<StoredModel> {
  const all = await storedModels(context, reference, { allRevisions: false });
  const candidates = all.filter((model) => conversionMatches(model, reference, filter));
  const [first] = candidates;
  if (first === undefined)
    throw notStored(context, reference, await absenceHint(context, reference, filter, all));
  if (!wantsConversion(reference, filter)) return meantSelection(context, reference, candidates);
  assertOneConversion(context, reference, candidates);
  return first;
}

/**
 * What to do about a model that is not stored.
 * @param beside what is stored of the same revision and subpath
 */
async function absenceHint(
  context: Context,
  reference: Reference,
  filter: ConversionFilter,
  beside: readonly StoredModel[],
): Promise<string> {
  const apart = beside.filter(({ record }) => record.unproven === true && record.conversion === undefined);
  if (apart.length > 0 && !wantsConversion(reference, filter)) {
    const pull = `modeldl pull ${format(context, reference)}`;
    return `only a lock has told of it, and it is ${apart.map(exactReference).join(', ')}; \`${pull}\` asks its hub`;
  }
  if (!wantsConversion(reference, filter)) {
    const stored = await storedBefore(context, reference);
    return stored.length === 0
      ? `fetch it with \`modeldl pull ${format(context, reference)}\``
      : `what follows \`+\` names none of ${stored.map(namesAmong(stored)).join(', ')}`;
  }
  const others = beside.filter(({ record }) => record.conversion !== undefined || record.asked !== undefined);
  const stored = others.length === 0 ? [] : [`stored of it: ${others.map(namesAmong(beside)).join(', ')}`];
  const { precision, device, converter } = { ...conversionNamed(reference.conversion), ...filter };
  const options = [
    ...(precision === undefined ? [] : ['--precision', precision]),
    ...(device === undefined ? [] : ['--device', device]),
    ...(converter === undefined ? [] : ['--converter', converter]),
  ];
  // A key or hash does not tell what would be made again.
  if (options.length === 0) return [...stored, '`modeldl list` shows what is stored'].join('; ');
  const origin = format(context, withoutSuffix(reference));
  return [`make it with \`modeldl convert ${origin} ${options.join(' ')}\``, ...stored].join('; ');
}

/** `fp16-hetero_gpu_cpu` as options of `convert`; nothing for a key. */
function conversionNamed(name = ''): ConversionFilter {
  const at = name.indexOf('-');
  if (at < 0) return {};
  const device = name.slice(at + 1).toUpperCase();
  const [, devices] = /^HETERO_(.+)$/.exec(device) ?? [];
  return {
    precision: name.slice(0, at),
    device: devices === undefined ? device : `HETERO:${devices.replaceAll('_', ',')}`,
  };
}

/** What is stored of a reference without the `+…` that it ends in, and that was read as a part of a name. */
async function storedBefore(context: Context, reference: Reference): Promise<readonly StoredModel[]> {
  const cut = (text: string): string => text.replace(/\+[^+]*$/, '');
  const { id, revision, subpath } = reference;
  const before =
    subpath !== undefined
      ? { ...reference, subpath: cut(subpath) }
      : revision !== undefined
        ? { ...reference, revision: cut(revision) }
        : { ...reference, id: cut(id) };
  if (format(context, before) === format(context, reference)) return [];
  return storedModels(context, before, { allRevisions: false });
}

function notStored(context: Context, reference: Reference, hint: string): ModeldlError {
  const text = format(context, reference);
  return new ModeldlError('NOT_FOUND', `Not stored: ${text}`, { hint, details: { reference: text } });
}

/**
 * Which of a revision's selections a reference means by itself: the whole model, else what is pulled when nothing is
 * said, else the one quantization that was chosen. What globs chose is only a part of what the reference promises.
 */
function meantSelection(
  context: Context,
  reference: Reference,
  candidates: readonly StoredModel[],
): StoredModel {
  const meant = wholeOrDefault(candidates);
  if (meant !== undefined) return meant;
  const quantized = candidates.filter(({ record: { asked } }) => asked && onlyQuantization(asked));
  const [only] = quantized;
  if (only === undefined) {
    const parts = candidates.map(exactReference).join(', ');
    const pull = `modeldl pull ${format(context, reference)}`;
    throw notStored(
      context,
      reference,
      `only parts of it are stored: ${parts}; \`${pull}\` fetches the rest`,
    );
  }
  if (quantized.length === 1) return only;
  const text = format(context, reference);
  const named = quantized.map((model) => `${exactReference(model)} (${model.record.asked?.quant ?? ''})`);
  throw new ModeldlError('USAGE', `Several quantizations of ${text} are stored`, {
    hint: `name one of ${named.join(', ')}`,
    details: { reference: text, candidates: quantized.map(exactReference) },
  });
}

/**
 * Refuses to guess which of several conversions is meant. Those made of different selections with equal inputs have
 * one key and equal files: any of them will do.
 * @throws ModeldlError USAGE naming the candidates
 */
export function assertOneConversion(
  context: Context,
  reference: Reference,
  candidates: readonly StoredModel[],
): void {
  const exact = [...new Set(candidates.map(exactReference))];
  if (exact.length <= 1) return;
  const text = format(context, reference);
  const what = candidates.every(({ record }) => record.conversion !== undefined)
    ? 'conversions'
    : 'selections';
  throw new ModeldlError('USAGE', `Several ${what} of ${text} are stored`, {
    hint: `name one of ${exact.join(', ')}; \`modeldl show\` of each says how it was made`,
    details: { reference: text, candidates: exact },
  });
}

/** @throws ModeldlError INTEGRITY when a cheap look shows that the model is not what its record says */
export async function assertIntact(context: Context, model: StoredModel): Promise<void> {
  const store = storeOf(context, model);
  const check = await checkModel(store, model, false, context.signal);
  if (isIntact(check)) return;
  const { damaged, missing } = check;
  const reference = exactReference(model);
  const mend =
    store === context.store ? 'repair it with `modeldl verify --repair' : 'fetch it with `modeldl pull';
  throw new ModeldlError('INTEGRITY', `The stored model is damaged: ${[...damaged, ...missing].join(', ')}`, {
    hint: `${mend} ${reference}\``,
    details: { reference },
  });
}

/** @param reference what names the model, as {@link namesAmong} tells */
export function describeListed(
  context: Context,
  model: NamedModel & { readonly bytes: number },
  reference: string,
): ListedModel {
  const { record } = model;
  const store = storeOf(context, model);
  const used = lastUsed(store, model.path);
  return {
    reference,
    kind: record.conversion === undefined ? 'pulled' : 'converted',
    precision: record.conversion?.precision ?? null,
    device: record.conversion?.device ?? null,
    path: modelLocation(model),
    cache: store.cacheDir,
    bytes: model.bytes,
    pulledAt: record.pulledAt,
    lastUsedAt: used?.toISOString() ?? null,
  };
}

/** A model with its size. */
export function measured(model: StoredModel): StoredModel & { readonly bytes: number } {
  return { ...model, bytes: model.record.files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

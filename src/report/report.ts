/** A report of models and their conversions: what is told of them is gathered, and written as one page. */
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { parse, type Context } from '../context.js';
import { ModeldlError, systemErrorCode } from '../errors.js';
import { checkFile, refuseInCache, targetError } from '../export/target.js';
import { formatCount } from '../format.js';
import type { TensorEntry } from '../headers/shares.js';
import { writeArchive } from '../pack.js';
import { resolveReference } from '../resolve.js';
import type { MadeReport, ReportedEntry } from '../results.js';
import { describeRemote, describeStored, mayLook } from '../show.js';
import { findStored, storedModels, wantsConversion } from '../stored.js';
import type { StoredModel } from '../store/models.js';
import { createLayers, type LayerCollector, type Layers } from './layers.js';
import { reportPage, type MadeBy, type ReportedModel } from './page.js';

export interface ReportOptions {
  /** The file that the page is written to; without it the page is returned alone. */
  readonly output?: string;
  /** Replace a file that is there. */
  readonly overwrite?: boolean;
}

/** So many models are told of on one page. */
const MOST_MODELS = 40;

/** A stored model among those of its revision, or one that its hub tells of. */
type Found =
  | { readonly model: StoredModel; readonly siblings: readonly StoredModel[] }
  | { readonly remote: Pick<ReportedModel, 'shown' | 'layers'> };

/**
 * What is stored is told of without network, with its conversions; else what the hub says.
 * @throws ModeldlError USAGE for an output that cannot be, NOT_FOUND, DISK, and as a hub does
 */
export async function report(
  context: Context,
  references: readonly string[],
  { output, overwrite = false }: ReportOptions,
): Promise<MadeReport> {
  const file = output === undefined ? undefined : await requireOutput(context, output, overwrite);
  const found: Found[] = [];
  const seen = new Set<string>();
  for (const text of references) {
    for (const each of await findAll(context, text)) {
      const name = 'model' in each ? each.model.directory : each.remote.shown.reference;
      if (!seen.has(name)) found.push(each);
      seen.add(name);
    }
  }
  const models = await describeAll(context, found.slice(0, MOST_MODELS));
  const leftOut = found.length - models.length;
  if (leftOut > 0) {
    const message = `The report is of the first ${models.length} models and conversions: ${formatCount(leftOut, 'more is', 'more are')} left out`;
    context.emit({ type: 'warning', message });
  }
  const html = reportPage(models, leftOut);
  const page = Buffer.from(html);
  const document = { path: file ?? null, bytes: page.length, models: models.map(entryOf), html };
  if (file === undefined) return document;
  const { signal } = context;
  try {
    await writeArchive(Readable.from([page]), file, { compression: 'none', tarBytes: page.length, signal });
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw targetError(error, file);
    throw new ModeldlError('DISK', `Cannot write ${file}: its directory takes no files, or was removed`, {
      hint: 'choose another place',
      cause: error,
      details: { file },
    });
  }
  return document;
}

/** Before anything is read. */
async function requireOutput(context: Context, output: string, overwrite: boolean): Promise<string> {
  const file = resolve(context.cwd, output);
  if (/[/\\]$/.test(output)) {
    throw new ModeldlError('USAGE', `A report is one file, and this is the name of a directory: ${output}`, {
      hint: 'name a file, as in `--output report.html`',
      details: { file },
    });
  }
  await checkFile(file, overwrite, 'report');
  await refuseInCache(context, file);
  return file;
}

/** What a reference is a report of: models before their conversions. */
async function findAll(context: Context, text: string): Promise<readonly Found[]> {
  const reference = parse(context, text);
  try {
    const model = await findStored(context, reference, {});
    const pinned = { ...reference, revision: model.record.revision };
    const siblings = await storedModels(context, pinned, { allRevisions: false });
    return familyOf(model, siblings).map((member) => ({ model: member, siblings }));
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'NOT_FOUND') throw error;
    if (wantsConversion(reference, {})) throw error;
    // What a conversion read may be all that was pulled: it is no answer to its own name, and has conversions.
    const siblings = await storedModels(context, reference, { allRevisions: false });
    const made = siblings.filter(({ record }) => record.conversion !== undefined);
    if (made.length > 0) {
      const family = [...new Set([...made.flatMap((model) => originsOf(model, siblings)), ...inOrder(made)])];
      return family.map((model) => ({ model, siblings }));
    }
    if (!mayLook(context, reference)) throw error;
  }
  const tensors = createTensors();
  const { shown } = await describeRemote(context, await resolveReference(context, reference), tensors.add);
  return [{ remote: { shown, layers: tensors.layers() } }];
}

/** A pulled model with all conversions of its revision; a conversion with what it was made of, and what was made of it. */
function familyOf(model: StoredModel, siblings: readonly StoredModel[]): readonly StoredModel[] {
  const isPulled = model.record.conversion === undefined;
  const made = siblings.filter(({ record: { conversion } }) =>
    isPulled ? conversion !== undefined : conversion?.origin === model.path,
  );
  return [...originsOf(model, siblings), model, ...inOrder(made)];
}

/** What a conversion was made of, as far as that is stored, the first of them first. */
function originsOf(model: StoredModel, siblings: readonly StoredModel[]): readonly StoredModel[] {
  const origins: StoredModel[] = [];
  let at: StoredModel | undefined = model;
  while (at !== undefined) {
    const path: string | undefined = at.record.conversion?.origin;
    at = siblings.find((other) => other.path === path && !origins.includes(other));
    if (at !== undefined) origins.unshift(at);
  }
  return origins;
}

/** Largest first. */
function inOrder(models: readonly StoredModel[]): readonly StoredModel[] {
  const bytesOf = ({ record }: StoredModel): number =>
    record.files.reduce((sum, { bytes }) => sum + bytes, 0);
  return [...models].sort((a, b) => bytesOf(b) - bytesOf(a) || (a.path < b.path ? -1 : 1));
}

async function describeAll(context: Context, found: readonly Found[]): Promise<readonly ReportedModel[]> {
  const models: ReportedModel[] = [];
  for (const each of found) {
    if ('remote' in each) {
      models.push({ ...each.remote, made: null, madeOf: null });
      continue;
    }
    const { model, siblings } = each;
    const tensors = createTensors();
    const shown = await describeStored(context, model, siblings, tensors.add);
    const layers = tensors.layers();
    models.push({ shown, layers, made: madeBy(model), madeOf: placeOfOrigin(model, found) });
  }
  return models;
}

function madeBy({ record }: StoredModel): MadeBy | null {
  const { conversion } = record;
  if (conversion === undefined) return null;
  const { originReference: origin, key, toolchain, seconds, settings, adjustments, consent } = conversion;
  return { origin, key, toolchain, seconds, settings, adjustments, consent };
}

/** Another selection of the same revision is the same model: what was read may have been pulled for it alone. */
function placeOfOrigin({ record: { conversion } }: StoredModel, found: readonly Found[]): number | null {
  if (conversion === undefined) return null;
  const stored = found.map((each) => ('model' in each ? each.model : undefined));
  const exact = stored.findIndex((other) => other?.path === conversion.origin);
  const like = stored.findIndex(
    (other) =>
      other?.record.conversion === undefined && other?.record.reference === conversion.originReference,
  );
  const place = exact < 0 ? like : exact;
  return place < 0 ? null : place;
}

interface TensorCollector {
  readonly add: (file: string, tensor: TensorEntry) => void;
  layers(): ReadonlyMap<string, Layers>;
}

/** Of each set of weights apart. */
function createTensors(): TensorCollector {
  const collectors = new Map<string, LayerCollector>();
  return {
    add(file, tensor) {
      let collector = collectors.get(file);
      if (collector === undefined) {
        collector = createLayers();
        collectors.set(file, collector);
      }
      collector.add(tensor);
    },
    layers: () => new Map([...collectors].map(([file, collector]) => [file, collector.layers()])),
  };
}

function entryOf({ shown, made }: ReportedModel): ReportedEntry {
  const { reference, kind, precision, device, bytes, check } = shown;
  return { reference, kind, precision, device, bytes, seconds: made?.seconds ?? null, check };
}

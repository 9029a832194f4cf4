/** Removing: models by name, and by age or size when pruning. First a plan, then its execution. */
import { parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { ownOnly } from './lower.js';
import { redactReference } from './redact.js';
import type { ListedModel, PrunePlan, PruneResult, RemovalPlan, RemovalResult } from './results.js';
import {
  assertOneConversion,
  conversionMatches,
  describeListed,
  modelLocation,
  namesAmong,
  measured,
  storedModels,
  wantsConversion,
  type ConversionFilter,
} from './stored.js';
import { assertWritable } from './store/layout.js';
import { lastUsed, listModels, physicalBytes, removeModel, type StoredModel } from './store/models.js';
import { BLOB_AGE_MS, planSweep, sweep, type SweepOptions } from './store/sweep.js';
import { toolchainContext } from './toolchains.js';

/**
 * What a removal would take: without a revision every revision, and with a pulled model its conversions.
 * @throws ModeldlError NOT_FOUND for a reference that names nothing stored, USAGE when several conversions match
 */
export async function planRemove(
  context: Context,
  references: readonly string[],
  filter: ConversionFilter,
): Promise<RemovalPlan> {
  const doomed = new Map<string, StoredModel>();
  for (const text of references) {
    const reference = parse(context, text);
    const all = await storedModels(ownOnly(context), reference, { allRevisions: true });
    const converted = wantsConversion(reference, filter);
    const named = converted ? all.filter((model) => conversionMatches(model, reference, filter)) : all;
    if (converted) assertOneConversion(context, reference, named);
    const models = all.filter((model) => named.some((other) => goesWith(model, other)));
    if (models.length === 0) {
      const shown = redactReference(text);
      throw new ModeldlError('NOT_FOUND', `Not stored: ${shown}`, {
        hint: (await storedModels(context, reference, { allRevisions: true })).some((model) =>
          conversionMatches(model, reference, filter),
        )
          ? 'it lies in a cache of `cache.readFrom`, which is never changed'
          : '`modeldl list` shows what is',
        details: { reference: shown },
      });
    }
    for (const model of models) doomed.set(model.path, model);
  }
  return describeRemoval(context, [...doomed.values()]);
}

/** Is this the model that is removed, or was it converted from that selection, over however many conversions? */
function goesWith({ path, record }: StoredModel, removed: StoredModel): boolean {
  if (path === removed.path) return true;
  const { revision, selection, conversion } = removed.record;
  const selected = conversion === undefined && record.conversion !== undefined;
  return selected && record.revision === revision && record.selection === selection;
}

async function describeRemoval(context: Context, models: readonly StoredModel[]): Promise<RemovalPlan> {
  if (models.length === 0) return { models: [], bytes: 0 };
  const all = await listModels(context.store);
  const nameOf = namesAmong(all);
  const listed = models.map((model) => describeListed(context, measured(model), nameOf(model)));
  return { models: listed, bytes: reclaimed(all, models) };
}

/** Bytes that of all models only these hold. */
function reclaimed(all: readonly StoredModel[], doomed: readonly StoredModel[]): number {
  const paths = new Set(doomed.map((model) => model.path));
  return physicalBytes(all) - physicalBytes(all.filter((model) => !paths.has(model.path)));
}

/** Removes what a plan names; blobs go now with `prune`, else with the next prune. @throws ModeldlError DISK */
export async function remove(
  context: Context,
  plan: RemovalPlan,
  options: { readonly prune: boolean },
): Promise<RemovalResult> {
  assertWritable(context.store);
  const removed = await removeListed(context, plan.models);
  if (!options.prune) return { removed, freedBytes: 0 };
  const freedBytes = await sweep(
    context.store,
    await planSweep(context.store, { minimumAgeMs: BLOB_AGE_MS, partials: false }),
  );
  return { removed, freedBytes };
}

async function removeListed(context: Context, listed: readonly ListedModel[]): Promise<readonly string[]> {
  // What was pulled again since the plan was shown is another model.
  const planned = new Map(listed.map((model) => [`${model.path} ${model.pulledAt}`, model.reference]));
  const removed: string[] = [];
  for (const model of await listModels(context.store)) {
    const reference = planned.get(`${modelLocation(model)} ${model.record.pulledAt}`);
    if (reference === undefined) continue;
    await removeModel(context.store, model);
    removed.push(reference);
  }
  return removed;
}

export interface PruneOptions {
  /** Evict models not used for this long, milliseconds. */
  readonly olderThanMs?: number;
  /** Evict the least recently used until the store is at most this large, bytes. */
  readonly maxBytes?: number;
  readonly partials?: boolean;
  readonly toolchains?: boolean;
  /**
   * Keep what is expensive to make alone, as for the cache of a CI system: evict every model that is no conversion, and
   * all unfinished downloads.
   */
  readonly ci?: boolean;
}

/** In CI nobody resumes what an earlier run left behind. */
function sweepOptions({ ci = false, partials = false }: PruneOptions): SweepOptions {
  return ci ? { minimumAgeMs: 0, partials: true } : { minimumAgeMs: BLOB_AGE_MS, partials };
}

export async function planPrune(context: Context, options: PruneOptions): Promise<PrunePlan> {
  const evicted = await chooseEvicted(context, options);
  const removal = await describeRemoval(context, evicted);
  const swept = await planSweep(context.store, { ...sweepOptions(options), partials: true });
  const toolchains: { name: string; bytes: number }[] = [];
  if (options.toolchains === true) {
    for (const toolchain of context.toolchains) {
      const { bytes = 0, unusedBytes = 0, state } = await toolchain.status(toolchainContext(context));
      const isOwn = state !== 'missing' && state !== 'external';
      if (isOwn || unusedBytes > 0) toolchains.push({ name: toolchain.name, bytes: bytes + unusedBytes });
    }
  }
  const sum = (items: readonly { readonly bytes: number }[]): number =>
    items.reduce((total, { bytes }) => total + bytes, 0);
  const blobs = { count: swept.blobs.length, bytes: sum(swept.blobs) + sum(swept.leftovers) };
  const unfinished = { count: swept.partials.length, bytes: sum(swept.partials) };
  const none = { count: 0, bytes: 0 };
  const [partials, keptPartials] = sweepOptions(options).partials ? [unfinished, none] : [none, unfinished];
  return {
    models: removal.models,
    blobs,
    partials,
    keptPartials,
    toolchains,
    bytes: removal.bytes + blobs.bytes + partials.bytes + sum(toolchains),
  };
}

async function chooseEvicted(context: Context, options: PruneOptions): Promise<readonly StoredModel[]> {
  const { ci = false } = options;
  if (options.olderThanMs === undefined && options.maxBytes === undefined && !ci) return [];
  const models = await listModels(context.store);
  const used = new Map<StoredModel, number>();
  for (const model of models) {
    const last = lastUsed(context.store, model.path);
    used.set(model, last?.getTime() ?? Date.parse(model.record.pulledAt));
  }
  const fetched = ci ? models.filter(({ record }) => record.conversion === undefined) : [];
  const kept = models.filter((model) => !fetched.includes(model));
  const oldestFirst = kept.sort((a, b) => (used.get(a) ?? 0) - (used.get(b) ?? 0));
  const limit = options.olderThanMs === undefined ? -Infinity : Date.now() - options.olderThanMs;
  const size = options.maxBytes === undefined ? undefined : createSize(kept);
  const evicted: StoredModel[] = [...fetched];
  for (const model of oldestFirst) {
    const tooOld = (used.get(model) ?? 0) < limit;
    const tooLarge = size !== undefined && size.bytes() > (options.maxBytes ?? Infinity);
    if (!tooOld && !tooLarge) break;
    evicted.push(model);
    size?.without(model);
  }
  return evicted;
}

/** As {@link physicalBytes}, of models that become fewer. */
function createSize(models: readonly StoredModel[]): { bytes(): number; without(model: StoredModel): void } {
  const holders = new Map<string, number>();
  for (const { record } of models) {
    for (const sha256 of blobsOf(record)) holders.set(sha256, (holders.get(sha256) ?? 0) + 1);
  }
  let bytes = physicalBytes(models);
  return {
    bytes: () => bytes,
    without({ record }) {
      bytes -= record.copiedBytes ?? 0;
      const sizes = new Map(record.files.map((file) => [file.sha256, file.bytes]));
      for (const sha256 of blobsOf(record)) {
        const left = (holders.get(sha256) ?? 0) - 1;
        holders.set(sha256, left);
        if (left === 0) bytes -= sizes.get(sha256) ?? 0;
      }
    },
  };
}

function blobsOf(record: StoredModel['record']): ReadonlySet<string> {
  return new Set(record.files.map(({ sha256 }) => sha256));
}

/** Carries a prune plan out. @throws ModeldlError DISK */
export async function prune(context: Context, plan: PrunePlan, options: PruneOptions): Promise<PruneResult> {
  assertWritable(context.store);
  const removed = await removeListed(context, plan.models);
  let freedBytes = await sweep(context.store, await planSweep(context.store, sweepOptions(options)));
  for (const { name } of plan.toolchains) {
    const toolchain = context.toolchains.find((candidate) => candidate.name === name);
    freedBytes += (await toolchain?.remove(toolchainContext(context)))?.freedBytes ?? 0;
  }
  return { removed, freedBytes };
}

/** What a bundle is made of: stored models, brought in where they are not, what they were made of, and what names them. */
import { stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { LoadedConfig } from '../config/load.js';
import { format, hubNamed, parse, type Context } from '../context.js';
import type { ModeldlError } from '../errors.js';
import { anySnapshot, storeOf, visibleModels } from '../lower.js';
import { forEachReference, pullModel } from '../pull.js';
import { PULL_CHOICE, withChoiceHint } from '../push.js';
import { redactDocument, redactUrl, secretsIn } from '../redact.js';
import type { Reference } from '../reference.js';
import { floatingName, namedRevision } from '../resolve.js';
import type { StartupHubs } from '../startup.js';
import { assertIntact, findStored } from '../stored.js';
import { blobPath } from '../store/blobs.js';
import { compareFile } from '../store/hash.js';
import type { StoredModel } from '../store/models.js';
import { keptInputs } from '../store/record.js';
import type { StoredSnapshot } from '../store/snapshots.js';
import { isLocal, isNamedAlike, MODELS_AT_ONCE, syncStored, type StoredWanted } from '../sync.js';
import type { BundledModel, BundledReference } from './bundle-index.js';
import type { CreateBundleOptions } from './create.js';

export interface Collected {
  readonly models: readonly StoredModel[];
  /** Where the bytes of these lie: of their files, and of small ones that conversions are planned by. */
  readonly sources: ReadonlyMap<string, string>;
  readonly listings: readonly StoredSnapshot[];
  readonly references: readonly BundledReference[];
  readonly list: string | null;
  readonly lock: string | null;
}

/**
 * Brings in what is named, or what the list of models asks for by its lock. A bundle is whole or not made, so that one
 * model that fails is the end of it, once all were tried.
 */
export async function collect(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: CreateBundleOptions,
): Promise<Collected | { readonly errors: readonly ModeldlError[] }> {
  const { references = [], file, trustRemoteCode, trustPickle } = options;
  const { results, errors, ...from } =
    references.length > 0
      ? { ...(await storedByName(context, references)), file: null, lock: null }
      : await syncStored(context, loaded, startup, {
          locked: true,
          // Who may ask nobody has the lock's word.
          ...(context.freshness === 'offline' ? { frozen: true } : {}),
          ...(file === undefined ? {} : { file }),
          ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
          ...(trustPickle === undefined ? {} : { trustPickle }),
        });
  if (errors.length > 0) return { errors };
  const models = new Map<string, StoredModel>();
  // What a server gets with a model, a machine without network needs as well.
  const wanted = results.flatMap(({ beside = [], ...one }) => [one, ...beside]);
  for (const { model } of wanted)
    for (const one of [model, ...(await originsOf(context, model))]) models.set(one.path, one);
  const all = [...models.values()];
  const listings = await listingsOf(context, all);
  return {
    models: all,
    sources: await sourcesOf(context, all),
    listings,
    references: referencesOf(context, wanted, listings),
    list: from.file,
    lock: from.lock,
  };
}

async function storedByName(
  context: Context,
  references: readonly string[],
): Promise<{ readonly results: readonly StoredWanted[]; readonly errors: readonly ModeldlError[] }> {
  const work = async (_requested: string, reference: Reference): Promise<StoredWanted> => {
    const { query, conversion, ...named } = reference;
    const text = format(context, named);
    if (conversion === undefined) return { text, model: (await pullModel(context, reference, {})).model };
    const model = await findStored(context, reference, {});
    await assertIntact(context, model);
    return { text, model };
  };
  const outcome = await forEachReference(context, [...new Set(references)], {}, work, MODELS_AT_ONCE);
  return { ...outcome, errors: outcome.errors.map((error) => withChoiceHint(error, PULL_CHOICE)) };
}

/** By their sha256. What belongs to no model is hashed, since it is left out where it is gone or damaged. */
async function sourcesOf(
  context: Context,
  models: readonly StoredModel[],
): Promise<ReadonlyMap<string, string>> {
  const sources = new Map<string, string>();
  for (const { record, directory } of models)
    for (const { path, sha256 } of record.files) sources.set(sha256, join(directory, ...path.split('/')));
  for (const model of models) {
    for (const { sha256 } of keptInputs(model.record)) {
      const blobs = new Set([storeOf(context, model), context.store].map((store) => blobPath(store, sha256)));
      for (const blob of sources.has(sha256) ? [] : blobs) {
        const isHere = (await stat(blob).catch(() => undefined))?.isFile() === true;
        if (isHere && (await compareFile(blob, sha256, context.signal)) === 'same') sources.set(sha256, blob);
      }
    }
  }
  return sources;
}

/** What a conversion was made of; where that is gone, whatever else is here of the same revision. */
async function originsOf(context: Context, { record }: StoredModel): Promise<readonly StoredModel[]> {
  const { conversion, hub, id, revision, subpath, reference } = record;
  if (conversion === undefined) return [];
  const beside = (await visibleModels(context, hub, [id])).filter(
    (one) => one.record.revision === revision && one.record.subpath === subpath,
  );
  const own = beside.find(({ path }) => path === conversion.origin);
  const origins = own === undefined ? beside.filter((one) => one.record.conversion === undefined) : [own];
  if (origins.length === 0) {
    const message = `What ${reference} was made of is not stored, so that another conversion of it asks its hub where the bundle is imported`;
    context.emit({ type: 'note', message });
  }
  for (const origin of origins) await assertIntact(context, origin);
  return [...origins, ...(own === undefined ? [] : await originsOf(context, own))];
}

async function listingsOf(
  context: Context,
  models: readonly StoredModel[],
): Promise<readonly StoredSnapshot[]> {
  const listings = new Map<string, StoredSnapshot>();
  for (const { record } of models) {
    const { hub, id, revision, unproven } = record;
    if (unproven === true) continue;
    const listing = await anySnapshot(context, hub, id, revision);
    if (listing !== undefined) listings.set(JSON.stringify([hub, id, revision]), withoutKeys(listing));
  }
  return [...listings.values()];
}

/** What was asked for means the revision that was bundled. */
function referencesOf(
  context: Context,
  wanted: readonly StoredWanted[],
  listings: readonly StoredSnapshot[],
): readonly BundledReference[] {
  const references = new Map<string, BundledReference>();
  for (const { text, model } of wanted) {
    const { hub, id, revision } = model.record;
    const asked = parse(context, text);
    const isListed = listings.some((one) => one.hub === hub && one.id === id && one.revision === revision);
    if (!isListed || isLocal(context, asked) || !isNamedAlike(asked, { hub, id })) continue;
    for (const name of new Set([asked.id, id])) {
      if (namedRevision(asked) === revision && name === id) continue;
      const reference = floatingName(context, { ...asked, id: name });
      references.set(reference, { hub, reference, id, revision });
    }
  }
  return [...references.values()];
}

/** Addresses without what opens them. */
function withoutKeys(listing: StoredSnapshot): StoredSnapshot {
  const files = listing.files.map((file) => ({ ...file, url: openAddress(file.url) }));
  const { page } = listing.metadata;
  const metadata = { ...listing.metadata, ...(page === undefined ? {} : { page: openAddress(page) }) };
  return { ...listing, files, metadata };
}

function openAddress(url: string): string {
  if (url.startsWith('data:') || isAbsolute(url) || !URL.canParse(url)) return url;
  const { username, password } = new URL(url);
  return username !== '' || password !== '' || secretsIn(url).length > 0 ? redactUrl(url) : url;
}

/**
 * A record as others may see it: without its place on this machine, and without secrets in what people wrote.
 * @param sources as {@link collect} found them: what is in none does not come along
 */
export async function bundledModel(
  context: Context,
  { record }: StoredModel,
  sources: ReadonlyMap<string, string>,
): Promise<BundledModel> {
  const { placement, copiedBytes, version, files, pulledAt, page, conversion, ...rest } = record;
  const credential = await context.credential(hubNamed(context, record.hub));
  const secrets = credential === undefined ? [] : [credential.token];
  const clean = <Value>(value: Value): Value => redactDocument(value, secrets) as Value;
  const lost = keptInputs(record).filter(({ sha256 }) => !sources.has(sha256));
  if (lost.length > 0) {
    const paths = lost.map(({ path }) => path).join(', ');
    const message = `${paths}, by which ${record.reference} is found, is no longer stored, so that \`convert\` asks its hub where the bundle is imported`;
    context.emit({ type: 'warning', message });
  }
  return {
    ...rest,
    ...(page === undefined ? {} : { page: openAddress(page) }),
    ...(conversion === undefined
      ? {}
      : {
          conversion: {
            ...conversion,
            settings: clean(conversion.settings),
            ...(conversion.given === undefined ? {} : { given: clean(conversion.given) }),
            adjustments: clean(conversion.adjustments),
            ...(conversion.check === undefined ? {} : { check: clean(conversion.check) }),
            ...(conversion.inputs === undefined
              ? {}
              : { inputs: conversion.inputs.filter((input) => !lost.includes(input)) }),
          },
        }),
    files: files.map(({ mtime, ...file }) => file),
  };
}

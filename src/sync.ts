/** `modeldl sync`: makes the store hold what a list of models asks for, by the lock where there is one. */
import pLimit from 'p-limit';
import type { LoadedConfig } from './config/load.js';
import { format, hubNamed, withFileHint, type Context } from './context.js';
import { convert, convertStored, type NamedModel } from './convert.js';
import { ModeldlError } from './errors.js';
import {
  listingDifferences,
  platformName,
  readLock,
  requestKey,
  requestText,
  type Lock,
  type LockedModel,
} from './lock-file.js';
import type { Snapshot } from './hub.js';
import { heldContext, lockedContext } from './locked-hub.js';
import { anySnapshot } from './lower.js';
import { planConvert, prepare, type ConvertOptions } from './plan.js';
import {
  describePulled,
  planResolved,
  pullModel,
  pullResolved,
  referenceOf,
  type PullOptions,
} from './pull.js';
import { redactReference } from './redact.js';
import type { Reference } from './reference.js';
import { pinnedReference, resolveReference } from './resolve.js';
import type { Outcome, PulledModel, SyncedModel, SyncOutcome, SyncPlan } from './results.js';
import { withLayout } from './repository.js';
import { forEach } from './several.js';
import { requireOutput, writeModelOutput } from './space.js';
import type { StoredModel } from './store/models.js';
import { readWanted, type ListOptions, type Wanted, type WantedList } from './sync-list.js';
import type { StartupHubs } from './startup.js';

export interface SyncOptions extends ListOptions {
  /** No request but for bytes, and an error where list, lock and what is there differ. */
  readonly frozen?: boolean;
  /** There has to be a lock, and the list has to ask for what it holds. */
  readonly locked?: boolean;
}

/** Models whose files are fetched at the same time; large files share the bound of `jobs`. */
export const MODELS_AT_ONCE = 4;

/** Brings every model of the list in; one that fails does not stop the others. @throws ModeldlError CONFIG for the list or lock */
export async function sync(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: SyncOptions,
): Promise<SyncOutcome<SyncedModel>> {
  const work = await begin(context, loaded, startup, options);
  if ('errors' in work) return { ...work, results: [] };
  // A conversion takes the memory and the processors that there are.
  const oneAtATime = pLimit(1);
  const outcome = await eachModel(work, (job) => {
    const { convert: options } = job.wanted;
    return options === undefined ? pullOne(job) : oneAtATime(() => convertOne(job, options));
  });
  return { ...outcome, file: work.list.file, lock: work.lock === undefined ? null : work.list.lockFile };
}

/** A model of a list as it lies in the store. */
export interface StoredWanted {
  /** As the list has it. */
  readonly text: string;
  readonly model: StoredModel;
  /** Draft models and adapters that a server gets with it, which no lock names. */
  readonly beside?: readonly NamedModel[];
}

/** As {@link sync}, into the store alone: no copies, and nothing for a server. */
export async function syncStored(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: SyncOptions,
): Promise<SyncOutcome<StoredWanted>> {
  const work = await begin(context, loaded, startup, options);
  if ('errors' in work) return { ...work, results: [] };
  const oneAtATime = pLimit(1);
  const outcome = await eachModel(work, async (job): Promise<StoredWanted> => {
    const { wanted, reference } = job;
    const { output, ...pull } = wanted.pull;
    // A signed query is for fetching only.
    const { query, ...named } = reference;
    const text = job.locked === undefined ? format(context, named) : job.locked.asked.reference;
    if (wanted.convert === undefined) return { text, model: (await bringIn(job, pull)).model };
    const given = wanted.convert;
    return oneAtATime(async () => ({ text, ...(await convertIntoStore(job, given)) }));
  });
  return { ...outcome, file: work.list.file, lock: work.lock === undefined ? null : work.list.lockFile };
}

async function convertIntoStore(job: Job, given: ConvertOptions): ReturnType<typeof convertStored> {
  const { context, text, work } = job;
  const { output, ...plain } = convertOptionsOf(job, given);
  const isPlain = (given.layout ?? 'plain') === 'plain';
  const options: ConvertOptions = isPlain || output === undefined ? plain : { ...plain, output };
  if (work.frozen) await refuseOtherKey(job, options);
  return convertStored(context, text, options);
}

/** What {@link sync} would do. */
export async function planSync(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: SyncOptions,
): Promise<SyncOutcome<SyncPlan>> {
  const work = await begin(context, loaded, startup, options);
  if ('errors' in work) return { ...work, results: [] };
  const outcome = await eachModel(work, async (job): Promise<SyncPlan> => {
    const { wanted, locked } = job;
    const facts = { name: wanted.name, locked: locked !== undefined };
    if (wanted.convert === undefined) {
      const resolved = await resolveReference(job.context, job.reference);
      const plan = await planResolved(job.context, resolved, redactReference(wanted.text), wanted.pull);
      return { ...plan, ...facts, kind: 'pulled' };
    }
    const plan = await planConvert(job.context, job.text, convertOptionsOf(job, wanted.convert));
    return { ...plan, ...facts, kind: 'converted' };
  });
  return { ...outcome, file: work.list.file, lock: work.lock === undefined ? null : work.list.lockFile };
}

interface Work {
  readonly context: Context;
  readonly list: WantedList;
  readonly lock: Lock | undefined;
  readonly frozen: boolean;
}

type Refused = Pick<SyncOutcome<never>, 'errors' | 'file' | 'lock'>;

async function begin(
  context: Context,
  loaded: LoadedConfig,
  startup: StartupHubs,
  options: SyncOptions,
): Promise<Work | Refused> {
  const frozen = options.frozen ?? false;
  if (frozen && context.freshness === 'refresh') {
    throw new ModeldlError('USAGE', '`--frozen` and `--refresh` exclude each other', {
      hint: '`modeldl lock` asks the hubs again',
    });
  }
  const list = await readWanted(context, loaded, startup, options);
  const lock = await readLock(list.lockFile, list.lockOf);
  const at = { ...context, cwd: list.directory };
  const strict = frozen || options.locked === true;
  if (strict && lock === undefined) {
    throw new ModeldlError(
      'CONFIG',
      `There is no lock${frozen ? ' to be frozen at' : ''}: ${list.lockFile}`,
      {
        hint: 'run `modeldl lock`, and keep what it writes with the list of models',
        details: { file: list.lockFile },
      },
    );
  }
  if (lock !== undefined) {
    const differences = lockDifferences(list, lock);
    if (strict && differences.length > 0)
      return { errors: differences, file: list.file, lock: list.lockFile };
    for (const { message } of differences) {
      context.emit({ type: 'warning', message: `${message}; \`modeldl lock\` writes it anew` });
    }
  }
  return { context: at, list, lock, frozen };
}

/** What list and lock say otherwise than each other. */
function lockDifferences({ models, lockFile, file }: WantedList, lock: Lock): readonly ModeldlError[] {
  const locked = new Map(lock.models.map((model) => [requestKey(model.asked), model.asked]));
  const wanted = new Map(models.map(({ request }) => [requestKey(request), request]));
  const gone = [...locked].filter(([key]) => !wanted.has(key)).map(([, asked]) => asked);
  const differ = (message: string, reference: string): ModeldlError =>
    new ModeldlError('CONFIG', message, {
      hint: 'run `modeldl lock` when the list is right',
      details: { file: lockFile, list: file, reference },
    });
  const added = [...wanted].filter(([key]) => !locked.has(key)).map(([, request]) => request);
  const changed = new Set(added.map(({ reference }) => reference));
  return [
    ...added.map((request) => {
      const before = gone.find(({ reference }) => reference === request.reference);
      return before === undefined
        ? differ(`The lock does not hold ${requestText(request)}`, request.reference)
        : differ(
            `The lock holds ${requestText(before)}, and the list asks for ${requestText(request)}${changedKeys(before, request)}`,
            request.reference,
          );
    }),
    ...gone
      .filter(({ reference }) => !changed.has(reference))
      .map((asked) =>
        differ(`The lock holds ${requestText(asked)}, which the list does not`, asked.reference),
      ),
  ];
}

function changedKeys(before: object, now: object): string {
  const all = { ...flat(before), ...flat(now) };
  const keys = Object.keys(all).filter((key) => flat(before)[key] !== flat(now)[key]);
  return keys.length === 0 ? '' : `: ${keys.join(', ')} differ`;
}

function flat(value: object, prefix = ''): Record<string, string> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]): readonly (readonly [string, string])[] =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.entries(flat(inner as object, `${prefix}${key}.`))
        : [[`${prefix}${key}`, JSON.stringify(inner)]],
    ),
  );
}

/** One model with all that decides how it is brought in. */
interface Job {
  readonly context: Context;
  readonly work: Work;
  readonly wanted: Wanted;
  readonly locked: LockedModel | undefined;
  /** Pinned where it is locked. */
  readonly reference: Reference;
  readonly text: string;
}

async function eachModel<Result>(work: Work, run: (job: Job) => Promise<Result>): Promise<Outcome<Result>> {
  const { context, list } = work;
  return forEach(
    context,
    list.models,
    MODELS_AT_ONCE,
    async (wanted) => run(await jobOf(work, wanted)),
    async ({ text, label }, thrown) => {
      const error = withLockHint(work, await withFileHint(context, text, thrown));
      return error instanceof ModeldlError
        ? error.with({ reference: redactReference(text), entry: label, list: list.file })
        : error;
    },
  );
}

/** Where only the lock says which bytes are right, and where they are, it may be what is wrong. */
function withLockHint({ frozen, list }: Work, error: unknown): unknown {
  if (!frozen || !(error instanceof ModeldlError) || error.details['differences'] !== undefined) return error;
  const { code, message, hint, cause, details } = error;
  if (code !== 'NOT_FOUND' && code !== 'INTEGRITY') return error;
  return new ModeldlError(code, message, {
    hint: `${hint === undefined ? '' : `${hint}; or `}the lock is wrong, ${list.lockFile}: \`modeldl lock\` writes it anew`,
    cause,
    details,
  });
}

async function jobOf(work: Work, wanted: Wanted): Promise<Job> {
  const { context, lock, list, frozen } = work;
  const asked = await referenceOf(context, wanted.text, wanted.pull);
  const key = requestKey(wanted.request);
  const locked = isLocal(context, asked)
    ? undefined
    : lock?.models.find((model) => requestKey(model.asked) === key);
  if (locked === undefined) return { context, work, wanted, locked, reference: asked, text: wanted.text };
  const reference = await pinnedTo(context, list.lockFile, asked, locked);
  const stored = await anySnapshot(context, locked.hub, locked.id, locked.revision);
  // What a registry said is as good as what it says now: both are held to the lock where it is used.
  const known = stored?.believed === true ? undefined : stored;
  const compare = (listing: Snapshot): void => {
    refuseDifferences(list.lockFile, locked, listingDifferences(locked, listing));
  };
  if (known !== undefined) compare(known);
  const text = format(context, reference);
  return {
    context: frozen
      ? lockedContext(context, list.lockFile, locked, known)
      : heldContext(context, locked, compare),
    work,
    wanted,
    locked,
    reference,
    // A query is never formatted, and a signed address needs it.
    text: asked.query === undefined ? text : withQuery(text, asked.query),
  };
}

function withQuery(text: string, query: string): string {
  const at = text.indexOf('#');
  return at < 0 ? `${text}?${query}` : `${text.slice(0, at)}?${query}${text.slice(at)}`;
}

/** Local files mean what they hold now. */
export function isLocal(context: Context, { hub }: Reference): boolean {
  return context.hubs.some(({ name, syntax }) => name === hub && syntax.paths === true);
}

/** The locked revision of what the list asks for: a lock that names another model is wrong. */
async function pinnedTo(
  context: Context,
  lockFile: string,
  asked: Reference,
  locked: LockedModel,
): Promise<Reference> {
  const { hub, id, revision } = locked;
  // What is published is a model of its own, or a part of the one that is listed.
  const isOther = isPublished(locked) && id !== asked.id;
  const { prebuilt } = hubNamed(context, asked.hub);
  const { precision = '', device = '' } = locked.asked.conversion ?? {};
  const names = prebuilt?.ids(asked.id, { precision, device }) ?? [];
  const isHeld = !isPublished(locked) || names.includes(id) || prebuilt?.parts !== undefined;
  const isSame = isOther ? hub === asked.hub && names.includes(id) : isHeld && isNamedAlike(asked, locked);
  if (!isSame || !(isOther || (await mayBe(context, asked, revision)))) {
    const now = format(context, pinnedReference(context, { hub, id }, { id, revision }));
    throw new ModeldlError('CONFIG', `The lock has ${now} for ${locked.asked.reference}`, {
      hint: 'run `modeldl lock`; a model that was renamed is listed by its present name',
      details: { file: lockFile },
    });
  }
  const { query, subpath } = asked;
  const base = isOther ? { hub, id } : { hub, id, ...(subpath === undefined ? {} : { subpath }) };
  const pinned = pinnedReference(context, base, { id, revision });
  return query === undefined ? pinned : { ...pinned, query };
}

/** Can what a list names be this revision? A commit or a digest is itself; of others its hub tells what it knows. */
async function mayBe(context: Context, asked: Reference, revision: string): Promise<boolean> {
  const named = asked.sha256 ?? asked.revision;
  if (named === undefined || named === revision) return true;
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(named)) return false;
  return (await hubNamed(context, asked.hub).mayMean?.(named, revision)) ?? true;
}

/** Is it the model that a list names, as its hub completes the name: by a tag, or a variant after `//`? */
export function isNamedAlike(asked: Reference, found: Pick<LockedModel, 'hub' | 'id'>): boolean {
  const [name, id] = [asked.id.toLowerCase(), found.id.toLowerCase()];
  const names = [name, `${name}:${asked.revision ?? ''}`.toLowerCase(), `${name}:latest`];
  return found.hub === asked.hub && (names.includes(id) || id.startsWith(`${name}//`));
}

function isPublished(locked: LockedModel | undefined): boolean {
  return locked?.conversion !== undefined && 'published' in locked.conversion;
}

function refuseDifferences(
  lockFile: string,
  { reference }: LockedModel,
  differences: readonly string[],
): void {
  if (differences.length === 0) return;
  throw new ModeldlError('INTEGRITY', `${reference} is not what the lock says: ${differences.join(', ')}`, {
    hint: 'look who changed it, the lock or its hub; `modeldl lock` takes what the hub has now',
    details: { file: lockFile, reference, differences },
  });
}

async function pullOne(job: Job): Promise<SyncedModel> {
  const { context, wanted, locked } = job;
  await requireOutput(wanted.pull);
  const pulled = await bringIn(job, wanted.pull);
  await writeModelOutput(context, pulled.model, wanted.pull);
  const described = describePulled(pulled, redactReference(wanted.text), wanted.pull.output);
  return {
    ...described,
    ...licensed(described, locked),
    name: wanted.name,
    kind: 'pulled',
    locked: locked !== undefined,
  };
}

async function bringIn(job: Job, options: PullOptions): ReturnType<typeof pullModel> {
  const { context, reference, locked, work, wanted } = job;
  if (locked !== undefined) {
    return pullResolved(context, await resolveReference(context, reference), options);
  }
  const pulled = await pullModel(context, reference, options);
  const local = work.lock?.models.find(({ asked }) => requestKey(asked) === requestKey(wanted.request));
  if (work.frozen && local !== undefined && local.revision !== pulled.model.record.revision) {
    refuseDifferences(work.list.lockFile, local, [`its content is ${pulled.model.record.revision}`]);
  }
  return pulled;
}

/** A record that only a lock stands behind tells no licence: what the lock says is passed on. */
function licensed({ license }: PulledModel, locked: LockedModel | undefined): Pick<PulledModel, 'license'> {
  return { license: license ?? locked?.license ?? null };
}

function convertOptionsOf({ locked, work }: Job, options: ConvertOptions): ConvertOptions {
  if (isPublished(locked)) return { ...options, prebuilt: 'tell' };
  // What a lock holds was converted, so no published one is looked for.
  return work.frozen ? { ...options, prebuilt: 'never' } : options;
}

async function convertOne(job: Job, given: ConvertOptions): Promise<SyncedModel> {
  const { context, wanted, locked, text, work } = job;
  const options = convertOptionsOf(job, given);
  if (work.frozen) await refuseOtherKey(job, options);
  const converted = await convert(context, text, options);
  const requested = redactReference(wanted.text);
  return {
    ...converted,
    ...licensed(converted, locked),
    requested,
    name: wanted.name,
    kind: 'converted',
    locked: locked !== undefined,
  };
}

/** Another version of the converter, or another platform, would make another model under the same name. */
async function refuseOtherKey(
  { context, locked, work, text, wanted }: Job,
  options: ConvertOptions,
): Promise<void> {
  const conversion =
    locked?.conversion ??
    work.lock?.models.find(({ asked }) => requestKey(asked) === requestKey(wanted.request))?.conversion;
  if (conversion === undefined || 'published' in conversion) return;
  const { key, plan } = await prepare(context, text, await withLayout(context, text, options));
  if (key === conversion.key) return;
  const here = platformName();
  const why = [
    ...(conversion.converter === plan.converter
      ? []
      : [`converter ${plan.converter} instead of ${conversion.converter}`]),
    ...(conversion.toolchain === plan.toolchain
      ? []
      : [`toolchain ${plan.toolchain} instead of ${conversion.toolchain}`]),
    ...(conversion.platform === here ? [] : [`platform ${here} instead of ${conversion.platform}`]),
  ];
  throw new ModeldlError(
    'CONFIG',
    `The lock's conversion of ${text} is not the one that would be made here: ${why.length === 0 ? 'another version of the converter or its toolchain' : why.join(', ')} (key ${key.slice(0, 8)} instead of ${conversion.key.slice(0, 8)})`,
    {
      hint: 'run `modeldl lock` with this version of modeldl on this platform',
      details: { file: work.list.lockFile, reference: text, key, locked: conversion.key },
    },
  );
}

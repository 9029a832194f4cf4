/** Verifying: every byte of stored models is hashed again, and what is bad is fetched again when asked. */
import { parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { ownOnly } from './lower.js';
import { pullModel } from './pull.js';
import type { VerifiedModel } from './results.js';
import { literalGlob } from './select.js';
import { findStored, modelLocation, namesAmong, storedModels } from './stored.js';
import { assertWritable } from './store/layout.js';
import { mendBlobs, mendDocuments, mendPermissions, mendStrayBlobs, mendTree } from './store/mend.js';
import {
  checkModel,
  copiedModel,
  isIntact,
  listModels,
  mendRecord,
  modelsNamed,
  removeModel,
  restoreRecord,
  type ModelCheck,
  type StoredModel,
} from './store/models.js';
import { readSnapshot, settleSnapshots } from './store/snapshots.js';

/** Hashes the named models, or all. Damage is in the result, not an error. */
export async function verify(
  context: Context,
  references: readonly string[],
  options: { readonly repair: boolean },
): Promise<readonly VerifiedModel[]> {
  const { store } = context;
  if (options.repair && store.writable) await mendDocuments(store);
  const models =
    references.length === 0 ? await listModels(store) : await named(ownOnly(context), references);
  const nameOf = namesAmong(references.length === 0 ? models : await besides(context, models));
  const verified: VerifiedModel[] = [];
  for (const model of models) {
    const found = options.repair
      ? await checkAndRepair(context, model)
      : findings(await hashed(context, model));
    verified.push({ reference: nameOf(model), path: modelLocation(model), ...found });
  }
  if (options.repair && store.writable && references.length === 0) {
    const held = new Set(models.flatMap(({ record }) => record.files.map(({ sha256 }) => sha256)));
    await mendStrayBlobs(store, held, context.signal);
    await settleSnapshots(store);
  }
  return verified;
}

type Findings = Omit<VerifiedModel, 'reference' | 'path'>;

async function hashed({ store, signal }: Context, model: StoredModel): Promise<ModelCheck> {
  return checkModel(store, model, true, signal);
}

function findings(check: ModelCheck, done: Partial<Findings> = {}): Findings {
  const { damaged, missing } = check;
  return { ok: isIntact(check), damaged, missing, repaired: false, removed: false, ...done };
}

/** What the store can restore by itself comes first, and what is fetched last. */
async function checkAndRepair(context: Context, stored: StoredModel): Promise<Findings> {
  const { store, signal } = context;
  const permissions = store.writable && (await mendPermissions(store, stored));
  const first = await hashed(context, stored);
  if (!store.writable && isIntact(first)) return findings(first);
  assertWritable(store);
  const other = isIntact(first) ? undefined : await rightCopy(context, stored);
  const { model, found } = other ?? { model: stored, found: first };
  const record = other !== undefined || (await mendRecord(store, model));
  const wrong = [...found.damaged, ...found.missing];
  const paths = model.record.files.map(({ path }) => path);
  const right = new Set(paths.filter((path) => !wrong.includes(path)));
  const blobs = await mendBlobs(store, model, right, signal);
  if (isIntact(found)) {
    const listing = await restoreListing(context, model);
    return findings(found, { repaired: permissions || record || blobs || listing });
  }
  const session = await context.session();
  await session.want(model.record.files.map(({ sha256 }) => sha256));
  if (await mendTree(store, model, wrong, signal)) return findings(found, { ok: true, repaired: true });
  if (model.record.conversion !== undefined)
    return findings(found, { removed: await removeConversion(context, model, found) });
  const repaired = await pullAgain(context, model);
  return findings(found, { ok: repaired, repaired });
}

/** A model as the copy of its record has it, when its files are what that says: then the record was what is damaged. */
async function rightCopy(
  context: Context,
  stored: StoredModel,
): Promise<{ readonly model: StoredModel; readonly found: ModelCheck } | undefined> {
  const model = await copiedModel(context.store, stored);
  if (model === undefined) return undefined;
  const found = await hashed(context, model);
  if (!isIntact(found)) return undefined;
  await restoreRecord(context.store, model);
  return { model, found };
}

/** Nothing can be fetched of it: `convert` makes it again. One that cannot be read may be, once its disk is there again. */
async function removeConversion(
  context: Context,
  model: StoredModel,
  { unreadable = [] }: ModelCheck,
): Promise<boolean> {
  const { reference } = model.record;
  const [first] = unreadable;
  if (first !== undefined) {
    const message = `Cannot repair ${reference}: the disk does not give the bytes of ${first}; make it again with \`modeldl convert --force\``;
    context.emit({ type: 'warning', message });
    return false;
  }
  await removeModel(context.store, model);
  const message = `A damaged conversion was removed; make it again with \`modeldl convert\`: ${reference}`;
  context.emit({ type: 'warning', message });
  return true;
}

/** Every own model that could share a reference with these. */
async function besides({ store }: Context, models: readonly StoredModel[]): Promise<readonly StoredModel[]> {
  const all = new Map<string, StoredModel>();
  for (const { record } of models) {
    for (const model of await modelsNamed(store, record.hub, [record.id])) all.set(model.path, model);
  }
  return [...all.values()];
}

async function named(context: Context, references: readonly string[]): Promise<readonly StoredModel[]> {
  const models = new Map<string, StoredModel>();
  for (const text of references) {
    const reference = parse(context, text);
    const all = await storedModels(context, reference, { allRevisions: false });
    const bare = reference.conversion === undefined && all.length > 0;
    for (const model of bare ? all : [await findStored(context, reference, {})])
      models.set(model.path, model);
  }
  return [...models.values()];
}

/** Without a listing a later pull has to ask the hub what the model holds. @returns whether it was gone and is back */
async function restoreListing(context: Context, model: StoredModel): Promise<boolean> {
  const { hub, id, revision, conversion } = model.record;
  if (conversion !== undefined) return false;
  if ((await readSnapshot(context.store, hub, id, revision)) !== undefined) return false;
  if (!(await pullAgain(context, model))) return false;
  // Not every listing is kept.
  if ((await readSnapshot(context.store, hub, id, revision)) === undefined) return false;
  context.emit({ type: 'note', message: `Restored the listing of ${model.record.reference}` });
  return true;
}

/** The same files of the same revision. */
async function pullAgain(context: Context, { record }: StoredModel): Promise<boolean> {
  const chosen = record.selection !== undefined && record.single === undefined;
  const selection = chosen
    ? { include: record.files.map(({ path }) => literalGlob(path)) }
    : { allFiles: true };
  try {
    await pullModel(context, parse(context, record.reference), { ...selection, rebuild: true });
    return true;
  } catch (error) {
    if (!(error instanceof ModeldlError) || context.signal.aborted) throw error;
    context.emit({ type: 'warning', message: `Cannot repair ${record.reference}: ${error.message}` });
    return false;
  }
}

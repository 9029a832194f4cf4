/** Verifying: every byte of stored models is hashed again, and what is bad is fetched again when asked. */
import { parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { pullModel } from './pull.js';
import type { VerifiedModel } from './results.js';
import { literalGlob } from './select.js';
import { findStored, modelLocation, namesAmong, storedModels } from './stored.js';
import { dropBlob } from './store/blobs.js';
import { checkModel, listModels, removeModel, type ModelCheck, type StoredModel } from './store/models.js';

/** Hashes the named models, or all. Damage is in the result, not an error. */
export async function verify(
  context: Context,
  references: readonly string[],
  options: { readonly repair: boolean },
): Promise<readonly VerifiedModel[]> {
  const all = await listModels(context.store);
  const nameOf = namesAmong(all);
  const models = references.length === 0 ? all : await named(context, references);
  const verified: VerifiedModel[] = [];
  for (const model of models) {
    const check = await checkModel(context.store, model, true, context.signal);
    const ok = check.damaged.length + check.missing.length === 0;
    const repaired = !ok && options.repair && (await repair(context, model, check));
    verified.push({
      reference: nameOf(model),
      path: modelLocation(model),
      ok: ok || repaired,
      damaged: check.damaged,
      missing: check.missing,
      repaired,
    });
  }
  return verified;
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

/**
 * Drops what is bad, the tree with it, and pulls the same files of the same revision again. A conversion cannot be
 * fetched: it goes, and the next `convert` makes it again.
 */
async function repair(context: Context, model: StoredModel, check: ModelCheck): Promise<boolean> {
  const { record } = model;
  for (const file of record.files) {
    if (check.damaged.includes(file.path)) await dropBlob(context.store, file.sha256);
  }
  if (record.conversion !== undefined) {
    await removeModel(context.store, model);
    context.emit({
      type: 'warning',
      message: `A damaged conversion was removed; make it again with \`modeldl convert\`: ${record.reference}`,
    });
    return false;
  }
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

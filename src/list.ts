/** Looking at the store: list, path. */
import { parse, type Context } from './context.js';
import { storeOf, visibleCatalogue, visibleModels } from './lower.js';
import type { ListedModel, ModelList } from './results.js';
import {
  assertIntact,
  describeListed,
  findStored,
  modelLocation,
  namesAmong,
  type ConversionFilter,
} from './stored.js';
import { touchUsed } from './store/models.js';
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

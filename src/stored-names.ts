/** What stored models are called. Pure, and apart from what finds them: completion loads this alone. */
import type { StoredModel } from './store/models.js';
import type { ConversionRecord, ModelRecord } from './store/record.js';

/** As much of a stored model as its names need. */
export interface NamedModel extends Pick<StoredModel, 'path' | 'directory'> {
  readonly record: Pick<ModelRecord, 'reference' | 'selection' | 'single' | 'pulledAt'> & {
    readonly asked?: unknown;
    readonly conversion?: Pick<ConversionRecord, 'key' | 'precision' | 'device'>;
  };
}

/**
 * What names each of the stored models: its reference, or where that means another one or may come to, its exact one.
 * @param all every stored model that could share a reference with those that are named
 */
export function namesAmong(all: readonly NamedModel[]): (model: NamedModel) => string {
  const alike = new Map<string, NamedModel[]>();
  for (const model of all) {
    const { reference } = model.record;
    const others = alike.get(reference);
    if (others === undefined) alike.set(reference, [model]);
    else others.push(model);
  }
  return (model) => {
    const { conversion, reference } = model.record;
    const others = alike.get(reference) ?? [];
    const plain =
      conversion === undefined
        ? wholeOrDefault(others)?.path === model.path
        : others.every(({ record }) => record.conversion?.key === conversion.key);
    return plain ? reference : exactReference(model);
  };
}

/** The reference that names exactly this model: a conversion by its key, a selection by its hash. */
export function exactReference({ record }: NamedModel): string {
  const { conversion, selection, reference } = record;
  if (conversion !== undefined) return `${reference.replace(/\+[^+]*$/, '')}+${conversion.key.slice(0, 8)}`;
  return selection === undefined ? reference : `${reference}+${selection.slice(0, 8)}`;
}

export function wholeOrDefault<Model extends NamedModel>(selections: readonly Model[]): Model | undefined {
  const newestFirst = [...selections].sort((a, b) => (a.record.pulledAt < b.record.pulledAt ? 1 : -1));
  return (
    newestFirst.find(({ record }) => record.selection === undefined) ??
    newestFirst.find(({ record }) => record.asked === undefined)
  );
}

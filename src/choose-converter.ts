/** Which converter makes a conversion: the first that takes the model, else the reasons why none does. */
import type { Context } from './context.js';
import type { ConversionPlan, ConversionRequest, Converter, PlannedModel, Refusal } from './converter.js';
import { ModeldlError } from './errors.js';
import type { LayoutRequest, PlannedLayout } from './layout/layout.js';
import { layoutOfPlan, requireLayout } from './repository.js';
import type { OutputRequest } from './space.js';

interface Asked extends Pick<OutputRequest, 'link' | 'overwrite' | 'confined'> {
  /** Name of the converter, when not the first that takes the model. */
  readonly converter?: string;
  readonly asked?: LayoutRequest | undefined;
}

/** @throws ModeldlError UNSUPPORTED when none takes it, USAGE for an unknown name, DISK, CONFIG for a layout that could not be written, and as converters plan */
export async function chooseConverter(
  context: Context,
  model: PlannedModel,
  request: ConversionRequest,
  { converter: name, asked, ...writing }: Asked,
): Promise<{ converter: Converter; plan: ConversionPlan; layout: PlannedLayout | undefined }> {
  refuseRecipe(model);
  const refusals: Refusal[] = [];
  for (const converter of candidates(context.converters, name, request.toolchain)) {
    const plan = await converter.plan(model, request);
    if (!('refused' in plan)) {
      const layout = asked === undefined ? undefined : layoutOfPlan(asked, model, plan);
      // What the task decides of it is known only now, and nothing of the model is fetched yet.
      if (layout !== undefined) await requireLayout(layout, writing);
      return { converter, plan, layout };
    }
    refusals.push(plan);
  }
  const { refused, hint = '`modeldl converters` lists what each takes' } = mostHelpful(refusals);
  throw new ModeldlError('UNSUPPORTED', `Cannot convert ${model.reference}: ${refused}`, {
    hint,
    details: { reference: model.reference, reason: refused },
  });
}

/** @throws ModeldlError UNSUPPORTED for a model whose published recipe cannot be followed */
export function refuseRecipe({
  reference,
  metadata: { recipe },
}: Pick<PlannedModel, 'reference' | 'metadata'>): void {
  if (recipe === undefined || !('refused' in recipe)) return;
  throw new ModeldlError('UNSUPPORTED', `Cannot convert ${reference}: ${recipe.refused}`, {
    hint: recipe.hint,
    details: { reference, reason: recipe.refused },
  });
}

function candidates(
  known: readonly Converter[],
  name: string | undefined,
  toolchain: string | undefined,
): readonly Converter[] {
  const named = known.filter((converter) => name === undefined || converter.name === name);
  const [first] = named;
  if (first === undefined) {
    throw new ModeldlError('USAGE', `Unknown converter: ${name ?? ''}`, {
      hint: `known converters: ${known.map((converter) => converter.name).join(', ')}`,
    });
  }
  const able = named.filter(({ toolchains }) => toolchain === undefined || toolchains.includes(toolchain));
  if (able.length > 0) return able;
  throw new ModeldlError(
    'USAGE',
    `The converter \`${first.name}\` does not run in the toolchain \`${toolchain ?? ''}\``,
    { hint: `it runs in ${first.toolchains.join(', ')}` },
  );
}

/**
 * The reason of the first converter that handles such models. Where none does, each lacks something else, and only all
 * of it together tells what the model would have to hold. Pure.
 */
export function mostHelpful(refusals: readonly Refusal[]): Pick<Refusal, 'refused' | 'hint'> {
  const handling = refusals.find(({ handlesModel }) => handlesModel);
  if (handling !== undefined) return handling;
  const refused = [...new Set(refusals.map((refusal) => refusal.refused))].join('; ');
  const hint = refusals.find((refusal) => refusal.hint !== undefined)?.hint;
  return { refused, ...(hint === undefined ? {} : { hint }) };
}

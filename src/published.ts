/** Taking a published conversion in place of making one: pulled as any model, no toolchain, no check. */
import { format, type Context } from './context.js';
import type { ConversionRequest } from './converter.js';
import { ModeldlError } from './errors.js';
import type { PlannedLayout } from './layout/layout.js';
import type { PlanOptions } from './plan.js';
import {
  findPublished,
  isPublished,
  mayHoldParts,
  publishedPart,
  refuseUnpublished,
  type Published,
} from './prebuilt.js';
import { describePulled, planResolved, pullResolved, referenceOf, type Pulled } from './pull.js';
import type { Reference } from './reference.js';
import { describeLayout, layoutOfPublished, requireLayout } from './repository.js';
import type { ConvertedModel, ConvertPlan, WrittenLayout } from './results.js';
import type { StoredModel } from './store/models.js';

export interface Taken {
  /** Of the model that was asked for. */
  readonly origin: string;
  readonly published: Published;
  readonly pulled: Pulled;
  readonly model: StoredModel;
  readonly device: string;
  readonly layout: PlannedLayout | undefined;
}

/** The published conversion and its layout, when it is to be taken and there is one. @throws ModeldlError NOT_FOUND when it must be taken */
async function chosen(
  context: Context,
  text: string,
  options: PlanOptions,
  request: ConversionRequest,
): Promise<{ reference: Reference; published: Published; layout: PlannedLayout | undefined } | undefined> {
  const { prebuilt = 'tell' } = options;
  if (prebuilt === 'never') return undefined;
  const reference = await referenceOf(context, text, options);
  const itself = isPublished(context, reference, request) || (await mayHoldParts(context, reference));
  if (prebuilt === 'tell' && !itself) return undefined;
  const own = onlyForConversions(options, request);
  if (own !== undefined) {
    if (prebuilt !== 'take') return undefined;
    throw new ModeldlError('USAGE', `A published conversion is taken as it is: ${own} would change nothing`, {
      hint: `leave out ${own} or \`--prebuilt\``,
    });
  }
  const published =
    (await publishedPart(context, reference, request)) ??
    (await lookUp(context, reference, request, prebuilt === 'take' || itself));
  if (published === undefined) {
    return prebuilt === 'take' ? refuseUnpublished(context, reference, request) : undefined;
  }
  const { asked } = options;
  const layout = asked === undefined ? undefined : layoutOfPublished(asked, published, request.device);
  if (layout !== undefined) await requireLayout(layout, options);
  return { reference, published, layout };
}

/** What was asked for and only a conversion heeds. */
function onlyForConversions(options: PlanOptions, { settings }: ConversionRequest): string | undefined {
  const [setting] = Object.keys(settings);
  if (setting !== undefined) return `\`--set ${setting}\``;
  if (options.calibration !== undefined) return '`--calibration`';
  if (options.converter !== undefined) return '`--converter`';
  return options.toolchain === undefined ? undefined : '`--toolchain`';
}

/** Where it is only preferred, a hub that does not answer, or a model that is not what it says, is no obstacle. */
async function lookUp(
  context: Context,
  reference: Reference,
  request: ConversionRequest,
  must: boolean,
): Promise<Published | undefined> {
  try {
    return await findPublished(context, reference, request);
  } catch (error) {
    const passed = error instanceof ModeldlError && ['NETWORK', 'UNSUPPORTED', 'GATED'].includes(error.code);
    if (must || !passed || context.signal.aborted) throw error;
    context.emit({
      type: 'warning',
      message: `No published conversion could be taken, so it is made here: ${error.message}`,
    });
    return undefined;
  }
}

/** Pulls the published conversion. @throws ModeldlError NOT_FOUND, UNSUPPORTED, USAGE, and as pulling does */
export async function takePublished(
  context: Context,
  text: string,
  options: PlanOptions,
  request: ConversionRequest,
): Promise<Taken | undefined> {
  const found = await chosen(context, text, options, request);
  if (found === undefined) return undefined;
  const { reference, published, layout } = found;
  const { device, precision } = request;
  const { force } = options;
  const pulled = await pullResolved(context, published.resolved, force === undefined ? {} : { force });
  const { model } = pulled;
  context.emit({ type: 'note', message: `Taken as published: ${model.record.reference}` });
  if (published.precision !== precision) {
    context.emit({ type: 'note', message: `Its precision is ${published.precision}, not ${precision}` });
  }
  return { origin: format(context, reference), published, pulled, model, device, layout };
}

export function describePublished(
  { origin, published, pulled, model, device, layout }: Taken,
  requested: string,
  output: string | undefined,
  written: WrittenLayout | null,
): ConvertedModel {
  const { precision, confirmed } = published;
  const { record } = model;
  return {
    ...describePulled(pulled, requested, output),
    origin: { reference: origin, revision: null },
    converter: null,
    precision,
    device,
    task: record.task ?? layout?.task ?? null,
    toolchain: null,
    key: null,
    seconds: 0,
    check: null,
    prebuilt: { reference: record.reference, confirmed },
    layout: written,
  };
}

/** What taking it would do; undefined when the model would be converted. */
export async function planPublished(
  context: Context,
  text: string,
  options: PlanOptions,
  request: ConversionRequest,
): Promise<ConvertPlan | undefined> {
  const found = await chosen(context, text, options, request);
  if (found === undefined) return undefined;
  const { published, layout } = found;
  const { resolved, precision } = published;
  const pull = await planResolved(context, resolved, text, {});
  return {
    reference: pull.reference,
    converter: null,
    precision,
    device: request.device,
    task: resolved.snapshot.metadata.task ?? null,
    toolchain: null,
    steps: ['take it as it is published'],
    adjustments: [],
    settings: {},
    key: null,
    stored: pull.files.every(({ stored }) => stored),
    downloadBytes: pull.downloadBytes,
    estimate: { diskBytes: pull.downloadBytes, resultBytes: pull.bytes, memoryBytes: 0 },
    prebuilt: { reference: pull.reference, taken: true },
    layout: layout === undefined ? null : describeLayout(layout),
  };
}

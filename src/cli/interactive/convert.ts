/** What `convert` asks when no model is named: the model, then a precision and a device that it can have. */
import pLimit from 'p-limit';
import { PRECISIONS } from '../../converter.js';
import { ModeldlError } from '../../errors.js';
import type { ConvertOptions, Modeldl } from '../../index.js';
import type { ConvertPlan } from '../../results.js';
import type { Call } from '../command.js';
import { formatBytes } from '../format.js';
import { askChoice, type Choice } from '../prompts.js';
import { oneLine } from './fit.js';
import { looking, type Looking } from './looking.js';
import { askModel } from './model.js';
import { storedModels } from './pull.js';
import { askQuantization, quantizationsOf } from './quantization.js';

const DEVICES = ['CPU', 'GPU', 'NPU'] as const;
const [FIRST_DEVICE] = DEVICES;
/** Plans at once: each may ask the hub for small files. */
const AT_ONCE = 4;
/** Errors that one precision or device has and another may not have. */
const REFUSALS: ReadonlySet<string> = new Set(['UNSUPPORTED', 'TOOLCHAIN', 'USAGE']);

/** What was answered, as the options that say the same. */
export interface ConversionAnswers {
  readonly reference: string;
  readonly quant?: string;
  readonly precision?: string;
  readonly device?: string;
}

type Planned = ConvertPlan | ModeldlError;

interface Chosen {
  readonly value: string;
  readonly plan: ConvertPlan;
}

/** Asks for what the options do not say. @throws ModeldlError as planning does when nothing can be chosen */
export async function askConversion(call: Call<object>, options: ConvertOptions): Promise<ConversionAnswers> {
  return looking(call, async (look) => {
    const stored = storedModels((await look.modeldl.list()).models);
    const question = { message: 'Which model to convert', hubs: true, stored };
    const { reference } = await askModel(call.cli, look, question);
    const quant = await askQuant(call, look, reference, options);
    const given = { ...options, ...(quant === undefined ? {} : { quant }) };
    const asked =
      options.precision === undefined ? await askPrecision(call, look, reference, given) : undefined;
    const precision = asked === undefined ? {} : { precision: asked.value };
    const last =
      options.device === undefined
        ? await askDevice(call, look, reference, { ...given, ...precision })
        : asked;
    if (last !== undefined) tellFetched(call, last.plan);
    return {
      reference,
      ...(quant === undefined ? {} : { quant }),
      ...precision,
      ...(options.device === undefined && last !== undefined ? { device: last.value } : {}),
    };
  });
}

async function askQuant(
  call: Call<object>,
  { shown }: Looking,
  reference: string,
  options: ConvertOptions,
): Promise<string | undefined> {
  if (options.quant !== undefined) return undefined;
  const planned = await shown((modeldl) => plan(modeldl, reference, options));
  const sizes = planned instanceof ModeldlError ? quantizationsOf(planned) : undefined;
  return sizes === undefined ? undefined : askQuantization(call.cli, sizes);
}

/** A precision is refused when no device takes it. */
async function askPrecision(
  call: Call<object>,
  { modeldl, shown }: Looking,
  reference: string,
  options: ConvertOptions,
): Promise<Chosen> {
  const devices = options.device === undefined ? DEVICES : [options.device];
  const planned = await shown(() =>
    each(PRECISIONS, async (precision) => {
      let first: Planned | undefined;
      for (const device of devices) {
        const one = await plan(modeldl, reference, { ...options, precision, device });
        if (!(one instanceof ModeldlError)) return one;
        first ??= one;
      }
      return first;
    }),
  );
  const preset = modeldl.config.config.convert?.precision ?? 'int8';
  return askPlanned(call, 'Precision', planned, preset, ({ device }) =>
    device === FIRST_DEVICE || options.device !== undefined ? '' : ` for ${device}`,
  );
}

async function askDevice(
  call: Call<object>,
  { modeldl, shown }: Looking,
  reference: string,
  options: ConvertOptions,
): Promise<Chosen> {
  const planned = await shown(() =>
    each(DEVICES, (device) => plan(modeldl, reference, { ...options, device })),
  );
  const preset = modeldl.config.config.convert?.device ?? FIRST_DEVICE;
  return askPlanned(call, 'Device', planned, preset, ({ adjustments }) =>
    adjustments.length === 0 ? '' : `, ${adjustments.join(', ')}`,
  );
}

/** Plans of values beside each other, a few at once. */
async function each<Value extends string>(
  values: readonly Value[],
  work: (value: Value) => Promise<Planned | undefined>,
): Promise<ReadonlyMap<Value, Planned>> {
  const turn = pLimit(AT_ONCE);
  const plans = await Promise.all(values.map((value) => turn(() => work(value))));
  return new Map(
    values.flatMap((value, index) => {
      const one = plans[index];
      return one === undefined ? [] : [[value, one] as const];
    }),
  );
}

/** The plan, or why there is none. @throws ModeldlError for what has nothing to do with precision and device */
async function plan(modeldl: Modeldl, reference: string, options: ConvertOptions): Promise<Planned> {
  try {
    // Whether somebody publishes it is asked once, by the conversion.
    return await modeldl.planConvert(reference, { prebuilt: 'never', ...options });
  } catch (error) {
    if (error instanceof ModeldlError && REFUSALS.has(error.code)) return error;
    throw error;
  }
}

/** @throws ModeldlError when all of them are refused: why the first one is */
async function askPlanned(
  call: Call<object>,
  message: string,
  planned: ReadonlyMap<string, Planned>,
  preset: string,
  more: (plan: ConvertPlan) => string,
): Promise<Chosen> {
  const entries = [...planned];
  const [[, first] = []] = entries;
  if (first instanceof ModeldlError && entries.every(([, one]) => one instanceof ModeldlError)) throw first;
  const choices = entries.map(([value, one]): Choice<string> => {
    if (one instanceof ModeldlError) return { value, name: value, disabled: reasonOf(one) };
    return { value, name: `${value.padEnd(5)}  ${size(one)}${oneLine(more(one))}`, short: value };
  });
  const value = await askChoice(call.cli, message, choices, preset);
  const chosen = planned.get(value);
  if (chosen === undefined || chosen instanceof ModeldlError)
    throw new Error(`Expected a choice of ${message}, got ${value}`);
  return { value, plan: chosen };
}

/** What has to come first, which may be more than the model. */
function tellFetched({ output }: Call<object>, { downloadBytes, toolchain }: ConvertPlan): void {
  const parts = [
    ...(downloadBytes > 0 ? [`${formatBytes(downloadBytes)} of the model`] : []),
    ...(toolchain !== null && toolchain.downloadBytes > 0
      ? [
          `at most ${formatBytes(toolchain.downloadBytes)} for the toolchain ${toolchain.name}, which takes ${formatBytes(toolchain.installedBytes)} of disk`,
        ]
      : []),
  ];
  if (parts.length > 0) output.note(`To fetch: ${parts.join(', ')}`);
}

/** Without the name of the model, which people have just given. */
function reasonOf({ message, details: { reason } }: ModeldlError): string {
  return oneLine(typeof reason === 'string' ? reason : message);
}

/** Of the result, as far as it can be told. */
function size({ stored, estimate }: ConvertPlan): string {
  return stored ? 'stored already' : `about ${formatBytes(estimate.resultBytes)}`;
}

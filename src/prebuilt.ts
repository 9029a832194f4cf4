/** Conversions that somebody published: found by their names, taken instead of converting, or only told of. */
import * as v from 'valibot';
import { format, hubNamed, type Context } from './context.js';
import { PRECISIONS, type ConversionRequest, type Precision } from './converter.js';
import { ModeldlError } from './errors.js';
import type { Hub } from './hub.js';
import { choose, knownListing } from './listing.js';
import { askSources } from './mirrors/asking.js';
import { intactModel } from './pull.js';
import type { Reference } from './reference.js';
import { resolveReference, type Resolved } from './resolve.js';
import { listedTexts, localTexts } from './small-text.js';

/** `take`: or fail; the others as `convert.prebuilt` has them. */
export type PrebuiltChoice = 'take' | 'prefer' | 'tell' | 'never';

export interface Published {
  readonly resolved: Resolved;
  readonly precision: string;
  /** A file of it says so, not only its name. */
  readonly confirmed: boolean;
  readonly files: readonly string[];
}

type Wanted = Pick<ConversionRequest, 'precision' | 'device'>;

/** Is the reference itself a published conversion? */
export function isPublished(context: Context, { hub, id }: Reference, wanted: Wanted): boolean {
  return hubNamed(context, hub).prebuilt?.ids(id, wanted).includes(id) ?? false;
}

/**
 * The published conversion of a model; undefined when there is none.
 * @throws ModeldlError UNSUPPORTED when it is not what its name says, NETWORK, and whatever the hub throws
 */
export async function findPublished(
  context: Context,
  reference: Reference,
  wanted: Wanted,
): Promise<Published | undefined> {
  const { hub, id } = reference;
  for (const candidate of candidatesOf(context, reference, wanted)) {
    const itself = candidate === id;
    const asked = itself ? reference : { hub, id: candidate };
    const resolved = await resolveReference(context, asked).catch((error: unknown) => {
      if (itself || !isAbsence(error)) throw error;
      return undefined;
    });
    if (resolved !== undefined) return confirm(context, resolved, wanted, itself);
  }
  return undefined;
}

/** May the model hold conversions of itself, such as a folder for each precision? */
export async function mayHoldParts(
  context: Context,
  { hub, id, subpath, conversion }: Reference,
): Promise<boolean> {
  if (subpath !== undefined || conversion !== undefined) return false;
  return (await hubNamed(context, hub).prebuilt?.parts?.mayHold(id)) ?? false;
}

/**
 * The part of a model that is what is asked for; undefined when it has no such parts.
 * @throws ModeldlError UNSUPPORTED naming the precisions that it has, and whatever the hub throws
 */
export async function publishedPart(
  context: Context,
  reference: Reference,
  { precision }: Wanted,
): Promise<Published | undefined> {
  if (!(await mayHoldParts(context, reference))) return undefined;
  const resolved = await resolveReference(context, reference);
  const parts = hubNamed(context, reference.hub).prebuilt?.parts?.of(resolved.snapshot) ?? {};
  const [first] = Object.values(parts);
  if (first === undefined) return undefined;
  const part = { ...resolved, reference: { ...resolved.reference, subpath: parts[precision] ?? first } };
  if (parts[precision] === undefined) {
    const text = format(context, reference);
    const others = Object.keys(parts).join(', ');
    throw new ModeldlError('UNSUPPORTED', `${text} is published as ${others}, not ${precision}`, {
      hint: `choose one of them with \`--precision\`; \`${format(context, { ...reference, subpath: first })}\` names one to convert further`,
      details: { reference: text },
    });
  }
  const listing = knownListing(resolved.snapshot) ?? [];
  const files = choose(listing, part.reference, {}).chosen.map(({ path }) => path);
  return { resolved: part, precision, confirmed: false, files };
}

/** @throws ModeldlError NOT_FOUND naming what was looked for */
export function refuseUnpublished(context: Context, reference: Reference, wanted: Wanted): never {
  const looked = candidatesOf(context, reference, wanted).map((id) =>
    format(context, { hub: reference.hub, id }),
  );
  const text = format(context, reference);
  const { name, prebuilt } = hubNamed(context, reference.hub);
  const where =
    prebuilt === undefined
      ? `the hub \`${name}\` publishes none`
      : looked.length === 0
        ? prebuilt.parts === undefined
          ? 'only whole models are published'
          : 'it holds none'
        : `looked for ${looked.join(' and ')}`;
  const other = looked.length === 0 ? '' : ', or choose another `--precision`';
  throw new ModeldlError('NOT_FOUND', `No published conversion of ${text} to ${wanted.precision}: ${where}`, {
    hint: `leave out \`--prebuilt\` to convert it here${other}`,
    details: { reference: text },
  });
}

/** How long an answer that only a note is made of is waited for, milliseconds. */
const NOTE_WAIT_MS = 5_000;

/**
 * The published conversion of a model that is about to be converted, by one request; whatever keeps the hub from
 * answering is no reason not to convert.
 */
export async function publishedReference(
  context: Context,
  reference: Reference,
  wanted: Wanted,
): Promise<string | undefined> {
  if (context.freshness === 'offline' || context.freshness === 'stored') return undefined;
  const hub: Hub = hubNamed(context, reference.hub);
  const [candidate] = candidatesOf(context, reference, wanted);
  if (hub.prebuilt === undefined || candidate === undefined || candidate === reference.id) return undefined;
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(NOTE_WAIT_MS)]);
  try {
    const { prebuilt } = hub;
    // What the hub and its mirrors have to say was said when the model itself was looked up.
    const quiet: Context = { ...context, signal, emit: () => undefined };
    const question = { id: candidate, text: candidate };
    const found = await askSources(quiet, hub, question, 'patient', {}, (asking) =>
      prebuilt.exists(candidate, asking),
    );
    return found ? format(context, { hub: hub.name, id: candidate }) : undefined;
  } catch (error) {
    if (context.signal.aborted) throw error;
    return undefined;
  }
}

/** Neither a part of a model nor a conversion of it is what is published. */
function candidatesOf(context: Context, reference: Reference, wanted: Wanted): readonly string[] {
  const { hub, id, subpath, conversion } = reference;
  if (subpath !== undefined || conversion !== undefined) return [];
  return hubNamed(context, hub).prebuilt?.ids(id, wanted) ?? [];
}

/** To those who are not logged in, the hub says of what is not there that it may be private. */
function isAbsence(error: unknown): boolean {
  return error instanceof ModeldlError && (error.code === 'NOT_FOUND' || error.code === 'AUTH');
}

async function confirm(
  context: Context,
  resolved: Resolved,
  wanted: Wanted,
  itself: boolean,
): Promise<Published> {
  const { snapshot, reference } = resolved;
  const listing = knownListing(snapshot);
  const files = listing === undefined ? [] : choose(listing, reference, {}).chosen;
  const stored = await intactModel(context, resolved, {});
  const read =
    stored === undefined
      ? listedTexts(
          context,
          snapshot,
          files.map(({ path, file }) => ({ path, source: file.source })),
        )
      : localTexts(stored.directory);
  const said = saidBy(await read('openvino_config.json'));
  const named = PRECISIONS.find((known) => new RegExp(`-${known}(-cw)?-ov$`).test(snapshot.id));
  const text = format(context, { hub: snapshot.hub, id: snapshot.id });
  const refuse = (why: string): never => {
    throw new ModeldlError('UNSUPPORTED', `${text} is not what its name says: ${why}`, {
      hint: 'pass `--no-prebuilt` to convert the model here',
      details: { reference: text },
    });
  };
  const precision = itself ? (named ?? said.precisions[0] ?? wanted.precision) : wanted.precision;
  if (said.precisions.length > 0 && !said.precisions.some((known) => known === precision)) {
    refuse(`its openvino_config.json says ${said.precisions.join(', ')}`);
  }
  if (wanted.device.includes('NPU') && precision === 'int4' && said.symmetric === false) {
    refuse('its openvino_config.json says that its int4 is asymmetric, which the NPU does not run');
  }
  return { resolved, precision, confirmed: said.precisions.length > 0, files: files.map(({ path }) => path) };
}

const configuration = v.looseObject({
  dtype: v.nullish(v.string()),
  quantization_config: v.nullish(v.looseObject({ bits: v.nullish(v.number()), sym: v.nullish(v.boolean()) })),
});

export interface SaidPrecision {
  /** Of a pipeline, those of its models. */
  readonly precisions: readonly Precision[];
  readonly symmetric?: boolean;
}

/**
 * What `openvino_config.json`, as optimum-intel writes it beside quantized models, tells of their weights: `dtype` is a
 * precision, those of a pipeline's models joined by `_`, or empty when defaults of the tool decided.
 */
export function saidBy(text: string | undefined): SaidPrecision {
  const { dtype, quantization_config: quantization } = parsed(text);
  const words = (dtype ?? '').split('_');
  const bits = quantization?.bits === 4 ? ['int4'] : quantization?.bits === 8 ? ['int8'] : [];
  const named = PRECISIONS.filter((known) => words.includes(known));
  const symmetric = quantization?.sym;
  return {
    precisions: named.length > 0 ? named : PRECISIONS.filter((known) => bits.includes(known)),
    ...(symmetric == null ? {} : { symmetric }),
  };
}

function parsed(text: string | undefined): v.InferOutput<typeof configuration> {
  try {
    const result = v.safeParse(configuration, JSON.parse(text ?? '{}'));
    return result.success ? result.output : {};
  } catch {
    return {};
  }
}

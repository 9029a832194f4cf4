/**
 * What safetensors say of themselves: tensors by type, and how many numbers they hold. The rules by which packed weights
 * are counted are those of `@huggingface/hub`, which reads headers by addresses of its own hub only.
 */
import type { Dtype, QuantizationConfig, SafetensorsFileHeader, TensorInfo } from '@huggingface/hub';
import * as v from 'valibot';
import { parseJson } from '../json.js';
import { cursorOf } from './cursor.js';
import { Unread, type PartlyRead } from './parts.js';
import { sharesByType, type TypeShare } from './shares.js';

export interface SafetensorsSummary {
  /** Numbers of the model, unpacked, without what only scales others. */
  readonly parameters: number;
  readonly types: readonly TypeShare[];
}

/** Tensors by name. */
export type Tensors = ReadonlyMap<string, TensorInfo>;

const tensor = v.object({
  dtype: v.pipe(v.string(), v.maxLength(32)),
  shape: v.pipe(v.array(v.number()), v.maxLength(64)),
  data_offsets: v.tuple([v.number(), v.number()]),
});

/** Weights of one bit: of types whose size is not known. */
const MOST_PER_BYTE = 8;

/** Tensors. */
const MOST_AT_ONCE = 10_000;

const CANNOT_HOLD = 'its header describes a tensor that it cannot hold: it is damaged';

const header = v.record(v.string(), v.unknown());

/** The tensors of one file. @throws Unread */
export async function readTensors(file: PartlyRead): Promise<Tensors> {
  const cursor = cursorOf(file);
  const length = await cursor.uint64();
  const size = file.size();
  if (length > (size ?? Infinity) - 8)
    throw new Unread('its header says more than it holds: it is cut off, or damaged');
  const json = parseJson((await cursor.take(length)).toString('utf8'));
  const parsed = v.safeParse(header, json);
  if (!parsed.success || Array.isArray(json)) {
    throw new Unread('its header is no JSON object: it is damaged');
  }
  const { validateTensorEntry } = await import('@huggingface/hub');
  const tensors = new Map<string, TensorInfo>();
  let held = 0;
  for (const [name, value] of Object.entries(parsed.output)) {
    if (name === '__metadata__') continue;
    const found = v.safeParse(tensor, value);
    if (!found.success) throw new Unread('its header describes a tensor that is none: it is damaged');
    const info: TensorInfo = { ...found.output, dtype: found.output.dtype as Dtype };
    if (!fits(info)) throw new Unread(CANNOT_HOLD);
    try {
      validateTensorEntry('', name, info, size === undefined ? undefined : size - 8 - length);
    } catch (error) {
      throw new Unread(CANNOT_HOLD, { cause: error });
    }
    held += info.data_offsets[1] - info.data_offsets[0];
    tensors.set(name, info);
  }
  // No two share bytes, as the format has it.
  if (held > (size ?? Infinity) - 8 - length)
    throw new Unread('its header describes more than it holds: it is cut off, or damaged');
  return tensors;
}

/** A type's name says how many bits a number has: `BF16`, `F8_E4M3`. Of less than a byte they are packed in several ways. */
function fits({ dtype, shape, data_offsets: [begin, end] }: TensorInfo): boolean {
  const bits = dtype === 'BOOL' ? 8 : Number(/^[A-Z]+(\d+)/.exec(dtype)?.[1]);
  return !(bits >= 8) || bits * shape.reduce((product, side) => product * side, 1) === 8 * (end - begin);
}

/**
 * Of all files of a model together.
 * @param quantization as `config.json` has it
 */
export async function summarize(
  files: readonly Tensors[],
  quantization: QuantizationConfig | undefined,
): Promise<SafetensorsSummary> {
  const { computeNumOfParamsByDtypeSingleFile } = await import('@huggingface/hub');
  const all = files.flatMap((tensors) => [...tensors]);
  const bytes = new Map<string, number>();
  for (const [
    ,
    {
      dtype,
      data_offsets: [begin, end],
    },
  ] of all)
    bytes.set(dtype, (bytes.get(dtype) ?? 0) + end - begin);
  const types = sharesByType(bytes);
  let parameters = 0;
  for (const some of portionsOf(all)) {
    const merged = Object.fromEntries(some) as SafetensorsFileHeader;
    const counted = computeNumOfParamsByDtypeSingleFile(merged, quantization);
    parameters += Object.values(counted).reduce((sum, count) => sum + count, 0);
  }
  const held = types.reduce((sum, share) => sum + share.bytes, 0);
  if (parameters > held * MOST_PER_BYTE)
    throw new Unread('its header describes more numbers than it can hold: it is damaged');
  return { parameters, types };
}

/**
 * What is counted at once: `@huggingface/hub` (2.x) makes each tensor an argument of one call, which takes some 100,000, and
 * models of many experts have more. Tensors of one module stay together, since its scales tell how its weights are packed.
 */
function* portionsOf<Entry extends readonly [name: string, info: TensorInfo]>(
  all: readonly Entry[],
): Generator<readonly Entry[]> {
  const modules = new Map<string, Entry[]>();
  for (const entry of all) {
    const [name] = entry;
    const module = name.slice(0, Math.max(0, name.lastIndexOf('.')));
    const known = modules.get(module);
    if (known === undefined) modules.set(module, [entry]);
    else known.push(entry);
  }
  let portion: Entry[] = [];
  for (const module of modules.values()) {
    // More are of no real module.
    for (let at = 0; at < module.length; at += MOST_AT_ONCE) {
      const some = module.slice(at, at + MOST_AT_ONCE);
      if (portion.length + some.length > MOST_AT_ONCE) {
        yield portion;
        portion = [];
      }
      portion.push(...some);
    }
  }
  yield portion;
}

const index = v.object({
  weight_map: v.record(v.string(), v.string()),
});

/** Names of the files that `model.safetensors.index.json` divides a model into, beside it; undefined for what is none. */
export function shardsOf(text: string | undefined): readonly string[] | undefined {
  const parsed = v.safeParse(index, parseJson(text ?? ''));
  return parsed.success ? [...new Set(Object.values(parsed.output.weight_map))] : undefined;
}

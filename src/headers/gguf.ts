/**
 * What a GGUF file says of itself (ggml's docs/gguf.md). Lists of tokens lie before what tells how a model is quantized, and
 * have some MB: at a hub they are leapt over (`gguf-leap.ts`). `@huggingface/gguf` reads, and keeps, all of them.
 */
import { cursorOf, type Cursor } from './cursor.js';
import { ARRAY, FILE_TYPES, MOST_DIMENSIONS, STRING, VALUE_BYTES } from './gguf-format.js';
import { leapStrings } from './gguf-leap.js';
import { PART_BYTES, Unread, type PartlyRead } from './parts.js';
import { sharesByType, type OnTensor, type TypeShare } from './shares.js';

export interface GgufSummary {
  readonly architecture?: string;
  readonly name?: string;
  readonly license?: string;
  readonly contextLength?: number;
  /** As `general.file_type` names it, else the type that most weights have. */
  readonly quantization?: string;
  /** Kind of the tokenizer and how many tokens it has: `gpt2`, 151936. */
  readonly tokenizer?: string;
  readonly tokens?: number;
  /** Of this file, which may be one of several parts. */
  readonly parameters?: number;
  readonly types?: readonly TypeShare[];
  /** Files that the model is split into. */
  readonly parts?: number;
  /** Why what is missing is missing. */
  readonly unread?: string;
}

/** Bounds of what is believed, far above any model's. */
const MOST_TEXT_BYTES = 1024 * 1024;
const MOST_VALUES = 100_000;
const MOST_TENSORS = 1_000_000;
const MOST_NESTED = 4;
/** Weights of one bit. */
const MOST_PER_BYTE = 8;

/** ggml_type by number: name, numbers in a block, bytes of a block (ggml's ggml.h and ggml-quants.h). */
const TENSOR_TYPES: ReadonlyMap<number, readonly [name: string, numbers: number, bytes: number]> = new Map([
  [0, ['F32', 1, 4]],
  [1, ['F16', 1, 2]],
  [2, ['Q4_0', 32, 18]],
  [3, ['Q4_1', 32, 20]],
  [6, ['Q5_0', 32, 22]],
  [7, ['Q5_1', 32, 24]],
  [8, ['Q8_0', 32, 34]],
  [9, ['Q8_1', 32, 40]],
  [10, ['Q2_K', 256, 84]],
  [11, ['Q3_K', 256, 110]],
  [12, ['Q4_K', 256, 144]],
  [13, ['Q5_K', 256, 176]],
  [14, ['Q6_K', 256, 210]],
  [15, ['Q8_K', 256, 292]],
  [16, ['IQ2_XXS', 256, 66]],
  [17, ['IQ2_XS', 256, 74]],
  [18, ['IQ3_XXS', 256, 98]],
  [19, ['IQ1_S', 256, 50]],
  [20, ['IQ4_NL', 32, 18]],
  [21, ['IQ3_S', 256, 110]],
  [22, ['IQ2_S', 256, 82]],
  [23, ['IQ4_XS', 256, 136]],
  [24, ['I8', 1, 1]],
  [25, ['I16', 1, 2]],
  [26, ['I32', 1, 4]],
  [27, ['I64', 1, 8]],
  [28, ['F64', 1, 8]],
  [29, ['IQ1_M', 256, 56]],
  [30, ['BF16', 1, 2]],
  [34, ['TQ1_0', 256, 54]],
  [35, ['TQ2_0', 256, 66]],
  [39, ['MXFP4', 32, 17]],
]);

type Values = Map<string, string | number | { readonly count: number }>;

/** @throws Unread for what is no GGUF, or damaged before it says anything */
export async function readGguf(file: PartlyRead, onTensor?: OnTensor): Promise<GgufSummary> {
  const cursor = cursorOf(file);
  if ((await cursor.take(4)).toString('latin1') !== 'GGUF')
    throw new Unread('it is no GGUF, whatever its name says');
  const version = await cursor.uint32();
  if (version < 2 || version > 3) throw new Unread(`its version of GGUF is not 2 or 3`);
  const tensors = await cursor.uint64();
  const count = await cursor.uint64();
  if (count > MOST_VALUES || tensors > MOST_TENSORS) {
    throw new Unread('its header says more than it holds: it is cut off, or damaged');
  }
  const values: Values = new Map();
  try {
    let leapt = false;
    for (let index = 0; index < count; index += 1) {
      if (await readValue(file, cursor, values)) leapt = true;
    }
    const summary = await readTensors(file, cursor, tensors, alignmentOf(values), leapt, onTensor);
    return { ...describe(values, summary.types), ...summary };
  } catch (error) {
    if (!(error instanceof Unread)) throw error;
    // What came before it is worth as much; where nothing did, that it is damaged is all there is to say.
    if (values.size === 0) throw error;
    return { ...describe(values, undefined), unread: error.message };
  }
}

/** @returns whether something was leapt over */
async function readValue(file: PartlyRead, cursor: Cursor, values: Values): Promise<boolean> {
  const name = await readText(cursor);
  const type = await cursor.uint32();
  if (type === ARRAY) {
    const { count, leapt } = await skipList(file, cursor, 0, (known) => values.set(name, { count: known }));
    values.set(name, { count });
    return leapt;
  }
  if (type === STRING) values.set(name, await readText(cursor));
  else values.set(name, numberOf(type, await cursor.take(sizeOf(type))));
  return false;
}

function numberOf(type: number, bytes: Buffer): number {
  switch (type) {
    case 0:
    case 7:
      return bytes.readUInt8();
    case 1:
      return bytes.readInt8();
    case 2:
      return bytes.readUInt16LE();
    case 3:
      return bytes.readInt16LE();
    case 4:
      return bytes.readUInt32LE();
    case 5:
      return bytes.readInt32LE();
    case 6:
      return bytes.readFloatLE();
    case 10:
      return Number(bytes.readBigUInt64LE());
    case 11:
      return Number(bytes.readBigInt64LE());
    default:
      return bytes.readDoubleLE();
  }
}

async function readText(cursor: Cursor): Promise<string> {
  const length = await cursor.uint64();
  if (length > MOST_TEXT_BYTES)
    throw new Unread('its header has a text that is longer than any: it is damaged');
  return (await cursor.take(length)).toString('utf8');
}

/** @param onCount told how many values it has, which is known before they are passed */
async function skipList(
  file: PartlyRead,
  cursor: Cursor,
  depth: number,
  onCount: (count: number) => void = () => undefined,
): Promise<{ readonly count: number; readonly leapt: boolean }> {
  const type = await cursor.uint32();
  const count = await cursor.uint64();
  let leapt = false;
  if (type === STRING) {
    refuseMore(file, cursor, 8 * count);
    onCount(count);
    leapt = await leapStrings(file, cursor, count);
  } else if (type === ARRAY) {
    refuseMore(file, cursor, 12 * count);
    if (depth >= MOST_NESTED)
      throw new Unread('its header has lists within lists without end: it is damaged');
    for (let index = 0; index < count; index += 1) {
      if ((await skipList(file, cursor, depth + 1)).leapt) leapt = true;
    }
  } else cursor.seek(cursor.at() + sizeOf(type) * count);
  return { count, leapt };
}

/** A list of so many values has at least so many bytes. */
function refuseMore(file: PartlyRead, cursor: Cursor, bytes: number): void {
  if (cursor.at() + bytes > (file.size() ?? Number.MAX_SAFE_INTEGER)) {
    throw new Unread('its header says more than it holds: it is cut off, or damaged');
  }
}

function sizeOf(type: number): number {
  const size = VALUE_BYTES.get(type);
  if (size === undefined) throw new Unread(`its header has a type of values that is unknown: it is damaged`);
  return size;
}

function alignmentOf(values: Values): number {
  const alignment = values.get('general.alignment');
  return typeof alignment === 'number' && alignment >= 1 && alignment <= PART_BYTES ? alignment : 32;
}

/** @throws Unread also where the tensors are not what fills the file */
async function readTensors(
  file: PartlyRead,
  cursor: Cursor,
  count: number,
  alignment: number,
  leapt: boolean,
  onTensor: OnTensor | undefined,
): Promise<{ readonly parameters: number; readonly types: readonly TypeShare[] }> {
  let parameters = 0;
  let end = 0;
  let held = 0;
  const bytesOf = new Map<string, number>();
  for (let tensor = 0; tensor < count; tensor += 1) {
    const name = await readText(cursor);
    const dimensions = await cursor.uint32();
    if (dimensions > MOST_DIMENSIONS)
      throw new Unread('its header describes a tensor that is none: it is damaged');
    const shape: number[] = [];
    for (let dimension = 0; dimension < dimensions; dimension += 1) shape.push(await cursor.uint64());
    const numbers = shape.reduce((product, side) => product * side, 1);
    const number = await cursor.uint32();
    const begin = await cursor.uint64();
    const [type, perBlock, blockBytes] = TENSOR_TYPES.get(number) ?? [`type ${number}`, 1, 0];
    const bytes = Math.ceil(numbers / perBlock) * blockBytes;
    end = Math.max(end, begin + bytes);
    held += bytes;
    parameters += numbers;
    bytesOf.set(type, (bytesOf.get(type) ?? 0) + bytes);
    onTensor?.({ name, type, shape, bytes });
  }
  const data = Math.ceil(cursor.at() / alignment) * alignment;
  const most = (file.size() ?? Infinity) - data;
  // Tensors do not share bytes, and whatever type is unknown here has a bit for each number.
  const isTooMuch = end > most || held > most || parameters > MOST_PER_BYTE * most;
  if (count > 0 && (isTooMuch || !Number.isSafeInteger(parameters))) {
    throw new Unread('its header describes more than it holds: it is cut off, or damaged');
  }
  const rest = (file.size() ?? data + end) - data - end;
  // Where its place was guessed, only that everything fits proves the guess.
  if (leapt && rest >= alignment) {
    throw new Unread('its list of tokens is longer than what is read of a model at its hub');
  }
  return { parameters, types: sharesByType(bytesOf) };
}

function describe(values: Values, types: readonly TypeShare[] | undefined): GgufSummary {
  const text = (name: string): string | undefined => {
    const value = values.get(name);
    return typeof value === 'string' && value !== '' ? value.slice(0, 200) : undefined;
  };
  const number = (name: string): number | undefined => {
    const value = values.get(name);
    return typeof value === 'number' ? value : undefined;
  };
  const count = (name: string): number | undefined => {
    const value = number(name);
    return value !== undefined && Number.isSafeInteger(value) && value > 0 ? value : undefined;
  };
  const architecture = text('general.architecture');
  const tokens = values.get('tokenizer.ggml.tokens');
  return defined({
    architecture,
    name: text('general.name'),
    license: text('general.license'),
    contextLength: count(`${architecture ?? ''}.context_length`),
    quantization: FILE_TYPES.get(number('general.file_type') ?? -1) ?? types?.[0]?.type,
    tokenizer: text('tokenizer.ggml.model'),
    tokens: typeof tokens === 'object' ? tokens.count : undefined,
    parts: number('split.count'),
  });
}

function defined(facts: { readonly [Key in keyof GgufSummary]: GgufSummary[Key] | undefined }): GgufSummary {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

/** The header of a GGUF file, as far as Ollama's configuration repeats it (ggml's docs/gguf.md). */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ARRAY, FILE_TYPES, MOST_DIMENSIONS, STRING, VALUE_BYTES } from '../../src/headers/gguf-format.js';

export interface GgufHeader {
  /** `general.architecture`: `llama`. */
  readonly architecture: string;
  /** What Ollama loads it as. */
  readonly role: 'model' | 'projector' | 'adapter';
  /** Name of the quantization, as Ollama shows it; `unknown` where it shows none. */
  readonly fileType: string;
  /** Numbers in all tensors. */
  readonly parameters: number;
  /** Files that the model is split into. */
  readonly parts: number;
  readonly hasChatTemplate: boolean;
}

/** Larger than most headers without their lists of tokens. */
const CHUNK_BYTES = 1024 * 1024;
/** Longer texts are of no use here, and lengths of damaged files are. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

const UINT32 = 4;
const UINT16 = 2;

/** Of the names that `general.file_type` may mean, those that Ollama shows. It takes 0 for a value that is missing. */
const SHOWN: ReadonlySet<string> = new Set([
  ...['F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'],
  ...['Q2_K', 'Q2_K_S', 'Q3_K_S', 'Q3_K_M', 'Q3_K_L', 'Q4_K_S', 'Q4_K_M', 'Q5_K_S', 'Q5_K_M', 'Q6_K'],
]);
/** Ollama's own number for it, which llama.cpp does not use. */
const MXFP4 = 4;
export const UNKNOWN = 'unknown';

/**
 * Reads the header; a few MiB at most are read, in one go, since lists of tokens lie before the tensors.
 * @returns undefined for what is no GGUF, or one that is damaged or of a version that Ollama does not read
 * Throws file system errors.
 */
export function readGguf(file: string): GgufHeader | undefined {
  const descriptor = openSync(file, 'r');
  try {
    return parseGguf(createReader(descriptor, fstatSync(descriptor).size));
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

function parseGguf(reader: Reader): GgufHeader | undefined {
  if (reader.take(4).toString('latin1') !== 'GGUF') return undefined;
  const version = reader.uint32();
  // 1 is of 2023 and has other lengths; numbers of a file for big-endian machines are never that small.
  if (version < 2 || version > 3) return undefined;
  const tensors = reader.uint64();
  const values = readValues(reader, reader.uint64());
  let parameters = 0;
  for (let tensor = 0; tensor < tensors; tensor += 1) parameters += readTensor(reader);
  const architecture = textOf(values, 'general.architecture') ?? UNKNOWN;
  return {
    architecture,
    role: roleOf(values, architecture),
    fileType: fileTypeOf(numberOf(values, 'general.file_type', UINT32)),
    parameters,
    parts: numberOf(values, 'split.count', UINT16),
    hasChatTemplate: (textOf(values, 'tokenizer.chat_template') ?? '') !== '',
  };
}

function fileTypeOf(number: number): string {
  if (number === MXFP4) return 'MXFP4';
  const name = FILE_TYPES.get(number) ?? UNKNOWN;
  return SHOWN.has(name) ? name : UNKNOWN;
}

interface Value {
  readonly type: number;
  readonly value: string | number;
}
type Values = ReadonlyMap<string, Value>;

function readValues(reader: Reader, count: number): Values {
  const values = new Map<string, Value>();
  for (let index = 0; index < count; index += 1) {
    const name = reader.text();
    const type = reader.uint32();
    if (type === STRING) values.set(name, { type, value: reader.text() });
    else if (type === UINT32) values.set(name, { type, value: reader.uint32() });
    else if (type === UINT16) values.set(name, { type, value: reader.take(2).readUInt16LE() });
    else if (type === ARRAY) skipList(reader);
    else reader.skip(sizeOf(type));
  }
  return values;
}

function skipList(reader: Reader): void {
  const type = reader.uint32();
  const count = reader.uint64();
  if (type !== STRING) reader.skip(sizeOf(type) * count);
  else for (let index = 0; index < count; index += 1) reader.skip(reader.uint64());
}

function sizeOf(type: number): number {
  const size = VALUE_BYTES.get(type);
  if (size === undefined) throw new RangeError(`no type of GGUF: ${type}`);
  return size;
}

/** @returns how many numbers it holds */
function readTensor(reader: Reader): number {
  reader.text(); // its name
  const dimensions = reader.uint32();
  if (dimensions > MOST_DIMENSIONS) throw new RangeError(`a tensor of ${dimensions} dimensions`);
  let numbers = 1;
  for (let dimension = 0; dimension < dimensions; dimension += 1) numbers *= reader.uint64();
  if (numbers > Number.MAX_SAFE_INTEGER) throw new RangeError(`a tensor of ${numbers} numbers`);
  reader.skip(4 + 8); // its type, and where it begins
  return numbers;
}

function textOf(values: Values, name: string): string | undefined {
  const value = values.get(name)?.value;
  return typeof value === 'string' ? value : undefined;
}

/** Ollama reads numbers of the one type only that the format names for them. */
function numberOf(values: Values, name: string, type: number): number {
  const found = values.get(name);
  return found?.type === type && typeof found.value === 'number' ? found.value : 0;
}

/** As Ollama tells them (ggufLayers in server/create.go). */
function roleOf(values: Values, architecture: string): GgufHeader['role'] {
  const kind = textOf(values, 'general.type');
  if (kind === 'adapter') return 'adapter';
  const blocks = numberOf(values, `${architecture}.block_count`, UINT32);
  const seeing = numberOf(values, `${architecture}.vision.block_count`, UINT32);
  return kind === 'projector' || (blocks === 0 && seeing > 0) ? 'projector' : 'model';
}

interface Reader {
  take(length: number): Buffer;
  skip(length: number): void;
  uint32(): number;
  uint64(): number;
  /** Preceded by its length. */
  text(): string;
}

/** @throws RangeError past the end of the file */
function createReader(descriptor: number, size: number): Reader {
  let chunk = Buffer.alloc(0);
  /** Where the chunk begins in the file, and what comes next. */
  let start = 0;
  let at = 0;
  const skip = (length: number): void => {
    if (length > size - at) throw new RangeError('past the end');
    at += length;
  };
  const take = (length: number): Buffer => {
    const from = at;
    skip(length);
    if (from < start || at > start + chunk.length) {
      const room = Buffer.allocUnsafe(Math.max(length, CHUNK_BYTES));
      chunk = room.subarray(0, readSync(descriptor, room, 0, room.length, from));
      start = from;
      if (chunk.length < length) throw new RangeError('past the end');
    }
    return chunk.subarray(from - start, at - start);
  };
  const uint64 = (): number => {
    const value = take(8).readBigUInt64LE();
    if (value > Number.MAX_SAFE_INTEGER) throw new RangeError('too large a number');
    return Number(value);
  };
  return {
    take,
    skip,
    uint64,
    uint32: () => take(4).readUInt32LE(),
    text: () => {
      const length = uint64();
      if (length > MAX_TEXT_BYTES) throw new RangeError('too long a text');
      return take(length).toString('utf8');
    },
  };
}

/** Small GGUF files, written by the format's description (ggml's docs/gguf.md). */

type Value = readonly [type: number, bytes: Buffer];

export interface GgufParts {
  readonly values?: Readonly<Record<string, Value>>;
  /** Shapes by name; all of type F32. */
  readonly tensors?: Readonly<Record<string, readonly number[]>>;
  readonly version?: number;
}

export function uint16(value: number): Value {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return [2, bytes];
}

export function uint32(value: number): Value {
  return [4, four(value)];
}

export function text(value: string): Value {
  return [8, counted(value)];
}

export function texts(values: readonly string[]): Value {
  return [9, Buffer.concat([four(8), eight(values.length), ...values.map(counted)])];
}

export function floats(count: number): Value {
  return [9, Buffer.concat([four(6), eight(count), Buffer.alloc(4 * count)])];
}

/** A model of one layer with a list of tokens, as Ollama's own reader takes it. */
export const LLAMA: Readonly<Record<string, Value>> = {
  'general.architecture': text('llama'),
  'general.file_type': uint32(15),
  'llama.block_count': uint32(1),
  'tokenizer.ggml.tokens': texts(['a', 'bc', '']),
  'tokenizer.ggml.scores': floats(3),
};

export function gguf({
  values = LLAMA,
  tensors = { weight: [32, 50] },
  version = 3,
}: GgufParts = {}): Buffer {
  const sizes = Object.values(tensors).map((shape) => 4 * shape.reduce((product, side) => product * side, 1));
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    four(version),
    eight(sizes.length),
    eight(Object.keys(values).length),
    ...Object.entries(values).flatMap(([name, [type, bytes]]) => [counted(name), four(type), bytes]),
    ...Object.entries(tensors).flatMap(([name, shape], index) => [
      counted(name),
      four(shape.length),
      ...shape.map(eight),
      four(0),
      eight(sizes.slice(0, index).reduce((sum, size) => sum + aligned(size), 0)),
    ]),
  ]);
  const bytes = sizes.reduce((sum, size) => sum + aligned(size), 0);
  return Buffer.concat([
    header,
    Buffer.alloc(aligned(header.length) - header.length),
    Buffer.alloc(bytes, 'w'),
  ]);
}

function aligned(size: number): number {
  return Math.ceil(size / 32) * 32;
}

function four(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function eight(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function counted(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([eight(bytes.length), bytes]);
}

/** Small safetensors, written by the format's description. */

export interface SafetensorsTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
}

const BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I32: 4,
  I64: 8,
  U8: 1,
  I8: 1,
};

export function safetensors(tensors: Readonly<Record<string, SafetensorsTensor>>): Buffer {
  let at = 0;
  const header: Record<string, object> = { __metadata__: { format: 'pt' } };
  for (const [name, { dtype, shape }] of Object.entries(tensors)) {
    const bytes = shape.reduce((product, side) => product * side, BYTES[dtype] ?? 1);
    header[name] = { dtype, shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  return withHeader(JSON.stringify(header), at);
}

/** Any text in place of a header. */
export function withHeader(text: string, dataBytes = 0, length?: bigint): Buffer {
  const bytes = Buffer.from(text);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(bytes.length));
  return Buffer.concat([size, bytes, Buffer.alloc(dataBytes)]);
}

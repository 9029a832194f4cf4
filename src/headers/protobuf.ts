/** Fields of a protobuf message (protobuf.dev, encoding), as far as they are in a buffer. Pure. */

export interface Field {
  readonly number: number;
  /** Of its key, and of its contents: `[begin, end)` within the buffer, though `end` may lie beyond it. */
  readonly at: number;
  readonly begin: number;
  readonly end: number;
  /** Of a number; undefined for what has a length. */
  readonly value?: number;
}

/** The field at a place; undefined for what is none, or where the buffer ends before its contents begin. */
export function fieldAt(bytes: Buffer, at: number): Field | undefined {
  const key = varintAt(bytes, at);
  if (key === undefined) return undefined;
  const number = Math.floor(key.value / 8);
  if (number < 1) return undefined;
  switch (key.value % 8) {
    case 0: {
      const found = varintAt(bytes, key.end);
      return found && { number, at, begin: key.end, end: found.end, value: found.value };
    }
    case 1:
      return { number, at, begin: key.end, end: key.end + 8 };
    case 2: {
      const length = varintAt(bytes, key.end);
      return length && { number, at, begin: length.end, end: length.end + length.value };
    }
    case 5:
      return { number, at, begin: key.end, end: key.end + 4 };
    default:
      return undefined;
  }
}

/** All fields of a message that is here as a whole; undefined for what is none. */
export function fieldsOf(bytes: Buffer): readonly Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length;) {
    const field = fieldAt(bytes, at);
    if (field === undefined || field.end > bytes.length) return undefined;
    fields.push(field);
    at = field.end;
  }
  return fields;
}

/** Up to 2^53; larger ones, such as negative ones, are not exact, and no length. */
function varintAt(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  let scale = 1;
  for (let index = at; index < Math.min(bytes.length, at + 10); index += 1) {
    const byte = bytes[index] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, end: index + 1 };
    scale *= 128;
  }
  return undefined;
}

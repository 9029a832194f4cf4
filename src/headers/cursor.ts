/** Little-endian values, one after another, of a file that is read in parts. */
import { Unread, type PartlyRead } from './parts.js';

export interface Cursor {
  at(): number;
  /** Without reading what lies between. @throws Unread past the end of the file */
  seek(position: number): void;
  /** @throws Unread past the end of the file, and as the file does */
  take(length: number): Promise<Buffer>;
  uint32(): Promise<number>;
  /** @throws Unread for what is no length of anything */
  uint64(): Promise<number>;
  /** What is at hand from the current place on, without reading. */
  atHand(): Buffer;
}

export function cursorOf(file: PartlyRead, from = 0): Cursor {
  let start = from;
  let bytes: Buffer = Buffer.alloc(0);
  let position = from;
  const seek = (to: number): void => {
    const size = file.size();
    if (!Number.isSafeInteger(to) || (size !== undefined && to > size)) {
      throw new Unread('its header says more than it holds: it is cut off, or damaged');
    }
    position = to;
  };
  const take = async (length: number): Promise<Buffer> => {
    const begin = position;
    if (begin < start || begin + length > start + bytes.length) {
      seek(begin + length);
      bytes = await file.read(begin, begin + length);
      start = begin;
      if (bytes.length < length) throw new Unread('it ends in the middle of its header: it is cut off');
    }
    position = begin + length;
    return bytes.subarray(begin - start, position - start);
  };
  return {
    at: () => position,
    seek,
    take,
    uint32: async () => (await take(4)).readUInt32LE(),
    async uint64() {
      const value = (await take(8)).readBigUInt64LE();
      if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
      throw new Unread('its header names a length that nothing has: it is damaged');
    },
    atHand: () =>
      position < start || position > start + bytes.length
        ? Buffer.alloc(0)
        : bytes.subarray(position - start),
  };
}

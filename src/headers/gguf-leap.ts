/** Lists of texts in a GGUF file: one after another, each with its length before it. */
import type { Cursor } from './cursor.js';
import type { PartlyRead } from './parts.js';

/** Moves past a list of so many texts. @throws Unread */
export async function leapStrings(_file: PartlyRead, cursor: Cursor, count: number): Promise<void> {
  let left = count;
  while (left > 0) {
    left -= walk(cursor, left);
    if (left === 0) break;
    cursor.seek(cursor.at() + (await cursor.uint64()));
    left -= 1;
  }
}

/** Past all that is at hand as a whole. @returns how many */
function walk(cursor: Cursor, most: number): number {
  const bytes = cursor.atHand();
  let at = 0;
  let count = 0;
  while (count < most && at + 8 <= bytes.length) {
    const length = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
    if (at + 8 + length > bytes.length) break;
    at += 8 + length;
    count += 1;
  }
  cursor.seek(cursor.at() + at);
  return count;
}

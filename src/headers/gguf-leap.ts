/**
 * Lists of texts in a GGUF file: one after another, each with its length before it, so that only reading all of them tells
 * where they end. At a hub that would be MBs of tokens: there the end is looked for by halving, since text looks like
 * text. What follows then has to fill the file to its end, or nothing of it is believed (`gguf.ts`).
 */
import type { Cursor } from './cursor.js';
import { ARRAY, STRING } from './gguf-format.js';
import { Unread, type PartlyRead } from './parts.js';

/** Read one after another before anything is leapt over, and the least that a leap saves. */
const WALKED_BYTES = 64 * 1024;
const PROBE_BYTES = 2 * 1024;
/** A place is within a list when so many texts follow each other there. */
const TEXTS_IN_A_ROW = 8;
/** Of one token or pair of tokens. */
const LONGEST_TEXT = 1024;
const MOST_PROBES = 64;
const VALUE_TYPES = 13;

/**
 * Moves past a list of so many texts.
 * @returns whether its end was only found by its looks
 * @throws Unread
 */
export async function leapStrings(file: PartlyRead, cursor: Cursor, count: number): Promise<boolean> {
  const start = cursor.at();
  let left = count;
  while (left > 0) {
    left -= walk(cursor, left);
    if (left === 0) break;
    const walked = cursor.at() - start;
    if (file.isCostly && walked >= WALKED_BYTES) {
      const rest = (walked / (count - left)) * left;
      if (rest > WALKED_BYTES) {
        cursor.seek(await endOfList(file, cursor.at(), rest, count));
        return true;
      }
    }
    const length = await cursor.uint64();
    cursor.seek(cursor.at() + length);
    left -= 1;
  }
  return false;
}

/** Past all that is at hand as a whole. @returns how many */
function walk(cursor: Cursor, most: number): number {
  const bytes = cursor.atHand();
  let at = 0;
  let count = 0;
  while (count < most) {
    const next = afterText(bytes, at, bytes.length);
    if (next === undefined) break;
    at = next;
    count += 1;
  }
  cursor.seek(cursor.at() + at);
  return count;
}

/** The place after a text that is here as a whole. */
function afterText(bytes: Buffer, at: number, longest: number): number | undefined {
  if (at + 8 > bytes.length) return undefined;
  const length = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  const next = at + 8 + length;
  return length > longest || next > bytes.length ? undefined : next;
}

/** @param from a place between two texts; @param rest bytes of the list from there on, about */
async function endOfList(file: PartlyRead, from: number, rest: number, count: number): Promise<number> {
  const size = file.size() ?? 0;
  const probe = async (at: number): Promise<number | undefined> =>
    firstText((await file.read(at, at + PROBE_BYTES, 0)).subarray(0, PROBE_BYTES));
  // A list of numbers, one for each token, follows in most files: no step leads over that.
  const step = Math.max(PROBE_BYTES, 2 * count);
  let before = from;
  let first = 0;
  let after = from + Math.floor(0.8 * rest);
  let probes = 0;
  for (; ; after += step) {
    probes += 1;
    if (probes > MOST_PROBES) throw notFound();
    if (after >= size) {
      after = size;
      break;
    }
    const found = await probe(after);
    if (found === undefined) break;
    [before, first] = [after, found];
  }
  while (after - before > 2 * PROBE_BYTES) {
    const middle = Math.floor((before + after) / 2);
    const found = await probe(middle);
    if (found === undefined) after = middle;
    else [before, first] = [middle, found];
  }
  const end = after + PROBE_BYTES;
  const bytes = (await file.read(before, end, 0)).subarray(0, end - before);
  for (let at: number | undefined = first; at !== undefined; at = afterText(bytes, at, LONGEST_TEXT)) {
    if (isValue(bytes, at) || isTensor(bytes, at)) return before + at;
  }
  throw notFound();
}

function notFound(): Unread {
  return new Unread('its list of tokens is longer than what is read of a model at its hub');
}

/** Where texts begin in a piece of a list. */
function firstText(bytes: Buffer): number | undefined {
  for (let start = 0; start + 8 <= bytes.length; start += 1) {
    let at: number | undefined = start;
    for (let row = 0; row < TEXTS_IN_A_ROW && at !== undefined; row += 1) {
      // Zeros would be empty texts, and are numbers.
      at =
        at + 8 <= bytes.length && bytes.readUInt32LE(at) > 0 ? afterText(bytes, at, LONGEST_TEXT) : undefined;
    }
    if (at !== undefined) return start;
  }
  return undefined;
}

/** Does the next value begin here: a name with a dot, its type, and of lists and texts what may follow? */
function isValue(bytes: Buffer, at: number): boolean {
  const next = afterText(bytes, at, 128);
  if (next === undefined || next + 16 > bytes.length) return false;
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/i.test(bytes.toString('latin1', at + 8, next))) return false;
  const type = bytes.readUInt32LE(next);
  if (type === ARRAY)
    return bytes.readUInt32LE(next + 4) < VALUE_TYPES && bytes.readUInt32LE(next + 12) === 0;
  return type < VALUE_TYPES && (type !== STRING || bytes.readUInt32LE(next + 8) === 0);
}

/** Or the first tensor: its name, up to four sizes, its type. */
function isTensor(bytes: Buffer, at: number): boolean {
  const next = afterText(bytes, at, 128);
  if (next === undefined || next + 4 > bytes.length) return false;
  const dimensions = bytes.readUInt32LE(next);
  const type = next + 4 + 8 * dimensions;
  if (dimensions < 1 || dimensions > 4 || type + 4 > bytes.length) return false;
  for (let index = 0; index < dimensions; index += 1) {
    if (bytes.readUInt32LE(next + 8 + 8 * index) !== 0) return false;
  }
  return bytes.readUInt32LE(type) < 64;
}

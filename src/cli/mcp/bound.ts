/** Answers of a bounded size: a listing of ten thousand files would fill what an agent can hold in mind. */
import type { Cut } from './documents.js';
import { PAGE } from './tools.js';

/** Of an answer as JSON. */
const MOST_CHARACTERS = 200_000;
/** Of a text that is no name. */
const LONGEST_TEXT = 2000;
/** So that what is cut further is still of use. */
const SHORTEST_PAGE = 5;

const LINES = 150;
const LONGEST_LINE = 400;

export interface Bounded {
  readonly document: Readonly<Record<string, unknown>>;
  readonly cut: readonly Cut[];
}

/** @param from where lists that are too long begin */
export function bounded(document: object, from = 0): Bounded {
  for (let page = PAGE; ; page = Math.floor(page / 2)) {
    const cut: Cut[] = [];
    const whole = Object.fromEntries(
      Object.entries(document).map(([key, value]) => [key, shortened(value, key, { page, from, cut })]),
    );
    if (page > SHORTEST_PAGE && JSON.stringify(whole).length > MOST_CHARACTERS) continue;
    return { document: cut.length === 0 ? whole : { ...whole, cut }, cut };
  }
}

interface Bounds {
  readonly page: number;
  readonly from: number;
  readonly cut: Cut[];
}

function shortened(value: unknown, at: string, bounds: Bounds): unknown {
  if (typeof value === 'string') return shortText(value, at, bounds);
  if (Array.isArray(value)) {
    const { page, from, cut } = bounds;
    const items: readonly unknown[] = value;
    const isLong = items.length > page;
    // What one answer holds whole begins at its beginning in every answer.
    const begin = isLong ? from : 0;
    const shown = items.slice(begin, begin + page);
    if (isLong) cut.push({ at, from: begin, shown: shown.length, total: items.length });
    return shown.map((item, index) => shortened(item, `${at}[${index + begin}]`, bounds));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => [
      key,
      shortened(inner, `${at}.${key}`, bounds),
    ]),
  );
}

function shortText(text: string, at: string, { cut }: Bounds): string {
  if (text.length <= LONGEST_TEXT) return text;
  cut.push({ at, from: 0, shown: LONGEST_TEXT, total: text.length });
  return text.slice(0, LONGEST_TEXT).toWellFormed();
}

/** Lines that are read, and not one of them longer than a screen. */
export function boundedLines(lines: readonly string[]): readonly string[] {
  const shown = lines
    .slice(0, LINES)
    .map((line) => (line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line));
  return lines.length > LINES ? [...shown, `and ${lines.length - LINES} more lines`] : shown;
}

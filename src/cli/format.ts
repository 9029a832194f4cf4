/** Sizes, times and tables for people. */
import { shellWord } from '../shell-word.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** 1536 → `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[power] ?? 'B'}`;
}

/** 1235814400 → `1.24 billion`, 22713216 → `22.7 million`: three digits, as models are spoken of. */
export function formatNumber(count: number): string {
  const steps = [
    [1e12, ' trillion'],
    [1e9, ' billion'],
    [1e6, ' million'],
  ] as const;
  for (const [size, word] of steps) {
    if (count >= size) return `${Number((count / size).toPrecision(3))}${word}`;
  }
  return String(count);
}

/** 1, `model` → `1 model`; 2 → `2 models`. */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Seconds → `42s`, `3m 5s`, `2h 1m`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
}

/** ISO time → `3 days ago`. */
export function formatAgo(iso: string | null, now: number): string {
  if (iso === null) return 'never';
  const seconds = (now - Date.parse(iso)) / 1000;
  const steps: readonly (readonly [number, string])[] = [
    [86_400, 'day'],
    [3_600, 'hour'],
    [60, 'minute'],
  ];
  for (const [size, word] of steps) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${formatCount(count, word)} ago`;
  }
  return 'just now';
}

/** Words as a POSIX shell reads them back; the words of an operator such as `<` are the caller's. */
export function formatCommand(words: readonly string[]): string {
  return words.map(shellWord).join(' ');
}

/** What comes from elsewhere may have line ends, and is no line of its own. */
export function asLine(text: string): string {
  return text.replaceAll(/[\r\n\u2028\u2029]+/g, ' ');
}

/** Lines of at most `columns` characters, broken between words; a longer word has a line of its own. */
export function wrapWords(text: string, columns = Infinity): readonly string[] {
  const lines: string[] = [];
  let line: string | undefined;
  for (const word of text.split(' ')) {
    if (line !== undefined && line.length + 1 + word.length <= columns) {
      line += ` ${word}`;
      continue;
    }
    if (line !== undefined) lines.push(line);
    line = word;
  }
  return [...lines, line ?? ''];
}

/** Narrower, a last column is not broken but left to the terminal. */
const NARROWEST = 20;

/**
 * Left-aligned columns, two spaces apart; a column named in `right` is right-aligned.
 * @param columns width of the terminal, which the last column is broken to; without it a row is a line
 */
export function formatTable(
  header: readonly string[],
  given: readonly (readonly string[])[],
  right: readonly number[] = [],
  columns?: number,
): readonly string[] {
  const rows = given.map((row) => row.map(asLine));
  const widths = header.map((title, column) =>
    // Not one call with all rows: it would take no more arguments than the stack holds.
    rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), title.length),
  );
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + 2, 0);
  const left = columns === undefined ? Infinity : columns - before;
  const whole = [header, ...rows].flatMap((row) => {
    const wrapped = wrapWords(row.at(-1) ?? '', left < NARROWEST ? Infinity : left);
    return wrapped.map((part, index) => (index === 0 ? row : row.map(() => '')).with(-1, part));
  });
  return whole.map((row) =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd(),
  );
}

/** Facts below a heading: names in one column, values broken to the width of the terminal. */
export function formatFacts(
  facts: readonly (readonly [name: string, value: string])[],
  columns?: number,
): readonly string[] {
  const width = facts.reduce((most, [name]) => Math.max(most, name.length), 0);
  const rows = facts.map(([name, value]) => [`  ${name.padEnd(width)}`, value]);
  return formatTable(['', ''], rows, [], columns).slice(1);
}

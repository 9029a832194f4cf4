/** Sizes, times and tables for people. */
import { formatCount } from '../format.js';
import { shellWord } from '../shell-word.js';

export { formatBytes, formatCount, formatNumber, formatSeconds } from '../format.js';

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

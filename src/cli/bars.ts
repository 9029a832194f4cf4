/** Bars of sizes in plain characters, as wide as there is room for. Pure. */
import type { ModelUsage } from '../results.js';
import { formatBytes } from './format.js';

/** Off a terminal. */
const DEFAULT_COLUMNS = 80;
/** Shorter bars tell nothing: the name gets a line of its own. */
const SHORTEST_BAR = 12;
const LONGEST_BAR = 40;
const SIZE = 9;

/** One line for each model, two where it is narrow: its own bytes as `#`, those that others have too as `-`. */
export function usageLines(models: readonly ModelUsage[], columns = DEFAULT_COLUMNS): readonly string[] {
  const most = models.reduce((sum, { ownBytes, sharedBytes }) => Math.max(sum, ownBytes + sharedBytes), 0);
  const names = models.reduce((width, { reference }) => Math.max(width, reference.length), 0);
  const sizes = 2 * (SIZE + 2);
  const beside = columns - names - 2 - sizes;
  const width = Math.min(LONGEST_BAR, beside >= SHORTEST_BAR ? beside : columns - 2 - sizes);
  const header = ['OWN', 'SHARED'].map((title) => title.padStart(SIZE)).join('  ');
  const name = (text: string): readonly string[] => (beside >= SHORTEST_BAR ? [] : [text]);
  const indent = (text: string): string => (beside >= SHORTEST_BAR ? text.padEnd(names) : '');
  return [
    `${indent('REFERENCE')}  ${' '.repeat(Math.max(0, width))}  ${header}`,
    ...models.flatMap(({ reference, ownBytes, sharedBytes }) => [
      ...name(reference),
      [
        indent(reference),
        barOf(ownBytes, sharedBytes, most, width),
        formatBytes(ownBytes).padStart(SIZE),
        sharedBytes === 0 ? '' : formatBytes(sharedBytes).padStart(SIZE),
      ]
        .join('  ')
        .trimEnd(),
    ]),
  ];
}

/** Of what there is, a character at least. */
function barOf(own: number, shared: number, most: number, width: number): string {
  if (most === 0 || width < 1) return ' '.repeat(Math.max(0, width));
  const length = (bytes: number): number =>
    bytes === 0 ? 0 : Math.max(1, Math.round((width * bytes) / most));
  const room = shared === 0 ? width : width - 1;
  const bar = `${'#'.repeat(Math.min(length(own), room))}${'-'.repeat(length(shared))}`;
  return bar.slice(0, width).padEnd(width);
}

/** Text of others within the columns of a terminal. Pure. */
import { printable } from '../../redact.js';

/** Sequences of a terminal, which take no column. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const SEQUENCE = /(\u001b\[[\d;?]*[A-Za-z])/;
/** They are not seen, and turn or hide what stands beside them. */
const INVISIBLE = /\p{Cf}/gu;
/** What takes two columns: East Asian characters as their Unicode blocks have them, and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
const PLAIN = /^[\u0020-\u007e]*$/;

let segmenter: Intl.Segmenter | undefined;

/** Characters as people see them, with the columns that they take. */
function charactersOf(text: string): readonly { readonly character: string; readonly width: number }[] {
  // Made for the first question: it takes some 20 ms, which no command without one has to spare.
  segmenter ??= new Intl.Segmenter('en', { granularity: 'grapheme' });
  return Array.from(segmenter.segment(text), ({ segment }) => ({
    character: segment,
    width: WIDE.test(segment) ? 2 : 1,
  }));
}

/** Columns that a line takes. */
export function displayWidth(line: string): number {
  const text = line
    .split(SEQUENCE)
    .filter((part) => !SEQUENCE.test(part))
    .join('');
  if (PLAIN.test(text)) return text.length;
  return charactersOf(text).reduce((sum, { width }) => sum + width, 0);
}

/** One line that moves no cursor and reads in the order it is in. */
export function oneLine(text: string): string {
  return printable(text.replaceAll(/\s+/g, ' ').trim().replaceAll(INVISIBLE, ''));
}

/** The first columns of a line; sequences of the terminal stay, so that colours end. */
export function clipEnd(line: string, columns: number): string {
  let left = columns;
  const clipped = line.split(SEQUENCE).map((part) => {
    if (SEQUENCE.test(part)) return part;
    const taken = within(charactersOf(part), left);
    left = taken.length < charactersOf(part).length ? 0 : left - displayWidth(taken.join(''));
    return taken.join('');
  });
  return clipped.join('');
}

/** A name in at most so many columns, which keeps its beginning and its end: either may tell it from others. */
export function clipMiddle(name: string, columns: number): string {
  if (displayWidth(name) <= columns) return name;
  const characters = charactersOf(name);
  const head = within(characters, Math.ceil((columns - 1) / 2));
  const tail = within(characters.toReversed(), Math.floor((columns - 1) / 2));
  return `${head.join('')}…${tail.toReversed().join('')}`;
}

/** A reference in at most so many columns; a revision that is a digest gives way first, since it tells people least. */
export function clipReference(reference: string, columns: number): string {
  if (displayWidth(reference) <= columns) return reference;
  return clipMiddle(reference.replace(/(@(?:sha256:)?[0-9a-f]{8})[0-9a-f]{32,}/, '$1…'), columns);
}

/** As many of the first characters as there are columns for. */
function within(characters: ReturnType<typeof charactersOf>, columns: number): readonly string[] {
  let used = 0;
  const end = characters.findIndex(({ width }) => (used += width) > columns);
  const taken = end < 0 ? characters : characters.slice(0, end);
  return taken.map(({ character }) => character);
}

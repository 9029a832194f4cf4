/**
 * What a question is drawn on. The prompt library counts the rows it has drawn, which are others once the terminal has
 * another width: then what is drawn is taken away and drawn again, cut to the new width, in as many rows as it counts.
 */
import { Writable } from 'node:stream';
import type { OutputStream } from '../output.js';
import { clipEnd, displayWidth } from './fit.js';

/** Of a terminal that does not tell its own. */
const COLUMNS = 80;
const ROWS = 24;

// Sequences of a terminal are what is looked for.
/* eslint-disable no-control-regex */
/** What takes the picture before away. */
const REMOVAL = /^(?:\u001b\[\d+B)?(?:\u001b\[2K\u001b\[1A)*(?:\u001b\[2K\u001b\[G)?/;
/** What puts the cursor where people type, behind the picture. */
const PLACING = /(?:\u001b\[(\d+)A)?\u001b\[(\d+)G$/;
const MOVE = /^\u001b\[(\d+)G$/;
const SHOW_CURSOR = '\u001b[?25h';
const COLOR = /\u001b\[[\d;]*m/g;
/* eslint-enable no-control-regex */

interface Picture {
  readonly lines: readonly string[];
  /** Where the cursor is: rows above the last line, and its column. */
  readonly up: number;
  readonly column: number;
}

export interface Screen {
  readonly stream: Writable;
  close(): void;
}

/** Width of the terminal that questions are drawn on. */
export function columnsOf({ columns }: OutputStream): number {
  return columns === undefined || columns < 1 ? COLUMNS : columns;
}

function rowsOf(terminal: OutputStream & { readonly rows?: number }): number {
  const { rows } = terminal;
  return rows === undefined || rows < 1 ? ROWS : rows;
}

/** Rows of a list: at most so many, and as few as three where what stands around it takes the rest. */
export function listRows(terminal: OutputStream, around: number, most: number): number {
  return Math.max(3, Math.min(most, rowsOf(terminal) - around));
}

export function openScreen(terminal: OutputStream, colors: boolean): Screen {
  let picture: Picture | undefined;
  /** As it is on the screen, which may be cut. */
  let shown: readonly string[] = [];

  const see = (text: string): void => {
    const [, column] = MOVE.exec(text) ?? [];
    if (column !== undefined && picture !== undefined) {
      picture = { ...picture, column: Number(column) - 1 };
      return;
    }
    picture = pictureOf(text);
    shown = picture?.lines ?? [];
  };
  const stream = new Writable({
    decodeStrings: false,
    write: (chunk: string | Buffer, _encoding, done) => {
      const text = colors ? String(chunk) : String(chunk).replace(COLOR, '');
      see(text);
      terminal.write(text);
      done();
    },
  });
  const redraw = (): void => {
    if (picture === undefined) return;
    const width = columnsOf(terminal);
    const before = redrawing(shown, picture, width);
    shown = before.lines;
    terminal.write(before.text);
  };
  terminal.on('resize', redraw);
  return {
    stream: Object.defineProperties(stream, {
      columns: { get: () => columnsOf(terminal) },
      rows: { get: () => rowsOf(terminal) },
      isTTY: { value: true },
    }),
    close: () => {
      terminal.off('resize', redraw);
    },
  };
}

/** Undefined for what ends a question: it stays as it is. */
function pictureOf(text: string): Picture | undefined {
  if (text.includes(SHOW_CURSOR)) return undefined;
  const [placing = '', up = '0', column = '1'] = PLACING.exec(text) ?? [];
  const lines = text
    .slice(0, text.length - placing.length)
    .replace(REMOVAL, '')
    .split('\n');
  return { lines, up: Number(up), column: Number(column) - 1 };
}

/**
 * What takes away a picture that a terminal of a new width has broken into more rows, and draws it again.
 * @param shown its lines as they were on the screen before
 */
export function redrawing(
  shown: readonly string[],
  { lines, up, column }: Picture,
  width: number,
): { readonly text: string; readonly lines: readonly string[] } {
  const row = shown.length - 1 - up;
  const broken = shown.slice(0, row).map((line) => Math.max(1, Math.ceil(displayWidth(line) / width)));
  const above = broken.reduce((sum, rows) => sum + rows, 0) + Math.floor(column / width);
  const cut = lines.map((line) => clipEnd(line, width));
  const text = [
    above > 0 ? `\u001b[${above}A` : '',
    '\r\u001b[J',
    cut.join('\n'),
    up > 0 ? `\u001b[${up}A` : '',
    `\u001b[${Math.min(column, width - 1) + 1}G`,
  ].join('');
  return { text, lines: cut };
}

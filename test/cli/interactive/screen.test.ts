/** What is written when a terminal gets another width while a question stands there. */
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { openScreen, redrawing } from '../../../src/cli/interactive/screen.js';
import type { OutputStream } from '../../../src/cli/output.js';

const PICTURE = ['? Which model abc', '❯ hf:org/a-name-of-30-characters', '  keys'];

describe('redrawing', () => {
  it('goes up over all rows that the terminal has broken the picture into, and cuts it to the width', () => {
    // The cursor is in the first line, column 17: at 10 columns that is one row below its beginning.
    expect(redrawing(PICTURE, { lines: PICTURE, up: 2, column: 17 }, 10)).toEqual({
      lines: ['? Which mo', '❯ hf:org/a', '  keys'],
      text: '\u001b[1A\r\u001b[J? Which mo\n❯ hf:org/a\n  keys\u001b[2A\u001b[10G',
    });
  });

  it('counts broken lines above the cursor where it is at the end', () => {
    const { text } = redrawing(PICTURE, { lines: PICTURE, up: 0, column: 6 }, 10);
    expect(text.slice(0, 5)).toBe('\u001b[6A\r');
  });

  it('draws whole again what was cut before', () => {
    const cut = ['? Which mo', '❯ hf:org/a', '  keys'];
    const { text, lines } = redrawing(cut, { lines: PICTURE, up: 2, column: 17 }, 40);
    expect(lines).toEqual(PICTURE);
    expect(text).toBe(`\r\u001b[J${PICTURE.join('\n')}\u001b[2A\u001b[18G`);
  });
});

interface FakeTerminal {
  readonly terminal: OutputStream;
  readonly written: readonly string[];
  readonly resize: (columns: number) => void;
}

function fakeTerminal(): FakeTerminal {
  const written: string[] = [];
  const events = new EventEmitter();
  const terminal = Object.assign(events, {
    columns: 80,
    isTTY: true,
    write: (text: string) => written.push(text) > 0,
  });
  return {
    terminal: terminal as unknown as OutputStream,
    written,
    resize: (columns) => {
      terminal.columns = columns;
      events.emit('resize');
    },
  };
}

describe('a screen', () => {
  it('draws again at another width while a question stands there, and never after its end', () => {
    const { terminal, written, resize } = fakeTerminal();
    const screen = openScreen(terminal, true);
    const { stream } = screen;
    stream.write('\u001b[2K\u001b[G? Question\n❯ one\u001b[1A\u001b[11G');
    resize(5);
    expect(written.at(-1)).toBe('\u001b[2A\r\u001b[J? Que\n❯ one\u001b[1A\u001b[5G');
    stream.write('\u001b[1B\n\u001b[?25h');
    const { length } = written;
    resize(40);
    expect(written).toHaveLength(length);
    screen.close();
    expect(terminal.listenerCount('resize')).toBe(0);
  });

  it('has no colours where there are to be none, and keeps what moves the cursor', () => {
    const { terminal, written } = fakeTerminal();
    openScreen(terminal, false).stream.write('\u001b[2K\u001b[G\u001b[36m? Question\u001b[39m\u001b[11G');
    expect(written).toEqual(['\u001b[2K\u001b[G? Question\u001b[11G']);
  });
});

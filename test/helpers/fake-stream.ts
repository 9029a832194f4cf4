/** A stream that remembers what was written, and may call itself a terminal. */
import { clearLine, cursorTo, moveCursor } from 'node:readline';
import { Writable } from 'node:stream';
import type { OutputStream } from '../../src/cli/output.js';

export interface FakeStream {
  readonly stream: OutputStream;
  text(): string;
  lines(): readonly string[];
}

export function fakeStream(isTTY = false): FakeStream {
  let written = '';
  const writable = new Writable({
    write(chunk: Buffer | string, _encoding, done) {
      written += chunk.toString();
      done();
    },
  });
  const stream = Object.assign(writable, {
    isTTY,
    columns: 80,
    // What a terminal's stream has beside: the same escape sequences, written here.
    cursorTo: (column: number) => cursorTo(writable, column),
    moveCursor: (columns: number, rows: number) => moveCursor(writable, columns, rows),
    clearLine: (direction: -1 | 0 | 1) => clearLine(writable, direction),
  });
  return {
    stream,
    text: () => written,
    lines: () => written.split('\n').slice(0, -1),
  };
}

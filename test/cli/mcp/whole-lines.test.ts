import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { wholeLines } from '../../../src/cli/mcp/whole-lines.js';

async function passed(
  chunks: readonly string[],
  longest: number,
): Promise<{ readonly text: string; readonly leftOut: number }> {
  let leftOut = 0;
  const source = Readable.from(chunks.map((chunk) => Buffer.from(chunk)));
  let text = '';
  for await (const part of source.pipe(wholeLines(longest, () => (leftOut += 1)))) text += String(part);
  return { text, leftOut };
}

describe('lines', () => {
  it('are whole, however they come', async () => {
    expect(await passed(['a', 'b\nc\n\nd', 'e\n', 'rest'], 9)).toEqual({
      text: 'ab\nc\n\nde\n',
      leftOut: 0,
    });
  });

  it('that are too long are left out, once each, and those around them are not', async () => {
    expect(await passed(['a\n123', '45', '6789\nb\n', '123456\n', 'c\n'], 5)).toEqual({
      text: 'a\nb\nc\n',
      leftOut: 2,
    });
    expect(await passed(['1234\n'], 5)).toEqual({ text: '1234\n', leftOut: 0 });
  });
});

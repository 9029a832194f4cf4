import { describe, expect, it } from 'vitest';
import { replaceText } from '../src/edit.js';

const edit = (pattern: string, replacement: readonly (string | number)[], count?: number) => ({
  path: 'net.py',
  pattern,
  replacement,
  ...(count === undefined ? {} : { count }),
});

describe('editing text', () => {
  it('replaces what matches, all of it or so many', () => {
    expect(replaceText('a b a', edit('a', ['<', 0, '>']))).toBe('<a> b <a>');
    expect(replaceText('a b a', edit('(?<=(b) )a|a', [1, '!'], 1))).toBe('! b a');
    expect(replaceText('a b a', edit('(b)|a', [1]))).toBe(' b ');
  });

  it.each([
    ['nothing matches', 'xyz', edit('a', []), 'INTEGRITY', 'matches nothing in net.py'],
    ['too little matches', 'a', edit('a', [], 2), 'INTEGRITY', 'matches 1 of 2 times in net.py'],
    ['too much matches', 'a'.repeat(10_001), edit('a', []), 'UNSUPPORTED', 'more than 10000 times'],
    [
      'too much comes out',
      'a'.repeat(5000),
      edit('^', ['b'.repeat(5 << 20)]),
      'UNSUPPORTED',
      'makes it longer than',
    ],
    ['captures multiply', 'a'.repeat(5000), edit('(?=(.*))', [1]), 'UNSUPPORTED', 'makes it longer than'],
    ['the group is missing', 'a', edit('a', [1]), 'UNSUPPORTED', 'has no group 1'],
    ['the pattern is none', 'a', edit('(', []), 'UNSUPPORTED', 'fails'],
  ])('stops where %s', (_what, text, change, code, message) => {
    expect(() => replaceText(text, change)).toThrow(
      expect.objectContaining({
        code,
        message: expect.stringContaining(message) as string,
        hint: expect.stringContaining('another revision') as string,
      }),
    );
  });

  it('stops a pattern whose search does not end', () => {
    expect(() => replaceText(`${'a'.repeat(60)}b`, edit('(a+)+$', []), 50)).toThrow(
      'takes longer than 50 ms',
    );
  });
});

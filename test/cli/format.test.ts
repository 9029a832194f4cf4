import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAgo,
  formatBytes,
  formatCommand,
  formatCount,
  formatFacts,
  formatSeconds,
  formatTable,
  wrapWords,
} from '../../src/cli/format.js';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [102_400, '100 KiB'],
    [1024 ** 2, '1.0 MiB'],
    [4.5 * 1024 ** 3, '4.5 GiB'],
    [1024 ** 4, '1.0 TiB'],
    [2048 * 1024 ** 4, '2048 TiB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe('formatCount', () => {
  it.each([
    [0, '0 models'],
    [1, '1 model'],
    [2, '2 models'],
  ])('%d is %s', (count, text) => {
    expect(formatCount(count, 'model')).toBe(text);
  });

  it('takes an irregular plural', () => {
    expect([1, 2].map((count) => formatCount(count, 'copy', 'copies'))).toEqual(['1 copy', '2 copies']);
  });
});

describe('formatSeconds', () => {
  it.each([
    [-1, '0s'],
    [0.4, '0s'],
    [59.4, '59s'],
    [59.6, '1m 0s'],
    [185, '3m 5s'],
    [3600, '1h 0m'],
    [7265, '2h 1m'],
  ])('%d is %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });
});

describe('formatAgo', () => {
  const now = Date.parse('2026-06-01T12:00:00Z');
  it.each([
    [null, 'never'],
    ['2026-06-01T11:59:30Z', 'just now'],
    ['2026-06-01T12:00:30Z', 'just now'],
    ['2026-06-01T11:59:00Z', '1 minute ago'],
    ['2026-06-01T09:59:00Z', '2 hours ago'],
    ['2026-05-31T11:00:00Z', '1 day ago'],
    ['2026-05-02T12:00:00Z', '30 days ago'],
  ])('%s is %s', (time, text) => {
    expect(formatAgo(time, now)).toBe(text);
  });
});

describe('formatTable', () => {
  it('aligns columns, some to the right, without trailing spaces', () => {
    const rows = [
      ['a', '1', ''],
      ['long name', '100', 'x'],
    ];
    expect(formatTable(['NAME', 'SIZE', 'NOTE'], rows, [1])).toEqual([
      'NAME       SIZE  NOTE',
      'a             1',
      'long name   100  x',
    ]);
  });

  it('has a line for each row, whatever is in it', () => {
    expect(formatTable(['LICENCE', 'MODEL'], [['mit\npulled', 'a\r\nb\u2028c']])).toEqual([
      'LICENCE     MODEL',
      'mit pulled  a b c',
    ]);
  });

  it('takes more rows than a call takes arguments', () => {
    const rows = Array.from({ length: 200_000 }, () => ['model']);
    expect(formatTable(['REFERENCE'], rows)).toHaveLength(200_001);
  });
});

describe('formatCommand', () => {
  it('gives words that a shell reads back', () => {
    const word = fc.string({ unit: 'grapheme-ascii' }).filter((text) => !text.includes('\0'));
    const commands = fc.sample(fc.array(word, { minLength: 1, maxLength: 5 }), { numRuns: 100, seed: 1 });
    const script = commands.map((words) => `printf '%s\\0' ${formatCommand(words)}`).join('\n');
    const read = execFileSync('sh', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
    expect(read).toEqual(commands.flat());
  });

  it('shows nothing that a terminal acts on, and bash reads it back all the same', () => {
    const words = [
      'a\u001b]0;b\u0007',
      'tab\there',
      "it's \\ \u202efdp.onnx",
      'new\nline',
      '\u001b1',
      '=x',
      '模型',
    ];
    const command = formatCommand(words);
    expect(command).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    const read = execFileSync('bash', ['-c', `printf '%s\\0' ${command}`], { encoding: 'utf8' });
    expect(read.split('\0').slice(0, -1)).toEqual(words);
  });
});

describe('wrapWords', () => {
  it.each<readonly [number | undefined, readonly string[]]>([
    [undefined, ['one two three']],
    [13, ['one two three']],
    [12, ['one two', 'three']],
    [4, ['one', 'two', 'three']],
    [1, ['one', 'two', 'three']],
  ])('to %s columns', (columns, lines) => {
    expect(wrapWords('one two three', columns)).toEqual(lines);
  });

  it('keeps every word, and no line longer than its one word', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,9}$/)),
        fc.integer({ min: 1, max: 30 }),
        (words, columns) => {
          const text = words.join(' ');
          const lines = wrapWords(text, columns);
          expect(lines.join(' ')).toBe(text);
          for (const line of lines) if (line.includes(' ')) expect(line.length).toBeLessThanOrEqual(columns);
        },
      ),
    );
  });
});

describe('a last column', () => {
  const contents = 'optimum-intel, nncf and PyTorch';

  it('is broken to the width of the terminal, below itself', () => {
    expect(formatTable(['NAME', 'SIZE', 'CONTENTS'], [['optimum', '6 B', contents]], [1], 40)).toEqual([
      'NAME     SIZE  CONTENTS',
      'optimum   6 B  optimum-intel, nncf and',
      '               PyTorch',
    ]);
  });

  it.each([undefined, 20])('is a line off a terminal, and where nothing fits: %s columns', (columns) => {
    const [, row] = formatTable(['NAME', 'CONTENTS'], [['optimum', contents]], [], columns);
    expect(row).toBe(`optimum  ${contents}`);
  });
});

describe('formatFacts', () => {
  it('has names in one column', () => {
    const facts = [
      ['takes', 'a b'],
      ['settings', 'ratio, group-size, sym, awq'],
    ] as const;
    expect(formatFacts(facts)).toEqual(['  takes     a b', '  settings  ratio, group-size, sym, awq']);
    expect(formatFacts(facts, 34)).toEqual([
      '  takes     a b',
      '  settings  ratio, group-size,',
      '            sym, awq',
    ]);
  });
});

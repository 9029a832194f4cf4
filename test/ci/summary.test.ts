import { describe, expect, it } from 'vitest';
import { escapeMarkdown, summarize, type SummaryModel } from '../../src/ci/summary.js';
import { formatBytes, formatSeconds } from '../../src/cli/format.js';

const words = { bytes: formatBytes, seconds: formatSeconds, name: (text: string) => text };
const model = (reference: string, facts: Partial<SummaryModel> = {}): SummaryModel => ({
  reference,
  bytes: 2048,
  downloadedBytes: 0,
  adoptedBytes: 0,
  cached: true,
  stale: false,
  ...facts,
});
const rowsOf = (text: string): readonly string[] => text.split('\n').filter((line) => line.startsWith('| <'));

describe('a summary', () => {
  it('has a row for each model, with where it came from and how long that took', () => {
    const text = summarize(
      {
        command: 'sync',
        models: [
          model('hf:a'),
          model('hf:b', { cached: false, downloadedBytes: 1024 }),
          model('hf:c', { cached: false, adoptedBytes: 512, downloadedBytes: 512, converter: 'optimum' }),
          model('hf:d', { stale: true }),
          model('hf:e', { cached: false, converter: null, downloadedBytes: 1 }),
        ],
        seconds: [0, 3, 65, 1, 1],
        errors: [],
        totalSeconds: 70,
      },
      words,
    );
    const cells = rowsOf(text).map((row) => row.split('|').map((cell) => cell.trim()));
    expect(cells.map(([, , size, from, time]) => [size, from, time])).toEqual([
      ['2.0 KiB', 'cache', '0s'],
      ['2.0 KiB', 'fetched 1.0 KiB', '3s'],
      ['2.0 KiB', 'fetched 512 B, 512 B of this machine, converted', '1m 5s'],
      ['2.0 KiB', 'cache, hub not reached', '1s'],
      ['2.0 KiB', 'fetched 1 B', '1s'],
    ]);
    expect(text).toContain('5 in the store: 10.0 KiB, of which 1.5 KiB fetched, in 1m 10s');
  });

  it('tells what failed', () => {
    const errors = [{ code: 'GATED' as const, message: 'No access', details: { reference: 'hf:org/x' } }];
    const text = summarize({ command: 'pull', models: [], seconds: [], errors, totalSeconds: 1 }, words);
    expect(rowsOf(text)).toEqual(['| <code>hf&#58;org&#47;x</code> |  | **GATED**: No access |  |']);
    expect(text).toContain('0 in the store, 1 failed');
  });

  it.each([
    'a|b',
    '<img src=x onerror=alert(1)>',
    '</code><script>',
    '[x](https://evil)',
    'https://evil.example www.evil.example',
    '`code` **bold** _it_ ~~s~~',
    '@somebody #1',
    '&lt;',
    'a\nb | c',
    '\\|',
  ])('takes nothing of %j for markup', (name) => {
    const text = summarize(
      { command: 'pull', models: [model(name)], seconds: [1], errors: [], totalSeconds: 1 },
      words,
    );
    const [row = '', ...more] = rowsOf(text);
    expect(more).toEqual([]);
    expect(row.split('|')).toHaveLength(6);
    const cell = /^\| <code>(.*?)<\/code> \|/.exec(row)?.[1] ?? '';
    expect(cell).toMatch(/^[\p{L}\p{N} +\-&#;]*$/u);
    const read = cell.replaceAll(/&#(\d+);/g, (_whole, number: string) =>
      String.fromCodePoint(Number(number)),
    );
    expect(read).toBe(name);
    expect(escapeMarkdown(name)).toBe(cell);
  });
});

import { describe, expect, it } from 'vitest';
import { table } from '../../src/cli/commands/search.js';
import type { FoundModel } from '../../src/results.js';

const model: FoundModel = {
  reference: 'hf:org/name',
  hub: 'hf',
  id: 'org/name',
  task: 'text-generation',
  library: 'transformers',
  license: 'apache-2.0',
  precisions: ['bf16', 'fp32'],
  scale: 'n',
  parameters: 1_000,
  bytes: 2_048,
  downloads: 1_500,
  likes: 7,
  updatedAt: '2026-01-02T03:04:05.000Z',
  gated: true,
  private: true,
  page: null,
};

describe('the table of what was found', () => {
  it('has a column for what is known of any, and none for the rest', () => {
    const unknown = { task: null, library: null, license: null, scale: null, bytes: null, downloads: null };
    const bare = {
      ...model,
      ...unknown,
      precisions: [],
      likes: null,
      updatedAt: null,
      gated: null,
      private: false,
    };
    expect(table([])).toEqual([]);
    expect(table([bare])).toEqual(['REFERENCE', 'hf:org/name']);
    expect(table([bare, { ...bare, scale: 'x', gated: true }])).toEqual([
      'REFERENCE    SIZE  ACCESS',
      'hf:org/name     -  -',
      'hf:org/name     x  gated',
    ]);
    expect(table([model])).toEqual([
      'REFERENCE    TASK             LIBRARY       PRECISION     SIZE  DOWNLOADS  LIKES  UPDATED     LICENCE     ACCESS',
      'hf:org/name  text-generation  transformers  bf16 fp32  2.0 KiB       1.5K      7  2026-01-02  apache-2.0  private',
    ]);
  });

  it.each([
    [80, ['REFERENCE', 'TASK', 'PRECISION', 'SIZE', 'DOWNLOADS', 'LICENCE', 'ACCESS']],
    [79, ['REFERENCE', 'TASK', 'SIZE', 'DOWNLOADS', 'LICENCE', 'ACCESS']],
    [30, ['REFERENCE', 'TASK']],
    [5, ['REFERENCE']],
  ])('leaves out what helps least on a terminal of %i columns', (width, titles) => {
    const [header = '', ...rows] = table([model], width);
    expect(header.split(/ +/)).toEqual(titles);
    if (width > 11)
      expect(Math.max(...[header, ...rows].map(({ length }) => length))).toBeLessThanOrEqual(width);
    expect(rows[0]).toContain('hf:org/name');
  });
});

import { describe, expect, it } from 'vitest';
import { usageLines } from '../../src/cli/bars.js';

const MiB = 1024 ** 2;
const MODELS = [
  { reference: 'hf:org/large@0123456789ab', ownBytes: 60 * MiB, sharedBytes: 20 * MiB },
  { reference: 'hf:org/small', ownBytes: 1, sharedBytes: 0 },
];

describe('bars of space', () => {
  it('are as long as the largest model, shared bytes apart, and never longer than the line', () => {
    expect(usageLines(MODELS, 80)).toEqual([
      'REFERENCE                                                         OWN     SHARED',
      'hf:org/large@0123456789ab  #######################--------   60.0 MiB   20.0 MiB',
      'hf:org/small               #                                      1 B',
    ]);
  });

  it.each([20, 30, 40, 60, 100])('fit %i columns', (columns) => {
    const lines = usageLines(MODELS, columns).filter((line) => !line.startsWith('hf:'));
    // Sizes alone take that much; narrower, the bar goes.
    const most = Math.max(columns, 24);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(most);
  });

  it('of nothing are nothing', () => {
    expect(usageLines([{ reference: 'a', ownBytes: 0, sharedBytes: 0 }], 60)[1]).not.toMatch(/[#-]/);
  });
});

it('shows what others have as well, however little it is', () => {
  const [, line = ''] = usageLines([{ reference: 'a', ownBytes: 10_000_000, sharedBytes: 1 }], 60);
  expect(line).toMatch(/#- {2}/);
});

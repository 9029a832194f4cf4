import { describe, expect, it } from 'vitest';
import { parseSettings } from '../../src/cli/commands/convert.js';

describe('parseSettings', () => {
  it('reads keys and values, a bare key as true', () => {
    expect(parseSettings(['sym', 'ratio=0.5', 'model-kwargs={"a":"b=c"}', 'empty='])).toEqual({
      sym: 'true',
      ratio: '0.5',
      'model-kwargs': '{"a":"b=c"}',
      empty: '',
    });
  });

  it('keeps names that every object has, so that they are refused as unknown', () => {
    const settings = parseSettings(['constructor=1', '__proto__=2']);
    expect(Object.entries(settings)).toEqual([
      ['constructor', '1'],
      ['__proto__', '2'],
    ]);
  });

  it.each([
    [['=1'], 'Expected KEY=VALUE for --set, got =1'],
    [['sym', 'sym=false'], '--set sym is given twice'],
  ])('refuses %j', (pairs, message) => {
    expect(() => parseSettings(pairs)).toThrow(message);
  });
});

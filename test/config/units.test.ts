import { describe, expect, it } from 'vitest';
import { parseDuration, parseRate, parseSize } from '../../src/config/units.js';

describe('parseSize', () => {
  it.each([
    ['512', 512],
    ['20M', 20 * 1024 ** 2],
    ['20 m', 20 * 1024 ** 2],
    ['1.5GiB', 1.5 * 1024 ** 3],
    ['10kB', 10 * 1024],
    ['2t', 2 * 1024 ** 4],
    ['3B', 3],
    [' 1k ', 1024],
    ['0.5', 0],
  ])('%j is %d bytes', (text, bytes) => {
    expect(parseSize(text, '--max-size')).toBe(bytes);
  });

  it.each(['', 'M', '-1', '1e9', '20X', '1,5G', 'twenty', '1 2'])('%j is refused by name', (text) => {
    expect(() => parseSize(text, '--max-size')).toThrow(`Expected a size for --max-size, got ${text}`);
  });
});

describe('parseRate', () => {
  it.each(['0', '0M', '0.5'])('%j is refused, since zero is not no limit', (text) => {
    expect(() => parseRate(text, '--limit-rate')).toThrow(
      `Expected at least one byte per second for --limit-rate, got ${text}`,
    );
  });

  it('is a size otherwise', () => {
    expect(parseRate('1.5k', 'limitRate')).toBe(1536);
    expect(() => parseRate('fast', 'limitRate')).toThrow('Expected a size for limitRate, got fast');
  });
});

describe('parseDuration', () => {
  it.each([
    ['20', 20_000],
    ['250ms', 250],
    ['5s', 5000],
    ['1.5m', 90_000],
    ['2H', 7_200_000],
    ['30d', 30 * 86_400_000],
    ['1w', 7 * 86_400_000],
    [' 10 m ', 600_000],
  ])('%j is %d ms', (text, milliseconds) => {
    expect(parseDuration(text, 'maxWait')).toBe(milliseconds);
  });

  it.each(['', 'm', '-5s', '1y', '5 minutes', '1h30m'])('%j is refused by name', (text) => {
    expect(() => parseDuration(text, 'maxWait')).toThrow(`Expected a duration for maxWait, got ${text}`);
  });
});

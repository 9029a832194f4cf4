import { describe, expect, it } from 'vitest';
import {
  clipEnd,
  clipMiddle,
  clipReference,
  displayWidth,
  oneLine,
} from '../../../src/cli/interactive/fit.js';

describe('displayWidth', () => {
  it.each([
    ['', 0],
    ['model', 5],
    ['\u001b[36mmodel\u001b[39m', 5],
    ['模型', 4],
    ['e\u0301', 1],
    ['👩‍🔬 x', 4],
  ])('of %j is %i', (line, width) => {
    expect(displayWidth(line)).toBe(width);
  });
});

describe('clipEnd', () => {
  it.each([
    ['model', 5, 'model'],
    ['model', 3, 'mod'],
    ['model', 0, ''],
    ['\u001b[36mmodel\u001b[39m\u001b[?25l', 2, '\u001b[36mmo\u001b[39m\u001b[?25l'],
    ['a\u001b[1mb\u001b[22mc', 2, 'a\u001b[1mb\u001b[22m'],
    ['模型x', 3, '模'],
  ])('of %j at %i columns is %j', (line, columns, clipped) => {
    expect(clipEnd(line, columns)).toBe(clipped);
  });
});

describe('clipMiddle', () => {
  it.each([
    ['org/name', 8, 'org/name'],
    ['organisation/name-Q4_K_M', 11, 'organ…4_K_M'],
    ['organisation/name', 1, '…'],
    ['模型模型模型', 7, '模…型'],
  ])('of %j at %i columns is %j', (name, columns, clipped) => {
    expect(clipMiddle(name, columns)).toBe(clipped);
    expect(displayWidth(clipped)).toBeLessThanOrEqual(columns);
  });
});

describe('clipReference', () => {
  const pinned = `hf:org/name@${'0123456789'.repeat(4)}`;
  it.each([
    [60, pinned],
    [30, 'hf:org/name@01234567…'],
    [15, 'hf:org/…234567…'],
  ])('at %i columns is %s', (columns, clipped) => {
    expect(clipReference(pinned, columns)).toBe(clipped);
  });

  it('keeps what stands behind the revision', () => {
    expect(clipReference(`${pinned}+int8-cpu`, 40)).toBe('hf:org/name@01234567…+int8-cpu');
  });
});

describe('oneLine', () => {
  it('is one line, in its order, without a character that moves the cursor', () => {
    expect(oneLine(' a\n b\t\u202ec\u001b]0;d\u0007 ')).toBe('a b c\\x1b]0;d\\x07');
  });
});

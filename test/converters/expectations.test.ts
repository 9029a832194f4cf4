import { describe, expect, it } from 'vitest';
import { judgeCheck } from '../../converters/expectations.js';
import type { CheckedOutput, CheckReport, Precision } from '../../src/converter.js';

function reportOf(output: Partial<CheckedOutput>, more: Partial<CheckReport> = {}): CheckReport {
  const full = { name: 'scores', shape: [1, 2], type: 'float32', finite: true, magnitude: 1, ...output };
  return { passed: true, compared: true, outputs: [full], warnings: [], ...more };
}

describe('judgeCheck', () => {
  it.each<[Precision, string, number, number, number, 'fine' | 'warning' | 'failed']>([
    ['fp32', 'rounding', 0.9999999, 2e-6, 1, 'fine'],
    ['fp32', 'rounding of an output of next to nothing', 0.955, 4.8e-8, 3e-7, 'fine'],
    ['fp32', 'rounding of large values', 0.9999999, 0.05, 900, 'fine'],
    ['fp32', 'more than rounding', 0.999, 0.005, 1, 'warning'],
    ['fp32', 'another model', 0.2, 0.5, 1, 'failed'],
    ['fp32', 'an output turned round', -1, 2, 1, 'failed'],
    ['fp16', 'what half precision loses', 0.99998, 0.004, 0.5, 'fine'],
    ['fp16', 'noise of a detector', 0.9976, 3e-7, 1e-5, 'fine'],
    ['fp16', 'magika on random bytes', 0.99987, 0.006, 0.37, 'warning'],
    ['fp16', 'another model', 0.5, 0.4, 1, 'failed'],
    ['int8', 'a text recogniser', 0.99187, 0.155, 0.88, 'fine'],
    ['int8', 'a text detector on noise', 0.974, 0.123, 0.48, 'warning'],
    ['int8', 'a text detector that saw next to nothing', 0.776, 0.018, 0.017, 'warning'],
    ['int8', 'another model', 0.1, 0.6, 1, 'failed'],
    ['int4', 'a classifier', 0.93, 0.16, 0.37, 'fine'],
    ['int4', 'a sentence encoder gone soft', 0.833, 0.46, 1, 'warning'],
    ['int4', 'whatever it is', 0.1, 1, 1, 'warning'],
  ])(
    '%s, %s: cosine %d, difference %d of %d: %s',
    (precision, _, cosine, maxDifference, magnitude, verdict) => {
      const judged = judgeCheck(precision, reportOf({ cosine, maxDifference, magnitude }));
      expect(judged.passed).toBe(verdict !== 'failed');
      expect(judged.warnings).toHaveLength(verdict === 'warning' ? 1 : 0);
      if (verdict === 'failed') expect(judged.reason).toContain('output scores has cosine');
    },
  );

  it('says what was seen and what is expected', () => {
    const judged = judgeCheck('fp16', reportOf({ cosine: 0.999873, maxDifference: 0.006075 }));
    expect(judged.warnings).toEqual([
      'output scores has cosine 0.999873 and largest difference 0.006075; expected of fp16 is a cosine of at least 0.9999; the inputs were random, so try it on real ones, or convert with `--precision fp32`',
    ]);
  });

  it('speaks of the data where they calibrated the result, and not of random inputs', () => {
    const judged = judgeCheck('calibrated int8', reportOf({ cosine: 0.83, maxDifference: 1 }));
    expect(judged.warnings).toEqual([expect.stringContaining('typical calibration data')]);
    expect(judged.warnings.join()).not.toContain('random');
  });

  it('finds the wrong output among right ones', () => {
    const right = { name: 'boxes', shape: [4], type: 'float32', finite: true, cosine: 1, maxDifference: 0 };
    const wrong = { ...right, name: 'scores', cosine: 0, maxDifference: 1, magnitude: 1 };
    const report = { passed: true, compared: true, warnings: [], outputs: [right, wrong] };
    expect(judgeCheck('fp32', report)).toMatchObject({
      passed: false,
      reason: expect.stringContaining('output scores') as unknown,
    });
  });

  it('judges neither labels nor what was not compared, and keeps what failed before', () => {
    const far = { cosine: 0.1, maxDifference: 100 };
    expect(judgeCheck('fp32', reportOf({ ...far, type: 'int64' })).passed).toBe(true);
    expect(judgeCheck('fp32', reportOf(far, { compared: false })).warnings).toEqual([]);
    const failed = reportOf({ cosine: 1, maxDifference: 0 }, { passed: false, reason: 'not finite' });
    expect(judgeCheck('fp32', failed)).toEqual(failed);
  });
});

import { describe, expect, it } from 'vitest';
import { nncf, openvino } from '../converters/openvino.js';
import { conversionKey } from '../src/plan.js';
import type { ConversionPlan, ConversionRequest, LocalModel } from '../src/converter.js';

const ONNX = { path: 'model.onnx', bytes: 100, sha256: 'a'.repeat(64) };
const MODEL: LocalModel = {
  reference: 'hf:org/name@0123',
  hub: 'hf',
  id: 'org/name',
  name: 'org/name',
  root: '/models/name',
  files: [ONNX, { path: 'README.md', bytes: 9, sha256: 'b'.repeat(64) }],
  metadata: { task: 'image-classification' },
  text: () => Promise.resolve(undefined),
};
const REQUEST: ConversionRequest = {
  precision: 'int4',
  device: 'CPU',
  settings: { 'group-size': '64', sym: 'true' },
  offline: false,
  trustRemoteCode: false,
  trustPickle: false,
};
const LOCK = 'c'.repeat(64);

async function planOf(model: LocalModel, request: ConversionRequest): Promise<ConversionPlan> {
  const converter = ['fp32', 'fp16'].includes(request.precision) ? openvino : nncf;
  const plan = await converter.plan(model, request);
  if ('refused' in plan) throw new Error(plan.refused);
  return plan;
}

async function keyOf(
  model: Partial<LocalModel> = {},
  request: Partial<ConversionRequest> = {},
  lock = LOCK,
  plan: Partial<ConversionPlan> = {},
): Promise<string> {
  const whole = { ...MODEL, ...model };
  return conversionKey(whole, { ...(await planOf(whole, { ...REQUEST, ...request })), ...plan }, lock);
}

describe('the key of a conversion', () => {
  it.each<[string, () => Promise<string>]>([
    ['where the model lies', () => keyOf({ root: '/elsewhere' })],
    ['what it is called', () => keyOf({ reference: 'npm:other@1', hub: 'npm', id: 'other' })],
    ['its metadata', () => keyOf({ metadata: {} })],
    ['files that are not read', () => keyOf({ files: [ONNX] })],
    ['the order of files', () => keyOf({ files: [...MODEL.files].reverse() })],
    ['the order of settings', () => keyOf({}, { settings: { sym: 'true', 'group-size': '64' } })],
    ['how a value is written', () => keyOf({}, { settings: { sym: 'true', 'group-size': '64.0' } })],
    [
      'a default that is given',
      () => keyOf({}, { settings: { ...REQUEST.settings, 'group-size-fallback': 'adjust' } }),
    ],
    [
      'what people are told',
      () =>
        keyOf({}, {}, LOCK, {
          steps: [],
          adjustments: ['x'],
          estimate: { diskBytes: 1, resultBytes: 1, memoryBytes: 1 },
        }),
    ],
    ['consent to what was not needed', () => keyOf({}, { trustRemoteCode: true })],
  ])('does not depend on %s', async (_what, other) => {
    expect(await other()).toBe(await keyOf());
  });

  it.each<[string, () => Promise<string>]>([
    ['the bytes', () => keyOf({ files: [{ ...ONNX, sha256: 'd'.repeat(64) }] })],
    ['the name of a file, which the result has', () => keyOf({ files: [{ ...ONNX, path: 'other.onnx' }] })],
    [
      'weights beside it',
      () => keyOf({ files: [ONNX, { path: 'model.onnx_data', bytes: 1, sha256: 'e'.repeat(64) }] }),
    ],
    ['the precision', () => keyOf({}, { precision: 'int8', settings: { sym: 'true' } })],
    ['the device', () => keyOf({}, { device: 'GPU' })],
    ['the task', () => keyOf({}, { task: 'object-detection' })],
    ['a setting', () => keyOf({}, { settings: { ...REQUEST.settings, 'group-size': '128' } })],
    ['a setting more', () => keyOf({}, { settings: { ...REQUEST.settings, ratio: '0.8' } })],
    ['the lock of the toolchain', () => keyOf({}, {}, 'f'.repeat(64))],
    ['the worker', () => keyOf({}, {}, LOCK, { settings: { worker: 'another' } })],
  ])('depends on %s', async (_what, other) => {
    expect(await other()).not.toBe(await keyOf());
  });

  it('depends on the code of the worker, which the plan of every precision holds', async () => {
    for (const precision of ['fp32', 'fp16', 'int8', 'int4'] as const) {
      const plan = await planOf(MODEL, { ...REQUEST, precision, settings: {} });
      expect(plan.settings['worker']).toMatch(/^[0-9a-f]{64}$/);
    }
  });
});

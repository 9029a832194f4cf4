import { describe, expect, it } from 'vitest';
import { COMPRESSION_SETTINGS, compressionOf } from '../../converters/compression.js';
import { openvino } from '../../converters/openvino.js';
import { refuseUnknownSettings } from '../../converters/settings.js';
import { judge } from '../../converters/rules.js';
import { ModeldlError } from '../../src/errors.js';
import { conversionRequest, plannedModel } from '../helpers/planned-model.js';

describe('compressionOf', () => {
  it.each([
    ['fp16', {}, undefined],
    ['int8', {}, { mode: 'INT8_ASYM' }],
    ['int8', { sym: 'true' }, { mode: 'INT8_SYM' }],
    ['int4', {}, { mode: 'INT4_ASYM', group_size_fallback: 'ADJUST' }],
    [
      'int4',
      { sym: 'true', ratio: '0.8', 'group-size': '-1', 'backup-precision': 'int8_sym' },
      {
        mode: 'INT4_SYM',
        ratio: 0.8,
        group_size: -1,
        group_size_fallback: 'ADJUST',
        backup_mode: 'INT8_SYM',
      },
    ],
    ['nf4', {}, { mode: 'NF4', group_size_fallback: 'ADJUST' }],
    ['mxfp4', {}, { mode: 'MXFP4', group_size_fallback: 'IGNORE', backup_mode: 'INT8_ASYM' }],
    [
      'mxfp4',
      { 'group-size': '32', 'group-size-fallback': 'error', 'backup-precision': 'none' },
      { mode: 'MXFP4', group_size: 32, group_size_fallback: 'ERROR', backup_mode: 'NONE' },
    ],
  ] as const)('%s with %o', (precision, settings, expected) => {
    expect(compressionOf({ precision, settings })).toEqual(expected);
  });

  it.each([
    ['int4', { ratio: '2' }],
    ['int4', { ratio: '' }],
    ['int4', { 'group-size': '0' }],
    ['int4', { sym: 'maybe' }],
    ['int8', { ratio: '0.5' }],
    ['nf4', { sym: 'false' }],
    ['mxfp4', { 'group-size': '64' }],
    ['mxfp4', { 'group-size-fallback': 'adjust' }],
  ] as const)('%s refuses %o', (precision, settings) => {
    expect(() => compressionOf({ precision, settings })).toThrow(ModeldlError);
  });

  it('names the nearest setting', () => {
    expect(() => {
      refuseUnknownSettings('nncf', COMPRESSION_SETTINGS, { groupsize: '64' });
    }).toThrow(
      expect.objectContaining({
        hint: 'the nearest is `--set group-size=…`; `modeldl converters nncf` says what they mean',
      }),
    );
  });

  it.each(['toString', 'constructor'])('takes %s, which every object has, for unknown', async (key) => {
    const request = conversionRequest({ precision: 'fp16', settings: { [key]: 'true' } });
    const planning = openvino.plan(plannedModel({ 'a.onnx': 1 }), request);
    await expect(planning).rejects.toThrow(`\`openvino\` has no setting ${key}`);
  });
});

describe('judge', () => {
  it.each([
    ['int8', 'NPU', true],
    ['int4', 'NPU', false],
    ['int4', 'HETERO:GPU,NPU', false],
    ['int4', 'HETERO:GPU.1,CPU', true],
  ] as const)('%s on %s: %s', (precision, device, allowed) => {
    expect(judge(precision, device).allowed).toBe(allowed);
  });
});

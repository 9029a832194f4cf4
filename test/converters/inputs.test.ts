import { describe, expect, it } from 'vitest';
import { inputsOf, leavesOpen, outputsOf } from '../../converters/inputs.js';
import { imageSettingsOf, quantizationOf } from '../../converters/quantization.js';
import { ModeldlError } from '../../src/errors.js';

describe('inputsOf', () => {
  it.each([
    [{}, undefined],
    [{ 'reverse-input-channels': 'false' }, undefined],
    [{ 'input-shape': '[1,3,640,640]' }, { shapes: [{ shape: '[1,3,640,640]' }] }],
    [{ 'input-shape': '1, 3, -1, ?' }, { shapes: [{ shape: '[1,3,?,?]' }] }],
    [
      { 'input-shape': 'images[1,3,..640,1..8], mask.1:0[]' },
      {
        shapes: [
          { name: 'images', shape: '[1,3,..640,1..8]' },
          { name: 'mask.1:0', shape: '[]' },
        ],
      },
    ],
    [{ 'input-shape': '[1,2],[3]' }, { shapes: [{ shape: '[1,2]' }, { shape: '[3]' }] }],
    [{ layout: 'NCHW->nhwc' }, { layouts: [{ layout: 'nchw', tensor: 'nhwc' }] }],
    [{ layout: 'ntc->nct' }, { layouts: [{ layout: 'ntc', tensor: 'nct' }] }],
    [{ layout: 'a[nchw]' }, { layouts: [{ name: 'a', layout: 'nchw' }] }],
    [{ 'input-type': 'u8' }, { types: [{ type: 'u8' }] }],
    [
      { mean: '0.5', scale: 'a[58.4,57.1]' },
      { mean: [{ values: [0.5] }], scale: [{ name: 'a', values: [58.4, 57.1] }] },
    ],
    [{ 'reverse-input-channels': 'true' }, { reverse_channels: true }],
  ] as const)('of %o is %o', (settings, expected) => {
    expect(inputsOf(settings)).toEqual(expected);
  });

  it.each([
    { 'input-shape': '' },
    { 'input-shape': '[1,0]' },
    { 'input-shape': '[1,3' },
    { 'input-shape': '[1],' },
    { 'input-shape': '[8..1]' },
    { 'input-shape': '[..]' },
    { 'input-shape': '[1.5]' },
    { 'input-shape': 'a[1],[2]' },
    { 'input-shape': 'a[1],a[2]' },
    { layout: 'nchw->nhw' },
    { layout: 'ncch' },
    { layout: 'nchx' },
    { layout: 'images[nchw],mask[nxw]' },
    { 'input-type': 'int8' },
    { mean: '1,,2' },
    { scale: '[1,0]' },
    { 'reverse-input-channels': 'yes' },
  ])('refuses %o', (settings) => {
    expect(() => inputsOf(settings)).toThrow(ModeldlError);
  });

  it.each([
    ['[1,3,640,640]', false],
    ['[1,3,?,640]', true],
    ['[1,3,1..8,640]', true],
  ])('%s leaves dimensions open: %s', (shape, open) => {
    expect(leavesOpen(inputsOf({ 'input-shape': shape }) ?? {})).toBe(open);
  });
});

describe('outputsOf', () => {
  it('takes different names', () => {
    expect(outputsOf({})).toBeUndefined();
    expect(outputsOf({ output: 'scores, boxes:0' })).toEqual(['scores', 'boxes:0']);
    for (const output of ['', 'a,', 'a,a']) expect(() => outputsOf({ output })).toThrow(ModeldlError);
  });
});

describe('quantizationOf', () => {
  it.each([
    ['CPU', {}, { target_device: 'CPU', subset_size: 300 }],
    ['GPU.1', {}, { target_device: 'GPU', subset_size: 300 }],
    ['AUTO', {}, { target_device: 'ANY', subset_size: 300 }],
    ['HETERO:GPU,CPU', { 'subset-size': '10' }, { target_device: 'ANY', subset_size: 10 }],
    [
      'NPU',
      {
        preset: 'mixed',
        'model-type': 'transformer',
        'fast-bias-correction': 'false',
        'overflow-fix': 'disable',
        'smooth-quant-alpha': '-1',
        'ignored-types': 'Add, MatMul',
        'ignored-patterns': '^head',
      },
      {
        target_device: 'NPU',
        subset_size: 300,
        preset: 'mixed',
        model_type: 'transformer',
        fast_bias_correction: false,
        overflow_fix: 'disable',
        smooth_quant_alpha: -1,
        ignored: { types: ['Add', 'MatMul'], patterns: ['^head'] },
      },
    ],
  ])('on %s with %o', (device, settings, expected) => {
    expect(quantizationOf({ device, settings })).toEqual(expected);
  });

  it.each([
    { preset: 'fast' },
    { 'subset-size': '0' },
    { 'subset-size': '1.5' },
    { 'model-type': 'llm' },
    { 'smooth-quant-alpha': '2' },
    { 'ignored-names': 'a,,b' },
  ])('refuses %o', (settings) => {
    expect(() => quantizationOf({ device: 'CPU', settings })).toThrow(ModeldlError);
  });
});

describe('imageSettingsOf', () => {
  it('reads what images go through', () => {
    const settings = {
      'image-size': '480x640',
      'image-resize': 'letterbox',
      'image-pad': '114',
      'image-color': 'bgr',
      'image-range': '0..1',
      'image-mean': '[0.485,0.456,0.406]',
      'image-scale': '0.225',
      'image-layout': 'nhwc',
    };
    expect(imageSettingsOf(settings)).toEqual({
      size: [480, 640],
      resize: 'letterbox',
      pad: 114,
      color: 'bgr',
      range: '0..1',
      mean: [0.485, 0.456, 0.406],
      scale: [0.225],
      layout: 'nhwc',
    });
    expect(imageSettingsOf({ 'image-size': '320' })).toEqual({ size: [320, 320] });
  });

  it.each([
    { 'image-size': '0x3' },
    { 'image-size': '640*640' },
    { 'image-resize': 'pad' },
    { 'image-pad': '256' },
    { 'image-scale': '0' },
    { 'image-mean': 'imagenet' },
    { 'image-layout': 'cnhw' },
  ])('refuses %o', (settings) => {
    expect(() => imageSettingsOf(settings)).toThrow(ModeldlError);
  });
});

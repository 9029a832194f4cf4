import { describe, expect, it } from 'vitest';
import {
  isFetched,
  OPTIMUM_SETTINGS,
  readSettings,
  refuseUnfit,
} from '../../../converters/optimum/settings.js';
import { ModeldlError } from '../../../src/errors.js';
import type { Precision } from '../../../src/converter.js';

describe('readSettings', () => {
  it.each<[Precision, Record<string, string>, readonly string[]]>([
    ['fp32', {}, ['--weight-format', 'fp32']],
    ['int8', { sym: 'true' }, ['--weight-format', 'int8', '--sym']],
    [
      'int4',
      { ratio: '0.8', 'group-size': '64' },
      ['--weight-format', 'int4', '--ratio=0.8', '--group-size=64'],
    ],
    ['int4', { 'group-size': '-1' }, ['--weight-format', 'int4', '--group-size=-1']],
    [
      'int4',
      { 'group-size-fallback': 'adjust' },
      ['--weight-format', 'int4', '--group-size-fallback=adjust'],
    ],
    ['int4', { 'backup-precision': 'int8_sym' }, ['--weight-format', 'int4', '--backup-precision=int8_sym']],
    ['int4', { awq: 'true', 'all-layers': 'true' }, ['--weight-format', 'int4', '--all-layers', '--awq']],
    [
      'int4',
      { 'scale-estimation': 'true', dataset: 'wikitext2:seq_len=64', 'num-samples': '8' },
      ['--weight-format', 'int4', '--scale-estimation', '--dataset=wikitext2:seq_len=64', '--num-samples=8'],
    ],
    ['nf4', {}, ['--weight-format', 'nf4']],
    ['int8', { 'quant-mode': 'f8e4m3', dataset: 'auto' }, ['--quant-mode', 'f8e4m3', '--dataset=auto']],
    [
      'int4',
      { 'quant-mode': 'int4_f8e5m2', dataset: 'c4', 'smooth-quant-alpha': '0.5' },
      ['--quant-mode', 'int4_f8e5m2', '--dataset=c4', '--smooth-quant-alpha=0.5'],
    ],
    [
      'fp16',
      { 'disable-stateful': 'true', variant: 'fp16' },
      ['--weight-format', 'fp16', '--disable-stateful', '--variant=fp16'],
    ],
    [
      'fp32',
      { 'model-kwargs': '{"vocoder": "org/v"}' },
      ['--weight-format', 'fp32', '--model-kwargs={"vocoder": "org/v"}'],
    ],
    ['fp32', { library: 'sentence_transformers' }, ['--weight-format', 'fp32']],
  ])('of %s with %j are %j', (precision, settings, expected) => {
    expect(readSettings({ precision, settings }).arguments).toEqual(expected);
  });

  it('keep a false that was given, which the command line has no word for', () => {
    const {
      arguments: list,
      given,
      takesDefault,
    } = readSettings({ precision: 'int4', settings: { sym: 'false' } });
    expect(list).toEqual(['--weight-format', 'int4']);
    expect(given).toEqual({ sym: false });
    expect(takesDefault).toBe(false);
  });

  it('leave a model its own configuration as long as nothing of compression is given', () => {
    const takesDefault = (settings: Record<string, string>): boolean =>
      readSettings({ precision: 'int4', settings }).takesDefault;
    expect(takesDefault({})).toBe(true);
    expect(takesDefault({ 'disable-stateful': 'true' })).toBe(true);
    expect(takesDefault({ ratio: '1' })).toBe(false);
  });

  it.each<[Precision, Record<string, string>, RegExp]>([
    ['int4', { grup: '1' }, /no setting grup/],
    ['int4', { ratio: '1.5' }, /number from 0 to 1/],
    ['int4', { 'group-size': '0' }, /whole number above 0/],
    ['int4', { 'num-samples': 'all' }, /whole number/],
    ['int4', { sym: 'yes' }, /true or false/],
    ['int4', { dataset: 'mine' }, /wikitext2/],
    ['int4', { dataset: 'wikitext2:length=3' }, /wikitext2/],
    ['int8', { 'quant-mode': 'int2' }, /f8e4m3/],
    ['int4', { 'quantization-statistics-path': 'here' }, /absolute path/],
    ['fp32', { 'model-kwargs': '[1]' }, /JSON object/],
    ['fp32', { library: 'keras' }, /diffusers/],
    ['fp16', { ratio: '0.8' }, /no meaning with fp16/],
    ['int8', { ratio: '0.8' }, /no meaning with int8/],
    ['int8', { awq: 'true' }, /no meaning with int8/],
    ['int8', { 'backup-precision': 'none' }, /no meaning with int8/],
    ['int4', { gptq: 'true' }, /gptq` works on data/],
    ['int4', { 'scale-estimation': 'true' }, /works on data/],
    ['int4', { gptq: 'true', 'lora-correction': 'true', dataset: 'auto' }, /exclude each other/],
    ['mxfp4', { awq: 'true' }, /no meaning with mxfp4/],
    ['mxfp4', { 'group-size': '64' }, /32 for mxfp4/],
    ['mxfp4', { 'group-size-fallback': 'adjust' }, /error or ignore for mxfp4/],
    ['int4', { 'quant-mode': 'int8', dataset: 'auto' }, /makes int8 weights/],
    ['int8', { 'smooth-quant-alpha': '0.5' }, /quantized activations/],
  ])('refuse %s with %j', (precision, settings, message) => {
    expect(() => readSettings({ precision, settings })).toThrow(message);
    expect(() => readSettings({ precision, settings })).toThrow(ModeldlError);
  });

  it('take a value for every setting that is listed', () => {
    const examples: Record<string, string> = {
      'group-size-fallback': 'adjust',
      'backup-precision': 'none',
      'sensitivity-metric': 'weight_quantization_error',
      dataset: 'auto',
      'quant-mode': 'int4_f8e4m3',
      'model-kwargs': '{}',
      library: 'timm',
      variant: 'fp16',
      'quantization-statistics-path': '/statistics',
      'disable-stateful': 'true',
      sym: 'true',
      'all-layers': 'true',
      awq: 'true',
      'scale-estimation': 'true',
      gptq: 'true',
      'lora-correction': 'true',
    };
    for (const name of Object.keys(OPTIMUM_SETTINGS)) {
      const data = ['scale-estimation', 'gptq', 'lora-correction', 'quant-mode'].includes(name)
        ? { dataset: 'auto' }
        : {};
      const mode = name === 'smooth-quant-alpha' ? { 'quant-mode': 'int4_f8e4m3' } : {};
      const settings = { ...data, ...mode, [name]: examples[name] ?? '1' };
      expect(() => readSettings({ precision: 'int4', settings }), name).not.toThrow();
    }
  });
});

describe('refuseUnfit', () => {
  it.each(['dataset', 'awq', 'gptq', 'quant-mode', 'disable-stateful', 'pad-token-id'])(
    'refuses %s for images of timm, and says how to use data',
    (name) => {
      const refuse = (): void => {
        refuseUnfit('timm', { [name]: 'auto' });
      };
      expect(refuse).toThrow(`\`--set ${name}\` has no meaning for models of timm`);
    },
  );

  it('lets through what shapes the weights, and everything elsewhere', () => {
    expect(() => {
      refuseUnfit('timm', { ratio: '0.8', 'group-size': '64', sym: 'true', 'backup-precision': 'none' });
      refuseUnfit('transformers', { dataset: 'auto', awq: 'true' });
    }).not.toThrow();
  });
});

describe('isFetched', () => {
  it.each([
    [undefined, false],
    ['auto', false],
    ['auto:seq_len=32', false],
    ['wikitext2', true],
  ])('of %s is %s', (dataset, fetched) => {
    expect(isFetched(dataset)).toBe(fetched);
  });
});

/** Which reason is told when no converter takes a model, and which converters are asked. */
import { describe, expect, it } from 'vitest';
import { chooseConverter, mostHelpful } from '../src/choose-converter.js';
import type { Context } from '../src/context.js';
import { converters } from '../converters/index.js';
import { conversionRequest, plannedModel, type PlannedFiles } from './helpers/planned-model.js';

describe('mostHelpful', () => {
  const foreign = { refused: 'it holds no x', handlesModel: false };

  it('is the reason of the first converter that handles such models', () => {
    const first = { refused: 'no int4 on it', hint: 'use int8', handlesModel: true };
    const second = { refused: 'it holds 2 models', handlesModel: true };
    expect(mostHelpful([foreign, first, second])).toEqual(first);
  });

  it('is what each lacks, once, where none does', () => {
    const other = { refused: 'it holds no y', hint: 'name the file', handlesModel: false };
    expect(mostHelpful([foreign, other, foreign])).toEqual({
      refused: 'it holds no x; it holds no y',
      hint: 'name the file',
    });
  });
});

describe('chooseConverter', () => {
  // What choosing needs of it.
  const context = { converters } as unknown as Context;
  const choose = (
    files: PlannedFiles,
    options: { readonly converter?: string; readonly toolchain?: string; readonly precision?: 'fp16' } = {},
  ): ReturnType<typeof chooseConverter> => {
    const { toolchain, precision, converter } = options;
    const request = conversionRequest({
      ...(toolchain === undefined ? {} : { toolchain }),
      ...(precision === undefined ? {} : { precision }),
    });
    return chooseConverter(
      context,
      plannedModel(files),
      request,
      converter === undefined ? {} : { converter },
    );
  };

  it.each<readonly [string, PlannedFiles, RegExp, RegExp]>([
    [
      'nothing that anybody takes',
      { 'README.md': 3 },
      /no config\.json .*; it holds no \.pt .*; it holds no ONNX.* or OpenVINO file$/,
      /`modeldl converters` lists/,
    ],
    [
      'a .pt of something else',
      { 'weights.pt': 3, 'other.ckpt': 3 },
      /nothing tells that its \.pt is a YOLO model/,
      /name the file itself/,
    ],
    ['GGUF', { 'a-Q4_K_M.gguf': 3 }, /its weights are GGUF/, /the model that it was made of/],
    ['two ONNX models', { 'a.onnx': 3, 'b.onnx': 3 }, /it holds 2 models: a\.onnx, b\.onnx$/, /name one/],
    [
      'an architecture that nobody exports',
      {
        'config.json': { model_type: 'nonsense', architectures: ['NonsenseForCausalLM'] },
        'model.safetensors': 3,
      },
      /no optimum-intel exports models of type nonsense|not exported/,
      /./,
    ],
  ])('says of %s what helps most', async (_what, files, message, hint) => {
    await expect(choose(files)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringMatching(message) as unknown,
      hint: expect.stringMatching(hint) as unknown,
    });
  });

  it('says of a converter that is named only what that lacks', async () => {
    await expect(choose({ 'a.onnx': 3 }, { converter: 'openvino' })).rejects.toMatchObject({
      message: 'Cannot convert hf:org/tiny@0123: `openvino` does not make int8',
    });
  });

  it('asks only those that run in the toolchain that is named', async () => {
    await expect(choose({ 'a.onnx': 3 }, { toolchain: 'ultralytics' })).rejects.toMatchObject({
      message: 'Cannot convert hf:org/tiny@0123: it holds no .pt of a YOLO model',
    });
    const { converter } = await choose({ 'a.onnx': 3 }, { toolchain: 'openvino', precision: 'fp16' });
    expect(converter.name).toBe('openvino');
  });

  it.each([
    [{ converter: 'torch' }, 'Unknown converter: torch', /^known converters: optimum, /],
    [
      { converter: 'openvino', toolchain: 'optimum-5.0' },
      'The converter `openvino` does not run in the toolchain `optimum-5.0`',
      /^it runs in openvino$/,
    ],
  ])('refuses %j as a usage error', async (options, message, hint) => {
    await expect(choose({ 'a.onnx': 3 }, options)).rejects.toMatchObject({
      code: 'USAGE',
      message,
      hint: expect.stringMatching(hint) as unknown,
    });
  });
});

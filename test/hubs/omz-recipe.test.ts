import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readModel } from '../../hubs/omz/model-yml.js';
import { precisionsOf } from '../../hubs/omz/precisions.js';
import { recipeOf } from '../../hubs/omz/recipe.js';
import { requirePeer } from '../helpers/require.js';

const INPUT = { name: 'data', shape: [1, 3, 64, 64], layout: 'NCHW' };
const described = (args: readonly unknown[], more: Readonly<Record<string, unknown>> = {}): unknown => ({
  framework: 'onnx',
  input_info: [INPUT],
  model_optimizer_args: ['--input_model=$dl_dir/net/model.onnx', ...args],
  ...more,
});
const several = { input_info: [INPUT, { name: 'b', shape: [1, -1] }, { name: 'c', layout: 'NC' }] };

describe('a recipe', () => {
  it.each<[string, readonly string[], Readonly<Record<string, unknown>>, Readonly<Record<string, string>>]>([
    ['shapes and layouts of the only input', [], {}, {}],
    [
      'values by name and in order',
      ['--mean_values=data[1.5, 2,3]', '--scale_values=[4]', '--reverse_input_channels'],
      {},
      { mean: '[1.5,2,3]', scale: '[4]', 'reverse-input-channels': 'true' },
    ],
    ['outputs', ['--output=a/b:0,c'], {}, { output: 'a/b:0,c' }],
    [
      'inputs by their names where there are several',
      ['--scale=255', '--mean_values=c[1,2],data[3]'],
      several,
      {
        'input-shape': 'data[1,3,64,64],b[1,?]',
        layout: 'data[nchw],c[nc]',
        scale: 'data[255],b[255],c[255]',
        mean: 'data[3],c[1,2]',
      },
    ],
  ])('has %s', (_what, args, more, settings) => {
    expect(recipeOf('net', described(args, more))).toMatchObject({
      input: 'net/model.onnx',
      name: 'net',
      settings: { 'input-shape': '[1,3,64,64]', layout: '[nchw]', ...settings },
    });
  });

  it('begins at the inputs, and tells of the model what the tool would', () => {
    const info = { model_type: 'ssd', labels: ['a', 'b'], iou_threshold: 0.5, note: { of: 'others' } };
    expect(recipeOf('net', described([], { model_info: info }))).toMatchObject({
      begins: ['data'],
      modelInfo: { model_type: 'ssd', labels: ['a', 'b'], iou_threshold: 0.5 },
    });
    expect(recipeOf('net', described([], { model_info: info }))).not.toHaveProperty('modelInfo.note');
  });

  it('is none of a model that is IR', () => {
    expect(recipeOf('net', { framework: 'dldt' })).toBeUndefined();
  });

  it.each<[string, unknown, string]>([
    ['an argument that is not known', described(['--data_type=FP16']), '`--data_type`'],
    ['text that is no argument', described(['net.onnx']), '`net.onnx`'],
    ['a flag with a value', described(['--reverse_input_channels=3']), '`--reverse_input_channels`'],
    ['values of another input', described(['--mean_values=other[1]']), '--mean_values'],
    ['values that are none', described(['--mean_values=data[1;2]']), '--mean_values'],
    ['values twice', described(['--scale_values=data[1],data[2]']), '--scale_values'],
    ['more values than inputs', described(['--scale_values=[1],[2]']), '--scale_values'],
    ['a file elsewhere', described(['--input_model=$mo_dir/a.onnx']), '--input_model'],
    ['a file outside', described(['--input_model=$dl_dir/../a.onnx']), '--input_model'],
    ['a meta graph', described(['--input_meta_graph=$dl_dir/a.meta']), '`--input_meta_graph`'],
    ['no file', { ...Object(described([])), model_optimizer_args: ['--output=a'] }, 'names no file'],
    ['no arguments', { framework: 'onnx' }, '`model_optimizer_args`'],
    ['code of its own', described([], { framework: 'pytorch' }), "the model's own code"],
    ['arguments for code', described([], { conversion_to_onnx_args: ['--a'] }), "the model's own code"],
    ['an earlier framework', described([], { framework: 'caffe' }), 'ONNX of caffe'],
    ['a name with a bracket', described([], { input_info: [{ name: 'a[0]' }] }), 'input_info.0.name'],
    ['arguments that are no list', described([], { model_optimizer_args: 'a' }), 'model_optimizer_args'],
    ['labels that are no list', described([], { model_info: { labels: 'a' } }), 'labels'],
  ])('is refused by name for %s, and the model is had', (_what, document, message) => {
    expect(recipeOf('net', document)).toEqual({
      refused: expect.stringContaining(message) as string,
      hint: expect.stringMatching(/omz:net\/\/PATH|omz_converter --name net/) as string,
    });
  });

  it('is refused for a model that a script makes ready', () => {
    expect(recipeOf('yolo-v4-tf', described([]))).toMatchObject({
      refused: expect.stringContaining('pre-convert.py') as string,
    });
  });
});

describe('published precisions', () => {
  it('are the folders with an IR, of quantized ones the first', () => {
    const files = ['FP16/a.xml', 'FP32-INT8/a.xml', 'FP16-INT8/a.xml', 'FP32/a.bin', 'b/FP32/b.xml', 'c.xml'];
    expect(precisionsOf({ files: files.map((path) => ({ path, url: 'https://x.example' })) })).toEqual({
      fp16: 'FP16',
      int8: 'FP16-INT8',
    });
  });
});

const models = fileURLToPath(new URL('../../../shared/data/open_model_zoo/models', import.meta.url));
describe('recipes as the repository has them', () => {
  requirePeer('../shared', existsSync(models))('are followed or refused, each by its name', async () => {
    const counts: Record<string, number> = {};
    for (const path of await readdir(models, { recursive: true })) {
      if (!/(^|\/)model\.yml$/.test(path)) continue;
      const id = path.split('/').at(-2) ?? '';
      const { recipe } = readModel(await readFile(join(models, path), 'utf8'), id);
      const refused = recipe !== undefined && 'refused' in recipe ? recipe.refused : undefined;
      const [why] = /`[^`]+`|own code/.exec(refused ?? '') ?? [recipe === undefined ? 'IR' : 'followed'];
      counts[why] = (counts[why] ?? 0) + 1;
    }
    expect(counts).toEqual({
      IR: 143,
      followed: 36,
      'own code': 52,
      '`pre-convert.py`': 10,
      '`--transformations_config`': 18,
      '`--input_meta_graph`': 2,
      '`--freeze_placeholder_with_value`': 2,
      '`--input_meta`': 1,
    });
  });
});

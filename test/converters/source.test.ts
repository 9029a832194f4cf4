import { describe, expect, it } from 'vitest';
import { withExternalData } from '../../converters/external-data.js';
import { findSource, stemOf } from '../../converters/source.js';
import type { LocalModel } from '../../src/converter.js';
import { onnxGraph } from '../helpers/tiny-graphs.js';

function modelOf(...paths: readonly string[]): LocalModel {
  const text = (): Promise<undefined> => Promise.resolve(undefined);
  const files = paths.map((path, index) => ({ path, bytes: 10 ** index, sha256: 'a'.repeat(64) }));
  return {
    reference: 'npm:pkg@1.0.0',
    hub: 'npm',
    id: 'pkg',
    name: 'pkg',
    root: '/models',
    files,
    metadata: {},
    text,
  };
}

describe('findSource', () => {
  it.each([
    [['README.md', 'a/model.onnx'], 'onnx', ['a/model.onnx'], 10],
    [['m.onnx', 'm.onnx_data', 'sub/other.bin', 'm.txt'], 'onnx', ['m.onnx', 'm.onnx_data'], 11],
    [['face.tflite'], 'tflite', ['face.tflite'], 1],
    [['m.xml', 'm.bin', 'notes.xml'], 'ir', ['m.xml', 'm.bin'], 11],
    [['m.pdmodel', 'm.pdiparams'], 'paddle', ['m.pdmodel', 'm.pdiparams'], 11],
    [['graph.pb'], 'frozen-tensorflow', ['graph.pb'], 1],
    [['a/b.pb', 'a/labels.pbtxt'], 'frozen-tensorflow', ['a/b.pb'], 1],
  ] as const)('of %j is %s and reads %j', (paths, format, reads, bytes) => {
    expect(findSource(modelOf(...paths))).toEqual({ format, path: reads[0], reads, bytes });
  });

  it.each([
    ['.', 'saved_model', ''],
    ['export/nmp', 'nmp', 'export/nmp/'],
  ])('of a SavedModel is its directory %s, and the result is named %s', (path, stem, prefix) => {
    const parts = [
      'fingerprint.pb',
      'keras_metadata.pb',
      'saved_model.pb',
      'variables/variables.index',
      'assets/vocabulary',
    ];
    const source = findSource(modelOf('README.md', ...parts.map((part) => prefix + part)));
    const reads = parts.slice(2).map((part) => prefix + part);
    expect(source).toMatchObject({ format: 'saved-tensorflow', path, reads });
    if (!('refused' in source)) expect(stemOf(source)).toBe(stem);
  });

  it('says that PaddlePaddle has a format that is not read yet', () => {
    expect(findSource(modelOf('inference.json', 'inference.pdiparams'))).toMatchObject({
      refused: expect.stringContaining('inference.json is PaddlePaddle') as unknown,
      hint: expect.stringContaining('.pdmodel') as unknown,
      handlesModel: true,
    });
  });

  it('wants one of several named', () => {
    expect(findSource(modelOf('a.onnx', 'b.tflite'))).toMatchObject({
      refused: 'it holds 2 models: a.onnx, b.tflite',
      hint: 'name one: `npm:pkg@1.0.0//a.onnx`',
      handlesModel: true,
    });
  });

  it('says that an IR has no weights, and nothing of models where there are none', () => {
    expect(findSource(modelOf('m.xml'))).toMatchObject({
      refused: expect.stringContaining('m.xml has no weights beside it') as unknown,
      hint: 'name the directory that holds both',
    });
    expect(findSource(modelOf('README.md'))).toMatchObject({ handlesModel: false });
  });
});

describe('withExternalData', () => {
  const { model: graph } = onnxGraph('parts/onnx__MatMul_7');
  const modelWith = (...paths: readonly string[]): LocalModel => ({
    ...modelOf(...paths),
    text: () => Promise.resolve(graph.toString()),
  });

  it('reads what the model names', async () => {
    const model = modelWith('m/a.onnx', 'm/parts/onnx__MatMul_7', 'm/other');
    expect(await withExternalData(model, findSource(model))).toMatchObject({
      reads: ['m/a.onnx', 'm/parts/onnx__MatMul_7'],
      bytes: 11,
    });
  });

  it('misses what is not there', async () => {
    const model = modelWith('m/a.onnx');
    expect(await withExternalData(model, findSource(model))).toMatchObject({
      refused: 'm/a.onnx keeps weights in m/parts/onnx__MatMul_7, which is not there',
    });
  });

  it('fetches nothing of a model that is not here where there is nothing to find', async () => {
    const { root, ...listed } = modelOf('m/a.onnx', 'm/config.json', 'weights');
    const text = (): Promise<never> => Promise.reject(new Error(`Fetched for ${root}`));
    const source = findSource(listed);
    expect(await withExternalData({ ...listed, text }, source)).toBe(source);
  });
});

describe('stemOf', () => {
  it('is the file name without its ending', () => {
    expect(stemOf({ format: 'onnx', path: 'a/det.v2.onnx', reads: [], bytes: 0 })).toBe('det.v2');
  });
});

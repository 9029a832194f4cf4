import { describe, expect, it } from 'vitest';
import { findSource, stemOf } from '../../converters/source.js';
import type { LocalModel } from '../../src/converter.js';

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
  ] as const)('of %j is %s and reads %j', (paths, format, reads, bytes) => {
    expect(findSource(modelOf(...paths))).toEqual({ format, path: reads[0], reads, bytes });
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

describe('stemOf', () => {
  it('is the file name without its ending', () => {
    expect(stemOf({ format: 'onnx', path: 'a/det.v2.onnx', reads: [], bytes: 0 })).toBe('det.v2');
  });
});

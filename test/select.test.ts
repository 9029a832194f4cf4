import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../src/errors.js';
import { matches, quantizationOf, quantizations, select, weakerCopies } from '../src/select.js';
import type { SelectOptions } from '../src/select.js';
import { hasProgram, requirePeer } from './helpers/require.js';

function listing(...paths: readonly string[]): readonly { readonly path: string; readonly size: number }[] {
  return paths.map((path) => ({ path, size: 10 }));
}

function taken(paths: readonly string[], options: Partial<SelectOptions> = {}): readonly string[] {
  return select(listing(...paths), { include: [], exclude: [], allFiles: false, ...options }).chosen.map(
    ({ path }) => path,
  );
}

function refusal(paths: readonly string[], options: Partial<SelectOptions>): ModeldlError {
  try {
    taken(paths, options);
  } catch (error) {
    if (error instanceof ModeldlError) return error;
    throw error;
  }
  return expect.fail('Expected a refusal');
}

describe('matches', () => {
  it.each([
    ['*.json', 'config.json', true],
    ['*.json', 'deep/config.json', true],
    ['*.json', 'config.jsonl', false],
    ['onnx/', 'onnx/a/model.onnx', true],
    ['onnx/', 'onnx', false],
    ['onnx/', 'deep/onnx/x', false],
    ['onnx/*', 'onnx/a/b', true],
    ['**/x', 'a/b/x', true],
    ['**/x', 'x', false],
    ['!*.bin', 'a.safetensors', false],
    ['!*.bin', '!a.bin', true],
    ['?.bin', 'a.bin', true],
    ['?.bin', '😀.bin', true],
    ['?.bin', 'ab.bin', false],
    ['a?b', 'a/b', true],
    ['[ab].bin', 'a.bin', true],
    ['[!ab].bin', 'a.bin', false],
    ['[!ab].bin', 'c.bin', true],
    ['[^a].bin', '^.bin', true],
    ['[^a].bin', 'b.bin', false],
    ['[]].bin', '].bin', true],
    ['[!]].bin', '].bin', false],
    ['[a-c].bin', 'b.bin', true],
    ['[c-a].bin', 'b.bin', false],
    ['[a-].bin', '-.bin', true],
    ['[ab.bin', '[ab.bin', true],
    ['a.b', 'axb', false],
    ['a(b|c)', 'a(b|c)', true],
    ['{a,b}', 'a', false],
    ['\\*', '\\x', true],
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['A', 'a', false],
    ['*', 'a\nb', true],
  ])('%j of %j: %s', (glob, path, expected) => {
    expect(matches(glob, path)).toBe(expected);
  });

  const python = requirePeer('python3', hasProgram('python3'));
  python('agrees with Python’s fnmatch on generated rows', () => {
    const letter = fc.constantFrom(...Array.from('ab-]^!/.[*?\\{}()|+$ é😀'));
    const words = fc.array(letter, { maxLength: 8 }).map((letters) => letters.join(''));
    const glob = fc.array(fc.oneof(letter, fc.constantFrom('*', '?', '[a-b]', '[!a]', '[]]', '[b-a]')), {
      maxLength: 6,
    });
    const rows = fc.sample(
      fc.tuple(
        glob.map((parts) => parts.join('')),
        words,
      ),
      { numRuns: 4000, seed: 1 },
    );
    const program =
      'import json,sys\nfrom fnmatch import fnmatchcase\n' +
      'folder=lambda g: g+"*" if g.endswith("/") else g\n' +
      'print(json.dumps([fnmatchcase(p,folder(g)) for g,p in json.load(sys.stdin)]))';
    const answered = execFileSync('python3', ['-c', program], {
      input: JSON.stringify(rows),
      encoding: 'utf8',
    });
    const expected: unknown = JSON.parse(answered);
    const ours = rows.map(([pattern, path]) => matches(pattern, path));
    expect(Array.isArray(expected) && expected.filter((match) => match === true).length).toBeGreaterThan(100);
    const wrong = rows.filter((_row, at) => Array.isArray(expected) && ours[at] !== expected[at]);
    expect(wrong).toEqual([]);
  });
});

describe('weakerCopies', () => {
  it.each<readonly [string, readonly string[], readonly string[]]>([
    ['pickle of the same weights', ['model.safetensors', 'pytorch_model.bin'], ['pytorch_model.bin']],
    [
      'every framework',
      ['model.safetensors', 'tf_model.h5', 'flax_model.msgpack', 'rust_model.ot'],
      ['tf_model.h5', 'flax_model.msgpack', 'rust_model.ot'],
    ],
    [
      'shards with their index',
      [
        'model-00001-of-00002.safetensors',
        'model.safetensors.index.json',
        'pytorch_model-00001-of-00003.bin',
        'pytorch_model.bin.index.json',
      ],
      ['pytorch_model-00001-of-00003.bin', 'pytorch_model.bin.index.json'],
    ],
    ['by directory', ['unet/a.safetensors', 'unet/a.bin', 'vae/a.bin'], ['unet/a.bin']],
    ['by role', ['a.safetensors', 'b.bin'], []],
    [
      'by variant',
      ['model.fp16.safetensors', 'pytorch_model.bin', 'pytorch_model.fp16.bin'],
      ['pytorch_model.fp16.bin'],
    ],
    ['not without safetensors', ['pytorch_model.bin', 'tf_model.h5'], []],
    ['not what is no weights', ['model.safetensors', 'model.onnx', 'model.json', 'training_args.bin'], []],
    ['checkpoints', ['sd.safetensors', 'sd.ckpt', 'sd.pt', 'sd.pth'], ['sd.ckpt', 'sd.pt', 'sd.pth']],
  ])('%s', (_what, paths, expected) => {
    expect([...weakerCopies(paths)].sort()).toEqual([...expected].sort());
  });
});

describe('quantizationOf', () => {
  it.each([
    ['model-Q4_K_M.gguf', 'Q4_K_M'],
    ['model.q8_0.gguf', 'Q8_0'],
    ['model-Q4_K_M-00001-of-00003.gguf', 'Q4_K_M'],
    ['Q4_K_M/model-00001-of-00003.gguf', 'Q4_K_M'],
    ['BF16/Model-BF16-00001-of-00002.GGUF', 'BF16'],
    ['model-UD-Q4_K_XL.gguf', 'UD-Q4_K_XL'],
    ['model-IQ2_XXS.gguf', 'IQ2_XXS'],
    ['model-TQ1_0.gguf', 'TQ1_0'],
    ['gpt-oss-20b-MXFP4.gguf', 'MXFP4'],
    ['model-f16.gguf', 'F16'],
    ['Q8_0-of-a-Q4_0.gguf', 'Q4_0'],
    ['model.gguf', undefined],
    ['mmproj-F16.gguf', undefined],
    ['sub/mmproj-model-f16.gguf', undefined],
    ['model-Q4_K_M.bin', undefined],
    ['Q4xyz.gguf', undefined],
  ])('%s: %s', (path, expected) => {
    expect(quantizationOf(path)).toBe(expected);
  });

  it('sizes of shards are summed', () => {
    const files = listing(
      'a-Q4_0-00001-of-00002.gguf',
      'a-Q4_0-00002-of-00002.gguf',
      'Q8_0/a.gguf',
      'x.json',
    );
    expect([...quantizations(files)]).toEqual([
      ['Q4_0', 20],
      ['Q8_0', 10],
    ]);
  });
});

describe('select', () => {
  const gguf = [
    'README.md',
    'a-Q4_0-00001-of-00002.gguf',
    'a-Q4_0-00002-of-00002.gguf',
    'Q8_0/a.gguf',
    'mmproj-F16.gguf',
  ];
  const mixed = [
    'config.json',
    'model.safetensors',
    'pytorch_model.bin',
    'onnx/model.onnx',
    'onnx/q/model.onnx',
  ];

  it.each<readonly [string, readonly string[], Partial<SelectOptions>, readonly string[]]>([
    [
      'leaves out weaker copies',
      mixed,
      {},
      ['config.json', 'model.safetensors', 'onnx/model.onnx', 'onnx/q/model.onnx'],
    ],
    ['takes all with allFiles', mixed, { allFiles: true }, mixed],
    [
      'include replaces the filter',
      mixed,
      { include: ['*.bin', '*.safetensors'] },
      ['model.safetensors', 'pytorch_model.bin'],
    ],
    ['exclude narrows it', mixed, { exclude: ['onnx/'] }, ['config.json', 'model.safetensors']],
    [
      'a weaker copy stays when the stronger is excluded',
      mixed,
      { exclude: ['*.safetensors', 'onnx/'] },
      ['config.json', 'pytorch_model.bin'],
    ],
    ['exclude beats include', mixed, { include: ['onnx/'], exclude: ['*/q/*'] }, ['onnx/model.onnx']],
    ['a subpath is the root of the tree', mixed, { subpath: 'onnx' }, ['model.onnx', 'q/model.onnx']],
    ['globs are below the subpath', mixed, { subpath: 'onnx', include: ['q/'] }, ['q/model.onnx']],
    ['a subpath names a file', mixed, { subpath: 'onnx/q/model.onnx' }, ['model.onnx']],
    [
      'one quantization with what is none',
      gguf,
      { quant: 'q4_0' },
      [gguf[0] ?? '', gguf[1] ?? '', gguf[2] ?? '', gguf[4] ?? ''],
    ],
    [
      'a quantization named by its directory',
      gguf,
      { quant: 'Q8_0', exclude: ['README.md', 'mmproj*'] },
      ['Q8_0/a.gguf'],
    ],
    ['all quantizations with allFiles', gguf, { allFiles: true }, gguf],
    ['all quantizations that are included', gguf, { include: ['*.gguf'] }, gguf.slice(1)],
    ['one quantization below a subpath needs no choice', gguf, { subpath: 'Q8_0' }, ['a.gguf']],
    [
      'one quantization left by exclude needs no choice',
      gguf,
      { exclude: ['Q8_0/'] },
      [...gguf.slice(0, 3), 'mmproj-F16.gguf'],
    ],
  ])('%s', (_what, paths, options, expected) => {
    expect(taken(paths, options)).toEqual(expected);
  });

  it.each<readonly [string, readonly string[], Partial<SelectOptions>, string, string, string]>([
    [
      'a missing subpath',
      mixed,
      { subpath: 'onnx/modle.onnx' },
      'NOT_FOUND',
      '//onnx/modle.onnx',
      'onnx/model.onnx',
    ],
    [
      'a missing file whose kind others have',
      ['index.ts', 'face_full_range.tflite', 'README.md'],
      { subpath: 'nope.tflite' },
      'NOT_FOUND',
      '//nope.tflite',
      'nearest: face_full_range.tflite',
    ],
    ['a subpath is no prefix of a name', mixed, { subpath: 'onn' }, 'NOT_FOUND', '//onn', 'onnx/model.onnx'],
    ['nothing included', mixed, { include: ['*.gguf'] }, 'NOT_FOUND', '--include *.gguf', '5 files'],
    ['nothing left', mixed, { exclude: ['*'] }, 'NOT_FOUND', '--exclude *', 'exclude less'],
    ['several quantizations', gguf, {}, 'USAGE', 'Q4_0, Q8_0', '--quant'],
    ['an unknown quantization', gguf, { quant: 'Q5_K' }, 'USAGE', 'Q5_K', 'Q4_0, Q8_0'],
    ['a quantization of none', mixed, { quant: 'Q5_K' }, 'USAGE', 'Q5_K', 'no GGUF'],
  ])('%s is refused with a hint', (_what, paths, options, code, message, hint) => {
    const error = refusal(paths, options);
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
  });

  it('tells what was left out, and how large it is', () => {
    const { leftOut } = select(listing(...mixed), { include: [], exclude: [], allFiles: false });
    expect(leftOut).toEqual([{ path: 'pytorch_model.bin', size: 10 }]);
  });

  it.each<readonly [Partial<SelectOptions>, boolean, string | undefined]>([
    [{ allFiles: true }, true, undefined],
    [{}, false, undefined],
    [{ subpath: 'onnx' }, false, undefined],
    [{ subpath: 'config.json' }, false, 'config.json'],
    [{ subpath: 'pytorch_model.bin' }, false, 'pytorch_model.bin'],
    [{ include: ['*'] }, true, undefined],
  ])('%j: complete %s, single %s', (options, complete, single) => {
    const selection = select(listing(...mixed), { include: [], exclude: [], allFiles: false, ...options });
    expect({ complete: selection.complete, single: selection.single }).toEqual({ complete, single });
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../src/errors.js';
import { hubs } from '../hubs/index.js';
import {
  decodePart,
  encodePart,
  formatReference,
  parseReference,
  type ParseOptions,
  type Reference,
  type ReferenceSyntax,
} from '../src/reference.js';

const syntaxes = hubs.map((hub) => hub.syntax);
const options: ParseOptions = {
  cwd: '/work',
  home: '/home/me',
  endpoints: { hf: 'https://mirror.example/hub' },
};
const SHA256 = '0123456789abcdef'.repeat(4);

function parse(text: string, more: Partial<ParseOptions> = {}): Reference {
  return parseReference(text, syntaxes, { ...options, ...more });
}

function format(reference: Reference): string {
  return formatReference(reference, syntaxes);
}

function refusal(text: string, among: readonly ReferenceSyntax[] = syntaxes): ModeldlError {
  try {
    parseReference(text, among, options);
  } catch (error) {
    if (error instanceof ModeldlError) return error;
    throw error;
  }
  return expect.fail(`Expected a refusal of ${text}`);
}

describe('a reference', () => {
  it.each<readonly [string, Reference, string]>([
    ['org/name', { hub: 'hf', id: 'org/name' }, 'hf:org/name'],
    ['name', { hub: 'hf', id: 'name' }, 'hf:name'],
    ['org/name@v1', { hub: 'hf', id: 'org/name', revision: 'v1' }, 'hf:org/name@v1'],
    ['hf:org/name//onnx', { hub: 'hf', id: 'org/name', subpath: 'onnx' }, 'hf:org/name//onnx'],
    ['hf:org/name//onnx/', { hub: 'hf', id: 'org/name', subpath: 'onnx' }, 'hf:org/name//onnx'],
    ['hf:org/name@refs/pr/3', { hub: 'hf', id: 'org/name', revision: 'refs/pr/3' }, 'hf:org/name@refs/pr/3'],
    [
      'hf:org/name@refs%2Fpr%2F3',
      { hub: 'hf', id: 'org/name', revision: 'refs/pr/3' },
      'hf:org/name@refs/pr/3',
    ],
    [
      'hf:org/name@main//a%20b%40c',
      { hub: 'hf', id: 'org/name', revision: 'main', subpath: 'a b@c' },
      'hf:org/name@main//a%20b%40c',
    ],
    ['hf:org/name//100%', { hub: 'hf', id: 'org/name', subpath: '100%' }, 'hf:org/name//100%25'],
    ['org/name+int8-cpu', { hub: 'hf', id: 'org/name', conversion: 'int8-cpu' }, 'hf:org/name+int8-cpu'],
    [
      'hf:org/name@main+0123abcd',
      { hub: 'hf', id: 'org/name', revision: 'main', conversion: '0123abcd' },
      'hf:org/name@main+0123abcd',
    ],
    [
      'hf:org/name//a+fp16-hetero.gpu.cpu',
      { hub: 'hf', id: 'org/name', subpath: 'a', conversion: 'fp16-hetero.gpu.cpu' },
      'hf:org/name//a+fp16-hetero.gpu.cpu',
    ],
    ['https://huggingface.co/org/name', { hub: 'hf', id: 'org/name' }, 'hf:org/name'],
    [
      'https://hf.co/org/name/tree/main/onnx',
      { hub: 'hf', id: 'org/name', revision: 'main', subpath: 'onnx', openRevision: true },
      'hf:org/name@main//onnx',
    ],
    [
      'https://huggingface.co/org/name/blob/main/config.json',
      { hub: 'hf', id: 'org/name', revision: 'main', subpath: 'config.json', openRevision: true },
      'hf:org/name@main//config.json',
    ],
    ['https://mirror.example/hub/org/name', { hub: 'hf', id: 'org/name' }, 'hf:org/name'],
    [
      'https://mirror.example/other/m.onnx',
      { hub: 'url', id: 'https://mirror.example/other/m.onnx' },
      'https://mirror.example/other/m.onnx',
    ],
    ['https://h/m.onnx', { hub: 'url', id: 'https://h/m.onnx' }, 'https://h/m.onnx'],
    ['https://h/m@v1.onnx', { hub: 'url', id: 'https://h/m@v1.onnx' }, 'https://h/m@v1.onnx'],
    [
      `https://h/m.onnx#sha256=${SHA256.toUpperCase()}`,
      { hub: 'url', id: 'https://h/m.onnx', sha256: SHA256 },
      `https://h/m.onnx#sha256=${SHA256}`,
    ],
    [
      'https://h/m.onnx?sig=secret',
      { hub: 'url', id: 'https://h/m.onnx', query: 'sig=secret' },
      'https://h/m.onnx',
    ],
    [
      'https://h/a.tar.gz//dir',
      { hub: 'url', id: 'https://h/a.tar.gz#unpack', subpath: 'dir' },
      'https://h/a.tar.gz//dir',
    ],
    [
      'https://h/a.tar.gz#unpack',
      { hub: 'url', id: 'https://h/a.tar.gz#unpack' },
      'https://h/a.tar.gz#unpack',
    ],
    ['https://h/a//b.onnx', { hub: 'url', id: 'https://h/a//b.onnx' }, 'https://h/a//b.onnx'],
    ['http://localhost/m.onnx', { hub: 'url', id: 'http://localhost/m.onnx' }, 'http://localhost/m.onnx'],
    [
      'npm:@scope/pkg@1.2.3//dist/m.onnx',
      { hub: 'npm', id: '@scope/pkg', revision: '1.2.3', subpath: 'dist/m.onnx' },
      'npm:@scope/pkg@1.2.3//dist/m.onnx',
    ],
    ['npm:@scope/pkg', { hub: 'npm', id: '@scope/pkg' }, 'npm:@scope/pkg'],
    ['npm:pkg@^1', { hub: 'npm', id: 'pkg', revision: '^1' }, 'npm:pkg@^1'],
    [
      'pypi:My_Name@1.0//pkg/m.onnx',
      { hub: 'pypi', id: 'my-name', revision: '1.0', subpath: 'pkg/m.onnx' },
      'pypi:my-name@1.0//pkg/m.onnx',
    ],
    ['./dir', { hub: 'file', id: '/work/dir' }, '/work/dir'],
    ['../a@b%20c//d', { hub: 'file', id: '/a@b%20c/d' }, '/a@b%20c/d'],
    ['~/m.onnx', { hub: 'file', id: '/home/me/m.onnx' }, '/home/me/m.onnx'],
    [
      '/abs/m.onnx+int8-cpu',
      { hub: 'file', id: '/abs/m.onnx', conversion: 'int8-cpu' },
      '/abs/m.onnx+int8-cpu',
    ],
    ['C:\\models\\m.onnx', { hub: 'file', id: 'C:\\models\\m.onnx' }, 'C:\\models\\m.onnx'],
    ['file:///abs/m%20m.onnx', { hub: 'file', id: '/abs/m m.onnx' }, '/abs/m m.onnx'],
    [
      `file:/abs/dir@${SHA256}//sub`,
      { hub: 'file', id: '/abs/dir', revision: SHA256, subpath: 'sub' },
      `file:/abs/dir@${SHA256}//sub`,
    ],
    ['file:%2F//sub', { hub: 'file', id: '/', subpath: 'sub' }, 'file:%2F//sub'],
  ])('%s', (text, expected, canonical) => {
    expect(parse(text)).toEqual(expected);
    expect(format(expected)).toBe(canonical);
    const { query: _query, openRevision: _open, ...rest } = expected;
    expect(parse(canonical)).toEqual(rest);
  });

  it('--unpack makes `//` a subpath without an archive’s suffix', () => {
    expect(parse('https://h/download//dir', { unpack: true })).toEqual({
      hub: 'url',
      id: 'https://h/download#unpack',
      subpath: 'dir',
    });
  });
});

describe('a refused reference says what was probably meant', () => {
  it.each([
    ['', 'it is empty', '[scheme:]id[@revision][//subpath]'],
    ['   ', 'it is empty', '[scheme:]id'],
    ['a\0b', 'NUL', '[scheme:]id'],
    ['file:%00', 'NUL', '[scheme:]id'],
    ['hf:org/name//a%00', 'NUL', '[scheme:]id'],
    ['a'.repeat(300), 'no name of a model', 'org/name'],
    ['+int8-cpu', 'nothing precedes the conversion', '[scheme:]id'],
    ['hff:org/name', 'Unknown scheme `hff:`', 'hf:org/name'],
    ['llama3:8b', 'Unknown scheme `llama3:`', 'did you mean `ollama:llama3:8b`'],
    ['mistral:latest', 'Unknown scheme `mistral:`', 'did you mean `ollama:mistral:latest`'],
    ['s3:bucket/x', 'Unknown scheme `s3:`', './s3:bucket/x'],
    ['org/name/onnx', 'neither', 'hf:org/name//onnx'],
    ['org/name/onnx/m.onnx', 'neither', 'hf:org/name//onnx/m.onnx'],
    ['hf:', 'the name is empty', '[scheme:]id'],
    ['hf:org/name@', 'the revision after `@` is empty', '[scheme:]id'],
    ['hf:org/name//', 'nothing follows `//`', '[scheme:]id'],
    ['hf:org/name//a/../b', '`..`', '[scheme:]id'],
    ['hf:org/name//a//b', 'empty', '[scheme:]id'],
    ['hf:org/name//%2e%2e/b', '`..`', '[scheme:]id'],
    ['hf:org/name:Q4_K_M', 'names hold no `:`', '--quant Q4_K_M'],
    ['hf:org/name/onnx', 'org/name', 'hf:org/name//onnx'],
    ['hf:datasets/org/name', 'a dataset', '[scheme:]id'],
    ['hf:../etc', 'no name of a model', 'org/name'],
    ['https://huggingface.co/spaces/org/name', 'a space', 'hf:org/name'],
    ['https://me:secret@h/m.onnx', 'user information', 'signed address'],
    ['https://h/m.onnx#sha256=12', 'the fragment', 'leave out'],
    ['npm:pkg@git+ssh://host/x', 'only versions, ranges and tags', 'npm:name@1.2.3'],
    ['npm:pkg@file:../x', 'only versions, ranges and tags', 'npm:name@1.2.3'],
    ['pypi:-x', 'no project name', 'pypi:name@1.0'],
    ['file://host/x', 'another host', './path'],
  ])('%j', (text, message, hint) => {
    const error = refusal(text);
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain(message);
    expect(error.hint).toContain(hint);
    expect(`${error.message} ${error.hint ?? ''}`).not.toContain('secret');
  });

  it('`name:tag` is sent to a hub that takes such names only where there is one', () => {
    expect(refusal('llama3.2:3b').hint).toContain('ollama:llama3.2:3b');
    const without = syntaxes.filter(({ hub }) => hub !== 'ollama');
    expect(refusal('llama3.2:3b', without).hint).not.toContain('ollama:');
  });
});

describe('parse(format(r)) is r', () => {
  const hard = fc.constantFrom(
    '%',
    '@',
    '#',
    '+',
    ' ',
    '//',
    '/',
    '..',
    '%2F',
    '+int8-cpu',
    '+0123abcd',
    'é',
    ':',
    '?',
    '&',
    '\\',
    '~',
  );
  const text = (letters: fc.Arbitrary<string>): fc.Arbitrary<string> =>
    fc.array(fc.oneof(letters, hard), { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
  const word = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_]{0,8}$/);
  const segment = text(word).filter((part) => !part.includes('/') && part !== '.' && part !== '..');
  const subpath = fc.option(
    fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
    {
      nil: undefined,
    },
  );
  const conversion = fc.option(fc.constantFrom('int8-cpu', 'fp16-hetero.gpu.cpu', '0123abcd'), {
    nil: undefined,
  });
  const sha256 = fc.option(fc.constant(SHA256), { nil: undefined });
  const version = fc.option(fc.stringMatching(/^[0-9][0-9a-z.+^~<>=| -]{0,8}$/), { nil: undefined });

  type Parts = { readonly [Key in keyof Reference]?: Reference[Key] | undefined };
  const without = ({ hub = '', id = '', ...rest }: Parts): Reference => ({
    hub,
    id,
    ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)),
  });

  const arbitraries: readonly (readonly [string, fc.Arbitrary<Parts>])[] = [
    [
      'hf',
      fc.record({
        hub: fc.constant('hf'),
        id: fc.tuple(word, word).map((parts) => parts.join('/')),
        revision: fc.option(fc.stringMatching(/^[a-z0-9][a-zA-Z0-9_%@#+é-]{0,9}$/), { nil: undefined }),
        subpath,
        conversion,
      }),
    ],
    [
      'npm',
      fc.record({
        hub: fc.constant('npm'),
        id: fc.oneof(
          word,
          fc.tuple(word, word).map(([scope, name]) => `@${scope}/${name}`),
        ),
        revision: version,
        subpath,
        conversion,
      }),
    ],
    [
      'pypi',
      fc.record({
        hub: fc.constant('pypi'),
        id: word.map((name) => name.toLowerCase().replace(/_+/g, '-').replace(/-$/, 'x')),
        revision: version,
        subpath,
        conversion,
      }),
    ],
    [
      'file',
      fc.record({
        hub: fc.constant('file'),
        id: fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join('/')}`),
        revision: sha256,
        subpath,
        conversion,
      }),
    ],
  ];

  it.each(arbitraries)('%s', (_hub, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (parts) => {
        const reference = without(parts);
        expect(parse(format(reference))).toEqual(reference);
      }),
      { numRuns: 2000 },
    );
  });

  it('url, for every address that parses', () => {
    const path = fc
      .array(segment, { minLength: 1, maxLength: 3 })
      .map((parts) => parts.map(encodeURIComponent).join('/'));
    const suffix = fc.constantFrom('', '.onnx', '.tar.gz', '.zip', '+int8-cpu', '//dir', '.zip//dir/a%2Bb');
    const fragment = fc.constantFrom('', '#unpack', `#sha256=${SHA256}`, `#sha256=${SHA256}&unpack`);
    fc.assert(
      fc.property(path, suffix, fragment, conversion, (middle, end, hash, converted) => {
        const reference = parse(
          `https://host/${middle}${end}${hash}${converted === undefined ? '' : `+${converted}`}`,
        );
        expect(parse(format(reference))).toEqual(reference);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('decodePart', () => {
  it('is undone by nothing but encodePart', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(decodePart(encodePart(text))).toBe(text);
      }),
    );
  });

  it.each([
    ['a%20b', 'a b'],
    ['100%', '100%'],
    ['%ff', '%ff'],
    ['%E2%82%AC', '€'],
    ['%zz%20', '%zz '],
  ])('%s is %s', (text, expected) => {
    expect(decodePart(text)).toBe(expected);
  });
});

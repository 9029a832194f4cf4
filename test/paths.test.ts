import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../src/errors.js';
import {
  checkDigests,
  checkListing,
  checkRelativePath,
  encodeSegment,
  fileSystemRules,
  shownName,
} from '../src/paths.js';

const linux = fileSystemRules('linux');
const mac = fileSystemRules('darwin');
const windows = fileSystemRules('win32');

function problem(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    expect(error.code).toBe('INTEGRITY');
    return error.message;
  }
}

describe('checkRelativePath', () => {
  it.each([
    ['', 'it is empty'],
    ['/etc/passwd', 'it is absolute'],
    ['//host/share', 'it is absolute'],
    ['..', '`..` segment'],
    ['a/../b', '`..` segment'],
    ['a/..', '`..` segment'],
    ['.', '`.` segment'],
    ['./a', '`.` segment'],
    ['a//b', 'empty segment'],
    ['a/', 'empty segment'],
    ['C:/x', 'drive letter'],
    ['c:x', 'drive letter'],
    ['a\\b', 'backslash'],
    ['..\\b', 'backslash'],
    ['a\0b', 'control character'],
    ['a\nb', 'control character'],
    ['a\u007fb', 'control character'],
    ['a\ud800', 'not valid Unicode'],
    ['é'.repeat(128), 'longer than 255 bytes'],
    [`${'a/'.repeat(1100)}a`, 'longer than 2048 bytes'],
  ])('refuses %j everywhere', (path, why) => {
    for (const rules of [linux, mac, windows]) {
      const message = problem(() => {
        checkRelativePath(path, rules);
      });
      expect(message).toContain(why);
      expect(message).toContain(shownName(path));
    }
  });

  it.each(['a', 'a/b.c', '...', '..a', 'a..', '.hidden', 'é/日本', 'a b', '-rf', '~', 'a'.repeat(255)])(
    'takes %j on Linux',
    (path) => {
      checkRelativePath(path, linux);
    },
  );

  it.each([
    'con',
    'NUL.txt',
    'nul .txt',
    'CONIN$',
    'LPT\u00b2',
    'a/Com1',
    'lpt9.bin',
    'a<b',
    'ab:c',
    'what?',
    'a*',
    'a|b',
    '"a"',
    'dot.',
    'space ',
    'a./b',
  ])('refuses %j on Windows only', (path) => {
    expect(
      problem(() => {
        checkRelativePath(path, windows);
      }),
    ).toContain('Windows cannot store it');
    checkRelativePath(path, linux);
  });

  it('names the archive', () => {
    expect(
      problem(() => {
        checkRelativePath('../x', linux, 'model.zip');
      }),
    ).toContain('in model.zip');
  });
});

describe('checkListing', () => {
  it.each<readonly [readonly string[], boolean, boolean, boolean]>([
    // refused on Linux, macOS, Windows
    [['a', 'a'], true, true, true],
    [['a', 'A'], false, true, true],
    [['dir/a', 'DIR/A'], false, true, true],
    [['caf\u00e9', 'cafe\u0301'], false, true, false],
    [['CAF\u00c9', 'cafe\u0301'], false, true, false],
    [['s', '\u017f'], false, true, true],
    [['k', '\u212a'], false, true, true],
    [['\u00df', 'ss'], false, true, true],
    [['a', 'a/b'], true, true, true],
    [['a/b', 'a'], true, true, true],
    [['A', 'a/b'], false, true, true],
    [['a/b/c', 'a/b'], true, true, true],
    [['a/b', 'a/c', 'ab'], false, false, false],
    [['a', 'b/../a'], true, true, true],
  ])('%j', (paths, ...refused) => {
    const found = [linux, mac, windows].map((rules) =>
      problem(() => {
        checkListing(paths, rules);
      }),
    );
    expect(found.map((message) => message !== undefined)).toEqual(refused);
    for (const message of found) {
      if (message !== undefined) expect(paths.some((path) => message.includes(shownName(path)))).toBe(true);
    }
  });
});

describe('checkDigests', () => {
  const url = 'https://example.org/a';

  it.each([
    ['sha256', '../../../victim'],
    ['sha256', 'a'.repeat(63)],
    ['sha256', 'A'.repeat(64)],
    ['sha256', `${'a'.repeat(64)}\n`],
    ['sha1', 'a'.repeat(64)],
  ] as const)('refuses for %s %j', (algorithm, hex) => {
    const message = problem(() => {
      checkDigests([{ path: 'model.onnx', url, digest: { algorithm, hex } }]);
    });
    expect(message).toContain('model.onnx');
  });

  it('takes as many digits as an algorithm gives, and no digest', () => {
    checkDigests([
      { path: 'a', url },
      { path: 'b', url, digest: { algorithm: 'git-sha1', hex: 'a'.repeat(40) } },
      { path: 'c', url, digest: { algorithm: 'sha512', hex: '0'.repeat(128) } },
    ]);
  });
});

describe('shownName', () => {
  it.each([
    ['a', '"a"'],
    ['\u001b[2J', '"\\u001b[2J"'],
    ['\u009b31m', '"\\u009b31m"'],
    ['gpj.\u202eexe', '"gpj.\\u202eexe"'],
  ])('%j is shown as %s', (name, shown) => {
    expect(shownName(name)).toBe(shown);
  });

  it('cuts what is long', () => {
    expect(shownName('a'.repeat(10_000)).length).toBeLessThan(310);
  });
});

describe('encodeSegment', () => {
  it.each([
    ['org/name', 'org--name'],
    ['name', 'name'],
    ['v1.0', 'v1.0'],
    ['refs/pr/1', 'refs--pr--1'],
    ['a--b', 'a%2D-b'],
    ['a-/b', 'a%2D--b'],
    ['a/-b', 'a--%2Db'],
    ['%', '%25'],
    ['@scope/pkg', '%40scope--pkg'],
    ['a:b', 'a%3Ab'],
    ['..', '%2E%2E'],
    ['.hidden', '%2Ehidden'],
    ['dot.', 'dot%2E'],
    ['CON', '%43ON'],
    ['é', '%C3%A9'],
  ])('%j is %s', (text, expected) => {
    expect(encodeSegment(text)).toBe(expected);
  });

  // What is hard to tell apart: separators, escapes, and names that file systems give a meaning to.
  const hard = fc
    .array(fc.constantFrom('-', '/', '%', '2D', '.', '2E', ' ', 'a', 'con', '@', 'é', '\\', '*', ':'), {
      maxLength: 8,
    })
    .map((parts) => parts.join(''));
  const anything = fc.oneof(hard, fc.string({ unit: 'grapheme', maxLength: 300 }));

  it('never gives two texts one name', () => {
    fc.assert(
      fc.property(anything, anything, (one, other) => {
        fc.pre(one !== other);
        expect(encodeSegment(one)).not.toBe(encodeSegment(other));
      }),
      { numRuns: 5000 },
    );
  });

  it('never gives two short hard texts one name', () => {
    const letters = ['-', '/', '%2D', '.', '%2E', '-a'];
    let words: readonly string[] = [''];
    const all = new Set<string>(words);
    for (let length = 0; length < 5; length += 1) {
      words = words.flatMap((word) => letters.map((letter) => word + letter));
      for (const word of words) all.add(word);
    }
    all.delete('');
    const names = new Map<string, string>();
    const collisions: string[] = [];
    for (const word of all) {
      const name = encodeSegment(word);
      const twin = names.get(name);
      if (twin !== undefined) collisions.push(`${twin} and ${word} are ${name}`);
      names.set(name, word);
    }
    expect(collisions).toEqual([]);
  });

  it('gives one safe segment on every file system', () => {
    fc.assert(
      fc.property(anything, (text) => {
        fc.pre(text !== '');
        const name = encodeSegment(text);
        for (const rules of [linux, mac, windows]) checkRelativePath(name, rules);
        expect(name).not.toContain('/');
        expect(name.length).toBeLessThanOrEqual(160);
      }),
      { numRuns: 3000 },
    );
  });
});

import { describe, expect, it } from 'vitest';
import { translatePattern, translateReplacement } from '../../hubs/omz/python-regex.js';
import { replaceText } from '../../src/edit.js';

/** What Python 3's `re.sub` gives was taken from Python. */
describe('expressions of Python', () => {
  it.each([
    ['a.c', '-', 'abc a\nc a\rc', '- a\nc -'],
    ['(?s)a.c', '-', 'a\nc', '-'],
    ['^a', '-', 'a\na', '-\na'],
    ['(?m)^a$', '-', 'a\na\rb\na', '-\na\rb\n-'],
    ['a$', '-', 'a\na\n', 'a\n-\n'],
    ['(?m)pretrained=True,$', 'X', 'pretrained=True,\nb', 'X\nb'],
    ['\\bé', '-', 'é ée aé', '- -e aé'],
    ['\\w+', '-', 'né_1 +', '- +'],
    ['\\W', '-', 'é+', 'é-'],
    ['[\\w.]+', '-', 'a.é!', '-!'],
    ['\\d', '-', '3٣x', '--x'],
    ['[A,K,T]x', '-', 'Ax ,x Bx', '- - Bx'],
    ['[]a]+', '-', 'a]b', '-b'],
    ['[^)]*\\)', '-', 'a\nb)', '-'],
    ['[a-c/[]', '-', 'b/[d-', '---d-'],
    ['a{2}b{,1}', '-', 'aab aa', '- -'],
    ['{a}', '-', '{a}', '-'],
    ["(?<='a': )b(?!c)", '-', "'a': b 'a': bc b", "'a': - 'a': bc b"],
    ['(?:a|b)(c)', '[\\1]', 'ac bc', '[c] [c]'],
    ['(a)|(b)', '<\\1\\g<2>>', 'ab', '<a><b>'],
    ['from (\\.a|\\.b)', '# \\g<0>', 'from .a', '# from .a'],
    ['a', 'x\\ny\\\\', 'a', 'x\ny\\'],
    ['a', '\\.$&$1', 'a', '\\.$&$1'],
    ['from *', '-', 'from  x', '-x'],
    ['/ a\\/b\\:c\\,', '-', '/ a/b:c,', '-'],
    ['from \\.(x) (.|\\n)*', '', 'a\nfrom .x y\nz', 'a\n'],
    ['x*', '-', 'axb', '-a--b-'],
  ])('%j with %j', (pattern, template, text, expected) => {
    const edit = {
      path: 'a.py',
      pattern: translatePattern(pattern),
      replacement: translateReplacement(template),
    };
    expect(replaceText(text, edit)).toBe(expected);
  });

  it.each([
    '(?P<name>a)',
    '(?i)a',
    '(?#a)',
    '(?>a)',
    '(a)\\1',
    '\\Aa',
    '\\Z',
    '\\x41',
    '[\\W]',
    '[\\b]',
    'a*+',
    'a{2}{3}',
    '(a',
    '[a',
    'a\\',
    '*a',
  ])('are refused where they mean something else or nothing: %s', (pattern) => {
    expect(() => translatePattern(pattern)).toThrow(pattern);
  });

  it.each(['\\g<name>', '\\q', '\\0', 'a\\', '\\123'])(
    'have replacements that are refused: %s',
    (template) => {
      expect(() => translateReplacement(template)).toThrow(template);
    },
  );
});

/** Values of `--set`, as `convert` reads them. */
import { describe, expect, it } from 'vitest';
import { parseSettings } from '../../src/cli/commands/convert.js';
import { ModeldlError } from '../../src/errors.js';

describe('parseSettings', () => {
  it('splits at the first equals sign; a bare name is true', () => {
    const pairs = ['sym', 'input-shape=x[1,3]', 'model-kwargs={"a":"b=c"}', 'variant='];
    expect(parseSettings(pairs)).toEqual({
      sym: 'true',
      'input-shape': 'x[1,3]',
      'model-kwargs': '{"a":"b=c"}',
      variant: '',
    });
  });

  it('loses no name that every object has', () => {
    const names = ['constructor', '__proto__', 'toString'];
    expect(Object.entries(parseSettings(names.map((name) => `${name}=1`)))).toEqual(
      names.map((name) => [name, '1']),
    );
  });

  it.each([[['=1']], [['sym', 'sym=false']]])('refuses %j', (pairs) => {
    expect(() => parseSettings(pairs)).toThrow(ModeldlError);
  });
});

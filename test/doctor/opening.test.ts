import { describe, expect, it } from 'vitest';
import { without, withoutBroken } from '../../src/doctor/opening.js';
import { ModeldlError } from '../../src/errors.js';

const broken = (message: string, details: object): ModeldlError =>
  new ModeldlError('CONFIG', message, { details: { ...details } });

describe('a configuration that is broken', () => {
  it('is read without what is broken, each told once', async () => {
    const tries: string[] = [];
    const { result, problems } = await withoutBroken(({ files, variables, untrusted }) => {
      tries.push(untrusted);
      if (!files.has('/a')) return Promise.reject(broken('a', { file: '/a' }));
      if (!variables.has('B')) return Promise.reject(broken('b', { variable: 'B' }));
      return Promise.resolve([...files, ...variables]);
    });
    expect(result).toEqual(['/a', 'B']);
    expect(problems.map(({ message }) => message)).toEqual(['a', 'b']);
    expect(tries).toEqual(['refuse', 'ignore', 'ignore', 'ignore']);
  });

  it('is read with all of a file of which only a part is not trusted', async () => {
    const { result, problems } = await withoutBroken(({ files, untrusted }) =>
      untrusted === 'refuse' ? Promise.reject(broken('plugin', { file: '/p' })) : Promise.resolve(files.size),
    );
    expect([result, problems.length]).toEqual([0, 1]);
  });

  it.each([
    ['a problem without a place', broken('somewhere', {})],
    ['one that stays', broken('always', { file: '/a' })],
    ['one of another kind', new ModeldlError('DISK', 'full', { details: { file: '/a' } })],
  ])('%s is thrown, and not tried for ever', async (_what, error) => {
    await expect(withoutBroken(() => Promise.reject(error))).rejects.toBe(error);
  });

  it('variables are left out by name', () => {
    expect(without({ A: '1', B: '2' }, new Set(['B']))).toEqual({ A: '1' });
  });
});

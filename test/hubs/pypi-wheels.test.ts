import { describe, expect, it } from 'vitest';
import { chooseWheel, isUniversal, wheelsOf, type Candidate, type Machine } from '../../hubs/pypi/wheels.js';
import { ModeldlError } from '../../src/errors.js';

const LINUX: Machine = { platform: 'linux', arch: 'x64' };

function files(...names: readonly string[]): readonly Candidate[] {
  return names.map((name) => {
    const [filename = '', yanked] = name.split(' yanked ');
    return yanked === undefined ? { filename } : { filename, yanked };
  });
}

function chosen(revision: string | undefined, names: readonly string[], machine: Machine = LINUX): string {
  return chooseWheel('m', revision, files(...names), machine).file.filename;
}

function refused(revision: string | undefined, names: readonly string[]): ModeldlError {
  try {
    chosen(revision, names);
  } catch (error) {
    if (error instanceof ModeldlError) return error;
    throw error;
  }
  return expect.fail('Expected a refusal');
}

describe('the version', () => {
  const pure = (...versions: readonly string[]): string[] =>
    versions.map((version) => `m-${version}-py3-none-any.whl`);
  it.each<[string | undefined, readonly string[], string]>([
    [undefined, pure('1.0', '1.10', '1.9'), '1.10'],
    [undefined, pure('1.0', '2.0rc1', '2.0.dev3'), '1.0'],
    [undefined, pure('2.0a1', '2.0rc1'), '2.0rc1'],
    [undefined, [...pure('1.0'), 'm-2.0.tar.gz'], '1.0'],
    [undefined, [...pure('1.0'), 'm-2.0-py3-none-any.whl yanked bad'], '1.0'],
    ['1.0', pure('1.0', '1.0.post1', '2.0'), '1.0'],
    ['1.0.0', pure('1.0', '2.0'), '1.0'],
    ['v1.0', pure('1.0', '2.0'), '1.0'],
    ['2.0rc1', pure('1.0', '2.0rc1'), '2.0rc1'],
    ['1.0', pure('1.0+cpu', '2.0'), '1.0+cpu'],
    ['2.0', [...pure('1.0'), 'm-2.0-py3-none-any.whl yanked bad'], '2.0'],
    ['>=1,<2', pure('0.9', '1.0', '1.5', '2.0'), '1.5'],
    ['~=1.2', pure('1.1', '1.2', '1.9', '2.0'), '1.9'],
    ['==1.*', pure('1.1', '1.9', '2.0'), '1.9'],
    ['!=2.0', pure('1.9', '2.0'), '1.9'],
    ['>=2', pure('1.0', '2.0b1', '2.1rc1'), '2.1rc1'],
    ['>=1', [...pure('1.0'), 'm-2.0-py3-none-any.whl yanked bad'], '1.0'],
  ])('%s of %j', (revision, names, version) => {
    expect(chosen(revision, names)).toBe(`m-${version}-py3-none-any.whl`);
  });

  it.each(['latest', 'not a version', '^1.0', '>=1 || <2'])('%s is USAGE', (revision) => {
    expect(refused(revision, pure('1.0')).code).toBe('USAGE');
  });

  it.each(['9.0', '>=9', '1.0/m-1.0-py2-none-any.whl'])(
    '%s is NOT_FOUND, naming what there is',
    (revision) => {
      const error = refused(revision, [...pure('1.0', '1.1'), 'm-1.0.tar.gz']);
      expect(error).toMatchObject({
        code: 'NOT_FOUND',
        details: { versions: expect.arrayContaining(['1.0', '1.1']) as string[] },
      });
    },
  );

  it.each<[string | undefined, readonly string[]]>([
    [undefined, ['m-1.0.tar.gz', 'm-2.0.zip']],
    ['2.0', [...pure('1.0'), 'm-2.0.tar.gz']],
  ])('%s of %j is UNSUPPORTED: only a source distribution', (revision, names) => {
    const error = refused(revision, names);
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.message).toContain('source distribution');
    expect(error.hint).toContain('runs code');
  });
});

describe('the wheel of a version', () => {
  const all = [
    'm-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl',
    'm-1.0-cp312-cp312-manylinux_2_17_x86_64.whl',
    'm-1.0-cp39-cp39-manylinux_2_17_x86_64.whl',
    'm-1.0-cp312-cp312-musllinux_1_2_x86_64.whl',
    'm-1.0-cp312-cp312-manylinux2014_aarch64.whl',
    'm-1.0-cp312-cp312-macosx_11_0_arm64.whl',
    'm-1.0-cp312-cp312-macosx_10_9_universal2.whl',
    'm-1.0-cp312-cp312-macosx_10_9_x86_64.whl',
    'm-1.0-cp312-cp312-win_amd64.whl',
    'm-1.0-cp312-cp312-win32.whl',
  ];
  it.each<[Machine, string]>([
    [LINUX, 'm-1.0-cp312-cp312-manylinux_2_17_x86_64.whl'],
    [{ platform: 'linux', arch: 'arm64' }, 'm-1.0-cp312-cp312-manylinux2014_aarch64.whl'],
    [{ platform: 'darwin', arch: 'arm64' }, 'm-1.0-cp312-cp312-macosx_11_0_arm64.whl'],
    [{ platform: 'darwin', arch: 'x64' }, 'm-1.0-cp312-cp312-macosx_10_9_x86_64.whl'],
    [{ platform: 'win32', arch: 'x64' }, 'm-1.0-cp312-cp312-win_amd64.whl'],
    [{ platform: 'win32', arch: 'ia32' }, 'm-1.0-cp312-cp312-win32.whl'],
  ])('for %j is %s, whatever the order', (machine, expected) => {
    expect(chosen(undefined, all, machine)).toBe(expected);
    expect(chosen(undefined, [...all].reverse(), machine)).toBe(expected);
  });

  it.each<[readonly string[], string]>([
    [[...all, 'm-1.0-py3-none-any.whl'], 'm-1.0-py3-none-any.whl'],
    [[...all, 'm-1.0-py2.py3-none-any.whl'], 'm-1.0-py2.py3-none-any.whl'],
    [['m-1.0-py2-none-any.whl', 'm-1.0-py3-none-any.whl'], 'm-1.0-py3-none-any.whl'],
    [
      ['m-1.0-1-py3-none-any.whl', 'm-1.0-2b-py3-none-any.whl', 'm-1.0-py3-none-any.whl'],
      'm-1.0-2b-py3-none-any.whl',
    ],
    [['m-1.0-cp38-abi3-manylinux_2_17_x86_64.whl', ...all], 'm-1.0-cp38-abi3-manylinux_2_17_x86_64.whl'],
    [['m-1.0-cp312-cp312-musllinux_1_2_x86_64.whl'], 'm-1.0-cp312-cp312-musllinux_1_2_x86_64.whl'],
    [['m-1.0-py3-none-manylinux_2_17_x86_64.whl'], 'm-1.0-py3-none-manylinux_2_17_x86_64.whl'],
    [
      ['other-1.0-py3-none-any.whl', 'm-broken.whl', '../m-1.0-py3-none-any.whl', 'M-1.0-py3-none-any.whl'],
      'M-1.0-py3-none-any.whl',
    ],
  ])('of %j is %s', (names, expected) => {
    expect(chosen(undefined, names)).toBe(expected);
  });

  it('can be named, whatever the machine', () => {
    expect(chosen('1.0/m-1.0-cp312-cp312-win32.whl', all)).toBe('m-1.0-cp312-cp312-win32.whl');
  });

  it('falls back to an older version that this machine can take', () => {
    expect(chosen(undefined, ['m-2.0-cp312-cp312-win32.whl', 'm-1.0-py3-none-any.whl'])).toBe(
      'm-1.0-py3-none-any.whl',
    );
  });

  it('is UNSUPPORTED where only other machines have one, and says how to name it', () => {
    const error = refused('1.0', ['m-1.0-cp312-cp312-win32.whl']);
    expect(error.code).toBe('UNSUPPORTED');
    expect(error.hint).toContain('pypi:m@1.0/m-1.0-cp312-cp312-win32.whl');
  });

  it('is universal only without a platform and an interface', () => {
    const universal = wheelsOf('m', files('m-1.0-py3-none-any.whl', 'm-1.0-cp3-abi3-any.whl', ...all)).filter(
      isUniversal,
    );
    expect(universal.map((wheel) => wheel.file.filename)).toEqual(['m-1.0-py3-none-any.whl']);
  });
});

import { describe, expect, it } from 'vitest';
import { keyOf } from '../../src/ci/key.js';
import type { Lock, LockedModel } from '../../src/lock-file.js';

const one: LockedModel = {
  asked: { reference: 'org/one' },
  reference: 'hf:org/one@1',
  hub: 'hf',
  id: 'org/one',
  revision: '1',
  files: [{ path: 'a', size: 1 }],
};
const lock: Lock = { version: 1, models: [one] };
const key = (models: readonly LockedModel[], tools = {}, platform = 'linux-x64'): string =>
  keyOf({ version: 1, models: [...models] }, tools, platform).key;

describe('the key of a CI cache', () => {
  it('is of the lock, the toolchains and the platform, and the same on every machine', () => {
    expect(keyOf(lock, { openvino: 'aa' }, 'linux-x64')).toEqual({
      key: 'modeldl-v1-linux-x64-2ce19f2b93ace5fcdf44e6c0019a31e9',
      prefix: 'modeldl-v1-linux-x64-',
      platform: 'linux-x64',
      layout: 'v1',
    });
  });

  it('changes with each of them, and with no order', () => {
    const keys = [
      key([one]),
      key([{ ...one, revision: '2' }]),
      key([{ ...one, files: [{ path: 'a', size: 2 }] }]),
      key([one], { openvino: 'aa' }),
      key([one], { openvino: 'bb' }),
      key([one], {}, 'darwin-arm64'),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(key([one], { a: '1', b: '2' })).toBe(key([one], { b: '2', a: '1' }));
  });

  it('is a name that every CI system takes', () => {
    expect(key([one])).toMatch(/^[a-z0-9-]{1,100}$/);
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { COMMIT, openedStore, putConversion, putModel, sha256Of, type TestStore } from '../helpers/store.js';

const PINNED = `hf:org/name@${COMMIT}`;

let world: World;
let store: TestStore;

beforeEach(async () => {
  world = await createWorld();
  store = await openedStore(world.cacheDir);
});

afterEach(async () => {
  await world.remove();
});

async function listed(): Promise<readonly string[]> {
  const { stdout } = await world.run('list', '--quiet');
  return stdout === '' ? [] : stdout.split('\n');
}

describe('modeldl remove, when several conversions match', () => {
  it('removes none of them and names each by its key', async () => {
    const origin = await putModel(store, { 'model.onnx': 'bytes' });
    await putConversion(store, origin, { precision: 'int8', seed: 'ratio=1' });
    await putConversion(store, origin, { precision: 'int8', seed: 'ratio=0.8' });
    const keys = ['ratio=1', 'ratio=0.8'].map((seed) => `${PINNED}+${sha256Of(seed).slice(0, 8)}`);

    for (const words of [['hf:org/name+int8-cpu'], ['hf:org/name', '--precision', 'int8']]) {
      const { exitCode, stderr } = await world.run('remove', ...words, '-y');
      expect(exitCode).toBe(2);
      for (const key of keys) expect(stderr).toContain(key);
    }
    expect(await listed()).toHaveLength(3);

    expect((await world.run('remove', keys[0] ?? '', '-y')).exitCode).toBe(0);
    expect(await listed()).toEqual([PINNED, expect.stringContaining(PINNED) as string]);
    expect((await world.run('remove', 'hf:org/name', '-y')).exitCode).toBe(0);
    expect(await listed()).toEqual([]);
  });
});

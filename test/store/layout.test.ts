import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assertWritable, openStore } from '../../src/store/layout.js';
import { openedStore, temporaryDirectory } from '../helpers/store.js';

describe('opening a store', () => {
  it('marks the cache for backup programs, and leaves a marked one alone', async () => {
    const cacheDir = await temporaryDirectory();
    await openedStore(cacheDir);
    const tag = await readFile(join(cacheDir, 'CACHEDIR.TAG'), 'utf8');
    expect(tag.split('\n')[0]).toBe('Signature: 8a477f597d28d172789f06886806bc55');
    await writeFile(join(cacheDir, 'CACHEDIR.TAG'), 'mine');
    await openedStore(cacheDir);
    expect(await readFile(join(cacheDir, 'CACHEDIR.TAG'), 'utf8')).toBe('mine');
  });

  it('writes nothing when asked to read only, and says so where a write is needed', async () => {
    const cacheDir = await temporaryDirectory();
    const store = await openStore({ cacheDir, durability: 'lazy', emit: () => undefined, readOnly: true });
    expect(await readdir(cacheDir)).toEqual([]);
    expect(() => {
      assertWritable(store);
    }).toThrow(expect.objectContaining({ code: 'DISK', details: { file: cacheDir } }));
  });

  it('refuses a cache path that is a file', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'cache'), '');
    await expect(openedStore(join(directory, 'cache'))).rejects.toMatchObject({
      code: 'DISK',
      details: { file: join(directory, 'cache') },
    });
  });

  it('finds what an earlier version of the layout is missing', async () => {
    const cacheDir = await temporaryDirectory();
    await mkdir(join(cacheDir, 'v1', 'records'), { recursive: true });
    const store = await openedStore(cacheDir);
    expect(await readdir(store.root)).toContain('removed');
  });
});

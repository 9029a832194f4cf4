/** What is tried on a real file system, and what of it is seen when it lies. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { linksIn, namesIn, probeStore, runsPrograms, whyNoClaims, withProbe } from '../../src/doctor/disk.js';
import { existingAncestor } from '../../src/store/space.js';
import { temporaryDirectory, temporaryStore } from '../helpers/store.js';

const live = new AbortController().signal;

describe('what is tried', () => {
  it('finds what the file system here can do, and leaves nothing', async () => {
    const directory = await temporaryDirectory();
    const store = await temporaryStore();
    const found = await withProbe(directory, async (probe) => {
      const trial = await probeStore(store, probe);
      return {
        links: await linksIn(trial),
        claims: await whyNoClaims(trial, live),
        names: await namesIn(probe),
        runs: await runsPrograms(probe),
      };
    });
    expect(found).toMatchObject({
      links: { hardlink: true, symlink: true },
      names: { longest: 255 },
      runs: true,
    });
    expect(found.claims).toBeUndefined();
    expect(await readdir(directory)).toEqual([]);
  });

  it('leaves nothing when it fails', async () => {
    const directory = await temporaryDirectory();
    await expect(withProbe(directory, () => Promise.reject(new Error('midway')))).rejects.toThrow('midway');
    expect(await readdir(directory)).toEqual([]);
  });

  it('is tried where a directory is, however much of a path is missing', async () => {
    const directory = await temporaryDirectory();
    expect(await existingAncestor(join(directory, 'a', 'b'))).toBe(directory);
  });
});

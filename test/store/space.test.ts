import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkSpace, freeBytes } from '../../src/store/space.js';
import { temporaryDirectory } from '../helpers/store.js';

describe('a full disk is found first (promise 7)', () => {
  it('what fits passes, in directories that do not exist yet', async () => {
    const directory = join(await temporaryDirectory(), 'not/yet/there');
    await checkSpace([{ directory, bytes: 1, what: 'the cache' }]);
  });

  it('what does not is refused, naming place and bytes', async () => {
    const directory = await temporaryDirectory();
    const bytes = 2 ** 60;
    await expect(checkSpace([{ directory, bytes, what: 'the cache' }])).rejects.toMatchObject({
      code: 'DISK',
      message: expect.stringContaining(directory) as string,
      hint: expect.stringContaining('--no-space-check') as string,
      details: { neededBytes: bytes },
    });
  });

  it('needs of one file system are summed', async () => {
    const directory = await temporaryDirectory();
    // A little over half: each fits alone, both do not, whatever else is being written meanwhile.
    const bytes = Math.floor((await freeBytes(directory)) * 0.6);
    await checkSpace([{ directory, bytes, what: 'the cache' }]);
    await expect(
      checkSpace([
        { directory, bytes, what: 'the cache' },
        { directory: join(directory, 'out'), bytes, what: 'the output' },
      ]),
    ).rejects.toMatchObject({ message: expect.stringContaining('the cache and the output') as string });
  });

  it('what would fit but for the reserve is refused by a sum that holds, with a way out of that place', async () => {
    const directory = await temporaryDirectory();
    // In the middle of the reserve, whatever else is being written or removed meanwhile.
    const bytes = (await freeBytes(directory)) - 8 * 1024 * 1024;
    await expect(checkSpace([{ directory, bytes, what: 'the output' }])).rejects.toMatchObject({
      message: expect.stringMatching(/\d+ bytes needed and 16777216 to stay free, \d+ bytes free$/) as string,
      hint: 'free space there, choose another directory with `--output`, or pass `--no-space-check`',
    });
  });

  it('free is what a user may still write', async () => {
    const directory = await temporaryDirectory();
    const { blocks, bsize } = await statfs(directory);
    expect(await freeBytes(directory)).toBeLessThanOrEqual(blocks * bsize);
  });
});

import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { calibrationDigest, findCalibrationData } from '../../converters/calibration.js';
import { temporaryDirectory } from '../helpers/store.js';

async function folder(...paths: readonly string[]): Promise<string> {
  const directory = await temporaryDirectory();
  for (const path of paths) {
    await mkdir(join(directory, path, '..'), { recursive: true });
    await writeFile(join(directory, path), `bytes of ${path}`);
  }
  return directory;
}

const namesOf = ({ files }: { readonly files: readonly { readonly name: string }[] }): readonly string[] =>
  files.map(({ name }) => name);

describe('findCalibrationData', () => {
  it('takes images wherever they lie, in the order of their paths', async () => {
    const directory = await folder('b/2.PNG', 'a.jpg', 'notes.txt', 'b/10.png', '.cache');
    await symlink(join(directory, 'a.jpg'), join(directory, 'z.jpg'));
    const found = await findCalibrationData(directory, 300);
    expect(found).toMatchObject({ kind: 'images', found: 4 });
    expect(namesOf(found)).toEqual(['a.jpg', 'b/10.png', 'b/2.PNG', 'z.jpg']);
  });

  it('follows links to folders, once round, and leaves out what is hidden', async () => {
    const [directory, other] = [await folder('a/1.png', 'a/._1.png', '.trash/2.png'), await folder('3.png')];
    await symlink(other, join(directory, 'b'));
    await symlink(directory, join(directory, 'a', 'round'));
    expect(namesOf(await findCalibrationData(directory, 300))).toEqual(['a/1.png', 'b/3.png']);
  });

  it('spreads fewer images over all of them', async () => {
    const directory = await folder(...[0, 1, 2, 3, 4, 5, 6, 7, 8].map((number) => `${number}.png`));
    expect(namesOf(await findCalibrationData(directory, 3))).toEqual(['0.png', '3.png', '6.png']);
    expect(namesOf(await findCalibrationData(directory, 9))).toHaveLength(9);
  });

  it('takes arrays, of which none are left out, since one file may hold all samples', async () => {
    const directory = await folder('a.npz', 'b.npz');
    expect(await findCalibrationData(directory, 1)).toMatchObject({ kind: 'arrays', found: 2 });
    const one = await findCalibrationData(join(directory, 'a.npz'), 1);
    expect(one).toMatchObject({ kind: 'arrays', bytes: 'bytes of a.npz'.length });
    expect(namesOf(one)).toEqual(['a.npz']);
  });

  it.each([
    ['nothing', [], 'it is an empty folder'],
    ['no sample', ['labels.txt'], 'labels.txt is neither image nor array'],
    ['both kinds', ['a.png', 'b.npy'], 'it holds both images and arrays, such as a.png and b.npy'],
  ])('refuses a folder that holds %s', async (_what, paths, reason) => {
    const directory = await folder(...paths);
    await expect(findCalibrationData(directory, 300)).rejects.toMatchObject({
      code: 'USAGE',
      message: `Cannot calibrate with ${directory}: ${reason}`,
      hint: expect.stringContaining('expected is a folder of images') as unknown,
      details: { file: directory },
    });
  });

  it('refuses what is not there, and an image that was moved away', async () => {
    const directory = await folder('a.png');
    const absent = join(directory, 'absent');
    await expect(findCalibrationData(absent, 300)).rejects.toThrow('no such file or folder');
    await symlink(absent, join(directory, 'b.png'));
    await expect(findCalibrationData(directory, 300)).rejects.toThrow(`${join(directory, 'b.png')} is gone`);
  });
});

describe('calibrationDigest', () => {
  const digestOf = async (directory: string): Promise<string> =>
    calibrationDigest(await findCalibrationData(directory, 300));

  it('is of names and bytes, not of the place', async () => {
    const [one, other] = [await folder('a.png', 'b/c.png'), await folder('b/c.png', 'a.png')];
    const before = await digestOf(one);
    expect(await digestOf(other)).toBe(before);
    await writeFile(join(other, 'a.png'), 'other bytes');
    expect(await digestOf(other)).not.toBe(before);
    await rename(join(one, 'a.png'), join(one, 'z.png'));
    expect(await digestOf(one)).not.toBe(before);
  });

  it('of one file is of its bytes', async () => {
    const directory = await folder('a.npz');
    const before = await digestOf(join(directory, 'a.npz'));
    await rename(join(directory, 'a.npz'), join(directory, 'b.npz'));
    expect(await digestOf(join(directory, 'b.npz'))).toBe(before);
  });
});

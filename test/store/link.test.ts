import { execFileSync } from 'node:child_process';
import { constants, linkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import {
  chmod,
  copyFile,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { blobPath } from '../../src/store/blobs.js';
import { createLinker, failureOf, workingMode } from '../../src/store/link.js';
import { listModels, physicalBytes, publishModel } from '../../src/store/models.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { keyOf, putModel, recordOf, sha256Of, temporaryDirectory, temporaryStore } from '../helpers/store.js';

async function source(directory: string): Promise<string> {
  const path = join(directory, 'source');
  await writeFile(path, 'bytes');
  await utimes(path, 1_700_000_000, 1_700_000_000);
  await chmod(path, 0o444);
  return path;
}

async function reflinks(directory: string): Promise<boolean> {
  const probe = join(directory, 'probe');
  await writeFile(probe, 'x');
  return copyFile(probe, `${probe}2`, constants.COPYFILE_FICLONE_FORCE).then(
    () => true,
    () => false,
  );
}

const OTHER = '/dev/shm';
const otherFileSystem = ((): boolean => {
  try {
    return statSync(OTHER).dev !== statSync(tmpdir()).dev;
  } catch {
    return false;
  }
})();
const withSecondFileSystem = requirePeer('a second file system at /dev/shm', otherFileSystem);

describe('one copy (promise 3)', () => {
  it('a tree shares its bytes with the blob, by the best way this file system has', async () => {
    const directory = await temporaryDirectory();
    const from = await source(directory);
    const mode = await createLinker(['reflink', 'hardlink', 'copy']).place(from, join(directory, 'a/b/to'));
    expect(mode).toBe((await reflinks(directory)) ? 'reflink' : 'hardlink');
    const to = await stat(join(directory, 'a/b/to'));
    expect(to.nlink).toBe(mode === 'hardlink' ? 2 : 1);
    expect([to.mode & 0o777, to.mtimeMs]).toEqual([0o444, 1_700_000_000_000]);
  });

  it('an independent copy keeps time and permissions and shares nothing', async () => {
    const directory = await temporaryDirectory();
    const from = await source(directory);
    const linker = createLinker(['copy']);
    expect(await linker.place(from, join(directory, 'to'))).toBe('copy');
    const to = await stat(join(directory, 'to'));
    expect([to.nlink, to.mode & 0o777, to.mtimeMs]).toEqual([1, 0o444, 1_700_000_000_000]);
  });

  withSecondFileSystem('another file system gets copies, said once (EXDEV)', async () => {
    const from = await source(await temporaryDirectory());
    const elsewhere = await temporaryDirectory(OTHER);
    let told = 0;
    const linker = createLinker(['reflink', 'hardlink', 'copy'], () => (told += 1));
    expect(await linker.place(from, join(elsewhere, 'a'))).toBe('copy');
    expect(await linker.place(from, join(elsewhere, 'b'))).toBe('copy');
    expect(await readFile(join(elsewhere, 'b'), 'utf8')).toBe('bytes');
    expect(told).toBe(1);
  });

  withSecondFileSystem('what had to be copied into trees is said once, and counted', async () => {
    const store = await temporaryStore();
    // Blobs that no tree can be linked to.
    const blobs = join(store.root, 'blobs', 'sha256');
    const elsewhere = await temporaryDirectory(OTHER);
    await rm(blobs, { recursive: true });
    await symlink(elsewhere, blobs);
    const files = { 'a.bin': 'four', 'b.bin': 'sixsix', 'again.bin': 'four' };
    for (const text of Object.values(files)) {
      await mkdir(dirname(blobPath(store, sha256Of(text))), { recursive: true });
      await writeFile(blobPath(store, sha256Of(text)), text);
      await utimes(blobPath(store, sha256Of(text)), 1_700_000_000, 1_700_000_000);
    }
    const model = await publishModel(store, keyOf(), recordOf(keyOf(), files));
    if ('missing' in model) throw new Error('Missing blobs');
    expect(model.record.copiedBytes).toBe(14);
    // The tree's 14 bytes, and two blobs of 4 and 6.
    expect(physicalBytes([model])).toBe(24);
    const other = keyOf('org/other');
    await publishModel(store, other, recordOf(other, { 'a.bin': 'four' }));
    expect(physicalBytes(await listModels(store))).toBe(28);
    expect(store.events).toEqual([
      { type: 'note', message: 'No links can be made here: models take their space twice' },
    ]);
  });

  it('what could be linked is counted once, whatever holds it', async () => {
    const store = await temporaryStore();
    const one = await putModel(store, { 'a.bin': 'four' });
    const two = await putModel(store, { 'b.bin': 'four', 'c.bin': 'sixsix' }, keyOf('org/other'));
    expect([one.record.copiedBytes, two.record.copiedBytes]).toEqual([undefined, undefined]);
    expect(physicalBytes([one, two])).toBe(10);
    expect(store.events).toEqual([]);
  });

  withSecondFileSystem('where only links will do, the reason is the error', async () => {
    const from = await source(await temporaryDirectory());
    const elsewhere = await temporaryDirectory(OTHER);
    await expect(createLinker(['hardlink']).place(from, join(elsewhere, 'a'))).rejects.toMatchObject({
      code: 'EXDEV',
    });
  });

  const immutable = ((): boolean => {
    const probe = join(tmpdir(), `modeldl-immutable-${process.pid}`);
    try {
      writeFileSync(probe, '');
      execFileSync('chattr', ['+i', probe], { stdio: 'ignore' });
      execFileSync('chattr', ['-i', probe], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    } finally {
      rmSync(probe, { force: true });
    }
  })();
  requirePeer('root and chattr', immutable)('a file that may not be linked is copied (EPERM)', async () => {
    const directory = await temporaryDirectory();
    const from = await source(directory);
    execFileSync('chattr', ['+i', from]);
    onTestFinished(() => {
      execFileSync('chattr', ['-i', from]);
    });
    const told: string[] = [];
    const linker = createLinker(['hardlink', 'copy'], () => told.push('copies'));
    expect(await linker.place(from, join(directory, 'to'))).toBe('copy');
    expect(await linker.place(from, join(directory, 'again'))).toBe('copy');
    expect(told).toEqual(['copies']);
    // It says nothing about the next file, and where only links will do it is an error.
    expect(await linker.place(join(directory, 'to'), join(directory, 'next'))).toBe('hardlink');
    const strict = createLinker(['hardlink']).place(from, join(directory, 'strict'));
    await expect(strict).rejects.toMatchObject({ code: 'EPERM' });
  });

  const ext = hasProgram('stat', ['-f', tmpdir()])
    ? execFileSync('stat', ['-f', '-c', '%T', tmpdir()], { encoding: 'utf8' }).startsWith('ext')
    : false;
  // ext4 takes 65,000 names for one file.
  requirePeer('a file system that limits links (ext4)', ext)(
    'a file that has no link left is copied, and the next file is linked again (EMLINK)',
    async () => {
      const directory = await temporaryDirectory();
      const from = await source(directory);
      for (let count = 1; count < 65_000; count += 1) linkSync(from, join(directory, `link-${count}`));
      const linker = createLinker(['hardlink', 'copy']);
      expect(await linker.place(from, join(directory, 'full'))).toBe('copy');
      await writeFile(join(directory, 'other'), 'x');
      expect(await linker.place(join(directory, 'other'), join(directory, 'next'))).toBe('hardlink');
    },
  );

  it('the way that works is known beforehand, and nothing is left of trying', async () => {
    const store = await temporaryStore();
    const shares = await reflinks(await temporaryDirectory());
    const modes = ['reflink', 'hardlink', 'copy'] as const;
    expect(await workingMode(store, modes)).toBe(shares ? 'reflink' : 'hardlink');
    expect(await workingMode(store, ['reflink', 'copy'])).toBe(shares ? 'reflink' : 'copy');
    expect(await readdir(join(store.root, 'tmp'))).toEqual([]);
    await rm(join(store.root, 'tmp'), { recursive: true });
    expect(await workingMode(store, modes)).toBe('copy');
  });

  it('the same bytes under other names, revisions and hubs are one blob', async () => {
    const store = await temporaryStore();
    const one = await putModel(store, { 'a.bin': 'same', 'copy/b.bin': 'same' });
    const two = await putModel(store, { 'c.bin': 'same' }, { hub: 'npm', id: 'pkg', revision: '1.0.0' });
    const inodes = [`${one.directory}/a.bin`, `${one.directory}/copy/b.bin`, `${two.directory}/c.bin`].map(
      (path) => statSync(path).ino,
    );
    if (!(await reflinks(await temporaryDirectory()))) expect(new Set(inodes).size).toBe(1);
    const { physicalBytes } = await import('../../src/store/models.js');
    expect(physicalBytes([one, two])).toBe(4);
    const copied = { ...two, record: { ...two.record, copiedBytes: 4 } };
    expect(physicalBytes([one, copied])).toBe(8);
  });
});

describe('a way that fails', () => {
  it.each<readonly [Parameters<typeof failureOf>, another: boolean, forGood: boolean]>([
    // No reflinks: Linux, macOS beyond APFS or to another volume, Windows.
    [['reflink', 'EOPNOTSUPP', 'linux'], true, true],
    [['reflink', 'ENOTSUP', 'darwin'], true, true],
    [['reflink', 'EXDEV', 'darwin'], true, true],
    [['reflink', 'ENOSYS', 'win32'], true, true],
    // No links: FAT on macOS, exFAT on Windows, another volume.
    [['hardlink', 'ENOTSUP', 'darwin'], true, true],
    [['hardlink', 'EISDIR', 'win32'], true, true],
    [['hardlink', 'EXDEV', 'win32'], true, true],
    // Not to this file: as many links as it may have, another user's.
    [['hardlink', 'EMLINK', 'darwin'], true, false],
    [['hardlink', 'UNKNOWN', 'win32'], true, false],
    [['hardlink', 'EPERM', 'linux'], true, false],
    // What no other way mends.
    [['hardlink', 'EISDIR', 'linux'], false, false],
    [['reflink', 'ENOSPC', 'linux'], false, false],
    [['hardlink', 'EEXIST', 'win32'], false, false],
    [['reflink', 'UNKNOWN', 'win32'], false, false],
    [['copy', 'EXDEV', 'linux'], false, false],
  ])('%j: another way %j, for good %j', (failure, another, forGood) => {
    expect(failureOf(...failure)).toEqual({ another, forGood });
  });
});

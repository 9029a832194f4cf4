import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectories } from '../src/directories.js';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'modeldl-directories-'));
});

afterEach(() => rm(root, { recursive: true, force: true }));

describe('makeDirectories', () => {
  it.each([['a'], ['a/b/c'], ['a/../b']])('makes %s', async (path) => {
    await makeDirectories(join(root, path));
    expect((await stat(join(root, path))).isDirectory()).toBe(true);
  });

  it('leaves alone what is there, and is done by many at once', async () => {
    await mkdir(join(root, 'a'));
    await writeFile(join(root, 'a', 'mine'), 'mine');
    await Promise.all(Array.from({ length: 20 }, () => makeDirectories(join(root, 'a', 'b', 'c', 'd'))));
    expect(existsSync(join(root, 'a', 'mine'))).toBe(true);
  });

  it.each([
    ['a file', 'file', 'EEXIST'],
    ['something below a file', 'file/below', 'ENOTDIR'],
    ['a link that leads nowhere', 'link', 'EEXIST'],
    ['something below such a link', 'link/below', 'EEXIST'],
  ])('refuses %s', async (_what, path, code) => {
    await writeFile(join(root, 'file'), '');
    await symlink(join(root, 'nowhere'), join(root, 'link'));
    await expect(makeDirectories(join(root, path))).rejects.toMatchObject({ code });
  });

  it.runIf(existsSync('/proc/self'))('ends where a file system takes none, with the reason', async () => {
    await expect(makeDirectories('/proc/modeldl/below')).rejects.toMatchObject({
      code: 'DISK',
      message: expect.stringContaining('/proc/modeldl') as unknown,
    });
  });
});

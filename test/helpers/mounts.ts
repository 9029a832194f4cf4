/** File systems of their own for tests: small ones that fill up, and read-only views. Needs root and `mount`. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';

const READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"';

/** Can this process mount file systems, and in namespaces of their own? */
export const canMount = ((): boolean => {
  try {
    execFileSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs tmpfs "$0" && umount "$0"', tmpdir()], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
})();

export interface SmallDisk {
  readonly directory: string;
  /** Options of tmpfs(5): `size=20M`, `nr_inodes=40`. */
  resize(options: string): Promise<void>;
}

/** A tmpfs that everybody may write, gone when the test ends. */
export async function smallDisk(options: string): Promise<SmallDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-disk-'));
  await execa('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]);
  onTestFinished(async () => {
    await execa('umount', [directory]);
    await rm(directory, { recursive: true });
  });
  await chmod(directory, 0o777);
  return {
    directory,
    resize: async (changed) => {
      await execa('mount', ['-o', `remount,${changed}`, directory]);
    },
  };
}

/** Can this process mount exFAT, which has no links, no permissions, and numbers its files anew with every mount? */
export const canMountExfat = ((): boolean => {
  try {
    for (const program of ['mkfs.exfat', 'mount.exfat-fuse', 'losetup'])
      execFileSync('sh', ['-c', 'command -v "$0"', program], { stdio: 'ignore' });
    return existsSync('/dev/fuse') && existsSync('/dev/loop-control');
  } catch {
    return false;
  }
})();

export interface ExfatDisk {
  readonly directory: string;
  remount(): Promise<void>;
}

/** An exFAT of 256 MiB, gone when the test ends. */
export async function exfatDisk(): Promise<ExfatDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-exfat-'));
  const image = `${directory}.img`;
  await writeFile(image, '');
  await truncate(image, 256 * 1024 * 1024);
  await execa('mkfs.exfat', [image]);
  const { stdout: device } = await execa('losetup', ['-f', '--show', image]);
  const mount = (): Promise<unknown> => execa('mount.exfat-fuse', [device, directory]);
  await mount();
  onTestFinished(async () => {
    await execa('umount', [directory]);
    await execa('losetup', ['-d', device]);
    await rm(directory, { recursive: true });
    await rm(image);
  });
  return {
    directory,
    remount: async () => {
      await execa('umount', [directory]);
      await mount();
    },
  };
}

/** What runs a program in a view where a directory is mounted read-only, for `World.start`. */
export function withReadOnly(directory: string): readonly string[] {
  return ['unshare', '-m', 'sh', '-c', READ_ONLY, directory];
}

/** A model as a tool shall see it: only what is read, under a name of its own, beside nothing else. */
import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * Links files of `root` into a new directory.
 * @param paths relative to `root`, `/`-separated
 */
export async function linkTree(root: string, paths: readonly string[], directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const path of paths) {
    const link = join(directory, path);
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(root, path), link);
  }
}

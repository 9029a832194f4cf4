/** Replacing a file that belongs to others as well: whole, and only as it was read. */
import { chmod, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { flush } from './durability.js';
import { uniqueName } from './layout.js';

/** Where a path leads: the file behind links, else the path itself. */
export async function realFile(path: string): Promise<string> {
  return realpath(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return path;
    throw diskError(error, path, 'read');
  });
}

/** The text of a file; undefined when there is none. @throws ModeldlError DISK, USAGE for what is no file */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    // Whoever opens a FIFO waits for its writer.
    if (!(await stat(path)).isFile()) {
      throw new ModeldlError('USAGE', `Not a file: ${path}`, {
        hint: 'move it away',
        details: { file: path },
      });
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw diskError(error, path, 'read');
  }
}

/**
 * Changes a file by what it holds. Readers see the old or the new text, never half; it is on the disk when this
 * returns. What another program wrote meanwhile is read again instead of lost; one that is written between that look
 * and the rename cannot be seen, so processes of modeldl take turns by a claim.
 *
 * @param change returns the new text; called again when the file changed meanwhile
 * @throws ModeldlError DISK, and what `change` throws
 */
export async function replaceText(
  path: string,
  change: (before: string | undefined) => string,
): Promise<void> {
  const target = await realFile(path);
  const directory = dirname(target);
  const temporary = join(directory, `.modeldl-${uniqueName()}`);
  try {
    await makeDirectories(directory);
    for (;;) {
      const before = await textOf(target);
      const after = change(before);
      if (after === before) return;
      const file = await open(temporary, 'w');
      try {
        await file.writeFile(after);
        await file.sync();
      } finally {
        await file.close();
      }
      if (before !== undefined) await chmod(temporary, (await stat(target)).mode & 0o7777);
      if ((await textOf(target)) !== before) continue;
      await rename(temporary, target);
      await flush(directory);
      return;
    }
  } catch (error) {
    throw diskError(error, target);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Directories: made with those above them, or the reason why not; and removed when they were temporary. */
import { access, constants, mkdir, realpath, rm, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { ModeldlError, systemErrorCode } from './errors.js';

/**
 * As `mkdir -p`. Node.js' own hides why a file system refused (it reports its look at what is not there), and never
 * ends where one takes no directories at all, such as `/proc`.
 */
export async function makeDirectories(directory: string): Promise<void> {
  const missing = await makeOne(directory);
  if (!missing) return;
  const parent = dirname(directory);
  if (parent !== directory) await makeDirectories(parent);
  if (!(await makeOne(directory))) return;
  throw new ModeldlError('DISK', `Cannot make the directory ${directory}: its file system takes none there`, {
    hint: 'choose another directory',
    details: { file: directory },
  });
}

/** @returns whether what is above it is missing */
async function makeOne(directory: string): Promise<boolean> {
  try {
    await mkdir(directory);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') return true;
    if (code !== 'EEXIST' || !(await isDirectory(directory))) throw error;
  }
  return false;
}

/** A link that leads nowhere is none. */
export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

/** Is a path, links followed as far as it exists, inside the directory? */
export async function isBelow(directory: string, path: string): Promise<boolean> {
  let existing = path;
  let real: string | undefined;
  while (real === undefined) {
    real = await realpath(existing).catch(() => undefined);
    if (real === undefined) existing = dirname(existing);
  }
  const way = relative(await realpath(directory), join(real, relative(existing, path)));
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** Does the file system of a path take no changes? */
export async function isReadOnly(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => false,
    (error: unknown) => systemErrorCode(error) === 'EROFS',
  );
}

/**
 * Removes what was temporary. On a disk that failed it stays, for a sweep to find: that must not hide the failure that
 * led here.
 */
export async function discard(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

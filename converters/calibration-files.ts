/** Files that calibration data are made of, in an order that no locale changes, and what tells one from another. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { diskError, ModeldlError, systemErrorCode } from '../src/errors.js';

/** Undefined for what is not there. @throws ModeldlError DISK */
export async function kindOf(path: string): Promise<'file' | 'directory' | undefined> {
  try {
    const found = await stat(path);
    return found.isDirectory() ? 'directory' : found.isFile() ? 'file' : undefined;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw unreadable(path, error);
  }
}

/**
 * Absolute paths of the files below a folder, sorted, with links that lead nowhere: whoever wants such a file has to say
 * so. Hidden ones are left out, since systems and editors keep theirs beside images. @throws ModeldlError DISK
 */
export async function filesBelow(directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  await collect(directory, found, []);
  return found.sort(inOrder);
}

/** `above` keeps links from leading round. */
async function collect(directory: string, found: string[], above: readonly string[]): Promise<void> {
  try {
    const real = await realpath(directory);
    if (above.includes(real)) return;
    for (const name of await readdir(directory)) {
      if (name.startsWith('.')) continue;
      const path = join(directory, name);
      if ((await kindOf(path)) === 'directory') await collect(path, found, [...above, real]);
      else found.push(path);
    }
  } catch (error) {
    throw unreadable(directory, error);
  }
}

/** By code units, as Python sorts, and not by language. */
export function inOrder(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** sha256 of a file. @throws ModeldlError DISK, USAGE when it is gone */
export async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  return hash.digest('hex');
}

function unreadable(path: string, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (code === 'ENOENT') {
    return new ModeldlError('USAGE', `Calibration data are gone: ${path}`, {
      hint: 'give data that stay while they are read; a link may lead nowhere',
      cause: error,
      details: { file: path },
    });
  }
  if (code !== 'EACCES' && code !== 'EPERM') return diskError(error, path, 'read');
  return new ModeldlError('DISK', `Cannot read ${path}: permission denied`, {
    hint: 'check who may read it with `ls -ld`',
    cause: error,
    details: { file: path },
  });
}

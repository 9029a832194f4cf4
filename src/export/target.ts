/** Where an export goes: a directory, an archive, or stdout; and what is refused as such. */
import { lstat, realpath, stat } from 'node:fs/promises';
import { dirname, join, basename, isAbsolute, relative, resolve, sep } from 'node:path';
import type { Context } from '../context.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { requireCompression, type Compression } from '../pack.js';
import { requireSpace } from '../space.js';
import { OUTPUT } from '../store/space.js';

export type Target =
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'archive'; readonly path: string; readonly compression: Compression }
  | { readonly kind: 'stream' };

/** Archives that are not written, by what their names end in. */
const OTHER_ARCHIVES = /\.(tgz|tbz2?|txz|zip|7z|rar|gz|bz2|xz|zst|lz4)$/i;

/** @param text a path; `-` for stdout @throws ModeldlError USAGE, UNSUPPORTED where there is no zstd */
export function readTarget(cwd: string, text: string): Target {
  if (text === '-') return { kind: 'stream' };
  if (text === '')
    throw new ModeldlError('USAGE', 'The target has no name', {
      hint: 'name a directory, a file.tar or file.tar.zst, or `-` for stdout',
    });
  const path = resolve(cwd, text);
  if (/\.tar$/i.test(text)) return { kind: 'archive', path, compression: 'none' };
  if (/\.(tar\.zst|tzst)$/i.test(text)) {
    requireCompression('zstd');
    return { kind: 'archive', path, compression: 'zstd' };
  }
  if (!OTHER_ARCHIVES.test(text) || text.endsWith('/')) return { kind: 'directory', path };
  throw new ModeldlError('USAGE', `An archive is written as .tar or .tar.zst: ${text}`, {
    hint: 'name one of these; or write it to stdout, `-`, and pipe it into another program, such as `gzip`; a directory of that name ends in `/`',
    details: { file: path },
  });
}

/** Refuses a target in a cache, and one that a cache lies in. @throws ModeldlError USAGE */
export async function refuseInCache(context: Context, path: string): Promise<void> {
  const target = await realPlace(path);
  for (const { cacheDir } of [context.store, ...context.lower]) {
    const cache = await realPlace(cacheDir);
    const isIn = lies(target, cache);
    if (!isIn && !lies(cache, target)) continue;
    const why = isIn ? 'lies in the cache' : 'holds the cache';
    throw new ModeldlError('USAGE', `The target ${why} ${cacheDir}: ${path}`, {
      hint: 'choose a place outside: what is in the cache belongs to modeldl',
      details: { file: path },
    });
  }
}

function lies(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

/** Without links, as far as it is there. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (dirname(path) === path || systemErrorCode(error) === undefined) return path;
    return join(await realPlace(dirname(path)), basename(path));
  }
}

/** Refuses a file that could not be written. @throws ModeldlError USAGE, DISK */
export async function checkFile(path: string, overwrite: boolean, what: 'archive' | 'report'): Promise<void> {
  const parent = dirname(path);
  const above = await stat(parent).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
    throw targetError(error, path);
  });
  if (above?.isDirectory() !== true) {
    throw new ModeldlError('USAGE', `No such directory for the ${what}: ${parent}`, {
      hint: 'make it, or choose another place',
      details: { file: path },
    });
  }
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === true) {
    throw new ModeldlError('USAGE', `A directory has the name of the ${what}: ${path}`, {
      hint: 'choose another name',
      details: { file: path },
    });
  }
  if (found?.isFile() === false) {
    throw new ModeldlError('USAGE', `A device or pipe has the name of the ${what}: ${path}`, {
      hint: 'choose another name',
      details: { file: path },
    });
  }
  const entry = await lstat(path).catch(() => undefined);
  if (entry?.isSymbolicLink() === true) {
    throw new ModeldlError('USAGE', `A link has the name of the ${what}: ${path}`, {
      hint: 'name what it leads to, or remove it: the link would be replaced, and not what it leads to',
      details: { file: path },
    });
  }
  if (found === undefined || overwrite) return;
  throw new ModeldlError('USAGE', `The ${what} exists: ${path}`, {
    hint: `choose another name, or pass \`--overwrite\``,
    details: { file: path },
  });
}

/** Compares what will be written with what is free there. @throws ModeldlError DISK */
export async function requireRoom(context: Context, directory: string, bytes: number): Promise<void> {
  try {
    await requireSpace(context, [{ directory, bytes, what: OUTPUT }]);
  } catch (error) {
    throw targetError(error, directory);
  }
}

/** What went wrong at a target, with what to do there: not with the cache, and not with an option that there is not. */
export function targetError(error: unknown, path: string): unknown {
  const told = diskError(error, path);
  if (!(told instanceof ModeldlError)) return error;
  const { code, message, cause, details } = told;
  const isOwn = told === error;
  const hint = isOwn
    ? told.hint?.replaceAll(' with `--output`', '').replace('; the model is stored', '')
    : 'choose a target that you may write and that has room; nothing was left there';
  return new ModeldlError(code, message, { hint, cause, details });
}

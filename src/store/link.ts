/** Trees are reflinks of blobs, else hard links, else copies. */
import { constants, copyFile, chmod, link, mkdir, rm, stat, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemErrorCode } from '../errors.js';

export type LinkMode = 'reflink' | 'hardlink' | 'copy';

/** Errors that mean "not this way here", so that the next way is tried. */
const FALLS_THROUGH = new Set([
  'EPERM',
  'EXDEV',
  'EMLINK',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EINVAL',
  'ENOTTY',
]);

export interface Linker {
  /** Makes `to` from `from`, trying ways from the best that has not failed yet. Throws file system errors. */
  place(from: string, to: string): Promise<LinkMode>;
}

/**
 * @param modes ways to try, best first; a tree in the store takes all, an independent copy leaves out hard links
 * @param onFallback told once, when only copying worked
 */
export function createLinker(modes: readonly LinkMode[], onFallback?: () => void): Linker {
  const left = [...modes];
  return {
    async place(from, to) {
      for (;;) {
        const mode = left[0];
        if (mode === undefined) throw new Error(`No way left to place ${to}`);
        try {
          await placeBy(mode, from, to);
          return mode;
        } catch (error) {
          const code = systemErrorCode(error) ?? '';
          if (mode === 'copy' || !FALLS_THROUGH.has(code)) throw error;
          await rm(to, { force: true });
          // Too many links to one file says nothing about the next file.
          if (mode === 'hardlink' && code === 'EMLINK') {
            await placeBy('copy', from, to);
            return 'copy';
          }
          // The last way has failed: its own error says why.
          if (left.length === 1) throw error;
          left.shift();
          if (left[0] === 'copy') onFallback?.();
        }
      }
    },
  };
}

async function placeBy(mode: LinkMode, from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  if (mode === 'hardlink') {
    await link(from, to);
    return;
  }
  await copyFile(
    from,
    to,
    constants.COPYFILE_EXCL | (mode === 'reflink' ? constants.COPYFILE_FICLONE_FORCE : 0),
  );
  const { mtime, mode: permissions } = await stat(from);
  await chmod(to, permissions);
  await utimes(to, mtime, mtime);
}

/** Trees are reflinks of blobs, else hard links, else copies. */
import { linkSync } from 'node:fs';
import { constants, copyFile, chmod, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { platform } from 'node:process';
import { makeDirectories } from '../directories.js';
import { systemErrorCode } from '../errors.js';
import { inStore, uniqueName, type Store } from './layout.js';

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

/** A link on FAT and exFAT, and one more than NTFS takes (1,023), as Windows says it through Node.js. */
const WINDOWS_LINK = new Set(['EISDIR', 'UNKNOWN']);

export interface Failure {
  /** Another way is tried for this file. */
  readonly another: boolean;
  /** The way is tried no more for files after it. */
  readonly forGood: boolean;
}

/** What the failure of a way says of this file and of those after it. Pure, since few systems fail in every way. */
export function failureOf(mode: LinkMode, code: string, system: NodeJS.Platform): Failure {
  const isWindows = system === 'win32' && mode === 'hardlink' && WINDOWS_LINK.has(code);
  const another = mode !== 'copy' && (FALLS_THROUGH.has(code) || isWindows);
  // Too many links to one file, or that it is another user's, says nothing about the next file.
  const onlyThis = mode === 'hardlink' && ['EMLINK', 'EPERM', 'UNKNOWN'].includes(code);
  return { another, forGood: another && !onlyThis };
}

export interface Linker {
  /** Makes `to` from `from`, trying ways from the best that has not failed yet. Throws file system errors. */
  place(from: string, to: string): Promise<LinkMode>;
}

/**
 * @param modes ways to try, best first; a tree in the store takes all, an independent copy leaves out hard links
 * @param onFallback told once, when a file could only be copied
 */
export function createLinker(modes: readonly LinkMode[], onFallback?: () => void): Linker {
  const left = [...modes];
  /** Directories that are there, since many files go into few. */
  const made = new Set<string>();
  let told = false;
  const fallBack = (): void => {
    if (!told) onFallback?.();
    told = true;
  };
  return {
    async place(from, to) {
      for (;;) {
        const mode = left[0];
        if (mode === undefined) throw new Error(`No way left to place ${to}`);
        try {
          const directory = dirname(to);
          if (!made.has(directory)) await makeDirectories(directory);
          made.add(directory);
          await placeBy(mode, from, to);
          return mode;
        } catch (error) {
          const code = systemErrorCode(error) ?? '';
          const { another, forGood } = failureOf(mode, code, platform);
          if (!another) throw error;
          await rm(to, { force: true });
          if (!forGood && left.includes('copy')) {
            await placeBy('copy', from, to);
            if (code === 'EPERM') fallBack();
            return 'copy';
          }
          // The last way has failed: its own error says why.
          if (left.length === 1) throw error;
          left.shift();
          if (left[0] === 'copy') fallBack();
        }
      }
    },
  };
}

/** A block of most file systems: they share no less, and some call sharing nothing a success. */
const PROBE_BYTES = 4096;

/** The first of some ways that works between files of the cache, by trying. */
export async function workingMode(store: Store, modes: readonly LinkMode[]): Promise<LinkMode> {
  const probe = inStore(store, 'tmp', uniqueName());
  try {
    await writeFile(probe, Buffer.alloc(PROBE_BYTES), { flag: 'wx' });
    return await createLinker(modes).place(probe, `${probe}.link`);
  } catch {
    // Where not even this can be written, nothing is promised.
    return 'copy';
  } finally {
    for (const path of [probe, `${probe}.link`]) await rm(path, { force: true }).catch(() => undefined);
  }
}

async function placeBy(mode: LinkMode, from: string, to: string): Promise<void> {
  if (mode === 'hardlink') {
    linkSync(from, to);
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

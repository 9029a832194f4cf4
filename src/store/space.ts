/** Full disks are found before the first byte moves. */
import { stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';

/** Bytes that something needs in a directory (which need not exist yet). */
export interface SpaceNeed {
  readonly directory: string;
  readonly bytes: number;
  /** For the message: `the cache`, `the output`. */
  readonly what: string;
}

/** What an output is called in {@link SpaceNeed.what}: it lies where no cache helps. */
export const OUTPUT = 'the output';

const WAYS_OUT = {
  cache: 'free space with `modeldl prune`, choose another place with `--cache-dir`',
  output: 'free space there, choose another directory with `--output`',
};

/** Left free for the file system's own needs and for others, bytes. */
const RESERVE_BYTES = 16 * 1024 * 1024;

/**
 * Sums the needs of each file system and compares them with what is free there.
 * @throws ModeldlError DISK naming the directory, what is needed and what is free
 */
export async function checkSpace(needs: readonly SpaceNeed[]): Promise<void> {
  const byDevice = new Map<number, { directory: string; bytes: number; what: string[] }>();
  for (const need of needs) {
    if (need.bytes === 0) continue;
    const directory = await existingAncestor(need.directory);
    const device = await deviceOf(directory);
    const sum = byDevice.get(device) ?? { directory, bytes: 0, what: [] };
    sum.bytes += need.bytes;
    sum.what.push(need.what);
    byDevice.set(device, sum);
  }
  for (const { directory, bytes, what } of byDevice.values()) {
    const free = await freeBytes(directory);
    if (bytes + RESERVE_BYTES <= free) continue;
    throw new ModeldlError(
      'DISK',
      `Not enough space for ${what.join(' and ')} in ${directory}: ${bytes} bytes needed and ${RESERVE_BYTES} to stay free, ${free} bytes free`,
      {
        hint: `${WAYS_OUT[what.every((name) => name === OUTPUT) ? 'output' : 'cache']}, or pass \`--no-space-check\``,
        details: { file: directory, neededBytes: bytes, freeBytes: free },
      },
    );
  }
}

/** Bytes that an unprivileged process may still write on a directory's file system. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(directory);
  // Some file systems without a size of their own (overlays in user space) report nothing at all.
  return blocks === 0 ? Infinity : bavail * bsize;
}

/** The file system that a directory lies on, or will once it is made. */
export async function deviceOf(directory: string): Promise<number> {
  return (await stat(await existingAncestor(directory))).dev;
}

/** The nearest directory that is there, at a path or above. @throws ModeldlError DISK */
export async function existingAncestor(directory: string): Promise<string> {
  for (let current = directory; ; current = dirname(current)) {
    try {
      if ((await stat(current)).isDirectory()) return current;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw diskError(error, current);
    }
    if (current === dirname(current)) return current;
  }
}

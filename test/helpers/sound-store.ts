/** What must hold of a store whatever happened: every blob has the bytes that its name promises. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import type { World } from './program.js';

/** Hashes all blobs; returns how many there are. */
export async function expectSoundStore({ cacheDir }: World): Promise<number> {
  const root = join(cacheDir, 'v1', 'blobs');
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  const blobs = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const blob of blobs) {
    const hash = createHash('sha256');
    await pipeline(createReadStream(blob), hash);
    expect([blob, hash.digest('hex')]).toEqual([blob, basename(blob)]);
  }
  return blobs.length;
}

/** What an environment takes on the disk. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of all files below a directory, and of those that go with it: the others have names elsewhere. */
export async function directorySize(directory: string): Promise<{ bytes: number; freedBytes: number }> {
  const linked = new Map<string, { readonly size: number; left: number }>();
  let bytes = 0;
  let freedBytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const found = await lstat(join(entry.parentPath, entry.name)).catch(() => undefined);
    if (found === undefined) continue;
    const { dev, ino, nlink, size } = found;
    const key = `${dev}:${ino}`;
    const seen = linked.get(key) ?? { size, left: nlink };
    seen.left -= 1;
    linked.set(key, seen);
    if (seen.left === nlink - 1) bytes += size;
    if (seen.left === 0) freedBytes += size;
  }
  return { bytes, freedBytes };
}

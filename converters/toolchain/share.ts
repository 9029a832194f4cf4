/**
 * Files that two environments have alike lie on the disk once, as hard links.
 *
 * Only the new environment is changed, before it is complete: nobody runs programs of it yet, and the other one loses
 * and gains nothing but a name for its file. Each file is replaced by a rename. pip and Python write none in place:
 * they remove it and make another, which leaves the other environment as it was.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, lstat, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { systemErrorCode, throwIfAborted } from '../../src/errors.js';

/**
 * Smaller files are left alone: of 6.5 GB of an environment with PyTorch those from 16 KiB on are 1800 files with 92 %
 * of the bytes, the others 31000.
 */
const LEAST_BYTES = 16 * 1024;

interface RecordedFile {
  readonly path: string;
  /** base64url, as wheels have it. */
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * Replaces files of a new environment by links to equal ones of others. What a wheel's record promises is hashed in the
 * file that is linked: it may have been damaged or changed since. Source files stay, since Python tells by their times
 * whether what it compiled of them still holds.
 * @param others absolute directories of complete environments in the same cache
 * @returns bytes that are shared now
 */
export async function shareFiles(
  directory: string,
  others: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  const site = await sitePackages(directory);
  if (site === undefined) return 0;
  const wheels = new Set(await wheelsOf(site));
  let shared = 0;
  for (const other of others) {
    const from = await sitePackages(other);
    if (from === undefined) continue;
    for (const wheel of await wheelsOf(from)) {
      if (!wheels.has(wheel)) continue;
      wheels.delete(wheel);
      const known = new Map((await filesOf(from, wheel)).map((file) => [file.path, file]));
      for (const file of await filesOf(site, wheel)) {
        throwIfAborted(signal);
        const same = known.get(file.path);
        if (same?.sha256 !== file.sha256 || same.bytes !== file.bytes) continue;
        const outcome = await shareFile(join(from, file.path), join(site, file.path), file);
        if (outcome === 'elsewhere') return shared;
        if (outcome === 'shared') shared += file.bytes;
      }
    }
  }
  return shared;
}

/** `elsewhere`: no file can be linked from there, since it is another file system or one without links. */
async function shareFile(
  from: string,
  to: string,
  { sha256, bytes }: RecordedFile,
): Promise<'shared' | 'kept' | 'elsewhere'> {
  const temporary = `${to}.modeldl-link`;
  try {
    const own = await lstat(to);
    await link(from, temporary);
    const linked = await lstat(temporary);
    // Never another user's file, who could change it, nor one that others can read and this user's own not.
    const alike =
      linked.isFile() &&
      linked.size === bytes &&
      linked.uid === own.uid &&
      linked.gid === own.gid &&
      linked.mode === own.mode;
    if (!alike || (await hashOf(temporary)) !== sha256) return 'kept';
    await rename(temporary, to);
    return 'shared';
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    return ['EXDEV', 'EPERM', 'ENOTSUP', 'ENOSYS'].includes(code) ? 'elsewhere' : 'kept';
  } finally {
    // Nothing is there after a rename, unless both were one file already.
    await rm(temporary, { force: true });
  }
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('base64url');
}

/** Where pip puts packages: `lib/python3.11/site-packages`, on Windows `Lib/site-packages`. */
async function sitePackages(directory: string): Promise<string | undefined> {
  const versions = await namesIn(join(directory, 'lib'));
  const python = versions.find((name) => name.startsWith('python3.'));
  if (python !== undefined) return join(directory, 'lib', python, 'site-packages');
  return versions.includes('site-packages') ? join(directory, 'lib', 'site-packages') : undefined;
}

/** Names of the directories that describe what was installed, such as `torch-2.15.0.dist-info`. */
async function wheelsOf(site: string): Promise<readonly string[]> {
  return (await namesIn(site)).filter((name) => name.endsWith('.dist-info'));
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}

async function filesOf(site: string, wheel: string): Promise<readonly RecordedFile[]> {
  return recordedFiles(await readFile(join(site, wheel, 'RECORD'), 'utf8').catch(() => ''));
}

/** Files of a wheel's record that are worth sharing: within the packages' directory, hashed, and no source. */
export function recordedFiles(record: string): readonly RecordedFile[] {
  return record.split(/\r?\n/).flatMap((line) => {
    const [, quoted, plain, sha256, size] =
      /^(?:"((?:[^"]|"")*)"|([^",]*)),sha256=([\w-]{43}),(\d+)$/.exec(line) ?? [];
    const path = quoted?.replaceAll('""', '"') ?? plain;
    if (path === undefined || sha256 === undefined) return [];
    const bytes = Number(size);
    const inside = !path.startsWith('/') && !path.split(/[\\/]/).includes('..') && !path.includes(':');
    return inside && bytes >= LEAST_BYTES && !path.endsWith('.py') ? [{ path, sha256, bytes }] : [];
  });
}

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

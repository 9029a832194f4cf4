/** sha256 of a file on disk. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { diskError, systemErrorCode, throwIfAborted } from '../errors.js';

/** Large reads: the default 64 KiB costs up to a factor of two in throughput. */
const READ_BYTES = 1024 * 1024;

/**
 * Lower-case hex.
 * @param onProgress told the bytes hashed so far
 * @throws ModeldlError INTERRUPTED; file system errors as they are
 */
export async function hashFile(
  path: string,
  signal?: AbortSignal,
  onProgress?: (bytes: number) => void,
): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path, { highWaterMark: READ_BYTES, ...(signal ? { signal } : {}) });
  try {
    for await (const chunk of stream) {
      hash.update(chunk as Buffer);
      onProgress?.(stream.bytesRead);
    }
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  }
  return hash.digest('hex');
}

/**
 * Is a file what a digest says? `unreadable` is one that is there, but whose bytes the disk no longer gives.
 * @throws ModeldlError DISK, INTERRUPTED
 */
export async function compareFile(
  path: string,
  sha256: string,
  signal?: AbortSignal,
): Promise<'same' | 'other' | 'unreadable'> {
  try {
    return (await hashFile(path, signal)) === sha256 ? 'same' : 'other';
  } catch (error) {
    if (systemErrorCode(error) === 'EIO') return 'unreadable';
    throw diskError(error, path);
  }
}

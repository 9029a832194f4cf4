/** Local files, which are read as downloads are. */
import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ModeldlError, systemErrorCode } from '../errors.js';
import { BrokenBody, readBody, type ReadOptions } from './body.js';

const READ_BYTES = 1024 * 1024;
/** A network disk may be silent for long. */
const IDLE_TIMEOUT_MS = 3_600_000;

/** @throws ModeldlError NOT_FOUND or DISK */
export async function statLocal(url: string): Promise<Stats> {
  const source = fileURLToPath(url);
  return stat(source).catch((error: unknown) => {
    throw unreadable(source, error);
  });
}

/** Reads a file to its end. @throws ModeldlError NOT_FOUND, DISK, INTERRUPTED, and what `onChunk` throws */
export async function readLocalFile(
  url: string,
  signal: AbortSignal,
  onChunk: ReadOptions['onChunk'],
): Promise<void> {
  const source = fileURLToPath(url);
  const stream = createReadStream(source, { highWaterMark: READ_BYTES });
  try {
    await readBody(stream, { signal, idleTimeoutMs: IDLE_TIMEOUT_MS, onChunk });
  } catch (error) {
    throw error instanceof BrokenBody ? unreadable(source, error.cause) : error;
  }
}

/** A local file that cannot be read. */
function unreadable(source: string, cause: unknown): ModeldlError {
  const missing = systemErrorCode(cause) === 'ENOENT';
  return new ModeldlError(
    missing ? 'NOT_FOUND' : 'DISK',
    `Cannot read ${source}: ${missing ? 'it is gone' : String(cause)}`,
    { cause, details: { file: source } },
  );
}

/** Directories with those above them, and the reason when they cannot be made. */
import { mkdir } from 'node:fs/promises';
import { systemErrorCode } from './errors.js';

/**
 * As `mkdir -p`. Node.js answers ENOENT where the file system refused one of the directories for another reason, such
 * as a full disk (it reports its look at what is not there): asked for that one alone it gives the reason.
 */
export async function makeDirectories(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    const refused = error instanceof Error && 'path' in error ? String(error.path) : directory;
    await mkdir(refused);
    await mkdir(directory, { recursive: true });
  }
}

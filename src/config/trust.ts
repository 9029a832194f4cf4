/** Project files that the user read and trusted, by path and content, in the user's configuration directory. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pid } from 'node:process';
import * as v from 'valibot';
import { diskError } from '../errors.js';

const trustSchema = v.record(v.string(), v.string());

function trustFile(configDir: string): string {
  return join(configDir, 'trusted.json');
}

async function readTrusted(configDir: string): Promise<Record<string, string>> {
  try {
    return v.parse(trustSchema, JSON.parse(await readFile(trustFile(configDir), 'utf8')));
  } catch {
    // Absent or damaged: nothing is trusted, and the user is asked again.
    return {};
  }
}

/** @param digest sha256 of the file's content: a changed file is asked about again */
export async function isTrusted(configDir: string, path: string, digest: string): Promise<boolean> {
  return (await readTrusted(configDir))[path] === digest;
}

/** @throws ModeldlError DISK */
export async function trust(configDir: string, path: string, digest: string): Promise<void> {
  await writePrivate(trustFile(configDir), { ...(await readTrusted(configDir)), [path]: digest });
}

/** Writes a file that only the user may read, whole. @throws ModeldlError DISK */
export async function writePrivate(path: string, document: unknown): Promise<void> {
  const temporary = `${path}.${pid}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, `${JSON.stringify(document, null, 2)}\n`, { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    throw diskError(error, path);
  }
}

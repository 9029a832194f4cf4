/**
 * Brings the bytes of a listing into the store as blobs: what is there is not fetched, what another process is
 * fetching is waited for, and every byte is hashed on its way.
 */
import { join } from 'node:path';
import type { Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { Digest, RemoteFile } from './hub.js';
import { adoptBlob, hasBlob } from './store/blobs.js';
import { claim } from './store/claim.js';
import { downloadResumable, downloadSmall } from './transfer/download.js';
import { removePartial } from './transfer/partial.js';
import { runTransfers } from './transfer/schedule.js';

/** Below this size a file is fetched in one go, without a journal (architecture.md, promise 5). */
export const SMALL_FILE_BYTES = 8 * 1024 * 1024;

/** A file of a snapshot under the path it gets in the tree. */
export interface WantedFile {
  readonly path: string;
  readonly source: RemoteFile;
}

/** A file whose bytes are in the store. */
export interface StoredFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** What upstream promised, so that a later listing with the same promise needs no transfer. */
  readonly upstream?: Digest;
}

/** Key of an upstream digest in the map of what is known. */
export function digestKey(digest: Digest): string {
  return `${digest.algorithm}:${digest.hex}`;
}

/** Splits a listing into what the store holds and what has to be fetched. */
export async function missingFiles(
  context: Context,
  wanted: readonly WantedFile[],
  known: ReadonlyMap<string, StoredFile>,
): Promise<{ stored: StoredFile[]; missing: WantedFile[] }> {
  const stored: StoredFile[] = [];
  const missing: WantedFile[] = [];
  for (const file of wanted) {
    const found = await storedFile(context, file, known);
    if (found === undefined) missing.push(file);
    else stored.push(found);
  }
  return { stored, missing };
}

async function storedFile(
  context: Context,
  file: WantedFile,
  known: ReadonlyMap<string, StoredFile>,
): Promise<StoredFile | undefined> {
  const { digest, size } = file.source;
  if (digest === undefined) return undefined;
  const earlier = known.get(digestKey(digest));
  const sha256 = digest.algorithm === 'sha256' ? digest.hex : earlier?.sha256;
  const bytes = size ?? earlier?.bytes;
  if (sha256 === undefined) return undefined;
  const present = await hasBlob(context.store, sha256, bytes);
  return present === undefined ? undefined : { path: file.path, bytes: present, sha256, upstream: digest };
}

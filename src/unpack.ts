/** Archives of a snapshot: fetched like any file, then unpacked member by member into blobs once their digest matched. */
import { open } from 'node:fs/promises';
import { platform } from 'node:process';
import { waitingFor, type Context } from './context.js';
import { discard } from './directories.js';
import { diskError, ModeldlError } from './errors.js';
import {
  claimedName,
  downloadOptions,
  fetchFrom,
  partialDirectory,
  takenAway,
  type StoredFile,
} from './fetch.js';
import type { RemoteFile, Unpack } from './hub.js';
import type { ByteSources } from './mirrors/bytes.js';
import { fileSystemRules } from './paths.js';
import { adoptBlob } from './store/blobs.js';
import { claim, type Claim } from './store/claim.js';
import { inStore, uniqueName } from './store/layout.js';
import {
  ARCHIVE_LIMITS,
  extractArchive,
  listArchive,
  type Archive,
  type ArchiveMember,
} from './transfer/archive.js';
import { writeAll } from './transfer/assembly.js';
import { readBody } from './transfer/body.js';
import { createHasher } from './transfer/digest.js';
import { downloadResumable, type Downloaded } from './transfer/download.js';
import { removePartial } from './transfer/partial.js';

export type ArchiveFile = RemoteFile & { readonly unpack: Unpack };

/** An archive on disk under a claim, with its listing. */
export interface OpenedArchive {
  readonly members: readonly ArchiveMember[];
  readonly sha256: string;
  readonly fetchedBytes: number;
  /** Unpacks the named members into the store. */
  extract(wanted: ReadonlySet<string>): Promise<readonly StoredFile[]>;
  /** Removes the archive's bytes and lets others have it. */
  close(options: { readonly keep: boolean }): Promise<void>;
}

/**
 * Fetches an archive (or the rest of it) and lists its members.
 * @throws ModeldlError INTEGRITY for a wrong digest or a hostile archive, and as the transfer does
 */
export async function openArchive(
  context: Context,
  reference: string,
  scope: string,
  sources: ByteSources,
  archive: ArchiveFile,
): Promise<OpenedArchive> {
  const name = claimedName(scope, archive);
  const held = await claim(
    context.store,
    await context.session(),
    `bytes of ${name}`,
    waitingFor(context, archive.path),
  );
  const directory = partialDirectory(context, name);
  const close: OpenedArchive['close'] = async ({ keep }) => {
    if (!keep) await removePartial(directory);
    await held.release();
  };
  try {
    const downloaded = await fetchArchive(context, sources, reference, archive, directory, held);
    const opened: Archive = {
      file: downloaded.path,
      label: archive.path,
      bytes: downloaded.bytes,
      unpack: archive.unpack,
    };
    const members = await listArchive(opened, limits(), context.signal);
    return {
      members,
      sha256: downloaded.sha256,
      fetchedBytes: downloaded.fetchedBytes,
      extract: (wanted) => extractMembers(context, reference, opened, wanted),
      close,
    };
  } catch (error) {
    // A hostile archive must not be kept for the next run; a broken connection's part must.
    await close({ keep: !(error instanceof ModeldlError && error.code === 'INTEGRITY') });
    throw takenAway(error, archive.path);
  }
}

function limits(): Parameters<typeof listArchive>[1] {
  return { ...ARCHIVE_LIMITS, rules: fileSystemRules(platform) };
}

async function fetchArchive(
  context: Context,
  sources: ByteSources,
  reference: string,
  archive: ArchiveFile,
  directory: string,
  held: Claim,
): Promise<Downloaded> {
  const file = { path: archive.path, source: archive };
  const options = downloadOptions({ context, reference, signal: context.signal }, file, held);
  const downloaded = await fetchFrom({ sources }, file, options, (attempt, counting) =>
    downloadResumable(attempt.http, attempt.request, directory, counting),
  );
  const { bytes, sha256 } = downloaded;
  context.emit({ type: 'file-done', reference, path: archive.path, bytes, sha256 });
  return downloaded;
}

async function extractMembers(
  context: Context,
  reference: string,
  archive: Archive,
  wanted: ReadonlySet<string>,
): Promise<readonly StoredFile[]> {
  const files: StoredFile[] = [];
  const session = await context.session();
  context.emit({ type: 'unpack', reference, path: archive.label, members: wanted.size });
  await extractArchive(archive, wanted, limits(), context.signal, async (member, body) => {
    const temporary = inStore(context.store, 'tmp', uniqueName());
    try {
      const handle = await open(temporary, 'wx');
      const hasher = createHasher(undefined, undefined);
      let written = 0;
      try {
        await readBody(body, {
          signal: context.signal,
          idleTimeoutMs: Infinity,
          onChunk: async (chunk) => {
            hasher.update(chunk);
            await writeAll(handle, chunk, written);
            written += chunk.length;
          },
        });
      } finally {
        await handle.close();
      }
      const sha256 = hasher.finish(member.path, written);
      await session.want([sha256]);
      await adoptBlob(context.store, temporary, sha256, written);
      files.push({ path: member.path, bytes: written, sha256 });
    } catch (error) {
      throw diskError(error, temporary);
    } finally {
      await discard(temporary);
    }
  });
  return files;
}

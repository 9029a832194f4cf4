/** Texts of a model's small files, which a converter plans by: read where they lie, or fetched before all the others. */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, hubContext, hubNamed, type Context } from './context.js';
import { diskError, ModeldlError, systemErrorCode } from './errors.js';
import { fetchFrom, storedFile, type WantedFile } from './fetch.js';
import type { Snapshot } from './hub.js';
import { openSources, type ByteSources } from './mirrors/bytes.js';
import { blobPath } from './store/blobs.js';
import { LARGEST_TEXT_BYTES } from './store/record.js';
import { downloadSmall, type SmallDownload } from './transfer/small.js';

export type ReadText = (path: string) => Promise<string | undefined>;

/** Of files that lie in a directory. */
export function localTexts(root: string): ReadText {
  return remembered(async (path) => {
    const file = join(root, path);
    try {
      const handle = await open(file);
      try {
        if ((await handle.stat()).size > LARGEST_TEXT_BYTES) return undefined;
        return await handle.readFile('utf8');
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (systemErrorCode(error) === 'ENOENT' || systemErrorCode(error) === 'EISDIR') return undefined;
      throw diskError(error, file);
    }
  });
}

/**
 * Of files of a listing; what is not here is fetched and checked, and kept only in memory.
 * @param files of the snapshot, under the paths that they get
 * @param fetched gets what was fetched, by its path in the listing, for who pulls the model then
 */
export function listedTexts(
  context: Context,
  snapshot: Snapshot,
  files: readonly WantedFile[],
  fetched?: Map<string, SmallDownload>,
): ReadText {
  let sources: Promise<ByteSources> | undefined;
  return remembered(async (path) => {
    const file = files.find((candidate) => candidate.path === path);
    const { size } = file?.source ?? {};
    if (file === undefined || size === undefined || size > LARGEST_TEXT_BYTES) return undefined;
    const stored = await storedFile(context, file, new Map());
    if (stored !== undefined) return readFile(blobPath(context.store, stored.sha256), 'utf8');
    const hub = hubNamed(context, snapshot.hub);
    try {
      sources ??= openSources(context, hub, snapshot, format(context, snapshot));
      const options = { signal: context.signal, onStart: () => undefined, onProgress: () => undefined };
      const download = await fetchFrom(
        { sources: await sources },
        file,
        options,
        ({ http, request }, counting) => downloadSmall(http, { ...request, size }, counting),
      );
      fetched?.set(file.source.path, download);
      return download.bytes.toString('utf8');
    } catch (error) {
      // The hub knows what its refusal means. Asked only then: most models are open, and a question is a request.
      const refused = error instanceof ModeldlError && (error.code === 'AUTH' || error.code === 'GATED');
      if (refused) await hub.checkAccess?.(snapshot, await hubContext(context, hub));
      throw error;
    }
  });
}

/** Several converters look at the same file. */
function remembered(read: ReadText): ReadText {
  const known = new Map<string, Promise<string | undefined>>();
  return (path) => {
    let text = known.get(path);
    if (text === undefined) {
      text = read(path);
      known.set(path, text);
    }
    return text;
  };
}

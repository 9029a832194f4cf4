/**
 * Brings the bytes of a listing into the store as blobs: what is there is not fetched, what another process is
 * fetching is waited for, and every byte is hashed on its way.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import pLimit from 'p-limit';
import type { Context } from './context.js';
import { ModeldlError } from './errors.js';
import type { Digest, RemoteFile } from './hub.js';
import { adoptBlob, hasBlob } from './store/blobs.js';
import { claim, type Claim, type ClaimOptions } from './store/claim.js';
import { inStore, uniqueName } from './store/layout.js';
import { workingMode } from './store/link.js';
import {
  downloadResumable,
  downloadSmall,
  type Downloaded,
  type DownloadOptions,
} from './transfer/download.js';
import type { HttpClient } from './transfer/http.js';
import { partialBytes, removePartial } from './transfer/partial.js';

/** Below this size a file is fetched in one go, without a journal (architecture.md, promise 5). */
const SMALL_FILE_BYTES = 8 * 1024 * 1024;
/** Small files in flight: measured best for many files at 0 to 30 ms per request. */
const SMALL_FILES_AT_ONCE = 32;

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

export interface Fetched {
  readonly files: readonly StoredFile[];
  readonly downloadedBytes: number;
}

/** Files known from records of the same model, by upstream digest. */
export type KnownFiles = ReadonlyMap<string, { readonly sha256: string; readonly bytes: number }>;

/** Key of an upstream digest in {@link KnownFiles}. */
export function digestKey(digest: Digest): string {
  return `${digest.algorithm}:${digest.hex}`;
}

/** The blob that a file of a listing will be, as far as that is known before its bytes are here. */
export function promisedBlob({ digest }: RemoteFile, known: KnownFiles): string | undefined {
  if (digest === undefined) return undefined;
  return digest.algorithm === 'sha256' ? digest.hex : known.get(digestKey(digest))?.sha256;
}

/** The blob that a file of a listing is already stored as, if any. */
export async function storedFile(
  context: Context,
  file: WantedFile,
  known: KnownFiles,
): Promise<StoredFile | undefined> {
  const { digest, size } = file.source;
  const sha256 = promisedBlob(file.source, known);
  if (digest === undefined || sha256 === undefined) return undefined;
  const bytes = await hasBlob(context.store, sha256, size ?? known.get(digestKey(digest))?.bytes);
  return bytes === undefined ? undefined : { path: file.path, bytes, sha256, upstream: digest };
}

/**
 * Fetches files into the store. Small ones share one claim and go first, each large one has its own claim; the first
 * failure stops the rest, whose partials stay.
 *
 * @param scope names the claim for the small files: hub, id and revision
 * @throws ModeldlError as the transfer does, with the file's path in its details
 */
export async function fetchFiles(
  context: Context,
  reference: string,
  scope: string,
  http: HttpClient,
  files: readonly WantedFile[],
  known: KnownFiles,
): Promise<Fetched> {
  const stop = new AbortController();
  const fetching: Fetching = {
    context,
    http,
    reference,
    signal: AbortSignal.any([context.signal, stop.signal]),
    stop,
  };
  setMaxListeners(0, fetching.signal);
  const isSmall = ({ source }: WantedFile): boolean => (source.size ?? Infinity) < SMALL_FILE_BYTES;
  const small = await fetchSmall(fetching, scope, files.filter(isSmall), known);
  const large = await atMost(
    context.jobs,
    files.filter((file) => !isSmall(file)),
    fetching,
    (file) => fetchLarge(fetching, scope, file, known),
  );
  const all = [...small, ...large];
  return {
    files: all.map(({ file }) => file),
    downloadedBytes: all.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0),
  };
}

interface Fetching {
  readonly context: Context;
  readonly http: HttpClient;
  readonly reference: string;
  readonly signal: AbortSignal;
  readonly stop: AbortController;
}

interface FetchedFile {
  readonly file: StoredFile;
  readonly fetchedBytes: number;
}

async function fetchSmall(
  fetching: Fetching,
  scope: string,
  files: readonly WantedFile[],
  known: KnownFiles,
): Promise<readonly FetchedFile[]> {
  if (files.length === 0) return [];
  const { context } = fetching;
  const held = await claim(
    context.store,
    await context.session(),
    `small files of ${scope}`,
    waiting(fetching, scope),
  );
  try {
    return await atMost(SMALL_FILES_AT_ONCE, files, fetching, async (file) => {
      const stored = await storedFile(context, file, known);
      if (stored !== undefined) return { file: stored, fetchedBytes: 0 };
      const temporary = inStore(context.store, 'tmp', uniqueName());
      const options = downloadOptions(fetching, file, held);
      return keep(fetching, file, await downloadSmall(fetching.http, requestOf(file), temporary, options));
    });
  } finally {
    await held.release();
  }
}

async function fetchLarge(
  fetching: Fetching,
  scope: string,
  file: WantedFile,
  known: KnownFiles,
): Promise<FetchedFile> {
  const { context } = fetching;
  const name = claimedName(scope, file.source);
  const held = await claim(
    context.store,
    await context.session(),
    `bytes of ${name}`,
    waiting(fetching, file.path),
  );
  try {
    const stored = await storedFile(context, file, known);
    if (stored !== undefined) return { file: stored, fetchedBytes: 0 };
    const directory = partialDirectory(context, name);
    const options = downloadOptions(fetching, file, held);
    const downloaded = await downloadResumable(fetching.http, requestOf(file), directory, options);
    const kept = await keep(fetching, file, downloaded);
    await removePartial(directory);
    return kept;
  } finally {
    await held.release();
  }
}

/** Names the bytes of a large file for claims and partials: what has a digest is the same everywhere. */
export function claimedName(scope: string, { path, digest }: RemoteFile): string {
  return digest === undefined ? `${scope} ${path}` : digestKey(digest);
}

/**
 * Bytes of disk that fetching takes. What an earlier run left of a file is there already; where files cannot share
 * blocks it is copied before it goes, and the copy may be more than the rest.
 */
export async function bytesToFetch(
  context: Context,
  scope: string,
  files: readonly RemoteFile[],
): Promise<number> {
  let bytes = 0;
  let shares: boolean | undefined;
  for (const file of files) {
    const size = file.size ?? 0;
    const held = await partialBytes(partialDirectory(context, claimedName(scope, file)));
    if (held > 0) shares ??= (await workingMode(context.store, ['reflink', 'copy'])) === 'reflink';
    const rest = Math.max(0, size - held);
    bytes += held > 0 && shares === false ? Math.max(held, rest) : rest;
  }
  return bytes;
}

/** Where the unfinished bytes of something lie, by its claim's name. */
export function partialDirectory(context: Context, name: string): string {
  return inStore(context.store, 'partials', createHash('sha256').update(name).digest('hex').slice(0, 32));
}

export function requestOf(file: WantedFile): Parameters<typeof downloadSmall>[1] {
  const { url, query, size, digest, maxBytes } = file.source;
  return {
    label: file.source.path,
    url: query === undefined ? url : `${url}?${query}`,
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(size === undefined ? {} : { size }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function waiting(fetching: Fetching, what: string): ClaimOptions {
  const { context, signal } = fetching;
  return {
    maxWaitMs: context.maxWaitMs,
    signal,
    onWait: (holder) => {
      context.emit({ type: 'waiting', what, holder });
    },
  };
}

export function downloadOptions(
  fetching: Pick<Fetching, 'context' | 'reference' | 'signal'>,
  file: WantedFile,
  held: Claim,
): DownloadOptions {
  const { context, reference, signal } = fetching;
  const { path } = file;
  return {
    signal,
    bootId: context.store.bootId,
    durable: context.store.durability === 'flush',
    connections: context.connections,
    assertOwned: () => held.assertHeld(),
    onStart: (resumedBytes, size) => {
      context.emit({
        type: 'file-start',
        reference,
        path,
        resumedBytes,
        ...(size === undefined ? {} : { bytes: size }),
      });
    },
    onProgress: (receivedBytes) => {
      context.emit({ type: 'file-progress', reference, path, receivedBytes });
    },
  };
}

async function keep(fetching: Fetching, file: WantedFile, downloaded: Downloaded): Promise<FetchedFile> {
  const { context, reference } = fetching;
  const { path, source } = file;
  const { sha256, bytes, fetchedBytes } = downloaded;
  // Before it is there, so that no prune in another process finds it unwanted.
  await (await context.session()).want([sha256]);
  await adoptBlob(context.store, downloaded.path, sha256, bytes);
  context.emit({ type: 'file-done', reference, path, bytes, sha256 });
  const upstream = source.digest === undefined ? {} : { upstream: source.digest };
  return { file: { path, bytes, sha256, ...upstream }, fetchedBytes };
}

/** Bounded concurrency; the first error aborts what runs, and is the one that is thrown once all have stopped. */
async function atMost<Result>(
  limit: number,
  files: readonly WantedFile[],
  fetching: Fetching,
  work: (file: WantedFile) => Promise<Result>,
): Promise<readonly Result[]> {
  const queue = pLimit(limit);
  let first: { readonly error: unknown } | undefined;
  const results = await Promise.all(
    files.map((file) =>
      queue(async () => {
        if (first !== undefined) return undefined;
        try {
          return await work(file);
        } catch (error) {
          first ??= { error: error instanceof ModeldlError ? error.with({ file: file.path }) : error };
          fetching.stop.abort(first.error);
          return undefined;
        }
      }),
    ),
  );
  if (first !== undefined) throw first.error;
  return results.filter(
    (result): result is Awaited<Result> & NonNullable<typeof result> => result !== undefined,
  );
}

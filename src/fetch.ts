/**
 * Brings the bytes of a listing into the store as blobs: what is there is not fetched, what another process is
 * fetching is waited for, and every byte is hashed on its way.
 */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { adopt, costsNothing, tellAdopted, type Adopted, type BlobSource } from './adopt.js';
import { atMost } from './at-most.js';
import { waitingFor, type Context } from './context.js';
import { ModeldlError, systemErrorCode } from './errors.js';
import type { Digest, RemoteFile } from './hub.js';
import { adoptBlob, hasBlob, writeBlob } from './store/blobs.js';
import { claim, type Claim, type ClaimOptions } from './store/claim.js';
import type { Attempt, ByteSources } from './mirrors/bytes.js';
import { inStore } from './store/layout.js';
import { workingMode } from './store/link.js';
import { readRef, saveRef } from './store/snapshots.js';
import type { PromisedBytes } from './store/take.js';
import { downloadResumable, type DownloadOptions, type DownloadRequest } from './transfer/download.js';
import { partialBytes, removePartial } from './transfer/partial.js';
import { downloadSmall, type SmallDownload } from './transfer/small.js';

/** Below this size a file is fetched in one go, without a journal (architecture.md, promise 5). */
const SMALL_FILE_BYTES = 8 * 1024 * 1024;
/** Small files in flight: measured best for many files at 0 to 30 ms per request. */
const SMALL_FILES_AT_ONCE = 32;
/**
 * From so many bytes on a small file has a claim of its own beside that of its revision, so that processes that pull
 * different models fetch it once as well. Of a smaller one the claim would cost more than the bytes.
 */
const SHARED_BYTES = 64 * 1024;
/** Small files are in memory while they are fetched and until they are written, bytes together. */
const SMALL_BYTES_AT_ONCE = 48 * 1024 * 1024;

/** A file without a known size may be of any. */
function isSmall({ size = Infinity }: RemoteFile): boolean {
  return size < SMALL_FILE_BYTES;
}

/** A file of a snapshot under the path it gets in the tree. */
export interface WantedFile {
  readonly path: string;
  readonly source: RemoteFile;
  /** Its bytes, where this process has fetched them already. */
  readonly fetched?: SmallDownload;
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
  /** Taken from other places on this machine instead. */
  readonly adoptedBytes: number;
}

/** Files known from records of the same model, by upstream digest. */
export type KnownFiles = ReadonlyMap<string, { readonly sha256: string; readonly bytes: number }>;

/** Key of an upstream digest in {@link KnownFiles}. */
export function digestKey(digest: Digest): string {
  return `${digest.algorithm}:${digest.hex}`;
}

/** Equal for files of one listing that promise the same bytes. */
function bytesKey({ path, digest, size = -1, fresh }: RemoteFile): string {
  return digest === undefined || fresh === true ? `path ${path}` : `${digestKey(digest)} ${size}`;
}

/** One of the files for each promise. */
function distinctFiles(files: readonly RemoteFile[]): readonly RemoteFile[] {
  return [...new Map(files.map((file) => [bytesKey(file), file])).values()];
}

/** Bytes of files of one listing, of which those that promise the same are brought once. */
export function distinctBytes(files: readonly RemoteFile[]): number {
  return distinctFiles(files).reduce((sum, { size = 0 }) => sum + size, 0);
}

/** The blob that a file of a listing will be, as far as that is known before its bytes are here. */
export function promisedBlob({ digest, fresh }: RemoteFile, known: KnownFiles): string | undefined {
  if (digest === undefined || fresh === true) return undefined;
  return digest.algorithm === 'sha256' ? digest.hex : known.get(digestKey(digest))?.sha256;
}

/** The same with its size, as far as that is known. */
export function promisedBytes(file: RemoteFile, known: KnownFiles): PromisedBytes | undefined {
  const sha256 = promisedBlob(file, known);
  if (file.digest === undefined || sha256 === undefined) return undefined;
  return { sha256, bytes: file.size ?? known.get(digestKey(file.digest))?.bytes };
}

/** The blob that a file of a listing is already stored as, if any. */
export async function storedFile(
  context: Context,
  file: WantedFile,
  known: KnownFiles,
): Promise<StoredFile | undefined> {
  const { digest, fresh } = file.source;
  if (fresh === true) return fetchedBefore(context, file);
  const promised = promisedBytes(file.source, known);
  if (digest === undefined || promised === undefined) return undefined;
  const { sha256 } = promised;
  const bytes = await hasBlob(context.store, sha256, promised.bytes);
  return bytes === undefined ? undefined : { path: file.path, bytes, sha256, upstream: digest };
}

/** What {@link rememberFetched} remembers of an address is a name for a blob, as a floating reference is for a revision. */
function fetchedName({ url }: RemoteFile): string {
  return `bytes of ${url}`;
}

/** The blob that a file was when it was fetched from its address. */
async function fetchedBefore(
  context: Context,
  { path, source }: WantedFile,
): Promise<StoredFile | undefined> {
  const { digest } = source;
  const last = await readRef(context.store, fetchedName(source));
  if (digest === undefined || last?.id !== digestKey(digest)) return undefined;
  const bytes = await hasBlob(context.store, last.revision, source.size);
  return bytes === undefined ? undefined : { path, bytes, sha256: last.revision, upstream: digest };
}

/** So that a run that was stopped goes on with what it has. */
async function rememberFetched(context: Context, { source }: WantedFile, sha256: string): Promise<void> {
  const { digest, fresh } = source;
  if (fresh !== true || digest === undefined) return;
  const resolvedAt = new Date().toISOString();
  await saveRef(context.store, fetchedName(source), { id: digestKey(digest), revision: sha256, resolvedAt });
}

/**
 * Fetches files into the store. Small ones share one claim and go first, each large one has its own claim; the first
 * failure stops the rest, whose partials stay. What is found elsewhere on this machine is taken from there, and what
 * several files promise is fetched once.
 *
 * @param scope names the claim for the small files: hub, id and revision
 * @param elsewhere where to look before fetching
 * @throws ModeldlError as the transfer does, with the file's path in its details
 */
export async function fetchFiles(
  context: Context,
  reference: string,
  scope: string,
  sources: ByteSources,
  files: readonly WantedFile[],
  known: KnownFiles,
  elsewhere: readonly BlobSource[],
): Promise<Fetched> {
  const stop = new AbortController();
  const fetching: Fetching = {
    context,
    sources,
    reference,
    elsewhere,
    signal: AbortSignal.any([context.signal, stop.signal]),
    stop,
  };
  setMaxListeners(0, fetching.signal);
  const distinct = new Map(files.map((file) => [bytesKey(file.source), file]));
  const small = await fetchSmall(
    fetching,
    scope,
    [...distinct.values()].filter(({ source }) => isSmall(source)),
    known,
  );
  const large = await filesAtMost(
    context.jobs,
    [...distinct.values()].filter(({ source }) => !isSmall(source)),
    fetching,
    (file) => context.transfers(() => fetchLarge(fetching, scope, file, known)),
  );
  const all = [...small, ...large];
  const adopted = all.flatMap((fetched) => fetched.adopted ?? []);
  tellAdopted(context, adopted);
  const fetched = new Map(all.map(({ file }) => [file.path, file]));
  return {
    files: files.flatMap(({ path, source }): readonly StoredFile[] => {
      const file = fetched.get(distinct.get(bytesKey(source))?.path ?? path);
      if (file === undefined) return [];
      const { bytes, sha256 } = file;
      if (path !== file.path) context.emit({ type: 'file-done', reference, path, bytes, sha256 });
      return [{ ...file, path }];
    }),
    downloadedBytes: all.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0),
    adoptedBytes: adopted.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

interface Fetching {
  readonly context: Context;
  readonly sources: ByteSources;
  readonly reference: string;
  readonly elsewhere: readonly BlobSource[];
  readonly signal: AbortSignal;
  readonly stop: AbortController;
}

interface FetchedFile {
  readonly file: StoredFile;
  readonly fetchedBytes: number;
  readonly adopted?: Adopted;
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
  const memory = createBound(SMALL_BYTES_AT_ONCE);
  const keeper = createKeeper(fetching, held);
  try {
    const fetchOne = async (file: WantedFile): Promise<FetchedFile> => {
      const stored = await storedFile(context, file, known);
      if (stored !== undefined) return { file: stored, fetchedBytes: 0 };
      if (file.fetched !== undefined) return await keeper.keep(file, file.fetched);
      const adopted = await adoptFile(fetching, file, known);
      if (adopted !== undefined) return adopted;
      const { size = 0 } = file.source;
      await memory.take(size);
      try {
        const options = transferOptions(fetching, file);
        const downloaded = await fetchFrom(fetching, file, options, ({ http, request }, counting) =>
          downloadSmall(http, { ...request, size }, counting),
        );
        return await keeper.keep(file, downloaded);
      } finally {
        memory.giveBack(size);
      }
    };
    return await filesAtMost(SMALL_FILES_AT_ONCE, files, fetching, async (file) => {
      if (!isShared(file.source)) return fetchOne(file);
      const others = await claimBytes(fetching, scope, file);
      try {
        return await fetchOne(file);
      } finally {
        await others.release();
      }
    });
  } finally {
    await held.release();
  }
}

/** May other models want the same bytes, and find them by what is known of them beforehand? */
function isShared({ digest, fresh, size = 0 }: RemoteFile): boolean {
  return fresh !== true && digest?.algorithm === 'sha256' && size >= SHARED_BYTES;
}

async function claimBytes(fetching: Fetching, scope: string, file: WantedFile): Promise<Claim> {
  const { context } = fetching;
  const name = `bytes of ${claimedName(scope, file.source)}`;
  return claim(context.store, await context.session(), name, waiting(fetching, file.path));
}

/** Divides an amount among those who ask for a part of it, in the order in which they ask. */
function createBound(amount: number): { take(part: number): Promise<void>; giveBack(part: number): void } {
  const waiting: { readonly part: number; readonly resolve: () => void }[] = [];
  let left = amount;
  const serve = (): void => {
    for (let first = waiting[0]; first !== undefined && first.part <= left; first = waiting[0]) {
      waiting.shift();
      left -= first.part;
      first.resolve();
    }
  };
  return {
    take: (part) =>
      new Promise((resolve) => {
        waiting.push({ part, resolve });
        serve();
      }),
    giveBack(part) {
      left += part;
      serve();
    },
  };
}

interface Keeper {
  keep(file: WantedFile, downloaded: SmallDownload): Promise<FetchedFile>;
}

interface Kept {
  readonly file: WantedFile;
  readonly downloaded: SmallDownload;
  readonly resolve: (fetched: FetchedFile) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Makes blobs of small files: what arrives while earlier ones are made blobs is looked at together, so that a look at
 * the claim and a line in the session, which cost as much as a small file, are for many of them.
 */
function createKeeper(fetching: Fetching, held: Claim): Keeper {
  const { context } = fetching;
  const arrived: Kept[] = [];
  let busy = false;

  async function keepArrived(): Promise<void> {
    busy = true;
    for (let batch = arrived.splice(0); batch.length > 0; batch = arrived.splice(0)) {
      try {
        await held.assertHeld();
        // Before they are there, so that no prune in another process finds them unwanted.
        await (await context.session()).want(batch.map(({ downloaded }) => downloaded.sha256));
      } catch (error) {
        for (const { reject } of batch) reject(error);
        continue;
      }
      await Promise.all(batch.map((kept) => keepOne(kept).then(kept.resolve, kept.reject)));
    }
    busy = false;
  }

  async function keepOne({ file, downloaded }: Kept): Promise<FetchedFile> {
    const { bytes, sha256, fetchedBytes } = downloaded;
    await writeBlob(context.store, sha256, bytes);
    return storedAs(fetching, file, { sha256, bytes: bytes.length, fetchedBytes });
  }

  return {
    keep: (file, downloaded) =>
      new Promise((resolve, reject) => {
        arrived.push({ file, downloaded, resolve, reject });
        if (!busy) void keepArrived();
      }),
  };
}

async function fetchLarge(
  fetching: Fetching,
  scope: string,
  file: WantedFile,
  known: KnownFiles,
): Promise<FetchedFile> {
  const { context } = fetching;
  const name = claimedName(scope, file.source);
  const held = await claimBytes(fetching, scope, file);
  try {
    const stored = await storedFile(context, file, known);
    if (stored !== undefined) return { file: stored, fetchedBytes: 0 };
    const directory = partialDirectory(context, name);
    const adopted = await adoptFile(fetching, file, known);
    if (adopted !== undefined) {
      await removePartial(directory);
      return adopted;
    }
    const options = downloadOptions(fetching, file, held);
    const { path, ...kept } = await fetchFrom(fetching, file, options, (attempt, counting) =>
      downloadResumable(attempt.http, attempt.request, directory, {
        ...counting,
        onDamaged: () => {
          attempt.onDamaged();
        },
      }),
    );
    // Before it is there, so that no prune in another process finds it unwanted.
    await (await context.session()).want([kept.sha256]);
    await adoptBlob(context.store, path, kept.sha256, kept.bytes);
    await rememberFetched(context, file, kept.sha256);
    const fetched = storedAs(fetching, file, kept);
    await removePartial(directory);
    return fetched;
  } catch (error) {
    throw takenAway(error, file.path);
  } finally {
    await held.release();
  }
}

/** Fetches a file from the first of its sources that can give it. What came from those before counts as well. */
export async function fetchFrom<
  Options extends Pick<DownloadOptions, 'signal' | 'onStart' | 'onProgress'>,
  Downloaded extends { readonly fetchedBytes: number },
>(
  { sources }: { readonly sources: ByteSources },
  file: WantedFile,
  options: Options,
  download: (attempt: Attempt, counting: Options) => Promise<Downloaded>,
): Promise<Downloaded> {
  let begunAt = 0;
  let receivedBytes = 0;
  let earlierBytes = 0;
  const counting = {
    ...options,
    onStart: (resumedBytes: number, size: number | undefined) => {
      earlierBytes += Math.max(0, receivedBytes - begunAt);
      begunAt = receivedBytes = resumedBytes;
      options.onStart(resumedBytes, size);
    },
    onProgress: (bytes: number) => {
      receivedBytes = bytes;
      options.onProgress(bytes);
    },
  };
  const downloaded = await sources.fetch(file.source, requestOf(file.source), options.signal, (attempt) =>
    download(attempt, counting),
  );
  if (sources.isAlone) return downloaded;
  return { ...downloaded, fetchedBytes: downloaded.fetchedBytes + earlierBytes };
}

/**
 * Nobody but another process that believes it owns the same unfinished download removes its files, as where claims do
 * not hold what they promise. All other errors stay as they are.
 */
export function takenAway(error: unknown, path: string): unknown {
  if (systemErrorCode(error) !== 'ENOENT') return error;
  return new ModeldlError('BUSY', `Another process removed the unfinished download of ${path}`, {
    hint: 'run the command again once that one has ended',
    cause: error,
  });
}

/** Takes what a listing promises from elsewhere on this machine, if it is there and is that. */
async function adoptFile(
  fetching: Fetching,
  file: WantedFile,
  known: KnownFiles,
): Promise<FetchedFile | undefined> {
  const { context, reference, elsewhere, signal } = fetching;
  const { path, source } = file;
  const promised = promisedBytes(source, known);
  if (promised === undefined || source.digest === undefined) return undefined;
  const { sha256 } = promised;
  const beforeKept = async (): Promise<void> => (await context.session()).want([sha256]);
  const adopted = await adopt(context, elsewhere, promised, { reference, path, signal, beforeKept });
  if (adopted === undefined) return undefined;
  const { bytes } = adopted;
  return { file: { path, bytes, sha256, upstream: source.digest }, fetchedBytes: 0, adopted };
}

/** Names the bytes of a large file for claims and partials: what has a digest is the same everywhere. */
export function claimedName(scope: string, { path, digest, fresh }: RemoteFile): string {
  return digest === undefined || fresh === true ? `${scope} ${path}` : digestKey(digest);
}

/**
 * Bytes of disk that fetching takes: none for what can be linked from elsewhere. What an earlier run left of a file is
 * there already; where files cannot share blocks it is copied before it goes, and the copy may be more than the rest.
 */
export async function bytesToFetch(
  context: Context,
  scope: string,
  files: readonly RemoteFile[],
  known: KnownFiles,
  elsewhere: readonly BlobSource[],
): Promise<number> {
  let bytes = 0;
  let shares: boolean | undefined;
  for (const file of distinctFiles(files)) {
    const size = file.size ?? 0;
    const promised = promisedBytes(file, known);
    if (promised !== undefined && (await costsNothing(context, elsewhere, promised))) continue;
    // Has no partial, unless it is an archive.
    if (isSmall(file) && file.unpack === undefined) {
      bytes += size;
      continue;
    }
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

export function requestOf({ path, url, query, size, digest, maxBytes }: RemoteFile): DownloadRequest {
  return {
    label: path,
    url: query === undefined ? url : `${url}?${query}`,
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(size === undefined ? {} : { size }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function waiting({ context, signal }: Fetching, what: string): ClaimOptions {
  return waitingFor({ ...context, signal }, what);
}

type Told = Pick<Fetching, 'context' | 'reference' | 'signal'>;

export function downloadOptions(fetching: Told, file: WantedFile, held: Claim): DownloadOptions {
  const { context } = fetching;
  return {
    ...transferOptions(fetching, file),
    bootId: context.store.bootId,
    durable: context.store.durability === 'flush',
    connections: context.connections,
    assertOwned: () => held.assertHeld(),
  };
}

function transferOptions(
  { context, reference, signal }: Told,
  { path }: WantedFile,
): Pick<DownloadOptions, 'signal' | 'onStart' | 'onProgress'> {
  return {
    signal,
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

/** Tells that the bytes of a file are a blob now. */
function storedAs(
  { context, reference }: Fetching,
  { path, source }: WantedFile,
  { sha256, bytes, fetchedBytes }: { sha256: string; bytes: number; fetchedBytes: number },
): FetchedFile {
  context.emit({ type: 'file-done', reference, path, bytes, sha256 });
  const upstream = source.digest === undefined ? {} : { upstream: source.digest };
  return { file: { path, bytes, sha256, ...upstream }, fetchedBytes };
}

/** Bounded concurrency; the first error aborts what runs, and is the one that is thrown once all have stopped. */
function filesAtMost<Result>(
  limit: number,
  files: readonly WantedFile[],
  { stop }: Fetching,
  work: (file: WantedFile) => Promise<Result>,
): Promise<readonly Result[]> {
  return atMost(limit, files, async (file) => {
    try {
      return await work(file);
    } catch (thrown) {
      const error = thrown instanceof ModeldlError ? thrown.with({ file: file.path }) : thrown;
      stop.abort(error);
      throw error;
    }
  });
}

/** Downloads: bytes from an address into a file, hashed on the way, resumed where that is possible. */
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import type { Digest } from '../hub.js';
import { redactUrl } from '../redact.js';
import { createAssembly, type Assembly } from './assembly.js';
import { createHasher } from './digest.js';
import type { ConnectionBudget } from './helpers.js';
import type { HttpClient } from './http.js';
import { readLocalFile, statLocal } from './local.js';
import { openPartial, removePartial } from './partial.js';
import { readRemote } from './remote.js';
import { mayContinue, versionAt, wrongSize } from './response.js';

export interface DownloadRequest {
  /** For messages: path of the file within its model. */
  readonly label: string;
  readonly url: string;
  /** Bytes, as upstream promised. */
  readonly size?: number;
  readonly digest?: Digest;
  /** More than this is refused while it arrives, bytes. */
  readonly maxBytes?: number;
  /**
   * Of several sources of the same bytes: with more to come, this one is left rather than anything given up that is here.
   */
  readonly sources?: 'more' | 'last';
  /** How a user logs in there. */
  readonly loginHint?: string;
}

export interface Downloaded {
  /** The complete, verified file. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Bytes that came over the network in this run. */
  readonly fetchedBytes: number;
}

export interface DownloadOptions {
  readonly signal: AbortSignal;
  readonly bootId: string;
  /** Flush before the journal names a range. */
  readonly durable: boolean;
  readonly connections: ConnectionBudget;
  onStart(resumedBytes: number, size: number | undefined): void;
  onProgress(receivedBytes: number): void;
  /** Throws when another process took over. */
  assertOwned(): Promise<void>;
  /** Called before a file is fetched once more from zero, since pieces of several answers did not fit. */
  onDamaged?(): void;
}

/**
 * Fetches a file into a partial that later runs continue. When the digest of a resumed file is wrong, it is fetched
 * once more from zero before that is an error. The caller moves the file away and removes the partial.
 *
 * @throws ModeldlError NETWORK, NOT_FOUND, AUTH, GATED, INTEGRITY, DISK, BUSY when the claim was lost
 */
export async function downloadResumable(
  http: HttpClient,
  request: DownloadRequest,
  directory: string,
  options: DownloadOptions,
): Promise<Downloaded> {
  for (let fresh = false; ; fresh = true) {
    const hasher = createHasher(request.digest, request.size);
    const partial = await openPartial(directory, {
      identity: identityOf(request),
      mayContinue: (source) => mayContinue(request, source),
      bootId: options.bootId,
      durable: options.durable,
      signal: options.signal,
      assertOwned: () => options.assertOwned(),
      onPrefix: (chunk) => {
        hasher.update(chunk);
      },
    });
    const assembly = createAssembly({
      handle: partial.handle,
      ranges: partial.ranges,
      source: versionAt(partial.source, request),
      hasher,
      journal: async (...told) => {
        await options.assertOwned();
        await partial.record(...told);
      },
      durable: options.durable,
      onProgress: (bytes) => {
        options.onProgress(bytes);
      },
    });
    try {
      const { connections } = options;
      // Once pieces of several answers did not fit, all bytes come from one.
      const careful = fresh ? { ...options, connections: { ...connections, perFile: 1 } } : options;
      return { path: partial.path, ...(await transfer(http, request, careful, assembly)) };
    } catch (error) {
      const damaged = error instanceof ModeldlError && error.code === 'INTEGRITY';
      // Who took over has a partial of its own here, and removed the files of this process.
      if (damaged || systemErrorCode(error) === 'ENOENT') await options.assertOwned();
      if (!damaged) throw diskError(error, directory);
      await removePartial(directory);
      if (fresh || !assembly.isPieced) throw error;
      options.onDamaged?.();
    } finally {
      await partial.close();
    }
  }
}

function identityOf(request: DownloadRequest): string {
  const digest =
    request.digest === undefined
      ? redactUrl(request.url)
      : `${request.digest.algorithm}:${request.digest.hex}`;
  return `${digest} ${request.size ?? 'unknown'}`;
}

async function transfer(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  assembly: Assembly,
): Promise<Omit<Downloaded, 'path'>> {
  options.onStart(assembly.received.total(), request.size);
  const fetchedBytes = await bring(http, request, options, assembly).catch(async (error: unknown) => {
    await assembly.abandon();
    throw error;
  });
  const hasher = await assembly.finish();
  const bytes = assembly.received.endOf(0);
  if (request.size !== undefined && bytes !== request.size) throw wrongSize(request, bytes);
  await options.assertOwned();
  return { bytes, sha256: hasher.finish(request.label, bytes), fetchedBytes };
}

/** Gets what the assembly lacks; returns the bytes that came over the network. */
async function bring(
  http: HttpClient,
  request: DownloadRequest,
  options: DownloadOptions,
  assembly: Assembly,
): Promise<number> {
  if (request.url.startsWith('file:')) {
    await readLocal(request, options, assembly);
    return 0;
  }
  return readRemote(http, request, options, assembly);
}

async function readLocal(
  request: DownloadRequest,
  options: DownloadOptions,
  assembly: Assembly,
): Promise<void> {
  const { size } = await statLocal(request.url);
  if (assembly.received.total() > 0) await assembly.restart(request.size ?? size, request.digest);
  let at = 0;
  await readLocalFile(request.url, options.signal, (chunk) => {
    const written = assembly.write(chunk, at);
    at += chunk.length;
    return written;
  });
}

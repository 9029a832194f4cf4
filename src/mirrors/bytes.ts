/**
 * Bytes from several sources. The digest that the listing promises decides, so who gives them does not matter; what has no
 * digest is taken from the hub itself. What one source began another goes on with.
 */
import { hubContext, type Context } from '../context.js';
import type { ModeldlError } from '../errors.js';
import type { Hub, RemoteFile, Snapshot } from '../hub.js';
import type { DownloadRequest } from '../transfer/download.js';
import type { HttpClient } from '../transfer/http.js';
import { HASTE } from './asking.js';
import { failureOf, isUnreachable, noteUnreachable, warnLeft } from './failures.js';
import { createHeldModels, type HeldModels } from './held.js';
import { mirrored, nameOf, sourcesOf, type Source } from './sources.js';

/** A source that failed for so many files of a model is not asked for its others. */
const MOST_FAILURES = 3;

/** One source of one file. */
export interface Attempt {
  readonly http: HttpClient;
  readonly request: DownloadRequest;
  /** Called when bytes of earlier sources or runs turn out to be wrong, and all of the file is fetched anew. */
  onDamaged(): void;
}

export interface ByteSources {
  /** Is there none but the hub itself? */
  readonly isAlone: boolean;
  /**
   * Tries the sources of a file, one after another, until it is here.
   * @param request for the hub itself
   * @throws ModeldlError what the hub itself refused with
   */
  fetch<Result>(
    file: RemoteFile,
    request: DownloadRequest,
    signal: AbortSignal,
    work: (attempt: Attempt) => Promise<Result>,
  ): Promise<Result>;
}

interface Candidate {
  readonly source: Source;
  readonly http: HttpClient;
  readonly request: DownloadRequest;
}

/** With what a user is told whose login is wanted for it. */
function withLogin(request: DownloadRequest, hub: Hub): DownloadRequest {
  const { credentials, loginHint } = hub;
  const hint = credentials === undefined ? loginHint : `log in with \`modeldl login ${hub.name}\``;
  return hint === undefined ? request : { ...request, loginHint: hint };
}

/** @param snapshot whose files are fetched; @param reference for messages */
export async function openSources(
  context: Context,
  hub: Hub,
  snapshot: Snapshot,
  reference: string,
): Promise<ByteSources> {
  const sources = sourcesOf(context, hub, snapshot.id);
  const isAlone = sources.length === 1;
  const own = await context.httpFor(hub);
  const endpoint = sources.find(({ kind }) => kind === 'origin')?.address;
  const held = createHeldModels(context, hub, snapshot, (source, error) => {
    warn(source, reference, error);
  });
  const failures = new Map<Source, number>();
  const told = new Set<string>();
  let access: Promise<void> | undefined;

  /** Once for each source and reason, except for wrong bytes. */
  function warn(source: Source, what: string, error: ModeldlError): void {
    const key = `${source.address ?? ''} ${error.code}`;
    if (told.has(key) && error.code !== 'INTEGRITY') return;
    told.add(key);
    warnLeft(context, hub, source, what, error);
  }

  /** Listings of some models are public and their bytes are not: asked when the hub itself is, and only then. */
  async function assertAccess(): Promise<void> {
    access ??= hubContext(context, hub).then((asking) => hub.checkAccess?.(snapshot, asking));
    return access;
  }

  async function candidateAt(
    source: Source,
    file: RemoteFile,
    request: DownloadRequest,
  ): Promise<Candidate | undefined> {
    if (source.kind === 'origin') return { source, http: own, request: withLogin(request, hub) };
    if (file.digest === undefined) return undefined;
    const at = (url: string | undefined, http: HttpClient): Candidate | undefined =>
      url === undefined ? undefined : { source, http, request: { ...request, url } };
    if (source.kind === 'mirror')
      return at(mirrored(file.url, endpoint, source.address), own.as({ anonymous: true }));
    const address = await addressHeld(held, source, file);
    const candidate = at(address, await context.httpFor(source.hub));
    return candidate && { ...candidate, request: withLogin(candidate.request, source.hub) };
  }

  function isOfNoUse(source: Source): boolean {
    return isUnreachable(context, source) || (failures.get(source) ?? 0) >= MOST_FAILURES;
  }

  return {
    isAlone,
    async fetch(file, request, signal, work) {
      const isRemote = /^https?:/.test(file.url);
      const atHub = withLogin(request, hub);
      if (isAlone || !isRemote) return work({ http: own, request: atHub, onDamaged: () => undefined });
      tellWithoutDigest(file);
      let refusal: ModeldlError | undefined;
      const left: Source[] = [];
      for (const [index, source] of sources.entries()) {
        const isLast = index === sources.length - 1;
        if (!isLast && isOfNoUse(source)) continue;
        const candidate = await candidateAt(source, file, request);
        if (candidate === undefined) continue;
        try {
          if (source.kind === 'origin') await assertAccess();
          return await work({
            http: isLast ? candidate.http : candidate.http.as(HASTE),
            request: { ...candidate.request, sources: isLast ? 'last' : 'more' },
            onDamaged: () => {
              tellDamaged(request.label, source, left);
            },
          });
        } catch (thrown) {
          const error = failureOf(thrown, signal);
          noteUnreachable(context, source, error);
          failures.set(source, (failures.get(source) ?? 0) + 1);
          if (source.kind === 'origin') refusal = error;
          if (isLast && source.kind === 'origin') throw error;
          left.push(source);
          warn(source, request.label, error);
        }
      }
      // Those after the hub itself did not give the file: now it may be waited for, and asked where it was given up.
      if (refusal !== undefined && refusal.code !== 'NETWORK') throw refusal;
      await assertAccess();
      return work({
        http: own,
        request: { ...atHub, sources: 'last' },
        onDamaged: () => {
          tellDamaged(request.label, { kind: 'origin', address: endpoint }, left);
        },
      });
    },
  };

  function tellWithoutDigest({ digest, path }: RemoteFile): void {
    if (digest !== undefined || told.has('digest')) return;
    told.add('digest');
    context.emit({
      type: 'note',
      message: `No digest is known of ${path}, so no mirror is asked for it, only ${nameOf(hub, { kind: 'origin', address: endpoint })}`,
    });
  }

  function tellDamaged(label: string, source: Source, left: readonly Source[]): void {
    const earlier = left.length === 0 ? 'an earlier run' : left.map((one) => nameOf(hub, one)).join(', ');
    context.emit({
      type: 'warning',
      message: `What came of ${label} from ${earlier} and ${nameOf(hub, source)} does not match its digest together; all of it is fetched anew from the latter`,
    });
  }
}

async function addressHeld(
  held: HeldModels,
  source: Extract<Source, { kind: 'registry' }>,
  file: RemoteFile,
): Promise<string | undefined> {
  return (await held.at(source)).get(file)?.url;
}

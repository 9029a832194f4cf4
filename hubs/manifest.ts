/** Hubs that are a list in this program: models of repositories that no longer change, each file with its digest. */
import { ModeldlError, throwIfAborted } from '../src/errors.js';
import type { Digest, HubContext, RemoteFile, Snapshot, SnapshotMetadata, Unpack } from '../src/hub.js';
import {
  formatStandard,
  malformed,
  parseStandard,
  type Reference,
  type ReferenceSyntax,
} from '../src/reference.js';
import { nearestNames } from './nearest.js';
import { refuseAbsentPart } from './part.js';

/** Up to so many models a hint names all. */
const MAX_LISTED = 4;

export interface ManifestFile {
  readonly path: string;
  readonly url: string;
  /** Bytes, where they are known; else the server is asked, and the digest holds it to its answer. */
  readonly size?: number;
  readonly digest: Digest;
  readonly unpack?: Unpack;
}

export interface ManifestModel {
  /** Commit or release that the addresses are of. */
  readonly revision: string;
  readonly files: readonly ManifestFile[];
  readonly metadata: SnapshotMetadata;
}

export interface Manifest {
  readonly hub: string;
  readonly title: string;
  readonly models: ReadonlyMap<string, ManifestModel>;
}

/** @param example a name, for hints */
export function manifestSyntax(hub: string, example: string): ReferenceSyntax {
  return {
    hub,
    schemes: [hub],
    parse(rest) {
      const text = `${hub}:${rest}`;
      const parts = parseStandard(rest, text);
      if (/^[\w][\w.-]*$/.test(parts.id)) return parts;
      throw malformed(text, `\`${parts.id}\` is no name of a model`, `write \`${hub}:${example}\``);
    },
    format: (parts) => formatStandard(hub, parts),
  };
}

/**
 * No request but for sizes that the list does not know, of a listing that is not stored.
 * @throws ModeldlError NOT_FOUND, AUTH, NETWORK
 */
export async function resolveManifest(
  manifest: Manifest,
  reference: Reference,
  context: HubContext,
): Promise<Snapshot> {
  throwIfAborted(context.signal);
  const { id, revision } = reference;
  const { hub, title, models } = manifest;
  const model = models.get(id);
  if (model === undefined) throw unknownName(manifest, id);
  if (revision !== undefined && revision !== model.revision) {
    throw new ModeldlError('NOT_FOUND', `${title} has no revision ${revision} of ${id}`, {
      hint: `there is one: \`${formatStandard(hub, { id, revision: model.revision })}\``,
    });
  }
  // Before sizes are asked for.
  refuseAbsentPart(reference, model.files);
  const known = await context.known?.(id, model.revision);
  const sizes = new Map(known?.files.map((file) => [file.path, file.size]));
  const files = model.files.map(async (file): Promise<RemoteFile> => {
    const size = file.size ?? sizes.get(file.path) ?? (await askSize(manifest, file.url, context));
    return { ...file, size };
  });
  return {
    hub,
    id,
    revision: model.revision,
    files: await Promise.all(files),
    metadata: model.metadata,
  };
}

/** A git object's id is over its size too. Asked as a part, since lengths of whole answers may be those of compressed ones. */
async function askSize({ hub, title }: Manifest, url: string, context: HubContext): Promise<number> {
  const response = await context.fetch(url, {
    headers: { range: 'bytes=0-0', 'accept-encoding': 'identity' },
    signal: context.signal,
  });
  await response.body?.cancel();
  const { status, headers } = response;
  const { host } = new URL(url);
  const details = { url, status };
  const check = `check \`hubs.${hub}.endpoint\` where it is set, and whether a proxy wants a login first`;
  if (status === 404 || status === 410) {
    throw new ModeldlError('NOT_FOUND', `${host} no longer has a file of ${title}: ${url}`, {
      hint: check,
      details,
    });
  }
  if (status === 401 || status === 403)
    throw new ModeldlError('AUTH', `${host} refuses access (${status}): ${url}`, { hint: check, details });
  if (!response.ok) {
    const hint = status === 429 ? 'wait some minutes' : 'try again later';
    throw new ModeldlError('NETWORK', `${host} answered ${status}: ${url}`, { hint, details });
  }
  const text =
    status === 206
      ? /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1]
      : ['identity', null].includes(headers.get('content-encoding'))
        ? headers.get('content-length')
        : undefined;
  const isPage = /^(text\/html|application\/xhtml)/i.test(headers.get('content-type') ?? '');
  if (!isPage && text != null && /^\d{1,15}$/.test(text)) return Number(text);
  const what = isPage ? 'answers a web page' : 'does not tell the size';
  throw new ModeldlError('NETWORK', `${host} ${what}: ${url}`, { hint: check, details });
}

function unknownName({ hub, title, models }: Manifest, id: string): ModeldlError {
  const isShort = models.size <= MAX_LISTED;
  const names = isShort ? [...models.keys()] : nearestNames(id, models.keys());
  const offered = names.map((name) => `\`${formatStandard(hub, { id: name })}\``).join(', ');
  return new ModeldlError('NOT_FOUND', `${title} has no model ${id}`, {
    hint: isShort ? `there are ${offered}` : `the nearest ${names.length > 1 ? 'are' : 'is'} ${offered}`,
    details: { nearest: names },
  });
}

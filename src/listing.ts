/** What can be chosen of a revision, what is chosen, and what the choice is called in the store. */
import { createHash } from 'node:crypto';
import { platform } from 'node:process';
import { digestKey } from './fetch.js';
import type { RemoteFile, Snapshot } from './hub.js';
import { checkListing, fileSystemRules } from './paths.js';
import type { Reference } from './reference.js';
import { select, type ListedFile, type Selection } from './select.js';
import type { Asked, ModelKey } from './store/record.js';
import type { StoredSnapshot } from './store/snapshots.js';
import type { ArchiveFile } from './unpack.js';

/** Which files are asked for. */
export interface SelectionRequest {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly allFiles?: boolean;
  /** Which of several GGUF quantizations. */
  readonly quant?: string;
}

/** A request as a record keeps it; undefined for a default pull and for all files. */
export function askedOf({ include = [], exclude = [], quant }: SelectionRequest): Asked | undefined {
  const asked = {
    ...(include.length === 0 ? {} : { include: [...include] }),
    ...(exclude.length === 0 ? {} : { exclude: [...exclude] }),
    ...(quant === undefined ? {} : { quant }),
  };
  return Object.keys(asked).length === 0 ? undefined : asked;
}

/** Was nothing asked for but a quantization? */
export function onlyQuantization(asked: Asked): boolean {
  return asked.quant !== undefined && asked.include === undefined && asked.exclude === undefined;
}

/**
 * Of the requests that chose the same files, the one that decides what a reference without any means: the default
 * before a quantization, this before globs, else the earlier.
 */
export function decidingRequest(earlier: Asked | undefined, later: Asked | undefined): Asked | undefined {
  if (earlier === undefined || later === undefined) return undefined;
  return !onlyQuantization(earlier) && onlyQuantization(later) ? later : earlier;
}

/** A file that can be chosen: of the listing itself, or a member of one of its archives. */
export interface ListingEntry extends ListedFile {
  readonly source: RemoteFile;
  /** Path of the archive it is a member of. */
  readonly archive?: string;
}

export function isArchive(file: RemoteFile): file is ArchiveFile {
  return file.unpack !== undefined;
}

/** The files a selection works on; undefined while archives have not been listed. */
export function knownListing(snapshot: Snapshot | StoredSnapshot): readonly ListingEntry[] | undefined {
  const plain = snapshot.files.filter((file) => !isArchive(file));
  const archives = snapshot.files.filter(isArchive);
  const entries = plain.map((source) => ({ path: source.path, size: source.size, source }));
  if (archives.length === 0) return entries;
  const members = 'members' in snapshot ? snapshot.members : undefined;
  if (members === undefined) return undefined;
  return [
    ...entries,
    ...members.flatMap(({ path, bytes, archive }) => {
      const source = archives.find((candidate) => candidate.path === archive);
      return source === undefined ? [] : [{ path, size: bytes, source, archive }];
    }),
  ];
}

/** @throws ModeldlError as `select` does, and INTEGRITY for names that cannot stand beside each other here */
export function choose(
  listing: readonly ListingEntry[],
  reference: Reference,
  options: SelectionRequest,
): Selection<ListingEntry> {
  const selection = select(listing, {
    subpath: reference.subpath,
    include: options.include ?? [],
    exclude: options.exclude ?? [],
    allFiles: options.allFiles ?? false,
    quant: options.quant,
  });
  checkListing(
    selection.chosen.map(({ path }) => path),
    fileSystemRules(platform),
  );
  return selection;
}

/** What names the model that a selection makes of a revision. */
export function keyOf(
  snapshot: Snapshot | StoredSnapshot,
  revision: string,
  selection: Selection<ListingEntry>,
): ModelKey {
  const key = { hub: snapshot.hub, id: snapshot.id, revision };
  if ('unproven' in snapshot) {
    return { ...key, selection: unprovenHash(snapshot, selection) };
  }
  return selection.complete ? key : { ...key, selection: selectionHash(selection) };
}

/**
 * Identity of a choice that only a lock stands behind: all that decides its bytes. Two locks that tell the same paths and
 * sizes of a revision, and other bytes, mean two models.
 */
function unprovenHash(snapshot: Snapshot, selection: Selection<ListingEntry>): string {
  const members = 'members' in snapshot ? snapshot.members : undefined;
  const files = snapshot.files.map(({ path, size, digest, unpack }) => ({ path, size, digest, unpack }));
  const decides = JSON.stringify({ files, members, edits: snapshot.edits });
  const hash = createHash('sha256').update(`unproven ${selectionHash(selection)}${decides}`);
  return hash.digest('hex');
}

/** Identity of a choice of files: their paths in the tree and what the revision says of each. */
function selectionHash(selection: Selection<ListingEntry>): string {
  const lines = selection.chosen.map(({ path, file }) => {
    const digest = file.archive === undefined ? file.source.digest : undefined;
    return `${path}\0${file.path}\0${digest === undefined ? (file.size ?? '') : digestKey(digest)}\n`;
  });
  return createHash('sha256').update(lines.sort().join('')).digest('hex');
}

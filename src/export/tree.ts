/** What an export consists of, whether it becomes a directory or an archive: entries, whose models' they are. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { inOrder, type PackedEntry, type PackedFile } from '../pack.js';
import type { StoredModel } from '../store/models.js';
import { MANIFEST, refuseReserved } from '../store/output.js';

/**
 * An entry without a role is the model's alone. `named`: by what it holds, as stores of blobs do; `latest`: replaces what
 * is there; `default`: is left out where something is there; `entry`: gives the model a name, which another may have.
 */
export type TreeEntry = PackedEntry & {
  readonly role?: 'named' | 'latest' | 'default' | 'entry';
  /** Of an `entry`: does what is there name this model already? */
  readonly isSame?: (found: Uint8Array) => boolean;
};

export interface Tree {
  readonly entries: readonly TreeEntry[];
  /** Directories that are the models' alone, below the target: '' for the target itself. */
  readonly owned: readonly string[];
}

/** One entry for each path: of those that say different things of one, the first that is no default. */
export function distinct(entries: readonly TreeEntry[]): readonly TreeEntry[] {
  const byPath = new Map<string, TreeEntry>();
  for (const entry of entries) {
    const before = byPath.get(entry.path);
    if (before === undefined || (before.role === 'default' && entry.role !== 'default'))
      byPath.set(entry.path, entry);
  }
  return inOrder([...byPath.values()]);
}

/**
 * A model's own files below a directory, and beside them what tells where they come from and what they are.
 * @throws ModeldlError USAGE for a model that brings such a file: later exports would believe it
 */
export function modelEntries(
  { directory, record }: StoredModel,
  { place, origin, time }: { readonly place: string; readonly origin: string; readonly time: number },
  texts: readonly { readonly path: string; readonly text: string }[] = [],
): readonly TreeEntry[] {
  refuseReserved(record, 'export it with `--layout hf-cache`, which has no such file of modeldl');
  const prefix = place === '' ? '' : `${place}/`;
  const written = new Set(texts.map(({ path }) => path));
  const own = record.files
    .filter(({ path }) => !written.has(path))
    .map(({ path, bytes, sha256 }) => ({ path, bytes, sha256, from: join(directory, path) }));
  const files = inOrder([...own, ...texts.map(({ path, text }) => textFile(path, text))]);
  const manifest = {
    reference: origin,
    ...(record.license === undefined ? {} : { license: record.license }),
    files: files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256, mtime: time })),
  };
  return [...files, textFile(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`)].map((file) => ({
    ...file,
    path: `${prefix}${file.path}`,
  }));
}

export function textFile(path: string, text: string): PackedFile & { readonly sha256: string } {
  return bytesFile(path, Buffer.from(text));
}

export function bytesFile(path: string, from: Uint8Array): PackedFile & { readonly sha256: string } {
  return { path, bytes: from.length, sha256: createHash('sha256').update(from).digest('hex'), from };
}

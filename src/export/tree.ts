/** What an export consists of, whether it becomes a directory or an archive: entries, whose models' they are. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { inOrder, type PackedEntry } from '../pack.js';
import type { StoredModel } from '../store/models.js';
import { MANIFEST } from '../store/output.js';

/**
 * An entry without a role is the model's alone. `named`: by what it holds, as stores of blobs do; `shared`: with other
 * models there, and replaced by what holds for all; `entry`: the name of a model, which another may have.
 */
export type TreeEntry = PackedEntry & { readonly role?: 'named' | 'shared' | 'entry' };

export interface Tree {
  readonly entries: readonly TreeEntry[];
  /** Directories that are the models' alone, below the target: '' for the target itself. */
  readonly owned: readonly string[];
}

/** A model's own files below a directory, and beside them what tells where they come from and what they are. */
export function modelEntries(
  { directory, record }: StoredModel,
  place: string,
  time: number,
  texts: readonly { readonly path: string; readonly text: string }[] = [],
): readonly TreeEntry[] {
  const prefix = place === '' ? '' : `${place}/`;
  const written = new Set(texts.map(({ path }) => path));
  const own = record.files
    .filter(({ path }) => !written.has(path))
    .map(({ path, bytes, sha256 }) => ({ path, bytes, sha256, from: join(directory, path) }));
  const files = inOrder([...own, ...texts.map(({ path, text }) => textFile(path, text))]);
  const manifest = {
    reference: record.reference,
    ...(record.license === undefined ? {} : { license: record.license }),
    files: files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256, mtime: time })),
  };
  return [...files, textFile(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`)].map((file) => ({
    ...file,
    path: `${prefix}${file.path}`,
  }));
}

export function textFile(path: string, text: string) {
  const from = Buffer.from(text);
  return { path, bytes: from.length, sha256: createHash('sha256').update(from).digest('hex'), from };
}

/** Each model in a directory of its own, or the only one in the target itself. */
export function plainTree(models: readonly { model: StoredModel; place: string }[], time: number): Tree {
  return {
    entries: inOrder(models.flatMap(({ model, place }) => modelEntries(model, place, time))),
    owned: models.map(({ place }) => place),
  };
}

/**
 * Documents that nothing else in the store could tell are kept twice: beside each lies its copy. One that is lost or
 * damaged comes back with the next reading.
 *
 * The copy is written last and goes first, so a copy alone is damage, and never the trace of a process that was killed.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type * as v from 'valibot';
import { ModeldlError, systemErrorCode } from '../errors.js';
import { parseJson } from '../json.js';
import { NewerDocument, readJson, readText, writeJson } from './json.js';
import type { Store } from './layout.js';
import { moveToTrash } from './tree.js';

const DOCUMENT = '.json';
const COPY = '.copy';

/** The copy of a document whose name ends in `.json`. */
export function copyPath(path: string): string {
  return `${path.slice(0, -DOCUMENT.length)}${COPY}`;
}

/** The documents, sorted and without `.json`, that are among the names of a directory: whole, or as a copy only. */
export function documentsAmong(names: readonly string[]): readonly string[] {
  const documents = names.filter((name) => name.endsWith(DOCUMENT) || name.endsWith(COPY));
  return [...new Set(documents.map((name) => name.slice(0, name.lastIndexOf('.'))))].sort();
}

/** As {@link writeJson}; a copy that cannot be written is left to `verify --repair`. */
export async function writeTwice(
  store: Store,
  path: string,
  document: unknown,
  flush = store.durability === 'flush',
): Promise<void> {
  await writeJson(store, path, document, flush);
  await writeJson(store, copyPath(path), document, false).catch(unlessDisk);
}

/** Lets pass that something cannot be written. @throws whatever else it was */
function unlessDisk(error: unknown): undefined {
  if (!(error instanceof ModeldlError) && systemErrorCode(error) === undefined) throw error;
}

/**
 * As {@link readJson}, and from the copy where the document may not be read, or is gone or damaged and then restored
 * where that can be written: reading needs no write.
 */
export async function readTwice<Schema extends v.GenericSchema>(
  store: Store,
  path: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  let unreadable: ModeldlError | undefined;
  const document = await readJson(store, path, schema).catch((error: unknown) => {
    if (!(error instanceof ModeldlError) || error instanceof NewerDocument) throw error;
    unreadable = error;
    return undefined;
  });
  if (document !== undefined) return document;
  const copy = await readJson(store, copyPath(path), schema);
  if (copy === undefined && unreadable !== undefined) throw unreadable;
  if (copy === undefined || unreadable !== undefined || !store.writable) return copy;
  const isRestored = await repeat(store, copyPath(path), path).catch(unlessDisk);
  // Who removed the document meanwhile removed the copy before it.
  if (!existsSync(copyPath(path))) {
    if (isRestored) await rm(path, { force: true });
    return undefined;
  }
  if (isRestored) store.emit({ type: 'note', message: `Restored from its copy: ${path}` });
  return copy;
}

/** Removes the copy: the document itself goes after it. Throws file system errors. */
export async function removeCopy(store: Store, path: string): Promise<void> {
  await moveToTrash(store, copyPath(path));
}

/** What the copy of a document says, where that is something else. */
export async function readOtherwise<Schema extends v.GenericSchema>(
  store: Store,
  path: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const [text, copied] = [await readableText(path), await readableText(copyPath(path))];
  if (copied === text || text === UNREADABLE || copied === UNREADABLE) return undefined;
  return readJson(store, copyPath(path), schema);
}

/** Makes a document again of its copy, which turned out to be right where the document was not. */
export async function restoreFromCopy(store: Store, path: string): Promise<void> {
  await repeat(store, copyPath(path), path);
  store.emit({ type: 'note', message: `Restored from its copy: ${path}` });
}

/**
 * Makes the copy of a sound document again where it is not the same, or of the copy a document that cannot be read.
 * @returns whether it had to
 */
export async function mendCopy(store: Store, path: string): Promise<boolean> {
  if ((await readableText(path)) === UNREADABLE) {
    await restoreFromCopy(store, path);
    return true;
  }
  if (!(await repeat(store, path, copyPath(path)))) return false;
  store.emit({ type: 'note', message: `Restored ${copyPath(path)}` });
  return true;
}

/** Writes one document as another says it, unless it says the same. */
async function repeat(store: Store, from: string, to: string): Promise<boolean> {
  const text = await readText(from);
  if (text === undefined || (await readableText(to)) === text) return false;
  await writeJson(store, to, parseJson(text));
  return true;
}

/** What no document says. */
const UNREADABLE = 'unreadable';

/** As {@link readText}, and {@link UNREADABLE} for what is there but may not be read, or is not given by the disk. */
async function readableText(path: string): Promise<string | undefined> {
  return readText(path).catch((error: unknown) => {
    const cause = error instanceof ModeldlError ? systemErrorCode(error.cause) : undefined;
    if (cause === 'EACCES' || cause === 'EIO') return UNREADABLE;
    throw error;
  });
}

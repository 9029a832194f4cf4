/** Small JSON files of the store: written whole by rename, read with a schema, set aside when they are damaged. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { parseJson } from '../json.js';
import { flushFiles } from './durability.js';
import { inStore, uniqueName, type Store } from './layout.js';

/**
 * Writes through a temporary file of the same file system, so readers see the old or the new document, never half.
 * @param flush the document is on the disk before it replaces the old one, and has replaced it when this returns
 */
export async function writeJson(
  store: Store,
  path: string,
  document: unknown,
  flush = store.durability === 'flush',
): Promise<void> {
  const temporary = inStore(store, 'tmp', `${uniqueName()}.json`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(`${JSON.stringify(document, null, 2)}\n`);
      if (flush) await file.sync();
    } finally {
      await file.close();
    }
    await makeDirectories(dirname(path));
    await replace(store, temporary, path);
    if (flush) await flushFiles(store, [path]);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw diskError(error, path);
  }
}

/** Moves a document into place. A directory that stands there is damage that no rename replaces. */
async function replace(store: Store, temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    if (systemErrorCode(error) !== 'EISDIR') throw error;
    await setAside(store, path);
    await rename(temporary, path);
  }
}

/** The version of every document here that has one. */
const VERSION = 1;

/** A document that a later version wrote: it is not damaged, and what it names must not be touched. */
export class NewerDocument extends ModeldlError {
  constructor(path: string) {
    super('DISK', `A newer modeldl wrote this: ${path}`, {
      hint: 'update modeldl, or choose another cache with `--cache-dir`',
      details: { file: path },
    });
  }
}

function isNewer(document: unknown): boolean {
  if (typeof document !== 'object' || document === null || !('version' in document)) return false;
  return typeof document.version === 'number' && document.version > VERSION;
}

/**
 * Reads a document, or undefined when it is absent. A damaged one is moved aside with a warning and counts as absent:
 * everything in the store can be fetched or made again. @throws NewerDocument, ModeldlError DISK
 */
export async function readJson<Schema extends v.GenericSchema>(
  store: Store,
  path: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const text = readDocument(path);
  if (text === undefined) return undefined;
  const document = parseJson(text);
  const parsed = v.safeParse(schema, document);
  if (parsed.success) return parsed.output;
  if (isNewer(document)) throw new NewerDocument(path);
  await setAside(store, path);
  return undefined;
}

/** What a directory, FIFO, socket or device in the place of a document holds: a damaged one. */
const NO_TEXT = '';

/** Whoever opens a FIFO otherwise waits for its writer, and no signal ends that wait. */
const AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/** Synchronous: documents are read by the thousand, and the thread pool takes several times what reading one does. */
function readDocument(path: string): string | undefined {
  try {
    const file = openSync(path, AT_ONCE);
    try {
      return fstatSync(file).isFile() ? readFileSync(file, 'utf8') : NO_TEXT;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return textInstead(error, path);
  }
}

/** The text of a small file, or undefined when it is absent. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, AT_ONCE);
    try {
      return (await file.stat()).isFile() ? await file.readFile('utf8') : NO_TEXT;
    } finally {
      await file.close();
    }
  } catch (error) {
    return textInstead(error, path);
  }
}

/** What a file holds that could not be read: undefined when it is absent. @throws ModeldlError DISK */
function textInstead(error: unknown, path: string): string | undefined {
  const code = systemErrorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  // Some systems open no directory, and none opens a socket.
  if (code === 'EISDIR' || code === 'ENXIO') return NO_TEXT;
  throw diskError(error, path, 'read');
}

async function setAside(store: Store, path: string): Promise<void> {
  let what = 'it is ignored';
  if (store.writable) {
    await rename(path, inStore(store, 'trash', `${uniqueName()}.damaged`)).catch(() => undefined);
    what = 'it was set aside and will be made again';
  }
  store.emit({ type: 'warning', message: `Damaged file in the cache, ${what}: ${path}` });
}

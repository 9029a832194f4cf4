/**
 * Unfinished downloads: a journal and a data file in a directory of their own. A data file is written by the process
 * that made it and by no other, ever: who takes over copies the prefix that the journal vouches for into a new file,
 * hashing it on the way. So a former owner that wakes up late writes into a file that nobody reads.
 */
import { randomBytes } from 'node:crypto';
import {
  constants,
  copyFile,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  type FileHandle,
} from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { makeDirectories } from '../directories.js';
import { diskError, systemErrorCode } from '../errors.js';
import { writeAll, type WriteJournal } from './assembly.js';
import { createRanges, type Range } from './ranges.js';
import type { FileVersion } from './response.js';

const JOURNAL = 'journal.json';
const COPY_BYTES = 1024 * 1024;

const offset = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const rangeSchema = v.pipe(
  v.tuple([offset, offset]),
  v.check(([start, end]) => start < end),
);

const journalSchema = v.object({
  version: v.literal(1),
  /** Name of the data file beside the journal. */
  data: v.pipe(v.string(), v.regex(/^data\.[0-9a-f]+$/)),
  /** What upstream said about the bytes: a partial of other bytes is of no use. */
  identity: v.string(),
  /** Of the answer that the bytes came from. */
  source: v.optional(
    v.object({
      etag: v.exactOptional(v.string()),
      modified: v.exactOptional(v.string()),
      answered: v.exactOptional(v.string()),
      size: v.exactOptional(v.number()),
      from: v.exactOptional(v.string()),
    }),
  ),
  bootId: v.string(),
  /** Written ranges, `[start, end)`. */
  ranges: v.array(rangeSchema),
  /** The same, as far as they had been flushed to the disk. */
  flushed: v.array(rangeSchema),
});

type Journal = v.InferOutput<typeof journalSchema>;

export interface Partial {
  readonly path: string;
  readonly handle: FileHandle;
  /** Bytes that are there already. */
  readonly ranges: readonly Range[];
  /** What the answer that they came from said of itself. */
  readonly source: FileVersion | undefined;
  readonly record: WriteJournal;
  close(): Promise<void>;
}

export interface PartialOptions {
  /** Digest and size as one text; a journal with another starts over. */
  readonly identity: string;
  /** Can bytes of this version be continued? */
  mayContinue(source: FileVersion | undefined): boolean;
  readonly bootId: string;
  /** Flush before the journal names a range. */
  readonly durable: boolean;
  readonly signal: AbortSignal;
  /** Throws when another process took over. */
  assertOwned(): Promise<void>;
  /** Sees every byte of what is there without a gap from the start, in order. */
  onPrefix(chunk: Buffer): void;
}

/** @throws file system errors as DISK errors, and what `assertOwned` throws */
export async function openPartial(directory: string, options: PartialOptions): Promise<Partial> {
  try {
    await makeDirectories(directory).catch(async (error: unknown) => {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
      // Something else in its place, as a repair of the file system leaves it, is no part of a download.
      await rm(directory, { force: true });
      await makeDirectories(directory);
    });
    // Only these are removed below: what a new owner makes later is not among them.
    const others = await readdir(directory);
    const journal = await readJournal(directory);
    const name = `data.${randomBytes(8).toString('hex')}`;
    const path = join(directory, name);
    const usable =
      journal?.identity === options.identity && options.mayContinue(journal.source) ? journal : undefined;
    // Copies that earlier runs did not finish go first: there may be no room for another one beside them.
    const remaining = new Set(usable === undefined ? [] : [JOURNAL, usable.data]);
    const removeOthers = async (): Promise<void> => {
      for (const other of others.filter((entry) => !remaining.has(entry))) {
        await options.assertOwned();
        await rm(join(directory, other), { force: true, recursive: true });
      }
    };
    await removeOthers();
    const ranges = usable === undefined ? [] : await adopt(directory, usable, path, options);
    const handle = await open(path, ranges.length > 0 ? 'r+' : 'w+');
    const partial: Partial = {
      path,
      handle,
      ranges,
      source: ranges.length > 0 ? usable?.source : undefined,
      record: (written, flushed, source) =>
        writeJournal(directory, options.durable, {
          version: 1,
          data: name,
          identity: options.identity,
          ...(source === undefined ? {} : { source }),
          bootId: options.bootId,
          ranges: written.map(([start, end]) => [start, end]),
          flushed: flushed.map(([start, end]) => [start, end]),
        }),
      close: () => handle.close(),
    };
    try {
      await options.assertOwned();
      if (options.durable && ranges.length > 0) await handle.datasync();
      await partial.record(ranges, options.durable ? ranges : [], partial.source);
      // The journal names the new file now; before, the old one had to stay.
      if (usable !== undefined) remaining.delete(usable.data);
      await removeOthers();
    } catch (error) {
      await handle.close();
      throw error;
    }
    return partial;
  } catch (error) {
    // A new owner removes what it did not make itself.
    if (systemErrorCode(error) === 'ENOENT') await options.assertOwned();
    throw diskError(error, directory);
  }
}

/** Copies what the journal vouches for; returns what that is. A shorter data file counts as far as it goes. */
async function adopt(
  directory: string,
  journal: Journal,
  path: string,
  options: PartialOptions,
): Promise<readonly Range[]> {
  const source = join(directory, journal.data);
  const size = await stat(source).then(
    (found) => (found.isFile() ? found.size : 0),
    () => 0,
  );
  const vouched = createRanges(journal.bootId === options.bootId ? journal.ranges : journal.flushed)
    .list()
    .filter(([start]) => start < size)
    .map(([start, end]): Range => [start, Math.min(end, size)]);
  const last = vouched.at(-1);
  if (last === undefined) return [];
  const reflinked = await copyFile(source, path, constants.COPYFILE_FICLONE_FORCE).then(
    () => true,
    () => false,
  );
  const reader = await open(reflinked ? path : source, 'r');
  const target = await open(path, reflinked ? 'r+' : 'w').catch(async (error: unknown) => {
    await reader.close();
    throw error;
  });
  try {
    const adopted = createRanges();
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    for (const [start, end] of vouched) {
      // What lies behind a gap is hashed when the gap is filled.
      if (reflinked && start > 0) {
        adopted.add(start, end);
        continue;
      }
      for (let at = start; at < end;) {
        options.signal.throwIfAborted();
        const { bytesRead } = await reader.read(buffer, 0, Math.min(COPY_BYTES, end - at), at);
        if (bytesRead === 0) break;
        const chunk = buffer.subarray(0, bytesRead);
        if (start === 0) options.onPrefix(chunk);
        if (!reflinked) await writeAll(target, chunk, at);
        at += bytesRead;
        adopted.add(start, at);
      }
    }
    await target.truncate(adopted.list().at(-1)?.[1] ?? 0);
    return adopted.list();
  } catch (error) {
    // It would take room until a later run has copied all of it.
    await rm(path, { force: true });
    throw error;
  } finally {
    await reader.close();
    await target.close();
  }
}

async function readJournal(directory: string): Promise<Journal | undefined> {
  try {
    const parsed = v.safeParse(journalSchema, JSON.parse(await readFile(join(directory, JOURNAL), 'utf8')));
    return parsed.success ? parsed.output : undefined;
  } catch {
    // Absent or damaged: the download starts over.
    return undefined;
  }
}

async function writeJournal(directory: string, durable: boolean, journal: Journal): Promise<void> {
  const temporary = join(directory, `journal.${randomBytes(4).toString('hex')}`);
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(JSON.stringify(journal));
    if (durable) await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, join(directory, JOURNAL));
}

/** Bytes that an unfinished download takes on the disk. */
export async function partialBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory).catch(() => [])) {
    const found = await stat(join(directory, name)).catch(() => undefined);
    // A data file may be sparse; st_blocks counts units of 512 bytes (POSIX).
    if (found !== undefined) bytes += Math.min(found.size, found.blocks * 512);
  }
  return bytes;
}

/** Removes a finished or useless partial. What another process puts there meanwhile is its own, and stays. */
export async function removePartial(directory: string): Promise<void> {
  try {
    await rm(directory, { recursive: true, force: true });
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOTEMPTY') throw error;
  }
}

/**
 * Mark and sweep. Records and living sessions mark what is wanted; the rest is moved to the trash, the marks are read
 * again, what became wanted meanwhile is put back, and only then is anything deleted.
 *
 * Whatever changed since the oldest living command began belongs to it as far as a sweep can tell, and stays. Times
 * are the file system's own, so that the clocks of machines that share a cache need not agree.
 */
import { lstatSync, readdirSync, renameSync, type Stats } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { blobPath } from './blobs.js';
import { releaseAbandoned } from './claim.js';
import { readJson, type NewerDocument } from './json.js';
import { assertWritable, fileSystemTime, inStore, uniqueName, type Area, type Store } from './layout.js';
import { listModels } from './models.js';
import { keptInputs, recordSchema } from './record.js';
import { isGone, listSessions, openSession, readWants, removeSession, sessionTimes } from './session.js';
import { createTurns } from './turns.js';

export interface SweepOptions {
  /**
   * Blobs younger than this by change time stay, since a pull that was interrupted may go on; those of a removed model
   * stay only when they changed while a living command ran. Milliseconds.
   */
  readonly minimumAgeMs: number;
  /** Remove every unfinished download that no living command works on. */
  readonly partials: boolean;
}

export interface SweepPlan {
  readonly blobs: readonly SweptItem[];
  readonly partials: readonly SweptItem[];
  /** Leftovers of processes that died: staging, trees without a record, trash. */
  readonly leftovers: readonly SweptItem[];
}

export interface SweptItem {
  readonly path: string;
  /** Bytes that its removal gives back, with what precedes it in the plan: a tree may hold a blob by a hard link. */
  readonly bytes: number;
}

/** architecture.md, promise 6. */
export const BLOB_AGE_MS = 3_600_000;
/** A session that cannot be looked up, as of another machine, has ended when its counter stood still this long. */
const SILENT_SESSION_MS = 3_600_000;
/** Temporary documents are also written by commands without a session, for an instant. */
const DOCUMENT_AGE_MS = 3_600_000;

/** Who lives, and what is older than all of them. */
interface Horizon {
  readonly now: number;
  readonly sessions: ReadonlySet<string>;
  /** When the oldest living command began; Infinity when there is none. */
  readonly oldest: number;
  /** Nothing that changed at or after this moment is touched. */
  readonly before: number;
}

/** What a later version's record wants cannot be told, so nothing is swept beside it. */
function refuseNewer(error: NewerDocument): never {
  throw error;
}

/** What a sweep would remove now. @throws ModeldlError DISK beside records of a later version */
export async function planSweep(store: Store, options: SweepOptions): Promise<SweepPlan> {
  const horizon = await lookAround(store);
  const models = await listModels(store, refuseNewer);
  const wanted = await wantedBlobs(store, horizon, models);
  const released = await releasedBlobs(store);
  const count = byteCounter();
  const old = Math.min(horizon.before, horizon.now - options.minimumAgeMs);
  const blobs: SweptItem[] = [];
  const turn = createTurns();
  for (const directory of names(inStore(store, 'blobs/sha256'))) {
    for (const sha256 of names(inStore(store, 'blobs/sha256', directory))) {
      if (wanted.has(sha256)) continue;
      const path = inStore(store, 'blobs/sha256', directory, sha256);
      await turn();
      const found = lookAt(path);
      // What was removed need not age, but a living command may have fetched it anew.
      if (found === undefined || found.ctimeMs >= (released.has(sha256) ? horizon.oldest : old)) continue;
      blobs.push({ path, bytes: count(path) });
    }
  }
  const partials: SweptItem[] = [];
  for (const path of options.partials ? inArea(store, 'partials') : []) {
    if (lastChange(path) < horizon.before) partials.push({ path, bytes: count(path) });
  }
  const leftovers: SweptItem[] = [];
  for (const path of leftoverPaths(store, horizon, new Set(models.map((model) => model.directory)))) {
    leftovers.push({ path, bytes: count(path) });
  }
  return { blobs, partials, leftovers };
}

/**
 * Carries a plan out.
 * @returns bytes freed
 * @throws ModeldlError DISK
 */
export async function sweep(store: Store, plan: SweepPlan): Promise<number> {
  assertWritable(store);
  // Other sweeps leave alone what changed since a living session began, and so this one's grave.
  const session = await openSession(store);
  const grave = inStore(store, 'trash', session.id);
  const moved: Moved[] = [];
  try {
    await makeDirectories(grave);
    const horizon = await lookAround(store, session.id);
    const standing = new Set((await listModels(store, refuseNewer)).map((model) => model.directory));
    const turn = createTurns();
    for (const { path } of plan.blobs) {
      await turn();
      bury(path, grave, moved);
    }
    for (const { path } of plan.partials) if (lastChange(path) < horizon.before) bury(path, grave, moved);
    for (const { path } of plan.leftovers) {
      if (!standing.has(path) && changedAt(path) < horizon.before) bury(path, grave, moved);
    }
    const models = await listModels(store, refuseNewer);
    const wanted = await wantedBlobs(store, await lookAround(store, session.id), models);
    const trees = new Set(models.map((model) => model.directory));
    const count = byteCounter();
    let freed = 0;
    for (const item of moved) {
      if (wanted.has(basename(item.from)) || trees.has(item.from)) await exhume(item);
      else freed += count(item.to);
    }
    await forgetReleased(store);
    await releaseAbandoned(store);
    return freed;
  } catch (error) {
    for (const item of moved) await exhume(item).catch(() => undefined);
    throw diskError(error, grave);
  } finally {
    await rm(grave, { recursive: true, force: true });
    await session.close();
  }
}

interface Moved {
  readonly from: string;
  readonly to: string;
}

function bury(path: string, grave: string, moved: Moved[]): void {
  const to = join(grave, uniqueName());
  try {
    renameSync(path, to);
    moved.push({ from: path, to });
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
  }
}

/** Puts something back, unless its place was taken meanwhile by what is as good. */
async function exhume({ from, to }: Moved): Promise<void> {
  if (exists(from)) return;
  await makeDirectories(dirname(from));
  await rename(to, from);
}

/** Looks at the clock first, then at the sessions: who comes later changes nothing that is older. */
async function lookAround(store: Store, except?: string): Promise<Horizon> {
  const now = await fileSystemTime(store);
  const sessions = new Set<string>();
  let oldest = Infinity;
  for (const session of await listSessions(store)) {
    if (session.id === except) continue;
    const { startedMs, beatMs } = await sessionTimes(store, session.id);
    const gone = (await isGone(store, session)) ?? now - beatMs > SILENT_SESSION_MS;
    if (gone) {
      if (store.writable) await removeSession(store, session.id);
      continue;
    }
    sessions.add(session.id);
    oldest = Math.min(oldest, startedMs);
  }
  return { now, sessions, oldest, before: Math.min(now, oldest) };
}

/** The sessions of the horizon were listed before the records were: who published in between is in the records. */
async function wantedBlobs(
  store: Store,
  { sessions }: Horizon,
  models: Awaited<ReturnType<typeof listModels>>,
): Promise<ReadonlySet<string>> {
  const wanted = new Set<string>();
  for (const { record } of models) {
    for (const { sha256 } of [...record.files, ...keptInputs(record)]) wanted.add(sha256);
  }
  for (const id of sessions) for (const sha256 of await readWants(store, id)) wanted.add(sha256);
  return wanted;
}

/** Blobs of models that were removed on purpose. */
async function releasedBlobs(store: Store): Promise<ReadonlySet<string>> {
  const released = new Set<string>();
  for (const path of inArea(store, 'removed')) {
    const record = await readJson(store, path, recordSchema);
    for (const file of record?.files ?? []) released.add(file.sha256);
  }
  return released;
}

/** A removed record has done its duty when none of its blobs is left, or when all that are left are others'. */
async function forgetReleased(store: Store): Promise<void> {
  const held = new Set(
    (await listModels(store, refuseNewer)).flatMap(({ record }) =>
      [...record.files, ...keptInputs(record)].map(({ sha256 }) => sha256),
    ),
  );
  for (const path of inArea(store, 'removed')) {
    const record = await readJson(store, path, recordSchema);
    const left = (record?.files ?? []).filter((file) => !held.has(file.sha256));
    if (!left.some((file) => exists(blobPath(store, file.sha256)))) await rm(path, { force: true });
  }
}

function leftoverPaths(
  store: Store,
  { now, before }: Horizon,
  recorded: ReadonlySet<string>,
): readonly string[] {
  const paths: string[] = [];
  for (const path of inArea(store, 'tmp')) {
    const limit = path.endsWith('.json') ? Math.min(before, now - DOCUMENT_AGE_MS) : before;
    if (changedAt(path) < limit) paths.push(path);
  }
  for (const path of inArea(store, 'trash')) {
    if (changedAt(path) < before) paths.push(path);
  }
  for (const path of treePaths(store)) {
    if (!recorded.has(path) && changedAt(path) < before) paths.push(path);
  }
  return paths;
}

function treePaths(store: Store): readonly string[] {
  const paths: string[] = [];
  for (const hub of names(inStore(store, 'models'))) {
    for (const id of names(inStore(store, 'models', hub))) {
      for (const revision of names(inStore(store, 'models', hub, id))) {
        paths.push(inStore(store, 'models', hub, id, revision));
      }
    }
  }
  return paths;
}

function inArea(store: Store, area: Area): readonly string[] {
  return names(inStore(store, area)).map((name) => inStore(store, area, name));
}

function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw diskError(error, directory);
  }
}

/** Change time; what is gone counts as just changed. */
function changedAt(path: string): number {
  return lookAt(path)?.ctimeMs ?? Infinity;
}

/** Follows no link; undefined for what is gone. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/**
 * The last change of a directory or of anything directly in it: a download goes on in the files. What another user keeps
 * to himself, and so is his to remove, counts as just changed.
 */
function lastChange(directory: string): number {
  try {
    const times = names(directory).map((name) => changedAt(join(directory, name)));
    return Math.max(changedAt(directory), ...times);
  } catch (error) {
    if (error instanceof ModeldlError && systemErrorCode(error.cause) === 'EACCES') return Infinity;
    throw error;
  }
}

/** Counts what removing files one after the other gives back: a file's bytes go with the last of its names. */
function byteCounter(): (path: string) => number {
  const namesSeen = new Map<string, number>();
  return (path) => {
    let bytes = 0;
    for (const file of filesIn(path)) {
      const found = lookAt(file);
      if (found === undefined) continue;
      const inode = `${found.dev}:${found.ino}`;
      const seen = (namesSeen.get(inode) ?? 0) + 1;
      namesSeen.set(inode, seen);
      // Sparse files of unfinished downloads take less than their size; st_blocks counts units of 512 bytes (POSIX).
      if (seen === found.nlink) bytes += Math.min(found.size, found.blocks * 512);
    }
    return bytes;
  };
}

function filesIn(path: string): readonly string[] {
  if (lookAt(path)?.isDirectory() !== true) return [path];
  try {
    const entries = readdirSync(path, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return [];
  }
}

function exists(path: string): boolean {
  return lookAt(path) !== undefined;
}

/**
 * Mark and sweep. Records and living sessions mark what is wanted; the rest is moved to the trash, the marks are read
 * again, what became wanted meanwhile is put back, and only then is anything deleted.
 */
import { access, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { diskError, systemErrorCode } from '../errors.js';
import { assertWritable, inStore, uniqueName, type Area, type Store } from './layout.js';
import { listModels } from './models.js';
import { blobPath } from './blobs.js';
import { isGone, listSessions, removeSession, type SessionFile } from './session.js';

export interface SweepOptions {
  /** While other commands live, blobs younger than this by change time stay: a puller may be about to name them. Milliseconds. */
  readonly minimumAgeMs: number;
  /** Remove every unfinished download that no living command works on. */
  readonly partials: boolean;
}

export interface SweepPlan {
  readonly blobs: readonly SweptItem[];
  readonly partials: readonly SweptItem[];
  /** Leftovers of processes that died: staging, trees without a record, trash, dead sessions. */
  readonly leftovers: readonly SweptItem[];
}

export interface SweptItem {
  readonly path: string;
  /** Bytes that its removal gives back; 0 for a blob whose bytes a tree still holds by a hard link. */
  readonly bytes: number;
}

/** architecture.md, promise 6. */
export const BLOB_AGE_MS = 3_600_000;
/** Staging of a process that cannot be looked up is left alone for a day. */
const LEFTOVER_AGE_MS = 24 * 3_600_000;

/** What a sweep would remove now. */
export async function planSweep(store: Store, options: SweepOptions): Promise<SweepPlan> {
  const now = Date.now();
  const sessions = await livingSessions(store);
  const wanted = await wantedBlobs(store, sessions);
  // Without a living command there is no puller whose fresh blobs need protection.
  const minimumAgeMs = sessions.length === 0 ? 0 : options.minimumAgeMs;
  const blobs: SweptItem[] = [];
  for (const directory of await names(inStore(store, 'blobs/sha256'))) {
    for (const sha256 of await names(inStore(store, 'blobs/sha256', directory))) {
      if (wanted.has(sha256)) continue;
      const path = inStore(store, 'blobs/sha256', directory, sha256);
      const found = await stat(path).catch(() => undefined);
      if (found === undefined || now - found.ctimeMs < minimumAgeMs) continue;
      blobs.push({ path, bytes: found.nlink > 1 ? 0 : found.size });
    }
  }
  const partials = options.partials && sessions.length === 0 ? await items(store, 'partials', 0, now) : [];
  return { blobs, partials, leftovers: await leftovers(store, sessions, now) };
}

async function leftovers(store: Store, sessions: readonly SessionFile[], now: number): Promise<SweptItem[]> {
  const age = sessions.length === 0 ? 0 : LEFTOVER_AGE_MS;
  return [
    ...(await items(store, 'tmp', age, now)),
    ...(await items(store, 'trash', age, now)),
    ...(await orphanTrees(store, age, now)),
  ];
}

/** Trees that no record names: their process died before it wrote one, or their removal was cut short. */
async function orphanTrees(store: Store, ageMs: number, now: number): Promise<SweptItem[]> {
  const recorded = new Set((await listModels(store)).map((model) => model.directory));
  const orphans: SweptItem[] = [];
  for (const hub of await names(inStore(store, 'models'))) {
    for (const id of await names(inStore(store, 'models', hub))) {
      for (const revision of await names(inStore(store, 'models', hub, id))) {
        const path = inStore(store, 'models', hub, id, revision);
        if (recorded.has(path)) continue;
        const found = await stat(path).catch(() => undefined);
        if (found !== undefined && now - found.ctimeMs >= ageMs)
          orphans.push({ path, bytes: await treeBytes(path) });
      }
    }
  }
  return orphans;
}

async function items(store: Store, area: Area, ageMs: number, now: number): Promise<SweptItem[]> {
  const found: SweptItem[] = [];
  for (const name of await names(inStore(store, area))) {
    const path = inStore(store, area, name);
    const state = await stat(path).catch(() => undefined);
    if (state === undefined || now - state.ctimeMs < ageMs) continue;
    found.push({ path, bytes: state.isDirectory() ? await treeBytes(path) : state.size });
  }
  return found;
}

/** Bytes on disk of a tree, by allocated blocks; files with other links cost nothing. */
export async function treeBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => undefined);
    // st_blocks counts units of 512 bytes whatever the file system's block size (POSIX).
    if (found !== undefined && found.nlink === 1) bytes += found.blocks * 512;
  }
  return bytes;
}

async function names(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw diskError(error, directory);
  }
}

/** Sessions whose process may still live; the files of those that ended for certain are removed on the way. */
async function livingSessions(store: Store): Promise<readonly SessionFile[]> {
  const living: SessionFile[] = [];
  for (const session of await listSessions(store)) {
    if ((await isGone(store, session)) === true) await removeSession(store, session.id);
    else living.push(session);
  }
  return living;
}

async function wantedBlobs(store: Store, sessions: readonly SessionFile[]): Promise<ReadonlySet<string>> {
  const wanted = new Set<string>();
  for (const { record } of await listModels(store)) for (const file of record.files) wanted.add(file.sha256);
  for (const session of sessions) for (const sha256 of session.wants) wanted.add(sha256);
  return wanted;
}

/**
 * Carries a plan out.
 * @returns bytes freed
 * @throws ModeldlError DISK
 */
export async function sweep(store: Store, plan: SweepPlan): Promise<number> {
  assertWritable(store);
  const grave = inStore(store, 'trash', uniqueName());
  let freed = 0;
  try {
    await mkdir(grave, { recursive: true });
    const moved: { sha256: string; from: string; bytes: number }[] = [];
    for (const { path, bytes } of plan.blobs) {
      const sha256 = path.slice(-64);
      if (await moveIfThere(path, join(grave, sha256))) moved.push({ sha256, from: path, bytes });
    }
    const wanted = await wantedBlobs(store, await livingSessions(store));
    for (const { sha256, from, bytes } of moved) {
      if (!wanted.has(sha256)) freed += bytes;
      else if (!(await exists(from))) await restore(join(grave, sha256), blobPath(store, sha256));
    }
    for (const { path, bytes } of [...plan.partials, ...plan.leftovers]) {
      if (path === grave) continue;
      if (await moveIfThere(path, join(grave, uniqueName()))) freed += bytes;
    }
  } catch (error) {
    throw diskError(error, grave);
  } finally {
    await rm(grave, { recursive: true, force: true });
  }
  return freed;
}

async function moveIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

async function restore(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await rename(from, to);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Full listings of revisions as hubs gave them, and what floating references last resolved to. No secrets in either. */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { conversionRecipe } from '../converter.js';
import { encodeSegment } from '../paths.js';
import { readJson, writeJson } from './json.js';
import { inStore, type Store } from './layout.js';
import { digest, revisionSegment, sha256, size, treePath } from './record.js';
import { documentsAmong, mendCopy, readTwice, writeTwice } from './twice.js';

/** A listing may come with a copied cache, as a record may: what it names must lie inside the cache and the tree. */
export const snapshotSchema = v.object({
  hub: v.string(),
  id: v.string(),
  revision: v.string(),
  validator: v.exactOptional(v.string()),
  /** A registry said so, not the hub. */
  believed: v.exactOptional(v.literal(true)),
  files: v.array(
    v.object({
      path: treePath,
      size: v.exactOptional(size),
      digest: v.exactOptional(digest),
      url: v.string(),
      maxBytes: v.exactOptional(size),
      unpack: v.exactOptional(
        v.object({
          format: v.picklist(['tar', 'tar.gz', 'tar.xz', 'tar.zst', 'zip']),
          strip: v.exactOptional(size),
          into: v.exactOptional(treePath),
        }),
      ),
    }),
  ),
  edits: v.exactOptional(
    v.array(
      v.object({
        path: treePath,
        pattern: v.string(),
        replacement: v.array(v.union([v.string(), size])),
        count: v.exactOptional(size),
      }),
    ),
  ),
  /** Members of the archives among the files, once they were read: the listing that selections work on. */
  members: v.exactOptional(
    v.array(
      v.object({
        path: treePath,
        bytes: size,
        archive: treePath,
        /** Of those that were unpacked, where no digest of the archive holds them to what they were. */
        sha256: v.exactOptional(sha256),
      }),
    ),
  ),
  metadata: v.object({
    license: v.exactOptional(v.string()),
    gated: v.exactOptional(v.boolean()),
    task: v.exactOptional(v.string()),
    library: v.exactOptional(v.string()),
    page: v.exactOptional(v.string()),
    recipe: v.exactOptional(conversionRecipe),
  }),
});

export type StoredSnapshot = v.InferOutput<typeof snapshotSchema>;

/** A listing that came from elsewhere; undefined for what is none. */
export function parseListing(text: string): StoredSnapshot | undefined {
  try {
    const parsed = v.safeParse(snapshotSchema, JSON.parse(text));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

const refSchema = v.object({
  reference: v.string(),
  id: v.string(),
  revision: v.string(),
  /** ISO 8601. */
  resolvedAt: v.string(),
});

export type StoredRef = v.InferOutput<typeof refSchema>;

function snapshotPath(store: Store, hub: string, id: string, revision: string): string {
  // The whole revision is part of the name: a snapshot is looked up by exactly that.
  const name = /^[0-9a-f]{40,128}$/.test(revision) ? revision : revisionSegment(revision);
  return inStore(store, 'snapshots', hub, encodeSegment(id), `${name}.json`);
}

/** A listing with a name that no tree can hold is not kept: read again, it would be damage. */
export async function saveSnapshot(store: Store, snapshot: StoredSnapshot): Promise<void> {
  if (!snapshot.files.every(({ path }) => v.is(treePath, path))) return;
  await writeJson(store, snapshotPath(store, snapshot.hub, snapshot.id, snapshot.revision), snapshot);
}

export async function readSnapshot(
  store: Store,
  hub: string,
  id: string,
  revision: string,
): Promise<StoredSnapshot | undefined> {
  const snapshot = await readJson(store, snapshotPath(store, hub, id, revision), snapshotSchema);
  const isAsked = snapshot?.hub === hub && snapshot.id === id && snapshot.revision === revision;
  return isAsked ? snapshot : undefined;
}

/**
 * Reads every listing, so that a damaged one is set aside, with a warning, and every reference's resolution, so that it
 * and its copy restore each other.
 */
export async function settleSnapshots(store: Store): Promise<void> {
  for (const entry of await readdir(inStore(store, 'snapshots'), { recursive: true, withFileTypes: true })) {
    if (entry.name.endsWith('.json'))
      await readJson(store, join(entry.parentPath, entry.name), snapshotSchema);
  }
  for (const name of documentsAmong(await readdir(inStore(store, 'refs')))) {
    const path = inStore(store, 'refs', `${name}.json`);
    if ((await readTwice(store, path, refSchema)) !== undefined) await mendCopy(store, path);
  }
}

function refPath(store: Store, reference: string): string {
  const hash = createHash('sha256').update(reference).digest('hex').slice(0, 32);
  return inStore(store, 'refs', `${hash}.json`);
}

/** Remembers what a floating reference (its canonical text) resolved to. */
export async function saveRef(
  store: Store,
  reference: string,
  to: Omit<StoredRef, 'reference'>,
): Promise<void> {
  await writeTwice(store, refPath(store, reference), { reference, ...to });
}

export async function readRef(store: Store, reference: string): Promise<StoredRef | undefined> {
  const ref = await readTwice(store, refPath(store, reference), refSchema);
  return ref?.reference === reference ? ref : undefined;
}

/**
 * What a power cut may have taken. Renamed bytes that were never flushed can be lost, and flushing can cost more than
 * the download, so a model says in which boot, on which device and inode it was written; see architecture.md, promise 1.
 */
import { open, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { platform } from 'node:process';
import { systemErrorCode } from '../errors.js';
import type { Store } from './layout.js';
import type { ModelRecord } from './record.js';

/** File systems that number their files anew with every mount (magic numbers of statfs(2)): FAT, exFAT, FUSE. */
const PASSING_INODES: ReadonlySet<number> = new Set([0x4d44, 0x2011bab0, 0x65735546]);

async function hasLastingInodes(directory: string): Promise<boolean> {
  return statfs(directory).then(
    ({ type }) => !PASSING_INODES.has(type),
    () => true,
  );
}

/**
 * Writes files to the disk, and the directories that name them, up to the store's: a directory that was made for a file
 * may be lost with it. Throws file system errors.
 */
export async function flushFiles(store: Store, paths: readonly string[]): Promise<void> {
  const directories = new Set<string>();
  for (const path of paths) {
    await flush(path);
    for (let parent = dirname(path); !directories.has(parent); parent = dirname(parent)) {
      directories.add(parent);
      if (parent === store.root || parent === dirname(parent)) break;
    }
  }
  for (const directory of directories) await flush(directory);
}

/** Writes one file or directory to the disk; its name may not be there yet. Throws file system errors. */
export async function flush(path: string): Promise<void> {
  try {
    // Windows flushes only what is open for writing, which these files and directories are not.
    if (platform === 'win32') return;
    const file = await open(path, 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    // Some file systems cannot flush a directory (EINVAL); what is gone needs no flush.
    if (!['EINVAL', 'ENOENT'].includes(systemErrorCode(error) ?? '')) throw error;
  }
}

export type Placement = ModelRecord['placement'];

/** Where and when a tree that stands now was written. */
export async function placementOf(store: Store, directory: string, durable: boolean): Promise<Placement> {
  const { dev, ino } = await stat(directory);
  return { bootId: store.bootId, device: dev, inode: ino, durable };
}

/**
 * `settled`: flushed, or there is nothing to write the answer to. `flush`: written in this boot, so a flush now makes
 * it durable. `distrust`: an earlier boot may have ended before its bytes reached the disk. `copied`: another inode than
 * the record says, so whoever copied it has read it; boots say nothing about it. Another device alone says nothing: its
 * number may change with every boot, and so may inodes where the file system makes them up.
 */
export type Standing = 'settled' | 'flush' | 'distrust' | 'copied';

export async function standingOf(store: Store, placement: Placement, directory: string): Promise<Standing> {
  const found = await stat(directory).catch(() => undefined);
  if (found === undefined) return 'settled';
  if (found.ino !== placement.inode && (await hasLastingInodes(directory))) return 'copied';
  if (placement.durable || store.durability === 'trust' || !store.writable) return 'settled';
  return placement.bootId === store.bootId ? 'flush' : 'distrust';
}

/** Flushes a tree: its files, and every directory from theirs up to the tree's own. */
export async function flushTree(directory: string, paths: readonly string[]): Promise<void> {
  const directories = new Set([directory]);
  for (const path of paths) {
    for (let parent = dirname(path); parent !== '.'; parent = dirname(parent))
      directories.add(join(directory, parent));
  }
  for (const path of paths) await flush(join(directory, path));
  for (const parent of directories) await flush(parent);
}

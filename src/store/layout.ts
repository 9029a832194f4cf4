/**
 * Where everything lies in the cache, and the identity of the boot and mount it is used on. A store is plain data;
 * every function of this room takes it first.
 */
import { randomBytes } from 'node:crypto';
import { access, constants, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { geteuid } from 'node:process';
import { makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import type { Emit } from '../events.js';
import { bootIdentity, bootTime } from './boot.js';

/** `lazy` flushes on the next command of the same boot, `flush` before a record is written, `trust` never. */
export type Durability = 'lazy' | 'flush' | 'trust';

export interface Store {
  readonly cacheDir: string;
  /** `<cache>/v1`: a layout that changes incompatibly gets another directory. */
  readonly root: string;
  readonly writable: boolean;
  /** Present where its file system takes changes, but not of this user, such as one that a container was given. */
  readonly deniedTo?: number;
  readonly durability: Durability;
  /** Changes with every boot of the machine. */
  readonly bootId: string;
  /** Start of this boot, milliseconds since 1970. */
  readonly bootedAt: number;
  /** sha256 of blobs that this process has hashed or written: no doubt about them remains. */
  readonly verified: Set<string>;
  readonly emit: Emit;
}

export interface StoreOptions {
  readonly cacheDir: string;
  readonly durability: Durability;
  readonly emit: Emit;
  /** Treat the cache as read-only whatever its permissions say. */
  readonly readOnly?: boolean;
  /** Default true; else a cache that is not there stays so, and is one that holds nothing and cannot be written. */
  readonly create?: boolean;
}

/** Directory of everything in a cache: a layout that changes incompatibly gets another one. */
export const layoutVersion = 'v1';

const DIRECTORIES = [
  'blobs/sha256',
  'snapshots',
  'models',
  'records',
  'refs',
  'used',
  'removed',
  'partials',
  'sessions',
  'claims',
  'tmp',
  'trash',
  'toolchains',
  'wheels',
  'logs',
] as const;

export type Area = (typeof DIRECTORIES)[number];

/** First line fixed by the cache directory tagging specification (bford.info/cachedir). */
export const CACHEDIR_TAG =
  'Signature: 8a477f597d28d172789f06886806bc55\n# This directory is the cache of modeldl.\n';

/** Opens the cache, creating what is missing; a cache that cannot be written is opened for reading. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { cacheDir, durability, emit, readOnly = false, create = true } = options;
  const root = join(cacheDir, layoutVersion);
  const stays = readOnly || (!create && (await isAbsent(root)));
  const refused = stays ? 'EROFS' : await prepare(cacheDir, root);
  const user = geteuid?.();
  return {
    cacheDir,
    root,
    writable: refused === undefined,
    ...(refused === 'EACCES' && user !== undefined ? { deniedTo: user } : {}),
    durability,
    bootId: await bootIdentity(),
    bootedAt: bootTime(),
    verified: new Set(),
    emit,
  };
}

async function isAbsent(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    (error: unknown) => systemErrorCode(error) === 'ENOENT',
  );
}

/** @returns why it cannot be written, if so */
async function prepare(cacheDir: string, root: string): Promise<'EACCES' | 'EPERM' | 'EROFS' | undefined> {
  try {
    for (const directory of DIRECTORIES) await makeDirectories(join(root, directory));
    await access(root, constants.W_OK);
    await writeFile(join(cacheDir, 'CACHEDIR.TAG'), CACHEDIR_TAG, { flag: 'wx' }).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    });
    return undefined;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return code;
    if (code === 'ENOTDIR' || code === 'EEXIST') {
      throw new ModeldlError('DISK', `The cache path is not a directory: ${cacheDir}`, {
        hint: 'choose another with `--cache-dir` or `MODELDL_CACHE_DIR`',
        cause: error,
        details: { file: cacheDir },
      });
    }
    throw diskError(error, cacheDir);
  }
}

/** @throws ModeldlError DISK when the cache can only be read */
export function assertWritable(store: Store): void {
  if (store.writable) return;
  const { cacheDir, deniedTo } = store;
  const message =
    deniedTo === undefined
      ? `The cache is read-only: ${cacheDir}`
      : `The cache may not be written by this user, ${deniedTo}: ${cacheDir}`;
  throw new ModeldlError('DISK', message, {
    hint: 'choose a cache you may write with `--cache-dir` or `MODELDL_CACHE_DIR`',
    details: { file: cacheDir },
  });
}

/** Path of something in the store. */
export function inStore(store: Store, area: Area, ...rest: readonly string[]): string {
  return join(store.root, area, ...rest);
}

/** A name that nothing else in this store has. */
export function uniqueName(): string {
  return randomBytes(8).toString('hex');
}

/** Now, by the clock that times of files in the cache are of, milliseconds since 1970. */
export async function fileSystemTime(store: Store): Promise<number> {
  if (!store.writable) return Date.now();
  const probe = inStore(store, 'tmp', `${uniqueName()}.json`);
  await writeFile(probe, '');
  const { ctimeMs } = await stat(probe);
  await rm(probe, { force: true });
  return ctimeMs;
}

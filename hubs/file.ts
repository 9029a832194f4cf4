/** Files and folders of this machine. */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ModeldlError, systemErrorCode, throwIfAborted } from '../src/errors.js';
import type { Hub, HubContext, RemoteFile } from '../src/hub.js';
import type { Reference } from '../src/reference.js';
import { formatPath, parseFileScheme } from './file/reference.js';

export const file = {
  name: 'file',
  title: 'Local files',
  syntax: { hub: 'file', schemes: ['file'], paths: true, parse: parseFileScheme, format: formatPath },
  namesFiles: true,
  resolve,
} as const satisfies Hub;

/**
 * What tools keep inside a model's folder and no program reads as part of the model: version control, the download state
 * of `hf download --local-dir`, and what `modeldl pull --output` wrote where.
 */
const LEFT_OUT = new Set(['.git', '.cache/huggingface', '.modeldl.json']);

const SHA256 = /^[0-9a-f]{64}$/;

/** A file as found, with what changes when its bytes do. */
interface Found {
  /** Relative to the root, `/`-separated. */
  readonly path: string;
  /** Where the bytes are, links resolved. */
  readonly source: string;
  readonly size: bigint;
  readonly modifiedNs: bigint;
  readonly inode: bigint;
}

async function resolve(reference: Reference, context: HubContext): ReturnType<Hub['resolve']> {
  throwIfAborted(context.signal);
  const root = reference.id;
  const { revision } = reference;
  if (revision !== undefined && !SHA256.test(revision)) throw noDigest(reference);
  const { real, status } = await locate(root);
  const found: Found[] = [];
  if (status.isDirectory()) {
    if (revision !== undefined) throw notStored(reference);
    await walk(real, real, '', [real], found, context.signal);
    if (found.length === 0) throw empty(root);
  } else if (status.isFile()) {
    found.push(describe(basename(root), real, status));
  } else {
    throw special(root);
  }
  found.sort((a, b) => (a.path < b.path ? -1 : 1));
  return {
    hub: 'file',
    id: root,
    validator: fingerprint(found),
    files: found.map((item) => toRemoteFile(item, revision)),
    metadata: {},
  };
}

async function locate(root: string): Promise<{ real: string; status: BigIntStats }> {
  try {
    const real = await realpath(root);
    return { real, status: await stat(real, { bigint: true }) };
  } catch (error) {
    throw unreadable(error, root);
  }
}

async function walk(
  root: string,
  directory: string,
  prefix: string,
  ancestors: readonly string[],
  found: Found[],
  signal: AbortSignal,
): Promise<void> {
  throwIfAborted(signal);
  const names = await readdir(directory).catch((error: unknown) => {
    throw unreadable(error, directory);
  });
  for (const name of names.sort()) {
    const path = `${prefix}${name}`;
    if (LEFT_OUT.has(path)) continue;
    const { source, status } = await follow(root, join(directory, name));
    if (status.isFile()) found.push(describe(path, source, status));
    else if (!status.isDirectory()) throw special(join(directory, name));
    else if (ancestors.includes(source))
      throw unsupported(join(directory, name), 'it leads back to a folder above it');
    else await walk(root, source, `${path}/`, [...ancestors, source], found, signal);
  }
}

/** Where a path leads: a link is followed when it stays inside the folder, so that importing cannot reach beyond it. */
async function follow(root: string, path: string): Promise<{ source: string; status: BigIntStats }> {
  try {
    const own = await lstat(path, { bigint: true });
    if (!own.isSymbolicLink()) return { source: path, status: own };
    const source = await realpath(path);
    if (isInside(root, source)) return { source, status: await stat(source, { bigint: true }) };
  } catch (error) {
    throw unreadable(error, path);
  }
  throw unsupported(path, 'it is a link to outside the folder');
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !/^[A-Za-z]:/.test(way));
}

function describe(path: string, source: string, status: BigIntStats): Found {
  return { path, source, size: status.size, modifiedNs: status.mtimeNs, inode: status.ino };
}

function toRemoteFile(found: Found, revision: string | undefined): RemoteFile {
  return {
    path: found.path,
    size: Number(found.size),
    url: pathToFileURL(found.source).href,
    // The revision of a single file is its digest, so a pinned one can be checked.
    ...(revision === undefined ? {} : { digest: { algorithm: 'sha256', hex: revision } }),
  };
}

/** Changes when a file does: names, sizes, times in nanoseconds and inodes, as `make` and `git` look at them. */
function fingerprint(found: readonly Found[]): string {
  const hash = createHash('sha256');
  for (const item of found) hash.update(`${item.path}\0${item.size}\0${item.modifiedNs}\0${item.inode}\n`);
  return hash.digest('hex');
}

function unreadable(error: unknown, path: string): unknown {
  const code = systemErrorCode(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new ModeldlError('NOT_FOUND', `No such file or folder: ${path}`, {
      hint: 'a model of a hub is written without `./` or `/` in front, such as `hf:org/name`',
      cause: error,
      details: { file: path },
    });
  }
  if (code === 'ELOOP') return unsupported(path, 'it is a link that leads to itself');
  if (code !== 'EACCES' && code !== 'EPERM') return error;
  return new ModeldlError('DISK', `Cannot read ${path}: permission denied`, {
    hint: 'check who may read it with `ls -ld`',
    cause: error,
    details: { file: path },
  });
}

function special(path: string): ModeldlError {
  return unsupported(path, 'it is neither a file nor a folder');
}

function unsupported(path: string, why: string): ModeldlError {
  return new ModeldlError('UNSUPPORTED', `Cannot import ${path}: ${why}`, {
    hint: 'copy what the model needs into a folder of its own, for example with `cp -rL`',
    details: { file: path },
  });
}

function empty(root: string): ModeldlError {
  return new ModeldlError('NOT_FOUND', `No file in the folder: ${root}`, {
    hint: 'name the folder that the files of the model are in',
    details: { file: root },
  });
}

/** What a file or folder holds has a digest; nobody gives it names. */
function noDigest({ id, revision = '' }: Reference): ModeldlError {
  return new ModeldlError('USAGE', `A local file has no revision \`${revision}\`: ${id}`, {
    hint: 'leave out the revision, or write the one that `modeldl list` prints',
    details: { file: id },
  });
}

function notStored(reference: Reference): ModeldlError {
  return new ModeldlError('NOT_FOUND', `This content of the folder is not stored: ${formatPath(reference)}`, {
    hint: `import what it holds now with \`modeldl pull ${formatPath({ id: reference.id })}\``,
    details: { file: reference.id },
  });
}

/** Finding out what a file system does, by trying: what it promises, many do not keep. */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { platform } from 'node:process';
import { promisify } from 'node:util';
import { exists } from '../config/load.js';
import { makeDirectories } from '../directories.js';
import { ModeldlError, systemErrorCode } from '../errors.js';
import { claim } from '../store/claim.js';
import type { Store } from '../store/layout.js';
import { workingMode, type LinkMode } from '../store/link.js';
import { openSession } from '../store/session.js';

export interface Mount {
  readonly directory: string;
  /** `ext4`, `nfs4`, `fuse.sshfs`. */
  readonly type: string;
  /** `ro`, `noexec`. */
  readonly options: readonly string[];
}

/** Where others may change what is there, and claims depend on how well that is kept from view. */
const NETWORK_TYPES =
  /^(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|juicefs|davfs2?|blobfuse2?))$/;

export function isNetwork({ type }: Mount): boolean {
  return NETWORK_TYPES.test(type);
}

/** The mount that an absolute path lies on; undefined where the system does not tell. */
export async function mountHere(path: string): Promise<Mount | undefined> {
  return mountOf(path, await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''));
}

/** The mount that an absolute path lies on; the last one there covers the others. Pure but for links in the path. */
export async function mountOf(path: string, mountinfo: string): Promise<Mount | undefined> {
  const real = await realpath(path).catch(() => path);
  let found: Mount | undefined;
  for (const line of mountinfo.split('\n')) {
    // proc_pid_mountinfo(5): id, parent, device, root, mount point, options, optional fields, `-`, type, source, options.
    const [before = '', after = ''] = line.split(' - ');
    const [, , , , mounted = '', options = ''] = before.split(' ');
    const [type = '', , more = ''] = after.split(' ');
    const directory = mounted.replace(/\\(\d{3})/g, (_all, octal: string) =>
      String.fromCharCode(parseInt(octal, 8)),
    );
    if (directory === '') continue;
    const covers = real === directory || real.startsWith(directory === sep ? sep : `${directory}${sep}`);
    if (covers && directory.length >= (found?.directory.length ?? 0))
      found = { directory, type, options: [...options.split(','), ...more.split(',')] };
  }
  return found;
}

const PROBE = '.modeldl-doctor-';

/** Was it made by {@link withProbe}? */
export function isProbe(path: string): boolean {
  return basename(path).startsWith(PROBE);
}

/** Runs `work` with an empty directory below another one, which is gone afterwards. @throws file system errors */
export async function withProbe<Result>(
  directory: string,
  work: (probe: string) => Promise<Result>,
): Promise<Result> {
  const probe = await mkdtemp(join(directory, PROBE));
  try {
    return await work(probe);
  } finally {
    await rm(probe, { recursive: true, force: true });
  }
}

/** A store in a directory of its own, with the places that links and claims need. */
export async function probeStore(store: Store, directory: string): Promise<Store> {
  const root = join(directory, 'v1');
  for (const area of ['tmp', 'claims', 'sessions']) await makeDirectories(join(root, area));
  return { ...store, cacheDir: directory, root, writable: true, emit: () => undefined };
}

export interface Links {
  readonly reflink: boolean;
  readonly hardlink: boolean;
  readonly symlink: boolean;
}

/** @param probe a store from {@link probeStore} */
export async function linksIn(probe: Store): Promise<Links> {
  const works = async (mode: LinkMode): Promise<boolean> =>
    (await workingMode(probe, [mode, 'copy'])) === mode;
  const isSymlink = await symlink('nowhere', join(probe.root, 'link')).then(
    () => true,
    () => false,
  );
  return { reflink: await works('reflink'), hardlink: await works('hardlink'), symlink: isSymlink };
}

/** Why claims cannot be relied on; undefined when they can: one of two has it, and the other once it is let go. */
export async function whyNoClaims(probe: Store, signal: AbortSignal): Promise<string | undefined> {
  const exclusive = join(probe.root, 'exclusive');
  await writeFile(exclusive, '', { flag: 'wx' });
  const again = await writeFile(exclusive, '', { flag: 'wx' }).catch(systemErrorCode);
  if (again !== 'EEXIST') return 'a file that is there can be made a second time';
  const first = await openSession(probe);
  const second = await openSession(probe);
  const options = { maxWaitMs: 0, signal, pollMs: 1 };
  try {
    const held = await claim(probe, first, 'probe', options);
    try {
      const taken = await claim(probe, second, 'probe', options);
      await taken.release();
      return 'two processes can claim the same';
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code !== 'BUSY') throw error;
    }
    await held.release();
    const next = await claim(probe, second, 'probe', { ...options, maxWaitMs: 1000 });
    await next.assertHeld();
    await next.release();
    return undefined;
  } finally {
    await first.close();
    await second.close();
  }
}

export interface Names {
  /** `A` and `a` are two files. */
  readonly caseSensitive: boolean;
  /** A composed character and a decomposed one are two names. */
  readonly keepsForm: boolean;
  /** Bytes of the longest name that was tried. */
  readonly longest: number;
}

/** Lengths of names that file systems end at: most take 255, encrypted ones 143 (eCryptfs). */
const LENGTHS = [255, 143, 100] as const;

export async function namesIn(directory: string): Promise<Names> {
  await writeFile(join(directory, 'case'), '');
  await writeFile(join(directory, '\u00e4'), '');
  const isThere = (name: string): Promise<boolean> => exists(join(directory, name));
  let longest = 0;
  for (const length of LENGTHS) {
    const name = 'n'.repeat(length);
    if (
      !(await writeFile(join(directory, name), '').then(
        () => true,
        () => false,
      ))
    )
      continue;
    longest = length;
    break;
  }
  return { caseSensitive: !(await isThere('CASE')), keepsForm: !(await isThere('a\u0308')), longest };
}

/** Does a program run that lies there? Where a directory is mounted `noexec`, none does. */
export async function runsPrograms(directory: string): Promise<boolean> {
  // Windows has no such mounts.
  if (platform === 'win32') return true;
  const script = join(directory, 'program');
  await writeFile(script, '#!/bin/sh\nexit 0\n');
  await chmod(script, 0o755);
  return promisify(execFile)(script).then(
    () => true,
    () => false,
  );
}

/** Models, their records and blobs lie so deep; what is in a model is its own. */
const DEPTH = 3;
/** Of others, or of no account once they are done. */
const PASSING = new Set(['claims', 'partials', 'removed', 'sessions', 'tmp', 'toolchains', 'wheels']);

/** The first directory of the cache that may not be written to, as `sudo` leaves them; those of processes that run are passed by. */
export async function unwritableIn(
  root: string,
  isWritable: (path: string) => Promise<boolean>,
  depth = DEPTH,
): Promise<string | undefined> {
  if (!(await isWritable(root))) return root;
  if (depth === 0) return undefined;
  // Others may remove it at this moment.
  const entries = await readdir(root, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const further = depth === DEPTH && PASSING.has(entry.name) ? 0 : depth - 1;
    const found = await unwritableIn(join(root, entry.name), isWritable, further);
    if (found !== undefined) return found;
  }
  return undefined;
}

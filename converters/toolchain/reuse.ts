/**
 * Packages that a new environment needs and another one here has, by the same entry of a lock: they are taken from
 * there, so that nothing is fetched, unpacked and kept twice. pip finds them installed and brings the rest.
 *
 * Files are hard links. The other environment loses and gains nothing but a name for each: pip and Python write no file
 * in place, they remove it and make another. What a wheel's record promises is hashed in the file that was linked, which
 * may have been damaged or changed since.
 */
import { createHash } from 'node:crypto';
import { createReadStream, type Stats } from 'node:fs';
import {
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import pLimit from 'p-limit';
import { systemErrorCode, throwIfAborted } from '../../src/errors.js';
import type { LockedPackage } from './lock.js';
import { pythonOf } from './packages.js';

/** A package of another environment. */
export interface Reusable {
  /** As installers compare names: `nvidia-cublas`. */
  readonly name: string;
  /** Absolute directory of the environment that has it. */
  readonly environment: string;
  /** Absolute directory of that one's packages. */
  readonly site: string;
  /** The list of its files, from `site`. */
  readonly record: string;
  readonly files: readonly RecordedFile[];
}

export interface RecordedFile {
  /** From the packages' directory, with `/`: `../../../bin/torchrun` is a program of the environment. */
  readonly path: string;
  /** base64url, as wheels have it; undefined of what was made on this machine, such as compiled sources. */
  readonly sha256?: string;
  /** 0 where the record does not tell. */
  readonly bytes: number;
}

interface Installed {
  readonly name: string;
  readonly version: string;
  /** `nvidia_cublas-13.1.1.3.dist-info` */
  readonly description: string;
}

/** Files that are taken at a time. */
const AT_ONCE = 16;
/** Larger files are hashed in a stream. */
const SMALL_BYTES = 1 << 20;
/** Who may read and write a file. */
const ACCESS = 0o666;
/** How a program names its interpreter: in its first line, or as pip writes it where that would be too long. */
const INTERPRETER = /^#!(?:\/bin\/sh\n'''exec' .*\n' '''|.*python[\d.]*)\n/;

/**
 * Packages that are locked alike.
 * @param environment absolute directory of a complete environment, made by the same Python
 * @param had what that one was made from
 */
export async function reusablePackages(
  environment: string,
  had: readonly LockedPackage[],
  wanted: readonly LockedPackage[],
): Promise<readonly Reusable[]> {
  const site = await sitePackages(environment);
  if (site === undefined) return [];
  const entries = new Set(had.map(({ text }) => text));
  const alike = wanted.filter(({ text }) => entries.has(text));
  // A package may be locked in several versions, for one Python each.
  const versions = new Set(alike.map(({ name, version }) => `${comparable(name)}==${version}`));
  const found: Reusable[] = [];
  for (const { name, version, description } of await installedIn(site)) {
    if (!versions.has(`${name}==${version}`)) continue;
    const record = `${description}/RECORD`;
    const files = recordedFiles(await readFile(join(site, record), 'utf8').catch(() => ''));
    const inside = files.every(({ path }) => resolve(site, path).startsWith(environment + sep));
    if (inside && files.some(({ path }) => path === record))
      found.push({ name, environment, site, record, files });
  }
  return found;
}

/** What is locked of other packages than these. */
export function withoutFound(
  packages: readonly LockedPackage[],
  found: readonly Reusable[],
): readonly LockedPackage[] {
  const names = new Set(found.map(({ name }) => name));
  return packages.filter(({ name }) => !names.has(comparable(name)));
}

/** What packages take on a disk, as far as their records tell. */
export function bytesOfPackages(packages: readonly Reusable[]): number {
  return packages.flatMap(({ files }) => files).reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Puts packages into an environment, but for those that it has in any version, and those that are not whole.
 * @param temporary absolute directory on the same disk, for files until their package is complete
 */
export async function takePackages(
  environment: string,
  packages: readonly Reusable[],
  temporary: string,
  signal: AbortSignal,
): Promise<void> {
  const site = await sitePackages(environment);
  if (site === undefined) return;
  const there = new Set((await installedIn(site)).map(({ name }) => name));
  const probe = join(temporary, 'probe');
  await writeFile(probe, '');
  const own = await lstat(probe);
  for (const reusable of packages) {
    throwIfAborted(signal);
    if (there.has(reusable.name)) continue;
    const staging = join(temporary, 'package');
    if (await stage(reusable, environment, staging, own)) {
      there.add(reusable.name);
      for (const { path } of reusable.files) {
        const target = resolve(site, path);
        await mkdir(dirname(target), { recursive: true });
        await rename(stagedPath(reusable, staging, path), target);
      }
    }
    await rm(staging, { recursive: true, force: true });
  }
}

/** Where a file lies until its package is complete: as it will lie in its environment. */
function stagedPath({ environment, site }: Reusable, staging: string, path: string): string {
  return join(staging, relative(environment, resolve(site, path)));
}

/** Is the whole package there now, as its record has it? */
async function stage(reusable: Reusable, environment: string, staging: string, own: Stats): Promise<boolean> {
  const { site, files } = reusable;
  const staged = ({ path }: RecordedFile): string => stagedPath(reusable, staging, path);
  for (const directory of new Set(files.map((file) => dirname(staged(file))))) {
    await mkdir(directory, { recursive: true });
  }
  const limit = pLimit(AT_ONCE);
  const taken = files.map((file) =>
    limit(async () => {
      if (!(await takeFile(resolve(site, file.path), staged(file), own))) return false;
      return file.sha256 === undefined || (await hashOf(staged(file))) === file.sha256;
    }),
  );
  if (!(await Promise.all(taken)).every(Boolean)) return false;
  return addressPrograms(reusable, environment, staging);
}

/**
 * @param own a file that this process made. Never linked is another user's file, who could change it, nor one that
 *   others may read or write where they may not this one
 * @returns false when there is no such file
 */
async function takeFile(from: string, to: string, own: Stats): Promise<boolean> {
  const found = await lstat(from).catch(() => undefined);
  if (!found?.isFile()) return false;
  if (found.uid === own.uid && found.gid === own.gid && (found.mode & ACCESS) === (own.mode & ACCESS)) {
    try {
      await link(from, to);
      return true;
    } catch (error) {
      // There are file systems without links, and a most that a file may have.
      if (systemErrorCode(error) === undefined) throw error;
    }
  }
  await copyFile(from, to);
  // What its owner may run, those may who may read it.
  await chmod(to, (found.mode & 0o100) === 0 ? own.mode : own.mode | ((own.mode & 0o444) >> 2));
  // By it Python tells whether what it compiled of a source still holds.
  await utimes(to, found.atime, found.mtime);
  return true;
}

/** Lets programs run in their new environment; false when one names the other in a way that pip does not. */
async function addressPrograms(reusable: Reusable, environment: string, staging: string): Promise<boolean> {
  // The form that pip has for addresses of any length.
  const interpreter = Buffer.from(`#!/bin/sh\n'''exec' "${pythonOf(environment)}" "$0" "$@"\n' '''\n`);
  const recordFile = stagedPath(reusable, staging, reusable.record);
  let record = await readFile(recordFile, 'utf8');
  for (const { path, sha256, bytes } of reusable.files) {
    if (!path.startsWith('../')) continue;
    const staged = stagedPath(reusable, staging, path);
    const content = await readFile(staged);
    const named = INTERPRETER.exec(content.toString('latin1'))?.[0];
    const rest = content.subarray(named?.length ?? 0);
    if (rest.includes(reusable.environment)) return false;
    if (named === undefined || sha256 === undefined) continue;
    const program = Buffer.concat([interpreter, rest]);
    await replace(staged, program, 0o777);
    const digest = createHash('sha256').update(program).digest('base64url');
    record = record.replace(
      `${path},sha256=${sha256},${bytes}`,
      `${path},sha256=${digest},${program.length}`,
    );
  }
  await replace(recordFile, record, ACCESS);
  return true;
}

/** Not in place, since it may be a link. */
async function replace(file: string, content: Buffer | string, mode: number): Promise<void> {
  await rm(file);
  await writeFile(file, content, { mode });
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  if ((await lstat(file)).size <= SMALL_BYTES) hash.update(await readFile(file));
  else await pipeline(createReadStream(file), hash);
  return hash.digest('base64url');
}

/** Where pip puts packages: `lib/python3.11/site-packages`, on Windows `Lib/site-packages`. */
async function sitePackages(environment: string): Promise<string | undefined> {
  const versions = await namesIn(join(environment, 'lib'));
  const python = versions.find((name) => name.startsWith('python3.'));
  if (python !== undefined) return join(environment, 'lib', python, 'site-packages');
  return versions.includes('site-packages') ? join(environment, 'lib', 'site-packages') : undefined;
}

/** Versions of what is installed in an environment, as its files name them. */
export async function installedVersions(
  environment: string,
  packages: readonly string[],
): Promise<Readonly<Record<string, string>>> {
  const site = await sitePackages(environment);
  const installed = site === undefined ? [] : await installedIn(site);
  return Object.fromEntries(
    packages.flatMap((wanted) => {
      const found = installed.find(({ name }) => name === comparable(wanted));
      return found === undefined ? [] : [[wanted, found.version]];
    }),
  );
}

async function installedIn(site: string): Promise<readonly Installed[]> {
  return (await namesIn(site)).flatMap((description) => {
    const [, name, version] = /^(.+)-([^-]+)\.dist-info$/.exec(description) ?? [];
    if (name === undefined || version === undefined) return [];
    return [{ name: comparable(name), version, description }];
  });
}

/** Installers take `-`, `_` and `.` in names of packages for the same, and letters of any case. */
function comparable(name: string): string {
  return name.replaceAll(/[-_.]+/g, '-').toLowerCase();
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}

/** What a wheel's record lists; nothing when a line of it is not understood. */
export function recordedFiles(record: string): readonly RecordedFile[] {
  const lines = record.split(/\r?\n/).filter((line) => line !== '');
  const files = lines.flatMap((line) => {
    const [, quoted, plain, sha256, size] =
      /^(?:"((?:[^"]|"")*)"|([^",]+)),(?:sha256=([\w-]{43}))?,(\d*)$/.exec(line) ?? [];
    const path = quoted?.replaceAll('""', '"') ?? plain;
    if (path === undefined) return [];
    return [{ path, bytes: Number(size), ...(sha256 === undefined ? {} : { sha256 }) }];
  });
  return files.length === lines.length ? files : [];
}

/**
 * Archives of model files, read member by member. Everything about them is hostile: names, links, sizes that lie.
 * Only regular files count; directories are implied by names, every other kind of member is refused.
 */
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { abortError, ModeldlError } from '../errors.js';
import type { Unpack } from '../hub.js';
import { checkListing, checkRelativePath, shownName, type FileSystemRules } from '../paths.js';
import { transformBytes, type ArchiveVisitor, type RawMember, type ReadArchive } from './member.js';
import { readTar } from './tar.js';
import { readZip } from './zip.js';

export interface ArchiveMember {
  /** Below the stripped segments, in the archive's folder of the tree. */
  readonly path: string;
  /** Bytes, unpacked. */
  readonly bytes: number;
}

export interface ArchiveLimits {
  readonly rules: FileSystemRules;
  /** All members together, unpacked bytes. */
  readonly maxBytes: number;
  readonly maxMembers: number;
  /** Unpacked bytes per byte of archive, once more than {@link RATIO_FREE_BYTES} came out. */
  readonly maxRatio: number;
}

/**
 * Weights hardly compress; text and sparse tables may, by a factor of some hundred. DEFLATE itself ends at 1,032 to 1,
 * so only nested tricks and xz or zstd bombs reach the ratio.
 */
export const ARCHIVE_LIMITS = { maxBytes: 1024 ** 4, maxMembers: 200_000, maxRatio: 1000 } as const;
/** Small archives may have any ratio. */
export const RATIO_FREE_BYTES = 64 * 1024 * 1024;

export interface Archive {
  readonly file: string;
  /** For messages: its name at its source. */
  readonly label: string;
  /** Size of the archive itself, bytes. */
  readonly bytes: number;
  readonly unpack: Unpack;
}

/** The rules of every file system. */
const ANYWHERE: FileSystemRules = { caseInsensitive: false, normalizing: false, windows: false };

/** Lists the regular files, with their names checked. @throws ModeldlError INTEGRITY */
export async function listArchive(
  archive: Archive,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<readonly ArchiveMember[]> {
  const members: ArchiveMember[] = [];
  let bytes = 0;
  let met = 0;
  await read(archive, limits, signal, (member) => {
    met += 1;
    if (met > limits.maxMembers) throw broken(archive, `it has more than ${limits.maxMembers} members`);
    const path = memberPath(archive, member);
    if (path === undefined) return undefined;
    members.push({ path, bytes: member.bytes });
    bytes += member.bytes;
    checkBytes(archive, limits, bytes, member.name);
    return undefined;
  });
  checkListing(
    members.map(({ path }) => path),
    limits.rules,
    archive.label,
  );
  return members;
}

/**
 * Reads the wanted members in archive order, one at a time. What a member yields is counted again, since a declared
 * size may lie.
 *
 * @throws ModeldlError INTEGRITY, also when a wanted member is not there; and what `sink` throws
 */
export async function extractArchive(
  archive: Archive,
  wanted: ReadonlySet<string>,
  limits: ArchiveLimits,
  signal: AbortSignal,
  sink: (member: ArchiveMember, body: Readable) => Promise<void>,
): Promise<void> {
  const missing = new Set(wanted);
  let bytes = 0;
  let sinkFailure: { readonly error: unknown } | undefined;
  const take = async (member: RawMember, path: string): Promise<void> => {
    let memberBytes = 0;
    const counter = transformBytes((chunk) => {
      memberBytes += chunk.length;
      bytes += chunk.length;
      if (memberBytes > member.bytes) throw new Error('it is longer than declared');
      checkBytes(archive, limits, bytes, member.name);
    });
    const sinking = sink({ path, bytes: member.bytes }, counter).catch((error: unknown) => {
      // A failure that the body did not cause is the sink's own, such as a full disk.
      if (counter.errored === null) sinkFailure = { error };
      counter.destroy();
      throw error;
    });
    const [counted, sunk] = await Promise.allSettled([
      member.open().then((body) => pipeline(body, counter, { signal })),
      sinking,
    ]);
    if (counted.status === 'rejected') throw counted.reason;
    if (sunk.status === 'rejected') throw sunk.reason;
    if (memberBytes !== member.bytes) throw new Error('it is shorter than declared');
  };
  try {
    await read(archive, limits, signal, async (member) => {
      const path = memberPath(archive, member);
      if (path === undefined || !wanted.has(path)) return;
      if (!missing.delete(path)) throw broken(archive, `it holds ${shownName(path)} twice`);
      try {
        await take(member, path);
      } catch (error) {
        throw error instanceof ModeldlError || isSystemError(error)
          ? error
          : broken(archive, `${shownName(member.name)}: ${messageOf(error)}`, error);
      }
    });
  } catch (error) {
    throw sinkFailure === undefined ? error : sinkFailure.error;
  }
  const [lost] = missing;
  if (lost !== undefined) throw broken(archive, `it holds no ${shownName(lost)}`);
}

async function read(
  archive: Archive,
  limits: ArchiveLimits,
  signal: AbortSignal,
  visit: (member: RawMember) => Promise<void> | undefined,
): Promise<void> {
  const reader: ReadArchive = archive.unpack.format === 'zip' ? readZip : readTar;
  let last: string | undefined;
  const visitor: ArchiveVisitor = {
    member: (member) => {
      last = member.name;
      return visit(member);
    },
    unpacked: (bytes) => {
      checkRatio(archive, limits, bytes, last);
    },
  };
  try {
    await reader(archive.file, archive.unpack.format, visitor, signal);
  } catch (error) {
    if (signal.aborted) throw abortError(signal);
    if (error instanceof ModeldlError) throw error.with({ file: archive.label });
    if (isSystemError(error)) throw error;
    const where = last === undefined ? '' : ` (at or after the member ${shownName(last)})`;
    throw broken(archive, `${messageOf(error)}${where}`, error);
  }
}

/** File system errors are the disk's, not the archive's; zlib's errors have other codes. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The path in the tree; undefined for directories. */
function memberPath(archive: Archive, member: RawMember): string | undefined {
  const shown = shownName(member.name);
  if (member.kind === 'other') {
    throw broken(archive, `${shown} is no plain file, but a link, a device or a file in pieces`);
  }
  const name = member.name.replace(/^(\.\/)+/, '');
  if (member.kind === 'directory' && (name === '' || name === '.')) return undefined;
  checkRelativePath(name, ANYWHERE, archive.label);
  if (member.kind === 'directory') return undefined;
  const segments = name.split('/');
  const strip = archive.unpack.strip ?? 0;
  if (segments.length <= strip) throw broken(archive, `${shown} lies outside the package's folder`);
  const { into } = archive.unpack;
  return [...(into === undefined ? [] : [into]), ...segments.slice(strip)].join('/');
}

function checkBytes(archive: Archive, limits: ArchiveLimits, bytes: number, member: string): void {
  if (bytes > limits.maxBytes) {
    throw broken(archive, `with ${shownName(member)} it unpacks to more than ${limits.maxBytes} bytes`);
  }
  checkRatio(archive, limits, bytes, member);
}

function checkRatio(archive: Archive, limits: ArchiveLimits, bytes: number, member = ''): void {
  if (bytes > RATIO_FREE_BYTES && bytes > archive.bytes * limits.maxRatio) {
    const at = member === '' ? '' : `with ${shownName(member)} `;
    throw broken(archive, `${at}it unpacks to more than ${limits.maxRatio} times its size`);
  }
}

function broken(archive: Archive, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('INTEGRITY', `The archive ${archive.label} was refused: ${printable(why)}`, {
    hint: 'nothing was kept of it; the source of this model is broken or hostile',
    cause,
    details: { file: archive.label },
  });
}

/** Libraries put names into their messages as they are. */
function printable(text: string): string {
  return text
    .slice(0, 1000)
    .replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

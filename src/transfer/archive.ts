/**
 * Archives of model files, read member by member. Everything about them is hostile: names, links, sizes that lie.
 * Only regular files count; directories are implied by names, every other kind of member is refused.
 */
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ModeldlError } from '../errors.js';
import type { Unpack } from '../hub.js';
import { checkListing, type FileSystemRules } from '../paths.js';
import { readTar } from './tar.js';
import { readZip } from './zip.js';

export interface ArchiveMember {
  /** Below the stripped segments. */
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
const CHUNK_BYTES = 256 * 1024;
/** Small archives may have any ratio. */
export const RATIO_FREE_BYTES = 64 * 1024 * 1024;

/** A member as an archive's reader meets it; the body must be read or skipped before the next one comes. */
export interface RawMember {
  /** As written in the archive. */
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
  readonly bytes: number;
  /** Opens the contents; without it they are skipped. */
  open(): Promise<Readable>;
}

export type ReadArchive = (
  file: string,
  format: Unpack['format'],
  visit: (member: RawMember) => Promise<void> | undefined,
  signal: AbortSignal,
) => Promise<void>;

export interface Archive {
  readonly file: string;
  /** For messages: its name at its source. */
  readonly label: string;
  /** Size of the archive itself, bytes. */
  readonly bytes: number;
  readonly unpack: Unpack;
}

/** Lists the regular files, with their names checked. @throws ModeldlError INTEGRITY */
export async function listArchive(
  archive: Archive,
  limits: ArchiveLimits,
  signal: AbortSignal,
): Promise<readonly ArchiveMember[]> {
  const members: ArchiveMember[] = [];
  let bytes = 0;
  await read(archive, signal, (member) => {
    const path = memberPath(archive, member);
    if (path === undefined) return undefined;
    members.push({ path, bytes: member.bytes });
    bytes += member.bytes;
    checkLimits(archive, limits, members.length, bytes);
    return undefined;
  });
  checkListing(
    members.map(({ path }) => path),
    limits.rules,
  );
  return members;
}

/**
 * Reads the wanted members in archive order, one at a time. What a member yields is counted again, since a declared
 * size may lie.
 *
 * @throws ModeldlError INTEGRITY, and what `sink` throws
 */
export async function extractArchive(
  archive: Archive,
  wanted: ReadonlySet<string>,
  limits: ArchiveLimits,
  signal: AbortSignal,
  sink: (member: ArchiveMember, body: Readable) => Promise<void>,
): Promise<void> {
  let bytes = 0;
  let members = 0;
  await read(archive, signal, async (member) => {
    const path = memberPath(archive, member);
    if (path === undefined || !wanted.has(path)) return;
    members += 1;
    let memberBytes = 0;
    const counter = new Transform({
      highWaterMark: CHUNK_BYTES,
      transform(chunk: Buffer, _encoding, done) {
        memberBytes += chunk.length;
        bytes += chunk.length;
        try {
          if (memberBytes > member.bytes) throw broken(archive, `${member.name} is longer than declared`);
          checkLimits(archive, limits, members, bytes);
          done(null, chunk);
        } catch (error) {
          done(error instanceof Error ? error : new Error(String(error)));
        }
      },
    });
    const counted = pipeline(await member.open(), counter, { signal });
    await Promise.all([counted, sink({ path, bytes: member.bytes }, counter)]);
    if (memberBytes !== member.bytes) throw broken(archive, `${member.name} is shorter than declared`);
  });
}

async function read(
  archive: Archive,
  signal: AbortSignal,
  visit: (member: RawMember) => Promise<void> | undefined,
): Promise<void> {
  const reader: ReadArchive = archive.unpack.format === 'zip' ? readZip : readTar;
  try {
    await reader(archive.file, archive.unpack.format, visit, signal);
  } catch (error) {
    if (error instanceof ModeldlError) throw error.with({ file: archive.label });
    if (isSystemError(error)) throw error;
    throw broken(archive, error instanceof Error ? error.message : String(error), error);
  }
}

/** File system errors are the disk's, not the archive's; zlib's errors have other codes. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

/** The path below the stripped segments; undefined for directories and for what lies above them. */
function memberPath(archive: Archive, member: RawMember): string | undefined {
  if (member.kind === 'other') throw broken(archive, `${JSON.stringify(member.name)} is a link or a device`);
  if (member.kind === 'directory') return undefined;
  const name = member.name.replace(/^(\.\/)+/, '');
  const strip = archive.unpack.strip ?? 0;
  if (strip === 0) return name;
  const segments = name.split('/');
  if (segments.length <= strip || segments.slice(0, strip).includes('..')) {
    throw broken(archive, `${JSON.stringify(member.name)} lies outside the package's folder`);
  }
  return segments.slice(strip).join('/');
}

function checkLimits(archive: Archive, limits: ArchiveLimits, members: number, bytes: number): void {
  if (members > limits.maxMembers) throw broken(archive, `it has more than ${limits.maxMembers} members`);
  if (bytes > limits.maxBytes) throw broken(archive, `it unpacks to more than ${limits.maxBytes} bytes`);
  if (bytes > RATIO_FREE_BYTES && bytes > archive.bytes * limits.maxRatio) {
    throw broken(archive, `it unpacks to more than ${limits.maxRatio} times its size`);
  }
}

function broken(archive: Archive, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('INTEGRITY', `The archive ${archive.label} was refused: ${why}`, {
    hint: 'nothing was kept of it; the source of this model is broken or hostile',
    cause,
    details: { file: archive.label },
  });
}

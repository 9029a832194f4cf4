/** Members of archives as the readers of the formats give them. */
import { Transform, type Readable } from 'node:stream';
import type { Unpack } from '../hub.js';

const CHUNK_BYTES = 256 * 1024;

/** A member as an archive's reader meets it; the body must be read or skipped before the next one comes. */
export interface RawMember {
  /** As written in the archive. */
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
  readonly bytes: number;
  /** Opens the contents; without it they are skipped. */
  open(): Promise<Readable>;
}

export interface ArchiveVisitor {
  readonly member: (member: RawMember) => Promise<void> | undefined;
  /** So many bytes of a compressed tar came out so far; throws when that is too much. */
  readonly unpacked: (bytes: number) => void;
}

export type ReadArchive = (
  file: string,
  format: Unpack['format'],
  visitor: ArchiveVisitor,
  signal: AbortSignal,
) => Promise<void>;

/** Passes bytes on after `look` has seen them; what it throws ends the stream. */
export function transformBytes(
  look: (chunk: Buffer) => void,
  finish: () => void = () => undefined,
): Transform {
  const attempt = (step: () => void, done: (error?: Error) => void): void => {
    try {
      step();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    done();
  };
  return new Transform({
    readableHighWaterMark: CHUNK_BYTES,
    writableHighWaterMark: CHUNK_BYTES,
    transform(chunk: Buffer, _encoding, done) {
      attempt(() => {
        look(chunk);
        this.push(chunk);
      }, done);
    },
    flush(done) {
      attempt(finish, done);
    },
  });
}

/** Digests computed while bytes pass: always sha256, and what upstream promised when that is another one. */
import { createHash, type Hash } from 'node:crypto';
import { ModeldlError } from '../errors.js';
import type { Digest } from '../hub.js';

export interface Hasher {
  update(chunk: Buffer): void;
  /** Lower-case hex sha256. Checks the promise. @throws ModeldlError INTEGRITY naming both digests */
  finish(label: string, bytes: number): string;
}

/** @param size needed in front of a git blob id: the header of the object is `blob <size>\0` (git's object format) */
export function createHasher(promised: Digest | undefined, size: number | undefined): Hasher {
  const sha256 = createHash('sha256');
  const other = otherHash(promised, size);
  return {
    update(chunk) {
      sha256.update(chunk);
      other?.update(chunk);
    },
    finish(label, bytes) {
      const hex = sha256.digest('hex');
      if (promised === undefined) return hex;
      const actual = promised.algorithm === 'sha256' ? hex : other?.digest('hex');
      if (actual === promised.hex) return hex;
      throw new ModeldlError(
        'INTEGRITY',
        `The bytes of ${label} do not match their digest: expected ${promised.algorithm} ${promised.hex}, got ${actual ?? 'none'} (${bytes} bytes)`,
        {
          hint: 'the source or something between changes the bytes; run the same command again, or try another network',
          details: { file: label, expected: promised.hex, actual: actual ?? null },
        },
      );
    },
  };
}

function otherHash(promised: Digest | undefined, size: number | undefined): Hash | undefined {
  if (promised === undefined || promised.algorithm === 'sha256') return undefined;
  if (promised.algorithm !== 'git-sha1') return createHash(promised.algorithm);
  if (size === undefined) {
    throw new ModeldlError('INTEGRITY', 'A git blob id cannot be checked without the size of the file', {
      hint: 'report this: the hub named a digest without a size',
    });
  }
  return createHash('sha1').update(`blob ${size}\0`);
}

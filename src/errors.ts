/**
 * The one error type that modeldl throws on purpose, and the one table from its codes to exit codes.
 * Anything else that reaches the top is a bug.
 */

/** Exit code of the program for each error code (documented in README.md, fixed by contract). */
export const EXIT_CODES = {
  INTERNAL: 1,
  FAILED_CHECK: 1,
  USAGE: 2,
  CONFIG: 2,
  NOT_FOUND: 3,
  AUTH: 4,
  GATED: 4,
  NETWORK: 5,
  INTEGRITY: 6,
  DISK: 7,
  CONVERSION: 8,
  UNSUPPORTED: 9,
  TOOLCHAIN: 9,
  BUSY: 10,
  PARTIAL: 11,
  INTERRUPTED: 130,
  TERMINATED: 143,
} as const;

export type ErrorCode = keyof typeof EXIT_CODES;

/** Facts that belong to an error; all end up in the JSON report. */
export interface ErrorDetails {
  readonly reference?: string;
  readonly url?: string;
  /** A file path: of a model, of the configuration, of a log. */
  readonly file?: string;
  readonly [name: string]: unknown;
}

export interface ErrorOptions {
  /** The next thing to do, as a sentence or a command in backticks. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
}

export class ModeldlError extends Error {
  override readonly name = 'ModeldlError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }

  /** The same error with more facts, for callers that know the reference or file it happened to. */
  with(details: ErrorDetails): ModeldlError {
    return new ModeldlError(this.code, this.message, {
      hint: this.hint,
      cause: this.cause,
      details: { ...details, ...this.details },
    });
  }
}

/** The `code` of a Node.js system error (`ENOSPC`, `ECONNRESET`, …), else undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

const DISK_CODES: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  EIO: 'the device reported an input/output error',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files on this machine',
  EFBIG: 'the file is larger than the file system or a limit of this process allows',
  ELOOP: 'a link of its path leads to itself',
  ENOTCONN: 'what is mounted there does not answer',
  ESTALE: 'what is mounted there has changed at its server',
  ENAMETOOLONG: 'the name is too long for this file system',
};

const DISK_HINTS: Readonly<Record<string, string>> = {
  ENOSPC:
    'free space with `modeldl prune`, or choose another cache with `--cache-dir`; what was fetched is kept',
  EDQUOT:
    'free space with `modeldl prune`, or choose another cache with `--cache-dir`; what was fetched is kept',
  EACCES: 'choose a cache you may write with `--cache-dir` or `MODELDL_CACHE_DIR`',
  EPERM: 'choose a cache you may write with `--cache-dir` or `MODELDL_CACHE_DIR`',
  EROFS: 'choose a cache you may write with `--cache-dir` or `MODELDL_CACHE_DIR`',
  EFBIG:
    'choose another place: FAT takes files of less than 4 GiB, exFAT larger ones; `ulimit -f` shows the limit',
  ELOOP: 'remove that link, or name another place',
  ENOTCONN: 'mount it again, or name another place',
  ESTALE: 'mount it again, or name another place',
  EIO: 'look whether the disk is well, as `dmesg` may tell, or choose another cache with `--cache-dir`',
};

/** Calls that only look; `open` may be for either. */
const READING_CALLS = /^(scandir|opendir|read|readlink|stat|lstat|access|statfs)$/;

/**
 * Turns a file system error into a DISK error that names the file; returns anything else unchanged.
 * @param doing what was tried, where the call alone does not tell
 */
export function diskError(error: unknown, file: string, doing?: 'read' | 'write'): unknown {
  const code = systemErrorCode(error);
  if (error instanceof ModeldlError || code === undefined || !(code in DISK_CODES)) return error;
  const call = error instanceof Error && 'syscall' in error ? String(error.syscall) : '';
  const verb = doing ?? (READING_CALLS.test(call) ? 'read' : 'write');
  return new ModeldlError('DISK', `Cannot ${verb} ${file}: ${DISK_CODES[code]}`, {
    hint: DISK_HINTS[code],
    cause: error,
    details: { file },
  });
}

/** Throws INTERRUPTED when the signal was aborted; the reason, when it is a ModeldlError, wins. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** The error that an aborted signal stands for. */
export function abortError(signal: AbortSignal): ModeldlError {
  if (signal.reason instanceof ModeldlError) return signal.reason;
  return new ModeldlError('INTERRUPTED', 'Interrupted', { cause: signal.reason });
}

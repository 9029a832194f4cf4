import type { ErrorCode, ErrorDetails } from './errors.js';

/**
 * What happens while an operation runs, as data. Operations emit these; the caller draws them.
 * `--progress json` prints each one as a line on stderr, so this union is that format's schema.
 * Sizes are bytes, durations milliseconds.
 */
export type ModeldlEvent =
  /** A reference is being turned into a revision and a listing. */
  | { readonly type: 'resolve'; readonly reference: string }
  /** What will be fetched for a reference, before the first byte moves. */
  | {
      readonly type: 'plan';
      readonly reference: string;
      readonly files: number;
      readonly bytes: number;
      readonly storedBytes: number;
    }
  /** A file's transfer begins; `resumedBytes` are already here from an earlier run. */
  | {
      readonly type: 'file-start';
      readonly reference: string;
      readonly path: string;
      readonly bytes?: number;
      readonly resumedBytes: number;
    }
  /** `receivedBytes` counts from the file's start, resumed part included; it can fall when a file restarts. */
  | {
      readonly type: 'file-progress';
      readonly reference: string;
      readonly path: string;
      readonly receivedBytes: number;
    }
  | {
      readonly type: 'file-done';
      readonly reference: string;
      readonly path: string;
      readonly bytes: number;
      readonly sha256: string;
    }
  /** An archive's members are being unpacked into the store. */
  | { readonly type: 'unpack'; readonly reference: string; readonly path: string; readonly members: number }
  /** A request failed and is tried again after `waitMs`. */
  | {
      readonly type: 'retry';
      readonly url: string;
      readonly reason: string;
      readonly attempt: number;
      readonly waitMs: number;
    }
  /** Another process holds what is needed. */
  | { readonly type: 'waiting'; readonly what: string; readonly holder: string }
  /** A long job without a byte count entered a stage: a conversion, a toolchain installation. */
  | { readonly type: 'stage'; readonly reference?: string; readonly stage: string; readonly detail?: string }
  /** Progress inside a stage, `done` of `total` in the stage's own unit. */
  | { readonly type: 'stage-progress'; readonly stage: string; readonly done: number; readonly total: number }
  /** Something worth knowing that changes nothing. */
  | { readonly type: 'note'; readonly message: string }
  /** Something the user should act on. */
  | { readonly type: 'warning'; readonly message: string }
  /** Why the command, or one of its references, failed. The program tells it; operations throw it. */
  | ({
      readonly type: 'error';
      readonly code: ErrorCode;
      readonly exitCode: number;
      readonly message: string;
      /** The next thing to do. */
      readonly hint?: string;
    } & ErrorDetails);

export type Emit = (event: ModeldlEvent) => void;

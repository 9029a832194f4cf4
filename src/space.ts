/** Room on disks for what an operation will write, and the outputs that need it (architecture.md, promise 7). */
import type { Context } from './context.js';
import type { StoredModel } from './store/models.js';
import { checkOutput, outputBytes, writeOutput, type OutputFile, type OutputText } from './store/output.js';
import { checkSpace, OUTPUT, type SpaceNeed } from './store/space.js';

/** Where else than in the cache a result is wanted. */
export interface OutputRequest {
  /** Absolute directory for an independent copy. */
  readonly output?: string;
  /** Hard links instead of an independent copy at `output`. */
  readonly link?: boolean;
  readonly overwrite?: boolean;
  /** Absolute directory that no part of a layout may leave by links, which others may have put there. */
  readonly confined?: string;
  /**
   * Files beside the model's own.
   * @internal
   */
  readonly texts?: readonly OutputText[];
}

/** Compares needs with what is free, unless that is waived. @throws ModeldlError DISK */
export async function requireSpace(context: Context, needs: readonly SpaceNeed[]): Promise<void> {
  if (context.spaceCheck) await checkSpace(needs);
}

export function cacheNeed(context: Context, bytes: number): SpaceNeed {
  return { directory: context.store.root, bytes, what: 'the cache' };
}

/** What an output adds to its file system: nothing without one. */
export async function outputNeed(
  context: Context,
  { output, link = false }: OutputRequest,
  files: readonly OutputFile[],
): Promise<SpaceNeed> {
  const bytes = output === undefined ? 0 : await outputBytes(context.store, output, files, { link });
  return { directory: output ?? context.store.root, bytes, what: OUTPUT };
}

/** Refuses an output that could not be written whatever the model is. @throws ModeldlError USAGE, DISK */
export async function requireOutput({ output, overwrite = false }: OutputRequest): Promise<void> {
  if (output !== undefined) await checkOutput(output, { overwrite });
}

/** Writes a model to the output that is asked for, if any, when there is room for it. */
export async function writeModelOutput(
  context: Context,
  model: StoredModel,
  options: OutputRequest,
): Promise<void> {
  const { output, link = false, overwrite = false, texts = [] } = options;
  if (output === undefined) return;
  await requireSpace(context, [await outputNeed(context, options, model.record.files)]);
  await writeOutput(model, output, { link, overwrite, texts, signal: context.signal });
}

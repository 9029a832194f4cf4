/** Pulling: from references to verified model trees in the store. */
import { createHash } from 'node:crypto';
import { format, parse, type Context } from './context.js';
import { ModeldlError } from './errors.js';
import { fetchFiles, missingFiles, type StoredFile, type WantedFile } from './fetch.js';
import type { Snapshot } from './hub.js';
import { checkListing, fileSystemRules } from './paths.js';
import type { Reference } from './reference.js';
import { contentRevision, rememberResolution, resolveReference, type Resolved } from './resolve.js';
import type { LeftOutFile, Outcome, PulledModel, PullPlan } from './results.js';
import { select, type SelectOptions, type Selection } from './select.js';
import { checkModel, exportTree, findModel, publishModel, touchUsed } from './store/models.js';
import type { ModelKey, ModelRecord } from './store/record.js';
import { checkSpace } from './store/space.js';
import { unpackArchives } from './unpack.js';

export interface PullOptions {
  readonly revision?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly allFiles?: boolean;
  /** Which of several GGUF quantizations. */
  readonly quant?: string;
  /** Unpack an archive without a subpath. */
  readonly unpack?: boolean;
  /** Fetch again what is stored. */
  readonly force?: boolean;
  /** Absolute directory for an independent copy. */
  readonly output?: string;
  /** Hard links instead of an independent copy at `output`. */
  readonly link?: boolean;
  readonly overwrite?: boolean;
}

/** Pulls every reference; one that fails does not stop the others. */
export async function pull(
  context: Context,
  references: readonly string[],
  options: PullOptions,
): Promise<Outcome<PulledModel>> {
  return forEachReference(context, references, options, async (requested, reference) => {
    const { record, path, downloadedBytes, stale } = await pullModel(context, reference, options);
    const output = options.output === undefined ? null : await writeOutput(context, record, options);
    return describePulled({ record, path, requested, output, downloadedBytes, stale });
  });
}

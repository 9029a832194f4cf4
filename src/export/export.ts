/** Exporting: copies of stored models for other programs and machines, the same bytes whenever they are made. */
import type { Writable } from 'node:stream';
import { withFileHint, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import { defaultName } from '../layout/names.js';
import {
  packedBytes,
  packTar,
  reproducibleTime,
  sendArchive,
  writeArchive,
  type PackedFile,
  type PackOptions,
  type WrittenArchive,
} from '../pack.js';
import type { PullOptions } from '../pull.js';
import { modelToPush } from '../push.js';
import { redactReference } from '../redact.js';
import type { ExportedTree } from '../results.js';
import { conversionName } from '../stored.js';
import type { StoredModel } from '../store/models.js';
import { checkDirectory, writeDirectory } from './directory.js';
import { checkArchive, readTarget, refuseInCache, requireRoom, targetError, type Target } from './target.js';
import { plainTree, type Tree } from './tree.js';
import { dirname } from 'node:path';

export interface ExportTreeOptions extends Pick<PullOptions, 'quant'> {
  readonly layout?: string;
  readonly overwrite?: boolean;
  /** Gets the archive when the target is `-`. */
  readonly stdout?: Writable;
}

/** A model that is exported, with what it was asked for as. */
export interface Exported {
  readonly requested: string;
  readonly model: StoredModel;
  /** Its directory in the layout; '' for the target itself. */
  readonly place: string;
}

/**
 * Writes models to a directory or an archive; what is not stored yet is pulled first. All of it is there afterwards, or
 * nothing.
 * @param target a directory, a file that ends in `.tar` or `.tar.zst`, or `-` for a tar on stdout
 * @throws ModeldlError USAGE, CONFIG, DISK, INTEGRITY, UNSUPPORTED, and as pulling does
 */
export async function exportTree(
  context: Context,
  references: readonly string[],
  target: string,
  options: ExportTreeOptions,
): Promise<ExportedTree> {
  const time = reproducibleTime(context.environment);
  const to = readTarget(context.cwd, target);
  await checkTarget(context, to, options);
  const models = await bringModels(context, references, options);
  const tree = plainTree(models, time);
  const described = describe(to, models, tree);
  const onFile = progressOf(context, models);
  if (to.kind === 'directory') {
    const { overwrite = false } = options;
    const written = await writeDirectory(context, to.path, tree, { time, overwrite, onFile });
    return { ...described, ...written, archive: null };
  }
  const tarBytes = await packedBytes(tree.entries, time);
  const source = packTar(tree.entries, { time, signal: context.signal, onFile });
  const archive = await writeTo(context, to, source, tarBytes, options);
  return { ...described, writtenBytes: archive.bytes, presentBytes: 0, archive };
}

async function checkTarget(
  context: Context,
  to: Target,
  { overwrite = false, stdout }: ExportTreeOptions,
): Promise<void> {
  if (to.kind === 'stream') {
    if (stdout === undefined) throw new ModeldlError('USAGE', 'There is no stdout to write an archive to');
    return;
  }
  await refuseInCache(context, to.path);
  if (to.kind === 'archive') await checkArchive(to.path, overwrite);
  else await checkDirectory(to.path, [''], overwrite);
}

async function writeTo(
  context: Context,
  to: Exclude<Target, { kind: 'directory' }>,
  source: AsyncIterable<Buffer>,
  tarBytes: number,
  { stdout }: ExportTreeOptions,
): Promise<WrittenArchive> {
  const { signal } = context;
  if (to.kind === 'stream') {
    if (stdout === undefined) throw new Error('Expected a stdout');
    return sendArchive(source, stdout, { compression: 'none', tarBytes, signal });
  }
  try {
    await requireRoom(context, dirname(to.path), tarBytes);
    return await writeArchive(source, to.path, { compression: to.compression, tarBytes, signal });
  } catch (error) {
    throw targetError(error, to.path);
  }
}

/** Pulls what is not stored, one after the other, since each is needed. */
async function bringModels(
  context: Context,
  references: readonly string[],
  { quant }: ExportTreeOptions,
): Promise<readonly Exported[]> {
  const brought: { requested: string; model: StoredModel }[] = [];
  for (const text of references) {
    try {
      const model = await modelToPush(context, text, quant === undefined ? {} : { quant });
      brought.push({ requested: redactReference(text), model });
    } catch (thrown) {
      const error = await withFileHint(context, text, thrown);
      throw error instanceof ModeldlError ? error.with({ reference: redactReference(text) }) : error;
    }
  }
  if (brought.length === 1) return brought.map((one) => ({ ...one, place: '' }));
  return distinctPlaces(brought.map((one) => ({ ...one, place: placeOf(one.model) })));
}

/** `org/name`, with what a subpath and a conversion add: a directory for one of several models. */
function placeOf({ record: { id, subpath, conversion } }: StoredModel): string {
  const name = [defaultName({ id }), ...(subpath === undefined ? [] : [subpath])].join('/');
  return conversion === undefined ? name : `${name}-${conversionName(conversion)}`;
}

/** @throws ModeldlError USAGE */
function distinctPlaces(models: readonly Exported[]): readonly Exported[] {
  for (const [at, one] of models.entries()) {
    const other = models
      .slice(0, at)
      .find(
        ({ place }) => `${one.place}/`.startsWith(`${place}/`) || `${place}/`.startsWith(`${one.place}/`),
      );
    if (other === undefined) continue;
    throw new ModeldlError(
      'USAGE',
      `Two models would share a directory, ${other.place} and ${one.place}: ${other.requested} and ${one.requested}`,
      { hint: 'export them by a command each, to different targets' },
    );
  }
  return models;
}

function describe(to: Target, models: readonly Exported[], { entries }: Tree) {
  const files = entries.flatMap((entry) => ('to' in entry ? [] : [entry]));
  return {
    target: to.kind === 'stream' ? '-' : to.path,
    layout: 'plain' as const,
    files: files.length,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    models: models.map(({ requested, model: { record }, place }) => ({
      reference: record.reference,
      requested,
      directory: place,
      bytes: record.files.reduce((sum, { bytes }) => sum + bytes, 0),
      license: record.license ?? null,
    })),
  };
}

function progressOf(context: Context, models: readonly Exported[]): NonNullable<PackOptions['onFile']> {
  const reference = models.map(({ model }) => model.record.reference).join(', ');
  return ({ path, bytes, sha256 = '' }: PackedFile, state, done) => {
    if (state === 'start') context.emit({ type: 'file-start', reference, path, bytes, resumedBytes: 0 });
    else if (state === 'progress')
      context.emit({ type: 'file-progress', reference, path, receivedBytes: done });
    else context.emit({ type: 'file-done', reference, path, bytes, sha256 });
  };
}

/** Exporting: copies of stored models for other programs and machines, the same bytes whenever they are made. */
import { basename, dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { hubNamed, parse, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
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
import { planModels, type PullOptions } from '../pull.js';
import { modelToPush, QUANT_CHOICE, withChoiceHint } from '../push.js';
import { redactReference } from '../redact.js';
import type { ExportedTree, ExportPlan } from '../results.js';
import type { StoredModel } from '../store/models.js';
import { checkDirectory, writeDirectory } from './directory.js';
import { layOut, readLayout, type Exported, type LayoutOptions } from './layouts.js';
import { checkFile, readTarget, refuseInCache, requireRoom, targetError, type Target } from './target.js';
import type { Tree } from './tree.js';

export interface ExportTreeOptions extends Pick<PullOptions, 'quant'>, LayoutOptions {
  readonly layout?: string;
  readonly overwrite?: boolean;
  /** Gets the archive when the target is `-`. */
  readonly stdout?: Writable;
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
  const { time, to, layout, text, overwrite } = await check(context, references, target, options);
  if (to.kind === 'stream' && options.stdout === undefined)
    throw new ModeldlError('USAGE', 'There is no stdout to write an archive to');
  const models = await bringModels(context, references, options);
  const laid = await layOut(context, layout, text, { models, to, time, overwrite, options });
  const { tree, names, finish } = laid;
  const described = describe(to, text, models, names, tree);
  const onFile = progressOf(context, models);
  if (to.kind === 'directory') {
    const written = await writeDirectory(context, to.path, tree, { time, overwrite, onFile, finish });
    return { ...described, ...written, archive: null };
  }
  const tarBytes = await packedBytes(tree.entries, time);
  const source = packTar(tree.entries, { time, signal: context.signal, onFile });
  const archive = await writeTo(context, to, source, tarBytes, options);
  return { ...described, writtenBytes: archive.bytes, presentBytes: 0, archive };
}

/** What `exportTree` would do, without fetching or writing. @throws ModeldlError as it does, as far as that can be told */
export async function planExportTree(
  context: Context,
  references: readonly string[],
  target: string,
  options: ExportTreeOptions,
): Promise<ExportPlan> {
  const { to, text } = await check(context, references, target, options);
  const { quant } = options;
  const { results, errors } = await planModels(context, references, quant === undefined ? {} : { quant });
  const [error] = errors;
  if (error !== undefined) throw withChoiceHint(error, QUANT_CHOICE);
  const models = results.map(({ plan: { reference, requested, files, bytes, downloadBytes } }) => ({
    reference,
    requested,
    bytes,
    downloadBytes,
    files: files.map((file) => ({ path: file.path, bytes: file.bytes, stored: file.stored })),
  }));
  return {
    target: to.kind === 'stream' ? '-' : to.path,
    layout: text,
    files: models.reduce((sum, { files }) => sum + files.length, 0),
    bytes: models.reduce((sum, { bytes }) => sum + bytes, 0),
    downloadBytes: models.reduce((sum, { downloadBytes }) => sum + downloadBytes, 0),
    models,
  };
}

/** Reads what is asked, and refuses what could not be written whatever the models are. @throws ModeldlError */
async function check(
  context: Context,
  references: readonly string[],
  target: string,
  options: ExportTreeOptions,
) {
  const { layout: text = 'plain', overwrite = false } = options;
  const time = reproducibleTime(context.environment);
  const to = readTarget(context.cwd, target);
  const layout = readLayout(context, text, options, references.length);
  const twice = references.find((reference, at) => references.indexOf(reference) < at);
  if (twice !== undefined) {
    throw new ModeldlError('USAGE', `Named twice: ${redactReference(twice)}`, {
      hint: 'name each model once; the last word is the target',
    });
  }
  if (to.kind !== 'stream') await refuseInCache(context, to.path);
  if (to.kind === 'archive') await checkFile(to.path, overwrite, 'archive');
  if (to.kind === 'directory')
    await checkDirectory(to.path, layout === 'plain' && references.length === 1 ? [''] : [], overwrite);
  return { time, to, layout, text, overwrite };
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
  const models: Exported[] = [];
  for (const text of references) {
    const requested = redactReference(text);
    try {
      const model = await modelToPush(context, text, quant === undefined ? {} : { quant }, QUANT_CHOICE);
      models.push({ requested, asked: parse(context, text), origin: originOf(context, model), model });
    } catch (error) {
      throw error instanceof ModeldlError ? error.with({ reference: requested }) : error;
    }
  }
  return models;
}

/** What tells where a model comes from, wherever it is exported: of a path on this machine its last part. */
function originOf(context: Context, { record: { hub, id, reference } }: StoredModel): string {
  if (hubNamed(context, hub).syntax.paths !== true) return reference;
  return `${hub}:${basename(id)}${reference.slice(reference.indexOf(id) + id.length)}`;
}

function describe(
  to: Target,
  layout: string,
  models: readonly Exported[],
  names: readonly string[],
  { entries }: Tree,
) {
  const files = entries.flatMap((entry) => ('to' in entry ? [] : [entry]));
  return {
    target: to.kind === 'stream' ? '-' : to.path,
    layout,
    files: files.length,
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    models: models.map(({ requested, model: { record } }, at) => ({
      reference: record.reference,
      requested,
      name: names[at] ?? '',
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

/** Copies of a model outside the cache (`--output`): independent and writable, or read-only hard links. */
import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import {
  access,
  chmod,
  constants,
  lstat,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { isDirectory, makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode, throwIfAborted } from '../errors.js';
import { hashFile } from './hash.js';
import { uniqueName, type Store } from './layout.js';
import { createLinker, workingMode } from './link.js';
import type { StoredModel } from './models.js';
import { treePath, type ModelRecord } from './record.js';
import { deviceOf } from './space.js';

/** Remembers what modeldl wrote to an output directory, so that nothing else there is ever deleted. */
export const MANIFEST = '.modeldl.json';

/** What a run that was killed could not clear away. */
export const LEFT_OVER = /^\.modeldl-[0-9a-f]{16}$/;

const manifestFile = v.object({
  // The directory may be a clone of somebody's repository: what it names must lie inside it.
  path: treePath,
  bytes: v.number(),
  sha256: v.string(),
  /** Whole seconds since 1970. */
  mtime: v.number(),
});
const manifestSchema = v.object({ reference: v.string(), files: v.array(manifestFile) });

export type ManifestFile = v.InferOutput<typeof manifestFile>;

export interface OutputOptions {
  /** Read-only hard links instead of independent files. */
  readonly link: boolean;
  /** Write into a directory that holds files of others, and over them where their names are the model's. */
  readonly overwrite: boolean;
  /** Files that are written beside the model's, in place of those of the same path. */
  readonly texts?: readonly OutputText[];
  readonly signal?: AbortSignal;
}

export interface OutputText {
  readonly path: string;
  readonly text: string;
}

/**
 * Makes the model's files appear in a directory. Files that are already right are left alone, files of an earlier
 * model that modeldl wrote there are removed, files of others never. Everything is checked before anything is written.
 *
 * @throws ModeldlError USAGE for a directory with files of others, DISK, INTERRUPTED
 */
export async function writeOutput(
  model: StoredModel,
  directory: string,
  options: OutputOptions,
): Promise<void> {
  const { record } = model;
  const texts = new Map(options.texts?.map(({ path, text }) => [path, text]));
  const files = [
    ...record.files
      .filter(({ path }) => !texts.has(path))
      .map(({ path, bytes, sha256, mtime }) => ({ path, bytes, sha256, mtime })),
    ...[...texts].map(([path, text]) => textFile(path, text)),
  ];
  refuseReserved(record);
  try {
    await makeDirectory(directory);
    const before = await readManifest(directory);
    if (before === undefined && !options.overwrite) await refuseForeign(directory);
    const ours = new Map(before?.map((file) => [file.path, file]));
    const wrong: ManifestFile[] = [];
    const written: ManifestFile[] = [];
    for (const file of files) {
      const { path } = file;
      const source = texts.has(path) ? undefined : join(model.directory, path);
      await refuseBlocked(directory, path);
      if (!(await isRight(source, directory, file, ours.get(path), options))) {
        const old = ours.get(path);
        if (old === undefined && !options.overwrite) await refuseExisting(directory, path);
        if (source === undefined && old !== undefined && !options.overwrite) {
          await refuseChanged(directory, old, options.signal);
        }
        wrong.push(file);
      } else if (ours.has(path)) written.push(file);
    }
    written.push(...wrong);
    // Named before they are written, so that a run after an interruption knows its own files.
    const mode = await writeManifest(directory, record.reference, [
      ...written,
      ...(before ?? []).filter((old) => !written.some(({ path }) => path === old.path)),
    ]);
    const linker = createLinker(options.link ? ['hardlink'] : ['reflink', 'copy']);
    for (const file of wrong) {
      throwIfAborted(options.signal);
      const target = join(directory, file.path);
      const temporary = join(dirname(target), `.modeldl-${uniqueName()}`);
      try {
        const text = texts.get(file.path);
        if (text === undefined) await linker.place(join(model.directory, file.path), temporary);
        else await writeFile(temporary, text);
        if (!options.link) await chmod(temporary, mode);
        await rename(temporary, target);
      } finally {
        await rm(temporary, { force: true });
      }
    }
    const kept = new Set(files.map((file) => file.path));
    for (const old of before ?? []) if (!kept.has(old.path)) await removeOld(directory, old, options.signal);
    await writeManifest(directory, record.reference, written);
  } catch (error) {
    throw outputError(error, directory, options);
  }
}

/** A file as it will be in an output; its sha256 where that is known before it is fetched. */
export interface OutputFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256?: string | undefined;
}

/**
 * Bytes that {@link writeOutput} adds to the file system of an output at most. What modeldl wrote there and what is
 * linked costs nothing; what is replaced gives its bytes back before the next file comes.
 */
export async function outputBytes(
  store: Store,
  directory: string,
  files: readonly OutputFile[],
  { link }: Pick<OutputOptions, 'link'>,
): Promise<number> {
  if (link) return 0;
  try {
    const before = new Map((await readManifest(directory))?.map((file) => [file.path, file]));
    let added = 0;
    let most = 0;
    for (const { path, bytes, sha256 } of files) {
      const found = await look(join(directory, path));
      // A file with another name, as in the cache, is replaced and gives nothing back.
      const size = found?.nlink === 1 ? found.size : undefined;
      if (size === bytes && sha256 !== undefined && before.get(path)?.sha256 === sha256) continue;
      most = Math.max(most, added + bytes);
      added += bytes - (size ?? 0);
    }
    if (most === 0) return 0;
    const near = (await deviceOf(directory)) === (await deviceOf(store.root));
    return near && (await workingMode(store, ['reflink', 'copy'])) === 'reflink' ? 0 : most;
  } catch (error) {
    throw diskError(error, directory);
  }
}

/**
 * Refuses what {@link writeOutput} would refuse whatever the model is, before anything is fetched for it.
 * @throws ModeldlError USAGE, DISK
 */
export async function checkOutput(
  directory: string,
  { overwrite }: Pick<OutputOptions, 'overwrite'>,
): Promise<void> {
  try {
    await requireWritable(directory);
    if (overwrite || (await readManifest(directory)) !== undefined) return;
    await refuseForeign(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw systemErrorCode(error) === 'ENOTDIR'
      ? notADirectory(directory, error)
      : elsewhere(error, directory, PLACE);
  }
}

/** Of the directory itself, or where the first of those above it is that has to be made. */
async function requireWritable(directory: string): Promise<void> {
  let nearest = directory;
  while ((await look(nearest)) === undefined && dirname(nearest) !== nearest) nearest = dirname(nearest);
  if (!(await isDirectory(nearest))) throw notADirectory(directory);
  await access(nearest, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw elsewhere(error, directory, PLACE, 'write');
  });
}

async function makeDirectory(directory: string): Promise<void> {
  try {
    await makeDirectories(directory);
  } catch (error) {
    if (!['EEXIST', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) throw error;
    throw notADirectory(directory, error);
  }
}

function notADirectory(directory: string, cause?: unknown): ModeldlError {
  return new ModeldlError('USAGE', `The output is not a directory: ${directory}`, {
    hint: 'choose another directory with `--output`',
    cause,
    details: { file: directory },
  });
}

export async function readManifest(directory: string): Promise<readonly ManifestFile[] | undefined> {
  try {
    const parsed = v.safeParse(manifestSchema, JSON.parse(await readFile(join(directory, MANIFEST), 'utf8')));
    return parsed.success ? parsed.output.files : undefined;
  } catch {
    return undefined;
  }
}

/** @returns permissions that a new file gets here, by the user's own rules */
async function writeManifest(
  directory: string,
  reference: string,
  files: readonly ManifestFile[],
): Promise<number> {
  const temporary = join(directory, `.modeldl-${uniqueName()}`);
  try {
    await writeFile(temporary, `${JSON.stringify({ reference, files }, null, 2)}\n`);
    const { mode } = await stat(temporary);
    await rename(temporary, join(directory, MANIFEST));
    return mode & 0o777;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** What lists modeldl's files there cannot be one of them; on some file systems case does not tell names apart. */
export function refuseReserved(
  { reference, files }: Pick<ModelRecord, 'reference' | 'files'>,
  otherwise = `use it in the store: \`modeldl path ${reference}\``,
): void {
  if (!files.some(({ path }) => path.toLowerCase() === MANIFEST)) return;
  throw new ModeldlError(
    'USAGE',
    `${reference} has a file ${MANIFEST}, as modeldl itself writes beside models`,
    {
      hint: `pull it with \`--exclude ${MANIFEST}\`, or ${otherwise}`,
      details: { file: MANIFEST },
    },
  );
}

async function refuseForeign(directory: string): Promise<void> {
  const [first] = (await readdir(directory)).filter((name) => !LEFT_OVER.test(name));
  if (first !== undefined) throw foreign(directory, first);
}

async function refuseExisting(directory: string, path: string): Promise<void> {
  if ((await look(join(directory, path))) !== undefined) throw foreign(directory, path);
}

/** Neither through a link to elsewhere nor in place of somebody's directory is anything written. */
export async function refuseBlocked(directory: string, path: string): Promise<void> {
  const parts = path.split('/');
  for (let length = 1; length <= parts.length; length += 1) {
    const part = parts.slice(0, length).join('/');
    const found = await look(join(directory, part));
    if (found === undefined) return;
    if (found.isDirectory() === length < parts.length) continue;
    throw new ModeldlError('USAGE', `Something else is in the place of ${part} in the output: ${directory}`, {
      hint: 'move it away, or choose another directory with `--output`',
      details: { file: join(directory, part) },
    });
  }
}

function foreign(directory: string, name: string): ModeldlError {
  return new ModeldlError(
    'USAGE',
    `The output directory holds files that modeldl did not write: ${directory}`,
    {
      hint: `choose an empty directory, or pass \`--overwrite\`; the first such file: ${name}`,
      details: { file: directory },
    },
  );
}

/** A text is small: it is compared by its bytes, not by its time. */
function textFile(path: string, text: string): ManifestFile {
  const sha256 = createHash('sha256').update(text).digest('hex');
  return { path, bytes: Buffer.byteLength(text), sha256, mtime: 0 };
}

/** People tune such a file by hand. */
async function refuseChanged(
  directory: string,
  old: ManifestFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = join(directory, old.path);
  if ((await look(path)) === undefined || (await holds(path, old, undefined, signal))) return;
  throw new ModeldlError('USAGE', `Somebody changed a file that modeldl wrote: ${path}`, {
    hint: 'pass `--overwrite` to write it anew, or move it away',
    details: { file: path },
  });
}

/** @param model path of the file in the store; undefined for one that is not of the model */
async function isRight(
  model: string | undefined,
  directory: string,
  file: ManifestFile,
  before: ManifestFile | undefined,
  { link, signal }: OutputOptions,
): Promise<boolean> {
  const path = join(directory, file.path);
  const found = await look(path);
  if (found === undefined || !found.isFile()) return false;
  if (model === undefined) return found.nlink === 1 && holds(path, file, undefined, signal);
  const source = await stat(model);
  const shared = found.dev === source.dev && found.ino === source.ino;
  // A hard link is no independent file, and a writable copy no link.
  if (shared || link) return shared && link;
  return found.nlink === 1 && holds(path, file, before, signal);
}

/** Has this file these bytes? Where modeldl wrote them and size and time, to the fraction, are as they were, it has. */
export async function holds(
  path: string,
  file: ManifestFile,
  before: ManifestFile | undefined,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const found = await look(path);
  if (found === undefined || !found.isFile() || found.size !== file.bytes) return false;
  if (before?.sha256 === file.sha256 && found.mtimeMs === before.mtime * 1000) return true;
  return (await hashFile(path, signal)) === file.sha256;
}

/** Removes a file of an earlier model unless somebody changed it, and the directories that this empties. */
export async function removeOld(
  directory: string,
  old: ManifestFile,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await refuseBlocked(directory, old.path);
  } catch {
    return;
  }
  if (!(await holds(join(directory, old.path), old, undefined, signal))) return;
  await rm(join(directory, old.path), { force: true });
  for (let parent = dirname(old.path); parent !== '.'; parent = dirname(parent)) {
    await rmdir(join(directory, parent)).catch(() => undefined);
  }
}

function outputError(error: unknown, directory: string, { link }: OutputOptions): unknown {
  if (!link || !['EXDEV', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(systemErrorCode(error) ?? '')) {
    // The cache has the model already: it is the output that needs another place.
    return elsewhere(error, directory, `${PLACE}; the model is stored`);
  }
  return new ModeldlError('DISK', `The output cannot have hard links to the cache: ${directory}`, {
    hint: 'leave out `--link` for a copy, or choose a directory on the file system of the cache',
    cause: error,
    details: { file: directory },
  });
}

const PLACE = 'choose a directory that you may write and that has room with `--output`';

/** What a disk refuses an output, which no other cache would change. */
function elsewhere(error: unknown, directory: string, hint: string, doing?: 'write'): unknown {
  const reason = diskError(error, directory, doing);
  if (reason === error || !(reason instanceof ModeldlError)) return reason;
  return new ModeldlError(reason.code, reason.message, { hint, cause: error, details: reason.details });
}

export async function look(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  });
}

/** Copies of a model outside the cache (`--output`): independent and writable, or read-only hard links. */
import { chmod, lstat, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { blobPath } from './blobs.js';
import { hashFile } from './hash.js';
import { uniqueName, type Store } from './layout.js';
import { createLinker } from './link.js';
import type { StoredModel } from './models.js';

/** Remembers what modeldl wrote to an output directory, so that nothing else there is ever deleted. */
const MANIFEST = '.modeldl.json';

const manifestSchema = v.object({
  reference: v.string(),
  files: v.array(v.object({ path: v.string(), bytes: v.number(), sha256: v.string() })),
});

export interface OutputOptions {
  /** Read-only hard links instead of independent files. */
  readonly link: boolean;
  /** Write into a directory that holds files of others. */
  readonly overwrite: boolean;
}

/**
 * Makes the model's files appear in a directory. Files that are already right are left alone, files of an earlier
 * model that modeldl wrote there are removed, files of others never.
 *
 * @throws ModeldlError USAGE for a directory with files of others, DISK
 */
export async function writeOutput(
  store: Store,
  model: StoredModel,
  directory: string,
  options: OutputOptions,
): Promise<void> {
  const { record } = model;
  try {
    await mkdir(directory, { recursive: true });
    const before = await readManifest(directory);
    if (before === undefined && !options.overwrite) await refuseForeign(directory);
    const files = record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 }));
    // Named before they are written, so that a run after an interruption knows its own files.
    await writeManifest(directory, record.reference, [...files, ...(before?.files ?? [])]);
    const linker = createLinker(options.link ? ['hardlink'] : ['reflink', 'copy']);
    for (const file of record.files) {
      const target = join(directory, ...file.path.split('/'));
      const written = before?.files.find((candidate) => candidate.path === file.path);
      if (await isRight(target, file, options.link)) continue;
      if (written === undefined && !options.overwrite && (await exists(target)))
        throw foreign(directory, file.path);
      const temporary = join(dirname(target), `.modeldl-${uniqueName()}`);
      try {
        await linker.place(blobPath(store, file.sha256), temporary);
        if (!options.link) await chmod(temporary, 0o644);
        await rename(temporary, target);
      } finally {
        await rm(temporary, { force: true });
      }
    }
    const kept = new Set(record.files.map((file) => file.path));
    for (const old of before?.files ?? []) {
      const target = join(directory, ...old.path.split('/'));
      if (!kept.has(old.path) && (await isRight(target, old, false))) await rm(target, { force: true });
    }
    await writeManifest(directory, record.reference, files);
  } catch (error) {
    if (systemErrorCode(error) === 'EXDEV') {
      throw new ModeldlError(
        'DISK',
        `Hard links need one file system for the cache and the output: ${directory}`,
        {
          hint: 'leave out `--link` for a copy',
          cause: error,
          details: { file: directory },
        },
      );
    }
    throw diskError(error, directory);
  }
}

type ManifestFile = v.InferOutput<typeof manifestSchema>['files'][number];

async function writeManifest(
  directory: string,
  reference: string,
  files: readonly ManifestFile[],
): Promise<void> {
  await writeFile(join(directory, MANIFEST), `${JSON.stringify({ reference, files }, null, 2)}\n`);
}

async function readManifest(directory: string): Promise<v.InferOutput<typeof manifestSchema> | undefined> {
  try {
    const parsed = v.safeParse(manifestSchema, JSON.parse(await readFile(join(directory, MANIFEST), 'utf8')));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

async function refuseForeign(directory: string): Promise<void> {
  const [first] = await readdir(directory);
  if (first !== undefined) throw foreign(directory, first);
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

async function isRight(
  path: string,
  file: { bytes: number; sha256: string },
  link: boolean,
): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || !found.isFile() || found.size !== file.bytes) return false;
  if (link && found.nlink < 2) return false;
  return (await hashFile(path)) === file.sha256;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

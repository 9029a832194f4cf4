/** An export into a directory: staged there, and moved into place once everything is whole. */
import { constants, createReadStream, createWriteStream } from 'node:fs';
import {
  chmod,
  copyFile,
  lutimes,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Context } from '../context.js';
import { discard, isDirectory, makeDirectories } from '../directories.js';
import { ModeldlError, systemErrorCode, throwIfAborted } from '../errors.js';
import {
  changedFile,
  DIRECTORY_MODE,
  directoriesOf,
  FILE_MODE,
  READ_BYTES,
  type PackedFile,
  type PackOptions,
} from '../pack.js';
import { taking } from '../repository.js';
import { uniqueName } from '../store/layout.js';
import { workingMode } from '../store/link.js';
import {
  checkOutput,
  holds,
  LEFT_OVER,
  look,
  MANIFEST,
  readManifest,
  refuseBlocked,
  removeOld,
  type ManifestFile,
} from '../store/output.js';
import { deviceOf } from '../store/space.js';
import { requireRoom, targetError } from './target.js';
import type { Tree, TreeEntry } from './tree.js';

/** What a file system without links, or Windows without the right to make them, says. */
const LINKLESS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL']);

/** Whoever has not moved for so long was killed, milliseconds. */
const LEFT_OVER_MS = 24 * 3600 * 1000;

export interface DirectoryOptions {
  /** Of everything that is written, seconds since 1970. */
  readonly time: number;
  readonly overwrite: boolean;
  readonly onFile: NonNullable<PackOptions['onFile']>;
  /** Called once the files are in place. @returns other paths that it wrote, below the target */
  readonly finish?: (() => Promise<readonly string[]>) | undefined;
}

export interface WrittenDirectory {
  readonly writtenBytes: number;
  /** Of what was there already. */
  readonly presentBytes: number;
}

/**
 * Refuses what could not be written whatever the models are, before anything is fetched.
 * @param owned directories that are the models' alone, below the target
 * @throws ModeldlError USAGE, DISK
 */
export async function checkDirectory(
  target: string,
  owned: readonly string[],
  overwrite: boolean,
): Promise<void> {
  try {
    await checkOutput(target, { overwrite: overwrite || !owned.includes('') });
    for (const directory of owned) await checkOutput(join(target, directory), { overwrite });
  } catch (error) {
    throw targetError(error, target);
  }
}

/** Writes a tree. @throws ModeldlError USAGE for what is not to be replaced, DISK, BUSY, INTERRUPTED */
export async function writeDirectory(
  context: Context,
  target: string,
  tree: Tree,
  options: DirectoryOptions,
): Promise<WrittenDirectory> {
  await checkDirectory(target, tree.owned, options.overwrite);
  return taking(context, target, () => place(context, target, tree, options));
}

async function place(
  context: Context,
  target: string,
  given: Tree,
  options: DirectoryOptions,
): Promise<WrittenDirectory> {
  const { overwrite, time } = options;
  const made = await makeAbsent(target);
  const staging = join(target, `.modeldl-${uniqueName()}`);
  let isPlaced = false;
  try {
    await clearLeftOvers(target);
    const tree = await withoutImpossibleLinks(context, staging, given);
    const before = await manifestsOf(target, tree);
    const missing: TreeEntry[] = [];
    for (const entry of tree.entries) {
      throwIfAborted(context.signal);
      await refuseBlocked(target, entry.path);
      if (await isThere(context, target, entry, before)) continue;
      const isOurs = before.has(entry.path) || basename(entry.path) === MANIFEST;
      if (!overwrite && entry.role !== 'latest' && !isOurs) await refuseOther(target, entry);
      missing.push(entry);
    }
    const files = missing.filter((entry): entry is TreeEntry & PackedFile => !('to' in entry));
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    await requireRoom(context, target, (await isShared(context, target)) ? 0 : bytes);
    await stage(context, staging, missing, options);
    isPlaced = true;
    const wasEmpty = made.length > 0 || (await readdir(target)).every((name) => LEFT_OVER.test(name));
    const fresh = await moveIntoPlace(target, staging, missing);
    await removeStale(context, target, tree, before);
    await rm(staging, { recursive: true, force: true });
    for (const path of (await options.finish?.()) ?? []) await setFileTime(join(target, path), time);
    await setTimes(target, tree, [...fresh, ...(wasEmpty ? [''] : [])], time);
    const all = tree.entries.reduce((sum, entry) => sum + ('to' in entry ? 0 : entry.bytes), 0);
    return { writtenBytes: bytes, presentBytes: all - bytes };
  } catch (error) {
    throw targetError(error, target);
  } finally {
    await discard(staging);
    if (!isPlaced) for (const directory of [...made].reverse()) await rmdir(directory).catch(() => undefined);
  }
}

/** Where there are no links, a file is where a link to it would be, which the programs concerned read as well. */
async function withoutImpossibleLinks(context: Context, staging: string, tree: Tree): Promise<Tree> {
  if (!tree.entries.some((entry) => 'to' in entry)) return tree;
  const probe = join(staging, 'link');
  try {
    await makeDirectories(staging);
    await symlink('nowhere', probe);
    return tree;
  } catch (error) {
    if (!LINKLESS.has(systemErrorCode(error) ?? '')) throw error;
  } finally {
    await rm(probe, { force: true });
  }
  context.emit({
    type: 'note',
    message: 'The file system of the target has no links: files are in their places',
  });
  const files = new Map(tree.entries.map((entry) => [entry.path, entry]));
  const linked = new Set<string>();
  const entries = tree.entries.map((entry): TreeEntry => {
    if (!('to' in entry)) return entry;
    const target = posix.join(posix.dirname(entry.path), entry.to);
    const file = files.get(target);
    if (file === undefined || 'to' in file) return entry;
    linked.add(target);
    const { role, ...copied } = file;
    return { ...copied, path: entry.path };
  });
  return { ...tree, entries: entries.filter(({ path }) => !linked.has(path)) };
}

/** @returns what was made, the uppermost first */
async function makeAbsent(directory: string): Promise<readonly string[]> {
  const made: string[] = [];
  for (let current = directory; (await look(current)) === undefined; current = dirname(current)) {
    made.unshift(current);
    if (dirname(current) === current) break;
  }
  await makeDirectories(directory);
  return made;
}

/** What runs left behind that were killed. One of another cache may be at work here, which nothing else tells. */
async function clearLeftOvers(target: string): Promise<void> {
  for (const name of await readdir(target)) {
    if (!LEFT_OVER.test(name)) continue;
    const { mtimeMs } = await stat(join(target, name));
    if (Date.now() - mtimeMs > LEFT_OVER_MS) await discard(join(target, name));
  }
}

/** What modeldl wrote into the directories of the models before, by its path below the target. */
async function manifestsOf(target: string, { owned }: Tree): Promise<ReadonlyMap<string, ManifestFile>> {
  const files = new Map<string, ManifestFile>();
  for (const directory of owned) {
    const prefix = directory === '' ? '' : `${directory}/`;
    for (const file of (await readManifest(join(target, directory))) ?? [])
      files.set(`${prefix}${file.path}`, file);
  }
  return files;
}

async function isThere(
  context: Context,
  target: string,
  entry: TreeEntry,
  before: ReadonlyMap<string, ManifestFile>,
): Promise<boolean> {
  const path = join(target, entry.path);
  const found = await look(path);
  if (found === undefined) return false;
  if (entry.role === 'default') return true;
  if ('to' in entry) return found.isSymbolicLink() && (await readlink(path)) === entry.to;
  if (found.isFile() && entry.isSame?.(await readFile(path)) === true) return true;
  // A file that has another name is no independent copy.
  if (!found.isFile() || found.size !== entry.bytes) return false;
  if (entry.role === 'named') return true;
  const { bytes, sha256 } = entry;
  if (sha256 === undefined) return false;
  const promised = { path: entry.path, bytes, sha256, mtime: 0 };
  return found.nlink === 1 && holds(path, promised, before.get(entry.path), context.signal);
}

async function refuseOther(target: string, entry: TreeEntry): Promise<void> {
  if ((await look(join(target, entry.path))) === undefined) return;
  throw new ModeldlError(
    'USAGE',
    `Something else is in the place of ${entry.path} in the target: ${target}`,
    {
      hint: 'choose another directory, or pass `--overwrite`',
      details: { file: join(target, entry.path) },
    },
  );
}

/** Do copies to the target cost no space? */
async function isShared({ store }: Context, target: string): Promise<boolean> {
  if (!store.writable || (await deviceOf(target)) !== (await deviceOf(store.root))) return false;
  return (await workingMode(store, ['reflink', 'copy'])) === 'reflink';
}

async function stage(
  context: Context,
  staging: string,
  entries: readonly TreeEntry[],
  { time, onFile }: DirectoryOptions,
): Promise<void> {
  await makeDirectories(staging);
  for (const directory of directoriesOf(entries.map(({ path }) => path)))
    await makeDirectories(join(staging, directory));
  for (const entry of entries) {
    throwIfAborted(context.signal);
    const path = join(staging, entry.path);
    if ('to' in entry) {
      await symlink(entry.to, path);
      continue;
    }
    onFile(entry, 'start', 0);
    if (typeof entry.from !== 'string') await writeFile(path, entry.from, { flag: 'wx' });
    else if (!(await reflinked(entry.from, path))) await copy(context, entry, entry.from, path, onFile);
    onFile(entry, 'done', entry.bytes);
  }
  for (const entry of entries) await setEntryTime(staging, entry, time);
}

async function reflinked(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    await rm(to, { force: true });
    return false;
  }
}

/** A stream, since a copy by the system can be stopped by no signal. */
async function copy(
  { signal }: Context,
  file: PackedFile,
  from: string,
  to: string,
  onFile: DirectoryOptions['onFile'],
): Promise<void> {
  let copied = 0;
  const source = createReadStream(from, { highWaterMark: READ_BYTES });
  source.on('data', (chunk) => {
    copied += chunk.length;
    onFile(file, 'progress', copied);
  });
  try {
    await pipeline(source, createWriteStream(to, { flags: 'wx' }), { signal });
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  }
  if (copied !== file.bytes) throw changedFile(file);
}

async function setEntryTime(root: string, entry: TreeEntry, time: number): Promise<void> {
  const path = join(root, entry.path);
  if ('to' in entry) await lutimes(path, time, time);
  else await setFileTime(path, time);
}

async function setFileTime(path: string, time: number): Promise<void> {
  await setMode(path, FILE_MODE);
  await utimes(path, time, time);
}

/** Some file systems have one mode for all files. */
async function setMode(path: string, mode: number): Promise<void> {
  await chmod(path, mode).catch((error: unknown) => {
    if (!['EPERM', 'ENOTSUP', 'ENOSYS'].includes(systemErrorCode(error) ?? '')) throw error;
  });
}

/** Of a model its manifest first, so that a run that is killed knows its own; what tells others of it comes last. */
function turnOf({ path, role }: TreeEntry): number {
  if (basename(path) === MANIFEST && role === undefined) return 0;
  return role === undefined || role === 'named' ? 1 : 2;
}

/** @returns directories below the target that were not there */
async function moveIntoPlace(
  target: string,
  staging: string,
  entries: readonly TreeEntry[],
): Promise<readonly string[]> {
  const made: string[] = [];
  for (const directory of directoriesOf(entries.map(({ path }) => path))) {
    const path = join(target, directory);
    if (await isDirectory(path)) continue;
    await makeDirectories(path);
    made.push(directory);
  }
  for (const entry of [...entries].sort((a, b) => turnOf(a) - turnOf(b)))
    await rename(join(staging, entry.path), join(target, entry.path));
  return made;
}

async function removeStale(
  { signal }: Context,
  target: string,
  { entries }: Tree,
  before: ReadonlyMap<string, ManifestFile>,
): Promise<void> {
  const kept = new Set(entries.map(({ path }) => path));
  for (const [path, file] of before) {
    if (!kept.has(path)) await removeOld(target, { ...file, path }, signal);
  }
}

/** The models' own directories, and those above them that were made for them. */
async function setTimes(
  target: string,
  { entries, owned }: Tree,
  made: readonly string[],
  time: number,
): Promise<void> {
  const isOwned = (path: string): boolean =>
    owned.some((root) => root === '' || path === root || path.startsWith(`${root}/`));
  for (const entry of entries) if (isOwned(entry.path)) await setEntryTime(target, entry, time);
  const below = directoriesOf(entries.map(({ path }) => path)).filter(isOwned);
  for (const directory of new Set([...made, ...below, ...(owned.includes('') ? [''] : [])])) {
    const path = join(target, directory);
    await setMode(path, DIRECTORY_MODE);
    await utimes(path, time, time);
  }
}

/** Exporting: a stored model becomes one of another program on this machine, by links into that one's store. */
import { constants } from 'node:fs';
import { chmod, chown, link, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { platform } from 'node:process';
import { hubNamed, settingsContext, type Context } from '../context.js';
import { isDirectory, makeDirectories } from '../directories.js';
import { diskError, ModeldlError, systemErrorCode, throwIfAborted } from '../errors.js';
import type { ModelToRegister, RegisteredContent, Registration } from '../hub.js';
import type { PullOptions } from '../pull.js';
import { modelToPush, QUANT_CHOICE } from '../push.js';
import type { ExportedModel } from '../results.js';
import { quantizationOf } from '../select.js';
import { requireSpace } from '../space.js';
import { uniqueName } from '../store/layout.js';
import { createLinker, type Linker, type LinkMode } from '../store/link.js';
import type { StoredModel } from '../store/models.js';
import { deviceOf } from '../store/space.js';

export interface ExportOptions extends Pick<PullOptions, 'quant'> {
  /** Hub whose program it is for. */
  readonly to: string;
  /** What the program shall call it. */
  readonly name?: string;
  /** Take a name away from another model. */
  readonly force?: boolean;
}

/** A program may start and clear away what has no name yet; then it is placed again. */
const ATTEMPTS = 3;
/** Best first. On Windows a read-only file can be removed under none of its names. */
const WAYS: readonly LinkMode[] =
  platform === 'win32' ? ['reflink', 'copy'] : ['reflink', 'hardlink', 'copy'];
/** As programs make them whose service and users share a store. */
const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;

/**
 * Registers one model with a program; what is not stored yet is pulled first.
 * @throws ModeldlError USAGE for a name that another model has, DISK, and as pulling and {@link LocalProgram.register} do
 */
export async function exportModel(
  context: Context,
  reference: string,
  { to, name, force = false, quant }: ExportOptions,
): Promise<ExportedModel> {
  const hub = hubNamed(context, to);
  const { program } = hub;
  if (program === undefined) {
    const taking = context.hubs.flatMap((other) => (other.program === undefined ? [] : [other.name]));
    throw new ModeldlError('USAGE', `${hub.title} is no program that keeps models on this machine`, {
      hint: `export to ${taking.join(', ')}; \`modeldl push\` writes to registries`,
    });
  }
  await program.checkRegistration(name, settingsContext(context, hub));
  const model = await modelToPush(context, reference, quant === undefined ? {} : { quant }, QUANT_CHOICE);
  const registration = await program.register(describeRegistered(model), name, settingsContext(context, hub));
  const placed = await place(context, hub.title, registration, force);
  if (placed.state !== 'unchanged')
    for (const message of registration.notes) context.emit({ type: 'note', message });
  const { record } = model;
  return {
    reference: record.reference,
    to: hub.name,
    name: registration.name,
    directory: registration.directory,
    path: join(registration.directory, registration.entry.path),
    files: registration.contents.length,
    bytes: registration.contents.reduce((sum, { bytes }) => sum + bytes, 0),
    ...placed,
  };
}

/** A stored model as programs on this machine take it. */
export function describeRegistered({ directory, record }: StoredModel): ModelToRegister {
  const { hub, id, reference, files } = record;
  return {
    hub,
    id,
    reference,
    files: files.map(({ path, bytes, sha256 }) => {
      const quantization = quantizationOf(path);
      const location = join(directory, path);
      return { path, bytes, sha256, location, ...(quantization === undefined ? {} : { quantization }) };
    }),
  };
}

type Placed = Pick<ExportedModel, 'state' | 'linkedBytes' | 'writtenBytes' | 'presentBytes'>;

async function place(
  context: Context,
  title: string,
  registration: Registration,
  force: boolean,
): Promise<Placed> {
  const { directory, entry, contents } = registration;
  const path = join(directory, entry.path);
  try {
    const before = await bytesOf(path);
    const isSame =
      before !== undefined && (before.equals(entry.bytes) || (!force && registration.isSame(before)));
    if (before !== undefined && !isSame && !force) throw taken(title, registration, path);
    await requireRoom(context, title, registration);
    const linker = createLinker(WAYS, () => {
      const message = `Copied, since ${title} keeps its models where no link can lead: ${directory}`;
      context.emit({ type: 'note', message });
    });
    const counts = { linkedBytes: 0, writtenBytes: 0, presentBytes: 0 };
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const missing = await absent(directory, contents);
      if (attempt === 0) counts.presentBytes = sum(contents) - sum(missing);
      else if (missing.length === 0) break;
      for (const content of missing) {
        throwIfAborted(context.signal);
        const isLinked = await placeContent(directory, content, linker);
        counts[isLinked ? 'linkedBytes' : 'writtenBytes'] += content.bytes;
      }
      if (!isSame) await writeEntry(registration, path, force || attempt > 0);
    }
    return { state: isSame ? 'unchanged' : before === undefined ? 'added' : 'replaced', ...counts };
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') throw taken(title, registration, path);
    throw unwritable(title, registration, error);
  }
}

function taken(title: string, { name }: Registration, path: string): ModeldlError {
  return new ModeldlError('USAGE', `${title} has another model of this name: ${name}`, {
    hint: 'choose another one by `--name`, or pass `--force` to take the name away from it',
    details: { file: path },
  });
}

/** What the store's file system says, with what to do there instead of here. */
function unwritable(title: string, { directory, unwritableHint }: Registration, error: unknown): unknown {
  const code = systemErrorCode(error);
  if (error instanceof ModeldlError || code === undefined) return error;
  if (code === 'ENOENT') {
    return new ModeldlError('BUSY', `Another program removed files while they were placed in ${directory}`, {
      hint: 'run the command again',
      cause: error,
      details: { file: directory },
    });
  }
  const told = code === 'ENOTDIR' ? 'not a directory' : reasonOf(diskError(error, directory));
  if (told === undefined) return error;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new ModeldlError('DISK', `Cannot write to the store of ${title} in ${directory}: ${told}`, {
    hint: isFull ? 'free space there' : unwritableHint,
    cause: error,
    details: { file: directory },
  });
}

function reasonOf(error: unknown): string | undefined {
  return error instanceof ModeldlError ? error.message.replace(/^.*: /, '') : undefined;
}

async function bytesOf(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}

/** Those that are not there, or not as large as they should be. */
async function absent(
  directory: string,
  contents: readonly RegisteredContent[],
): Promise<readonly RegisteredContent[]> {
  const missing: RegisteredContent[] = [];
  for (const content of contents) {
    const found = await stat(join(directory, content.path)).catch(() => undefined);
    if (found?.isFile() !== true || found.size !== content.bytes) missing.push(content);
  }
  return missing;
}

function sum(contents: readonly RegisteredContent[]): number {
  return contents.reduce((total, { bytes }) => total + bytes, 0);
}

/** On another file system everything is copied. */
async function requireRoom(context: Context, title: string, registration: Registration): Promise<void> {
  const { directory, contents } = registration;
  const missing = await absent(directory, contents);
  const device = await deviceOf(directory);
  const devices = await Promise.all(
    missing.map(async ({ from }) => (typeof from === 'string' ? (await stat(from)).dev : undefined)),
  );
  const copied = missing.filter((_content, index) => devices[index] !== device);
  try {
    await requireSpace(context, [{ directory, bytes: sum(copied), what: `the store of ${title}` }]);
  } catch (error) {
    if (!(error instanceof ModeldlError)) throw error;
    const { code, message, cause, details } = error;
    throw new ModeldlError(code, message, {
      hint: 'free space there, or pass `--no-space-check`',
      cause,
      details,
    });
  }
}

/** @returns whether its bytes are shared */
async function placeContent(directory: string, content: RegisteredContent, linker: Linker): Promise<boolean> {
  const { path, from } = content;
  const target = join(directory, path);
  await makeParents(directory, path);
  const temporary = join(dirname(target), `.modeldl-${uniqueName()}`);
  try {
    let mode: LinkMode = 'copy';
    if (typeof from !== 'string') await writeFile(temporary, from, { flag: 'wx' });
    else if (await isReadableThere(directory, from)) mode = await linker.place(from, temporary);
    else mode = await createLinker(['reflink', 'copy']).place(from, temporary);
    // A hard link is a name of the stored file, whose owner and mode stay.
    if (mode !== 'hardlink') await handOver(directory, temporary, FILE_MODE);
    await rename(temporary, target);
    return mode !== 'copy';
  } finally {
    // A rename between two links to the same bytes leaves both.
    await rm(temporary, { force: true });
  }
}

/** May whom the store belongs to read the file, which keeps its mode as a link? */
async function isReadableThere(directory: string, file: string): Promise<boolean> {
  const [store, found] = [await stat(directory), await stat(file)];
  if (store.uid === found.uid || store.uid === 0) return true;
  const needed = store.gid === found.gid ? constants.S_IRGRP : constants.S_IROTH;
  return (found.mode & needed) !== 0;
}

async function makeParents(directory: string, path: string): Promise<void> {
  const parents: string[] = [];
  for (let parent = dirname(join(directory, path)); !(await isDirectory(parent)); parent = dirname(parent))
    parents.unshift(parent);
  for (const parent of parents) {
    await makeDirectories(parent);
    await handOver(dirname(parent), parent, DIRECTORY_MODE);
  }
}

/** Gives what was written here to whom the store belongs, as an administrator can, so that its program may remove it. */
async function handOver(owner: string, path: string, mode: number): Promise<void> {
  await chmod(path, mode);
  const [{ uid, gid }, written] = [await stat(owner), await stat(path)];
  if (written.uid === uid) return;
  await chown(path, uid, gid).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'EPERM') throw error;
  });
}

/** Throws EEXIST when another model has the name by now. */
async function writeEntry({ directory, entry }: Registration, path: string, replace: boolean): Promise<void> {
  await makeParents(directory, entry.path);
  const temporary = join(directory, `.modeldl-${uniqueName()}`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(entry.bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await handOver(directory, temporary, FILE_MODE);
    if (!replace && (await named(temporary, path))) return;
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** A name that must be new; false where there are no links. Throws EEXIST. */
async function named(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST' || systemErrorCode(error) === 'ENOSPC') throw error;
    return false;
  }
}

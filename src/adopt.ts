/**
 * Bytes that are on this machine already: in the caches of other tools, which name files by their sha256. What a listing
 * promises by that digest is taken from there, hashed as it is, instead of being fetched.
 */
import { readdir, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { platform } from 'node:process';
import type { Context } from './context.js';
import type { Emit } from './events.js';
import type { PromisedBytes, TakeOptions } from './store/take.js';
import type { LinkMode } from './store/link.js';

/** A place with bytes by their sha256. */
export interface BlobSource {
  /** For messages: `the Hugging Face cache`. */
  readonly title: string;
  readonly directory: string;
  /** Tells what is wrong there, where that is not told for each file. */
  readonly emit?: Emit;
  /** Path of what is said to have this sha256, if it is there. */
  find(sha256: string): Promise<string | undefined>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the ollama service of Linux packages keeps its models. */
const OLLAMA_SERVICE = '/usr/share/ollama/.ollama/models';

/** Caches of other tools, by the variables that these read. */
export function otherTools(environment: Environment, home: string): readonly BlobSource[] {
  const expand = (path: string): string => (path.startsWith('~/') ? join(home, path.slice(2)) : path);
  const set = (name: string): string | undefined => {
    const value = environment[name]?.trim();
    // A relative one would mean another place in every directory.
    return value === undefined || !isAbsolute(expand(value)) ? undefined : expand(value);
  };
  const cacheHome = set('XDG_CACHE_HOME') ?? join(home, '.cache');
  const hub =
    set('HF_HUB_CACHE') ??
    set('HUGGINGFACE_HUB_CACHE') ??
    join(set('HF_HOME') ?? join(cacheHome, 'huggingface'), 'hub');
  const ollama = [set('OLLAMA_MODELS') ?? join(home, '.ollama', 'models')];
  if (platform === 'linux') ollama.push(OLLAMA_SERVICE);
  return [huggingFaceCache(hub), ...[...new Set(ollama)].map(ollamaStore)];
}

/**
 * `models--<org>--<name>/blobs/<digest>`: files of Git LFS and Xet are named by their sha256, others by their Git
 * digest. Newer versions may have a link to a place for all models there.
 */
function huggingFaceCache(directory: string): BlobSource {
  return indexed('the Hugging Face cache', directory, /^[0-9a-f]{64}$/, async () => {
    const repositories = (await names(directory)).filter((name) => name.startsWith('models--'));
    return repositories.map((name) => join(directory, name, 'blobs'));
  });
}

/** `blobs/sha256-<hex>`, as `ollama pull` and `ollama create` write it by rename. */
function ollamaStore(directory: string): BlobSource {
  return indexed('the Ollama store', directory, /^sha256-[0-9a-f]{64}$/, () =>
    Promise.resolve([join(directory, 'blobs')]),
  );
}

/** A source whose directories are read once, when they are first needed, since most of what is looked for is not there. */
function indexed(
  title: string,
  directory: string,
  pattern: RegExp,
  blobDirectories: () => Promise<readonly string[]>,
): BlobSource {
  const read = async (): Promise<ReadonlyMap<string, string>> => {
    const paths = new Map<string, string>();
    for (const blobs of await blobDirectories()) {
      for (const name of await names(blobs)) {
        if (pattern.test(name)) paths.set(name.replace('sha256-', ''), join(blobs, name));
      }
    }
    return paths;
  };
  let index: ReturnType<typeof read> | undefined;
  return { title, directory, find: async (sha256) => (await (index ??= read())).get(sha256) };
}

/** What is not there, or not for us to read, holds nothing. */
function names(directory: string): Promise<readonly string[]> {
  return readdir(directory).catch(() => []);
}

/** Is this there, by its name and size? Nothing is hashed. */
export async function isElsewhere(sources: readonly BlobSource[], promised: PromisedBytes): Promise<boolean> {
  return (await sized(sources, promised)).length > 0;
}

/** Can these bytes be had without space for them: by a link, or by sharing blocks? */
export async function costsNothing(
  context: Context,
  sources: readonly BlobSource[],
  promised: PromisedBytes,
): Promise<boolean> {
  const found = await sized(sources, promised);
  if (found.length === 0) return false;
  const { canShare } = await import('./store/take.js');
  for (const { path } of found) if (await canShare(context.store, path)) return true;
  return false;
}

export interface Adopted {
  readonly bytes: number;
  readonly source: BlobSource;
  readonly mode: LinkMode;
}

/** What a blob is made for. */
export interface AdoptedFor extends Pick<TakeOptions, 'signal' | 'beforeKept'> {
  readonly reference: string;
  /** Of the file in the tree. */
  readonly path: string;
}

/**
 * Makes a blob of the first that is what it is said to be, and tells how far that is.
 * @throws ModeldlError DISK, INTERRUPTED
 */
export async function adopt(
  context: Context,
  sources: readonly BlobSource[],
  promised: PromisedBytes,
  { reference, path: file, ...given }: AdoptedFor,
): Promise<Adopted | undefined> {
  const options: TakeOptions = {
    ...given,
    onStart: (bytes) => {
      context.emit({ type: 'file-start', reference, path: file, resumedBytes: 0, bytes });
    },
    onProgress: (receivedBytes) => {
      context.emit({ type: 'file-progress', reference, path: file, receivedBytes });
    },
  };
  for (const { source, path } of await candidates(sources, promised)) {
    // Loaded when there is something: most pulls find nothing.
    const { takeFile } = await import('./store/take.js');
    const taken = await takeFile(context.store, path, promised, options);
    if (taken === 'wrong') {
      const message = `Not what its name says in ${source.title}, and not used: ${path}`;
      (source.emit ?? context.emit)({ type: 'note', message });
    } else if (taken !== undefined) {
      const { bytes } = taken;
      context.emit({ type: 'file-done', reference, path: file, bytes, sha256: promised.sha256 });
      return { ...taken, source };
    }
  }
  return undefined;
}

interface Candidate {
  readonly source: BlobSource;
  readonly path: string;
}

async function candidates(
  sources: readonly BlobSource[],
  { sha256 }: PromisedBytes,
): Promise<readonly Candidate[]> {
  const found: Candidate[] = [];
  for (const source of sources) {
    const path = await source.find(sha256);
    if (path !== undefined) found.push({ source, path });
  }
  return found;
}

/** Those that may well be what they are said to be. */
async function sized(sources: readonly BlobSource[], promised: PromisedBytes): Promise<readonly Candidate[]> {
  const right: Candidate[] = [];
  for (const candidate of await candidates(sources, promised)) {
    const found = await stat(candidate.path).catch(() => undefined);
    if (found?.isFile() === true && (promised.bytes ?? found.size) === found.size) right.push(candidate);
  }
  return right;
}

/** Tells what was adopted, once for each place and way. */
export function tellAdopted(context: Context, adopted: readonly Adopted[]): void {
  const counts = new Map<string, number>();
  for (const { source, mode } of adopted) {
    const text = `${mode === 'copy' ? 'copied' : 'linked'} from ${source.title}: ${source.directory}`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  for (const [text, count] of counts) {
    const files = count === 1 ? '1 file was' : `${count} files were`;
    context.emit({ type: 'note', message: `Instead of being fetched, ${files} ${text}` });
  }
}

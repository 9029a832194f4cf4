/** Which files of a listing are taken. Pure. */
import { distance } from 'fastest-levenshtein';
import { ModeldlError } from './errors.js';

export interface SelectOptions {
  readonly subpath?: string | undefined;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Weaker copies of the same weights too. */
  readonly allFiles: boolean;
  /** Which of several GGUF quantizations. */
  readonly quant?: string | undefined;
}

export interface ListedFile {
  readonly path: string;
  /** Bytes. */
  readonly size?: number | undefined;
}

export interface Chosen<File extends ListedFile> {
  /** Path in the tree: below the subpath. */
  readonly path: string;
  readonly file: File;
}

export interface Selection<File extends ListedFile> {
  readonly chosen: readonly Chosen<File>[];
  /** Weaker copies that were left out, by path in the listing. */
  readonly leftOut: readonly File[];
  /** The subpath named exactly this file of the tree. */
  readonly single?: string;
  /** Every file of the listing was chosen, under its own path. */
  readonly complete: boolean;
}

/**
 * Applies subpath, globs and the defaults, in that order.
 * @throws ModeldlError NOT_FOUND when nothing matches, USAGE when a quantization has to be named
 */
export function select<File extends ListedFile>(
  files: readonly File[],
  options: SelectOptions,
): Selection<File> {
  const { candidates, single } = below(files, options.subpath);
  let taken = candidates;
  if (options.include.length > 0) {
    taken = taken.filter(({ path }) => options.include.some((glob) => matches(glob, path)));
    if (taken.length === 0)
      throw nothingMatches(
        '--include',
        options.include,
        candidates.map(({ path }) => path),
      );
  }
  if (options.exclude.length > 0) {
    taken = taken.filter(({ path }) => !options.exclude.some((glob) => matches(glob, path)));
    if (taken.length === 0) throw nothingLeft(options.exclude);
  }
  let leftOut: readonly File[] = [];
  if (single === undefined) {
    if (!options.allFiles && options.include.length === 0) {
      const weaker = weakerCopies(taken.map(({ path }) => path));
      leftOut = taken.filter(({ path }) => weaker.has(path)).map(({ file }) => file);
      taken = taken.filter(({ path }) => !weaker.has(path));
    }
    taken = chooseQuantization(taken, options);
  }
  const complete = taken.length === files.length && options.subpath === undefined;
  return { chosen: taken, leftOut, complete, ...(single === undefined ? {} : { single }) };
}

/** The files of a subpath, by their paths in the tree. @throws ModeldlError NOT_FOUND */
export function below<File extends ListedFile>(
  files: readonly File[],
  subpath: string | undefined,
): { candidates: readonly Chosen<File>[]; single?: string } {
  if (subpath === undefined) return { candidates: files.map((file) => ({ path: file.path, file })) };
  const exact = files.find((file) => file.path === subpath);
  if (exact !== undefined) {
    const name = subpath.slice(subpath.lastIndexOf('/') + 1);
    return { candidates: [{ path: name, file: exact }], single: name };
  }
  const inside = files.filter((file) => file.path.startsWith(`${subpath}/`));
  if (inside.length > 0) {
    return { candidates: inside.map((file) => ({ path: file.path.slice(subpath.length + 1), file })) };
  }
  throw new ModeldlError('NOT_FOUND', `Nothing at \`//${subpath}\` in this model`, {
    hint: `nearest: ${nearest(
      subpath,
      files.map((file) => file.path),
    ).join(', ')}`,
    details: { file: subpath },
  });
}

function nearest(wanted: string, paths: readonly string[]): readonly string[] {
  const base = wanted.slice(wanted.lastIndexOf('/') + 1).toLowerCase();
  const ending = /\.[^.]+$/.exec(base)?.[0] ?? '';
  const score = (path: string): number => {
    const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
    const difference = Math.min(distance(wanted.toLowerCase(), path.toLowerCase()), distance(base, name));
    // Whoever names a kind of file means a file of that kind.
    return name.endsWith(ending) ? difference : difference + wanted.length;
  };
  return [...paths].sort((a, b) => score(a) - score(b)).slice(0, 3);
}

function nothingMatches(option: string, globs: readonly string[], paths: readonly string[]): ModeldlError {
  return new ModeldlError('NOT_FOUND', `No file matches ${option} ${globs.join(', ')}`, {
    hint: `the model holds ${paths.length} files, for example ${paths.slice(0, 3).join(', ')}`,
  });
}

function nothingLeft(globs: readonly string[]): ModeldlError {
  return new ModeldlError('NOT_FOUND', `--exclude ${globs.join(', ')} leaves no file`, {
    hint: 'exclude less; globs are as `hf download` has them, so `*` crosses `/`',
  });
}

/** Python's `fnmatch.fnmatchcase`, as `hf download` uses it: `*` crosses `/`, a trailing `/` means the folder. */
export function matches(glob: string, path: string): boolean {
  return fnmatchPattern(glob.endsWith('/') ? `${glob}*` : glob).test(path);
}

/** A glob that matches exactly this path. */
export function literalGlob(path: string): string {
  return path.replace(/[[*?]/g, '[$&]');
}

const META = /[\\^$.*+?()[\]{}|/]/g;

function fnmatchPattern(glob: string): RegExp {
  let source = '';
  for (let at = 0; at < glob.length; at += 1) {
    const character = glob.charAt(at);
    if (character === '*') source += '[^]*';
    else if (character === '?') source += '[^]';
    else if (character === '[') {
      const end = classEnd(glob, at);
      if (end < 0) source += '\\[';
      else {
        source += characterClass(glob.slice(at + 1, end));
        at = end;
      }
    } else source += character.replace(META, '\\$&');
  }
  return new RegExp(`^(?:${source})$`, 'u');
}

/** Index of the `]` that closes a class, which does not count as such in first place; -1 when there is none. */
function classEnd(glob: string, open: number): number {
  let at = open + 1;
  if (glob[at] === '!') at += 1;
  if (glob[at] === ']') at += 1;
  return glob.indexOf(']', at);
}

/** A class by Python's rules: reversed ranges are empty, `!` first negates, everything else is literal. */
function characterClass(body: string): string {
  const negated = body.startsWith('!');
  const text = Array.from(negated ? body.slice(1) : body);
  const literal = (character: string): string => character.replace(/[\\\]^-]/g, '\\$&');
  let inside = '';
  for (let at = 0; at < text.length; at += 1) {
    const from = text[at] ?? '';
    const to = text[at + 2];
    if (text[at + 1] === '-' && to !== undefined) {
      if (from <= to) inside += `${literal(from)}-${literal(to)}`;
      at += 2;
    } else inside += literal(from);
  }
  if (inside === '') return negated ? '[^]' : '(?!)';
  return `[${negated ? '^' : ''}${inside}]`;
}

/**
 * The role that a weights file plays in its directory, or undefined for other files. Two files of one role in one
 * directory are the same weights in two formats.
 */
function weightsRole(name: string): { role: string; safe: boolean } | undefined {
  const safe = /^(.+?)(-\d{5}-of-\d{5})?\.safetensors(\.index(\.[a-z0-9]+)?\.json)?$/.exec(name);
  if (safe?.[1] !== undefined) return { role: roleOf(safe[1]), safe: true };
  const pickle = /^(.+?)(-\d{5}-of-\d{5})?\.(bin|pt|pth|ckpt)(\.index(\.[a-z0-9]+)?\.json)?$/.exec(name);
  if (pickle?.[1] !== undefined) return { role: roleOf(pickle[1]), safe: false };
  const other = /^(.+?)(-\d{5}-of-\d{5})?\.(h5|msgpack|ot)(\.index\.json)?$/.exec(name);
  if (other?.[1] !== undefined) return { role: roleOf(other[1]), safe: false };
  return undefined;
}

/** transformers calls the same weights `model` in safetensors and by the framework's name elsewhere. */
function roleOf(stem: string): string {
  return stem.replace(/^(pytorch_model|tf_model|flax_model|rust_model)(?=$|\.)/, 'model');
}

/** Pickle, TensorFlow, Flax and Rust weights whose directory holds safetensors in the same role. */
export function weakerCopies(paths: readonly string[]): ReadonlySet<string> {
  const safe = new Set<string>();
  const weak = new Map<string, string>();
  for (const path of paths) {
    const slash = path.lastIndexOf('/');
    const found = weightsRole(path.slice(slash + 1));
    if (found === undefined) continue;
    const key = `${path.slice(0, slash + 1)}\0${found.role}`;
    if (found.safe) safe.add(key);
    else weak.set(path, key);
  }
  return new Set([...weak].filter(([, key]) => safe.has(key)).map(([path]) => path));
}

const QUANTIZATION =
  /(?:^|[-._/])((?:U?D-)?(?:I?Q[1-8](?:_[0-9A-Z]+)*|T?Q[12]_0|BF16|F16|F32|FP16|FP32|MXFP4(?:_MOE)?))(?=$|[-._/])/gi;

/** The quantization that a GGUF file's path names, upper case; the last such word counts. */
export function quantizationOf(path: string): string | undefined {
  if (!/\.gguf$/i.test(path) || /(^|\/)mmproj[^/]*$/i.test(path)) return undefined;
  const stem = path.replace(/(-\d{5}-of-\d{5})?\.gguf$/i, '');
  let last: string | undefined;
  for (const found of stem.matchAll(QUANTIZATION)) last = found[1];
  return last?.toUpperCase();
}

/** The quantizations among GGUF files, with their sizes in bytes. */
export function quantizations(files: readonly ListedFile[]): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  for (const file of files) {
    const name = quantizationOf(file.path);
    if (name !== undefined) sizes.set(name, (sizes.get(name) ?? 0) + (file.size ?? 0));
  }
  return sizes;
}

function chooseQuantization<File extends ListedFile>(
  taken: readonly Chosen<File>[],
  options: SelectOptions,
): readonly Chosen<File>[] {
  const available = quantizations(taken.map(({ file }) => file));
  const listed = [...available.keys()].sort();
  if (options.quant !== undefined) {
    const wanted = options.quant.toUpperCase();
    if (!available.has(wanted)) {
      throw new ModeldlError('USAGE', `No such quantization in this model: ${options.quant}`, {
        hint: listed.length === 0 ? 'the model has no GGUF quantizations' : `available: ${listed.join(', ')}`,
      });
    }
    return taken.filter(({ file }) => [undefined, wanted].includes(quantizationOf(file.path)));
  }
  if (available.size < 2 || options.allFiles || options.include.length > 0) return taken;
  throw new ModeldlError('USAGE', `The model holds ${available.size} quantizations: ${listed.join(', ')}`, {
    hint: 'choose one with `--quant NAME`, or take everything with `--all-files`',
    details: { quantizations: Object.fromEntries(available) },
  });
}

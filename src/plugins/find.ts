/** From the name of a plugin in a configuration file to the module that it is, without running anything of it. */
import { createHash } from 'node:crypto';
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import * as v from 'valibot';
import { ModeldlError, systemErrorCode } from '../errors.js';
import { looksLikePath } from '../reference.js';

export interface FoundPlugin {
  /** Of its package, else of its file. */
  readonly name: string;
  /** Of its package; null for a module without one. */
  readonly version: string | null;
  /** Absolute path of the module. */
  readonly entry: string;
  /** Absolute path of what trust is given to: the package's directory, or the module's file. */
  readonly path: string;
}

/** Bound on a manifest, bytes. */
const MAX_MANIFEST = 1024 * 1024;

const manifestSchema = v.looseObject({
  name: v.optional(v.string()),
  version: v.optional(v.string()),
  main: v.optional(v.string()),
  exports: v.optional(v.unknown()),
});

/**
 * @param from absolute path of the configuration file that names it
 * @throws ModeldlError NOT_FOUND when there is no such package or file, CONFIG when it is no plugin by its looks
 */
export async function findPlugin(specifier: string, from: string): Promise<FoundPlugin> {
  if (!looksLikePath(specifier)) return packageAt(await packageDirectory(specifier, from));
  const path = resolve(dirname(from), specifier);
  const found = await stat(path).catch((error: unknown) => {
    throw new ModeldlError('NOT_FOUND', `There is no file ${path}`, {
      hint: `correct the path in \`plugins\` of ${from}: it is relative to that file`,
      cause: error,
      details: { file: path },
    });
  });
  if (found.isDirectory()) return packageAt(path);
  return { name: basename(path), version: null, entry: path, path: await realpath(path) };
}

/** As Node.js looks for it from the configuration file, then beside modeldl itself, where `npm install -g` puts both. */
async function packageDirectory(name: string, from: string): Promise<string> {
  for (const start of [dirname(from), import.meta.dirname]) {
    for (let directory = start; ; directory = dirname(directory)) {
      const candidate = join(directory, 'node_modules', name);
      const manifest = await stat(join(candidate, 'package.json')).catch(() => undefined);
      if (manifest?.isFile() === true) return candidate;
      if (dirname(directory) === directory) break;
    }
  }
  throw new ModeldlError('NOT_FOUND', `The package ${name} is not installed`, {
    hint: `run \`npm install ${name}\` in ${dirname(from)}, or take it out of \`plugins\` in ${from}`,
    details: { file: from },
  });
}

async function packageAt(directory: string): Promise<FoundPlugin> {
  const file = join(directory, 'package.json');
  const refuse = (why: string, cause?: unknown): ModeldlError =>
    new ModeldlError('CONFIG', `${file} ${why}`, {
      hint: 'a plugin is a module file, or a package whose `exports` or `main` names one',
      cause,
      details: { file },
    });
  let manifest: v.InferOutput<typeof manifestSchema>;
  try {
    const text = await readFile(file, 'utf8');
    if (text.length > MAX_MANIFEST) throw new Error(`it is longer than ${MAX_MANIFEST} bytes`);
    manifest = v.parse(manifestSchema, JSON.parse(text));
  } catch (error) {
    const missing = systemErrorCode(error) === 'ENOENT';
    throw refuse(missing ? 'is missing' : 'is no manifest of a package', error);
  }
  const target =
    manifest.exports === undefined ? (manifest.main ?? 'index.js') : exportedModule(manifest.exports);
  if (target === undefined) throw refuse('exports no module that can be imported');
  const entry = resolve(directory, target);
  const inside = relative(directory, entry);
  if (inside.startsWith('..') || isAbsolute(inside))
    throw refuse(`exports a module outside of it: ${target}`);
  const { name = basename(directory), version = null } = manifest;
  return { name, version, entry, path: await realpath(directory) };
}

/** Conditions that hold when a module is imported. */
const CONDITIONS = new Set(['.', 'node', 'import', 'module-sync', 'default']);

/** What `exports` of a manifest gives for the package's own name: the first condition that holds, as Node.js has it. */
function exportedModule(exported: unknown): string | undefined {
  if (typeof exported === 'string') return exported;
  if (typeof exported !== 'object' || exported === null) return undefined;
  const entries = Array.isArray(exported)
    ? exported.map((inner: unknown) => inner)
    : Object.entries(exported).flatMap(([key, inner]: [string, unknown]) =>
        CONDITIONS.has(key) ? [inner] : [],
      );
  for (const inner of entries) {
    const module = exportedModule(inner);
    if (module !== undefined) return module;
  }
  return undefined;
}

/**
 * sha256 over what a plugin is made of: its file, or every file of its package's directory, and what these import by a
 * relative path, wherever it lies. Packages that it depends on are installed by npm and are no part of it.
 */
export async function pluginDigest({ path, entry }: FoundPlugin): Promise<string> {
  const listed = (await stat(path)).isFile() ? [] : await filesBelow(path);
  const files = new Map(listed.map((file) => [file.path, file]));
  // What was read and trusted says itself what it imports: an import that is added to it is a change of it.
  const reached = await realFile(entry);
  const waiting = [...files.values()].filter(({ link }) => !link).map((file) => file.path);
  if (reached !== undefined) waiting.push(reached);
  const seen = new Set<string>();
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    files.set(next, { path: next, link: false });
    if (MODULE.test(next)) waiting.push(...(await importedBy(next)));
  }
  const hash = createHash('sha256');
  for (const file of [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    hash.update(`${relative(path, file.path).split(sep).join('/')}\0`);
    // What a link leads to is named, not followed, unless it is imported: it may be anything.
    hash.update(file.link ? `link ${await readlink(file.path)}` : await readFile(file.path));
    hash.update('\0');
  }
  return hash.digest('hex');
}

const MODULE = /\.[cm]?[jt]s$/;

/** Where a module names another by a relative path: `import`, `export … from`, `require`, `new URL`. */
const RELATIVE_IMPORT =
  /(?:\bfrom|\bimport|\brequire|\bURL)\s*\(?\s*(?:\/\*.*?\*\/\s*)?(['"`])(\.{1,2}(?:\/[^'"`\n]*)?)\1/g;

/** What Node.js tries after a path, for `require` at least. */
const ENDINGS = ['', '.js', '.json', '.node', '/index.js', '/index.json'];

/** Real paths of the files that a module imports by relative paths, as far as its text tells. */
async function importedBy(module: string): Promise<readonly string[]> {
  const text = await readFile(module, 'utf8');
  const found: string[] = [];
  for (const [, , specifier = ''] of text.matchAll(RELATIVE_IMPORT)) {
    const [path = ''] = specifier.split(/[?#]/);
    for (const ending of ENDINGS) {
      const file = await realFile(resolve(dirname(module), decoded(path) + ending));
      if (file === undefined) continue;
      found.push(file);
      break;
    }
  }
  return found;
}

/** Specifiers of ECMAScript modules are addresses. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function realFile(path: string): Promise<string | undefined> {
  try {
    const real = await realpath(path);
    return (await stat(real)).isFile() ? real : undefined;
  } catch {
    // What is not there cannot be imported.
    return undefined;
  }
}

async function filesBelow(directory: string): Promise<readonly { path: string; link: boolean }[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const files: { path: string; link: boolean }[] = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name);
    if (entry.isSymbolicLink()) files.push({ path, link: true });
    else if (entry.isFile()) files.push({ path, link: false });
    else if (entry.isDirectory() && entry.name !== 'node_modules' && entry.name !== '.git')
      files.push(...(await filesBelow(path)));
  }
  return files;
}

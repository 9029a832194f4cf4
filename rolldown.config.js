/**
 * The package as it is published: three entries and the chunks that they load when they need them, instead of a file for
 * every module, which each cost a start. `tsc` has checked the code and written the declarations before.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { defineConfig } from 'rolldown';

const DIST = resolve(import.meta.dirname, 'dist');
const REQUIREMENTS = resolve(import.meta.dirname, 'converters/requirements');
/** As `exports` in package.json names them. */
const DECLARED = ['src/index.d.ts', 'test/testing.d.ts'];

/** Declarations that these files are made of, by their paths below `dist`. */
async function reachable(entries) {
  const found = new Set();
  const waiting = entries.map((entry) => join(DIST, entry));
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    const text = await readFile(file, 'utf8');
    for (const [, path] of text.matchAll(/(?:from|import\()\s*['"](\.[^'"]+)\.js['"]/g))
      waiting.push(resolve(dirname(file), `${path}.d.ts`));
  }
  return [...found].map((file) => relative(DIST, file));
}

/**
 * All requirement files in one: hashes do not compress, but most of them are in several files, and further apart than
 * the tarball's compression looks.
 */
async function packRequirements() {
  const names = (await readdir(REQUIREMENTS)).filter((name) => name.endsWith('.txt')).sort();
  const texts = await Promise.all(names.map((name) => readFile(join(REQUIREMENTS, name), 'utf8')));
  const text = JSON.stringify(Object.fromEntries(names.map((name, index) => [name, texts[index]])));
  const params = {
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: text.length,
  };
  await writeFile(join(DIST, 'requirements.br'), brotliCompressSync(text, { params }));
  return 'requirements.br';
}

/** Runs at build and is not published: it writes the manual pages by the commands that were built. */
const MANUAL = 'manual';

async function writeManual() {
  const { manualPages } = await import(pathToFileURL(join(DIST, `${MANUAL}.js`)).href);
  const { version } = JSON.parse(await readFile(resolve(import.meta.dirname, 'package.json'), 'utf8'));
  await mkdir(join(DIST, 'man'), { recursive: true });
  const pages = await manualPages(version);
  for (const [name, text] of pages) await writeFile(join(DIST, 'man', name), text);
  return [...pages.keys()].map((name) => `man/${name}`);
}

export default defineConfig({
  input: {
    'bin/modeldl': 'bin/modeldl.ts',
    'src/index': 'src/index.ts',
    'test/testing': 'test/testing.ts',
    [MANUAL]: 'src/cli/manual/pages.ts',
  },
  platform: 'node',
  external: /^[^./]/,
  output: {
    dir: DIST,
    format: 'esm',
    // As deep as `src/plugins`, which finds `src/index.js` from itself.
    chunkFileNames: 'src/chunks/[name]-[hash].js',
    // Stacks in reports of bugs have to be readable.
    minify: 'dce-only',
    comments: false,
  },
  plugins: [
    {
      name: 'what is not published goes',
      async writeBundle(_options, bundle) {
        const kept = new Set([
          ...Object.keys(bundle),
          ...(await reachable(DECLARED)).map((path) => path.replaceAll('\\', '/')),
          await packRequirements(),
          ...(await writeManual()),
        ]);
        kept.delete(`${MANUAL}.js`);
        for (const entry of await readdir(DIST, { recursive: true, withFileTypes: true })) {
          const path = relative(DIST, join(entry.parentPath, entry.name)).replaceAll('\\', '/');
          if (!entry.isDirectory() && !kept.has(path)) await rm(join(DIST, path));
        }
      },
    },
  ],
});

/**
 * The sources as JavaScript, for child processes of tests: Node 20 runs no TypeScript, and `dist/` may be older than
 * what is being tested. Each file is transpiled on its own, which `isolatedModules` makes possible.
 */
import { mkdtemp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Built {
  readonly directory: string;
  readonly remove: () => Promise<void>;
}

/**
 * Transpiles folders of the repository (`src/store`) and single files (`src/errors.ts`), keeping their paths.
 * @returns a directory to import from, inside `node_modules` so that packages resolve, and what removes it
 */
export async function transpile(paths: readonly string[]): Promise<Built> {
  const cache = join(ROOT, 'node_modules/.cache');
  await mkdir(cache, { recursive: true });
  const directory = await mkdtemp(join(cache, 'modeldl-test-'));
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  for (const path of paths) {
    for (const file of await sources(join(ROOT, path))) {
      const { outputText } = ts.transpileModule(await readFile(file, 'utf8'), {
        compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
      });
      const target = join(directory, relative(ROOT, file).replace(/\.ts$/, '.js'));
      await mkdir(dirname(target), { recursive: true });
      await writeFile(target, outputText);
    }
  }
  return { directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

async function sources(path: string): Promise<readonly string[]> {
  if (path.endsWith('.ts')) return [path];
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
}

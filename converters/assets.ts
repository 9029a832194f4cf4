/** Files that ship with modeldl beside its code: Python workers and requirement locks. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Absolute path of a file below `converters/` of the package. The code runs from `converters/` in tests and from
 * `dist/converters/` when built; the files lie in the former, at the root of the package.
 */
export function assetPath(...parts: readonly string[]): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (const root of [here, join(here, '..', '..', 'converters')]) {
    const path = join(root, ...parts);
    if (existsSync(path)) return path;
  }
  throw new Error(`The installation of modeldl is incomplete: ${parts.join('/')} is missing`);
}

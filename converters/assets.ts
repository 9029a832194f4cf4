/** Files that ship with modeldl beside its code: Python workers and requirement locks. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import * as v from 'valibot';
import { systemErrorCode } from '../src/errors.js';

const here = dirname(fileURLToPath(import.meta.url));
/** The code runs from `converters/` in tests, and from `dist/src/chunks/` when built. */
const PACKAGE = join(here, '..', '..', '..');

/** Absolute path of a file below `converters/` of the package, which lies at its root. */
export function assetPath(...parts: readonly string[]): string {
  for (const root of [here, join(PACKAGE, 'converters')]) {
    const path = join(root, ...parts);
    if (existsSync(path)) return path;
  }
  throw incomplete(parts.join('/'));
}

function incomplete(what: string): Error {
  return new Error(`The installation of modeldl is incomplete: ${what} is missing`);
}

const requirementTexts = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string()));

/** Text of a requirement file, by its name without `.txt`. What is built has all of them in one (`rolldown.config.js`). */
export async function requirementText(name: string): Promise<string> {
  const file = `${name}.txt`;
  const own = join(here, 'requirements', file);
  if (existsSync(own)) return readFile(own, 'utf8');
  packed ??= unpack();
  const text = (await packed)[file];
  if (text === undefined) throw incomplete(`requirements/${file}`);
  return text;
}

/** What is packed in one, unpacked once: each toolchain asks for its own several times. */
let packed: Promise<Readonly<Record<string, string>>> | undefined;

async function unpack(): Promise<Readonly<Record<string, string>>> {
  const bytes = await readFile(join(PACKAGE, 'dist', 'requirements.br')).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (bytes === undefined) return {};
  return v.parse(requirementTexts, (await promisify(brotliDecompress)(bytes)).toString('utf8'));
}

/** The user's own configuration file: reading and changing single values. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { configSchema } from './schema.js';
import { writePrivate } from './trust.js';

const documentSchema = v.record(v.string(), v.unknown());
type Document = v.InferOutput<typeof documentSchema>;

/** The file that `config set` writes, with its content; empty when there is none. @throws ModeldlError CONFIG */
export async function readUserConfig(directory: string): Promise<{ path: string; document: Document }> {
  const path = join(directory, 'config.json');
  try {
    return { path, document: v.parse(documentSchema, JSON.parse(await readFile(path, 'utf8'))) };
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return { path, document: {} };
    throw new ModeldlError('CONFIG', `Cannot parse the configuration file: ${path}`, {
      cause: error,
      details: { file: path },
    });
  }
}

/**
 * Sets `a.b.c` to a value: JSON where it parses as such, else text.
 * @returns path of the file
 * @throws ModeldlError CONFIG when the key or the value is not one of the configuration's
 */
export async function setUserValue(directory: string, key: string, text: string): Promise<string> {
  const { path, document } = await readUserConfig(directory);
  const changed = withValue(document, key.split('.'), parseValue(text));
  const result = v.safeParse(configSchema, changed);
  if (!result.success) {
    const [issue] = result.issues;
    throw new ModeldlError(
      'CONFIG',
      `Cannot set ${key} to ${text}: expected ${issue.expected ?? 'another value'}`,
      {
        hint: 'README.md lists the keys and their values',
        details: { file: path, key },
      },
    );
  }
  await writePrivate(path, changed);
  return path;
}

function withValue(document: Document, [key, ...rest]: readonly string[], value: unknown): Document {
  if (key === undefined || key === '' || key === '__proto__') {
    throw new ModeldlError('CONFIG', 'Expected a key such as convert.precision');
  }
  if (rest.length === 0) return { ...document, [key]: value };
  const inner = v.safeParse(documentSchema, document[key] ?? {});
  return { ...document, [key]: withValue(inner.success ? inner.output : {}, rest, value) };
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A first project file. @throws ModeldlError USAGE when there is one */
export async function writeExample(path: string): Promise<string> {
  const example = { convert: { precision: 'int8', device: 'CPU' }, jobs: 4 };
  try {
    await writeFile(path, `${JSON.stringify(example, null, 2)}\n`, { flag: 'wx' });
    return path;
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw diskError(error, path);
    throw new ModeldlError('USAGE', `The file exists already: ${path}`, {
      hint: 'edit it, or remove it first',
    });
  }
}

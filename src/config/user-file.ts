/** The user's own configuration file: reading and changing single values. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { diskError, ModeldlError, systemErrorCode } from '../errors.js';
import { checkConfig, exists, USER_FILES } from './load.js';
import { DEFAULTS, type Config, type ConfigSchema } from './schema.js';
import { writePrivate } from './trust.js';

const documentSchema = v.record(v.string(), v.unknown());
type Document = v.InferOutput<typeof documentSchema>;

/** The user's file: the one that is there, else the one that `config set` makes. */
export async function userConfigPath(directory: string): Promise<string> {
  for (const name of USER_FILES) {
    const path = join(directory, name);
    if (await exists(path)) return path;
  }
  return join(directory, USER_FILES[0]);
}

async function readDocument(path: string): Promise<Document> {
  if (!path.endsWith('.json')) {
    throw new ModeldlError('CONFIG', `\`modeldl config set\` writes JSON, and your file is YAML: ${path}`, {
      hint: 'edit it, or rewrite it as `config.json`',
      details: { file: path },
    });
  }
  try {
    return v.parse(documentSchema, JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return {};
    throw new ModeldlError('CONFIG', `Cannot parse the configuration file: ${path}`, {
      hint: 'correct it, or move it away',
      cause: error,
      details: { file: path },
    });
  }
}

/**
 * Sets `a.b.c` to a value: what JSON reads it as where the key takes that, else text.
 * @returns path of the file
 * @throws ModeldlError CONFIG when the key or the value is not one of the configuration's
 */
export async function setUserValue(
  directory: string,
  key: string,
  text: string,
  schema: ConfigSchema,
): Promise<string> {
  const path = await userConfigPath(directory);
  const document = await readDocument(path);
  // Names of toolchains have dots.
  const keys = /^(toolchains)\.(interpreters)\.(.+)$/.exec(key)?.slice(1) ?? key.split('.');
  const asText = withValue(document, keys, text);
  const changed = v.is(schema, asText) ? asText : withValue(document, keys, parseValue(text));
  checkConfig(path, 'user', changed, schema, key);
  await writePrivate(path, changed);
  return path;
}

function withValue(document: Document, [key, ...rest]: readonly string[], value: unknown): Document {
  if (key === undefined || key === '' || key === '__proto__') {
    throw new ModeldlError('CONFIG', 'Expected a key such as convert.precision', {
      hint: '`modeldl config list` shows keys that have a value, README.md all',
    });
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

/** A first project file: what a project may set without being trusted, as it is by default but for what is given. */
export function exampleConfig(given: Config['convert'] = {}): string {
  const convert = { ...DEFAULTS.convert, ...given };
  const example = { $schema: './node_modules/modeldl/modeldl.config.schema.json', convert };
  return `${JSON.stringify(example, null, 2)}\n`;
}

/** @throws ModeldlError USAGE when there is one */
export async function writeExample(path: string, given: Config['convert'] = {}): Promise<string> {
  try {
    await writeFile(path, exampleConfig(given), { flag: 'wx' });
    return path;
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw diskError(error, path);
    throw new ModeldlError('USAGE', `The file exists already: ${path}`, {
      hint: 'edit it, or remove it first',
    });
  }
}

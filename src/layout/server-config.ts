/** The server's `config.json`: which models it serves, and where they lie. Pure. */
import * as v from 'valibot';
import { ModeldlError } from '../errors.js';

const entry = v.looseObject({ config: v.looseObject({ name: v.string() }) });
const legacyEntry = v.looseObject({ name: v.string() });
const document = v.looseObject({
  // What is no entry of a known form stays as it is.
  model_config_list: v.exactOptional(v.array(v.unknown())),
  mediapipe_config_list: v.exactOptional(v.array(legacyEntry)),
});

type ServerConfig = v.InferOutput<typeof document>;

export interface ServedModel {
  readonly name: string;
  /** Relative to the directory of the configuration, `/`-separated. */
  readonly basePath: string;
}

/** @throws ModeldlError CONFIG naming the file that is none */
export function parseServerConfig(text: string, file: string): ServerConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unreadable(file, 'it is not JSON', error);
  }
  if (Array.isArray(value)) throw unreadable(file, 'the whole: Expected an object, got a list');
  // Not what the schema makes of it: keys that it does not know stay as they are.
  if (v.is(document, value)) return value;
  const [issue] = v.safeParse(document, value).issues ?? [];
  throw unreadable(
    file,
    issue === undefined ? 'unknown' : `${v.getDotPath(issue) ?? 'the whole'}: ${issue.message}`,
  );
}

function unreadable(file: string, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('CONFIG', `Cannot read the configuration of the model server: ${file}: ${why}`, {
    hint: 'correct it or move it away; nothing was changed',
    cause,
    details: { file },
  });
}

/**
 * Adds a model, or changes where an entry of that name lies; all else stays. Entries of the older
 * `mediapipe_config_list` become entries of `model_config_list` that end in `_model`, as `export_model.py` has it.
 * @returns the text, and the names that changed
 */
export function withModel(
  before: ServerConfig,
  { name, basePath }: ServedModel,
): { readonly text: string; readonly renamed: readonly (readonly [string, string])[] } {
  const { mediapipe_config_list: legacy = [], model_config_list: given = [], ...rest } = before;
  const list: unknown[] = [...given];
  const indexOf = (wanted: string): number =>
    list.findIndex((item) => v.is(entry, item) && item.config.name === wanted);
  const renamed: [string, string][] = [];
  for (const item of legacy) {
    const migrated = `${item.name}_model`;
    if (indexOf(migrated) >= 0) continue;
    list.push({ config: { ...item, name: migrated } });
    renamed.push([item.name, migrated]);
  }
  const at = indexOf(name);
  const found = list[at];
  if (v.is(entry, found)) list[at] = { ...found, config: { ...found.config, base_path: basePath } };
  else list.push({ config: { name, base_path: basePath } });
  // `model_config_list` keeps its place among the keys.
  const changed =
    'model_config_list' in before
      ? { ...withoutLegacy(before), model_config_list: list }
      : { ...rest, model_config_list: list };
  return { text: asPython(changed), renamed };
}

function withoutLegacy({
  mediapipe_config_list: _,
  ...rest
}: ServerConfig): Omit<ServerConfig, 'mediapipe_config_list'> {
  return rest;
}

/** JSON as Python's `json.dump(indent=4)` writes it: ASCII only, no line end. */
function asPython(value: unknown): string {
  return JSON.stringify(value, null, 4).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

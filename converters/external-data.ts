/** Files that an ONNX model keeps its weights in, by what it says itself: their names are free. */
import { posix } from 'node:path';
import type { LocalModel, PlannedModel, Refusal } from '../src/converter.js';
import type { Source } from './source.js';

/** As protobuf writes the key of an entry of TensorProto.external_data and the tag of its value. */
const LOCATION = '\n\blocation\u0012';
/** What lies beside models without being weights. */
const NO_WEIGHTS =
  /\.(onnx|json|txt|md|ya?ml|py|html?|ipynb|png|jpe?g|gif|svg|tflite|xml|pb|pt|pth|safetensors|gguf|model|license)$/i;

/**
 * Adds what a small .onnx names. A large one is not fetched for that: then the habits in naming have to do.
 * @returns a refusal when a file that it names is not there
 */
export async function withExternalData(
  model: PlannedModel | LocalModel,
  source: Source | Refusal,
): Promise<Source | Refusal> {
  if ('refused' in source || source.format !== 'onnx') return source;
  const directory = posix.dirname(source.path);
  const beside = model.files.some(({ path }) => {
    const relative = posix.relative(directory, path);
    return !relative.startsWith('..') && !source.reads.includes(path) && !NO_WEIGHTS.test(path);
  });
  // Of a model that is not here, nothing is fetched where there is nothing to find.
  if (!beside && !('root' in model)) return source;
  const text = await model.text(source.path);
  if (text === undefined) return source;
  const named = locationsIn(text).map((location) => posix.join(directory, location));
  const sizes = new Map(model.files.map(({ path, bytes }) => [path, bytes]));
  const absent = named.find((path) => !sizes.has(path));
  if (absent !== undefined) {
    return {
      refused: `${source.path} keeps weights in ${absent}, which is not there`,
      hint: 'name the directory that holds both',
      handlesModel: true,
    };
  }
  const added = named.filter((path) => !source.reads.includes(path));
  return {
    ...source,
    reads: [...source.reads, ...added],
    bytes: added.reduce((sum, path) => sum + (sizes.get(path) ?? 0), source.bytes),
  };
}

/** Different locations of external data, sorted. The text is the model's bytes read as UTF-8. */
function locationsIn(text: string): readonly string[] {
  const found = new Set<string>();
  for (let at = text.indexOf(LOCATION); at >= 0; at = text.indexOf(LOCATION, at + 1)) {
    const start = at + LOCATION.length;
    const length = text.charCodeAt(start);
    // A longer one is told in two bytes, which are no text.
    if (length > 0 && length < 128) found.add(text.slice(start + 1, start + 1 + length));
  }
  return [...found].sort();
}

/** Which files of a model the exporter reads: they are fetched, linked into its directory, and part of the key. Pure. */
import type { PlannedModel, Refusal } from '../../src/converter.js';
import type { Original } from './describe.js';

export interface Reads {
  readonly paths: readonly string[];
  /** Bytes of the weights among them. */
  readonly weightBytes: number;
  /** Weights that are pickles. */
  readonly pickles: readonly string[];
}

/** Configurations, vocabularies and templates, in any directory that is read. */
const SMALL = /\.(json|txt|model|jinja|spm|tiktoken|bpe|vocab|merges)$/i;
const SAFE = /^((diffusion_pytorch_)?model|open_clip_(pytorch_)?model)([.-].*)?\.safetensors$/;
const PICKLE = /^((diffusion_)?pytorch_model|open_clip_pytorch_model|kokoro-v1_0)([.-].*)?\.(bin|pth?)$/;
/** Half of a name that says which variant the weights are of: `model.fp16.safetensors`, `model.fp16-00001-of-00002.…`. */
const VARIANT =
  /^[^.]+\.([a-z0-9_]+)(-\d+-of-\d+)?\.(safetensors|bin|safetensors\.index\.json|bin\.index\.json)$/i;

export function readsOf(
  model: PlannedModel,
  original: Original,
  options: { readonly variant?: string; readonly withCode: boolean },
): Reads | Refusal {
  const directories = ['', ...original.parts.map((part) => `${part}/`)];
  const paths: string[] = [];
  const pickles: string[] = [];
  let weightBytes = 0;
  for (const directory of directories) {
    const own = model.files.filter(
      ({ path }) => path.startsWith(directory) && !path.slice(directory.length).includes('/'),
    );
    const named = own.map(({ path, bytes }) => ({ path, bytes, name: path.slice(directory.length) }));
    // What a pipeline is made of lies in the directories of its parts.
    const holdsWeights = !(original.library === 'diffusers' && directory === '');
    const fitting = named.filter(({ name }) => isOfVariant(name, options.variant));
    const safe = fitting.filter(({ name }) => SAFE.test(name));
    const pickled = fitting.filter(({ name }) => PICKLE.test(name));
    const weights = !holdsWeights ? [] : safe.length > 0 ? safe : pickled;
    if (safe.length === 0) pickles.push(...weights.map(({ path }) => path));
    weightBytes += weights.reduce((sum, { bytes }) => sum + bytes, 0);
    const small = named.filter(
      ({ name }) =>
        (SMALL.test(name) && isOfVariant(name, options.variant)) ||
        (options.withCode && name.endsWith('.py')),
    );
    paths.push(...small.map(({ path }) => path), ...weights.map(({ path }) => path));
  }
  paths.push(
    ...model.files.flatMap(({ path }) => (path.startsWith('additional_chat_templates/') ? [path] : [])),
  );
  if (original.library === 'kokoro') {
    paths.push(...model.files.flatMap(({ path }) => (path.startsWith('voices/') ? [path] : [])));
  }
  if (pickles.length + weightBytes === 0 && !paths.some((path) => /\.(safetensors|bin|pth?)$/.test(path))) {
    return withoutWeights(model);
  }
  return { paths: [...new Set(paths)].sort(), weightBytes, pickles };
}

/** Index files name a variant as weights do; others have dots of their own. */
function isOfVariant(name: string, variant: string | undefined): boolean {
  if (!/\.(safetensors|bin)(\.index\.json)?$/.test(name)) return true;
  const found = VARIANT.exec(name)?.[1];
  if (found === undefined || found === 'safetensors' || found === 'bin') return variant === undefined;
  return found === variant;
}

function withoutWeights(model: PlannedModel): Refusal {
  const has = (pattern: RegExp): boolean => model.files.some(({ path }) => pattern.test(path));
  if (has(/(^|\/)adapter_model\.(safetensors|bin)$/)) {
    return {
      refused: 'it is an adapter, which changes another model and is none by itself',
      hint: 'merge it into its base model first, and convert the result',
      handlesModel: true,
    };
  }
  if (has(/\.(h5|msgpack|ot)$/)) {
    return {
      refused: 'it has weights for TensorFlow, Flax or Rust only, and optimum-intel exports from PyTorch',
      hint: 'look for a copy with safetensors',
      handlesModel: true,
    };
  }
  return { refused: 'it has a configuration, but no weights for PyTorch', handlesModel: false };
}

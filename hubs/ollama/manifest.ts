/** Manifests of Ollama models: what their layers are, and the files that they become. Pure. */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import { parseJson } from '../../src/json.js';

/** What registries and Ollama's own files have: Docker's manifest, with Ollama's types of layers. */
export const MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json';
export const LAYER_PREFIX = 'application/vnd.ollama.image.';
const LAYER_TYPE = /^application\/vnd\.ollama\.image\.([a-z][a-z0-9.+-]{0,63})$/;

const digest = v.pipe(v.string(), v.regex(/^sha256[:-][0-9a-f]{64}$/));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const descriptorSchema = v.object({
  mediaType: v.string(),
  digest,
  size,
  /** Of tensors and named configuration files. */
  name: v.optional(v.string()),
});
const manifestSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.optional(v.string()),
  config: descriptorSchema,
  layers: v.array(descriptorSchema),
});
const configSchema = v.object({
  model_type: v.nullish(v.string()),
  file_type: v.nullish(v.string()),
  renderer: v.nullish(v.string()),
  parser: v.nullish(v.string()),
  /** Least version of Ollama. */
  requires: v.nullish(v.string()),
  /** The model runs elsewhere, and has no weights. */
  remote_host: v.nullish(v.string()),
});

export type Configuration = v.InferOutput<typeof configSchema>;

export interface Layer {
  /** The end of its media type: `model`, `template`, `params`, …; `config` for the configuration. */
  readonly kind: string;
  /** Lower-case hex sha256. */
  readonly hex: string;
  /** Bytes. */
  readonly size: number;
  readonly name?: string;
}

export interface Manifest {
  readonly config: Layer;
  readonly layers: readonly Layer[];
}

/** A layer under the path that it gets. */
export interface PlacedLayer extends Layer {
  readonly path: string;
}

/** Undefined for what is no manifest at all. @throws ModeldlError UNSUPPORTED for one of something else */
export function readManifest(text: string, shown: string): Manifest | undefined {
  const parsed = parseJson(text);
  const manifest = v.safeParse(manifestSchema, parsed);
  if (!manifest.success) {
    if (v.is(v.looseObject({ schemaVersion: v.number() }), parsed))
      throw foreign(shown, 'its manifest is of another kind');
    return undefined;
  }
  const { config, layers } = manifest.output;
  const unknown = layers.find(({ mediaType }) => !LAYER_TYPE.test(mediaType));
  if (unknown !== undefined)
    throw foreign(shown, `a layer is ${JSON.stringify(unknown.mediaType.slice(0, 100))}`);
  return {
    config: layerOf(config, 'config'),
    layers: layers.map((layer) => layerOf(layer, LAYER_TYPE.exec(layer.mediaType)?.[1] ?? '')),
  };
}

function layerOf(
  { digest: text, size: bytes, name }: v.InferOutput<typeof descriptorSchema>,
  kind: string,
): Layer {
  return { kind, hex: text.slice('sha256:'.length), size: bytes, ...(name === undefined ? {} : { name }) };
}

function foreign(shown: string, why: string): ModeldlError {
  return new ModeldlError('UNSUPPORTED', `${shown} is no Ollama model: ${why}`, {
    hint: 'an `oci:` reference is for models of other registries',
  });
}

/** What a model is, from its configuration; nothing of it is needed. */
export function readConfiguration(text: string): Configuration {
  const config = v.safeParse(configSchema, parseJson(text));
  return config.success ? config.output : {};
}

/** @throws ModeldlError UNSUPPORTED for a model without weights */
export function requireWeights(
  { layers }: Manifest,
  { remote_host: host }: Configuration,
  shown: string,
): void {
  if (layers.some(({ kind }) => kind === 'model' || kind === 'tensor' || kind === 'adapter')) return;
  throw new ModeldlError(
    'UNSUPPORTED',
    host == null || host === ''
      ? `${shown} has no weights`
      : `${shown} runs at ${JSON.stringify(host.slice(0, 100))} and has no weights to pull`,
    { hint: 'take another tag of it, one that is not for the cloud' },
  );
}

/** Files by kind, where a model has one of it. */
const PLAIN: Readonly<Record<string, string>> = {
  template: 'template',
  prompt: 'prompt',
  system: 'system',
  params: 'params.json',
  messages: 'messages.json',
  license: 'LICENSE',
  embed: 'embed',
  config: 'image.json',
};

/**
 * The path of every layer and of the configuration. GGUF files are named as elsewhere: model, size, quantization. Names
 * that a manifest gives are checked with all other paths before anything is written.
 */
export function placeLayers(
  model: string,
  { config, layers }: Manifest,
  about: Configuration,
): readonly PlacedLayer[] {
  const words = [model, about.model_type, about.file_type].filter(
    (word) => word != null && /^\w[\w.-]{0,79}$/.test(word) && word !== 'unknown',
  );
  const counts = new Map<string, number>();
  return [...layers, config].map((layer) => {
    const path = pathOf(layer, model, words.join('-'));
    const count = (counts.get(path) ?? 0) + 1;
    counts.set(path, count);
    return { ...layer, path: count === 1 ? path : numbered(path, count) };
  });
}

function pathOf({ kind, name, hex }: Layer, model: string, weights: string): string {
  switch (kind) {
    case 'model':
      return `${weights}.gguf`;
    case 'projector':
      // What llama.cpp calls it, by which it is told from weights.
      return `mmproj-${model}.gguf`;
    case 'adapter':
    case 'draft':
      return `${kind}-${model}.gguf`;
    case 'tensor':
      return `tensors/${name ?? hex.slice(0, 12)}.safetensors`;
    case 'json':
      return name ?? `${hex.slice(0, 12)}.json`;
    default:
      return PLAIN[kind] ?? `layers/${kind}`;
  }
}

/** The second of a name, and so on: `LICENSE-2`, `mmproj-x-2.gguf`. */
function numbered(path: string, count: number): string {
  const [, stem = path, ending = ''] = /^(.+?)(\.(?:gguf|json|safetensors))?$/.exec(path) ?? [];
  return `${stem}-${count}${ending}`;
}

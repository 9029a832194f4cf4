/** What a model of the Hugging Face libraries is, by its small files: library, type, weights, and code of its own. */
import * as v from 'valibot';
import type { PlannedModel, Refusal } from '../../src/converter.js';
import type { Library } from './settings.js';

export interface Original {
  readonly library: Library;
  /** `model_type` of transformers, class of a diffusers pipeline, architecture of timm. */
  readonly type: string;
  /** Class of the model, as `config.json` names it: `LlamaForCausalLM`. */
  readonly architecture?: string;
  /** Bytes of a weight as it is stored. */
  readonly weightBytes: number;
  /** Outputs of a classifier. */
  readonly labels?: number;
  /** Height and width of the images that it takes. */
  readonly imageSize?: readonly [number, number];
  /** What its configuration calls it, where a copy still says so. */
  readonly nameOrPath?: string;
  /** Directories of its parts, beside the root. */
  readonly parts: readonly string[];
  /** Where its own code comes from: `.` for the model itself, else other models. */
  readonly code: readonly string[];
}

const size = v.union([
  v.number(),
  v.tuple([v.number(), v.number()]),
  v.object({ height: v.number(), width: v.number() }),
]);
const dtypes = { torch_dtype: v.optional(v.unknown()), dtype: v.optional(v.unknown()) };
const configSchema = v.object({
  model_type: v.optional(v.string()),
  architectures: v.nullish(v.array(v.string())),
  auto_map: v.nullish(v.record(v.string(), v.unknown())),
  num_labels: v.nullish(v.number()),
  id2label: v.nullish(v.record(v.string(), v.unknown())),
  image_size: v.nullish(v.unknown()),
  vision_config: v.nullish(v.unknown()),
  text_config: v.nullish(v.looseObject(dtypes)),
  _name_or_path: v.nullish(v.string()),
  /** Of timm. */
  architecture: v.optional(v.string()),
  num_classes: v.optional(v.number()),
  pretrained_cfg: v.optional(v.looseObject({ input_size: v.optional(v.array(v.number())) })),
  ...dtypes,
});
type Config = v.InferOutput<typeof configSchema>;

const pipelineSchema = v.looseObject({ _class_name: v.string() });
const modulesSchema = v.array(v.looseObject({ path: v.string() }));
const kokoroSchema = v.looseObject({ istftnet: v.unknown(), vocab: v.unknown() });

/** Undefined when it is no model of these libraries. */
export async function describeOriginal(model: PlannedModel): Promise<Original | Refusal | undefined> {
  const paths = new Set(model.files.map(({ path }) => path));
  const broken = (path: string): Refusal => ({
    refused: `its ${path} cannot be read`,
    hint: 'the model is damaged or of a kind that nobody exports; `modeldl verify` tells whether it is as published',
    handlesModel: true,
  });
  if (paths.has('model_index.json')) {
    const pipeline = await read(model, 'model_index.json', pipelineSchema);
    if (pipeline === undefined) return broken('model_index.json');
    const parts = Object.entries(pipeline).flatMap(([name, value]) => (Array.isArray(value) ? [name] : []));
    return {
      library: 'diffusers',
      type: pipeline._class_name,
      weightBytes: halfWeights(model) ? 2 : 4,
      parts,
      code: [],
    };
  }
  if (!paths.has('config.json')) return undefined;
  const config = await read(model, 'config.json', configSchema);
  if (config === undefined) return broken('config.json');
  if (paths.has('open_clip_config.json')) return { ...plain('open_clip', 'open_clip', config), parts: [] };
  if (config.architecture !== undefined && config.model_type === undefined) {
    const [, height, width] = config.pretrained_cfg?.input_size ?? [];
    return {
      ...plain('timm', config.architecture, config),
      ...(config.num_classes === undefined ? {} : { labels: config.num_classes }),
      ...(height === undefined || width === undefined ? {} : { imageSize: [height, width] }),
    };
  }
  if (config.model_type === undefined) {
    const kokoro = await read(model, 'config.json', kokoroSchema);
    return kokoro === undefined ? undefined : plain('kokoro', 'kokoro', config);
  }
  const modules = (await read(model, 'modules.json', modulesSchema)) ?? [];
  const parts = modules.flatMap(({ path }) => (path === '' ? [] : [path]));
  return { ...plain('transformers', config.model_type, config), parts };
}

function plain(library: Library, type: string, config: Config): Original {
  const [architecture] = config.architectures ?? [];
  const labels = config.num_labels ?? Object.keys(config.id2label ?? {}).length;
  const imageSize = imageSizeOf(config);
  const { _name_or_path: nameOrPath } = config;
  return {
    library,
    type,
    ...(architecture === undefined ? {} : { architecture }),
    weightBytes: bytesOf(config),
    ...(labels > 0 ? { labels } : {}),
    ...(imageSize === undefined ? {} : { imageSize }),
    ...(nameOrPath === undefined || nameOrPath === null ? {} : { nameOrPath }),
    parts: [],
    code: codeOf(config),
  };
}

/** Values are `module.Class`, or `org/name--module.Class` for the code of another model; tokenizers have lists of them. */
function codeOf({ auto_map: map }: Config): readonly string[] {
  const named = Object.values(map ?? {}).flat();
  const origins = named.flatMap((value) =>
    typeof value === 'string' ? [value.includes('--') ? (value.split('--')[0] ?? '.') : '.'] : [],
  );
  return [...new Set(origins)];
}

function bytesOf(config: Config): number {
  const dtype =
    config.dtype ?? config.torch_dtype ?? config.text_config?.dtype ?? config.text_config?.torch_dtype;
  if (dtype === 'float16' || dtype === 'bfloat16') return 2;
  return typeof dtype === 'string' && dtype.startsWith('float8') ? 1 : 4;
}

function imageSizeOf({
  image_size: own,
  vision_config: vision,
}: Config): readonly [number, number] | undefined {
  const nested = v.safeParse(v.looseObject({ image_size: size }), vision);
  const parsed = v.safeParse(size, own ?? (nested.success ? nested.output.image_size : undefined));
  if (!parsed.success) return undefined;
  const { output } = parsed;
  if (typeof output === 'number') return [output, output];
  return 'height' in output ? [output.height, output.width] : output;
}

/** The weights of a pipeline say nothing of their type but by the name of a variant. */
function halfWeights(model: PlannedModel): boolean {
  const weights = model.files.filter(({ path }) => /\.(safetensors|bin)$/.test(path));
  return weights.length > 0 && weights.every(({ path }) => /\.(fp16|bf16)\./.test(path));
}

async function read<Schema extends v.GenericSchema>(
  model: PlannedModel,
  path: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const text = await model.text(path);
  if (text === undefined) return undefined;
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  return parsed.success ? parsed.output : undefined;
}

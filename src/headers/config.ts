/** What a `config.json` of transformers tells of a model. */
import type { QuantizationConfig } from '@huggingface/hub';
import * as v from 'valibot';
import { parseJson } from '../json.js';

export interface ConfigSummary {
  /** The class that it is loaded by, else its type: `LlamaForCausalLM`, `bert`. */
  readonly architecture?: string;
  readonly contextLength?: number;
  /** Of what quantized the weights, for people: `awq 4 bit`. */
  readonly quantization?: string;
  readonly packing?: QuantizationConfig;
}

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const words = v.pipe(v.string(), v.maxLength(200));
const lenient = <Schema extends v.GenericSchema>(
  schema: Schema,
): v.GenericSchema<unknown, v.InferOutput<Schema> | undefined> => v.fallback(v.optional(schema), undefined);

const packing = v.looseObject({
  quant_method: lenient(words),
  quant_algo: lenient(words),
  bits: lenient(count),
  group_size: lenient(v.number()),
  mode: lenient(words),
  format: lenient(words),
  load_in_4bit: lenient(v.boolean()),
  load_in_8bit: lenient(v.boolean()),
  expert_dtype: lenient(words),
  store_dtype: lenient(words),
  ignore: lenient(v.array(v.string())),
  modules_to_not_convert: lenient(v.array(v.string())),
  config_groups: lenient(
    v.record(
      v.string(),
      v.looseObject({
        format: lenient(words),
        targets: lenient(v.array(v.string())),
        weights: lenient(v.looseObject({ num_bits: lenient(count) })),
      }),
    ),
  ),
});

const ofText = {
  model_type: lenient(words),
  max_position_embeddings: lenient(count),
  n_positions: lenient(count),
  max_seq_len: lenient(count),
  quantization: lenient(packing),
  quantization_config: lenient(packing),
};

const config = v.looseObject({
  ...ofText,
  architectures: lenient(v.array(words)),
  _class_name: lenient(words),
  text_config: lenient(v.looseObject(ofText)),
});

/** Nothing of what is no such file. */
export function readConfig(text: string | undefined): ConfigSummary {
  const parsed = v.safeParse(config, parseJson(text ?? ''));
  if (!parsed.success) return {};
  const { output } = parsed;
  const parts = [output, output.text_config];
  const architecture = output.architectures?.[0] ?? output._class_name ?? output.model_type;
  const contextLength = parts
    .map((part) => part?.max_position_embeddings ?? part?.n_positions ?? part?.max_seq_len)
    .find((length) => length !== undefined);
  const mlx = output.quantization ?? output.text_config?.quantization;
  const own = output.quantization_config ?? output.text_config?.quantization_config;
  const found = mlx === undefined ? own : { ...mlx, quant_method: 'mlx', mode: mlx.mode ?? 'affine' };
  return {
    ...(architecture === undefined ? {} : { architecture }),
    ...(contextLength === undefined ? {} : { contextLength }),
    ...(found === undefined ? {} : { quantization: named(found), packing: defined(found) }),
  };
}

function named(found: v.InferOutput<typeof packing>): string {
  const { quant_method: method, quant_algo: algorithm, format, config_groups: groups = {} } = found;
  const inGroups = Object.values(groups).find(({ weights }) => weights?.num_bits !== undefined);
  const bits =
    found.bits ??
    inGroups?.weights?.num_bits ??
    (found.load_in_4bit === true ? 4 : found.load_in_8bit === true ? 8 : undefined);
  return [method ?? algorithm ?? 'quantized', format, bits === undefined ? undefined : `${bits} bit`]
    .filter((word) => word !== undefined)
    .join(' ');
}

/** Without what is undefined, as the library's type has it. */
function defined(found: v.InferOutput<typeof packing>): QuantizationConfig {
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

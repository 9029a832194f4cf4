/**
 * The published recipe of a public model: how Open Model Zoo's `omz_converter` makes IR of it, as settings of our
 * converter. What has no counterpart there is refused by its name. Pure.
 */
import * as v from 'valibot';
import type { ConversionRecipe } from '../../src/hub.js';
import { PREPARED } from './names.js';

const name = v.pipe(v.string(), v.regex(/^[^[\],]+$/, 'Expected a name without brackets and commas'));
const recipeSchema = v.object({
  framework: v.string(),
  model_optimizer_args: v.optional(v.array(v.string())),
  conversion_to_onnx_args: v.optional(v.array(v.unknown())),
  input_info: v.optional(
    v.array(
      v.object({
        name,
        shape: v.optional(v.array(v.pipe(v.number(), v.integer()))),
        layout: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z]+$/, 'Expected letters'))),
      }),
    ),
    [],
  ),
  model_info: v.optional(v.record(v.string(), v.unknown()), {}),
});

type Described = v.InferOutput<typeof recipeSchema>;
type Input = Described['input_info'][number];

/** What `omz_converter` writes into the IR. */
const plain = v.union([v.string(), v.number()]);
const modelInfo = v.object({
  model_type: v.optional(v.string()),
  confidence_threshold: v.optional(v.number()),
  iou_threshold: v.optional(v.number()),
  resize_type: v.optional(v.string()),
  anchors: v.optional(v.array(plain)),
  masks: v.optional(v.array(plain)),
  labels: v.optional(v.array(plain)),
});

/** What keeps the recipe from being followed. */
class Unfollowable extends Error {
  override readonly name = 'Unfollowable';

  constructor(
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}

/**
 * The recipe of a description; undefined for a model that is IR already.
 * @param document a description that was parsed, of the model `id`
 */
export function recipeOf(id: string, document: unknown): ConversionRecipe | undefined {
  const framework = v.safeParse(v.object({ framework: v.string() }), document);
  if (framework.success && framework.output.framework === 'dldt') return undefined;
  const read = v.safeParse(recipeSchema, document);
  try {
    if (read.success) return followed(id, read.output);
    const [issue] = read.issues;
    throw new Unfollowable(`it is not understood: ${v.getDotPath(issue) ?? ''}: ${issue.message}`);
  } catch (error) {
    if (!(error instanceof Unfollowable)) throw error;
    return {
      refused: `its published recipe cannot be followed here: ${error.message}`,
      hint:
        error.hint ??
        `\`modeldl convert omz:${id}//PATH\` converts an ONNX or TensorFlow file of it without the recipe; \`omz_converter\` follows it`,
    };
  }
}

/** Of several stages each has a recipe of its own. */
export function severalRecipes(stages: readonly string[]): ConversionRecipe {
  return {
    refused: 'it has several stages, and each is converted by itself',
    hint: `name one: ${stages.map((stage) => `\`omz:${stage}\``).join(', ')}`,
  };
}

/** @throws Unfollowable */
function followed(id: string, described: Described): ConversionRecipe {
  const { framework, model_optimizer_args: args, input_info: inputs } = described;
  if (described.conversion_to_onnx_args !== undefined || !/^(onnx|tf)$/.test(framework))
    throw new Unfollowable(
      `it makes ONNX of ${framework} by running the model's own code, which modeldl does not`,
      `\`omz_converter --name ${id}\` of Open Model Zoo's tools does; the ONNX file that it leaves is converted by \`modeldl convert ./FILE.onnx\``,
    );
  if (PREPARED.includes(id))
    throw new Unfollowable('it runs a script of its own before (`pre-convert.py`), which modeldl does not');
  if (args === undefined) throw new Unfollowable('it has none (`model_optimizer_args`)');
  let input: string | undefined;
  const settings: Record<string, string> = { ...shapesOf(inputs), ...layoutsOf(inputs) };
  for (const text of args) {
    const [, key = '', value] = /^--([a-z_]+)(?:=([^]*))?$/.exec(text) ?? [];
    if (INPUTS.has(key) && value !== undefined) input = pathOf(key, value);
    else if (key === 'output' && value !== undefined) settings['output'] = value;
    else if (key === 'reverse_input_channels' && (value === undefined || /^true$/i.test(value)))
      settings['reverse-input-channels'] = 'true';
    else if (key === 'mean_values' && value !== undefined) settings['mean'] = perInput(key, value, inputs);
    else if (key === 'scale_values' && value !== undefined) settings['scale'] = perInput(key, value, inputs);
    else if (key === 'scale' && /^[\d.]+$/.test(value ?? ''))
      settings['scale'] = named(inputs, () => value ?? '');
    else
      throw new Unfollowable(`it has \`${key === '' ? text : `--${key}`}\`, which has no counterpart here`);
  }
  if (input === undefined) throw new Unfollowable('it names no file that is converted');
  const info = modelInfoOf(described);
  return {
    input,
    begins: inputs.map((one) => one.name),
    settings,
    name: id,
    ...(Object.keys(info).length === 0 ? {} : { modelInfo: info }),
  };
}

const INPUTS: ReadonlySet<string> = new Set(['input_model', 'saved_model_dir']);

/** Where models are downloaded to is where they are converted. */
function pathOf(key: string, value: string): string {
  const [, path = ''] = /^\$(?:\{(?:dl|conv)_dir\}|(?:dl|conv)_dir)\/([^$\\]+)$/.exec(value) ?? [];
  const isInside = path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (isInside) return path;
  throw new Unfollowable(`its \`--${key}\` is no file of the model: ${value}`);
}

/** `[…]` for the only input, `name[…]` for each of several; of those that there is nothing for, nothing. */
function named(inputs: readonly Input[], read: (input: Input) => string | undefined): string {
  const only = inputs.length === 1;
  return inputs
    .flatMap((input) => {
      const text = read(input);
      return text === undefined ? [] : [`${only ? '' : input.name}[${text}]`];
    })
    .join(',');
}

function shapesOf(inputs: readonly Input[]): Readonly<Record<string, string>> {
  const text = named(inputs, ({ shape }) => shape?.map((size) => (size < 0 ? '?' : size)).join(','));
  return text === '' ? {} : { 'input-shape': text };
}

function layoutsOf(inputs: readonly Input[]): Readonly<Record<string, string>> {
  const text = named(inputs, ({ layout }) => layout?.toLowerCase());
  return text === '' ? {} : { layout: text };
}

/** Values by the names of inputs, or in their order. @throws Unfollowable */
function perInput(key: string, value: string, inputs: readonly Input[]): string {
  const unreadable = (): Unfollowable => new Unfollowable(`its \`--${key}\` is not understood: ${value}`);
  const entries = [...value.matchAll(/([^[\],]*)\[([\d.,\s-]+)\](?:,|$)/g)];
  if (entries.length === 0 || entries.map(([text]) => text).join('') !== value) throw unreadable();
  const values = new Map<string, string>();
  for (const [index, [, given = '', numbers = '']] of entries.entries()) {
    const input = given === '' ? inputs[index] : inputs.find((one) => one.name === given);
    if (input === undefined || values.has(input.name)) throw unreadable();
    values.set(input.name, numbers.replace(/\s/g, ''));
  }
  return named(inputs, (input) => values.get(input.name));
}

/** @throws Unfollowable */
function modelInfoOf({ model_info }: Described): Readonly<Record<string, InfoValue>> {
  const read = v.safeParse(modelInfo, model_info);
  if (read.success) return Object.fromEntries(Object.entries(read.output).filter(isGiven));
  const [issue] = read.issues;
  throw new Unfollowable(
    `its \`model_info\` is not understood: ${v.getDotPath(issue) ?? ''}: ${issue.message}`,
  );
}

type InfoValue = string | number | (string | number)[];

function isGiven(entry: readonly [string, InfoValue | undefined]): entry is [string, InfoValue] {
  return entry[1] !== undefined;
}

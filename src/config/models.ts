/**
 * `models` of the configuration: which models a project wants. An entry is a reference, or an object in the words of the
 * Model Download microservice's startup list, with what `pull` and `convert` take besides.
 */
import * as v from 'valibot';

const text = v.pipe(v.string(), v.nonEmpty());
const says = <Schema extends v.GenericSchema>(schema: Schema, description: string) =>
  v.exactOptional(v.pipe(schema, v.description(description)));

const ENTRY = {
  reference: says(text, 'The model, as `modeldl pull` takes it; in place of `hub` and `name`'),
  name: says(text, 'Name of the model at its hub'),
  hub: says(text, 'A hub of modeldl, or of the microservice, such as huggingface; any case'),
  type: says(text, 'What a server serves the model as: llm, vlm, embeddings, …'),
  revision: says(text, 'Branch, tag, commit or version'),
  convert: says(v.boolean(), 'Convert to OpenVINO IR; so does a precision or a device'),
  is_ovms: says(v.boolean(), 'As `convert`, in the words of the microservice'),
  precision: says(text, 'Precision of the conversion'),
  device: says(text, 'Device of the conversion'),
  task: says(text, 'As `convert --task`'),
  converter: says(text, 'As `convert --converter`'),
  toolchain: says(text, 'As `convert --toolchain`'),
  calibration: says(text, 'As `convert --calibration`; relative to the file'),
  settings: says(
    v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
    'As `convert --set`, by key',
  ),
  prebuilt: says(
    v.picklist(['take', 'prefer', 'tell', 'never']),
    'A conversion that is published already. take: or fail; the others as `convert.prebuilt`',
  ),
  layout: says(text, 'As `convert --layout`; needs `output`'),
  ovmsVersion: says(text, 'As `convert --ovms-version`'),
  include: says(v.array(text), 'Only files that match these globs'),
  exclude: says(v.array(text), 'Not the files that match these globs'),
  allFiles: says(v.boolean(), 'Weaker copies of the same weights too'),
  quant: says(text, 'Which of several GGUF quantizations'),
  unpack: says(v.boolean(), 'Unpack an archive'),
  output: says(text, 'An independent copy in this directory; relative to the file, and below it'),
  download_path: says(text, 'Directory below the one of `sync --output`, in the words of the microservice'),
  config: says(v.record(v.string(), v.unknown()), 'Settings in the words of the microservice'),
} as const;

export const modelEntry = v.strictObject(ENTRY);
export const modelList = v.array(v.union([text, modelEntry]));

export type ModelEntry = v.InferOutput<typeof modelEntry>;
export type ListedEntry = string | ModelEntry;

export const MODEL_KEYS: readonly string[] = Object.keys(ENTRY);

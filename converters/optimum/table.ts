/**
 * What the exporter can do, by the table that `npm run models` reads from the tools themselves: model types with their
 * tasks and the locks that export them, tasks of classes, and the configurations that it applies to single models.
 */
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { assetPath } from '../assets.js';

export interface ModelType {
  readonly tasks: readonly string[];
  /** The task of a model whose class says nothing. */
  readonly task?: string | undefined;
  /** Names of toolchains that export it, best first. */
  readonly locks: readonly string[];
  /** No version of transformers knows it: it needs the code that comes with the model. */
  readonly remoteCode?: boolean | undefined;
}

export interface Lock {
  readonly name: string;
  readonly transformers: string;
  readonly optimumIntel: string;
}

export interface DefaultConfiguration {
  /** The model that it is made for. */
  readonly model: string;
  readonly configuration: unknown;
  /** What it is calibrated with, if anything. */
  readonly dataset?: string;
}

const modelType = v.object({
  tasks: v.array(v.string()),
  task: v.optional(v.string()),
  locks: v.array(v.string()),
  remoteCode: v.optional(v.boolean()),
  architectures: v.optional(v.record(v.string(), v.string()), {}),
});
const configured = v.object({ datasets: v.optional(v.array(v.string()), []), config: v.unknown() });
const tableSchema = v.object({
  locks: v.record(v.string(), v.looseObject({ transformers: v.string(), 'optimum-intel': v.string() })),
  libraries: v.record(v.string(), v.record(v.string(), modelType)),
  suffixes: v.record(v.string(), v.string()),
  pipelines: v.record(
    v.string(),
    v.object({ task: v.string(), tasks: v.array(v.string()), locks: v.array(v.string()) }),
  ),
  defaults: v.record(v.string(), v.record(v.string(), configured)),
});
type Table = v.InferOutput<typeof tableSchema>;

let read: Table | undefined;

function table(): Table {
  read ??= v.parse(
    v.pipe(v.string(), v.parseJson(), tableSchema),
    readFileSync(assetPath('optimum-models.json'), 'utf8'),
  );
  return read;
}

/** The locks of the converter, best first. */
export function locks(): readonly Lock[] {
  return Object.entries(table().locks).map(([name, versions]) => ({
    name,
    transformers: versions.transformers,
    optimumIntel: versions['optimum-intel'],
  }));
}

/** @param type `model_type` of transformers, class of a pipeline of diffusers; of other libraries it does not matter */
export function typeNamed(library: string, type: string): ModelType | undefined {
  if (library === 'diffusers') return own(table().pipelines, type);
  const types = table().libraries[library] ?? {};
  // Of timm and sentence-transformers all models are exported alike.
  return library === 'transformers' ? own(types, type) : Object.values(types)[0];
}

/** What models call themselves may be a name that every object has, such as `constructor`. */
function own<Value>(values: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

/** What models of a class do, as `config.json` names it: `LlamaForCausalLM`. */
export function taskOfClass(name: string, type: string): string | undefined {
  const known = own(table().libraries['transformers'] ?? {}, type);
  const bySuffix = Object.entries(table().suffixes).find(([suffix]) => name.endsWith(suffix))?.[1];
  return own(known?.architectures ?? {}, name) ?? known?.task ?? bySuffix;
}

/**
 * What the exporter applies to a model by its name alone, when nothing is given: by the whole name, or by its last part.
 * @param how precision of the weights, or kind of full quantization
 * @param names what the model is called: the reference's name, and what its configuration says
 */
export function defaultConfiguration(
  how: string,
  full: boolean,
  names: readonly string[],
): DefaultConfiguration | undefined {
  const known = Object.entries(table().defaults[full ? `quant-mode ${how}` : how] ?? {});
  const last = (name: string | undefined): string => name?.split('/').at(-1) ?? '';
  const found =
    known.find(([model]) => names.includes(model)) ?? known.find(([model]) => last(model) === last(names[0]));
  if (found === undefined) return undefined;
  const [model, { config, datasets }] = found;
  const [dataset] = datasets;
  return { model, configuration: config, ...(dataset === undefined ? {} : { dataset }) };
}

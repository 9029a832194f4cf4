/** Where a model and what a server needs beside it go, below the directory of `--output`. Pure. */
import { ModeldlError } from '../errors.js';
import { graphOf } from './graph.js';
import { checkName, defaultName } from './names.js';
import type { LoraAdapter } from './loras.js';
import { checkSettings, splitSettings, type ServingSettings } from './settings.js';
import { isVisionLanguage, taskOf, type ModelFacts, type OvmsTask } from './tasks.js';
import { dialectOf, type Dialect } from './versions.js';

export const GRAPH = 'graph.pbtxt';

/** `plain` is the model alone; the others are what servers read. */
export const LAYOUTS = ['plain', 'ovms', 'model-download'] as const;
export type Layout = (typeof LAYOUTS)[number];

export interface LayoutOptions {
  readonly layout?: string;
  readonly ovmsVersion?: string;
  /** Name that the server knows the model by. */
  readonly name?: string;
  /** Absolute directory. */
  readonly output?: string;
  readonly settings?: Readonly<Record<string, string>>;
}

/** A layout as it is asked for, before anything is known of the model. */
export interface LayoutRequest {
  readonly kind: Exclude<Layout, 'plain'>;
  /** Absolute directory: the server's model repository, or what the microservice calls the download path. */
  readonly output: string;
  readonly name: string;
  readonly dialect: Dialect;
  readonly serving: ServingSettings;
  /** What is left of the settings for the converter. */
  readonly converterSettings: Readonly<Record<string, string>>;
}

/** @throws ModeldlError USAGE */
export function layoutNamed(text: string | undefined): Layout {
  if (text === undefined) return 'plain';
  const layout = LAYOUTS.find((known) => known === text);
  if (layout !== undefined) return layout;
  throw new ModeldlError('USAGE', `Unknown layout: ${text}`, {
    hint: `expected one of ${LAYOUTS.join(', ')}`,
  });
}

/**
 * @param reference the model, for its name
 * @param converterSettings names of all settings that converters take
 * @throws ModeldlError USAGE
 */
export function layoutRequest(
  kind: LayoutRequest['kind'],
  options: LayoutOptions,
  reference: { readonly id: string; readonly subpath?: string | undefined },
  converterSettings: readonly string[],
): LayoutRequest {
  const { output, ovmsVersion, name = defaultName(reference), settings = {} } = options;
  if (output === undefined) {
    throw new ModeldlError('USAGE', `\`--layout ${kind}\` writes into a directory, and none is named`, {
      hint: 'name it with `--output`',
    });
  }
  checkName(name);
  const { serving, converter } = splitSettings(settings, converterSettings);
  const dialect = dialectOf(ovmsVersion);
  return { kind, output, name, dialect, serving, converterSettings: converter };
}

/** A layout of a model whose task is known. Paths are `/`-separated and below `output`. */
export interface PlannedLayout {
  readonly kind: LayoutRequest['kind'];
  readonly output: string;
  readonly name: string;
  readonly task: OvmsTask;
  readonly dialect: Dialect;
  readonly device: string;
  readonly serving: ServingSettings;
  /** The model's directory. */
  readonly directory: string;
  /** Where the model's files go: the same, or a numbered version below it. */
  readonly tree: string;
  /** The server's configuration; absent for what no server is told of. */
  readonly config?: string;
  readonly draft?: Draft;
}

export interface Draft {
  readonly reference: string;
  /** Below the model's. */
  readonly directory: string;
  readonly task?: string;
}

export interface PlacedModel extends ModelFacts {
  readonly precision: string;
  readonly device: string;
  /** The device as a part of a path: `hetero_gpu_cpu`. */
  readonly deviceSlug: string;
}

/** @throws ModeldlError USAGE for settings that do not fit the task, UNSUPPORTED for what OVMS cannot serve */
export function planLayout(request: LayoutRequest, model: PlacedModel): PlannedLayout {
  const { kind, output, name, dialect } = request;
  const { device, precision, deviceSlug } = model;
  const microservice = kind === 'model-download';
  const task = request.serving['ovms-task'] ?? (microservice ? servedOrPlain(model) : taskOf(model));
  checkSettings(request.serving, { task, device, dialect });
  const serving =
    microservice && task === 'text_generation' && isVisionLanguage(model)
      ? { pipeline_type: 'VLM' as const, ...request.serving }
      : request.serving;
  const root = microservice ? `openvino_models/${deviceSlug}/${precision}/` : '';
  const directory = `${root}${name}`;
  const config = microservice ? 'config_all.json' : 'config.json';
  const draft = draftOf(serving);
  return {
    kind,
    output,
    name,
    task,
    dialect,
    device,
    serving,
    directory,
    tree: task === 'plain' && !microservice ? `${directory}/1` : directory,
    ...(task === 'plain' && microservice ? {} : { config: `${root}${config}` }),
    ...(draft === undefined ? {} : { draft }),
  };
}

/** The microservice has a place for models that no server reads. */
function servedOrPlain(model: ModelFacts): OvmsTask {
  try {
    return taskOf(model);
  } catch (error) {
    if (error instanceof ModeldlError && error.code === 'UNSUPPORTED') return 'plain';
    throw error;
  }
}

function draftOf({
  draft_source_model: reference,
  draft_model_name: directory,
  draft_eagle3_mode: eagle3,
}: ServingSettings): Draft | undefined {
  if (reference === undefined) return undefined;
  const name = reference
    .replace(/^[a-z]+:/, '')
    .replace(/[^\w.-]+/g, '-')
    .replace(/^[.-]+/, '');
  return {
    reference,
    directory: directory ?? name,
    ...(eagle3 === true ? { task: 'text-generation-with-past' } : {}),
  };
}

/** Directory of an adapter's files, below the model's. */
export function loraDirectory({ repository }: LoraAdapter): string {
  return `loras/${repository}`;
}

/** Files that are written beside the model's own, with their text. */
export function layoutTexts(
  { task, device, dialect, serving, draft }: PlannedLayout,
  loraPaths: ReadonlyMap<string, string>,
): readonly { readonly path: string; readonly text: string }[] {
  if (task === 'plain') return [];
  const options = {
    dialect,
    device,
    settings: serving,
    loraPaths,
    ...(draft === undefined ? {} : { draft: draft.directory }),
  };
  return [{ path: GRAPH, text: graphOf(task, options) }];
}

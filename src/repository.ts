/** Model repositories of servers: a model's tree, what the server needs beside it, and the server's configuration. */
import { basename, dirname, join } from 'node:path';
import { waitingFor, type Context } from './context.js';
import type { ConversionPlan, PlannedModel } from './converter.js';
import { isBelow, isDirectory } from './directories.js';
import { ModeldlError } from './errors.js';
import {
  layoutNamed,
  layoutRequest,
  layoutTexts,
  loraDirectory,
  planLayout,
  type LayoutRequest,
  GRAPH,
  type PlannedLayout,
} from './layout/layout.js';
import { parseServerConfig, withModel } from './layout/server-config.js';
import { refuseServingSettings } from './layout/settings.js';
import { refuseUnservable } from './layout/tasks.js';
import type { ConvertOptions, PlanOptions } from './plan.js';
import type { Published } from './prebuilt.js';
import { referenceOf } from './pull.js';
import type { WrittenLayout } from './results.js';
import { requireOutput, writeModelOutput, type OutputRequest } from './space.js';
import { withClaim } from './store/claim.js';
import type { StoredModel } from './store/models.js';
import { deviceSlug } from './store/record.js';
import { realFile, replaceText, textOf } from './store/replace.js';

/** What else a layout needs than the model: each is in the store already. */
export interface Companions {
  readonly draft?: StoredModel;
  /** Models that hold adapters, by the adapter's alias. */
  readonly loras: ReadonlyMap<string, StoredModel>;
}

/**
 * Reads the layout that options ask for, and refuses at once what could not be written.
 * @throws ModeldlError USAGE, CONFIG, DISK
 */
export async function withLayout(
  context: Context,
  text: string,
  options: ConvertOptions,
): Promise<PlanOptions> {
  const { layout, converter, settings = {} } = options;
  const kind = layoutNamed(layout);
  const taken = context.converters
    .filter(({ name }) => converter === undefined || name === converter)
    .flatMap((candidate) => Object.keys(candidate.settings));
  if (kind === 'plain') {
    refuseServingSettings(settings, taken);
    for (const [flag, value] of [
      ['--name', options.name],
      ['--ovms-version', options.ovmsVersion],
    ] as const) {
      if (value === undefined) continue;
      throw new ModeldlError('USAGE', `\`${flag}\` is for a layout that a server reads`, {
        hint: 'pass `--layout ovms` with it',
      });
    }
    return options;
  }
  const asked = layoutRequest(kind, options, await referenceOf(context, text, options), taken);
  await requireRepository(asked, options);
  return { ...options, asked };
}

/** The layout of a conversion that is planned. @throws ModeldlError USAGE, UNSUPPORTED */
export function layoutOfPlan(asked: LayoutRequest, model: PlannedModel, plan: ConversionPlan): PlannedLayout {
  const { reference, id, metadata, files } = model;
  const { task, precision, device } = plan;
  return planLayout(asked, {
    reference,
    id,
    task,
    hubTask: metadata.task,
    files: files.map(({ path }) => path),
    precision,
    device,
    deviceSlug: deviceSlug(device),
  });
}

/** The layout of a conversion that is taken as it is published. @throws ModeldlError USAGE, UNSUPPORTED */
export function layoutOfPublished(
  asked: LayoutRequest,
  { resolved, precision, files }: Published,
  device: string,
): PlannedLayout {
  const { id, metadata } = resolved.snapshot;
  return planLayout(asked, {
    reference: id,
    id,
    hubTask: metadata.task,
    files,
    precision,
    device,
    deviceSlug: deviceSlug(device),
  });
}

type Writing = Pick<OutputRequest, 'link' | 'overwrite' | 'confined'>;

/**
 * Refuses a repository that could not be written whatever the model is: before the model is known, its files may go
 * into its directory or into a version below. @throws ModeldlError USAGE, CONFIG, DISK
 */
async function requireRepository({ kind, output, name }: LayoutRequest, writing: Writing): Promise<void> {
  if (kind === 'model-download') {
    await requireOutput({ ...writing, output, overwrite: true });
    return;
  }
  await readServerConfig(join(output, 'config.json'));
  const directory = join(output, name);
  try {
    await requireOutput({ ...writing, output: directory });
  } catch (error) {
    await requireOutput({ ...writing, output: join(directory, '1') }).catch(() => {
      throw error;
    });
  }
}

/** The same once the model's task is known. @throws ModeldlError USAGE, CONFIG, DISK */
export async function requireLayout(layout: PlannedLayout, writing: Writing): Promise<void> {
  const { output, directory, tree, config } = layout;
  if (writing.confined !== undefined) await requireConfined(layout, writing.confined);
  if (config !== undefined) await readServerConfig(join(output, config));
  const graph = join(output, directory, GRAPH);
  if (tree !== directory && (await textOf(graph)) !== undefined) {
    throw new ModeldlError('USAGE', `A version of a plain model cannot lie beside a graph: ${graph}`, {
      hint: 'choose another name with `--name`, or move the directory away',
      details: { file: graph },
    });
  }
  await requireOutput({ ...writing, output: join(output, tree) });
}

/** @throws ModeldlError USAGE where links lead out of a directory */
async function requireConfined(
  { output, tree, config, draft, serving }: PlannedLayout,
  directory: string,
): Promise<void> {
  // Without it there are no links in it either.
  if (!(await isDirectory(output))) return;
  const parts = [
    tree,
    ...(config === undefined ? [] : [config]),
    ...(draft === undefined ? [] : [`${tree}/${draft.directory}`]),
    ...(serving.source_loras?.adapters ?? []).map((adapter) => `${tree}/${loraDirectory(adapter)}`),
  ];
  for (const part of parts) {
    const path = join(output, part);
    if (await isBelow(directory, path)) continue;
    throw new ModeldlError('USAGE', `A link leads out of ${directory}: ${path}`, {
      hint: 'choose another name for it, or another directory',
      details: { file: path },
    });
  }
}

async function readServerConfig(file: string): Promise<void> {
  const text = await textOf(file);
  if (text !== undefined) parseServerConfig(text, file);
}

/** Paths that a layout will have, for a plan. */
export function describeLayout(layout: PlannedLayout): WrittenLayout {
  const { kind, output, name, task, dialect, directory, tree, config } = layout;
  const served = config === undefined ? null : join(output, config);
  return {
    kind,
    name,
    task,
    ovmsVersion: dialect.version,
    directory: join(output, directory),
    files: join(output, tree),
    graph: task === 'plain' ? null : join(output, tree, GRAPH),
    config: served,
  };
}

/**
 * Writes the model, then what serves it, and tells the server last: a model in its configuration is whole.
 * @throws ModeldlError UNSUPPORTED when the server would not load it, USAGE, CONFIG, DISK, BUSY
 */
export async function writeLayout(
  context: Context,
  model: StoredModel,
  layout: PlannedLayout,
  companions: Companions,
  writing: Writing,
): Promise<WrittenLayout> {
  const { output, tree, task, config, draft } = layout;
  if (writing.confined !== undefined) await requireConfined(layout, writing.confined);
  const paths = model.record.files.map(({ path }) => path);
  if (config !== undefined) refuseUnservable(task, model.record.reference, paths);
  const root = join(output, tree);
  const loraPaths = pathsOf(layout, companions);
  await taking(context, root, async () => {
    await writeModelOutput(context, model, {
      ...writing,
      output: root,
      texts: layoutTexts(layout, loraPaths),
    });
    if (draft !== undefined && companions.draft !== undefined) {
      await writeModelOutput(context, companions.draft, { ...writing, output: join(root, draft.directory) });
    }
    for (const adapter of layout.serving.source_loras?.adapters ?? []) {
      const lora = companions.loras.get(adapter.alias);
      if (lora === undefined) continue;
      await writeModelOutput(context, lora, { ...writing, output: join(root, loraDirectory(adapter)) });
    }
  });
  if (config !== undefined) await register(context, layout, join(output, config));
  return describeLayout(layout);
}

/** Where each adapter's one file will be. @throws ModeldlError UNSUPPORTED for an adapter of several files */
export function pathsOf(layout: PlannedLayout, { loras }: Companions): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const adapter of layout.serving.source_loras?.adapters ?? []) {
    const files = loras.get(adapter.alias)?.record.files.map(({ path }) => path) ?? [];
    const weights = files.filter((path) => path.endsWith('.safetensors'));
    const [file] = adapter.file === undefined ? weights : weights.filter((path) => path === adapter.file);
    if (file === undefined || (adapter.file === undefined && weights.length > 1)) {
      const found = weights.length === 0 ? 'none' : weights.join(', ');
      throw new ModeldlError(
        'UNSUPPORTED',
        `Expected one .safetensors file in the adapter ${adapter.repository}, got ${found}`,
        { hint: `name it: \`${adapter.alias}=${adapter.repository}@file.safetensors\`` },
      );
    }
    paths.set(adapter.alias, `${loraDirectory(adapter)}/${file}`);
  }
  return paths;
}

export async function register(context: Context, layout: PlannedLayout, file: string): Promise<void> {
  const { name } = layout;
  // Until there is one, it is where its directory is, however that was named.
  const target = await realFile(join(await realFile(dirname(file)), basename(file)));
  let renamed: readonly (readonly [string, string])[] = [];
  await taking(context, target, () =>
    replaceText(target, (before) => {
      const after = withModel(before === undefined ? {} : parseServerConfig(before, file), {
        name,
        basePath: name,
      });
      renamed = after.renamed;
      return after.text;
    }),
  );
  for (const [from, to] of renamed) {
    context.emit({ type: 'note', message: `The served model ${from} is now called ${to}: ${file}` });
  }
}

/** One process at a time changes a directory or file; where there is no cache to claim it in, nobody waits. */
export async function taking<Result>(
  context: Context,
  path: string,
  work: () => Promise<Result>,
): Promise<Result> {
  if (!context.store.writable) return work();
  return withClaim(context.store, await context.session(), `output ${path}`, waitingFor(context, path), work);
}

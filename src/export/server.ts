/** The repositories of model servers, as `convert --layout` writes them: an IR that is stored, with what serves it. */
import { basename, dirname, join } from 'node:path';
import type { Context } from '../context.js';
import { bringCompanions } from '../convert.js';
import { ModeldlError } from '../errors.js';
import {
  layoutRequest,
  layoutTexts,
  loraDirectory,
  planLayout,
  type PlannedLayout,
} from '../layout/layout.js';
import { parseServerConfig, withModel } from '../layout/server-config.js';
import { refuseUnservable } from '../layout/tasks.js';
import { listModels, type StoredModel } from '../store/models.js';
import { storeOf } from '../lower.js';
import { PRECISIONS } from '../converter.js';
import { saidBy } from '../prebuilt.js';
import { pathsOf, register, requireLayout } from '../repository.js';
import { localTexts } from '../small-text.js';
import { MANIFEST } from '../store/output.js';
import { deviceSlug } from '../store/record.js';
import type { Laid, Work } from './layouts.js';
import { distinct, modelEntries, textFile, type TreeEntry } from './tree.js';

/** @throws ModeldlError USAGE, CONFIG, DISK, UNSUPPORTED for what is no IR or what OVMS cannot serve */
export async function serverTree(
  context: Context,
  kind: 'ovms' | 'model-download',
  { models, to, time, overwrite, options }: Work,
): Promise<Laid> {
  const output = to.kind === 'directory' ? to.path : '';
  const layouts: PlannedLayout[] = [];
  const entries: TreeEntry[] = [];
  for (const { model, asked, origin } of models) {
    const { name, ovmsVersion, settings = {} } = options;
    const request = layoutRequest(
      kind,
      {
        output,
        settings,
        ...(name === undefined ? {} : { name }),
        ...(ovmsVersion === undefined ? {} : { ovmsVersion }),
      },
      asked,
      [],
    );
    const facts = await factsOf(context, model, options.device);
    const layout = planLayout(request, facts);
    const { task, config, directory } = layout;
    const other = layouts.find((before) => before.directory === directory);
    if (other !== undefined) {
      throw new ModeldlError('USAGE', `Two models would be served as ${layout.name}`, {
        hint: 'export them by a command each, with `--name`',
      });
    }
    if (config !== undefined)
      refuseUnservable(
        task,
        model.record.reference,
        model.record.files.map(({ path }) => path),
      );
    if (to.kind === 'directory') await requireLayout(layout, { overwrite });
    layouts.push(layout);
    entries.push(...(await entriesOf(context, model, origin, layout, time)));
  }
  const configured = layouts.filter(({ config }) => config !== undefined);
  const laid = {
    tree: {
      entries: distinct(to.kind === 'directory' ? entries : [...entries, ...configEntries(configured)]),
      owned: ownedBy(layouts, entries),
    },
    names: layouts.map(({ name }) => name),
  };
  if (to.kind !== 'directory') return laid;
  const finish = async (): Promise<readonly string[]> => {
    for (const layout of configured) await register(context, layout, join(output, layout.config ?? ''));
    return configured.map(({ config }) => config ?? '');
  };
  return { ...laid, finish };
}

async function entriesOf(
  context: Context,
  model: StoredModel,
  origin: string,
  layout: PlannedLayout,
  time: number,
): Promise<readonly TreeEntry[]> {
  const { tree, draft, serving, device } = layout;
  const precision = model.record.conversion?.precision;
  const companions = await bringCompanions(context, layout, {
    device,
    ...(precision === undefined ? {} : { precision }),
  });
  const texts = layoutTexts(layout, pathsOf(layout, companions));
  const entries = [...modelEntries(model, { place: tree, origin, time }, texts)];
  const add = (companion: StoredModel, below: string): void => {
    const { reference } = companion.record;
    entries.push(...modelEntries(companion, { place: `${tree}/${below}`, origin: reference, time }));
  };
  if (draft !== undefined && companions.draft !== undefined) add(companions.draft, draft.directory);
  for (const adapter of serving.source_loras?.adapters ?? []) {
    const lora = companions.loras.get(adapter.alias);
    if (lora !== undefined) add(lora, loraDirectory(adapter));
  }
  return entries;
}

/** What `convert` knows of the model when it plans the layout. @throws ModeldlError UNSUPPORTED for what is no IR */
async function factsOf(context: Context, model: StoredModel, asked: string | undefined) {
  const { record } = model;
  const { reference, id, conversion, task: hubTask } = record;
  const paths = record.files.map(({ path }) => path);
  if (!paths.some((path) => path.endsWith('.xml'))) {
    throw new ModeldlError(
      'UNSUPPORTED',
      `A model server takes OpenVINO IR, which this is not: ${reference}`,
      {
        hint: `convert it with \`modeldl convert ${reference}\`, and export what \`modeldl list\` calls it then`,
        details: { reference },
      },
    );
  }
  const device = asked?.toUpperCase() ?? conversion?.device ?? 'CPU';
  const shared = { id, hubTask, device, deviceSlug: deviceSlug(device) };
  if (conversion === undefined) {
    const precision = await precisionOf(model);
    return { ...shared, reference: id, files: paths, precision };
  }
  const origin = (await listModels(storeOf(context, model))).find(({ path }) => path === conversion.origin);
  return {
    ...shared,
    reference: conversion.originReference,
    task: conversion.task,
    // Of the model before its conversion, as far as it is still there.
    files: [...paths, ...(origin?.record.files.map(({ path }) => path) ?? [])],
    precision: conversion.precision,
  };
}

/** Of a published IR, by what it says of itself, else by its name. */
async function precisionOf({ directory, record: { id, subpath = '' } }: StoredModel): Promise<string> {
  const said = saidBy(await localTexts(directory)('openvino_config.json')).precisions[0];
  const words = `${id}/${subpath}`.toLowerCase().split(/[^a-z0-9]+/);
  return said ?? PRECISIONS.find((known) => words.includes(known)) ?? 'fp16';
}

/** The server's configuration in an archive, which has nobody else's. */
function configEntries(layouts: readonly PlannedLayout[]): readonly TreeEntry[] {
  const texts = new Map<string, string>();
  for (const { config = '', name } of layouts) {
    const before = texts.get(config);
    const { text } = withModel(before === undefined ? {} : parseServerConfig(before, config), {
      name,
      basePath: name,
    });
    texts.set(config, text);
  }
  return [...texts].map(([path, text]) => textFile(path, text));
}

/** Directories of a model and of what it comes with: each has a manifest. */
function ownedBy(layouts: readonly PlannedLayout[], entries: readonly TreeEntry[]): readonly string[] {
  return entries.flatMap(({ path }) => {
    const directory = dirname(path);
    const isModels = layouts.some(({ tree }) => `${directory}/`.startsWith(`${tree}/`));
    return basename(path) === MANIFEST && isModels ? [directory] : [];
  });
}

/** The layouts of an export: what each makes of stored models. */
import { isAbsolute, join } from 'node:path';
import { hubNamed, settingsContext, type Context } from '../context.js';
import { ModeldlError } from '../errors.js';
import { LAYOUTS } from '../layout/layout.js';
import { defaultName } from '../layout/names.js';
import type { Reference } from '../reference.js';
import { deviceSlug, type ModelRecord } from '../store/record.js';
import type { StoredModel } from '../store/models.js';
import { cacheTree } from './hf-cache.js';
import { describeRegistered } from './program.js';
import { serverTree } from './server.js';
import type { Target } from './target.js';
import { distinct, modelEntries, bytesFile, type Tree } from './tree.js';

export interface LayoutOptions {
  /** Of the model in the layout, where that has names. */
  readonly name?: string;
  readonly ovmsVersion?: string;
  /** Of a published IR, what it is served on; of a conversion in place of its own. */
  readonly device?: string;
  /** Settings of the model server. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A model that is exported, as it was asked for. */
export interface Exported {
  readonly requested: string;
  readonly asked: Reference;
  /** Pinned; without what only this machine knows. */
  readonly origin: string;
  readonly model: StoredModel;
}

export interface Work {
  readonly models: readonly Exported[];
  readonly to: Target;
  readonly time: number;
  readonly overwrite: boolean;
  readonly options: LayoutOptions;
}

/** What a layout makes of models. */
export interface Laid {
  readonly tree: Tree;
  /** What each model is called there, in the order of the models: a directory below the target, or a name. */
  readonly names: readonly string[];
  /** What is done last in a directory, where others have a part in a file. @returns paths that it wrote */
  readonly finish?: () => Promise<readonly string[]>;
}

export type ExportLayout = 'plain' | 'hf-cache' | 'ovms' | 'model-download' | 'program';

const TAKES: Readonly<Record<keyof LayoutOptions, { flag: string; by: readonly ExportLayout[] }>> = {
  name: { flag: '--name', by: ['hf-cache', 'ovms', 'model-download', 'program'] },
  ovmsVersion: { flag: '--ovms-version', by: ['ovms', 'model-download'] },
  device: { flag: '--device', by: ['ovms', 'model-download'] },
  settings: { flag: '--set', by: ['ovms', 'model-download'] },
};

/** Programs with a store of their own give their names to layouts. */
export function layoutNames(context: Context): readonly string[] {
  const programs = context.hubs.flatMap(({ name, program }) => (program === undefined ? [] : [name]));
  const [plain, ...servers] = LAYOUTS;
  return [plain, 'hf-cache', ...programs, ...servers];
}

/** Refuses a layout that there is not, and options that mean nothing in it. @throws ModeldlError USAGE */
export function readLayout(
  context: Context,
  text: string,
  options: LayoutOptions,
  count: number,
): ExportLayout {
  const names = layoutNames(context);
  if (!names.includes(text)) {
    throw new ModeldlError('USAGE', `Unknown layout: ${text}`, {
      hint: `expected one of ${names.join(', ')}`,
    });
  }
  const own = (['plain', 'hf-cache', 'ovms', 'model-download'] as const).find((known) => known === text);
  const layout = own ?? 'program';
  for (const key of ['name', 'ovmsVersion', 'device', 'settings'] as const) {
    const { flag, by } = TAKES[key];
    if (options[key] === undefined || by.includes(layout)) continue;
    throw new ModeldlError('USAGE', `\`${flag}\` means nothing in the layout ${text}`, {
      hint: `leave it out; it is for ${by.map((one) => (one === 'program' ? 'ollama' : one)).join(', ')}`,
    });
  }
  if (options.name !== undefined && count > 1) {
    throw new ModeldlError('USAGE', '`--name` names one model, and several are exported', {
      hint: 'leave it out, or export them by a command each into one directory',
    });
  }
  return layout;
}

/** @throws ModeldlError USAGE, UNSUPPORTED, CONFIG for models that do not fit the layout */
export async function layOut(
  context: Context,
  layout: ExportLayout,
  text: string,
  work: Work,
): Promise<Laid> {
  if (layout === 'plain') return plain(context, work);
  if (layout === 'hf-cache') return cacheTree(context, work);
  if (layout === 'program') return registered(context, text, work);
  return serverTree(context, layout, work);
}

/** The only model in the target itself, several each in a directory of its own. */
function plain(context: Context, { models, time }: Work): Laid {
  const names = models.length === 1 ? [''] : distinctPlaces(context, models);
  const entries = models.flatMap(({ model, origin }, at) =>
    modelEntries(model, { place: names[at] ?? '', origin, time }),
  );
  return { tree: { entries: distinct(entries), owned: names }, names };
}

/** @throws ModeldlError USAGE for two models that would get one directory, or one the other's */
function distinctPlaces(context: Context, models: readonly Exported[]): readonly string[] {
  const names = models.map(({ model }) => placeOf(context, model.record));
  for (const [at, one] of names.entries()) {
    const other = names.findIndex(
      (name, index) => index < at && (`${one}/`.startsWith(`${name}/`) || `${name}/`.startsWith(`${one}/`)),
    );
    if (other < 0) continue;
    const both = [other, at].map((index) => models[index]?.requested ?? '').join(' and ');
    throw new ModeldlError('USAGE', `Two models would share the directory ${names[other] ?? ''}: ${both}`, {
      hint: 'export them by a command each, to different targets',
    });
  }
  return names;
}

/** `org/name`, with what a subpath and a conversion add. */
export function placeOf(
  context: Context,
  { hub, id, subpath, conversion }: Pick<ModelRecord, 'hub' | 'id' | 'subpath' | 'conversion'>,
): string {
  // A path of this machine is named by its end, as an address is.
  const whole = hubNamed(context, hub).syntax.paths === true || isAbsolute(id);
  const name = whole ? defaultName({ id, subpath: id }) : defaultName({ id });
  const place = [name, ...(subpath === undefined ? [] : [subpath])].join('/');
  return conversion === undefined
    ? place
    : `${place}-${conversion.precision}-${deviceSlug(conversion.device)}`;
}

/** As a program of a hub keeps its models. */
async function registered(context: Context, text: string, { models, to, options }: Work): Promise<Laid> {
  const hub = hubNamed(context, text);
  const { program } = hub;
  if (program === undefined) throw new Error(`Expected a program of ${text}`);
  const names: string[] = [];
  const entries: Tree['entries'][number][] = [];
  for (const { model } of models) {
    const directory = to.kind === 'directory' ? to.path : '/nonexistent';
    const registration = await program.register(
      describeRegistered(model),
      options.name,
      settingsContext(context, hub),
      directory,
    );
    const { name, contents, entry, notes } = registration;
    if (names.includes(name)) {
      throw new ModeldlError('USAGE', `Two models would have the name ${name}`, {
        hint: 'export them by a command each, with `--name`',
      });
    }
    for (const message of notes) context.emit({ type: 'note', message });
    names.push(name);
    const known = new Map(
      model.record.files.map(({ path, sha256 }) => [join(model.directory, path), sha256]),
    );
    entries.push(
      ...contents.map((content) => {
        const sha256 = typeof content.from === 'string' ? known.get(content.from) : undefined;
        return { ...content, ...(sha256 === undefined ? {} : { sha256 }), role: 'named' as const };
      }),
      {
        ...bytesFile(entry.path, entry.bytes),
        role: 'entry' as const,
        isSame: (found: Uint8Array) => registration.isSame(found),
      },
    );
  }
  return { tree: { entries: distinct(entries), owned: [] }, names };
}

/** Which project, model, version and variant a reference means. Pure but for the version of an id that is a variant's. */
import { ModeldlError } from '../../src/errors.js';
import { nearestNames } from '../nearest.js';
import type { Model, Project, Variant, Version } from './platform.js';
import { written, type Named } from './reference.js';

export interface Asked extends Named {
  readonly revision?: string;
  /** Of the server. */
  readonly host: string;
}

/** Formats and precisions, likeliest first: what runs everywhere without loss that anybody sees. */
const FORMATS = ['openvino', 'onnx', 'pytorch'];
const PRECISIONS = ['fp16', 'fp32', 'int8', 'int4'];

/** @throws ModeldlError NOT_FOUND, USAGE when the name is several projects' */
export function chooseProject(projects: readonly Project[], asked: Asked): Project {
  const [project, ...others] = named(projects, asked.project, ({ name }) => [name]);
  if (project === undefined) {
    const near = nearestNames(
      asked.project,
      projects.map(({ name }) => name),
    );
    throw missing(
      asked,
      `there is no project ${asked.project}`,
      near.length === 0
        ? 'the account sees no project at all: ask for a role in one'
        : `the nearest ${near.length > 1 ? 'are' : 'is'} ${near.map((name) => `\`${written({ ...asked, project: name })}\``).join(', ')}`,
      near,
    );
  }
  if (others.length === 0) return project;
  const ids = [project, ...others].map(({ id }) => id);
  throw ambiguous(
    asked,
    `project ${asked.project}`,
    ids,
    ids.map((id) => written({ ...asked, project: id })),
  );
}

/** The model, and the version that its name or id names already. @throws ModeldlError NOT_FOUND, USAGE */
export function chooseModel(
  models: readonly Model[],
  asked: Asked,
): { readonly model: Model; readonly version?: Version } {
  const [model, ...others] = named(models, asked.model, ({ name }) => [name]);
  if (model !== undefined && others.length > 0) {
    const ids = [model, ...others].map(({ id }) => id);
    throw ambiguous(
      asked,
      `model ${asked.model} of ${asked.project}`,
      ids,
      ids.map((id) => written({ ...asked, model: id })),
    );
  }
  if (model !== undefined) {
    if (model.versions.length > 0) return { model };
    throw missing(
      asked,
      `${model.name} is not trained yet, or its files were deleted`,
      trainedHint(models, asked),
    );
  }
  const versions = models.flatMap((owner) => owner.versions.map((version) => ({ owner, ...version })));
  const [version, ...more] = named(versions, asked.model, ({ title }) => titled(title));
  if (version !== undefined && more.length === 0) return { model: version.owner, version };
  if (version !== undefined) {
    const ids = [version, ...more].map(({ id }) => id);
    throw ambiguous(
      asked,
      `model ${asked.model} of ${asked.project}`,
      ids,
      ids.map((id) => written({ ...asked, model: id })),
    );
  }
  throw missing(
    asked,
    `${asked.project} has no model ${asked.model}`,
    trainedHint(models, asked),
    modelsNear(models, asked),
  );
}

/** A version by its number, name or id; undefined for what may be the id of a variant. */
export function findVersion(model: Model, revision: string): Version | undefined {
  return named(model.versions, revision, ({ names, title }) => [...names, ...titled(title)])[0];
}

export function unknownVersion(model: Model, revision: string, asked: Asked): ModeldlError {
  const names = model.versions.map(({ names: [name], id }) => name ?? id);
  const offered = names.slice(0, 5).map((name) => `\`${written(asked, name)}\``);
  return missing(
    asked,
    `${model.name} has no version ${revision} that is trained`,
    `it has ${offered.join(', ')}${names.length > offered.length ? ` and ${names.length - offered.length} more` : ''}`,
    names,
  );
}

/** `openvino-int8`, `openvino-fp16-xai`. */
export function variantName({ format, precision, explains }: Variant): string {
  return `${format}-${precision}${explains ? '-xai' : ''}`;
}

/**
 * By its whole name, its precision or its format alone; without any the likeliest.
 * @throws ModeldlError NOT_FOUND naming what there is
 */
export function chooseVariant(variants: readonly Variant[], version: Version, asked: Asked): Variant {
  const wanted = asked.variant?.toLowerCase();
  const sorted = [...variants].sort(
    (a, b) =>
      order(FORMATS, a.format) - order(FORMATS, b.format) ||
      order(PRECISIONS, a.precision) - order(PRECISIONS, b.precision) ||
      Number(a.explains) - Number(b.explains),
  );
  const found =
    sorted.find((variant) => variantName(variant) === wanted) ??
    sorted.find((variant) => answers(variant, wanted));
  if (found !== undefined) return found;
  const names = [...new Set(sorted.map(variantName))];
  const revision = version.names[0] ?? version.id;
  throw missing(
    asked,
    `version ${revision} has no ${asked.variant ?? 'variant'}`,
    names.length === 0
      ? 'export or optimise it in Geti first'
      : `it has ${names.map((variant) => `\`${written({ ...asked, variant }, asked.revision)}\``).join(', ')}; others are made in Geti`,
    names,
  );
}

/** The name, where it is nobody else's and can be typed; else the id. */
export function properName<Owner extends { readonly id: string; readonly name: string }>(
  one: Owner,
  all: readonly Owner[],
): string {
  const same = all.filter(({ name }) => name.toLowerCase() === one.name.toLowerCase());
  return same.length > 1 || one.name.trim() === '' || /\p{Cc}/u.test(one.name) ? one.id : one.name;
}

function answers(variant: Variant, wanted: string | undefined): boolean {
  if (wanted === undefined) return true;
  const plain = `${variant.format}-${variant.precision}`;
  // What the microservice calls the model that the others were made of.
  const words =
    variant.format === 'pytorch' ? [plain, 'pytorch', 'base'] : [plain, variant.format, variant.precision];
  return words.includes(wanted);
}

function order(list: readonly string[], word: string): number {
  const at = list.indexOf(word);
  return at < 0 ? list.length : at;
}

function titled(title: string | undefined): readonly string[] {
  return title === undefined ? [] : [title];
}

/** Those of this id, else of exactly this name, else of it in another case. */
function named<One extends { readonly id: string }>(
  all: readonly One[],
  text: string,
  namesOf: (one: One) => readonly string[],
): readonly One[] {
  const byId = all.filter(({ id }) => id === text);
  if (byId.length > 0) return byId;
  const exact = all.filter((one) => namesOf(one).includes(text));
  if (exact.length > 0) return exact;
  const wanted = text.toLowerCase();
  return all.filter((one) => namesOf(one).some((name) => name.toLowerCase() === wanted));
}

function modelsNear(models: readonly Model[], asked: Asked): readonly string[] {
  return nearestNames(
    asked.model,
    models.filter(({ versions }) => versions.length > 0).map(({ name }) => name),
  );
}

function trainedHint(models: readonly Model[], asked: Asked): string {
  const near = modelsNear(models, asked).map((model) => `\`${written({ ...asked, model })}\``);
  return near.length === 0
    ? `nothing in ${asked.project} is trained yet`
    : `trained there: ${near.join(', ')}`;
}

function missing(asked: Asked, why: string, hint: string, nearest: readonly string[] = []): ModeldlError {
  const { project, model, host } = asked;
  return new ModeldlError('NOT_FOUND', `Geti at ${host} has no ${project}/${model}: ${why}`, {
    hint,
    details: { nearest },
  });
}

function ambiguous(
  asked: Asked,
  what: string,
  ids: readonly string[],
  texts: readonly string[],
): ModeldlError {
  return new ModeldlError('USAGE', `Several are called ${what} at ${asked.host}: ${ids.join(', ')}`, {
    hint: `name one by its id: ${texts.map((text) => `\`${text}\``).join(', ')}`,
    details: { candidates: ids },
  });
}

/** From names to one archive: the variant of a version. */
import type { HubContext, Snapshot } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import {
  chooseModel,
  chooseProject,
  chooseVariant,
  findVersion,
  properName,
  unknownVersion,
  variantName,
  type Asked,
} from './choose.js';
import { openPlatform } from './open.js';
import type { Model, Platform, Project, Variant, Version } from './platform.js';
import { readId, written, writeId } from './reference.js';
import { ModeldlError } from '../../src/errors.js';

/** Ids of models: of 2.x, and of 3.x. */
const MODEL_ID = /^([0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** Listings, one request each: of the account (2.x: and its workspaces), its projects, the models of one; 2.x: the model. */
export async function resolve(reference: Reference, context: HubContext): Promise<Snapshot> {
  const { revision } = reference;
  const platform = await openPlatform(context);
  const { host } = new URL(platform.endpoint);
  const asked: Asked = { ...readId(reference.id), ...(revision === undefined ? {} : { revision }), host };
  const projects: Project[] = [];
  for await (const project of platform.projects()) projects.push(project);
  const project = chooseProject(projects, asked);
  const models = await platform.models(project);
  const { model, version } = chooseModel(models, asked);
  const found = await chooseVersion(platform, project, model, version, asked);
  const { variant } = found;
  return {
    hub: 'geti',
    id: writeId({
      project: properName(project, projects),
      model: properName(model, models),
      variant: variantName(variant),
    }),
    revision: variant.id,
    files: [{ path: `${variantName(variant)}.zip`, url: variant.url, unpack: { format: 'zip' } }],
    metadata: {
      ...(model.task === undefined ? {} : { task: model.task }),
      library: variant.format,
      page: found.version.page,
    },
  };
}

interface Found {
  readonly version: Version;
  readonly variant: Variant;
}

/** A revision is a version by number, name or id, or the id of a variant: that is what a model is stored under. */
async function chooseVersion(
  platform: Platform,
  project: Project,
  model: Model,
  meant: Version | undefined,
  asked: Asked,
): Promise<Found> {
  const { revision } = asked;
  const version = revision === undefined ? (meant ?? model.versions[0]) : findVersion(model, revision);
  if (version !== undefined) {
    const variants = await platform.variants(project, model, version);
    // 2.x: the model that was trained and its variant in PyTorch have one id.
    const same = variants.find(({ id }) => id === revision && isNamed(asked, id, variants));
    return { version, variant: same ?? chooseVariant(variants, version, asked) };
  }
  if (revision !== undefined && MODEL_ID.test(revision)) {
    for (const each of model.versions) {
      const variants = await platform.variants(project, model, each);
      const variant = variants.find(({ id }) => id === revision);
      if (variant !== undefined) return { version: each, variant: agreed(variant, asked) };
    }
  }
  throw unknownVersion(model, revision ?? '', asked);
}

/** Is this variant the one that is asked for by name? */
function isNamed(asked: Asked, id: string, variants: readonly Variant[]): boolean {
  return variants.some((variant) => variant.id === id && variantName(variant) === asked.variant);
}

/** @throws ModeldlError NOT_FOUND when the reference names another variant beside the id */
function agreed(variant: Variant, asked: Asked): Variant {
  const name = variantName(variant);
  if (asked.variant === undefined || asked.variant === name) return variant;
  const right = written({ ...asked, variant: name }, variant.id);
  throw new ModeldlError(
    'NOT_FOUND',
    `${variant.id} of ${asked.project}/${asked.model} is ${name}, not ${asked.variant}`,
    {
      hint: `write \`${right}\``,
    },
  );
}

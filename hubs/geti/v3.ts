/** Geti 3.x: one application for one user, without organisations and accounts. A model is one training of an architecture. */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import { id, word, type Api } from './api.js';
import type { Model, Platform, Project, Variant, Version } from './platform.js';

const projectSchema = v.object({
  id,
  name: v.string(),
  task: v.optional(v.object({ task_type: v.optional(v.string()) })),
});
const variantSchema = v.object({
  id,
  format: word,
  precision: word,
  files_deleted: v.optional(v.boolean(), false),
});
const modelSchema = v.object({
  id,
  name: v.string(),
  architecture: v.string(),
  training_info: v.optional(
    v.looseObject({ start_time: v.nullish(v.string()), end_time: v.nullish(v.string()) }),
  ),
  variants: v.optional(v.array(variantSchema), []),
  files_deleted: v.optional(v.boolean(), false),
});

type Training = v.InferOutput<typeof modelSchema>;

export const PROJECTS_PATH = 'api/projects';
export const projectsSchema = v.array(projectSchema);

/** @param listed what {@link PROJECTS_PATH} answered */
export function openV3(api: Api, listed: v.InferOutput<typeof projectsSchema>): Platform {
  const tasks = new Map(listed.map((project) => [project.id, project.task?.task_type]));
  const variantsOf = new Map<string, readonly Variant[]>();

  async function models(project: Project): Promise<readonly Model[]> {
    const path = `${PROJECTS_PATH}/${project.id}/models`;
    const trainings = await api.get(v.array(modelSchema), path);
    const page = `${api.endpoint}/projects/${project.id}/models`;
    const task = tasks.get(project.id);
    const architectures = new Map<string, Training[]>();
    for (const training of trainings) {
      const others = architectures.get(training.architecture) ?? [];
      architectures.set(training.architecture, [...others, training]);
      variantsOf.set(training.id, available(api, path, training));
    }
    return [...architectures].map(([architecture, revisions]): Model => {
      const versions = revisions
        .filter((training) => (variantsOf.get(training.id) ?? []).length > 0)
        .sort((a, b) => endOf(b) - endOf(a));
      return {
        id: architecture,
        name: commonName(revisions) ?? architecture,
        ...(task === undefined ? {} : { task }),
        versions: versions.map((training) => ({
          id: training.id,
          names: [training.id.slice(0, 8)],
          title: training.name,
          page,
        })),
      };
    });
  }

  return {
    endpoint: api.endpoint,
    async *projects() {
      await Promise.resolve();
      for (const project of listed) yield { id: project.id, name: project.name };
    },
    models,
    variants: (_project: Project, _model: Model, version: Version) =>
      Promise.resolve(variantsOf.get(version.id) ?? []),
    whoami: () =>
      Promise.reject(
        new ModeldlError(
          'USAGE',
          `Geti at ${new URL(api.endpoint).host} is 3.x, which has no accounts: ${api.endpoint}`,
          {
            hint: 'pull its models without a login',
            details: { url: api.endpoint },
          },
        ),
      ),
  };
}

/** While a training runs there are no variants yet; files may have been deleted since, of one variant or all. */
function available(api: Api, path: string, training: Training): readonly Variant[] {
  if (training.files_deleted) return [];
  return training.variants
    .filter((variant) => !variant.files_deleted)
    .map((variant) => ({
      id: variant.id,
      format: variant.format.toLowerCase(),
      precision: variant.precision.toLowerCase(),
      explains: false,
      url: `${api.endpoint}/${path}/${training.id}/variants/${variant.id}/binary`,
    }));
}

function endOf({ training_info: info }: Training): number {
  const time = Date.parse(info?.end_time ?? info?.start_time ?? '');
  return Number.isNaN(time) ? 0 : time;
}

/** Trainings are called `YOLOX-X (76e07d18)`, after the architecture and their id, until somebody renames them. */
function commonName(trainings: readonly Training[]): string | undefined {
  for (const training of trainings) {
    const [, name, mark] = /^(.+) \(([0-9a-f]{8})\)$/.exec(training.name) ?? [];
    if (name !== undefined && training.id.startsWith(mark ?? '')) return name;
  }
  return undefined;
}

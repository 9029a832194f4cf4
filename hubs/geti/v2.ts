/** Geti 2.x: organisations, workspaces, projects, model groups (one architecture each) and what they were trained to. */
import * as v from 'valibot';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, Identity } from '../../src/hub.js';
import { id, word, type Api } from './api.js';
import {
  textSetting,
  type Model,
  type Platform,
  type Project,
  type Variant,
  type Version,
} from './platform.js';

/** What the SDK asks for. */
const PAGE = 50;
/** Bound on a list, for servers that do not end it. */
const MAX_PAGES = 200;
/** What the SDK prefers among those of one format and precision. */
const OPTIMIZATIONS = ['NNCF', 'POT', 'MO'];
/** States of a model without weights. */
const NOT_TRAINED = ['NOT_READY', 'WEIGHTS_INITIALIZED', 'FAILED'];

const organizationSchema = v.union([
  // Since 2.5.
  v.object({
    organizations: v.pipe(
      v.array(v.object({ organizationId: id, organizationCreatedAt: v.nullish(v.string()) })),
      v.minLength(1),
    ),
  }),
  v.object({ organizationId: id }),
]);
const workspaceSchema = v.object({ id, name: v.string() });
const workspacesSchema = v.union([
  v.array(workspaceSchema),
  v.object({ workspaces: v.array(workspaceSchema) }),
]);
const projectsSchema = v.object({
  projects: v.array(
    v.object({
      id,
      name: v.string(),
      pipeline: v.optional(
        v.object({
          tasks: v.optional(v.array(v.object({ id: v.string(), task_type: v.optional(v.string()) }))),
        }),
      ),
    }),
  ),
});
const scored = {
  performance: v.nullish(v.looseObject({ score: v.nullish(v.unknown()) })),
  score: v.nullish(v.number()),
};
const groupsSchema = v.object({
  model_groups: v.array(
    v.object({
      id,
      name: v.string(),
      task_id: v.optional(v.string()),
      models: v.array(
        v.object({
          id,
          creation_date: v.string(),
          version: v.optional(v.number()),
          ...scored,
          purge_info: v.nullish(v.looseObject({ is_purged: v.optional(v.boolean()) })),
        }),
      ),
    }),
  ),
});
const optimizedSchema = v.object({
  id,
  /** `OpenVINO`, `ONNX`. */
  model_format: word,
  precision: v.array(word),
  has_xai_head: v.nullish(v.boolean()),
  optimization_type: v.nullish(v.string()),
  model_status: v.nullish(v.string()),
  creation_date: v.nullish(v.string()),
  previous_trained_revision_id: v.nullish(id),
});
const modelSchema = v.object({
  precision: v.optional(v.array(word), []),
  optimized_models: v.optional(v.array(optimizedSchema), []),
});
const userSchema = v.looseObject({
  email: v.nullish(v.string()),
  firstName: v.nullish(v.string()),
  secondName: v.nullish(v.string()),
});

export type Organizations = v.InferOutput<typeof organizationSchema>;

/** What a token is for. Its address exists in 2.x only. */
export const ORGANIZATIONS_PATH = 'api/v1/personal_access_tokens/organization';
export const organizationsSchema = organizationSchema;

/** @param organizations what {@link ORGANIZATIONS_PATH} answered */
export function openV2(api: Api, organizations: Organizations, context: HubContext): Platform {
  const organization = textSetting(context, 'organization') ?? earliest(organizations);
  const base = `api/v1/organizations/${encodeURIComponent(organization)}`;
  const tasks = new Map<string, string>();
  let known: Promise<string> | undefined;

  function workspace(): Promise<string> {
    return (known ??= findWorkspace());
  }

  async function findWorkspace(): Promise<string> {
    const set = textSetting(context, 'workspace');
    if (set !== undefined) return set;
    const answer = await api.get(workspacesSchema, `${base}/workspaces`);
    const workspaces = Array.isArray(answer) ? answer : answer.workspaces;
    const [first, ...others] = workspaces;
    if (first !== undefined && others.length === 0) return first.id;
    const url = `${api.endpoint}/${base}/workspaces`;
    if (first === undefined) {
      throw new ModeldlError(
        'NOT_FOUND',
        `This account has no workspace in organisation ${organization}: ${url}`,
        {
          hint: 'ask an administrator for a role in one',
          details: { url },
        },
      );
    }
    const list = workspaces.map((one) => `${one.id} (${one.name})`).join(', ');
    throw new ModeldlError('USAGE', `There are several workspaces at ${new URL(url).host}: ${list}`, {
      hint: 'name one by its id: set GETI_WORKSPACE_ID, or `hubs.geti.workspace`',
      details: { url, workspaces: workspaces.map((one) => one.id) },
    });
  }

  async function inProject(project: Project): Promise<string> {
    return `${base}/workspaces/${encodeURIComponent(await workspace())}/projects/${project.id}`;
  }

  async function* projects(): AsyncGenerator<Project> {
    const path = `${base}/workspaces/${encodeURIComponent(await workspace())}/projects`;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const answer = await api.get(projectsSchema, `${path}?limit=${PAGE}&skip=${page * PAGE}`);
      for (const project of answer.projects) {
        for (const task of project.pipeline?.tasks ?? [])
          if (task.task_type !== undefined) tasks.set(task.id, task.task_type);
        yield { id: project.id, name: project.name };
      }
      if (answer.projects.length < PAGE) return;
    }
  }

  async function models(project: Project): Promise<readonly Model[]> {
    const path = await inProject(project);
    const answer = await api.get(groupsSchema, `${path}/model_groups`);
    const pages = `${api.endpoint}/${path.slice('api/v1/'.length)}/models`;
    return answer.model_groups.map((group): Model => {
      const task = tasks.get(group.task_id ?? '');
      const versions = group.models
        .filter((model) => isTrained(model) && model.purge_info?.is_purged !== true)
        .sort((a, b) => Date.parse(b.creation_date) - Date.parse(a.creation_date));
      return {
        id: group.id,
        name: group.name,
        ...(task === undefined ? {} : { task }),
        versions: versions.map((model) => ({
          id: model.id,
          names: model.version === undefined ? [] : [String(model.version)],
          page: `${pages}/${group.id}/${model.id}`,
        })),
      };
    });
  }

  async function variants(project: Project, model: Model, version: Version): Promise<readonly Variant[]> {
    const path = `${await inProject(project)}/model_groups/${model.id}/models`;
    const answer = await api.get(modelSchema, `${path}/${version.id}`);
    const rank = (type: string | null | undefined): number => {
      const at = OPTIMIZATIONS.indexOf(type ?? '');
      return at < 0 ? OPTIMIZATIONS.length : at;
    };
    const optimized = answer.optimized_models
      .filter(
        ({ precision, model_status: status }) => precision.length > 0 && !NOT_TRAINED.includes(status ?? ''),
      )
      .sort(
        (a, b) =>
          rank(a.optimization_type) - rank(b.optimization_type) ||
          Date.parse(b.creation_date ?? '') - Date.parse(a.creation_date ?? '') ||
          0,
      );
    return [
      ...optimized.map((one): Variant => {
        const trained = one.previous_trained_revision_id ?? version.id;
        return {
          id: one.id,
          format: one.model_format.toLowerCase(),
          precision: precisionOf(one.precision),
          explains: one.has_xai_head === true,
          url: `${api.endpoint}/${path}/${trained}/optimized_models/${one.id}/export`,
        };
      }),
      {
        id: version.id,
        // What is trained is PyTorch always; its weights are a pickle.
        format: 'pytorch',
        precision: precisionOf(answer.precision),
        explains: false,
        url: `${api.endpoint}/${path}/${version.id}/export`,
      },
    ];
  }

  async function whoami(): Promise<Identity> {
    const user = await api.find(userSchema, `${base}/activeUser`);
    const name = [user?.firstName, user?.secondName].filter((part) => part != null && part !== '').join(' ');
    const { email } = user ?? {};
    return {
      name: email != null && email !== '' ? email : name === '' ? `a member of ${organization}` : name,
      organisations: [organization],
    };
  }

  return { endpoint: api.endpoint, projects, models, variants, whoami };
}

/** As the SDK takes it: the one that was there first. */
function earliest(organizations: Organizations): string {
  if ('organizationId' in organizations) return organizations.organizationId;
  const [first] = [...organizations.organizations].sort(
    (a, b) => Date.parse(a.organizationCreatedAt ?? '') - Date.parse(b.organizationCreatedAt ?? '') || 0,
  );
  return first?.organizationId ?? '';
}

function isTrained({
  performance,
  score,
}: {
  performance?: { score?: unknown } | null | undefined;
  score?: number | null | undefined;
}): boolean {
  return score != null || performance?.score != null;
}

/** A model of mixed precisions is called by the lowest. */
function precisionOf(precisions: readonly string[]): string {
  const all = precisions.map((precision) => precision.toLowerCase());
  return ['int4', 'int8', 'fp16', 'fp32'].find((precision) => all.includes(precision)) ?? all[0] ?? 'fp32';
}

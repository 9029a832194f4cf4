/**
 * Local Geti servers of both generations, with answers in the shape of their own. 2.x: accounts with personal access
 * tokens, organisations, workspaces, and archives that are the same for every request. 3.x: no accounts, the web page for
 * every address that it does not know, and archives that are packed for each request and streamed.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { ServerFault } from '../hubs/conformance.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import type { Certificate } from '../transfer/certificate.js';
import { zip } from '../transfer/make-archive.js';

export interface GetiVariant {
  /** `OpenVINO`, `ONNX`, `PyTorch`. */
  readonly format: string;
  /** `FP16`. */
  readonly precision: string;
  readonly files: Readonly<Record<string, string | Buffer>>;
  readonly explains?: boolean;
  /** 2.x: `POT`. */
  readonly optimization?: string;
  /** 2.x: `SUCCESS`; its precision is told only then. */
  readonly status?: string;
  /** 3.x. */
  readonly deleted?: boolean;
}

export interface GetiVersion {
  /** ISO 8601. */
  readonly created: string;
  readonly variants: readonly GetiVariant[];
  /** 2.x: no score yet, 3.x: no variants. */
  readonly untrained?: boolean;
  /** Its files were deleted to save space. */
  readonly purged?: boolean;
  /** 3.x: what somebody called it. */
  readonly name?: string;
}

export interface GetiModel {
  readonly name: string;
  /** 3.x. */
  readonly architecture?: string;
  readonly versions: readonly GetiVersion[];
}

export interface GetiProject {
  readonly name: string;
  readonly task?: string;
  readonly models: readonly GetiModel[];
}

export interface GetiOptions {
  readonly generation: 2 | 3;
  readonly projects: readonly GetiProject[];
  /** 2.x: the only token that is taken. */
  readonly token?: string;
  /** 2.x: what is answered without a token. Default 401. */
  readonly anonymous?: '401' | 'page' | 'redirect';
  /** 2.x: names of workspaces; the projects lie in the first. */
  readonly workspaces?: readonly string[];
  /** 2.x before 2.5 tells one organisation only. */
  readonly old?: boolean;
  readonly certificate?: Certificate;
}

/** An id as 2.x has them, made of a name so that tests know it: 24 hex digits. */
export function objectId(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 24);
}

/** An id as 3.x has them. */
export function uuid(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}

export const ORGANIZATION = '11111111-2222-4333-8444-555555555555';
export const TOKEN = 'geti_pat_open-sesame';

export interface Geti {
  /** What GETI_HOST is set to. */
  readonly endpoint: string;
  readonly server: TestServer;
  /** Paths that were asked for, with queries. */
  asked(): readonly string[];
  /** All of it, from now on. */
  set(projects: readonly GetiProject[]): void;
  /** What every request with the right token is answered with, until `undefined`. */
  refuse(route: Route | undefined): void;
  /** In place of the archive of a variant. */
  swap(variantId: string, route: Route): void;
  /** Addresses that end so are gone, as what is deleted between two requests. */
  drop(ending: string): void;
  /** Ids by the path of names: `shop/SSD/1/openvino-int8`, as far as the path goes. */
  id(path: string): string;
  readonly setFault: (fault: ServerFault) => void;
  readonly close: () => Promise<void>;
}

const PAGE: Route = {
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body: '<!doctype html><title>Geti</title>',
};

export async function startGeti(options: GetiOptions): Promise<Geti> {
  let { projects } = options;
  let refusal: Route | undefined;
  let dropped: string | undefined;
  let packed = 0;
  const swapped = new Map<string, Route>();
  const idOf = options.generation === 2 ? objectId : uuid;
  const workspaces = options.workspaces ?? ['Default'];

  const server = await startServer((request, path) => {
    if (dropped !== undefined && path.endsWith(dropped))
      return options.generation === 2 ? notFound2() : notFound3(path);
    return options.generation === 2 ? second(request, path) : third(request, path);
  }, options.certificate);

  function second(request: IncomingMessage, path: string): Route | undefined {
    if (!path.startsWith('/api/')) return PAGE;
    const key = request.headers['x-api-key'];
    if (key === undefined && options.token !== undefined) return anonymous();
    if (options.token !== undefined && key !== options.token)
      return json({ error_code: 'unauthorized', message: 'Invalid API key', http_status: 401 }, 401);
    if (refusal !== undefined) return refusal;
    if (path === '/api/v1/product_info')
      return json({ 'product-version': '2.10.1', 'build-version': '2.10.1' });
    if (path === '/api/v1/personal_access_tokens/organization')
      return json(
        options.old === true
          ? { organizationId: ORGANIZATION }
          : {
              organizations: [
                {
                  organizationId: '99999999-2222-4333-8444-555555555555',
                  organizationCreatedAt: '2025-05-01T00:00:00Z',
                },
                { organizationId: ORGANIZATION, organizationCreatedAt: '2024-05-01T00:00:00Z' },
              ],
            },
      );
    const base = `/api/v1/organizations/${ORGANIZATION}`;
    if (!path.startsWith(`${base}/`)) return notFound2();
    const rest = path.slice(base.length + 1);
    if (rest === 'activeUser')
      return json({ id: 'u1', firstName: 'Ada', secondName: 'L', email: 'ada@example.com', status: 'ACT' });
    if (rest === 'workspaces')
      return json({ workspaces: workspaces.map((name) => ({ id: objectId(`workspace ${name}`), name })) });
    const inWorkspace = `workspaces/${objectId(`workspace ${workspaces[0] ?? ''}`)}/projects`;
    if (!rest.startsWith(inWorkspace)) return notFound2();
    return secondProjects(new URL(request.url ?? '', server.origin), rest.slice(inWorkspace.length + 1));
  }

  function anonymous(): Route {
    if (options.anonymous === 'page') return PAGE;
    if (options.anonymous === 'redirect')
      return { status: 302, headers: { location: `${server.origin}/dex/auth?state=x` } };
    return json({ error_code: 'unauthorized', message: 'Missing API key', http_status: 401 }, 401);
  }

  function secondProjects(url: URL, rest: string): Route {
    if (rest === '') {
      const skip = Number(url.searchParams.get('skip'));
      const limit = Number(url.searchParams.get('limit'));
      return json({
        projects: projects.slice(skip, skip + limit).map((project) => ({
          id: idOf(project.name),
          name: project.name,
          creation_time: '2024-04-25T19:16:51.700000+00:00',
          pipeline: {
            connections: [],
            tasks: [
              { id: 'dataset', title: 'Dataset', task_type: 'dataset' },
              {
                id: idOf(`${project.name} task`),
                title: 'Detection',
                task_type: project.task ?? 'detection',
              },
            ],
          },
        })),
        project_counts: projects.length,
        next_page: null,
      });
    }
    const [projectId, kind, groupId, , modelId, optimized, optimizedId] = rest.split('/');
    const project = projects.find(({ name }) => idOf(name) === projectId);
    if (project === undefined || kind !== 'model_groups') return notFound2();
    if (groupId === undefined)
      return json({ model_groups: project.models.map((model) => group(project, model)) });
    const model = project.models.find(({ name }) => idOf(`${project.name}/${name}`) === groupId);
    const at =
      model?.versions.findIndex((_version, index) => versionId(project, model, index) === modelId) ?? -1;
    const version = model?.versions[at];
    if (model === undefined || version === undefined) return notFound2();
    if (optimized === undefined) return json(detail(project, model, at, version));
    const variant = version.variants.find(
      (one) => variantId(project, model, at, one) === (optimized === 'export' ? modelId : optimizedId),
    );
    if (variant === undefined || !rest.endsWith('/export')) return notFound2();
    const swap = swapped.get(variantId(project, model, at, variant));
    return (
      swap ?? {
        headers: {
          'content-type': 'application/zip',
          'content-disposition': `attachment; filename=${variant.format}_exportable_code.zip`,
        },
        body: zip(Object.entries(variant.files).map(([name, content]) => ({ name, content }))),
      }
    );
  }

  function group(project: GetiProject, model: GetiModel): object {
    return {
      id: idOf(`${project.name}/${model.name}`),
      name: model.name,
      model_template_id: 'Custom_Object_Detection_Gen3_SSD',
      task_id: idOf(`${project.name} task`),
      learning_approach: 'fully_supervised',
      models: model.versions.map((version, index) => ({
        id: versionId(project, model, index),
        name: model.name,
        creation_date: version.created,
        score_up_to_date: true,
        active_model: index === model.versions.length - 1,
        size: 21_000_000,
        performance: version.untrained === true ? { score: null } : { score: 0.88 },
        label_schema_in_sync: true,
        version: index + 1,
        purge_info: { is_purged: version.purged === true, purge_time: null, user_uid: null },
        lifecycle_stage: 'active',
      })),
    };
  }

  function detail(project: GetiProject, model: GetiModel, at: number, version: GetiVersion): object {
    const trained = versionId(project, model, at);
    return {
      id: trained,
      name: model.name,
      architecture: model.name,
      version: at + 1,
      creation_date: version.created,
      size: 21_000_000,
      performance: { score: 0.88 },
      precision: ['FP32'],
      target_device: 'CPU',
      training_framework: { type: 'OTX', version: '2.2.0' },
      total_disk_size: 63_000_000,
      optimized_models: version.variants
        .filter(({ format }) => format !== 'PyTorch')
        .map((variant) => {
          const status = variant.status ?? 'SUCCESS';
          return {
            id: variantId(project, model, at, variant),
            name: `${model.name} ${variant.format} ${variant.precision}`,
            version: 1,
            creation_date: version.created,
            model_format: variant.format,
            precision: status === 'SUCCESS' ? [variant.precision] : [],
            has_xai_head: variant.explains === true,
            target_device: 'CPU',
            performance: { score: 0.88 },
            size: 4_420_720,
            optimization_type: variant.optimization ?? 'MO',
            optimization_objectives: {},
            model_status: status,
            configurations: [{ name: 'sample_size', value: 300 }],
            previous_revision_id: trained,
            previous_trained_revision_id: trained,
            optimization_methods: variant.precision === 'INT8' ? ['QUANTIZATION'] : [],
          };
        }),
    };
  }

  function third(_request: IncomingMessage, path: string): Route | undefined {
    if (path === '/health') return json({ status: 'ok' });
    if (path !== '/api/projects' && !path.startsWith('/api/projects/')) return PAGE;
    if (refusal !== undefined) return refusal;
    const [projectId, kind, modelId, , wantedId] = path.slice('/api/projects/'.length).split('/');
    if (projectId === undefined || projectId === '')
      return json(
        projects.map((project) => ({
          id: idOf(project.name),
          name: project.name,
          active_pipeline: false,
          created_at: '2026-01-01T00:00:00Z',
          task: { task_type: project.task ?? 'detection', exclusive_labels: false, labels: [] },
        })),
      );
    const project = projects.find(({ name }) => idOf(name) === projectId);
    if (project === undefined || kind !== 'models') return notFound3(projectId);
    if (modelId === undefined)
      return json(
        project.models.flatMap((model) =>
          model.versions.map((version, at) => training(project, model, version, at)),
        ),
      );
    for (const model of project.models) {
      for (const [at, version] of model.versions.entries()) {
        const variant = version.variants.find((one) => variantId(project, model, at, one) === wantedId);
        if (variant === undefined || versionId(project, model, at) !== modelId || variant.deleted === true)
          continue;
        return swapped.get(variantId(project, model, at, variant)) ?? packedAnew(variant, modelId);
      }
    }
    return notFound3(modelId);
  }

  /** Python's zipfile notes the time at which each file was added: no two answers have the same bytes. */
  function packedAnew(variant: GetiVariant, modelId: string): Route {
    packed += 1;
    const name = `model-${modelId.slice(0, 8)}-${variant.format}-${variant.precision}.zip`.toLowerCase();
    return {
      headers: { 'content-type': 'application/zip', 'content-disposition': `attachment; filename="${name}"` },
      body: zip(
        Object.entries(variant.files).map(([file, content]) => ({ name: file, content, method: 8 })),
        { comment: Buffer.from(`request ${packed}`) },
      ),
      chunked: true,
    };
  }

  function training(project: GetiProject, model: GetiModel, version: GetiVersion, at: number): object {
    const id = versionId(project, model, at);
    return {
      id,
      name: version.name ?? `${model.name} (${id.slice(0, 8)})`,
      architecture: model.architecture ?? `object-detection-${model.name.toLowerCase()}`,
      parent_revision: null,
      training_info: {
        status: version.untrained === true ? 'in_progress' : 'successful',
        start_time: version.created,
        end_time: version.untrained === true ? null : version.created,
        dataset_revision_id: uuid('dataset'),
        label_schema_revision: { labels: [] },
      },
      variants: (version.untrained === true ? [] : version.variants).map((variant) => ({
        id: variantId(project, model, at, variant),
        format: variant.format.toLowerCase(),
        precision: variant.precision.toLowerCase(),
        weights_size: 123_456,
        evaluations: [],
        quantization_info: null,
        files_deleted: variant.deleted === true,
        optimal_confidence_threshold: 0.65,
      })),
      files_deleted: version.purged === true,
      size: 370_368,
    };
  }

  function versionId(project: GetiProject, model: GetiModel, at: number): string {
    return idOf(`${project.name}/${model.name}/${at + 1}`);
  }

  /** What was trained and its variant in PyTorch are one model in 2.x. */
  function variantId(project: GetiProject, model: GetiModel, at: number, variant: GetiVariant): string {
    if (variant.format === 'PyTorch' && options.generation === 2) return versionId(project, model, at);
    const { format, precision, explains, optimization } = variant;
    const words = [
      format,
      precision,
      ...(explains === true ? ['xai'] : []),
      ...(optimization === undefined ? [] : [optimization]),
    ];
    return idOf(`${project.name}/${model.name}/${at + 1}/${words.join('-').toLowerCase()}`);
  }

  return {
    endpoint: server.origin,
    server,
    asked: () => server.requests.map(({ url }) => url),
    set(next) {
      projects = next;
    },
    refuse(route) {
      refusal = route;
    },
    swap: (id, route) => swapped.set(id, route),
    drop(ending) {
      dropped = ending;
    },
    id: idOf,
    setFault: server.setFault,
    close: server.close,
  };
}

export function json(body: unknown, status = 200): Route {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

function notFound2(): Route {
  return json(
    { error_code: 'not_found', message: 'The requested resource could not be found.', http_status: 404 },
    404,
  );
}

function notFound3(id: string): Route {
  return json({ detail: `Resource with ID ${id} not found.` }, 404);
}

/** Models of DL Streamer's Pipeline Zoo: IR files of a repository that is archived, at its last commit. */
import type { Hub, HubSettingsContext } from '../src/hub.js';
import { readEndpoint } from './endpoint.js';
import { manifestSyntax, resolveManifest, type Manifest, type ManifestModel } from './manifest.js';
import type { ZooModel } from './pipeline-zoo/manifest.js';

const PUBLIC_ENDPOINT = 'https://raw.githubusercontent.com/dlstreamer/pipeline-zoo-models';
const REPOSITORY = 'https://github.com/dlstreamer/pipeline-zoo-models';

export const pipelineZoo = {
  name: 'pipeline-zoo',
  title: 'DL Streamer Pipeline Zoo',
  syntax: manifestSyntax('pipeline-zoo', 'yolov5m-416_INT8'),
  settings: {
    endpoint: {
      description: "Address of the repository's files: `<commit>/storage/…` lies below it",
      type: 'string',
      trust: true,
    },
  },
  endpoint: endpointOf,
  async resolve(reference, context) {
    const { COMMIT, MODELS } = await import('./pipeline-zoo/manifest.js');
    return resolveManifest(zooManifest(MODELS, COMMIT, endpointOf(context)), reference, context);
  },
  async *search(query) {
    const { COMMIT, MODELS } = await import('./pipeline-zoo/manifest.js');
    const { search } = await import('./pipeline-zoo/search.js');
    yield* search(query, MODELS, (name) => pageOf(name, COMMIT));
  },
  searches: { filters: ['precision'], orders: [], local: true },
} as const satisfies Hub;

/** @param endpoint without a trailing slash */
export function zooManifest(
  models: Readonly<Record<string, ZooModel>>,
  commit: string,
  endpoint: string,
): Manifest {
  const described = Object.entries(models).map(([name, { license, files }]): [string, ManifestModel] => [
    name,
    {
      revision: commit,
      files: files.map(([path, blob, size]) => ({
        path,
        url: `${endpoint}/${commit}/storage/${[name, ...path.split('/')].map(encodeURIComponent).join('/')}`,
        ...(size === null ? {} : { size }),
        digest: { algorithm: 'git-sha1', hex: blob },
      })),
      metadata: {
        ...(license === undefined ? {} : { license }),
        library: 'openvino',
        page: pageOf(name, commit),
      },
    },
  ]);
  return { hub: 'pipeline-zoo', title: 'Pipeline Zoo', models: new Map(described) };
}

/** Page for people. */
function pageOf(name: string, commit: string): string {
  return `${REPOSITORY}/tree/${commit}/storage/${name}`;
}

/** @throws ModeldlError CONFIG */
function endpointOf({ settings }: HubSettingsContext): string {
  const configured = settings['endpoint'];
  return readEndpoint(
    typeof configured === 'string' ? configured : PUBLIC_ENDPOINT,
    '`hubs.pipeline-zoo.endpoint`',
    PUBLIC_ENDPOINT,
  );
}

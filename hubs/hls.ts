/** Models of Intel's health and life sciences suite: three, from as many places, each pinned by digests. */
import type { Hub, HubSettingsContext } from '../src/hub.js';
import { readEndpoint } from './endpoint.js';
import { manifestSyntax, resolveManifest, type Manifest, type ManifestModel } from './manifest.js';

export const hls = {
  name: 'hls',
  title: 'Health and life sciences',
  syntax: manifestSyntax('hls', 'ai-ecg'),
  settings: {
    endpoint: {
      description: 'Address of a mirror: `<host>/<path>` of the original addresses lies below it',
      type: 'string',
      trust: true,
    },
  },
  endpoint: endpointOf,
  async resolve(reference, context) {
    const { MODELS } = await import('./hls/manifest.js');
    return resolveManifest(hlsManifest(MODELS, endpointOf(context)), reference, context);
  },
} as const satisfies Hub;

export function hlsManifest(
  models: Readonly<Record<string, ManifestModel>>,
  endpoint: string | undefined,
): Manifest {
  const placed = (url: string): string => {
    const { host, pathname } = new URL(url);
    return endpoint === undefined ? url : `${endpoint}/${host}${pathname}`;
  };
  const mirrored = Object.entries(models).map(([name, model]): [string, ManifestModel] => [
    name,
    { ...model, files: model.files.map((file) => ({ ...file, url: placed(file.url) })) },
  ]);
  return { hub: 'hls', title: 'Health and life sciences', models: new Map(mirrored) };
}

/** Undefined for the places themselves. @throws ModeldlError CONFIG */
function endpointOf({ settings }: HubSettingsContext): string | undefined {
  const configured = settings['endpoint'];
  return typeof configured === 'string'
    ? readEndpoint(configured, '`hubs.hls.endpoint`', 'https://mirror.example.com/models')
    : undefined;
}

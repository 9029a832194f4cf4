/** A registry as a source of other hubs' models. */
import { ModeldlError } from '../../src/errors.js';
import type { Digest, HeldFile, HeldModel, Holding, HubContext } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { apiAddress, originOf } from './address.js';
import { FILEPATH, metadataOf, type Descriptor, type Manifest } from './manifest.js';
import { repositoryName, tagName } from './names.js';
import { LISTING, ORIGIN, UPSTREAM } from './pack.js';
import { DEFAULT_TAG, placeOf, syntax, type Place } from './reference.js';
import { fetchManifest } from './registry.js';

const UPSTREAM_DIGEST = /^(sha512|sha384|sha1|git-sha1):([0-9a-f]{40,128})$/;

export const holding = {
  readPrefix,
  address: (prefix, context) => `${originOf(hostOf(prefix), context)}/v2/`,
  place: (prefix, { hub, id, revision }) => ({
    hub: 'oci',
    id: `${prefix}/${hub}/${repositoryName(id)}`,
    revision: tagName(revision),
  }),
  find,
} as const satisfies Holding;

function hostOf(prefix: string): string {
  return prefix.split('/', 1)[0] ?? prefix;
}

/** A registry alone, or with the start of names. */
function readPrefix(text: string): string | undefined {
  const last = 'model';
  try {
    const { id, revision, subpath } = syntax.parse(`${text.replace(/\/+$/, '')}/${last}`);
    if (revision !== undefined || subpath !== undefined) return undefined;
    return id.slice(0, -last.length - 1);
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

/** One request. */
async function find(reference: Reference, context: HubContext): Promise<HeldModel | undefined> {
  const place = placeOf(reference.id);
  const answer = await fetchManifest(place, reference.revision ?? DEFAULT_TAG, context);
  if ('missing' in answer || !('layers' in answer.manifest)) return undefined;
  const { manifest } = answer;
  const { annotations: notes } = manifest;
  const origin = notes?.[ORIGIN];
  const listing = notes?.[LISTING];
  return {
    ...(origin === undefined ? {} : { origin }),
    ...(listing === undefined ? {} : { listing }),
    files: filesOf(manifest, place, context),
    metadata: metadataOf(manifest),
  };
}

function filesOf({ layers }: Manifest, place: Place, context: HubContext): readonly HeldFile[] {
  return layers.flatMap((layer): readonly HeldFile[] => {
    const path = layer.annotations?.[FILEPATH];
    const sha256 = /^sha256:([0-9a-f]{64})$/.exec(layer.digest)?.[1];
    if (path === undefined || sha256 === undefined) return [];
    const upstream = upstreamOf(layer);
    const url = apiAddress(place, `blobs/${layer.digest}`, context);
    return [{ path, bytes: layer.size, sha256, url, ...(upstream === undefined ? {} : { upstream }) }];
  });
}

function upstreamOf({ annotations: notes }: Descriptor): Digest | undefined {
  const [, name, hex] = UPSTREAM_DIGEST.exec(notes?.[UPSTREAM] ?? '') ?? [];
  const algorithm = (['sha512', 'sha384', 'sha1', 'git-sha1'] as const).find((known) => known === name);
  return algorithm === undefined || hex === undefined ? undefined : { algorithm, hex };
}

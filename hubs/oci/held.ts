/** What a registry holds of another hub's model: its manifest, as `push` writes it. */
import type { Digest, HeldFile, HeldModel, HubContext } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { apiAddress } from './address.js';
import { FILEPATH, metadataOf, type Descriptor, type Manifest } from './manifest.js';
import { LISTING, ORIGIN, UPSTREAM } from './pack.js';
import { DEFAULT_TAG, placeOf, type Place } from './reference.js';
import { fetchManifest } from './registry.js';

const UPSTREAM_DIGEST = /^(sha512|sha384|sha1|git-sha1):([0-9a-f]{40,128})$/;

/** One request. */
export async function find(reference: Reference, context: HubContext): Promise<HeldModel | undefined> {
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

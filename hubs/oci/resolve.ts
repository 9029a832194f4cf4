/** From a reference to the files that a manifest names, or to what there is instead. */
import { closest } from 'fastest-levenshtein';
import { ModeldlError } from '../../src/errors.js';
import type { HubContext, Snapshot } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { nearestVersions } from '../versions.js';
import { apiAddress } from './address.js';
import { candidates, contentsOf, metadataOf, type Index, type Manifest } from './manifest.js';
import { DEFAULT_TAG, digestOf, placeOf, syntax, type Place } from './reference.js';
import type { Said } from './refusal.js';
import { fetchManifest, repositoriesOf, tagsOf, type Fetched } from './registry.js';

/** One request for what is asked, one more for an index; where the registry wants a login, two more. */
export async function resolve(
  { id, revision = DEFAULT_TAG }: Reference,
  context: HubContext,
): Promise<Snapshot> {
  const place = placeOf(id);
  const asked = await found(place, revision, context);
  const { manifest, digest } = isIndex(asked.manifest)
    ? await chosen(place, asked.manifest, context)
    : { manifest: asked.manifest, digest: asked.digest };
  const { files, unnamed } = contentsOf(manifest, (blob) => apiAddress(place, `blobs/${blob}`, context));
  if (files.length === 0) throw noFiles(id, manifest);
  if (unnamed.length > 0) {
    const types = [...new Set(unnamed.map(({ mediaType }) => mediaType))].join(', ');
    context.warn(`Left out of ${id}, since nothing names their files: ${unnamed.length} layers (${types})`);
  }
  return { hub: 'oci', id, revision: digest, files, metadata: metadataOf(manifest) };
}

function isIndex(manifest: Manifest | Index): manifest is Index {
  return 'manifests' in manifest;
}

async function found(place: Place, revision: string, context: HubContext): Promise<Fetched> {
  const answer = await fetchManifest(place, revision, context);
  if ('missing' in answer) throw await notFound(place, revision, answer.missing, context);
  return answer;
}

/** The manifest of an index that is the model. */
async function chosen(
  place: Place,
  index: Index,
  context: HubContext,
): Promise<{ readonly manifest: Manifest; readonly digest: string }> {
  const models = candidates(index).filter(({ digest }) => digest.startsWith('sha256:'));
  const [only, ...others] = models;
  const id = `${place.host}/${place.repository}`;
  if (only === undefined || others.length > 0) {
    const choices = models.map(
      ({ digest, platform }) =>
        `\`oci:${id}@${digest}\`${platform === undefined ? '' : ` (${platform.os}/${platform.architecture})`}`,
    );
    throw new ModeldlError(
      'UNSUPPORTED',
      `Several models under one name, none of which is the usual: ${id}`,
      {
        hint: choices.length === 0 ? 'its index names no model' : `name one of ${choices.join(', ')}`,
        details: { reference: `oci:${id}` },
      },
    );
  }
  const { manifest, digest } = await found(place, only.digest, context);
  if (!isIndex(manifest)) return { manifest, digest };
  throw new ModeldlError('UNSUPPORTED', `An index of indexes holds no model: ${id}`, {
    hint: `name the manifest by its digest: \`oci:${id}@sha256:…\``,
    details: { reference: `oci:${id}` },
  });
}

function noFiles(id: string, { artifactType, config, layers }: Manifest): ModeldlError {
  const kind = artifactType ?? config.mediaType;
  const types = [...new Set(layers.map(({ mediaType }) => mediaType))];
  return new ModeldlError(
    'UNSUPPORTED',
    `Nothing names the files of ${id}: ${kind}${types.length === 0 ? ', without layers' : `, layers ${types.join(', ')}`}`,
    {
      hint: 'modeldl takes ModelPack, files of ORAS, Docker model artifacts and layers that are archives',
      details: { reference: `oci:${id}` },
    },
  );
}

/**
 * Names what there is instead, where the registry tells: its own word for what is missing does not say whether the
 * repository is there.
 */
async function notFound(
  place: Place,
  revision: string,
  { code }: Said,
  context: HubContext,
): Promise<ModeldlError> {
  const { host, repository } = place;
  const id = `${host}/${repository}`;
  const digest = digestOf(revision);
  const missing = (message: string, hint: string): ModeldlError =>
    new ModeldlError('NOT_FOUND', message, { hint, details: { reference: syntax.format({ id, revision }) } });

  const tags = code === 'NAME_UNKNOWN' ? [] : await tagsOf(place, context);
  if (tags.length > 0) {
    const name = digest === undefined ? `tag ${revision}` : `manifest sha256:${digest}`;
    const near = nearestVersions(digest === undefined ? revision : '', tags).join(', ');
    return missing(`The repository ${id} has no ${name}`, `tags: ${near}`);
  }
  const repositories = await repositoriesOf(place, context);
  if (repositories.includes(repository)) {
    return missing(
      `The repository ${id} has no tags`,
      `push a model to it: \`modeldl push REF oci:${id}:tag\``,
    );
  }
  return missing(
    `There is no repository ${id}, or it is private`,
    repositories.length === 0
      ? `check the name; for a private one run \`docker login ${host}\``
      : `did you mean \`oci:${host}/${closest(repository, [...repositories])}\``,
  );
}

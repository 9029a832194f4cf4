/** Manifests of registries, and the files of a model that their layers are. Pure. */
import * as v from 'valibot';
import type { Digest, RemoteFile, SnapshotMetadata, Unpack } from '../../src/hub.js';

/** Media types of manifests, in the order in which they are asked for. (image-spec; Docker's "Manifest v2, schema 2") */
export const MANIFEST_TYPES = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
/** CNCF ModelPack, model-spec "spec.md". */
export const MODELPACK = 'application/vnd.cncf.model.manifest.v1+json';
export const FILEPATH = 'org.cncf.model.filepath';

/** Most that registries have to take. (distribution-spec, "Pushing manifests") */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

const annotations = v.optional(v.nullable(v.record(v.string(), v.string())));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const digest = v.pipe(v.string(), v.regex(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/));
const descriptorSchema = v.object({ mediaType: v.string(), digest, size, annotations });
const manifestSchema = v.object({
  mediaType: v.optional(v.string()),
  artifactType: v.optional(v.string()),
  config: descriptorSchema,
  layers: v.array(descriptorSchema),
  annotations,
});
const indexSchema = v.object({
  mediaType: v.optional(v.string()),
  manifests: v.array(
    v.object({
      mediaType: v.string(),
      digest,
      size,
      annotations,
      artifactType: v.optional(v.string()),
      platform: v.optional(v.object({ os: v.string(), architecture: v.string() })),
    }),
  ),
});

export type Descriptor = v.InferOutput<typeof descriptorSchema>;
export type Manifest = v.InferOutput<typeof manifestSchema>;
export type Index = v.InferOutput<typeof indexSchema>;

/** Undefined for what is neither. */
export function readManifest(document: unknown): Manifest | Index | undefined {
  const manifest = v.safeParse(manifestSchema, document);
  if (manifest.success) return manifest.output;
  const index = v.safeParse(indexSchema, document);
  return index.success ? index.output : undefined;
}

/** The manifests of an index that may be the model: those that only say something about others are not. */
export function candidates({ manifests }: Index): Index['manifests'] {
  const models = manifests.filter(
    ({ platform, annotations: notes }) =>
      notes?.['vnd.docker.reference.type'] === undefined && platform?.os !== 'unknown',
  );
  const packed = models.filter(({ artifactType }) => artifactType === MODELPACK);
  if (packed.length > 0) return packed;
  // Weights are the same for every platform; where they are not, what most machines run is meant.
  const usual = models.filter(
    ({ platform }) => platform?.os === 'linux' && platform.architecture === 'amd64',
  );
  return usual.length > 0 ? usual : models;
}

/** The files of a model, and the layers that nothing names. */
export interface Contents {
  readonly files: readonly RemoteFile[];
  readonly unnamed: readonly Descriptor[];
}

/** @param blobAddress of a digest */
export function contentsOf({ layers }: Manifest, blobAddress: (digest: string) => string): Contents {
  const files: RemoteFile[] = [];
  const unnamed: Descriptor[] = [];
  const unpacked = new Set<string>();
  for (const layer of layers) {
    const format = archiveFormat(layer);
    const path = format === undefined ? pathOf(layer, layers) : archiveName(layer, format);
    if (layer.mediaType === 'application/vnd.oci.empty.v1+json') continue;
    if (path === undefined) {
      unnamed.push(layer);
      continue;
    }
    if (format !== undefined && unpacked.has(path)) continue;
    unpacked.add(path);
    files.push({
      path,
      size: layer.size,
      digest: readDigest(layer.digest),
      url: blobAddress(layer.digest),
      ...(format === undefined ? {} : { unpack: { format } }),
    });
  }
  return { files, unnamed };
}

export function metadataOf({ annotations: notes }: Manifest): SnapshotMetadata {
  const license = notes?.['org.opencontainers.image.licenses']?.trim().toLowerCase();
  const page = [notes?.['org.opencontainers.image.url'], notes?.['org.opencontainers.image.source']].find(
    (address) => address !== undefined && /^https:\/\//.test(address) && URL.canParse(address),
  );
  return {
    ...(license === undefined || license === '' ? {} : { license }),
    ...(page === undefined ? {} : { page }),
  };
}

function readDigest(text: string): Digest {
  return text.startsWith('sha512:')
    ? { algorithm: 'sha512', hex: text.slice(7) }
    : { algorithm: 'sha256', hex: text.slice(7) };
}

/** ModelPack under its name before and after it came to the CNCF. */
const PACKED = /^application\/vnd\.(cncf|cnai)\.model\./;
const TAR = /[.+]tar(?:[.+](gzip|zstd))?$/;
const FORMATS: Readonly<Record<string, Unpack['format']>> = { gzip: 'tar.gz', zstd: 'tar.zst' };

/** What a layer's path is called in ModelPack (before and now) and in ORAS. */
function namedPath({ annotations: notes }: Descriptor): string | undefined {
  return notes?.[FILEPATH] ?? notes?.['org.cnai.model.filepath'] ?? notes?.['org.opencontainers.image.title'];
}

/** Is the layer an archive of files? One that ORAS gives a title is a file, whatever its media type says. */
function archiveFormat(layer: Descriptor): Unpack['format'] | undefined {
  if (layer.annotations?.['io.deis.oras.content.unpack'] === 'true') return 'tar.gz';
  if (namedPath(layer) !== undefined && !PACKED.test(layer.mediaType)) return undefined;
  const tar = TAR.exec(layer.mediaType);
  return tar === null ? undefined : (FORMATS[tar[1] ?? ''] ?? 'tar');
}

function archiveName(layer: Descriptor, format: Unpack['format']): string {
  return `layer-${readDigest(layer.digest).hex.slice(0, 12)}.${format}`;
}

/** Files of Docker's model artifacts, which are named by their media types alone: stem and ending. */
const DOCKER_FILES: readonly (readonly [RegExp, string, string])[] = [
  [/\.gguf\.v\d+$|\.model\.file\.v1\+gguf$/, 'model', '.gguf'],
  [/\.safetensors(\.v\d+)?$/, 'model', '.safetensors'],
  [/\.dduf(\.v\d+)?$/, 'model', '.dduf'],
  [/\.mmproj(\.v\d+)?$/, 'mmproj', '.gguf'],
  [/\.chat\.template\.jinja$/, 'chat_template', '.jinja'],
  [/\.license$/, 'LICENSE', ''],
];

function pathOf(layer: Descriptor, layers: readonly Descriptor[]): string | undefined {
  const named = namedPath(layer);
  if (named !== undefined || !layer.mediaType.startsWith('application/vnd.docker.ai.')) return named;
  const kind = DOCKER_FILES.find(([type]) => type.test(layer.mediaType));
  if (kind === undefined) return undefined;
  const [type, stem, ending] = kind;
  const alike = layers.filter((other) => type.test(other.mediaType) && namedPath(other) === undefined);
  if (alike.length === 1) return `${stem}${ending}`;
  const number = (count: number): string => String(count).padStart(5, '0');
  // As shards of GGUF and safetensors are named, which loaders look for.
  return `${stem}-${number(alike.indexOf(layer) + 1)}-of-${number(alike.length)}${ending}`;
}

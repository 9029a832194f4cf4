/** What the store knows of a model, and where it lies. */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { checkReport, conversionRecipe } from '../converter.js';
import { ModeldlError } from '../errors.js';
import { checkRelativePath, encodeSegment, isDigest } from '../paths.js';

export const digest = v.pipe(
  v.object({
    algorithm: v.picklist(['sha256', 'sha512', 'sha384', 'sha1', 'git-sha1']),
    hex: v.string(),
  }),
  v.check(isDigest),
);

export const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
export const size = v.pipe(v.number(), v.integer(), v.minValue(0));

/** A record may come with a copied cache: what it names must lie inside its tree. */
export const treePath = v.pipe(
  v.string(),
  v.check((path) => {
    try {
      checkRelativePath(path, { caseInsensitive: false, normalizing: false, windows: false });
      return true;
    } catch (error) {
      if (error instanceof ModeldlError) return false;
      throw error;
    }
  }),
);

const recordFile = v.object({
  path: treePath,
  bytes: size,
  sha256,
  /** Modification time in whole seconds since 1970, as placed in the tree. */
  mtime: v.pipe(v.number(), v.integer()),
  upstream: v.exactOptional(digest),
});

const input = v.object({ path: treePath, bytes: size, sha256, upstream: v.exactOptional(digest) });

const conversion = v.object({
  /** Full key: sha256 over everything that decides the result. */
  key: sha256,
  converter: v.string(),
  precision: v.string(),
  device: v.string(),
  task: v.exactOptional(v.string()),
  settings: v.record(v.string(), v.unknown()),
  /** What `--set` said. */
  given: v.exactOptional(v.record(v.string(), v.string())),
  /** Path of the origin's record relative to `records/`, without `.json`. */
  origin: v.string(),
  originReference: v.string(),
  toolchain: v.object({ name: v.string(), versions: v.record(v.string(), v.string()) }),
  seconds: v.number(),
  adjustments: v.array(v.string()),
  consent: v.array(v.string()),
  check: v.exactOptional(checkReport),
  /** What the converter read, by its paths in the origin: the conversion is found by it when the origin is gone. */
  inputs: v.exactOptional(v.array(input)),
});

const asked = v.object({
  include: v.exactOptional(v.array(v.string())),
  exclude: v.exactOptional(v.array(v.string())),
  quant: v.exactOptional(v.string()),
});

export const recordSchema = v.object({
  version: v.literal(1),
  hub: v.string(),
  id: v.string(),
  revision: v.string(),
  /** Canonical reference, pinned, conversion included. */
  reference: v.string(),
  /** Hash of the chosen files; absent when all were. */
  selection: v.exactOptional(v.string()),
  subpath: v.exactOptional(v.string()),
  /** What chose the files besides the subpath; absent for what is pulled when nothing is said, and for all files. */
  asked: v.exactOptional(asked),
  /** Only a lock says that these are files of the revision: no name but the exact one means it. */
  unproven: v.exactOptional(v.literal(true)),
  /** The reference named this one file. */
  single: v.exactOptional(treePath),
  files: v.array(recordFile),
  leftOut: v.array(v.object({ path: v.string(), bytes: v.exactOptional(size) })),
  license: v.exactOptional(v.string()),
  gated: v.exactOptional(v.boolean()),
  task: v.exactOptional(v.string()),
  library: v.exactOptional(v.string()),
  page: v.exactOptional(v.string()),
  recipe: v.exactOptional(conversionRecipe),
  /** ISO 8601. */
  pulledAt: v.string(),
  conversion: v.exactOptional(conversion),
  /** Bytes of the tree that are copies beside their blobs, where links are impossible. */
  copiedBytes: v.exactOptional(size),
  /** Where and when the tree was written: what a later boot must distrust until it was flushed (promise 1). */
  placement: v.object({ bootId: v.string(), device: v.number(), inode: v.number(), durable: v.boolean() }),
});

export type ModelRecord = v.InferOutput<typeof recordSchema>;
/** What a pull was asked to choose. */
export type Asked = v.InferOutput<typeof asked>;
/** A file that a conversion was made from. */
export type ConversionInput = v.InferOutput<typeof input>;
export type ConversionRecord = v.InferOutput<typeof conversion>;

/** Larger files are no descriptions of a model, by which converters plan. */
export const LARGEST_TEXT_BYTES = 4 * 1024 * 1024;

/** Inputs of a conversion that stay with it, so that it is found by the plan that led to it. */
export function keptInputs({ conversion }: Pick<ModelRecord, 'conversion'>): readonly ConversionInput[] {
  return (conversion?.inputs ?? []).filter(({ bytes }) => bytes <= LARGEST_TEXT_BYTES);
}

/** What names a model in the store. */
export interface ModelKey {
  readonly hub: string;
  readonly id: string;
  readonly revision: string;
  /** Hash of the chosen files, any length; absent when all were chosen. */
  readonly selection?: string;
  readonly conversion?: { readonly precision: string; readonly device: string; readonly key: string };
}

/** `HETERO:GPU,CPU` → `hetero_gpu_cpu`: a device as part of a file name. */
export function deviceSlug(device: string): string {
  return device.toLowerCase().replace(/[:,]/g, '_');
}

/** A commit or digest by its first `length` hex digits, any other revision by its text and 8 hex of its hash. */
export function revisionSegment(revision: string, length = 12): string {
  if (/^[0-9a-f]{40,128}$/.test(revision)) return revision.slice(0, length);
  const hash = createHash('sha256')
    .update(revision)
    .digest('hex')
    .slice(0, length - 4);
  return `${encodeSegment(revision).slice(0, 120)}-${hash}`;
}

/** Directory of a hub's id below `models/` and `records/`, `/`-separated: all its revisions and conversions lie there. */
export function shelfOf({ hub, id }: Pick<ModelKey, 'hub' | 'id'>): string {
  return `${hub}/${encodeSegment(id)}`;
}

/** Path of a model below `models/` and `records/`, `/`-separated; a longer `length` ends a collision. */
export function modelPath(key: ModelKey, length = 12): string {
  const selection = key.selection === undefined ? '' : `+${key.selection.slice(0, length - 4)}`;
  const conversion =
    key.conversion === undefined
      ? ''
      : `--openvino-${key.conversion.precision}-${deviceSlug(key.conversion.device)}-${key.conversion.key.slice(0, length - 4)}`;
  return `${shelfOf(key)}/${revisionSegment(key.revision, length)}${selection}${conversion}`;
}

/** Does this record describe exactly the model that the key names? */
export function recordMatches(record: ModelRecord, key: ModelKey): boolean {
  return (
    record.hub === key.hub &&
    record.id === key.id &&
    record.revision === key.revision &&
    record.selection === key.selection &&
    record.conversion?.key === key.conversion?.key
  );
}

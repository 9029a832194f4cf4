/**
 * The index of a bundle: its first member, which says what it holds. Everything else in it is a content, named by its
 * digest, so that the digest of the index stands for all of it. Pure.
 */
import { createHash } from 'node:crypto';
import { platform } from 'node:process';
import * as v from 'valibot';
import { ModeldlError } from '../errors.js';
import { parseJson, sortedKeys } from '../json.js';
import { checkListing, fileSystemRules, shownName } from '../paths.js';
import { digest, keptInputs, modelPath, recordSchema, sha256, size, treePath } from '../store/record.js';
import { snapshotSchema } from '../store/snapshots.js';

/** The first member of every bundle, of whatever version. */
export const INDEX_NAME = 'modeldl-bundle.json';
/** The second one tells the digest of the index, so that damage to that shows like any other. */
export const SEAL_NAME = 'modeldl-bundle.sha256';
const FORMAT = 'modeldl-bundle';
/** Of the format: another one is not read. */
const VERSION = 1;
export const MAX_INDEX_BYTES = 256 * 1024 * 1024;

const { placement, copiedBytes, version, files, pulledAt, ...told } = recordSchema.entries;

/** A record without what belongs to the machine that it was written on, so that others make the same index. */
const model = v.object({
  ...told,
  files: v.array(v.strictObject({ path: treePath, bytes: size, sha256, upstream: v.exactOptional(digest) })),
});

/** What a floating reference means. */
const named = v.strictObject({
  hub: v.string(),
  reference: v.string(),
  id: v.string(),
  revision: v.string(),
});

const kit = v.strictObject({
  /** Of the toolchain. */
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]*$/)),
  /** sha256 of its requirement file. */
  lock: sha256,
  /** Version that the wheels are for, such as `3.11`. */
  python: v.pipe(v.string(), v.regex(/^\d+\.\d+$/)),
  /** As Python's sysconfig has it. */
  platform: v.pipe(v.string(), v.regex(/^[\w.-]+$/)),
  files: v.pipe(
    v.array(
      v.strictObject({
        name: v.pipe(v.string(), v.maxLength(255), v.regex(/^\w[\w.+!-]*\.whl$/)),
        bytes: size,
        sha256,
      }),
    ),
    v.minLength(1),
  ),
});

const indexSchema = v.strictObject({
  format: v.literal(FORMAT),
  version: v.literal(VERSION),
  models: v.array(model),
  /** Listings of revisions as their hubs gave them. */
  listings: v.array(snapshotSchema),
  references: v.array(named),
  toolchains: v.array(kit),
});

export type BundleIndex = v.InferOutput<typeof indexSchema>;
export type BundledModel = v.InferOutput<typeof model>;
export type BundledReference = v.InferOutput<typeof named>;
export type BundledToolchain = v.InferOutput<typeof kit>;

/** Bytes that a bundle holds, by their sha256. */
export type Contents = ReadonlyMap<string, number>;

/** A content as a member; there are no directories. */
export function memberName(hex: string): string {
  return `sha256-${hex}`;
}

/** The order of lists, of models and contents, changes nothing. */
export function printIndex(index: Omit<BundleIndex, 'format' | 'version'>): Buffer {
  const sorted = {
    format: FORMAT,
    version: VERSION,
    ...Object.fromEntries(Object.entries(index).map(([key, list]) => [key, inOrder(list)])),
  };
  return Buffer.from(`${JSON.stringify(sorted, sortedKeys, 1)}\n`);
}

function inOrder(list: readonly object[]): readonly object[] {
  const texts = new Map(list.map((item) => [JSON.stringify(item, sortedKeys), item]));
  return [...texts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** `sha256:<hex>` of an index as it is printed. */
export function indexDigest(text: Uint8Array): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

export function sealOf(text: Uint8Array): Buffer {
  return Buffer.from(`${indexDigest(text)}\n`);
}

/** What the models and toolchains of an index consist of, in the order of the bundle. */
export function contentsOf({ models, toolchains }: Pick<BundleIndex, 'models' | 'toolchains'>): Contents {
  const contents = new Map<string, number>();
  for (const { sha256: hex, bytes } of namedContents({ models, toolchains })) contents.set(hex, bytes);
  return new Map([...contents].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Files of models, small ones that conversions are planned by, and wheels. */
function namedContents({ models, toolchains }: Pick<BundleIndex, 'models' | 'toolchains'>): readonly {
  readonly sha256: string;
  readonly bytes: number;
}[] {
  return [
    ...models.flatMap((one) => [...one.files, ...keptInputs(one)]),
    ...toolchains.flatMap(({ files }) => files),
  ];
}

/**
 * @param file the bundle, for messages
 * @throws ModeldlError CONFIG for another version, INTEGRITY for what contradicts itself and for hostile names
 */
export function parseIndex(file: string, text: Buffer): BundleIndex {
  const parsed = parseJson(text.toString('utf8'));
  const head = v.safeParse(v.looseObject({ format: v.literal(FORMAT), version: v.number() }), parsed);
  if (!head.success) throw damaged(file, 'its index is none');
  if (head.output.version !== VERSION) {
    throw new ModeldlError(
      'CONFIG',
      `The bundle has version ${head.output.version}, and this modeldl reads ${VERSION}: ${file}`,
      {
        hint:
          head.output.version > VERSION
            ? 'update modeldl, or make the bundle anew with the version that is here'
            : 'make the bundle anew with `modeldl bundle create`',
        details: { file },
      },
    );
  }
  const result = v.safeParse(indexSchema, parsed);
  if (!result.success) {
    const [issue] = result.issues;
    throw damaged(file, `\`${v.getDotPath(issue) ?? 'index'}\` of its index is wrong`);
  }
  const index = result.output;
  const rules = fileSystemRules(platform);
  const places = index.models.map((one) => {
    checkPlace(file, one);
    checkListing(
      one.files.map(({ path }) => path),
      rules,
      file,
    );
    return modelPath(one, 64);
  });
  refuseTwice(file, places);
  for (const { name, files: wheels } of index.toolchains) {
    checkListing(
      wheels.map((wheel) => wheel.name),
      rules,
      `${name} in ${file}`,
    );
  }
  refuseTwice(
    file,
    index.toolchains.map(({ name }) => name),
  );
  refuseTwice(
    file,
    index.listings.map(({ hub, id, revision }) => JSON.stringify([hub, id, revision])),
  );
  refuseTwice(
    file,
    index.references.map(({ reference }) => reference),
  );
  const contents = contentsOf(index);
  const odd = namedContents(index).find(({ sha256: hex, bytes }) => contents.get(hex) !== bytes);
  if (odd !== undefined) throw damaged(file, `its index gives ${odd.sha256} two sizes`);
  return index;
}

/** All of these become parts of paths as they are. */
function checkPlace(file: string, { hub, conversion, selection, single, files: all }: BundledModel): void {
  const parts: readonly (readonly [string | undefined, RegExp])[] = [
    [hub, /^[a-z0-9][a-z0-9-]*$/],
    [selection, /^[0-9a-f]{64}$/],
    [conversion?.precision, /^[a-z0-9]+$/],
    [conversion?.device, /^[A-Z0-9.:,]+$/],
  ];
  for (const [part, expected] of parts) {
    if (part !== undefined && !expected.test(part))
      throw damaged(file, `its index holds the hostile name ${shownName(part)}`);
  }
  if (single !== undefined && !all.some(({ path }) => path === single))
    throw damaged(file, `its index lacks the file ${shownName(single)}`);
}

function refuseTwice(file: string, names: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw damaged(file, `its index holds ${shownName(name)} twice`);
    seen.add(name);
  }
}

/** INTEGRITY for a bundle that is not what it was made. */
export function damaged(file: string, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('INTEGRITY', `The bundle was refused, ${why}: ${file}`, {
    hint: 'copy it again from where it was made, or make it anew with `modeldl bundle create`',
    cause,
    details: { file },
  });
}

/** `modeldl.lock`: what each model of a list is, as text that people compare and merge. Pure but for reading the file. */
import { stat } from 'node:fs/promises';
import { arch, platform } from 'node:process';
import * as v from 'valibot';
import { isOwn } from './config/load.js';
import { conversionRecipe } from './converter.js';
import { ModeldlError } from './errors.js';
import type { Digest, RemoteFile, Snapshot } from './hub.js';
import { jsonFault, sortedKeys } from './json.js';
import { checkListing, fileSystemRules, isDigest } from './paths.js';
import { textOf } from './store/replace.js';
import type { StoredSnapshot } from './store/snapshots.js';

/** Of the format: another one is not read. */
const VERSION = 1;
const MAX_BYTES = 256 * 1024 * 1024;

/** It is shown: a line of its own could be taken for one of modeldl's. */
const text = v.pipe(v.string(), v.nonEmpty(), v.regex(/^\P{Cc}*$/u, 'a text in one line'));
const size = v.pipe(v.number(), v.integer(), v.minValue(0));
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

const digest = v.pipe(
  v.string(),
  v.check((value) => isDigest(digestOf(value)), 'a digest such as sha256:…'),
);

const file = v.strictObject({
  /** In the listing of the revision. */
  path: text,
  size: v.exactOptional(size),
  digest: v.exactOptional(digest),
  /** Not chosen: a part of the listing that decides what the choice is called. */
  leftOut: v.exactOptional(v.literal(true)),
  /** Where the hub cannot tell it from path and revision; below the hub's endpoint it begins with `{endpoint}/`. */
  url: v.exactOptional(text),
  maxBytes: v.exactOptional(size),
  unpack: v.exactOptional(
    v.strictObject({
      format: v.picklist(['tar', 'tar.gz', 'tar.xz', 'tar.zst', 'zip']),
      strip: v.exactOptional(size),
      into: v.exactOptional(text),
    }),
  ),
});

/** What is asked of a model: a list that asks otherwise needs a new lock. */
const request = v.strictObject({
  reference: text,
  include: v.exactOptional(v.array(v.string())),
  exclude: v.exactOptional(v.array(v.string())),
  allFiles: v.exactOptional(v.boolean()),
  quant: v.exactOptional(v.string()),
  unpack: v.exactOptional(v.boolean()),
  conversion: v.exactOptional(
    v.strictObject({
      precision: text,
      device: text,
      task: v.exactOptional(text),
      converter: v.exactOptional(text),
      toolchain: v.exactOptional(text),
      calibration: v.exactOptional(text),
      settings: v.exactOptional(v.record(v.string(), v.string())),
      layout: v.exactOptional(text),
      prebuilt: v.picklist(['take', 'prefer', 'tell', 'never']),
    }),
  ),
});

const locked = v.strictObject({
  asked: request,
  /** Pinned. Of a conversion that is taken as published, that one's. */
  reference: text,
  hub: text,
  id: text,
  revision: text,
  license: v.exactOptional(v.string()),
  gated: v.exactOptional(v.literal(true)),
  task: v.exactOptional(v.string()),
  library: v.exactOptional(v.string()),
  recipe: v.exactOptional(conversionRecipe),
  files: v.pipe(v.array(file), v.minLength(1)),
  /** Of the archives among the files. */
  members: v.exactOptional(
    v.array(
      v.strictObject({
        path: text,
        bytes: size,
        archive: text,
        /** Of those that are chosen, where their archive has none. */
        digest: v.exactOptional(v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/))),
      }),
    ),
  ),
  edits: v.exactOptional(
    v.array(
      v.strictObject({
        path: text,
        pattern: v.string(),
        replacement: v.array(v.union([v.string(), size])),
        count: v.exactOptional(size),
      }),
    ),
  ),
  conversion: v.exactOptional(
    v.union([
      v.strictObject({
        converter: text,
        toolchain: text,
        /** sha256 over all that decides the result. */
        key: sha256,
        /** That the lock was written on: it may decide the key. */
        platform: text,
      }),
      v.strictObject({ published: v.literal(true) }),
    ]),
  ),
});

const lockSchema = v.strictObject({ version: v.literal(VERSION), models: v.array(locked) });

export type LockedRequest = v.InferOutput<typeof request>;
export type LockedFile = v.InferOutput<typeof file>;
export type LockedModel = v.InferOutput<typeof locked>;
export type Lock = v.InferOutput<typeof lockSchema>;

/** A conversion's key may depend on it. */
export function platformName(): string {
  return `${platform}-${arch}`;
}

/** `sha256:<hex>` → its parts. */
export function digestOf(value: string): Digest {
  const at = value.indexOf(':');
  return { algorithm: value.slice(0, at) as Digest['algorithm'], hex: value.slice(at + 1) };
}

export function digestText({ algorithm, hex }: Digest): string {
  return `${algorithm}:${hex}`;
}

/** The same request has the same text, whatever the order of its keys. */
export function requestKey(asked: LockedRequest): string {
  return JSON.stringify(asked, sortedKeys);
}

/** A request for people. */
export function requestText({ reference, conversion }: LockedRequest): string {
  return conversion === undefined
    ? reference
    : `${reference} to ${conversion.precision} for ${conversion.device}`;
}

/**
 * @param of whose it may be: beside a list that the user named, anybody's, as what is mounted into a container is
 * @throws ModeldlError CONFIG naming the file and what is wrong with it, INTEGRITY for hostile names, DISK
 */
export async function readLock(path: string, of: 'user' | 'anybody' = 'user'): Promise<Lock | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found !== undefined && found.isFile() && found.size > MAX_BYTES)
    throw refused(path, `it has more than ${MAX_BYTES} bytes`);
  const content = await textOf(path);
  if (content === undefined) return undefined;
  if (of === 'user' && !(await isOwn(path))) {
    throw new ModeldlError('CONFIG', `The lock belongs to another user, so it is not read: ${path}`, {
      hint: 'name its list with `--config`, make it your own with `chown`, or run `modeldl lock` in a directory of yours',
      details: { file: path },
    });
  }
  return parseLock(path, content);
}

export function parseLock(path: string, content: string): Lock {
  const conflict = content.split('\n').findIndex((line) => /^(<{7}|={7}|>{7}|\|{7})( |$|\r)/.test(line));
  if (conflict >= 0) {
    throw new ModeldlError('CONFIG', `The lock holds a merge conflict at line ${conflict + 1}: ${path}`, {
      hint: 'resolve it in the list of models, then run `modeldl lock`',
      details: { file: path, line: conflict + 1 },
    });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch (error) {
    throw refused(path, `it is no JSON: ${jsonFault(error)}`, error);
  }
  const version = v.safeParse(v.looseObject({ version: v.number() }), parsed);
  if (version.success && version.output.version !== VERSION) {
    const later = version.output.version > VERSION;
    throw new ModeldlError(
      'CONFIG',
      `The lock has version ${version.output.version}, and this modeldl reads ${VERSION}: ${path}`,
      {
        hint: later
          ? 'update modeldl, or run `modeldl lock` to write it anew'
          : 'run `modeldl lock` to write it anew',
        details: { file: path },
      },
    );
  }
  const result = v.safeParse(lockSchema, parsed);
  if (!result.success) {
    const [issue] = result.issues;
    const key = v.getDotPath(issue);
    const expected = issue.type === 'regex' ? issue.message : (issue.expected ?? issue.message);
    throw refused(
      path,
      `${key === null ? 'it' : `\`${key}\``} is wrong: expected ${expected}, got ${issue.received}`,
    );
  }
  const asked = new Set<string>();
  for (const model of result.output.models) {
    const key = requestKey(model.asked);
    if (asked.has(key)) throw refused(path, `it holds ${requestText(model.asked)} twice`);
    asked.add(key);
  }
  for (const model of result.output.models) {
    const rules = fileSystemRules(platform);
    checkListing(
      model.files.map((one) => one.path),
      rules,
      path,
    );
    checkListing(
      (model.members ?? []).map((one) => one.path),
      rules,
      path,
    );
    checkListing([...new Set((model.edits ?? []).map((one) => one.path))], rules, path);
    const into = model.files.flatMap(({ unpack }) => (unpack?.into === undefined ? [] : [unpack.into]));
    checkListing([...new Set(into)], rules, path);
  }
  return result.output;
}

function refused(path: string, why: string, cause?: unknown): ModeldlError {
  return new ModeldlError('CONFIG', `Cannot read the lock, ${why}: ${path}`, {
    hint: 'run `modeldl lock` to write it anew, or take it from version control',
    cause,
    details: { file: path },
  });
}

/** Models by what is asked, files by path: the order of the list changes nothing. One line for a file. */
export function printLock(models: readonly LockedModel[]): string {
  const distinct = new Map(models.map((model) => [requestKey(model.asked), model]));
  const sorted = [...distinct].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, model]) => model);
  return `${print({ version: VERSION, models: sorted }, '')}\n`;
}

/** Lists whose items are lines. */
const LINES = new Set(['files', 'members', 'edits']);

function print(value: unknown, indent: string, key = ''): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]';
    const items = value.map((item) => (LINES.has(key) ? line(item) : print(item, inner)));
    return `[\n${inner}${items.join(`,\n${inner}`)}\n${indent}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(
    ([name, item]) => `${JSON.stringify(name)}: ${print(item, inner, name)}`,
  );
  return entries.length === 0 ? '{}' : `{\n${inner}${entries.join(`,\n${inner}`)}\n${indent}}`;
}

function line(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(line).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([name, item]) => `${JSON.stringify(name)}: ${line(item)}`)
    .join(', ')} }`;
}

/** What a hub or a stored listing says otherwise than the lock, file by file. */
export function listingDifferences(
  lock: LockedModel,
  listing: Pick<Snapshot | StoredSnapshot, 'files'> & Pick<StoredSnapshot, 'members'>,
): readonly string[] {
  const now = new Map(listing.files.map((one) => [one.path, one]));
  const differences = lock.files.flatMap((one) => {
    const other = now.get(one.path);
    now.delete(one.path);
    return other === undefined ? [`${one.path} is gone`] : fileDifferences(one, other);
  });
  const packed = new Map(listing.members?.map((member) => [member.path, member.sha256]));
  const unpacked = (lock.members ?? []).flatMap(({ path, digest }) => {
    const sha256 = packed.get(path);
    if (sha256 === undefined || digest === undefined || digest === `sha256:${sha256}`) return [];
    return [`${path} is sha256:${sha256} instead of ${digest}`];
  });
  return [...differences, ...[...now.keys()].map((path) => `${path} is new`), ...unpacked];
}

function fileDifferences(one: LockedFile, other: RemoteFile): readonly string[] {
  const { path } = one;
  const then = one.digest === undefined ? undefined : digestOf(one.digest);
  if (one.size !== undefined && other.size !== undefined && one.size !== other.size)
    return [`${path} has ${other.size} bytes instead of ${one.size}`];
  const isAlike =
    then === undefined || other.digest === undefined || then.algorithm !== other.digest.algorithm;
  if (isAlike || then.hex === other.digest.hex) return [];
  return [`${path} is ${digestText(other.digest)} instead of ${digestText(then)}`];
}

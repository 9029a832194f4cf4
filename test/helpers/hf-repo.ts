/** Repositories of the local Hugging Face hub: what a test describes, and what the hub makes of it. */
import { createHash } from 'node:crypto';

/** A file as a test gives it: its bytes, or its bytes and how the hub keeps them. */
export type HfFile = string | Uint8Array | { readonly content: string | Uint8Array; readonly lfs?: boolean };

export interface HfRepo {
  /** `org/name`, or `name`. */
  readonly id: string;
  /** Files of the branch `main`, by path. */
  readonly files: Readonly<Record<string, HfFile>>;
  /** Files of other branches, tags and `refs/pr/N`, by name. */
  readonly branches?: Readonly<Record<string, Readonly<Record<string, HfFile>>>>;
  readonly tags?: Readonly<Record<string, Readonly<Record<string, HfFile>>>>;
  readonly pullRequests?: Readonly<Record<number, Readonly<Record<string, HfFile>>>>;
  /** Only these users (names of {@link HfToken}) see it. */
  readonly privateTo?: readonly string[];
  /** Everybody sees it, only `granted` users get its files. */
  readonly gated?: { readonly kind: 'auto' | 'manual'; readonly granted: readonly string[] };
  /** Gated repositories refuse their metadata too. */
  readonly gatedMetadata?: boolean;
  readonly disabled?: boolean;
  /** Names it had before: requests for them are redirected. */
  readonly formerIds?: readonly string[];
  readonly license?: string;
  readonly task?: string;
  readonly library?: string;
  readonly tagWords?: readonly string[];
  readonly downloads?: number;
  readonly likes?: number;
  /** Default 2026-01-02. */
  readonly updatedAt?: string;
  /** Counts of weights by type, as the hub reads them from the headers of safetensors. */
  readonly weights?: Readonly<Record<string, number>>;
}

/** A file as the hub keeps it. */
export interface StoredFile {
  readonly path: string;
  readonly bytes: Buffer;
  readonly lfs: boolean;
  readonly sha256: string;
  /** Git's id: of the bytes, or of the pointer of an LFS file. */
  readonly oid: string;
  /** Bytes of the LFS pointer. */
  readonly pointerSize: number;
}

export interface Commit {
  /** 40 hex, by content alone. */
  readonly id: string;
  /** By path, sorted. */
  readonly files: ReadonlyMap<string, StoredFile>;
}

export interface Repository {
  readonly described: HfRepo;
  /** By branch, tag and `refs/…` name. */
  readonly refs: ReadonlyMap<string, Commit>;
  readonly commits: ReadonlyMap<string, Commit>;
}

/** Larger files are LFS without being told; the hub's own bound for text is 10 MB, models are told by their suffix. */
const LFS_BYTES = 10_000_000;
const LFS_SUFFIX = /\.(safetensors|bin|gguf|onnx|pt|pth|ckpt|h5|msgpack|ot|model|zip|tar\.gz|npz)$/;

export function makeRepository(described: HfRepo): Repository {
  const refs = new Map<string, Commit>();
  const add = (name: string, files: Readonly<Record<string, HfFile>>): void => {
    refs.set(name, makeCommit(described.id, files));
  };
  add('main', described.files);
  for (const [name, files] of Object.entries(described.branches ?? {})) add(name, files);
  for (const [name, files] of Object.entries(described.tags ?? {})) add(name, files);
  for (const [number, files] of Object.entries(described.pullRequests ?? {})) add(`refs/pr/${number}`, files);
  return { described, refs, commits: new Map([...refs.values()].map((commit) => [commit.id, commit])) };
}

function makeCommit(id: string, files: Readonly<Record<string, HfFile>>): Commit {
  const stored = Object.entries(files)
    .map(([path, file]) => storeFile(path, file))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const hash = createHash('sha1').update(`commit of ${id}\n`);
  for (const file of stored) hash.update(`${file.path}\0${file.sha256}\n`);
  return { id: hash.digest('hex'), files: new Map(stored.map((file) => [file.path, file])) };
}

function storeFile(path: string, file: HfFile): StoredFile {
  const described = typeof file === 'string' || file instanceof Uint8Array ? { content: file } : file;
  const { content } = described;
  const bytes =
    typeof content === 'string'
      ? Buffer.from(content)
      : Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  const lfs = described.lfs ?? (bytes.length > LFS_BYTES || LFS_SUFFIX.test(path));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const pointer = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${bytes.length}\n`,
  );
  return {
    path,
    bytes,
    lfs,
    sha256,
    oid: gitBlobId(lfs ? pointer : bytes),
    pointerSize: pointer.length,
  };
}

function gitBlobId(bytes: Buffer): string {
  return createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
}

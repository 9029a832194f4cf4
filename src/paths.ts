/**
 * Names that come from the network are hostile until checked here: what is refused, and how any name becomes one safe
 * directory name. Pure.
 */
import { createHash } from 'node:crypto';
import { ModeldlError } from './errors.js';
import type { Digest, DigestAlgorithm, RemoteFile } from './hub.js';

/** How the file system that will hold a tree treats names. */
export interface FileSystemRules {
  /** `A` and `a` are the same file (macOS, Windows). */
  readonly caseInsensitive: boolean;
  /** Composed and decomposed characters are the same file (macOS). */
  readonly normalizing: boolean;
  /** Windows' reserved names and characters are refused too. */
  readonly windows: boolean;
}

/** Longest segment that common file systems take, bytes of UTF-8. */
const MAX_SEGMENT_BYTES = 255;
/** Longest path inside a model, bytes of UTF-8; leaves room for the cache directory within Linux' 4,096. */
const MAX_PATH_BYTES = 2048;
/** Devices, whatever follows a dot; the digits may be superscripts (Microsoft, "Naming Files, Paths, and Namespaces"). */
const WINDOWS_RESERVED =
  /^(con|prn|aux|nul|conin\$|conout\$|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3]) *(\..*)?$/i;
const WINDOWS_CHARACTERS = /[<>:"|?*]|[. ]$/;
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

/** The rules of a platform's usual file system. */
export function fileSystemRules(platform: NodeJS.Platform): FileSystemRules {
  return {
    caseInsensitive: platform === 'darwin' || platform === 'win32',
    normalizing: platform === 'darwin',
    windows: platform === 'win32',
  };
}

/** Characters of a name that a message shows; an archive may give one of some MiB. */
const SHOWN_CHARACTERS = 300;

/** A hostile name for a message: quoted, cut, and with nothing in it that a terminal obeys. */
export function shownName(name: string): string {
  const cut = name.length > SHOWN_CHARACTERS ? `${name.slice(0, SHOWN_CHARACTERS)}…` : name;
  return JSON.stringify(cut).replace(
    /[\p{Cc}\p{Bidi_Control}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function refuse(path: string, within: string | undefined, why: string): ModeldlError {
  const where = within === undefined ? '' : ` in ${within}`;
  return new ModeldlError('INTEGRITY', `Refused the file name ${shownName(path)}${where}: ${why}`, {
    hint: 'nothing was written; the source of this model is broken or hostile',
    details: { file: path, ...(within === undefined ? {} : { archive: within }) },
  });
}

/**
 * @param within the archive that the name is in, for the message
 * @throws ModeldlError INTEGRITY naming the path, when it could leave its directory or cannot exist there
 */
export function checkRelativePath(path: string, rules: FileSystemRules, within?: string): void {
  const why = pathProblem(path, rules);
  if (why !== undefined) throw refuse(path, within, why);
}

/** Why a path could leave its directory or cannot exist there; undefined when it can. */
export function pathProblem(path: string, rules: FileSystemRules): string | undefined {
  if (path === '') return 'it is empty';
  if (CONTROL.test(path)) return 'it holds a control character';
  if (path.includes('\\')) return 'it holds a backslash';
  if (path.startsWith('/')) return 'it is absolute';
  if (/^[A-Za-z]:/.test(path)) return 'it starts with a drive letter';
  if (!path.isWellFormed()) return 'it is not valid Unicode';
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  for (const segment of path.split('/')) {
    if (segment === '') return 'it has an empty segment';
    if (segment === '.' || segment === '..') return `it has a \`${segment}\` segment`;
    if (Buffer.byteLength(segment) > MAX_SEGMENT_BYTES) {
      return `a segment is longer than ${MAX_SEGMENT_BYTES} bytes`;
    }
    if (rules.windows && (WINDOWS_RESERVED.test(segment) || WINDOWS_CHARACTERS.test(segment))) {
      return 'Windows cannot store it';
    }
  }
  return undefined;
}

/**
 * Checks every path of a listing, and that no two of them are the same file, or one a file and a directory.
 * @param within the archive that the names are in, for the message
 * @throws ModeldlError INTEGRITY naming the offending path or paths
 */
export function checkListing(paths: readonly string[], rules: FileSystemRules, within?: string): void {
  const files = new Map<string, string>();
  const directories = new Map<string, string>();
  for (const path of paths) {
    checkRelativePath(path, rules, within);
    const folded = fold(path, rules);
    const twin = files.get(folded);
    if (twin !== undefined) throw refuse(path, within, `it collides with ${shownName(twin)}`);
    files.set(folded, path);
    for (let at = folded.lastIndexOf('/'); at > 0; at = folded.lastIndexOf('/', at - 1)) {
      const directory = folded.slice(0, at);
      if (directories.has(directory)) break;
      directories.set(directory, path);
    }
  }
  for (const [folded, path] of files) {
    const inside = directories.get(folded);
    if (inside !== undefined) throw refuse(path, within, `it is also the directory of ${shownName(inside)}`);
  }
}

const HEX_DIGITS: Readonly<Record<DigestAlgorithm, number>> = {
  sha256: 64,
  sha512: 128,
  sha384: 96,
  sha1: 40,
  'git-sha1': 40,
};

/** Is it as many lower-case hex digits as its algorithm gives? A digest becomes the name of a file. */
export function isDigest({ algorithm, hex }: Digest): boolean {
  return /^[0-9a-f]+$/.test(hex) && hex.length === HEX_DIGITS[algorithm];
}

/** @throws ModeldlError INTEGRITY naming the file whose digest is none */
export function checkDigests(files: readonly RemoteFile[]): void {
  for (const { path, digest } of files) {
    if (digest === undefined || isDigest(digest)) continue;
    throw new ModeldlError(
      'INTEGRITY',
      `Refused the digest of ${shownName(path)}: ${shownName(digest.hex)} is no ${digest.algorithm}`,
      {
        hint: 'nothing was written; the source of this model is broken or hostile',
        details: { file: path },
      },
    );
  }
}

function fold(path: string, rules: FileSystemRules): string {
  const normalized = (text: string): string => (rules.normalizing ? text.normalize('NFC') : text);
  // By way of capitals, which more small letters share than are equal to each other: `s` and the long `ſ`.
  return rules.caseInsensitive ? normalized(normalized(path).toUpperCase().toLowerCase()) : normalized(path);
}

/** Longest directory name made from an id; longer ones keep a head and get a hash. */
const MAX_ENCODED = 160;

/**
 * One directory name for an id or tag: `org/name` becomes `org--name`; what file systems refuse is %-encoded. Two
 * different texts never share a name: a literal `--` and `%` are encoded as well. Case is kept, so on a
 * case-insensitive file system two ids that differ in case meet in one directory and are told apart by their records.
 */
export function encodeSegment(text: string): string {
  let encoded = text
    // eslint-disable-next-line no-control-regex -- control characters are encoded like the rest
    .replace(/[\u0000-\u0020\u007f%\\:*?"<>|@#+]|[^\u0020-\u007e]/gu, (character) =>
      character === '*' ? '%2A' : character.isWellFormed() ? encodeURIComponent(character) : '%EF%BF%BD',
    )
    .replace(/-(?=[-/])|(?<=\/)-/g, '%2D')
    .replaceAll('/', '--');
  if (/^\./.test(encoded)) encoded = `%2E${encoded.slice(1)}`;
  if (/[. ]$/.test(encoded)) encoded = `${encoded.slice(0, -1)}%2E`;
  if (WINDOWS_RESERVED.test(encoded)) encoded = `%${hexOf(encoded[0] ?? '')}${encoded.slice(1)}`;
  if (encoded.length <= MAX_ENCODED) return encoded;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return `${encoded.slice(0, MAX_ENCODED - 18)}--${hash}`;
}

function hexOf(character: string): string {
  return Buffer.from(character).toString('hex').toUpperCase();
}

/** How web addresses are written as references, and which part of one is its identity. Pure. */
import type { Unpack } from '../../src/hub.js';
import {
  cleanSubpath,
  encodePart,
  endsLikeConversion,
  malformed,
  type ParseOptions,
  type ReferenceParts,
} from '../../src/reference.js';

/**
 * An unpacked archive is another tree than the archive itself, so it is another model, with an id of its own: this ends
 * it. Written out it is a fragment, which no server ever sees.
 */
const UNPACK = '#unpack';

const ARCHIVES: readonly (readonly [RegExp, Unpack['format']])[] = [
  [/\.(zip|whl)$/i, 'zip'],
  [/\.tar$/i, 'tar'],
  [/\.(tar\.gz|tgz)$/i, 'tar.gz'],
  [/\.(tar\.xz|txz)$/i, 'tar.xz'],
  [/\.(tar\.zst|tzst)$/i, 'tar.zst'],
];
/** The last two of a run of slashes: a path may itself end with one. */
const SUBPATH = /\/\/(?!\/)/;
const ARCHIVE_THEN_SUBPATH = /\.(?:zip|whl|tar|tgz|txz|tzst|tar\.(?:gz|xz|zst))(?=\/\/)/i;

/** Kind of an archive by its name. */
export function archiveFormat(name: string): Unpack['format'] | undefined {
  return ARCHIVES.find(([suffix]) => suffix.test(name))?.[1];
}

/** The address to ask, and whether what it gives is unpacked. */
export function readId(id: string): { address: URL; unpack: boolean } {
  const unpack = id.endsWith(UNPACK);
  return { address: new URL(unpack ? id.slice(0, -UNPACK.length) : id), unpack };
}

/**
 * Reads what follows `https:`. The id is the address without query and fragment.
 * @throws ModeldlError USAGE; the message never shows user information or the query
 */
export function parseAddress(
  rest: string,
  options: ParseOptions & { readonly scheme: string },
): ReferenceParts {
  const text = `${options.scheme}:${rest}`;
  const shown = text.replace(/[?#].*$/s, '').replace(/^([a-z]+:\/\/)[^/]*@/, '$1');
  if (!rest.startsWith('//') || !URL.canParse(text)) throw malformed(shown, 'it is not a web address');
  const address = new URL(text);
  if (address.username !== '' || address.password !== '') {
    throw malformed(
      shown,
      'user information is not taken in an address',
      'use a signed address, or the hub that the model is on',
    );
  }
  const fragment = readFragment(address.hash, shown);
  const wantsUnpack = fragment.unpack || options.unpack === true;
  const { path, subpath } = splitPath(address.pathname, wantsUnpack, shown);
  const query = address.search.slice(1);
  address.pathname = path;
  address.search = '';
  address.hash = '';
  const unpack = wantsUnpack || subpath !== undefined;
  return {
    id: `${withoutConversionEnd(address)}${unpack ? UNPACK : ''}`,
    ...(subpath === undefined ? {} : { subpath }),
    ...(fragment.sha256 === undefined ? {} : { sha256: fragment.sha256 }),
    ...(query === '' ? {} : { query }),
  };
}

/** The inverse of {@link parseAddress}, without the query. A revision is written as the digest that it is. */
export function formatAddress(parts: ReferenceParts): string {
  const { address, unpack } = readId(parts.id);
  const subpath = parts.subpath === undefined ? '' : `//${encodeSubpath(parts.subpath)}`;
  const sha256 = parts.sha256 ?? (/^[0-9a-f]{64}$/.test(parts.revision ?? '') ? parts.revision : undefined);
  const said = parts.subpath !== undefined && archiveFormat(address.pathname) !== undefined;
  const fragment = [
    ...(sha256 === undefined ? [] : [`sha256=${sha256}`]),
    ...(unpack && !said ? ['unpack'] : []),
  ];
  return `${address.href}${subpath}${fragment.length === 0 ? '' : `#${fragment.join('&')}`}`;
}

function readFragment(hash: string, shown: string): { sha256?: string; unpack: boolean } {
  let sha256: string | undefined;
  let unpack = false;
  for (const part of hash === '' ? [] : hash.slice(1).split('&')) {
    const [, hex] = /^sha256=([0-9a-fA-F]{64})$/.exec(part) ?? [];
    if (part === UNPACK.slice(1)) unpack = true;
    else if (hex !== undefined && sha256 === undefined) sha256 = hex.toLowerCase();
    else {
      throw malformed(
        shown,
        'the fragment is neither `#sha256=` with 64 hex digits nor `#unpack`',
        'leave out what follows `#`',
      );
    }
  }
  return sha256 === undefined ? { unpack } : { sha256, unpack };
}

/** `//` starts a subpath after an archive's suffix; with `--unpack` anywhere, unless the whole path is an archive's. */
function splitPath(path: string, unpack: boolean, shown: string): { path: string; subpath?: string } {
  const archive = ARCHIVE_THEN_SUBPATH.exec(path);
  let at = archive === null ? -1 : archive.index + archive[0].length;
  if (at < 0 && unpack && archiveFormat(path) === undefined) at = path.search(SUBPATH);
  if (at < 0) return { path };
  return { path: path.slice(0, at), subpath: cleanSubpath(path.slice(at + 2), shown) };
}

/** What an address gives a meaning to, beside what every reference does. */
function encodeSubpath(subpath: string): string {
  return encodePart(subpath).replace(/[?\\]/g, (character) => encodeURIComponent(character));
}

/** An address that ends like `+int8-cpu` would be read as a conversion of another one. */
function withoutConversionEnd(address: URL): string {
  if (!endsLikeConversion(address.href)) return address.href;
  const at = address.href.lastIndexOf('+');
  return `${address.href.slice(0, at)}%2B${address.href.slice(at + 1)}`;
}

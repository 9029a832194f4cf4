/** How files of this machine are written as references. Pure. */
import { posix, resolve } from 'node:path';
import {
  decodePart,
  encodePart,
  endsLikeConversion,
  formatSubpath,
  looksLikePath,
  malformed,
  splitSubpath,
  type ParseOptions,
  type ReferenceParts,
} from '../../src/reference.js';

/** The digest that a local model was stored under. Any other `@` belongs to the path. */
const REVISION = /@([0-9a-f]{64})$/;
const DRIVE = /^\/?([A-Za-z]:[\\/].*)$/s;

/**
 * Reads what follows `file:`, as an address (`file:///abs/x`) or as a path (`file:x`, from the working directory). Other
 * than a bare path it is decoded, and may end with `@revision` and `//subpath`.
 * @throws ModeldlError USAGE
 */
export function parseFileScheme(rest: string, options: ParseOptions): ReferenceParts {
  const text = `file:${rest}`;
  // After the scheme `//` introduces a host, which can only be this machine.
  const host = /^\/\/([^/]*)(?=\/|$)/.exec(rest);
  if (host !== null && host[1] !== '' && host[1] !== 'localhost') {
    throw malformed(
      text,
      `\`${host[1] ?? ''}\` is another host`,
      'a file is written `file:///path`, `/path` or `./path`',
    );
  }
  const { head, subpath } = splitSubpath(host === null ? rest : rest.slice(host[0].length));
  const revision = REVISION.exec(head)?.[1];
  const path = revision === undefined ? head : head.slice(0, -revision.length - 1);
  if (path === '') throw malformed(text, 'the path is empty');
  // `/C:/x` is how an address spells a Windows path; a directory that is called `C:` has its colon encoded.
  const drive = DRIVE.exec(path)?.[1];
  return {
    id: drive === undefined ? absolute(decodePart(path), options) : decodePart(drive),
    ...(revision === undefined ? {} : { revision }),
    ...(subpath === undefined ? {} : { subpath }),
  };
}

/** A path as it is where that is read back as the same, else the `file:` form, encoded. */
export function formatPath(parts: ReferenceParts): string {
  const { id, revision, subpath } = parts;
  if (revision === undefined && subpath === undefined && looksLikePath(id) && !endsLikeConversion(id))
    return id;
  const path = encodePart(id)
    // Before a subpath the root itself would look like the start of a host.
    .replace(/^%2F(?=.)/, '/')
    .replace(/^(\/[A-Za-z]):(?=[\\/])/, '$1%3A');
  return `file:${path}${revision === undefined ? '' : `@${revision}`}${formatSubpath(subpath)}`;
}

function absolute(path: string, options: ParseOptions): string {
  if (path === '~' || path.startsWith('~/')) return resolve(options.home, `.${path.slice(1)}`);
  return posix.isAbsolute(path) ? resolve(path) : resolve(options.cwd, path);
}

/** Parts of models whose files are known before anything is asked, such as a folder for each precision. Pure. */
import { ModeldlError } from '../src/errors.js';
import type { Reference, ReferenceParts } from '../src/reference.js';
import { nearestNames } from './nearest.js';

/** Most parts that a hint names. */
const MAX_OFFERED = 4;

/**
 * @param paths of all files; none of them an archive, whose members are not known
 * @throws ModeldlError NOT_FOUND naming the parts that there are
 */
export function refuseAbsentPart(
  { hub, id, revision, subpath }: Reference,
  paths: readonly string[],
  format: (parts: ReferenceParts) => string,
): void {
  if (subpath === undefined || paths.some((path) => covers(subpath, path))) return;
  const parts = partsLike(subpath, paths);
  const pinned = revision === undefined ? { id } : { id, revision };
  const texts = parts.map((part) => `\`${format({ ...pinned, subpath: part })}\``);
  throw new ModeldlError('NOT_FOUND', `${format(pinned)} has no ${subpath}`, {
    hint: `it has ${texts.join(', ')}`,
    details: { hub, file: subpath, nearest: parts },
  });
}

/** Is a file the part itself, or in it? */
export function covers(subpath: string, path: string): boolean {
  return path === subpath || path.startsWith(`${subpath}/`);
}

/** Those of that name wherever they are and however it is written, else the folders at the top, else what is spelt alike. */
function partsLike(subpath: string, paths: readonly string[]): readonly string[] {
  const folders = [...new Set(paths.flatMap(foldersOf))];
  const wanted = lastOf(subpath);
  const alike = [...folders, ...paths].filter((part) => lastOf(part) === wanted);
  if (alike.length > 0) return alike.slice(0, MAX_OFFERED);
  const top = folders.filter((folder) => !folder.includes('/'));
  if (top.length > 0 && !/[/.]/.test(subpath)) return top.slice(0, MAX_OFFERED);
  return nearestNames(subpath, [...folders, ...paths]);
}

function foldersOf(path: string): readonly string[] {
  const segments = path.split('/').slice(0, -1);
  return segments.map((_segment, index) => segments.slice(0, index + 1).join('/'));
}

function lastOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1).toLowerCase();
}

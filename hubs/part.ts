/** Parts of models whose files are known before anything is asked, such as a folder for each precision. Pure. */
import { ModeldlError } from '../src/errors.js';
import type { RemoteFile } from '../src/hub.js';
import { formatStandard, type Reference } from '../src/reference.js';
import { nearestNames } from './nearest.js';

/** Most parts that a hint names. */
const MAX_OFFERED = 4;

/**
 * Of a model with archives nothing is refused: their members are not known.
 * @throws ModeldlError NOT_FOUND naming the parts that there are
 */
export function refuseAbsentPart(
  { hub, id, revision, subpath }: Reference,
  files: readonly Pick<RemoteFile, 'path' | 'unpack'>[],
): void {
  if (subpath === undefined || files.some(({ unpack }) => unpack !== undefined)) return;
  const paths = files.map(({ path }) => path);
  if (paths.some((path) => covers(subpath, path))) return;
  const parts = partsLike(subpath, paths);
  const pinned = revision === undefined ? { id } : { id, revision };
  const texts = parts.map((part) => `\`${formatStandard(hub, { ...pinned, subpath: part })}\``);
  throw new ModeldlError('NOT_FOUND', `${formatStandard(hub, pinned)} has no ${subpath}`, {
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

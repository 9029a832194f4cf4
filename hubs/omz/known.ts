/** What is known of Open Model Zoo without asking: its releases, and the models of the newest. */
import { ModeldlError } from '../../src/errors.js';
import { formatStandard } from '../../src/reference.js';
import { nearestNames } from '../nearest.js';
import { nearestVersions } from '../versions.js';
import { COMPOSITES, PLACES, RELEASE, RELEASES } from './names.js';

/** Page for people. */
const REPOSITORY = 'https://github.com/openvinotoolkit/open_model_zoo';
const COMMIT = /^[0-9a-f]{40}$/;

const BY_NAME: ReadonlyMap<string, string> = new Map(
  Object.values(PLACES)
    .flat()
    .map((place) => [nameOf(place), place]),
);

/** Last segment of a place: `intel/age-gender-recognition-retail-0013`. */
export function nameOf(place: string): string {
  return place.slice(place.lastIndexOf('/') + 1);
}

/**
 * The commit that a revision means; releases are tags that this program knows.
 * @throws ModeldlError NOT_FOUND
 */
export function commitOf(revision: string | undefined, id: string): string {
  if (revision !== undefined && COMMIT.test(revision)) return revision;
  const commit = RELEASES[revision ?? RELEASE];
  if (commit !== undefined) return commit;
  const near = nearestVersions(revision ?? RELEASE, Object.keys(RELEASES));
  throw new ModeldlError('NOT_FOUND', `Open Model Zoo has no release ${revision ?? RELEASE} for ${id}`, {
    hint: `releases: ${near.join(', ')}; a commit is written with all its 40 digits`,
    details: { url: `${REPOSITORY}/tags` },
  });
}

/** A release is one commit. */
export function mayMean(named: string, revision: string): boolean {
  const commit = RELEASES[named];
  return commit === undefined || commit === revision;
}

export function isNewest(commit: string): boolean {
  return commit === RELEASES[RELEASE];
}

/** Folders below `models` that a model may be in, likeliest first: the one of the newest release, if it is there. */
export function placesOf(id: string, commit: string): readonly string[] {
  const known = BY_NAME.get(id);
  if (known !== undefined) return [known];
  return isNewest(commit) ? [] : [`intel/${id}`, `public/${id}`];
}

/** Is its description certain to be of a model that is no IR, at the newest release at least? */
export function isPublic(id: string): boolean {
  return BY_NAME.get(id)?.startsWith('public/') ?? false;
}

/** Does the newest release have it as a model of several stages? */
export function isComposite(place: string): boolean {
  return COMPOSITES.includes(place);
}

/** Names of the stages of a model, as folders of the newest release have them. */
export function knownStages(place: string): readonly string[] {
  return [...BY_NAME.values()].filter((other) => other.startsWith(`${place}/`)).map(nameOf);
}

/** Page of a model for people. */
export function pageOf(place: string, commit: string): string {
  return `${REPOSITORY}/tree/${commit}/models/${place}`;
}

/** The name that this revision is known by to people. */
export function releaseOf(commit: string): string {
  return Object.entries(RELEASES).findLast(([, known]) => known === commit)?.[0] ?? commit;
}

export function unknownName(id: string, commit: string): ModeldlError {
  const url = `${REPOSITORY}/tree/${commit}/models`;
  const message = `Open Model Zoo ${releaseOf(commit)} has no model ${id}: ${url}`;
  const known = BY_NAME.has(id);
  const near = nearestNames(id, BY_NAME.keys());
  const [first = ''] = near;
  return new ModeldlError('NOT_FOUND', message, {
    hint: known
      ? `the release ${RELEASE} has it: \`${formatStandard('omz', { id })}\``
      : `the nearest ${near.length > 1 ? `are ${near.join(', ')}` : `is ${first}`}: \`${formatStandard('omz', { id: first })}\``,
    details: { url, nearest: known ? [] : near },
  });
}

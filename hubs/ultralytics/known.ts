/** What is known of names: the tasks of those that Ultralytics lists, and what to say of one that is not there. */
import { ModeldlError } from '../../src/errors.js';
import { formatStandard } from '../../src/reference.js';
import { nearestNames } from '../nearest.js';
import { releasePage } from './endpoint.js';
import { withoutEnding } from './reference.js';
import type { Release } from './releases.js';

/** What is asked for, with the names that messages need. */
export interface Asked {
  readonly id: string;
  readonly asset: string;
  readonly endpoint: string;
}

/** Ultralytics' word for what these weights do. The list is imported when it is needed. */
export async function taskOf(id: string): Promise<string | undefined> {
  const { NAMES } = await import('./names.js');
  return Object.entries(NAMES).find(([, names]) => names.some((name) => name === id))?.[0];
}

/** The release is not there, or has no such file; `all` is what else there is, as far as that is known. */
export async function missing(
  asked: Asked,
  tag: string,
  release: Release | undefined,
  all: readonly Release[],
): Promise<ModeldlError> {
  const { id, asset, endpoint } = asked;
  const having = all.filter(({ assets }) => assets.has(asset));
  const holders = [...having.filter(({ stable }) => stable), ...having.filter(({ stable }) => !stable)].map(
    (holder) => holder.tag,
  );
  if (release !== undefined && holders.length === 0 && all.length > 0) return unknownName(asked, all);
  const [best] = holders;
  const page = release === undefined ? releasePage(endpoint) : releasePage(endpoint, tag);
  const message =
    release === undefined
      ? `There is no release ${tag} with ${asset}: ${page}`
      : `The release ${tag} has no ${asset}: ${page}`;
  return new ModeldlError('NOT_FOUND', message, {
    hint:
      best === undefined
        ? await nearestHint(id, all, 'the page lists releases and their files')
        : `${asset} is in ${holders.join(', ')}: \`${formatStandard('ultralytics', { id, revision: best })}\``,
    details: { url: page, releases: holders },
  });
}

export async function unknownName(
  { id, asset, endpoint }: Asked,
  all: readonly Release[],
): Promise<ModeldlError> {
  const page = releasePage(endpoint);
  return new ModeldlError('NOT_FOUND', `No release of Ultralytics' assets has ${asset}: ${page}`, {
    hint: await nearestHint(id, all, 'the page lists releases and their files'),
    details: { url: page },
  });
}

/** Names that look most like one that does not exist; none where it does, or where nothing is near. */
async function nearestHint(id: string, all: readonly Release[], otherwise: string): Promise<string> {
  const { NAMES, OTHER } = await import('./names.js');
  const published = all.flatMap(({ assets }) => [...assets.keys()]);
  const weights = published.filter((asset) => asset.endsWith('.pt')).map(withoutEnding);
  const names = new Set<string>([...Object.values(NAMES).flat(), ...OTHER, ...weights]);
  if (names.has(id)) return otherwise;
  const near = nearestNames(id, names);
  const [first = id] = near;
  return `the nearest ${near.length > 1 ? `are ${near.join(', ')}` : `is ${first}`}: \`ultralytics:${first}\``;
}

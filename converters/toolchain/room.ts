/** What making an environment takes, of the network and of the disk, beside what is here already. */
import { join } from 'node:path';
import type { RoomNeed, ToolchainContext, ToolchainStatus } from '../../src/converter.js';
import { sizesOf, type ToolchainDefinition, type ToolchainSizes } from './definition.js';
import { otherPackages } from './lock.js';
import { entriesOf, packagesIn, readMark, type Place, type Places } from './place.js';
import { bytesOfPackages, reusablePackages, withoutFound, type Reusable } from './reuse.js';
import type { TorchBuild } from './sources.js';

/** Which of several builds it will be is seen when it is made: shown is the most, asked for in advance the least. */
export async function largestOf(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  found: Places,
): Promise<NonNullable<ToolchainStatus['toInstall']>> {
  const sizes = (await candidates(definition, context, found)).map((candidate) => candidate.left);
  sizes.sort((a, b) => a.installedBytes - b.installedBytes);
  const [least = sizesOf(definition, 'locked'), most = least] = [sizes[0], sizes.at(-1)];
  const hasWheels = context.settings.wheels !== undefined;
  return {
    ...(hasWheels ? { hasWheels } : {}),
    downloadBytes: hasWheels ? 0 : most.downloadBytes,
    installedBytes: most.installedBytes,
    needs: [roomFor(definition, context, least)],
  };
}

/** Those that may be made, the best first: with most of it here, the one with libraries for GPUs has the least to fetch. */
export async function candidates(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  found: Places,
): Promise<readonly { readonly place: Place; readonly left: ToolchainSizes }[]> {
  const reusable = await reusablePackagesHere(context, found);
  const all = found.places.map((place) => ({
    place,
    left: sizesBesides(definition, place.build, reusableFor(place.build, reusable)),
  }));
  const [best, other] = all;
  if (best === undefined || other === undefined) return all;
  return other.left.downloadBytes < best.left.downloadBytes ? [other] : all;
}

/** What is written where environments are; downloads lie there too until they are unpacked. */
export function roomFor(
  { name }: ToolchainDefinition,
  context: ToolchainContext,
  sizes: ToolchainSizes,
): RoomNeed {
  const fetched = context.settings.wheels === undefined ? sizes.downloadBytes : 0;
  return {
    directory: context.toolchainsDir,
    bytes: sizes.installedBytes + fetched,
    what: `the toolchain \`${name}\``,
  };
}

/** Packages that environments of the same Python here have by the same entries of their locks, each once. */
export async function reusablePackagesHere(
  context: ToolchainContext,
  { python, packages }: Places,
): Promise<readonly Reusable[]> {
  const found: Reusable[] = [];
  let missing = packages;
  for (const entry of await entriesOf(context.toolchainsDir)) {
    const directory = join(context.toolchainsDir, entry);
    if ((await readMark(directory))?.python !== python) continue;
    found.push(...(await reusablePackages(directory, await packagesIn(directory), missing)));
    missing = withoutFound(packages, found);
  }
  return found;
}

/** Those of them that a build has by the hashes of the lock. */
export function reusableFor(build: TorchBuild, reusable: readonly Reusable[]): readonly Reusable[] {
  return build === 'locked' ? reusable : otherPackages(reusable);
}

/** What is left to fetch and to keep. How much of a download they are, their part of the disk tells about. */
export function sizesBesides(
  definition: ToolchainDefinition,
  build: TorchBuild,
  reusable: readonly Reusable[],
): ToolchainSizes {
  const sizes = sizesOf(definition, build);
  const left = Math.max(0, 1 - bytesOfPackages(reusable) / sizes.installedBytes);
  return {
    downloadBytes: Math.ceil(sizes.downloadBytes * left),
    installedBytes: Math.ceil(sizes.installedBytes * left),
  };
}

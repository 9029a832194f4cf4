/** What making an environment takes, of the network and of the disk, beside what is here already. */
import { join } from 'node:path';
import type { RoomNeed, ToolchainContext, ToolchainStatus } from '../../src/converter.js';
import { sizesOf, type ToolchainDefinition, type ToolchainSizes } from './definition.js';
import { otherPackages } from './lock.js';
import { entriesOf, packagesIn, readMark, type Place, type Places } from './place.js';
import { bytesOfPackages, reusablePackages, type Reusable } from './reuse.js';
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
  return {
    downloadBytes: context.settings.wheels === undefined ? most.downloadBytes : 0,
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
  const all = [];
  for (const place of found.places) {
    all.push({
      place,
      left: sizesBesides(definition, place.build, await reusableFor(context, found, place.build)),
    });
  }
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
export async function reusableFor(
  context: ToolchainContext,
  { python, packages }: Places,
  build: TorchBuild,
): Promise<readonly Reusable[]> {
  const wanted = build === 'locked' ? packages : otherPackages(packages);
  const found = new Map<string, Reusable>();
  for (const entry of await entriesOf(context.toolchainsDir)) {
    const directory = join(context.toolchainsDir, entry);
    if ((await readMark(directory))?.python !== python) continue;
    const had = await packagesIn(directory);
    for (const reusable of await reusablePackages(directory, had, wanted)) {
      if (!found.has(reusable.name)) found.set(reusable.name, reusable);
    }
  }
  return [...found.values()];
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

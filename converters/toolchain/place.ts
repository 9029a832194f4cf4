/** Where environments lie, and what tells that one is whole. */
import { createHash } from 'node:crypto';
import { access, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { ToolchainContext } from '../../src/converter.js';
import { diskError, systemErrorCode } from '../../src/errors.js';
import { lockDigest, lockText, type ToolchainDefinition } from './definition.js';
import { packagesOf, type LockedPackage } from './lock.js';
import { pythonOf } from './packages.js';
import { findPython } from './python.js';
import { directorySize } from './size.js';
import { torchBuilds, type TorchBuild } from './sources.js';

/** A place where an environment lies or would lie. */
export interface Place {
  readonly build: TorchBuild;
  readonly directory: string;
}

export interface Places {
  /** A Python to make it with. */
  readonly command: string;
  /** Its version and platform. */
  readonly python: string;
  readonly packages: readonly LockedPackage[];
  /** Those that serve, the best first. */
  readonly places: readonly [Place, ...Place[]];
}

const COMPLETE = '.complete';
/** What it was made from, for other environments that need the same. */
const LOCK_COPY = '.lock.txt';
/** What the mark holds. The oldest are the lock's digest alone: of these all is measured that is asked for. */
const mark = v.object({
  lock: v.string(),
  torch: v.picklist(['locked', 'cpu']),
  /** Absent in older ones, of which nothing is taken. */
  python: v.exactOptional(v.string()),
  bytes: v.number(),
});

/** `<name>-<hash of lock, interpreter version, platform, build of PyTorch>` */
export async function placesFor(definition: ToolchainDefinition, context: ToolchainContext): Promise<Places> {
  const { name } = definition;
  const python = await findPython(context, name, definition.python);
  const packages = packagesOf(await lockText(definition));
  const made = `${python.version} ${python.platform}`;
  const identity = `${await lockDigest(definition)} ${made}`;
  const placeOf = (build: TorchBuild): Place => {
    const whole = build === 'locked' ? identity : `${identity} torch=${build}`;
    const hash = createHash('sha256').update(whole).digest('hex').slice(0, 12);
    return { build, directory: join(context.toolchainsDir, `${name}-${hash}`) };
  };
  const [best, ...rest] = torchBuilds(context.settings, packages, python.platform);
  const places = [placeOf(best), ...rest.map(placeOf)] as const;
  return { command: python.command, python: made, packages, places };
}

export async function firstIntact(places: readonly Place[]): Promise<Place | undefined> {
  for (const place of places) if (await isIntact(place.directory)) return place;
  return undefined;
}

export async function firstThere(places: readonly Place[]): Promise<Place | undefined> {
  for (const place of places) if (await exists(place.directory)) return place;
  return undefined;
}

/** By its mark where that tells: to look at every file takes seconds. */
export async function bytesOf(directory: string): Promise<number> {
  return (await readMark(directory))?.bytes ?? (await directorySize(directory)).bytes;
}

export async function readMark(directory: string): Promise<v.InferOutput<typeof mark> | undefined> {
  try {
    const read = v.safeParse(mark, JSON.parse(await readFile(join(directory, COMPLETE), 'utf8')));
    return read.success ? read.output : undefined;
  } catch {
    return undefined;
  }
}

export async function isIntact(directory: string): Promise<boolean> {
  return (await exists(join(directory, COMPLETE))) && (await exists(pythonOf(directory)));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export async function entriesOf(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw diskError(error, directory);
  }
}

/** Names a whole environment as such, last of all. */
export async function writeMark(
  definition: ToolchainDefinition,
  { python }: Places,
  { build, directory }: Place,
): Promise<void> {
  await writeFile(join(directory, LOCK_COPY), await lockText(definition));
  const complete: v.InferOutput<typeof mark> = {
    lock: await lockDigest(definition),
    torch: build,
    python,
    bytes: (await directorySize(directory)).bytes,
  };
  await writeFile(join(directory, COMPLETE), `${JSON.stringify(complete)}\n`);
}

/** Without its mark first, a half-removed environment is never taken for a whole one. */
export async function removeMarked(directory: string): Promise<void> {
  await rm(join(directory, COMPLETE), { force: true });
  await rm(directory, { recursive: true, force: true });
}

/** What an environment was made from; nothing where that is not known. */
export async function packagesIn(directory: string): Promise<readonly LockedPackage[]> {
  return packagesOf(await readFile(join(directory, LOCK_COPY), 'utf8').catch(() => ''));
}

/**
 * A toolchain: a pinned, hash-locked Python environment of its own, made on first use at its final path (a moved
 * environment is broken) and complete when `.complete` was written, last.
 */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type {
  RemovedBytes,
  RoomNeed,
  Toolchain,
  ToolchainContext,
  ToolchainEnvironment,
  ToolchainStatus,
} from '../../src/converter.js';
import { diskError, ModeldlError } from '../../src/errors.js';
import { lockDigest, sizesOf, type ToolchainDefinition } from './definition.js';
import { externalVersions, versionsIn } from './external.js';
import { choose, download, install } from './install.js';
import type { LockedPackage } from './lock.js';
import { installedVersions } from './reuse.js';
import { pythonOf } from './packages.js';
import {
  bytesOf,
  entriesOf,
  firstIntact,
  firstThere,
  isIntact,
  placesFor,
  removeMarked,
  type Place,
  type Places,
} from './place.js';
import { kitOf, removeKits, withKit } from './kit.js';
import { candidates, largestOf, roomFor } from './room.js';
import { directorySize } from './size.js';
import { wheelsIn } from './sources.js';

export function createToolchain(definition: ToolchainDefinition): Toolchain {
  const { name, title, downloadBytes, installedBytes } = definition;

  /** Is this the name of an environment of this toolchain? Names of others may begin alike: `optimum-5.0`. */
  function isOwn(entry: string): boolean {
    return entry.startsWith(`${name}-`) && /^[0-9a-f]{12}$/.test(entry.slice(name.length + 1));
  }

  async function status(context: ToolchainContext): Promise<ToolchainStatus> {
    const external = context.settings.interpreters[name];
    if (external !== undefined) return externalStatus(context, external);
    let found: Places;
    try {
      found = await placesFor(definition, context);
    } catch (error) {
      if (error instanceof ModeldlError && error.code === 'TOOLCHAIN') {
        const needs: readonly RoomNeed[] = [roomFor(definition, context, sizesOf(definition, 'locked'))];
        const toInstall = { downloadBytes, installedBytes, needs };
        return { state: 'missing', versions: {}, reason: error.message, toInstall };
      }
      throw error;
    }
    const { places, packages } = found;
    const intact = await firstIntact(places);
    const there = intact ?? (await firstThere(places));
    const at = intact === undefined ? await withKit(definition, context, found) : context;
    const unusedBytes = await bytesBesides(context, there);
    if (intact !== undefined) {
      return {
        state: 'installed',
        directory: intact.directory,
        bytes: await bytesOf(intact.directory),
        unusedBytes,
        versions: await versionsOf(intact.directory, pinnedVersions(packages, definition.shown)),
      };
    }
    const toInstall = await largestOf(definition, at, found);
    if (there !== undefined) {
      const { directory } = there;
      const bytes = await bytesOf(directory);
      const reason =
        'its installation is not finished: it goes on in another process, or is made anew on next use';
      return { state: 'broken', directory, bytes, unusedBytes, versions: {}, reason, toInstall };
    }
    return { state: 'missing', unusedBytes, versions: {}, toInstall };
  }

  /** Of environments for other locks, such as an earlier modeldl's, for other versions of Python, or of the other build. */
  async function bytesBesides(context: ToolchainContext, shown: Place | undefined): Promise<number> {
    let bytes = 0;
    for (const entry of await entriesOf(context.toolchainsDir)) {
      const directory = join(context.toolchainsDir, entry);
      if (isOwn(entry) && directory !== shown?.directory) bytes += await bytesOf(directory);
    }
    return bytes;
  }

  async function ensure(asked: ToolchainContext): Promise<ToolchainEnvironment> {
    const external = asked.settings.interpreters[name];
    if (external !== undefined) {
      requirePackages(external, await externalVersions(asked, name, external, definition.shown));
      return { python: external };
    }
    const found = await placesFor(definition, asked);
    const intact = await firstIntact(found.places);
    if (intact !== undefined) return enter(asked, found, intact);
    const context = await withKit(definition, asked, found);
    await refuseUnavailable(context);
    const [only, ...others] = await candidates(definition, context, found);
    if (only !== undefined && others.length === 0) return enter(context, found, only.place);
    // Two processes that found different builds would make both.
    return context.exclusively(`the choice of PyTorch for ${name} in ${context.toolchainsDir}`, async () => {
      const meanwhile = await firstIntact(found.places);
      return enter(context, found, meanwhile ?? (await choose(definition, context, found)));
    });
  }

  /** Makes the environment there unless it is, and declares its use. */
  function enter(context: ToolchainContext, found: Places, place: Place): Promise<ToolchainEnvironment> {
    const { directory } = place;
    return context.exclusively(claimName(directory), async () => {
      if (!(await isIntact(directory))) {
        await refuseUnavailable(context);
        await install(definition, context, found, place);
      }
      await context.use(basename(directory));
      return { python: pythonOf(directory), directory };
    });
  }

  async function examine(context: ToolchainContext): Promise<void> {
    const { places, packages } = await placesFor(definition, context);
    const intact = await firstIntact(places);
    if (intact === undefined) return;
    const python = pythonOf(intact.directory);
    const pinned = pinnedVersions(packages, definition.shown);
    const there = await versionsIn(context, name, python, Object.keys(pinned));
    const wrong = Object.entries(pinned).find(([known, versions]) => !agrees(there[known], versions));
    if (wrong === undefined) return;
    const [known, versions] = wrong;
    throw new ModeldlError(
      'TOOLCHAIN',
      `The toolchain \`${name}\` is not as it was made: expected ${known} ${versions.join(' or ')}, got ${there[known] ?? 'none'}`,
      { details: { file: intact.directory } },
    );
  }

  function claimName(directory: string): string {
    return `the toolchain ${name} at ${directory}`;
  }

  /** @throws ModeldlError TOOLCHAIN when nothing may be installed, CONFIG when the folder of wheels is not there */
  async function refuseUnavailable({ settings }: ToolchainContext): Promise<void> {
    const needsNetwork = settings.offline && settings.wheels === undefined;
    if (settings.install === 'never' || needsNetwork) {
      const why = needsNetwork ? '`--offline` forbids' : 'the settings forbid';
      throw new ModeldlError(
        'TOOLCHAIN',
        `The toolchain \`${name}\` is not installed, and ${why} installing it`,
        {
          hint: `run \`modeldl toolchain install ${name}\` once with network, or from a folder of wheels that \`toolchains.wheels\` names or \`modeldl bundle import\` brings`,
        },
      );
    }
    if (settings.wheels !== undefined) await wheelsIn(settings.wheels);
  }

  async function remove(context: ToolchainContext): Promise<RemovedBytes> {
    let freedBytes = 0;
    let sharedBytes = 0;
    for (const entry of await entriesOf(context.toolchainsDir)) {
      if (entry.startsWith(`${name}-external-`))
        await rm(join(context.toolchainsDir, entry), { force: true });
      if (!isOwn(entry)) continue;
      const directory = join(context.toolchainsDir, entry);
      await context.whenUnused(claimName(directory), entry, async () => {
        const held = await directorySize(directory);
        try {
          await removeMarked(directory);
        } catch (error) {
          throw diskError(error, directory);
        }
        freedBytes += held.freedBytes;
        sharedBytes += held.bytes - held.freedBytes;
      });
    }
    freedBytes += await removeKits(definition, context);
    return { freedBytes, sharedBytes };
  }

  async function externalStatus(context: ToolchainContext, external: string): Promise<ToolchainStatus> {
    try {
      const versions = await externalVersions(context, name, external, definition.shown);
      requirePackages(external, versions);
      return { state: 'external', directory: external, versions };
    } catch (error) {
      if (!(error instanceof ModeldlError) || error.code !== 'TOOLCHAIN') throw error;
      return { state: 'broken', directory: external, versions: {}, reason: error.message };
    }
  }

  /** Only what everything needs: who converts to fp16 may do without the compressor, and a worker names it else. */
  function requirePackages(external: string, versions: Readonly<Record<string, string>>): void {
    const [needed] = definition.shown;
    if (needed in versions) return;
    throw new ModeldlError('TOOLCHAIN', `${external} lacks the Python package ${needed}`, {
      hint: `install it there with \`${external} -m pip install ${definition.shown.join(' ')}\`, or unset \`toolchains.interpreters.${name}\``,
      details: { file: external },
    });
  }

  /**
   * Not of the build of PyTorch: both compute on the CPU with the same kernels, so that results differ by rounding at
   * most, and which one it will be may be unknown before an installation, where a stored conversion must be found.
   */
  async function digest(context: ToolchainContext): Promise<string> {
    const external = context.settings.interpreters[name];
    if (external === undefined) return lockDigest(definition);
    const versions = await externalVersions(context, name, external, definition.shown);
    return createHash('sha256')
      .update(JSON.stringify(Object.entries(versions).sort(([a], [b]) => (a < b ? -1 : 1))))
      .digest('hex');
  }

  return {
    name,
    title,
    downloadBytes,
    digest,
    status,
    ensure,
    examine,
    download: (context, folder) => download(definition, context, folder),
    kit: (context) => kitOf(definition, context),
    remove,
  };
}

/** CPU wheels of PyTorch add where they are from: `2.9.1+cpu`. */
function agrees(there: string | undefined, pinned: readonly string[]): boolean {
  return pinned.some((version) => there === version || there?.startsWith(`${version}+`) === true);
}

/** Versions by the lock: of a package several, where it is another for other versions of Python. */
function pinnedVersions(
  packages: readonly LockedPackage[],
  shown: readonly string[],
): Readonly<Record<string, readonly string[]>> {
  const versions: Record<string, readonly string[]> = {};
  for (const name of shown) {
    const locked = packages.filter((each) => each.name === name);
    if (locked.length > 0) versions[name] = locked.map(({ version }) => version);
  }
  return versions;
}

/** What is in a complete environment is exactly what the lock says; of several versions its files tell which. */
async function versionsOf(
  environment: string,
  pinned: Readonly<Record<string, readonly string[]>>,
): Promise<Record<string, string>> {
  const several = Object.keys(pinned).filter((name) => (pinned[name]?.length ?? 0) > 1);
  const there = several.length === 0 ? {} : await installedVersions(environment, several);
  return Object.fromEntries(
    Object.entries(pinned).flatMap(([name, versions]) => {
      const version = versions.find((one) => agrees(there[name], [one])) ?? versions[0];
      return version === undefined ? [] : [[name, version]];
    }),
  );
}

/**
 * A toolchain: a pinned, hash-locked Python environment of its own, made on first use at its final path (a moved
 * environment is broken) and complete when `.complete` was written, last.
 */
import { createHash } from 'node:crypto';
import {
  access,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import type {
  DownloadedWheels,
  RemovedBytes,
  RoomNeed,
  Toolchain,
  ToolchainContext,
  ToolchainEnvironment,
  ToolchainStatus,
} from '../../src/converter.js';
import { diskError, ModeldlError, systemErrorCode } from '../../src/errors.js';
import { assetPath } from '../assets.js';
import { externalVersions } from './external.js';
import { otherPackages, packagesOf, torchVersions, type LockedPackage } from './lock.js';
import { pythonOf, runPipFor, withPip } from './packages.js';
import { runPip, type PipJob } from './pip.js';
import { findPython, type PythonRange } from './python.js';
import { bytesOfPackages, reusablePackages, takePackages, type Reusable } from './reuse.js';
import { directorySize } from './size.js';
import {
  cpuIndex,
  hasCpuWheel,
  pipCache,
  PYTORCH_CPU_INDEX,
  sourceOptions,
  torchBuilds,
  wheelsIn,
  type TorchBuild,
} from './sources.js';

/** Bytes of an environment, measured on Linux x86_64. */
export interface ToolchainSizes {
  /** To download. */
  readonly downloadBytes: number;
  /** On disk: what is asked to be free before an installation, besides the download. */
  readonly installedBytes: number;
}

export interface ToolchainDefinition extends ToolchainSizes {
  readonly name: string;
  readonly title: string;
  /** The same with CPU wheels of PyTorch, where it has any. */
  readonly cpu?: ToolchainSizes;
  /** Packages whose versions are shown and recorded; nothing works without the first. */
  readonly shown: readonly [string, ...string[]];
  /** Versions of Python that the lock has wheels for; default 3.10 to 3.14. */
  readonly python?: PythonRange;
  /** Absolute path of its requirement file; default `<name>.txt` in `requirements/`. */
  readonly lock?: string;
  /** Where CPU wheels of PyTorch come from when the settings name no address; default PyTorch's own index. */
  readonly torchIndex?: string;
}

/** A place where an environment lies or would lie. */
interface Place {
  readonly build: TorchBuild;
  readonly directory: string;
}

interface Places {
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
/** What the mark holds. Older ones are the lock's digest alone: of these all is measured that is asked for. */
const mark = v.object({
  lock: v.string(),
  torch: v.picklist(['locked', 'cpu']),
  python: v.string(),
  bytes: v.number(),
});

/** How long PyTorch's index may take to answer when nobody insists on it, seconds. */
const LOOK_SECONDS = 5;

export function createToolchain(definition: ToolchainDefinition): Toolchain {
  const { name, title, downloadBytes, installedBytes, torchIndex = PYTORCH_CPU_INDEX } = definition;
  const lockFile = (): string => definition.lock ?? assetPath('requirements', `${name}.txt`);
  const lockDigest = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(lockFile()))
      .digest('hex');
  const sizesOf = (build: TorchBuild): ToolchainSizes =>
    (build === 'cpu' ? definition.cpu : undefined) ?? { downloadBytes, installedBytes };

  /** `<name>-<hash of lock, interpreter version, platform, build of PyTorch>` */
  async function placesFor(context: ToolchainContext): Promise<Places> {
    const python = await findPython(context, name, definition.python);
    const packages = packagesOf(await readFile(lockFile(), 'utf8'));
    const made = `${python.version} ${python.platform}`;
    const identity = `${await lockDigest()} ${made}`;
    const placeOf = (build: TorchBuild): Place => {
      const whole = build === 'locked' ? identity : `${identity} torch=${build}`;
      const hash = createHash('sha256').update(whole).digest('hex').slice(0, 12);
      return { build, directory: join(context.toolchainsDir, `${name}-${hash}`) };
    };
    const [best, ...rest] = torchBuilds(context.settings, packages, python.platform);
    const places = [placeOf(best), ...rest.map(placeOf)] as const;
    return { command: python.command, python: made, packages, places };
  }

  /** Is this the name of an environment of this toolchain? Names of others may begin alike: `optimum-5.0`. */
  function isOwn(entry: string): boolean {
    return entry.startsWith(`${name}-`) && /^[0-9a-f]{12}$/.test(entry.slice(name.length + 1));
  }

  async function status(context: ToolchainContext): Promise<ToolchainStatus> {
    const external = context.settings.interpreters[name];
    if (external !== undefined) return externalStatus(context, external);
    let found: Places;
    try {
      found = await placesFor(context);
    } catch (error) {
      if (error instanceof ModeldlError && error.code === 'TOOLCHAIN') {
        const needs: readonly RoomNeed[] = [roomFor(context, sizesOf('locked'))];
        const toInstall = { downloadBytes, installedBytes, needs };
        return { state: 'missing', versions: {}, reason: error.message, toInstall };
      }
      throw error;
    }
    const { places, packages } = found;
    const intact = await firstIntact(places);
    const unusedBytes = await bytesBesides(context, places);
    if (intact !== undefined) {
      return {
        state: 'installed',
        directory: intact.directory,
        bytes: await bytesOf(intact.directory),
        unusedBytes,
        versions: pinnedVersions(packages, definition.shown),
      };
    }
    const toInstall = await largestOf(context, found);
    const there = await firstThere(places);
    if (there !== undefined) {
      const { directory } = there;
      const bytes = await bytesOf(directory);
      const reason = 'its installation did not finish';
      return { state: 'broken', directory, bytes, unusedBytes, versions: {}, reason, toInstall };
    }
    return { state: 'missing', unusedBytes, versions: {}, toInstall };
  }

  /** Of environments for other locks, such as an earlier modeldl's, for other versions of Python, or of the other build. */
  async function bytesBesides(context: ToolchainContext, places: readonly Place[]): Promise<number> {
    const shown = (await firstIntact(places)) ?? (await firstThere(places));
    let bytes = 0;
    for (const entry of await entriesOf(context.toolchainsDir)) {
      const directory = join(context.toolchainsDir, entry);
      if (isOwn(entry) && directory !== shown?.directory) bytes += await bytesOf(directory);
    }
    return bytes;
  }

  /** Which of several builds it will be is seen when it is made: shown is the most, asked for in advance the least. */
  async function largestOf(
    context: ToolchainContext,
    found: Places,
  ): Promise<NonNullable<ToolchainStatus['toInstall']>> {
    const sizes = (await candidates(context, found)).map((candidate) => candidate.left);
    sizes.sort((a, b) => a.installedBytes - b.installedBytes);
    const [least = sizesOf('locked'), most = least] = [sizes[0], sizes.at(-1)];
    return {
      downloadBytes: context.settings.wheels === undefined ? most.downloadBytes : 0,
      installedBytes: most.installedBytes,
      needs: [roomFor(context, least)],
    };
  }

  /** Those that may be made, the best first: with most of it here, the one with libraries for GPUs has the least to fetch. */
  async function candidates(
    context: ToolchainContext,
    found: Places,
  ): Promise<readonly { readonly place: Place; readonly left: ToolchainSizes }[]> {
    const all = [];
    for (const place of found.places) {
      all.push({ place, left: sizesBesides(place.build, await reusableFor(context, found, place.build)) });
    }
    const [best, other] = all;
    if (best === undefined || other === undefined) return all;
    return other.left.downloadBytes < best.left.downloadBytes ? [other] : all;
  }

  /** What is written where environments are; downloads lie there too until they are unpacked. */
  function roomFor(context: ToolchainContext, sizes: ToolchainSizes): RoomNeed {
    const fetched = context.settings.wheels === undefined ? sizes.downloadBytes : 0;
    return {
      directory: context.toolchainsDir,
      bytes: sizes.installedBytes + fetched,
      what: `the toolchain \`${name}\``,
    };
  }

  /** Packages that environments of the same Python here have by the same entries of their locks, each once. */
  async function reusableFor(
    context: ToolchainContext,
    { python, packages }: Places,
    build: TorchBuild,
  ): Promise<readonly Reusable[]> {
    const wanted = build === 'locked' ? packages : otherPackages(packages);
    const found = new Map<string, Reusable>();
    for (const entry of await entriesOf(context.toolchainsDir)) {
      const directory = join(context.toolchainsDir, entry);
      if ((await readMark(directory))?.python !== python) continue;
      const had = packagesOf(await readFile(join(directory, LOCK_COPY), 'utf8').catch(() => ''));
      for (const reusable of await reusablePackages(directory, had, wanted)) {
        if (!found.has(reusable.name)) found.set(reusable.name, reusable);
      }
    }
    return [...found.values()];
  }

  /** What is left to fetch and to keep. How much of a download they are, their part of the disk tells about. */
  function sizesBesides(build: TorchBuild, reusable: readonly Reusable[]): ToolchainSizes {
    const sizes = sizesOf(build);
    const left = Math.max(0, 1 - bytesOfPackages(reusable) / sizes.installedBytes);
    return {
      downloadBytes: Math.ceil(sizes.downloadBytes * left),
      installedBytes: Math.ceil(sizes.installedBytes * left),
    };
  }

  async function ensure(context: ToolchainContext): Promise<ToolchainEnvironment> {
    const external = context.settings.interpreters[name];
    if (external !== undefined) {
      requirePackages(external, await externalVersions(context, name, external, definition.shown));
      return { python: external };
    }
    const found = await placesFor(context);
    const intact = await firstIntact(found.places);
    if (intact !== undefined) return enter(context, found, intact);
    await refuseUnavailable(context);
    const [only, ...others] = await candidates(context, found);
    if (only !== undefined && others.length === 0) return enter(context, found, only.place);
    // Two processes that found different builds would make both.
    return context.exclusively(`the choice of PyTorch for ${name} in ${context.toolchainsDir}`, async () => {
      const meanwhile = await firstIntact(found.places);
      return enter(context, found, meanwhile ?? (await choose(context, found)));
    });
  }

  /** Makes the environment there unless it is, and declares its use. */
  function enter(context: ToolchainContext, found: Places, place: Place): Promise<ToolchainEnvironment> {
    const { directory } = place;
    return context.exclusively(claimName(directory), async () => {
      if (!(await isIntact(directory))) {
        await refuseUnavailable(context);
        await install(context, found, place);
      }
      await context.use(basename(directory));
      return { python: pythonOf(directory), directory };
    });
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
          hint: `run \`modeldl toolchain install ${name}\` once with network, or from a folder of wheels that \`toolchains.wheels\` names`,
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
          // Without its mark first, a half-removed environment is never taken for a whole one.
          await rm(join(directory, COMPLETE), { force: true });
          await rm(directory, { recursive: true, force: true });
        } catch (error) {
          throw diskError(error, directory);
        }
        freedBytes += held.freedBytes;
        sharedBytes += held.bytes - held.freedBytes;
      });
    }
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
    if (external === undefined) return lockDigest();
    const versions = await externalVersions(context, name, external, definition.shown);
    return createHash('sha256')
      .update(JSON.stringify(Object.entries(versions).sort(([a], [b]) => (a < b ? -1 : 1))))
      .digest('hex');
  }

  async function newJob(context: ToolchainContext, doing: string): Promise<PipJob> {
    const logFile = join(context.toolchainsDir, '..', 'logs', `toolchain-${name}.log`);
    await mkdir(dirname(logFile), { recursive: true });
    await writeFile(logFile, '');
    context.emit({ type: 'stage', stage: `${doing} ${name}`, detail: title });
    return { context, toolchain: name, doing, logFile };
  }

  /** CPU wheels of PyTorch where they can be had, by a look that does not last. */
  async function choose(context: ToolchainContext, { command, packages, places }: Places): Promise<Place> {
    const [best, other] = places;
    const { wheels } = context.settings;
    if (other === undefined) return best;
    if (wheels !== undefined) return (await hasCpuWheel(wheels, packages)) ? best : other;
    const job = await newJob(context, 'Installing the toolchain');
    context.emit({
      type: 'stage',
      stage: `${job.doing} ${name}`,
      detail: 'Looking for CPU wheels of PyTorch',
    });
    const found = await withPip(job, command, async (python) => {
      const listing = ['index', 'versions', 'torch', '--timeout', `${LOOK_SECONDS}`, '--retries', '0'];
      const { environment } = sourceOptions({}, cpuIndex(context.settings, torchIndex));
      const flags = ['--no-input', '--disable-pip-version-check'];
      try {
        return await runPip(job, {
          python,
          module: ['pip', ...listing, ...flags],
          source: 'torch',
          environment,
        });
      } catch (error) {
        if (context.signal.aborted || !(error instanceof ModeldlError)) throw error;
        return [];
      }
    });
    const offered = new Set(found.join(' ').split(/[\s,()]+/));
    if (torchVersions(packages).some((version) => offered.has(version))) return best;
    context.emit({
      type: 'note',
      message: `PyTorch's CPU wheels cannot be had from ${new URL(torchIndex).host}: it comes from the package index as it is locked, with libraries for GPUs`,
    });
    return other;
  }

  async function install(
    context: ToolchainContext,
    found: Places,
    { build, directory }: Place,
  ): Promise<void> {
    const { command, python, packages } = found;
    const temporary = join(directory, '.tmp');
    const job = await newJob(context, 'Installing the toolchain');
    try {
      const reusable = await reusableFor(context, found, build);
      const cached = await hasRoomForCache(context, sizesBesides(build, reusable));
      await rm(directory, { recursive: true, force: true });
      await mkdir(temporary, { recursive: true });
      await runPip(job, { python: command, module: ['venv', directory] });
      await take(context, directory, reusable, temporary);
      await runPipFor(job, {
        python: pythonOf(directory),
        command: ['install', ...(cached ? [] : ['--no-cache-dir'])],
        packages,
        lock: lockFile(),
        build,
        torchIndex,
        temporary,
      });
      await rm(temporary, { recursive: true, force: true });
      await copyFile(lockFile(), join(directory, LOCK_COPY));
      const complete: v.InferOutput<typeof mark> = {
        lock: await lockDigest(),
        torch: build,
        python,
        bytes: (await directorySize(directory)).bytes,
      };
      await writeFile(join(directory, COMPLETE), `${JSON.stringify(complete)}\n`);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw diskError(error, directory);
    }
  }

  /** Whether what is downloaded fits into pip's cache as well, which others profit by. @throws ModeldlError DISK */
  async function hasRoomForCache(context: ToolchainContext, sizes: ToolchainSizes): Promise<boolean> {
    const need = roomFor(context, sizes);
    const cache = context.settings.wheels === undefined ? pipCache(context.environment) : undefined;
    if (cache !== undefined) {
      const copy = { directory: cache, bytes: sizes.downloadBytes, what: "pip's cache" };
      try {
        await context.requireRoom([need, copy]);
        return true;
      } catch (error) {
        if (!(error instanceof ModeldlError) || error.code !== 'DISK') throw error;
      }
    }
    await context.requireRoom([need]);
    return false;
  }

  async function take(
    context: ToolchainContext,
    directory: string,
    reusable: readonly Reusable[],
    temporary: string,
  ): Promise<void> {
    if (reusable.length === 0) return;
    context.emit({
      type: 'stage',
      stage: `Installing the toolchain ${name}`,
      detail: `Taking ${reusable.length} packages from other toolchains`,
    });
    await takePackages(directory, reusable, temporary, context.signal);
  }

  async function download(context: ToolchainContext, folder: string): Promise<DownloadedWheels> {
    const { wheels, ...settings } = context.settings;
    if (settings.offline) {
      throw new ModeldlError('NETWORK', `\`--offline\` forbids fetching the wheels of \`${name}\``, {
        hint: 'run the command with network',
      });
    }
    const online: ToolchainContext = { ...context, settings };
    const found = await placesFor(online);
    const { build } = await choose(online, found);
    const sizes = sizesOf(build);
    const job = await newJob(online, 'Fetching the wheels of the toolchain');
    let made: string | undefined;
    let staging: string | undefined;
    try {
      made = await mkdir(folder, { recursive: true });
      staging = await mkdtemp(join(folder, '.modeldl-'));
      const need = { directory: folder, bytes: 2 * sizes.downloadBytes, what: `the wheels of \`${name}\`` };
      await context.requireRoom([need]);
      const temporary = join(staging, 'tmp');
      const fetched = join(staging, 'wheels');
      await mkdir(temporary);
      await withPip(job, found.command, (python) =>
        runPipFor(job, {
          python,
          command: ['download', '--dest', fetched],
          packages: found.packages,
          lock: lockFile(),
          build,
          torchIndex,
          temporary,
        }),
      );
      const names = await readdir(fetched);
      let bytes = 0;
      for (const file of names) {
        bytes += (await stat(join(fetched, file))).size;
        await rename(join(fetched, file), join(folder, file));
      }
      return { files: names.length, bytes };
    } catch (error) {
      throw diskError(error, folder);
    } finally {
      if (staging !== undefined) await rm(staging, { recursive: true, force: true });
      // Where nothing came into it.
      if (made !== undefined) await rmdir(folder).catch(() => undefined);
    }
  }

  return {
    name,
    title,
    downloadBytes,
    digest,
    status,
    ensure,
    download,
    remove,
  };
}

async function firstIntact(places: readonly Place[]): Promise<Place | undefined> {
  for (const place of places) if (await isIntact(place.directory)) return place;
  return undefined;
}

async function firstThere(places: readonly Place[]): Promise<Place | undefined> {
  for (const place of places) if (await exists(place.directory)) return place;
  return undefined;
}

/** By its mark where that tells: to look at every file takes seconds. */
async function bytesOf(directory: string): Promise<number> {
  return (await readMark(directory))?.bytes ?? (await directorySize(directory)).bytes;
}

async function readMark(directory: string): Promise<v.InferOutput<typeof mark> | undefined> {
  try {
    const read = v.safeParse(mark, JSON.parse(await readFile(join(directory, COMPLETE), 'utf8')));
    return read.success ? read.output : undefined;
  } catch {
    return undefined;
  }
}

async function isIntact(directory: string): Promise<boolean> {
  return (await exists(join(directory, COMPLETE))) && (await exists(pythonOf(directory)));
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function entriesOf(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return [];
    throw diskError(error, directory);
  }
}

/** Versions by the lock: what is in a complete environment is exactly that. */
function pinnedVersions(
  packages: readonly LockedPackage[],
  shown: readonly string[],
): Record<string, string> {
  const versions: Record<string, string> = {};
  for (const name of shown) {
    const version = packages.find((locked) => locked.name === name)?.version;
    if (version !== undefined) versions[name] = version;
  }
  return versions;
}

/** Making environments, and fetching what they are made of. */
import { mkdir, mkdtemp, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DownloadedWheels, ToolchainContext } from '../../src/converter.js';
import { diskError, ModeldlError } from '../../src/errors.js';
import { lockText, sizesOf, type ToolchainDefinition, type ToolchainSizes } from './definition.js';
import { torchVersions } from './lock.js';
import { pythonOf, runPipFor, withPip } from './packages.js';
import { runPip, temporaryFilesIn, type PipJob } from './pip.js';
import { placesFor, writeMark, type Place, type Places } from './place.js';
import { takePackages, type Reusable } from './reuse.js';
import { reusableFor, reusablePackagesHere, roomFor, sizesBesides } from './room.js';
import { cpuIndex, hasCpuWheel, pipCache, PYTORCH_CPU_INDEX, sourceOptions } from './sources.js';

/** How long PyTorch's index may take to answer when nobody insists on it, seconds. */
const LOOK_SECONDS = 5;

async function newJob(
  { name, title }: ToolchainDefinition,
  context: ToolchainContext,
  doing: string,
): Promise<PipJob> {
  const logFile = join(context.toolchainsDir, '..', 'logs', `toolchain-${name}.log`);
  await mkdir(dirname(logFile), { recursive: true });
  await writeFile(logFile, '');
  context.emit({ type: 'stage', stage: `${doing} ${name}`, detail: title });
  return { context, toolchain: name, doing, logFile };
}

/** CPU wheels of PyTorch where they can be had, by a look that does not last. */
export async function choose(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  { command, packages, places }: Places,
): Promise<Place> {
  const { name, torchIndex = PYTORCH_CPU_INDEX } = definition;
  const [best, other] = places;
  const { wheels } = context.settings;
  if (other === undefined) return best;
  if (wheels !== undefined) return (await hasCpuWheel(wheels, packages)) ? best : other;
  const job = await newJob(definition, context, 'Installing the toolchain');
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

export async function install(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  found: Places,
  place: Place,
): Promise<void> {
  const { command, packages } = found;
  const { build, directory } = place;
  const { torchIndex = PYTORCH_CPU_INDEX } = definition;
  const temporary = join(directory, '.tmp');
  const job = await newJob(definition, context, 'Installing the toolchain');
  try {
    const reusable = reusableFor(build, await reusablePackagesHere(context, found));
    const cached = await hasRoomForCache(definition, context, sizesBesides(definition, build, reusable));
    await rm(directory, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    const environment = temporaryFilesIn(temporary);
    await runPip(job, { python: command, module: ['venv', directory], environment });
    await take(definition.name, context, directory, reusable, temporary);
    await runPipFor(job, {
      python: pythonOf(directory),
      command: ['install', ...(cached ? [] : ['--no-cache-dir'])],
      packages,
      lock: await lockText(definition),
      build,
      torchIndex,
      temporary,
    });
    await rm(temporary, { recursive: true, force: true });
    await writeMark(definition, found, place);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw diskError(error, directory);
  }
}

/** Whether what is downloaded fits into pip's cache as well, which others profit by. @throws ModeldlError DISK */
async function hasRoomForCache(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  sizes: ToolchainSizes,
): Promise<boolean> {
  const need = roomFor(definition, context, sizes);
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
  name: string,
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

export async function download(
  definition: ToolchainDefinition,
  context: ToolchainContext,
  folder: string,
): Promise<DownloadedWheels> {
  const { name, torchIndex = PYTORCH_CPU_INDEX } = definition;
  const { wheels, ...settings } = context.settings;
  if (settings.offline) {
    throw new ModeldlError('NETWORK', `\`--offline\` forbids fetching the wheels of \`${name}\``, {
      hint: 'run the command with network',
    });
  }
  const online: ToolchainContext = { ...context, settings };
  const found = await placesFor(definition, online);
  const { build } = await choose(definition, online, found);
  const sizes = sizesOf(definition, build);
  const job = await newJob(definition, online, 'Fetching the wheels of the toolchain');
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
    const lock = await lockText(definition);
    await withPip(job, found.command, (python) =>
      runPipFor(job, {
        python,
        command: ['download', '--dest', fetched],
        packages: found.packages,
        lock,
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

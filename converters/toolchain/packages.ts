/** What an environment is made of, through pip: installed into it, or put into a folder. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { platform as osPlatform } from 'node:process';
import { otherPackages, torchRequirements, type LockedPackage } from './lock.js';
import { runPip, temporaryFilesIn, type PipJob } from './pip.js';
import { cpuIndex, sourceOptions, type TorchBuild } from './sources.js';

export interface PackageWork {
  /** Path of an interpreter that has pip. */
  readonly python: string;
  /** `install` or `download`, with flags. */
  readonly command: readonly ['install' | 'download', ...string[]];
  /** The requirement file. */
  readonly lock: string;
  readonly packages: readonly LockedPackage[];
  readonly build: TorchBuild;
  /** Where CPU wheels of PyTorch come from when the settings name no address. */
  readonly torchIndex: string;
  /** Absolute directory for what lies there meanwhile. */
  readonly temporary: string;
}

/** Runs pip for all packages: once for PyTorch's CPU wheels, where these are wanted, then for all else, with hashes. */
export async function runPipFor(job: PipJob, work: PackageWork): Promise<void> {
  const { python, command, lock, packages, build, torchIndex, temporary } = work;
  const { settings } = job.context;
  const run = async (
    index: string | undefined,
    flags: readonly string[],
    requirements: string,
  ): Promise<void> => {
    const options = sourceOptions(settings, index);
    const all = [...command, '--no-input', '--disable-pip-version-check', '--progress-bar', 'off'];
    await runPip(job, {
      python,
      module: ['pip', ...all, ...options.flags, ...flags, '--requirement', requirements],
      source: settings.wheels !== undefined ? 'wheels' : index === undefined ? 'index' : 'torch',
      environment: { ...options.environment, ...temporaryFilesIn(temporary) },
    });
  };
  if (build === 'locked') {
    const locked = join(temporary, 'locked.txt');
    await writeFile(locked, lock);
    return run(undefined, ['--require-hashes'], locked);
  }
  const [torch, others] = [join(temporary, 'torch.txt'), join(temporary, 'others.txt')];
  await writeFile(torch, torchRequirements(packages));
  await writeFile(
    others,
    otherPackages(packages)
      .map(({ text }) => text)
      .join(''),
  );
  await run(cpuIndex(settings, torchIndex), ['--no-deps'], torch);
  // What needs PyTorch finds it installed; where nothing is installed it must not be looked for.
  const alone = command[0] === 'download' ? ['--no-deps'] : [];
  await run(undefined, ['--require-hashes', ...alone], others);
}

/** Runs `work` with a Python that has pip and nothing else, which is removed afterwards. */
export async function withPip<Result>(
  job: PipJob,
  command: string,
  work: (python: string) => Promise<Result>,
): Promise<Result> {
  const parent = join(job.context.toolchainsDir, '..', 'tmp');
  await mkdir(parent, { recursive: true });
  const directory = await mkdtemp(join(parent, 'pip-'));
  try {
    const environment = temporaryFilesIn(directory);
    await runPip(job, { python: command, module: ['venv', directory], environment });
    return await work(pythonOf(directory));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The interpreter of an environment. */
export function pythonOf(directory: string): string {
  return osPlatform === 'win32' ? join(directory, 'Scripts', 'python.exe') : join(directory, 'bin', 'python');
}

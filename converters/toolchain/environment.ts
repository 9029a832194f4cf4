/**
 * A toolchain: a pinned, hash-locked Python environment of its own, made on first use at its final path (a moved
 * environment is broken) and complete when `.complete` was written, last.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { access, mkdir, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { platform as osPlatform } from 'node:process';
import type {
  Toolchain,
  ToolchainContext,
  ToolchainEnvironment,
  ToolchainStatus,
} from '../../src/converter.js';
import { abortError, diskError, ModeldlError, systemErrorCode } from '../../src/errors.js';
import { assetPath } from '../assets.js';
import { endTogether } from '../process-group.js';
import { externalVersions } from './external.js';
import { installFailure } from './failure.js';
import { findPython } from './python.js';

export interface ToolchainDefinition {
  readonly name: string;
  readonly title: string;
  /** Bytes to download, measured on Linux x86_64. */
  readonly downloadBytes: number;
  /** Bytes on disk, measured likewise: what is asked to be free before an installation. */
  readonly installedBytes: number;
  /** Packages whose versions are shown and recorded; nothing works without the first. */
  readonly shown: readonly [string, ...string[]];
}

const COMPLETE = '.complete';
/** Lines of an installer's output that are searched for its cause of failure. */
const LAST_LINES = 200;

export function createToolchain(definition: ToolchainDefinition): Toolchain {
  const { name, title, downloadBytes } = definition;
  const lockFile = (): string => assetPath('requirements', `${name}.txt`);
  const lockDigest = async (): Promise<string> =>
    createHash('sha256')
      .update(await readFile(lockFile()))
      .digest('hex');

  /** `<name>-<hash of lock, interpreter version, platform>` */
  async function directoryFor(context: ToolchainContext): Promise<{ directory: string; command: string }> {
    const python = await findPython(context);
    const identity = `${await lockDigest()} ${python.version} ${python.platform}`;
    const hash = createHash('sha256').update(identity).digest('hex').slice(0, 12);
    return { directory: join(context.toolchainsDir, `${name}-${hash}`), command: python.command };
  }

  async function status(context: ToolchainContext): Promise<ToolchainStatus> {
    const external = context.settings.interpreters[name];
    if (external !== undefined) return externalStatus(context, external);
    let directory: string;
    try {
      ({ directory } = await directoryFor(context));
    } catch (error) {
      if (error instanceof ModeldlError && error.code === 'TOOLCHAIN') {
        return { state: 'missing', versions: {}, reason: error.message };
      }
      throw error;
    }
    if (!(await exists(directory))) return { state: 'missing', versions: {} };
    const bytes = await directoryBytes(directory);
    if (!(await isIntact(directory))) {
      return { state: 'broken', directory, bytes, versions: {}, reason: 'its installation did not finish' };
    }
    return {
      state: 'installed',
      directory,
      bytes,
      versions: await pinnedVersions(lockFile(), definition.shown),
    };
  }

  async function ensure(context: ToolchainContext): Promise<ToolchainEnvironment> {
    const external = context.settings.interpreters[name];
    if (external !== undefined) {
      requirePackages(external, await externalVersions(context, name, external, definition.shown));
      return { python: external };
    }
    const { directory, command } = await directoryFor(context);
    if (!(await isIntact(directory))) refuseForbidden(context);
    return context.exclusively(claimName(directory), async () => {
      if (!(await isIntact(directory))) {
        refuseForbidden(context);
        await install(context, directory, command);
      }
      await context.use(basename(directory));
      return { python: pythonOf(directory), directory };
    });
  }

  function claimName(directory: string): string {
    return `the toolchain ${name} at ${directory}`;
  }

  /** @throws ModeldlError TOOLCHAIN when nothing may be installed */
  function refuseForbidden({ settings }: ToolchainContext): void {
    if (settings.install !== 'never' && !settings.offline) return;
    const why = settings.offline ? '`--offline` forbids' : 'the settings forbid';
    throw new ModeldlError(
      'TOOLCHAIN',
      `The toolchain \`${name}\` is not installed, and ${why} installing it`,
      { hint: `run \`modeldl toolchain install ${name}\` once with network` },
    );
  }

  async function remove(context: ToolchainContext): Promise<number> {
    let bytes = 0;
    for (const entry of await entriesOf(context.toolchainsDir)) {
      if (!entry.startsWith(`${name}-`)) continue;
      const directory = join(context.toolchainsDir, entry);
      bytes += await context.whenUnused(claimName(directory), entry, async () => {
        const held = await directoryBytes(directory);
        try {
          // Without its mark first, a half-removed environment is never taken for a whole one.
          await rm(join(directory, COMPLETE), { force: true });
          await rm(directory, { recursive: true, force: true });
        } catch (error) {
          throw diskError(error, directory);
        }
        return held;
      });
    }
    return bytes;
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

  async function digest(context: ToolchainContext): Promise<string> {
    const external = context.settings.interpreters[name];
    if (external === undefined) return lockDigest();
    const versions = await externalVersions(context, name, external, definition.shown);
    return createHash('sha256')
      .update(JSON.stringify(Object.entries(versions).sort(([a], [b]) => (a < b ? -1 : 1))))
      .digest('hex');
  }

  async function install(context: ToolchainContext, directory: string, command: string): Promise<void> {
    const logFile = join(context.toolchainsDir, '..', 'logs', `toolchain-${name}.log`);
    context.emit({ type: 'stage', stage: `Installing the toolchain ${name}`, detail: title });
    try {
      await requireSpace(context.toolchainsDir, definition.installedBytes);
      await rm(directory, { recursive: true, force: true });
      await mkdir(directory, { recursive: true });
      await mkdir(dirname(logFile), { recursive: true });
      await writeFile(logFile, '');
      await run(context, logFile, command, ['venv', directory]);
      const pip = ['pip', 'install', '--require-hashes', '--no-input', '--disable-pip-version-check'];
      await run(context, logFile, pythonOf(directory), [
        ...pip,
        '--progress-bar',
        'off',
        '--requirement',
        lockFile(),
      ]);
      await writeFile(join(directory, COMPLETE), `${await lockDigest()}\n`);
    } catch (error) {
      await rm(directory, { recursive: true, force: true });
      throw diskError(error, directory);
    }
  }

  /** Runs a Python module with everything it prints in the log, and its progress as events. */
  async function run(
    context: ToolchainContext,
    logFile: string,
    command: string,
    module: readonly string[],
  ): Promise<void> {
    const log = createWriteStream(logFile, { flags: 'a' });
    const { execa } = await import('execa');
    const subprocess = execa(command, [assetPath('python', 'guarded.py'), ...module], {
      env: installerEnvironment(context.environment),
      extendEnv: false,
      all: true,
      buffer: false,
      reject: false,
      // Open as long as this process lives.
      stdin: 'pipe',
      detached: true,
    });
    endTogether(subprocess, context.signal);
    subprocess.stdin.on('error', () => undefined);
    subprocess.all.pipe(log);
    const lines = createInterface({ input: subprocess.all });
    const last: string[] = [];
    lines.on('line', (line) => {
      last.push(line);
      if (last.length > LAST_LINES) last.shift();
      const step = /^\s*(Collecting|Downloading|Installing) (.+)$/.exec(line);
      const what = step?.[2]?.split(/ @|;|\s\(|: /)[0]?.slice(0, 60);
      if (step?.[1] !== undefined && what !== undefined) {
        context.emit({
          type: 'stage',
          stage: `Installing the toolchain ${name}`,
          detail: `${step[1]} ${what}`,
        });
      }
    });
    const result = await subprocess;
    if (context.signal.aborted) throw abortError(context.signal);
    if (!result.failed) return;
    const { code, cause, hint } = installFailure(last);
    throw new ModeldlError(
      code,
      `Installing the toolchain \`${name}\` failed: ${cause ?? result.shortMessage}`,
      { hint: `${hint}; the log is ${logFile}`, details: { file: logFile } },
    );
  }

  return {
    name,
    title,
    downloadBytes,
    digest,
    status,
    ensure,
    remove,
  };
}

/** What the user has for Python in general must not change what lands in an environment with a lock. */
function installerEnvironment(
  environment: ToolchainContext['environment'],
): Record<string, string | undefined> {
  const { PYTHONPATH, PYTHONHOME, PIP_TARGET, PIP_PREFIX, VIRTUAL_ENV, ...rest } = environment;
  // Of pip's configuration, addresses and certificates are wanted, but not its habit of installing for the user.
  return { ...rest, PYTHONNOUSERSITE: '1', PIP_USER: '0', PIP_NO_PYTHON_VERSION_WARNING: '1' };
}

function pythonOf(directory: string): string {
  return osPlatform === 'win32' ? join(directory, 'Scripts', 'python.exe') : join(directory, 'bin', 'python');
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

async function requireSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize >= bytes) return;
  throw new ModeldlError(
    'DISK',
    `Not enough space for the toolchain in ${directory}: ${bytes} bytes needed, ${bavail * bsize} bytes free`,
    {
      hint: 'free space with `modeldl prune`, or choose another cache with `--cache-dir`',
      details: { file: directory },
    },
  );
}

async function directoryBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (entry.isFile())
      bytes += await stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      );
  }
  return bytes;
}

/** Versions by the lock: what is in a complete environment is exactly that. */
async function pinnedVersions(
  lockFile: string,
  packages: readonly string[],
): Promise<Record<string, string>> {
  const lock = await readFile(lockFile, 'utf8');
  const versions: Record<string, string> = {};
  for (const name of packages) {
    const version = new RegExp(`^${name}==([^\\s;]+)`, 'm').exec(lock)?.[1];
    if (version !== undefined) versions[name] = version;
  }
  return versions;
}

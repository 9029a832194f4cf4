/** Programs and environments that conversions run in. */
import { exists } from '../config/load.js';
import type {
  MachineProgram,
  Runtime,
  Toolchain,
  ToolchainContext,
  ToolchainSettings,
  ToolchainStatus,
} from '../converter.js';
import { ModeldlError } from '../errors.js';
import { shellWord } from '../shell-word.js';
import { checkSpace } from '../store/space.js';
import { runtimes, toolchainContext } from '../toolchains.js';
import { failure, formatSize, type Check, type Finding, type Patient } from './check.js';

/** `engines` of package.json. */
const OLDEST_NODE = [20, 17] as const;
/** Lines that get corrections no more (nodejs.org/en/about/previous-releases): odd ones live for half a year. */
const ODD = 2;

export function programChecks({ plugins }: Patient): readonly Check[] {
  return [
    {
      name: 'node',
      topic: 'programs',
      run: ({ nodeVersion }) => Promise.resolve([nodeFinding(nodeVersion)]),
    },
    {
      name: 'python',
      topic: 'programs',
      lateFix: 'name a Python that starts at once in `toolchains.python`',
      run: async ({ context }) =>
        ((await plugins.machinePrograms?.(toolchainContext(context))) ?? []).map(programFinding),
    },
    ...(plugins.runtimes ?? []).map((runtime): Check => ({
      name: runtime.name,
      topic: 'programs',
      run: (patient) => runtimeFindings(patient, runtime),
    })),
  ];
}

/** @param version of Node.js, `v22.1.0` */
export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  const [oldest, oldestMinor] = OLDEST_NODE;
  const name = 'node';
  const facts = { version };
  if (major < oldest || (major === oldest && minor < oldestMinor)) {
    const message = `Node.js ${version}: modeldl needs ${oldest}.${oldestMinor} or later`;
    return {
      name,
      status: 'failed',
      message,
      fix: 'install the current long-term version of Node.js',
      facts,
    };
  }
  if (major % ODD !== 0) {
    const message = `Node.js ${version} is of a line that lives for half a year`;
    return { name, status: 'warning', message, fix: 'install an even version of Node.js', facts };
  }
  return { name, status: 'ok', message: `Node.js ${version}`, facts };
}

/** Without Python models are pulled all the same, so that it is no failure. */
function programFinding({ name, title, path, version, problem, fix, optional }: MachineProgram): Finding {
  const facts = { path, version };
  if (problem !== undefined)
    return { name, status: optional === true ? 'skipped' : 'warning', message: problem, fix, facts };
  const where = path === undefined ? '' : ` (${path})`;
  return { name, status: 'ok', message: `${title} ${version ?? ''}${where}`, facts };
}

async function runtimeFindings({ context }: Patient, runtime: Runtime): Promise<readonly Finding[]> {
  const [state] = await runtimes([runtime]);
  const { name } = runtime;
  if (state === undefined) return [];
  const { version, usable, reason } = state;
  const facts = { version };
  // Optional: Python does what it cannot. What is installed and does not work is worth a word.
  if (!usable) {
    const [, why = reason ?? '', fix] = /^(.*?): (`.*)$/.exec(reason ?? '') ?? [];
    const isBroken = fix?.includes('repairs') === true || fix?.includes('downloads') === true;
    const message = `${name}: ${why}${isBroken ? '' : ', and is optional'}`;
    return [{ name, status: isBroken ? 'warning' : 'skipped', message, fix, facts }];
  }
  try {
    const devices = (await runtime.devices?.(context)) ?? [];
    const names = devices.map((device) =>
      device.title === '' ? device.name : `${device.name} (${device.title})`,
    );
    const message = `${name} ${version ?? ''}, devices: ${names.length === 0 ? 'none' : names.join(', ')}`;
    return [{ name, status: names.length === 0 ? 'warning' : 'ok', message, facts: { version, devices } }];
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'TOOLCHAIN') throw error;
    return [{ name, ...failure(error), status: 'warning', facts }];
  }
}

export function toolchainChecks({ plugins }: Patient): readonly Check[] {
  return plugins.toolchains.map((toolchain): Check => ({
    name: toolchain.name,
    topic: 'toolchains',
    lateFix: `\`modeldl doctor programs\` tells whether Python answers; where it does, \`modeldl toolchain remove ${toolchain.name}\`, and the next conversion makes it anew`,
    run: async ({ context }) => [await toolchainFinding(toolchain, toolchainContext(context))],
  }));
}

async function toolchainFinding(toolchain: Toolchain, asked: ToolchainContext): Promise<Finding> {
  const { name } = toolchain;
  const status = await toolchain.status(asked);
  const { state, directory, bytes, reason, versions } = status;
  const facts = { state, directory: directory ?? null, bytes: bytes ?? null, versions };
  const [, first = ''] = Object.entries(versions)[0] ?? [];
  switch (state) {
    case 'installed': {
      const anew = `\`modeldl toolchain remove ${name}\`, then \`modeldl toolchain install ${name}\``;
      try {
        await toolchain.examine?.(asked);
      } catch (error) {
        if (!(error instanceof ModeldlError) || error.code !== 'TOOLCHAIN') throw error;
        return { name, ...failure(error), fix: anew, facts };
      }
      const size = bytes === undefined ? '' : `, ${formatSize(bytes)}`;
      return { name, status: 'ok', message: `${name} ${first}${size}`.trimEnd(), facts };
    }
    case 'external':
      return { name, status: 'ok', message: `${name} ${first} of your own: ${directory ?? ''}`, facts };
    case 'broken': {
      const isOwn = directory !== undefined && asked.settings.interpreters[name] === directory;
      const fix = isOwn
        ? `correct or unset \`toolchains.interpreters.${name}\``
        : `\`modeldl toolchain install ${name}\``;
      // One of our own is made anew on its next use.
      return {
        name,
        status: isOwn ? 'failed' : 'warning',
        message: `${name}: ${reason ?? 'broken'}`,
        fix,
        facts,
      };
    }
    case 'missing':
      return missingFinding(name, status, asked.settings);
  }
}

async function missingFinding(
  name: string,
  { reason, toInstall }: ToolchainStatus,
  { install, offline, wheels }: ToolchainSettings,
): Promise<Finding> {
  const installedBytes = toInstall?.installedBytes ?? 0;
  const facts = { state: 'missing', installedBytes };
  const takes = installedBytes === 0 ? '' : `, takes ${formatSize(installedBytes)}`;
  if (reason !== undefined)
    return {
      name,
      status: 'warning',
      message: `${name} cannot be installed: ${reason}`,
      fix: '`modeldl doctor programs`',
      facts,
    };
  if (wheels !== undefined && !(await exists(wheels)))
    return {
      name,
      status: 'failed',
      message: `The folder of \`toolchains.wheels\` is not there: ${wheels}`,
      fix: `fill it by \`modeldl toolchain download ${name} -o ${shellWord(wheels)}\` with network`,
      facts,
    };
  if (install === 'never' || (offline && wheels === undefined)) {
    const why = install === 'never' ? '`toolchains.install` is `never`' : 'it is offline here';
    return {
      name,
      status: 'skipped',
      message: `${name} is not installed, and ${why}`,
      fix: `\`modeldl toolchain install ${name}\` once with network`,
      facts,
    };
  }
  try {
    await checkSpace(toInstall?.needs ?? []);
  } catch (error) {
    if (!(error instanceof ModeldlError) || error.code !== 'DISK') throw error;
    return { name, ...failure(error), status: 'warning', facts };
  }
  return {
    name,
    status: 'skipped',
    message: `${name} is not installed: that is done on first use${takes}`,
    facts,
  };
}

/** Toolchains: listing, installing and removing the environments that converters run in. */
import { waitingFor, type Context } from './context.js';
import type { Runtime, Toolchain, ToolchainContext, ToolchainStatus } from './converter.js';
import { ModeldlError } from './errors.js';
import type {
  ConverterState,
  RemovedToolchain,
  RuntimeState,
  ToolchainState,
  ToolchainWheels,
} from './results.js';
import { requireSpace } from './space.js';
import { withClaim, withClaimUnwanted } from './store/claim.js';
import { assertWritable, inStore } from './store/layout.js';
import { checkOutput } from './store/output.js';

export function toolchainContext(context: Context): ToolchainContext {
  return {
    toolchainsDir: inStore(context.store, 'toolchains'),
    signal: context.signal,
    emit: context.emit,
    environment: context.environment,
    settings: context.toolchainSettings,
    exclusively: async (name, work) =>
      withClaim(context.store, await context.session(), name, waitingFor(context, name), work),
    use: async (environment) => (await context.session()).want([environment]),
    whenUnused: async (name, environment, work) =>
      withClaimUnwanted(
        context.store,
        await context.session(),
        name,
        environment,
        waitingFor(context, name),
        work,
      ),
    requireRoom: (needs) => requireSpace(context, needs),
  };
}

/** @throws ModeldlError USAGE naming the known toolchains */
export function toolchainNamed(context: Context, name: string): Toolchain {
  const toolchain = context.toolchains.find((candidate) => candidate.name === name);
  if (toolchain !== undefined) return toolchain;
  throw new ModeldlError('USAGE', `Unknown toolchain: ${name}`, {
    hint: `known toolchains: ${context.toolchains.map((candidate) => candidate.name).join(', ')}`,
  });
}

export async function toolchains(context: Context): Promise<readonly ToolchainState[]> {
  return Promise.all(context.toolchains.map((toolchain) => describe(context, toolchain)));
}

async function describe(context: Context, toolchain: Toolchain): Promise<ToolchainState> {
  const status = await toolchain.status(toolchainContext(context));
  return {
    name: toolchain.name,
    title: toolchain.title,
    state: status.state,
    directory: status.directory ?? null,
    bytes: status.bytes ?? null,
    unusedBytes: status.unusedBytes ?? 0,
    versions: status.versions,
    reason: status.reason ?? null,
    downloadBytes: status.toInstall?.downloadBytes ?? 0,
    installedBytes: status.toInstall?.installedBytes ?? 0,
  };
}

/** @throws ModeldlError TOOLCHAIN, NETWORK, DISK */
export async function installToolchain(context: Context, name: string): Promise<ToolchainState> {
  const toolchain = toolchainNamed(context, name);
  const asked = toolchainContext(context);
  // Asking for it by name is the consent that `toolchains.install: never` withholds from conversions.
  await toolchain.ensure({ ...asked, settings: { ...asked.settings, install: 'auto' } });
  return describe(context, toolchain);
}

/** @throws ModeldlError USAGE when the output is no directory, TOOLCHAIN, NETWORK, DISK, INTEGRITY */
export async function downloadToolchain(
  context: Context,
  name: string,
  directory: string,
): Promise<ToolchainWheels> {
  assertWritable(context.store);
  const toolchain = toolchainNamed(context, name);
  await checkOutput(directory, { overwrite: true });
  const wheels = await toolchain.download(toolchainContext(context), directory);
  return { name, directory, ...wheels };
}

/**
 * Before what a conversion reads is fetched in vain.
 * @throws ModeldlError TOOLCHAIN when it is missing and must not or cannot be installed, as without Python
 */
export async function refuseUninstallable(context: Context, name: string): Promise<void> {
  const asked = toolchainContext(context);
  const { install, offline } = asked.settings;
  const toolchain = toolchainNamed(context, name);
  // Asked for without an installation, it says which of these it is.
  const refuse = async (): Promise<void> => {
    await toolchain.ensure({ ...asked, settings: { ...asked.settings, install: 'never' } });
  };
  if (install === 'never') return refuse();
  const status = await toolchain.status(asked);
  const isFetched = status.toInstall !== undefined && status.toInstall.hasWheels !== true;
  if ((offline && isFetched) || isImpossible(status)) await refuse();
}

function isImpossible({ state, reason, toInstall }: ToolchainStatus): boolean {
  return (state === 'missing' && reason !== undefined) || (state === 'broken' && toInstall === undefined);
}

/** @throws ModeldlError USAGE, BUSY while another process uses it, DISK */
export async function removeToolchain(context: Context, name: string): Promise<RemovedToolchain> {
  assertWritable(context.store);
  const toolchain = toolchainNamed(context, name);
  const { freedBytes, sharedBytes } = await toolchain.remove(toolchainContext(context));
  return { name, bytes: freedBytes, sharedBytes };
}

/** What each converter takes, and whether it can run here. */
export async function converters(context: Context): Promise<readonly ConverterState[]> {
  const states = new Map((await toolchains(context)).map((toolchain) => [toolchain.name, toolchain]));
  return context.converters.map(({ name, accepts, makes, toolchains: names, settings }) => {
    const [toolchain] = names;
    const ready = names.some((one) => ['installed', 'external'].includes(states.get(one)?.state ?? ''));
    const missing =
      states.get(toolchain)?.reason ?? `the toolchain \`${toolchain}\` is installed on first use`;
    const reason = ready ? null : missing;
    return { name, accepts, makes, toolchain, toolchains: names, settings, ready, reason };
  });
}

/** Which optional native packages are installed, and why not. */
export async function runtimes(known: readonly Runtime[]): Promise<readonly RuntimeState[]> {
  return Promise.all(
    known.map(async (runtime) => {
      const { version = null, reason = null } = await runtime.status();
      return { name: runtime.name, version, usable: reason === null, reason };
    }),
  );
}

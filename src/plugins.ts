/** Which hubs, converters and toolchains exist: the built-in tables. The one place of `src` that knows them. */
import { converters, machinePrograms, runtimes, toolchains } from '../converters/index.js';
import { hubs } from '../hubs/index.js';
import type { Converter, MachineProgram, Runtime, Toolchain, ToolchainContext } from './converter.js';
import type { Hub } from './hub.js';
import type { StartupHubs } from './startup.js';

export interface Plugins {
  readonly hubs: readonly Hub[];
  readonly converters: readonly Converter[];
  readonly toolchains: readonly Toolchain[];
  /** Optional native packages. */
  readonly runtimes?: readonly Runtime[];
  /** Programs of the machine that environments are made with. */
  machinePrograms?(context: ToolchainContext): Promise<readonly MachineProgram[]>;
  /** What startup lists of the microservice call hubs. */
  startup?(): Promise<StartupHubs>;
}

export function builtInPlugins(): Plugins {
  const startup = async (): Promise<StartupHubs> => (await import('../hubs/startup.js')).startupHubs;
  return { hubs, converters, toolchains, runtimes, machinePrograms, startup };
}

/**
 * The tables of built-in converters, in order of preference, and of the toolchains and
 * runtimes they run in.
 */
import type { Converter, MachineProgram, Runtime, Toolchain, ToolchainContext } from '../src/converter.js';
import { nncf, openvino, openvinoToolchain } from './openvino.js';
import { optimum } from './optimum.js';
import { openvinoNode } from './openvino-node.js';
import { optimumToolchains } from './optimum-toolchains.js';
import { ultralytics, ultralyticsToolchain } from './ultralytics.js';

export const converters: readonly Converter[] = [optimum, ultralytics, openvino, nncf];

export const toolchains: readonly Toolchain[] = [
  openvinoToolchain,
  ...optimumToolchains,
  ultralyticsToolchain,
];

export const runtimes: readonly Runtime[] = [openvinoNode];

/** Loaded when it is asked for, which few commands do. */
export async function machinePrograms(context: ToolchainContext): Promise<readonly MachineProgram[]> {
  return (await import('./toolchain/machine.js')).machinePrograms(context);
}

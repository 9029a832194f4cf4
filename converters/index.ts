/**
 * The tables of built-in converters, in order of preference, and of the toolchains and
 * runtimes they run in.
 */
import type { Converter, Runtime, Toolchain } from '../src/converter.js';
import { nncf, openvino, openvinoToolchain } from './openvino.js';
import { openvinoNode } from './openvino-node.js';

export const converters: readonly Converter[] = [openvino, nncf];

export const toolchains: readonly Toolchain[] = [openvinoToolchain];

export const runtimes: readonly Runtime[] = [openvinoNode];

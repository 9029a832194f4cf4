/** The tables of built-in converters, in order of preference, and of the toolchains they run in. */
import type { Converter, Toolchain } from '../src/converter.js';
import { nncf, openvino, openvinoToolchain } from './openvino.js';

export const converters: readonly Converter[] = [openvino, nncf];

export const toolchains: readonly Toolchain[] = [openvinoToolchain];

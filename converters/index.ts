/** The tables of built-in converters, in order of preference, and of the toolchains they run in. */
import type { Converter, Toolchain } from '../src/converter.js';

export const converters: readonly Converter[] = [];

export const toolchains: readonly Toolchain[] = [];

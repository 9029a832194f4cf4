/** Which hubs, converters and toolchains exist: the built-in tables. The one place of `src` that knows them. */
import { converters, toolchains } from '../converters/index.js';
import { hubs } from '../hubs/index.js';
import type { Converter, Toolchain } from './converter.js';
import type { Hub } from './hub.js';

export interface Plugins {
  readonly hubs: readonly Hub[];
  readonly converters: readonly Converter[];
  readonly toolchains: readonly Toolchain[];
}

export function builtInPlugins(): Plugins {
  return { hubs, converters, toolchains };
}

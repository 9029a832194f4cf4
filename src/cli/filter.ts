/** Options that say which of several conversions is meant. */
import type { Command } from 'commander';
import type { ConversionFilter } from '../index.js';

export interface FilterFlags {
  readonly precision?: string;
  readonly device?: string;
  readonly converter?: string;
}

export function addFilter(command: Command): Command {
  return command
    .option('--precision <name>', 'the conversion of this precision')
    .option('--device <name>', 'the conversion for this device')
    .option('--converter <name>', 'the conversion by this converter');
}

export function filterOf(flags: FilterFlags): ConversionFilter {
  const { precision, device, converter } = flags;
  return {
    ...(precision === undefined ? {} : { precision }),
    ...(device === undefined ? {} : { device }),
    ...(converter === undefined ? {} : { converter }),
  };
}

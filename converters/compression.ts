/** `--set` values of weight compression, from text to what nncf.compress_weights takes (nncf 3.4). Pure. */
import type { ConversionRequest, Precision } from '../src/converter.js';
import { ModeldlError } from '../src/errors.js';
import { ignoredOf, type Ignored } from './quantization.js';
import { choiceSetting, flagSetting, numberSetting, wrongSetting } from './settings.js';

export const COMPRESSION_SETTINGS: Readonly<Record<string, string>> = {
  sym: 'symmetric quantization: true or false (default false)',
  ratio: 'share of the weights that gets the low precision, 0 to 1; the rest is int8 (default 1)',
  'group-size': 'weights that share a scale; -1 is one scale per channel (default 128)',
  'group-size-fallback':
    'when the group does not divide the channels: error, ignore or adjust (default adjust)',
  'all-layers': 'embeddings and the last layer too: true or false (default false)',
  'backup-precision': 'for what does not get the low precision: none, int8_sym or int8_asym',
};

const MODES: Readonly<
  Partial<Record<Precision, { readonly symmetric: string; readonly asymmetric?: string }>>
> = {
  int8: { symmetric: 'INT8_SYM', asymmetric: 'INT8_ASYM' },
  int4: { symmetric: 'INT4_SYM', asymmetric: 'INT4_ASYM' },
  nf4: { symmetric: 'NF4' },
  mxfp4: { symmetric: 'MXFP4' },
  cb4: { symmetric: 'CB4' },
};

export interface Compression {
  readonly mode: string;
  readonly ratio?: number;
  readonly group_size?: number;
  readonly group_size_fallback?: string;
  readonly all_layers?: boolean;
  readonly backup_mode?: string;
  readonly ignored?: Ignored;
}

/** What to compress to; undefined for fp32 and fp16. @throws ModeldlError USAGE for a malformed value */
export function compressionOf(
  request: Pick<ConversionRequest, 'precision' | 'settings'>,
): Compression | undefined {
  const { precision, settings } = request;
  const modes = MODES[precision];
  if (modes === undefined) return undefined;
  const symmetric = flagSetting(settings, 'sym') ?? modes.asymmetric === undefined;
  if (!symmetric && modes.asymmetric === undefined)
    throw wrongSetting('sym', 'false', `true for ${precision}`);
  const mode = symmetric ? modes.symmetric : (modes.asymmetric ?? modes.symmetric);
  const ignored = ignoredOf(settings);
  if (precision === 'int8') {
    const other = Object.keys(settings).find(
      (key) => Object.hasOwn(COMPRESSION_SETTINGS, key) && key !== 'sym',
    );
    if (other === undefined) return { mode, ...(ignored === undefined ? {} : { ignored }) };
    throw new ModeldlError('USAGE', `\`--set ${other}\` has no meaning with int8`, {
      hint: 'use `--precision int4`',
    });
  }
  const ratio = numberSetting(settings, 'ratio', (value) => value >= 0 && value <= 1, 'a number from 0 to 1');
  const isGroup = (value: number): boolean => value === -1 || (Number.isInteger(value) && value > 0);
  const groupSize = numberSetting(settings, 'group-size', isGroup, '-1 or a whole number above 0');
  const fallback = choiceSetting(settings, 'group-size-fallback', ['error', 'ignore', 'adjust']);
  const backup = choiceSetting(settings, 'backup-precision', ['none', 'int8_sym', 'int8_asym']);
  const allLayers = flagSetting(settings, 'all-layers');
  return {
    mode,
    ...(ratio === undefined ? {} : { ratio }),
    ...(groupSize === undefined ? {} : { group_size: groupSize }),
    group_size_fallback: (fallback ?? 'adjust').toUpperCase(),
    ...(allLayers === undefined ? {} : { all_layers: allLayers }),
    ...(backup === undefined ? {} : { backup_mode: backup.toUpperCase() }),
    ...(ignored === undefined ? {} : { ignored }),
  };
}

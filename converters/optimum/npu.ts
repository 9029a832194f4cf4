/** What the NPU asks of a model: settings of the weights where it generates text, fixed shapes elsewhere. Pure. */
import type { ConversionRequest, Refusal } from '../../src/converter.js';
import type { ModelKind } from '../rules.js';
import type { Settings } from '../settings.js';
import type { Original } from './describe.js';

export interface Suited {
  readonly settings: Settings;
  /** What was changed, and why. */
  readonly adjustments: readonly string[];
  /** Sizes of the inputs, by name. */
  readonly shape?: Readonly<Record<string, readonly number[]>>;
}

/** Up to so many parameters groups of 128 are advised, above one scale per channel (openvino.genai 2026, NPU). */
const GROUPED_PARAMETERS = 4e9;

export function npuSettings(
  request: ConversionRequest,
  kind: ModelKind,
  { parameters, original }: { readonly parameters: number; readonly original: Original },
): Suited | Refusal {
  if (kind === 'text-generation' || kind === 'image-text-to-text') return generating(request, parameters);
  if (kind === 'vision') return withImages(request, original);
  if (kind === 'other') {
    return {
      refused: 'the NPU runs fixed shapes only, and what such a model takes is of any length',
      hint: 'use `--device CPU` or `--device GPU`',
      handlesModel: true,
    };
  }
  // Speech, embeddings and pipelines are given their shapes by those who run them.
  return { settings: request.settings, adjustments: [] };
}

function generating(
  { precision, settings, layout }: ConversionRequest,
  parameters: number,
): Suited | Refusal {
  const refuse = (name: string, why: string): Refusal => ({
    refused: `${name}=${settings[name] ?? ''}: ${why}`,
    hint: `leave out \`--set ${name}\``,
    handlesModel: true,
  });
  if ((settings['sym'] ?? 'true') !== 'true') return refuse('sym', 'the NPU runs symmetric weights only');
  if (Number(settings['ratio'] ?? 1) !== 1) return refuse('ratio', 'the NPU runs 4-bit weights only');
  const group = settings['group-size'];
  if (precision === 'nf4' && group !== undefined && group !== '-1') {
    return refuse('group-size', 'the NPU runs nf4 with one scale per channel only');
  }
  if (group !== undefined && group !== '-1' && group !== '128') {
    return refuse('group-size', 'the NPU runs groups of 128, or one scale per channel (-1)');
  }
  const grouped = precision === 'int4' && layout !== 'ovms' && parameters <= GROUPED_PARAMETERS;
  const needed = { sym: 'true', ratio: '1.0', 'group-size': grouped ? '128' : '-1' };
  const missing = Object.entries(needed).filter(([name]) => settings[name] === undefined);
  if (missing.length === 0) return { settings, adjustments: [] };
  const said = missing.map(([name, value]) => `${name}=${value}`).join(', ');
  return {
    settings: { ...needed, ...settings },
    adjustments: [`For the NPU: ${said}`],
  };
}

function withImages({ settings }: ConversionRequest, original: Original): Suited | Refusal {
  if (original.imageSize === undefined) {
    return {
      refused: 'the NPU runs fixed shapes only, and the size of its images is not in its configuration',
      hint: 'use `--device CPU` or `--device GPU`',
      handlesModel: true,
    };
  }
  const shape = [1, 3, ...original.imageSize];
  return {
    settings,
    shape: { pixel_values: shape },
    adjustments: [`For the NPU: fixed shape ${shape.join(' x ')} of pixel_values`],
  };
}

/** A model as a converter plans for it, by what its files hold. */
import type { ConversionPlan, ConversionRequest, PlannedModel, Refusal } from '../../src/converter.js';

export interface PlannedFiles {
  /** What a small file holds, as text or as the value of its JSON; of a large one its bytes. */
  readonly [path: string]: object | string | number;
}

export function plannedModel(
  files: PlannedFiles,
  facts: Partial<Pick<PlannedModel, 'hub' | 'id' | 'name' | 'metadata'>> = {},
): PlannedModel {
  const textOf = (content: object | string): string =>
    typeof content === 'string' ? content : JSON.stringify(content);
  const { hub = 'hf', id = 'org/tiny', name = id, metadata = {} } = facts;
  return {
    reference: `${hub}:${id}@0123`,
    hub,
    id,
    name,
    metadata,
    files: Object.entries(files).map(([path, content]) => ({
      path,
      bytes: typeof content === 'number' ? content : textOf(content).length,
    })),
    text: (path) => {
      const content = files[path];
      return Promise.resolve(
        content === undefined || typeof content === 'number' ? undefined : textOf(content),
      );
    },
  };
}

export function conversionRequest(given: Partial<ConversionRequest> = {}): ConversionRequest {
  return {
    precision: 'int8',
    device: 'CPU',
    settings: {},
    offline: false,
    trustRemoteCode: false,
    trustPickle: false,
    ...given,
  };
}

export function accepted(plan: ConversionPlan | Refusal): ConversionPlan {
  if ('refused' in plan) throw new Error(`Refused: ${plan.refused}`);
  return plan;
}

export function refused(plan: ConversionPlan | Refusal): Refusal {
  if (!('refused' in plan)) throw new Error(`Not refused: ${plan.steps.join(', ')}`);
  return plan;
}

/** What a model does: the task to export it for, and the kind that devices judge it by. Pure. */
import type { PlannedModel, Refusal } from '../../src/converter.js';
import type { ModelKind } from '../rules.js';
import type { Original } from './describe.js';
import { taskOfClass, typeNamed } from './table.js';

/** Words of hubs for tasks that the exporter has another word for (`_SYNONYM_TASK_MAP` of optimum 2.3). */
const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ['sentence-similarity', 'feature-extraction'],
  ['image-feature-extraction', 'feature-extraction'],
  ['mask-generation', 'feature-extraction'],
  ['text-ranking', 'text-classification'],
  ['zero-shot-classification', 'text-classification'],
  ['summarization', 'text2text-generation'],
  ['translation', 'text2text-generation'],
  ['text-to-speech', 'text-to-audio'],
]);

/**
 * The task that was asked for, taken literally; else by the model's class, else by what the hub says, with the cache of
 * generating models as the exporter adds it by itself.
 */
export function taskOf(
  model: PlannedModel,
  original: Original,
  asked: string | undefined,
): { readonly name: string } | Refusal {
  const known = typeNamed(original.library, original.type);
  if (asked !== undefined) {
    if (known === undefined || known.tasks.includes(asked)) return { name: asked };
    return {
      refused: `${original.type} is not exported for the task ${asked}`,
      hint: `its tasks are ${known.tasks.join(', ')}`,
      handlesModel: true,
    };
  }
  const name = guess(model, original);
  if (name === undefined) {
    return {
      refused: 'what it does cannot be told from its files',
      hint:
        known === undefined
          ? 'name the task with `--task`'
          : `name one with \`--task\`: ${known.tasks.join(', ')}`,
      handlesModel: true,
    };
  }
  const withPast = `${name}-with-past`;
  const whole = known?.tasks.includes(withPast) === true ? withPast : name;
  if (known === undefined || known.tasks.includes(whole)) return { name: whole };
  return {
    refused: `${original.type} is not exported for the task ${name}`,
    hint: `\`--task\` takes one of ${known.tasks.join(', ')}`,
    handlesModel: true,
  };
}

function guess(model: PlannedModel, { library, type, architecture }: Original): string | undefined {
  if (library === 'timm') return 'image-classification';
  if (library === 'sentence_transformers') return 'feature-extraction';
  if (library === 'open_clip') return 'zero-shot-image-classification';
  if (library === 'kokoro') return 'text-to-audio';
  const known = typeNamed(library, type)?.task;
  if (library === 'diffusers') return known;
  const { task: told } = model.metadata;
  const byClass = architecture === undefined ? undefined : taskOfClass(architecture, type);
  return byClass ?? (told === undefined ? known : (SYNONYMS.get(told) ?? told));
}

export function kindOf(model: PlannedModel, original: Original, task: string): ModelKind {
  const plain = task.replace(/-with-past$/, '');
  if (plain === 'text-generation') return 'text-generation';
  if (plain === 'image-text-to-text') return 'image-text-to-text';
  // The NPU's pipeline is for Whisper; what CTC reads is as long as the speech.
  if (plain === 'automatic-speech-recognition')
    return original.architecture?.endsWith('ForCTC') === true ? 'other' : 'speech';
  if (/^(text-to-image|image-to-image|inpainting|text-to-video)$/.test(plain)) return 'image-generation';
  if (/^(image-classification|image-segmentation|semantic-segmentation|object-detection)$/.test(plain))
    return 'vision';
  // Rerankers are classifiers with one output.
  if (plain === 'text-classification') {
    return model.metadata.task === 'text-ranking' || original.labels === 1 ? 'rerank' : 'other';
  }
  if (plain !== 'feature-extraction') return 'other';
  return original.imageSize === undefined ? 'embeddings' : 'vision';
}

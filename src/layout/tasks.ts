/** What OVMS serves a model as, by what is known of the model. Pure. */
import { ModeldlError } from '../errors.js';
import { closest } from 'fastest-levenshtein';

/** Those with a graph carry the names of `export_model.py`; a `plain` model is one IR in a numbered directory. */
export const OVMS_TASKS = [
  'text_generation',
  'embeddings_ov',
  'rerank_ov',
  'image_generation',
  'text2speech',
  'speech2text',
  'plain',
] as const;
export type OvmsTask = (typeof OVMS_TASKS)[number];
export type GraphTask = Exclude<OvmsTask, 'plain'>;

/** As the Model Download microservice also calls them. */
const ALIASES: ReadonlyMap<string, OvmsTask> = new Map([
  ['llm', 'text_generation'],
  ['vlm', 'text_generation'],
  ['embeddings', 'embeddings_ov'],
  ['rerank', 'rerank_ov'],
]);

const SERVED: ReadonlyMap<string, OvmsTask> = new Map([
  ['text-generation', 'text_generation'],
  ['image-text-to-text', 'text_generation'],
  ['feature-extraction', 'embeddings_ov'],
  ['sentence-similarity', 'embeddings_ov'],
  ['text-ranking', 'rerank_ov'],
  ['text-to-image', 'image_generation'],
  ['image-to-image', 'image_generation'],
  ['inpainting', 'image_generation'],
  ['text-to-audio', 'text2speech'],
  ['text-to-speech', 'text2speech'],
  ['automatic-speech-recognition', 'speech2text'],
]);

/** Tasks whose models have a tokenizer beside the IR, and that OVMS has no calculator for. */
const NOT_SERVED: ReadonlySet<string> = new Set([
  'text-classification',
  'token-classification',
  'question-answering',
  'fill-mask',
  'multiple-choice',
  'zero-shot-classification',
  'text2text-generation',
  'translation',
  'summarization',
  'image-to-text',
  'visual-question-answering',
]);

const TOKENIZER =
  /(^|\/)(tokenizer(_config)?\.json|tokenizer\.model|vocab\.(txt|json)|spiece\.model|sentencepiece\.bpe\.model|openvino_tokenizer\.xml)$/;

export interface ModelFacts {
  readonly reference: string;
  readonly id: string;
  /** As optimum names tasks: of the conversion's plan. */
  readonly task?: string | undefined;
  /** The hub's word. */
  readonly hubTask?: string | undefined;
  /** Of the model before its conversion, or of one that is published as IR. */
  readonly files: readonly string[];
}

export function isVisionLanguage({ task, hubTask, files }: ModelFacts): boolean {
  return (
    withoutPast(task ?? hubTask ?? '') === 'image-text-to-text' ||
    files.includes('openvino_vision_embeddings_model.xml')
  );
}

/** @throws ModeldlError USAGE */
export function taskNamed(text: string): OvmsTask {
  const task = OVMS_TASKS.find((known) => known === text) ?? ALIASES.get(text);
  if (task !== undefined) return task;
  throw new ModeldlError('USAGE', `Unknown value for --set ovms-task: ${text}`, {
    hint: `the nearest is \`${closest(text, [...OVMS_TASKS])}\`; expected one of ${OVMS_TASKS.join(', ')}`,
  });
}

/** @throws ModeldlError UNSUPPORTED for a model that OVMS cannot serve */
export function taskOf(facts: ModelFacts): OvmsTask {
  const { reference, id, files } = facts;
  const published = files.some((path) => /(^|\/)openvino_\w*model\.xml$/.test(path));
  // An embedding model and a reranker of one family differ in nothing but their heads' use.
  const task = withoutPast(facts.task ?? (published ? taskByFiles(facts) : undefined) ?? '');
  if (task === '') return 'plain';
  const ranks = facts.hubTask === 'text-ranking' || /rerank/i.test(id);
  if (task === 'text-classification' && ranks) return 'rerank_ov';
  if (NOT_SERVED.has(task)) {
    throw new ModeldlError('UNSUPPORTED', `OVMS does not serve ${task}: ${reference}`, {
      hint:
        task === 'text-classification'
          ? 'if it is a reranker, pass `--set ovms-task=rerank_ov`; otherwise leave out `--layout`'
          : 'leave out `--layout` for the IR alone',
      details: { reference },
    });
  }
  const served = SERVED.get(task);
  // Features of images are served as a plain IR.
  if (served === 'embeddings_ov' && !files.some((path) => TOKENIZER.test(path))) return 'plain';
  return served ?? 'plain';
}

/** What a published IR is, by the names that optimum gives its files. */
function taskByFiles({ id, hubTask, files }: ModelFacts): string | undefined {
  const has = (name: string): boolean => files.includes(name);
  if (has('openvino_language_model.xml')) return 'image-text-to-text';
  if (has('model_index.json')) return 'text-to-image';
  if (has('openvino_encoder_model.xml') && /whisper|speech-recognition/i.test(`${id} ${hubTask ?? ''}`)) {
    return 'automatic-speech-recognition';
  }
  if (has('openvino_model.xml') && has('openvino_detokenizer.xml') && hubTask === undefined) {
    return 'text-generation';
  }
  return hubTask;
}

function withoutPast(task: string): string {
  return task.replace(/-with-past$/, '');
}

/** Files that the server looks for beside the graph. */
const NEEDED: Readonly<Record<GraphTask, readonly RegExp[]>> = {
  text_generation: [
    /^openvino_(language_)?model\.xml$/,
    /^openvino_tokenizer\.xml$/,
    /^openvino_detokenizer\.xml$/,
  ],
  embeddings_ov: [/^openvino_model\.xml$/, /^openvino_tokenizer\.xml$/],
  rerank_ov: [/^openvino_model\.xml$/, /^openvino_tokenizer\.xml$/],
  image_generation: [/^model_index\.json$/],
  text2speech: [/^openvino_\w*model\.xml$/],
  speech2text: [
    /^openvino_encoder_model\.xml$/,
    /^openvino_decoder_model\.xml$/,
    /^openvino_detokenizer\.xml$/,
  ],
};

/**
 * Refuses a result that the server would not load.
 * @throws ModeldlError UNSUPPORTED naming what is missing, or too much
 */
export function refuseUnservable(task: OvmsTask, reference: string, files: readonly string[]): void {
  if (task === 'plain') {
    const graphs = files.filter((path) => path.endsWith('.xml'));
    if (graphs.length === 1) return;
    throw new ModeldlError(
      'UNSUPPORTED',
      `OVMS serves one IR per plain model, and ${reference} has ${graphs.length}: ${graphs.join(', ')}`,
      { hint: 'name its task with `--set ovms-task=…`, or leave out `--layout`', details: { reference } },
    );
  }
  const missing = NEEDED[task].filter((pattern) => !files.some((path) => pattern.test(path)));
  if (missing.length === 0) return;
  const names = missing.map(({ source }) =>
    source.replace(/^\^|\$$|\\(?=\.)/g, '').replace(/\(|\)\?|\\w/g, ''),
  );
  throw new ModeldlError(
    'UNSUPPORTED',
    `OVMS needs ${names.join(', ')} for ${task}, and ${reference} has none`,
    {
      hint: 'name another task with `--set ovms-task=…`, or leave out `--layout`',
      details: { reference },
    },
  );
}

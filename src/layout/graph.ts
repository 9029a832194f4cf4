/**
 * `graph.pbtxt`: how OVMS serves a model, field by field as `export_model.py` writes it for the server's version. Paths
 * in it are relative to its own directory. Pure.
 */
import type { Loras } from './loras.js';
import { json, message, text, word, type Lines } from './pbtxt.js';
import type { ServingSettings } from './settings.js';
import type { GraphTask } from './tasks.js';
import type { Dialect } from './versions.js';

export interface GraphOptions {
  readonly dialect: Dialect;
  readonly device: string;
  readonly settings: ServingSettings;
  /** Directory of the draft model, below the graph's. */
  readonly draft?: string;
  /** Path of each adapter by its alias, below the graph's directory. */
  readonly loraPaths?: ReadonlyMap<string, string>;
}

const MODELS_PATH = './';

export function graphOf(task: GraphTask, options: GraphOptions): string {
  const lines = [
    ...(options.dialect.queueComment ? ['# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO'] : []),
    ...GRAPHS[task](options),
  ];
  return `${lines.join('\n')}\n`;
}

const GRAPHS: Readonly<Record<GraphTask, (options: GraphOptions) => Lines>> = {
  text_generation: (options) =>
    node({
      payload: 'HTTP_',
      name: 'LLMExecutor',
      calculator: 'HttpLLMCalculator',
      sidePackets: [
        'LLM_NODE_RESOURCES:llm',
        ...(options.dialect.executionContexts ? ['LLM_NODE_EXECUTION_CONTEXTS:llm_ctx'] : []),
      ],
      loopback: true,
      options: ['LLMCalculatorOptions', textGeneration(options)],
    }),
  embeddings_ov: (options) =>
    node({
      payload: '',
      name: 'EmbeddingsExecutor',
      calculator: 'EmbeddingsCalculatorOV',
      sidePackets: ['EMBEDDINGS_NODE_RESOURCES:embeddings_servable'],
      loopback: false,
      options: ['EmbeddingsCalculatorOVOptions', embeddings(options)],
    }),
  rerank_ov: ({ device, settings }) =>
    node({
      payload: '',
      name: 'RerankExecutor',
      calculator: 'RerankCalculatorOV',
      sidePackets: ['RERANK_NODE_RESOURCES:rerank_servable'],
      loopback: false,
      options: [
        'RerankCalculatorOVOptions',
        [text('models_path', MODELS_PATH), streams(settings), text('target_device', device)],
      ],
    }),
  image_generation: (options) =>
    node({
      payload: 'HTTP_',
      name: 'ImageGenExecutor',
      calculator: 'ImageGenCalculator',
      sidePackets: ['IMAGE_GEN_NODE_RESOURCES:pipes'],
      loopback: false,
      options: ['ImageGenCalculatorOptions', imageGeneration(options)],
    }),
  text2speech: ({ device, settings }) =>
    node({
      payload: 'HTTP_',
      name: 'T2sExecutor',
      calculator: 'T2sCalculator',
      sidePackets: ['TTS_NODE_RESOURCES:t2s_servable'],
      loopback: false,
      options: [
        'T2sCalculatorOptions',
        [
          text('models_path', MODELS_PATH),
          streams(settings),
          text('target_device', device),
          ...voice(settings),
        ],
      ],
    }),
  speech2text: ({ device, settings }) =>
    node({
      payload: 'HTTP_',
      name: 'S2tExecutor',
      calculator: 'S2tCalculator',
      sidePackets: ['STT_NODE_RESOURCES:s2t_servable'],
      loopback: true,
      options: [
        'S2tCalculatorOptions',
        [
          text('models_path', MODELS_PATH),
          streams(settings),
          text('target_device', device),
          ...given(settings.enable_word_timestamps, (value) => word('enable_word_timestamps', value)),
        ],
      ],
    }),
};

interface Node {
  readonly payload: 'HTTP_' | '';
  readonly name: string;
  readonly calculator: string;
  readonly sidePackets: readonly string[];
  /** What it puts out comes back in, token by token. */
  readonly loopback: boolean;
  readonly options: readonly [type: string, fields: Lines];
}

/** A graph of one node between the request and the response. */
function node({ payload, name, calculator, sidePackets, loopback, options: [type, fields] }: Node): Lines {
  const input = `${payload}REQUEST_PAYLOAD:input`;
  const output = `${payload}RESPONSE_PAYLOAD:output`;
  const loop = loopback ? ['LOOPBACK:loopback'] : [];
  return [
    text('input_stream', input),
    text('output_stream', output),
    '',
    ...message('node', [
      text('name', name),
      text('calculator', calculator),
      ...[...loop, input].map((stream) => text('input_stream', stream)),
      ...sidePackets.map((packet) => text('input_side_packet', packet)),
      ...[...loop, output].map((stream) => text('output_stream', stream)),
      ...(loopback
        ? message('input_stream_info', [json('tag_index', 'LOOPBACK:0'), word('back_edge', true)])
        : []),
      ...message('node_options', message(`[type.googleapis.com / mediapipe.${type}]`, fields)),
      ...(loopback ? synchronised : []),
    ]),
  ];
}

const synchronised = message('input_stream_handler', [
  text('input_stream_handler', 'SyncSetInputStreamHandler'),
  ...message(
    'options',
    message(
      '[mediapipe.SyncSetInputStreamHandlerOptions.ext]',
      message('sync_set', [text('tag_index', 'LOOPBACK:0')]),
    ),
  ),
]);

/** A field for a value that was given, else none. */
function given<Value>(value: Value | undefined, field: (value: Value) => string): Lines {
  return value === undefined ? [] : [field(value)];
}

/** A field for a value that the server reads as unset when it is 0. */
function above0(name: string, value: number | undefined): Lines {
  return value === undefined || value === 0 ? [] : [word(name, value)];
}

function textGeneration({ dialect, device, settings, draft }: GraphOptions): Lines {
  const eagle3 = settings.draft_eagle3_mode === true;
  const split = settings.dynamic_split_fuse ?? settings.disable_dynamic_split_fuse !== true;
  return [
    ...given(settings.pipeline_type, (value) => word('pipeline_type', value)),
    text('models_path', MODELS_PATH),
    json('plugin_config', asJson(textGenerationPlugin(settings, device, dialect))),
    word('enable_prefix_caching', settings.enable_prefix_caching ?? dialect.prefixCaching),
    word('cache_size', settings.cache_size ?? dialect.cacheSize),
    ...given(settings.max_num_batched_tokens, (value) => word('max_num_batched_tokens', value)),
    ...(split ? [] : [word('dynamic_split_fuse', false)]),
    word('max_num_seqs', settings.max_num_seqs ?? (eagle3 ? 1 : 256)),
    text('device', device),
    ...(draft === undefined ? [] : [text('draft_models_path', `./${draft}`), text('draft_device', device)]),
    ...(eagle3 ? [word('draft_eagle3_mode', true)] : []),
    ...given(settings.reasoning_parser, (value) => text('reasoning_parser', value)),
    ...given(settings.tool_parser, (value) => text('tool_parser', value)),
    ...(settings.enable_tool_guided_generation === true ? [word('enable_tool_guided_generation', true)] : []),
  ];
}

function textGenerationPlugin(
  settings: ServingSettings,
  device: string,
  { deviceProperties, prefixCaching }: Dialect,
): Readonly<Record<string, unknown>> {
  const { kv_cache_precision: kv, ov_cache_dir: cache, max_prompt_len: longest } = settings;
  const prompt = longest === undefined ? {} : { MAX_PROMPT_LEN: longest };
  const cached = settings.enable_prefix_caching ?? prefixCaching;
  const npu = { ...prompt, ...(cached ? { NPUW_LLM_ENABLE_PREFIX_CACHING: true } : {}) };
  const nested = device === 'NPU' && deviceProperties && Object.keys(npu).length > 0;
  return {
    ...(kv === undefined ? {} : { KV_CACHE_PRECISION: kv }),
    ...(cache === undefined ? {} : { CACHE_DIR: cache }),
    ...(deviceProperties ? {} : prompt),
    ...(settings.prompt_lookup_decoding === true ? { prompt_lookup: true } : {}),
    ...(device.startsWith('HETERO') ? { MODEL_DISTRIBUTION_POLICY: 'PIPELINE_PARALLEL' } : {}),
    ...(nested ? { DEVICE_PROPERTIES: { NPU: npu } } : {}),
  };
}

function embeddings({ device, settings }: GraphOptions): Lines {
  const normalize = settings.normalize ?? settings.skip_normalize !== true;
  return [
    text('models_path', MODELS_PATH),
    streams(settings),
    word('normalize_embeddings', normalize),
    word('pooling', settings.pooling ?? 'CLS'),
    ...(settings.truncate === true ? [word('truncate', true)] : []),
    text('target_device', device),
  ];
}

/** 0 streams means one. The space before the brace is the script's. */
function streams({ num_streams: number = 1, ov_cache_dir: cache }: ServingSettings): string {
  const others = cache === undefined ? ' ' : `, "CACHE_DIR": ${JSON.stringify(cache)}`;
  return json('plugin_config', `{"NUM_STREAMS": "${Math.max(1, number)}"${others}}`);
}

function imageGeneration({ device, settings, loraPaths }: GraphOptions): Lines {
  const { num_streams: number = 0, ov_cache_dir: cache, source_loras: loras } = settings;
  const plugin = {
    ...(number === 0 ? {} : { NUM_STREAMS: String(number) }),
    ...(cache === undefined ? {} : { CACHE_DIR: cache }),
  };
  return [
    text('models_path', MODELS_PATH),
    ...(Object.keys(plugin).length === 0 ? [] : [json('plugin_config', asJson(plugin))]),
    text('device', device),
    ...given(settings.resolution, (value) => text('resolution', value)),
    ...given(settings.num_images_per_prompt, (value) => word('num_images_per_prompt', value)),
    ...given(settings.guidance_scale, (value) => word('guidance_scale', value)),
    ...given(settings.max_resolution, (value) => text('max_resolution', value)),
    ...given(settings.default_resolution, (value) => text('default_resolution', value)),
    ...above0('max_num_images_per_prompt', settings.max_num_images_per_prompt),
    ...above0('default_num_inference_steps', settings.default_num_inference_steps),
    ...above0('max_num_inference_steps', settings.max_num_inference_steps),
    ...(loras === undefined ? [] : adapters(loras, loraPaths ?? new Map())),
  ];
}

function adapters({ adapters: single, composites }: Loras, paths: ReadonlyMap<string, string>): Lines {
  return [
    ...single.flatMap(({ alias, alpha }) =>
      message('lora_adapters', [
        text('alias', alias),
        text('path', paths.get(alias) ?? ''),
        ...given(alpha, (value) => word('alpha', value)),
        word('mode', 'DYNAMIC'),
      ]),
    ),
    ...composites.flatMap(({ alias, components }) =>
      message('composite_lora_adapters', [
        text('alias', alias),
        ...components.flatMap(({ adapter, alpha }) =>
          message('components', [
            text('adapter_alias', adapter),
            ...(alpha === 1 ? [] : [word('alpha', alpha)]),
          ]),
        ),
      ]),
    ),
  ];
}

function voice({ speaker_name: name, speaker_path: path }: ServingSettings): Lines {
  if (name === undefined || path === undefined) return [];
  return message('voices', [text('name', name), text('path', path)]);
}

/** JSON with a space after each comma and colon, as Python's `json.dumps` writes it. */
function asJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${asJson(item)}`);
  return `{${entries.join(', ')}}`;
}

/** Graphs, compared with files that follow the script's templates field by field. */
import { describe, expect, it } from 'vitest';
import { graphOf, type GraphOptions } from '../../src/layout/graph.js';
import { parseLoras } from '../../src/layout/loras.js';
import type { ServingSettings } from '../../src/layout/settings.js';
import type { GraphTask } from '../../src/layout/tasks.js';
import { dialectOf } from '../../src/layout/versions.js';

function graph(
  task: GraphTask,
  settings: ServingSettings = {},
  {
    version = '2026.3',
    device = 'CPU',
    ...rest
  }: { version?: string; device?: string } & Partial<GraphOptions> = {},
): string {
  return graphOf(task, { dialect: dialectOf(version), device, settings, ...rest });
}

/** The lines between the type of the options and their end. */
function options(text: string): readonly string[] {
  const lines = text.split('\n');
  const first = lines.findIndex((line) => line.includes('type.googleapis.com')) + 1;
  const last = lines.indexOf('    }', first);
  return lines.slice(first, last).map((line) => line.trim());
}

const TEXT_GENERATION = `# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node {
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  input_side_packet: "LLM_NODE_EXECUTION_CONTEXTS:llm_ctx"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info {
    tag_index: 'LOOPBACK:0'
    back_edge: true
  }
  node_options {
    [type.googleapis.com / mediapipe.LLMCalculatorOptions] {
      models_path: "./"
      plugin_config: '{}'
      enable_prefix_caching: true
      cache_size: 0
      max_num_seqs: 256
      device: "CPU"
    }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler"
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
        sync_set {
          tag_index: "LOOPBACK:0"
        }
      }
    }
  }
}
`;

function payload(
  prefix: '' | 'HTTP_',
  name: string,
  calculator: string,
  packet: string,
  type: string,
): string {
  return `# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "${prefix}REQUEST_PAYLOAD:input"
output_stream: "${prefix}RESPONSE_PAYLOAD:output"

node {
  name: "${name}"
  calculator: "${calculator}"
  input_stream: "${prefix}REQUEST_PAYLOAD:input"
  input_side_packet: "${packet}"
  output_stream: "${prefix}RESPONSE_PAYLOAD:output"
  node_options {
    [type.googleapis.com / mediapipe.${type}] {
`;
}

describe('graph.pbtxt of the newest server', () => {
  it('text_generation', () => {
    expect(graph('text_generation')).toBe(TEXT_GENERATION);
  });

  it('embeddings_ov', () => {
    const [prefix, name] = ['EmbeddingsExecutor', 'EmbeddingsCalculatorOV'];
    const packet = 'EMBEDDINGS_NODE_RESOURCES:embeddings_servable';
    expect(graph('embeddings_ov')).toBe(
      `${payload('', prefix, name, packet, 'EmbeddingsCalculatorOVOptions')}      models_path: "./"
      plugin_config: '{"NUM_STREAMS": "1" }'
      normalize_embeddings: true
      pooling: CLS
      target_device: "CPU"
    }
  }
}
`,
    );
  });

  it('rerank_ov', () => {
    const packet = 'RERANK_NODE_RESOURCES:rerank_servable';
    expect(graph('rerank_ov', { num_streams: 2 })).toBe(
      `${payload('', 'RerankExecutor', 'RerankCalculatorOV', packet, 'RerankCalculatorOVOptions')}      models_path: "./"
      plugin_config: '{"NUM_STREAMS": "2" }'
      target_device: "CPU"
    }
  }
}
`,
    );
  });

  it('image_generation', () => {
    const packet = 'IMAGE_GEN_NODE_RESOURCES:pipes';
    expect(graph('image_generation')).toBe(
      `${payload('HTTP_', 'ImageGenExecutor', 'ImageGenCalculator', packet, 'ImageGenCalculatorOptions')}      models_path: "./"
      device: "CPU"
    }
  }
}
`,
    );
  });

  it('text2speech', () => {
    const packet = 'TTS_NODE_RESOURCES:t2s_servable';
    expect(graph('text2speech', { num_streams: 0 })).toBe(
      `${payload('HTTP_', 'T2sExecutor', 'T2sCalculator', packet, 'T2sCalculatorOptions')}      models_path: "./"
      plugin_config: '{"NUM_STREAMS": "1" }'
      target_device: "CPU"
    }
  }
}
`,
    );
  });

  it('speech2text loops back like text generation', () => {
    const text = graph('speech2text', { enable_word_timestamps: true });
    const expected = TEXT_GENERATION.replace('LLMExecutor', 'S2tExecutor')
      .replace('HttpLLMCalculator', 'S2tCalculator')
      .replace('LLM_NODE_RESOURCES:llm', 'STT_NODE_RESOURCES:s2t_servable')
      .replace('  input_side_packet: "LLM_NODE_EXECUTION_CONTEXTS:llm_ctx"\n', '')
      .replace(
        /\[type[\s\S]*?\n {4}\}/,
        `[type.googleapis.com / mediapipe.S2tCalculatorOptions] {
      models_path: "./"
      plugin_config: '{"NUM_STREAMS": "1" }'
      target_device: "CPU"
      enable_word_timestamps: true
    }`,
      );
    expect(text).toBe(expected);
  });
});

describe('graph.pbtxt by the version of the server', () => {
  it.each([
    ['2025.4.1', false, false, 'false', '10'],
    ['2026.0', false, false, 'true', '0'],
    ['v2026.1', false, false, 'true', '0'],
    ['2026.2', true, false, 'true', '0'],
    ['2026.3', true, true, 'true', '0'],
  ])(
    '%s: queue comment %s, execution contexts %s, prefix caching %s, cache %s GB',
    (version, queue, contexts, prefix, cache) => {
      const text = graph('text_generation', {}, { version });
      expect(text.startsWith('# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO\n')).toBe(queue);
      expect(text.includes('LLM_NODE_EXECUTION_CONTEXTS:llm_ctx')).toBe(contexts);
      expect(options(text)).toContain(`enable_prefix_caching: ${prefix}`);
      expect(options(text)).toContain(`cache_size: ${cache}`);
    },
  );
});

describe('the options of a graph', () => {
  const plugin = (value: object | string): string =>
    `plugin_config: '${typeof value === 'string' ? value : JSON.stringify(value)}'`;

  it.each<
    readonly [
      string,
      GraphTask,
      ServingSettings,
      { version?: string; device?: string; draft?: string },
      readonly string[],
    ]
  >([
    [
      'every setting of text generation, in the order of the script',
      'text_generation',
      {
        pipeline_type: 'LM_CB',
        kv_cache_precision: 'u8',
        ov_cache_dir: '/cache',
        prompt_lookup_decoding: true,
        enable_prefix_caching: false,
        cache_size: 4,
        max_num_batched_tokens: 512,
        dynamic_split_fuse: false,
        max_num_seqs: 8,
        reasoning_parser: 'qwen3',
        tool_parser: 'hermes3',
        enable_tool_guided_generation: true,
      },
      { draft: 'org-draft' },
      [
        'pipeline_type: LM_CB',
        'models_path: "./"',
        plugin('{"KV_CACHE_PRECISION": "u8", "CACHE_DIR": "/cache", "prompt_lookup": true}'),
        'enable_prefix_caching: false',
        'cache_size: 4',
        'max_num_batched_tokens: 512',
        'dynamic_split_fuse: false',
        'max_num_seqs: 8',
        'device: "CPU"',
        'draft_models_path: "./org-draft"',
        'draft_device: "CPU"',
        'reasoning_parser: "qwen3"',
        'tool_parser: "hermes3"',
        'enable_tool_guided_generation: true',
      ],
    ],
    [
      'what says the default again is not written',
      'text_generation',
      {
        disable_dynamic_split_fuse: false,
        enable_tool_guided_generation: false,
        prompt_lookup_decoding: false,
      },
      {},
      [
        'models_path: "./"',
        plugin('{}'),
        'enable_prefix_caching: true',
        'cache_size: 0',
        'max_num_seqs: 256',
        'device: "CPU"',
      ],
    ],
    [
      'an eagle3 draft has one sequence',
      'text_generation',
      { draft_eagle3_mode: true, disable_dynamic_split_fuse: true },
      { draft: 'd' },
      [
        'models_path: "./"',
        plugin('{}'),
        'enable_prefix_caching: true',
        'cache_size: 0',
        'dynamic_split_fuse: false',
        'max_num_seqs: 1',
        'device: "CPU"',
        'draft_models_path: "./d"',
        'draft_device: "CPU"',
        'draft_eagle3_mode: true',
      ],
    ],
    [
      'the NPU has properties of its own',
      'text_generation',
      { max_prompt_len: 2048 },
      { device: 'NPU' },
      [
        'models_path: "./"',
        plugin(
          '{"DEVICE_PROPERTIES": {"NPU": {"MAX_PROMPT_LEN": 2048, "NPUW_LLM_ENABLE_PREFIX_CACHING": true}}}',
        ),
        'enable_prefix_caching: true',
        'cache_size: 0',
        'max_num_seqs: 256',
        'device: "NPU"',
      ],
    ],
    [
      'which older servers take at the top',
      'text_generation',
      { max_prompt_len: 2048 },
      { device: 'NPU', version: '2026.0' },
      [
        'models_path: "./"',
        plugin('{"MAX_PROMPT_LEN": 2048}'),
        'enable_prefix_caching: true',
        'cache_size: 0',
        'max_num_seqs: 256',
        'device: "NPU"',
      ],
    ],
    [
      'several devices share a model in a pipeline',
      'text_generation',
      {},
      { device: 'HETERO:GPU,CPU' },
      [
        'models_path: "./"',
        plugin('{"MODEL_DISTRIBUTION_POLICY": "PIPELINE_PARALLEL"}'),
        'enable_prefix_caching: true',
        'cache_size: 0',
        'max_num_seqs: 256',
        'device: "HETERO:GPU,CPU"',
      ],
    ],
    [
      'embeddings',
      'embeddings_ov',
      { skip_normalize: true, pooling: 'LAST', truncate: true, num_streams: 3, ov_cache_dir: 'c' },
      { device: 'GPU' },
      [
        'models_path: "./"',
        plugin('{"NUM_STREAMS": "3", "CACHE_DIR": "c"}'),
        'normalize_embeddings: false',
        'pooling: LAST',
        'truncate: true',
        'target_device: "GPU"',
      ],
    ],
    [
      'images',
      'image_generation',
      {
        num_streams: 2,
        ov_cache_dir: 'c',
        resolution: '512x512 768x768',
        guidance_scale: 7.5,
        num_images_per_prompt: 2,
        max_resolution: '1024x1024',
        default_resolution: '512x512',
        max_num_images_per_prompt: 4,
        default_num_inference_steps: 20,
        max_num_inference_steps: 0,
      },
      {},
      [
        'models_path: "./"',
        plugin('{"NUM_STREAMS": "2", "CACHE_DIR": "c"}'),
        'device: "CPU"',
        'resolution: "512x512 768x768"',
        'num_images_per_prompt: 2',
        'guidance_scale: 7.5',
        'max_resolution: "1024x1024"',
        'default_resolution: "512x512"',
        'max_num_images_per_prompt: 4',
        'default_num_inference_steps: 20',
      ],
    ],
    [
      'a voice',
      'text2speech',
      { model_type: 'speecht5', vocoder: 'v', speaker_name: 'ann', speaker_path: '/voices/ann.bin' },
      {},
      [
        'models_path: "./"',
        plugin('{"NUM_STREAMS": "1" }'),
        'target_device: "CPU"',
        'voices {',
        'name: "ann"',
        'path: "/voices/ann.bin"',
        '}',
      ],
    ],
    [
      'text that the format would read otherwise',
      'text_generation',
      { ov_cache_dir: 'C:\\it\'s "here"\n' },
      {},
      [
        'models_path: "./"',
        String.raw`plugin_config: '{"CACHE_DIR": "C:\\\\it\'s \\"here\\"\\n"}'`,
        'enable_prefix_caching: true',
        'cache_size: 0',
        'max_num_seqs: 256',
        'device: "CPU"',
      ],
    ],
  ])('%s', (_what, task, settings, more, expected) => {
    expect(options(graph(task, settings, more))).toEqual(expected);
  });

  it('adapters, alone and together', () => {
    const source_loras = parseLoras('a=org/a:0.5,b=org/b@b.safetensors,both=@a:0.5+@b:1');
    const loraPaths = new Map([
      ['a', 'loras/org/a/x.safetensors'],
      ['b', 'loras/org/b/b.safetensors'],
    ]);
    const text = graph('image_generation', { source_loras }, { loraPaths });
    expect(text.slice(text.indexOf('      lora_adapters'), text.indexOf('\n    }\n')))
      .toBe(`      lora_adapters {
        alias: "a"
        path: "loras/org/a/x.safetensors"
        alpha: 0.5
        mode: DYNAMIC
      }
      lora_adapters {
        alias: "b"
        path: "loras/org/b/b.safetensors"
        mode: DYNAMIC
      }
      composite_lora_adapters {
        alias: "both"
        components {
          adapter_alias: "a"
          alpha: 0.5
        }
        components {
          adapter_alias: "b"
        }
      }`);
  });
});

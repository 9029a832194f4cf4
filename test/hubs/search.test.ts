/** What each hub finds, asked as the core asks: through modeldl's client, from local servers. */
import { afterEach, describe, expect, it } from 'vitest';
import { hf } from '../../hubs/hf.js';
import { ollama } from '../../hubs/ollama.js';
import { omz } from '../../hubs/omz.js';
import { openvino } from '../../hubs/openvino.js';
import { ultralytics } from '../../hubs/ultralytics.js';
import { scaleOf } from '../../hubs/ultralytics/search.js';
import type { Hub, SearchHit, SearchQuery } from '../../src/hub.js';
import { formatReference } from '../../src/reference.js';
import { startHfHub, type HfHub, type HfHubOptions, type HfRepo } from '../helpers/hf-hub.js';
import { createHubContext, refusalOf, type TestHubOptions } from '../helpers/hub-context.js';
import { startOllamaRegistry, type RegistryOptions } from '../helpers/ollama-registry.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function find(
  hub: Hub,
  query: Partial<SearchQuery>,
  options: TestHubOptions = {},
): Promise<readonly SearchHit[]> {
  const context = createHubContext(hub, options);
  ends.push(() => {
    context.close();
  });
  const hits: SearchHit[] = [];
  const found = hub.search?.({ text: '', limit: 11, ...query }, context) ?? expect.fail('It has no search');
  for await (const hit of found) hits.push(hit);
  return hits;
}

function written(hub: Hub, hits: readonly SearchHit[]): readonly string[] {
  return hits.map(({ reference }) => formatReference({ hub: hub.name, ...reference }, [hub.syntax]));
}

const file = { 'config.json': '{}' };
const REPOS: readonly HfRepo[] = [
  {
    id: 'Qwen/Qwen3-8B',
    files: file,
    task: 'text-generation',
    library: 'transformers',
    license: 'apache-2.0',
    downloads: 900,
    likes: 5,
    updatedAt: '2026-03-01T10:00:00.000Z',
    weights: { BF16: 8_000_000, F32: 1000 },
  },
  {
    id: 'Qwen/Qwen3-Embedding-0.6B',
    files: file,
    task: 'feature-extraction',
    library: 'sentence-transformers',
    license: 'apache-2.0',
    downloads: 1000,
    likes: 4,
    weights: { Q9: 5 },
  },
  {
    id: 'meta/Qwen3-like',
    files: file,
    gated: { kind: 'manual', granted: [] },
    task: 'text-generation',
    license: 'other',
    likes: 9,
  },
  { id: 'other/bert', files: file },
  ...['Qwen3-8B-int8-ov', 'Qwen3-8B-int4-ov', 'Qwen3-8B-int4-cw-ov', 'Odd-ov'].map((name, index) => ({
    id: `OpenVINO/${name}`,
    files: file,
    task: 'text-generation',
    license: 'apache-2.0',
    downloads: 10 - index,
  })),
];

async function startHub(
  options: Partial<HfHubOptions> = {},
): Promise<{ hub: HfHub; options: TestHubOptions }> {
  const hub = await startHfHub({ repos: REPOS, ...options });
  ends.push(() => hub.close());
  return { hub, options: { environment: { HF_ENDPOINT: hub.endpoint } } };
}

describe('Hugging Face', () => {
  it('tells all of a model in one request', async () => {
    const { hub, options } = await startHub();
    expect(await find(hf, { text: 'qwen3-8b', limit: 1 }, options)).toEqual([
      {
        reference: { id: 'Qwen/Qwen3-8B' },
        task: 'text-generation',
        library: 'transformers',
        license: 'apache-2.0',
        precisions: ['bf16', 'fp32'],
        parameters: 8_001_000,
        bytes: 16_004_000,
        downloads: 900,
        likes: 5,
        updatedAt: '2026-03-01T10:00:00.000Z',
        gated: false,
        private: false,
        page: `${hub.endpoint}/Qwen/Qwen3-8B`,
      },
    ]);
    expect(hub.requests).toHaveLength(1);
  });

  it.each<[Partial<SearchQuery>, readonly string[]]>([
    [{ text: 'Qwen3', task: 'text-generation' }, ['hf:Qwen/Qwen3-8B', 'hf:meta/Qwen3-like']],
    [{ text: 'Qwen3-', library: 'sentence-transformers' }, ['hf:Qwen/Qwen3-Embedding-0.6B']],
    [{ license: 'other' }, ['hf:meta/Qwen3-like']],
    [{ text: 'Qwen/', order: 'likes' }, ['hf:Qwen/Qwen3-8B', 'hf:Qwen/Qwen3-Embedding-0.6B']],
    [{ text: 'Qwen/', order: 'downloads' }, ['hf:Qwen/Qwen3-Embedding-0.6B', 'hf:Qwen/Qwen3-8B']],
    [{ text: 'Qwen/', order: 'updated' }, ['hf:Qwen/Qwen3-8B', 'hf:Qwen/Qwen3-Embedding-0.6B']],
    [{ text: 'no such model' }, []],
  ])('leaves the filters to the hub: %j', async (query, references) => {
    const { hub, options } = await startHub();
    const found = written(hf, await find(hf, query, options));
    expect(found.filter((reference) => !reference.startsWith('hf:OpenVINO/'))).toEqual(references);
    expect(hub.requests).toHaveLength(1);
  });

  it('gives no size where a type of weights is not known', async () => {
    const { options } = await startHub();
    const [hit] = await find(hf, { text: 'Embedding' }, options);
    expect(hit).toMatchObject({ precisions: ['q9'], parameters: 5 });
    expect(hit).not.toHaveProperty('bytes');
  });

  it('shows who needs access, and private models only to those who have it', async () => {
    const token = 'hf_tokenOfAliceAaaaaaaaaaaaaaa';
    const secret = { id: 'alice/Qwen3-own', files: file, privateTo: ['alice'] };
    const { options } = await startHub({ repos: [...REPOS, secret], tokens: [{ token, user: 'alice' }] });
    expect(await find(hf, { text: 'Qwen3-own' }, options)).toEqual([]);
    const credential = { token, source: 'HF_TOKEN' };
    const [own] = await find(hf, { text: 'Qwen3-own' }, { ...options, credential });
    expect(own).toMatchObject({ reference: { id: 'alice/Qwen3-own' }, private: true });
    const [gated] = await find(hf, { text: 'Qwen3-like' }, options);
    expect(gated?.gated).toBe(true);
  });

  it('reads further pages only as far as they are wanted', async () => {
    const many = Array.from({ length: 1200 }, (_, index) => ({ id: `many/model-${index}`, files: {} }));
    const { hub, options } = await startHub({ repos: many });
    expect(await find(hf, { text: 'model', limit: 600 }, options)).toHaveLength(600);
    expect(hub.requests).toHaveLength(2);
  });

  it('leaves out what is odd of a model, and models that have no possible name', async () => {
    const { hub, options } = await startHub();
    const body = JSON.stringify([
      { id: 'org/odd', downloads: 'many', gated: 7, tags: 'no list', lastModified: 'yesterday', likes: -1 },
      { id: 'org/late', lastModified: '+275760-09-13T00:00:00.000Z' },
      { id: '../../etc/passwd' },
      { id: 'org/\u001b[2Jname' },
    ]);
    hub.addFault({ kind: { status: 200, headers: { 'content-type': 'application/json' }, body } });
    expect(await find(hf, {}, options)).toEqual(
      ['org/odd', 'org/late'].map((id) => ({ reference: { id }, page: `${hub.endpoint}/${id}` })),
    );
  });

  it.each([
    [{ status: 503 }, 'NETWORK', '503'],
    [{ status: 404 }, 'UNSUPPORTED', 'no list of models to search'],
    [{ status: 401 }, 'AUTH', 'needs a login'],
    [{ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'NETWORK', 'No answer of'],
    [{ status: 200, headers: { 'content-type': 'application/json' }, body: '{}' }, 'NETWORK', 'No answer of'],
  ] as const)('says what is wrong with an answer: %j', async (kind, code, message) => {
    const { hub, options } = await startHub();
    hub.addFault({ kind });
    const error = await refusalOf(find(hf, { text: 'x' }, options), code);
    expect(error.message).toContain(message);
    expect(`${error.message} ${error.details.url ?? ''}`).toContain(hub.endpoint);
  });

  it('names a token that is refused', async () => {
    const { options } = await startHub();
    const credential = { token: 'hf_wrong', source: 'HF_TOKEN' };
    const error = await refusalOf(find(hf, { text: 'x' }, { ...options, credential }), 'AUTH');
    expect(error.message).toContain('token from HF_TOKEN');
  });
});

describe('the organisation OpenVINO', () => {
  it.each<[Partial<SearchQuery>, readonly string[]]>([
    [{ precision: 'int4' }, ['openvino:Qwen3-8B-int4-ov', 'openvino:Qwen3-8B-int4-cw-ov']],
    [{ text: 'qwen3', precision: 'int8' }, ['openvino:Qwen3-8B-int8-ov']],
    [{ text: 'odd' }, ['openvino:Odd-ov']],
    [{ precision: 'fp16' }, []],
    [{ task: 'feature-extraction' }, []],
  ])('is found by short names and their precisions: %j', async (query, references) => {
    const { hub, options } = await startHub();
    const hits = await find(openvino, query, options);
    expect(written(openvino, hits)).toEqual(references);
    for (const { precisions } of hits.filter(() => query.precision !== undefined))
      expect(precisions).toEqual([query.precision]);
    expect(hub.requests).toHaveLength(1);
  });
});

describe('Ollama', () => {
  const models = [
    { name: 'library/llama3.2:latest', layers: [{ kind: 'model', bytes: Buffer.alloc(100) }] },
    { name: 'library/llama3.2:3b', layers: [{ kind: 'model', bytes: Buffer.alloc(300) }] },
    { name: 'me/own:q4', layers: [{ kind: 'model', bytes: Buffer.alloc(7) }] },
  ];
  async function startRegistry(options: Partial<RegistryOptions> = {}) {
    const registry = await startOllamaRegistry({ models, ...options });
    ends.push(() => registry.close());
    return { registry, options: { settings: { endpoint: registry.endpoint } } };
  }

  it.each([
    ['llama3.2', ['ollama:llama3.2:latest'], 100],
    ['llama3.2:3b', ['ollama:llama3.2:3b'], 300],
    ['me/own:q4', ['ollama:me/own:q4'], 7],
    ['llama', [], undefined],
    ['llama3.2:70b', [], undefined],
  ])('finds an exact name: %s', async (text, references, bytes) => {
    const { options } = await startRegistry();
    const hits = await find(ollama, { text }, options);
    expect(written(ollama, hits)).toEqual(references);
    expect(hits[0]?.bytes).toBe(bytes);
  });

  it('finds the tags of a name where the registry lists them, in one request', async () => {
    const { registry, options } = await startRegistry({ listsTags: true });
    const hits = await find(ollama, { text: 'llama3.2' }, options);
    expect(written(ollama, hits)).toEqual(['ollama:llama3.2:latest', 'ollama:llama3.2:3b']);
    expect(registry.asked()).toEqual(['/v2/library/llama3.2/tags/list']);
  });

  it.each([
    ['face detection', 'https://ollama.com/search?q=face%20detection'],
    ['', 'exact name'],
    ['127.0.0.1:1/x/y', '`modeldl show ollama:127.0.0.1:1/x/y`'],
  ])('asks nobody for what is no name of it: %s', async (text, hint) => {
    const { registry, options } = await startRegistry();
    const error = await refusalOf(find(ollama, { text }, options), 'USAGE');
    expect(error.hint).toContain(hint);
    expect(registry.asked()).toEqual([]);
  });

  it('says when the registry fails', async () => {
    const { registry, options } = await startRegistry();
    registry.setFault('503');
    const error = await refusalOf(find(ollama, { text: 'llama3.2' }, options), 'NETWORK');
    expect(error.message).toContain('127.0.0.1');
  });
});

const OFFLINE = { offline: true };

describe('Open Model Zoo', () => {
  it.each<[Partial<SearchQuery>, readonly string[]]>([
    [{ text: 'face-detection-retail' }, ['omz:face-detection-retail-0004', 'omz:face-detection-retail-0005']],
    [{ text: 'RETAIL-0004 face', precision: 'int8' }, ['omz:face-detection-retail-0004//FP16-INT8']],
    [{ text: 'yolox', library: 'PyTorch' }, ['omz:yolox-tiny']],
    [{ text: 'yolox', library: 'openvino' }, []],
    [{ text: 'time', task: 'time-series-forecasting' }, ['omz:time-series-forecasting-electricity-0001']],
    [{ text: 'midas', task: 'depth-estimation', library: 'pytorch' }, ['omz:midasnet']],
    [{ text: 'aclnet', library: 'onnx' }, ['omz:aclnet', 'omz:aclnet-int8']],
    [{ text: 'ctpn', library: 'tf' }, ['omz:ctpn']],
    [{ text: 'xnor', precision: 'int8' }, []],
  ])('finds names without a request: %j', async (query, references) => {
    expect(written(omz, await find(omz, query, OFFLINE))).toEqual(references);
  });

  it('tells tasks, frameworks and precisions', async () => {
    const [face] = await find(omz, { text: 'face-detection-retail-0004' }, OFFLINE);
    expect(face).toMatchObject({
      task: 'detection',
      library: 'openvino',
      precisions: ['fp16', 'int8', 'fp32'],
      page: expect.stringContaining('/models/intel/face-detection-retail-0004') as string,
    });
  });

  it('offers the nearest task in place of one that it has not', async () => {
    const error = await refusalOf(find(omz, { task: 'object-detecton' }, OFFLINE), 'USAGE');
    expect(error.message).toContain('object-detecton');
    expect(error.hint).toMatch(/^the nearest (is|are) .*object-detection.*; its tasks are .*, time_series/);
  });
});

describe('Ultralytics', () => {
  it.each<[Partial<SearchQuery>, readonly string[]]>([
    [
      { text: 'yolo11n' },
      ['yolo11n', 'yolo11n-cls', 'yolo11n-grayscale', 'yolo11n-obb', 'yolo11n-pose', 'yolo11n-seg'],
    ],
    [{ text: 'yolo11n', task: 'segment' }, ['yolo11n-seg']],
    [{ text: 'yolo11n', task: 'object-detection' }, ['yolo11n', 'yolo11n-grayscale', 'yolo11n-obb']],
    [{ text: 'pose yolov8x' }, ['yolov8x-pose', 'yolov8x-pose-p6']],
    [{ text: 'mobileclip2' }, ['mobileclip2_b.ts']],
    [{ text: 'mobileclip2', task: 'detect' }, []],
    [{ text: 'yolo11n-seg', library: 'transformers' }, []],
  ])('finds names without a request: %j', async (query, names) => {
    const hits = await find(ultralytics, query, OFFLINE);
    expect(written(ultralytics, hits)).toEqual(names.map((name) => `ultralytics:${name}`));
  });

  it.each([
    ['yolo11n', 'n'],
    ['yolo26l-distill', 'l'],
    ['yolov5n6u', 'n'],
    ['yolov5xu', 'x'],
    ['yolov9c-seg', 'c'],
    ['yoloe-v8s-seg-pf', 's'],
    ['yoloe-26m-seg', 'm'],
    ['sam2.1_b', 'b'],
    ['yolo_nas_l', 'l'],
    ['FastSAM-x', 'x'],
    ['rtdetr-l', 'l'],
    ['yolov3u', undefined],
    ['yolov3-tinyu', undefined],
    ['mobile_sam', undefined],
  ])('reads the size of a name: %s', (name, scale) => {
    expect(scaleOf(name)).toBe(scale);
  });
});

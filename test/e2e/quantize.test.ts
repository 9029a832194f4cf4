/** Post-training quantization of a real model with the real toolchain. */
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { inPairs } from '../helpers/pairs.js';
import type { World } from '../helpers/program.js';
import {
  createConvertingWorld,
  irOf,
  PYTHON,
  weightTypes,
  type ConvertingWorld,
} from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';

const CLASSIFIER =
  'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** Lines of text as PP-OCR's direction classifier gets them, a folder per class, and the same as arrays. */
const MAKE_DATA = `
import json, os, sys
import numpy
from PIL import Image, ImageDraw
root = sys.argv[1]
samples = []
for turned in (False, True):
    folder = os.path.join(root, "lines", "turned" if turned else "upright")
    os.makedirs(folder)
    for number in range(4):
        image = Image.new("RGB", (180 + 20 * number, 44), (250, 245, 240))
        ImageDraw.Draw(image).text((12, 8), f"Invoice No. {number * 137}", fill=(20, 20, 20 + 30 * number), font_size=24)
        image = image.rotate(180) if turned else image
        image.save(os.path.join(folder, f"line{number}.png"))
        pixels = numpy.asarray(image.resize((192, 48), Image.Resampling.BILINEAR), numpy.float32)
        samples.append(((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1))
samples = numpy.stack(samples)
numpy.savez(os.path.join(root, "lines.npz"), x=samples)
numpy.savez(os.path.join(root, "other.npz"), y=samples)
numpy.save(os.path.join(root, "grey.npy"), samples[:, :1])
print(json.dumps({"samples": len(samples)}))
`;

/** Of each IR: how many of its answers to the samples agree with the original's, and the least cosine of any. */
const COMPARE = `
import json, sys
import numpy, onnxruntime, openvino
samples = numpy.load(sys.argv[1])["x"]
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
core = openvino.Core()
found = []
for path in sys.argv[3:]:
    model = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    cosines, agreed = [], 0
    for sample in samples[:, None]:
        one = session.run(None, {"x": sample})[0].ravel()
        other = model([sample])[0].ravel()
        cosines.append(float(one @ other / numpy.linalg.norm(one) / numpy.linalg.norm(other)))
        agreed += int(one.argmax() == other.argmax())
    found.append({"cosine": min(cosines), "agreed": agreed})
print(json.dumps(found))
`;

let converting: ConvertingWorld;
let world: World;
let classifier: string;
let lines: string;
let arrays: string;
const RANGE = ['--set', 'image-range=0..1', '--set', 'image-mean=0.5', '--set', 'image-scale=0.5'];
const IMAGES = ['--set', 'image-size=48x192', ...RANGE];

beforeAll(async () => {
  converting = await createConvertingWorld();
  ({ world } = converting);
  if (!PYTHON) return;
  classifier = await converting.copyOf(CLASSIFIER, 'classifier.onnx');
  await converting.python(MAKE_DATA, world.directory);
  lines = join(world.directory, 'lines');
  arrays = join(world.directory, 'lines.npz');
}, 600_000);

afterAll(() => converting.remove());

describe('modeldl convert --calibration', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('quantizes weights and activations with images and with arrays, near the original', async () => {
    const cases = [
      ['None', lines, IMAGES],
      ['mixed', arrays, ['--set', 'preset=mixed']],
    ] as const;
    const made = await inPairs(cases, ([, data, flags]) =>
      converting.convert(classifier, '--precision', 'int8', '--calibration', data, ...flags),
    );
    for (const [[preset], model] of made) {
      expect(model).toMatchObject({ converter: 'nncf', check: { passed: true, compared: true } });
      const ir = await irOf(model.path);
      expect(ir.match(/type="FakeQuantize"/g)?.length).toBeGreaterThan(10);
      expect((await weightTypes(model.path))['i8']).toBeGreaterThan(0.5);
      expect(ir.includes(world.directory)).toBe(false);
      expect(/<preset value="(\w+)"/.exec(ir)?.[1]).toBe(preset);
    }
    const results = made.map(([, { path }]) => join(path, 'classifier.xml'));
    const near = await converting.python(COMPARE, arrays, classifier, ...results);
    expect(near).toMatchObject([{ agreed: 8 }, { agreed: 8 }]);
    for (const { cosine } of near as { cosine: number }[]) expect(cosine).toBeGreaterThan(0.97);
  }, 300_000);

  test('is stored by the content of its data, wherever they lie', async () => {
    const flags = ['--precision', 'int8', ...IMAGES, '--calibration'];
    const first = await converting.convert(classifier, ...flags, lines);
    const moved = join(world.directory, 'moved');
    await cp(lines, moved, { recursive: true });
    expect(await converting.convert(classifier, ...flags, moved)).toMatchObject({
      cached: true,
      key: first.key,
    });
    await cp(join(lines, 'turned', 'line0.png'), join(moved, 'upright', 'line0.png'));
    const plan = await world.run('convert', classifier, ...flags, moved, '--dry-run');
    expect(plan.stdout).not.toContain('(stored)');
    expect(plan.stdout).toContain('quantize weights and activations to int8 with 8 of 8 images');
    const without = await world.run('convert', classifier, '--precision', 'int8', '--dry-run');
    expect(without.stdout).toContain('(activations stay; `--calibration DATA` quantizes them too)');
  });

  const unreadable = async (): Promise<string> => {
    const folder = join(world.directory, 'unreadable');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'torn.jpg'), 'no picture');
    return folder;
  };
  test('is refused for data and layers that do not fit, and leaves nothing', async () => {
    const cases = [
      [await unreadable(), IMAGES, 'cannot read the image torn.jpg', 'take it out'],
      [lines, RANGE, 'leaves its height or width open', 'image-size'],
      [join(world.directory, 'other.npz'), [], 'other.npz holds y', 'x [?,3,?,?]'],
      [join(world.directory, 'grey.npy'), [], '[8, 1, 48, 192]', 'first axis'],
      [arrays, ['--set', 'ignored-names=nowhere'], "names ['nowhere']", 'as the IR does'],
    ] as const;
    const runs = await inPairs(cases, ([data, flags]) => {
      const given = ['--precision', 'int8', '--device', 'GPU', ...flags];
      return world.run('convert', classifier, ...given, '--calibration', data);
    });
    for (const [[, , message, hint], run] of runs) {
      expect(run.exitCode).toBe(2);
      expect(run.stderr).toContain(message);
      expect(run.stderr).toContain(hint);
    }
    expect((await world.run('path', classifier, '--device', 'GPU')).exitCode).toBe(3);
  }, 300_000);
});

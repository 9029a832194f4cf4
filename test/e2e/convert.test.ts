/** Conversions of real models with the real toolchain, which is built once per machine. */
import { copyFile, mkdir, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { openvino } from '../../converters/openvino.js';
import type { CheckReport } from '../../src/converter.js';
import { converterContext } from '../helpers/interpreter.js';
import type { World } from '../helpers/program.js';
import {
  createConvertingWorld,
  modelOf,
  PYTHON,
  weightTypes,
  type ConvertingWorld,
} from '../helpers/real-toolchain.js';
import { requirePeer } from '../helpers/require.js';
import { temporaryDirectory, temporaryStore } from '../helpers/store.js';

const OCR = 'pypi:rapidocr-onnxruntime@1.4.4//rapidocr_onnxruntime/models';
const DETECTOR = `${OCR}/ch_PP-OCRv4_det_infer.onnx`;
const SILERO = 'npm:@ricky0123/vad-web@0.0.24//dist';

let world: World;
let shared: World;
let toolchain: string;
let detector: string;
let copyOf: ConvertingWorld['copyOf'];
let convert: ConvertingWorld['convert'];
let remove: ConvertingWorld['remove'];

beforeAll(async () => {
  ({ world, shared, toolchain, copyOf, convert, remove } = await createConvertingWorld());
  if (PYTHON) detector = await copyOf(DETECTOR, 'detector.onnx');
}, 600_000);

afterAll(() => remove());

describe('modeldl convert', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('makes an IR of a real model that is pulled for it, and says which versions did', async () => {
    const run = await shared.run('convert', DETECTOR, '--precision', 'int8', '--force', '--json');
    expect(modelOf(run)).toMatchObject({
      converter: 'nncf',
      device: 'CPU',
      toolchain: { name: 'openvino', versions: { openvino: '2026.4.1', nncf: '3.4.0' } },
    });
  });

  for (const [precision, type, least, most] of [
    ['fp32', 'f32', 0.95, 1.1],
    ['fp16', 'f16', 0.95, 0.6],
    ['int8', 'u8', 0.9, 0.4],
  ] as const) {
    test(`makes ${precision} weights of ${type} when asked to, and compares with onnxruntime`, async () => {
      const model = await convert(detector, '--precision', precision);
      expect(model.precision).toBe(precision);
      expect((await weightTypes(model.path))[type]).toBeGreaterThan(least);
      expect(model.bytes).toBeLessThan((await stat(detector)).size * most);
      expect(model.check).toMatchObject({ passed: true, compared: true });
      expect(model.check?.outputs[0]?.cosine).toBeGreaterThan(0.97);
      const names = await readdir(model.path);
      expect(names.sort()).toEqual(['detector.bin', 'detector.xml']);
      const ir = await readFile(join(model.path, 'detector.xml'), 'utf8');
      expect(ir).not.toContain(world.directory);
    });
  }

  test('says that int4 was asked for and no layer could have it', async () => {
    const run = await world.run('convert', detector, '--precision', 'int4', '--json');
    const model = modelOf(run);
    const types = await weightTypes(model.path);
    expect(types).not.toHaveProperty('u4');
    expect(types['u8']).toBeGreaterThan(0.9);
    expect(run.stderr).toContain('No layer could be compressed to int4; its weights are int8');
  });

  test('makes int4 weights where layers take them, by settings', async () => {
    const magika = await copyOf('pypi:magika@1.0.3//magika/models/standard_v3_3/model.onnx', 'magika.onnx');
    const settings = ['--set', 'group-size=-1', '--set', 'all-layers', '--set', 'sym'];
    const model = await convert(magika, '--precision', 'int4', ...settings);
    expect((await weightTypes(model.path))['i4']).toBeGreaterThan(0.05);
    expect(model.check).toMatchObject({ passed: true, compared: true });
    const int8 = await convert(magika, '--precision', 'int8');
    expect(model.bytes).toBeLessThan(int8.bytes);
  });

  test('takes TensorFlow Lite, and compares with its own runtime', async () => {
    const tflite = await copyOf(
      'npm:@mediapipe/face_detection@0.4.1657300184//face_detection_short_range.tflite',
      'face.tflite',
    );
    const fp16 = await convert(tflite, '--precision', 'fp16');
    expect(fp16.check).toMatchObject({ passed: true, compared: true, warnings: [] });
    for (const { cosine } of fp16.check?.outputs ?? []) expect(cosine).toBeGreaterThan(0.9999);
    expect(fp16.check?.outputs.map(({ name }) => name)).toEqual(['regressors', 'classificators']);
    expect((await weightTypes(fp16.path))['f16']).toBeGreaterThan(0.9);
    const int8 = await convert(tflite, '--precision', 'int8');
    expect((await weightTypes(int8.path))['u8']).toBeGreaterThan(0.5);
  });

  test('takes an IR by its path, and compares with that', async () => {
    const fp32 = await convert(detector, '--precision', 'fp32');
    const again = await convert(fp32.path, '--precision', 'int8');
    expect((await weightTypes(again.path))['u8']).toBeGreaterThan(0.9);
    expect(again.check).toMatchObject({ passed: true, compared: true });
    const direct = await convert(detector, '--precision', 'int8');
    expect(again.bytes).toBeGreaterThan(direct.bytes * 0.95);
    expect(again.bytes).toBeLessThan(direct.bytes * 1.05);
  });

  test('takes a stored conversion by its reference', async () => {
    const fp32 = await convert(detector, '--precision', 'fp32');
    const name = `${detector}+fp32-cpu`;
    const run = await world.run('convert', name, '--precision', 'fp16', '--device', 'GPU', '--json');
    const again = modelOf(run);
    expect((await weightTypes(again.path))['f16']).toBeGreaterThan(0.95);
    expect(again.reference).toBe(fp32.reference.replace(/fp32-cpu$/, 'fp16-gpu'));
    expect(JSON.parse(run.stdout)).toMatchObject({ models: [{ origin: { reference: fp32.reference } }] });
    expect((await world.run('path', `${detector}+fp16-gpu`)).stdout).toBe(again.path);
    const absent = await world.run('convert', `${detector}+nf4-cpu`, '--precision', 'fp16');
    expect(absent.exitCode).toBe(3);
  });

  test('says that weights which are compressed already stay so', async () => {
    const int8 = await convert(detector, '--precision', 'int8');
    const run = await world.run('convert', int8.path, '--precision', 'fp16', '--json');
    expect((await weightTypes(modelOf(run).path))['u8']).toBeGreaterThan(0.9);
    expect(run.stderr).toContain('Most weights of the original are compressed to int8 and stay so');
  });

  test('finds sizes for what a model leaves open by what its original runs with', async () => {
    // A height of 48 only, and sound of some length with one state per batch.
    const recognizer = await copyOf(`${OCR}/ch_PP-OCRv4_rec_infer.onnx`, 'recognizer.onnx');
    const silero = await copyOf(`${SILERO}/silero_vad_legacy.onnx`, 'silero.onnx');
    for (const file of [recognizer, silero]) {
      const { check } = await convert(file, '--precision', 'fp32');
      expect(check).toMatchObject({ passed: true, compared: true, warnings: [] });
    }
  });

  test('names the operations that OpenVINO refuses, and why', async () => {
    const silero = await copyOf(`${SILERO}/silero_vad_v5.onnx`, 'silero5.onnx');
    const run = await world.run('convert', silero, '--precision', 'fp16');
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain(
      "operation Conv, ReduceMean (The input data tensor's rank has to be known (static))",
    );
  });

  const DAMAGED = 'is damaged, or of another format than its name says';
  for (const [what, bytes, cause] of [
    ['a truncated file', async () => (await readFile(detector)).subarray(0, 1_000_000), DAMAGED],
    ['an empty file', () => Promise.resolve(Buffer.alloc(0)), 'is empty'],
    ['a text', () => Promise.resolve(Buffer.from('hello world')), DAMAGED],
  ] as const) {
    test(`fails on ${what} named .onnx with the log and its cause`, async () => {
      const name = `${what.replaceAll(' ', '-')}.onnx`;
      const file = join(world.directory, name);
      await writeFile(file, await bytes());
      const run = await world.run('convert', file, '--precision', 'fp16');
      expect(run.exitCode).toBe(8);
      expect(run.stderr).toContain(` failed: ${name} ${cause}\n`);
      const log = /hint: .*, and copy it again; the log is (.+)/.exec(run.stderr)?.[1];
      expect(await readFile(log ?? 'none', 'utf8')).toContain('Traceback');
    });
  }
});

describe('the check of a result', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  /** Checks an IR of the detector whose weights, of so many bytes or more, were replaced. */
  async function checkWith(
    replaced: (weights: Float32Array) => void,
    leastBytes = 10_000,
  ): Promise<CheckReport> {
    const fp32 = await convert(detector, '--precision', 'fp32');
    const outDir = await temporaryDirectory();
    const ir = await readFile(join(fp32.path, 'detector.xml'), 'utf8');
    const bytes = await readFile(join(fp32.path, 'detector.bin'));
    for (const [, offset, size] of ir.matchAll(
      /<data element_type="f32"[^>]* offset="(\d+)" size="(\d+)"/g,
    )) {
      if (Number(size) < leastBytes) continue;
      const weights = new Float32Array(Number(size) / 4);
      const part = Buffer.from(weights.buffer);
      bytes.copy(part, 0, Number(offset), Number(offset) + Number(size));
      replaced(weights);
      part.copy(bytes, Number(offset));
    }
    await writeFile(join(outDir, 'detector.xml'), ir);
    await writeFile(join(outDir, 'detector.bin'), bytes);
    const files = [{ path: 'detector.onnx', bytes: 1, sha256: '' }];
    const root = dirname(detector);
    const text = (): Promise<undefined> => Promise.resolve(undefined);
    const model = {
      reference: 'file:./detector.onnx',
      hub: 'file',
      id: '',
      name: 'detector',
      root,
      files,
      metadata: {},
      text,
    };
    const request = { precision: 'fp32', device: 'CPU', settings: {} } as const;
    const plan = await openvino.plan(model, {
      ...request,
      trustPickle: false,
      trustRemoteCode: false,
      offline: false,
    });
    if ('refused' in plan) throw new Error(plan.refused);
    const interpreters = { openvino: join(toolchain, 'bin', 'python') };
    const context = await converterContext(await temporaryStore(), { settings: { interpreters } });
    return openvino.check(model, plan, outDir, context);
  }

  test('passes what is right', async () => {
    expect(await checkWith(() => undefined)).toMatchObject({ passed: true, compared: true, warnings: [] });
  });

  test('fails another model', async () => {
    const report = await checkWith((weights) => weights.reverse());
    expect(report.passed).toBe(false);
    expect(report.reason).toContain("far from the original's");
  });

  test('fails what is not finite', async () => {
    // In the last layers too: the limits of activations before them swallow it.
    const report = await checkWith((weights) => weights.fill(NaN), 100);
    expect(report).toMatchObject({ passed: false, reason: 'an output is not finite' });
  });
});

describe('a stored conversion', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('is handed out without Python or the toolchain, until it is forced', async () => {
    const first = await convert(detector, '--precision', 'fp16');
    const away = `${toolchain}.away`;
    await rename(toolchain, away);
    try {
      const bare = { PATH: join(world.directory, 'nothing') };
      const flags = ['convert', detector, '--precision', 'fp16', '--no-install', '--json'];
      const again = modelOf(await world.runWith(bare, ...flags));
      expect(again).toMatchObject({ cached: true, path: first.path, key: first.key });
      const forced = await world.runWith(bare, ...flags, '--force');
      expect(forced.exitCode).toBe(9);
    } finally {
      await rename(away, toolchain);
    }
    const before = await stat(join(first.path, 'detector.xml'));
    const forced = await convert(detector, '--precision', 'fp16', '--force');
    expect(forced).toMatchObject({ cached: false, path: first.path, key: first.key });
    expect((await stat(join(first.path, 'detector.xml'))).size).toBe(before.size);
  });

  test('is found again when more of its model was pulled since', async () => {
    const folder = join(world.directory, 'folder');
    await mkdir(folder, { recursive: true });
    await copyFile(detector, join(folder, 'model.onnx'));
    await writeFile(join(folder, 'notes.txt'), 'not read');
    const first = await convert('./folder', '--precision', 'fp16');
    expect((await world.run('pull', './folder')).exitCode).toBe(0);
    const again = await convert('./folder', '--precision', 'fp16');
    expect(again).toMatchObject({ cached: true, path: first.path, key: first.key });
    const shown = await world.run('show', './folder', '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({
      models: [{ kind: 'pulled', conversions: [{ precision: 'fp16' }] }],
    });
  });

  test('that was not checked is checked when a check is wanted', async () => {
    const file = join(world.directory, 'unchecked.onnx');
    await copyFile(detector, file);
    const unchecked = await convert(file, '--precision', 'fp32', '--no-check');
    expect(unchecked.check).toBeNull();
    expect(await convert(file, '--precision', 'fp32', '--no-check')).toMatchObject({
      cached: true,
      check: null,
    });
    const checked = await convert(file, '--precision', 'fp32');
    expect(checked).toMatchObject({ cached: true, path: unchecked.path, check: { compared: true } });
    const shown = await world.run('show', `${file}+fp32-cpu`, '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({
      models: [{ check: { passed: true, compared: true } }],
    });
  });

  test('warns each time that it falls short of its precision', async () => {
    const flags = ['convert', detector, '--precision', 'int8', '--json'];
    const first = await world.run(...flags);
    const second = await world.run(...flags);
    expect(modelOf(second)).toMatchObject({ cached: true, check: { passed: true } });
    for (const { stderr } of [first, second]) {
      expect(stderr).toContain('expected of int8 is a cosine of at least 0.99');
    }
  });

  test('is written to a directory of its own', async () => {
    const output = join(world.directory, 'out');
    const run = await world.run('convert', detector, '--precision', 'fp16', '-o', output);
    expect(run.stdout).toBe(output);
    expect((await readdir(output)).sort()).toEqual(expect.arrayContaining(['detector.bin', 'detector.xml']));
  });

  test('is seen by list, show and path, and a plan says that it is stored', async () => {
    const int8 = await convert(detector, '--precision', 'int8');
    expect((await world.run('path', `${detector}+int8-cpu`)).stdout).toBe(int8.path);
    expect((await world.run('path', `${detector}+${int8.key.slice(0, 8)}`)).stdout).toBe(int8.path);
    expect((await world.run('path', detector, '--precision', 'int8')).stdout).toBe(int8.path);
    expect((await world.run('list')).stdout).toContain(`${int8.reference} `);
    const shown: unknown = JSON.parse((await world.run('show', detector, '--json')).stdout);
    expect(shown).toMatchObject({
      models: [
        {
          kind: 'pulled',
          conversions: expect.arrayContaining([
            expect.objectContaining({ path: int8.path, precision: 'int8', device: 'CPU' }),
          ]) as unknown,
        },
      ],
    });
    const plan = await world.run('convert', detector, '--precision', 'int8', '--dry-run');
    expect(plan.stdout).toContain(`${int8.reference} (stored)`);
  });

  test('shares its name with another: all that match are listed', async () => {
    const plain = await convert(detector, '--precision', 'int8');
    const symmetric = await convert(detector, '--precision', 'int8', '--set', 'sym');
    expect(symmetric.path).not.toBe(plain.path);
    const run = await world.run('path', `${detector}+int8-cpu`);
    expect(run.exitCode).toBe(2);
    for (const { key } of [plain, symmetric]) expect(run.stderr).toContain(`+${key.slice(0, 8)}`);
    expect((await world.run('path', `${detector}+${symmetric.key.slice(0, 8)}`)).stdout).toBe(symmetric.path);
  });
});

describe('what is asked of a conversion', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('is shown as a plan, without converting', async () => {
    const flags = ['--precision', 'int4', '--device', 'GPU', '--set', 'ratio=0.8', '--dry-run'];
    const run = await world.run('convert', detector, ...flags, '--json');
    expect(JSON.parse(run.stdout)).toMatchObject({
      ok: true,
      models: [
        {
          converter: 'nncf',
          precision: 'int4',
          device: 'GPU',
          toolchain: { name: 'openvino', state: 'installed', downloadBytes: 0 },
          settings: { compression: { mode: 'INT4_ASYM', ratio: 0.8 } },
          stored: false,
        },
      ],
    });
    expect((await world.run('path', detector, '--precision', 'int4', '--device', 'GPU')).exitCode).toBe(3);
  });

  for (const [flags, code, message] of [
    [['--precision', 'int4', '--set', 'groupsize=64'], 2, 'the nearest is `--set group-size=…`'],
    [['--precision', 'int4', '--set', 'ratio=2'], 2, 'Expected a number from 0 to 1 for --set ratio, got 2'],
    [['--precision', 'int8', '--set', 'ratio=0.5'], 2, '`--set ratio` has no meaning with int8'],
    [['--precision', 'fp16', '--set', 'sym'], 2, '`--set sym` has no meaning with fp16'],
    [['--precision', 'fp8'], 2, 'Unknown precision: fp8'],
    [['--device', 'TPU'], 2, 'Unknown device: TPU'],
    [['--precision', 'int4', '--device', 'NPU'], 9, 'use `--precision int8`'],
    [['--calibration', 'images'], 2, 'no such file or folder'],
  ] as const) {
    test(`is refused when it is ${flags.join(' ')}`, async () => {
      const run = await world.run('convert', detector, ...flags);
      expect(run.exitCode).toBe(code);
      expect(run.stderr).toContain(message);
    });
  }
});

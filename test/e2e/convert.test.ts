/** The README's first command, with the real toolchain; it is built once per machine. */
import { readFile, readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const CACHE = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
const REFERENCE = 'pypi:rapidocr-onnxruntime//rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx';

let world: World;

beforeAll(async () => {
  world = await createWorld({ MODELDL_CACHE_DIR: join(CACHE, 'converted') });
});

afterAll(async () => {
  await world.remove();
});

describe('modeldl convert', () => {
  const test = requirePeer('python3 with pip', hasProgram('python3', ['-m', 'pip', '--version']));

  test('makes an int8 IR of a real model, runs it, and finds it stored the second time', async () => {
    const first = await world.run('convert', REFERENCE, '--precision', 'int8', '--force', '--json');
    expect(first.stderr).not.toContain('error:');
    const document: unknown = JSON.parse(first.stdout);
    expect(document).toMatchObject({
      ok: true,
      models: [
        {
          converter: 'nncf',
          precision: 'int8',
          device: 'CPU',
          toolchain: { name: 'openvino', versions: { openvino: '2026.4.1' } },
          check: { passed: true, compared: true },
        },
      ],
    });
    const again = await world.run('convert', REFERENCE, '--precision', 'int8');
    expect(again.exitCode).toBe(0);
    expect((await readdir(again.stdout)).sort()).toEqual([
      'ch_PP-OCRv4_det_infer.bin',
      'ch_PP-OCRv4_det_infer.xml',
    ]);
    const ir = await readFile(join(again.stdout, 'ch_PP-OCRv4_det_infer.xml'), 'utf8');
    expect(ir).not.toContain(dirname(again.stdout));
  }, 600_000);

  test('names the operation that OpenVINO refuses', async () => {
    const run = await world.run(
      'convert',
      'npm:@ricky0123/vad-web@0.0.24//dist/silero_vad_v5.onnx',
      '--precision',
      'fp16',
    );
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain('operation Conv');
  }, 600_000);
});

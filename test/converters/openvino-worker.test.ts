/** The Python worker by itself, with a stand-in for the `openvino` package. */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { describe, expect } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { temporaryDirectory } from '../helpers/store.js';

/** Starts the worker with a request; wrapped, since a subprocess is a promise of its end. */
async function start(convertModel: string, content = 'onnx') {
  const directory = await temporaryDirectory();
  const lines = [
    'import threading',
    '__version__ = "2026.4.1-1-abc"',
    'class Model:',
    '    def has_rt_info(self, path): return False',
    '    def get_ops(self): return []',
    'def convert_model(path):',
    `    ${convertModel}`,
    'def save_model(model, path, compress_to_fp16): open(path, "w").close()',
  ];
  await writeFile(join(directory, 'openvino.py'), lines.join('\n'));
  const input = join(directory, 'model.onnx');
  await writeFile(input, content);
  const worker = execa('python3', ['-u', assetPath('python', 'openvino_worker.py')], {
    env: { PYTHONPATH: directory, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
    reject: false,
  });
  const output = join(directory, 'model.xml');
  worker.stdin.write(`${JSON.stringify({ job: 'convert', input, output, precision: 'fp32' })}\n`);
  return { worker };
}

function eventsOf(text: unknown): unknown[] {
  return String(text)
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line));
}

describe('openvino_worker.py', () => {
  const test = requirePeer('python3', hasProgram('python3'));

  test('ends with its result while the request pipe is still open', async () => {
    const { worker } = await start('return Model()');
    const { exitCode, stderr, stdio } = await worker;
    expect(stderr).toBe('');
    expect(exitCode).toBe(0);
    expect(eventsOf(stdio[3])).toEqual([
      { type: 'stage', stage: 'Reading the model' },
      { type: 'stage', stage: 'Writing the IR' },
      { type: 'result', versions: { openvino: '2026.4.1' }, warnings: [] },
    ]);
  });

  test('ends when the request pipe closes, whatever it is busy with', async () => {
    const { worker } = await start('threading.Event().wait()');
    for await (const line of worker.iterable({ from: 'fd3' })) {
      expect(line).toContain('Reading the model');
      worker.stdin.end();
    }
    expect((await worker).exitCode).toBe(2);
  });

  test('reports what a library throws, with the traceback in the log', async () => {
    const { worker } = await start('raise ValueError("no such opset")');
    const { exitCode, stderr, stdio } = await worker;
    expect(exitCode).toBe(1);
    expect(eventsOf(stdio[3]).at(-1)).toEqual({
      type: 'error',
      kind: 'ValueError',
      message: 'no such opset',
    });
    expect(stderr).toContain('Traceback');
  });

  for (const [said, content, message] of [
    [
      'Cannot recognize input model.',
      'cut',
      'model.onnx is damaged, or of another format than its name says',
    ],
    ['Cannot recognize input model.', '', 'model.onnx is empty'],
    ['FrontEnd API failed: corrupted or malformed', 'cut', 'FrontEnd API failed: corrupted or malformed'],
  ] as const) {
    test(`tells a damaged file, of which OpenVINO says: ${said} (${content})`, async () => {
      const { worker } = await start(`raise RuntimeError(${JSON.stringify(said)})`, content);
      const { stderr, stdio } = await worker;
      expect(eventsOf(stdio[3]).at(-1)).toEqual({ type: 'error', kind: 'Damaged', message });
      expect(stderr).toContain('Traceback');
    });
  }

  test('says when few of the weights, or none, are what was asked for', async () => {
    const cases = [
      [{ u4: 90, u8: 20, f32: 10 }, 'int4', {}],
      [{ u4: 10, u8: 90 }, 'int4', { group_size: -1 }],
      [{ u4: 10, u8: 90 }, 'int4', { ratio: 0.1 }],
      [{ u8: 90 }, 'int4', { ratio: 0.1 }],
      [{ u4: 1, f8e4m3: 16, u8: 98 }, 'cb4', { group_size: -1, all_layers: true }],
      [{ f32: 90 }, 'int8', {}],
      [{ i8: 90, f32: 90 }, 'int8', {}],
      [{ i8: 90, f32: 10 }, 'fp16', {}],
    ];
    const script = [
      'import json, sys',
      'sys.path.insert(0, sys.argv[1])',
      'from openvino_worker import weights_note',
      'print(json.dumps([weights_note(*case) for case in json.loads(sys.argv[2])]))',
    ].join('\n');
    const workers = dirname(assetPath('python', 'openvino_worker.py'));
    const { stdout } = await execa('python3', ['-I', '-B', '-c', script, workers, JSON.stringify(cases)]);
    expect(JSON.parse(stdout)).toEqual([
      null,
      'Only 18% of the compressed weights are int4, the others int8: `--set all-layers` may let more of them take it',
      null,
      'No layer could be compressed to int4; its weights are int8',
      'Only 2% of the compressed weights are cb4, the others int8',
      'No layer could be compressed to int8',
      null,
      expect.stringContaining('stay so: fp16 is for the others'),
    ]);
  });
});

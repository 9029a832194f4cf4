/** Conversion in openvino-node, with a stand-in for its native part. */
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { plainConverter } from '../../converters/openvino.js';
import { usableOpenvinoNode } from '../../converters/openvino-node.js';
import type { ConversionPlan, ConversionRequest, Converter, LocalModel } from '../../src/converter.js';
import { converterContext, writeStandInOpenvino, type TestConverterContext } from '../helpers/interpreter.js';
import { standInNode, type StandInModel } from '../helpers/stand-in-node.js';
import { temporaryDirectory, temporaryStore } from '../helpers/store.js';

const IMAGE: StandInModel = {
  inputs: [{ name: 'image', type: 'f32', dimensions: [-1, 3, -1, -1] }],
  factor: 2,
};

interface Job {
  readonly converter: Converter;
  readonly plan: ConversionPlan;
  readonly model: LocalModel;
  readonly outDir: string;
  readonly context: TestConverterContext;
}

async function prepare(
  name: string,
  content: string,
  request: Partial<ConversionRequest> = {},
  { installed = true, toolchain = false } = {},
): Promise<Job> {
  const from = await standInNode();
  const converter = plainConverter(async () => (installed ? usableOpenvinoNode(from, 'v22.1.0') : undefined));
  const root = await temporaryDirectory();
  await writeFile(join(root, name), content);
  const files = [{ path: name, bytes: content.length, sha256: 'a'.repeat(64) }];
  if (name.endsWith('.xml')) {
    await writeFile(join(root, name.replace('.xml', '.bin')), 'weights');
    files.push({ path: name.replace('.xml', '.bin'), bytes: 7, sha256: 'b'.repeat(64) });
  }
  const text = (): Promise<string> => readFile(join(root, name), 'utf8');
  const model: LocalModel = {
    reference: `file:./${name}`,
    hub: 'file',
    id: '',
    name: 'model',
    root,
    files,
    metadata: {},
    text,
  };
  const asked: ConversionRequest = {
    precision: 'fp16',
    device: 'CPU',
    settings: {},
    offline: false,
    trustRemoteCode: false,
    trustPickle: false,
    ...request,
  };
  const plan = await converter.plan(model, asked);
  if ('refused' in plan) throw new Error(plan.refused);
  const python = await writeStandInOpenvino(join(root, 'python'));
  const interpreters: Record<string, string> = toolchain ? { openvino: python } : {};
  const context = await converterContext(await temporaryStore(), { settings: { interpreters } });
  const outDir = join(context.workDir, '..', 'out');
  await mkdir(outDir);
  return { converter, plan, model, outDir, context };
}

const run = ({ converter, model, plan, outDir, context }: Job) => converter.run(model, plan, outDir, context);
const check = ({ converter, model, plan, outDir, context }: Job) =>
  converter.check(model, plan, outDir, context);
const notes = ({ context }: Job): readonly string[] =>
  context.events.flatMap((event) => (event.type === 'note' ? [event.message] : []));

describe('a plain conversion where openvino-node is there', () => {
  it('is made in it and checked in it, without Python', async () => {
    const job = await prepare('model.onnx', JSON.stringify(IMAGE));
    expect(job.plan).toMatchObject({
      settings: { runtime: { name: 'openvino-node', version: '2026.4.0' } },
      toolchainOptional: true,
    });
    expect(job.plan.steps.at(-1)).toBe('write model.xml and .bin with openvino-node 2026.4.0');
    expect(await run(job)).toEqual({
      versions: { openvino: '2026.4.0', 'openvino-node': '2026.4.0' },
      warnings: [],
    });
    expect((await readdir(job.outDir)).sort()).toEqual(['model.bin', 'model.xml']);
    expect(await readFile(join(job.outDir, 'model.xml'), 'utf8')).toContain('element_type="f16"');
    const report = await check(job);
    expect(report).toMatchObject({ passed: true, compared: false });
    expect(report.reason).toContain('no runtime for onnx');
    expect(report.outputs).toEqual([
      { name: 'out_image', shape: [1, 3, 224, 224], type: 'float32', finite: true },
    ]);
    expect(notes(job)).toEqual([]);
  });

  it('keeps 32 bits when asked to', async () => {
    const job = await prepare('model.onnx', JSON.stringify(IMAGE), { precision: 'fp32' });
    await run(job);
    expect(await readFile(join(job.outDir, 'model.xml'), 'utf8')).toContain('element_type="f32"');
  });

  it('compares with an IR, on sizes that both take', async () => {
    const sound: StandInModel = {
      inputs: [
        { name: 'sound', type: 'f32', dimensions: [[1, 4], -1] },
        { name: 'rate', type: 'i64', dimensions: [1] },
      ],
      factor: 0.5,
    };
    const job = await prepare('model.xml', JSON.stringify({ ...sound, lengths: [512, 1] }));
    await run(job);
    const same = await check(job);
    expect(same).toMatchObject({ passed: true, compared: true });
    expect(same.outputs[0]).toMatchObject({
      shape: [1, 512],
      maxDifference: 0,
      cosine: expect.closeTo(1, 6) as unknown,
    });
    expect(same.outputs[1]).toMatchObject({ shape: [1], type: 'int64' });
    const other = JSON.stringify({ ...sound, factor: -3, lengths: [512, 1] });
    await writeFile(join(job.outDir, 'model.xml'), other);
    expect(await check(job)).toMatchObject({
      passed: false,
      reason: expect.stringContaining('far from') as unknown,
    });
  });

  it('fails a result that is not finite, and says when no size fits', async () => {
    const job = await prepare('model.onnx', JSON.stringify(IMAGE));
    await writeFile(
      join(job.outDir, 'model.xml'),
      JSON.stringify({ ...IMAGE, factor: null }).replace('null', '1e999'),
    );
    expect(await check(job)).toMatchObject({ passed: false, reason: 'an output is not finite' });
    await writeFile(join(job.outDir, 'model.xml'), JSON.stringify({ ...IMAGE, lengths: [7] }));
    const unfit = await check(job);
    expect(unfit).toMatchObject({ passed: true, compared: false });
    expect(unfit.warnings).toEqual(['It was not run: no sizes were found that fit its open dimensions']);
  });

  it('says that weights which are compressed already stay so', async () => {
    const job = await prepare('model.onnx', JSON.stringify({ ...IMAGE, stored: 'u8' }));
    const { warnings } = await run(job);
    expect(warnings).toEqual([expect.stringContaining('compressed to int8 and stay so: fp16') as unknown]);
  });

  for (const [what, content] of [
    ['throws', 'no model at all'],
    ['crashes', 'crash'],
  ] as const) {
    it(`falls back on Python when it ${what}, with one note`, async () => {
      const job = await prepare('model.onnx', content, {}, { toolchain: true });
      expect(await run(job)).toMatchObject({ versions: { openvino: '2026.4.1' } });
      expect(await readFile(join(job.outDir, 'model.xml'), 'utf8')).toBe('network\n');
      expect(await check(job)).toMatchObject({ passed: true, compared: false });
      expect(notes(job)).toEqual([
        expect.stringContaining('openvino-node 2026.4.0 failed, so Python does it') as unknown,
      ]);
    });
  }

  it('is compared by Python where that is there already and has a runtime for the original', async () => {
    const checkedBy = async (name: string): Promise<string> => {
      const job = await prepare(name, JSON.stringify(IMAGE), {}, { toolchain: true });
      await run(job);
      const { outputs } = await check(job);
      expect(notes(job)).toEqual([]);
      // The stand-in for Python tells none.
      return outputs.length === 0 ? 'Python' : 'openvino-node';
    };
    expect(await checkedBy('model.onnx')).toBe('Python');
    expect(await checkedBy('model.tflite')).toBe('Python');
    expect(await checkedBy('model.pdmodel')).toBe('openvino-node');
    expect(await checkedBy('model.xml')).toBe('openvino-node');
  });

  it('is not made again in Python when it was interrupted', async () => {
    const job = await prepare('model.onnx', JSON.stringify(IMAGE));
    job.context.abort();
    await expect(run(job)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(notes(job)).toEqual([]);
  });

  it.each([
    ['without it', {}, false],
    ['with settings of inputs', { settings: { mean: '1' } }, true],
    ['for fixed shapes', { device: 'NPU' }, true],
  ] as const)('is made by Python %s', async (_when, request, installed) => {
    const { plan } = await prepare('model.onnx', JSON.stringify(IMAGE), request, { installed });
    expect(plan.settings).not.toHaveProperty('runtime');
    expect(plan.toolchainOptional).toBeUndefined();
  });
});

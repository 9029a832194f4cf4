import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ConversionPlan, Converter, Toolchain } from '../src/converter.js';
import { createModeldl, type Modeldl } from '../src/index.js';
import { builtInPlugins } from '../src/plugins.js';
import { temporaryDirectory } from './helpers/store.js';

/** More than any disk has. */
const HUGE = 2 ** 60;

const toolchain: Toolchain = {
  name: 'none',
  title: 'nothing',
  downloadBytes: 0,
  digest: () => Promise.resolve('none'),
  status: () => Promise.resolve({ state: 'installed', versions: {} }),
  ensure: () => Promise.resolve({ python: '/bin/false' }),
  remove: () => Promise.resolve(0),
};

/** Writes one small file, whatever it expected. */
function converter(estimate: ConversionPlan['estimate']): Converter {
  return {
    name: 'small',
    accepts: 'everything',
    makes: 'a word',
    toolchain: toolchain.name,
    settings: {},
    plan: (_model, { precision, device }) =>
      Promise.resolve({
        converter: 'small',
        toolchain: toolchain.name,
        reads: [],
        precision,
        device,
        settings: {},
        steps: [],
        adjustments: [],
        estimate,
      }),
    run: async (_model, _plan, outDir) => {
      await writeFile(join(outDir, 'model.xml'), 'converted');
      return { versions: {}, warnings: [] };
    },
    check: () => Promise.resolve({ passed: true, compared: false, outputs: [], warnings: [] }),
  };
}

async function open(estimate: Partial<ConversionPlan['estimate']>, spaceCheck = true): Promise<Modeldl> {
  const cwd = await temporaryDirectory();
  await writeFile(join(cwd, 'model.onnx'), 'weights');
  const made = converter({ diskBytes: 1, resultBytes: 1, memoryBytes: 1, ...estimate });
  const modeldl = await createModeldl({
    cwd,
    home: cwd,
    environment: {},
    cacheDir: join(cwd, 'cache'),
    spaceCheck,
    plugins: { ...builtInPlugins(), converters: [made], toolchains: [toolchain] },
  });
  onTestFinished(() => modeldl.close());
  return modeldl;
}

describe('room for a conversion is looked for before it starts (promise 7)', () => {
  it('in the cache', async () => {
    const modeldl = await open({ diskBytes: HUGE });
    await expect(modeldl.convert('./model.onnx')).rejects.toMatchObject({
      code: 'DISK',
      message: expect.stringContaining('the conversion') as string,
      details: { neededBytes: HUGE },
    });
  });

  it('and for its output, in one sum', async () => {
    const modeldl = await open({ diskBytes: 1, resultBytes: HUGE });
    const output = join(await temporaryDirectory(), 'out');
    await expect(modeldl.convert('./model.onnx', { output })).rejects.toMatchObject({
      code: 'DISK',
      message: expect.stringContaining('the conversion and the output') as string,
    });
    // The origin is pulled by then, and not into the output.
    expect((await modeldl.list()).models.map(({ kind }) => kind)).toEqual(['pulled']);
  });

  it('unless the output is links, there is none, or the check is waived', async () => {
    const output = join(await temporaryDirectory(), 'out');
    const converted = { converter: 'small' };
    const modeldl = await open({ resultBytes: HUGE });
    await expect(modeldl.convert('./model.onnx')).resolves.toMatchObject(converted);
    const linking = await open({ resultBytes: HUGE });
    await expect(linking.convert('./model.onnx', { output, link: true })).resolves.toMatchObject(converted);
    const waiving = await open({ diskBytes: HUGE, resultBytes: HUGE }, false);
    await expect(waiving.convert('./model.onnx', { output, overwrite: true })).resolves.toMatchObject(
      converted,
    );
  });
});

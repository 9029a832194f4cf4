import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ConversionPlan } from '../src/converter.js';
import { createModeldl, type Modeldl } from '../src/index.js';
import { builtInPlugins } from '../src/plugins.js';
import { noToolchain, smallConverter } from './helpers/small-converter.js';
import { temporaryDirectory } from './helpers/store.js';

/** More than any disk has. */
const HUGE = 2 ** 60;

async function open(estimate: Partial<ConversionPlan['estimate']>, spaceCheck = true): Promise<Modeldl> {
  const cwd = await temporaryDirectory();
  await writeFile(join(cwd, 'model.onnx'), 'weights');
  const made = smallConverter([], { diskBytes: 1, resultBytes: 1, memoryBytes: 1, ...estimate });
  const modeldl = await createModeldl({
    cwd,
    home: cwd,
    environment: {},
    cacheDir: join(cwd, 'cache'),
    spaceCheck,
    plugins: { ...builtInPlugins(), converters: [made], toolchains: [noToolchain] },
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

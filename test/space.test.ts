import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ConversionPlan, Toolchain } from '../src/converter.js';
import { createModeldl, type Modeldl } from '../src/index.js';
import { builtInPlugins } from '../src/plugins.js';
import { noToolchain, smallConverter } from './helpers/small-converter.js';
import { temporaryDirectory } from './helpers/store.js';

/** More than any disk has. */
const HUGE = 2 ** 60;

async function open(
  estimate: Partial<ConversionPlan['estimate']>,
  spaceCheck = true,
  toolchain: Toolchain = noToolchain,
): Promise<Modeldl> {
  const cwd = await temporaryDirectory();
  await writeFile(join(cwd, 'model.onnx'), 'weights');
  const made = smallConverter([], { diskBytes: 1, resultBytes: 1, memoryBytes: 1, ...estimate });
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
    // Nothing of the model was taken in by then.
    expect((await modeldl.list()).models).toEqual([]);
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

  it('and for the toolchain, where that has to be installed', async () => {
    const installing = (bytes: number): Toolchain => ({
      ...noToolchain,
      status: () =>
        Promise.resolve({
          state: 'missing',
          versions: {},
          toInstall: {
            downloadBytes: 10,
            installedBytes: bytes,
            needs: [{ directory: '/', bytes, what: 'the toolchain `none`' }],
          },
        }),
      // It is not begun.
      ensure: () => Promise.reject(new Error('Expected no installation')),
    });
    const modeldl = await open({}, true, installing(HUGE));
    await expect(modeldl.convert('./model.onnx')).rejects.toMatchObject({
      code: 'DISK',
      message: expect.stringContaining('the toolchain `none`') as string,
    });
    expect((await modeldl.list()).models).toEqual([]);
    expect((await modeldl.planConvert('./model.onnx')).toolchain).toEqual({
      name: 'none',
      state: 'missing',
      downloadBytes: 10,
      installedBytes: HUGE,
    });
    const fitting = await open({}, true, installing(1));
    await expect(fitting.convert('./model.onnx')).resolves.toMatchObject({ converter: 'small' });
  });
});

describe('memory for a conversion is looked at before anything is fetched', () => {
  it('and too little is a refusal, in a plan as well, unless the check is waived', async () => {
    const refused = { code: 'UNSUPPORTED', message: expect.stringContaining('of memory') as string };
    const modeldl = await open({ memoryBytes: HUGE });
    await expect(modeldl.planConvert('./model.onnx')).rejects.toMatchObject(refused);
    await expect(modeldl.convert('./model.onnx')).rejects.toMatchObject(refused);
    expect((await modeldl.list()).models).toEqual([]);
    const waiving = await open({ memoryBytes: HUGE }, false);
    await expect(waiving.planConvert('./model.onnx')).resolves.toMatchObject({ converter: 'small' });
    await expect(waiving.convert('./model.onnx')).resolves.toMatchObject({ converter: 'small' });
    // What is stored needs none.
    await expect(waiving.planConvert('./model.onnx')).resolves.toMatchObject({ stored: true });
  });
});

import { mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ultralytics } from '../../converters/ultralytics.js';
import { copyCalibration, describeCalibration } from '../../converters/ultralytics/calibration.js';
import { exportSettings } from '../../converters/ultralytics/settings.js';
import { findWeights } from '../../converters/ultralytics/weights.js';
import { accepted, conversionRequest, plannedModel, refused } from '../helpers/planned-model.js';
import { temporaryDirectory } from '../helpers/store.js';

describe('findWeights', () => {
  it.each([
    [{ 'best.pt': 10 }, {}, 'best.pt'],
    [{ 'weights/best.pt': 10, 'README.md': 'text' }, {}, 'weights/best.pt'],
    [{ 'yolo11n.pt': 10, 'config.json': '{}' }, {}, 'yolo11n.pt'],
    [{ 'rtdetr-l.pt': 10, 'model.onnx': 5 }, {}, 'rtdetr-l.pt'],
    [{ 'anything.pt': 10, 'config.json': '{}' }, { hub: 'ultralytics' }, 'anything.pt'],
    [{ 'mine.PT': 10, 'model.onnx': 5 }, { metadata: { library: 'ultralytics' } }, 'mine.PT'],
  ])('takes %j', (files, facts, path) => {
    expect(findWeights(plannedModel(files, facts))).toMatchObject({ path });
  });

  it.each([
    [{ 'model.onnx': 10 }],
    [{ 'scheduler.pt': 10, 'config.json': '{}', 'model.safetensors': 10 }],
    [{ 'encoder.pt': 10, 'pytorch_model.bin': 10 }],
    [{ 'encoder.pt': 10, 'model.onnx': 10 }],
  ])('leaves %j to others', (files) => {
    expect(findWeights(plannedModel(files))).toMatchObject({ handlesModel: false });
  });

  it.each(['sam_b.pt', 'sam2.1_t.pt', 'mobile_sam.pt', 'yolo_nas_s.pt'])(
    'refuses %s of Ultralytics’ assets before it is fetched',
    (path) => {
      const facts = { hub: 'ultralytics', metadata: { library: 'ultralytics' } };
      const refusal = { refused: `Ultralytics exports no models like ${path}`, handlesModel: true };
      expect(findWeights(plannedModel({ [path]: 10 }, facts))).toMatchObject(refusal);
    },
  );

  it('asks which of several is meant', () => {
    expect(findWeights(plannedModel({ 'yolo11n.pt': 10, 'yolo11s.pt': 10 }))).toEqual({
      refused: 'it holds 2 models: yolo11n.pt, yolo11s.pt',
      hint: 'name one: `hf:org/tiny@0123//yolo11n.pt`',
      handlesModel: true,
    });
  });
});

describe('exportSettings', () => {
  const settingsOf = (settings: Record<string, string>, precision: 'fp16' | 'int8' = 'fp16') =>
    exportSettings({ precision, settings });

  it.each([
    [{}, {}],
    [{ imgsz: '320' }, { imgsz: 320 }],
    [
      { imgsz: '320,640', batch: '2' },
      { imgsz: [320, 640], batch: 2 },
    ],
    [
      { dynamic: 'true', nms: 'false' },
      { dynamic: true, nms: false },
    ],
    [
      { nms: 'true', conf: '0.1', iou: '0.5', max_det: '20', agnostic_nms: 'true' },
      { nms: true, conf: 0.1, iou: 0.5, max_det: 20, agnostic_nms: true },
    ],
  ])('reads %j', (given, expected) => {
    expect(settingsOf(given)).toEqual({ arguments: expected, modelInfo: {} });
  });

  it('reads what has a meaning for calibration only, and keys of model_info', () => {
    const given = { fraction: '0.5', split: 'test', 'model-info.confidence_threshold': '0.3' };
    expect(settingsOf(given, 'int8')).toEqual({
      arguments: { fraction: 0.5, split: 'test' },
      modelInfo: { confidence_threshold: '0.3' },
    });
  });

  it.each([
    [{ imgsize: '320' }, '`ultralytics` has no setting imgsize'],
    [{ simplify: 'true' }, '`ultralytics` has no setting simplify'],
    [{ half: 'true' }, '`ultralytics` has no setting half'],
    [{ constructor: 'true' }, '`ultralytics` has no setting constructor'],
    [{ imgsz: '0' }, 'Expected a number of pixels or height,width for --set imgsz, got 0'],
    [{ imgsz: '1,2,3' }, 'got 1,2,3'],
    [{ batch: '1.5' }, 'Expected a whole number above 0'],
    [{ fraction: '0.5' }, '`--set fraction` has no meaning with fp16'],
    [{ conf: '0.5' }, '`--set conf` has no meaning without `--set nms`'],
    [{ 'model-info.confidence_treshold': '1' }, 'model_info has no key confidence_treshold'],
  ])('refuses %j', (given, message) => {
    expect(() => settingsOf(given)).toThrow(message);
  });
});

describe('ultralytics.plan', () => {
  const model = plannedModel({ 'best.pt': 5_000_000 });

  it('reads the weights alone, and says so', async () => {
    const plan = accepted(await ultralytics.plan(model, conversionRequest({ precision: 'fp16' })));
    expect(plan).toMatchObject({ toolchain: 'ultralytics', reads: ['best.pt'], device: 'CPU' });
    expect(plan.steps[0]).toBe('load best.pt without running code of its pickle');
    expect(plan).not.toHaveProperty('consent');
  });

  it('records that the pickle is trusted', async () => {
    const request = conversionRequest({ precision: 'fp16', trustPickle: true });
    const plan = accepted(await ultralytics.plan(model, request));
    expect(plan.consent).toEqual(['the pickle in best.pt may run code']);
  });

  it('refuses int8 of what the hub says is calibrated for no task, before it is fetched', async () => {
    const request = conversionRequest({ precision: 'int8' });
    const files = { 'yolo26n-sem.pt': 10 };
    const facts = (task: string) => ({ hub: 'ultralytics', metadata: { library: 'ultralytics', task } });
    const refusal = refused(await ultralytics.plan(plannedModel(files, facts('semantic')), request));
    expect(refusal.refused).toContain('and this is one for semantic');
    const images = refused(await ultralytics.plan(plannedModel(files, facts('segment')), request));
    expect(images.refused).toContain('int8 needs images');
  });

  it.each([
    [{ precision: 'int4' }, 'YOLO models are not made in int4', '--precision int8'],
    [{ precision: 'int8' }, 'int8 needs images to calibrate a YOLO model with', '--calibration'],
    [{ precision: 'fp16', calibration: '/data' }, 'nothing is calibrated for fp16', '--precision int8'],
    [
      { precision: 'fp16', device: 'HETERO:NPU,CPU', settings: { dynamic: 'true' } },
      'the NPU runs vision models of a fixed size only',
      '--set dynamic',
    ],
  ] as const)('refuses %j', async (given, reason, hint) => {
    const refusal = refused(await ultralytics.plan(model, conversionRequest(given)));
    expect(refusal).toMatchObject({ refused: reason, handlesModel: true });
    expect(refusal.hint).toContain(hint);
  });

  it('has the digest of its images among what decides the result, but not their place', async () => {
    const planOf = async (calibration: string) =>
      accepted(await ultralytics.plan(model, conversionRequest({ precision: 'int8', calibration })));
    const one = await writeData({ 'a.jpg': 'first' });
    const same = await writeData({ 'a.jpg': 'first' });
    const other = await writeData({ 'a.jpg': 'second' });
    const { settings, calibration } = await planOf(one);
    expect(calibration).toBe(one);
    expect(JSON.stringify(settings)).not.toContain(dirname(one));
    expect((await planOf(same)).settings).toEqual(settings);
    expect((await planOf(other)).settings).not.toEqual(settings);
  });
});

/** A data set of images with these contents, and its yaml, whose path is returned. */
async function writeData(
  images: Readonly<Record<string, string>>,
  yaml = 'train: images\nval: images\nnames: [thing]\n',
): Promise<string> {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, 'images'));
  await mkdir(join(directory, 'labels'));
  for (const [name, content] of Object.entries(images)) {
    await writeFile(join(directory, 'images', name), content);
  }
  await writeFile(join(directory, 'data.yaml'), yaml);
  return join(directory, 'data.yaml');
}

describe('calibration data', () => {
  it('changes with labels and classes, not with comments, paths or what is not used', async () => {
    const sha256Of = async (yaml: string, labels?: string) => {
      const file = await writeData({ 'a.jpg': 'image', 'notes.txt': 'not an image' }, yaml);
      if (labels !== undefined) await writeFile(join(dirname(file), 'labels', 'a.txt'), labels);
      return (await describeCalibration(file, 'val')).sha256;
    };
    const plain = 'train: images\nval: images\nnames: [thing]\n';
    const first = await sha256Of(plain);
    expect(await sha256Of(`# a comment\npath: .\n${plain}download: http://example.org/x.zip\n`)).toBe(first);
    expect(await sha256Of('val: [images]\nnames:\n  0: thing\n')).toBe(first);
    expect(await sha256Of(plain.replace('thing', 'other'))).not.toBe(first);
    expect(await sha256Of(plain, '0 0.5 0.5 1 1')).not.toBe(first);
  });

  it('is copied as links, in order, without what Ultralytics would run', async () => {
    const file = await writeData(
      { 'b.png': 'second', 'a.png': 'first', 'cut.jpg': 'no end of a JPEG' },
      'path: .\nval: images\nnames: [thing]\nkpt_shape: [2, 3]\ndownload: rm -rf /\n',
    );
    await writeFile(join(dirname(file), 'labels', 'b.txt'), '0 0.5 0.5 1 1');
    const copy = join(await temporaryDirectory(), 'copy');
    const yaml = await copyCalibration(file, 'val', copy);
    const images = join(copy, 'images');
    expect(JSON.parse(await readFile(yaml, 'utf8'))).toEqual({
      names: ['thing'],
      kpt_shape: [2, 3],
      train: images,
      val: images,
    });
    expect((await readdir(images)).sort()).toEqual(['0.png', '1.png', '2.jpg']);
    expect(await readlink(join(images, '0.png'))).toBe(join(dirname(file), 'images', 'a.png'));
    // It would be mended through a link.
    await expect(readlink(join(images, '2.jpg'))).rejects.toThrow('EINVAL');
    expect(await readdir(join(copy, 'labels'))).toEqual(['1.txt']);
  });

  it('may list its images in a text', async () => {
    const file = await writeData({ 'a.jpg': 'one', 'b.jpg': 'two' }, 'val: list.txt\nnc: 2\n');
    await writeFile(join(dirname(file), 'list.txt'), './images/b.jpg\n');
    expect(await describeCalibration(file, 'val')).toMatchObject({
      kind: 'yaml',
      name: 'data.yaml',
      images: 1,
    });
  });

  it('is a folder of classes for classification', async () => {
    const folder = await temporaryDirectory();
    for (const path of ['val/dog/a.jpg', 'val/cat/b.jpg', 'train/cat/c.jpg']) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), path);
    }
    expect(await describeCalibration(folder, 'val')).toMatchObject({ kind: 'folder', images: 2 });
    const copy = join(await temporaryDirectory(), 'copy');
    expect(await copyCalibration(folder, 'val', copy)).toBe(copy);
    expect(await readdir(join(copy, 'val'))).toEqual(['cat', 'dog']);
    // Without an end of a JPEG these are copies.
    expect(await readFile(join(copy, 'val', 'cat', '0.jpg'), 'utf8')).toBe('val/cat/b.jpg');
  });

  it('is refused when a link to an image leads nowhere', async () => {
    const file = await writeData({ 'a.jpg': 'image' });
    await symlink('/nowhere/b.jpg', join(dirname(file), 'images', 'b.jpg'));
    await expect(describeCalibration(file, 'val')).rejects.toThrow(/there is no .*b\.jpg/);
    const folder = await temporaryDirectory();
    await mkdir(join(folder, 'val', 'cat'), { recursive: true });
    await symlink('/nowhere/b.jpg', join(folder, 'val', 'cat', 'b.jpg'));
    await expect(describeCalibration(folder, 'val')).rejects.toThrow(/there is no .*b\.jpg/);
  });

  it.each([
    ['names: [a]\n', 'it has no `val`'],
    ['val: images\n', 'it has neither `names` nor `nc`'],
    ['val: absent\nnames: [a]\n', 'there is no '],
    ['val: labels\nnames: [a]\n', 'there are no images in '],
    ['val: images\nnames: {0: a, 2: b}\n', 'the keys of `names` are not 0, 1, 2, …'],
    ['val: 5\nnames: [a]\n', 'val: expected'],
    ['val: [\n', 'is no data set to calibrate with'],
    ['just text', 'expected Object'],
  ])('is refused when it is %j', async (yaml, message) => {
    const file = await writeData({ 'a.jpg': 'image' }, yaml);
    const described = describeCalibration(file, 'val');
    await expect(described).rejects.toMatchObject({ code: 'USAGE' });
    await expect(described).rejects.toThrow(message);
  });

  it('is refused when it is not there, by what Ultralytics would fetch', async () => {
    const directory = await temporaryDirectory();
    await expect(describeCalibration(join(directory, 'coco128.yaml'), 'val')).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('have coco128 on the disk') as unknown,
    });
    await expect(describeCalibration(directory, 'val')).rejects.toThrow('it has no folder val');
  });
});

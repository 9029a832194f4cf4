/** YOLO models through the built program with the real toolchain, which is built once per machine. */
import { access, copyFile, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { format, resolveConfig } from 'prettier';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { startGithub } from '../helpers/github.js';
import { inPairs } from '../helpers/pairs.js';
import { createWorld, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import {
  calibrationOf,
  compareModels,
  exportByPeer,
  exportedTree,
  FAMILIES,
  IMAGE,
  makeModels,
  type Family,
  type PeerExport,
} from '../helpers/yolo.js';

const CACHE = process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test');
const PYTHON = hasProgram('python3', ['-m', 'pip', '--version']);
const NAMES = fileURLToPath(new URL('../../hubs/ultralytics/names.', import.meta.url));
const MAKE_BAD = fileURLToPath(new URL('../helpers/make_bad_yolo.py', import.meta.url));
const SIZE = ['--set', `imgsz=${IMAGE}`];

type Case = readonly [task: Family, precision: 'fp32' | 'fp16' | 'int8'];
/** Each family in one precision of floats, and one in both. */
const PLAIN: readonly Case[] = [
  ['detect', 'fp32'],
  ['detect', 'fp16'],
  ['segment', 'fp16'],
  ['pose', 'fp32'],
  ['obb', 'fp16'],
  ['classify', 'fp32'],
];
const QUANTIZED: readonly Case[] = [
  ['detect', 'int8'],
  ['segment', 'int8'],
  ['pose', 'int8'],
  ['obb', 'int8'],
  ['classify', 'int8'],
];

let shared: World;
/** Empty of conversions; its toolchain is that of `shared`. */
let world: World;
let python: string;
let differences: Readonly<Record<string, number>>;

beforeAll(async () => {
  shared = await createWorld({ MODELDL_CACHE_DIR: join(CACHE, 'converted') });
  world = await createWorld();
  if (!PYTHON) return;
  const installed = await shared.run('toolchain', 'install', 'ultralytics');
  expect(installed.stderr).not.toContain('error:');
  const toolchain = join(world.cacheDir, 'v1', 'toolchains', basename(installed.stdout));
  await mkdir(dirname(toolchain), { recursive: true });
  await symlink(installed.stdout, toolchain);
  python = join(toolchain, 'bin', 'python');
  differences = await makeModels(python, world.directory, Object.values(FAMILIES));
  await Promise.all([
    execa(python, ['-B', MAKE_BAD, world.directory]),
    exportByPeer(python, world.directory, [...PLAIN, ...QUANTIZED].map(peerExport)),
  ]);
}, 1_800_000);

afterAll(async () => {
  await world.remove();
  await shared.remove();
});

function peerExport([task, precision]: Case): PeerExport {
  const quantize = { fp32: undefined, fp16: 16, int8: 8 }[precision];
  const settings = {
    imgsz: IMAGE,
    ...(quantize === undefined ? {} : { quantize }),
    ...(precision === 'int8' ? { data: calibrationOf(world.directory, task) } : {}),
  };
  return { name: FAMILIES[task], directory: precision, settings };
}

/** What Ultralytics made of it. */
function peerOf([task, precision]: Case): string {
  const suffix = precision === 'int8' ? 'int8_openvino_model' : 'openvino_model';
  return join(world.directory, precision, `${FAMILIES[task]}_${suffix}`);
}

const converted = v.object({
  path: v.string(),
  converter: v.string(),
  key: v.string(),
  cached: v.boolean(),
  toolchain: v.object({ name: v.string(), versions: v.record(v.string(), v.string()) }),
  check: v.object({
    passed: v.boolean(),
    compared: v.boolean(),
    reason: v.optional(v.string()),
    warnings: v.array(v.string()),
    outputs: v.array(
      v.object({
        name: v.string(),
        cosine: v.optional(v.number()),
        maxDifference: v.optional(v.number()),
        magnitude: v.optional(v.number()),
      }),
    ),
  }),
});
const succeeded = v.object({ models: v.tuple([converted]) });

async function convert(model: string, ...flags: readonly string[]): Promise<v.InferOutput<typeof converted>> {
  const run = await world.run('convert', join(world.directory, model), ...flags, '--json');
  expect(run.stderr).not.toContain('error:');
  return v.parse(succeeded, JSON.parse(run.stdout)).models[0];
}

/** Everything that the worker was kept from, by the logs of all conversions so far. */
async function refusals(): Promise<readonly string[]> {
  const logs = join(world.cacheDir, 'v1', 'logs');
  const names = await readdir(logs);
  const texts = await Promise.all(names.map((name) => readFile(join(logs, name), 'utf8')));
  return texts
    .join('\n')
    .split('\n')
    .filter((line) => line.startsWith('refused to'));
}

const OUTPUTS: Readonly<Record<Family, readonly string[]>> = {
  detect: ['boxes', 'scores'],
  segment: ['boxes', 'scores', 'mask coefficients', 'mask prototypes'],
  pose: ['boxes', 'scores', 'keypoints'],
  obb: ['boxes', 'scores', 'angles'],
  classify: ['scores'],
};

describe('a YOLO model', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('of each family answers to its input, so that a comparison means something', () => {
    for (const name of Object.values(FAMILIES)) expect(differences[name]).toBeGreaterThan(1e-4);
  });

  test('becomes in fp32 and fp16 what Ultralytics itself makes, and answers as the original', async () => {
    const made = await inPairs(PLAIN, ([task, precision]) =>
      convert(`${FAMILIES[task]}.pt`, '--precision', precision, ...SIZE),
    );
    for (const [given, { converter, path, check }] of made) {
      const [task, precision] = given;
      const name = FAMILIES[task];
      expect(converter).toBe('ultralytics');
      const expected = await exportedTree(peerOf(given));
      expect(Object.keys(expected).sort()).toEqual(['metadata.yaml', `${name}.bin`, `${name}.xml`]);
      expect(await exportedTree(path)).toEqual(expected);
      expect(check).toMatchObject({ passed: true, compared: true });
      expect(check.outputs.map((output) => output.name)).toEqual(OUTPUTS[task]);
      for (const { cosine = 0, maxDifference = Infinity, magnitude = 0 } of check.outputs) {
        if (precision === 'fp32') expect(maxDifference / Math.max(1, magnitude)).toBeLessThan(1e-3);
        expect(cosine).toBeGreaterThan(precision === 'fp32' ? 0.999999 : 0.99);
      }
    }
    expect(await refusals()).toEqual([]);
  }, 600_000);

  test('is taken by its name from a release of Ultralytics, and is the same as from a file', async () => {
    const name = FAMILIES.classify;
    const weights = await readFile(join(world.directory, `${name}.pt`));
    const github = await startGithub({ releases: [{ tag: 'v8.4.0', assets: { [`${name}.pt`]: weights } }] });
    try {
      await world.run('config', 'set', 'hubs.ultralytics.endpoint', github.endpoint);
      const flags = ['--precision', 'fp32', ...SIZE, '--json'];
      const run = await world.run('convert', `ultralytics:${name}`, ...flags);
      expect(run.stderr).not.toContain('error:');
      const made = v.parse(succeeded, JSON.parse(run.stdout)).models[0];
      expect(made).toMatchObject({ converter: 'ultralytics', check: { passed: true, compared: true } });
      expect(await exportedTree(made.path)).toEqual(await exportedTree(peerOf(['classify', 'fp32'])));
      expect((await world.run('path', `ultralytics:${name}@v8.4.0+fp32-cpu`)).stdout).toBe(made.path);
      const asked = github.site.requests.length;
      const again = await world.run('convert', `ultralytics:${name}@v8.4.0`, ...flags);
      expect(v.parse(succeeded, JSON.parse(again.stdout)).models[0]).toMatchObject({ cached: true });
      expect(github.site.requests).toHaveLength(asked);
    } finally {
      await github.close();
    }
  }, 300_000);

  test('has a name that the hub knows as Ultralytics does', async () => {
    const env = { YOLO_OFFLINE: 'true', YOLO_VERBOSE: 'false', YOLO_CONFIG_DIR: world.directory };
    const { stdout } = await execa(python, ['-I', '-B', `${NAMES}py`], { env });
    const style = { ...(await resolveConfig(`${NAMES}ts`)), parser: 'typescript' };
    // Made anew with `npm run names`.
    expect(await readFile(`${NAMES}ts`, 'utf8')).toBe(await format(stdout, style));
  }, 300_000);

  test('is quantized to int8 with a data set of its task, as Ultralytics itself does', async () => {
    const made = await inPairs(QUANTIZED, ([task]) =>
      convert(
        `${FAMILIES[task]}.pt`,
        ...['--precision', 'int8', '--calibration', calibrationOf(world.directory, task), ...SIZE],
      ),
    );
    const compared = await compareModels(
      python,
      made.map(([given, { path }]) =>
        [path, peerOf(given)].map((at) => join(at, `${FAMILIES[given[0]]}.xml`)),
      ),
    );
    for (const [at, [given, { path, check }]] of made.entries()) {
      const ours = await exportedTree(path);
      const theirs = await exportedTree(peerOf(given));
      expect(Object.keys(ours)).toEqual(Object.keys(theirs));
      expect(ours['metadata.yaml']).toBe(theirs['metadata.yaml']);
      const metadata = await readFile(join(path, 'metadata.yaml'), 'utf8');
      expect(metadata).toContain(`data: ${basename(calibrationOf(world.directory, given[0]))}\n`);
      expect(Object.values(ours).join('')).not.toContain(world.directory);
      expect(compared[at]?.kinds).toEqual([['FakeQuantize'], ['FakeQuantize']]);
      expect(compared[at]?.cosines).not.toEqual([]);
      for (const cosine of compared[at]?.cosines ?? []) expect(cosine).toBeGreaterThan(0.99);
      expect(check).toMatchObject({ passed: true, compared: true });
    }
    expect(await refusals()).toEqual([]);
  }, 600_000);

  test('is the same conversion again with the same images elsewhere', async () => {
    const data = calibrationOf(world.directory, 'detect');
    const moved = join(world.directory, 'moved');
    await execa('cp', ['-r', dirname(data), moved]);
    const flags = ['--precision', 'int8', ...SIZE, '--calibration'];
    const first = await convert('yolo11n.pt', ...flags, data);
    const again = await convert('yolo11n.pt', ...flags, join(moved, 'data.yaml'));
    expect(again).toMatchObject({ cached: true, key: first.key });
  }, 300_000);

  test('gets keys of model_info that the export lacks, and keeps the others', async () => {
    const info = ['--set', 'model-info.confidence_threshold=0.3', '--set', 'model-info.iou_threshold=0.6'];
    const made = await convert('yolo11n.pt', '--precision', 'fp16', ...SIZE, ...info);
    const plain = await convert('yolo11n.pt', '--precision', 'fp16', ...SIZE);
    const ir = await readFile(join(made.path, 'yolo11n.xml'), 'utf8');
    expect(ir).toContain('<confidence_threshold value="0.3" />');
    expect(ir).toContain('<iou_threshold value="0.6" />');
    expect(ir).toContain('<resize_type value="fit_to_window_letterbox" />');
    const bin = (path: string): Promise<Buffer> => readFile(join(path, 'yolo11n.bin'));
    expect((await bin(made.path)).equals(await bin(plain.path))).toBe(true);
  }, 300_000);

  test('is exported with its settings, and says what became of them', async () => {
    const flags = ['--precision', 'fp16', '--set', 'imgsz=90,64', '--set', 'dynamic', '--set', 'nms'];
    const run = await world.run('convert', join(world.directory, 'yolo11n.pt'), ...flags, '--json');
    const made = v.parse(succeeded, JSON.parse(run.stdout)).models[0];
    expect(run.stderr).toContain('imgsz became 96,64: it has to be a multiple of the stride');
    expect(made.check).toMatchObject({ passed: true, compared: false });
    const metadata = await readFile(join(made.path, 'metadata.yaml'), 'utf8');
    expect(metadata).toContain('imgsz:\n- 96\n- 64\n');
    expect(metadata).toContain('  nms: true\n  dynamic: true\n');
  }, 300_000);

  test('may lie in a folder and be named as its exporter would not have it', async () => {
    const folder = join(world.directory, "a.pt.d's");
    await mkdir(folder);
    await copyFile(join(world.directory, 'yolo11n-cls.pt'), join(folder, "it's v5.pt"));
    const made = await convert("a.pt.d's", '--precision', 'fp16', '--set', 'imgsz=64');
    expect((await readdir(made.path)).sort()).toEqual(["it's v5.bin", "it's v5.xml", 'metadata.yaml']);
    expect(await readdir(folder)).toEqual(["it's v5.pt"]);
  }, 300_000);
});

describe('a .pt that is none', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  async function failureOf(model: string, ...flags: readonly string[]) {
    const run = await world.run('convert', join(world.directory, model), '--precision', 'fp16', ...flags);
    const nothing = await world.run('path', join(world.directory, model), '--precision', 'fp16');
    expect(nothing.exitCode).toBe(3);
    return run;
  }

  test('has no code of its pickle run', async () => {
    for (const [name, run] of await inPairs(['evil.pt', 'evil-legacy.pt'], failureOf)) {
      expect(run.exitCode).toBe(9);
      expect(run.stderr).toContain(
        `loading ${name} would run code: its pickle refers to posix.system (os.system)`,
      );
      expect(run.stderr).toContain('--trust-pickle');
    }
    await expect(access(join(world.directory, 'ran'))).rejects.toThrow('ENOENT');
  }, 300_000);

  test('is named for what it is, also when it was trusted and run', async () => {
    const files = [
      ['cut.pt', 8, 'cut.pt is empty, truncated or no PyTorch file'],
      ['empty.pt', 8, 'empty.pt is empty, truncated or no PyTorch file'],
      ['text.pt', 8, 'text.pt is empty, truncated or no PyTorch file'],
      ['state.pt', 9, 'state.pt is no YOLO model: it holds a dictionary with layer.weight'],
      ['script.pt', 9, 'script.pt is a TorchScript archive'],
      ['evil.pt', 9, 'evil.pt is no YOLO model, though its pickle was trusted', '--trust-pickle'],
    ] as const;
    const runs = await inPairs(files, ([name, , , ...flags]) => failureOf(name, ...flags));
    for (const [[, code, message], run] of runs) {
      expect(run.stderr).toContain(message);
      expect(run.exitCode).toBe(code);
    }
    await access(join(world.directory, 'ran'));
  }, 300_000);
});

describe('what does not fit a YOLO model', () => {
  const test = requirePeer('python3 with pip', PYTHON);

  test('is told before anything is loaded, or by what was loaded', async () => {
    const detect = calibrationOf(world.directory, 'detect');
    const cases = [
      ['yolo11n.pt', ['--precision', 'int8'], 9, 'int8 needs images to calibrate a YOLO model with'],
      ['yolo11n.pt', ['--precision', 'int4'], 9, '--precision int8 --calibration'],
      ['yolo11n.pt', ['--precision', 'int8', '--calibration', 'coco8.yaml'], 2, 'have coco8 on the disk'],
      [
        'yolo11n-cls.pt',
        ['--precision', 'int8', '--calibration', detect],
        9,
        'yolo11n-cls.pt is a classify model, which data.yaml does not fit',
      ],
      ['yolo11n.pt', ['--precision', 'fp16', '--task', 'pose'], 9, 'is a detect model, not one for pose'],
    ] as const;
    const runs = await inPairs(cases, ([model, flags]) =>
      world.run('convert', join(world.directory, model), ...flags),
    );
    for (const [[, , code, message], run] of runs) {
      expect(run.stderr).toContain(message);
      expect(run.exitCode).toBe(code);
    }
  }, 300_000);
});

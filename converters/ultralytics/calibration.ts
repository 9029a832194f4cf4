/**
 * Images that an int8 export is calibrated with: the yaml of a YOLO data set, read here since to Ultralytics it is a
 * program (`download:` is run), or a folder of classes. Its tools keep caches beside labels and write mended images back,
 * so that they get links in a directory of their own.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, open, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, resolve, sep } from 'node:path';
import * as v from 'valibot';
import { ModeldlError, systemErrorCode } from '../../src/errors.js';
import { digestOf, filesBelow, inOrder, kindOf } from '../calibration-files.js';

/** `IMG_FORMATS` of Ultralytics 8.4. */
const IMAGE = /\.(avif|bmp|dng|heic|heif|jp2|jpeg|jpg|mpo|png|tif|tiff|webp)$/i;
/** Data sets that Ultralytics knows by name and would fetch. */
const KNOWN = /^(coco(8|128|128-seg)?|coco\d*-(seg|pose|multispectral|grayscale)|DOTA\S*|imagenet\w*)$/i;
const MAX_YAML_BYTES = 1024 ** 2;

type Split = 'val' | 'test' | 'train';

/** What a conversion is told, and what its key holds: the same images elsewhere are the same data. */
export interface Calibration {
  readonly kind: 'yaml' | 'folder';
  /** The name of the file or folder, without its place on this machine. */
  readonly name: string;
  readonly images: number;
  /** sha256 over everything that is used: classes, images and labels, in their order. */
  readonly sha256: string;
}

interface Sample {
  readonly image: string;
  /** Absolute path of the file with its labels, where there is one. */
  readonly labels?: string;
  /** Name of the class, in a folder of classes. */
  readonly label?: string;
}

interface DataSet {
  readonly kind: 'yaml' | 'folder';
  readonly name: string;
  /** What the yaml says of labels, without paths. */
  readonly description: Readonly<Record<string, unknown>>;
  /** In the order in which they are used. */
  readonly samples: readonly Sample[];
}

/** @throws ModeldlError USAGE naming what is missing or malformed */
export async function describeCalibration(path: string, split: Split): Promise<Calibration> {
  const { kind, name, description, samples } = await readDataSet(path, split);
  const hash = createHash('sha256').update(JSON.stringify({ kind, description }));
  for (const { image, labels, label = '' } of samples) {
    const parts = [label, await digestOf(image), labels === undefined ? '' : await digestOf(labels)];
    hash.update(`${parts.join('\0')}\n`);
  }
  return { kind, name, images: samples.length, sha256: hash.digest('hex') };
}

/**
 * Writes a copy of a data set that links to the user's files, for a worker to use as it likes.
 * @param directory absolute, made here
 * @returns what to give to the exporter as `data`
 * @throws ModeldlError USAGE as `describeCalibration` does
 */
export async function copyCalibration(path: string, split: Split, directory: string): Promise<string> {
  const { kind, description, samples } = await readDataSet(path, split);
  const width = String(samples.length).length;
  const numbered = samples.map((sample, at) => ({
    ...sample,
    // Files are used in the order of their names.
    stem: String(at).padStart(width, '0'),
  }));
  if (kind === 'folder') {
    for (const { image, label = '', stem } of numbered) {
      await link(image, join(directory, split, label, stem + extname(image).toLowerCase()));
      // Which classes there are is read off the images for training, whatever is calibrated with.
      await link(image, join(directory, 'train', label, stem + extname(image).toLowerCase()));
    }
    return directory;
  }
  for (const { image, labels, stem } of numbered) {
    await link(image, join(directory, 'images', stem + extname(image).toLowerCase()));
    if (labels !== undefined) await link(labels, join(directory, 'labels', `${stem}.txt`));
  }
  await mkdir(join(directory, 'labels'), { recursive: true });
  const images = join(directory, 'images');
  const file = join(directory, 'data.yaml');
  // JSON is YAML.
  await writeFile(file, JSON.stringify({ ...description, train: images, val: images, [split]: images }));
  return file;
}

async function readDataSet(path: string, split: Split): Promise<DataSet> {
  const kind = await kindOf(path);
  if (kind === 'file') return readYaml(path, split);
  if (kind === 'directory') return readFolder(path, split);
  const name = basename(path).replace(/\.ya?ml$/i, '');
  throw new ModeldlError('USAGE', `No such calibration data: ${path}`, {
    hint: KNOWN.test(name)
      ? `modeldl does not fetch data sets: have ${name} on the disk, and name its yaml or folder by path`
      : 'name the yaml of a data set, or a folder with images at val/<class>/',
    details: { file: path },
  });
}

const paths = v.union([v.string(), v.array(v.string())]);
/** Keys that have a meaning for calibration. Others, `download` above all, are left behind. */
const document = v.object({
  path: v.nullish(v.string()),
  train: v.nullish(paths),
  val: v.nullish(paths),
  validation: v.nullish(paths),
  test: v.nullish(paths),
  names: v.nullish(v.union([v.array(v.unknown()), v.record(v.string(), v.unknown())])),
  nc: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  channels: v.nullish(v.pipe(v.number(), v.integer(), v.minValue(1))),
  kpt_shape: v.nullish(v.array(v.number())),
  flip_idx: v.nullish(v.array(v.number())),
});
type Document = v.InferOutput<typeof document>;

async function readYaml(file: string, split: Split): Promise<DataSet> {
  const parsed = v.safeParse(document, await parseYaml(file));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const key = v.getDotPath(issue);
    throw wrongData(
      file,
      `${key === null ? '' : `${key}: `}expected ${issue.expected}, got ${issue.received}`,
    );
  }
  const { output } = parsed;
  const wanted = output[split] ?? (split === 'val' ? output.validation : undefined);
  if (wanted === null || wanted === undefined) throw wrongData(file, `it has no \`${split}\``);
  const images = await listImages(file, await locate(file, output, wanted));
  const samples: Sample[] = [];
  for (const image of images) {
    const labels = labelsOf(image);
    samples.push({ image, ...((await kindOf(labels)) === 'file' ? { labels } : {}) });
  }
  const { kpt_shape, flip_idx, channels } = output;
  const description = {
    names: namesOf(file, output),
    ...(channels === null || channels === undefined ? {} : { channels }),
    ...(kpt_shape === null || kpt_shape === undefined ? {} : { kpt_shape }),
    ...(flip_idx === null || flip_idx === undefined ? {} : { flip_idx }),
  };
  return { kind: 'yaml', name: basename(file), description, samples };
}

async function parseYaml(file: string): Promise<unknown> {
  const { size } = await stat(file);
  if (size > MAX_YAML_BYTES) throw wrongData(file, 'it is larger than 1 MiB');
  const { defaultLoaders } = await import('cosmiconfig');
  try {
    return defaultLoaders['.yaml'](file, await readFile(file, 'utf8'));
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    // Its own words stand below the path.
    throw wrongData(file, told.split('\n')[1] ?? told);
  }
}

function wrongData(file: string, problem: string): ModeldlError {
  return new ModeldlError('USAGE', `${file} is no data set to calibrate with: ${problem}`, {
    hint: 'it needs `val` (images) and `names` (classes), as in the data sets of Ultralytics',
    details: { file },
  });
}

/** Names of the classes in the order of their numbers. */
function namesOf(file: string, { names, nc }: Document): readonly string[] {
  if (names === null || names === undefined) {
    if (nc === null || nc === undefined) throw wrongData(file, 'it has neither `names` nor `nc`');
    return Array.from({ length: nc }, (_, at) => `class_${at}`);
  }
  if (Array.isArray(names)) return names.map(String);
  const keys = Object.keys(names);
  const numbered = keys.every((key, at) => key === String(at));
  if (numbered) return keys.map((key) => String(names[key]));
  throw wrongData(file, 'the keys of `names` are not 0, 1, 2, …');
}

/**
 * Absolute paths of what a split lists. Ultralytics takes a relative `path` from the working directory or a directory in
 * its settings; here it is one beside the yaml, or the yaml's own, whichever holds the images.
 */
async function locate(
  file: string,
  { path }: Document,
  wanted: string | readonly string[],
): Promise<readonly string[]> {
  const entries = typeof wanted === 'string' ? [wanted] : wanted;
  const here = dirname(file);
  const roots =
    path === null || path === undefined || path === ''
      ? [here]
      : isAbsolute(path)
        ? [path]
        : [resolve(here, path), resolve(here, '..', path), resolve(here, '..', 'datasets', path), here];
  for (const root of roots) {
    const found = entries.map((entry) => resolve(root, entry));
    const kinds = await Promise.all(found.map(kindOf));
    if (kinds.every((kind) => kind !== undefined)) return found;
  }
  throw wrongData(file, `there is no ${resolve(roots[0] ?? here, entries[0] ?? '')}`);
}

/** Image files of directories and of texts that list them, sorted. */
async function listImages(file: string, places: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const place of places) {
    if ((await kindOf(place)) === 'directory') found.push(...(await filesBelow(place)));
    else found.push(...(await listed(file, place)));
  }
  const images = found.filter((path) => IMAGE.test(path)).sort(inOrder);
  if (images.length === 0) throw wrongData(file, `there are no images in ${places.join(', ')}`);
  for (const image of images) {
    if ((await kindOf(image)) !== 'file') throw wrongData(file, `there is no ${image}`);
  }
  return images;
}

async function listed(file: string, text: string): Promise<readonly string[]> {
  const lines = (await readFile(text, 'utf8')).replace(/^\uFEFF/, '').split(/\r?\n/);
  const paths = lines.map((line) => line.trim()).filter((line) => line !== '');
  if (!paths.some((path) => IMAGE.test(path))) throw wrongData(file, `${text} lists no images`);
  return paths.map((path) => resolve(dirname(text), path));
}

/** Where Ultralytics looks for the labels of an image: the last `images` of its path becomes `labels`. */
function labelsOf(image: string): string {
  const part = `${sep}images${sep}`;
  const at = image.lastIndexOf(part);
  const moved = at < 0 ? image : `${image.slice(0, at)}${sep}labels${sep}${image.slice(at + part.length)}`;
  return `${moved.slice(0, moved.length - extname(moved).length)}.txt`;
}

/** A folder of classes for each split; Ultralytics takes these names for one another in this order. */
const SPLIT_FOLDERS: Readonly<Record<Split, readonly string[]>> = {
  val: ['val', 'validation', 'valid', 'test'],
  test: ['test', 'val', 'validation', 'valid'],
  train: ['train'],
};

async function readFolder(folder: string, split: Split): Promise<DataSet> {
  const names = SPLIT_FOLDERS[split];
  const kinds = await Promise.all(names.map((name) => kindOf(join(folder, name))));
  const name = names.find((_, at) => kinds[at] === 'directory');
  if (name === undefined) throw wrongFolder(folder, `it has no folder ${names[0] ?? split}`);
  const root = join(folder, name);
  const samples: Sample[] = [];
  for (const label of (await readdir(root)).sort(inOrder)) {
    if (label.startsWith('.') || (await kindOf(join(root, label))) !== 'directory') continue;
    for (const image of await filesBelow(join(root, label))) {
      if (!IMAGE.test(image)) continue;
      if ((await kindOf(image)) !== 'file') throw wrongFolder(folder, `there is no ${image}`);
      samples.push({ image, label });
    }
  }
  if (samples.length === 0) throw wrongFolder(folder, `there are no images at ${name}/<class>/`);
  return { kind: 'folder', name: basename(folder), description: {}, samples };
}

function wrongFolder(folder: string, problem: string): ModeldlError {
  return new ModeldlError('USAGE', `${folder} is no folder to calibrate with: ${problem}`, {
    hint: 'a classification model needs images at val/<class>/; others need the yaml of a data set',
    details: { file: folder },
  });
}

/** Links, or copies what would be changed through a link: a JPEG without its end is mended where it lies. */
async function link(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  if (/\.(jpe?g|mpo)$/i.test(from) && !(await endsAsJpeg(from))) return copyFile(from, to);
  await symlink(from, to).catch(async (error: unknown) => {
    // Windows lets few users make links.
    if (systemErrorCode(error) !== 'EPERM') throw error;
    await copyFile(from, to);
  });
}

async function endsAsJpeg(path: string): Promise<boolean> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    if (size < 2) return false;
    const { buffer } = await handle.read(Buffer.alloc(2), 0, 2, size - 2);
    return buffer.readUInt16BE(0) === 0xffd9;
  } finally {
    await handle.close();
  }
}

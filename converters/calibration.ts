/** Calibration data on the disk: which samples of it are taken, and what tells them from others. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, relative, sep } from 'node:path';
import { ModeldlError } from '../src/errors.js';
import { digestOf, filesBelow, kindOf } from './calibration-files.js';

export interface CalibrationFile {
  /** Absolute. */
  readonly path: string;
  /** As users know it: relative to what they named. */
  readonly name: string;
}

export interface CalibrationData {
  readonly kind: 'images' | 'arrays';
  /** Those that are used, in order. */
  readonly files: readonly CalibrationFile[];
  /** How many files there are to choose from. */
  readonly found: number;
  readonly bytes: number;
}

const IMAGE = /\.(jpe?g|png|bmp|webp|tiff?|ppm|pgm)$/i;
const ARRAY = /\.np[yz]$/i;
const EXPECTED = 'expected is a folder of images, a .npz with an array for each input, or a .npy';

/**
 * Finds the data and chooses of images as many as are wanted, spread evenly over their sorted paths: folders often hold
 * one class each.
 * @throws ModeldlError USAGE for data that are not there or not such data, DISK
 */
export async function findCalibrationData(path: string, subsetSize: number): Promise<CalibrationData> {
  const files = await listFiles(path);
  const images = files.filter(({ name }) => IMAGE.test(name));
  const arrays = files.filter(({ name }) => ARRAY.test(name));
  if (images.length > 0 && arrays.length > 0) {
    throw wrongData(
      path,
      `it holds both images and arrays, such as ${images[0]?.name} and ${arrays[0]?.name}`,
    );
  }
  const found = images.length > 0 ? images : arrays;
  if (found.length === 0) {
    throw wrongData(
      path,
      files.length === 0 ? 'it is an empty folder' : `${files[0]?.name} is neither image nor array`,
    );
  }
  const kind = images.length > 0 ? 'images' : 'arrays';
  const count = kind === 'images' ? Math.min(subsetSize, found.length) : found.length;
  const chosen = Array.from(
    { length: count },
    (_, index) => found[Math.floor((index * found.length) / count)],
  );
  const taken = chosen.filter((file) => file !== undefined);
  return {
    kind,
    files: taken.map(({ path: file, name }) => ({ path: file, name })),
    found: found.length,
    bytes: taken.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** sha256 over the names and the bytes of what is used, in order. @throws ModeldlError DISK */
export async function calibrationDigest({ files }: Pick<CalibrationData, 'files'>): Promise<string> {
  const whole = createHash('sha256');
  for (const { path, name } of files) {
    // A single file is the same data under any name.
    whole.update(`${files.length === 1 ? '' : name}\0${await digestOf(path)}\n`);
  }
  return whole.digest('hex');
}

type Found = CalibrationFile & { readonly bytes: number };

/** Files below a folder by their paths, or the one file; what is no sample is listed without a look at it. */
async function listFiles(path: string): Promise<readonly Found[]> {
  const kind = await kindOf(path);
  if (kind === undefined) throw wrongData(path, 'no such file or folder');
  const files = kind === 'file' ? [path] : await filesBelow(path);
  return Promise.all(
    files.map(async (file) => {
      const name = kind === 'file' ? basename(file) : relative(path, file).split(sep).join('/');
      return { path: file, name, bytes: isSample(name) ? await sizeOf(path, file) : 0 };
    }),
  );
}

function isSample(name: string): boolean {
  return IMAGE.test(name) || ARRAY.test(name);
}

async function sizeOf(path: string, file: string): Promise<number> {
  // A link that leads nowhere, or what is no file at all.
  if ((await kindOf(file)) !== 'file') throw wrongData(path, `${file} is gone`);
  return (await stat(file)).size;
}

function wrongData(path: string, reason: string): ModeldlError {
  return new ModeldlError('USAGE', `Cannot calibrate with ${path}: ${reason}`, {
    hint: EXPECTED,
    details: { file: path },
  });
}

/** Finding the model that is to be converted among the files of a stored model. */
import type { PlannedModel, Refusal } from '../src/converter.js';

export type SourceFormat = 'onnx' | 'tflite' | 'ir' | 'paddle' | 'frozen-tensorflow';

export interface Source {
  readonly format: SourceFormat;
  /** Path of the main file within the model. */
  readonly path: string;
  /** Every file the conversion reads: weights beside it too. */
  readonly reads: readonly string[];
  /** Bytes of all that is read. */
  readonly bytes: number;
}

const FORMATS: readonly (readonly [RegExp, SourceFormat])[] = [
  [/\.onnx$/i, 'onnx'],
  [/\.tflite$/i, 'tflite'],
  [/\.xml$/i, 'ir'],
  [/\.pdmodel$/i, 'paddle'],
  [/\.pb$/i, 'frozen-tensorflow'],
];

/** The one convertible file of a model, or why there is none or more than one. */
export function findSource(model: PlannedModel): Source | Refusal {
  const paths = new Set(model.files.map(({ path }) => path));
  const found = model.files.flatMap(({ path }) => {
    const format = FORMATS.find(([pattern]) => pattern.test(path))?.[1];
    // An .xml is an IR only with its weights beside it.
    if (format === undefined || (format === 'ir' && !paths.has(path.replace(/\.xml$/i, '.bin')))) return [];
    return [{ path, format }];
  });
  const [only] = found;
  if (only === undefined) {
    const bare = model.files.find(({ path }) => /\.xml$/i.test(path));
    if (bare !== undefined) {
      return {
        refused: `${bare.path} has no weights beside it: an OpenVINO IR is a pair of .xml and .bin`,
        hint: 'name the directory that holds both',
        handlesModel: true,
      };
    }
    return {
      refused: 'it holds no ONNX, TensorFlow Lite, TensorFlow, PaddlePaddle or OpenVINO file',
      hint: '`modeldl converters` lists what each takes',
      handlesModel: false,
    };
  }
  if (found.length > 1) {
    const names = found.map(({ path }) => path);
    const base = model.reference.replace(/(?<!:)\/\/.*$/, '');
    return {
      refused: `it holds ${found.length} models: ${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}`,
      hint: `name one: \`${base}//${names[0] ?? ''}\``,
      handlesModel: true,
    };
  }
  const reads = [only.path, ...companions(only, paths)];
  const bytes = model.files.reduce((sum, file) => sum + (reads.includes(file.path) ? file.bytes : 0), 0);
  return { ...only, reads, bytes };
}

/** Files that hold the weights of the main one. */
function companions(
  main: { readonly path: string; readonly format: SourceFormat },
  paths: ReadonlySet<string>,
): string[] {
  if (main.format === 'ir') return [main.path.replace(/\.xml$/i, '.bin')];
  if (main.format === 'paddle') {
    return [main.path.replace(/\.pdmodel$/i, '.pdiparams')].filter((path) => paths.has(path));
  }
  if (main.format !== 'onnx') return [];
  // ONNX names its external data freely; by habit it lies in the same directory under one of these endings.
  const directory = main.path.slice(0, main.path.lastIndexOf('/') + 1);
  return [...paths].filter(
    (path) =>
      path.startsWith(directory) &&
      !path.slice(directory.length).includes('/') &&
      /(\.onnx[._]data(_\d+)?|\.data|\.weights?|\.bin)$/i.test(path),
  );
}

/** File stem of the result: the source's, so that `det.onnx` becomes `det.xml` and `det.bin`. */
export function stemOf(source: Source): string {
  return source.path.slice(source.path.lastIndexOf('/') + 1).replace(/\.[^.]+$/, '');
}

/** Finding the model that is to be converted among the files of a stored model. */
import type { PlannedModel, Refusal } from '../src/converter.js';

export type SourceFormat = 'onnx' | 'tflite' | 'ir' | 'paddle' | 'saved-tensorflow' | 'frozen-tensorflow';

export interface Source {
  readonly format: SourceFormat;
  /** Path of the main file within the model, or of the directory that is a TensorFlow SavedModel (`.` for all of it). */
  readonly path: string;
  /** Every file the conversion reads: weights beside it too. */
  readonly reads: readonly string[];
  /** Bytes of all that is read. */
  readonly bytes: number;
  /** File stem of the result, where a recipe gives one. */
  readonly stem?: string;
}

const SAVED = /(^|\/)saved_model\.pb$/;
/** What Keras and TensorFlow put beside a saved_model.pb. */
const SAVED_BESIDE = /(^|\/)(keras_metadata|fingerprint)\.pb$/;

const FORMATS: readonly (readonly [RegExp, SourceFormat])[] = [
  [/\.onnx$/i, 'onnx'],
  [/\.tflite$/i, 'tflite'],
  [/\.xml$/i, 'ir'],
  [/\.pdmodel$/i, 'paddle'],
  [SAVED, 'saved-tensorflow'],
  [/\.pb$/i, 'frozen-tensorflow'],
];

/** The one convertible file of a model, or why there is none or more than one. */
export function findSource(model: PlannedModel): Source | Refusal {
  const paths = new Set(model.files.map(({ path }) => path));
  const { recipe } = model.metadata;
  if (recipe !== undefined && 'input' in recipe) return recipeSource(model, recipe, paths);
  const found = model.files.flatMap(({ path }): readonly Main[] => {
    const format = FORMATS.find(([pattern]) => pattern.test(path))?.[1];
    // An .xml is an IR only with its weights beside it.
    if (format === undefined || (format === 'ir' && !paths.has(path.replace(/\.xml$/i, '.bin')))) return [];
    if (format === 'saved-tensorflow') return [{ path: directoryOf(path).slice(0, -1) || '.', format }];
    if (SAVED_BESIDE.test(path) && paths.has(`${directoryOf(path)}saved_model.pb`)) return [];
    return [{ path, format }];
  });
  const [only] = found;
  if (only === undefined) {
    const newPaddle = model.files.find(
      ({ path }) => /\.json$/i.test(path) && paths.has(path.replace(/\.json$/i, '.pdiparams')),
    );
    if (newPaddle !== undefined) {
      return {
        refused: `${newPaddle.path} is PaddlePaddle's newer format (PIR), which OpenVINO 2026.4 does not read`,
        hint: 'export it with `FLAGS_enable_pir_api=0`, which writes a .pdmodel, or convert it to ONNX with paddle2onnx',
        handlesModel: true,
      };
    }
    const bare = model.files.find(({ path }) => /\.xml$/i.test(path));
    if (bare !== undefined) {
      return {
        refused: `${bare.path} has no weights beside it: an OpenVINO IR is a pair of .xml and .bin`,
        hint: 'name the directory that holds both',
        handlesModel: true,
      };
    }
    if (model.files.some(({ path }) => /\.gguf$/i.test(path))) {
      return {
        refused: 'its weights are GGUF, which no converter takes',
        hint: 'convert the model that it was made of; OpenVINO GenAI reads GGUF as it is',
        handlesModel: true,
      };
    }
    return {
      refused: 'it holds no ONNX, TensorFlow Lite, TensorFlow, PaddlePaddle or OpenVINO file',
      handlesModel: false,
    };
  }
  if (found.length > 1)
    return severalModels(
      model,
      found.map(({ path }) => path),
    );
  return sourceOf(only, model, paths);
}

function sourceOf(main: Main, model: PlannedModel, paths: ReadonlySet<string>): Source {
  const reads = filesOf(main, paths);
  const bytes = model.files.reduce((sum, file) => sum + (reads.includes(file.path) ? file.bytes : 0), 0);
  return { ...main, reads, bytes };
}

/** Whatever else the model holds. */
function recipeSource(
  model: PlannedModel,
  { input: path, name: stem }: { readonly input: string; readonly name: string },
  paths: ReadonlySet<string>,
): Source | Refusal {
  if (paths.has(`${path}/saved_model.pb`))
    return { ...sourceOf({ path, format: 'saved-tensorflow' }, model, paths), stem };
  // Frozen graphs are also called `graph.pb.frozen`.
  const format = FORMATS.find(([pattern]) => pattern.test(path.replace(/\.frozen$/, '')))?.[1];
  if (paths.has(path) && format !== undefined) return { ...sourceOf({ path, format }, model, paths), stem };
  return {
    refused: `its published recipe converts ${path}, which it does not hold`,
    hint: 'leave out `--include` and `--exclude`, or name the file that is to be converted',
    handlesModel: true,
  };
}

/** Which of them is meant has to be said. */
export function severalModels(model: Pick<PlannedModel, 'reference'>, paths: readonly string[]): Refusal {
  // Of a part of a model, paths are told from where the part begins.
  const base = `${model.reference}${/(?<!:)\/\//.test(model.reference) ? '/' : '//'}`;
  return {
    refused: `it holds ${paths.length} models: ${paths.slice(0, 5).join(', ')}${paths.length > 5 ? ', …' : ''}`,
    hint: `name one: \`${base}${paths[0] ?? ''}\``,
    handlesModel: true,
  };
}

interface Main {
  readonly path: string;
  readonly format: SourceFormat;
}

function filesOf(main: Main, paths: ReadonlySet<string>): readonly string[] {
  if (main.format !== 'saved-tensorflow') return [main.path, ...companions(main, paths)];
  const directory = main.path === '.' ? '' : `${main.path}/`;
  const parts = /^(saved_model\.pb|(variables|assets|assets\.extra)\/.*)$/;
  return [...paths].filter((path) => path.startsWith(directory) && parts.test(path.slice(directory.length)));
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

/** Files that hold the weights of the main one. */
function companions(main: Main, paths: ReadonlySet<string>): string[] {
  if (main.format === 'ir') return [main.path.replace(/\.xml$/i, '.bin')];
  if (main.format === 'paddle') {
    return [main.path.replace(/\.pdmodel$/i, '.pdiparams')].filter((path) => paths.has(path));
  }
  if (main.format !== 'onnx') return [];
  // ONNX names its external data freely; by habit it lies in the same directory under one of these endings.
  const directory = directoryOf(main.path);
  return [...paths].filter(
    (path) =>
      path.startsWith(directory) &&
      !path.slice(directory.length).includes('/') &&
      /(\.onnx[._]data(_\d+)?|\.data|\.weights?|\.bin)$/i.test(path),
  );
}

/** File stem of the result: the source's, so that `det.onnx` becomes `det.xml` and `det.bin`. */
export function stemOf(source: Source): string {
  if (source.stem !== undefined) return source.stem;
  if (source.path === '.') return 'saved_model';
  const name = source.path.slice(source.path.lastIndexOf('/') + 1);
  return source.format === 'saved-tensorflow' ? name : name.replace(/\.[^.]+$/, '');
}

/** Formats whose own runtime is in the toolchain. */
const COMPARABLE: ReadonlySet<SourceFormat> = new Set(['onnx', 'ir', 'tflite']);
/** Larger originals are not run beside the result: both would sit in memory together. */
const COMPARE_BYTES = 2 * 1024 ** 3;

/** Why a result is not compared with this original; undefined when it is. */
export function whyNotCompared({ format, bytes }: Source): string | undefined {
  if (!COMPARABLE.has(format)) return `the toolchain has no runtime for ${format}`;
  return bytes > COMPARE_BYTES ? 'the original weighs over 2 GB' : undefined;
}

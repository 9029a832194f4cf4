/** Which formats a model comes in, by the names of its files. Pure. */
import type { FormatShare } from '../results.js';
import { quantizationOf } from '../select.js';

interface Named {
  readonly path: string;
  readonly bytes: number;
}

/** What PyTorch and Python write as a pickle. A `.bin` is one only by the names that transformers and diffusers give. */
const PICKLE = /\.(pt|pth|ckpt|pkl|pickle)$|(^|\/)(diffusion_)?(pytorch|adapter)_model[^/]*\.bin$/i;

/** The first that fits counts. */
const FORMATS: readonly (readonly [RegExp, string])[] = [
  [/\.safetensors$/i, 'safetensors'],
  [/\.gguf$/i, 'gguf'],
  [/\.onnx([._]data([_-]\d+)?)?$/i, 'onnx'],
  [/\.tflite$/i, 'tflite'],
  [/(^|\/)(tf_model.*\.h5|saved_model\.pb|variables\/variables\..*)$|\.(pb|keras|h5)$/i, 'tensorflow'],
  [/\.(pdmodel|pdiparams|pdparams)$/i, 'paddle'],
  [/(^|\/)flax_model[^/]*\.msgpack$|\.msgpack$/i, 'flax'],
  [/(^|\/)rust_model\.ot$/i, 'rust'],
  [/\.mlpackage\/|\.mlmodel(c\/|$)/i, 'coreml'],
  [PICKLE, 'pytorch'],
];

/** Largest first; files that hold no weights belong to none. */
export function formatsOf(files: readonly Named[]): readonly FormatShare[] {
  const paths = new Set(files.map(({ path }) => path));
  const shares = new Map<string, FormatShare>();
  for (const { path, bytes } of files) {
    const format = isIr(path, paths) ? 'openvino' : FORMATS.find(([pattern]) => pattern.test(path))?.[1];
    if (format === undefined) continue;
    const quantization = (format === 'gguf' ? quantizationOf(path) : undefined) ?? null;
    const key = `${format} ${quantization ?? ''}`;
    const share = shares.get(key) ?? { format, quantization, files: 0, bytes: 0 };
    shares.set(key, { ...share, files: share.files + 1, bytes: share.bytes + bytes });
  }
  return [...shares.values()].sort((a, b) => b.bytes - a.bytes);
}

export function isPickle(path: string): boolean {
  return PICKLE.test(path);
}

/** A pair of .xml and .bin is an OpenVINO IR. */
export function isIr(path: string, paths: ReadonlySet<string>): boolean {
  const other = /\.xml$/i.test(path)
    ? path.replace(/\.xml$/i, '.bin')
    : /\.bin$/i.test(path)
      ? path.replace(/\.bin$/i, '.xml')
      : undefined;
  return other !== undefined && paths.has(other);
}

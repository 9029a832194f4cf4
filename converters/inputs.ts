/** `--set` values of a model's inputs and outputs, from text to what the worker builds into the model. Pure. */
import { flagSetting, wrongSetting, type Settings } from './settings.js';

export const INPUT_SETTINGS: Settings = {
  'input-shape':
    'shapes of the inputs, such as [1,3,640,640] or images[1,3,?,?],mask[1..8,10]; ? leaves a dimension open',
  layout:
    'what the dimensions are, such as nchw or images[nchw]: n, c, d, h, w, and t, l or s along a sequence; nchw->nhwc has the result take nhwc instead',
  'input-type': 'element type that the result takes, such as u8 or images[u8]',
  'reverse-input-channels': 'RGB and BGR change places: true or false (default false)',
  mean: 'subtracted from the inputs, for each channel of the original: [123.7,116.3,103.5] or images[0.5]',
  scale: 'what the inputs are divided by after that: [58.4,57.1,57.4] or images[255]',
  output: 'tensors that the result ends at, such as scores,boxes (default: all outputs)',
};

/** Element types of tensors that OpenVINO takes from users. */
const TYPES = ['f32', 'f16', 'f64', 'i8', 'u8', 'i16', 'u16', 'i32', 'u32', 'i64', 'u64'];

/**
 * Dimensions by their letters. OpenVINO has a meaning for the first five (batch, channels, depth, height, width) and takes
 * every other letter for a name, so that it would tell nobody of a slip.
 */
const DIMENSIONS = 'ncdhwtls';

interface Named {
  /** Absent: inputs in order. */
  readonly name?: string;
}

export interface Inputs {
  /** As OpenVINO writes partial shapes: `[1,3,?,1..8]`. */
  readonly shapes?: readonly (Named & { readonly shape: string })[];
  /** `tensor` when the result takes another layout than the original. */
  readonly layouts?: readonly (Named & { readonly layout: string; readonly tensor?: string })[];
  readonly types?: readonly (Named & { readonly type: string })[];
  readonly mean?: readonly (Named & { readonly values: readonly number[] })[];
  readonly scale?: readonly (Named & { readonly values: readonly number[] })[];
  readonly reverse_channels?: true;
}

/** What is to be done with the inputs; undefined for nothing. @throws ModeldlError USAGE for a malformed value */
export function inputsOf(settings: Settings): Inputs | undefined {
  const shapes = perInput(settings, 'input-shape', 'a shape such as [1,3,640,640]', readShape);
  const layouts = perInput(
    settings,
    'layout',
    'a layout of the letters n, c, d, h, w, t, l and s, such as nchw or nchw->nhwc,',
    readLayout,
  );
  const types = perInput(settings, 'input-type', TYPES.join(', '), readType);
  const mean = perInput(settings, 'mean', 'numbers such as [123.7,116.3,103.5]', readNumbers);
  const scale = perInput(settings, 'scale', 'numbers other than 0, such as [58.4,57.1,57.4]', readDivisors);
  const inputs: Inputs = {
    ...(shapes === undefined ? {} : { shapes }),
    ...(layouts === undefined ? {} : { layouts }),
    ...(types === undefined ? {} : { types }),
    ...(mean === undefined ? {} : { mean }),
    ...(scale === undefined ? {} : { scale }),
    ...(flagSetting(settings, 'reverse-input-channels') === true ? { reverse_channels: true } : {}),
  };
  return Object.keys(inputs).length === 0 ? undefined : inputs;
}

/** Tensors that the result ends at. @throws ModeldlError USAGE */
export function outputsOf(settings: Settings): readonly string[] | undefined {
  const text = settings['output'];
  if (text === undefined) return undefined;
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('') || new Set(names).size < names.length) {
    throw wrongSetting('output', text, 'different names, such as scores,boxes,');
  }
  return names;
}

/** For people: the settings that are built into the model. */
export function describeInputs(inputs: Inputs): readonly string[] {
  const named = ({ name }: Named, text: string): string => (name === undefined ? text : `${name} ${text}`);
  const list = (values: readonly number[]): string =>
    values.length === 1 ? `${values[0]}` : `[${values.join(',')}]`;
  const { shapes = [], layouts = [], types = [], mean = [], scale = [] } = inputs;
  return [
    ...shapes.map((given) => `reshape ${named(given, `to ${given.shape}`)}`),
    ...layouts.flatMap((given) => (given.tensor === undefined ? [] : [`take ${named(given, given.tensor)}`])),
    ...types.map((given) => `take ${named(given, given.type)}`),
    ...(inputs.reverse_channels === true ? ['reverse the input channels'] : []),
    ...mean.map((given) => `subtract ${named(given, list(given.values))}`),
    ...scale.map((given) => `divide by ${named(given, list(given.values))}`),
  ];
}

/** Whether a shape that was asked for leaves a dimension open. */
export function leavesOpen({ shapes = [] }: Inputs): boolean {
  return shapes.some(({ shape }) => /\?|\.\./.test(shape));
}

const ENTRY = /^\s*([^[\],]*?)\s*\[([^[\]]*)\]\s*(?:,|$)/;

/** `[a,b]`, `x[a,b],y[c]`, or `a,b` alone, each value read by `read`, which gives undefined for what it does not take. */
function perInput<Value extends object>(
  settings: Settings,
  key: string,
  expected: string,
  read: (text: string) => Value | undefined,
): readonly (Named & Value)[] | undefined {
  const text = settings[key];
  if (text === undefined) return undefined;
  if (text.trim() === '') throw wrongSetting(key, text, expected);
  const found: (Named & Value)[] = [];
  let rest = text.includes('[') ? text : `[${text}]`;
  while (rest.trim() !== '') {
    const [whole, name = '', inner = ''] = ENTRY.exec(rest) ?? [];
    const value = whole === undefined ? undefined : read(inner.trim());
    if (whole === undefined || value === undefined) throw wrongSetting(key, text, expected);
    found.push(name === '' ? value : { name, ...value });
    rest = rest.slice(whole.length);
  }
  const names = found.flatMap(({ name }) => (name === undefined ? [] : [name]));
  const mixed = names.length > 0 && names.length < found.length;
  if (mixed || new Set(names).size < names.length || /,\s*$/.test(text))
    throw wrongSetting(key, text, expected);
  return found;
}

function readShape(text: string): { readonly shape: string } | undefined {
  if (text === '') return { shape: '[]' };
  const sizes = text.split(',').map((part) => {
    const size = part.trim();
    if (size === '?' || size === '-1') return '?';
    const [, low, high] = /^(\d*)\.\.(\d*)$/.exec(size) ?? [];
    if (low !== undefined && high !== undefined) {
      const fits = low + high !== '' && (low === '' || high === '' || Number(low) <= Number(high));
      return fits ? size : undefined;
    }
    return /^\d+$/.test(size) && Number(size) > 0 ? String(Number(size)) : undefined;
  });
  return sizes.includes(undefined) ? undefined : { shape: `[${sizes.join(',')}]` };
}

function readLayout(text: string): { readonly layout: string; readonly tensor?: string } | undefined {
  const [, layout = '', tensor] = /^([a-z]+)(?:\s*->\s*([a-z]+))?$/.exec(text.toLowerCase()) ?? [];
  const letters = (name: string): string => Array.from(name).sort().join('');
  if (layout === '' || new Set(layout).size < layout.length) return undefined;
  if (Array.from(layout).some((letter) => !DIMENSIONS.includes(letter))) return undefined;
  if (tensor === undefined || tensor === layout) return { layout };
  return letters(tensor) === letters(layout) ? { layout, tensor } : undefined;
}

function readType(text: string): { readonly type: string } | undefined {
  return TYPES.includes(text) ? { type: text } : undefined;
}

function readNumbers(text: string): { readonly values: readonly number[] } | undefined {
  const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  return values.every(Number.isFinite) ? { values } : undefined;
}

function readDivisors(text: string): { readonly values: readonly number[] } | undefined {
  const read = readNumbers(text);
  return read?.values.includes(0) === true ? undefined : read;
}

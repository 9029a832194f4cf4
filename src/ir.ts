/**
 * What an OpenVINO IR says of itself: inputs, outputs and the element types of its weights, read from its .xml alone.
 * The format is the one that OpenVINO 2022.1 to 2026.4 write (`<net version="11">`; `version="10"` names ports alike).
 */
import { sharesByType, type OnTensor } from './headers/shares.js';
import type { ModelPort, ModelWeights } from './results.js';

export interface IrSummary {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Bytes of constants by element type, most first. */
  readonly weights: readonly Omit<ModelWeights, 'file'>[];
  /** How nncf made its weights smaller, in its words: `int4_sym`; `quantized` where activations are too. */
  readonly precision?: string;
}

type Port = Omit<ModelPort, 'file'>;

/** Bodies of loops within loops take five levels each. */
const DEEPEST = 1000;

export interface IrParser {
  write(text: string): void;
  /** Undefined when it was no IR, or not a whole one. */
  end(): IrSummary | undefined;
}

interface Layer {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  /** By its own attributes: of a `Parameter` its shape and type, of a `Result` its names. */
  shape?: readonly (number | string)[];
  elementType?: string;
  names?: string;
  dimensions: number[];
}

/**
 * Takes the text of a .xml in pieces of any size.
 * @param onConstant told of constants, by the layer that they are or lie in
 */
export async function createIrParser(onConstant?: OnTensor): Promise<IrParser> {
  const { Parser } = await import('htmlparser2');
  const path: string[] = [];
  const inputs: Port[] = [];
  const results: Layer[] = [];
  /** Tensor names of output ports, by `layer:port`. */
  const namesOfPorts = new Map<string, string>();
  /** Which output port leads to a layer. */
  const sources = new Map<string, string>();
  const bytesOfTypes = new Map<string, number>();
  const constants = new Set<string>();
  let layer: Layer | undefined;
  let dimension = '';
  let precision: string | undefined;
  let whole = false;
  let tooDeep = false;

  // Bodies of loops and branches are models of their own, with parameters that nobody feeds.
  const isTop = (...names: readonly string[]): boolean =>
    path.length === names.length && names.every((name, index) => path[index] === name);

  const open = (name: string, attributes: Readonly<Record<string, string>>): void => {
    const { id = '', type = '', names } = attributes;
    if (name === 'data') countConstant(attributes);
    if (name === 'mode' && isTop('net', 'rt_info', 'nncf', 'weight_compression')) {
      precision ??= (attributes['value'] ?? '').slice(0, 100);
    }
    if (name === 'quantization' && isTop('net', 'rt_info', 'nncf')) precision = 'quantized';
    if (isTop('net', 'layers') && name === 'layer') {
      const { name: own = '', output_names: outputNames } = attributes;
      layer = { id, type, name: own, dimensions: [] };
      if (outputNames !== undefined) layer.names = outputNames;
    }
    if (isTop('net', 'layers', 'layer') && name === 'data' && layer?.type === 'Parameter') {
      layer.shape = shapeOf(attributes['shape'] ?? '');
      layer.elementType = attributes['element_type'] ?? '';
    }
    if (isTop('net', 'layers', 'layer', 'output') && name === 'port' && layer !== undefined) {
      if (names !== undefined) namesOfPorts.set(`${layer.id}:${id}`, names);
    }
    if (isTop('net', 'layers', 'layer', 'input') && name === 'port' && layer?.type === 'Result') {
      layer.elementType = elementTypeOf(attributes['precision'] ?? '');
    }
    if (isTop('net', 'edges') && name === 'edge') {
      const { 'from-layer': from = '', 'from-port': port = '', 'to-layer': to = '' } = attributes;
      sources.set(to, `${from}:${port}`);
    }
    dimension = '';
    path.push(name);
    if (path.length > DEEPEST) tooDeep = true;
  };

  const countConstant = ({
    element_type: type,
    offset,
    size,
    shape = '',
  }: Readonly<Record<string, string>>): void => {
    // Only a constant has an offset into the .bin; equal ones lie there once.
    if (type === undefined || offset === undefined || size === undefined) return;
    const place = `${offset} ${size}`;
    if (constants.has(place) || !/^\d+$/.test(size)) return;
    constants.add(place);
    bytesOfTypes.set(type, (bytesOfTypes.get(type) ?? 0) + Number(size));
    onConstant?.({ name: layer?.name ?? '', type, shape: shapeOf(shape), bytes: Number(size) });
  };

  // Implied is the end of what the file does not end: it is cut.
  const close = (name: string, implied: boolean): void => {
    path.pop();
    if (name === 'dim' && isTop('net', 'layers', 'layer', 'input', 'port') && layer?.type === 'Result') {
      layer.dimensions.push(Number(dimension));
    }
    if (name === 'net' && path.length === 0) whole = !implied;
    if (name !== 'layer' || !isTop('net', 'layers') || layer === undefined) return;
    if (layer.type === 'Parameter') {
      const { id, shape = [], elementType = '' } = layer;
      inputs.push({
        name: firstName(namesOfPorts.get(`${id}:0`)) ?? layer.name,
        type: elementType,
        shape,
      });
    }
    if (layer.type === 'Result') results.push(layer);
    layer = undefined;
  };

  const parser = new Parser(
    {
      onopentag: open,
      ontext: (text) => {
        if (path.at(-1) === 'dim') dimension += text;
      },
      onclosetag: close,
    },
    { xmlMode: true },
  );
  return {
    write: (text) => {
      if (!tooDeep) parser.write(text);
    },
    end() {
      parser.end();
      if (!whole || tooDeep) return undefined;
      const outputs = results.map(({ id, name, names, elementType = '', dimensions }) => ({
        name: firstName(names) ?? firstName(namesOfPorts.get(sources.get(id) ?? '')) ?? name,
        type: elementType,
        shape: dimensions.map((size) => (size < 0 ? '?' : size)),
      }));
      return {
        inputs,
        outputs,
        weights: sharesByType(bytesOfTypes),
        ...(precision === undefined || precision === '' ? {} : { precision }),
      };
    },
  };
}

/** Of names with commas between; one within a name has a backslash before it. */
function firstName(names: string | undefined): string | undefined {
  const [first] = (names ?? '').split(/(?<!\\),/);
  return first === undefined || first === '' ? undefined : first.replaceAll('\\,', ',');
}

/** `?,3,1..8` → `['?', 3, '1..8']`; `...` where even the rank is open. */
function shapeOf(text: string): readonly (number | string)[] {
  if (text.trim() === '') return [];
  return text.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : part.trim()));
}

/** Ports call `FP32`, `I64` and `BOOL` what constants and parameters call `f32`, `i64` and `boolean`. */
function elementTypeOf(precision: string): string {
  return precision
    .toLowerCase()
    .replace(/^fp/, 'f')
    .replace(/^bool$/, 'boolean');
}

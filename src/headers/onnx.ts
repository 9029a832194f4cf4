/**
 * What an ONNX model says of itself (onnx.proto3): who made it, its operator sets, its inputs and outputs. Operators and
 * weights lie between the beginning of the graph and what it takes and gives: as its length is known, its end is read
 * instead, back to where inputs and outputs begin.
 */
import type { ModelPort } from '../results.js';
import { fieldAt, fieldsOf, type Field } from './protobuf.js';
import { Unread, type PartlyRead } from './parts.js';

export interface OnnxSummary {
  /** `pytorch 2.1.0`. */
  readonly producer?: string;
  /** By domain; that of ONNX itself is `ai.onnx`. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
  /** Why inputs and outputs are missing. */
  readonly unread?: string;
}

type OnnxPort = Omit<ModelPort, 'file'>;

/** TensorProto.DataType by number. */
const TYPES: readonly string[] = [
  ...[
    'undefined',
    'f32',
    'u8',
    'i8',
    'u16',
    'i16',
    'i32',
    'i64',
    'string',
    'boolean',
    'f16',
    'f64',
    'u32',
    'u64',
  ],
  ...['c64', 'c128', 'bf16', 'f8e4m3', 'f8e4m3fnuz', 'f8e5m2', 'f8e5m2fnuz', 'u4', 'i4', 'f4e2m1', 'f8e8m0'],
];

/** Fields of ModelProto. */
const PRODUCER = 2;
const PRODUCER_VERSION = 3;
const GRAPH = 7;
const OPSET = 8;
/** Fields of GraphProto. */
const DOC = 10;
const INPUT = 11;
const OUTPUT = 12;
const VALUE_INFO = 13;
/** Of what follows inputs in a graph: annotations of quantization, properties. */
const AFTER: ReadonlySet<number> = new Set([DOC, INPUT, OUTPUT, VALUE_INFO, 14, 15, 16]);
const WELL_KNOWN: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, GRAPH, OPSET, 14, 20, 25, 26]);

const HEAD_BYTES = 4 * 1024;
/** How far back from the end of the graph its inputs are looked for. */
const ENDS: readonly number[] = [16 * 1024, 128 * 1024];
/** What follows a graph: operator sets and properties. */
const MOST_AFTER_GRAPH = 256 * 1024;
const LONGEST_PORT = 1024;
/** So often the bytes before the end are looked at: a model's are few times, made ones could be for minutes. */
const MOST_LOOKS = 16;
const MOST_PORTS = 10_000;

/** @throws Unread for what is no ONNX, or damaged before it says anything */
export async function readOnnx(file: PartlyRead): Promise<OnnxSummary> {
  const head = await file.read(0, HEAD_BYTES);
  const size = file.size() ?? head.length;
  const before: Field[] = [];
  let graph: Field | undefined;
  for (let at = 0; at < head.length && graph === undefined;) {
    const field = fieldAt(head, at);
    if (field === undefined || !WELL_KNOWN.has(field.number)) throw notOnnx();
    if (field.end > size) throw new Unread('its header says more than it holds: it is cut off, or damaged');
    if (field.number === GRAPH) graph = field;
    else before.push(field);
    at = field.end;
  }
  if (graph === undefined)
    throw before.length === 0 ? notOnnx() : new Unread('it has no graph at its beginning');
  const facts: Facts = { opsets: {}, words: new Map() };
  for (const field of before) note(facts, head, field);
  let unread: string | undefined;
  try {
    await readAfter(file, graph.end, size, facts);
  } catch (error) {
    if (!(error instanceof Unread)) throw error;
    unread = error.message;
  }
  const ports = unread === undefined ? await readPorts(file, graph) : undefined;
  if (ports === undefined)
    unread ??= 'its inputs and outputs are not where they can be read without all of it';
  const producer = [facts.words.get(PRODUCER), facts.words.get(PRODUCER_VERSION)]
    .filter((word) => word)
    .join(' ');
  return {
    ...(producer === '' ? {} : { producer }),
    opsets: facts.opsets,
    inputs: ports?.inputs ?? [],
    outputs: ports?.outputs ?? [],
    ...(unread === undefined ? {} : { unread }),
  };
}

function notOnnx(): Unread {
  return new Unread('it is no ONNX model, whatever its name says');
}

interface Facts {
  readonly opsets: Record<string, number>;
  readonly words: Map<number, string>;
}

function note(facts: Facts, bytes: Buffer, { number, begin, end, value }: Field): void {
  if (value !== undefined || end > bytes.length) return;
  const contents = bytes.subarray(begin, end);
  if (number === PRODUCER || number === PRODUCER_VERSION)
    facts.words.set(number, contents.toString('utf8').slice(0, 100));
  if (number !== OPSET) return;
  const [domain = 'ai.onnx', version] = opsetOf(contents);
  if (version !== undefined && Object.keys(facts.opsets).length < 100) facts.opsets[domain] = version;
}

function opsetOf(bytes: Buffer): readonly [string | undefined, number | undefined] {
  const fields = fieldsOf(bytes) ?? [];
  const domain = fields.find(({ number, value }) => number === 1 && value === undefined);
  const name = domain && bytes.subarray(domain.begin, domain.end).toString('utf8').slice(0, 100);
  return [name === '' ? undefined : name, fields.find(({ number }) => number === 2)?.value];
}

/** Operator sets follow the graph. */
async function readAfter(file: PartlyRead, begin: number, size: number, facts: Facts): Promise<void> {
  if (begin >= size) return;
  const end = Math.min(size, begin + MOST_AFTER_GRAPH);
  // Inputs and outputs lie right before, and come by the same request.
  const from = Math.max(0, begin - (ENDS[0] ?? 0));
  const bytes = (await file.read(from, end)).subarray(begin - from);
  for (let at = 0; at < bytes.length;) {
    const field = fieldAt(bytes, at);
    if (field === undefined || !WELL_KNOWN.has(field.number))
      throw new Unread('what follows its graph is damaged');
    note(facts, bytes, field);
    at = field.end;
  }
}

interface Ports {
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
}

async function readPorts(file: PartlyRead, graph: Field): Promise<Ports | undefined> {
  for (const length of ENDS) {
    const begin = Math.max(graph.begin, graph.end - length);
    const bytes = (await file.read(begin, graph.end)).subarray(0, graph.end - begin);
    if (bytes.length < graph.end - begin) return undefined;
    const ports = begin === graph.begin ? portsOf(bytes, 0) : firstPorts(bytes);
    if (ports !== undefined || begin === graph.begin) return ports;
  }
  return undefined;
}

/** The earliest place from where only what follows weights in a graph leads exactly to its end, inputs among it. */
function firstPorts(bytes: Buffer): Ports | undefined {
  /** Places from where the end is reached, and what lies there. */
  const leads = new Map<number, Field>();
  let first: number | undefined;
  let left = MOST_LOOKS * bytes.length;
  for (let at = bytes.length - 2; at >= 0; at -= 1) {
    const field = fieldAt(bytes, at);
    if (field?.value !== undefined || field === undefined || !AFTER.has(field.number)) continue;
    if (field.end !== bytes.length && !leads.has(field.end)) continue;
    const isPort = field.number === INPUT || field.number === OUTPUT || field.number === VALUE_INFO;
    if (isPort) {
      left -= field.end - field.begin;
      if (left < 0) return undefined;
      if (portOf(bytes.subarray(field.begin, field.end)) === undefined) continue;
    }
    leads.set(at, field);
    if (isPort) first = at;
  }
  // So near to the beginning others may lie before it.
  return first === undefined || first < LONGEST_PORT ? undefined : portsOf(bytes, first);
}

/** Of a graph, or of its end. */
function portsOf(bytes: Buffer, from: number): Ports | undefined {
  const inputs: OnnxPort[] = [];
  const outputs: OnnxPort[] = [];
  const weights = new Set<string>();
  for (let at = from; at < bytes.length;) {
    const field = fieldAt(bytes, at);
    if (field === undefined || field.end > bytes.length) return undefined;
    const contents = bytes.subarray(field.begin, field.end);
    if (field.number === 5) weights.add(nameOf(contents, 8));
    if (field.number === INPUT || field.number === OUTPUT) {
      const port = portOf(contents);
      if (port === undefined) return undefined;
      const ports = field.number === INPUT ? inputs : outputs;
      if (ports.length < MOST_PORTS) ports.push(port);
    }
    at = field.end;
  }
  // Before version 4 of the format weights were inputs as well.
  return { inputs: inputs.filter(({ name }) => !weights.has(name)), outputs };
}

function nameOf(bytes: Buffer, number: number): string {
  const field = fieldsOf(bytes)?.find((each) => each.number === number && each.value === undefined);
  return field === undefined ? '' : bytes.subarray(field.begin, field.end).toString('utf8');
}

/** A ValueInfoProto: name, then a type that is a tensor's. */
function portOf(bytes: Buffer): OnnxPort | undefined {
  const fields = fieldsOf(bytes);
  const named = fields?.find(({ number, value }) => number === 1 && value === undefined);
  if (fields === undefined || named === undefined || fields.some(({ number }) => number > 4))
    return undefined;
  const name = bytes.subarray(named.begin, named.end).toString('utf8').slice(0, 500);
  const typed = fields.find(({ number, value }) => number === 2 && value === undefined);
  if (typed === undefined) return { name, type: 'unknown', shape: ['...'] };
  const type = bytes.subarray(typed.begin, typed.end);
  const tensor = fieldsOf(type)?.find(({ number, value }) => number === 1 && value === undefined);
  if (tensor === undefined) return fieldsOf(type) && { name, type: 'no tensor', shape: [] };
  return tensorOf(name, type.subarray(tensor.begin, tensor.end));
}

function tensorOf(name: string, bytes: Buffer): OnnxPort | undefined {
  const fields = fieldsOf(bytes);
  if (fields === undefined) return undefined;
  const type = TYPES[fields.find(({ number }) => number === 1)?.value ?? 0] ?? 'unknown';
  const shaped = fields.find(({ number, value }) => number === 2 && value === undefined);
  if (shaped === undefined) return { name, type, shape: ['...'] };
  const dimensions = fieldsOf(bytes.subarray(shaped.begin, shaped.end));
  if (dimensions === undefined) return undefined;
  const shape: (number | string)[] = [];
  for (const { begin, end } of dimensions) {
    const dimension = bytes.subarray(shaped.begin + begin, shaped.begin + end);
    const size = fieldsOf(dimension)?.find(({ number }) => number === 1)?.value;
    // A size that is none, as of -1, is open.
    shape.push(size === undefined || size > 2 ** 40 ? '?' : size);
  }
  return { name, type, shape };
}

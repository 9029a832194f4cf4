/**
 * Converts and checks models with openvino-node, by its published types (2026.4), in a process of its own: native code
 * that crashes must not take modeldl along. It is asked and answers as `worker_protocol.py` says.
 */
import { readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { exit, stderr, stdin } from 'node:process';
import { createInterface } from 'node:readline';

const emit = (type, fields = {}) => writeSync(3, `${JSON.stringify({ type, ...fields })}\n`);

async function convert(request, ov) {
  emit('stage', { stage: 'Reading the model' });
  const model = await new ov.Core().readModel(request.input);
  emit('stage', { stage: 'Writing the IR' });
  ov.saveModelSync(model, request.output, request.precision === 'fp16');
  const note = compressedNote(readFileSync(request.output, 'utf8'), request.precision);
  return {
    versions: { openvino: String(ov.getOpenvinoVersion().buildNumber).split('-')[0] },
    warnings: note === undefined ? [] : [note],
  };
}

const COMPRESSED = { i8: 'int8', u8: 'int8', i4: 'int4', u4: 'int4', nf4: 'nf4', f4e2m1: 'mxfp4' };

/** What to say when the weights are not what was asked for, as the Python worker does: the API shows no constants. */
function compressedNote(ir, precision) {
  const bytes = {};
  let whole = 0;
  for (const [data] of ir.matchAll(/<data [^>]*\boffset="\d+"[^>]*>/g)) {
    const type = /\belement_type="(\w+)"/.exec(data)?.[1];
    const size = Number(/\bsize="(\d+)"/.exec(data)?.[1] ?? 0);
    whole += size;
    const kind = COMPRESSED[type];
    if (kind !== undefined) bytes[kind] = (bytes[kind] ?? 0) + size;
  }
  const [most] = Object.entries(bytes).sort((a, b) => b[1] - a[1]);
  if (most === undefined || most[1] * 2 <= whole) return undefined;
  return `Most weights of the original are compressed to ${most[0]} and stay so: ${precision} is for the others`;
}

async function check(request, ov) {
  emit('stage', { stage: 'Running the model once' });
  const core = new ov.Core();
  const model = await core.readModel(request.model);
  const compiled = await core.compileModel(model, 'CPU');
  const original =
    request.original === undefined ? undefined : await exactly(core, await core.readModel(request.original));
  const tried = new Set();
  for (const sizes of OPEN_SIZES) {
    const shapes = model.inputs.map((port) => fittingShape(dimensionsOf(port), sizes));
    if (tried.has(JSON.stringify(shapes))) continue;
    tried.add(JSON.stringify(shapes));
    const inputs = makeInputs(ov, compiled, shapes);
    let expected;
    let actual;
    try {
      expected = original === undefined ? undefined : infer(original, inputs);
      actual = infer(compiled, inputs);
    } catch (error) {
      if (!model.inputs.some((port) => port.getPartialShape().isDynamic())) throw error;
      continue;
    }
    const exact = original === undefined ? undefined : infer(await exactly(core, model), inputs);
    return report(request, model, actual, expected, exact);
  }
  return { passed: true, compared: false, reason: NO_SIZES, outputs: [], warnings: [NO_SIZES] };
}

const exactly = (core, model) => core.compileModel(model, 'CPU', { INFERENCE_PRECISION_HINT: 'f32' });

const NO_SIZES = 'It was not run: no sizes were found that fit its open dimensions';

/** The sizes that `openvino_worker.py` tries, for the reasons told there. */
const OPEN_SIZES = [
  { image: [224, 224], steps: 8, inner: 8 },
  { image: [48, 320], steps: 512, inner: 1 },
  { image: [640, 640], steps: 1536, inner: 1 },
  { image: [32, 320], steps: 16000, inner: 1 },
  { image: [64, 64], steps: 1, inner: 1 },
  { image: [512, 512], steps: 128, inner: 128 },
  { image: [112, 112], steps: 80, inner: 100 },
];

/** Least and most size of each dimension, -1 for no bound; undefined when not even their number is known. */
function dimensionsOf(port) {
  const shape = port.getPartialShape();
  if (shape.toString().includes('...')) return undefined;
  return shape.getDimensions().map((size) => {
    if (Array.isArray(size)) return size;
    return size < 0 ? [0, -1] : [size, size];
  });
}

function fittingShape(dimensions, { image, steps, inner }) {
  if (dimensions === undefined) return [1, steps];
  const rank = dimensions.length;
  const open = ([low, high]) => low !== high;
  const lastOpen = dimensions.findLastIndex((size, index) => index > 0 && open(size));
  return dimensions.map(([low, high], index) => {
    if (!open([low, high])) return low;
    const wanted =
      rank === 4
        ? [1, 3, ...image][index]
        : index === 0
          ? 1
          : index === lastOpen && index === rank - 1
            ? steps
            : inner;
    return Math.max(low, high > 0 ? Math.min(wanted, high) : wanted);
  });
}

const ARRAYS = {
  f32: Float32Array,
  f64: Float64Array,
  i8: Int8Array,
  u8: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
};

function makeInputs(ov, compiled, shapes) {
  const random = seeded(1);
  const request = compiled.createInferRequest();
  return shapes.map((shape, index) => {
    const type = String(request.getInputTensor(index).getElementType());
    const Values = ARRAYS[type];
    if (Values === undefined) throw new Error(`Inputs of type ${type} cannot be made`);
    const values = new Values(shape.reduce((product, size) => product * size, 1));
    for (let at = 0; at < values.length; at += 1) {
      if (type.startsWith('f')) values[at] = normal(random);
      else values[at] = type.endsWith('64') ? BigInt(random() < 0.5 ? 0 : 1) : random() < 0.5 ? 0 : 1;
    }
    return new ov.Tensor(type, shape, values);
  });
}

/** mulberry32: the same numbers each time, from 0 to 1. */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

function infer(compiled, inputs) {
  const request = compiled.createInferRequest();
  inputs.forEach((tensor, index) => request.setInputTensor(index, tensor));
  request.infer();
  return compiled.outputs.map((_port, index) => {
    const tensor = request.getOutputTensor(index);
    return { shape: tensor.getShape(), type: String(tensor.getElementType()), values: tensor.getData() };
  });
}

const NAMES = { f32: 'float32', f64: 'float64', i8: 'int8', u8: 'uint8', i16: 'int16', u16: 'uint16' };
Object.assign(NAMES, { i32: 'int32', u32: 'uint32', i64: 'int64', u64: 'uint64' });

function report(request, model, actual, expected, exact) {
  const outputs = actual.map(({ shape, type, values }, index) => ({
    name: nameOf(model.outputs[index], index),
    shape,
    type: NAMES[type] ?? type,
    finite: isFinite(type, values),
  }));
  const found = { passed: true, compared: false, outputs, warnings: [] };
  if (expected !== undefined && !expected.every(({ type, values }) => isFinite(type, values))) {
    return { ...found, reason: "the original's outputs are not finite with random inputs" };
  }
  if (!outputs.every(({ finite }) => finite))
    return { ...found, passed: false, reason: 'an output is not finite' };
  if (expected === undefined) return { ...found, reason: request.reason };
  if (expected.length !== exact.length) {
    const reason = `it has ${exact.length} outputs, the original ${expected.length}`;
    return { ...found, passed: false, reason };
  }
  for (const [index, { shape }] of exact.entries()) {
    const wanted = expected[index].shape;
    if (String(shape) === String(wanted)) continue;
    const reason = `the shape of ${outputs[index].name} is [${shape}], the original's is [${wanted}]`;
    // Shapes that depend on values may differ by rounding.
    const passed = shape.length === wanted.length && model.outputs[index].getPartialShape().isDynamic();
    return { ...found, passed, reason, warnings: [`Not compared: ${reason}`] };
  }
  const compared = outputs.map((output, index) => ({
    ...output,
    ...compare(expected[index].values, exact[index].values),
  }));
  return { ...found, compared: true, outputs: compared };
}

function nameOf(port, index) {
  try {
    return port.getAnyName();
  } catch {
    return `output ${index}`;
  }
}

function isFinite(type, values) {
  return !type.startsWith('f') || values.every((value) => Number.isFinite(value));
}

function compare(expected, actual) {
  if (expected.length === 0) return {};
  let [product, one, other, maxDifference, magnitude] = [0, 0, 0, 0, 0];
  for (let index = 0; index < expected.length; index += 1) {
    const [a, b] = [Number(expected[index]), Number(actual[index])];
    product += a * b;
    one += a * a;
    other += b * b;
    maxDifference = Math.max(maxDifference, Math.abs(a - b));
    magnitude = Math.max(magnitude, Math.abs(a));
  }
  const norms = Math.sqrt(one) * Math.sqrt(other);
  return { maxDifference, cosine: norms > 0 ? product / norms : Number(maxDifference === 0), magnitude };
}

const lines = createInterface({ input: stdin });
lines.once('line', async (line) => {
  try {
    const request = JSON.parse(line);
    const { addon } = createRequire(import.meta.url)(request.package);
    emit('result', await { convert, check }[request.job](request, addon));
    exit(0);
  } catch (error) {
    stderr.write(`${error?.stack ?? error}\n`);
    emit('error', { kind: error?.name ?? 'Error', message: String(error?.message ?? error) });
    exit(1);
  }
});
// Whoever asked is gone.
lines.once('close', () => exit(2));

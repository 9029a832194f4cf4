// @ts-check
/**
 * The converter `linear`: linear and logistic regression, written by whoever trained it as `linear.json`, to OpenVINO IR.
 * `{ "weights": [[…], …], "bias": […], "activation": "softmax" }` are scikit-learn's `coef_` and `intercept_`: a row of
 * weights and a bias for each output.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModeldlError } from 'modeldl';

/** @import { Converter, PlannedModel } from 'modeldl' */

const FILE = 'linear.json';
/** Of a 32-bit float. */
const FLOAT_BYTES = 4;
/** The operation of IR that each activation is, with its attributes. */
const ACTIVATIONS = {
  none: '',
  sigmoid: 'type="Sigmoid" version="opset1"',
  softmax: 'type="SoftMax" version="opset8"',
};

/** @typedef {{ weights: number[][], bias: number[], activation: keyof typeof ACTIVATIONS }} Linear */

/** @type {Converter} */
const linear = {
  name: 'linear',
  accepts: `linear and logistic regression (${FILE})`,
  makes: 'IR fp32',
  toolchains: ['none'],
  settings: {},
  plan: async (model, { precision, device }) => {
    if (!model.files.some(({ path }) => path === FILE)) {
      return { refused: `it holds no ${FILE}`, handlesModel: false };
    }
    if (precision !== 'fp32') {
      return {
        refused: `a linear model is converted to fp32 only, not to ${precision}`,
        hint: 'pass `--precision fp32`',
        handlesModel: true,
      };
    }
    // Undefined before it is fetched where its hub tells no size: then `run` says what is wrong with it.
    if ((await model.text(FILE)) !== undefined) await readLinear(model);
    // A number of four bytes takes at least two characters.
    const bytes = 4096 + 2 * (model.files.find(({ path }) => path === FILE)?.bytes ?? 0);
    return {
      converter: 'linear',
      toolchain: 'none',
      reads: [FILE],
      precision,
      device,
      settings: {},
      steps: ['write the IR'],
      adjustments: [],
      estimate: { diskBytes: bytes, resultBytes: bytes, memoryBytes: bytes * 2 },
    };
  },
  run: async (model, _plan, outDir) => {
    const { xml, bin } = toIr(await readLinear(model));
    await writeFile(join(outDir, 'openvino_model.xml'), xml);
    await writeFile(join(outDir, 'openvino_model.bin'), bin);
    return { versions: {}, warnings: [] };
  },
  // Nothing in Node.js has to be able to run IR: what is compared are the numbers in it.
  check: async (model, _plan, outDir) => {
    const { weights, bias } = await readLinear(model);
    const bin = await readFile(join(outDir, 'openvino_model.bin'));
    const asked = [...weights.flat(), ...bias];
    const whole = bin.length === asked.length * FLOAT_BYTES;
    const passed =
      whole && asked.every((value, at) => bin.readFloatLE(at * FLOAT_BYTES) === Math.fround(value));
    const finite = asked.every((value) => Number.isFinite(Math.fround(value)));
    return {
      passed: passed && finite,
      compared: false,
      reason: !passed
        ? 'the weights in it are not those of the model'
        : finite
          ? 'its weights were compared, and it was not run'
          : 'a weight is too large for fp32',
      outputs: [],
      warnings: [],
    };
  },
};

export const converters = [linear];

/**
 * @param {PlannedModel} model
 * @returns {Promise<Linear>}
 */
async function readLinear(model) {
  const text = (await model.text(FILE)) ?? '';
  /** @param {string} why */
  const refuse = (why) =>
    new ModeldlError('UNSUPPORTED', `Cannot convert ${model.reference}: ${FILE} ${why}`, {
      hint: 'expected `{ "weights": [[…], …], "bias": […], "activation": "none", "sigmoid" or "softmax" }`',
      details: { reference: model.reference },
    });
  /** @type {unknown} */
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw refuse('is no JSON');
  }
  if (typeof parsed !== 'object' || parsed === null) throw refuse('holds no object');
  const { weights, bias, activation = 'none' } = /** @type {Record<string, unknown>} */ (parsed);
  const isRow = (/** @type {unknown} */ row) =>
    Array.isArray(row) && row.length > 0 && row.every(Number.isFinite);
  if (!Array.isArray(weights) || weights.length === 0 || !weights.every(isRow))
    throw refuse('lacks `weights`');
  if (weights.some((row) => row.length !== weights[0].length)) throw refuse('has `weights` of unequal rows');
  if (!Array.isArray(bias) || !isRow(bias) || bias.length !== weights.length)
    throw refuse(`needs a \`bias\` of ${weights.length} numbers`);
  if (typeof activation !== 'string' || !Object.hasOwn(ACTIVATIONS, activation))
    throw refuse(`has an \`activation\` that is not known: ${String(activation)}`);
  return { weights, bias, activation: /** @type {keyof typeof ACTIVATIONS} */ (activation) };
}

/**
 * IR version 11: y = activation(x · weightsᵀ + bias).
 * @param {Linear} model
 */
function toIr({ weights, bias, activation }) {
  const [outputs, inputs] = [weights.length, weights[0]?.length ?? 0];
  const bin = Buffer.from(Float32Array.from([...weights.flat(), ...bias]).buffer);
  const split = outputs * inputs * FLOAT_BYTES;
  /** @type {string[]} */
  const layers = [];
  /** @type {string[]} */
  const edges = [];
  /**
   * Adds a layer whose inputs are other layers' only outputs; returns its output.
   * @param {string} name
   * @param {string} operation
   * @param {string} data attributes
   * @param {{ id: number, port: number, shape: number[] }[]} from
   * @param {number[] | undefined} shape of its output
   */
  const add = (name, operation, data, from, shape) => {
    const id = layers.length;
    const given = from.map((source, port) => {
      edges.push(
        `<edge from-layer="${source.id}" from-port="${source.port}" to-layer="${id}" to-port="${port}" />`,
      );
      return portOf(port, source.shape);
    });
    const input = given.length === 0 ? '' : `<input>${given.join('')}</input>`;
    const output = shape === undefined ? '' : `<output>${portOf(from.length, shape, name)}</output>`;
    layers.push(`<layer id="${id}" name="${name}" ${operation}>${data}${input}${output}</layer>`);
    return { id, port: from.length, shape: shape ?? [] };
  };
  const constant = 'type="Const" version="opset1"';
  const rows = [-1, outputs];
  const x = add(
    'x',
    'type="Parameter" version="opset1"',
    `<data shape="?,${inputs}" element_type="f32" />`,
    [],
    [-1, inputs],
  );
  const weight = add(
    'weights',
    constant,
    `<data element_type="f32" shape="${outputs}, ${inputs}" offset="0" size="${split}" />`,
    [],
    [outputs, inputs],
  );
  const product = add(
    'product',
    'type="MatMul" version="opset1"',
    '<data transpose_a="false" transpose_b="true" />',
    [x, weight],
    rows,
  );
  const shift = add(
    'bias',
    constant,
    `<data element_type="f32" shape="1, ${outputs}" offset="${split}" size="${outputs * FLOAT_BYTES}" />`,
    [],
    [1, outputs],
  );
  const broadcast = '<data auto_broadcast="numpy" />';
  let y = add(
    activation === 'none' ? 'y' : 'sum',
    'type="Add" version="opset1"',
    broadcast,
    [product, shift],
    rows,
  );
  if (activation !== 'none') {
    const data = activation === 'softmax' ? '<data axis="1" />' : '';
    y = add('y', ACTIVATIONS[activation], data, [y], rows);
  }
  add('result', 'type="Result" version="opset1"', '', [y], undefined);
  const xml = `<?xml version="1.0"?>\n<net name="linear" version="11"><layers>\n${layers.join('\n')}\n</layers><edges>\n${edges.join('\n')}\n</edges></net>\n`;
  return { xml, bin };
}

/**
 * @param {number} id
 * @param {number[]} shape
 * @param {string} [name] of the tensor
 */
function portOf(id, shape, name) {
  const names = name === undefined ? '' : ` names="${name}"`;
  return `<port id="${id}" precision="FP32"${names}>${shape.map((dim) => `<dim>${dim}</dim>`).join('')}</port>`;
}

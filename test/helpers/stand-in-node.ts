/**
 * A stand-in for openvino-node, whose native part comes from a server of its own: the parts of its published API (types of
 * 2026.4) that modeldl uses, as strict about arguments. A model is a JSON file: it multiplies its inputs.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from './store.js';

export interface StandInModel {
  /** Sizes, -1 or [least, most] for open ones, as `PartialShape.getDimensions` gives them. */
  readonly inputs: readonly {
    readonly name: string;
    readonly type: string;
    readonly dimensions: readonly (number | readonly [number, number])[];
  }[];
  readonly factor: number;
  /** The only sizes of the last dimension that it runs with. */
  readonly lengths?: readonly number[];
}

const ADDON = `
const fs = require('node:fs');
const expectType = (value, type) => {
  if (typeof value !== type) throw new TypeError('Cannot read argument: expected ' + type);
};
class Tensor {
  constructor(type, shape, data) {
    if (!['f32', 'i64', 'u8'].includes(type)) throw new Error('Cannot create ov::element::Type');
    if (!Array.isArray(shape) || !shape.every(Number.isInteger)) throw new Error('Invalid shape');
    if (data.length !== shape.reduce((a, b) => a * b, 1)) throw new Error('Memory allocated mismatches data');
    Object.assign(this, { type, shape, data });
  }
  getElementType() { return this.type; }
  getShape() { return this.shape; }
  getData() { return this.data.slice(); }
}
class PartialShape {
  constructor(dimensions) { this.dimensions = dimensions; }
  getDimensions() { return this.dimensions; }
  isDynamic() { return this.dimensions.some((size) => Array.isArray(size) || size < 0); }
  toString() { return '[' + this.dimensions.map((size) => (Array.isArray(size) ? size.join('..') : size < 0 ? '?' : size)) + ']'; }
}
class Output {
  constructor(name, dimensions) { this.name = name; this.dimensions = dimensions; }
  getAnyName() { return this.name; }
  getPartialShape() { return new PartialShape(this.dimensions); }
}
class Model {
  constructor(content) {
    this.content = content;
    this.inputs = content.inputs.map(({ name, dimensions }) => new Output(name, dimensions));
    this.outputs = content.inputs.map(({ name, dimensions }) => new Output('out_' + name, dimensions));
  }
}
class InferRequest {
  constructor(model) { this.model = model; this.tensors = []; this.results = []; }
  getInputTensor(index) { return new Tensor(this.model.content.inputs[index].type, [0], []); }
  setInputTensor(index, tensor) {
    if (!(tensor instanceof Tensor)) throw new TypeError('Argument #1 must be a Tensor');
    this.tensors[index] = tensor;
  }
  infer() {
    const { lengths, factor } = this.model.content;
    this.results = this.tensors.map(({ type, shape, data }) => {
      if (lengths !== undefined && !lengths.includes(shape.at(-1))) throw new Error('Shapes do not fit');
      return new Tensor(type, shape, data.map((value) => (typeof value === 'bigint' ? value : value * factor)));
    });
  }
  getOutputTensor(index) { return this.results[index]; }
}
class CompiledModel {
  constructor(model) { this.model = model; this.inputs = model.inputs; this.outputs = model.outputs; }
  createInferRequest() { return new InferRequest(this.model); }
}
class Core {
  async readModel(path) {
    expectType(path, 'string');
    const text = fs.readFileSync(path, 'utf8');
    if (text.startsWith('crash')) process.kill(process.pid, 'SIGSEGV');
    return new Model(JSON.parse(text.replace(/^<!--|-->[^]*$/g, '')));
  }
  async compileModel(model, device, config = {}) {
    if (!(model instanceof Model)) throw new TypeError('Expected a Model');
    expectType(device, 'string');
    return new CompiledModel(model);
  }
}
exports.default = {
  Core,
  Tensor,
  getOpenvinoVersion: () => ({ buildNumber: '2026.4.0-22900-abc', description: 'OpenVINO Runtime' }),
  saveModelSync(model, path, compress = true) {
    if (!(model instanceof Model)) throw new TypeError('Expected a Model');
    expectType(path, 'string');
    expectType(compress, 'boolean');
    const type = model.content.stored ?? (compress ? 'f16' : 'f32');
    const data = '<data element_type="' + type + '" shape="4" offset="0" size="16" />';
    fs.writeFileSync(path, '<!--' + JSON.stringify(model.content) + '-->' + data);
    fs.writeFileSync(path.replace(/xml$/, 'bin'), 'weights');
  },
};
`;

/** @returns a file beside whose `node_modules` the package is */
export async function standInNode(): Promise<string> {
  const directory = await temporaryDirectory();
  const root = join(directory, 'node_modules', 'openvino-node');
  await mkdir(join(root, 'bin'), { recursive: true });
  await mkdir(join(root, 'dist'));
  const manifest = { name: 'openvino-node', version: '2026.4.0', main: './dist/index.js' };
  await writeFile(join(root, 'package.json'), JSON.stringify(manifest));
  // Its native part, which Node.js would load by this name.
  await writeFile(join(root, 'bin', 'ov_node_addon.node'), '');
  await writeFile(join(root, 'dist', 'addon.js'), ADDON);
  await writeFile(join(root, 'dist', 'index.js'), "exports.addon = require('./addon').default;");
  return join(directory, 'index.js');
}

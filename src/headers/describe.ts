/** What the files of a model say of themselves, read in parts: of each set of weights one summary. */
import { stripVTControlCharacters } from 'node:util';
import { atMost } from '../at-most.js';
import { ModeldlError } from '../errors.js';
import { printable } from '../redact.js';
import type { ModelHeader, ModelPort, ModelWeights } from '../results.js';
import { quantizationOf } from '../select.js';
import { readConfig } from './config.js';
import { isIr } from './formats.js';
import { Unread, type PartlyRead } from './parts.js';
import { sharesByType, type TensorEntry } from './shares.js';

export interface LookedAt {
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
  /** Text of a small file; undefined where there is none. */
  text(path: string): Promise<string | undefined>;
  /** @param ahead bytes that one request asks for at least */
  open(path: string, ahead: number): PartlyRead;
  /** All of a large .xml may be read. */
  readonly isHere: boolean;
  /**
   * Told of tensors, by the file that names their set of weights: its header has no types where they turned out to be
   * damaged.
   */
  readonly onTensor?: (file: string, tensor: TensorEntry) => void;
}

export interface Contents {
  readonly headers: readonly ModelHeader[];
  readonly inputs: readonly ModelPort[];
  readonly outputs: readonly ModelPort[];
  readonly weights: readonly ModelWeights[];
  /** Sentences, of what was not looked at. */
  readonly unread: readonly string[];
}

/** Files of one set of weights; the first is the one that is named. */
interface Group {
  readonly file: string;
  readonly files: readonly string[];
}

/** Parts of one set of weights. */
const AT_ONCE = 16;
/** So many are looked at, of each format. */
const MOST_GROUPS = 6;
/** Larger ones are no descriptions; of those here they may be. */
const MOST_TEXT_BYTES = 256 * 1024;
/** Headers of a file in one part are longer than those of one of many. */
const AHEAD_BYTES = 64 * 1024;
const LEAST_AHEAD_BYTES = 8 * 1024;

const SHARD = /^(.*)-(\d{5,6})-of-(\d{5,6})\.(safetensors|gguf)$/i;

type Part = Partial<Omit<ModelHeader, 'file' | 'files' | 'format'>>;

interface Found extends Part {
  readonly inputs?: readonly Omit<ModelPort, 'file'>[];
  readonly outputs?: readonly Omit<ModelPort, 'file'>[];
  readonly weights?: readonly Omit<ModelWeights, 'file'>[];
}

/** @throws ModeldlError DISK for files here; what a hub refuses is a sentence */
export async function describeContents(model: LookedAt): Promise<Contents> {
  const paths = model.files.map(({ path }) => path);
  const headers: ModelHeader[] = [];
  const inputs: ModelPort[] = [];
  const outputs: ModelPort[] = [];
  const weights: ModelWeights[] = [];
  const unread: string[] = [];
  const look = async (
    format: ModelHeader['format'],
    all: readonly Group[],
    most: number,
    read: (group: Group) => Promise<Found | undefined>,
  ): Promise<void> => {
    for (const group of all.slice(0, most)) {
      const found = await reading(() => read(group));
      if (found === undefined) continue;
      const { file, files } = group;
      headers.push({ ...NOTHING, file, files: files.length, format, ...headerOf(found) });
      // One by one: a file may name more of them than a call takes arguments.
      for (const port of found.inputs ?? []) inputs.push({ file, ...port });
      for (const port of found.outputs ?? []) outputs.push({ file, ...port });
      for (const share of found.weights ?? []) weights.push({ file, ...share });
    }
    if (all.length > most)
      unread.push(`${all.length - most} more of ${format} were not looked at: name one behind \`//\``);
  };
  const ends = (ending: RegExp): readonly string[] => paths.filter((path) => ending.test(path));
  await look('safetensors', groupsOf(ends(/\.safetensors$/i)), MOST_GROUPS, (group) =>
    safetensors(model, group),
  );
  const ggufs = chosenGguf(groupsOf(ends(/\.gguf$/i)));
  await look('gguf', ggufs, MOST_GROUPS, (group) => gguf(model, group));
  const alone = (path: string): Group => ({ file: path, files: [path] });
  await look('onnx', ends(/\.onnx$/i).map(alone), MOST_GROUPS, (group) => onnx(model, group));
  const all = new Set(paths);
  const irs = ends(/\.xml$/i).filter((path) => isIr(path, all));
  await look('openvino', irs.map(alone), model.isHere ? Infinity : MOST_GROUPS, (group) => ir(model, group));
  return { headers, inputs, outputs, weights, unread };
}

const NOTHING = {
  architecture: null,
  parameters: null,
  types: [],
  quantization: null,
  contextLength: null,
  tokenizer: null,
  producer: null,
  opsets: {},
  unread: null,
} as const;

function headerOf({ inputs: _inputs, outputs: _outputs, weights: _weights, ...part }: Found): Part {
  return part;
}

/** What cannot be read is said; a damaged disk is the user's to know. */
async function reading(read: () => Promise<Found | undefined>): Promise<Found | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof Unread) return { unread: error.message };
    const refused =
      error instanceof ModeldlError && ['AUTH', 'GATED', 'NETWORK', 'NOT_FOUND'].includes(error.code);
    if (!refused) throw error;
    return { unread: error.message };
  }
}

/** Parts of one set lie together. */
function groupsOf(paths: readonly string[]): readonly Group[] {
  const groups = new Map<string, string[]>();
  for (const path of [...paths].sort()) {
    const [, base, , total] = SHARD.exec(path) ?? [];
    const key = base === undefined ? path : `${base} ${total ?? ''}`;
    const files = groups.get(key);
    if (files === undefined) groups.set(key, [path]);
    else files.push(path);
  }
  return [...groups.values()].flatMap((files) => (files[0] === undefined ? [] : [{ file: files[0], files }]));
}

/** Quantizations of one model say the same but for that, which their names tell: the first of each folder is looked at. */
function chosenGguf(groups: readonly Group[]): readonly Group[] {
  const seen = new Set<string>();
  return groups.filter(({ file }) => {
    const quantization = quantizationOf(file);
    if (quantization === undefined) return true;
    const folder = file.slice(0, file.lastIndexOf('/') + 1);
    const isFirst = !seen.has(folder);
    seen.add(folder);
    return isFirst;
  });
}

async function smallText(model: LookedAt, path: string): Promise<string | undefined> {
  const file = model.files.find((each) => each.path === path);
  if (file === undefined || (!model.isHere && file.bytes > MOST_TEXT_BYTES)) return undefined;
  return model.text(path);
}

async function safetensors(model: LookedAt, { file, files }: Group): Promise<Found> {
  const { readTensors, shardsOf, summarize } = await import('./safetensors.js');
  const folder = file.slice(0, file.lastIndexOf('/') + 1);
  const config = readConfig(await smallText(model, `${folder}config.json`));
  const { architecture = null, quantization = null, contextLength = null, packing } = config;
  const known = { architecture: plain(architecture), quantization: plain(quantization), contextLength };
  const shards = await named(model, file, files, shardsOf);
  if (shards.missing.length > 0) {
    const [first = ''] = shards.missing;
    return { ...known, unread: `its index names ${shown(first)}, which the model lacks` };
  }
  const ahead = Math.max(LEAST_AHEAD_BYTES, Math.floor((4 * AHEAD_BYTES) / shards.files.length));
  try {
    const tensors = await atMost(AT_ONCE, shards.files, (path) =>
      readTensors(model.open(path, Math.min(AHEAD_BYTES, ahead))),
    );
    const summary = await summarize(tensors, packing);
    for (const [name, { dtype: type, shape, data_offsets: offsets }] of tensors.flatMap((all) => [...all]))
      model.onTensor?.(file, { name, type, shape, bytes: offsets[1] - offsets[0] });
    return { ...known, ...typed(summary) };
  } catch (error) {
    if (!(error instanceof Unread)) throw error;
    return { ...known, unread: error.message };
  }
}

/** The index beside the parts of a model says which they are; where it is none, or too long, their names do. */
async function named(
  model: LookedAt,
  file: string,
  files: readonly string[],
  shardsOf: (text: string | undefined) => readonly string[] | undefined,
): Promise<{ readonly files: readonly string[]; readonly missing: readonly string[] }> {
  const [, base, , total] = SHARD.exec(file) ?? [];
  if (base === undefined) return { files, missing: [] };
  const folder = base.slice(0, base.lastIndexOf('/') + 1);
  const names = shardsOf(await smallText(model, `${base}.safetensors.index.json`))?.map(
    (name) => `${folder}${name}`,
  );
  if (names === undefined) {
    const lacks = files.length < Number(total) ? [`${base}-…-of-${total ?? ''}.safetensors`] : [];
    return { files, missing: lacks };
  }
  const present = new Set(model.files.map(({ path }) => path));
  return { files: names, missing: names.filter((name) => !present.has(name)) };
}

async function gguf(model: LookedAt, { file, files }: Group): Promise<Found> {
  const { readGguf } = await import('./gguf.js');
  const parts = await atMost(AT_ONCE, files, async (path) => {
    const tensors: TensorEntry[] = [];
    const ahead = path === file ? AHEAD_BYTES : LEAST_AHEAD_BYTES;
    const onTensor = model.onTensor === undefined ? undefined : (tensor: TensorEntry) => tensors.push(tensor);
    const summary = await readGguf(model.open(path, ahead), onTensor);
    return { summary, tensors };
  });
  for (const tensor of parts.flatMap(({ tensors }) => tensors)) model.onTensor?.(file, tensor);
  const summaries = parts.map(({ summary }) => summary);
  const [first = {}] = summaries;
  const unread = summaries.find((summary) => summary.unread !== undefined)?.unread;
  const whole = (first.parts ?? 1) <= files.length;
  const types = new Map<string, number>();
  for (const summary of summaries) {
    for (const { type, bytes } of summary.types ?? []) types.set(type, (types.get(type) ?? 0) + bytes);
  }
  const parameters = summaries.reduce((sum, summary) => sum + (summary.parameters ?? NaN), 0);
  const tokens = first.tokens === undefined ? '' : `, ${first.tokens} tokens`;
  return {
    architecture: plain(first.architecture ?? null),
    parameters: whole && Number.isFinite(parameters) ? parameters : null,
    types: sharesByType(types),
    quantization: first.quantization ?? quantizationOf(file) ?? null,
    contextLength: first.contextLength ?? null,
    tokenizer: first.tokenizer === undefined ? null : plain(`${first.tokenizer}${tokens}`),
    unread: unread ?? (whole ? null : `only ${files.length} of its ${first.parts ?? 0} parts are here`),
  };
}

async function onnx(model: LookedAt, { file }: Group): Promise<Found> {
  const { readOnnx } = await import('./onnx.js');
  const { producer, opsets, inputs, outputs, unread } = await readOnnx(model.open(file, LEAST_AHEAD_BYTES));
  return {
    producer: plain(producer ?? null),
    opsets: Object.fromEntries(Object.entries(opsets).map(([domain, version]) => [shown(domain), version])),
    inputs,
    outputs,
    unread: unread ?? null,
  };
}

async function ir(model: LookedAt, { file }: Group): Promise<Found | undefined> {
  const { readIr } = await import('./ir.js');
  const onTensor = (tensor: TensorEntry): void => model.onTensor?.(file, tensor);
  const summary = await readIr(model.open(file, LEAST_AHEAD_BYTES), model.isHere, onTensor);
  if (summary === undefined) return undefined;
  const { inputs, outputs, weights, precision, unread } = summary;
  return {
    quantization: plain(precision ?? null),
    types: weights,
    inputs,
    outputs,
    weights,
    unread: unread ?? null,
  };
}

function typed({ parameters, types }: Pick<ModelHeader, 'parameters' | 'types'>): Part {
  return { parameters, types: types.map(({ type, bytes }) => ({ type: shown(type), bytes })) };
}

/** What a file says is nobody's to format a terminal with. */
function shown(text: string): string {
  return printable(stripVTControlCharacters(text)).replaceAll(/\s+/g, ' ').slice(0, 200);
}

function plain(text: string | null): string | null {
  return text === null ? null : shown(text);
}

/**
 * An OpenVINO IR at its hub or here: its .xml, which of large models has some MB. There its beginning is read, where inputs
 * are, and what lies around the end of the layers, where outputs are.
 */
import { createIrParser, type IrSummary } from '../ir.js';
import { Unread, type PartlyRead } from './parts.js';
import type { OnTensor } from './shares.js';

export interface PartOfIr extends IrSummary {
  /** What is not known of it. */
  readonly unread?: string;
}

/** Of a .xml; those of models with hundreds of layers have some MB. */
const LARGEST_BYTES = 256 * 1024 * 1024;
const STEP_BYTES = 1024 * 1024;
/** At a hub larger ones are not read as a whole. */
const WHOLE_BYTES = 160 * 1024;
const HEAD_BYTES = 32 * 1024;
const TAIL_BYTES = 32 * 1024;
/** Before the end of the layers, where results lie. */
const RESULTS_BYTES = 16 * 1024;
const PROBE_BYTES = 2 * 1024;
/** The end of all layers, not of those of a body within one: OpenVINO indents by tabs. */
const LAYERS_END = '\n\t</layers>';

/** Undefined for what is no IR. @throws Unread */
export async function readIr(
  file: PartlyRead,
  whole: boolean,
  onTensor?: OnTensor,
): Promise<PartOfIr | undefined> {
  const head = await file.read(0, HEAD_BYTES);
  const size = file.size() ?? head.length;
  if (size > LARGEST_BYTES) throw new Unread('it is longer than any IR');
  return whole || size <= WHOLE_BYTES ? readAll(file, size, onTensor) : readEnds(file, head, size);
}

async function readAll(
  file: PartlyRead,
  size: number,
  onTensor: OnTensor | undefined,
): Promise<IrSummary | undefined> {
  const parser = await createIrParser(onTensor);
  const decoder = new TextDecoder();
  for (let at = 0; at < size;) {
    const bytes = (await file.read(at, Math.min(size, at + STEP_BYTES))).subarray(0, size - at);
    if (bytes.length === 0) break;
    parser.write(decoder.decode(bytes, { stream: true }));
    at += bytes.length;
  }
  return parser.end();
}

async function readEnds(file: PartlyRead, head: Buffer, size: number): Promise<PartOfIr | undefined> {
  const beginning = head.subarray(0, HEAD_BYTES).toString('latin1');
  const firstLayers = beginning.lastIndexOf('</layer>');
  if (!/^\s*(<\?xml[^>]*\?>\s*)?<net\s/.test(beginning)) return undefined;
  if (firstLayers < 0) throw new Unread('its first layer is longer than what is read of it');
  const tail = (await file.read(size - TAIL_BYTES, size)).subarray(0, TAIL_BYTES).toString('latin1');
  const information = tail.lastIndexOf('<rt_info>');
  const results = await lastLayers(file, HEAD_BYTES, size - TAIL_BYTES, tail);
  const parser = await createIrParser();
  // Three pieces of one document, which is well formed again without what lies between.
  const text = [
    beginning.slice(0, firstLayers + '</layer>'.length),
    results ?? '',
    '</layers>',
    information < 0 ? '</net>' : tail.slice(information),
  ].join('');
  parser.write(Buffer.from(text, 'latin1').toString('utf8'));
  const summary = parser.end();
  if (summary === undefined) return undefined;
  const missing = results === undefined ? 'its outputs, ' : '';
  return {
    ...summary,
    weights: [],
    unread: `only its ends were read: ${missing}inputs after its first layers and the types of its weights are not known`,
  };
}

/** Text of the last layers; undefined where their end is not found between these places. */
async function lastLayers(
  file: PartlyRead,
  from: number,
  to: number,
  tail: string,
): Promise<string | undefined> {
  let before = from;
  let after = to;
  if (!/<edge[s ]/.test(tail) && tail.includes('<layer ')) before = to;
  const probe = async (at: number, length: number): Promise<string> =>
    (await file.read(at, at + length)).subarray(0, length).toString('latin1');
  while (after - before > PROBE_BYTES) {
    const middle = Math.floor((before + after) / 2);
    if (/<edge[s ]/.test(await probe(middle, PROBE_BYTES / 2))) after = middle;
    else before = middle;
  }
  const begin = Math.max(0, before - RESULTS_BYTES);
  const text = await probe(begin, after + PROBE_BYTES - begin);
  const end = text.indexOf(LAYERS_END);
  const first = text.indexOf('\n\t\t<layer ');
  return end < 0 || first < 0 || first > end ? undefined : text.slice(first, end);
}

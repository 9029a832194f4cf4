/** Reading IRs that OpenVINO 2026.4 and nncf 3.4 wrote; how they were made is in `fixtures/ir/README.md`. */
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TensorEntry } from '../src/headers/shares.js';
import { createIrParser, type IrSummary } from '../src/ir.js';

async function summaryOf(...pieces: readonly string[]): Promise<IrSummary | undefined> {
  const parser = await createIrParser();
  for (const piece of pieces) parser.write(piece);
  return parser.end();
}

describe('an IR', () => {
  let branches: string;
  let int4: string;
  /** Of a condition with two bodies, an open and a bounded dimension, a scalar, and a name with a comma. */
  const summary: IrSummary = {
    inputs: [
      { name: 'x', type: 'f32', shape: ['?', '1..8', 16] },
      { name: 'n', type: 'i64', shape: [2] },
      { name: 'flag', type: 'boolean', shape: [] },
    ],
    outputs: [
      { name: 'scores', type: 'f32', shape: ['?', '?', 4] },
      { name: 'counts, all', type: 'i64', shape: [2] },
    ],
    weights: [
      { type: 'f16', bytes: 128 },
      { type: 'i64', bytes: 32 },
    ],
  };

  beforeAll(async () => {
    const read = (name: string): Promise<string> =>
      readFile(new URL(`fixtures/ir/${name}.xml`, import.meta.url), 'utf8');
    [branches, int4] = await Promise.all([read('branches'), read('int4')]);
  });

  it('has inputs and outputs of its own, not those of its branches', async () => {
    expect(await summaryOf(branches)).toEqual(summary);
  });

  it('has weights of what they are stored as', async () => {
    const { inputs, outputs, weights } = (await summaryOf(int4)) ?? {};
    expect({ inputs, outputs }).toEqual({
      inputs: [{ name: 'x', type: 'f32', shape: ['?', 32] }],
      outputs: [{ name: 'y', type: 'f32', shape: ['?', 32] }],
    });
    expect(weights?.map(({ type }) => type)).toEqual(['i4', 'f16', 'i64']);
    // Two matrices of 32 x 32 in 4 bits.
    expect(weights?.[0]?.bytes).toBe(1024);
  });

  it('tells of each constant once, by its layer, or by the layer whose body it is in', async () => {
    for (const text of [int4, branches]) {
      const told: TensorEntry[] = [];
      const parser = await createIrParser((tensor) => told.push(tensor));
      parser.write(text);
      const weights = parser.end()?.weights ?? [];
      for (const { type, bytes } of weights) {
        const own = told.filter((tensor) => tensor.type === type);
        expect(own.reduce((sum, tensor) => sum + tensor.bytes, 0)).toBe(bytes);
      }
      const layers = [...text.matchAll(/^\t\t<layer id="\d+" name="([^"]*)"/gm)].map(([, name]) => name);
      expect(told.filter(({ name }) => !layers.includes(name))).toEqual([]);
      expect(told.length).toBeGreaterThan(1);
    }
  });

  it('of an older OpenVINO is named by the ports that lead to its results', async () => {
    expect(await summaryOf(branches.replaceAll(/ output_names="[^"]*"/g, ''))).toEqual(summary);
  });

  it('without tensor names is named by its layers', async () => {
    const unnamed = branches.replaceAll(/ (output_)?names="[^"]*"/g, '');
    const { inputs, outputs } = (await summaryOf(unnamed)) ?? {};
    expect(inputs?.map(({ name }) => name)).toEqual(['x', 'n', 'flag']);
    expect(outputs?.map(({ name }) => name)).toEqual(['Result_18', 'Result_19']);
  });

  it('counts once what several constants share', async () => {
    const shared = branches.replace('offset="16" size="16"', 'offset="0" size="16"');
    expect((await summaryOf(shared))?.weights).toContainEqual({ type: 'i64', bytes: 16 });
  });

  it('may come in pieces of any size', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), async (size) => {
        const pieces = Array.from({ length: Math.ceil(branches.length / size) }, (_, index) =>
          branches.slice(index * size, (index + 1) * size),
        );
        expect(await summaryOf(...pieces)).toEqual(summary);
      }),
      { numRuns: 20 },
    );
  });

  it('that is cut anywhere says nothing', async () => {
    const end = branches.indexOf('</net>') + '</net>'.length;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: end - 1 }), async (length) => {
        expect(await summaryOf(branches.slice(0, length))).toBeUndefined();
      }),
    );
  });

  it('is not read on below what no model nests', async () => {
    const deep = '<a>'.repeat(2_000) + '</a>'.repeat(2_000);
    expect(await summaryOf(branches.replace('</net>', '<rt_info><a/></rt_info></net>'))).toEqual(summary);
    expect(await summaryOf(branches.replace('</net>', deep), '</net>')).toBeUndefined();
  });

  it.each(['', 'not XML', '<project><net/></project>', '<net', '{"net": 1}'])('is not %j', async (text) => {
    expect(await summaryOf(text)).toBeUndefined();
  });
});

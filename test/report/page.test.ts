/** The page of a report: whatever a name is, it is text; and whatever a model has, the page stays small. */
import { createHash } from 'node:crypto';
import { Parser } from 'htmlparser2';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clip, html, link, documentOf, type Markup } from '../../src/report/html.js';
import { blockOf, createLayers, MOST_BLOCKS, MOST_LARGEST } from '../../src/report/layers.js';
import { reportPage, type ReportedModel } from '../../src/report/page.js';
import { HOSTILE, sampleModels } from './sample.js';

interface Parsed {
  /** Each element with its attributes' names, in order. */
  readonly elements: readonly string[];
  readonly attributes: readonly (readonly [element: string, name: string, value: string])[];
  readonly text: string;
  readonly comments: number;
}

function parse(page: string): Parsed {
  const elements: string[] = [];
  const attributes: (readonly [string, string, string])[] = [];
  let text = '';
  let comments = 0;
  const parser = new Parser({
    onopentag(name, values) {
      elements.push(`${name} ${Object.keys(values).join(' ')}`);
      for (const [key, value] of Object.entries(values)) attributes.push([name, key, value]);
    },
    ontext: (piece) => (text += piece),
    oncomment: () => (comments += 1),
  });
  parser.end(page);
  return { elements, attributes, text, comments };
}

const inBody = (markup: Markup): string => /<body>([^]*)<\/body>/.exec(documentOf('', '', markup))?.[1] ?? '';

const ATTRIBUTES = new Set([
  ...['charset', 'http-equiv', 'content', 'name', 'lang', 'class', 'id', 'href', 'rel', 'scope', 'datetime'],
  ...[
    'data-label',
    'aria-labelledby',
    'aria-hidden',
    'viewbox',
    'preserveaspectratio',
    'x',
    'width',
    'height',
  ],
]);

/** Texts of all kinds, with hostile ones among them and within them. */
const texts = fc.oneof(
  fc.constantFrom(...HOSTILE.filter(({ length }) => length < 1000)),
  fc.string({ unit: 'binary' }),
  fc.tuple(fc.string(), fc.constantFrom(...HOSTILE.slice(0, 8)), fc.string()).map((parts) => parts.join('')),
);

describe('a value in a template', () => {
  it('is text in an element and in quotes, whatever it is', () => {
    fc.assert(
      fc.property(texts, (value) => {
        const { elements, attributes, text } = parse(inBody(html`<p title="${value}">${value}</p>`));
        expect(elements).toEqual(['p title']);
        expect(attributes[0]?.[2]).toBe(text);
        expect(text.replace(/[\n\t]/g, '')).not.toMatch(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
        expect(text.isWellFormed()).toBe(true);
      }),
    );
  });

  it('is what it was where nothing of it has to be changed', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'é', '猫', '<', '>', '&', '"', "'", '`', ' ') }),
        (value) => {
          expect(parse(inBody(html`<p>${value}</p>`)).text).toBe(value);
        },
      ),
    );
  });

  it('cannot pass itself off as markup, and is nothing when it is null', () => {
    const forged = { markup: '<b>', toString: () => '<b>' } as unknown as string;
    expect(() => html`<p>${forged}</p>`).toThrow();
    expect(inBody(html`<p>${null}${['<', [html`<b>${'>'}</b>`, 1]]}</p>`)).toBe('<p>&lt;<b>&gt;</b>1</p>');
  });

  it('that is long keeps its beginning and its end', () => {
    expect(clip('abcdefgh', 5)).toBe('ab…gh');
    expect(inBody(html`${`begin${'x'.repeat(1_000_000)}end`}`)).toMatch(/^begin.{900,1000}end$/);
  });
});

describe('a link', () => {
  it.each([
    'javascript:alert(1)',
    'JAVASCRIPT:alert(1)',
    ' javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    '//example.com',
    '/x',
    'https://user:secret@example.com/',
    `https://example.com/${'x'.repeat(2000)}`,
    '',
  ])('is a text for %s', (address) => {
    expect(parse(inBody(link(address))).elements).toEqual([]);
  });

  it('leads to web addresses, and is held to them whatever is in one', () => {
    expect(inBody(link('https://hf.co/org/name'))).toContain('href="https://hf.co/org/name"');
    fc.assert(
      fc.property(texts, (tail) => {
        const { elements, attributes } = parse(inBody(link(`https://example.com/${tail}`)));
        expect(['', 'a href rel']).toContain(elements.join());
        const href = attributes.find(([, name]) => name === 'href')?.[2];
        expect(href === undefined || new URL(href).origin === 'https://example.com').toBe(true);
      }),
    );
  });
});

describe('a page', () => {
  const plain = sampleModels(() => 'name');

  it('has our elements and attributes only, whatever the names are', () => {
    const expected = parse(reportPage(plain)).elements;
    fc.assert(
      fc.property(fc.array(texts, { minLength: 1, maxLength: 20 }), (names) => {
        let at = 0;
        const next = (): string => `x${names[at++ % names.length] ?? ''}`;
        const { elements, attributes, comments } = parse(reportPage(sampleModels(next)));
        const shape = (all: readonly string[]): readonly string[] => [...new Set(all)].sort();
        expect(shape(elements).filter((element) => !shape(expected).includes(element))).toEqual([]);
        expect(attributes.filter(([, name]) => !ATTRIBUTES.has(name))).toEqual([]);
        expect(comments).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('has exactly the elements of a harmless one where each name is the same hostile one', () => {
    for (const name of HOSTILE) {
      const hostile = parse(reportPage(sampleModels(() => name)));
      expect(hostile.elements, name.slice(0, 40)).toEqual(parse(reportPage(plain)).elements);
      expect(reportPage(sampleModels(() => name)).length).toBeLessThan(200_000);
    }
  });

  it('allows its own style by its hash and nothing else, and links to web addresses alone', () => {
    const page = reportPage(sampleModels(() => 'javascript:x', 'https://hub.example/<org>/name'));
    const [, style = ''] = /<style>([^]*?)<\/style>/.exec(page) ?? [];
    const digest = createHash('sha256').update(style).digest('base64');
    const { attributes } = parse(page);
    expect(attributes).toContainEqual([
      'meta',
      'content',
      `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`,
    ]);
    const links = attributes
      .filter(([, name]) => name === 'href' || name === 'src')
      .map(([, , value]) => value);
    expect([...new Set(links)].sort()).toEqual(['#m0', '#m1', 'https://hub.example/%3Corg%3E/name']);
    expect(page).not.toMatch(/<script|url\(|@import/i);
  });

  it('says what was recorded, and what was not measured', () => {
    const text = parse(reportPage(plain)).text.replace(/\s+/g, ' ');
    expect(text).toContain('270 B, 27.0 % of the original');
    expect(text).toContain('cosine 0.99971, at most 0.0297 of 1.2');
    expect(text).toContain('30.7 s to convert');
    expect(text).toMatch(/name \[1, 4\] ?0.99971 ?0.0297 ?1.2 ?yes/);
    expect(text).toMatch(/name \[1, 4\]( ?not measured){3} ?yes/);
    const [model, conversion] = plain;
    if (model === undefined || conversion === undefined) throw new Error('Expected two models');
    const unchecked = { ...conversion, shown: { ...conversion.shown, check: null } };
    expect(parse(reportPage([model, unchecked])).text).toMatch(
      /not measured: it was converted without its check/,
    );
    const ran = { passed: true, compared: false, reason: 'no runtime', outputs: [], warnings: [] };
    const uncompared = { ...conversion, shown: { ...conversion.shown, check: ran } };
    expect(parse(reportPage([model, uncompared])).text.replace(/\s+/g, ' ')).toContain(
      'not measured. The result was run once and not compared: no runtime.',
    );
  });

  it('says at first sight that a check complained, and of nothing else', () => {
    const [model, conversion] = plain;
    if (model === undefined || conversion?.shown.check == null) throw new Error('Expected a check');
    const { check } = conversion.shown;
    const compared = (changed: Partial<typeof check>): string => {
      const shown = { ...conversion.shown, check: { ...check, ...changed } };
      const [, table = ''] =
        /<table>([^]*?)<\/table>/.exec(reportPage([model, { ...conversion, shown }])) ?? [];
      return table;
    };
    expect(compared({ warnings: [] })).not.toContain('class="warn"');
    expect(compared({ warnings: ['a', 'b'] })).toContain('<a class="warn" href="#m1">2 warnings</a>');
    const outputs = check.outputs.map((output) => ({ ...output, finite: false }));
    expect(parse(compared({ compared: false, warnings: [], outputs })).text).toContain(
      'not measured, the result ran not all values are finite',
    );
  });

  it('tells conversions of one name by their keys, and those of several models and revisions by these', () => {
    const [model, conversion] = plain;
    if (model === undefined || conversion?.made == null) throw new Error('Expected a conversion');
    const { shown, made } = conversion;
    const named = { ...shown, precision: 'int8', device: 'CPU' };
    const keyed = (key: string, id = 'name'): ReportedModel => ({
      ...conversion,
      shown: { ...named, id },
      made: { ...made, key },
    });
    const headings = (models: readonly ReportedModel[]): readonly string[] =>
      [...reportPage(models).matchAll(/<h2 id="m\d+">([^<]*)<\/h2>/g)].map(([, heading = '']) => heading);
    expect(headings([model, keyed('1'.repeat(64))])).toEqual(['name', 'int8 for CPU']);
    expect(headings([model, keyed('1'.repeat(64)), keyed('2'.repeat(64))])).toEqual([
      'name',
      'int8 for CPU (11111111)',
      'int8 for CPU (22222222)',
    ]);
    expect(headings([model, keyed('1'), keyed('2', 'other')])).toEqual([
      'name',
      'int8 for CPU: name',
      'int8 for CPU: other',
    ]);
    const of = (revision: string, reference = ''): ReportedModel['shown'] => ({
      ...named,
      ...{ id: 'name', revision, reference },
    });
    const pulled = (revision: string, reference?: string): ReportedModel => ({
      ...model,
      shown: { ...of(revision, reference), kind: 'pulled' },
    });
    const [old, young] = ['a'.repeat(40), 'v2'] as const;
    const converted = { ...keyed('1'), shown: of(old) };
    expect(headings([pulled(old), converted, pulled(young)])).toEqual([
      'name@aaaaaaaaaaaa',
      'int8 for CPU: name@aaaaaaaaaaaa',
      'name@v2',
    ]);
    const parts = ['onnx', 'pt'].map((part) => pulled(old, `hf:name@${old}//${part}`));
    expect(headings(parts)).toEqual(['hf:name@aaaaaaaaaaaa//onnx', 'hf:name@aaaaaaaaaaaa//pt']);
  });

  it('is the same for the same models, and names every bar’s values in words', () => {
    expect(reportPage(sampleModels(() => 'name'))).toBe(reportPage(plain));
    const { attributes } = parse(reportPage(plain));
    const pictures = attributes.filter(([element, name]) => element === 'svg' && name === 'aria-hidden');
    expect(pictures.length).toBeGreaterThan(5);
    expect(pictures.every(([, , value]) => value === 'true')).toBe(true);
  });

  it('shows no layers of a file that turned out to be damaged', () => {
    const [model] = plain;
    if (model === undefined) throw new Error('Expected a model');
    const headers = model.shown.headers.map((header) => ({ ...header, types: [], unread: 'it is damaged' }));
    const { text } = parse(reportPage([{ ...model, shown: { ...model.shown, headers } }]));
    expect(text).toContain('it is damaged');
    expect(text).not.toContain('Layers:');
  });

  it('takes the worst of more outputs than a call takes arguments', () => {
    const [model, conversion] = plain;
    const [output] = conversion?.shown.check?.outputs ?? [];
    if (model === undefined || conversion === undefined || output === undefined)
      throw new Error('Expected an output');
    const outputs = [{ ...output, cosine: 0.25 }, ...Array<typeof output>(200_000).fill(output)];
    const check = { passed: true, compared: true, warnings: [], outputs };
    const page = reportPage([model, { ...conversion, shown: { ...conversion.shown, check } }]);
    expect(page).toContain('cosine 0.25, at most');
    expect(page.length).toBeLessThan(100_000);
  });

  it('of forty models with eight sets of 10,000 tensors each has less than 3 MB, and says what it leaves out', () => {
    const layers = createLayers();
    for (let at = 0; at < 10_000; at += 1)
      layers.add({
        name: `block.${at}.${'weight'.repeat(50)}`,
        type: `T${at % 30}`,
        shape: [at, 4],
        bytes: 4 * at,
      });
    const told = layers.layers();
    const [first] = plain;
    if (first === undefined) throw new Error('Expected a model');
    const [header] = first.shown.headers;
    if (header === undefined) throw new Error('Expected a header');
    const types = Array.from({ length: 30 }, (_, at) => ({ type: `T${at}`, bytes: 30 - at }));
    const headers = Array.from({ length: 12 }, (_, at) => ({
      ...header,
      file: `part-${at}.safetensors`,
      types,
    }));
    const port = { file: 'x', name: 'n'.repeat(300), type: 'f32', shape: Array<number>(500).fill(1000) };
    const ports = Array<typeof port>(500).fill(port);
    const files = Array.from({ length: 3000 }, (_, at) => ({
      path: `${at}`,
      bytes: at,
      sha256: 'f'.repeat(64),
    }));
    const model: ReportedModel = {
      ...first,
      shown: { ...first.shown, headers, inputs: ports, outputs: ports, files },
      layers: new Map(headers.map(({ file }) => [file, told])),
    };
    const page = reportPage(Array<ReportedModel>(40).fill(model), 7);
    expect(page.length).toBeLessThan(3_000_000);
    const { text } = parse(page);
    for (const said of [
      /7 more models not listed/,
      /480 more inputs not listed/,
      /2980 more smaller files not listed/,
      /4 more sets of weights not listed/,
      /22 other types/,
      /Left out: 9996 smaller blocks with\s+9996 tensors/,
    ])
      expect(text).toMatch(said);
    expect(reportPage([model]).length).toBeLessThan(300_000);
  });
});

describe('layers', () => {
  it.each([
    ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0'],
    ['self.encoder.layer.11.output.dense.weight/scale', 'encoder.layer.11'],
    ['__module.embeddings.word_embeddings/aten::embedding/Constant', 'embeddings'],
    ['embeddings.word_embeddings.weight', 'embeddings.word_embeddings'],
    ['blk.3.attn_q.weight', 'blk.3'],
    ['bert/encoder/layer_2/attention/kernel', 'bert.encoder.layer_2'],
    ['conv2d_56.w_0', 'conv2d_56'],
    ['Constant_9021', 'Constant_*'],
    ['31', '*'],
    ['weight', 'weight'],
    ['', ''],
    ['...///', ''],
    ['0.weight', '0'],
  ])('%j is of the block %j', (name, block) => {
    expect(blockOf(name)).toBe(block);
  });

  it('are summed by block and type, the largest first, and what is left out is counted', () => {
    const collector = createLayers();
    for (let at = 0; at < MOST_BLOCKS + 5; at += 1) {
      collector.add({ name: `h.${at}.q`, type: 'i8', shape: [at], bytes: 10 * at });
      collector.add({ name: `h.${at}.scale`, type: 'f16', shape: [], bytes: at });
    }
    const { tensors, bytes, blocks, leftOut, largest } = collector.layers();
    const last = MOST_BLOCKS + 4;
    expect(tensors).toBe(2 * (MOST_BLOCKS + 5));
    expect(blocks).toHaveLength(MOST_BLOCKS);
    expect(blocks[0]).toEqual({
      name: `h.${last}`,
      tensors: 2,
      bytes: 11 * last,
      types: [
        { type: 'i8', bytes: 10 * last },
        { type: 'f16', bytes: last },
      ],
    });
    expect(leftOut).toEqual({ blocks: 5, tensors: 10, bytes: 11 * (0 + 1 + 2 + 3 + 4) });
    expect(blocks.reduce((sum, block) => sum + block.bytes, leftOut.bytes)).toBe(bytes);
    expect(largest.map((tensor) => tensor.bytes)).toEqual(
      Array.from({ length: MOST_LARGEST }, (_, at) => 10 * (last - at)),
    );
  });
});

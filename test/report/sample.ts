/** A model and a conversion for pages, whose every text comes from one source: names that a hub, a file or a record may bring. */
import { createLayers } from '../../src/report/layers.js';
import type { ReportedModel } from '../../src/report/page.js';

/** What is told to end markup, quotes, styles, comments and lines, to be run, to turn text around, or to be long. */
export const HOSTILE: readonly string[] = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)",
  ']]><svg onload=alert(1)>',
  '</style></title></textarea><b>',
  '<!-- --><!--',
  '&lt;script&gt;&#60;',
  '\u202egnp.exe\u2066',
  'nul\0byte',
  '\x1b[31mred\x1b]0;title\x07',
  'line\r\nend\u2028\u2029',
  'lone \ud800 half',
  'javascript:alert(1)',
  `a${'\u0301'.repeat(3000)}`,
  'W'.repeat(1_000_000),
  '`${alert(1)}`',
];

/** @param text gives each text of it; the same each time for pages that differ in nothing else */
export function sampleModels(text: () => string, page: string = text()): readonly ReportedModel[] {
  const file = text();
  const type = text();
  const layers = createLayers();
  for (let at = 0; at < 3; at += 1) layers.add({ name: text(), type, shape: [text(), 4], bytes: 100 });
  const shown: ReportedModel['shown'] = {
    reference: text(),
    hub: text(),
    id: text(),
    revision: text(),
    path: text(),
    cache: text(),
    kind: 'pulled',
    bytes: 1000,
    license: text(),
    gated: true,
    task: text(),
    page,
    recipe: null,
    files: [{ path: file, bytes: 1000, sha256: text() }],
    pickles: [text()],
    leftOut: [{ path: text(), bytes: 10 }],
    conversions: [],
    precision: null,
    device: null,
    converter: null,
    settings: {},
    pulledAt: text(),
    check: null,
    inputs: [{ file, name: text(), type: text(), shape: [text()] }],
    outputs: [{ file: text(), name: text(), type: text(), shape: [1, text()] }],
    weights: [],
    access: null,
    formats: [{ format: text(), quantization: text(), files: 1, bytes: 1000 }],
    headers: [
      {
        file,
        files: 2,
        format: 'safetensors',
        architecture: text(),
        parameters: 75,
        types: [{ type, bytes: 300 }],
        quantization: text(),
        contextLength: 512,
        tokenizer: text(),
        producer: text(),
        opsets: { [text()]: 17 },
        unread: text(),
      },
    ],
    outlook: [],
    unread: [text()],
    fetchedBytes: 0,
  };
  const told = new Map([[file, layers.layers()]]);
  const output = { shape: [1, 4], finite: true } as const;
  return [
    { shown, layers: told, made: null, madeOf: null },
    {
      shown: {
        ...shown,
        kind: 'converted',
        bytes: 270,
        precision: text(),
        device: text(),
        converter: text(),
        settings: { [text()]: text() },
        check: {
          passed: true,
          compared: true,
          outputs: [
            {
              ...output,
              name: text(),
              type: text(),
              cosine: 0.99970632,
              maxDifference: 0.0297,
              magnitude: 1.196,
            },
            { ...output, name: text(), type: text() },
          ],
          warnings: [text()],
        },
      },
      layers: told,
      made: {
        origin: text(),
        key: text(),
        toolchain: { name: text(), versions: { [text()]: text() } },
        seconds: 30.7,
        settings: { [text()]: [text(), { [text()]: text() }] },
        adjustments: [text()],
        consent: [text()],
      },
      madeOf: 0,
    },
  ];
}

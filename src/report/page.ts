/** The page of a report: a model beside its conversions, from what was recorded when they were made. Pure, and bounded. */
import type { CheckedOutput, CheckReport } from '../converter.js';
import { formatBytes, formatCount, formatNumber, formatSeconds } from '../format.js';
import { sharesByType, type TypeShare } from '../headers/shares.js';
import type { ModelHeader, ModelPort, ShownModel } from '../results.js';
import { clip, documentOf, html, link, type Markup, type Value } from './html.js';
import { type Block, bytesIn, type Layers, MOST_BLOCKS, tensorsIn } from './layers.js';
import {
  code,
  facts,
  formatShare,
  list,
  paletteOf,
  shareBar,
  sizeBar,
  table,
  typeBar,
  typeWords,
  type Palette,
} from './parts.js';
import { STYLE } from './style.js';

/** How a conversion was made, by its record. */
export interface MadeBy {
  /** What it was made of. */
  readonly origin: string;
  readonly key: string;
  readonly toolchain: { readonly name: string; readonly versions: Readonly<Record<string, string>> };
  readonly seconds: number;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly adjustments: readonly string[];
  readonly consent: readonly string[];
}

/** A model as a report tells of it. */
export interface ReportedModel {
  readonly shown: ShownModel;
  /** By the file that names a set of weights. */
  readonly layers: ReadonlyMap<string, Layers>;
  /** Null for what is no conversion made here. */
  readonly made: MadeBy | null;
  /** Place among the models of the report of what it was made of; null where that is not there. */
  readonly madeOf: number | null;
}

/** Of all models of a page together, blocks and as many tensors. */
const MOST_LAYER_ROWS = 1500;
const LEAST_LAYER_ROWS = 4;
/** Of one model. */
const MOST_SETS = 8;
const MOST_PORTS = 20;
const MOST_FILES = 20;
const MOST_LINES = 30;
const LONGEST_NAME = 160;

const NOT_MEASURED = 'not measured';

/**
 * @param models those that others were made of before these
 * @param leftOut how many more there are
 */
export function reportPage(models: readonly ReportedModel[], leftOut = 0): string {
  const palette = paletteOf(models.flatMap(({ shown }) => weightsOf(shown)));
  const labels = labelsOf(models);
  const ids = [...new Set(models.map(({ shown }) => shown.id))];
  const title = ids.length === 1 ? clip(ids[0] ?? '', LONGEST_NAME) : formatCount(ids.length, 'model');
  const sets = models.reduce((sum, { layers }) => sum + Math.min(MOST_SETS, layers.size), 0);
  const rows = Math.max(LEAST_LAYER_ROWS, Math.floor(MOST_LAYER_ROWS / Math.max(1, sets)));
  return documentOf(
    `${title}: report of modeldl`,
    STYLE,
    html`<header>
        <h1>${title}</h1>
        <p class="lead">${leadOf(models)}</p>
      </header>
      <main>
        ${models.length > 1 ? comparison(models, labels, palette) : null}
        ${models.map((model, at) => section(model, at, models, labels[at] ?? '', palette, Math.min(MOST_BLOCKS, rows)))}
        ${restOf(models.length + leftOut, models.length, 'model')}
      </main>
      <footer>
        <p>
          Made by modeldl of what its records and the files themselves say. Times and differences are those of
          when each conversion was made: nothing was measured for this page.
        </p>
      </footer>`,
  );
}

function leadOf(models: readonly ReportedModel[]): string {
  const made = models.filter(({ shown }) => shown.kind === 'converted').length;
  const others = models.length - made;
  const words = [
    others === 0 ? null : formatCount(others, 'model'),
    made === 0 ? null : formatCount(made, 'conversion'),
  ];
  return `Report of modeldl: ${words.filter((word) => word !== null).join(', ')}`;
}

/**
 * The id of a model, and `int8 for CPU` of a conversion: with the id where there are several, and the revision where one has
 * several; with the reference, or the key, where that does not tell which.
 */
function labelsOf(models: readonly ReportedModel[]): readonly string[] {
  const revised = models.filter(({ shown }) =>
    models.some(({ shown: { id, revision } }) => id === shown.id && revision !== shown.revision),
  );
  const names = models.map((model) => {
    const { id, revision } = model.shown;
    return clip(revised.includes(model) ? `${id}@${shortRevision(revision)}` : id, LONGEST_NAME);
  });
  const several = new Set(names).size > 1;
  const labels = models.map(({ shown: { kind, precision, device } }, at) => {
    const name = names[at] ?? '';
    if (kind !== 'converted') return name;
    return `${precision ?? ''} for ${device ?? ''}${several ? `: ${name}` : ''}`;
  });
  return labels.map((label, at) => {
    if (labels.filter((other) => other === label).length === 1) return label;
    const { made, shown: { reference = '', revision = '' } = {} } = models[at] ?? {};
    if (made != null) return `${label} (${made.key.slice(0, 8)})`;
    return clip(
      reference.replace(revision, () => shortRevision(revision)),
      LONGEST_NAME,
    );
  });
}

/** Of a hash its beginning. */
function shortRevision(revision: string): string {
  return /^[0-9a-f]{40,}$/.test(revision) ? revision.slice(0, 12) : revision;
}

/** Bytes of a model by element type, as far as its files tell. */
function weightsOf({ headers }: ShownModel): readonly TypeShare[] {
  const bytesOf = new Map<string, number>();
  for (const { type, bytes } of headers.flatMap(({ types }) => types))
    bytesOf.set(type, (bytesOf.get(type) ?? 0) + bytes);
  return sharesByType(bytesOf);
}

function comparison(models: readonly ReportedModel[], labels: readonly string[], palette: Palette): Markup {
  const most = models.reduce((size, { shown }) => Math.max(size, shown.bytes), 0);
  const rows = models.map((model, at): readonly Value[] => {
    const { shown, made } = model;
    const weights = weightsOf(shown);
    return [
      html`<a href="#m${at}">${labels[at] ?? ''}</a>`,
      html`${sizeBar(shown.bytes, most)}${sizeWords(model, models)}`,
      weights.length === 0 ? 'not told by its files' : typeBar(weights, palette),
      html`${differenceWords(shown)}${troubles(shown, at)}`,
      made === null ? '–' : secondsWords(made.seconds),
    ];
  });
  return html`<section class="plain" aria-labelledby="compared">
    <h2 id="compared">Side by side</h2>
    ${table(
      'Sizes of all files; element types by their share of the weights; how far outputs were from the original’s in the check after the conversion: a cosine of 1 is alike, and the largest difference stands beside the largest value.',
      [
        { title: 'Model' },
        { title: 'Size' },
        { title: 'Weights' },
        { title: 'Difference' },
        { title: 'Converted in' },
      ],
      rows,
    )}
  </section>`;
}

function sizeWords({ shown, madeOf }: ReportedModel, models: readonly ReportedModel[]): string {
  const origin = madeOf === null ? undefined : models[madeOf];
  const size = formatBytes(shown.bytes);
  return origin === undefined || origin.shown.bytes === 0
    ? size
    : `${size}, ${formatShare(shown.bytes, origin.shown.bytes)} of the original`;
}

function secondsWords(seconds: number): string {
  return seconds < 60 ? `${seconds} s` : formatSeconds(seconds);
}

/** The worst of all outputs. */
function differenceWords({ kind, check }: ShownModel): string {
  if (kind !== 'converted') return '–';
  if (check === null) return NOT_MEASURED;
  if (!check.compared) return `${NOT_MEASURED}, the result ran`;
  const cosines = check.outputs.flatMap(({ cosine }) => cosine ?? []);
  const relative = check.outputs.flatMap((output) => {
    const words = maxWords(output);
    return words === undefined
      ? []
      : [{ words, size: (output.maxDifference ?? 0) / (output.magnitude ?? 1) }];
  });
  const largest = relative.reduce<(typeof relative)[0] | undefined>(
    (most, each) => (most === undefined || each.size > most.size ? each : most),
    undefined,
  );
  const words = [
    cosines.length === 0
      ? null
      : `cosine ${formatMeasure(
          cosines.reduce((least, cosine) => Math.min(least, cosine)),
          4,
        )}`,
    largest === undefined ? null : `at most ${largest.words}`,
  ].filter((word) => word !== null);
  return words.length === 0 ? NOT_MEASURED : words.join(', ');
}

/** What a check complained of, so that a result that falls short is not taken for one that does not. */
function troubles({ check }: ShownModel, at: number): Value {
  if (check === null) return null;
  const isFinite = check.outputs.every(({ finite }) => finite);
  const warnings = check.warnings.length;
  return [
    isFinite ? null : html` <span class="warn">not all values are finite</span>`,
    warnings === 0 ? null : html` <a class="warn" href="#m${at}">${formatCount(warnings, 'warning')}</a>`,
  ];
}

/** The largest difference, beside the largest value that tells how much it is. */
function maxWords({ maxDifference, magnitude }: CheckedOutput): string | undefined {
  if (maxDifference === undefined) return undefined;
  const of = magnitude === undefined ? '' : ` of ${formatMeasure(magnitude, 3)}`;
  return `${formatMeasure(maxDifference, 3)}${of}`;
}

/** So many digits, and of what is nearly one as many as tell how near it is. */
function formatMeasure(value: number, digits: number): string {
  const rest = Math.abs(1 - Math.abs(value));
  const isNear = rest > 0 && rest < 0.01;
  return String(Number(value.toPrecision(isNear ? Math.min(12, 1 - Math.floor(Math.log10(rest))) : digits)));
}

function section(
  model: ReportedModel,
  at: number,
  models: readonly ReportedModel[],
  label: string,
  palette: Palette,
  rows: number,
): Markup {
  const { shown, made } = model;
  return html`<section aria-labelledby="m${at}">
    <h2 id="m${at}">${label}</h2>
    ${made === null ? pulledFacts(shown) : convertedFacts(model, made, models)}
    ${shown.kind === 'converted' ? differences(shown.check) : null} ${weights(model, palette, rows)}
    ${ports(shown)} ${filesOf(shown)} ${unread(shown)}
  </section>`;
}

function pulledFacts(shown: ShownModel): Markup {
  return facts([
    ...commonFacts(shown),
    ['page', shown.page === null ? null : link(shown.page)],
    ['task', shown.task],
    ['gated', shown.gated === null ? null : shown.gated ? 'yes' : 'no'],
    [
      shown.kind === 'remote' ? 'stored' : 'pulled',
      shown.pulledAt === null ? 'no, its hub was asked' : timeOf(shown.pulledAt),
    ],
    ['size', sizeOfFiles(shown)],
    ['formats', shown.formats.map(({ format, bytes }) => `${format} ${formatBytes(bytes)}`).join(', ')],
    ['left out', leftOutWords(shown)],
    ['pickles', picklesOf(shown)],
  ]);
}

type Fact = readonly [name: string, value: Value];

function referenceFact({ reference }: ShownModel): Fact {
  return ['reference', code(reference)];
}

/** What a conversion has from the model that it was made of. */
function commonFacts(shown: ShownModel): readonly Fact[] {
  const { revision, hub, license } = shown;
  return [
    referenceFact(shown),
    ['revision', revision === '' ? 'unknown' : code(revision)],
    ['hub', hub],
    ['licence', license ?? 'not told'],
  ];
}

function sizeOfFiles({ bytes, files }: ShownModel): string {
  return `${formatBytes(bytes)} in ${formatCount(files.length, 'file')}`;
}

function leftOutWords({ leftOut }: ShownModel): string | null {
  if (leftOut.length === 0) return null;
  const bytes = leftOut.reduce((sum, file) => sum + (file.bytes ?? 0), 0);
  return `${formatCount(leftOut.length, 'file')}, ${formatBytes(bytes)}`;
}

function picklesOf({ pickles }: ShownModel): Value {
  if (pickles.length === 0) return null;
  const named = shortened(pickles).map((path) => clip(path, LONGEST_NAME));
  return html`<span class="warn">may run code when they are loaded: ${named.join(', ')}</span>`;
}

/** As ISO 8601 in UTC, to the minute. */
function timeOf(iso: string): Markup {
  const shown = /^\d{4}-\d\d-\d\dT\d\d:\d\d/.exec(iso)?.[0];
  return shown === undefined
    ? html`${iso}`
    : html`<time datetime="${iso}">${shown.replace('T', ' ')} UTC</time>`;
}

function convertedFacts(model: ReportedModel, made: MadeBy, models: readonly ReportedModel[]): Markup {
  const { shown, madeOf } = model;
  const versions = shortened(Object.entries(made.toolchain.versions)).map(
    ([name, version]) => `${clip(name, 80)} ${clip(version, 80)}`,
  );
  const given = shortened(Object.entries(shown.settings)).map(([name, value]) => `${name}=${value}`);
  const settings = Object.entries(made.settings);
  return html`${facts([
    [
      'made of',
      madeOf === null
        ? html`${code(made.origin)}, not in this report`
        : html`<a href="#m${madeOf}">${code(made.origin)}</a>`,
    ],
    ...(madeOf === null ? commonFacts(shown) : [referenceFact(shown)]),
    ['precision', shown.precision],
    ['device', shown.device],
    ['task', shown.task],
    ['converter', shown.converter],
    ['toolchain', `${made.toolchain.name}${versions.length === 0 ? '' : `: ${versions.join(', ')}`}`],
    [
      'settings',
      given.length === 0 ? 'none were given' : list(given.map((text) => code(text, LONGEST_NAME))),
    ],
    ['time', `${secondsWords(made.seconds)} to convert`],
    ['converted', shown.pulledAt === null ? null : timeOf(shown.pulledAt)],
    ['size', `${sizeWords(model, models)}, in ${formatCount(shown.files.length, 'file')}`],
    ['notes', made.adjustments.length === 0 ? null : list(shortened(made.adjustments))],
    ['allowed', shortened(made.consent).join(', ')],
    ['key', code(made.key)],
  ])}
  ${settings.length === 0 ? null : details('All that decided it', settingsTable(settings))}`;
}

function settingsTable(settings: readonly (readonly [string, unknown])[]): Markup {
  return table(
    'Settings as the converter resolved them',
    [{ title: 'Name' }, { title: 'Value' }],
    shortened(settings).map(([name, value]) => [code(name, LONGEST_NAME), code(JSON.stringify(value), 300)]),
  );
}

function details(summary: Value, contents: Value): Markup {
  return html`<details>
    <summary>${summary}</summary>
    ${contents}
  </details>`;
}

function shortened<Item>(items: readonly Item[]): readonly Item[] {
  return items.slice(0, MOST_LINES);
}

/** A sentence about what a page does not list; nothing where it lists all. */
function restOf(all: number, shown: number, one: string, many = `${one}s`): Markup | null {
  if (all <= shown) return null;
  return html`<p class="soft">${formatCount(all - shown, `more ${one}`, `more ${many}`)} not listed.</p>`;
}

function differences(check: CheckReport | null): Markup {
  const title = html`<h3>Difference to the original</h3>`;
  if (check === null)
    return html`${title}
      <p>${NOT_MEASURED}: it was converted without its check.</p>`;
  const { compared, outputs, reason, warnings } = check;
  const why = reason === undefined ? '' : `: ${reason}`;
  const said = compared
    ? null
    : html`<p>${NOT_MEASURED}. The result was run once and not compared${why}.</p>`;
  const rows = outputs
    .slice(0, MOST_PORTS)
    .map((output): readonly Value[] => [
      code(output.name, LONGEST_NAME),
      `${output.type} [${clip(output.shape.join(', '), 60)}]`,
      output.cosine === undefined ? NOT_MEASURED : formatMeasure(output.cosine, 4),
      output.maxDifference === undefined ? NOT_MEASURED : formatMeasure(output.maxDifference, 3),
      output.magnitude === undefined ? NOT_MEASURED : formatMeasure(output.magnitude, 3),
      output.finite ? 'yes' : html`<span class="warn">no</span>`,
    ]);
  const columns = [
    { title: 'Output' },
    { title: 'Type and shape' },
    { title: 'Cosine', isNumber: true },
    { title: 'Largest difference', isNumber: true },
    { title: 'Largest value', isNumber: true },
    { title: 'All finite' },
  ] as const;
  return html`${title}${said}
  ${rows.length === 0 ? null : table('Each output of one run beside the original’s: 1 is the cosine of what is alike', columns, rows)}
  ${restOf(outputs.length, MOST_PORTS, 'output')}
  ${shortened(warnings).map((warning) => html`<p class="warn">${warning}</p>`)}`;
}

function weights({ shown, layers }: ReportedModel, palette: Palette, rows: number): Markup {
  const told = shown.headers.slice(0, MOST_SETS);
  const title = html`<h3>Weights</h3>`;
  if (told.length === 0)
    return html`${title}
      <p>Its files do not tell the types of its weights.</p>`;
  const sets = told.map((header) => weightSet(header, layers.get(header.file), palette, rows));
  return html`${title}${sets}${restOf(shown.headers.length, MOST_SETS, 'set of weights', 'sets of weights')}`;
}

function weightSet(header: ModelHeader, layers: Layers | undefined, palette: Palette, rows: number): Markup {
  const { file, files, types } = header;
  const more = files > 1 ? ` and ${formatCount(files - 1, 'more part')}` : '';
  const said = headerWords(header);
  // What was told before a file turned out to be damaged is not believed.
  const believed = types.length === 0 ? undefined : layers;
  return html`<h4>${code(file, LONGEST_NAME)}${more}</h4>
    ${said === '' ? null : html`<p>${said}</p>`}
    ${types.length === 0 ? html`<p>Its element types are not told.</p>` : typeBar(types, palette)}
    ${believed === undefined || believed.tensors === 0 ? null : layerDetails(believed, palette, rows)}`;
}

function headerWords(header: ModelHeader): string {
  const { format, architecture, parameters, quantization, contextLength, tokenizer, producer, opsets } =
    header;
  const operators = shortened(Object.entries(opsets)).map(([domain, version]) => `${domain} ${version}`);
  return [
    format,
    architecture,
    parameters === null ? null : `${formatNumber(parameters)} parameters`,
    quantization,
    contextLength === null ? null : `context of ${contextLength} tokens`,
    tokenizer === null ? null : `tokenizer ${tokenizer}`,
    operators.length === 0 ? null : `operators of ${operators.join(', ')}`,
    producer === null ? null : `made by ${producer}`,
    header.unread,
  ]
    .filter((word) => word !== null && word !== '')
    .map((word) => clip(String(word), 300))
    .join(', ');
}

function layerDetails(layers: Layers, palette: Palette, rows: number): Markup {
  const shown = layers.blocks.slice(0, rows);
  const hidden = layers.blocks.slice(rows);
  const left = {
    blocks: layers.leftOut.blocks + hidden.length,
    tensors: layers.leftOut.tensors + tensorsIn(hidden),
    bytes: layers.leftOut.bytes + bytesIn(hidden),
  };
  const rest =
    left.blocks === 0
      ? null
      : html`<p class="soft">
          Left out: ${formatCount(left.blocks, 'smaller block')} with ${formatCount(left.tensors, 'tensor')},
          ${formatBytes(left.bytes)}.
        </p>`;
  return details(
    `Layers: ${formatCount(layers.tensors, 'tensor')}, ${formatBytes(layers.bytes)}`,
    html`${table(
      'Tensors by block, the largest first',
      [
        { title: 'Block' },
        { title: 'Types' },
        { title: 'Tensors', isNumber: true },
        { title: 'Size', isNumber: true },
      ],
      shown.map((block) => blockRow(block, palette, layers.blocks[0]?.bytes ?? 0)),
    )}
    ${rest}
    ${table(
      'The largest tensors',
      [{ title: 'Tensor' }, { title: 'Type' }, { title: 'Shape' }, { title: 'Size', isNumber: true }],
      layers.largest
        .slice(0, rows)
        .map(({ name, type, shape, bytes }) => [
          code(name, LONGEST_NAME),
          code(type, 40),
          shape.length === 0 ? 'scalar' : clip(shape.join(' × '), 60),
          formatBytes(bytes),
        ]),
    )}`,
  );
}

/** @param most bytes of the largest block, which has the longest bar */
function blockRow({ name, types, tensors, bytes }: Block, palette: Palette, most: number): readonly Value[] {
  const named = name === '' ? 'without a name' : code(name, LONGEST_NAME);
  return [named, html`${shareBar(types, palette, most)}${typeWords(types)}`, tensors, formatBytes(bytes)];
}

function ports(shown: ShownModel): Markup {
  const title = html`<h3>Inputs and outputs</h3>`;
  const { inputs, outputs } = shown;
  if (inputs.length + outputs.length === 0)
    return html`${title}
      <p>Its files do not tell them.</p>`;
  const several = new Set([...inputs, ...outputs].map(({ file }) => file)).size > 1;
  const row = (kind: string, port: ModelPort): readonly Value[] => [
    code(port.name, LONGEST_NAME),
    kind,
    code(clip(port.type, 40)),
    port.shape.length === 0 ? 'scalar' : `[${clip(port.shape.join(', '), 60)}]`,
    ...(several ? [code(port.file, LONGEST_NAME)] : []),
  ];
  return html`${title}
  ${table(
    several ? 'Of each of its files, as that tells them' : 'As its file tells them',
    [
      { title: 'Name' },
      { title: 'Kind' },
      { title: 'Type' },
      { title: 'Shape' },
      ...(several ? [{ title: 'File' }] : []),
    ],
    [
      ...inputs.slice(0, MOST_PORTS).map((port) => row('input', port)),
      ...outputs.slice(0, MOST_PORTS).map((port) => row('output', port)),
    ],
  )}
  ${restOf(inputs.length, MOST_PORTS, 'input')} ${restOf(outputs.length, MOST_PORTS, 'output')}`;
}

function filesOf({ files, bytes }: ShownModel): Markup {
  const largest = [...files]
    .sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0) || (a.path < b.path ? -1 : 1))
    .slice(0, MOST_FILES);
  const rows = largest.map((file): readonly Value[] => [
    code(file.path, LONGEST_NAME),
    file.bytes === null ? 'unknown' : formatBytes(file.bytes),
    file.sha256 === null ? 'unknown' : code(file.sha256),
  ]);
  return details(
    `Files: ${formatCount(files.length, 'file')}, ${formatBytes(bytes)}`,
    html`${table(
      'The largest first',
      [{ title: 'File' }, { title: 'Size', isNumber: true }, { title: 'SHA-256' }],
      rows,
    )}
    ${restOf(files.length, MOST_FILES, 'smaller file')}`,
  );
}

function unread({ unread: sentences }: ShownModel): Markup | null {
  return sentences.length === 0
    ? null
    : html`<h3>Not looked at</h3>
        ${list(shortened(sentences))}`;
}

import type { ConversionOutlook, FormatShare, ModelHeader, ModelPort, ShownModel } from '../../results.js';
import { missingArgument, type CommandDefinition } from '../command.js';
import { addFilter, filterOf, type FilterFlags } from '../filter.js';
import { asLine, formatBytes, formatCount, formatNumber, wrapWords } from '../format.js';

export const command: CommandDefinition<FilterFlags> = {
  onlyLooks: true,
  configure(command) {
    addFilter(command.usage('[options] <reference>').argument('[reference]', 'a model, stored or not'));
    command.addHelpText(
      'after',
      [
        '',
        'Of a model that is not stored the first bytes of its files are read, half a MiB at most, and the small texts',
        'such as config.json that `convert` plans by; nothing is kept.',
        '',
        'Examples:',
        '  modeldl show hf:org/name                    # what it is, and what convert would do',
        '  modeldl show hf:org/name//model-Q8_0.gguf   # one file of it',
        '  modeldl show hf:org/name+int8-cpu --json    # a stored conversion',
      ].join('\n'),
    );
  },
  async run(call) {
    const [reference] = call.arguments;
    if (reference === undefined) throw missingArgument('a reference', 'modeldl show hf:org/name');
    const modeldl = await call.open();
    const model = await modeldl.show(reference, filterOf(call.flags));
    call.settle();
    call.output.result(
      call.output.quiet ? [model.reference] : lines(model, modeldl.cacheDir, call.output.columns),
      {
        ok: true,
        models: [model],
      },
    );
    return undefined;
  },
};

/** More files than that are not for one screen. */
const MOST_FILES = 8;
const INDENT = 13;
/** Values are not broken where the terminal is narrower. */
const NARROWEST = 12;

function lines(model: ShownModel, cacheDir: string, columns: number | undefined): readonly string[] {
  const isLocal = model.kind !== 'remote';
  const facts: readonly (readonly [string, string | null])[] = [
    ['kind', model.kind],
    ['revision', model.revision],
    ['path', model.path ?? 'not stored'],
    ['read from', model.cache === null || model.cache === cacheDir ? null : model.cache],
    ['size', `${formatBytes(model.bytes)} in ${formatCount(model.files.length, 'file')}`],
    ['licence', model.license],
    ['gated', gateOf(model)],
    ['task', model.task],
    [
      'converted',
      model.precision === null
        ? null
        : `${model.precision} for ${model.device ?? ''} by ${model.converter ?? ''}`,
    ],
    [
      'settings',
      Object.entries(model.settings)
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    ],
    ['page', model.page],
    ['recipe', recipeLine(model.recipe)],
    ...(isLocal && model.formats.length < 2 ? [] : formatLines(model.formats)),
    ...model.headers.map((header) => ['model', headerLine(header, model.headers.length > 1)] as const),
    ...fileLines(model),
    ...model.pickles.map((path) => ['pickle', `${path} may run code when it is loaded`] as const),
    ...portLines(model),
    ...model.leftOut.map(({ path }) => ['left out', path] as const),
    ...model.conversions.map(
      ({ reference, bytes }) => ['conversion', `${reference}  ${formatBytes(bytes)}`] as const,
    ),
    ...outlookLines(model.outlook),
    ...unreadLines(model),
  ];
  const width = (columns ?? Infinity) - INDENT;
  return [
    model.reference,
    ...facts.flatMap(([name, value]) => {
      if (value === null || value === '') return [];
      const line = asLine(value);
      const parts = line.includes('  ') || width < NARROWEST ? [line] : wrapWords(line, width);
      return parts.map((part, index) => `  ${(index === 0 ? name : '').padEnd(10)} ${part}`.trimEnd());
    }),
  ];
}

type Fact = readonly [name: string, value: string | null];

function gateOf({ gated, access }: ShownModel): string | null {
  if (gated !== true) return null;
  if (access === 'granted') return 'yes, and its files may be had from here';
  return access === 'refused' ? 'yes, and its files may not be had from here' : 'yes';
}

/** One line for each format, its quantizations in it. */
function formatLines(formats: readonly FormatShare[]): readonly Fact[] {
  const names = [...new Set(formats.map(({ format }) => format))];
  return names.map((name) => {
    const shares = formats.filter(({ format }) => format === name);
    const bytes = shares.reduce((sum, share) => sum + share.bytes, 0);
    const files = shares.reduce((sum, share) => sum + share.files, 0);
    const quantized = shares
      .filter(({ quantization }) => quantization !== null)
      .map(({ quantization, bytes: own }) => `${quantization ?? ''} ${formatBytes(own)}`);
    const several = quantized.length < 2 ? '' : `: ${quantized.join(', ')}`;
    return ['format', `${name} ${formatBytes(bytes)} in ${formatCount(files, 'file')}${several}`];
  });
}

function headerLine(header: ModelHeader, several: boolean): string {
  const { file, files, format, architecture, parameters, types, quantization, contextLength } = header;
  const opsets = Object.entries(header.opsets).map(([domain, version]) => `${domain} ${version}`);
  const facts = [
    architecture,
    parameters === null ? null : `${formatNumber(parameters)} parameters`,
    quantization,
    // Those of an IR are its weights, which have a line of their own.
    format === 'openvino' ? null : sharesOf(types),
    contextLength === null ? null : `context of ${contextLength} tokens`,
    header.tokenizer === null ? null : `tokenizer ${header.tokenizer}`,
    opsets.length === 0 ? null : `operators of ${opsets.join(', ')}`,
    header.producer === null ? null : `made by ${header.producer}`,
  ].filter((fact) => fact !== null && fact !== '');
  if (facts.length === 0) return '';
  const where = files > 1 ? `${file} and ${files - 1} more` : file;
  return `${several ? `${where}: ` : ''}${facts.join(', ')}`;
}

/** The largest, where there are many. */
function fileLines({ files }: ShownModel): readonly Fact[] {
  const line = ({ path, bytes }: ShownModel['files'][number]): Fact => [
    'file',
    `${path}  ${bytes === null ? '' : formatBytes(bytes)}`.trimEnd(),
  ];
  if (files.length <= MOST_FILES) return files.map(line);
  const largest = [...files].sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0)).slice(0, MOST_FILES - 2);
  return [
    ...largest.map(line),
    ['files', `${files.length - largest.length} smaller ones, which \`--json\` lists`],
  ];
}

/** Devices that it would do the same for have one line. */
function outlookLines(outlook: readonly ConversionOutlook[]): readonly Fact[] {
  const devices = new Map<string, string[]>();
  const add = (text: string, device: string): void => {
    const known = devices.get(text);
    if (known === undefined) devices.set(text, [device]);
    else known.push(device);
  };
  for (const each of outlook) add(outlookText(each), each.device);
  const convert = [...devices].map(([text, names]): Fact => ['convert', `${names.join(', ')}: ${text}`]);
  const notes = [...new Set(outlook.flatMap(({ adjustments, warnings }) => [...adjustments, ...warnings]))];
  return [...convert, ...notes.map((note): Fact => ['note', note])];
}

function outlookText({
  precision,
  converter,
  toolchain,
  stored,
  downloadBytes,
  estimate,
  prebuilt,
  refused,
}: ConversionOutlook): string {
  if (refused !== null) {
    const hint = refused.hint === null ? '' : `; ${refused.hint}`;
    return `not to ${precision}: ${refused.message.replace(/^Cannot convert \S+: /, '')}${hint}`;
  }
  if (prebuilt?.taken === true) return `taken as published in ${precision}`;
  const install = toolchain?.installedBytes ?? 0;
  const facts = [
    `${precision} by ${converter ?? ''}`,
    stored ? 'stored already' : null,
    downloadBytes > 0 ? `${formatBytes(downloadBytes)} to fetch` : null,
    estimate === null || stored ? null : `${formatBytes(estimate.resultBytes)} when done`,
    estimate === null || stored ? null : `${formatBytes(estimate.diskBytes)} of disk`,
    estimate === null || stored ? null : `${formatBytes(estimate.memoryBytes)} of memory`,
    install > 0 && !stored ? `toolchain ${toolchain?.name ?? ''} to install (${formatBytes(install)})` : null,
    prebuilt === null ? null : `published as ${prebuilt.reference}, which \`--prebuilt\` takes`,
  ];
  return facts.filter((fact) => fact !== null).join(', ');
}

function unreadLines({ headers, unread }: ShownModel): readonly Fact[] {
  return [
    ...headers.flatMap(({ file, unread: why }): readonly Fact[] =>
      why === null ? [] : [['unknown', `${file}: ${why}`]],
    ),
    ...unread.map((sentence): Fact => ['unknown', sentence]),
  ];
}

/** What its publisher converts, and with which settings, as `--set` has them. */
function recipeLine(recipe: ShownModel['recipe']): string | null {
  if (recipe === null) return null;
  if ('refused' in recipe) return `none: ${recipe.refused}`;
  const settings = Object.entries(recipe.settings).map(([name, value]) => `${name}=${value}`);
  return [recipe.input, ...settings].join(' ');
}

/** So many inputs and outputs of a model are for one screen. */
const MOST_PORTS = 8;

/** What each IR or ONNX model takes, gives and weighs; which file it is in is said where there are several. */
function portLines({ inputs, outputs, weights }: ShownModel): readonly Fact[] {
  const files = [...new Set([...inputs, ...outputs, ...weights].map(({ file }) => file))];
  return files.flatMap((file) => {
    const where = files.length > 1 ? `${file}: ` : '';
    const own = <Item extends { readonly file: string }>(facts: readonly Item[]): readonly Item[] =>
      facts.filter((fact) => fact.file === file);
    const ports = (word: string, all: readonly ModelPort[]): readonly Fact[] => [
      ...all
        .slice(0, MOST_PORTS)
        .map(({ name, type, shape }): Fact => [word, `${where}${name}  ${type} [${shape.join(',')}]`]),
      ...(all.length > MOST_PORTS ? [[word, `${where}${all.length - MOST_PORTS} more`] as const] : []),
    ];
    const shares = sharesOf(own(weights));
    return [
      ...ports('input', own(inputs)),
      ...ports('output', own(outputs)),
      ...(shares === '' ? [] : [['weights', `${where}${shares}`] as const]),
    ];
  });
}

/** Constants of these types are shapes, indices and tables of text. */
const NO_WEIGHTS: ReadonlySet<string> = new Set(['i32', 'i64', 'boolean', 'string']);

/** `u8 97 %, f16 3 %`: what is less than one in a hundred is left out; nothing where they are no weights. */
function sharesOf(weights: ModelHeader['types']): string {
  const [most] = weights;
  if (most === undefined || NO_WEIGHTS.has(most.type)) return '';
  const total = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  return weights
    .map(({ type, bytes }) => ({ type, share: Math.round((100 * bytes) / total) }))
    .filter(({ share }) => share >= 1)
    .map(({ type, share }) => `${type} ${share} %`)
    .join(', ');
}

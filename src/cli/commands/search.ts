import { parseDuration } from '../../config/units.js';
import { ModeldlError } from '../../errors.js';
import type { SearchOptions } from '../../index.js';
import type { FoundModel, SearchResult } from '../../results.js';
import { collect, missingArgument, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount, formatTable } from '../format.js';
import { describeError, reportErrors } from '../report.js';

interface SearchFlags {
  readonly hub?: readonly string[];
  readonly task?: string;
  readonly precision?: string;
  readonly library?: string;
  readonly license?: string;
  readonly sort?: string;
  readonly limit?: string;
  readonly timeout?: string;
}

export const command: CommandDefinition<SearchFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .argument('[query...]', 'words that names have; may be left out with `--hub`')
      .option('--hub <name>', 'only this hub; repeatable', collect)
      .option('--task <name>', "what the model does, in the hub's words or Hugging Face's")
      .option('--precision <name>', 'of its weights: fp32, fp16, int8, int4, nf4, mxfp4, cb4')
      .option('--library <name>', 'library or framework: transformers, gguf, openvino, onnx')
      .option('--license <name>', 'its licence: apache-2.0, mit')
      .option('--sort <order>', "downloads, likes or updated, most first (default: each hub's own order)")
      .option('--limit <count>', 'models of each hub at most (default: 10)')
      .option('--timeout <time>', 'for each hub (default: 15s)')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl search qwen3 --task text-generation\n  modeldl search --hub openvino --precision int4\n  modeldl search face detection --hub omz --quiet   # references only',
      );
  },
  async run(call) {
    const { flags, output } = call;
    const words = call.arguments.join(' ');
    if (words.trim() === '' && flags.hub === undefined)
      throw missingArgument('what to search for', 'modeldl search qwen3');
    const options = optionsOf(flags);
    const modeldl = await call.open();
    const result = await modeldl.search(words, options);
    call.settle();
    const { models, hubs, leftOut, errors } = result;
    for (const remark of remarks(result)) output.note(remark);
    const lines = output.quiet ? models.map(({ reference }) => reference) : table(models, output.columns);
    const document = { models, hubs, leftOut };
    if (errors.length === 0) {
      output.result(lines, { ok: true, ...document, failures: [] });
      return undefined;
    }
    if (!output.json) output.result(lines, {});
    const failures = errors.map((error) => describeError(error, output.secrets));
    return reportErrors(output, errors, models, flags.verbose, {
      succeeded: hubs.length,
      more: { ...document, failures },
    });
  },
};

function optionsOf(flags: SearchFlags): SearchOptions {
  const { hub, task, precision, library, license, sort, limit, timeout } = flags;
  return {
    ...(hub === undefined ? {} : { hubs: hub }),
    ...(task === undefined ? {} : { task }),
    ...(precision === undefined ? {} : { precision }),
    ...(library === undefined ? {} : { library }),
    ...(license === undefined ? {} : { license }),
    ...(sort === undefined ? {} : { sort }),
    ...(limit === undefined ? {} : { limit: parseLimit(limit) }),
    ...(timeout === undefined ? {} : { timeoutMs: parseDuration(timeout, '--timeout') }),
  };
}

function parseLimit(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new ModeldlError('USAGE', `Expected a number for --limit, got ${text}`, {
    hint: 'for example `--limit 50`',
  });
}

interface Column {
  readonly title: string;
  readonly isRight?: true;
  value(model: FoundModel): string | null;
}

const COLUMNS: readonly Column[] = [
  { title: 'TASK', value: ({ task }) => task },
  { title: 'LIBRARY', value: ({ library }) => library },
  { title: 'PRECISION', value: ({ precisions }) => precisions.join(' ') },
  {
    title: 'SIZE',
    isRight: true,
    value: ({ bytes, scale }) => (bytes === null ? scale : formatBytes(bytes)),
  },
  { title: 'DOWNLOADS', isRight: true, value: ({ downloads }) => compact(downloads) },
  { title: 'LIKES', isRight: true, value: ({ likes }) => compact(likes) },
  { title: 'UPDATED', value: ({ updatedAt }) => updatedAt?.slice(0, 10) ?? null },
  { title: 'LICENCE', value: ({ license }) => license },
  { title: 'ACCESS', value: access },
];
/** Columns that a narrow terminal does without, first the ones that help least to choose. */
const DISPENSABLE = [
  'LIKES',
  'LIBRARY',
  'UPDATED',
  'PRECISION',
  'LICENCE',
  'DOWNLOADS',
  'ACCESS',
  'SIZE',
  'TASK',
];

function access(model: FoundModel): string | null {
  if (model.private === true) return 'private';
  return model.gated === true ? 'gated' : null;
}

/** Without columns that no hub had anything for. */
export function table(models: readonly FoundModel[], width = Infinity): readonly string[] {
  if (models.length === 0) return [];
  const said = (column: Column, model: FoundModel): string => column.value(model) ?? '';
  let columns = COLUMNS.filter((column) => models.some((model) => said(column, model) !== ''));
  const draw = (): readonly string[] =>
    formatTable(
      ['REFERENCE', ...columns.map(({ title }) => title)],
      models.map((model) => [model.reference, ...columns.map((column) => said(column, model) || '-')]),
      columns.flatMap(({ isRight }, index) => (isRight === true ? [index + 1] : [])),
    );
  for (const dispensable of DISPENSABLE) {
    if (draw().every((line) => line.length <= width)) break;
    columns = columns.filter(({ title }) => title !== dispensable);
  }
  return draw();
}

/** 1234567 → `1.2M`. */
function compact(count: number | null): string | null {
  if (count === null) return null;
  return new Intl.NumberFormat('en', { notation: 'compact' }).format(count);
}

/** What people have to know beside the table: where there is more, and who was not asked. */
function remarks({ models, hubs, leftOut, errors }: SearchResult): readonly string[] {
  const more = hubs.filter((hub) => hub.more).map(({ hub }) => hub);
  return [
    ...(models.length === 0 && errors.length === 0 ? ['Nothing was found'] : []),
    ...(more.length === 0 ? [] : [`There is more at ${more.join(', ')}: \`--limit\` shows it`]),
    ...hubs.flatMap(({ hub, note }) => (note === null ? [] : [`${hub}: ${note}`])),
    ...leftOut.map(({ hub, reason }) => `${hub} was left out: ${reason}`),
    ...(errors.length > 0 && hubs.length > 0
      ? [`${formatCount(hubs.length, 'hub')} answered, ${formatCount(errors.length, 'hub')} did not`]
      : []),
  ];
}

/** What a job did, as Markdown for the page of its run. Pure. */
import type { ModeldlError } from '../errors.js';

/** A model as `pull`, `convert` or `sync` brought it in. */
export interface SummaryModel {
  readonly reference: string;
  readonly bytes: number;
  readonly downloadedBytes: number;
  readonly adoptedBytes: number;
  readonly cached: boolean;
  readonly stale: boolean;
  /** Of a conversion; null where it was taken as it is published. */
  readonly converter?: string | null;
}

export interface Summary {
  /** Of modeldl, such as `sync`. */
  readonly command: string;
  readonly models: readonly SummaryModel[];
  /** How long each model took. */
  readonly seconds: readonly number[];
  readonly errors: readonly Pick<ModeldlError, 'code' | 'message' | 'details'>[];
  /** Of the whole command. */
  readonly totalSeconds: number;
}

/** How things are said. */
export interface SummaryWords {
  /** A text from outside without control characters and secrets. */
  name(text: string): string;
  bytes(count: number): string;
  seconds(count: number): string;
}

/**
 * Every name comes from outside: letters, digits and few signs stand as they are, all else becomes a character reference,
 * which Markdown and HTML show and never read.
 */
export function escapeMarkdown(text: string): string {
  return text.replace(/[^\p{L}\p{N} +-]/gu, (sign) => `&#${sign.codePointAt(0) ?? 0xfffd};`);
}

export function summarize(
  { command, models, seconds, errors, totalSeconds }: Summary,
  words: SummaryWords,
): string {
  const sum = (pick: (model: SummaryModel) => number): number =>
    models.reduce((total, model) => total + pick(model), 0);
  const rows = [
    ...models.map((model, index) => {
      const taken = seconds[index];
      const time = taken === undefined ? '' : words.seconds(taken);
      return [code(words.name(model.reference)), words.bytes(model.bytes), sourceOf(model, words), time];
    }),
    ...errors.map(({ code: name, message, details: { reference } }) => [
      reference === undefined ? '' : code(words.name(reference)),
      '',
      `**${name}**: ${escapeMarkdown(words.name(message))}`,
      '',
    ]),
  ];
  const failed = errors.length === 0 ? '' : `, ${errors.length} failed`;
  const total = `${models.length} in the store${failed}: ${words.bytes(sum(({ bytes }) => bytes))}, of which ${words.bytes(sum(({ downloadedBytes }) => downloadedBytes))} fetched, in ${words.seconds(totalSeconds)}`;
  return [
    `### modeldl ${command}`,
    '',
    '| model | size | from | time |',
    '| --- | ---: | --- | ---: |',
    ...rows.map((row) => `| ${row.join(' | ')} |`),
    '',
    total,
    '',
    '',
  ].join('\n');
}

function code(text: string): string {
  return `<code>${escapeMarkdown(text)}</code>`;
}

function sourceOf(
  { downloadedBytes, adoptedBytes, cached, stale, converter }: SummaryModel,
  words: SummaryWords,
): string {
  const fetched = downloadedBytes === 0 ? [] : [`fetched ${words.bytes(downloadedBytes)}`];
  const adopted = adoptedBytes === 0 ? [] : [`${words.bytes(adoptedBytes)} of this machine`];
  const made = cached || converter === undefined || converter === null ? [] : ['converted'];
  const parts = [...fetched, ...adopted, ...made];
  const from = parts.length === 0 ? 'cache' : parts.join(', ');
  return stale ? `${from}, hub not reached` : from;
}

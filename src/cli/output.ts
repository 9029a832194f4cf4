/**
 * The one place that prints. stdout carries results, stderr everything else; with `--json` stdout is exactly one
 * document.
 */
import { isAbsolute } from 'node:path';
import { styleText } from 'node:util';
import { printable, redactSecrets } from '../redact.js';

/** What printing needs of a stream. */
export type OutputStream = NodeJS.WritableStream & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  /** Gives up what was not read yet. */
  destroy?(): unknown;
};

export interface Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stderr: OutputStream;
  readonly color: boolean;
  /** Bars can be drawn on stderr. */
  readonly draws: boolean;
  /** Width of the terminal that results go to; undefined off a terminal, where a fact is a line. */
  readonly columns: number | undefined;
  /** Taken out of everything that is said; grows as they become known. */
  readonly secrets: Set<string>;
  /** The command's result: lines for people and scripts, and the same as a document. */
  result(lines: readonly string[], document: object): void;
  /** Talk: notes are dropped by `--quiet`, warnings never. */
  note(message: string): void;
  warn(message: string): void;
  /** An error for people, with its hint. */
  fail(message: string, more: readonly string[]): void;
}

export interface OutputSettings {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: boolean;
  /** A terminal that shows sequences as they are. */
  readonly scrollsOnly?: boolean;
  /** Errors as a line that GitHub Actions shows on the page of the run. */
  readonly annotate?: boolean;
  readonly secrets?: Set<string>;
}

export function createOutput(settings: OutputSettings): Output {
  const { stdout, stderr, json, quiet, color, scrollsOnly = false, annotate = false } = settings;
  const { secrets = new Set() } = settings;
  const paint = (style: 'red' | 'yellow' | 'dim', text: string): string =>
    color ? styleText(style, text, { validateStream: false }) : text;
  const clean = (text: string): string => {
    const shown = printable(redactSecrets(text, secrets));
    return annotate ? withoutCommands(shown) : shown;
  };
  const talk = (text: string): void => {
    stderr.write(`${text}\n`);
  };
  return {
    json,
    quiet,
    stderr,
    color,
    // A spinner at a terminal that says it has no columns takes away lines without end.
    draws: stderr.isTTY === true && stderr.columns !== 0 && !scrollsOnly,
    // A terminal that does not tell its width says 0.
    columns: stdout.isTTY === true ? stdout.columns || undefined : undefined,
    secrets,
    result(lines, document) {
      // Scripts get paths as they are, also when one looks like a token or a command.
      const fact = (line: string): string => (annotate && !isAbsolute(line) ? withoutCommands(line) : line);
      const text = json ? jsonText(document, 2) : lines.map(fact).join('\n');
      const shown = stdout.isTTY === true ? printable(text) : text;
      if (shown !== '') stdout.write(`${shown}\n`);
    },
    note(message) {
      if (!quiet && !json) talk(paint('dim', clean(message)));
    },
    warn(message) {
      talk(`${paint('yellow', 'warning:')} ${clean(message)}`);
    },
    fail(message, more) {
      if (annotate) {
        talk(annotation([message, ...more].map(clean)));
        return;
      }
      talk(`${paint('red', 'error:')} ${clean(message)}`);
      for (const line of more) talk(`  ${clean(line)}`);
    },
  };
}

/** A document in which GitHub Actions finds no command, and everybody else the same texts. */
export function jsonText(document: unknown, indent?: number): string {
  return JSON.stringify(document, null, indent).replaceAll('##[', '#\\u0023[');
}

/** What comes from elsewhere commands no runner of GitHub Actions, which reads commands from both streams. */
function withoutCommands(text: string): string {
  return text.replaceAll(/^(\s*):(?=:)/gm, '$1\\x3a').replaceAll('##[', '#\\x23[');
}

/** A workflow command of GitHub Actions, with what its lines may not hold written as it reads it back. */
function annotation(lines: readonly string[]): string {
  const text = lines.join('\n').replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  return `::error title=modeldl::${text}`;
}

/** Questions, for commands that were called without what they need, on a terminal only. */
import type { ListedModel } from '../results.js';
import type { Call, CliEnvironment } from './command.js';
import { formatBytes, formatCommand } from './format.js';
import { ask } from './interactive/ask.js';
import { isAbout } from './interactive/find.js';
import { clipReference, oneLine } from './interactive/fit.js';
import { columnsOf, listRows } from './interactive/screen.js';

/** Left of a checkbox' text, and of a size. */
const CHECKBOX = 4;
const SIZE = 9;
/** Rows beside a list: the question, and what is below it. */
const AROUND = 6;
const MOST_ROWS = 14;

/**
 * Tells the command that does without the questions what was just answered: the words that were typed, with the
 * answers after them.
 */
export function tellCommand(
  { typed, output }: Pick<Call<object>, 'typed' | 'output'>,
  answers: readonly string[],
  input = '',
): void {
  // Behind `--` an option is an argument.
  const end = typed.indexOf('--');
  const command = formatCommand(['modeldl', ...typed.toSpliced(end < 0 ? typed.length : end, 0, ...answers)]);
  output.note(`The same without questions: ${command}${input}`);
}

export interface Choice<Value extends string> {
  readonly value: Value;
  readonly name: string;
  /** What stands there once it was chosen; default the name. */
  readonly short?: string;
  /** More about the one that the pointer is at. */
  readonly description?: string;
  /** Why it cannot be chosen. */
  readonly disabled?: string;
}

/** @param validate what is wrong with an answer, or true */
export async function askText(
  cli: CliEnvironment,
  message: string,
  validate: (text: string) => true | string | Promise<true | string>,
  preset?: string,
): Promise<string> {
  const { input } = await import('@inquirer/prompts');
  const given = preset === undefined ? {} : { default: preset };
  const answer = await ask(cli, (streams) =>
    input({ message, validate: (text) => validate(text.trim()), ...given }, streams),
  );
  return answer.trim();
}

/** One of a few, of which one has to be free to choose. */
export async function askChoice<Value extends string>(
  cli: CliEnvironment,
  message: string,
  choices: readonly Choice<Value>[],
  preset?: Value,
): Promise<Value> {
  const { select } = await import('@inquirer/prompts');
  const offered = choices.map(({ disabled, ...choice }) => ({
    ...choice,
    ...(disabled === undefined ? {} : { disabled: `(${disabled})` }),
  }));
  const given = preset === undefined ? {} : { default: preset };
  return ask(cli, (streams) =>
    select<Value>({ message, choices: offered, pageSize: pageSize(cli), ...given }, streams),
  );
}

export async function askModels(
  cli: CliEnvironment,
  models: readonly ListedModel[],
): Promise<readonly string[]> {
  const { checkbox } = await import('@inquirer/prompts');
  const offered = models.length > pageSize(cli) ? await narrow(cli, models) : models;
  const room = Math.max(1, columnsOf(cli.stderr) - CHECKBOX - SIZE - 2);
  const choices = offered.map(({ reference, bytes }) => {
    const whole = oneLine(reference);
    const shown = clipReference(whole, room);
    return {
      value: reference,
      // Sizes first: references are long, and a wrapped line would hide what is behind them.
      name: `${formatBytes(bytes).padStart(SIZE)}  ${shown}`,
      short: whole,
      ...(shown === whole ? {} : { description: whole }),
    };
  });
  return ask(cli, (streams) =>
    checkbox(
      { message: 'Which models to remove', choices, required: true, pageSize: pageSize(cli) },
      streams,
    ),
  );
}

/** Of more models than a screen holds those that are called like a word: the library's checkbox cannot be searched. */
async function narrow(cli: CliEnvironment, models: readonly ListedModel[]): Promise<readonly ListedModel[]> {
  const called = (text: string): readonly ListedModel[] =>
    models.filter(({ reference }) => isAbout(reference, text));
  const word = await askText(
    cli,
    `Part of the name (Enter: all ${models.length} models)`,
    (text) => called(text).length > 0 || `None of ${models.length} models is called so`,
  );
  return called(word);
}

/** Any number of a few. */
export async function askSome<Value extends string>(
  cli: CliEnvironment,
  message: string,
  choices: readonly { readonly value: Value; readonly name: string }[],
): Promise<readonly Value[]> {
  const { checkbox } = await import('@inquirer/prompts');
  return ask(cli, (streams) => checkbox({ message, choices }, streams));
}

/** @param preset what Enter alone says; no where something would be lost */
export async function askConfirmation(
  cli: CliEnvironment,
  message: string,
  preset = false,
): Promise<boolean> {
  const { confirm } = await import('@inquirer/prompts');
  return ask(cli, (streams) => confirm({ message, default: preset }, streams));
}

export async function askToken(cli: CliEnvironment, message: string): Promise<string> {
  const { password } = await import('@inquirer/prompts');
  const validate = (text: string): true | string => text.trim() !== '' || 'Paste the token, or Escape';
  return ask(cli, (streams) => password({ message, mask: '*', validate }, streams));
}

function pageSize(cli: CliEnvironment): number {
  return listRows(cli.stderr, AROUND, MOST_ROWS);
}

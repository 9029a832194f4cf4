/** Questions, for commands that were called without what they need, on a terminal only. */
import type { ListedModel } from '../results.js';
import type { Call, CliEnvironment } from './command.js';
import { formatBytes, formatCommand } from './format.js';

type Streams = { input: NodeJS.ReadableStream; output: NodeJS.WritableStream; signal: AbortSignal };

function streams(cli: CliEnvironment): Streams {
  return { input: cli.stdin, output: cli.stderr, signal: cli.signal };
}

/**
 * Tells the command that does without the questions what was just answered: the words that were typed, with the
 * answers after them.
 */
export function tellCommand(
  call: Pick<Call<object>, 'typed' | 'output'>,
  answers: readonly string[],
  input = '',
): void {
  const command = formatCommand(['modeldl', ...call.typed, ...answers]);
  call.output.note(`The same without questions: ${command}${input}`);
}

export async function askReference(cli: CliEnvironment): Promise<string> {
  const { input } = await import('@inquirer/prompts');
  const message = 'Which model (such as hf:org/name, ./model.onnx, https://…)';
  const answer = await input(
    { message, validate: (text) => text.trim() !== '' || 'Name a model' },
    streams(cli),
  );
  return answer.trim();
}

export async function askChoice<Value extends string>(
  cli: CliEnvironment,
  message: string,
  choices: readonly { readonly value: Value; readonly name: string }[],
  preset?: Value,
): Promise<Value> {
  const { select } = await import('@inquirer/prompts');
  return select({ message, choices, ...(preset === undefined ? {} : { default: preset }) }, streams(cli));
}

export async function askModels(
  cli: CliEnvironment,
  models: readonly ListedModel[],
): Promise<readonly string[]> {
  const { checkbox } = await import('@inquirer/prompts');
  const choices = models.map(({ reference, bytes }) => ({
    value: reference,
    // Sizes first: references are long, and a wrapped line would hide what is behind them.
    name: `${formatBytes(bytes).padStart(9)}  ${reference}`,
  }));
  return checkbox({ message: 'Which models to remove', choices, required: true }, streams(cli));
}

/** Any number of a few. */
export async function askSome<Value extends string>(
  cli: CliEnvironment,
  message: string,
  choices: readonly { readonly value: Value; readonly name: string }[],
): Promise<readonly Value[]> {
  const { checkbox } = await import('@inquirer/prompts');
  return checkbox({ message, choices }, streams(cli));
}

export async function askConfirmation(cli: CliEnvironment, message: string): Promise<boolean> {
  const { confirm } = await import('@inquirer/prompts');
  return confirm({ message, default: false }, streams(cli));
}

export async function askToken(cli: CliEnvironment, message: string): Promise<string> {
  const { password } = await import('@inquirer/prompts');
  return password({ message, mask: '*' }, streams(cli));
}

/** @param validate what is wrong with an answer, or true */
export async function askText(
  cli: CliEnvironment,
  message: string,
  validate: (text: string) => true | string | Promise<true | string>,
  preset?: string,
): Promise<string> {
  const { input } = await import('@inquirer/prompts');
  const answer = await input(
    {
      message,
      validate: (text) => validate(text.trim()),
      ...(preset === undefined ? {} : { default: preset }),
    },
    streams(cli),
  );
  return answer.trim();
}

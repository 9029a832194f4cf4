/** Questions, for commands that were called without what they need, on a terminal only. */
import type { ListedModel } from '../results.js';
import type { CliEnvironment } from './command.js';
import { formatBytes } from './format.js';

type Streams = { input: NodeJS.ReadableStream; output: NodeJS.WritableStream; signal: AbortSignal };

function streams(cli: CliEnvironment): Streams {
  return { input: cli.stdin, output: cli.stderr, signal: cli.signal };
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
    name: `${reference}  ${formatBytes(bytes)}`,
  }));
  return checkbox({ message: 'Which models to remove', choices, required: true }, streams(cli));
}

export async function askConfirmation(cli: CliEnvironment, message: string): Promise<boolean> {
  const { confirm } = await import('@inquirer/prompts');
  return confirm({ message, default: false }, streams(cli));
}

export async function askToken(cli: CliEnvironment, message: string): Promise<string> {
  const { password } = await import('@inquirer/prompts');
  return password({ message, mask: '*' }, streams(cli));
}

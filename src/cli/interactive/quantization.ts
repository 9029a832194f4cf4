/** Which of several GGUF quantizations: an operation without one fails by naming them. */
import * as v from 'valibot';
import type { ModeldlError } from '../../errors.js';
import type { CliEnvironment } from '../command.js';
import { formatBytes } from '../format.js';
import { askChoice } from '../prompts.js';

/** Bytes by name, as the error carries them. */
const schema = v.record(v.string(), v.number());

/** Their sizes in bytes; undefined for another error. */
export function quantizationsOf(
  error: ModeldlError | undefined,
): Readonly<Record<string, number>> | undefined {
  const sizes = v.safeParse(schema, error?.details['quantizations']);
  return sizes.success ? sizes.output : undefined;
}

export function askQuantization(
  cli: CliEnvironment,
  quantizations: Readonly<Record<string, number>>,
): Promise<string> {
  const choices = Object.entries(quantizations).map(([value, bytes]) => ({
    value,
    name: `${value}  ${formatBytes(bytes)}`,
  }));
  return askChoice(cli, 'Which quantization', choices);
}

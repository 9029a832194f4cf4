/** `--summary FILE`: what was brought in, appended as Markdown to a file such as GITHUB_STEP_SUMMARY. */
import { appendFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { summarize, type Summary } from '../ci/summary.js';
import { ModeldlError } from '../errors.js';
import { printable, redactSecrets } from '../redact.js';
import type { Call } from './command.js';
import { formatBytes, formatSeconds } from './format.js';
import { asModeldlError } from './report.js';

export interface SummaryFlags {
  readonly summary?: string;
}

export const SUMMARY_OPTION = [
  '--summary <file>',
  'append a table of the models as Markdown, such as to "$GITHUB_STEP_SUMMARY"',
] as const;

type Brought = Pick<Summary, 'models' | 'seconds' | 'errors'>;

/**
 * Runs what a command brings in, and appends its table where one is asked for, also of what fails as a whole.
 * @throws ModeldlError DISK where it cannot be written, before anything is fetched
 */
export async function summarized<Result>(
  call: Call<SummaryFlags>,
  command: string,
  bring: () => Promise<Result>,
  brought: (result: Result, seconds: number) => Brought,
): Promise<Result> {
  const { flags, cli, output } = call;
  if (flags.summary === undefined) return bring();
  const file = resolve(cli.cwd, flags.summary);
  try {
    await appendFile(file, '');
  } catch (error) {
    throw new ModeldlError('DISK', `The summary cannot be written: ${file}`, {
      hint: 'name a file in a directory that is there and may be written',
      cause: error,
      details: { file },
    });
  }
  const started = performance.now();
  const append = async (facts: (seconds: number) => Brought): Promise<void> => {
    const totalSeconds = (performance.now() - started) / 1000;
    const name = (text: string): string => printable(redactSecrets(text, output.secrets));
    const words = { bytes: formatBytes, seconds: formatSeconds, name };
    try {
      await appendFile(file, summarize({ command, ...facts(totalSeconds), totalSeconds }, words));
    } catch (error) {
      // The models are there, and whoever called waits for their paths.
      output.warn(`The summary is not written: ${error instanceof Error ? error.message : file}`);
    }
  };
  let result: Result;
  try {
    result = await bring();
  } catch (thrown) {
    await append(() => ({ models: [], seconds: [], errors: [asModeldlError(thrown)] }));
    throw thrown;
  }
  await append((seconds) => brought(result, seconds));
  return result;
}

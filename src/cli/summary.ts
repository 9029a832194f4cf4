/** `--summary FILE`: what was brought in, appended as Markdown to a file such as GITHUB_STEP_SUMMARY. */
import { appendFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { summarize, type Summary } from '../ci/summary.js';
import { diskError } from '../errors.js';
import { printable, redactSecrets } from '../redact.js';
import type { Call } from './command.js';
import { formatBytes, formatSeconds } from './format.js';

export interface SummaryFlags {
  readonly summary?: string;
}

export const SUMMARY_OPTION = [
  '--summary <file>',
  'append a table of the models as Markdown, such as to "$GITHUB_STEP_SUMMARY"',
] as const;

/** Fails before anything is fetched where it cannot be written. @throws ModeldlError DISK */
export async function createSummary({
  flags,
  cli,
  output,
}: Call<SummaryFlags>): Promise<(summary: Omit<Summary, 'totalSeconds'>) => Promise<void>> {
  const { summary: asked } = flags;
  if (asked === undefined) return () => Promise.resolve();
  const file = resolve(cli.cwd, asked);
  const append = (text: string): Promise<void> => appendFile(file, text);
  try {
    await append('');
  } catch (error) {
    throw diskError(error, file);
  }
  const started = performance.now();
  return async (summary) => {
    const words = {
      bytes: formatBytes,
      seconds: formatSeconds,
      name: (text: string) => printable(redactSecrets(text, output.secrets)),
    };
    const totalSeconds = (performance.now() - started) / 1000;
    try {
      await append(summarize({ ...summary, totalSeconds }, words));
    } catch (error) {
      // The models are there, and whoever called waits for their paths.
      output.warn(`The summary is not written: ${error instanceof Error ? error.message : file}`);
    }
  };
}

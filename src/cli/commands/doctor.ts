import { parseDuration } from '../../config/units.js';
import { EXIT_CODES, ModeldlError } from '../../errors.js';
import { doctor } from '../../index.js';
import { printable, redactDocument } from '../../redact.js';
import type { DoctorCheck, DoctorReport, DoctorTopic } from '../../results.js';
import { apiOptions, type Call, type CommandDefinition } from '../command.js';
import { isEventOutput } from '../event-output.js';
import { formatCount, formatTable } from '../format.js';
import { createProgress } from '../progress.js';
import { reportErrors } from '../report.js';

interface DoctorFlags {
  readonly timeout?: string;
}

export const command: CommandDefinition<DoctorFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .argument(
        '[what...]',
        'programs, machine, configuration, cache, toolchains, network, credentials, hubs such as hf, references; all but the last when none is named',
      )
      .option('--timeout <time>', 'how long each check may take (default: 5s)')
      .addHelpText(
        'after',
        '\nExit 0 when no check failed, else 1; warnings are no failures.\n\nExamples:\n  modeldl doctor --offline\n  modeldl doctor network credentials --offline\n  modeldl doctor hf hf:org/gated-model\n  modeldl doctor --json',
      );
  },
  async run(call) {
    const report = redacted(await look(call), call.output.secrets);
    const failed = report.checks.filter(({ status }) => status === 'failed');
    const { output, flags } = call;
    if (!output.json) {
      output.result(output.quiet ? failed.map(({ name }) => name) : table(report, output.columns), {});
      output.note(summary(report));
    } else if (failed.length === 0) output.result([], { ok: true, ...report });
    if (failed.length > 0 && (output.json || isEventOutput(output)))
      reportErrors(output, failed.map(asError), [], flags.verbose, { more: report });
    return failed.length === 0 ? undefined : EXIT_CODES.FAILED_CHECK;
  },
};

async function look({ arguments: words, flags, cli, output }: Call<DoctorFlags>): Promise<DoctorReport> {
  const limitMs = flags.timeout === undefined ? undefined : parseDuration(flags.timeout, '--timeout');
  if (limitMs === 0)
    throw new ModeldlError('USAGE', 'Expected a time above 0 for --timeout, got 0', {
      hint: 'for example `--timeout 10s`',
    });
  const options = apiOptions(flags, cli);
  const progress = await createProgress(flags.progress, output);
  progress.emit({ type: 'stage', stage: 'Looking at this machine and its hubs' });
  try {
    // Not opened as others do: a broken configuration is what this has to show.
    return await doctor(
      { ...options, emit: progress.emit, onSecret: (secret) => output.secrets.add(secret) },
      words,
      limitMs === undefined ? {} : { limitMs },
    );
  } finally {
    progress.stop();
  }
}

/** Names, paths and what servers say: nothing of it is trusted. */
function redacted({ checks, counts }: DoctorReport, secrets: ReadonlySet<string>): DoctorReport {
  const clean = redactDocument(checks, secrets) as DoctorReport['checks'];
  return { checks: clean, counts };
}

function asError({ name, message, fix }: DoctorCheck): ModeldlError {
  return new ModeldlError('FAILED_CHECK', message, { hint: fix ?? undefined, details: { check: name } });
}

function table({ checks }: DoctorReport, columns: number | undefined): readonly string[] {
  const topics = [...new Set(checks.map(({ topic }) => topic))];
  return topics.flatMap((topic, at) => [
    ...(at === 0 ? [] : ['']),
    topic,
    ...rows(
      topic,
      checks.filter((check) => check.topic === topic),
      columns,
    ),
  ]);
}

function rows(
  topic: DoctorTopic,
  checks: readonly DoctorCheck[],
  columns: number | undefined,
): readonly string[] {
  const cells = checks.flatMap(({ name, status, message, fix }) => [
    [`  ${status}`, name === topic ? '' : name.slice(topic.length + 1), printable(message)],
    ...(fix === null ? [] : [['', '', `fix: ${printable(fix)}`]]),
  ]);
  // Without its header: the topic is one.
  return formatTable(['', '', ''], cells, [], columns).slice(1);
}

function summary({ counts }: DoctorReport): string {
  const { failed, warning, ok, skipped } = counts;
  return `${failed} failed, ${formatCount(warning, 'warning')}, ${ok} ok, ${skipped} skipped`;
}

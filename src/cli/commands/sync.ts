import { resolve } from 'node:path';
import type { SyncOptions } from '../../index.js';
import type { SyncPlan } from '../../results.js';
import type { Call, CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { reportErrors } from '../report.js';
import { summarized, SUMMARY_OPTION, type SummaryFlags } from '../summary.js';

export interface ListFlags {
  readonly file?: string;
  readonly output?: string;
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
  readonly check?: boolean;
}

interface SyncFlags extends ListFlags, SummaryFlags {
  readonly frozen?: boolean;
  readonly dryRun?: boolean;
}

export const command: CommandDefinition<SyncFlags> = {
  configure(command) {
    command
      .option('--file <file>', "startup list of the microservice, instead of the configuration's `models`")
      .option('--frozen', 'what the lock says and nothing else: no request but for bytes')
      .option('-o, --output <dir>', 'copies in this directory, as the microservice lays them out')
      .option(...SUMMARY_OPTION)
      .option('--dry-run', 'show the plan only')
      .option('--jobs <n>', 'large files at once, of all models together')
      .option('--connections <n>', 'at most so many for one large file, 1 to 16')
      .option('--limit-rate <rate>', 'bytes per second, such as 20M')
      .option('--trust-remote-code', 'run code that comes with the models')
      .option('--trust-pickle', 'load pickles that no safe loader takes')
      .option('--no-check', 'do not load and run results of conversions')
      .option('--no-install', 'a missing toolchain is an error')
      .addHelpText(
        'after',
        '\nA lock beside the list decides the revisions; `modeldl lock` writes it.\n' +
          '\nExamples:\n  modeldl sync\n  modeldl sync --frozen\n  modeldl sync --file startup-models.yaml -o /opt/models',
      );
  },
  async run(call) {
    const modeldl = await call.open();
    const { frozen, dryRun } = call.flags;
    const options: SyncOptions = { ...listOptions(call), ...(frozen === undefined ? {} : { frozen }) };
    if (dryRun === true) {
      const { results, errors, file, lock } = await modeldl.planSync(options);
      call.settle();
      const lines = call.output.quiet ? results.map(({ reference }) => reference) : results.map(planLine);
      return report(call, lines, { file, lock, models: results }, errors);
    }
    const { results, errors, file, lock } = await summarized(
      call,
      'sync',
      () => modeldl.sync(options),
      ({ results: models, errors, seconds = [] }) => ({ models, errors, seconds }),
    );
    call.settle();
    const fetched = results.reduce((sum, { downloadedBytes }) => sum + downloadedBytes, 0);
    if (results.length > 0)
      call.output.note(
        `${formatCount(results.length, 'model')} in the store, ${formatBytes(fetched)} fetched`,
      );
    const paths = results.map((model) => model.output ?? model.path);
    return report(call, paths, { file, lock, models: results }, errors);
  },
};

function report(
  call: Call<SyncFlags>,
  lines: readonly string[],
  document: { readonly file: string; readonly lock: string | null; readonly models: readonly object[] },
  errors: Parameters<typeof reportErrors>[1],
): number | undefined {
  if (errors.length === 0) {
    call.output.result(lines, { ok: true, ...document });
    return undefined;
  }
  if (!call.output.json) call.output.result(lines, {});
  return reportErrors(call.output, errors, document.models, call.flags.verbose);
}

export function listOptions({ flags, cli }: Call<ListFlags>): SyncOptions {
  const { file, output, trustRemoteCode, trustPickle, check } = flags;
  return {
    ...(file === undefined ? {} : { file: resolve(cli.cwd, file) }),
    ...(output === undefined ? {} : { output: resolve(cli.cwd, output) }),
    ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
    ...(trustPickle === undefined ? {} : { trustPickle }),
    ...(check === false ? { check } : {}),
  };
}

function planLine(plan: SyncPlan): string {
  const { reference, downloadBytes, kind } = plan;
  const stored = 'stored' in plan ? plan.stored : plan.files.every((file) => file.stored);
  if (stored) return `${reference}: stored`;
  const fetch = downloadBytes === 0 ? '' : `, ${formatBytes(downloadBytes)} to fetch`;
  return `${reference}: ${kind === 'pulled' ? 'pull' : 'convert'}${fetch}`;
}

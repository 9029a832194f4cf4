import type { LockedResult } from '../../results.js';
import type { CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { reportErrors } from '../report.js';
import { listOptions, type ListFlags } from './sync.js';

interface LockFlags extends ListFlags {
  readonly dryRun?: boolean;
}

export const command: CommandDefinition<LockFlags> = {
  configure(command) {
    command
      .option('--file <file>', "startup list of the microservice, instead of the configuration's `models`")
      .option('-o, --output <dir>', 'as `sync` will be given it')
      .option('--dry-run', 'show what would change only')
      .option('--trust-remote-code', 'run code that comes with the models')
      .option('--trust-pickle', 'load pickles that no safe loader takes')
      .option('--jobs <n>', 'large files at once, of all models together')
      .option('--connections <n>', 'at most so many for one large file, 1 to 16')
      .option('--limit-rate <rate>', 'bytes per second, such as 20M')
      .addHelpText(
        'after',
        '\nWhat the hubs list is enough for most models; of others the bytes are fetched, since only these tell their digest\n' +
          'or the key of a conversion.\n' +
          '\nExamples:\n  modeldl lock\n  modeldl lock --dry-run\n  modeldl lock --file startup-models.yaml',
      );
  },
  async run(call) {
    const modeldl = await call.open();
    const dryRun = call.flags.dryRun ?? false;
    const { results, errors, file, lock, removed, written } = await modeldl.lock({
      ...listOptions(call),
      dryRun,
    });
    call.settle();
    if (errors.length > 0) {
      call.output.note('Nothing was written');
      return reportErrors(call.output, errors, [], call.flags.verbose);
    }
    const changed = results.filter(({ change }) => change !== 'same');
    const lines = dryRun
      ? [...changed.map(changeLine), ...removed.map((request) => `removed  ${request}`)]
      : [lock];
    if (!dryRun) for (const result of changed) call.output.note(changeLine(result));
    if (!dryRun) for (const request of removed) call.output.note(`removed  ${request}`);
    if (!written && !dryRun) call.output.note('Nothing changed');
    call.output.result(lines, { ok: true, file, lock, written, removed, models: results });
    return undefined;
  },
};

function changeLine({ change, reference, files, bytes, converter }: LockedResult): string {
  // npm tells no size of a package before it is fetched.
  const size = `${formatCount(files, 'file')}${bytes === 0 ? '' : `, ${formatBytes(bytes)}`}`;
  return `${change.padEnd(7)}  ${reference} (${size}${converter === null ? '' : `, converted by ${converter}`})`;
}

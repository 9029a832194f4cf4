import type { Modeldl } from '../../index.js';
import { usageLines } from '../bars.js';
import type { Call, CommandDefinition } from '../command.js';
import { formatAgo, formatBytes, formatCount, formatTable } from '../format.js';

const NOTHING = 'Nothing is stored yet: `modeldl pull <reference>` fetches a model';

interface ListFlags {
  readonly usage?: boolean;
}

export const command: CommandDefinition<ListFlags> = {
  onlyLooks: true,
  configure(command) {
    command.option('--usage', 'what each model takes on disk, as bars, the largest first');
    command.addHelpText(
      'after',
      '\nExamples:\n  modeldl list\n  modeldl list --quiet   # references only\n  modeldl list --usage   # where the space went',
    );
  },
  async run(call) {
    const modeldl = await call.open();
    if (call.flags.usage === true) return listUsage(call, modeldl);
    const { models, totals } = await modeldl.list();
    call.settle();
    const now = Date.now();
    // Where only the own cache has models, it need not be named.
    const shared = models.some(({ cache }) => cache !== modeldl.cacheDir);
    const rows = models.map(({ reference, kind, precision, device, bytes, lastUsedAt, cache }) => [
      reference,
      kind,
      precision ?? '-',
      device ?? '-',
      formatBytes(bytes),
      formatAgo(lastUsedAt, now),
      ...(shared ? [cache === modeldl.cacheDir ? '-' : cache] : []),
    ]);
    const header = ['REFERENCE', 'KIND', 'PRECISION', 'DEVICE', 'SIZE', 'LAST USED'];
    if (shared) header.push('READ FROM');
    const lines = call.output.quiet
      ? models.map(({ reference }) => reference)
      : models.length === 0
        ? []
        : [
            ...formatTable(header, rows, [4]),
            `${formatCount(totals.models, 'model')}, ${formatBytes(totals.bytes)}, ${formatBytes(totals.physicalBytes)} on disk${shared ? ' in the own cache' : ''}`,
          ];
    if (models.length === 0) call.output.note(NOTHING);
    call.output.result(lines, { ok: true, models, totals });
    return undefined;
  },
};

async function listUsage(call: Call<ListFlags>, modeldl: Modeldl): Promise<undefined> {
  const { models, physicalBytes, sharedBytes } = await modeldl.usage();
  call.settle();
  if (models.length === 0) call.output.note(NOTHING);
  const shared = sharedBytes === 0 ? '' : `, ${formatBytes(sharedBytes)} of it shared`;
  const lines = call.output.quiet
    ? models.map(({ reference }) => reference)
    : models.length === 0
      ? []
      : [
          ...usageLines(models, call.output.columns),
          `${formatCount(models.length, 'model')}, ${formatBytes(physicalBytes)} on disk${shared}`,
        ];
  call.output.result(lines, {
    ok: true,
    models,
    totals: { models: models.length, physicalBytes, sharedBytes },
  });
  return undefined;
}

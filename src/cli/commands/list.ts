import type { CommandDefinition } from '../command.js';
import { formatAgo, formatBytes, formatCount, formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command.addHelpText('after', '\nExamples:\n  modeldl list\n  modeldl list --quiet   # references only');
  },
  async run(call) {
    const modeldl = await call.open();
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
    if (models.length === 0)
      call.output.note('Nothing is stored yet: `modeldl pull <reference>` fetches a model');
    call.output.result(lines, { ok: true, models, totals });
    return undefined;
  },
};

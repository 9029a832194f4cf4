import { parseDuration, parseSize } from '../../config/units.js';
import type { PruneOptions } from '../../index.js';
import { needsYes, type CommandDefinition } from '../command.js';
import { formatBytes } from '../format.js';
import { askConfirmation } from '../prompts.js';

interface PruneFlags {
  readonly olderThan?: string;
  readonly maxSize?: string;
  readonly partials?: boolean;
  readonly toolchains?: boolean;
  readonly dryRun?: boolean;
}

export const command: CommandDefinition<PruneFlags> = {
  configure(command) {
    command
      .option('--older-than <time>', 'also models not used for this long, such as 30d')
      .option(
        '--max-size <size>',
        'also the least recently used models, until the store is this small, such as 50G',
      )
      .option('--partials', 'also unfinished downloads')
      .option('--toolchains', 'also the environments of the converters')
      .option('--dry-run', 'show the plan only')
      .addHelpText('after', '\nExamples:\n  modeldl prune\n  modeldl prune --older-than 30d --dry-run');
  },
  async run(call) {
    const { flags, output } = call;
    const options = pruneOptions(flags);
    const modeldl = await call.open();
    const plan = await modeldl.planPrune(options);
    call.settle();
    const lines = [
      ...plan.models.map(({ reference, bytes }) => `model      ${reference}  ${formatBytes(bytes)}`),
      ...(plan.blobs.bytes > 0
        ? [`unused     ${plan.blobs.count} files, ${formatBytes(plan.blobs.bytes)}`]
        : []),
      ...(plan.partials.count > 0
        ? [`unfinished ${plan.partials.count} downloads, ${formatBytes(plan.partials.bytes)}`]
        : []),
      ...plan.toolchains.map(({ name, bytes }) => `toolchain  ${name}  ${formatBytes(bytes)}`),
    ];
    if (flags.dryRun === true) {
      output.result([...lines, `${formatBytes(plan.bytes)} would be freed`], { ok: true, ...plan });
      return undefined;
    }
    const evicts = plan.models.length + plan.toolchains.length > 0;
    if (evicts && flags.yes !== true) {
      if (!call.interactive)
        throw needsYes(`Removing ${plan.models.length} models and ${plan.toolchains.length} toolchains`);
      for (const line of lines) output.note(line);
      if (!(await askConfirmation(call.cli, `Free ${formatBytes(plan.bytes)}?`))) return undefined;
    }
    const { removed, freedBytes } = await modeldl.prune(plan, options);
    output.note(`Freed ${formatBytes(freedBytes)}`);
    output.result(removed, { ok: true, removed, freedBytes });
    return undefined;
  },
};

function pruneOptions(flags: PruneFlags): PruneOptions {
  const { olderThan, maxSize, partials, toolchains } = flags;
  return {
    ...(olderThan === undefined ? {} : { olderThanMs: parseDuration(olderThan, '--older-than') }),
    ...(maxSize === undefined ? {} : { maxBytes: parseSize(maxSize, '--max-size') }),
    ...(partials === undefined ? {} : { partials }),
    ...(toolchains === undefined ? {} : { toolchains }),
  };
}

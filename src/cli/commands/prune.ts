import { parseDuration, parseSize } from '../../config/units.js';
import type { Modeldl, PruneOptions } from '../../index.js';
import { needsYes, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { askConfirmation, askSome, tellCommand } from '../prompts.js';

interface PruneFlags {
  readonly olderThan?: string;
  readonly maxSize?: string;
  readonly partials?: boolean;
  readonly toolchains?: boolean;
  readonly ci?: boolean;
  readonly dryRun?: boolean;
}

/** Models unused for this long are offered when nothing was said. */
const OFFERED_AGE = '30d';

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
      .option('--ci', 'keep conversions alone, before a CI system keeps the cache')
      .option('--dry-run', 'show the plan only')
      .addHelpText(
        'after',
        '\nWithout options only files go that no model uses, as removed ones leave them; models and environments are kept.\n\nExamples:\n  modeldl prune\n  modeldl prune --older-than 30d --dry-run\n  modeldl prune --ci -y',
      );
  },
  async run(call) {
    const { output } = call;
    const modeldl = await call.open();
    const answers = await askKinds(call, modeldl);
    const flags = { ...call.flags, ...answers };
    const options = pruneOptions(flags);
    const plan = await modeldl.planPrune(options);
    call.settle();
    const lines = [
      ...plan.models.map(({ reference, bytes }) => `model      ${reference}  ${formatBytes(bytes)}`),
      ...(plan.blobs.bytes > 0
        ? [`unused     ${formatCount(plan.blobs.count, 'file')}, ${formatBytes(plan.blobs.bytes)}`]
        : []),
      ...(plan.partials.count > 0
        ? [`unfinished ${formatCount(plan.partials.count, 'download')}, ${formatBytes(plan.partials.bytes)}`]
        : []),
      ...plan.toolchains.map(({ name, bytes }) => `toolchain  ${name}  ${formatBytes(bytes)}`),
    ];
    const { keptPartials: kept } = plan;
    const tellKept = (): void => {
      if (kept.count === 0) return;
      const what = `${formatCount(kept.count, 'unfinished download')}, ${formatBytes(kept.bytes)}`;
      output.note(`Kept to be resumed: ${what}; \`--partials\` removes them too`);
    };
    if (flags.dryRun === true) {
      if (answers !== undefined) tellCommand(call, pruneWords(answers));
      tellKept();
      output.result([...lines, `${formatBytes(plan.bytes)} would be freed`], { ok: true, ...plan });
      return undefined;
    }
    const evicts = plan.models.length + plan.toolchains.length > 0;
    if (flags.yes !== true) {
      if (evicts && !call.interactive)
        throw needsYes(
          `Removing ${formatCount(plan.models.length, 'model')} and ${formatCount(plan.toolchains.length, 'toolchain')}`,
        );
      if (call.interactive && lines.length > 0) {
        for (const line of lines) output.note(line);
        if (!(await askConfirmation(call.cli, `Free ${formatBytes(plan.bytes)}?`))) {
          output.note('Nothing was removed');
          return undefined;
        }
        tellCommand(call, [...pruneWords(answers ?? {}), '-y']);
      }
    }
    const { removed, freedBytes } = await modeldl.prune(plan, options);
    output.note(`Freed ${formatBytes(freedBytes)}`);
    tellKept();
    output.result(removed, { ok: true, removed, freedBytes });
    return undefined;
  },
};

/** What to free beside unused files, for a call that does not say; undefined when there is nothing to choose from. */
async function askKinds(call: Call<PruneFlags>, modeldl: Modeldl): Promise<PruneFlags | undefined> {
  const { olderThan, maxSize, partials, toolchains, ci, yes } = call.flags;
  const says = [olderThan, maxSize, partials, toolchains, ci, yes].some((flag) => flag !== undefined);
  if (says || !call.interactive) return undefined;
  const all = await modeldl.planPrune(
    pruneOptions({ olderThan: OFFERED_AGE, partials: true, toolchains: true }),
  );
  call.settle();
  const sum = (items: readonly { readonly bytes: number }[]): string =>
    formatBytes(items.reduce((total, { bytes }) => total + bytes, 0));
  const choices = [
    {
      value: 'olderThan' as const,
      count: all.models.length,
      name: `${formatCount(all.models.length, 'model')} not used for ${OFFERED_AGE}  ${sum(all.models)}`,
    },
    {
      value: 'partials' as const,
      count: all.partials.count,
      name: `${formatCount(all.partials.count, 'unfinished download')}  ${formatBytes(all.partials.bytes)}`,
    },
    {
      value: 'toolchains' as const,
      count: all.toolchains.length,
      name: `${formatCount(all.toolchains.length, 'environment')} of converters  ${sum(all.toolchains)}`,
    },
  ].filter(({ count }) => count > 0);
  if (choices.length === 0) return undefined;
  const chosen = await askSome(call.cli, 'What to free beside unused files', choices);
  return {
    ...(chosen.includes('olderThan') ? { olderThan: OFFERED_AGE } : {}),
    ...(chosen.includes('partials') ? { partials: true } : {}),
    ...(chosen.includes('toolchains') ? { toolchains: true } : {}),
  };
}

function pruneWords({ olderThan, partials, toolchains }: PruneFlags): readonly string[] {
  return [
    ...(olderThan === undefined ? [] : ['--older-than', olderThan]),
    ...(partials === true ? ['--partials'] : []),
    ...(toolchains === true ? ['--toolchains'] : []),
  ];
}

function pruneOptions(flags: PruneFlags): PruneOptions {
  const { olderThan, maxSize, partials, toolchains, ci } = flags;
  return {
    ...(olderThan === undefined ? {} : { olderThanMs: parseDuration(olderThan, '--older-than') }),
    ...(maxSize === undefined ? {} : { maxBytes: parseSize(maxSize, '--max-size') }),
    ...(partials === undefined ? {} : { partials }),
    ...(toolchains === undefined ? {} : { toolchains }),
    ...(ci === undefined ? {} : { ci }),
  };
}

import type { ConversionFilter, Modeldl } from '../../index.js';
import type { ListedModel } from '../../results.js';
import { missingArgument, needsYes, type Call, type CommandDefinition } from '../command.js';
import { addFilter, filterOf, type FilterFlags } from '../filter.js';
import { formatBytes, formatCount } from '../format.js';
import { askConfirmation, askModels, tellCommand } from '../prompts.js';

interface RemoveFlags extends FilterFlags {
  readonly prune?: boolean;
  readonly dryRun?: boolean;
}

export const command: CommandDefinition<RemoveFlags> = {
  onlyLooks: true,
  configure(command) {
    addFilter(
      command.argument(
        '[reference...]',
        'stored models; without a revision all of them, with their conversions',
      ),
    )
      .option('--prune', 'give the space back at once')
      .option('--dry-run', 'show the plan only')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl remove hf:org/name\n  modeldl remove hf:org/name+int8-cpu --prune -y',
      );
  },
  async run(call) {
    const { flags, output } = call;
    if (call.arguments.length === 0 && !call.interactive)
      throw missingArgument('a reference', 'modeldl remove hf:org/name');
    const modeldl = await call.open();
    const asked = call.arguments.length === 0;
    const references = asked ? await askReferences(call, modeldl) : call.arguments;
    if (references.length === 0) return undefined;
    const plan = await modeldl.planRemove(references, filterOf(flags));
    call.settle();
    const lines = plan.models.map(({ reference, bytes }) => `${reference}  ${formatBytes(bytes)}`);
    if (flags.dryRun === true) {
      if (asked) tellCommand(call, references);
      output.result([...lines, `${formatBytes(plan.bytes)} would be freed`], { ok: true, ...plan });
      return undefined;
    }
    if (flags.yes !== true) {
      if (!call.interactive) throw needsYes(`Removing ${formatCount(plan.models.length, 'model')}`);
      for (const line of lines) output.note(line);
      const question = `Remove ${formatCount(plan.models.length, 'model')} (${formatBytes(plan.bytes)})?`;
      if (!(await askConfirmation(call.cli, question))) {
        output.note('Nothing was removed');
        return undefined;
      }
    }
    if (asked || flags.yes !== true)
      tellCommand(call, [...(asked ? references : []), ...(flags.yes === true ? [] : ['-y'])]);
    const { removed, freedBytes } = await modeldl.remove(plan, { prune: flags.prune ?? false });
    const rest =
      flags.prune === true
        ? `${formatBytes(freedBytes)} freed`
        : 'the next `modeldl prune` frees their space';
    output.note(`Removed ${formatCount(removed.length, 'model')}: ${rest}`);
    output.result(removed, { ok: true, removed, freedBytes });
    return undefined;
  },
};

/** Of what this cache has: those below it are never changed. */
async function askReferences(call: Call<RemoveFlags>, modeldl: Modeldl): Promise<readonly string[]> {
  const { models } = await modeldl.list();
  call.settle();
  const own = models.filter(({ cache }) => cache === modeldl.cacheDir);
  const offered = own.filter((model) => isWanted(model, filterOf(call.flags)));
  if (offered.length > 0) return askModels(call.cli, offered);
  call.output.note(own.length > 0 ? 'Nothing is stored that these options name' : 'Nothing is stored');
  return [];
}

/** Options that choose among conversions choose no pulled model; which converter made one, the plan finds out. */
function isWanted({ kind, precision, device }: ListedModel, filter: ConversionFilter): boolean {
  if (Object.keys(filter).length === 0) return true;
  return (
    kind === 'converted' &&
    (filter.precision ?? precision) === precision &&
    (filter.device?.toUpperCase() ?? device) === device
  );
}

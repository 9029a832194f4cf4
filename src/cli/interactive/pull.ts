/** What `pull` asks when no model is named. */
import type { Modeldl, PullOptions } from '../../index.js';
import type { ListedModel, PullPlan } from '../../results.js';
import type { Call } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { askConfirmation } from '../prompts.js';
import { looking } from './looking.js';
import { askModel } from './model.js';

/** The reference of the model to pull; its size and licence are told first. */
export async function askModelToPull(
  call: Call<{ readonly dryRun?: boolean }>,
  options: PullOptions,
): Promise<string> {
  const { yes, dryRun } = call.flags;
  return looking(call, async (look) => {
    const stored = storedModels((await look.modeldl.list()).models);
    for (;;) {
      const question = { message: 'Which model', hubs: true, stored };
      const { reference, from } = await askModel(call.cli, look, question);
      const { plan, facts } = await look.shown((modeldl) => describe(modeldl, reference, options));
      if (facts !== undefined) call.output.note(facts);
      // Who typed a reference knows what it is; what was found by a word is looked at first.
      const bytes = plan?.downloadBytes ?? 0;
      if (from !== 'hub' || bytes === 0 || yes === true || dryRun === true) return reference;
      if (await askConfirmation(call.cli, `Fetch ${formatBytes(bytes)}?`, true)) return reference;
    }
  });
}

/** Models that were pulled, the last used first. */
export function storedModels(models: readonly ListedModel[]): readonly ListedModel[] {
  const usedAt = ({ lastUsedAt, pulledAt }: ListedModel): string => lastUsedAt ?? pulledAt;
  return models
    .filter(({ kind }) => kind === 'pulled')
    .sort((one, other) => (usedAt(one) < usedAt(other) ? 1 : usedAt(one) > usedAt(other) ? -1 : 0));
}

interface Description {
  readonly plan?: PullPlan | undefined;
  readonly facts?: string;
}

/** What can be told before a model is pulled; what goes wrong is the pull's to tell. */
async function describe(modeldl: Modeldl, reference: string, options: PullOptions): Promise<Description> {
  const [planned, shown] = await Promise.all([
    modeldl.planPull([reference], options).catch(() => undefined),
    modeldl.show(reference).catch(() => undefined),
  ]);
  const plan = planned?.results[0];
  if (plan === undefined && shown === undefined) return {};
  const facts = [
    plan === undefined
      ? undefined
      : plan.downloadBytes === 0
        ? `${formatBytes(plan.bytes)}, nothing to fetch`
        : `${formatBytes(plan.downloadBytes)} to fetch, ${formatBytes(plan.bytes)} in ${formatCount(plan.files.length, 'file')}`,
    shown === undefined ? undefined : shown.license === null ? 'licence unknown' : `licence ${shown.license}`,
    shown?.gated === true ? 'gated' : undefined,
  ];
  const said = facts.filter((fact) => fact !== undefined).join(', ');
  return { plan, facts: `${plan?.reference ?? shown?.reference ?? reference}: ${said}` };
}

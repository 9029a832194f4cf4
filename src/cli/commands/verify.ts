import { ModeldlError } from '../../errors.js';
import type { VerifiedModel } from '../../results.js';
import type { CommandDefinition } from '../command.js';
import { reportErrors } from '../report.js';

interface VerifyFlags {
  readonly repair?: boolean;
}

export const command: CommandDefinition<VerifyFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .argument('[reference...]', 'stored models; all when none is named')
      .option('--repair', 'restore what is bad or missing, fetching it again where needed')
      .addHelpText('after', '\nExamples:\n  modeldl verify\n  modeldl verify hf:org/name --repair');
  },
  async run(call) {
    const modeldl = await call.open();
    const { repair = false } = call.flags;
    const models = await modeldl.verify(call.arguments, { repair });
    call.settle();
    if (models.length === 0) call.output.note('Nothing is stored');
    const bad = models.filter(({ ok }) => !ok);
    const lines = models.map((model) => `${state(model).padEnd(8)} ${model.reference}`);
    if (bad.length === 0) {
      call.output.result(lines, { ok: true, models });
      return undefined;
    }
    if (!call.output.json) call.output.result(lines, {});
    const errors = bad.map((model) => damage(model, repair));
    return reportErrors(call.output, errors, call.output.json ? models : [], call.flags.verbose) && 6;
  },
};

function state({ ok, repaired, removed }: VerifiedModel): string {
  if (repaired) return 'repaired';
  if (removed) return 'removed';
  return ok ? 'ok' : 'damaged';
}

function damage(model: VerifiedModel, repair: boolean): ModeldlError {
  const { reference, damaged, missing } = model;
  const parts = [
    ...(damaged.length > 0 ? [`wrong bytes in ${damaged.join(', ')}`] : []),
    ...(missing.length > 0 ? [`missing ${missing.join(', ')}`] : []),
  ];
  return new ModeldlError('INTEGRITY', `Damaged: ${parts.join('; ')}`, {
    hint: nextStep(model, repair),
    details: { reference },
  });
}

/** @param repair whether a repair was tried, and so failed */
function nextStep({ reference, removed }: VerifiedModel, repair: boolean): string {
  if (removed) return 'it was removed: make it again with `modeldl convert`';
  const command = `\`modeldl verify --repair ${reference}\``;
  return repair
    ? `the warning says what hinders the repair; without that, run ${command}`
    : `repair it with ${command}`;
}

import { ModeldlError } from '../../errors.js';
import type { VerifiedModel } from '../../results.js';
import type { CommandDefinition } from '../command.js';
import { reportErrors } from '../report.js';

interface VerifyFlags {
  readonly repair?: boolean;
}

export const command: CommandDefinition<VerifyFlags> = {
  configure(command) {
    command
      .argument('[reference...]', 'stored models; all when none is named')
      .option('--repair', 'restore what is bad or missing, fetching it again where needed')
      .addHelpText('after', '\nExamples:\n  modeldl verify\n  modeldl verify hf:org/name --repair');
  },
  async run(call) {
    const modeldl = await call.open();
    const models = await modeldl.verify(call.arguments, { repair: call.flags.repair ?? false });
    call.settle();
    const bad = models.filter(({ ok }) => !ok);
    const lines = models.map((model) => `${state(model).padEnd(8)} ${model.reference}`);
    if (bad.length === 0) {
      call.output.result(lines, { ok: true, models });
      return undefined;
    }
    if (!call.output.json) call.output.result(lines, {});
    return (
      reportErrors(call.output, bad.map(damage), call.output.json ? models : [], call.flags.verbose) && 6
    );
  },
};

function state({ ok, repaired }: VerifiedModel): string {
  if (repaired) return 'repaired';
  return ok ? 'ok' : 'damaged';
}

function damage({ reference, damaged, missing }: VerifiedModel): ModeldlError {
  const parts = [
    ...(damaged.length > 0 ? [`wrong bytes in ${damaged.join(', ')}`] : []),
    ...(missing.length > 0 ? [`missing ${missing.join(', ')}`] : []),
  ];
  return new ModeldlError('INTEGRITY', `Damaged: ${parts.join('; ')}`, {
    hint: `repair it with \`modeldl verify --repair ${reference}\``,
    details: { reference },
  });
}

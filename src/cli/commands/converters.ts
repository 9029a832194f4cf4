import type { ConverterState } from '../../results.js';
import type { CommandDefinition } from '../command.js';
import { formatFacts } from '../format.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command.addHelpText('after', '\nExample:\n  modeldl converters --json');
  },
  async run(call) {
    const modeldl = await call.open();
    const [converters, runtimes] = await Promise.all([modeldl.converters(), modeldl.runtimes()]);
    call.settle();
    const { columns } = call.output;
    const lines = call.output.quiet
      ? converters.map(({ name }) => name)
      : [
          ...converters.flatMap((converter) => [converter.name, ...formatFacts(factsOf(converter), columns)]),
          ...runtimes.map(({ name, version, reason }) => {
            const found = version === null ? name : `${name} ${version}`;
            return `Optional: ${found}, ${reason ?? 'installed: plain fp32 and fp16 conversions run in it'}`;
          }),
        ];
    call.output.result(lines, { ok: true, converters, runtimes });
    return undefined;
  },
};

function factsOf({ accepts, makes, ready, reason, settings }: ConverterState): [string, string][] {
  return [
    ['takes', accepts],
    ['makes', makes],
    ['settings', Object.keys(settings).join(', ')],
    ['state', ready ? 'ready' : (reason ?? 'not ready')],
  ];
}

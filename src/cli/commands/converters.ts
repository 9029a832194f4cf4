import { ModeldlError } from '../../errors.js';
import type { ConverterState } from '../../results.js';
import type { Call, CommandDefinition } from '../command.js';
import { formatFacts } from '../format.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command.argument('[name]', 'one converter, with what its settings mean');
    command.addHelpText(
      'after',
      '\nExamples:\n  modeldl converters\n  modeldl converters nncf\n  modeldl converters --json',
    );
  },
  async run(call) {
    const [name] = call.arguments;
    const modeldl = await call.open();
    const [all, runtimes] = await Promise.all([modeldl.converters(), modeldl.runtimes()]);
    call.settle();
    if (name !== undefined) {
      explain(call, converterNamed(all, name));
      return undefined;
    }
    const { columns } = call.output;
    const lines = call.output.quiet
      ? all.map((converter) => converter.name)
      : [
          ...all.flatMap((converter) => [converter.name, ...formatFacts(factsOf(converter), columns)]),
          ...runtimes.map(({ name, version, reason }) => {
            const found = version === null ? name : `${name} ${version}`;
            return `Optional: ${found}, ${reason ?? 'installed: plain fp32 and fp16 conversions run in it'}`;
          }),
        ];
    call.output.result(lines, { ok: true, converters: all, runtimes });
    return undefined;
  },
};

function explain({ output }: Call<object>, converter: ConverterState): void {
  const facts = factsOf(converter).filter(([fact]) => fact !== 'settings');
  const lines = output.quiet
    ? Object.keys(converter.settings)
    : [
        converter.name,
        ...formatFacts(facts, output.columns),
        'Settings, each with `--set`:',
        ...formatFacts(Object.entries(converter.settings), output.columns),
      ];
  output.result(lines, { ok: true, converters: [converter] });
}

function converterNamed(converters: readonly ConverterState[], name: string): ConverterState {
  const found = converters.find((converter) => converter.name === name);
  if (found !== undefined) return found;
  throw new ModeldlError('USAGE', `Unknown converter: ${name}`, {
    hint: `known converters: ${converters.map((converter) => converter.name).join(', ')}`,
  });
}

function factsOf({ accepts, makes, ready, reason, settings }: ConverterState): [string, string][] {
  return [
    ['takes', accepts],
    ['makes', makes],
    ['settings', Object.keys(settings).join(', ')],
    ['state', ready ? 'ready' : (reason ?? 'not ready')],
  ];
}

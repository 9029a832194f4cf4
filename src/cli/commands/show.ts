import type { ShownModel } from '../../results.js';
import { missingArgument, type CommandDefinition } from '../command.js';
import { addFilter, filterOf, type FilterFlags } from '../filter.js';
import { formatBytes, formatCount } from '../format.js';

export const command: CommandDefinition<FilterFlags> = {
  onlyLooks: true,
  configure(command) {
    addFilter(command.argument('[reference]', 'a model, stored or not'));
    command.addHelpText(
      'after',
      '\nExamples:\n  modeldl show hf:org/name\n  modeldl show hf:org/name+int8-cpu --json',
    );
  },
  async run(call) {
    const [reference] = call.arguments;
    if (reference === undefined) throw missingArgument('a reference', 'modeldl show hf:org/name');
    const modeldl = await call.open();
    const model = await modeldl.show(reference, filterOf(call.flags));
    call.settle();
    call.output.result(call.output.quiet ? [model.reference] : lines(model, modeldl.cacheDir), {
      ok: true,
      models: [model],
    });
    return undefined;
  },
};

function lines(model: ShownModel, cacheDir: string): readonly string[] {
  const facts: readonly (readonly [string, string | null])[] = [
    ['kind', model.kind],
    ['revision', model.revision],
    ['path', model.path ?? 'not stored'],
    ['read from', model.cache === null || model.cache === cacheDir ? null : model.cache],
    ['size', `${formatBytes(model.bytes)} in ${formatCount(model.files.length, 'file')}`],
    ['licence', model.license],
    ['gated', model.gated === true ? 'yes' : null],
    ['task', model.task],
    [
      'converted',
      model.precision === null
        ? null
        : `${model.precision} for ${model.device ?? ''} by ${model.converter ?? ''}`,
    ],
    ['page', model.page],
  ];
  return [
    model.reference,
    ...facts.flatMap(([name, value]) =>
      value === null || value === '' ? [] : [`  ${name.padEnd(10)} ${value}`],
    ),
    ...model.files.map(({ path, bytes }) =>
      `  file       ${path}  ${bytes === null ? '' : formatBytes(bytes)}`.trimEnd(),
    ),
    ...model.leftOut.map(({ path }) => `  left out   ${path}`),
    ...model.conversions.map(({ reference, bytes }) => `  conversion ${reference}  ${formatBytes(bytes)}`),
  ];
}

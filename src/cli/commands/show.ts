import type { ModelPort, ModelWeights, ShownModel } from '../../results.js';
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
    [
      'settings',
      Object.entries(model.settings)
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    ],
    ['page', model.page],
    ['recipe', recipeLine(model.recipe)],
  ];
  return [
    model.reference,
    ...facts.flatMap(([name, value]) =>
      value === null || value === '' ? [] : [`  ${name.padEnd(10)} ${value}`],
    ),
    ...model.files.map(({ path, bytes }) =>
      `  file       ${path}  ${bytes === null ? '' : formatBytes(bytes)}`.trimEnd(),
    ),
    ...model.pickles.map((path) => `  pickle     ${path} may run code when it is loaded`),
    ...irLines(model),
    ...model.leftOut.map(({ path }) => `  left out   ${path}`),
    ...model.conversions.map(({ reference, bytes }) => `  conversion ${reference}  ${formatBytes(bytes)}`),
  ];
}

/** What its publisher converts, and with which settings, as `--set` has them. */
function recipeLine(recipe: ShownModel['recipe']): string | null {
  if (recipe === null) return null;
  if ('refused' in recipe) return `none: ${recipe.refused}`;
  const settings = Object.entries(recipe.settings).map(([name, value]) => `${name}=${value}`);
  return [recipe.input, ...settings].join(' ');
}

/** What each IR takes, gives and weighs; which file it is in is said where there are several. */
function irLines({ inputs, outputs, weights }: ShownModel): readonly string[] {
  const files = [...new Set([...inputs, ...outputs, ...weights].map(({ file }) => file))];
  return files.flatMap((file) => {
    const where = files.length > 1 ? `${file}: ` : '';
    const line = (word: string, text: string): string => `  ${word.padEnd(10)} ${where}${text}`;
    const port = ({ name, type, shape }: ModelPort): string => `${name}  ${type} [${shape.join(',')}]`;
    const own = <Fact extends { readonly file: string }>(facts: readonly Fact[]): readonly Fact[] =>
      facts.filter((fact) => fact.file === file);
    const shares = sharesOf(own(weights));
    return [
      ...own(inputs).map((input) => line('input', port(input))),
      ...own(outputs).map((output) => line('output', port(output))),
      ...(shares === '' ? [] : [line('weights', shares)]),
    ];
  });
}

/** Constants of these types are shapes, indices and tables of text. */
const NO_WEIGHTS: ReadonlySet<string> = new Set(['i32', 'i64', 'boolean', 'string']);

/** `u8 97 %, f16 3 %`: what is less than one in a hundred is left out; nothing where they are no weights. */
function sharesOf(weights: readonly ModelWeights[]): string {
  const [most] = weights;
  if (most === undefined || NO_WEIGHTS.has(most.type)) return '';
  const total = weights.reduce((sum, { bytes }) => sum + bytes, 0);
  return weights
    .map(({ type, bytes }) => ({ type, share: Math.round((100 * bytes) / total) }))
    .filter(({ share }) => share >= 1)
    .map(({ type, share }) => `${type} ${share} %`)
    .join(', ');
}

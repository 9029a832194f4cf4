import { resolve } from 'node:path';
import { ModeldlError } from '../../errors.js';
import type { BundlePlan, CreateBundleOptions, ShownBundle } from '../../index.js';
import { collect, missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount, formatFacts, formatTable } from '../format.js';
import { reportErrors } from '../report.js';

interface BundleFlags {
  readonly output?: string;
  readonly file?: string;
  readonly toolchain?: readonly string[];
  /** Of `create` true when given; of `import` false when it is `--no-toolchains`. */
  readonly toolchains?: boolean;
  readonly digest?: string;
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
}

const EXAMPLES = {
  create: 'modeldl bundle create -o models.tar',
  import: 'modeldl --offline bundle import models.tar',
  show: 'modeldl bundle show models.tar',
} as const;
type Action = keyof typeof EXAMPLES;

/** Flags that only one action takes, as they are typed. */
const FLAGS: Readonly<Record<string, Action>> = {
  output: 'create',
  file: 'create',
  toolchain: 'create',
  overwrite: 'create',
  dryRun: 'create',
  trustRemoteCode: 'create',
  trustPickle: 'create',
  digest: 'import',
};

export const command: CommandDefinition<BundleFlags> = {
  configure(command) {
    command
      .argument('<action>', 'create, import or show')
      .argument('[name...]', 'create: references, none for what the lock holds; import and show: the bundle')
      .option('-o, --output <file>', 'create: the bundle, by zstd when it ends in .zst')
      .option('--file <file>', 'create: startup list of the microservice, with its lock')
      .option('--toolchains', 'create: wheels of the toolchains that made the conversions in it too')
      .option('--no-toolchains', 'import: models alone')
      .option('--toolchain <name>', 'create: wheels of this toolchain too; repeatable', collect)
      .option('--overwrite', 'create: replace a file that is there')
      .option('--dry-run', 'create: show the plan only')
      .option('--trust-remote-code', 'create: run code that comes with models to convert')
      .option('--trust-pickle', 'create: load pickles that no safe loader takes')
      .option('--digest <digest>', 'import: refuse any other bundle than that of this digest, sha256:…')
      .addHelpText(
        'after',
        '\nA bundle holds models, what their conversions were made of, and wheels, each content once, for machines without\n' +
          'network. `create` prints its digest; whoever makes a bundle decides what its references mean where it is imported.\n' +
          `\nExamples:\n  ${Object.values(EXAMPLES).join('\n  ')}\n` +
          '  modeldl bundle create hf:org/name@main ollama:llama3.2:3b -o models.tar.zst\n' +
          '  modeldl bundle create --toolchains -o project.tar',
      );
  },
  async run(call) {
    const [word, ...names] = call.arguments;
    const action = word === 'create' || word === 'import' || word === 'show' ? word : undefined;
    if (action === undefined) {
      throw new ModeldlError('USAGE', `Expected create, import or show, got ${word ?? 'nothing'}`, {
        hint: 'see `modeldl bundle --help`',
      });
    }
    refuseOtherFlags(call, action);
    if (action === 'create') return create(call, names);
    const [name, ...others] = names;
    if (name === undefined) throw missingArgument('a bundle', EXAMPLES[action]);
    if (others.length > 0) {
      throw new ModeldlError('USAGE', `\`bundle ${action}\` takes one bundle`, {
        hint: 'run one command for each',
      });
    }
    const file = resolve(call.cli.cwd, name);
    return action === 'import' ? importOne(call, file) : show(call, file);
  },
};

function refuseOtherFlags({ flags }: Call<BundleFlags>, action: Action): void {
  const given = Object.entries(FLAGS).find(
    ([flag, of]) => of !== action && flags[flag as keyof BundleFlags] !== undefined,
  );
  const { toolchains } = flags;
  const misplaced =
    given?.[0].replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`) ??
    (toolchains === true && action !== 'create'
      ? 'toolchains'
      : toolchains === false && action !== 'import'
        ? 'no-toolchains'
        : undefined);
  if (misplaced === undefined) return;
  throw new ModeldlError('USAGE', `\`--${misplaced}\` is not for \`bundle ${action}\``, {
    hint: 'see `modeldl bundle --help`',
  });
}

async function create(call: Call<BundleFlags>, references: readonly string[]): Promise<number | undefined> {
  const { flags, output, cli } = call;
  if (flags.output === undefined) throw missingArgument('`--output`', EXAMPLES.create);
  if (references.length > 0 && flags.file !== undefined) {
    throw new ModeldlError('USAGE', '`--file` and references exclude each other', {
      hint: 'name the models, or the list that has them',
    });
  }
  const { file, toolchain, toolchains, overwrite, trustRemoteCode, trustPickle } = flags;
  const options: CreateBundleOptions = {
    output: flags.output === '-' ? flags.output : resolve(cli.cwd, flags.output),
    references,
    ...(file === undefined ? {} : { file: resolve(cli.cwd, file) }),
    ...(toolchain === undefined ? {} : { toolchain }),
    ...(toolchains === undefined ? {} : { toolchains }),
    ...(overwrite === undefined ? {} : { overwrite }),
    ...(trustRemoteCode === undefined ? {} : { trustRemoteCode }),
    ...(trustPickle === undefined ? {} : { trustPickle }),
  };
  const modeldl = await call.open();
  if (flags.dryRun === true) {
    const planned = await modeldl.planBundle(options);
    call.settle();
    if ('errors' in planned) return refuse(call, planned.errors);
    output.result(planLines(planned.plan, output.quiet), { ok: true, ...planned.plan });
    return undefined;
  }
  const created = await modeldl.createBundle(options);
  call.settle();
  if ('errors' in created) return refuse(call, created.errors);
  const { bundle } = created;
  output.note(`${summary(bundle)}; its digest, for \`bundle import --digest\`:`);
  output.note(bundle.digest);
  output.result([bundle.file], { ok: true, ...bundle });
  return undefined;
}

function refuse(call: Call<BundleFlags>, errors: readonly ModeldlError[]): number {
  call.output.note('No bundle was made');
  return reportErrors(call.output, errors, [], call.flags.verbose);
}

async function importOne(call: Call<BundleFlags>, file: string): Promise<undefined> {
  const { digest, toolchains } = call.flags;
  const modeldl = await call.open();
  const imported = await modeldl.importBundle(file, {
    ...(digest === undefined ? {} : { digest }),
    ...(toolchains === undefined ? {} : { toolchains }),
  });
  call.settle();
  const { output } = call;
  const kits = imported.toolchains.map(({ name }) => name).join(', ');
  const wheels = kits === '' ? '' : `; \`modeldl toolchain install\` needs no network now for ${kits}`;
  output.note(`${summary(imported)}: ${formatBytes(imported.writtenBytes)} written${wheels}`);
  output.result(
    imported.models.map(({ path }) => path),
    { ok: true, ...imported },
  );
  return undefined;
}

async function show(call: Call<BundleFlags>, file: string): Promise<undefined> {
  const modeldl = await call.open();
  const shown = await modeldl.showBundle(file);
  call.settle();
  const { output } = call;
  const lines = output.quiet
    ? shown.models.map(({ reference }) => reference)
    : shownLines(shown, output.columns);
  output.result(lines, { ok: true, ...shown });
  return undefined;
}

function summary({
  models,
  toolchains,
  bytes,
}: Pick<ShownBundle, 'models' | 'toolchains' | 'bytes'>): string {
  const wheels = toolchains.length === 0 ? '' : ` and ${formatCount(toolchains.length, 'toolchain')}`;
  return `${formatCount(models.length, 'model')}${wheels}, ${formatBytes(bytes)}`;
}

function shownLines(shown: ShownBundle, columns: number | undefined): readonly string[] {
  const { models, references, toolchains } = shown;
  const rows = models.map(({ reference, kind, files, bytes, license }) => [
    kind,
    String(files),
    formatBytes(bytes),
    license ?? '-',
    reference,
  ]);
  return [
    shown.file,
    ...formatFacts(
      [
        ['digest', shown.digest],
        ['size', `${formatBytes(shown.bytes)}, ${formatBytes(shown.contentBytes)} of contents`],
        ...toolchains.map(
          ({ name, python, platform, files, bytes }) =>
            [
              'toolchain',
              `${name}: ${formatCount(files, 'wheel')}, ${formatBytes(bytes)}, for Python ${python} on ${platform}`,
            ] as const,
        ),
        ...references.map(({ reference, revision }) => ['reference', `${reference} is ${revision}`] as const),
      ],
      columns,
    ),
    ...(models.length === 0
      ? []
      : formatTable(['KIND', 'FILES', 'SIZE', 'LICENCE', 'MODEL'], rows, [1, 2], columns)),
  ];
}

function planLines({ models, toolchains }: BundlePlan, quiet: boolean): readonly string[] {
  if (quiet) return models.map(({ reference }) => reference);
  return [
    ...models.map(({ reference, kind, stored, downloadBytes, bytes }) => {
      if (stored) return `${reference}: stored${bytes === null ? '' : `, ${formatBytes(bytes)}`}`;
      const fetch = downloadBytes === 0 ? '' : `, ${formatBytes(downloadBytes)} to fetch`;
      return `${reference}: ${kind === 'pulled' ? 'pull' : 'convert'}${fetch}`;
    }),
    ...toolchains.map(
      ({ name, downloadBytes }) => `toolchain ${name}: at most ${formatBytes(downloadBytes)} to fetch`,
    ),
  ];
}

import { resolve } from 'node:path';
import { ModeldlError } from '../../errors.js';
import type { Modeldl } from '../../index.js';
import type { ToolchainState } from '../../results.js';
import { missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount, formatTable } from '../format.js';
import { asModeldlError, reportErrors } from '../report.js';

interface ToolchainFlags {
  readonly output?: string;
}

const ACTIONS = ['install', 'remove', 'download'] as const;
type Action = (typeof ACTIONS)[number];

export const command: CommandDefinition<ToolchainFlags> = {
  configure(command) {
    command
      .argument('<action>', `list, ${ACTIONS.join(', ')}`)
      .argument('[name...]', 'toolchains, such as openvino; all for list')
      .option('-o, --output <dir>', 'folder that download fills, for `toolchains.wheels` elsewhere')
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl toolchain list\n  modeldl toolchain install openvino\n  modeldl toolchain remove openvino\n  modeldl toolchain download openvino -o ./wheels',
      );
  },
  async run(call) {
    const [word, ...names] = call.arguments;
    if (word === 'list') return list(call, names);
    const action = ACTIONS.find((candidate) => candidate === word);
    if (action === undefined) {
      throw new ModeldlError(
        'USAGE',
        `Expected list, install, remove or download, got ${word ?? 'nothing'}`,
        { hint: 'see `modeldl toolchain --help`' },
      );
    }
    const { output } = call.flags;
    const folder = action === 'download' ? ' -o ./wheels' : '';
    if (names.length === 0) {
      throw missingArgument('a toolchain', `modeldl toolchain ${action} openvino${folder}`);
    }
    if (action === 'download' && output === undefined) {
      throw missingArgument('`--output`', `modeldl toolchain download ${names.join(' ')}${folder}`);
    }
    if (action !== 'download' && output !== undefined) {
      throw outputUnused(action);
    }
    return each(call, action, names, resolve(call.cli.cwd, output ?? '.'));
  },
};

async function list(call: Call<ToolchainFlags>, names: readonly string[]): Promise<undefined> {
  if (call.flags.output !== undefined) throw outputUnused('list');
  const modeldl = await call.open();
  await modeldl.assertToolchains(names);
  const all = await modeldl.toolchains();
  const toolchains = all.filter(({ name }) => names.length === 0 || names.includes(name));
  call.settle();
  const lines = call.output.quiet
    ? toolchains.map((state) => state.name)
    : table(toolchains, call.output.columns);
  call.output.result(lines, { ok: true, toolchains });
  return undefined;
}

function outputUnused(action: string): ModeldlError {
  return new ModeldlError('USAGE', `\`--output\` is for \`download\`, not for \`${action}\``, {
    hint: 'see `modeldl toolchain --help`',
  });
}

interface Done {
  /** For standard output. */
  readonly line: string;
  /** For people. */
  readonly note?: string;
  readonly document: Readonly<Record<string, unknown>>;
}

/** One after the other: each uses the network, or all of the disk. What fails does not hinder the others. */
async function each(
  call: Call<ToolchainFlags>,
  action: Action,
  names: readonly string[],
  output: string,
): Promise<number | undefined> {
  const modeldl = await call.open();
  // A mistyped name is told before minutes are spent on the ones before it.
  await modeldl.assertToolchains(names);
  const done: Done[] = [];
  const errors: ModeldlError[] = [];
  for (const name of new Set(names)) {
    try {
      done.push(await carryOut(modeldl, action, name, output));
    } catch (error) {
      if (names.length === 1) throw error;
      const known = asModeldlError(error);
      if (known.code === 'INTERRUPTED' || known.code === 'TERMINATED') throw known;
      errors.push(known);
    }
  }
  call.settle();
  for (const { note } of done) if (note !== undefined) call.output.note(note);
  const lines = [...new Set(done.map(({ line }) => line))];
  const documents = done.map(({ document }) => document);
  if (errors.length === 0) {
    const [only, ...others] = documents;
    call.output.result(lines, { ok: true, ...(others.length === 0 ? only : {}), toolchains: documents });
    return undefined;
  }
  if (!call.output.json) call.output.result(lines, {});
  return reportErrors(call.output, errors, documents, call.flags.verbose);
}

async function carryOut(modeldl: Modeldl, action: Action, name: string, output: string): Promise<Done> {
  if (action === 'install') {
    const state = await modeldl.installToolchain(name);
    return { line: state.directory ?? name, document: { ...state } };
  }
  if (action === 'remove') {
    const removed = await modeldl.removeToolchain(name);
    const { bytes, sharedBytes } = removed;
    const shared =
      sharedBytes === 0 ? '' : `; ${formatBytes(sharedBytes)} stay, since other toolchains share them`;
    const freed = `Freed ${formatBytes(bytes)} of ${name}${shared}`;
    const note = bytes + sharedBytes === 0 ? `Nothing to remove: ${name} is not installed` : freed;
    return { line: name, note, document: { ...removed } };
  }
  const wheels = await modeldl.downloadToolchain(name, output);
  const note = `${name}: ${formatCount(wheels.files, 'file')}, ${formatBytes(wheels.bytes)}`;
  return { line: wheels.directory, note, document: { ...wheels } };
}

function table(toolchains: readonly ToolchainState[], columns: number | undefined): readonly string[] {
  const rows = toolchains.map(({ name, title, state, bytes, installedBytes }) => [
    name,
    state,
    bytes === null ? (installedBytes === 0 ? '-' : `(${formatBytes(installedBytes)})`) : formatBytes(bytes),
    title,
  ]);
  // Beside the table: a reason is as long as a line.
  const remarks = toolchains.flatMap(({ name, reason, unusedBytes }) => [
    // A reason that names the toolchain needs no name before it.
    ...(reason === null ? [] : [reason.includes(`\`${name}\``) ? reason : `${name}: ${reason}`]),
    ...(unusedBytes === 0
      ? []
      : [
          `${name}: ${formatBytes(unusedBytes)} of other versions, which \`modeldl toolchain remove ${name}\` takes too`,
        ]),
  ]);
  const planned = toolchains.some(({ bytes, installedBytes }) => bytes === null && installedBytes > 0);
  return [
    ...formatTable(['TOOLCHAIN', 'STATE', 'SIZE', 'CONTENTS'], rows, [2], columns),
    ...(planned ? ['In brackets: what it takes at most once it is installed, on first use'] : []),
    ...remarks,
  ];
}

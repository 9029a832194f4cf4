import { Writable } from 'node:stream';
import { ModeldlError, systemErrorCode } from '../../errors.js';
import type { ExportTreeOptions } from '../../index.js';
import { collect, missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import { parseSettings } from './convert.js';

interface ExportFlags {
  readonly to?: string;
  readonly name?: string;
  readonly force?: boolean;
  readonly quant?: string;
  readonly layout?: string;
  readonly overwrite?: boolean;
  readonly ovmsVersion?: string;
  readonly device?: string;
  readonly set?: readonly string[];
  readonly dryRun?: boolean;
}

const EXAMPLE = 'modeldl export hf:org/name ./model.tar';
const PROGRAM_EXAMPLE = 'modeldl export hf:org/name-GGUF --quant Q4_K_M --to ollama';

export const command: CommandDefinition<ExportFlags> = {
  configure(command) {
    command
      .usage('[options] <reference...> [target]')
      .argument(
        '[reference...]',
        'models, pulled first where they are not stored; and last the target: a directory, a file.tar or file.tar.zst, or - for a tar on stdout',
      )
      .option('--layout <layout>', 'plain, hf-cache, ollama, ovms, model-download (default: plain)')
      .option('--overwrite', 'write into a directory that holds other files, or over an archive')
      .option('--to <program>', 'ollama: its models are in OLLAMA_MODELS, ~/.ollama or those of its service')
      .option('--name <name>', 'what it is called there (default: made of the reference)')
      .option('--quant <name>', 'which of several GGUF quantizations')
      .option('--ovms-version <version>', 'of the model server (default: the newest)')
      .option('--device <name>', 'what the model server runs it on (default: what it was converted for)')
      .option('--set <key=value>', 'setting of the model server, such as cache_size=4; repeatable', collect)
      .option('--dry-run', 'show the plan only')
      .option('--force', 'with --to: take the name away from another model')
      .addHelpText(
        'after',
        `\nThe same models are the same bytes, whenever and wherever they are exported: SOURCE_DATE_EPOCH sets their time.\nWith --to nothing is copied where the program's models are on the file system of the cache.\n\nExamples:\n  ${EXAMPLE}\n  modeldl export hf:org/name - | ssh host tar x -C /models\n  modeldl export hf:org/name+int8-cpu ./models --layout ovms\n  modeldl export hf:org/one hf:org/two ~/.cache/huggingface/hub --layout hf-cache\n  ${PROGRAM_EXAMPLE}`,
      );
  },
  async run(call) {
    return call.flags.to === undefined ? toTarget(call) : toProgram(call, call.flags.to);
  },
};

async function toTarget(call: Call<ExportFlags>): Promise<undefined> {
  const { flags, output } = call;
  const references = call.arguments.slice(0, -1);
  const target = call.arguments.at(-1);
  if (target === undefined) throw missingArgument('a reference', EXAMPLE);
  if (references.length === 0) throw missingArgument('a target, or `--to`', EXAMPLE);
  if (flags.force === true) {
    throw new ModeldlError('USAGE', '`--force` is for `--to`', { hint: 'pass `--overwrite` for a target' });
  }
  if (flags.dryRun === true) return plan(call, references, target);
  const options: ExportTreeOptions = {
    ...exportOptions(flags),
    ...(target === '-' ? { stdout: archiveStream(call) } : {}),
  };
  const modeldl = await call.open();
  const exported = await modeldl.exportTree(references, target, options);
  call.settle();
  const { files, bytes, archive } = exported;
  const digest = archive === null ? '' : `, sha256 ${archive.sha256}`;
  output.note(`${formatCount(files, 'file')}, ${formatBytes(bytes)}, exported${digest}`);
  if (target !== '-') output.result([exported.target], { ok: true, ...exported });
  return undefined;
}

async function plan(
  call: Call<ExportFlags>,
  references: readonly string[],
  target: string,
): Promise<undefined> {
  const modeldl = await call.open();
  const planned = await modeldl.planExportTree(references, target, exportOptions(call.flags));
  call.settle();
  const { files, bytes, downloadBytes, models, layout } = planned;
  const fetched = downloadBytes === 0 ? '' : `, ${formatBytes(downloadBytes)} to fetch first`;
  const lines = [
    `${planned.target}: ${formatCount(files, 'file')}, ${formatBytes(bytes)}, in the layout ${layout}${fetched}`,
    ...models.flatMap((model) => [
      `  ${model.reference}`,
      ...model.files.map(
        (file) => `    ${file.path}  ${file.bytes === null ? 'unknown size' : formatBytes(file.bytes)}`,
      ),
    ]),
  ];
  call.output.result(call.output.quiet ? [planned.target] : lines, { ok: true, ...planned });
  return undefined;
}

function exportOptions(flags: ExportFlags): ExportTreeOptions {
  const { quant, overwrite, layout, name, ovmsVersion, device, set } = flags;
  return {
    ...(quant === undefined ? {} : { quant }),
    ...(overwrite === undefined ? {} : { overwrite }),
    ...(layout === undefined ? {} : { layout }),
    ...(name === undefined ? {} : { name }),
    ...(ovmsVersion === undefined ? {} : { ovmsVersion }),
    ...(device === undefined ? {} : { device }),
    ...(set === undefined ? {} : { settings: parseSettings(set) }),
  };
}

/** @throws ModeldlError USAGE where stdout is for something else */
function archiveStream({ output, cli: { stdout } }: Call<ExportFlags>): Writable {
  if (output.json) {
    throw new ModeldlError('USAGE', 'stdout cannot have both an archive and the document of `--json`', {
      hint: 'name a file as the target',
    });
  }
  if (stdout.isTTY === true) {
    throw new ModeldlError('USAGE', 'An archive is not written to a terminal', {
      hint: 'redirect or pipe stdout, or name a file as the target',
    });
  }
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      stdout.write(chunk, (error) => {
        done(error == null ? null : unwritten(error));
      });
    },
  });
}

/** Nothing is whole that its reader did not take to the end. */
function unwritten(error: Error): ModeldlError {
  const why = systemErrorCode(error) === 'EPIPE' ? 'its reader went away' : error.message;
  return new ModeldlError('DISK', `The archive on stdout is cut off: ${why}`, {
    hint: 'look at what the program that reads it said, and run the command again',
    cause: error,
  });
}

async function toProgram(call: Call<ExportFlags>, to: string): Promise<undefined> {
  const { flags, output } = call;
  const [reference, second] = call.arguments;
  if (reference === undefined) throw missingArgument('a reference', PROGRAM_EXAMPLE);
  if (second !== undefined) {
    throw new ModeldlError('USAGE', '`--to` takes one reference and no target', {
      hint: `leave out ${second}, or leave out \`--to\``,
    });
  }
  const only = Object.entries({
    '--layout': flags.layout,
    '--overwrite': flags.overwrite,
    '--dry-run': flags.dryRun,
    '--ovms-version': flags.ovmsVersion,
    '--device': flags.device,
    '--set': flags.set,
  }).find(([, value]) => value !== undefined);
  if (only !== undefined) {
    throw new ModeldlError('USAGE', `\`${only[0]}\` is for an export to a target, and \`--to\` has none`, {
      hint: 'leave out one of them',
    });
  }
  const { name, force, quant } = flags;
  const modeldl = await call.open();
  const exported = await modeldl.export(reference, {
    to,
    ...(name === undefined ? {} : { name }),
    ...(force === undefined ? {} : { force }),
    ...(quant === undefined ? {} : { quant }),
  });
  call.settle();
  const { state, linkedBytes, writtenBytes, presentBytes, directory } = exported;
  const parts = [
    [linkedBytes, 'linked'],
    [writtenBytes, 'written'],
    [presentBytes, 'there'],
  ] as const;
  const shown = parts.flatMap(([bytes, how]) => (bytes === 0 ? [] : [`${formatBytes(bytes)} ${how}`]));
  output.note(`${exported.name} is ${state} in ${directory}: ${shown.join(', ')}`);
  output.result([exported.name], { ok: true, ...exported });
  return undefined;
}

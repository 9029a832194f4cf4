import { Writable } from 'node:stream';
import { ModeldlError, systemErrorCode } from '../../errors.js';
import type { ExportTreeOptions } from '../../index.js';
import { missingArgument, type Call, type CommandDefinition } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import type { OutputStream } from '../output.js';

interface ExportFlags {
  readonly to?: string;
  readonly name?: string;
  readonly force?: boolean;
  readonly quant?: string;
  readonly layout?: string;
  readonly overwrite?: boolean;
}

const EXAMPLE = 'modeldl export hf:org/name ./model.tar';
const PROGRAM_EXAMPLE = 'modeldl export hf:org/name-GGUF --quant Q4_K_M --to ollama';

export const command: CommandDefinition<ExportFlags> = {
  configure(command) {
    command
      .argument(
        '[reference...]',
        'models, pulled first where they are not stored; and last the target: a directory, a file.tar or file.tar.zst, or - for a tar on stdout',
      )
      .option('--overwrite', 'write into a directory that holds other files, or over an archive')
      .option('--to <program>', 'ollama: its models are in OLLAMA_MODELS, ~/.ollama or those of its service')
      .option('--name <name>', 'what the program shall call it (default: made of the reference)')
      .option('--quant <name>', 'which of several GGUF quantizations')
      .option('--force', 'with --to: take the name away from another model')
      .addHelpText(
        'after',
        `\nThe same models are the same bytes, whenever and wherever they are exported: SOURCE_DATE_EPOCH sets their time.\nWith --to nothing is copied where the program's models are on the file system of the cache.\n\nExamples:\n  ${EXAMPLE}\n  modeldl export hf:org/name - | ssh host tar x -C /models\n  ${PROGRAM_EXAMPLE}`,
      );
  },
  async run(call) {
    return call.flags.to === undefined ? toTarget(call) : toProgram(call, call.flags.to);
  },
};

async function toTarget(call: Call<ExportFlags>): Promise<undefined> {
  const { flags, output, cli } = call;
  const references = call.arguments.slice(0, -1);
  const target = call.arguments.at(-1);
  if (target === undefined) throw missingArgument('a reference', EXAMPLE);
  if (references.length === 0) throw missingArgument('a target, or `--to`', EXAMPLE);
  const { quant, overwrite } = flags;
  const options: ExportTreeOptions = {
    ...(quant === undefined ? {} : { quant }),
    ...(overwrite === undefined ? {} : { overwrite }),
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

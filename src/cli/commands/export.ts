import { missingArgument, type CommandDefinition } from '../command.js';
import { formatBytes } from '../format.js';

interface ExportFlags {
  readonly to?: string;
  readonly name?: string;
  readonly force?: boolean;
  readonly quant?: string;
}

const EXAMPLE = 'modeldl export hf:org/name-GGUF --quant Q4_K_M --to ollama';

export const command: CommandDefinition<ExportFlags> = {
  configure(command) {
    command
      .argument('[reference]', 'a GGUF or a model of Ollama, pulled first where it is not stored')
      .option('--to <program>', 'ollama: its models are in OLLAMA_MODELS, ~/.ollama or those of its service')
      .option('--name <name>', 'what the program shall call it (default: made of the reference)')
      .option('--quant <name>', 'which of several GGUF quantizations')
      .option('--force', 'take the name away from another model')
      .addHelpText(
        'after',
        `\nNothing is copied where the program's models are on the file system of the cache.\n\nExamples:\n  ${EXAMPLE}\n  modeldl export ./model.gguf --to ollama --name mine:latest`,
      );
  },
  async run(call) {
    const { flags, output } = call;
    const [reference] = call.arguments;
    if (reference === undefined) throw missingArgument('a reference', EXAMPLE);
    const { to, name, force, quant } = flags;
    if (to === undefined) throw missingArgument('`--to`', EXAMPLE);
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
  },
};

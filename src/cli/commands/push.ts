import { collect, missingArgument, type CommandDefinition } from '../command.js';
import { formatBytes } from '../format.js';

interface PushFlags {
  readonly mountFrom?: readonly string[];
}

export const command: CommandDefinition<PushFlags> = {
  configure(command) {
    command
      .usage('[options] <reference> [target]')
      .argument('[reference]', 'the model, pulled first where it is not stored; `+…` for a conversion')
      .argument(
        '[target]',
        'where to: oci:host/repository:tag; oci:host/prefix/ fills a mirror, as no target does one that is configured',
      )
      .option(
        '--mount-from <reference>',
        'a model of the same registry whose files need not be sent again; repeatable',
        collect,
      )
      .addHelpText(
        'after',
        '\nExamples:\n  modeldl push hf:org/name oci:registry.example/models/name:v1\n  modeldl push hf:org/name+int8-cpu oci:localhost:5000/name:int8\n  modeldl push hf:org/name oci:registry.example/models/',
      );
  },
  async run(call) {
    const { flags, output } = call;
    const [reference, target] = call.arguments;
    const example = 'modeldl push hf:org/name oci:registry.example/models/name:v1';
    if (reference === undefined) throw missingArgument('a reference', example);
    const modeldl = await call.open();
    const { mountFrom } = flags;
    const pushed = await modeldl.push(reference, target, mountFrom === undefined ? {} : { mountFrom });
    call.settle();
    const there = pushed.presentBytes + pushed.mountedBytes;
    const rest = there === 0 ? '' : `, ${formatBytes(there)} were there`;
    output.note(`Pushed to ${pushed.target}: ${formatBytes(pushed.sentBytes)} sent${rest}`);
    output.result([pushed.reference], { ok: true, ...pushed });
    return undefined;
  },
};

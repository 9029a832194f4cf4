import { missingArgument, type CommandDefinition } from '../command.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command
      .usage('[options] <hub>')
      .argument('[hub]', 'such as hf')
      .addHelpText('after', '\nExample:\n  modeldl whoami hf');
  },
  async run(call) {
    const [hub] = call.arguments;
    if (hub === undefined) throw missingArgument('a hub', 'modeldl whoami hf');
    const modeldl = await call.open();
    const who = await modeldl.whoami(hub);
    call.settle();
    call.output.note(`By ${who.source}${who.scope === undefined ? '' : `, scope ${who.scope}`}`);
    call.output.result([who.name], { ok: true, ...who });
    return undefined;
  },
};

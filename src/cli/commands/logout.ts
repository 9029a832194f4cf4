import { missingArgument, type CommandDefinition } from '../command.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command
      .usage('[options] <hub>')
      .argument('[hub]', 'such as hf')
      .addHelpText('after', '\nExample:\n  modeldl logout hf');
  },
  async run(call) {
    const [hub] = call.arguments;
    if (hub === undefined) throw missingArgument('a hub', 'modeldl logout hf');
    const modeldl = await call.open();
    const { removed } = await modeldl.logout(hub);
    call.settle();
    call.output.note(removed ? `Logged out of ${hub}` : `No token was kept for ${hub}`);
    call.output.result([], { ok: true, hub, removed });
    return undefined;
  },
};

import { missingArgument, type CommandDefinition } from '../command.js';
import { addFilter, filterOf, type FilterFlags } from '../filter.js';

export const command: CommandDefinition<FilterFlags> = {
  onlyLooks: true,
  configure(command) {
    addFilter(command.usage('[options] <reference>').argument('[reference]', 'a stored model'));
    command.addHelpText(
      'after',
      '\nExamples:\n  MODEL=$(modeldl path hf:org/name)\n  modeldl path hf:org/name+int8-cpu',
    );
  },
  async run(call) {
    const [reference] = call.arguments;
    if (reference === undefined) throw missingArgument('a reference', 'modeldl path hf:org/name');
    const modeldl = await call.open();
    const found = await modeldl.path(reference, filterOf(call.flags));
    call.settle();
    call.output.result([found.path], { ok: true, ...found });
    return undefined;
  },
};

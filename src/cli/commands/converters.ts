import type { CommandDefinition } from '../command.js';
import { formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  configure(command) {
    command.addHelpText('after', '\nExample:\n  modeldl converters --json');
  },
  async run(call) {
    const modeldl = await call.open();
    const converters = await modeldl.converters();
    call.settle();
    const rows = converters.map(({ name, accepts, makes, ready, reason }) => [
      name,
      accepts,
      makes,
      ready ? 'ready' : (reason ?? 'not ready'),
    ]);
    const lines = call.output.quiet
      ? converters.map(({ name }) => name)
      : formatTable(['CONVERTER', 'TAKES', 'MAKES', 'STATE'], rows);
    call.output.result(lines, { ok: true, converters });
    return undefined;
  },
};

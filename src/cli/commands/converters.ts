import type { CommandDefinition } from '../command.js';
import { formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command.addHelpText('after', '\nExample:\n  modeldl converters --json');
  },
  async run(call) {
    const modeldl = await call.open();
    const [converters, runtimes] = await Promise.all([modeldl.converters(), modeldl.runtimes()]);
    call.settle();
    const rows = converters.map(({ name, accepts, makes, ready, reason }) => [
      name,
      accepts,
      makes,
      ready ? 'ready' : (reason ?? 'not ready'),
    ]);
    const lines = call.output.quiet
      ? converters.map(({ name }) => name)
      : [
          ...formatTable(['CONVERTER', 'TAKES', 'MAKES', 'STATE'], rows),
          ...runtimes.map(({ name, version, reason }) => {
            const found = version === null ? name : `${name} ${version}`;
            return `Optional: ${found}, ${reason ?? 'installed; no converter uses it yet'}`;
          }),
        ];
    call.output.result(lines, { ok: true, converters, runtimes });
    return undefined;
  },
};

import type { HubState } from '../../results.js';
import type { CommandDefinition } from '../command.js';
import { formatTable } from '../format.js';

interface HubsFlags {
  readonly check?: boolean;
}

export const command: CommandDefinition<HubsFlags> = {
  onlyLooks: true,
  configure(command) {
    command.option('--check', 'ask each endpoint').addHelpText('after', '\nExample:\n  modeldl hubs --check');
  },
  async run(call) {
    const modeldl = await call.open();
    const hubs = await modeldl.hubs({ check: call.flags.check ?? false });
    call.settle();
    const rows = hubs.flatMap((hub) => [
      [hub.name, hub.title, credentials(hub), hub.endpoint ?? '-', state(hub)],
      ...hub.mirrors.map((mirror) => [hub.name, 'mirror', '-', mirror.address, state(mirror)]),
    ]);
    const lines = call.output.quiet
      ? hubs.map(({ name }) => name)
      : formatTable(['HUB', 'TITLE', 'CREDENTIALS', 'ENDPOINT', 'STATE'], rows);
    call.output.result(lines, { ok: true, hubs });
    return undefined;
  },
};

function credentials(hub: HubState): string {
  if (!hub.takesCredentials) return '-';
  return hub.credentials ?? 'none';
}

function state({ reachable, problem }: Pick<HubState, 'reachable' | 'problem'>): string {
  if (reachable === null) return '-';
  return reachable ? 'reachable' : (problem ?? 'unreachable');
}

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
    const rows = hubs.map((hub) => [hub.name, hub.title, credentials(hub), hub.endpoint ?? '-', state(hub)]);
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

function state(hub: HubState): string {
  if (hub.reachable === null) return '-';
  return hub.reachable ? 'reachable' : (hub.problem ?? 'unreachable');
}

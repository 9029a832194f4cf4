import { pluginStates } from '../../index.js';
import type { PluginState } from '../../results.js';
import { apiOptions, type CommandDefinition } from '../command.js';
import { formatTable } from '../format.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command.addHelpText(
      'after',
      '\nA configuration names plugins: `modeldl config set plugins \'["modeldl-hub-acme"]\'`\nThose that a project names run once `modeldl config trust` was given.\n\nExamples:\n  modeldl plugins\n  modeldl plugins --json',
    );
  },
  async run({ flags, cli, output }) {
    // Not opened as others do: a project that is not trusted yet is what this has to show.
    const states = await pluginStates(apiOptions(flags, cli));
    const plugins = states.map((plugin) =>
      plugin.from === 'built-in' ? { ...plugin, version: cli.version } : plugin,
    );
    const lines = output.quiet
      ? plugins.map(({ name }) => name)
      : [
          ...formatTable(
            ['NAME', 'KIND', 'VERSION', 'FROM', 'TRUSTED', 'STATE'],
            plugins.map((plugin) => [
              plugin.name,
              plugin.kind ?? '-',
              plugin.version ?? '-',
              plugin.from,
              plugin.trusted ? 'yes' : 'no',
              plugin.state,
            ]),
          ),
          ...plugins.flatMap(explained),
        ];
    output.result(lines, { ok: true, plugins });
    return undefined;
  },
};

/** What a table has no room for. */
function explained({ name, state, error, configuredIn }: PluginState): readonly string[] {
  if (state === 'untrusted') {
    return [
      '',
      `${name} is not run before it is trusted: read it and ${configuredIn ?? 'the project file'}`,
      '  then run `modeldl config trust`',
    ];
  }
  if (error === null) return [];
  return ['', error.message, ...(error.hint === null ? [] : [`  ${error.hint}`])];
}

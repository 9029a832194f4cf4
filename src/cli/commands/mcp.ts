import { resolve } from 'node:path';
import { isDirectory } from '../../directories.js';
import { ModeldlError } from '../../errors.js';
import { atHome, collect, type Call, type CommandDefinition } from '../command.js';

interface McpFlags {
  readonly allowOutput?: readonly string[];
  readonly trustRemoteCode?: boolean;
  readonly trustPickle?: boolean;
}

export const command: CommandDefinition<McpFlags> = {
  configure(command) {
    command
      .option(
        '--allow-output <dir>',
        'let agents copy models into this directory or below; repeatable',
        collect,
      )
      .option('--trust-remote-code', 'let agents run code that comes with a model they convert')
      .option('--trust-pickle', 'let agents load pickles that no safe loader takes')
      .option('--jobs <n>', 'large files at once, of all calls together')
      .option('--connections <n>', 'at most so many for one large file, 1 to 16')
      .option('--limit-rate <rate>', 'bytes per second, such as 20M')
      .option('--no-install', 'a missing toolchain is an error')
      .addHelpText(
        'after',
        [
          '',
          'A server of the Model Context Protocol on stdin and stdout, for agents: search, show, pull, convert, list, path,',
          'hubs, converters and doctor as tools. It opens no port, and ends with its client. Nothing is removed by it.',
          '',
          'Examples:',
          '  modeldl mcp',
          '  modeldl mcp --allow-output ./models --no-install',
          '  modeldl mcp --offline --cache-dir /srv/models',
        ].join('\n'),
      );
  },
  async run(call) {
    refuseOtherOutput(call);
    const { flags, cli } = call;
    const outputs = (flags.allowOutput ?? []).map((path) => resolve(cli.cwd, atHome(path, cli.home)));
    for (const directory of outputs) await requireDirectory(directory);
    const { serve } = await import('../mcp/server.js');
    await serve(call, {
      outputs,
      trustRemoteCode: flags.trustRemoteCode === true,
      trustPickle: flags.trustPickle === true,
    });
    return undefined;
  },
};

/** stdout carries the protocol, and the client is told of progress. @throws ModeldlError USAGE */
function refuseOtherOutput({ output, flags }: Call<McpFlags>): void {
  const { progress } = flags;
  const wrong = output.json
    ? '--json'
    : progress === 'bar' || progress === 'plain'
      ? `--progress ${progress}`
      : null;
  if (wrong === null) return;
  throw new ModeldlError(
    'USAGE',
    `\`mcp\` does not go with \`${wrong}\`: its client is told in the protocol`,
    {
      hint: 'leave it out; `--progress json` writes what happens to stderr',
    },
  );
}

/** @throws ModeldlError USAGE */
async function requireDirectory(directory: string): Promise<void> {
  if (await isDirectory(directory)) return;
  throw new ModeldlError('USAGE', `No such directory for \`--allow-output\`: ${directory}`, {
    hint: 'make it, or name another one',
    details: { file: directory },
  });
}

import { text } from 'node:stream/consumers';
import { missingArgument, type CommandDefinition } from '../command.js';
import { askChoice, askToken } from '../prompts.js';

interface LoginFlags {
  readonly tokenStdin?: boolean;
}

export const command: CommandDefinition<LoginFlags> = {
  configure(command) {
    command
      .argument('[hub]', 'such as hf')
      .option('--token-stdin', 'read the token from standard input')
      .addHelpText('after', '\nExamples:\n  modeldl login hf\n  modeldl login hf --token-stdin < token.txt');
  },
  async run(call) {
    let [hub] = call.arguments;
    const modeldl = await call.open();
    if (hub === undefined) {
      if (!call.interactive) throw missingArgument('a hub', 'modeldl login hf --token-stdin');
      const takers = (await modeldl.hubs({ check: false })).filter(
        ({ takesCredentials }) => takesCredentials,
      );
      call.settle();
      hub = await askChoice(
        call.cli,
        'Which hub',
        takers.map(({ name, title }) => ({ value: name, name: title })),
      );
    }
    const token = await readToken(call.flags.tokenStdin === true, call.interactive, hub, call.cli);
    const who = await modeldl.login(hub, token);
    call.settle();
    call.output.note(`Logged in to ${hub} as ${who.name}`);
    call.output.result([who.name], { ok: true, ...who });
    return undefined;
  },
};

async function readToken(
  fromStdin: boolean,
  interactive: boolean,
  hub: string,
  cli: Parameters<typeof askToken>[0],
): Promise<string> {
  if (fromStdin) return (await text(cli.stdin)).trim();
  if (interactive) return (await askToken(cli, `Token for ${hub}`)).trim();
  throw missingArgument('a token', `modeldl login ${hub} --token-stdin < token.txt`);
}

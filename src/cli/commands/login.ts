import { text } from 'node:stream/consumers';
import type { HubState } from '../../results.js';
import { missingArgument, type Call, type CommandDefinition } from '../command.js';
import { askChoice, askToken, tellCommand } from '../prompts.js';

interface LoginFlags {
  readonly tokenStdin?: boolean;
}

export const command: CommandDefinition<LoginFlags> = {
  onlyLooks: true,
  configure(command) {
    command
      .argument('[hub]', 'such as hf; `modeldl hubs` tells which take a token')
      .option('--token-stdin', 'read the token from standard input')
      .addHelpText('after', '\nExamples:\n  modeldl login hf\n  modeldl login hf --token-stdin < token.txt');
  },
  async run(call) {
    const [named] = call.arguments;
    if (named === undefined && !call.interactive)
      throw missingArgument('a hub', 'modeldl login hf --token-stdin < token.txt');
    const modeldl = await call.open();
    if (named !== undefined) await modeldl.assertTakesLogin(named);
    if (call.flags.tokenStdin !== true && !call.interactive)
      throw missingArgument('`--token-stdin`', `modeldl login ${named ?? 'hf'} --token-stdin < token.txt`);
    const hub = named ?? (await askHub(call, await modeldl.hubs({ check: false })));
    const token = await readToken(call, hub, named === undefined ? [hub] : []);
    const who = await modeldl.login(hub, token);
    call.settle();
    call.output.note(`Logged in to ${hub} as ${who.name}`);
    call.output.result([who.name], { ok: true, ...who });
    return undefined;
  },
};

async function askHub(call: Call<LoginFlags>, hubs: readonly HubState[]): Promise<string> {
  const choices = hubs
    .filter(({ takesCredentials }) => takesCredentials)
    .map(({ name, title }) => ({ value: name, name: title }));
  call.settle();
  return askChoice(call.cli, 'Which hub', choices);
}

async function readToken(call: Call<LoginFlags>, hub: string, answers: readonly string[]): Promise<string> {
  // On a terminal a token that is typed would be shown, so it is asked for even with the option.
  if (!call.interactive) return (await text(call.cli.stdin)).trim();
  const token = (await askToken(call.cli, `Token for ${hub}`)).trim();
  const option = call.flags.tokenStdin === true ? [] : ['--token-stdin'];
  tellCommand(call, [...answers, ...option], ' < token.txt');
  return token;
}

import { ModeldlError } from '../../errors.js';
import { missingArgument, type CommandDefinition } from '../command.js';
import { scriptFor, SHELLS } from '../completion/scripts.js';

export const command: CommandDefinition<object> = {
  onlyLooks: true,
  configure(command) {
    command
      .usage('[options] <shell>')
      .argument('[shell]', SHELLS.join(', '))
      .addHelpText(
        'after',
        '\nPrints the script that a shell loads; at every Tab it asks `modeldl` on the PATH.\n\nExamples:\n  eval "$(modeldl completion bash)"                                # in ~/.bashrc\n  source <(modeldl completion zsh)                                 # in ~/.zshrc, after compinit\n  modeldl completion fish > ~/.config/fish/completions/modeldl.fish\n  modeldl completion powershell | Out-String | Invoke-Expression   # in $PROFILE',
      );
  },
  // eslint-disable-next-line @typescript-eslint/require-await -- what it throws is the promise's
  async run({ arguments: [word], output }) {
    if (word === undefined) throw missingArgument('a shell', 'eval "$(modeldl completion bash)"');
    const shell = SHELLS.find((candidate) => candidate === word);
    if (shell === undefined) {
      throw new ModeldlError('USAGE', `Expected ${SHELLS.join(', ')}, got ${word}`, {
        hint: 'see `modeldl completion --help`',
      });
    }
    const script = scriptFor(shell);
    output.result([script], { ok: true, shell, script });
    return undefined;
  },
};

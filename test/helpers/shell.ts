/**
 * A person's shell in a real pseudo terminal, by tmux, with the built program on its PATH and its completion loaded as the
 * README says. Keys that are pressed while the shell completes wait in the terminal, so nothing sleeps.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeScript } from './interpreter.js';
import { PROGRAM, type World } from './program.js';
import { hasProgram } from './require.js';
import { openTmux, poll, type Tmux } from './tmux.js';

/** What every startup file sets. */
export const PROMPT = 'ready> ';

export type ShellName = 'bash' | 'zsh' | 'fish';

export const hasShell: Readonly<Record<ShellName, boolean>> = {
  bash: hasProgram('bash'),
  zsh: hasProgram('zsh'),
  fish: hasProgram('fish'),
};

/** What each reads when it starts. */
const STARTUP: Readonly<Record<ShellName, string>> = {
  bash: `PS1='${PROMPT}'\nunset HISTFILE\nbind 'set bell-style none'\neval "$(modeldl completion bash)"\n`,
  zsh: `PS1='${PROMPT}'\nautoload -U compinit && compinit -D -u\nsource <(modeldl completion zsh)\n`,
  fish: `function fish_prompt; echo -n '${PROMPT}'; end\nfunction fish_greeting; end\nmodeldl completion fish | source\n`,
};

export interface Shell extends Omit<Tmux, 'tmux'> {
  /** Text as if typed; a `\t` is the Tab key. */
  readonly type: (text: string) => Promise<void>;
  /** Polls until the screen matches; fails with the screen. */
  waitFor(expected: string | RegExp): Promise<string>;
}

/** The environment of a shell that finds `modeldl`; for what runs without a terminal. */
export async function shellEnvironment(world: World): Promise<Readonly<Record<string, string>>> {
  const programs = join(world.directory, 'bin');
  await writeScript(join(programs, 'modeldl'), `exec '${process.execPath}' '${PROGRAM}' "$@"`);
  return {
    PATH: `${programs}:${process.env['PATH'] ?? ''}`,
    HOME: world.directory,
    MODELDL_CACHE_DIR: world.cacheDir,
    TERM: 'screen-256color',
    LANG: 'C.UTF-8',
  };
}

/** @param startup what the shell reads when it starts */
export async function openShell(world: World, name: ShellName, startup = STARTUP[name]): Promise<Shell> {
  const environment = await shellEnvironment(world);
  const file = join(world.directory, name === 'zsh' ? '.zshrc' : `startup.${name}`);
  await writeFile(file, startup);
  const command = {
    bash: ['bash', '--noprofile', '--rcfile', file, '-i'],
    zsh: ['zsh', '-d', '-i'],
    fish: ['fish', '--private', '--no-config', '--init-command', `source ${file}`],
  }[name];
  const assignments = Object.entries(environment).map(([key, value]) => `${key}=${value}`);
  const { press, type, screen, close } = await openTmux(
    world,
    ['env', '-i', ...assignments, ...command],
    160,
    50,
  );
  const waitFor: Shell['waitFor'] = (expected) => poll(screen, expected);
  await waitFor(PROMPT);
  return {
    type: async (text) => {
      for (const [index, part] of text.split('\t').entries()) {
        if (index > 0) await press('Tab');
        if (part !== '') await type(part);
      }
    },
    press,
    waitFor,
    screen,
    close,
  };
}

/**
 * A person's shell in a real pseudo terminal, by tmux, with the built program on its PATH and its completion loaded as the
 * README says. Keys that are pressed while the shell completes wait in the terminal, so nothing sleeps.
 */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { vi } from 'vitest';
import type { World } from './program.js';
import { hasProgram } from './require.js';

const PROGRAM = fileURLToPath(new URL('../../dist/bin/modeldl.js', import.meta.url));
const PATIENCE_MS = 45_000;
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

export interface Shell {
  /** Text as if typed; a `\t` is the Tab key. */
  type(text: string): Promise<void>;
  press(...keys: readonly string[]): Promise<void>;
  /** Polls until the screen matches; fails with the screen. */
  waitFor(expected: string | RegExp): Promise<string>;
  screen(): Promise<string>;
  close(): Promise<void>;
}

/** The environment of a shell that finds `modeldl`; for what runs without a terminal. */
export async function shellEnvironment(world: World): Promise<Readonly<Record<string, string>>> {
  const programs = join(world.directory, 'bin');
  await mkdir(programs, { recursive: true });
  const program = join(programs, 'modeldl');
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`);
  await chmod(program, 0o755);
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
  const socket = join(world.directory, randomUUID().slice(0, 8));
  const tmux = async (...words: readonly string[]): Promise<string> => {
    const { stdout } = await execa('tmux', ['-u', '-S', socket, '-f', '/dev/null', ...words]);
    return stdout;
  };
  await tmux(
    ...['new-session', '-d', '-x', '160', '-y', '50', '-c', world.directory, '-s', 'it'],
    ['env', '-i', ...Object.entries(environment).map(([key, value]) => `${key}=${value}`), ...command]
      .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
      .join(' '),
  );
  const screen = (): Promise<string> => tmux('capture-pane', '-p', '-J', '-S', '-', '-t', 'it');
  const waitFor: Shell['waitFor'] = (expected) =>
    vi.waitFor(
      async () => {
        const shown = await screen();
        const found = typeof expected === 'string' ? shown.includes(expected) : expected.test(shown);
        if (!found) throw new Error(`Expected ${String(expected)} on the screen, got:\n${shown}`);
        return shown;
      },
      { timeout: PATIENCE_MS, interval: 50 },
    );
  await waitFor(PROMPT);
  return {
    type: async (text) => {
      for (const [index, part] of text.split('\t').entries()) {
        if (index > 0) await tmux('send-keys', '-t', 'it', 'Tab');
        if (part !== '') await tmux('send-keys', '-t', 'it', '-l', '--', part);
      }
    },
    press: async (...keys) => {
      await tmux('send-keys', '-t', 'it', ...keys);
    },
    waitFor,
    screen,
    close: async () => {
      await tmux('kill-server').catch(() => undefined);
    },
  };
}

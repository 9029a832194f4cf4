/** A command in a pseudo terminal, by tmux: keys go in, the screen comes out, and whoever waits polls the screen. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { execa } from 'execa';
import { vi } from 'vitest';
import type { World } from './program.js';
import { hasProgram } from './require.js';

const PATIENCE_MS = 45_000;

export const hasTmux = hasProgram('tmux', ['-V']);

export interface Tmux {
  readonly tmux: (...words: readonly string[]) => Promise<string>;
  /** Keys by tmux's names: `Enter`, `Space`, `Down`, `C-c`. */
  readonly press: (...keys: readonly string[]) => Promise<void>;
  /** Text as if typed. */
  readonly type: (text: string) => Promise<void>;
  /** What is visible, with what scrolled away above it. */
  readonly screen: () => Promise<string>;
  readonly close: () => Promise<void>;
}

/** Runs a command in a terminal of a size. */
export async function openTmux(
  world: World,
  command: readonly string[],
  columns: number,
  lines: number,
): Promise<Tmux> {
  // Within the world, which is removed: tmux leaves its sockets behind, and a Unix socket's path is short.
  const socket = join(world.directory, randomUUID().slice(0, 8));
  const tmux: Tmux['tmux'] = async (...words) => {
    const { stdout } = await execa('tmux', ['-u', '-S', socket, '-f', '/dev/null', ...words]);
    return stdout;
  };
  await tmux(
    ...['new-session', '-d', '-x', String(columns), '-y', String(lines), '-c', world.directory, '-s', 'it'],
    command.map(quote).join(' '),
  );
  return {
    tmux,
    press: async (...keys) => {
      await tmux('send-keys', '-t', 'it', ...keys);
    },
    type: async (text) => {
      await tmux('send-keys', '-t', 'it', '-l', '--', text);
    },
    screen: () => tmux('capture-pane', '-p', '-J', '-S', '-', '-t', 'it'),
    close: async () => {
      await tmux('kill-server').catch(() => undefined);
    },
  };
}

/** Polls until what is there matches; fails with what is there. */
export function poll(look: () => Promise<string>, expected: string | RegExp): Promise<string> {
  return vi.waitFor(
    async () => {
      const shown = await look();
      const found = typeof expected === 'string' ? shown.includes(expected) : expected.test(shown);
      if (!found) throw new Error(`Expected ${String(expected)} on the screen, got:\n${shown}`);
      return shown;
    },
    { timeout: PATIENCE_MS, interval: 30 },
  );
}

export function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * The built program in a real pseudo terminal. Nothing sleeps for a fixed time: whoever waits polls the screen until it
 * shows what is waited for.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PROGRAM, type World } from './program.js';
import { requirePeer } from './require.js';
import { hasTmux, openTmux, poll, quote, type Tmux } from './tmux.js';

/** What stands below the program when it has ended: its exit code, and the state of the line discipline. */
const END = /\[exit (\d+), (\w+)\]/;

/** A test that needs a terminal. */
export const onTerminal = requirePeer('tmux', hasTmux);

export interface Terminal extends Omit<Tmux, 'tmux'> {
  /** Gives the terminal another size, as who drags a window does. */
  resize(columns: number, lines: number): Promise<void>;
  /** What is visible now. */
  visible(): Promise<string>;
  /** Polls until the screen matches; fails with the screen. */
  waitFor(expected: string | RegExp): Promise<string>;
  /** Waits for the program's end. */
  ended(): Promise<Ended>;
}

export interface Ended {
  readonly exitCode: number;
  /** What went to stdout, which is a file: the terminal shows only stderr. */
  readonly stdout: string;
  /** Every byte that the terminal was sent, escape sequences included. */
  readonly sent: string;
  readonly screen: string;
  /** The cursor is visible and the line discipline is what it was. */
  readonly restored: boolean;
}

export interface TerminalSize {
  readonly columns?: number;
  readonly lines?: number;
}

/** Runs `modeldl ...args` in a terminal, of 100 columns and 40 lines unless another size is given. */
export async function openTerminal(
  world: World,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  { columns = 100, lines = 40 }: TerminalSize = {},
): Promise<Terminal> {
  const name = `modeldl-${randomUUID()}`;
  const script = join(world.directory, `${name}.sh`);
  const stdout = join(world.directory, `${name}.out`);
  const sent = join(world.directory, `${name}.sent`);
  const variables = {
    PATH: process.env['PATH'] ?? '',
    HOME: world.directory,
    MODELDL_CACHE_DIR: world.cacheDir,
    TERM: 'screen-256color',
    LANG: 'C.UTF-8',
    ...environment,
  };
  const assignments = Object.entries(variables).map(([key, value]) => quote(`${key}=${value}`));
  const command = ['env', '-i', ...assignments, ...[process.execPath, PROGRAM, ...args].map(quote)].join(' ');
  await writeFile(
    script,
    // Ctrl-C reaches the whole foreground group: the shell has to outlive it.
    `trap : INT; echo ready; read _
before=$(stty -g)
${command} >${quote(stdout)}
code=$?
[ "$before" = "$(stty -g)" ] && state=same || state=changed
echo "[exit $code, $state]"
exec cat >/dev/null
`,
  );
  const { tmux, press, type, screen: capture, close } = await openTmux(world, ['sh', script], columns, lines);
  // The line above the program's stays: tmux keeps what is cleared from the very top in its history.
  const screen = async (): Promise<string> => (await capture()).replace(/^ready\n\n/, '');
  await poll(capture, /^ready\n/);
  await tmux('pipe-pane', '-t', 'it', `cat >${quote(sent)}`);
  await press('Enter');
  return {
    press,
    type,
    resize: async (width, height) => {
      await tmux('resize-window', '-t', 'it', '-x', String(width), '-y', String(height));
    },
    visible: () => tmux('capture-pane', '-p', '-J', '-t', 'it'),
    screen,
    waitFor: (expected) => poll(screen, expected),
    ended: async () => {
      const shown = await poll(screen, END);
      const [, code, state] = END.exec(shown) ?? [];
      // What tmux hands on arrives when another process has written it.
      const all = await poll(() => readFile(sent, 'utf8'), END);
      const cursor = await tmux('display-message', '-p', '-t', 'it', '#{cursor_flag}');
      return {
        exitCode: Number(code),
        stdout: (await readFile(stdout, 'utf8')).trimEnd(),
        sent: all.slice(0, all.search(END)),
        screen: shown.replace(/\n?\[exit [\s\S]*$/, ''),
        restored: state === 'same' && cursor === '1',
      };
    },
    close: async () => {
      await close();
      await Promise.all([script, stdout, sent].map((file) => rm(file, { force: true })));
    },
  };
}

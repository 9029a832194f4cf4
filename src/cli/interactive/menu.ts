/** `modeldl` alone on a terminal: the common jobs. Each is a command line, and that command is what runs. */
import type { CliEnvironment } from '../command.js';
import type { Output } from '../output.js';
import { askChoice, askText, tellCommand } from '../prompts.js';
import { isLeft } from './ask.js';

/** How a job ended. */
export interface JobEnd {
  readonly exitCode: number;
  /** One of its questions was left by Escape. */
  readonly left: boolean;
}

export interface MenuSettings {
  /** Global options as they were typed. */
  readonly typed: readonly string[];
  readonly output: Output;
  readonly cli: CliEnvironment;
  /** Runs a command line. */
  run(argv: readonly string[]): Promise<JobEnd>;
}

interface Job {
  readonly command: string;
  readonly name: string;
  /** What follows the command where the job asks nothing itself; undefined where the command asks. */
  words?(settings: MenuSettings): Promise<readonly string[]>;
}

const JOBS: readonly Job[] = [
  { command: 'pull', name: 'Pull a model' },
  { command: 'convert', name: 'Convert a model to OpenVINO IR' },
  { command: 'list', name: 'See what is stored', words: () => Promise.resolve(['--usage']) },
  { command: 'search', name: 'Search the hubs', words: askWords },
  { command: 'prune', name: 'Free space' },
  { command: 'remove', name: 'Remove models' },
  { command: 'doctor', name: 'Check this machine', words: () => Promise.resolve([]) },
  { command: 'login', name: 'Log in to a hub' },
];

/**
 * Offers jobs until somebody quits; Escape in a question of a job leads back here.
 * @returns the exit code: 0 for who quits, whatever the jobs came to, which has been told
 */
export async function menu(settings: MenuSettings): Promise<number> {
  const { cli, output } = settings;
  // What ends the options of nothing would end those of the jobs.
  const typed = settings.typed.filter((word) => word !== '--');
  const choices = [
    ...JOBS.map((job) => ({ value: job.command, name: job.name, description: `modeldl ${job.command}` })),
    { value: 'quit', name: 'Quit' },
  ];
  let last: string | undefined;
  for (;;) {
    const chosen = await unlessLeft(() => askChoice(cli, 'What to do', choices, last));
    const job = JOBS.find(({ command }) => command === chosen);
    if (job === undefined) return 0;
    last = job.command;
    const words = await unlessLeft(async () => (await job.words?.(settings)) ?? []);
    if (words === undefined) continue;
    if (job.words !== undefined) tellCommand({ typed, output }, [job.command, ...words]);
    const { exitCode, left } = await settings.run([...typed, job.command, ...words]);
    // Ctrl-C, a signal, or an input that ended: there is nobody to ask again.
    if (!left && (cli.signal.aborted || exitCode === 130)) return exitCode;
  }
}

/** Undefined for a question that was left. */
async function unlessLeft<Answer>(question: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await question();
  } catch (error) {
    if (isLeft(error)) return undefined;
    throw error;
  }
}

async function askWords({ cli }: MenuSettings): Promise<readonly string[]> {
  const words = await askText(
    cli,
    'What to search for',
    (text) => (text !== '' && !/(^|\s)-/.test(text)) || 'Type words that the name has',
  );
  return words.split(/\s+/);
}

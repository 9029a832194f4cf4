/** The table of contents of the command line. */
import { Command, CommanderError, Option } from 'commander';
import { closest, distance } from 'fastest-levenshtein';
import { EXIT_CODES, ModeldlError } from '../errors.js';
import {
  opener,
  type Call,
  type CliEnvironment,
  type CommandDefinition,
  type GlobalFlags,
  type TransferFlags,
} from './command.js';
import { redactReference } from '../redact.js';
import { asEventOutput } from './event-output.js';
import type { JobEnd } from './interactive/menu.js';
import { createOutput, type Output, type OutputStream } from './output.js';
import { asModeldlError, reportErrors } from './report.js';

interface Entry {
  readonly name: string;
  readonly alias?: string;
  readonly summary: string;
  load(): Promise<{ readonly command: CommandDefinition<never> }>;
}

export const COMMANDS: readonly Entry[] = [
  { name: 'pull', summary: 'fetch models into the store', load: () => import('./commands/pull.js') },
  { name: 'convert', summary: 'convert a model to OpenVINO IR', load: () => import('./commands/convert.js') },
  { name: 'push', summary: 'write a model to a registry', load: () => import('./commands/push.js') },
  {
    name: 'export',
    summary: 'copy models to a directory, an archive or a program here',
    load: () => import('./commands/export.js'),
  },
  { name: 'list', alias: 'ls', summary: 'what is stored', load: () => import('./commands/list.js') },
  {
    name: 'show',
    alias: 'info',
    summary: 'one model, stored or at its hub',
    load: () => import('./commands/show.js'),
  },
  {
    name: 'report',
    summary: 'one page about a model and its conversions',
    load: () => import('./commands/report.js'),
  },
  {
    name: 'path',
    summary: 'path of a stored model, without network',
    load: () => import('./commands/path.js'),
  },
  { name: 'remove', alias: 'rm', summary: 'remove models', load: () => import('./commands/remove.js') },
  { name: 'prune', summary: 'free space', load: () => import('./commands/prune.js') },
  { name: 'verify', summary: 'hash stored models again', load: () => import('./commands/verify.js') },
  { name: 'search', summary: 'find models at hubs', load: () => import('./commands/search.js') },
  { name: 'login', summary: 'keep a token for a hub', load: () => import('./commands/login.js') },
  { name: 'logout', summary: 'forget the token of a hub', load: () => import('./commands/logout.js') },
  { name: 'whoami', summary: 'whose token is used for a hub', load: () => import('./commands/whoami.js') },
  { name: 'hubs', summary: 'hubs and their state', load: () => import('./commands/hubs.js') },
  {
    name: 'converters',
    summary: 'converters and whether they can run',
    load: () => import('./commands/converters.js'),
  },
  {
    name: 'toolchain',
    summary: 'environments of the converters',
    load: () => import('./commands/toolchain.js'),
  },
  { name: 'sync', summary: 'bring in the models of a list', load: () => import('./commands/sync.js') },
  { name: 'lock', summary: 'write down what these models are', load: () => import('./commands/lock.js') },
  {
    name: 'ci',
    summary: 'what CI systems need: the key of the cache',
    load: () => import('./commands/ci.js'),
  },
  {
    name: 'bundle',
    summary: 'models in one file, for machines without network',
    load: () => import('./commands/bundle.js'),
  },
  {
    name: 'plugins',
    summary: 'where hubs and converters come from',
    load: () => import('./commands/plugins.js'),
  },
  {
    name: 'doctor',
    summary: 'what keeps modeldl from working here',
    load: () => import('./commands/doctor.js'),
  },
  { name: 'mcp', summary: 'a server for agents', load: () => import('./commands/mcp.js') },
  { name: 'config', summary: 'configuration', load: () => import('./commands/config.js') },
  {
    name: 'completion',
    summary: 'completion for a shell',
    load: () => import('./commands/completion.js'),
  },
];

/** Runs a command line; returns the exit code and never throws. */
export async function runCli(argv: readonly string[], cli: CliEnvironment): Promise<number> {
  if (argv[0] === '__complete')
    return (await import('./completion/answer.js')).answerShell(argv.slice(1), cli);
  return (await runLine(argv, cli, 'ends')).exitCode;
}

/** @param escape whether a question that was left by Escape ends the program, or leads back to the jobs */
async function runLine(
  argv: readonly string[],
  cli: CliEnvironment,
  escape: 'ends' | 'leads back',
): Promise<JobEnd> {
  const early = {
    json: argv.includes('--json'),
    verbose: argv.filter((word) => /^-v+$|^--verbose$/.test(word)).length,
    progress: / --progress[ =]json( |$)/.test(` ${argv.join(' ')}`) ? ('json' as const) : ('auto' as const),
  };
  const secrets = new Set<string>();
  const makeOutput = (flags: OutputFlags): Output => {
    const output = createOutput({
      stdout: cli.stdout,
      stderr: cli.stderr,
      json: flags.json ?? false,
      quiet: flags.quiet ?? false,
      secrets,
      annotate: cli.environment['GITHUB_ACTIONS'] === 'true',
      color: hasColor(flags, cli),
      scrollsOnly: isDumb(cli),
    });
    return flags.progress === 'json' ? asEventOutput(output) : output;
  };
  let exitCode = 0;
  let help = '';
  const program = rootCommand(cli, (text) => {
    help += text;
  });
  for (const entry of COMMANDS) {
    const command = program.command(entry.name).summary(entry.summary).description(entry.summary);
    if (entry.alias !== undefined) command.alias(entry.alias);
    // Only what is named is loaded: `--help` of one command must not pay for the others.
    if (!argv.includes(entry.name) && !(entry.alias !== undefined && argv.includes(entry.alias))) continue;
    const { command: definition } = await entry.load();
    definition.configure(command);
    command.action(async () => {
      const flags: GlobalFlags & TransferFlags = command.optsWithGlobals();
      const output = makeOutput(flags);
      const opened = opener(flags, cli, output, definition.onlyLooks !== true);
      const call: Call<object> = {
        typed: argv,
        arguments: command.args,
        flags,
        output,
        cli: { ...cli, colors: output.color },
        interactive: isInteractive(flags, cli),
        open: () => opened.open(),
        settle: () => {
          opened.settle();
        },
      };
      try {
        refuseEmptyPaths(flags);
        exitCode = (await (definition as CommandDefinition<object>).run(call)) ?? 0;
      } finally {
        await opened.close();
      }
    });
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
    return { exitCode, left: false };
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return { exitCode: 0, left: false };
    if (escape === 'leads back' && (await import('./interactive/ask.js')).isLeft(error))
      return { exitCode: EXIT_CODES.INTERRUPTED, left: true };
    let known = error;
    if (error instanceof CommanderError && error.code === 'commander.help') {
      const flags: GlobalFlags = program.opts();
      if (program.args.length === 0 && isInteractive(flags, cli)) {
        try {
          return { exitCode: await offerJobs(argv, cli, makeOutput(flags)), left: false };
        } catch (thrown) {
          known = thrown;
        }
      } else if (!early.json) {
        // The help is not for a program that reads JSON.
        cli.stderr.write(help);
        return { exitCode: EXIT_CODES.USAGE, left: false };
      }
    }
    const told = known instanceof CommanderError ? usageError(known, argv) : promptOrOther(known, cli);
    const output = makeOutput({ ...early, color: 'auto' });
    return { exitCode: reportErrors(output, [told], [], early.verbose), left: false };
  }
}

type OutputFlags = Pick<GlobalFlags, 'json' | 'quiet' | 'color' | 'progress'>;

/** A terminal that only scrolls shows sequences as they are, and can draw neither a bar nor a question. */
function isDumb({ environment }: CliEnvironment): boolean {
  return environment['TERM'] === 'dumb';
}

function hasColor({ color }: Pick<GlobalFlags, 'color'>, cli: CliEnvironment): boolean {
  const { stderr, environment } = cli;
  return (
    color === 'always' ||
    (color === 'auto' && stderr.isTTY === true && !environment['NO_COLOR'] && !isDumb(cli))
  );
}

function isInteractive(flags: GlobalFlags, cli: CliEnvironment): boolean {
  return (
    cli.stdin.isTTY === true &&
    cli.stderr.isTTY === true &&
    !isDumb(cli) &&
    flags.input &&
    !isSet(cli.environment['CI']) &&
    flags.json !== true &&
    flags.progress !== 'json'
  );
}

/** Without a command, on a terminal. */
async function offerJobs(typed: readonly string[], cli: CliEnvironment, output: Output): Promise<number> {
  const { menu } = await import('./interactive/menu.js');
  return menu({
    typed,
    output,
    cli: { ...cli, colors: output.color },
    run: (argv) => runLine(argv, cli, 'leads back'),
  });
}

/** As CI systems set it: `CI=true`, `CI=1`; `CI=false` says that this is none. */
function isSet(value: string | undefined): boolean {
  return value !== undefined && !/^(|0|false|no|off)$/i.test(value);
}

export function rootCommand(
  cli: { readonly version: string; readonly stdout: Pick<OutputStream, 'write'> },
  onHelp: (text: string) => void,
): Command {
  return new Command('modeldl')
    .description('Pull AI models from many hubs, verify every byte, convert them to OpenVINO IR')
    .version(cli.version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => cli.stdout.write(text),
      writeErr: onHelp,
      outputError: () => undefined,
    })
    .configureHelp({ showGlobalOptions: true })
    .option('--cache-dir <dir>', "the cache (default: the platform's, or MODELDL_CACHE_DIR)")
    .option('--config <file>', "configuration file instead of the project's")
    .option('--offline', 'open no socket at all')
    .option('--prefer-offline', 'ask nobody when something suitable is stored')
    .option('--refresh', 'an unreachable hub is an error even when a revision is stored')
    .option('--max-wait <time>', 'how long to wait for other processes, such as 10m')
    .option('--no-space-check', 'start even when disk or memory look too small')
    .option('--json', 'one JSON document on stdout')
    .option('-q, --quiet', 'only paths or references, no progress')
    .option('-v, --verbose', 'causes of errors; repeatable', (_value, count: number) => count + 1, 0)
    .addOption(
      new Option('--progress <mode>', 'how progress is shown')
        .choices(['auto', 'bar', 'plain', 'json', 'none'])
        .default('auto'),
    )
    .addOption(new Option('--color <when>', 'colours').choices(['auto', 'always', 'never']).default('auto'))
    .option('-y, --yes', 'answer every confirmation with yes')
    .option('--no-input', 'ask nothing')
    .addHelpText(
      'after',
      '\nOn a terminal `modeldl` alone offers the common jobs, and pull, convert, remove, prune and login ask for what is left out.\n\nExamples:\n  modeldl pull hf:sentence-transformers/all-MiniLM-L6-v2\n  modeldl convert ./model.onnx --precision int8\n  MODEL=$(modeldl path hf:org/name)',
    );
}

/** An empty path, as of a variable that is not set, would be the current directory. @throws ModeldlError USAGE */
function refuseEmptyPaths(
  flags: GlobalFlags &
    TransferFlags & { readonly output?: string; readonly summary?: string; readonly file?: string },
): void {
  const paths = [
    ['--cache-dir', flags.cacheDir],
    ['--config', flags.config],
    ['--output', flags.output],
    ['--summary', flags.summary],
    ['--file', flags.file],
  ] as const;
  const empty = paths.find(([, path]) => path?.trim() === '');
  if (empty === undefined) return;
  throw new ModeldlError('USAGE', `The path after \`${empty[0]}\` is empty`, {
    hint: 'name one, `.` for the current directory, or leave the option out',
  });
}

function usageError(error: CommanderError, argv: readonly string[]): ModeldlError {
  if (error.code === 'commander.help') {
    return new ModeldlError('USAGE', 'Missing a command', { hint: 'see `modeldl --help`', cause: error });
  }
  const [said = '', suggestion] = error.message.split('\n');
  const unknown = /unknown command '(.+)'/.exec(said)?.[1];
  const message = said
    .replace(unknown ?? '', redactReference(unknown ?? ''))
    .replace(/^error: /, '')
    .replace(/^[a-z]/, (letter) => letter.toUpperCase())
    .replace(/\. ([A-Z])/, (_end, letter: string) => `: ${letter.toLowerCase()}`)
    .replace(/\.$/, '');
  const verb = argv.find((word) => COMMANDS.some(({ name, alias }) => name === word || alias === word));
  const help = verb === undefined ? 'modeldl --help' : `modeldl ${verb} --help`;
  const similar = /\(Did you mean (?:one of )?(.+)\?\)/.exec(suggestion ?? '')?.[1];
  const meant = unknown === undefined ? similar : meantCommand(unknown);
  return new ModeldlError('USAGE', message, {
    hint: meant === undefined ? `see \`${help}\`` : `did you mean \`${meant}\`; see \`${help}\``,
    cause: error,
  });
}

/** What an unknown command was probably meant to be: an option, a command of a similar name, or a reference to pull. */
function meantCommand(word: string): string | undefined {
  if (word === 'version') return 'modeldl --version';
  if (/[:/]/.test(word)) return `modeldl pull ${redactReference(word)}`;
  const names = COMMANDS.flatMap(({ name, alias }) => (alias === undefined ? [name] : [name, alias]));
  const swapped = names.find((name) => distance(word, name) === 2 && letters(word) === letters(name));
  if (swapped !== undefined) return `modeldl ${swapped}`;
  const nearest = closest(word, names);
  return distance(word, nearest) <= Math.max(1, Math.floor(word.length / 3))
    ? `modeldl ${nearest}`
    : undefined;
}

/** The same for words that differ by swapped letters. */
function letters(word: string): string {
  return Array.from(word).sort().join('');
}

/** Ctrl-C in a question arrives as an error of the prompt library, not as a signal. */
function promptOrOther(error: unknown, cli: CliEnvironment): ModeldlError {
  if (cli.signal.aborted && cli.signal.reason instanceof ModeldlError) return cli.signal.reason;
  if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError')) {
    return new ModeldlError('INTERRUPTED', 'Interrupted', { cause: error });
  }
  return asModeldlError(error);
}

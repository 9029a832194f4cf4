/**
 * What may come next on a command line. A script of `modeldl completion` asks `modeldl __complete <shell> …` at every
 * Tab, so this is fast, says nothing on stderr, and answers with what it knows whatever is broken.
 */
import type { Argument, Command, Option } from 'commander';
import type { CliEnvironment } from '../command.js';
import { COMMANDS, rootCommand } from '../program.js';
import { readBash, writeBash } from './bash.js';
import { valuesOfArgument, valuesOfOption, type Asked } from './values.js';

/** What a shell offers. One whose end asks for more (`hf:`, `ratio=`) is followed by no space. */
export interface Candidate {
  readonly value: string;
  readonly title?: string;
}

export interface Answer {
  readonly candidates: readonly Candidate[];
  /** What the shell completes by itself where no candidate fits. */
  readonly paths?: 'files' | 'directories';
}

const NOTHING: Answer = { candidates: [] };
/** A command of the library, which is in no table. */
const HELP = 'help';

/**
 * Answers the script of a shell: a line with `files`, `directories` or `none`, then a line for each candidate, behind a
 * tab its description. For bash, which breaks words by signs that references have, they are what it inserts.
 * @param request the shell, then what its script hands over: the words up to the cursor, for bash the line
 */
export async function answerShell(
  [shell, ...given]: readonly string[],
  cli: CliEnvironment,
): Promise<number> {
  const line = shell === 'bash' ? readBash(given) : undefined;
  const words = line?.words ?? (shell === 'powershell' ? given.map((word) => word.replace(/^=/, '')) : given);
  const answer: Answer =
    line?.redirected === true
      ? { candidates: [], paths: 'files' }
      : await complete(words, cli).catch(() => NOTHING);
  const lines = answer.candidates.map(({ value, title = '' }) =>
    line === undefined ? `${value}\t${title}` : writeBash(value, line),
  );
  cli.stdout.write(`${[answer.paths ?? 'none', ...lines].join('\n')}\n`);
  return 0;
}

/** @param words what was typed after the program's name; the last is what the cursor is in, often empty */
export async function complete(words: readonly string[], cli: CliEnvironment): Promise<Answer> {
  const current = words.at(-1) ?? '';
  const line = await readLine(words.slice(0, -1), cli);
  if (line === undefined) return NOTHING;
  const { candidates, paths } = await candidatesOf(line, current, cli);
  const fitting = candidates.filter(({ value }) => value.startsWith(current) && isTypeable(value));
  return {
    candidates: fitting.map(({ value, title }) => ({
      value,
      ...(title === undefined ? {} : { title: oneLine(title) }),
    })),
    ...(paths === undefined ? {} : { paths }),
  };
}

/** What is on the line before the cursor. */
interface Line {
  readonly command: Command;
  /** Name in the table of commands; undefined before one is named. */
  readonly verb?: string;
  readonly options: readonly Option[];
  readonly arguments: readonly string[];
  /** Values by the long name of their option, the last one given. */
  readonly values: ReadonlyMap<string, string>;
  readonly used: ReadonlySet<Option>;
  /** The option whose value comes next. */
  readonly open?: Option;
  /** After `--`. */
  readonly ended: boolean;
}

/** Reads as commander does. Undefined for a command that is not there. */
async function readLine(words: readonly string[], cli: CliEnvironment): Promise<Line | undefined> {
  let command = rootCommand(cli, () => undefined);
  let options = command.options;
  let verb: string | undefined;
  let open: Option | undefined;
  let ended = false;
  const named: string[] = [];
  const values = new Map<string, string>();
  const used = new Set<Option>();
  for (const word of words) {
    if (open !== undefined) {
      values.set(open.long ?? '', word);
      open = undefined;
    } else if (ended) named.push(word);
    else if (word === '--') ended = true;
    else if (word.startsWith('-') && word !== '-') {
      const { given, value, last } = readOptions(word, options);
      for (const option of given) used.add(option);
      if (last?.required === true && value !== undefined) values.set(last.long ?? '', value);
      else if (last?.required === true) open = last;
    } else if (word === HELP && verb === undefined) {
      verb = word;
    } else if (verb === undefined) {
      const entry = COMMANDS.find(({ name, alias }) => name === word || alias === word);
      if (entry === undefined) return undefined;
      verb = entry.name;
      command = command.command(entry.name);
      (await entry.load()).command.configure(command);
      options = [...command.options, ...options];
    } else named.push(word);
  }
  return {
    command,
    ...(verb === undefined ? {} : { verb }),
    options,
    arguments: named,
    values,
    used,
    ...(open === undefined ? {} : { open }),
    ended,
  };
}

/** `--name`, `--name=value`, `-n`, `-nvalue` and several short ones in one word. */
function readOptions(
  word: string,
  options: readonly Option[],
): { readonly given: readonly Option[]; readonly last?: Option | undefined; readonly value?: string } {
  if (word.startsWith('--')) {
    const [name = '', ...value] = word.split('=');
    const last = options.find(({ long }) => long === name);
    return {
      given: last === undefined ? [] : [last],
      last,
      ...(value.length === 0 ? {} : { value: value.join('=') }),
    };
  }
  const given: Option[] = [];
  for (let at = 1; at < word.length; at += 1) {
    const option = options.find(({ short }) => short === `-${word[at] ?? ''}`);
    if (option === undefined) break;
    given.push(option);
    if (option.required)
      return { given, last: option, ...(at + 1 < word.length ? { value: word.slice(at + 1) } : {}) };
  }
  return { given };
}

async function candidatesOf(line: Line, current: string, cli: CliEnvironment): Promise<Answer> {
  const { command, verb, options, open, ended, values } = line;
  const asked: Asked = { verb, arguments: line.arguments, current, cli, values };
  if (open !== undefined) return valuesOfOption(open, asked);
  const [, name, value] = /^(--[^=]+)=(.*)$/s.exec(current) ?? [];
  if (!ended && name !== undefined && value !== undefined) {
    const option = options.find(({ long, required }) => long === name && required);
    if (option === undefined) return NOTHING;
    const { candidates, paths } = await valuesOfOption(option, { ...asked, current: value });
    return {
      candidates: candidates.map((candidate) => ({ ...candidate, value: `${name}=${candidate.value}` })),
      ...(paths === undefined ? {} : { paths }),
    };
  }
  if (!ended && current.startsWith('-')) return { candidates: optionNames(line) };
  const commands = COMMANDS.map(({ name: value, summary: title }) => ({ value, title }));
  if (verb === undefined)
    return { candidates: [...commands, { value: HELP, title: 'display help for command' }] };
  if (verb === HELP) return line.arguments.length === 0 ? { candidates: commands } : NOTHING;
  const argument = argumentAt(command, line.arguments.length);
  return argument === undefined ? NOTHING : valuesOfArgument(argument, asked);
}

/** The argument at a place; the last takes all that follow when it is variadic. */
function argumentAt({ registeredArguments }: Command, place: number): Argument | undefined {
  const last = registeredArguments.at(-1);
  return registeredArguments[place] ?? (last?.variadic === true ? last : undefined);
}

/** Those that may still be given: most options count once. */
function optionNames({ options, used }: Line): readonly Candidate[] {
  const left = options.filter((option) => !option.hidden && (!used.has(option) || isRepeatable(option)));
  const names = left.flatMap(({ long, description: title }) =>
    long == null ? [] : [{ value: long, title }],
  );
  return [...names, { value: '--help', title: 'display help for command' }];
}

function isRepeatable({ description }: Option): boolean {
  return description.endsWith('repeatable');
}

/** A control character cannot be typed, and would be one on the terminal that shows the choice. */
function isTypeable(value: string): boolean {
  return !/\p{Cc}/u.test(value);
}

function oneLine(title: string): string {
  return title.replace(/\p{Cc}+/gu, ' ');
}

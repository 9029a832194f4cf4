/**
 * The manual pages, from what `--help` prints: one of the whole program, and one for each command. The build writes them
 * (`rolldown.config.js`), so that they cannot differ; the program itself does not load this.
 */
import type { Command } from 'commander';
import { COMMANDS, rootCommand } from '../program.js';
import { EXIT_STATUSES, FILES, VARIABLES } from './facts.js';
import {
  bold,
  definitions,
  italic,
  literal,
  paragraph,
  prose,
  section,
  subsection,
  term,
  title,
  verbatim,
} from './roff.js';

/** What the help of a command says. */
interface CommandHelp {
  readonly name: string;
  readonly usage: string;
  readonly summary: string;
  readonly arguments: readonly Row[];
  readonly options: readonly Row[];
  /** What stands between options and examples. */
  readonly notes: readonly string[];
  readonly examples: readonly string[];
}
type Row = readonly [what: string, description: string];

/** Pages in roff by the names of their files: `modeldl.1`, `modeldl-pull.1`, … */
export async function manualPages(version: string): Promise<ReadonlyMap<string, string>> {
  const { program, commands } = await readHelp(version);
  const source = `modeldl ${version}`;
  return new Map([
    ['modeldl.1', mainPage(program, commands, source)],
    ...commands.map((command) => [`modeldl-${command.name}.1`, commandPage(command, source)] as const),
  ]);
}

async function readHelp(
  version: string,
): Promise<{ readonly program: CommandHelp; readonly commands: readonly CommandHelp[] }> {
  const root = rootCommand({ version, stdout: { write: () => true } }, () => undefined);
  const commands: CommandHelp[] = [];
  for (const entry of COMMANDS) {
    const command = root.command(entry.name).description(entry.summary);
    if (entry.alias !== undefined) command.alias(entry.alias);
    (await entry.load()).command.configure(command);
    commands.push(helpOf(command));
  }
  return { program: helpOf(root), commands };
}

function helpOf(command: Command): CommandHelp {
  const help = command.createHelp();
  let printed = '';
  command.configureOutput({ writeOut: (text) => (printed += text) }).outputHelp();
  const after = printed
    .slice(command.helpInformation().length)
    .split('\n\n')
    .map((text) => text.replace(/^\n+|\n+$/g, ''));
  const isExamples = (text: string): boolean => text.startsWith('Examples:\n');
  return {
    name: command.name(),
    usage: help.commandUsage(command),
    summary: command.description(),
    arguments: help
      .visibleArguments(command)
      .map((argument) => [argument.name(), help.argumentDescription(argument)]),
    options: help
      .visibleOptions(command)
      .map((option) => [help.optionTerm(option), help.optionDescription(option)]),
    notes: after.filter((text) => text !== '' && !isExamples(text)),
    examples: after.filter(isExamples).flatMap((text) =>
      text
        .split('\n')
        .slice(1)
        .map((line) => line.slice(2)),
    ),
  };
}

function mainPage(program: CommandHelp, commands: readonly CommandHelp[], source: string): string {
  return page(
    title('modeldl', source),
    section('NAME', `modeldl \\- ${verbatim(asClause(program.summary))}`),
    synopsis(program),
    section(
      'DESCRIPTION',
      paragraph(
        prose(
          'A model is named by a reference, `[scheme:]id[@revision][//subpath]`: `hf:org/name@main`, `ollama:llama3.2:3b`, `omz:face-detection-retail-0004//FP16`, `https://host/model.onnx`, `./model.onnx`. `modeldl hubs` lists the hubs. What comes from one is compared with the digests that it tells, and kept once, in a cache that several processes may share. `+int8-cpu` behind a reference is a stored conversion of it.',
        ),
      ),
      paragraph(
        prose(
          'Results go to standard output, all else to standard error; `--json` gives exactly one document, on failure too. Elsewhere than on a terminal nothing ever asks.',
        ),
      ),
      ...notes(program),
    ),
    section('COMMANDS', ...commands.map((command) => subsection(command.usage, ...body(command)))),
    section(
      'GLOBAL OPTIONS',
      paragraph('They may stand before or behind the command.'),
      rows(program.options, term),
    ),
    section(
      'EXIT STATUS',
      definitions(
        EXIT_STATUSES.map(({ code, names, meaning }) => [
          bold(String(code)),
          names.length === 0 ? prose(meaning) : `${verbatim(names.join(', '))}: ${prose(meaning)}`,
        ]),
      ),
      paragraph(prose('With `--json` the name is `error.code`.')),
    ),
    section(
      'ENVIRONMENT',
      paragraph(
        prose(
          'What is written as `a.b` is a key of the configuration: `modeldl config list` shows each value, and where it came from.',
        ),
      ),
      definitions(VARIABLES.map(([names, what]) => [names.map(bold).join(', '), prose(what)])),
      paragraph(
        prose(
          'Logins to registries are those of Docker, Podman and ORAS (`DOCKER_CONFIG`, `REGISTRY_AUTH_FILE`). The configuration of npm and pip, with its variables, says which registry and index are asked.',
        ),
      ),
    ),
    section('FILES', definitions(FILES.map(([path, what]) => [italic(path), prose(what)]))),
    examples(program),
    section('SEE ALSO', seeAlso(commands.map(({ name }) => `modeldl-${name}`))),
  );
}

function commandPage(command: CommandHelp, source: string): string {
  const name = `modeldl-${command.name}`;
  return page(
    title(name, source),
    section('NAME', `${verbatim(name)} \\- ${verbatim(command.summary)}`),
    synopsis(command),
    ...(command.notes.length === 0 ? [] : [section('DESCRIPTION', ...notes(command))]),
    ...(command.arguments.length === 0 ? [] : [section('ARGUMENTS', rows(command.arguments, italic))]),
    section(
      'OPTIONS',
      rows(command.options, term),
      paragraph(`The options of every command, exit codes and variables are in ${reference('modeldl')}.`),
    ),
    examples(command),
    section('SEE ALSO', seeAlso(['modeldl'])),
  );
}

function page(...parts: readonly string[]): string {
  return `${parts.join('\n')}\n`;
}

function synopsis({ usage }: CommandHelp): string {
  const [, command = '', rest = ''] = /^([^[<]+?)( [[<].*)?$/.exec(usage) ?? [];
  return section('SYNOPSIS', `${bold(command)}${verbatim(rest)}`);
}

/** A command within the page of the program; what every command has is said there once. */
function body(command: CommandHelp): readonly string[] {
  const own = command.options.filter(([flags]) => !flags.includes('--help'));
  return [
    paragraph(prose(command.summary)),
    ...notes(command),
    rows(command.arguments, italic),
    rows(own, term),
    paragraph('Examples:'),
    literal(command.examples),
  ].filter((block) => block !== '');
}

function notes(command: CommandHelp): readonly string[] {
  return command.notes.map((text) => paragraph(prose(text)));
}

function examples(command: CommandHelp): string {
  return section('EXAMPLES', literal(command.examples));
}

function rows(items: readonly Row[], set: (text: string) => string): string {
  return definitions(items.map(([what, description]) => [set(what), prose(description)]));
}

function reference(name: string): string {
  return `${bold(name)}(1)`;
}

function seeAlso(names: readonly string[]): string {
  return names.map(reference).join(',\n');
}

/** As the line of a list of programs has it. */
function asClause(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}

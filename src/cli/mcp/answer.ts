/** One call of a tool: a command of the program run with its arguments, and what it says as an answer. */
import { Readable } from 'node:stream';
import { throwIfAborted, type ModeldlError } from '../../errors.js';
import type { Emit } from '../../events.js';
import type { Modeldl } from '../../index.js';
import { asCodePoints, printable, redactDocument, redactSecrets } from '../../redact.js';
import type { Call, CommandDefinition, GlobalFlags } from '../command.js';
import { formatBytes, formatCount } from '../format.js';
import type { Output } from '../output.js';
import { asModeldlError, reportErrors } from '../report.js';
import { readLine } from './arguments.js';
import { bounded, boundedLines, type Bounded } from './bound.js';
import type { Line, Permissions, Tool } from './tools.js';

export interface Answer {
  readonly [key: string]: unknown;
  readonly content: { readonly type: 'text'; readonly text: string }[];
  readonly structuredContent: Record<string, unknown>;
  readonly isError: boolean;
}

export interface Caller {
  /** Of the server: its flags hold for every call. */
  readonly server: Call<object>;
  readonly permissions: Permissions;
  readonly modeldl: Modeldl;
  readonly signal: AbortSignal;
  readonly emit: Emit;
  /** Notes and warnings of this call, which `emit` was told. */
  readonly remarks: readonly string[];
}

/** Never throws: what goes wrong is an answer as well. */
export async function answer(
  tool: Tool,
  given: Readonly<Record<string, unknown>>,
  caller: Caller,
): Promise<Answer> {
  const { server, permissions, emit } = caller;
  const said: Said = { lines: [], document: {} };
  const output = recordingOutput(server.output, said, emit);
  let failure: ModeldlError | undefined;
  try {
    // It may have waited for its turn.
    throwIfAborted(caller.signal);
    const line = await readLine(tool, given, permissions, server.cli);
    await run(tool, line, caller, output);
  } catch (error) {
    failure = asModeldlError(error);
    reportErrors(output, [failure], [], 0);
  }
  const { verbose } = server.flags;
  // For the person, who reads what the client keeps of stderr.
  if (failure !== undefined && verbose > 0) reportErrors(server.output, [failure], [], verbose);
  return composed(tool, given, { ...said, remarks: caller.remarks }, server.output.secrets);
}

interface Said {
  lines: readonly string[];
  document: object;
}

async function run(tool: Tool, line: Line, caller: Caller, output: Output): Promise<void> {
  const { server, modeldl, signal } = caller;
  const { command }: { readonly command: CommandDefinition<object> } = await tool.load();
  await command.run({
    typed: [],
    arguments: line.arguments,
    flags: { ...globalFlags(server.flags), ...line.flags },
    output,
    cli: { ...server.cli, stdin: Readable.from([]), signal },
    interactive: false,
    open: () => Promise.resolve(modeldl),
    settle: () => undefined,
  });
}

/** What the server was started with and holds for every command; not what it allows agents. */
function globalFlags(flags: GlobalFlags): GlobalFlags {
  const { cacheDir, config, offline, preferOffline, refresh, maxWait, spaceCheck } = flags;
  return {
    ...(cacheDir === undefined ? {} : { cacheDir }),
    ...(config === undefined ? {} : { config }),
    ...(offline === undefined ? {} : { offline }),
    ...(preferOffline === undefined ? {} : { preferOffline }),
    ...(refresh === undefined ? {} : { refresh }),
    ...(maxWait === undefined ? {} : { maxWait }),
    spaceCheck,
    json: true,
    verbose: 0,
    progress: 'none',
    color: 'never',
    input: false,
  };
}

/** An output that prints nothing, and keeps what a command says. */
function recordingOutput({ stderr, secrets }: Output, said: Said, emit: Emit): Output {
  return {
    json: true,
    quiet: false,
    stderr,
    color: false,
    draws: false,
    columns: undefined,
    secrets,
    result(lines, document) {
      Object.assign(said, { lines, document });
    },
    note(message) {
      emit({ type: 'note', message });
    },
    warn(message) {
      emit({ type: 'warning', message });
    },
    fail: () => undefined,
  };
}

function composed(
  tool: Tool,
  given: Readonly<Record<string, unknown>>,
  said: Said & Pick<Caller, 'remarks'>,
  secrets: ReadonlySet<string>,
): Answer {
  const from = typeof given['from'] === 'number' ? given['from'] : 0;
  const redacted = redactDocument(said.document, secrets) as object;
  const { document, cut } = bounded(redacted, from);
  const lines = [
    ...resultLines(tool, said, document),
    ...said.remarks,
    ...errorLines(tool, document),
    ...cutLines(tool, cut),
  ];
  const text = boundedLines(lines.map((line) => oneLine(redactSecrets(line, secrets)))).join('\n');
  return {
    content: [{ type: 'text', text: text === '' ? 'Nothing' : text }],
    structuredContent: document,
    isError: document['ok'] !== true,
  };
}

/**
 * What comes from elsewhere stays on its line, and holds nothing that is not seen: names of models and files, licences and
 * messages of hubs are read by an agent.
 */
function oneLine(line: string): string {
  return asCodePoints(printable(line.replaceAll(/[\r\n\u2028\u2029]+/g, ' ')), /[\p{Cf}\p{Co}\p{Cs}]/gu);
}

/** As the command prints them; of what has a path more than that. */
function resultLines(
  tool: Tool,
  { lines }: Said,
  document: Readonly<Record<string, unknown>>,
): readonly string[] {
  if (tool.name === 'doctor') return checkLines(entriesOf(document, 'checks'));
  if (tool.name !== 'pull' && tool.name !== 'convert') return lines;
  const models = entriesOf(document, 'models');
  if (models.some(({ path }) => typeof path !== 'string')) return lines;
  return models.map(({ reference, path, output, bytes, files }) => {
    const many = Array.isArray(files) ? `, ${formatCount(files.length, 'file')}` : '';
    const copy = typeof output === 'string' ? `, copied to ${output}` : '';
    return `${String(reference)} is at ${String(path)} (${formatBytes(Number(bytes))}${many})${copy}`;
  });
}

type Entry = Partial<Readonly<Record<string, unknown>>>;

function entriesOf(document: Entry, key: string): readonly Entry[] {
  const list = document[key];
  return (Array.isArray(list) ? list : []) as readonly Entry[];
}

/** The command prints a table for people, and with `--json` no lines. Those that failed are errors. */
function checkLines(checks: readonly Entry[]): readonly string[] {
  return checks
    .filter(({ status }) => status !== 'failed')
    .flatMap(({ name, status, message, fix }) => [
      `${String(status)} ${String(name)}: ${String(message)}`,
      ...(typeof fix === 'string' ? [`fix: ${fix}`] : []),
    ]);
}

/** Each with what to do next, in words that hold for tools. */
function errorLines(tool: Tool, { errors }: Readonly<Record<string, unknown>>): readonly string[] {
  if (!Array.isArray(errors)) return [];
  return (errors as readonly Readonly<Record<string, unknown>>[]).flatMap((error) => {
    const { code, exitCode, message, hint, url, reference } = error;
    const about =
      typeof reference === 'string' && !String(message).includes(reference) ? ` (${reference})` : '';
    return [
      `error ${String(code)} (${String(exitCode)}): ${String(message)}${about}`,
      ...(typeof hint === 'string' ? [`hint: ${hint}`, ...optionLines(tool, hint)] : []),
      ...(typeof url === 'string' && !String(message).includes(url) ? [`see: ${url}`] : []),
    ];
  });
}

/** Hints are written for the command line: which options are arguments here, and which are the person's. */
function optionLines(tool: Tool, hint: string): readonly string[] {
  const options = new Set([...hint.matchAll(/(?<![\w-])--([a-z][a-z-]+)/g)].map(([, name = '']) => name));
  return [...options].flatMap((option) => {
    const name = option.replaceAll(/-([a-z])/g, (_dash, letter: string) => letter.toUpperCase());
    const argument =
      [name, `${name}s`].find((key) => key in tool.input.entries) ?? (option === 'set' ? 'settings' : '');
    if (argument in tool.input.entries) return [`\`--${option}\` is the argument \`${argument}\``];
    const own = tool.withheld[name];
    return own === undefined
      ? []
      : [`\`--${option}\` is for the person who starts the server, as \`modeldl mcp ${own}\`: ask them`];
  });
}

function cutLines(tool: Tool, cut: Bounded['cut']): readonly string[] {
  return cut.map(({ at, from, shown, total }) => {
    const next = from + shown;
    const rest =
      'from' in tool.input.entries
        ? next < total
          ? `: call again with \`from\` ${next} for the next`
          : ''
        : at.startsWith('models[')
          ? ': `show` has the rest, with `from`'
          : ': ask for less';
    return `Cut: ${shown} of ${total} of \`${at}\`, from ${from}${rest}`;
  });
}

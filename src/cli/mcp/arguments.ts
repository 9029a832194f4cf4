/** What a client hands to a tool: held to the schema that the tool names, and refused in words that lead on. */
import { resolve } from 'node:path';
import { closest, distance } from 'fastest-levenshtein';
import * as v from 'valibot';
import { isBelow } from '../../directories.js';
import { ModeldlError } from '../../errors.js';
import { shownName } from '../../paths.js';
import { atHome, type CliEnvironment } from '../command.js';
import type { Line, Permissions, Tool } from './tools.js';

/** Of a wrong value. */
const SHOWN_CHARACTERS = 200;

/** @throws ModeldlError USAGE */
export async function readLine(
  tool: Tool,
  given: Readonly<Record<string, unknown>>,
  { outputs }: Permissions,
  { cwd, home }: Pick<CliEnvironment, 'cwd' | 'home'>,
): Promise<Line> {
  const checked = v.safeParse(tool.input, given);
  if (!checked.success) throw wrongArgument(tool, checked.issues[0]);
  const { output } = checked.output;
  if (typeof output !== 'string') return tool.line(checked.output);
  const directory = resolve(cwd, atHome(output, home));
  await requireAllowed(directory, outputs);
  return tool.line({ ...checked.output, output: directory });
}

async function requireAllowed(directory: string, outputs: readonly string[]): Promise<void> {
  for (const allowed of outputs) {
    if (directory === allowed || (await isBelow(allowed, directory))) return;
  }
  throw new ModeldlError('USAGE', `Not a directory that may be written to: ${directory}`, {
    hint: `name one at or below ${outputs.join(' or ')}; others the person can allow who starts \`modeldl mcp --allow-output DIR\``,
    details: { file: directory },
  });
}

function wrongArgument(tool: Tool, issue: v.BaseIssue<unknown>): ModeldlError {
  const { name, withheld } = tool;
  const key = v.getDotPath(issue) ?? '';
  const [first = ''] = key.split('.');
  const names = Object.keys(tool.input.entries);
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const option = withheld[key];
    if (option !== undefined) return needsConsent(name, key, option);
    const nearest = names.length === 0 ? '' : closest(key, names);
    const isMeant = distance(key, nearest) <= Math.max(1, Math.floor(key.length / 3));
    const meant = isMeant ? `did you mean \`${nearest}\`; ` : '';
    return new ModeldlError('USAGE', `Unknown argument of \`${name}\`: ${shownName(key)}`, {
      hint: `${meant}its arguments: ${names.join(', ') || 'none'}`,
    });
  }
  if (issue.type === 'strict_object' && issue.received === 'undefined')
    return new ModeldlError('USAGE', `Missing argument of \`${name}\`: ${key}`, {
      hint: `its arguments: ${names.join(', ')}`,
    });
  // What a check expects it says itself.
  const expected = issue.type === 'array' ? 'a list' : (issue.expected ?? issue.message);
  const got = issue.received.slice(0, SHOWN_CHARACTERS);
  return new ModeldlError(
    'USAGE',
    `Wrong value for ${shownName(key)} of \`${name}\`: expected ${expected}, got ${got}`,
    {
      hint: `see the schema of \`${first}\` in the description of the tool`,
    },
  );
}

/** So that an agent asks the person in place of trying on. */
function needsConsent(tool: string, argument: string, option: string): ModeldlError {
  const value = option === '--allow-output' ? ' DIR' : '';
  return new ModeldlError('USAGE', `Not allowed here: \`${argument}\` of \`${tool}\``, {
    hint: `only the person who starts the server can allow it, as \`modeldl mcp ${option}${value}\`; leave it out, or ask them`,
  });
}

/** Asks for a model: a list that follows what is typed. */
import { styleText } from 'node:util';
import type { ListedModel } from '../../results.js';
import type { CliEnvironment } from '../command.js';
import { ask } from './ask.js';
import { createFinder, isClear, type Candidate, type Finder, type Found } from './find.js';
import { clipEnd, clipReference, displayWidth, oneLine } from './fit.js';
import type { Looking } from './looking.js';
import { columnsOf, listRows } from './screen.js';

/** Rows of a question around its list: the question itself, what is said about a model, and the keys. */
const AROUND = 8;
const MOST_ROWS = 12;
/** Left of a name: the pointer. */
const POINTER = 2;

export interface ModelQuestion {
  readonly message: string;
  /** Look for it at hubs too. */
  readonly hubs: boolean;
  /** Which stored models are offered. */
  readonly stored: readonly ListedModel[];
}

/** The answer, and whether it is one that people know or one that they found. */
export type ModelAnswer = Pick<Candidate, 'reference' | 'from'>;

/** Asks until a model is named. @throws ModeldlError INTERRUPTED */
export async function askModel(
  cli: CliEnvironment,
  { modeldl, shown }: Looking,
  { message, hubs, stored }: ModelQuestion,
): Promise<ModelAnswer> {
  const find = createFinder(modeldl, stored, { hubs, now: () => performance.now() });
  let asked = message;
  for (;;) {
    const answer = await askOnce(cli, find, asked);
    if (answer.reference === '') asked = 'Name a model (such as hf:org/name, ./model.onnx, https://…)';
    else if (answer.reference.startsWith('-')) asked = 'Name a model, not an option';
    else if (answer.from !== 'typed' || !hubs || answer.isShown || isReference(answer.reference))
      return answer;
    else {
      // Words, and Enter before hubs had answered.
      const found = await shown(() => find(answer.reference, cli.signal));
      return chooseFound(cli, answer.reference, found);
    }
  }
}

/** Written as only a reference is. */
function isReference(term: string): boolean {
  return isClear(term) || term.includes('/');
}

interface Answer extends ModelAnswer {
  /** It was chosen from what the term found, not typed ahead of that. */
  readonly isShown: boolean;
}

async function askOnce(cli: CliEnvironment, find: Finder, message: string): Promise<Answer> {
  const { search, Separator } = await import('@inquirer/prompts');
  const shown = { term: '', by: new Map<string, Candidate>() };
  const typed = { term: '', isAhead: false };
  const value = await ask(cli, (streams) =>
    search<Candidate | undefined>(
      {
        message,
        pageSize: listRows(cli.stderr, AROUND, MOST_ROWS),
        // Called when Enter is pressed, with what the list has then, which may be of an earlier term.
        validate: () => {
          typed.isAhead = typed.term !== shown.term;
          return true;
        },
        theme: {
          style: { answer: (text: string) => paintAnswer(typed.isAhead ? oneLine(typed.term) : text) },
        },
        source: async (input, { signal }) => {
          const term = (input ?? '').trim();
          typed.term = term;
          const about = shown.by.get(term)?.reference ?? term;
          const found = await find(about, signal);
          signal.throwIfAborted();
          const list = choices(cli, found);
          shown.term = term;
          shown.by = new Map(list.map(({ name, value: candidate }) => [name, candidate]));
          const nothing = {
            value: undefined,
            name: clipEnd('Type a name, reference, address or path', columnsOf(cli.stderr) - POINTER),
            short: '',
          };
          const remarks = found.remarks.map(
            (remark) => new Separator(clipEnd(remark, columnsOf(cli.stderr) - POINTER)),
          );
          // There is always something to choose: without, the library forgets an Enter.
          return [...(term === '' || list.length === 0 ? [nothing] : []), ...list, ...remarks];
        },
      },
      streams,
    ),
  );
  if (!typed.isAhead && value !== undefined) return { ...value, isShown: true };
  const completed = shown.by.get(typed.term);
  if (completed !== undefined) return { ...completed, isShown: true };
  return { reference: typed.term, from: 'typed', isShown: !typed.isAhead };
}

/** As every other question's answer; where there are no colours, the screen takes this one too. */
function paintAnswer(text: string): string {
  return styleText('cyan', text, { validateStream: false });
}

async function chooseFound(cli: CliEnvironment, term: string, found: Found): Promise<ModelAnswer> {
  const list = choices(cli, found);
  const [only] = list;
  if (list.length === 1 && only !== undefined) return only.value;
  const { select, Separator } = await import('@inquirer/prompts');
  const remarks = found.remarks.map((remark) => new Separator(remark));
  return ask(cli, (streams) =>
    select(
      {
        message: `Which one of ${oneLine(term)}`,
        pageSize: listRows(cli.stderr, AROUND, MOST_ROWS),
        choices: [...list, ...remarks],
      },
      streams,
    ),
  );
}

interface Choice {
  readonly value: Candidate;
  /** Complete by Tab, so nothing but a name. */
  readonly name: string;
  readonly short: string;
  readonly description: string;
}

function choices(cli: CliEnvironment, { candidates }: Found): readonly Choice[] {
  const room = Math.max(1, columnsOf(cli.stderr) - POINTER);
  return candidates.map((candidate) => {
    const reference = oneLine(candidate.reference);
    const isWhole = displayWidth(reference) <= room;
    return {
      value: candidate,
      name: clipReference(reference, room),
      short: reference,
      description: isWhole ? candidate.facts : `${reference}\n${candidate.facts}`,
    };
  });
}

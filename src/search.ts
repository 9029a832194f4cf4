/** Searching hubs: all at once, each with a time of its own, so that a slow one keeps nobody waiting. */
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import { format, hubContext, hubNamed, settingsContext, type Context } from './context.js';
import { PRECISIONS } from './converter.js';
import { ModeldlError, throwIfAborted } from './errors.js';
import type { Hub, HubContext, SearchFilter, SearchHit, SearchOrder, SearchQuery } from './hub.js';
import { askSources } from './mirrors/asking.js';
import { printable } from './redact.js';
import { parseReference, type Reference } from './reference.js';
import type { FoundModel, SearchResult } from './results.js';
import { within } from './within.js';

export const SEARCH_ORDERS = ['downloads', 'likes', 'updated'] as const satisfies readonly SearchOrder[];
export const SEARCH_DEFAULTS = { limit: 10, timeoutMs: 15_000 };
/** As many as a hub is asked for at most: two pages of Hugging Face's. */
const MOST = 1000;
/** More precisions of one model are those of nobody's weights. */
const MOST_PRECISIONS = 8;
/** They are not seen, and turn or hide what stands beside them. */
const INVISIBLE = /\p{Cf}/gu;

export interface SearchOptions {
  /** Names of hubs; without them all that can answer. */
  readonly hubs?: readonly string[];
  readonly task?: string;
  readonly precision?: string;
  readonly library?: string;
  readonly license?: string;
  readonly sort?: string;
  /** Models of each hub at most; default 10. */
  readonly limit?: number;
  /** For each hub, milliseconds; default 15,000. */
  readonly timeoutMs?: number;
  /** Ends this search alone, as the run's ends everything. */
  readonly signal?: AbortSignal;
}

/** Hubs may be anybody's: what they yield is checked. */
const text = v.optional(v.string());
const count = v.optional(v.pipe(v.number(), v.minValue(0)));
const hitSchema = v.object({
  reference: v.looseObject({ id: v.pipe(v.string(), v.nonEmpty()) }),
  ...{ task: text, library: text, license: text, scale: text, page: text },
  precisions: v.optional(v.array(v.string()), []),
  ...{ parameters: count, bytes: count, downloads: count, likes: count },
  updatedAt: v.optional(v.pipe(v.string(), v.isoTimestamp())),
  gated: v.optional(v.boolean()),
  private: v.optional(v.boolean()),
});

const abilitiesSchema = v.object({
  filters: v.optional(v.array(v.string()), []),
  orders: v.optional(v.array(v.string()), []),
  local: v.optional(v.boolean(), false),
  note: v.optional(v.string()),
});

/** Only words, where a hub says nothing or what cannot be understood. */
function abilitiesOf({ searches }: Hub): v.InferOutput<typeof abilitiesSchema> {
  const read = v.safeParse(abilitiesSchema, searches ?? {});
  return read.success ? read.output : v.parse(abilitiesSchema, {});
}

interface LeftOut {
  readonly hub: string;
  readonly reason: string;
}

interface Answer {
  readonly hub: Hub;
  readonly models: readonly FoundModel[];
  readonly more: boolean;
  /** The hub did not answer, or not to the end. */
  readonly error?: ModeldlError;
}

/**
 * Asks hubs at once. What a hub cannot answer is refused when it was named, and said when it was not.
 * @throws ModeldlError USAGE
 */
export async function search(
  run: Context,
  words: string,
  options: SearchOptions = {},
): Promise<SearchResult> {
  const { signal } = options;
  const context = signal === undefined ? run : { ...run, signal: AbortSignal.any([run.signal, signal]) };
  const query = readQuery(words, options);
  const { timeoutMs = SEARCH_DEFAULTS.timeoutMs } = options;
  if (timeoutMs <= 0) {
    throw new ModeldlError('USAGE', `Expected some time for --timeout, got ${timeoutMs / 1000} s`, {
      hint: 'for example `--timeout 15s`',
    });
  }
  const { asked, leftOut } = choose(context, query, options.hubs ?? []);
  const isNamed = (options.hubs ?? []).length > 0;
  const remote = asked.filter((hub) => !abilitiesOf(hub).local).map(({ name }) => name);
  if (remote.length > 0) context.emit({ type: 'stage', stage: 'Searching', detail: remote.join(', ') });
  const answers = await Promise.all(asked.map((hub) => ask(context, hub, query, timeoutMs)));
  throwIfAborted(context.signal);
  // What a hub makes of a text or a value only it can tell.
  const cannot = isNamed ? [] : answers.filter(({ error }) => error?.code === 'USAGE');
  const told = answers.filter((answer) => !cannot.includes(answer));
  const models = inOrder(withoutTwins(told), query.order);
  return {
    models,
    hubs: told
      .filter(({ error }) => error === undefined)
      .map(({ hub, more }) => ({
        hub: hub.name,
        models: models.filter((model) => model.hub === hub.name).length,
        more,
        note: line(abilitiesOf(hub).note),
      })),
    leftOut: [
      ...leftOut,
      ...cannot.map(({ hub, error }) => ({ hub: hub.name, reason: error?.message ?? '' })),
    ],
    errors: told.flatMap(({ hub, error }) => (error === undefined ? [] : [naming(hub, error)])),
  };
}

/** @throws ModeldlError USAGE */
function readQuery(words: string, options: SearchOptions): SearchQuery {
  const { task, precision, library, license, sort, limit = SEARCH_DEFAULTS.limit } = options;
  const order = oneOf(sort, SEARCH_ORDERS, '--sort');
  const kind = oneOf(precision?.toLowerCase(), PRECISIONS, '--precision');
  for (const [name, value] of Object.entries({ task, library, license })) {
    if (value?.trim() === '')
      throw new ModeldlError('USAGE', `The value of \`--${name}\` is empty`, {
        hint: 'give one, or leave the option out',
      });
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST) {
    throw new ModeldlError('USAGE', `Expected a number from 1 to ${MOST} for --limit, got ${limit}`, {
      hint: 'more words find fewer models',
    });
  }
  return {
    text: words.trim().replace(/\s+/g, ' '),
    ...(task === undefined ? {} : { task: task.trim().toLowerCase() }),
    ...(kind === undefined ? {} : { precision: kind }),
    ...(library === undefined ? {} : { library: library.trim() }),
    ...(license === undefined ? {} : { license: license.trim().toLowerCase() }),
    ...(order === undefined ? {} : { order }),
    limit,
  };
}

function oneOf<Value extends string>(
  value: string | undefined,
  values: readonly Value[],
  option: string,
): Value | undefined {
  const known = values.find((candidate) => candidate === value);
  if (value === undefined || known !== undefined) return known;
  throw new ModeldlError('USAGE', `Expected one of ${values.join(', ')} for ${option}, got ${value}`, {
    hint: `leave ${option} out for all`,
  });
}

/** Hubs to ask, in the order of the table or as they were named. @throws ModeldlError USAGE */
function choose(
  context: Context,
  query: SearchQuery,
  named: readonly string[],
): { readonly asked: readonly Hub[]; readonly leftOut: readonly LeftOut[] } {
  const searching = context.hubs.filter((hub) => hub.search !== undefined);
  if (named.length > 0) {
    const asked = [...new Set(named)].map((name) => hubNamed(context, name));
    for (const hub of asked) refuseUnanswerable(hub, query, searching);
    return { asked, leftOut: [] };
  }
  const candidates = searching.filter((hub) => isSomewhere(context, hub));
  const reasonFor = (hub: Hub): string | undefined => unanswerable(hub, query) ?? forbidden(context, hub);
  const asked = candidates.filter((hub) => reasonFor(hub) === undefined);
  const leftOut = candidates.flatMap((hub) => {
    const reason = reasonFor(hub);
    return reason === undefined ? [] : [{ hub: hub.name, reason }];
  });
  if (asked.length > 0) return { asked, leftOut };
  throw new ModeldlError('USAGE', 'No hub can answer that', {
    hint: leftOut.map(({ hub, reason }) => `${hub} ${reason}`).join('; '),
  });
}

/** What of a query a hub has no way to honour. */
function unanswerable(hub: Hub, query: SearchQuery): string | undefined {
  const { filters: honoured, orders } = abilitiesOf(hub);
  const filters = (
    ['task', 'precision', 'library', 'license'] as const satisfies readonly SearchFilter[]
  ).filter((filter) => query[filter] !== undefined && !honoured.includes(filter));
  const { order } = query;
  const wishes = filters.map((filter) => `filter by ${filter}`);
  if (order !== undefined && !orders.includes(order)) wishes.push(`sort by ${order}`);
  return wishes.length === 0 ? undefined : `cannot ${wishes.join(' or ')}`;
}

function refuseUnanswerable(hub: Hub, query: SearchQuery, searching: readonly Hub[]): void {
  const others = searching
    .filter((other) => other !== hub && unanswerable(other, query) === undefined)
    .map(({ name }) => name);
  const hint = others.length === 0 ? undefined : `hubs that can: ${others.join(', ')}`;
  if (hub.search === undefined)
    throw new ModeldlError('USAGE', `${hub.title} cannot be searched (${hub.name})`, {
      hint,
      details: { hub: hub.name },
    });
  const reason = unanswerable(hub, query);
  if (reason === undefined) return;
  throw new ModeldlError('USAGE', `The search of ${hub.title} ${reason} (${hub.name})`, {
    hint: hint ?? 'leave that out, or name another hub',
    details: { hub: hub.name },
  });
}

function forbidden({ freshness }: Context, hub: Hub): string | undefined {
  return freshness === 'offline' && !abilitiesOf(hub).local
    ? 'needs the network, which --offline forbids'
    : undefined;
}

/** Is its server known? One that everybody has an own of is nowhere until it is configured. */
function isSomewhere(context: Context, hub: Hub): boolean {
  if (hub.endpoint === undefined || abilitiesOf(hub).local) return true;
  try {
    return hub.endpoint(settingsContext(context, hub)) !== undefined;
  } catch {
    // What is wrong with it is told when it is asked.
    return true;
  }
}

/** Never throws but for bugs of its own: what goes wrong with one hub is no matter of the others. */
async function ask(context: Context, hub: Hub, query: SearchQuery, timeoutMs: number): Promise<Answer> {
  const models: FoundModel[] = [];
  const endsAt = performance.now() + timeoutMs;
  try {
    const late = (): ModeldlError => tooSlow(hub.title, timeoutMs);
    const more = await within(context.signal, timeoutMs, late, (signal) =>
      read({ ...context, signal }, hub, query, models, endsAt),
    );
    return { hub, models, more };
  } catch (error) {
    return { hub, models: [...models], more: false, error: failureOf(hub, error) };
  }
}

/** Mirrors are asked as they are for listings; one that does not answer leaves the others half of the time. */
async function read(
  context: Context,
  hub: Hub,
  query: SearchQuery,
  models: FoundModel[],
  endsAt: number,
): Promise<boolean> {
  if (abilitiesOf(hub).local) return readFrom(context, hub, query, models, await hubContext(context, hub));
  if (context.freshness === 'offline') throw offline(hub);
  const question = { text: `the search of ${hub.title}` };
  return askSources(context, hub, question, 'patient', {}, async (asking, name, isLast) => {
    models.length = 0;
    if (isLast) return readFrom(context, hub, query, models, asking);
    const half = Math.round((endsAt - performance.now()) / 2);
    const late = (): ModeldlError => tooSlow(name, half);
    return within(context.signal, half, late, (signal) =>
      readFrom({ ...context, signal }, hub, query, models, { ...asking, signal }),
    );
  });
}

/** Reads models until there are enough; are there more? */
async function readFrom(
  context: Context,
  hub: Hub,
  query: SearchQuery,
  models: FoundModel[],
  asking: HubContext,
): Promise<boolean> {
  if (hub.search === undefined) return false;
  const seen = new Set<string>();
  // One more tells whether there are more.
  const wanted = { ...query, limit: query.limit + 1 };
  for await (const hit of hub.search(wanted, asking)) {
    throwIfAborted(context.signal);
    const model = found(context, hub, hit);
    if (model === undefined || seen.has(model.reference)) continue;
    if (models.length === query.limit) return true;
    seen.add(model.reference);
    models.push(model);
  }
  return false;
}

/** Undefined for what no reference can be written for, or none that would be read as it. */
function found(context: Context, hub: Hub, hit: SearchHit): FoundModel | undefined {
  const checked = v.safeParse(hitSchema, hit);
  if (!checked.success) {
    const [issue] = checked.issues;
    throw new ModeldlError('INTERNAL', `${hub.title} finds what is no model: ${issue.message}`, {
      hint: `this is a bug of that hub: ${v.getDotPath(issue) ?? 'hit'}`,
    });
  }
  const named: Reference = { hub: hub.name, ...hit.reference };
  const reference = writable(context, named);
  if (reference === undefined) return undefined;
  const { task, library, license, precisions, scale, page, ...facts } = checked.output;
  return {
    reference,
    hub: hub.name,
    id: named.id,
    task: line(task),
    library: line(library),
    license: line(license),
    precisions: precisions.slice(0, MOST_PRECISIONS).flatMap((precision) => line(precision) ?? []),
    scale: line(scale),
    parameters: facts.parameters ?? null,
    bytes: facts.bytes ?? null,
    downloads: facts.downloads ?? null,
    likes: facts.likes ?? null,
    updatedAt: facts.updatedAt ?? null,
    gated: facts.gated ?? null,
    private: facts.private ?? null,
    page: line(page),
  };
}

function writable(context: Context, named: Reference): string | undefined {
  const { cwd, home, syntaxes } = context;
  try {
    const reference = format(context, named);
    const isPrintable = printable(reference) === reference && !/[\s\p{Cf}]/u.test(reference);
    const read = parseReference(reference, syntaxes, { cwd, home });
    return isPrintable && isDeepStrictEqual(read, named) ? reference : undefined;
  } catch (error) {
    if (error instanceof ModeldlError) return undefined;
    throw error;
  }
}

/** Others' words: one line, and not without end. */
function line(words: string | undefined): string | null {
  const clean = printable((words ?? '').replace(INVISIBLE, '').replace(/\s+/g, ' ').trim()).slice(0, 200);
  return clean === '' ? null : clean;
}

/** Models that a hub shares with one that it serves are that one's: `openvino:x` rather than `hf:OpenVINO/x`. */
function withoutTwins(answers: readonly Answer[]): readonly FoundModel[] {
  const served = answers.filter(({ hub }) => hub.servedBy !== undefined);
  return answers.flatMap(({ hub, models }) => {
    const pages = new Set(
      served
        .filter((other) => other.hub.servedBy === hub.name)
        .flatMap((other) => other.models.flatMap(({ page }) => page ?? [])),
    );
    return models.filter(({ page }) => page === null || !pages.has(page));
  });
}

/** Hub by hub, each in its own order; or all by what was asked for, most first, and by reference where that is alike. */
function inOrder(models: readonly FoundModel[], order: SearchOrder | undefined): readonly FoundModel[] {
  if (order === undefined) return models;
  const value = ({ downloads, likes, updatedAt }: FoundModel): number =>
    ({ downloads, likes, updated: updatedAt === null ? null : Date.parse(updatedAt) })[order] ?? -1;
  return [...models].sort((a, b) => value(b) - value(a) || (a.reference < b.reference ? -1 : 1));
}

function tooSlow(who: string, timeoutMs: number): ModeldlError {
  return new ModeldlError('NETWORK', `${who} did not answer within ${timeoutMs / 1000} s`, {
    hint: 'try again, or give it longer with `--timeout`',
  });
}

function offline(hub: Hub): ModeldlError {
  return new ModeldlError('NETWORK', `Not asked, since --offline forbids it: ${hub.title}`, {
    hint: 'run without `--offline`',
    details: { hub: hub.name },
  });
}

function failureOf(hub: Hub, error: unknown): ModeldlError {
  if (error instanceof ModeldlError) return error.with({ hub: hub.name });
  const message = error instanceof Error ? error.message : String(error);
  return new ModeldlError('INTERNAL', `Unexpected: ${message}`, {
    hint: 'this is a bug of it: please report it with the output of `--verbose`',
    cause: error,
    details: { hub: hub.name },
  });
}

/** Several hubs may be at one server, and say the same. */
function naming({ name }: Hub, { code, message, hint, cause, details }: ModeldlError): ModeldlError {
  return new ModeldlError(code, `${name}: ${message}`, { hint, cause, details });
}

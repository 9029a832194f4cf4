/** The Modelfile of a pulled model, by which `ollama create` makes it again from the files beside it. Pure. */
import * as v from 'valibot';
import { parseJson } from '../../src/json.js';
import { type Configuration, type PlacedLayer } from './manifest.js';

const paramsSchema = v.record(v.string(), v.unknown());
const messagesSchema = v.array(v.looseObject({ role: v.string(), content: v.optional(v.string(), '') }));

/** A layer with its text, where that was read. */
export interface ReadLayer extends PlacedLayer {
  readonly text?: string;
}

/** Commands in the order in which `ollama show --modelfile` has them. */
export function writeModelfile(layers: readonly ReadLayer[], about: Configuration): string {
  const of = (...kinds: readonly string[]): readonly ReadLayer[] =>
    layers.filter(({ kind }) => kinds.includes(kind));
  const hasTensors = of('tensor').length > 0;
  const weights = of('model').map(({ path }) => `FROM ./${path}`);
  return [
    ...(weights.length === 0 && hasTensors ? ['FROM .'] : weights),
    ...of('adapter').map(({ path }) => `ADAPTER ./${path}`),
    ...of('draft').map(({ path }) => `DRAFT ./${path}`),
    ...of('projector').map(({ path }) => `FROM ./${path}`),
    ...of('template', 'prompt').map((layer) => command('TEMPLATE', layer)),
    ...of('system').map((layer) => command('SYSTEM', layer)),
    ...setting('RENDERER', about.renderer),
    ...setting('PARSER', about.parser),
    ...setting('REQUIRES', about.requires),
    ...of('params').flatMap(parameters),
    ...of('license').map((layer) => command('LICENSE', layer)),
    ...of('messages').flatMap(messages),
    '',
  ].join('\n');
}

function command(name: string, { text, path }: ReadLayer): string {
  const value = text === undefined ? undefined : quoted(text);
  return value === undefined ? `# ${name} is in ./${path}` : `${name} ${value}`;
}

function setting(name: string, value: string | null | undefined): readonly string[] {
  return value == null || !/^[\w.-]+$/.test(value) ? [] : [`${name} ${value}`];
}

function parameters({ text, path }: ReadLayer): readonly string[] {
  const read = parseJson(text ?? '');
  const params = v.safeParse(paramsSchema, read);
  // A list is a record by the numbers of its items.
  if (!params.success || Array.isArray(read)) return [`# PARAMETER is in ./${path}`];
  return Object.entries(params.output).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one: unknown) => {
      const written = /^\w+$/.test(name) && isScalar(one) ? quoted(String(one)) : undefined;
      return written === undefined
        ? `# PARAMETER ${JSON.stringify(name)} is in ./${path}`
        : `PARAMETER ${name} ${written}`;
    }),
  );
}

function isScalar(value: unknown): value is string | number | boolean {
  return ['string', 'number', 'boolean'].includes(typeof value);
}

function messages({ text, path }: ReadLayer): readonly string[] {
  const read = v.safeParse(messagesSchema, parseJson(text ?? ''));
  if (!read.success) return [`# MESSAGE is in ./${path}`];
  return read.output.map(({ role, content }) => {
    const written = quoted(content);
    const isRole = ['system', 'user', 'assistant'].includes(role);
    return written === undefined || !isRole ? `# MESSAGE is in ./${path}` : `MESSAGE ${role} ${written}`;
  });
}

/** What Ollama's parser leaves out of every text, quoted or not: what Go does not print (strconv.IsPrint). */
const LEFT_OUT = /(?![\t\n\r ])[\p{C}\p{Z}]/u;

/**
 * As Ollama's parser (parser/parser.go) reads it back: in three quotes what has lines, edges or a quote in front. Three
 * quotes inside them would end it. What it would not read as it is stands only in its own file.
 */
function quoted(text: string): string | undefined {
  if (LEFT_OUT.test(text)) return undefined;
  if (!/^$|^[\s"]|\s$|[\n\r]/.test(text)) return text;
  return text.includes('"""') ? undefined : `"""${text}"""`;
}

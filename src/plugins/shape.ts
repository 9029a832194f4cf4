/** What the values of a plugin have to look like: plugins are JavaScript, which nobody may have checked against the types. */
import * as v from 'valibot';
import { PRECISIONS, type CheckReport, type ConversionPlan, type ConversionReport } from '../converter.js';
import type { Converter, Refusal } from '../converter.js';
import { checkReport, conversionRecipe } from '../converter.js';
import type { Hub, Snapshot } from '../hub.js';
import type { ReferenceParts } from '../reference.js';

const text = v.pipe(v.string(), v.nonEmpty('a text that is not empty'));
const call = v.function();
const name = v.pipe(
  v.string(),
  v.regex(/^[a-z][a-z0-9-]*$/, 'lower-case letters, digits and hyphens, a letter first'),
);

const setting = v.looseObject({
  description: text,
  type: v.picklist(['string', 'boolean', 'number', 'string[]']),
  trust: v.optional(v.boolean()),
  environment: v.optional(v.array(text)),
});

const hub = v.looseObject({
  name,
  title: text,
  syntax: v.looseObject({
    hub: name,
    schemes: v.pipe(v.array(name), v.nonEmpty('a scheme')),
    bareNames: v.optional(v.literal(false)),
    paths: v.optional(v.literal(false)),
    unpacks: v.optional(v.boolean()),
    parse: v.optional(call),
    format: v.optional(call),
    fromWebAddress: v.optional(call),
  }),
  settings: v.optional(v.record(v.pipe(v.string(), v.regex(/^\w+$/, 'letters and digits')), setting)),
  credentials: v.optional(
    v.looseObject({
      environment: v.array(text),
      files: v.optional(call),
      endpoint: call,
      headers: v.optional(call),
      page: v.optional(text),
      whoami: call,
    }),
  ),
  loginHint: v.optional(text),
  namesFiles: v.optional(v.boolean()),
  pinsByDigest: v.optional(v.boolean()),
  replacesFiles: v.optional(v.boolean()),
  endpoint: v.optional(call),
  addressOf: v.optional(call),
  allow: v.optional(call),
  authorize: v.optional(call),
  answerChallenge: v.optional(call),
  network: v.optional(call),
  resolve: call,
  checkAccess: v.optional(call),
  push: v.optional(call),
  mayMean: v.optional(call),
  checkTarget: v.optional(call),
  search: v.optional(call),
  searches: v.optional(
    v.looseObject({
      filters: v.array(v.picklist(['task', 'precision', 'library', 'license'])),
      orders: v.array(v.picklist(['downloads', 'likes', 'updated'])),
      local: v.optional(v.boolean()),
      note: v.optional(text),
    }),
  ),
  repository: v.optional(call),
  prebuilt: v.optional(v.looseObject({ ids: call, exists: call })),
});

const converter = v.looseObject({
  name,
  accepts: text,
  makes: text,
  toolchains: v.pipe(v.array(text), v.nonEmpty('the name of a toolchain')),
  settings: v.record(v.string(), v.string()),
  plan: call,
  run: call,
  check: call,
});

const parts = v.looseObject({
  id: text,
  revision: v.optional(text),
  subpath: v.optional(text),
  sha256: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, '64 hex digits'))),
  query: v.optional(v.string()),
});

const file = v.looseObject({
  path: v.string(),
  size: v.optional(v.pipe(v.number(), v.safeInteger('whole bytes'), v.minValue(0, 'whole bytes'))),
  digest: v.optional(
    v.looseObject({
      algorithm: v.picklist(['sha256', 'sha512', 'sha384', 'sha1', 'git-sha1']),
      hex: v.string(),
    }),
  ),
  url: v.pipe(
    v.string(),
    v.regex(/^(https?|file|data):/, 'an https, http, file or data address'),
    v.regex(/^(?!data:)|^data:[^,]*;base64,[\w+/=]*$/, 'a data address in base64'),
    v.url(),
  ),
  query: v.optional(v.string()),
  maxBytes: v.optional(v.number()),
  unpack: v.optional(
    v.looseObject({
      format: v.picklist(['tar', 'tar.gz', 'tar.xz', 'tar.zst', 'zip']),
      strip: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
      into: v.optional(v.string()),
    }),
  ),
});

const snapshot = v.looseObject({
  hub: text,
  id: text,
  revision: v.optional(text),
  validator: v.optional(text),
  files: v.array(file),
  metadata: v.looseObject({
    license: v.optional(v.string()),
    gated: v.optional(v.boolean()),
    task: v.optional(v.string()),
    library: v.optional(v.string()),
    page: v.optional(v.string()),
    recipe: v.optional(conversionRecipe),
  }),
});

const texts = v.array(v.string());
const bytes = v.pipe(v.number(), v.minValue(0));

const planned = v.union([
  v.looseObject({ refused: text, hint: v.optional(v.string()), handlesModel: v.boolean() }),
  v.looseObject({
    converter: text,
    toolchain: text,
    reads: v.pipe(texts, v.nonEmpty('the files that it reads')),
    precision: v.picklist(PRECISIONS),
    device: text,
    task: v.optional(v.string()),
    settings: v.record(v.string(), v.unknown()),
    steps: texts,
    adjustments: texts,
    estimate: v.looseObject({ diskBytes: bytes, resultBytes: bytes, memoryBytes: bytes }),
    consent: v.optional(texts),
  }),
]);

const report = v.looseObject({
  versions: v.record(v.string(), v.string()),
  warnings: texts,
  check: v.optional(checkReport),
});

/** What is wrong with a value, by the place of the first thing that is: `resolve: expected a function, got a text`. */
function problem(schema: v.GenericSchema, value: unknown): string | undefined {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return undefined;
  const [issue] = result.issues;
  const place = v.getDotPath(issue);
  if (issue.input === undefined && place !== null) return `\`${place}\` is missing`;
  const expected = issue.kind === 'validation' ? issue.message : (issue.expected ?? 'something else');
  return `${place === null ? 'it' : `\`${place}\``} should be ${named(expected)}, and is ${shown(issue.input)}`;
}

function named(expected: string): string {
  const words: Readonly<Record<string, string>> = {
    Function: 'a function',
    Object: 'an object',
    Array: 'a list',
    string: 'a text',
    number: 'a number',
    boolean: '`true` or `false`',
    '(Object | Object)': 'a plan or a refusal with all that belongs to it',
  };
  return words[expected] ?? expected;
}

/** Longest value that is repeated. */
const SHOWN = 60;

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value).slice(0, SHOWN);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (value === null) return '`null`';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'function') return 'a function';
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : typeof value;
}

/** Each says what is wrong with a value, or that it is one. */
function checkOf<Value>(schema: v.GenericSchema): (value: unknown) => Checked<Value> {
  return (value) => {
    const wrong = problem(schema, value);
    // The schema is the part of the type that others rely on; the type itself cannot be looked at.
    return wrong === undefined ? { value: value as Value } : { wrong };
  };
}

export type Checked<Value> = { readonly value: Value } | { readonly wrong: string };

export const asHub = checkOf<Hub>(hub);
export const asConverter = checkOf<Converter>(converter);
export const asReferenceParts = checkOf<ReferenceParts>(parts);
export const asSnapshot = checkOf<Snapshot>(snapshot);
export const asPlanned = checkOf<ConversionPlan | Refusal>(planned);
export const asReport = checkOf<ConversionReport>(report);
export const asCheckReport = checkOf<CheckReport>(checkReport);
export const asText = checkOf<string>(v.string());
export const asAddress = checkOf<string | undefined>(
  v.optional(v.pipe(v.string(), v.regex(/^https?:/, 'an https or http address'), v.url())),
);

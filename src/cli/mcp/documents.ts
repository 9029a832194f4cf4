/**
 * What tools answer: the documents of `--json`, as schemas that clients are given. Each is held to the type that the
 * operation returns, so that it cannot fall behind.
 */
import * as v from 'valibot';
import {
  DOCTOR_TOPICS,
  type ConvertedModel,
  type ConverterState,
  type ConvertPlan,
  type DoctorCheck,
  type FoundModel,
  type HubState,
  type ListedModel,
  type PulledModel,
  type PullPlan,
  type RuntimeState,
  type ShownModel,
} from '../../results.js';

const text = v.string();
const textOrNull = v.nullable(v.string());
const number = v.number();
const numberOrNull = v.nullable(v.number());
const flag = v.boolean();
const flagOrNull = v.nullable(v.boolean());
const texts = v.array(v.string());
const textsByName = v.record(v.string(), v.string());
/** Told as the operation tells it, for whoever knows its type. */
const facts = v.looseObject({});

const leftOut = v.array(v.object({ path: text, bytes: v.exactOptional(number) }));

const pulled = v.object({
  ...{ reference: text, requested: text, hub: text, id: text, revision: text, path: text },
  output: textOrNull,
  ...{ bytes: number, downloadedBytes: number, adoptedBytes: number, cached: flag, stale: flag },
  license: textOrNull,
  files: v.array(v.object({ path: text, bytes: number, sha256: text })),
  leftOut,
}) satisfies v.GenericSchema<Plain<PulledModel>>;

const pullPlan = v.object({
  ...{ reference: text, requested: text, hub: text, id: text, revision: textOrNull },
  files: v.array(v.object({ path: text, bytes: numberOrNull, stored: flag, elsewhere: flag })),
  leftOut,
  ...{ bytes: number, downloadBytes: number, adoptBytes: number, archive: flag },
}) satisfies v.GenericSchema<Plain<PullPlan>>;

const layout = v.nullable(
  v.object({
    ...{ kind: v.picklist(['ovms', 'model-download']), name: text, task: text, ovmsVersion: text },
    ...{ directory: text, files: text, graph: textOrNull, config: textOrNull },
  }),
);

const converted = v.object({
  ...pulled.entries,
  origin: v.object({ reference: text, revision: textOrNull }),
  ...{ converter: textOrNull, precision: text, device: text, task: textOrNull },
  toolchain: v.nullable(v.object({ name: text, versions: textsByName })),
  ...{ key: textOrNull, seconds: number },
  check: v.nullable(facts),
  prebuilt: v.nullable(v.object({ reference: text, confirmed: flag })),
  layout,
}) satisfies v.GenericSchema<Plain<Omit<ConvertedModel, 'check'>>>;

const plannedToolchain = v.nullable(
  v.object({ name: text, state: text, downloadBytes: number, installedBytes: number }),
);
const estimate = v.object({ diskBytes: number, resultBytes: number, memoryBytes: number });
const published = v.nullable(v.object({ reference: text, taken: flag }));

const convertPlan = v.object({
  ...{ reference: text, converter: textOrNull, precision: text, device: text, task: textOrNull },
  toolchain: plannedToolchain,
  ...{ steps: texts, adjustments: texts, settings: facts },
  ...{ key: textOrNull, stored: flag, downloadBytes: number, estimate, prebuilt: published, layout },
}) satisfies v.GenericSchema<Plain<ConvertPlan>>;

const listed = v.object({
  ...{
    reference: text,
    kind: v.picklist(['pulled', 'converted']),
    precision: textOrNull,
    device: textOrNull,
  },
  ...{ path: text, cache: text, bytes: number, pulledAt: text, lastUsedAt: textOrNull },
}) satisfies v.GenericSchema<Plain<ListedModel>>;

const found = v.object({
  ...{ reference: text, hub: text, id: text, task: textOrNull, library: textOrNull, license: textOrNull },
  ...{ precisions: texts, scale: textOrNull, parameters: numberOrNull, bytes: numberOrNull },
  ...{ downloads: numberOrNull, likes: numberOrNull, updatedAt: textOrNull },
  ...{ gated: flagOrNull, private: flagOrNull, page: textOrNull },
}) satisfies v.GenericSchema<Plain<FoundModel>>;

const ports = v.array(
  v.object({ file: text, name: text, type: text, shape: v.array(v.union([number, text])) }),
);

const shown = v.object({
  ...{ reference: text, hub: text, id: text, revision: text, path: textOrNull, cache: textOrNull },
  ...{ kind: v.picklist(['pulled', 'converted', 'remote']), bytes: number, license: textOrNull },
  ...{ gated: flagOrNull, task: textOrNull, page: textOrNull, recipe: v.nullable(facts) },
  files: v.array(v.object({ path: text, bytes: numberOrNull, sha256: textOrNull })),
  ...{ pickles: texts, leftOut, conversions: v.array(listed) },
  ...{ precision: textOrNull, device: textOrNull, converter: textOrNull, settings: textsByName },
  ...{ pulledAt: textOrNull, check: v.nullable(facts), inputs: ports, outputs: ports },
  weights: v.array(v.object({ file: text, type: text, bytes: number })),
  access: v.nullable(v.picklist(['open', 'granted', 'refused'])),
  formats: v.array(v.object({ format: text, quantization: textOrNull, files: number, bytes: number })),
  headers: v.array(
    v.object({
      ...{ file: text, files: number, format: v.picklist(['safetensors', 'gguf', 'onnx', 'openvino']) },
      ...{ architecture: textOrNull, parameters: numberOrNull },
      types: v.array(v.object({ type: text, bytes: number })),
      ...{ quantization: textOrNull, contextLength: numberOrNull, tokenizer: textOrNull },
      ...{ producer: textOrNull, opsets: v.record(v.string(), v.number()), unread: textOrNull },
    }),
  ),
  outlook: v.array(
    v.object({
      ...{ device: text, precision: text, converter: textOrNull, toolchain: plannedToolchain },
      ...{ stored: flag, downloadBytes: number, estimate: v.nullable(estimate), adjustments: texts },
      ...{ prebuilt: published, warnings: texts },
      refused: v.nullable(v.object({ message: text, hint: textOrNull })),
    }),
  ),
  ...{ unread: texts, fetchedBytes: number },
}) satisfies v.GenericSchema<Plain<Omit<ShownModel, 'recipe' | 'check'>>>;

const mirror = v.object({ address: text, reachable: flagOrNull, problem: textOrNull });
const hub = v.object({
  ...{ name: text, title: text, endpoint: textOrNull, credentials: textOrNull, takesCredentials: flag },
  ...{ reachable: flagOrNull, problem: textOrNull, mirrors: v.array(mirror) },
}) satisfies v.GenericSchema<Plain<HubState>>;

const converter = v.object({
  ...{ name: text, accepts: text, makes: text, toolchain: text, toolchains: texts, settings: textsByName },
  ...{ ready: flag, reason: textOrNull },
}) satisfies v.GenericSchema<Plain<ConverterState>>;

const runtime = v.object({
  ...{ name: text, version: textOrNull, usable: flag, reason: textOrNull },
}) satisfies v.GenericSchema<Plain<RuntimeState>>;

const check = v.object({
  ...{ name: text, topic: v.picklist(DOCTOR_TOPICS) },
  status: v.picklist(['ok', 'warning', 'failed', 'skipped']),
  ...{ message: text, fix: textOrNull, ms: number, facts },
}) satisfies v.GenericSchema<Plain<DoctorCheck>>;

/** Schemas tell nothing of `readonly`. */
type Plain<Value> = Value extends readonly (infer Item)[]
  ? Plain<Item>[]
  : Value extends object
    ? { -readonly [Key in keyof Value]: Plain<Value[Key]> }
    : Value;

const failure = v.looseObject({
  ...{ code: text, exitCode: number, message: text },
  ...{ hint: v.exactOptional(text), reference: v.exactOptional(text), url: v.exactOptional(text) },
});

/** A list that was longer than an answer may be. */
const cutList = v.object({
  at: v.pipe(text, v.description('Where in this document, such as `models[0].files`')),
  ...{ from: number, shown: number },
  total: v.pipe(number, v.description('Entries, or characters of a text')),
});
export type Cut = v.InferOutput<typeof cutList>;

/** Keys of every answer, failures included. */
const common = {
  ok: flag,
  error: v.exactOptional(v.pipe(failure, v.description('The first of `errors`'))),
  errors: v.exactOptional(v.array(failure)),
  cut: v.exactOptional(v.pipe(v.array(cutList), v.description('What was left out of this answer'))),
};

/** Lists that a failure may lack are optional: an answer with an error is held to its schema too. */
const answers = {
  pull: v.looseObject({ ...common, models: v.array(v.union([pulled, pullPlan])) }),
  convert: v.looseObject({ ...common, models: v.array(v.union([converted, convertPlan])) }),
  list: v.looseObject({
    ...{ ...common, models: v.array(listed) },
    totals: v.exactOptional(v.object({ models: number, bytes: number, physicalBytes: number })),
  }),
  show: v.looseObject({ ...common, models: v.array(shown) }),
  path: v.looseObject({ ...common, reference: v.exactOptional(text), path: v.exactOptional(text) }),
  search: v.looseObject({
    ...{ ...common, models: v.array(found) },
    hubs: v.exactOptional(v.array(v.object({ hub: text, models: number, more: flag, note: textOrNull }))),
    leftOut: v.exactOptional(v.array(v.object({ hub: text, reason: text }))),
    failures: v.exactOptional(v.array(failure)),
  }),
  hubs: v.looseObject({ ...common, hubs: v.exactOptional(v.array(hub)) }),
  converters: v.looseObject({
    ...{ ...common, converters: v.exactOptional(v.array(converter)) },
    runtimes: v.exactOptional(v.array(runtime)),
  }),
  doctor: v.looseObject({
    ...{ ...common, checks: v.exactOptional(v.array(check)) },
    counts: v.exactOptional(v.record(v.string(), number)),
  }),
};

export type ToolName = keyof typeof answers;

export function answerSchema(name: ToolName): v.GenericSchema<Record<string, unknown>> {
  return answers[name];
}

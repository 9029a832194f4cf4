/** Which precision runs on which device, and why not. Pure; each row says where it comes from. */
import type { Precision } from '../src/converter.js';

export interface Verdict {
  readonly allowed: boolean;
  readonly reason?: string;
  /** The nearest thing that works. */
  readonly instead?: string;
}

interface Rule {
  readonly device: string;
  readonly precisions: readonly Precision[];
  readonly reason: string;
  readonly instead: string;
  /** Where the rule was read, with the versions it holds for. */
  readonly source: string;
}

/** For plain models (ONNX, TensorFlow Lite, IR); generative tasks have rows of their own in the `optimum` converter. */
const RULES: readonly Rule[] = [
  {
    device: 'NPU',
    precisions: ['fp32', 'fp16', 'int8'],
    reason: 'the NPU runs vision and audio models in fp32, fp16 and int8 only',
    instead: '--precision int8',
    source: 'OpenVINO 2026.4 documentation, NPU device, supported precisions',
  },
];

/** Devices that a request names: HETERO lists several. */
export function devicesOf(device: string): readonly string[] {
  return device
    .replace(/^HETERO:/, '')
    .split(',')
    .map((name) => name.replace(/\.\d+$/, ''));
}

export function judge(precision: Precision, device: string): Verdict {
  for (const name of devicesOf(device)) {
    const rule = RULES.find((candidate) => candidate.device === name);
    if (rule === undefined || rule.precisions.includes(precision)) continue;
    return { allowed: false, reason: `${precision} on ${name}: ${rule.reason}`, instead: rule.instead };
  }
  return { allowed: true };
}

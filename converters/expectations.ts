/** What is expected of a result's outputs beside the original's, by precision. Pure. */
import type { CheckReport, Precision } from '../src/converter.js';

/** What is expected goes by the precision, and by whether activations are rounded as well. */
export type Expected = Precision | 'calibrated int8';

interface Expectation {
  /** Lowest cosine to the original's output that is expected; absent where only the difference counts. */
  readonly cosine?: number;
  /** Largest difference that is expected, in the output's scale; reaching either is enough. */
  readonly difference: number;
  /** Beyond both of these it is another model: a failure. Absent where a result is recorded, whatever it is. */
  readonly wrong?: { readonly cosine: number; readonly difference: number };
}

/**
 * The expectations are the design's (conversion.md). One of them missed is no proof of a fault: the inputs are random,
 * and a detector answers noise with next to nothing, whose direction is rounding. Seen with onnxruntime 1.30 and OpenVINO
 * 2026.4 on two seeds each: PP-OCRv4 detection fp32 cosine 0.955 at a difference of 5e-8, fp16 0.9976 at 3e-7, int8
 * 0.776 to 0.974 at 0.018 to 0.12; magika fp16 0.99987 at 0.006. So they warn, and what fails is far from all of these.
 */
const LOW_BIT: Expectation = { cosine: 0.9, difference: 1e-3 };
const EXPECTATIONS: Readonly<Record<Expected, Expectation>> = {
  fp32: { difference: 1e-4, wrong: { cosine: 0.99, difference: 0.01 } },
  fp16: { cosine: 0.9999, difference: 1e-3, wrong: { cosine: 0.99, difference: 0.05 } },
  int8: { cosine: 0.99, difference: 1e-3, wrong: { cosine: 0.7, difference: 0.25 } },
  // Activations are rounded as well, in every layer, so that no number tells a poor result from a wrong one: YOLO 11 with
  // random weights came to a cosine of 0.34 for mask coefficients.
  'calibrated int8': { cosine: 0.99, difference: 1e-3 },
  int4: LOW_BIT,
  nf4: LOW_BIT,
  mxfp4: LOW_BIT,
  cb4: LOW_BIT,
};

/** The report with a verdict on outputs that were compared: failed when wrong, a warning for each that falls short. */
export function judgeCheck(precision: Expected, report: CheckReport): CheckReport {
  if (!report.compared || !report.passed) return report;
  const { wrong, ...expected } = EXPECTATIONS[precision];
  const warnings = [...report.warnings];
  for (const output of report.outputs) {
    const { name, cosine, maxDifference, magnitude, type } = output;
    // Labels and counts are no quantities: the neighbour of the right one is as wrong as any.
    if (cosine === undefined || maxDifference === undefined || !type.startsWith('float')) continue;
    const difference = maxDifference / Math.max(1, magnitude ?? 1);
    const seen = `output ${name} has cosine ${round(cosine)} and largest difference ${round(maxDifference)}`;
    if (wrong !== undefined && cosine < wrong.cosine && difference > wrong.difference) {
      return { ...report, warnings, passed: false, reason: `${seen}, which is far from the original's` };
    }
    if (difference <= expected.difference) continue;
    if (expected.cosine === undefined) {
      warnings.push(`${seen}; expected of ${precision} is a difference of at most ${expected.difference}`);
    } else if (cosine < expected.cosine) {
      warnings.push(
        `${seen}; expected of ${precision} is a cosine of at least ${expected.cosine}${advice(precision)}`,
      );
    }
  }
  return { ...report, warnings };
}

/** What a user can do about a result that falls short: on random inputs, or where it is calibrated on one of its samples. */
function advice(precision: Expected): string {
  if (precision === 'calibrated int8') {
    return '; more and more typical calibration data may help, or `--precision fp16`';
  }
  const closer = precision === 'fp16' ? 'fp32' : precision === 'int8' ? 'fp16' : 'int8';
  return `; the inputs were random, so try it on real ones, or convert with \`--precision ${closer}\``;
}

/** Four significant digits, all nines kept: 0.99987 stays below 0.9999. */
function round(value: number): string {
  return value > 0.999 && value < 1 ? value.toFixed(6) : String(Number(value.toPrecision(4)));
}

import { describe, expect, it } from 'vitest';
import { unsupportedOperations } from '../../converters/worker.js';

describe('unsupportedOperations', () => {
  it('names the operations of an ONNX model that OpenVINO 2026.4 refuses, each once', () => {
    // As it said of silero_vad_v5.onnx.
    const message = [
      "Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:",
      '-- Conv-16 with a message:',
      "While validating ONNX node '<Node(Conv): If_0_then_branch>': Check failed",
      '',
      'Summary:',
      '-- Conversion is failed for: Conv-16, ReduceMean-16',
    ].join('\n');
    expect(unsupportedOperations(message)).toEqual(['Conv', 'ReduceMean']);
  });

  it('finds none in other failures', () => {
    expect(unsupportedOperations('No such file or directory')).toEqual([]);
  });
});

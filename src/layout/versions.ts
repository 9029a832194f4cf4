/** Versions of the OpenVINO Model Server (OVMS), and in what the graphs that each reads differ. Pure. */
import { ModeldlError } from '../errors.js';

/** Oldest first. */
export const OVMS_VERSIONS = ['2025.4.1', '2026.0', '2026.1', '2026.2', '2026.3'] as const;
export type OvmsVersion = (typeof OVMS_VERSIONS)[number];

/** What `export_model.py` of a version writes, and which values the server of that version knows. */
export interface Dialect {
  readonly version: OvmsVersion;
  /** The graph begins with a comment that sizes the queue. */
  readonly queueComment: boolean;
  /** Text generation has a side packet of execution contexts. */
  readonly executionContexts: boolean;
  /** The NPU's properties stand in `DEVICE_PROPERTIES`, and HETERO needs no pipeline type. */
  readonly deviceProperties: boolean;
  readonly prefixCaching: boolean;
  /** GB. */
  readonly cacheSize: number;
  readonly kokoro: boolean;
  readonly toolParsers: readonly string[];
  readonly reasoningParsers: readonly string[];
}

const NEWEST: OvmsVersion = '2026.3';
const TOOL_PARSERS = ['llama3', 'phi4', 'hermes3', 'mistral', 'qwen3coder', 'gptoss'];
const REASONING_PARSERS = ['qwen3', 'gptoss'];

/** @throws ModeldlError USAGE for a version that is not known */
export function dialectOf(text: string = NEWEST): Dialect {
  const version = OVMS_VERSIONS.find((known) => known === text.replace(/^v/, ''));
  if (version === undefined) {
    throw new ModeldlError('USAGE', `Unknown version for --ovms-version: ${text}`, {
      hint: `expected one of ${OVMS_VERSIONS.join(', ')}`,
    });
  }
  const since = (first: OvmsVersion): boolean =>
    OVMS_VERSIONS.indexOf(version) >= OVMS_VERSIONS.indexOf(first);
  const added = [...(since('2026.2') ? ['lfm2'] : []), ...(since('2026.3') ? ['gemma4'] : [])];
  return {
    version,
    queueComment: since('2026.2'),
    executionContexts: since('2026.3'),
    deviceProperties: since('2026.3'),
    prefixCaching: since('2026.0'),
    cacheSize: since('2026.0') ? 0 : 10,
    kokoro: since('2026.3'),
    toolParsers: [...TOOL_PARSERS, ...(since('2026.0') ? ['devstral'] : []), ...added],
    reasoningParsers: [...REASONING_PARSERS, ...added],
  };
}

/** OpenVINO for Node.js, an optional dependency: whether it could be used here, found out without loading its native part. */
import { access, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { version as nodeVersion } from 'node:process';
import * as v from 'valibot';
import { systemErrorCode } from '../src/errors.js';
import type { Runtime, RuntimeStatus } from '../src/converter.js';

const manifest = v.object({ version: v.string() });

/** By the `engines` of openvino-node 2026.4; npm leaves an optional package out where they do not fit. */
const OLDEST_NODE = 21;
const DAMAGED = 'its package is damaged: `npm install openvino-node` repairs it';
/** What its installation script downloads (`dist/addon.js` of 2026.4). */
const NATIVE_PART = ['bin', 'ov_node_addon.node'] as const;

export const openvinoNode: Runtime = {
  name: 'openvino-node',
  status: () => openvinoNodeStatus(import.meta.url, nodeVersion),
};

/**
 * @param from file or URL from which the package is looked for, as `import` there would
 * @param node version of Node.js, `v22.1.0`
 */
export async function openvinoNodeStatus(from: string, node: string): Promise<RuntimeStatus> {
  let file: string;
  try {
    file = createRequire(from).resolve('openvino-node/package.json');
  } catch (error) {
    if (systemErrorCode(error) !== 'MODULE_NOT_FOUND') return { reason: DAMAGED };
    return { reason: isOld(node) ? tooOld(node) : 'not installed: `npm install openvino-node` adds it' };
  }
  const text = await readFile(file, 'utf8').catch(() => '');
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), manifest), text);
  if (!parsed.success) return { reason: DAMAGED };
  const { version } = parsed.output;
  if (isOld(node)) return { version, reason: tooOld(node) };
  const hasNativePart = await access(join(dirname(file), ...NATIVE_PART)).then(
    () => true,
    () => false,
  );
  if (hasNativePart) return { version };
  return {
    version,
    reason: 'its native part is missing: `npm rebuild openvino-node` downloads it',
  };
}

/** The package where it can be used. */
export interface NodeRuntime {
  readonly version: string;
  /** Absolute path of its main file. */
  readonly entry: string;
}

/** @param from as for the status; undefined when it cannot be used */
export async function usableOpenvinoNode(
  from: string = import.meta.url,
  node: string = nodeVersion,
): Promise<NodeRuntime | undefined> {
  const { version, reason } = await openvinoNodeStatus(from, node);
  if (version === undefined || reason !== undefined) return undefined;
  return { version, entry: createRequire(from).resolve('openvino-node') };
}

function isOld(node: string): boolean {
  return Number(/^v(\d+)/.exec(node)?.[1]) < OLDEST_NODE;
}

function tooOld(node: string): string {
  return `needs Node.js ${OLDEST_NODE} or later, this is ${node}`;
}

/** OpenVINO for Node.js, an optional dependency: whether it could be used here, found out without loading its native part. */
import { access, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { execPath, version as nodeVersion } from 'node:process';
import * as v from 'valibot';
import type { Runtime, RuntimeDevice, RuntimeStatus, ToolchainContext } from '../src/converter.js';
import { ModeldlError, systemErrorCode } from '../src/errors.js';
import { parseJson } from '../src/json.js';
import { assetPath } from './assets.js';
import { askProgram } from './program.js';

const manifest = v.object({ version: v.string() });

/** By the `engines` of openvino-node 2026.4; npm leaves an optional package out where they do not fit. */
const OLDEST_NODE = 21;
const DAMAGED = 'its package is damaged: `npm install openvino-node` repairs it';
/** What its installation script downloads (`dist/addon.js` of 2026.4). */
const NATIVE_PART = ['bin', 'ov_node_addon.node'] as const;

export const openvinoNode: Runtime = {
  name: 'openvino-node',
  status: () => openvinoNodeStatus(import.meta.url, nodeVersion),
  devices: async (context) => openvinoNodeDevices(context, await usableOpenvinoNode()),
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

const deviceList = v.array(v.object({ name: v.string(), title: v.string() }));

/**
 * Loads the package in a process of its own, which its native part may end, and asks for its devices.
 * @throws ModeldlError TOOLCHAIN when it does not load
 */
export async function openvinoNodeDevices(
  context: Pick<ToolchainContext, 'environment' | 'signal'>,
  runtime: NodeRuntime | undefined,
): Promise<readonly RuntimeDevice[]> {
  if (runtime === undefined) return [];
  const script = assetPath('node', 'openvino_devices.mjs');
  const asked = await askProgram(context, execPath, [script, runtime.entry]);
  // What native libraries print comes before.
  const parsed = v.safeParse(
    deviceList,
    asked.failed ? undefined : parseJson(asked.stdout.split('\n').at(-1) ?? ''),
  );
  if (parsed.success) return parsed.output;
  const said = asked.stderr.split('\n').find((line) => /error/i.test(line)) ?? asked.shortMessage;
  throw new ModeldlError(
    'TOOLCHAIN',
    `openvino-node ${runtime.version} cannot be loaded: ${said?.trim() ?? 'it told no devices'}`,
    {
      hint: '`npm rebuild openvino-node` repairs it, or `npm uninstall openvino-node` does without it',
      details: { file: runtime.entry },
    },
  );
}

function isOld(node: string): boolean {
  return Number(/^v(\d+)/.exec(node)?.[1]) < OLDEST_NODE;
}

function tooOld(node: string): string {
  return `needs Node.js ${OLDEST_NODE} or later, this is ${node}`;
}

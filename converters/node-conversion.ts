/**
 * Plain conversion and its check in openvino-node, with no Python at all. Whatever it cannot do, the Python toolchain
 * does: both belong to the key then, so that it stands for one result.
 */
import { createHash } from 'node:crypto';
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execPath } from 'node:process';
import * as v from 'valibot';
import {
  checkReport,
  type CheckReport,
  type ConversionPlan,
  type ConversionReport,
} from '../src/converter.js';
import { ModeldlError } from '../src/errors.js';
import { assetPath } from './assets.js';
import { judgeCheck } from './expectations.js';
import type { NodeRuntime } from './openvino-node.js';
import { findSource, stemOf, whyNotCompared, type Source } from './source.js';
import { converted, type Job } from './worker-jobs.js';
import { runWorker } from './worker.js';

const WORKER = ['node', 'openvino_worker.mjs'] as const;

/** What only the Python toolchain builds into a model or refuses. */
const PYTHON_ONLY = ['inputs', 'outputs', 'fixed', 'recipe'];

const runtimeOf = v.object({ runtime: v.object({ version: v.string() }) });

/** The plan with openvino-node in the place of Python, where that is there and can do it. */
export async function inNode(
  plan: ConversionPlan,
  runtime: NodeRuntime | undefined,
): Promise<ConversionPlan> {
  if (runtime === undefined || PYTHON_ONLY.some((name) => name in plan.settings)) return plan;
  const { version } = runtime;
  const worker = createHash('sha256')
    .update(await readFile(assetPath(...WORKER)))
    .digest('hex');
  return {
    ...plan,
    settings: { ...plan.settings, runtime: { name: 'openvino-node', version, worker } },
    toolchainOptional: true,
    steps: [...plan.steps.slice(0, -1), `${plan.steps.at(-1) ?? ''} with openvino-node ${version}`],
  };
}

type NodeJob = Omit<Job, 'kind'>;
/** Undefined where it cannot be used. */
export type FindRuntime = () => Promise<NodeRuntime | undefined>;

/** Undefined when Python is to do it. @throws ModeldlError INTERRUPTED */
export async function runInNode(
  findRuntime: FindRuntime,
  job: NodeJob,
): Promise<ConversionReport | undefined> {
  const { model, plan, outDir } = job;
  return inProcess(findRuntime, job, async ({ version }, source, work) => {
    const result = await work({
      job: 'convert',
      input: join(model.root, source.path),
      output: join(outDir, `${stemOf(source)}.xml`),
      precision: plan.precision,
    });
    const { versions, warnings } = v.parse(converted, result);
    return { versions: { ...versions, 'openvino-node': version }, warnings };
  });
}

/** Undefined when Python is to do it. @throws ModeldlError INTERRUPTED */
export async function checkInNode(findRuntime: FindRuntime, job: NodeJob): Promise<CheckReport | undefined> {
  const { model, plan, outDir } = job;
  return inProcess(findRuntime, job, async (_runtime, source, work) => {
    const reason =
      whyNotCompared(source) ??
      (source.format === 'ir'
        ? undefined
        : `openvino-node has no runtime for ${source.format} but its own; ` +
          'once `modeldl toolchain install openvino` has run, Python compares');
    const result = await work({
      job: 'check',
      model: join(outDir, `${stemOf(source)}.xml`),
      ...(reason === undefined ? { original: join(model.root, source.path) } : { reason }),
    });
    return judgeCheck(plan.precision, v.parse(checkReport, result));
  });
}

type Work = (request: Readonly<Record<string, unknown>>) => Promise<Record<string, unknown>>;

/** Where it failed once it is not asked again: the check of what Python made belongs to Python. */
async function inProcess<Report>(
  findRuntime: FindRuntime,
  { model, plan, context }: NodeJob,
  job: (runtime: NodeRuntime, source: Source, work: Work) => Promise<Report>,
): Promise<Report | undefined> {
  if (!v.is(runtimeOf, plan.settings)) return undefined;
  const failed = join(context.workDir, 'openvino-node-failed');
  if (await exists(failed)) return undefined;
  const runtime = await findRuntime();
  const source = findSource(model);
  if (runtime === undefined || 'refused' in source) return undefined;
  const work: Work = (request) =>
    runWorker(
      {
        python: execPath,
        flags: [],
        script: assetPath(...WORKER),
        request: { ...request, package: runtime.entry },
        reference: model.reference,
        memoryBytes: plan.estimate.memoryBytes,
      },
      context,
    );
  try {
    return await job(runtime, source, work);
  } catch (error) {
    if (context.signal.aborted || !(error instanceof ModeldlError || v.isValiError(error))) throw error;
    await writeFile(failed, '');
    context.emit({
      type: 'note',
      message: `openvino-node ${runtime.version} failed, so Python does it: ${error.message}`,
    });
    return undefined;
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

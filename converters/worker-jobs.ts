/** What a Python worker does for a converter: it makes a result, and checks one. */
import * as v from 'valibot';
import {
  checkReport,
  type ConversionPlan,
  type Converter,
  type ConverterContext,
  type LocalModel,
  type Toolchain,
} from '../src/converter.js';
import { assetPath } from './assets.js';
import { judgeCheck, type Expected } from './expectations.js';
import { runWorker, type WorkerCall } from './worker.js';

export interface Job {
  readonly kind: 'convert' | 'check';
  readonly model: LocalModel;
  readonly plan: ConversionPlan;
  /** Absolute directory: empty and its own to convert into, else of the result that is checked. */
  readonly outDir: string;
  readonly context: ConverterContext;
}

export interface JobWorker {
  /** Name of its file in `python/`. */
  readonly script: string;
  toolchain(plan: ConversionPlan): Toolchain;
  /** What it is asked beside the kind of job, and variables of its own. */
  call(job: Job): Promise<Pick<WorkerCall, 'request' | 'environment'>>;
  expected(plan: ConversionPlan): Expected;
}

/** What workers report of a conversion. */
export const converted = v.object({
  versions: v.record(v.string(), v.string()),
  warnings: v.array(v.string()),
  /** Of a worker that has checked its result at once. */
  check: v.exactOptional(checkReport),
});

/** The two jobs of a converter that has a worker for both. */
export function workerJobs(worker: JobWorker): Pick<Converter, 'run' | 'check'> {
  const work = async (job: Job): Promise<Record<string, unknown>> => {
    const { model, plan, context } = job;
    const { request, ...call } = await worker.call(job);
    const { python } = await worker.toolchain(plan).ensure(context);
    return runWorker(
      {
        ...call,
        python,
        script: assetPath('python', worker.script),
        request: { job: job.kind, ...request },
        reference: model.reference,
        memoryBytes: plan.estimate.memoryBytes,
      },
      context,
    );
  };
  return {
    async run(model, plan, outDir, context) {
      const result = await work({ kind: 'convert', model, plan, outDir, context });
      const { check, ...report } = v.parse(converted, result);
      return check === undefined ? report : { ...report, check: judgeCheck(worker.expected(plan), check) };
    },
    async check(model, plan, outDir, context) {
      const result = await work({ kind: 'check', model, plan, outDir, context });
      return judgeCheck(worker.expected(plan), v.parse(checkReport, result));
    },
  };
}

/** What a check is, and how one is run: within its time, and whatever goes wrong in it is its result. */
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import { diskError, ModeldlError } from '../errors.js';
import type { Plugins } from '../plugins.js';
import type { DoctorCheck, DoctorStatus, DoctorTopic, PluginState } from '../results.js';
import { within } from '../within.js';

/** What checks look at. */
export interface Patient {
  readonly context: Context;
  readonly plugins: Plugins;
  /** Without what is broken. */
  readonly loaded: LoadedConfig;
  readonly states: readonly PluginState[];
  /** What is wrong with the configuration. */
  readonly problems: readonly ModeldlError[];
  /** What was told while it was opened. */
  readonly told: readonly string[];
  /** Who forbids the network: `--offline`, a variable, a file. Undefined when nobody does. */
  readonly offline: string | undefined;
  /** Who says where the cache is. */
  readonly cacheSource: string;
  /** `v22.1.0` */
  readonly nodeVersion: string;
  /** Milliseconds that a check may take. */
  readonly limitMs: number;
}

/** What a check found; `name` is below its topic. */
export interface Finding {
  readonly name: string;
  readonly status: DoctorStatus;
  readonly message: string;
  readonly fix?: string | undefined;
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Where findings were made at the same time, of this one. */
  readonly ms?: number;
}

export interface Check {
  /** What its findings are called when it cannot be carried out. */
  readonly name: string;
  readonly topic: DoctorTopic;
  /** What to do when it did not end in time. */
  readonly lateFix?: string;
  /** It bounds each of its questions by the limit itself. */
  readonly divides?: true;
  run(patient: Patient): Promise<readonly Finding[]>;
}

/** Runs `work` with a context whose signal ends it in time. @throws ModeldlError NETWORK when it did not end */
export function inTime<Result>(
  context: Context,
  limitMs: number,
  work: (context: Context) => Promise<Result>,
  hint?: string,
): Promise<Result> {
  const late = (): ModeldlError =>
    new ModeldlError('NETWORK', `no answer in ${limitMs / 1000} s`, { hint, details: { late: true } });
  return within(context.signal, limitMs, late, (signal) => work({ ...context, signal }));
}

/** Runs a check; what it throws becomes its finding. @throws ModeldlError INTERRUPTED, TERMINATED */
export async function carryOut(check: Check, patient: Patient): Promise<readonly DoctorCheck[]> {
  const started = performance.now();
  const { name, topic, lateFix } = check;
  // Who divides the time comes to an end itself.
  const limitMs = patient.limitMs * (check.divides === true ? 3 : 1);
  let findings: readonly Finding[];
  try {
    findings = await inTime(
      patient.context,
      limitMs,
      (context) => check.run({ ...patient, context }),
      lateFix,
    );
  } catch (error) {
    if (patient.context.signal.aborted) throw error;
    const isLate = error instanceof ModeldlError && error.details['late'] === true;
    // A busy machine is slow, and not broken; who waits for a hub cannot tell.
    const status = isLate && topic !== 'models' ? 'warning' : 'failed';
    findings = [{ name, ...failure(error), status }];
  }
  const ms = Math.round(performance.now() - started);
  return findings.map((finding) => ({
    name: finding.name === '' ? topic : `${topic}.${finding.name}`,
    topic,
    status: finding.status,
    message: finding.message,
    fix: finding.fix ?? null,
    ms: finding.ms ?? ms,
    facts: finding.facts ?? {},
  }));
}

/** What an error says of a check that it ended. */
export function failure(thrown: unknown): Omit<Finding, 'name'> {
  const path = thrown instanceof Error && 'path' in thrown ? String(thrown.path) : '';
  const error = path === '' ? thrown : diskError(thrown, path);
  if (error instanceof ModeldlError) {
    const { code, message, hint, details } = error;
    const { url, file, status } = details;
    return { status: 'failed', message, fix: hint, facts: { code, url, file, status } };
  }
  return { status: 'failed', message: error instanceof Error ? error.message : String(error) };
}

export function formatSize(bytes: number): string {
  const mebibytes = bytes / 1024 ** 2;
  if (bytes > 0 && mebibytes < 1) return 'less than 1 MiB';
  return mebibytes < 1024 ? `${Math.floor(mebibytes)} MiB` : `${(mebibytes / 1024).toFixed(1)} GiB`;
}

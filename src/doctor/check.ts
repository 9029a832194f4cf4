/** What a check is, and how one is run: within its time, and whatever goes wrong in it is its result. */
import { performance } from 'node:perf_hooks';
import type { LoadedConfig } from '../config/load.js';
import type { Context } from '../context.js';
import { diskError, ModeldlError } from '../errors.js';
import type { Plugins } from '../plugins.js';
import type { DoctorCheck, DoctorStatus, DoctorTopic, PluginState } from '../results.js';

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
  run(patient: Patient): Promise<readonly Finding[]>;
}

/** Runs a check; what it throws becomes its finding. @throws ModeldlError INTERRUPTED, TERMINATED */
export async function carryOut(
  { name, topic, lateFix, run }: Check,
  patient: Patient,
  limitMs: number,
): Promise<readonly DoctorCheck[]> {
  const started = performance.now();
  const { context } = patient;
  const seconds = limitMs / 1000;
  const late = new ModeldlError('NETWORK', `It did not answer in ${seconds} s`, { hint: lateFix });
  const limit = new AbortController();
  const signal = AbortSignal.any([context.signal, limit.signal]);
  let timer: NodeJS.Timeout | undefined;
  // Not all that is waited for listens to a signal: a dead network disk does not.
  const over = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(signal.reason instanceof Error ? signal.reason : late);
    });
    timer = setTimeout(() => {
      limit.abort(late);
    }, limitMs);
  });
  over.catch(() => undefined);
  let findings: readonly Finding[];
  try {
    findings = await Promise.race([run({ ...patient, context: { ...context, signal } }), over]);
  } catch (error) {
    if (context.signal.aborted) throw error;
    findings = [{ name, ...failure(error) }];
  } finally {
    clearTimeout(timer);
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

export function formatGibibytes(bytes: number): string {
  return bytes < 1024 ** 3 ? `${Math.floor(bytes / 1024 ** 2)} MiB` : `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}

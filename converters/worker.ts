/**
 * Python workers: started with one request, heard through a pipe of their own, so that nothing a library prints can
 * break the protocol; all of that goes to a log.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { kill } from 'node:process';
import { execa } from 'execa';
import * as v from 'valibot';
import type { ConverterContext } from '../src/converter.js';
import { abortError, ModeldlError } from '../src/errors.js';

const event = v.variant('type', [
  v.object({ type: v.literal('stage'), stage: v.string() }),
  v.object({ type: v.literal('warning'), message: v.string() }),
  v.looseObject({ type: v.literal('result') }),
  v.object({ type: v.literal('error'), kind: v.string(), message: v.string() }),
]);

export interface WorkerCall {
  readonly python: string;
  /** Absolute path of the worker. */
  readonly script: string;
  readonly request: Readonly<Record<string, unknown>>;
  /** What is converted, for messages. */
  readonly reference: string;
  /** Estimate of its memory, bytes, for the message when the system ends it. */
  readonly memoryBytes: number;
}

/** Lines of the log that an error shows. */
const LOG_TAIL = 5;

/**
 * Runs a worker to its end and returns its `result` event.
 * @throws ModeldlError UNSUPPORTED naming the operation, CONVERSION with the log's path, INTERRUPTED
 */
export async function runWorker(
  call: WorkerCall,
  context: ConverterContext,
): Promise<Record<string, unknown>> {
  await mkdir(dirname(context.logFile), { recursive: true });
  const log = { file: context.logFile, append: true } as const;
  const subprocess = execa(call.python, ['-I', '-u', call.script], {
    env: workerEnvironment(context),
    extendEnv: false,
    cwd: context.workDir,
    stdio: ['pipe', log, log, 'pipe'],
    buffer: false,
    reject: false,
    // A group of its own, so that cancelling ends what it started as well.
    detached: true,
  });
  const stop = (): void => {
    if (subprocess.pid !== undefined) endGroup(subprocess.pid);
  };
  context.signal.addEventListener('abort', stop, { once: true });
  if (context.signal.aborted) stop();
  subprocess.stdin.on('error', () => undefined);
  subprocess.stdin.write(`${JSON.stringify(call.request)}\n`);
  const heard = await listen(subprocess.stdio[3], context);
  const ended = await subprocess;
  context.signal.removeEventListener('abort', stop);
  if (context.signal.aborted) throw abortError(context.signal);
  if (heard.result !== undefined && ended.exitCode === 0) return heard.result;
  throw await failure(call, context, heard.error, ended.signal);
}

interface Heard {
  result?: Record<string, unknown>;
  error?: { readonly kind: string; readonly message: string };
}

async function listen(pipe: unknown, context: ConverterContext): Promise<Heard> {
  const heard: Heard = {};
  if (!isReadable(pipe)) return heard;
  for await (const line of createInterface({ input: pipe })) {
    const parsed = v.safeParse(event, parseLine(line));
    if (!parsed.success) continue;
    const { output } = parsed;
    if (output.type === 'stage') context.emit({ type: 'stage', stage: output.stage });
    else if (output.type === 'warning') context.emit({ type: 'warning', message: output.message });
    else if (output.type === 'error') heard.error = output;
    else heard.result = output;
  }
  return heard;
}

function isReadable(value: unknown): value is NodeJS.ReadableStream {
  return typeof value === 'object' && value !== null && 'readable' in value;
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function endGroup(pid: number): void {
  try {
    kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

/** Private directories for whatever the libraries keep, and every switch that stops them from calling out. */
function workerEnvironment(context: ConverterContext): Record<string, string> {
  const kept = ['PATH', 'LD_LIBRARY_PATH', 'LANG', 'SystemRoot', 'OMP_NUM_THREADS'].flatMap((name) => {
    const value = context.environment[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(kept),
    HOME: context.workDir,
    TMPDIR: context.workDir,
    TEMP: context.workDir,
    XDG_CACHE_HOME: context.workDir,
    XDG_CONFIG_HOME: context.workDir,
    HF_HUB_OFFLINE: '1',
    TRANSFORMERS_OFFLINE: '1',
    DO_NOT_TRACK: '1',
    // openvino-telemetry sends nothing when it believes to run in CI.
    CI: 'true',
  };
}

async function failure(
  call: WorkerCall,
  context: ConverterContext,
  error: Heard['error'],
  signal: string | undefined,
): Promise<ModeldlError> {
  const details = { reference: call.reference, file: context.logFile };
  if (error === undefined && signal === 'SIGKILL') {
    const gigabytes = (call.memoryBytes / 1024 ** 3).toFixed(1);
    return new ModeldlError(
      'CONVERSION',
      `The system ended the conversion of ${call.reference}, probably for lack of memory`,
      {
        hint: `it needs about ${gigabytes} GiB; free memory, or convert on a larger machine`,
        details,
      },
    );
  }
  const operations = unsupportedOperations(error?.message ?? '');
  if (operations.length > 0) {
    return new ModeldlError(
      'UNSUPPORTED',
      `OpenVINO cannot convert ${call.reference}: operation ${operations.join(', ')}`,
      {
        hint: `the log is ${context.logFile}`,
        details: { ...details, operations },
      },
    );
  }
  const cause =
    firstLine(error?.message) ?? (await lastLine(context.logFile)) ?? 'the worker ended without a word';
  return new ModeldlError('CONVERSION', `Converting ${call.reference} failed: ${cause}`, {
    hint: `the log is ${context.logFile}`,
    details,
  });
}

/** Names of operations in OpenVINO's complaint, in the forms of its ONNX and TensorFlow Lite frontends (2026.4). */
export function unsupportedOperations(message: string): readonly string[] {
  const found = new Set<string>();
  for (const pattern of [
    /No translator found for:? ?(?:the following operators: )?([\w.:, ]+?)(?:\s+node|[.\n]|$)/g,
    /[Nn]o conversion rule found for operations?:? ([\w.:, ]+?)(?:[.\n]|$)/g,
    /OpenVINO does not support the following (?:ONNX )?operations:? ([\w.:, ]+?)(?:[.\n]|$)/g,
    /Operation ([A-Za-z]\w*) (?:is not supported|has no translation)/g,
    /While validating ONNX node '<Node\((\w+)\)/g,
    /Translation for operation ([\w.]+)/g,
    /Conversion is failed for:? ([\w.:, -]+?)(?:[\n]|$)/g,
  ]) {
    for (const [, names = ''] of message.matchAll(pattern)) {
      for (const name of names.split(/[,\s]+/)) {
        // Frontends append the operator set's version: `Conv-16`.
        if (name !== '') found.add(name.replace(/-\d+$/, ''));
      }
    }
  }
  return [...found];
}

function firstLine(message: string | undefined): string | undefined {
  const lines = message?.split('\n').map((line) => line.trim()) ?? [];
  return lines.find((line) => line !== '' && !/^(Exception from|Check ')/.test(line)) ?? lines[0];
}

async function lastLine(logFile: string): Promise<string | undefined> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  const lines = text.trimEnd().split('\n').slice(-LOG_TAIL);
  return lines.reverse().find((line) => line.trim() !== '');
}

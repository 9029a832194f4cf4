/**
 * Python workers: started with one request, heard through a pipe of their own, so that nothing a library prints can
 * break the protocol; all of that goes to a log.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, open, readFile, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { createInterface } from 'node:readline';
import * as v from 'valibot';
import type { ConverterContext } from '../src/converter.js';
import { abortError, diskError, ModeldlError } from '../src/errors.js';
import { assetPath } from './assets.js';
import { endTogether } from './process-group.js';

const event = v.variant('type', [
  v.object({ type: v.literal('stage'), stage: v.string() }),
  v.object({ type: v.literal('warning'), message: v.string() }),
  v.looseObject({ type: v.literal('result') }),
  v.object({
    type: v.literal('error'),
    kind: v.string(),
    message: v.string(),
    hint: v.exactOptional(v.string()),
  }),
]);

export interface WorkerCall {
  readonly python: string;
  /** Of the interpreter, when it is not Python but Node.js. */
  readonly flags?: readonly string[];
  /** Absolute path of the worker. */
  readonly script: string;
  readonly request: Readonly<Record<string, unknown>>;
  /** What is converted, for messages. */
  readonly reference: string;
  /** Estimate of its memory, bytes, for the message when the system ends it. */
  readonly memoryBytes: number;
  /** Variables beside those that every worker gets, and instead of them. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** sha256 over the code of a worker: a conversion by other code is another one. */
export async function workerDigest(script: string): Promise<string> {
  const hash = createHash('sha256');
  for (const [name, code] of [...(await workerCode(script))].sort()) hash.update(`${name}\0${code}\0`);
  return hash.digest('hex');
}

/** The text of a file of `python/` and of those beside it that it imports, by their names. */
export async function workerCode(
  script: string,
  found = new Map<string, string>(),
): Promise<ReadonlyMap<string, string>> {
  if (found.has(script)) return found;
  const code = await readFile(assetPath('python', script), 'utf8');
  found.set(script, code);
  for (const [, module = ''] of code.matchAll(/^\s*(?:from|import) ((?:worker|optimum)_\w+)/gm)) {
    await workerCode(`${module}.py`, found);
  }
  return found;
}

/** Lines of the log that an error carries. */
const LOG_LINES = 5;
/** Bytes at the end of a log that are read for them: libraries may print without bound. */
const LOG_TAIL_BYTES = 64 * 1024;
const LINE_CHARACTERS = 500;

/**
 * Runs a worker to its end and returns its `result` event.
 * @throws ModeldlError UNSUPPORTED naming the operation, CONVERSION with the log's path, INTERRUPTED
 */
export async function runWorker(
  call: WorkerCall,
  context: ConverterContext,
): Promise<Record<string, unknown>> {
  await mkdir(dirname(context.logFile), { recursive: true });
  const logStart = await sizeOf(context.logFile);
  await declineTelemetry(context.workDir);
  // The log's own descriptor is handed over: what the libraries print is in it when they end, in order, and never passes through here.
  const log = createWriteStream(context.logFile, { flags: 'a' });
  await once(log, 'open');
  const { execa } = await import('execa');
  const subprocess = execa(call.python, [...(call.flags ?? ['-I', '-B', '-u']), call.script], {
    env: { ...workerEnvironment(context), ...call.environment },
    extendEnv: false,
    cwd: context.workDir,
    stdio: ['pipe', log, log, 'pipe'],
    buffer: false,
    reject: false,
    // A group of its own, so that cancelling ends what it started as well.
    detached: true,
  });
  endTogether(subprocess, context.signal);
  subprocess.stdin.on('error', () => undefined);
  subprocess.stdin.write(`${JSON.stringify(call.request)}\n`);
  const heard = await listen(subprocess.stdio[3], context);
  const ended = await subprocess;
  log.close();
  if (context.signal.aborted) throw abortError(context.signal);
  if (heard.result !== undefined && ended.exitCode === 0) return heard.result;
  if (heard.error?.hint === undefined) await refuseFullDisk(context.workDir);
  throw failure(call, context, heard.error, ended, await lastLines(context.logFile, logStart));
}

/** Less than this is left only where something was written until nothing more could be. */
const FULL_BYTES = 1024 ** 2;

/** Libraries report a full disk in words of their own, if at all. @throws ModeldlError DISK when that is why it failed */
async function refuseFullDisk(directory: string): Promise<void> {
  const free = await statfs(directory).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Infinity,
  );
  if (free < FULL_BYTES)
    throw diskError(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }), directory, 'write');
}

interface Heard {
  result?: Record<string, unknown>;
  error?: { readonly kind: string; readonly message: string; readonly hint?: string };
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

/** Private directories for whatever the libraries keep, and every switch that stops them from calling out. */
function workerEnvironment(context: ConverterContext): Record<string, string> {
  return {
    ...variables(context.environment, ['PATH', 'LD_LIBRARY_PATH', 'LANG', 'SystemRoot', 'OMP_NUM_THREADS']),
    HOME: context.workDir,
    TMPDIR: context.workDir,
    TEMP: context.workDir,
    XDG_CACHE_HOME: context.workDir,
    XDG_CONFIG_HOME: context.workDir,
    HF_HUB_OFFLINE: '1',
    TRANSFORMERS_OFFLINE: '1',
    DO_NOT_TRACK: '1',
    // openvino-telemetry (2025.2) sends nothing for ovc and nncf when it believes to run in CI.
    CI: 'true',
  };
}

/** Those of the variables that are set. */
export function variables(
  environment: ConverterContext['environment'],
  names: readonly string[],
): Record<string, string> {
  const set = names.flatMap((name) => {
    const value = environment[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(set);
}

/** The file that `opt_in_out --opt_out` of openvino-telemetry writes below HOME. */
async function declineTelemetry(home: string): Promise<void> {
  await mkdir(join(home, 'intel'), { recursive: true });
  await writeFile(join(home, 'intel', 'openvino_telemetry'), '0');
}

/** How a process ended, as execa tells. */
interface Ended {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly shortMessage?: string | undefined;
}

function failure(
  call: WorkerCall,
  context: ConverterContext,
  error: Heard['error'],
  ended: Ended,
  log: readonly string[],
): ModeldlError {
  const { reference } = call;
  const details = { reference, file: context.logFile, log };
  const hint = `the log is ${context.logFile}`;
  if (outOfMemory(error, ended, log)) {
    const gigabytes = (call.memoryBytes / 1024 ** 3).toFixed(1);
    return new ModeldlError(
      'CONVERSION',
      `The system ended the conversion of ${reference}, probably for lack of memory`,
      {
        hint: `it needs about ${gigabytes} GiB; free memory, or convert on a larger machine; ${hint}`,
        details,
      },
    );
  }
  if (error?.kind === 'refused' || error?.kind === 'misused') {
    const code = error.kind === 'misused' ? 'USAGE' : 'UNSUPPORTED';
    return new ModeldlError(code, `Cannot convert ${reference}: ${error.message}`, {
      hint: error.hint ?? hint,
      details,
    });
  }
  if (error?.kind === 'Damaged') {
    return new ModeldlError(
      'CONVERSION',
      `Converting ${reference} failed: ${causeLine(error.message) ?? 'a file is damaged'}`,
      { hint: `${anew(reference)}; ${hint}`, details },
    );
  }
  if (error?.kind === 'Unreachable') {
    return new ModeldlError(
      'NETWORK',
      `Cannot convert ${reference}: ${causeLine(error.message) ?? 'no network'}`,
      {
        hint: `check the network and the proxy settings, or leave out the data set; ${hint}`,
        details,
      },
    );
  }
  if (error?.kind === 'ModuleNotFoundError') {
    return new ModeldlError('TOOLCHAIN', `${call.python} cannot convert ${reference}: ${error.message}`, {
      hint: `${whole(call.python, context)}; ${hint}`,
      details,
    });
  }
  const operations = unsupportedOperations(error?.message ?? '');
  if (operations.length > 0) {
    return new ModeldlError(
      'UNSUPPORTED',
      `OpenVINO cannot convert ${reference}: operation ${operations.join(', ')}${why(error?.message)}`,
      {
        hint: `another export of the model, such as one of another operator set, may do without it; ${hint}`,
        details: { ...details, operations },
      },
    );
  }
  const cause = causeLine(error?.message) ?? causeOfEnd(ended, log);
  return new ModeldlError('CONVERSION', `Converting ${reference} failed: ${cause}`, { hint, details });
}

/** How an interpreter that lacks a package gets it. */
function whole(python: string, { toolchainsDir }: ConverterContext): string {
  const [own = ''] = relative(toolchainsDir, python).split(sep);
  const name = /^(.+)-[0-9a-f]{12}$/.exec(own)?.[1];
  if (name === undefined) return 'install there what is missing';
  return `\`modeldl toolchain remove ${name}\`, and the next conversion makes it anew`;
}

/** Where whole files come from. */
function anew(reference: string): string {
  return reference.startsWith('file:')
    ? 'compare it with where it came from, and copy it again'
    : `\`modeldl verify ${reference} --repair\` fetches again what is not as it was published`;
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

/** What OpenVINO has against the first of several operations: a supported one may be refused for its input. */
function why(message = ''): string {
  const told = /^-- \S+ with a message:\n((?:.+\n)+)/m.exec(message)?.[1];
  return told === undefined ? '' : ` (${causeLine(told) ?? ''})`;
}

/**
 * The line that tells the cause: OpenVINO wraps an exception in where it was thrown and what it was busy with, and ends
 * with what was wrong; other libraries begin with it.
 */
function causeLine(message: string | undefined): string | undefined {
  const lines = (message ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const told = /^(Exception from |\[ONNX Frontend\]|Check ')/m.test(message ?? '') ? lines.at(-1) : lines[0];
  return told?.slice(0, LINE_CHARACTERS).replace(/\.$/, '');
}

/** The kernel kills without a word (137 when a wrapper reports it), allocators throw or abort. */
function outOfMemory(error: Heard['error'], ended: Ended, log: readonly string[]): boolean {
  if (error === undefined && (ended.signal === 'SIGKILL' || ended.exitCode === 137)) return true;
  const allocation =
    /\bbad_alloc\b|\bMemoryError\b|Cannot allocate memory|(Failed|Unable) to allocate \d|failed to map segment/;
  if (error !== undefined) return error.kind === 'MemoryError' || allocation.test(error.message);
  return ended.exitCode !== 0 && log.some((line) => allocation.test(line));
}

/** What is known of a worker that ended without a report. */
function causeOfEnd(ended: Ended, log: readonly string[]): string {
  if (ended.exitCode === undefined && ended.signal === undefined) {
    return `Python did not start: ${ended.shortMessage ?? 'for an unknown reason'}`;
  }
  const how = ended.signal === undefined ? `exit code ${ended.exitCode}` : ended.signal;
  const said = log.at(-1);
  return `the worker ended with ${how}${said === undefined ? ' and said nothing' : `: ${said}`}`;
}

async function sizeOf(file: string): Promise<number> {
  return stat(file).then(
    ({ size }) => size,
    () => 0,
  );
}

/** The last lines that are not empty of what was logged since `start`, oldest first. */
async function lastLines(file: string, start: number): Promise<readonly string[]> {
  const end = await sizeOf(file);
  const from = Math.max(start, end - LOG_TAIL_BYTES);
  if (end <= from) return [];
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - from), 0, end - from, from);
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
    return lines
      .map((line) => line.trim().slice(0, LINE_CHARACTERS))
      .filter((line) => line !== '')
      .slice(-LOG_LINES);
  } finally {
    await handle.close();
  }
}

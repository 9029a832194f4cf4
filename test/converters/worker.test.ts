import { access, appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { kill } from 'node:process';
import { describe, expect, it } from 'vitest';
import { runWorker, unsupportedOperations, workerCode } from '../../converters/worker.js';
import type { ModeldlError } from '../../src/errors.js';
import { converterContext, writeScript, type TestConverterContext } from '../helpers/interpreter.js';
import { temporaryStore } from '../helpers/store.js';
import { rejected } from '../helpers/refused.js';

interface Job {
  readonly context: TestConverterContext;
  readonly ended: Promise<Record<string, unknown>>;
}

/** Runs a worker whose interpreter is a shell script with these lines; events go to descriptor 3. */
async function start(...lines: readonly string[]): Promise<Job> {
  const context = await converterContext(await temporaryStore());
  const python = await writeScript(join(context.workDir, 'python'), ...lines);
  return { context, ended: runIn(context, python) };
}

function runIn(context: TestConverterContext, python: string): Promise<Record<string, unknown>> {
  return runWorker(
    {
      python,
      script: '/worker.py',
      request: { job: 'convert' },
      reference: 'file:./a.onnx',
      memoryBytes: 1024 ** 3,
    },
    context,
  );
}

async function failureOf(...lines: readonly string[]): Promise<{ error: ModeldlError; logFile: string }> {
  const { context, ended } = await start(...lines);
  return { error: await rejected(ended), logFile: context.logFile };
}

describe('runWorker', () => {
  it('says how a toolchain of its own, or an interpreter of the user, gets a package that it lacks', async () => {
    const lines = [
      `echo '{"type":"error","kind":"ModuleNotFoundError","message":"No module named nncf"}' >&3`,
      'exit 1',
    ];
    const { error } = await failureOf(...lines);
    expect([error.code, error.hint]).toEqual([
      'TOOLCHAIN',
      expect.stringContaining('install there what is missing'),
    ]);
    const context = await converterContext(await temporaryStore());
    const own = join(context.toolchainsDir, 'optimum-4.57-0123456789ab', 'bin', 'python');
    const made = await rejected(runIn(context, await writeScript(own, ...lines)));
    expect(made.hint).toContain('`modeldl toolchain remove optimum-4.57`');
  });

  it('tells data that do not come from a model that cannot be converted', async () => {
    const message = 'its data for calibration cannot be fetched: refused';
    const { error } = await failureOf(
      `echo '{"type":"error","kind":"Unreachable","message":"${message}"}' >&3`,
      'exit 1',
    );
    expect([error.code, error.exitCode]).toEqual(['NETWORK', 5]);
    expect(error.message).toBe(`Cannot convert file:./a.onnx: ${message}`);
    expect(error.hint).toContain('leave out the data set');
  });

  it('says of a damaged file how to get a whole one', async () => {
    const { error, logFile } = await failureOf(
      `echo '{"type":"error","kind":"Damaged","message":"a.onnx is empty"}' >&3`,
      'exit 1',
    );
    expect(error).toMatchObject({
      code: 'CONVERSION',
      message: 'Converting file:./a.onnx failed: a.onnx is empty',
      hint: `compare it with where it came from, and copy it again; the log is ${logFile}`,
    });
  });

  it('hands over the request, passes events on and returns the result', async () => {
    const { context, ended } = await start(
      'read request',
      `echo '{"type":"stage","stage":"Reading"}' >&3`,
      `echo '{"type":"warning","message":"old opset"}' >&3`,
      `echo "{\\"type\\":\\"result\\",\\"arguments\\":\\"$*\\",\\"request\\":$request}" >&3`,
    );
    expect(await ended).toEqual({
      type: 'result',
      arguments: '-I -B -u /worker.py',
      request: { job: 'convert' },
    });
    expect(context.events).toEqual([
      { type: 'stage', stage: 'Reading' },
      { type: 'warning', message: 'old opset' },
    ]);
  });

  it('does not let what libraries print break the protocol, and logs it', async () => {
    const { context, ended } = await start(
      `echo '{"type":"error","kind":"X","message":"printed"}'`,
      'echo warning: something >&2',
      `echo 'not json' >&3; echo '{"type":"unknown"}' >&3; echo '[1' >&3`,
      `echo '{"type":"result"}' >&3`,
    );
    expect(await ended).toEqual({ type: 'result' });
    expect(await readFile(context.logFile, 'utf8')).toContain('warning: something');
  });

  it('names the reported cause, the log and the last lines of it', async () => {
    const { error, logFile } = await failureOf(
      'echo one >&2; echo two >&2',
      `printf '%s\\n' '{"type":"error","kind":"RuntimeError","message":"Bad weights\\nsecond"}' >&3`,
      'exit 1',
    );
    expect(error.message).toBe('Converting file:./a.onnx failed: Bad weights');
    expect(error.exitCode).toBe(8);
    expect(error).toMatchObject({
      hint: `the log is ${logFile}`,
      details: { reference: 'file:./a.onnx', file: logFile, log: ['one', 'two'] },
    });
  });

  it('names the last line of what OpenVINO wraps, where the cause is', async () => {
    // As it said of an input that was too short for a reflecting Pad inside an If.
    const lines = [
      'Exception from src/inference/src/cpp/infer_request.cpp:224:',
      'Node cn of type If',
      "Check 'begin < dimension' failed at pad_shape_inference.hpp:94:",
      'REFLECT padding mode requires less',
      '',
    ];
    const message = JSON.stringify({ type: 'error', kind: 'RuntimeError', message: lines.join('\n') });
    const { error } = await failureOf(`cat >&3 <<'END'\n${message}\nEND`, 'exit 1');
    expect(error.message).toBe('Converting file:./a.onnx failed: REFLECT padding mode requires less');
  });

  it('names refused operations, and what is held against the first', async () => {
    const lines = [
      "Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:",
      '-- Conv-16 with a message:',
      '[ONNX Frontend] Conversion failed for Conv-16',
      "While validating ONNX node '<Node(Conv): If_0_then_branch>': Check failed",
      "The input data tensor's rank has to be known (static)",
      '',
      'Summary:',
      '-- Conversion is failed for: Conv-16, ReduceMean-16',
    ];
    const message = JSON.stringify({
      type: 'error',
      kind: 'OpConversionFailure',
      message: lines.join('\n'),
    });
    const { error } = await failureOf(`cat >&3 <<'END'\n${message}\nEND`, 'exit 1');
    expect(error.exitCode).toBe(9);
    expect(error.message).toBe(
      "OpenVINO cannot convert file:./a.onnx: operation Conv, ReduceMean (The input data tensor's rank has to be known (static))",
    );
    expect(error.details).toMatchObject({ operations: ['Conv', 'ReduceMean'] });
  });

  it('says how a worker ended that reported nothing, with its last words', async () => {
    const { error } = await failureOf('echo "Segmentation fault in plugin" >&2', 'kill -SEGV $$');
    expect(error.message).toBe(
      'Converting file:./a.onnx failed: the worker ended with SIGSEGV: Segmentation fault in plugin',
    );
  });

  it('does not take an end without a result for success', async () => {
    const { error } = await failureOf('exit 0');
    expect(error.message).toContain('the worker ended with exit code 0 and said nothing');
  });

  it('does not believe a result that is followed by a failure', async () => {
    const { error } = await failureOf(`echo '{"type":"result"}' >&3`, 'exit 3');
    expect(error.message).toContain('exit code 3');
  });

  it('says that the interpreter did not start', async () => {
    const context = await converterContext(await temporaryStore());
    const error = await rejected(runIn(context, join(context.workDir, 'absent')));
    expect(error.code).toBe('CONVERSION');
    expect(error.message).toContain('Python did not start');
    expect(error.message).toContain('absent');
  });

  it('shows only lines of its own run, from the end of a huge log', async () => {
    const context = await converterContext(await temporaryStore());
    await mkdir(dirname(context.logFile), { recursive: true });
    await appendFile(context.logFile, 'of an earlier run\n');
    const silent = await writeScript(join(context.workDir, 'silent'), 'exit 4');
    expect((await rejected(runIn(context, silent))).details['log']).toEqual([]);
    const loud = await writeScript(
      join(context.workDir, 'loud'),
      "head -c 30000000 /dev/zero | tr '\\0' 'x' >&2",
      'echo; echo the cause >&2',
      'exit 4',
    );
    const error = await rejected(runIn(context, loud));
    expect(error.message).toContain('exit code 4: the cause');
    expect(JSON.stringify(error.details).length).toBeLessThan(5000);
  });

  it.each([
    ['is killed by the system', ['kill -KILL $$']],
    ['is killed below a wrapper', ['exit 137']],
    [
      'reports a failed allocation',
      [`echo '{"type":"error","kind":"MemoryError","message":""}' >&3`, 'exit 1'],
    ],
    ['aborts in an allocator', ['echo "what():  std::bad_alloc" >&2; kill -ABRT $$']],
  ])('names memory, with the estimate, when the worker %s', async (_how, lines) => {
    const { error } = await failureOf(...lines);
    expect(error.code).toBe('CONVERSION');
    expect(error.message).toContain('lack of memory');
    expect(error.hint).toContain('about 1.0 GiB');
  });

  it('ends the whole group of the worker when it is cancelled, even one that ignores signals', async () => {
    const { context, ended } = await start(
      `trap '' TERM INT`,
      // A grandchild that holds every pipe open.
      'sleep 1000 & echo $! > grandchild',
      `echo '{"type":"stage","stage":"Started"}' >&3`,
      'wait; sleep 1000',
    );
    await told(context, 'Started');
    context.abort();
    expect((await rejected(ended)).code).toBe('INTERRUPTED');
    const pid = Number(await readFile(join(context.workDir, 'grandchild'), 'utf8'));
    await gone(pid);
  });

  it('starts nothing that lasts when it was cancelled before', async () => {
    const context = await converterContext(await temporaryStore());
    const python = await writeScript(join(context.workDir, 'python'), 'sleep 1000');
    context.abort();
    expect((await rejected(runIn(context, python))).code).toBe('INTERRUPTED');
  });

  it('is not held up by what a worker left behind', async () => {
    const { context, ended } = await start(
      'sleep 1000 & echo $! > grandchild',
      `echo '{"type":"result"}' >&3`,
    );
    expect(await ended).toEqual({ type: 'result' });
    await gone(Number(await readFile(join(context.workDir, 'grandchild'), 'utf8')));
  });

  it('gives the worker a private home, no token, and a recorded refusal of telemetry', async () => {
    const store = await temporaryStore();
    const context = await converterContext(store, {
      environment: { HOME: '/root', HF_TOKEN: 'secret', PYTHONPATH: '/elsewhere' },
    });
    const python = await writeScript(join(context.workDir, 'python'), 'env', `echo '{"type":"result"}' >&3`);
    await runIn(context, python);
    const environment = await readFile(context.logFile, 'utf8');
    expect(environment).toContain(`HOME=${context.workDir}\n`);
    expect(environment).toContain('HF_HUB_OFFLINE=1\n');
    expect(environment).toContain('CI=true\n');
    expect(environment).not.toMatch(/secret|PYTHONPATH/);
    expect(await readFile(join(context.workDir, 'intel', 'openvino_telemetry'), 'utf8')).toBe('0');
  });
});

describe('workerCode', () => {
  const shared = ['worker_outputs.py', 'worker_protocol.py', 'worker_weights.py'];

  it.each([
    ['openvino_worker.py', ['worker_calibration.py', 'worker_cut.py', 'worker_inputs.py']],
    ['optimum_worker.py', ['optimum_check.py', 'optimum_timm.py', 'worker_guard.py']],
    ['ultralytics_worker.py', ['worker_guard.py']],
  ])('of %s is all that it runs of ours', async (script, parts) => {
    const code = await workerCode(script);
    expect([...code.keys()].sort()).toEqual([script, ...parts, ...shared].sort());
    expect(code.get('worker_protocol.py')).toContain('def serve(');
  });
});

/** Waits for a stage. */
async function told(context: TestConverterContext, stage: string): Promise<void> {
  await expect
    .poll(() => context.events, { timeout: 20_000 })
    .toContainEqual(expect.objectContaining({ stage }));
}

/** A killed process may be there for a moment until its parent has been told. */
async function gone(pid: number): Promise<void> {
  await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false);
}

async function isAlive(pid: number): Promise<boolean> {
  try {
    kill(pid, 0);
  } catch {
    return false;
  }
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  // In a container without an init nobody takes note of an orphan's end.
  return status === undefined
    ? access('/proc').then(
        () => false,
        () => true,
      )
    : !/\) [ZX] /.test(status);
}

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

/** Interpreters that are tiny shell scripts, and contexts to run converters and toolchains with them. */
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, onTestFinished } from 'vitest';
import type { ConverterContext, ToolchainContext, ToolchainSettings } from '../../src/converter.js';
import type { ModeldlEvent } from '../../src/events.js';
import { withClaim, withClaimUnwanted } from '../../src/store/claim.js';
import { inStore, type Store } from '../../src/store/layout.js';
import { openSession, type Session } from '../../src/store/session.js';
import { checkSpace } from '../../src/store/space.js';
import { temporaryDirectory } from './store.js';

/** Writes an executable shell script. Returns its path. */
export async function writeScript(path: string, ...lines: readonly string[]): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(path, 0o755);
  return path;
}

/**
 * Writes a Python for the toolchain `openvino` whose worker makes an IR of two words and approves of it.
 * @param lines of shell that run before it converts and before it checks
 */
export function writeStandInOpenvino(
  path: string,
  lines: { readonly convert?: readonly string[]; readonly check?: readonly string[] } = {},
): Promise<string> {
  return writeScript(
    path,
    'case "$*" in',
    '*openvino_worker.py*) read -r request;;',
    `*) echo '{"sitePackages":"/nowhere","versions":{"openvino":"2026.4.1","nncf":"3.4.0"}}'; exit;;`,
    'esac',
    'case "$request" in',
    `*'"job":"convert"'*)`,
    ...(lines.convert ?? []),
    `output=$(printf %s "$request" | sed 's/.*"output":"\\([^"]*\\)".*/\\1/')`,
    'echo network > "$output"; echo weights > "${output%.xml}.bin"',
    `echo '{"type":"result","versions":{"openvino":"2026.4.1"},"warnings":[]}' >&3;;`,
    '*)',
    ...(lines.check ?? []),
    `echo '{"type":"result","passed":true,"compared":false,"outputs":[],"warnings":[]}' >&3;;`,
    'esac',
  );
}

export interface FakePython {
  /** Directory to put on the PATH. */
  readonly bin: string;
  /** What every start was asked for, a line each. */
  calls(): Promise<readonly string[]>;
}

export interface FakeOptions {
  readonly version?: string;
  /** Shell lines of `venv`; by default the environment gets this very interpreter. */
  readonly venv?: readonly string[];
  /** Shell lines of `pip install`; by default it succeeds. */
  readonly pip?: readonly string[];
  /** Shell lines of a worker; by default it fails. */
  readonly worker?: readonly string[];
  readonly name?: string;
}

/** A `python3` that answers the probe and makes environments out of itself. */
export async function fakePython(options: FakeOptions = {}): Promise<FakePython> {
  const bin = await temporaryDirectory();
  const calls = join(bin, 'calls');
  await writeFile(calls, '');
  await writeScript(
    join(bin, options.name ?? 'python3'),
    `export CALLS=${calls}`,
    'echo "$*" | head -n 1 >> "$CALLS"',
    'case "$*" in',
    `*sysconfig.get_platform*) echo "${options.version ?? '3.11.9'} linux-x86_64";;`,
    '*guarded.py\\ venv\\ *)',
    ...(options.venv ?? ['mkdir -p "$3/bin" && cp "$0" "$3/bin/python"']),
    ';;',
    '*guarded.py\\ pip\\ install\\ *)',
    ...(options.pip ?? ['echo "Collecting openvino==2026.4.1 (from -r x)"']),
    ';;',
    '*_worker.py)',
    ...(options.worker ?? ['exit 3']),
    ';;',
    '*) exit 3;;',
    'esac',
  );
  return { bin, calls: async () => (await readFile(calls, 'utf8')).split('\n').filter(Boolean) };
}

export interface TestToolchainContext extends ToolchainContext {
  /** Everything that was told. */
  readonly events: ModeldlEvent[];
  readonly abort: (reason?: unknown) => void;
  /** Ends its session, as the end of its process does. */
  readonly end: () => Promise<void>;
}

export interface ContextOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly settings?: Partial<ToolchainSettings>;
  readonly maxWaitMs?: number;
  readonly requireRoom?: ToolchainContext['requireRoom'];
}

/** What a toolchain is given, with real claims in a real store. */
export function toolchainContext(store: Store, options: ContextOptions = {}): TestToolchainContext {
  const controller = new AbortController();
  const events: ModeldlEvent[] = [];
  // One for the whole context, as a process has it: what it uses it uses until it ends.
  let session: Promise<Session> | undefined;
  const opened = (): Promise<Session> => {
    if (session === undefined) {
      const opening = openSession(store);
      session = opening;
      onTestFinished(async () => (await opening).close());
    }
    return session;
  };
  const waiting = {
    maxWaitMs: options.maxWaitMs ?? Number.MAX_SAFE_INTEGER,
    signal: controller.signal,
    pollMs: 10,
  };
  return {
    toolchainsDir: inStore(store, 'toolchains'),
    signal: controller.signal,
    abort: (reason) => {
      controller.abort(reason);
    },
    events,
    emit: (event) => events.push(event),
    environment: { PATH: '/usr/bin:/bin', ...options.environment },
    settings: { install: 'auto', offline: false, interpreters: {}, torch: 'auto', ...options.settings },
    exclusively: async (name, work) => withClaim(store, await opened(), name, waiting, work),
    use: async (environment) => (await opened()).want([environment]),
    whenUnused: async (name, environment, work) =>
      withClaimUnwanted(store, await opened(), name, environment, waiting, work),
    requireRoom: options.requireRoom ?? checkSpace,
    end: async () => (await session)?.close(),
  };
}

export interface TestConverterContext extends ConverterContext, TestToolchainContext {}

/** What a converter is given: a log and a private directory besides. */
export async function converterContext(
  store: Store,
  options: ContextOptions = {},
): Promise<TestConverterContext> {
  const workDir = join(inStore(store, 'tmp', 'job'), 'work');
  await mkdir(workDir, { recursive: true });
  const logFile = inStore(store, 'logs', 'job.log');
  // Converters here have their toolchain at hand.
  const interpreter = (): Promise<never> =>
    Promise.reject(new Error('Expected no question for an interpreter'));
  return { ...toolchainContext(store, options), workDir, logFile, wantsCheck: false, interpreter };
}

/**
 * A directory for the PATH whose `python3` is the real one, but copies an environment that was made once instead of making
 * one anew, which takes seconds. Removed after the tests of a file.
 */
export async function quickPython(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-python-'));
  afterAll(() => rm(directory, { recursive: true, force: true }));
  const made = join(directory, 'made');
  await execa('python3', ['-m', 'venv', made]);
  const { stdout: real } = await execa('python3', ['-c', 'import sys; print(sys.executable)']);
  const bin = join(directory, 'bin');
  await writeScript(
    join(bin, 'python3'),
    'case "$*" in',
    `*guarded.py\\ venv\\ *) mkdir -p "$3" && cp -a ${made}/. "$3";;`,
    `*) exec ${real} "$@";;`,
    'esac',
  );
  return bin;
}

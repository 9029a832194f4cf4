/** Interpreters that are tiny shell scripts, and contexts to run converters and toolchains with them. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ConverterContext, ToolchainContext, ToolchainSettings } from '../../src/converter.js';
import type { ModeldlEvent } from '../../src/events.js';
import { withClaim } from '../../src/store/claim.js';
import { inStore, type Store } from '../../src/store/layout.js';
import { openSession } from '../../src/store/session.js';

/** Writes an executable shell script. Returns its path. */
export async function writeScript(path: string, ...lines: readonly string[]): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(path, 0o755);
  return path;
}

export interface TestToolchainContext extends ToolchainContext {
  /** Everything that was told. */
  readonly events: ModeldlEvent[];
  readonly abort: (reason?: unknown) => void;
}

export interface ContextOptions {
  readonly environment?: Readonly<Record<string, string>>;
  readonly settings?: Partial<ToolchainSettings>;
}

/** What a toolchain is given, with real claims in a real store. */
export function toolchainContext(store: Store, options: ContextOptions = {}): TestToolchainContext {
  const controller = new AbortController();
  const events: ModeldlEvent[] = [];
  return {
    toolchainsDir: inStore(store, 'toolchains'),
    signal: controller.signal,
    abort: (reason) => {
      controller.abort(reason);
    },
    events,
    emit: (event) => events.push(event),
    environment: { PATH: '/usr/bin:/bin', ...options.environment },
    settings: { install: 'auto', offline: false, interpreters: {}, ...options.settings },
    exclusively: async (name, work) => {
      const session = await openSession(store);
      try {
        const waiting = { maxWaitMs: Number.MAX_SAFE_INTEGER, signal: controller.signal, pollMs: 10 };
        return await withClaim(store, session, name, waiting, work);
      } finally {
        await session.close();
      }
    },
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
  return { ...toolchainContext(store, options), workDir, logFile: inStore(store, 'logs', 'job.log') };
}

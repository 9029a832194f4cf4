/** What a command is, and what it is given. */
import type { Command } from 'commander';
import { parseDuration, parseRate } from '../config/units.js';
import { ModeldlError } from '../errors.js';
import type { Modeldl, ModeldlOptions } from '../index.js';
import type { Output, OutputStream } from './output.js';
import { createProgress, type Progress, type ProgressMode } from './progress.js';

/** The process, as `bin` hands it over. */
export interface CliEnvironment {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  readonly version: string;
  readonly signal: AbortSignal;
  /** Questions may have colours; default true. */
  readonly colors?: boolean;
  createModeldl(options: ModeldlOptions): Promise<Modeldl>;
}

export interface GlobalFlags {
  readonly cacheDir?: string;
  readonly config?: string;
  readonly offline?: boolean;
  readonly preferOffline?: boolean;
  readonly refresh?: boolean;
  readonly maxWait?: string;
  readonly spaceCheck: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose: number;
  readonly progress: ProgressMode;
  readonly color: 'auto' | 'always' | 'never';
  readonly yes?: boolean;
  readonly input: boolean;
}

/** Transfer flags of commands that fetch. */
export interface TransferFlags {
  readonly jobs?: string;
  readonly connections?: string;
  readonly limitRate?: string;
  readonly install?: boolean;
}

export interface Call<Flags> {
  /** The command line as it was typed, from the command's name on or with global options before it. */
  readonly typed: readonly string[];
  readonly arguments: readonly string[];
  readonly flags: Flags & GlobalFlags & TransferFlags;
  readonly output: Output;
  readonly cli: CliEnvironment;
  /** A person can be asked: stdin and stderr are terminals, and neither `--no-input` nor `CI` forbids it. */
  readonly interactive: boolean;
  /** Opens modeldl with progress drawn until the command ends. */
  open(): Promise<Modeldl>;
  /** Ends the drawing before something is asked or printed. */
  settle(): void;
}

export interface CommandDefinition<Flags> {
  /** Makes no cache where none is, such as at a mistyped `--cache-dir`. */
  readonly onlyLooks?: boolean;
  /** Adds arguments, options and examples. */
  configure(command: Command): void;
  /** Returns the exit code; nothing for 0. */
  run(call: Call<Flags>): Promise<number | undefined>;
}

/** A repeatable option with one value each; variadic options would swallow the arguments after them. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** A path that no shell has expanded: typed as an answer, behind a `=`, or while the line is still written. */
export function atHome(path: string, home: string): string {
  return path.replace(/^~(?=\/|$)/, () => home);
}

/** Builds the API options from the flags. @throws ModeldlError USAGE */
export function apiOptions(flags: GlobalFlags & TransferFlags, cli: CliEnvironment): ModeldlOptions {
  const freshness = [flags.offline, flags.preferOffline, flags.refresh].filter((flag) => flag === true);
  if (freshness.length > 1) {
    throw new ModeldlError('USAGE', '`--offline`, `--prefer-offline` and `--refresh` exclude each other');
  }
  return {
    cwd: cli.cwd,
    home: cli.home,
    environment: cli.environment,
    signal: cli.signal,
    spaceCheck: flags.spaceCheck,
    ...(flags.cacheDir === undefined ? {} : { cacheDir: flags.cacheDir }),
    ...(flags.config === undefined ? {} : { configFile: flags.config }),
    ...(flags.offline === undefined ? {} : { offline: flags.offline }),
    ...(flags.preferOffline === undefined ? {} : { preferOffline: flags.preferOffline }),
    ...(flags.refresh === undefined ? {} : { refresh: flags.refresh }),
    ...(flags.maxWait === undefined ? {} : { maxWaitMs: parseDuration(flags.maxWait, '--max-wait') }),
    ...(flags.jobs === undefined ? {} : { jobs: parseCount(flags.jobs, '--jobs', 64) }),
    ...(flags.connections === undefined
      ? {}
      : { connections: parseCount(flags.connections, '--connections', 16) }),
    ...(flags.limitRate === undefined ? {} : { limitRate: parseRate(flags.limitRate, '--limit-rate') }),
    ...(flags.install === false ? { install: 'never' as const } : {}),
  };
}

function parseCount(text: string, option: string, most: number): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= most) return count;
  throw new ModeldlError('USAGE', `Expected a number from 1 to ${most} for ${option}, got ${text}`);
}

/** Opens modeldl and a progress that is stopped by `settle`. */
export function opener(
  flags: GlobalFlags & TransferFlags,
  cli: CliEnvironment,
  output: Output,
  createCache: boolean,
): { open(): Promise<Modeldl>; settle(): void; close(): Promise<void> } {
  let progress: Progress | undefined;
  let modeldl: Modeldl | undefined;
  return {
    async open() {
      if (modeldl !== undefined) return modeldl;
      const drawn = await createProgress(flags.progress, output);
      progress = drawn;
      const onSecret = (secret: string): void => {
        output.secrets.add(secret);
      };
      modeldl = await cli.createModeldl({
        ...apiOptions(flags, cli),
        createCache,
        emit: drawn.emit,
        onSecret,
      });
      return modeldl;
    },
    settle() {
      progress?.stop();
    },
    async close() {
      progress?.stop();
      await modeldl?.close();
    },
  };
}

/** USAGE for an argument that may only be left out where a person can be asked. */
export function missingArgument(what: string, example: string): ModeldlError {
  return new ModeldlError('USAGE', `Missing ${what}`, { hint: `for example \`${example}\`` });
}

/** USAGE for a confirmation that nobody can give. */
export function needsYes(action: string): ModeldlError {
  return new ModeldlError('USAGE', `${action} needs a confirmation, and nobody can be asked here`, {
    hint: 'pass `-y`',
  });
}

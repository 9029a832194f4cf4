#!/usr/bin/env node
/** Composition root: the only file that reads the process, and the only one that ends it. */
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute } from 'node:path';
import { isatty } from 'node:tty';
import { inspect } from 'node:util';
import { EXIT_CODES, ModeldlError, systemErrorCode } from '../src/errors.js';

const SHOW_CURSOR = '\u001b[?25h';
const RESUME = 'run the same command again to resume; what was fetched is kept';
const interruption = new AbortController();
/** Taken before plugins and libraries could: see `keepProcess`. */
const exit = process.exit.bind(process);
const { stdout } = process;
const results = stdout.write.bind(stdout);

/** How long a clean stop may take, milliseconds: cli.md promises a second. */
const STOP_MS = 1000;

/** The first signal stops cleanly, if that can be done in a second; a second Ctrl-C ends at once, without cleaning up. */
function onSignal(signal: 'SIGINT' | 'SIGTERM', code: 'INTERRUPTED' | 'TERMINATED'): void {
  if (interruption.signal.aborted) {
    endAtOnce(signal, code);
    return;
  }
  const message = code === 'INTERRUPTED' ? 'Interrupted' : 'Terminated';
  setTimeout(() => {
    process.stderr.write(`error: ${message}\nhint: ${RESUME}\n`);
    endAtOnce(signal, code);
  }, STOP_MS).unref();
  interruption.abort(new ModeldlError(code, message, { hint: RESUME }));
}

function endAtOnce(signal: 'SIGINT' | 'SIGTERM', code: 'INTERRUPTED' | 'TERMINATED'): void {
  // Bars and spinners hide it, and get no chance to show it again.
  if (process.stderr.isTTY) process.stderr.write(SHOW_CURSOR);
  // `process.exit` waits for file operations that run, and one on a dead network disk never ends.
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // The first process of a container does not die of a signal.
  exit(EXIT_CODES[code]);
}

/** Why results could not be written, other than that nobody reads them. */
let unwritten: Error | undefined;
/** What is not read yet is not waited for. */
let isGivenUp = false;

/**
 * A reader that goes away, as `| head -1`, has what it wanted: nothing is said, the work goes on to its end, and the
 * exit code tells how that ended, so that `set -o pipefail` stops no script. A full disk under a redirected stdout is
 * no such reader: results are missing there. What cannot be said on stderr is not worth failing for.
 */
function watchStreams(): void {
  process.stdout.on('error', (error) => {
    if (systemErrorCode(error) !== 'EPIPE') unwritten ??= error;
  });
  process.stderr.on('error', () => undefined);
}

/**
 * Plugins run in this process. What they print is talk, or it would be among the results; one that ends the process is
 * refused, so that what called it is told of; and an error that nobody waits for stops the run as a signal does, so that
 * it is reported as every other.
 */
function keepProcess(): void {
  stdout.write = process.stderr.write.bind(process.stderr);
  process.exit = (code) => {
    throw new Error(`expected no end of the process, got \`process.exit(${code ?? ''})\``);
  };
  process.on('uncaughtException', (error: unknown) => {
    stray ??= strayError(error);
    setTimeout(() => {
      endWithStray();
    }, STOP_MS).unref();
    interruption.abort(stray);
  });
}

/** An error that nobody waited for: of a plugin, or a bug. */
let stray: ModeldlError | undefined;

function strayError(error: unknown): ModeldlError {
  const said = error instanceof Error ? `${error.name}: ${error.message}` : inspect(error);
  const place = error instanceof Error ? /^ +at (.+)$/m.exec(error.stack ?? '')?.[1] : undefined;
  return new ModeldlError('INTERNAL', `Unexpected: ${said}${place === undefined ? '' : `, at ${place}`}`, {
    hint: 'where a plugin stands there, tell those who make it; else this is a bug in modeldl: please report it with the output of `--verbose`',
    cause: error,
  });
}

function endWithStray(): void {
  if (stray !== undefined) process.stderr.write(`error: ${stray.message}\nhint: ${stray.hint}\n`);
  exit(EXIT_CODES.INTERNAL);
}

/** Ends the process once everything is written: keep-alive sockets and prompts must not hold it. */
function end(exitCode: number): void {
  if (isGivenUp) exit(exitCode);
  results('', () => {
    // An error is told after the callbacks of its write.
    setImmediate(() => {
      const lost = unwritten !== undefined;
      if (lost) process.stderr.write(`error: Cannot write the result to stdout: ${unwritten?.message}\n`);
      process.stderr.write('', () => {
        endWithTerminal();
        exit(lost && exitCode === 0 ? EXIT_CODES.DISK : exitCode);
      });
    });
  });
}

/**
 * Node.js aborts when it cannot restore a terminal that is gone. Most are told of that by a signal, which ends them; who
 * has such a terminal for input alone is not, and ends by the same signal.
 */
function endWithTerminal(): void {
  if (!process.stdin.isTTY || isatty(0)) return;
  process.removeAllListeners('SIGHUP');
  process.kill(process.pid, 'SIGHUP');
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest)
    return String(manifest.version);
  return 'unknown';
}

/** A HOME that is empty or relative would put tokens and the cache into whatever directory this is run in. */
function home(): string {
  const { HOME = '' } = process.env;
  if (isAbsolute(HOME)) return HOME;
  try {
    return userInfo().homedir;
  } catch {
    // A user that the system does not know, as containers have them, is at home where Docker puts it. Libraries that
    // ask by themselves as they are loaded would fail.
    process.env['HOME'] = '/';
    return '/';
  }
}

function giveUp(): void {
  isGivenUp = true;
}

async function main(): Promise<number> {
  const { runCli } = await import('../src/cli/program.js');
  return runCli(process.argv.slice(2), {
    stdin: process.stdin,
    stdout: Object.create(stdout, { write: { value: results }, destroy: { value: giveUp } }) as typeof stdout,
    stderr: process.stderr,
    environment: process.env,
    cwd: process.cwd(),
    home: home(),
    version: version(),
    signal: interruption.signal,
    createModeldl: async (options) => (await import('../src/index.js')).createModeldl(options),
  });
}

process.on('SIGINT', () => {
  onSignal('SIGINT', 'INTERRUPTED');
});
process.on('SIGTERM', () => {
  onSignal('SIGTERM', 'TERMINATED');
});

watchStreams();

if (process.argv.length === 3 && process.argv[2] === '--version') {
  // The commonest call of scripts: answered without loading the command table.
  process.stdout.write(`${version()}\n`);
  end(0);
} else {
  keepProcess();
  const exitCode = await main();
  // All is done and said, and something went wrong beside it.
  if (exitCode === 0 && stray !== undefined) endWithStray();
  end(exitCode);
}

#!/usr/bin/env node
/** Composition root: the only file that reads the process, and the only one that ends it. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { ModeldlError } from '../src/errors.js';

const interruption = new AbortController();

/** The first signal stops cleanly; a second Ctrl-C ends at once, without cleaning up. */
function onSignal(code: 'INTERRUPTED' | 'TERMINATED', exitCode: number): void {
  if (interruption.signal.aborted) process.exit(exitCode);
  const message = code === 'INTERRUPTED' ? 'Interrupted' : 'Terminated';
  interruption.abort(
    new ModeldlError(code, message, {
      hint: 'run the same command again to resume; what was fetched is kept',
    }),
  );
}

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest)
    return String(manifest.version);
  return 'unknown';
}

async function main(): Promise<number> {
  const { runCli } = await import('../src/cli/program.js');
  return runCli(process.argv.slice(2), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    cwd: process.cwd(),
    home: process.env['HOME'] ?? homedir(),
    version: version(),
    signal: interruption.signal,
    createModeldl: async (options) => (await import('../src/index.js')).createModeldl(options),
  });
}

process.on('SIGINT', () => {
  onSignal('INTERRUPTED', 130);
});
process.on('SIGTERM', () => {
  onSignal('TERMINATED', 143);
});

if (process.argv.length === 3 && process.argv[2] === '--version') {
  // The commonest call of scripts: answered without loading the command table.
  process.stdout.write(`${version()}\n`);
} else {
  const exitCode = await main();
  process.exitCode = exitCode;
  // Keep-alive sockets and prompts must not hold the process once everything is written.
  process.stdout.write('', () => process.stderr.write('', () => process.exit(exitCode)));
}

/** The built program as an MCP server: with the official client, or by lines that a test writes itself. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { PROGRAM, type World } from './program.js';

export type Environment = Readonly<Record<string, string>>;

function environmentOf({ directory, cacheDir }: World, more: Environment): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: directory, MODELDL_CACHE_DIR: cacheDir, ...more };
}

export interface Connected {
  readonly client: Client;
  readonly pid: number;
  /** Everything that the server sent, as it came. */
  readonly messages: readonly unknown[];
  readonly stderr: () => string;
}

export async function connect(
  world: World,
  environment: Environment,
  ...args: readonly string[]
): Promise<Connected> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [PROGRAM, 'mcp', ...args],
    env: environmentOf(world, environment),
    cwd: world.directory,
    stderr: 'pipe',
  });
  let said = '';
  transport.stderr?.on('data', (chunk: Buffer) => {
    said += String(chunk);
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  const messages: unknown[] = [];
  const { onmessage } = transport;
  transport.onmessage = (message) => {
    messages.push(message);
    onmessage?.(message);
  };
  return { client, pid: transport.pid ?? -1, messages, stderr: () => said };
}

export interface RawServer {
  readonly pid: number;
  /** Writes lines as they are. */
  say(...lines: readonly string[]): void;
  /** The next message from the server. */
  hear(): Promise<Record<string, unknown>>;
  endInput(): void;
  /** Reads nothing any more of what the server says. */
  stopReading(): void;
  signal(name: 'SIGTERM' | 'SIGINT'): void;
  stderr(): string;
  /** Exit code of the process, whose output may not be read. */
  readonly exited: Promise<number | null>;
  /** With all that it said. */
  readonly ended: Promise<{
    readonly exitCode: number | null;
    readonly stdout: readonly string[];
    readonly stderr: string;
  }>;
}

export function startRaw(world: World, environment: Environment, ...args: readonly string[]): RawServer {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: world.directory,
    env: environmentOf(world, environment),
  });
  const heard: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => heard.push(line));
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += String(chunk);
  });
  child.stdin.on('error', () => undefined);
  let read = 0;
  const exited = once(child, 'exit').then(([exitCode]: (number | null)[]) => exitCode ?? null);
  const ended = once(child, 'close').then(([exitCode]: (number | null)[]) => ({
    exitCode: exitCode ?? null,
    stdout: heard,
    stderr,
  }));
  return {
    pid: child.pid ?? -1,
    say: (...said) => {
      for (const line of said) child.stdin.write(`${line}\n`);
    },
    async hear() {
      while (heard.length <= read) await once(lines, 'line');
      read += 1;
      return JSON.parse(heard[read - 1] ?? '') as Record<string, unknown>;
    },
    endInput: () => child.stdin.end(),
    stopReading: () => {
      child.stdout.unpipe();
      child.stdout.pause();
    },
    signal: (name) => child.kill(name),
    stderr: () => stderr,
    exited,
    ended,
  };
}

export const INITIALIZE = [
  '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}',
  '{"jsonrpc":"2.0","method":"notifications/initialized"}',
];

export function request(id: number, name: string, given: object, more: object = {}): string {
  return JSON.stringify({
    jsonrpc: '2.0',
    id,
    method: 'tools/call',
    params: { name, arguments: given, ...more },
  });
}

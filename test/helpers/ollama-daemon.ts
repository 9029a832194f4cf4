/**
 * An Ollama that runs: the program that `MODELDL_TEST_OLLAMA` names, else a stand-in that answers as its server/routes.go
 * and server/images.go do for pulling and listing. The same tests hold for both.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { dirname, join } from 'node:path';
import { json } from 'node:stream/consumers';
import * as v from 'valibot';
import { listen, stop } from './http-server.js';
import { sha256Of } from './ollama-registry.js';

export interface OllamaDaemon {
  /** For `OLLAMA_HOST`. */
  readonly host: string;
  /** Resolves when a pull was stopped by who asked for it. */
  stopped(): Promise<void>;
  close(): Promise<void>;
}

/** @param models its store, absolute */
export async function startOllamaDaemon(models: string): Promise<OllamaDaemon> {
  const program = process.env['MODELDL_TEST_OLLAMA'];
  return program === undefined ? standIn(models) : startProgram(program, models);
}

async function startProgram(program: string, models: string): Promise<OllamaDaemon> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const child = spawn(program, ['serve'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: dirname(models), OLLAMA_HOST: host, OLLAMA_MODELS: models },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      // It listens before it says so, and answers once it has looked for devices.
      if (said.includes('inference compute')) resolve();
    });
    child.once('exit', () => {
      reject(new Error(`Expected Ollama to start, got ${said}`));
    });
  });
  return {
    host,
    stopped: () => Promise.resolve(),
    async close() {
      child.kill();
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server, 0);
  await stop(server);
  return port;
}

const pullSchema = v.object({
  /** As the client for JavaScript has it; newer ones say `model`. */
  name: v.string(),
  insecure: v.optional(v.boolean(), false),
  stream: v.literal(true),
});
const layerSchema = v.object({ digest: v.string(), size: v.number() });
const manifestSchema = v.object({ config: layerSchema, layers: v.array(layerSchema) });

async function standIn(models: string): Promise<OllamaDaemon> {
  let tellStopped: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => (tellStopped = resolve));
  const server = createServer((request, response) => {
    const route = `${request.method ?? ''} ${request.url ?? ''}`;
    const answering =
      route === 'POST /api/pull'
        ? pull(request, response)
        : route === 'GET /api/tags'
          ? list(response)
          : Promise.resolve(response.writeHead(404).end('404 page not found'));
    answering.catch((error: unknown) => {
      response.end(`${JSON.stringify({ error: String(error) })}\n`);
    });
  });

  async function pull(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { name: model, insecure } = v.parse(pullSchema, await json(request));
    const abort = new AbortController();
    response.once('close', () => {
      if (response.writableFinished) return;
      abort.abort();
      tellStopped();
    });
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const say = (line: object): boolean => response.write(`${JSON.stringify(line)}\n`);
    say({ status: 'pulling manifest' });
    const { host, repository, tag } = nameOf(model);
    const base = `${insecure ? 'http' : 'https'}://${host}/v2/${repository}`;
    const answer = await fetch(`${base}/manifests/${tag}`, { signal: abort.signal });
    if (!answer.ok) {
      response.end(`${JSON.stringify({ error: 'pull model manifest: file does not exist' })}\n`);
      return;
    }
    const described: unknown = await answer.json();
    const manifest = v.parse(manifestSchema, described);
    for (const { digest, size } of [...manifest.layers, manifest.config]) {
      const step = { status: `pulling ${digest.slice(7, 19)}`, digest, total: size };
      const file = join(models, 'blobs', digest.replace(':', '-'));
      // What is there is not looked into.
      const there = await stat(file).catch(() => undefined);
      if (there !== undefined) {
        say({ ...step, completed: there.size });
        continue;
      }
      say(step);
      const blob = await fetch(`${base}/blobs/${digest}`, { signal: abort.signal });
      const bytes = Buffer.from(await blob.arrayBuffer());
      await mkdir(join(models, 'blobs'), { recursive: true });
      await writeFile(file, bytes);
      say({ ...step, completed: size });
    }
    say({ status: 'verifying sha256 digest' });
    say({ status: 'writing manifest' });
    const file = join(models, 'manifests', host, repository, tag);
    await mkdir(dirname(file), { recursive: true });
    // Not as it came: it was read and is written anew.
    await writeFile(file, JSON.stringify(described));
    say({ status: 'success' });
    response.end();
  }

  async function list(response: ServerResponse): Promise<void> {
    const root = join(models, 'manifests');
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
    const found = await Promise.all(
      entries
        .filter((entry) => entry.isFile())
        .map(async (entry) => {
          const name = `${entry.parentPath.slice(root.length + 1)}:${entry.name}`.replace(
            /^registry\.ollama\.ai\/(library\/)?/,
            '',
          );
          return { name, model: name, digest: sha256Of(await readFile(join(entry.parentPath, entry.name))) };
        }),
    );
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
    response.end(JSON.stringify({ models: found }));
  }

  const port = await listen(server, 0);
  return {
    host: `127.0.0.1:${port}`,
    stopped: () => stopped,
    close: () => stop(server),
  };
}

function nameOf(model: string): { host: string; repository: string; tag: string } {
  const [, host = 'registry.ollama.ai', namespace = 'library', name = '', tag = 'latest'] =
    /^(?:(?:([^/]+)\/)?([^/]+)\/)?([^/:]+)(?::([^/:]+))?$/.exec(model) ?? [];
  return { host, repository: `${namespace}/${name}`, tag };
}

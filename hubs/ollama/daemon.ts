/** An Ollama that runs pulls a model into its store; what lies there then is listed. */
import { access, constants, readFile, stat } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { ReadableStream } from 'node:stream/web';
import type { ProgressResponse } from 'ollama';
import { abortError, ModeldlError, systemErrorCode } from '../../src/errors.js';
import type { HubContext, HubSettingsContext, LocalPull, LocalPullContext, Snapshot } from '../../src/hub.js';
import type { Reference } from '../../src/reference.js';
import { isLoopback } from '../endpoint.js';
import { endpointOf, PUBLIC_ENDPOINT, registryOf, repositoryAddress } from './endpoint.js';
import { readManifest, type Layer } from './manifest.js';
import { askedName, syntax, type Name } from './reference.js';
import type { FoundManifest } from './registry.js';
import { sha256, snapshotOf } from './snapshot.js';
import { blobPath, localStores, readManifestFile, shownName } from './store.js';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = '11434';
const DIGEST = /^sha256:([0-9a-f]{64})$/;

/**
 * @param ask asks the registry itself, which tells better than Ollama does why it gives a model to nobody
 * @throws ModeldlError as {@link LocalProgram.pull}
 */
export async function pullByDaemon(
  reference: Reference,
  context: LocalPullContext,
  ask: (reference: Reference, context: HubContext) => Promise<Snapshot>,
): Promise<LocalPull> {
  const text = syntax.format(reference);
  const { name, hex } = askedName(reference);
  if (hex !== undefined) {
    throw new ModeldlError('USAGE', `Ollama pulls by tags, not by digests: ${text}`, {
      hint: 'leave out `--daemon`, or the digest',
    });
  }
  const address = daemonAddress(context.environment['OLLAMA_HOST'] ?? '');
  requireStoreHere(address, text, context);
  const there = nameThere(name, context);
  const { Ollama } = await import('ollama');
  const client = new Ollama({ host: address, fetch: daemonFetch(context.signal) });
  let digest: string | undefined;
  try {
    const insecure = registryOf(there, context).startsWith('http:');
    const progress = await client.pull({ model: shownName(there), insecure, stream: true });
    const tell = teller(text, context);
    for await (const step of progress) tell(step);
    const shown = shownName(there).toLowerCase();
    digest = (await client.list()).models.find((model) => model.name.toLowerCase() === shown)?.digest;
  } catch (error) {
    if (context.signal.aborted) throw abortError(context.signal);
    throw await failure(error, address, text, () => ask(reference, context));
  }
  const { directory, found } = await storeWith(there, digest, { address, text }, context);
  const repository = repositoryAddress(registryOf(name, context), name);
  const { layers, config } = found.manifest;
  const snapshot = await snapshotOf(
    name,
    {
      addressOf: ({ hex: sha }) => `${repository}/blobs/sha256:${sha}`,
      read: (layer) => readLayer(directory, layer, text),
    },
    found,
  );
  const blobs = [...layers, config].map(
    (layer) => [layer.hex, join(directory, blobPath(layer.hex))] as const,
  );
  return { snapshot, title: 'the Ollama store', directory, blobs: new Map(blobs) };
}

/**
 * Address of the Ollama that `OLLAMA_HOST` means, as Ollama reads it (envconfig/config.go). One that listens everywhere
 * is asked on this machine. @throws ModeldlError CONFIG
 */
export function daemonAddress(setting: string): string {
  const trimmed = setting.trim().replace(/^["']+|["']+$/g, '');
  const [, scheme, rest = ''] = /^(?:(.*?):\/\/)?(.*)$/s.exec(trimmed) ?? [];
  const { scheme: protocol, port: defaultPort } = schemeOf(scheme, rest);
  const slash = rest.indexOf('/');
  const path = slash < 0 ? '' : rest.slice(slash).replace(/\/+$/, '');
  const { host, port } = splitHostAndPort(slash < 0 ? rest : rest.slice(0, slash), defaultPort);
  const number = /^\d{1,5}$/.test(port) && Number(port) <= 65535 ? port : defaultPort;
  const shown = ['', '0.0.0.0'].includes(host) ? DEFAULT_HOST : host === '::' ? '::1' : host;
  const address = `${protocol}://${isIP(shown) === 6 ? `[${shown}]` : shown}:${number}${path}`;
  if (/^https?$/.test(protocol) && URL.canParse(address)) return address;
  throw new ModeldlError('CONFIG', `\`OLLAMA_HOST\` is no address: ${trimmed}`, {
    hint: 'write `host`, `host:port` or `https://host`, or leave it empty for this machine',
  });
}

function schemeOf(scheme: string | undefined, rest: string): { scheme: string; port: string } {
  if (scheme === undefined)
    return rest === 'ollama.com' ? { scheme: 'https', port: '443' } : { scheme: 'http', port: DEFAULT_PORT };
  return { scheme, port: scheme === 'http' ? '80' : scheme === 'https' ? '443' : DEFAULT_PORT };
}

function splitHostAndPort(text: string, defaultPort: string): { host: string; port: string } {
  const [, bracketed, plain, port] = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(text) ?? [];
  if (port !== undefined) return { host: bracketed ?? plain ?? '', port };
  const bare = text.replace(/^[[\]]+|[[\]]+$/g, '');
  return { host: isIP(bare) > 0 ? bare : text, port: defaultPort };
}

/** Before gigabytes go where they cannot be read from. @throws ModeldlError USAGE, CONFIG */
function requireStoreHere(address: string, text: string, context: HubSettingsContext): void {
  if (isLoopback(new URL(address).hostname) || localStores(context).isNamed) return;
  throw new ModeldlError(
    'USAGE',
    `Ollama at ${address} is another machine, whose store is not here: ${text}`,
    {
      hint: 'leave out `--daemon`, since no Ollama is needed; or name by `OLLAMA_MODELS` where its models are mounted here',
      details: { url: address },
    },
  );
}

/** A registry that is configured in place of the public one has to be named to Ollama. @throws ModeldlError CONFIG */
function nameThere(name: Name, context: HubSettingsContext): Name {
  const endpoint = endpointOf(context);
  if (name.host !== undefined || endpoint === PUBLIC_ENDPOINT) return name;
  const { host, pathname } = new URL(endpoint);
  if (pathname === '/') return { ...name, host };
  throw new ModeldlError('CONFIG', `Ollama cannot pull from an address with a path: ${endpoint}`, {
    hint: 'leave out `--daemon`, or set `hubs.ollama.endpoint` to a registry of a host of its own',
  });
}

/** Ollama is silent while it hashes, for as long as that takes: modeldl's own client would give it up. */
function daemonFetch(signal: AbortSignal): typeof globalThis.fetch {
  return (input, init) =>
    new Promise((resolve, reject) => {
      const url = new URL(input instanceof Request ? input.url : input);
      const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
      const headers = Object.fromEntries(new Headers(init?.headers));
      const request = send(url, { method: init?.method ?? 'GET', headers, signal }, (response) => {
        const type = response.headers['content-type'] ?? '';
        if (!type.includes('json')) {
          response.destroy();
          reject(new TypeError(`it answers ${type === '' ? 'without a content type' : type.slice(0, 100)}`));
          return;
        }
        const body = ReadableStream.from<Uint8Array>(response);
        resolve(
          new Response(body, { status: response.statusCode ?? 500, headers: { 'content-type': type } }),
        );
      });
      request.once('error', reject);
      request.end(init?.body);
    });
}

/** Ollama's progress as events. */
function teller(reference: string, { emit }: LocalPullContext): (step: ProgressResponse) => void {
  const started = new Set<string>();
  const done = new Set<string>();
  // Ollama leaves out what is empty or 0.
  return ({ status, digest = '', total = 0, completed = 0 }: Partial<ProgressResponse>) => {
    const hex = DIGEST.exec(digest)?.[1];
    const stage = `Ollama: ${status ?? ''}`;
    if (hex === undefined) {
      if (total > 0) emit({ type: 'stage-progress', stage, done: completed, total });
      else emit({ type: 'stage', reference, stage });
      return;
    }
    const path = `sha256:${hex.slice(0, 12)}`;
    if (!started.has(hex))
      emit({ type: 'file-start', reference, path, bytes: total, resumedBytes: completed });
    started.add(hex);
    emit({ type: 'file-progress', reference, path, receivedBytes: completed });
    if (completed < total || done.has(hex)) return;
    done.add(hex);
    emit({ type: 'file-done', reference, path, bytes: total, sha256: hex });
  };
}

/** Ollama says in words only what went wrong; where its registry gave nothing, that one is asked. */
async function failure(
  error: unknown,
  address: string,
  text: string,
  ask: () => Promise<unknown>,
): Promise<unknown> {
  const said = error instanceof Error ? error.message.replace(/\s+/g, ' ').slice(0, 300) : String(error);
  const code = systemErrorCode(error);
  if (code !== undefined || error instanceof TypeError) {
    const refused = code === 'ECONNREFUSED';
    return new ModeldlError('NETWORK', `No Ollama answers at ${address}${refused ? '' : `: ${said}`}`, {
      hint: `start it with \`ollama serve\`, or name it by \`OLLAMA_HOST\`; \`modeldl pull ${text}\` needs none`,
      cause: error,
      details: { url: address },
    });
  }
  const refusal = await ask().then(
    () => undefined,
    (thrown: unknown) => (thrown instanceof ModeldlError && thrown.code !== 'NETWORK' ? thrown : undefined),
  );
  if (refusal !== undefined) return refusal;
  return new ModeldlError('NETWORK', `Ollama at ${address} could not pull ${text}: ${said}`, {
    hint: 'its log says more; a newer Ollama may be needed, or room on its disk; without `--daemon` none is needed',
    cause: error,
    details: { url: address },
  });
}

/** The store that the running Ollama has the model in, by the digest that it tells. @throws ModeldlError NOT_FOUND, DISK */
async function storeWith(
  name: Name,
  digest: string | undefined,
  { address, text }: { readonly address: string; readonly text: string },
  context: LocalPullContext,
): Promise<{ directory: string; found: FoundManifest }> {
  const { directories } = localStores(context);
  let denied: { readonly directory: string; readonly cause: unknown } | undefined;
  for (const directory of directories) {
    try {
      const found = await whole(directory, name, digest);
      if (found !== undefined) return { directory, found };
    } catch (error) {
      if (!['EACCES', 'EPERM'].includes(systemErrorCode(error) ?? '')) throw error;
      denied = { directory, cause: error };
    }
  }
  if (denied !== undefined) {
    const { directory, cause } = denied;
    throw new ModeldlError('DISK', `Cannot read the store of Ollama in ${directory}: permission denied`, {
      hint: `join its group (\`sudo usermod -aG ollama $USER\`, then log in again); \`modeldl pull ${text}\` needs no Ollama`,
      cause,
      details: { file: directory },
    });
  }
  throw new ModeldlError(
    'NOT_FOUND',
    `Ollama at ${address} has ${shownName(name)}, but its store is not in ${directories.join(' or ')}`,
    {
      hint: `name by \`OLLAMA_MODELS\` where its models can be read from here; \`modeldl pull ${text}\` needs no Ollama`,
      details: { url: address },
    },
  );
}

/** The manifest of a store that has it and all its layers. Throws as the file system does for what may not be read. */
async function whole(
  directory: string,
  name: Name,
  digest: string | undefined,
): Promise<FoundManifest | undefined> {
  const bytes = await readManifestFile(directory, name);
  if (bytes === undefined || (digest !== undefined && sha256(bytes) !== digest.replace('sha256:', '')))
    return undefined;
  const manifest = readManifest(bytes.toString('utf8'), shownName(name));
  if (manifest === undefined) return undefined;
  for (const { hex, size } of [...manifest.layers, manifest.config]) {
    const path = join(directory, blobPath(hex));
    const found = await stat(path).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.size !== size) return undefined;
    await access(path, constants.R_OK);
  }
  return { bytes, hex: sha256(bytes), manifest };
}

async function readLayer(directory: string, { kind, hex }: Layer, text: string): Promise<Buffer> {
  const path = join(directory, blobPath(hex));
  const bytes = await readFile(path);
  const got = sha256(bytes);
  if (got === hex) return bytes;
  throw new ModeldlError('INTEGRITY', `The ${kind} of ${text} is damaged in the store of Ollama: ${path}`, {
    hint: 'remove it there with `ollama rm`, and pull again',
    details: { file: path, expected: hex, got },
  });
}

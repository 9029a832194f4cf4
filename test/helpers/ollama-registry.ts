/**
 * A local registry of Ollama: manifests by tag, layers by redirects to signed addresses at another origin, challenges
 * that are answered with a signature of an account's key. What it answers, and what it does not (lists of tags, manifests
 * by digest), is as registry.ollama.ai has it: ollama/ollama#6470, #5298, #5021, #180 and server/auth.go.
 */
import { createHash, createPublicKey, randomUUID, verify } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { ServerFault } from '../hubs/conformance.js';
import { startServer, type Route, type TestServer } from '../hubs/server.js';
import type { Certificate } from '../transfer/certificate.js';
import { ranged } from './http-server.js';

const DOCKER = 'application/vnd.docker.distribution.manifest.v2+json';
const TYPE = 'application/vnd.ollama.image';

export interface RegistryLayer {
  /** The end of its media type, or all of another one. */
  readonly kind: string;
  readonly bytes: Uint8Array;
  readonly name?: string;
}

export interface RegistryModel {
  /** `namespace/model:tag`. */
  readonly name: string;
  readonly layers: readonly RegistryLayer[];
  readonly config?: object;
  /** Only with a token. */
  readonly isPrivate?: boolean;
}

export interface RegistryOptions {
  readonly models: readonly RegistryModel[];
  /** Public keys that accounts have registered, as in a `.pub` file without type and name. */
  readonly keys?: readonly string[];
  /** Origin that challenges name; its own by default. */
  readonly realm?: string;
  readonly certificate?: Certificate;
  /** Name of this machine that layers are redirected to: Ollama takes none from the host that it asked. */
  readonly storageHost?: string;
  /** As registries of others do, and Ollama's does not. */
  readonly listsTags?: boolean;
}

export interface OllamaRegistry {
  readonly endpoint: string;
  readonly site: TestServer;
  readonly storage: TestServer;
  /** What the site was asked for. */
  asked(): readonly string[];
  /** Moves tags; what they meant before is still there by its digest. */
  push(model: RegistryModel): void;
  /** What the storage has in place of some bytes. */
  swap(bytes: Uint8Array, other: Uint8Array): void;
  /** Removes bytes, so that nothing has them any more. */
  drop(bytes: Uint8Array): void;
  /** Answers every request for a manifest. */
  answerManifests(route: Route | undefined): void;
  expireTokens(): void;
  readonly setFault: (fault: ServerFault) => void;
  readonly close: () => Promise<void>;
}

interface Repository {
  readonly tags: Map<string, string>;
  readonly blobs: Set<string>;
  isPrivate: boolean;
}

export async function startOllamaRegistry(options: RegistryOptions): Promise<OllamaRegistry> {
  const repositories = new Map<string, Repository>();
  const bytesOf = new Map<string, Uint8Array>();
  const swapped = new Map<string, Uint8Array>();
  const signature = randomUUID();
  const nonces = new Set<string>();
  const tokens = new Map<string, string>();
  let manifests: Route | undefined;

  const storage = await startServer(stored, options.certificate);
  const site = await startServer(answer, options.certificate);
  const storageOrigin = storage.origin.replace('127.0.0.1', options.storageHost ?? '127.0.0.1');

  function push({ name, layers, config = {}, isPrivate = false }: RegistryModel): void {
    const [path = '', tag = 'latest'] = name.split(':');
    const repository = repositories.get(path) ?? { tags: new Map(), blobs: new Set(), isPrivate };
    repositories.set(path, { ...repository, isPrivate });
    const keep = (bytes: Uint8Array): string => {
      const hex = sha256Of(bytes);
      bytesOf.set(hex, bytes);
      repository.blobs.add(hex);
      return hex;
    };
    const manifest = Buffer.from(manifestOf(layers, config));
    keep(Buffer.from(JSON.stringify(config)));
    for (const { bytes } of layers) keep(bytes);
    repository.tags.set(tag, keep(manifest));
  }

  function answer(request: IncomingMessage, path: string): Route {
    if (path === '/token') return token(request);
    const [, name = '', kind, reference = ''] =
      /^\/v2\/([^/]+\/[^/]+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
    const listed =
      options.listsTags === true ? /^\/v2\/([^/]+\/[^/]+)\/tags\/list$/.exec(path)?.[1] : undefined;
    if (listed !== undefined) {
      const tags = repositories.get(listed)?.tags;
      if (tags === undefined) return failure(404, 'NAME_UNKNOWN', 'repository name not known to registry');
      return { headers: json, body: JSON.stringify({ name: listed, tags: [...tags.keys()] }) };
    }
    const repository = repositories.get(name);
    if (kind === undefined) return { status: 404, body: '404 page not found' };
    if (kind === 'manifests' && manifests !== undefined) return manifests;
    if (
      repository?.isPrivate === true &&
      request.headers.authorization !== `Bearer ${tokens.get(name) ?? ''}`
    )
      return unauthorized(name);
    if (kind === 'manifests') {
      if (reference.startsWith('sha256:')) return failure(500, 'INTERNAL_ERROR', 'internal error');
      const bytes = bytesOf.get(repository?.tags.get(reference) ?? '');
      if (bytes === undefined)
        return failure(404, 'MANIFEST_UNKNOWN', 'manifest unknown', { Tag: reference });
      return { headers: { 'content-type': 'text/plain; charset=utf-8' }, body: bytes };
    }
    const hex = reference.replace('sha256:', '');
    if (repository?.blobs.has(hex) !== true || !bytesOf.has(hex))
      return failure(404, 'BLOB_UNKNOWN', 'blob unknown to registry');
    const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=1200&X-Amz-SignedHeaders=host&X-Amz-Signature=${signature}`;
    const data = `ollama/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
    return { status: 307, headers: { location: `${storageOrigin}/${data}?${query}` } };
  }

  function unauthorized(name: string): Route {
    const realm = `${options.realm ?? site.origin}/token`;
    const challenge = `Bearer realm="${realm}",service="registry.example",scope="repository:${name}:pull"`;
    return {
      ...failure(401, 'UNAUTHORIZED', 'authentication required'),
      headers: { 'www-authenticate': challenge },
    };
  }

  /** Checks what server/auth.go signs: method, the whole address, the digest of no body. */
  function token(request: IncomingMessage): Route {
    const address = `${site.origin}${request.url ?? ''}`;
    const { searchParams } = new URL(address);
    const [key = '', signed = ''] = (request.headers.authorization ?? '').split(':');
    const text = `GET,${address},${Buffer.from(sha256Of(new Uint8Array())).toString('base64')}`;
    const nonce = searchParams.get('nonce') ?? '';
    const [, name = ''] = /^repository:([^:]+):pull$/.exec(searchParams.get('scope') ?? '') ?? [];
    const late = Math.abs(Date.now() / 1000 - Number(searchParams.get('ts'))) > 300;
    const isWrong =
      options.keys?.includes(key) !== true ||
      !verify(null, Buffer.from(text), publicKeyOf(key), Buffer.from(signed, 'base64')) ||
      searchParams.get('service') !== 'registry.example' ||
      !/^[\w-]{22}$/.test(nonce) ||
      nonces.has(nonce) ||
      late ||
      !repositories.has(name);
    if (isWrong) return { status: 401, headers: json, body: JSON.stringify({ error: 'unauthorized' }) };
    nonces.add(nonce);
    const given = tokens.get(name) ?? randomUUID();
    tokens.set(name, given);
    return { headers: json, body: JSON.stringify({ token: given }) };
  }

  /** Cloudflare R2: signed, and refusing any other authorization. */
  function stored(request: IncomingMessage, path: string): Route {
    const hex = /\/([0-9a-f]{64})\/data$/.exec(path)?.[1] ?? '';
    const isSigned =
      new URL(request.url ?? '', storage.origin).searchParams.get('X-Amz-Signature') === signature;
    if (!isSigned || request.headers.authorization !== undefined)
      return {
        status: 400,
        headers: { 'content-type': 'application/xml' },
        body: '<Error><Code>InvalidArgument</Code></Error>',
      };
    const bytes = swapped.get(hex) ?? bytesOf.get(hex);
    if (bytes === undefined) return { status: 404 };
    const { status, headers, body } = ranged(
      {
        status: 200,
        headers: {
          'content-type': 'application/octet-stream',
          'accept-ranges': 'bytes',
          etag: `"${hex.slice(0, 32)}"`,
        },
        body: Buffer.from(bytes),
        ranges: true,
      },
      request,
    );
    return { status, headers, body };
  }

  for (const model of options.models) push(model);
  return {
    endpoint: site.origin,
    site,
    storage,
    asked: () => site.requests.map(({ url }) => url),
    push,
    swap: (bytes, other) => swapped.set(sha256Of(bytes), other),
    drop: (bytes) => bytesOf.delete(sha256Of(bytes)),
    answerManifests(route) {
      manifests = route;
    },
    expireTokens() {
      tokens.clear();
    },
    setFault: site.setFault,
    async close() {
      await site.close();
      await storage.close();
    },
  };
}

export function manifestOf(layers: readonly RegistryLayer[], config: object): string {
  const described = layers.map(({ kind, bytes, name }) => ({
    mediaType: kind.includes('/') ? kind : `${TYPE}.${kind}`,
    digest: `sha256:${sha256Of(bytes)}`,
    size: bytes.length,
    ...(name === undefined ? {} : { name }),
  }));
  const bytes = Buffer.from(JSON.stringify(config));
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: DOCKER,
    config: {
      mediaType: 'application/vnd.docker.container.image.v1+json',
      digest: `sha256:${sha256Of(bytes)}`,
      size: bytes.length,
    },
    layers: described,
  });
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const json = { 'content-type': 'application/json' };

function failure(status: number, code: string, message: string, detail: object = {}): Route {
  return { status, headers: json, body: `${JSON.stringify({ errors: [{ code, message, detail }] })}\n` };
}

/** The 32 bytes at the end of a key in OpenSSH's format, as RFC 8410 has them. */
function publicKeyOf(key: string): ReturnType<typeof createPublicKey> {
  const raw = Buffer.from(key, 'base64').subarray(-32);
  return createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]),
    format: 'der',
    type: 'spki',
  });
}

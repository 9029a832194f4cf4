/** Debian's docker-registry on a free port of this machine, with a configuration and storage of its own. */
import { spawn } from 'node:child_process';
import { createHash, createSign, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { selfSigned, type Certificate } from '../transfer/certificate.js';
import { listen, listener, readBody, stop } from './http-server.js';
import { hasProgram, requirePeer } from './require.js';

/** Query of the request that tells how far the log is. */
const MARK = 'mark=';

/** A test that needs the program. */
export const withRegistry = requirePeer('docker-registry', hasProgram('docker-registry', ['--version']));

export const USER = 'ali';
export const PASSWORD = 'open-sesame';
/** bcrypt of {@link PASSWORD}, the one kind of hash that the registry takes. */
const HASH = '$2b$04$lrOnOIDk7yFl9js6WPfG3eCJ9yBWaI0jbcalLmMFFpFo0PqqSZJde';

export interface RegistryOptions {
  /** `basic`: user and password with each request; `token`: a server of tokens, which asks for them. */
  readonly auth?: 'basic' | 'token';
  /** With `token`: what anybody may do without a login. */
  readonly anonymous?: readonly ('pull' | 'push')[];
  /** Serves TLS with it. */
  readonly certificate?: Certificate;
  /** Takes nothing, as one that is a cache of another. */
  readonly readOnly?: boolean;
  /** With `token`: for how long tokens are good, seconds. */
  readonly lifetime?: number;
}

export interface TokenRequest {
  readonly scopes: readonly string[];
  /** `basic ali`, `refresh …`, `anonymous`. */
  readonly by: string;
}

export interface Registry {
  /** `127.0.0.1:port`. */
  readonly host: string;
  readonly origin: string;
  /** What its tokens were asked for. */
  readonly tokenRequests: readonly TokenRequest[];
  /** Lines of its own log of requests: `GET /v2/… 200`. */
  requests(): readonly string[];
  /** Resolves once all that it has answered is in its log. */
  logged(): Promise<void>;
  /** Bytes that it answered with. */
  answeredBytes(): number;
  /** Puts other bytes under a digest, as a bad disk would. */
  damage(digest: string, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Refresh token that the server of tokens takes in place of a password. */
export const IDENTITY_TOKEN = 'identity-open-sesame';

export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const directory = await mkdtemp(join(tmpdir(), 'modeldl-registry-'));
  const { auth, certificate, readOnly = false } = options;
  const config: Record<string, unknown> = {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: join(directory, 'storage') },
      maintenance: { readonly: { enabled: readOnly } },
    },
    http: { addr: '127.0.0.1:0' },
  };
  const tokens = auth === 'token' ? await startTokens(options) : undefined;
  if (auth === 'basic') {
    await writeFile(join(directory, 'htpasswd'), `${USER}:${HASH}\n`);
    config['auth'] = { htpasswd: { realm: 'test', path: join(directory, 'htpasswd') } };
  }
  if (tokens !== undefined) {
    await writeFile(join(directory, 'roots.pem'), tokens.certificate);
    const { realm, service, issuer } = tokens;
    config['auth'] = { token: { realm, service, issuer, rootcertbundle: join(directory, 'roots.pem') } };
  }
  if (certificate !== undefined) {
    await mkdir(join(directory, 'tls'));
    await writeFile(join(directory, 'tls', 'cert.pem'), certificate.cert);
    await writeFile(join(directory, 'tls', 'key.pem'), certificate.key);
    config['http'] = {
      addr: '127.0.0.1:0',
      tls: { certificate: join(directory, 'tls', 'cert.pem'), key: join(directory, 'tls', 'key.pem') },
    };
  }
  // YAML takes JSON.
  await writeFile(join(directory, 'config.yml'), JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', OTEL_TRACES_EXPORTER: 'none' },
  });
  let said = '';
  const port = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += String(chunk);
      const found = /listening on 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
      if (found !== undefined) resolve(found);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.once('error', reject);
    child.once('exit', () => {
      reject(new Error(`docker-registry ended: ${said}`));
    });
  });
  const host = `127.0.0.1:${port}`;
  return {
    host,
    origin: `${certificate === undefined ? 'http' : 'https'}://${host}`,
    tokenRequests: tokens?.requests ?? [],
    requests: () =>
      [...said.matchAll(/"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP\/[\d.]+" (\d+)/g)]
        .map(([, method = '', path = '', status = '']) => `${method} ${path} ${status}`)
        .filter((line) => !line.includes(`?${MARK}`)),
    logged: async () => {
      const mark = `${MARK}${randomUUID()}`;
      const heard = new Promise<void>((resolve) => {
        const hear = (): void => {
          if (!said.includes(mark)) return;
          child.stdout.off('data', hear);
          child.stderr.off('data', hear);
          resolve();
        };
        child.stdout.on('data', hear);
        child.stderr.on('data', hear);
      });
      await (await fetch(`http${certificate === undefined ? '' : 's'}://${host}/v2/?${mark}`)).text();
      await heard;
    },
    answeredBytes: () =>
      [...said.matchAll(/"(?:GET|HEAD|POST|PUT|PATCH) (?!\/v2\/\?mark=)\S+ HTTP\/[\d.]+" \d+ (\d+)/g)].reduce(
        (sum, [, bytes]) => sum + Number(bytes),
        0,
      ),
    damage: (digest, bytes) => {
      const hex = digest.replace('sha256:', '');
      const blobs = join(directory, 'storage', 'docker', 'registry', 'v2', 'blobs', 'sha256');
      return writeFile(join(blobs, hex.slice(0, 2), hex, 'data'), bytes, { flag: 'r+' });
    },
    close: async () => {
      if (child.exitCode === null) {
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await ended;
      }
      await tokens?.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

interface Tokens {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** PEM, that vouches for the tokens. */
  readonly certificate: string;
  readonly requests: readonly TokenRequest[];
  close(): Promise<void>;
}

/** distribution, "Token Authentication Specification": signed statements of what may be done. */
async function startTokens({ anonymous = [], lifetime = 300 }: RegistryOptions): Promise<Tokens> {
  const { key, cert } = await selfSigned('DNS:tokens');
  const requests: TokenRequest[] = [];
  const [service, issuer] = ['registry.test', 'tokens.test'];

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked =
      request.method === 'POST'
        ? new URLSearchParams(await readBody(request))
        : new URL(request.url ?? '/', 'http://x').searchParams;
    const scopes = asked.getAll('scope').flatMap((scope) => scope.split(' '));
    const [user = '', password = ''] = Buffer.from(
      (request.headers.authorization ?? '').replace(/^Basic /, ''),
      'base64',
    )
      .toString('utf8')
      .split(':');
    const isRefresh = asked.get('grant_type') === 'refresh_token';
    const isKnown = isRefresh
      ? asked.get('refresh_token') === IDENTITY_TOKEN
      : user === USER && password === PASSWORD;
    const isAnonymous = !isRefresh && request.headers.authorization === undefined;
    requests.push({ scopes, by: isRefresh ? 'refresh' : isAnonymous ? 'anonymous' : `basic ${user}` });
    response.setHeader('content-type', 'application/json');
    if (!isKnown && !isAnonymous) {
      response.writeHead(401);
      response.end(
        JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'incorrect username or password' }] }),
      );
      return;
    }
    const access = scopes.flatMap((scope) => {
      const [, type, name, actions = ''] = /^(\w+):(.+):([\w,*]+)$/.exec(scope) ?? [];
      const granted = actions
        .split(',')
        .filter((action) => isKnown || anonymous.some((able) => able === action));
      return granted.length === 0 ? [] : [{ type, name, actions: granted }];
    });
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: issuer,
      sub: user,
      aud: service,
      exp: now + lifetime,
      nbf: now - 60,
      iat: now,
      jti: randomUUID(),
      access,
    };
    const chain = cert.replace(/-----[^-]+-----|\s/g, '');
    const parts = [{ typ: 'JWT', alg: 'ES256', x5c: [chain] }, claims].map((part) =>
      Buffer.from(JSON.stringify(part)).toString('base64url'),
    );
    const signature = createSign('sha256')
      .update(parts.join('.'))
      .sign({ key, dsaEncoding: 'ieee-p1363' })
      .toString('base64url');
    const token = [...parts, signature].join('.');
    response.end(
      JSON.stringify(
        isRefresh ? { access_token: token, expires_in: lifetime } : { token, expires_in: lifetime },
      ),
    );
  }

  const server = createServer(listener(answer));
  const port = await listen(server, 0);
  return {
    realm: `http://127.0.0.1:${port}/token`,
    service,
    issuer,
    certificate: cert,
    requests,
    close: () => stop(server),
  };
}

export interface TestLayer {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface TestManifest {
  readonly layers: readonly TestLayer[];
  readonly artifactType?: string;
  readonly configType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly mediaType?: string;
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A manifest's bytes, as a client makes them. */
export function manifestOf({
  layers,
  artifactType,
  configType,
  annotations,
  mediaType,
}: TestManifest): string {
  const descriptor = ({ bytes, ...rest }: TestLayer) => ({
    mediaType: rest.mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
    ...(rest.annotations === undefined ? {} : { annotations: rest.annotations }),
  });
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType ?? 'application/vnd.oci.image.manifest.v1+json',
    ...(artifactType === undefined ? {} : { artifactType }),
    config: descriptor({
      mediaType: configType ?? 'application/vnd.oci.empty.v1+json',
      bytes: Buffer.from('{}'),
    }),
    layers: layers.map(descriptor),
    ...(annotations === undefined ? {} : { annotations }),
  });
}

/** Puts a model into a registry with plain requests. @returns the digest of its manifest */
export async function putModel(
  registry: Registry,
  repository: string,
  tag: string,
  manifest: TestManifest,
  authorization?: string,
): Promise<string> {
  const headers = authorization === undefined ? {} : { authorization };
  const send = async (
    method: string,
    address: string,
    body?: string | Uint8Array,
    type = 'application/octet-stream',
  ) => {
    const response = await fetch(address, {
      method,
      headers: { ...headers, 'content-type': type },
      ...(body === undefined ? {} : { body }),
    });
    if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${await response.text()}`);
    return response;
  };
  const base = `${registry.origin}/v2/${repository}`;
  for (const bytes of [Buffer.from('{}'), ...manifest.layers.map((layer) => Buffer.from(layer.bytes))]) {
    const opened = await send('POST', `${base}/blobs/uploads/`);
    const place = new URL(opened.headers.get('location') ?? '', registry.origin);
    place.searchParams.set('digest', digestOf(bytes));
    await send('PUT', place.href, bytes);
  }
  const text = manifestOf(manifest);
  const type = manifest.mediaType ?? 'application/vnd.oci.image.manifest.v1+json';
  await send('PUT', `${base}/manifests/${tag}`, text, type);
  return digestOf(text);
}

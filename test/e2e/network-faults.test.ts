/** Names, certificates, proxies and redirects that go wrong, against the built program: at the first answer and midway. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal, type Refusal } from '../helpers/refused.js';
import { expectSoundStore } from '../helpers/sound-store.js';
import { selfSigned, type Certificate } from '../transfer/certificate.js';
import { createWorld as createServers, type Local } from '../transfer/faults.js';

const MiB = 1024 * 1024;
const SMALL = Buffer.alloc(MiB, 'small weights ');
/** Large enough for several parts at once. */
const LARGE = Buffer.alloc(40 * MiB, 'large weights ');
/** Where an answer breaks off, so that there is a later one. */
const MIDWAY = 18 * MiB;

const servers = createServers();
let world: World;
let own: Certificate;
let ofAnother: Certificate;
let expired: Certificate;

beforeAll(async () => {
  own = await selfSigned('IP:127.0.0.1');
  ofAnother = await selfSigned('DNS:elsewhere.example');
  expired = await selfSigned('IP:127.0.0.1', -1);
});
beforeEach(async () => {
  world = await createWorld({ SSL_CERT_FILE: '', NODE_EXTRA_CA_CERTS: '' });
  await trust(own, ofAnother, expired);
});
afterEach(async () => {
  await world.remove();
  await servers.close();
});

let trusted: Readonly<Record<string, string>>;
async function trust(...certificates: readonly Certificate[]): Promise<void> {
  const file = join(world.directory, 'authorities.pem');
  await writeFile(file, certificates.map(({ cert }) => cert).join('\n'));
  trusted = { SSL_CERT_FILE: file };
}

/** Gives a file as a server should: ranges under `If-Range`, a strong ETag; at most `upTo` bytes of an answer. */
function give(bytes: Buffer, request: IncomingMessage, response: ServerResponse, upTo = Infinity): void {
  const etag = `"${createHash('sha1').update(bytes.subarray(0, 1000)).digest('hex')}"`;
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
  const condition = request.headers['if-range'];
  const isPart = first !== undefined && (condition === undefined || condition === etag);
  const start = isPart ? Number(first) : 0;
  const end = isPart && last !== '' ? Math.min(Number(last), bytes.length - 1) : bytes.length - 1;
  response.writeHead(isPart ? 206 : 200, {
    etag,
    'accept-ranges': 'bytes',
    'content-length': String(end - start + 1),
    ...(isPart ? { 'content-range': `bytes ${start}-${end}/${bytes.length}` } : {}),
  });
  if (request.method === 'HEAD') response.end();
  else if (end - start < upTo) response.end(bytes.subarray(start, end + 1));
  else response.write(bytes.subarray(start, start + upTo), () => response.socket?.destroySoon());
}

function redirect(response: ServerResponse, location: string): void {
  response.writeHead(302, { location }).end();
}

/** Is this a request for bytes that come after a first answer, which broke off? */
function isLater({ headers }: IncomingMessage): boolean {
  return !/^bytes=0-/.test(headers.range ?? 'bytes=0-');
}

/** When a redirect appears: for the question what there is, for the first bytes, or for later ones. */
const WHEN = ['at the question', 'at the first bytes', 'midway'] as const;

function redirecting(when: (typeof WHEN)[number], location: () => string): RequestListener {
  return (request, response) => {
    const redirects =
      when === 'at the question' ||
      (when === 'at the first bytes' ? request.method === 'GET' : isLater(request));
    if (redirects) redirect(response, location());
    else give(LARGE, request, response, when === 'midway' ? MIDWAY : Infinity);
  };
}

async function expectBytes(
  address: string,
  bytes: Buffer,
  environment: Readonly<Record<string, string>>,
): Promise<void> {
  const run = await world.runWith({ ...trusted, ...environment }, 'pull', address);
  expect(run.exitCode, run.stderr).toBe(0);
  expect((await readFile(run.stdout)).equals(bytes)).toBe(true);
  expect(await expectSoundStore(world)).toBe(1);
}

/** Refused twice (see there), with nothing wrong in the store. */
async function expectRefused(address: string, refusal: Refusal): Promise<void> {
  const environment = { ...trusted, ...refusal.environment };
  await expectRefusal(world, ['pull', address, '--max-wait', '2s'], { ...refusal, environment });
  expect(await expectSoundStore(world)).toBe(0);
}

describe('a certificate is not accepted', () => {
  type Row = readonly [what: string, certificate: () => Certificate, code: string];
  const ROWS: readonly Row[] = [
    ['of another name', () => ofAnother, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['that has expired', () => expired, 'CERT_HAS_EXPIRED'],
    ['that nobody vouches for', () => own, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ];

  it.each(ROWS)('%s', async (_what, certificate, code) => {
    await trust(...[ofAnother, expired]);
    const server = await servers.serve((request, response) => {
      give(SMALL, request, response);
    }, certificate());
    await expectRefused(`${server.origin}/model.onnx`, {
      code: 'NETWORK',
      message: new RegExp(`The certificate of ${server.host} was not accepted: .*\\(${code}\\)`),
      hint: /`caFile` or `SSL_CERT_FILE`/,
    });
    expect(server.requests).toEqual([]);
  });

  it.each(ROWS.flatMap(([what, ...row]) => WHEN.map((when) => [what, when, ...row] as const)))(
    '%s, behind a redirect %s',
    async (_what, when, certificate, code) => {
      const other = await servers.serve((request, response) => {
        give(LARGE, request, response);
      }, certificate());
      // The first server is trusted by name and authority, whichever of the two the other one lacks.
      const good = await selfSigned('IP:127.0.0.1');
      await trust(good, ofAnother, expired);
      const server = await servers.serve(
        redirecting(when, () => `${other.origin}/model.onnx?sig=x`),
        good,
      );
      await expectRefused(`${server.origin}/model.onnx`, {
        code: 'NETWORK',
        message: new RegExp(`The certificate of ${other.host} was not accepted: .*\\(${code}\\)`),
        hint: /`caFile` or `SSL_CERT_FILE`/,
      });
      expect(other.requests).toEqual([]);
    },
  );
});

/** Addresses that an allow-list of one folder leaves out. */
const OUTSIDE: readonly (readonly [string, (other: Local) => string])[] = [
  ['another port', ({ host }) => `https://${host}/models/model.onnx`],
  ['a private network', () => 'https://10.0.0.1/models/model.onnx'],
  ["a cloud's metadata", () => 'https://169.254.169.254/latest/meta-data/'],
  ['this machine by its name', ({ host }) => `https://localhost:${host.split(':')[1]}/models/model.onnx`],
  ['this machine in other words', ({ host }) => `https://[::ffff:127.0.0.1]:${host.split(':')[1]}/models/`],
  ['a path beside', () => '/other/model.onnx'],
  ['a path that leaves', () => '/models/..%2Fother/model.onnx'],
];

describe.each(WHEN)('a redirect %s is not followed', (when) => {
  it('from https to http', async () => {
    const plain = await servers.serve((_request, response) => response.end('plain'));
    const server = await servers.serve(
      redirecting(when, () => `${plain.origin}/model.onnx?sig=x`),
      own,
    );
    await expectRefused(`${server.origin}/model.onnx`, {
      code: 'NETWORK',
      message: `${server.host}/model.onnx redirects to an unencrypted address: ${plain.origin}/model.onnx`,
      hint: /whoever runs the server/,
    });
    expect(plain.connections()).toBe(0);
  });

  describe('to an address outside `hubs.url.allow`', () => {
    it.each(when === 'at the first bytes' ? OUTSIDE : OUTSIDE.slice(0, 2))('%s', async (_what, location) => {
      const other = await servers.serve((_request, response) => response.end('internal'), own);
      const asked: string[] = [];
      const server = await servers.serve((request, response) => {
        if (request.url !== '/models/model.onnx') asked.push(request.url ?? '');
        redirecting(when, () => location(other))(request, response);
      }, own);
      await configure({ allow: [`${server.origin}/models`] });
      await expectRefused(`${server.origin}/models/model.onnx`, {
        code: 'USAGE',
        message: /Not among the addresses that `hubs\.url\.allow` permits: https:/,
        hint: /configuration/,
      });
      expect(other.connections()).toBe(0);
      expect(asked).toEqual([]);
    });
  });

  it('in circles', async () => {
    const server = await servers.serve(
      redirecting(when, () => `${server.origin}/model.onnx`),
      own,
    );
    await expectRefused(`${server.origin}/model.onnx`, {
      code: 'NETWORK',
      message: `Too many redirects: ${server.origin}/model.onnx`,
      hint: /check the address/,
    });
  });

  it('to a name that nobody has', async () => {
    const server = await servers.serve(
      redirecting(when, () => 'https://cdn.invalid/model.onnx?sig=x'),
      own,
    );
    await expectRefused(`${server.origin}/model.onnx`, {
      code: 'NETWORK',
      message: /Cannot reach cdn\.invalid: its name cannot be resolved/,
      hint: /check the network/,
    });
  });
});

/** Settings of web addresses, as the user's own: a project file would have to be trusted first. */
async function configure(url: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const directory = join(world.directory, '.config', 'modeldl');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'config.json'), JSON.stringify({ hubs: { url } }));
}

describe('a name that nobody has', () => {
  it.each([
    [
      'of a hub',
      'hf:org/model',
      { HF_ENDPOINT: 'https://hub.invalid' },
      /Cannot reach hub\.invalid: its name/,
    ],
    ['in an address', 'https://hub.invalid/m.onnx', {}, /Cannot reach hub\.invalid: its name/],
    [
      'of a proxy',
      'https://models.example/m.onnx',
      { HTTPS_PROXY: 'http://user:secret@proxy.invalid:3128' },
      /Cannot reach models\.example through the proxy proxy\.invalid:3128: its name/,
    ],
  ])('%s', async (_what, reference, environment, message) => {
    await expectRefused(reference, {
      code: 'NETWORK',
      message,
      hint: /check the network and the proxy settings/,
      environment,
      secret: 'secret',
    });
  });
});

describe('a proxy', () => {
  const address = async (bytes: Buffer): Promise<string> => {
    const server = await servers.serve((request, response) => {
      give(bytes, request, response);
    }, own);
    return `${server.origin}/model.onnx`;
  };
  const through = (proxy: Local): Readonly<Record<string, string>> => ({
    HTTPS_PROXY: proxy.origin.replace('//', '//user:secret@'),
  });

  it('that refuses connections is named', async () => {
    const proxy = await servers.proxy();
    await servers.close();
    await expectRefused('https://models.example/m.onnx', {
      code: 'NETWORK',
      message: `Cannot reach models.example through the proxy ${proxy.host}: it refused the connection`,
      hint: /`HTTPS_PROXY`/,
      environment: through(proxy),
      secret: 'secret',
    });
  });

  it.each(['https', 'http'])('that wants a login for %s is named', async (scheme) => {
    const proxy = await servers.proxy(407);
    await configure({ insecure: ['models.example'] });
    for (const reference of [`${scheme}://models.example/m.onnx`, 'hf:org/model']) {
      await expectRefused(reference, {
        code: 'NETWORK',
        message: new RegExp(`Cannot reach .*: the proxy ${proxy.host} wants a login`),
        hint: `${scheme.toUpperCase()}_PROXY=user:password@host:port`,
        environment: {
          ...through(proxy),
          HTTP_PROXY: proxy.host,
          HF_ENDPOINT: `${scheme}://hub.example`,
        },
        secret: 'secret',
      });
    }
  });

  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ] as const)('that refuses twice gets a %s file through', async (_size, bytes) => {
    const proxy = await servers.proxy((at) => (at < 2 ? 502 : 'open'));
    await expectBytes(await address(bytes), bytes, through(proxy));
  });

  it.each([
    ['small', 'at once', SMALL, 0],
    ['large', 'at once', LARGE, 0],
    ['small', 'midway', SMALL, MiB / 2],
    ['large', 'midway', LARGE, MIDWAY],
  ] as const)(
    'that drops the tunnels of a %s file %s gets it through',
    async (_size, _when, bytes, dropAfter) => {
      const proxy = await servers.proxy((at) => (at < 3 ? { dropAfter } : 'open'));
      await expectBytes(await address(bytes), bytes, through(proxy));
    },
  );

  it('that drops all tunnels is named', async () => {
    const proxy = await servers.proxy({ dropAfter: 0 });
    const server = await address(SMALL);
    await expectRefused(server, {
      code: 'NETWORK',
      message: new RegExp(`Cannot reach .* through the proxy ${proxy.host}: `),
      hint: /`HTTPS_PROXY`/,
      environment: through(proxy),
      secret: 'secret',
    });
  });
});

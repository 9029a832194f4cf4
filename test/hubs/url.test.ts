import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { url } from '../../hubs/url.js';
import type { HubSettingsContext } from '../../src/hub.js';
import { formatReference, parseReference, type Reference } from '../../src/reference.js';
import { createHubContext, refusalOf, type TestHubOptions } from '../helpers/hub-context.js';
import { describeHubConformance } from './conformance.js';
import { startServer, type Route, type TestServer } from './server.js';

const BYTES = Buffer.from('the bytes of a model');
const SHA256 = createHash('sha256').update(BYTES).digest('hex');

function parse(text: string, unpack = false): Reference {
  return parseReference(text, [url.syntax], { cwd: '/work', home: '/home/user', unpack });
}

function format(reference: Reference): string {
  return formatReference(reference, [url.syntax]);
}

describeHubConformance('url', async () => {
  const server = await startServer((request, path) => {
    if (path !== '/models/a%20model.onnx') return undefined;
    if (!request.url?.endsWith('?token=open-sesame')) return { status: 403 };
    return { headers: { etag: '"1"', 'content-type': 'application/octet-stream' }, body: BYTES };
  });
  return {
    hub: url,
    options: {},
    model: { text: `${server.origin}/models/a%20model.onnx?token=open-sesame`, paths: ['a model.onnx'] },
    unknown: `${server.origin}/models/other.onnx`,
    references: [
      'https://example.com/a.tar.gz//dir/sub',
      `https://example.com/a.onnx#sha256=${SHA256}`,
      'https://example.com/get/model#unpack',
      'https://example.com/get/model//dir#unpack',
      'https://example.com/a.zip#unpack',
      `https://example.com/a.zip//x%3Fy%23z#sha256=${SHA256}`,
      'https://example.com/a//b.onnx',
      'https://example.com/a@b.onnx+int8-cpu',
      'https://example.com/a+deadbeef+int8-cpu',
      'https://example.com/a%20b%2Fc.onnx?x=1',
    ],
    secrets: ['open-sesame'],
    setFault: server.setFault,
    reached: server.reached,
    close: server.close,
  };
});

describe('references', () => {
  it.each<[string, Partial<Reference>]>([
    ['https://host/path/file.onnx', { id: 'https://host/path/file.onnx' }],
    ['https://HOST:443/a/../file.onnx', { id: 'https://host/file.onnx' }],
    ['https://host/file@v1.onnx', { id: 'https://host/file@v1.onnx' }],
    ['https://host/f.onnx?sig=a%2Fb', { id: 'https://host/f.onnx', query: 'sig=a%2Fb' }],
    [
      'https://host/m.tar.gz//dir?sig=1',
      { id: 'https://host/m.tar.gz#unpack', subpath: 'dir', query: 'sig=1' },
    ],
    ['https://host/m.TGZ//a%20b', { id: 'https://host/m.TGZ#unpack', subpath: 'a b' }],
    ['https://host/a//b.onnx', { id: 'https://host/a//b.onnx' }],
    ['https://host/f?x=a.zip//b', { id: 'https://host/f', query: 'x=a.zip//b' }],
    [`https://host/f#sha256=${SHA256.toUpperCase()}`, { id: 'https://host/f', sha256: SHA256 }],
    ['https://host/f.zip+int8-cpu', { id: 'https://host/f.zip', conversion: 'int8-cpu' }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual({ hub: 'url', ...expected });
  });

  it('unpacks with --unpack what has no archive suffix, and splits it at any `//`', () => {
    expect(parse('https://host/download//dir', true)).toEqual({
      hub: 'url',
      id: 'https://host/download#unpack',
      subpath: 'dir',
    });
    expect(parse('https://host/a//b.zip', true)).toEqual({ hub: 'url', id: 'https://host/a//b.zip#unpack' });
  });

  it('writes what was unpacked so that it is read without --unpack', () => {
    const reference = parse('https://host/download//dir', true);
    expect(parse(format(reference))).toEqual(reference);
  });

  it('writes a revision as the digest that pins it', () => {
    expect(format({ hub: 'url', id: 'https://host/f', revision: SHA256 })).toBe(
      `https://host/f#sha256=${SHA256}`,
    );
  });

  it.each([
    'https://user:secret@host/f',
    'https://secret@host/f',
    'https://host/f?secret=secret#md5=secret',
    'https://host/f#sha256=secret',
    `https://host/f#sha256=${SHA256}&sha256=${SHA256}`,
    'https:host/f?secret',
    'https://?secret',
    'https://host/a.zip//',
    'https://host/a.zip//b//c',
  ])('refuses %s without repeating secrets', (text) => {
    let refused: unknown;
    try {
      parse(text);
    } catch (error) {
      refused = error;
    }
    expect(refused).toMatchObject({ code: 'USAGE' });
    expect(JSON.stringify(refused) + String(refused)).not.toContain('secret');
  });

  it('reads back what it writes, whatever the path and subpath', () => {
    // eslint-disable-next-line no-control-regex -- an address cannot hold control characters
    const segment = fc.stringMatching(/^[^\0-\x1f\x7f/]+$/u).filter((text) => !['.', '..'].includes(text));
    fc.assert(
      fc.property(
        fc.webUrl({ withQueryParameters: true, validSchemes: ['https'] }),
        fc.option(fc.array(segment, { minLength: 1, maxLength: 3 }), { nil: undefined }),
        fc.boolean(),
        (address, segments, unpack) => {
          // Two slashes mean a subpath, which the next argument is for.
          fc.pre(!new URL(address).pathname.includes('//'));
          const typed = parse(address.replace(/#.*$/, ''), unpack);
          const inside =
            segments === undefined || !typed.id.endsWith('#unpack') ? {} : { subpath: segments.join('/') };
          const identity: Reference = { hub: typed.hub, id: typed.id, ...inside };
          expect(parse(format(identity))).toEqual(identity);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('which addresses may be asked', () => {
  function allowed(address: string, settings: HubSettingsContext['settings']): boolean {
    try {
      url.allow(new URL(address), { settings, environment: {}, home: '/' });
      return true;
    } catch (error) {
      expect(error).toMatchObject({ code: 'USAGE', hint: expect.any(String) as string });
      return false;
    }
  }

  it.each<[boolean, string, HubSettingsContext['settings']]>([
    [true, 'https://any.where/x', {}],
    [false, 'http://any.where/x', {}],
    [true, 'http://127.0.0.1:8080/x', {}],
    [true, 'http://localhost/x', {}],
    [true, 'http://[::1]/x', {}],
    [false, 'http://127.0.0.1.evil.com/x', {}],
    [true, 'http://mirror:8080/x', { insecure: ['mirror:8080'] }],
    [false, 'http://mirror:8081/x', { insecure: ['mirror:8080'] }],
    [false, 'ftp://mirror/x', { insecure: ['mirror'] }],
    [true, 'https://example.com/x', { allow: ['https://example.com'] }],
    [false, 'https://example.com/x', { allow: [] }],
    [false, 'https://example.com.evil/x', { allow: ['https://example.com'] }],
    [false, 'https://example.com:444/x', { allow: ['https://example.com'] }],
    [false, 'https://sub.example.com/x', { allow: ['https://example.com'] }],
    [false, 'http://127.0.0.1/x', { allow: ['https://127.0.0.1'] }],
    [true, 'https://h/models', { allow: ['https://h/models'] }],
    [true, 'https://h/models/x', { allow: ['https://h/models/'] }],
    [false, 'https://h/models-evil/x', { allow: ['https://h/models'] }],
    [false, 'https://h/models/../x', { allow: ['https://h/models'] }],
    [false, 'https://h/models/%2e%2e/x', { allow: ['https://h/models'] }],
    [false, 'https://h/models/..%2fx', { allow: ['https://h/models'] }],
    [false, 'https://h/models/a%2F%2e%2E%5cx', { allow: ['https://h/models'] }],
    [true, 'https://b/x', { allow: ['https://a/', 'https://b/'] }],
  ])('%s: %s with %j', (expected, address, settings) => {
    expect(allowed(address, settings)).toBe(expected);
  });

  it.each(['example.com', 'https://user@example.com/', 'https://example.com/?x', 'file:///etc'])(
    'names the key when a prefix is malformed: %s',
    (prefix) => {
      expect(() => {
        url.allow(new URL('https://example.com/'), {
          settings: { allow: [prefix] },
          environment: {},
          home: '/',
        });
      }).toThrow(
        expect.objectContaining({
          code: 'CONFIG',
          message: expect.stringContaining('hubs.url.allow') as string,
        }),
      );
    },
  );
});

describe('answers', () => {
  let server: TestServer;
  let route: (method: string, path: string) => Route | undefined;

  beforeEach(async () => {
    server = await startServer((request, path) => route(request.method ?? '', path));
  });
  afterEach(() => server.close());

  function resolve(path: string, options: TestHubOptions = {}, unpack = false) {
    return url.resolve(parse(`${server.origin}${path}`, unpack), createHubContext(url, options));
  }

  it('asks once, and tells size and what to compare next time', async () => {
    route = () => ({
      headers: { etag: '"abc"', 'last-modified': 'Thu, 01 Jan 1970 00:00:00 GMT' },
      body: BYTES,
    });
    const snapshot = await resolve('/m.onnx?sig=1');
    expect(snapshot).toEqual({
      hub: 'url',
      id: `${server.origin}/m.onnx`,
      validator: `"abc" Thu, 01 Jan 1970 00:00:00 GMT ${BYTES.length}`,
      files: [{ path: 'm.onnx', size: BYTES.length, url: `${server.origin}/m.onnx`, query: 'sig=1' }],
      metadata: {},
    });
    expect(server.requests.map(({ method, url: path }) => `${method} ${path}`)).toEqual([
      'HEAD /m.onnx?sig=1',
    ]);
  });

  it('asks nothing when the digest is given', async () => {
    const snapshot = await resolve(`/m.tar.gz//dir#sha256=${SHA256}`);
    expect(snapshot.revision).toBe(SHA256);
    expect(snapshot.files).toEqual([
      {
        path: 'm.tar.gz',
        url: `${server.origin}/m.tar.gz`,
        digest: { algorithm: 'sha256', hex: SHA256 },
        unpack: { format: 'tar.gz' },
      },
    ]);
    expect(server.requests).toEqual([]);
  });

  it.each([403, 405, 501])('asks for one byte where HEAD is answered %s', async (status) => {
    route = (method) =>
      method === 'HEAD'
        ? { status }
        : { status: 206, headers: { 'content-range': 'bytes 0-0/1234' }, body: 't' };
    expect((await resolve('/m.onnx')).files[0]?.size).toBe(1234);
    expect(server.requests[1]?.headers.range).toBe('bytes=0-0');
  });

  it('knows an empty file by its range being refused', async () => {
    route = (method) =>
      method === 'HEAD' ? { status: 405 } : { status: 416, headers: { 'content-range': 'bytes */0' } };
    expect((await resolve('/m.onnx')).files[0]?.size).toBe(0);
  });

  it('takes the length of an answer that ignores ranges, and none of a compressed one', async () => {
    route = (method) => (method === 'HEAD' ? { status: 405 } : { body: BYTES });
    expect((await resolve('/m.onnx')).files[0]?.size).toBe(BYTES.length);
    route = () => ({ headers: { 'content-encoding': 'gzip' }, body: BYTES });
    expect((await resolve('/m.onnx')).files[0]?.size).toBeUndefined();
  });

  it.each([
    [401, 'AUTH'],
    [403, 'AUTH'],
    [404, 'NOT_FOUND'],
    [410, 'NOT_FOUND'],
    [500, 'NETWORK'],
    [418, 'NETWORK'],
  ] as const)('%s is %s, without the query', async (status, code) => {
    route = () => ({ status });
    const error = await refusalOf(resolve('/m.onnx?x=secret'), code);
    expect(JSON.stringify(error) + error.message).not.toContain('secret');
  });

  it('refuses a web page, but takes one that was named', async () => {
    route = () => ({ headers: { 'content-type': 'text/html; charset=utf-8' }, body: '<html>' });
    await refusalOf(resolve('/m.onnx'), 'INTEGRITY');
    expect((await resolve('/card.html')).files[0]?.path).toBe('card.html');
  });

  it('refuses what is longer than the limit, and passes the limit on', async () => {
    route = () => ({ body: BYTES });
    const error = await refusalOf(resolve('/m.onnx', { settings: { maxBytes: 3 } }), 'INTEGRITY');
    expect(error.hint).toContain('hubs.url.maxBytes');
    expect((await resolve('/m.onnx', { settings: { maxBytes: 100 } })).files[0]?.maxBytes).toBe(100);
  });

  it.each([
    ['/dir/', 'attachment; filename="model.onnx"', 'model.onnx'],
    ['/dir/', "attachment; filename*=UTF-8''m%C3%A9.onnx; filename=m.onnx", 'mé.onnx'],
    ['/dir/', 'attachment; filename="../../evil"', 'model'],
    ['/dir/', "attachment; filename*=UTF-8''..%2Fevil", '..%2Fevil'],
    ['/dir/name.onnx', 'attachment; filename="other.onnx"', 'name.onnx'],
    ['/a%2Fb', '', 'a%2Fb'],
    ['/%E0%A4', '', '%E0%A4'],
  ])('names the file of %s with %s: %s', async (path, disposition, expected) => {
    route = () => ({ headers: disposition === '' ? {} : { 'content-disposition': disposition } });
    expect((await resolve(path)).files[0]?.path).toBe(expected);
  });

  it.each([
    [{ 'content-type': 'application/zip' }, 'zip'],
    [{ 'content-type': 'application/x-gzip' }, 'tar.gz'],
    [{ 'content-disposition': 'attachment; filename=x.tar.xz' }, 'tar.xz'],
  ])('tells the kind of an archive without a suffix by %j', async (headers, kind) => {
    route = () => ({ headers });
    expect((await resolve('/get', {}, true)).files[0]?.unpack).toEqual({ format: kind });
  });

  it('says so when it cannot tell', async () => {
    route = () => ({ headers: { 'content-type': 'application/octet-stream' } });
    await refusalOf(resolve('/get', {}, true), 'UNSUPPORTED');
  });

  it('checks every redirect against the allow-list', async () => {
    const other = await startServer(() => ({ body: BYTES }));
    try {
      route = () => ({ status: 302, headers: { location: `${other.origin}/m.onnx` } });
      await refusalOf(resolve('/m.onnx', { settings: { allow: [server.origin] } }), 'USAGE');
      expect(other.requests).toEqual([]);
      const both = await resolve('/m.onnx', { settings: { allow: [server.origin, other.origin] } });
      expect(both.files[0]).toMatchObject({ url: `${server.origin}/m.onnx`, size: BYTES.length });
    } finally {
      await other.close();
    }
  });

  it('asks nothing offline', async () => {
    await refusalOf(resolve('/m.onnx', { offline: true }), 'NETWORK');
    expect(server.requests).toEqual([]);
  });
});

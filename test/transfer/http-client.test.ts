import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, test } from 'vitest';
import { ModeldlError } from '../../src/errors.js';
import { createHttpClient } from '../../src/transfer/http.js';
import { createWorld, everythingSaid, live, refusal } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

describe('a host that cannot be reached', () => {
  test('offline opens no socket', async () => {
    const server = await world.serve((_request, response) => response.end());
    const { http, events } = world.client({ offline: true });
    const error = await refusal(
      http.request(`${server.origin}/file?signature=secret`, { signal: live() }),
      'NETWORK',
    );
    expect(error.message).toBe(`Offline, so not asked: ${server.origin}/file`);
    expect(error.hint).toContain('--offline');
    expect(everythingSaid(error)).not.toContain('secret');
    expect(events).toEqual([]);
    expect(server.connections()).toBe(0);
  });

  test('a refused connection is retried, then an error that names the address without its secrets', async () => {
    const server = await world.serve((_request, response) => response.end());
    await world.close();
    const { http, events, waits } = world.client({ retries: 2 });
    const url = `http://user:secret1@${server.host}/file?signature=secret2`;
    const error = await refusal(http.request(url, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(`Cannot reach ${server.host}: it refused the connection`);
    expect(error.details).toMatchObject({ url: `${server.origin}/file`, systemCode: 'ECONNREFUSED' });
    expect(error.hint).toContain('`HTTPS_PROXY`');
    expect(waits).toHaveLength(2);
    expect(everythingSaid(error) + JSON.stringify(events)).not.toContain('secret');
  });

  test('a name that does not exist is an error at once', async () => {
    const { http, waits } = world.client();
    // `.invalid` never resolves (RFC 2606); where there is no resolver at all, that is said instead.
    const error = await refusal(http.request('http://hub.invalid/x', { signal: live() }), 'NETWORK');
    expect(error.message).toMatch(/^Cannot reach hub\.invalid: its name cannot be resolved/);
    if (error.details['systemCode'] === 'ENOTFOUND') expect(waits).toEqual([]);
  });

  test.each(['ftp://hub.example/x?token=secret', 'hub.example'])('%s is no address to ask', async (url) => {
    const { http } = world.client();
    const error = await refusal(http.request(url, { signal: live() }), 'NETWORK');
    expect(error.message).toContain('Not an http or https address');
    expect(everythingSaid(error)).not.toContain('secret');
  });

  test('an answer that is not HTTP is called so', async () => {
    const server = await world.serve((request) => request.socket.end('SSH-2.0-OpenSSH\r\n'));
    const { http } = world.client({ retries: 0 });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(`Cannot reach ${server.host}: its answer is not HTTP`);
  });
});

describe('silence', () => {
  test('a server that never answers is given up', async () => {
    const server = await world.serve(() => undefined);
    const { http } = world.client({ retries: 0, connectTimeoutMs: 20, idleTimeoutMs: 20 });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(`Cannot reach ${server.host}: it did not answer in time`);
    expect(error.details['systemCode']).toBe('ETIMEDOUT');
  });

  test('a body that falls silent breaks, read as text and through fetch', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('the beginning');
    });
    const { http } = world.client({ idleTimeoutMs: 20 });
    const response = await http.request(server.origin, { signal: live() });
    await refusal(response.text(), 'NETWORK');
    const fetched = await http.fetch(server.origin);
    await refusal(fetched.text(), 'NETWORK');
  });
});

describe('a body', () => {
  test('that breaks off is a NETWORK error, read as text and through fetch', async () => {
    const server = await world.serve((request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('the beginning', () => {
        request.socket.destroySoon();
      });
    });
    const { http } = world.client();
    const error = await refusal((await http.request(server.origin, { signal: live() })).text(), 'NETWORK');
    expect(error.message).toContain(server.host);
    await refusal((await http.fetch(server.origin)).json(), 'NETWORK');
  });

  test('that is a document and breaks off is asked for again by fetch, a file is not', async () => {
    const server = await world.serve((request, response) => {
      const whole = server.requests.filter(({ url }) => url === request.url).length > 2;
      const type =
        request.url === '/listing' ? 'application/json; charset=utf-8' : 'application/octet-stream';
      response.writeHead(200, { 'content-length': '11', 'content-type': type });
      if (whole) response.end('{"here": 1}');
      else
        response.write('{"he', () => {
          request.socket.destroySoon();
        });
    });
    const { http, events } = world.client();
    const response = await http.fetch(`${server.origin}/listing`);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(await response.json()).toEqual({ here: 1 });
    expect(events.map(({ type }) => type)).toEqual(['retry', 'retry']);
    await refusal((await http.fetch(`${server.origin}/file`)).text(), 'NETWORK');
    await refusal(
      (await http.fetch(`${server.origin}/file`, { headers: { range: 'bytes=0-3' } })).text(),
      'NETWORK',
    );
  });

  test('that is a document of over 32 MiB is refused by fetch at once', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(Buffer.alloc(32 * 1024 * 1024 + 1, ' '));
    });
    const { http } = world.client();
    await refusal(http.fetch(server.origin), 'NETWORK');
    expect(server.requests).toHaveLength(1);
  });

  test('longer than 32 MiB is not read as text', async () => {
    const server = await world.serve((_request, response) => {
      response.end(Buffer.alloc(32 * 1024 * 1024 + 1));
    });
    const { http } = world.client();
    const error = await refusal((await http.request(server.origin, { signal: live() })).text(), 'NETWORK');
    expect(error.message).toBe(`Cannot reach ${server.host}: its answer is too long`);
  });

  test('may be left half-read by a user of fetch', async () => {
    let closed: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (closed = resolve));
    const server = await world.serve((_request, response) => {
      response.on('close', closed);
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', more);
      more();
    });
    const { http } = world.client();
    const reader = (await http.fetch(server.origin)).body?.getReader();
    expect(await reader?.read()).toMatchObject({ done: false });
    await reader?.cancel();
    await gone;
  });

  test('is passed to fetch with its address, status and every header', async () => {
    const server = await world.serve((request, response) => {
      if (request.url === '/first') response.writeHead(302, { location: '/second' }).end();
      else response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end('{"error":"none"}');
    });
    const { http } = world.client();
    const response = await http.fetch(`${server.origin}/first`, { headers: { accept: 'application/json' } });
    expect([response.status, response.url, response.headers.get('x-error-code')]).toEqual([
      404,
      `${server.origin}/second`,
      'EntryNotFound',
    ]);
    expect(await response.json()).toEqual({ error: 'none' });
    expect(server.requests[1]?.headers.accept).toBe('application/json');
  });
});

describe('headers', () => {
  test('the User-Agent is the one of the settings, and bodies are asked for as they are', async () => {
    const server = await world.serve((_request, response) => response.end());
    const { http } = world.client({ userAgent: 'modeldl (node v20)' });
    await http.request(server.origin, { signal: live() });
    expect(server.requests[0]?.headers).toMatchObject({
      'user-agent': 'modeldl (node v20)',
      'accept-encoding': 'identity',
      accept: '*/*',
    });
  });

  test('an authorization that the caller gives wins over the one that belongs to the address', async () => {
    const server = await world.serve((_request, response) => response.end());
    const { http } = world.client({
      authorize: () => Promise.resolve({ authorization: 'Bearer of the hub', 'x-hub': 'hub' }),
    });
    await http.request(server.origin, { signal: live(), headers: { Authorization: 'Bearer caller' } });
    await http.request(server.origin, { signal: live() });
    await http.fetch(server.origin, { headers: { Authorization: 'Bearer fetch' } });
    expect(server.requests.map(({ headers }) => [headers.authorization, headers['x-hub']])).toEqual([
      ['Bearer caller', 'hub'],
      ['Bearer of the hub', 'hub'],
      ['Bearer fetch', 'hub'],
    ]);
  });

  test('a credential is asked for with the address of every hop', async () => {
    const other = await world.serve((_request, response) => response.end());
    const first = await world.serve((_request, response) => {
      response.writeHead(302, { location: `${other.origin}/signed?sig=1` }).end();
    });
    const asked: string[] = [];
    const { http } = world.client({
      authorize: (url) => {
        asked.push(url.href);
        return Promise.resolve({ authorization: `Bearer ${url.port}` });
      },
    });
    await http.request(`${first.origin}/file`, { signal: live() });
    expect(asked).toEqual([`${first.origin}/file`, `${other.origin}/signed?sig=1`]);
    expect(other.requests[0]?.headers.authorization).toBe(`Bearer ${new URL(other.origin).port}`);
  });
});

describe('a signal', () => {
  test('that fired before asks nothing', async () => {
    const server = await world.serve((_request, response) => response.end());
    const { http } = world.client();
    await refusal(http.request(server.origin, { signal: AbortSignal.abort() }), 'INTERRUPTED');
    expect(server.connections()).toBe(0);
  });

  test('ends a request that waits for its answer, and its reason is what is thrown', async () => {
    const abort = new AbortController();
    const server = await world.serve(() => {
      abort.abort(new ModeldlError('TERMINATED', 'Terminated'));
    });
    const { http, events } = world.client();
    await refusal(http.request(server.origin, { signal: abort.signal }), 'TERMINATED');
    expect(events).toEqual([]);
  });

  test('ends the wait between attempts', async () => {
    const abort = new AbortController();
    const server = await world.serve((_request, response) => {
      response.writeHead(503, { 'retry-after': '60' }).end();
    });
    const { wait: _none, ...settings } = world.client().http.settings;
    // With the real wait: 60 s would outlive the test.
    const http = createHttpClient({
      ...settings,
      emit: () => {
        abort.abort();
      },
    });
    await refusal(http.request(server.origin, { signal: abort.signal }), 'INTERRUPTED');
    http.close();
    expect(server.requests).toHaveLength(1);
  });

  test('ends a body that fetch is reading, even after garbage was collected', async () => {
    setFlagsFromString('--expose-gc');
    const collect: unknown = runInNewContext('gc');
    if (typeof collect !== 'function') throw new Error('Expected the collector');
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('the beginning');
    });
    const { http } = world.client({ idleTimeoutMs: 1e8 });
    const abort = new AbortController();
    const response = await http.fetch(server.origin, { signal: abort.signal });
    const text = refusal(response.text(), 'INTERRUPTED');
    Reflect.apply(collect, undefined, []);
    abort.abort();
    await text;
  });
});

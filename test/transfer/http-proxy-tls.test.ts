import { afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { bypasses } from '../../src/transfer/agents.js';
import { selfSigned, type Certificate } from './certificate.js';
import { createWorld, everythingSaid, live, refusal } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

let own: Certificate;
let ofAnother: Certificate;
beforeAll(async () => {
  own = await selfSigned('IP:127.0.0.1');
  ofAnother = await selfSigned('DNS:elsewhere.example');
});

describe('TLS', () => {
  test('a certificate that nobody vouches for is refused at once, with the cause and a hint', async () => {
    const server = await world.serve((_request, response) => response.end('secret'), own);
    const { http, events } = world.client();
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toMatch(
      /^The certificate of 127\.0\.0\.1:\d+ was not accepted: .*\(DEPTH_ZERO_SELF_SIGNED_CERT\)$/,
    );
    expect(error.hint).toContain('`caFile`');
    expect(error.cause).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    expect(events).toEqual([]);
    expect(server.requests).toHaveLength(0);
  });

  test('it is accepted when its authority is given', async () => {
    const server = await world.serve((_request, response) => response.end('over TLS'), own);
    const { http } = world.client({ ca: [own.cert] });
    expect(await (await http.request(server.origin, { signal: live() })).text()).toBe('over TLS');
  });

  test('a certificate for another name is refused although its authority is given', async () => {
    const server = await world.serve((_request, response) => response.end('secret'), ofAnother);
    const { http } = world.client({ ca: [ofAnother.cert] });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toContain('(ERR_TLS_CERT_ALTNAME_INVALID)');
    expect(server.requests).toHaveLength(0);
  });

  test('a variable that switches certificates off for Node.js does so neither here nor behind a proxy', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    const server = await world.serve((_request, response) => response.end('secret'), own);
    const proxy = await world.proxy();
    for (const settings of [{}, { proxy: { https: proxy.origin } }]) {
      const { http } = world.client(settings);
      const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
      expect(error.message).toContain('(DEPTH_ZERO_SELF_SIGNED_CERT)');
    }
    expect(server.requests).toHaveLength(0);
  });

  test('a server that speaks no TLS is not called one with a bad certificate', async () => {
    const server = await world.serve((_request, response) => response.end());
    const { http, events } = world.client();
    const error = await refusal(http.request(`https://${server.host}/`, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(
      `Cannot reach ${server.host}: it does not speak TLS, or none that both sides accept`,
    );
    expect(events).toEqual([]);
  });

  test('a redirect from https to http is refused', async () => {
    const plain = await world.serve((_request, response) => response.end('plain'));
    const server = await world.serve((_request, response) => {
      response.writeHead(302, { location: `${plain.origin}/file?sig=secret` }).end();
    }, own);
    const { http } = world.client({ ca: [own.cert] });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toContain('redirects to an unencrypted address');
    expect(everythingSaid(error)).not.toContain('secret');
    expect(plain.connections()).toBe(0);
  });
});

describe('proxies', () => {
  const basic = `Basic ${Buffer.from('user:p@ss').toString('base64')}`;
  const withCredentials = (origin: string): string => origin.replace('//', '//user:p%40ss@');

  test('http goes through the proxy with its whole address and the credentials of the proxy', async () => {
    const proxy = await world.proxy();
    const { http } = world.client({ proxy: { http: withCredentials(proxy.origin) } });
    for (const path of ['one', 'two']) {
      const response = await http.request(`http://models.example/${path}?q=1`, { signal: live() });
      expect(await response.text()).toBe(`proxied http://models.example/${path}?q=1`);
    }
    expect(proxy.requests.map(({ headers }) => headers['proxy-authorization'])).toEqual([basic, basic]);
    expect(proxy.requests[0]?.headers.host).toBe('models.example');
  });

  test('https goes through a tunnel; its proxy sees the credentials of the proxy only', async () => {
    const server = await world.serve((_request, response) => response.end('over TLS'), own);
    const proxy = await world.proxy();
    const { http } = world.client({ ca: [own.cert], proxy: { https: withCredentials(proxy.origin) } });
    const headers = { authorization: 'Bearer secret' };
    const response = await http.request(server.origin, { signal: live(), headers });
    expect(await response.text()).toBe('over TLS');
    expect(proxy.tunnels).toMatchObject([
      { url: server.host, headers: { 'proxy-authorization': basic, host: server.host } },
    ]);
    expect(proxy.tunnels[0]?.headers).not.toHaveProperty('authorization');
    expect(server.requests[0]?.headers).toMatchObject(headers);
    expect(server.requests[0]?.headers).not.toHaveProperty('proxy-authorization');
  });

  test('a certificate behind a tunnel is checked as well', async () => {
    const server = await world.serve((_request, response) => response.end('secret'), own);
    const proxy = await world.proxy();
    const { http } = world.client({ proxy: { https: proxy.origin } });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toContain('(DEPTH_ZERO_SELF_SIGNED_CERT)');
    expect(server.requests).toHaveLength(0);
  });

  test('a certificate for another name is refused behind a tunnel too', async () => {
    const localhost = await selfSigned('DNS:localhost');
    const server = await world.serve((_request, response) => response.end('secret'), localhost);
    const proxy = await world.proxy();
    const { http } = world.client({ ca: [localhost.cert], proxy: { https: proxy.origin } });
    const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
    expect(error.message).toContain('(ERR_TLS_CERT_ALTNAME_INVALID)');
    expect(server.requests).toHaveLength(0);
  });

  test('a host of NO_PROXY is reached directly', async () => {
    const server = await world.serve((_request, response) => response.end('direct'));
    const proxy = await world.proxy();
    const { http } = world.client({ proxy: { http: proxy.origin, no: 'example.com, 127.0.0.1' } });
    expect(await (await http.request(server.origin, { signal: live() })).text()).toBe('direct');
    expect(proxy.connections()).toBe(0);
  });

  test('a proxy without a scheme is taken as http, as curl takes it', async () => {
    const proxy = await world.proxy();
    const { http } = world.client({ proxy: { http: proxy.host } });
    const response = await http.request('http://models.example/x', { signal: live() });
    expect(await response.text()).toBe('proxied http://models.example/x');
  });

  test.each(['socks5://user:secret@127.0.0.1:1', 'http://user:secret@[broken'])(
    'a proxy that is none, %s, is a CONFIG error without its password',
    async (address) => {
      const { http } = world.client({ proxy: { http: address } });
      const error = await refusal(http.request('http://models.example/x', { signal: live() }), 'CONFIG');
      expect(error.message).toContain('Not an http or https proxy');
      expect(error.hint).toContain('`HTTPS_PROXY`');
      expect(everythingSaid(error)).not.toContain('secret');
    },
  );

  test.each(['http', 'https'] as const)('a dead proxy is named in the error for %s', async (scheme) => {
    const proxy = await world.proxy();
    await world.close();
    const { http } = world.client({ retries: 0, proxy: { [scheme]: withCredentials(proxy.origin) } });
    const error = await refusal(http.request(`${scheme}://models.example/x`, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(
      `Cannot reach models.example through the proxy ${proxy.host}: it refused the connection`,
    );
    expect(everythingSaid(error)).not.toContain('p%40ss');
  });

  test('a proxy that never answers ends by the connect time-out', async () => {
    const proxy = await world.proxy('silent');
    const { http } = world.client({
      retries: 0,
      connectTimeoutMs: 20,
      idleTimeoutMs: 1e8,
      proxy: { https: proxy.origin },
    });
    const error = await refusal(http.request('https://models.example/x', { signal: live() }), 'NETWORK');
    expect(error.message).toContain('it did not answer in time');
  });

  test('a proxy that makes no tunnel is what is named; it is asked again only where that may help', async () => {
    for (const [status, tunnels] of [
      [403, 1],
      [404, 1],
      [502, 4],
    ] as const) {
      const proxy = await world.proxy(status);
      const { http } = world.client({ proxy: { https: withCredentials(proxy.origin) } });
      const error = await refusal(http.request('https://models.example/x', { signal: live() }), 'NETWORK');
      expect(error.message).toBe(`Cannot reach models.example: the proxy ${proxy.host} answered ${status}`);
      expect(error.hint).toContain('`NO_PROXY`');
      expect(error.details).toMatchObject({ status });
      expect(everythingSaid(error)).not.toContain('p%40ss');
      expect(proxy.tunnels).toHaveLength(tunnels);
    }
  });

  test.each(['http', 'https'] as const)('a proxy that wants a login is named: %s', async (scheme) => {
    const proxy = await world.proxy(407);
    const { http, events } = world.client({ proxy: { [scheme]: withCredentials(proxy.origin) } });
    const headers = { authorization: 'Bearer secret' };
    const asked = http.request(`${scheme}://models.example/x`, { signal: live(), headers });
    const error = await refusal(asked, 'NETWORK');
    expect(error.message).toBe(`Cannot reach models.example: the proxy ${proxy.host} wants a login`);
    expect(error.hint).toContain(`${scheme.toUpperCase()}_PROXY`);
    expect(everythingSaid(error)).not.toContain('p%40ss');
    expect(events).toEqual([]);
    const asks = scheme === 'https' ? proxy.tunnels : proxy.requests;
    expect(asks).toHaveLength(1);
    if (scheme === 'https') expect(asks[0]?.headers).not.toHaveProperty('authorization');
  });
});

describe('NO_PROXY', () => {
  test.each([
    ['https://hub.example/', 'hub.example', true],
    ['https://HUB.example/', 'Hub.Example', true],
    ['https://cdn.hub.example/', 'hub.example', true],
    ['https://cdn.hub.example/', '.hub.example', true],
    ['https://cdn.hub.example/', '*.hub.example', true],
    ['https://myhub.example/', 'hub.example', false],
    ['https://hub.example.org/', 'hub.example', false],
    ['https://hub.example/', '*', true],
    ['https://hub.example/', 'hub.example:443', true],
    ['https://hub.example/', 'hub.example:8443', false],
    ['http://hub.example:8443/', 'hub.example:8443', true],
    ['http://hub.example/', 'hub.example:80', true],
    ['http://10.1.2.3/', '10.0.0.0/8', true],
    ['http://11.1.2.3/', '10.0.0.0/8', false],
    ['http://10.1.2.3/', '10.0.0.0/99', false],
    ['http://[::1]:8080/', '::1', true],
    ['http://[::1]:8080/', '[::1]', true],
    ['http://[::1]:8080/', '[::1]:8080', true],
    ['http://[::1]:8080/', '[::1]:81', false],
    ['http://[fd00::5]/', 'fd00::/8', true],
    ['http://[::2]/', '::1', false],
    ['https://hub.example/', 'a.example,, localhost\thub.example', true],
    ['https://hub.example/', '', false],
    ['https://hub.example/', undefined, false],
  ])('%s with %j is reached directly: %s', (url, no, expected) => {
    expect(bypasses(new URL(url), no)).toBe(expected);
  });
});

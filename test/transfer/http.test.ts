import { afterEach, describe, expect, test } from 'vitest';
import { createWorld, live, refusal } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

describe('redirects', () => {
  test('a redirect on the same origin keeps Authorization and cookies', async () => {
    const server = await world.serve((request, response) => {
      if (request.url === '/first') response.writeHead(302, { location: '/second' }).end();
      else response.end('here');
    });
    const { http } = world.client();
    const response = await http.request(`${server.origin}/first`, {
      signal: live(),
      headers: { Authorization: 'Bearer caller', Cookie: 'session=1' },
    });
    expect(await response.text()).toBe('here');
    expect(response.url).toBe(`${server.origin}/second`);
    expect(server.requests[1]?.headers).toMatchObject({
      authorization: 'Bearer caller',
      cookie: 'session=1',
    });
  });

  test('a redirect to another origin drops Authorization, cookies and the credential of the first', async () => {
    const other = await world.serve((_request, response) => response.end('elsewhere'));
    const first = await world.serve((_request, response) => {
      response.writeHead(307, { location: `${other.origin}/file` }).end();
    });
    const { http } = world.client({
      authorize: (url) =>
        Promise.resolve(url.origin === first.origin ? { 'x-hub-token': 'of the first' } : undefined),
    });
    const response = await http.request(`${first.origin}/file`, {
      signal: live(),
      headers: {
        authorization: 'Bearer caller',
        COOKIE: 'session=1',
        'Proxy-Authorization': 'Basic x',
        'x-own': 'kept',
      },
    });
    expect(await response.text()).toBe('elsewhere');
    expect(first.requests[0]?.headers).toMatchObject({ authorization: 'Bearer caller', cookie: 'session=1' });
    expect(first.requests[0]?.headers['x-hub-token']).toBe('of the first');
    const there = other.requests[0]?.headers ?? {};
    expect(there['x-own']).toBe('kept');
    for (const name of ['authorization', 'cookie', 'proxy-authorization', 'x-hub-token']) {
      expect(there).not.toHaveProperty(name);
    }
  });

  test('a credential that left for another origin does not come back with the next redirect', async () => {
    const origins: string[] = [];
    const other = await world.serve((_request, response) => {
      response.writeHead(302, { location: `${origins[0] ?? ''}/back` }).end();
    });
    const first = await world.serve((request, response) => {
      if (request.url === '/back') response.end('back');
      else response.writeHead(302, { location: `${other.origin}/away` }).end();
    });
    origins.push(first.origin);
    const { http } = world.client();
    const response = await http.request(`${first.origin}/file`, {
      signal: live(),
      headers: { authorization: 'Bearer caller' },
    });
    expect(await response.text()).toBe('back');
    expect(first.requests[1]?.headers).not.toHaveProperty('authorization');
  });

  test('a redirect loop ends as a NETWORK error that is not retried', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(302, { location: '/again?signature=secret' }).end();
    });
    const { http } = world.client();
    const error = await refusal(http.request(`${server.origin}/loop`, { signal: live() }), 'NETWORK');
    expect(error.message).toBe(`Too many redirects: ${server.origin}/loop`);
    expect(server.requests).toHaveLength(11);
  });

  test('a redirect is handed to a caller that wants to follow it himself', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(302, { location: '/x' }).end();
    });
    const { http } = world.client();
    const response = await http.request(server.origin, { signal: live(), redirect: 'manual' });
    expect([response.status, response.header('location')]).toEqual([302, '/x']);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    [303, 'PUT', 'GET', ''],
    [302, 'POST', 'GET', ''],
    [307, 'POST', 'POST', 'text'],
    [308, 'PUT', 'PUT', 'text'],
    [303, 'HEAD', 'HEAD', ''],
  ])('a %d after %s asks with %s', async (status, method, expected, body) => {
    const bodies: string[] = [];
    const server = await world.serve((request, response) => {
      let text = '';
      request.on('data', (chunk) => (text += String(chunk)));
      request.on('end', () => {
        bodies.push(text);
        response.writeHead(request.url === '/first' ? status : 200, { location: '/second' }).end();
      });
    });
    const { http } = world.client();
    const given = method === 'HEAD' ? {} : { body: 'text' };
    await http.request(`${server.origin}/first`, { signal: live(), method, ...given });
    expect(server.requests[1]?.method).toBe(expected);
    expect(bodies[1]).toBe(body);
  });

  test.each(['ftp://example.com/x', 'file:///etc/passwd', 'http://[broken?token=secret'])(
    'a redirect to %s is refused without its query',
    async (location) => {
      const server = await world.serve((_request, response) => {
        response.writeHead(302, { location }).end();
      });
      const { http } = world.client();
      const error = await refusal(http.request(server.origin, { signal: live() }), 'NETWORK');
      expect(error.message).toContain('redirects to an address that is not http or https');
      expect(JSON.stringify([error.message, error.details])).not.toContain('secret');
      expect(server.requests).toHaveLength(1);
    },
  );

  test('every hop is shown to `allow`, which stops it before it is asked', async () => {
    const other = await world.serve((_request, response) => response.end());
    const server = await world.serve((_request, response) => {
      response.writeHead(302, { location: `${other.origin}/x` }).end();
    });
    const { http } = world.client({
      allow: (url) => {
        if (url.origin === other.origin) throw new Error('not allowed');
      },
    });
    await expect(http.request(server.origin, { signal: live() })).rejects.toThrow('not allowed');
    expect(other.connections()).toBe(0);
  });
});

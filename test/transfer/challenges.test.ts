import { afterEach, describe, expect, test } from 'vitest';
import type { Grant } from '../../src/transfer/grants.js';
import { createWorld, live } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

const CHALLENGE = 'Bearer realm="https://tokens.example/",scope="a"';

/** A server with a private half, `/a/`, that takes one token at a time. */
async function guarded(): Promise<{ origin: string; asked: string[]; renew: (token: string) => void }> {
  const asked: string[] = [];
  let token = 'first';
  const server = await world.serve((request, response) => {
    const { authorization = 'nothing' } = request.headers;
    asked.push(`${request.url ?? ''} ${authorization}`);
    const isOpen = request.url?.startsWith('/a/') !== true || authorization === `Bearer ${token}`;
    if (isOpen) response.end('bytes');
    else response.writeHead(401, { 'www-authenticate': CHALLENGE }).end();
  });
  return {
    origin: server.origin,
    asked,
    renew(next) {
      token = next;
    },
  };
}

function granted(origin: string, token: string): Grant {
  return { covers: `${origin}/a/`, headers: { authorization: `Bearer ${token}` } };
}

describe('a challenge', () => {
  test('is answered once for requests that meet it together, and what it gave is sent below its address', async () => {
    const { origin, asked } = await guarded();
    let answers = 0;
    const { http } = world.client({
      challenged: (_url, header) => {
        expect(header).toBe(CHALLENGE);
        answers += 1;
        return Promise.resolve(granted(origin, 'first'));
      },
    });
    const get = (path: string) => http.request(`${origin}${path}`, { signal: live() });
    const together = await Promise.all([get('/a/1'), get('/a/2')]);
    expect(together.map(({ status }) => status)).toEqual([200, 200]);
    for (const response of together) response.discard();
    const before = asked.length;
    (await get('/a/3')).discard();
    (await get('/b/1')).discard();
    expect(asked.slice(before)).toEqual(['/a/3 Bearer first', '/b/1 nothing']);
    expect(answers).toBe(1);
  });

  test('is answered anew when what it gave has ended', async () => {
    const { origin, renew } = await guarded();
    const tokens = ['first', 'second'];
    const { http } = world.client({
      challenged: () => Promise.resolve(granted(origin, tokens.shift() ?? '')),
    });
    for (const token of ['first', 'second']) {
      renew(token);
      const response = await http.request(`${origin}/a/1`, { signal: live() });
      expect(await response.text()).toBe('bytes');
    }
    expect(tokens).toEqual([]);
  });

  test.each<[string, (origin: string) => Grant | undefined]>([
    ['nothing to answer with', () => undefined],
    ['a grant for another origin', () => granted('https://other.example', 'first')],
    ['a token that is refused', (origin) => granted(origin, 'wrong')],
  ])('stays a refusal with %s', async (_what, grant) => {
    const { origin, asked } = await guarded();
    const { http } = world.client({ challenged: () => Promise.resolve(grant(origin)) });
    const response = await http.request(`${origin}/a/1`, { signal: live() });
    response.discard();
    expect(response.status).toBe(401);
    expect(asked.length).toBeLessThanOrEqual(2);
  });

  test('is answered for what lies deeper too, which has a grant of its own', async () => {
    const accepted = new Map([
      ['/a/', 'outer'],
      ['/a/b/', 'inner'],
    ]);
    const { origin } = await world.serve((request, response) => {
      const folder = request.url?.replace(/[^/]*$/, '') ?? '';
      const isOpen = request.headers.authorization === `Bearer ${accepted.get(folder) ?? ''}`;
      if (isOpen) response.end('bytes');
      else response.writeHead(401, { 'www-authenticate': CHALLENGE }).end();
    });
    const { http } = world.client({
      challenged: ({ href }) => {
        const folder = new URL('.', href).pathname;
        return Promise.resolve({
          covers: `${origin}${folder}`,
          headers: { authorization: `Bearer ${accepted.get(folder) ?? ''}` },
        });
      },
    });
    for (const path of ['/a/1', '/a/b/1', '/a/2']) {
      const response = await http.request(`${origin}${path}`, { signal: live() });
      expect([path, await response.text()]).toEqual([path, 'bytes']);
    }
  });

  test('of whoever gives tokens is not answered', async () => {
    const { origin, asked } = await guarded();
    const statuses: number[] = [];
    const { http } = world.client({
      challenged: async (_url, _header, ask) => {
        statuses.push((await ask(`${origin}/a/token`)).status);
        return granted(origin, 'first');
      },
    });
    const response = await http.fetch(`${origin}/a/1`);
    expect(await response.text()).toBe('bytes');
    expect(statuses).toEqual([401]);
    expect(asked).toEqual(['/a/1 nothing', '/a/token nothing', '/a/1 Bearer first']);
  });
});

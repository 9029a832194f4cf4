import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { createWorld, live, refusal, type Local } from './faults.js';

const world = createWorld();
afterEach(() => world.close());

/** Answers the given statuses one after another, then 200. */
function answering(
  statuses: readonly number[],
  headers: Readonly<Record<string, string>> = {},
): Promise<Local> {
  let next = 0;
  return world.serve((_request, response) => {
    const status = statuses[next];
    next += 1;
    if (status === undefined) response.end('fine');
    else response.writeHead(status, headers).end('not now');
  });
}

describe('retry', () => {
  test.each([408, 429, 500, 502, 503, 504, 520, 599])('%d is asked again', async (status) => {
    const server = await answering([status, status]);
    const { http, events, waits } = world.client();
    const response = await http.request(`${server.origin}/file?signature=secret`, { signal: live() });
    expect([response.status, await response.text()]).toEqual([200, 'fine']);
    expect(server.requests).toHaveLength(3);
    expect(events).toMatchObject([
      { type: 'retry', attempt: 1, reason: `answered ${status}`, url: `${server.origin}/file` },
      { type: 'retry', attempt: 2, reason: `answered ${status}`, url: `${server.origin}/file` },
    ]);
    expect(JSON.stringify(events)).not.toContain('secret');
    expect(waits[0]).toBeGreaterThanOrEqual(250);
    expect(waits[1]).toBeGreaterThanOrEqual(500);
  });

  test.each([400, 401, 403, 404, 410, 416, 304])('%d is an answer and never asked again', async (status) => {
    const server = await answering([status]);
    const { http, events } = world.client();
    const response = await http.request(server.origin, { signal: live() });
    expect(response.status).toBe(status);
    expect(server.requests).toHaveLength(1);
    expect(events).toEqual([]);
  });

  test('the last answer is handed out, unread, when the attempts are used up', async () => {
    const server = await answering([503, 503, 503, 503, 503]);
    const { http } = world.client({ retries: 2 });
    const response = await http.request(server.origin, { signal: live() });
    expect([response.status, await response.text()]).toEqual([503, 'not now']);
    expect(server.requests).toHaveLength(3);
  });

  test('a request may allow fewer attempts than the settings', async () => {
    const server = await answering([503]);
    const { http } = world.client({ retries: 5 });
    expect((await http.request(server.origin, { signal: live(), retries: 0 })).status).toBe(503);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    ['0', 0],
    ['7', 7000],
    [new Date(0).toUTCString(), 0],
  ])('`Retry-After: %s` is waited for exactly', async (header, milliseconds) => {
    const server = await answering([429], { 'retry-after': header });
    const { http, waits } = world.client();
    expect((await http.request(server.origin, { signal: live() })).status).toBe(200);
    expect(waits).toEqual([milliseconds]);
  });

  test('a `Retry-After` beyond the bound on waiting ends the attempts at once', async () => {
    const server = await answering([429, 429], { 'retry-after': '3600' });
    const { http, waits } = world.client({ maxWaitMs: 60_000 });
    expect((await http.request(server.origin, { signal: live() })).status).toBe(429);
    expect(server.requests).toHaveLength(1);
    expect(waits).toEqual([]);
  });

  test('the waits of one request together stay below the bound', async () => {
    const server = await answering(Array<number>(20).fill(503), { 'retry-after': '4' });
    const { http, waits } = world.client({ maxWaitMs: 10_000, retries: 20 });
    expect((await http.request(server.origin, { signal: live() })).status).toBe(503);
    expect(waits).toEqual([4000, 4000]);
  });

  test('a connection that closes without an answer is tried again', async () => {
    let asked = 0;
    const server = await world.serve((request, response) => {
      asked += 1;
      if (asked === 1) request.socket.destroy();
      else response.end('fine');
    });
    const { http, events } = world.client();
    expect((await http.request(server.origin, { signal: live() })).status).toBe(200);
    expect(events).toMatchObject([{ type: 'retry', attempt: 1 }]);
  });

  test('a body is sent again with every attempt', async () => {
    const bodies: string[] = [];
    const server = await world.serve((request, response: ServerResponse) => {
      request.on('data', (chunk) => bodies.push(String(chunk)));
      request.on('end', () => response.writeHead(bodies.length === 1 ? 500 : 200).end());
    });
    const { http } = world.client();
    await http.request(server.origin, { signal: live(), method: 'POST', body: 'question' });
    expect(bodies).toEqual(['question', 'question']);
  });

  test('an endless body of a failure is closed, not read to its end', async () => {
    let closed: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (closed = resolve));
    let asked = 0;
    const server = await world.serve((_request, response) => {
      asked += 1;
      if (asked > 1) {
        response.end('fine');
        return;
      }
      response.on('close', closed);
      response.writeHead(503);
      const more = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(16_384)));
      };
      response.on('drain', more);
      more();
    });
    const { http } = world.client();
    expect(await (await http.request(server.origin, { signal: live() })).text()).toBe('fine');
    await gone;
  });
});

describe('the `RateLimit` header', () => {
  const spent = { ratelimit: '"api";r=0;t=9' };

  test('holds back the next request to the same bucket until it is reset', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(200, spent).end('fine');
    });
    const { http, waits, events } = world.client();
    await http.request(`${server.origin}/api/models?q=secret`, { signal: live() });
    expect(waits).toEqual([]);
    await http.request(`${server.origin}/other`, { signal: live() });
    expect(waits).toEqual([]);
    await http.request(`${server.origin}/api/models?q=secret`, { signal: live() });
    expect(waits).toHaveLength(1);
    expect(waits[0]).toBeLessThanOrEqual(10_000);
    expect(waits[0]).toBeGreaterThan(9000);
    expect(events).toMatchObject([
      { type: 'retry', attempt: 0, url: server.origin, reason: 'its rate limit is used up' },
    ]);
  });

  test('counts into the bound on waiting, together with the waits between attempts', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(429, { ...spent, 'retry-after': '5' }).end();
    });
    const { http, waits } = world.client({ maxWaitMs: 14_000 });
    const error = await refusal(http.request(`${server.origin}/api/x`, { signal: live() }), 'NETWORK');
    expect(error.message).toMatch(/^127\.0\.0\.1:\d+ takes no more requests for \d+ s$/);
    // 5 s were waited for, and the limit asks for 10 s more.
    expect(waits).toEqual([5000]);
    expect(server.requests).toHaveLength(1);
  });

  test('a wait beyond the bound is an error that says how long, and nothing is sent', async () => {
    const server = await world.serve((_request, response) => {
      response.writeHead(200, { ratelimit: '"api";r=0;t=900' }).end();
    });
    const { http } = world.client();
    await http.request(`${server.origin}/api/x`, { signal: live() });
    const error = await refusal(
      http.request(`${server.origin}/api/x?sig=secret`, { signal: live() }),
      'NETWORK',
    );
    expect(error.message).toContain('takes no more requests for 901 s');
    expect(JSON.stringify(error.details)).not.toContain('secret');
    expect(server.requests).toHaveLength(1);
  });

  test('keeps requests back while those in flight may use it up, and lets them go by their answers', async () => {
    const waiting: ServerResponse[] = [];
    let arrived = 0;
    let most = 0;
    const answerAll = async (): Promise<void> => {
      // Enough for one too many to have arrived.
      for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
      most = Math.max(most, waiting.length);
      for (const response of waiting.splice(0)) {
        response.writeHead(200, { ratelimit: '"all";r=2;t=9' }).end('fine');
      }
    };
    const server = await world.serve((_request, response) => {
      arrived += 1;
      waiting.push(response);
      if (arrived % 2 === 1) void answerAll();
    });
    const ended: boolean[] = [];
    const { http } = world.client({
      // Time never passes: only answers can end a wait.
      wait: (_milliseconds, signal) =>
        new Promise((_resolve, reject) => {
          signal.onabort = () => {
            ended.push(true);
            reject(new Error('no longer waited for'));
          };
        }),
    });
    const ask = (path: string) => http.request(`${server.origin}/${path}`, { signal: live() });
    await ask('first');
    const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => ask(String(at))));
    expect(answers.map(({ status }) => status)).toEqual(Array<number>(8).fill(200));
    expect(most).toBe(2);
    expect(ended.length).toBeGreaterThan(0);
  });
});

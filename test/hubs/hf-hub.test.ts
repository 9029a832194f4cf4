/** The local Hugging Face hub's own behaviour where tests of transfers depend on it. */
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub, type HfHubOptions } from '../helpers/hf-hub.js';

const bytes = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251));
const open: HfHub[] = [];
afterEach(async () => {
  for (const hub of open.splice(0)) await hub.close();
});

async function start(options: Partial<HfHubOptions> = {}): Promise<HfHub> {
  const repos = [{ id: 'org/model', files: { 'model.onnx': bytes, 'config.json': '{"a":1}' } }];
  const hub = await startHfHub({ repos, ...options });
  open.push(hub);
  return hub;
}

const weights = (hub: HfHub): string => `${hub.endpoint}/org/model/resolve/main/model.onnx`;

describe('the local Hugging Face hub', () => {
  it('redirects LFS files to another origin, with the facts in its headers', async () => {
    const hub = await start();
    const response = await fetch(weights(hub), { method: 'HEAD', redirect: 'manual' });
    expect(response.status).toBe(302);
    expect(new URL(response.headers.get('location') ?? '').origin).toBe(hub.cdn);
    expect(hub.cdn).not.toBe(hub.endpoint);
    expect(response.headers.get('x-repo-commit')).toBe(hub.commitOf('org/model'));
    expect(response.headers.get('x-linked-size')).toBe('1000');
    expect(response.headers.get('x-linked-etag')).toMatch(/^"[0-9a-f]{64}"$/);
    expect(response.headers.get('ratelimit')).toBe('"resolvers";r=499;t=300');
  });

  it('gives ranges of both kinds of files', async () => {
    const hub = await start();
    for (const [url, whole] of [
      [weights(hub), bytes],
      [`${hub.endpoint}/org/model/resolve/main/config.json`, Buffer.from('{"a":1}')],
    ] as const) {
      const response = await fetch(url, { headers: { range: 'bytes=2-5' } });
      expect(response.status).toBe(206);
      expect(response.headers.get('content-range')).toBe(`bytes 2-5/${whole.length}`);
      expect(Buffer.from(await response.arrayBuffer())).toEqual(whole.subarray(2, 6));
      const beyond = await fetch(url, { headers: { range: 'bytes=5000-' } });
      expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${whole.length}`]);
    }
  });

  it('gives whole bodies to requests that come before the answer to the last one ended', async () => {
    const hub = await start({ bytesPerSecond: 10_000 });
    const signed = new URL((await fetch(weights(hub), { redirect: 'manual' })).headers.get('location') ?? '');
    const socket = connect(Number(signed.port), signed.hostname);
    const get = `GET ${signed.pathname}${signed.search} HTTP/1.1\r\nHost: ${signed.host}\r\n`;
    socket.write(`${get}\r\n${get}Connection: close\r\n\r\n`);
    const answers = await buffer(socket);
    const first = answers.indexOf(bytes);
    expect(answers.indexOf(bytes, first + bytes.length)).toBeGreaterThan(first);
  });

  it('lets signed addresses expire, and signs new ones', async () => {
    const hub = await start();
    const signed = (await fetch(weights(hub), { redirect: 'manual' })).headers.get('location') ?? '';
    expect((await fetch(signed)).status).toBe(200);
    expect((await fetch(signed.replace(/.$/, 'x'))).status).toBe(403);
    hub.expireSignatures();
    expect((await fetch(signed)).status).toBe(403);
    expect((await fetch(weights(hub))).status).toBe(200);
    const short = await start({ signedForMs: 0 });
    expect((await fetch(weights(short))).status).toBe(403);
  });

  it('makes commits of content alone', async () => {
    const [one, other] = [await start(), await start()];
    expect(one.commitOf('org/model')).toBe(other.commitOf('org/model'));
    const before = one.commitOf('org/model');
    one.putRepo({ id: 'org/model', files: { 'config.json': '{"a":2}' } });
    expect(one.commitOf('org/model')).not.toBe(before);
    expect((await fetch(`${one.endpoint}/org/model/resolve/${before}/model.onnx`)).status).toBe(200);
  });

  it('fails as told: so often, in the middle, with wrong bytes', async () => {
    const hub = await start();
    hub.addFault({ server: 'cdn', times: 1, kind: { status: 500 } });
    hub.addFault({ server: 'cdn', times: 1, kind: { corrupt: true } });
    hub.addFault({ server: 'cdn', times: 1, kind: { cut: 10 } });
    hub.addFault({ server: 'cdn', times: 1, kind: { reset: true } });
    expect((await fetch(weights(hub))).status).toBe(500);
    const corrupt = Buffer.from(await (await fetch(weights(hub))).arrayBuffer());
    expect(corrupt.equals(bytes)).toBe(false);
    expect(corrupt.subarray(1)).toEqual(bytes.subarray(1));
    const cut = await fetch(weights(hub));
    expect(cut.status).toBe(200);
    await expect(cut.arrayBuffer()).rejects.toThrow();
    await expect(fetch(weights(hub))).rejects.toThrow();
    expect(Buffer.from(await (await fetch(weights(hub))).arrayBuffer())).toEqual(bytes);
    const answered = hub.requests.filter(({ server }) => server === 'cdn').map(({ status }) => status);
    expect(answered).toEqual([500, 200, 200, 0, 200]);
  });

  it('goes on when a client was killed in the middle of its question', async () => {
    const hub = await start();
    const { port, hostname, host } = new URL(hub.endpoint);
    const socket = connect(Number(port), hostname);
    const path = '/api/models/org/model/paths-info/main';
    socket.write(`POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 10\r\n\r\npaths`);
    await expect.poll(() => hub.requests).toMatchObject([{ url: path, status: 0 }]);
    socket.resetAndDestroy();
    expect((await fetch(weights(hub))).status).toBe(200);
  });

  it('stalls in the middle of a body', async () => {
    const hub = await start();
    hub.addFault({ server: 'cdn', times: 1, kind: { stall: 10 } });
    const stop = new AbortController();
    const response = await fetch(weights(hub), { signal: stop.signal });
    const reader = response.body?.getReader();
    expect((await reader?.read())?.value).toHaveLength(10);
    const rest = reader?.read();
    await hub.stuck();
    stop.abort();
    await expect(rest).rejects.toThrow();
  });
});

/** Resume without trust in locks (promise 4): a process that was stopped and replaced goes on where it was. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { claim } from '../../src/store/claim.js';
import { openSession } from '../../src/store/session.js';
import {
  downloadResumable,
  type Downloaded,
  type DownloadOptions,
  type DownloadRequest,
} from '../../src/transfer/download.js';
import { openPartial, type Partial } from '../../src/transfer/partial.js';
import { transpile, type Built } from '../helpers/built.js';
import { temporaryStore, type TestStore } from '../helpers/store.js';
import { createWorld, ONE_CONNECTION } from './faults.js';

const NAME = 'bytes of the test';
const BYTES = Buffer.from(Array.from({ length: 300_000 }, (_value, at) => (at * 7919) % 251));
const HALF = 120_000;

let built: Built;
beforeAll(async () => {
  built = await transpile([
    'src/store',
    'src/transfer',
    ...['directories', 'errors', 'json', 'paths', 'redact'].map((name) => `src/${name}.ts`),
  ]);
});
afterAll(() => built.remove());

const world = createWorld();
afterEach(() => world.close());

interface Former {
  /** The next line it prints. */
  next(): Promise<string>;
  signal(name: 'SIGSTOP' | 'SIGCONT'): void;
}

function startFormer(
  store: TestStore,
  directory: string,
  request: string,
  what: 'copy' | 'download',
): Former {
  const script = fileURLToPath(new URL('fixtures/downloader.mjs', import.meta.url));
  const args = [script, built.directory, store.cacheDir, NAME, directory, request, '0', what];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    next: async () => String((await lines.next()).value),
    signal: (name) => child.kill(name),
  };
}

/** Takes the claim of the stopped process over. */
async function takeOver(store: TestStore): Promise<DownloadOptions> {
  const session = await openSession(store);
  onTestFinished(() => session.close());
  const { signal } = new AbortController();
  const held = await claim(store, session, NAME, { maxWaitMs: 30_000, signal, pollMs: 2, deadAfterMs: 300 });
  return {
    signal,
    bootId: store.bootId,
    durable: false,
    connections: ONE_CONNECTION,
    assertOwned: () => held.assertHeld(),
    onStart: () => undefined,
    onProgress: () => undefined,
  };
}

/** Every file of the partial with its contents. */
async function contentsOf(directory: string): Promise<readonly (readonly [string, string])[]> {
  const names = (await readdir(directory)).sort();
  return Promise.all(
    names.map(async (name) => [name, await readFile(join(directory, name), 'base64')] as const),
  );
}

describe('who was stopped and replaced changes nothing of the new owner', () => {
  it('when that happened while it copied the prefix', async () => {
    const store = await temporaryStore();
    const directory = join(store.cacheDir, 'partial');
    const journal = {
      version: 1,
      data: 'data.00',
      identity: 'the bytes',
      bootId: store.bootId,
      ranges: [[0, HALF]],
      flushed: [],
    };
    await mkdir(directory);
    await writeFile(join(directory, 'data.00'), BYTES.subarray(0, HALF));
    await writeFile(join(directory, 'journal.json'), JSON.stringify(journal));
    const former = startFormer(store, directory, 'the bytes', 'copy');
    expect(await former.next()).toBe('copying');
    const owner = await takeOver(store);
    const partial: Partial = await openPartial(directory, {
      ...owner,
      identity: 'the bytes',
      mayContinue: () => true,
      onPrefix: () => undefined,
    });
    await partial.record([[0, HALF]], [[0, HALF]], { etag: '"of the new owner"' });
    await partial.close();
    expect(partial.ranges).toEqual([[0, HALF]]);
    const before = await contentsOf(directory);
    expect(before).toHaveLength(2);
    former.signal('SIGCONT');
    expect(await former.next()).toBe('BUSY');
    expect(await contentsOf(directory)).toEqual(before);
  });

  it.each([
    ['come to the end', 'BUSY', (response: ServerResponse) => response.end(BYTES.subarray(HALF))],
    ['break off', 'NETWORK', (response: ServerResponse) => response.destroy()],
    [
      'turn out to be wrong',
      'BUSY',
      (response: ServerResponse) => response.end(Buffer.alloc(BYTES.length - HALF)),
    ],
  ] as const)('when that happened while bytes came, which then %s', async (_how, code, goOn) => {
    const store = await temporaryStore();
    const directory = join(store.cacheDir, 'partial');
    let arrived: (response: ServerResponse) => void = () => undefined;
    const arrival = new Promise<ServerResponse>((resolve) => (arrived = resolve));
    let requests = 0;
    const server = await world.serve((_request, response) => {
      requests += 1;
      response.writeHead(200, { 'content-length': String(BYTES.length) });
      if (requests > 1) response.end(BYTES);
      else
        response.write(BYTES.subarray(0, HALF), () => {
          arrived(response);
        });
    });
    const request: DownloadRequest = {
      label: 'model.onnx',
      url: `${server.origin}/model.onnx`,
      size: BYTES.length,
      digest: { algorithm: 'sha256', hex: createHash('sha256').update(BYTES).digest('hex') },
    };
    const former = startFormer(store, directory, JSON.stringify(request), 'download');
    const response = await arrival;
    former.signal('SIGSTOP');
    const owner = await takeOver(store);
    const downloaded: Downloaded = await downloadResumable(world.client().http, request, directory, owner);
    const before = await contentsOf(directory);
    former.signal('SIGCONT');
    goOn(response);
    expect(await former.next()).toBe(code);
    expect(await contentsOf(directory)).toEqual(before);
    expect((await readFile(downloaded.path)).equals(BYTES)).toBe(true);
  });
});

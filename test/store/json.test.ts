import { execFileSync, spawn } from 'node:child_process';
import { lstat, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import * as v from 'valibot';
import { readJson, readText, writeJson } from '../../src/store/json.js';
import { inStore } from '../../src/store/layout.js';
import { temporaryStore } from '../helpers/store.js';

/** A FIFO that somebody writes to after a second, so that whoever waits for that reads the text. */
function makeFifo(path: string): void {
  execFileSync('mkfifo', [path]);
  const writer = spawn('sh', ['-c', 'sleep 1; echo {} > "$0"', path], { stdio: 'ignore' });
  onTestFinished(() => {
    writer.kill();
  });
}

async function makeSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    server.close();
  });
}

describe('what is no file in the place of a document', () => {
  it.each<[string, (path: string) => unknown]>([
    ['a FIFO', makeFifo],
    ['a socket', makeSocket],
    ['a directory', (path) => mkdir(path)],
  ])('is damage, and not waited for: %s', async (_what, make) => {
    const store = await temporaryStore();
    const path = inStore(store, 'refs', 'a.json');
    await mkdir(dirname(path), { recursive: true });
    await make(path);
    expect(await readText(path)).toBe('');
    expect(await readJson(store, path, v.object({}))).toBeUndefined();
    expect(store.events.map(({ type }) => type)).toEqual(['warning']);
    await writeJson(store, path, {});
    expect((await lstat(path)).isFile()).toBe(true);
    expect(await readJson(store, path, v.object({}))).toEqual({});
  });
});

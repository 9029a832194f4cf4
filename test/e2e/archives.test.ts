/** Archives through the built program: its imports are Node.js' own, whose view of CommonJS packages is narrower. */
import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { startServer, type TestServer } from '../hubs/server.js';
import { tar, zip } from '../transfer/make-archive.js';

const FILES = [
  { name: 'model.onnx', content: Buffer.alloc(3_000_000, 'weights ') },
  { name: 'labels/labels.txt', content: 'cat\ndog\n' },
];
const TAR = tar(FILES);
const compressed = (command: string): Buffer =>
  execFileSync(command, ['-c', '-q'], { input: TAR, maxBuffer: 2 * TAR.length });

const bodies: Readonly<Record<string, () => Buffer>> = {
  '/model.tar': () => TAR,
  '/model.tar.gz': () => gzipSync(TAR),
  '/model.tar.xz': () => compressed('xz'),
  '/model.tar.zst': () => compressed('zstd'),
  '/model.zip': () => zip(FILES.map((file) => ({ ...file, method: 8 }))),
};

let world: World;
let server: TestServer;

beforeEach(async () => {
  world = await createWorld();
  server = await startServer((_request, path) => {
    const body = bodies[path]?.();
    return body === undefined ? undefined : { body };
  });
});

afterEach(async () => {
  await world.remove();
  await server.close();
});

describe('the built program unpacks', () => {
  it.each(['tar', 'tar.gz', 'zip'])('%s', expectUnpacked);
  requirePeer('xz', hasProgram('xz'))('tar.xz', () => expectUnpacked('tar.xz'));
  requirePeer('zstd', hasProgram('zstd'))('tar.zst', () => expectUnpacked('tar.zst'));
});

async function expectUnpacked(format: string): Promise<void> {
  const run = await world.run('pull', `${server.origin}/model.${format}`, '--unpack');
  expect(run).toMatchObject({ exitCode: 0 });
  expect((await readdir(run.stdout, { recursive: true })).sort()).toEqual([
    'labels',
    'labels/labels.txt',
    'model.onnx',
  ]);
  for (const { name, content } of FILES) {
    expect((await readFile(join(run.stdout, name))).equals(Buffer.from(content))).toBe(true);
  }
}

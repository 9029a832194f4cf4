/** Real packages from the registries that npm and pip are configured with, each into an empty cache. */
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect } from 'vitest';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';

const registry = hasProgram('npm', ['ping', '--fetch-retries=0', '--fetch-timeout=5000']);
const INDEX = ['-m', 'pip', 'index', 'versions', 'magika', '--retries=0', '--timeout=10'];
const index = hasProgram('python3', INDEX);

let world: World;
beforeEach(async () => {
  world = await createWorld();
});
afterEach(() => world.remove());

interface Pulled {
  readonly path: string;
  readonly cached: boolean;
  readonly downloadedBytes: number;
}

function pulledBy({ exitCode, stdout, stderr }: Run): Pulled {
  expect(exitCode, stderr).toBe(0);
  const [model] = (JSON.parse(stdout) as { models: readonly Pulled[] }).models;
  if (model === undefined) throw new Error('Expected a model');
  return model;
}

for (const [hub, peer, answers, reference] of [
  ['pypi', 'a Python package index', index, 'pypi:magika@1.0.3//magika/models/standard_v3_3/model.onnx'],
  [
    'npm',
    'an npm registry',
    registry,
    'npm:@mediapipe/face_detection@0.4.1657300184//face_detection_short_range.tflite',
  ],
] as const) {
  requirePeer(peer, answers)(
    `${hub}: a model is fetched, verified and then found without network`,
    async () => {
      const first = pulledBy(await world.run('pull', reference, '--json'));
      const { length } = await readFile(first.path);
      expect(length).toBeGreaterThan(100_000);
      expect(first.cached).toBe(false);
      // Packed in the package.
      expect(first.downloadedBytes).toBeGreaterThan(length / 4);
      expect((await world.run('verify')).exitCode).toBe(0);
      const again = pulledBy(await world.run('pull', reference, '--json', '--offline'));
      expect(again).toEqual({ ...first, cached: true, downloadedBytes: 0 });
    },
  );
}

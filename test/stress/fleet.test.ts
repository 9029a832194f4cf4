/**
 * A fleet of machines and one registry, with Debian's docker-registry: what each machine asks, and of whom. Fifty processes
 * with `npm run stress`, whose table is in README.md; a few in every run.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { startRegistry, withRegistry, type Registry } from '../helpers/registry.js';
import { FULL, runs } from '../helpers/stress.js';

const MiB = 1024 * 1024;
const MACHINES = runs(4, 50);
/** Two cores run no more at once. */
const AT_ONCE = 4;
const MODEL = 'org/model';
const WEIGHTS = { 'model-1.safetensors': randomBytes(12 * MiB), 'model-2.safetensors': randomBytes(9 * MiB) };
const TEXTS = {
  'config.json': '{"model_type": "bert"}',
  'tokenizer.json': 'x'.repeat(70_000),
  'vocab.txt': 'a\nb\n',
};
const FILES = { ...WEIGHTS, ...TEXTS };
const BYTES = Object.values(FILES).reduce((sum, { length }) => sum + length, 0);

let directory: string;
let hub: HfHub;
let registry: Registry;
let machines: readonly World[];
/** Not one of them: it fills the registry. */
let filler: World;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'modeldl-fleet-'));
  hub = await startHfHub({ repos: [{ id: MODEL, files: FILES }] });
  registry = await startRegistry();
  const file = join(directory, 'fleet.json');
  await writeFile(file, JSON.stringify({ hubs: { hf: { mirrors: [`oci:${registry.host}/models`] } } }));
  const environment = { HF_ENDPOINT: hub.endpoint, MODELDL_CONFIG: file };
  filler = await createWorld(environment);
  machines = await Promise.all(Array.from({ length: MACHINES }, () => createWorld(environment)));
});
afterEach(async () => {
  await Promise.all([filler, ...machines].map((world) => world.remove()));
  await registry.close();
  await hub.close();
  await rm(directory, { recursive: true });
});

function succeeded({ exitCode, stdout, stderr }: Run): string {
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

/** On one connection for each file: of several the one whose part another took over has sent more than is read. */
function pull(world: World, reference: string): Promise<Run> {
  return world.run('pull', reference, '--connections', '1', '--max-wait', '1ms');
}

interface Traffic {
  readonly hubRequests: number;
  readonly hubBytes: number;
  readonly registryRequests: number;
  readonly registryBytes: number;
}

async function traffic(): Promise<Traffic> {
  await registry.logged();
  return {
    hubRequests: hub.requests.length,
    hubBytes: hub.requests.reduce((sum, { bytes }) => sum + bytes, 0),
    registryRequests: registry.requests().length,
    registryBytes: registry.answeredBytes(),
  };
}

/** What work on every machine took, of each. */
async function perMachine(work: (world: World) => Promise<void>): Promise<Traffic> {
  const before = await traffic();
  const queue = pLimit(AT_ONCE);
  await Promise.all(machines.map((world) => queue(() => work(world))));
  const after = await traffic();
  const each = (key: keyof Traffic): number => (after[key] - before[key]) / MACHINES;
  return {
    hubRequests: each('hubRequests'),
    hubBytes: each('hubBytes'),
    registryRequests: each('registryRequests'),
    registryBytes: each('registryBytes'),
  };
}

function report(what: string, { hubRequests, hubBytes, registryRequests, registryBytes }: Traffic): void {
  if (!FULL) return;
  const cells = [hubRequests, hubBytes, registryRequests, registryBytes].map((value) => value.toFixed(0));
  process.stdout.write(`| ${what} | ${cells.join(' | ')} |\n`);
}

async function expectWeights(path: string): Promise<void> {
  const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
  for (const [name, bytes] of Object.entries(WEIGHTS))
    expect(sha256(await readFile(join(path, name)))).toBe(sha256(bytes));
}

describe(`${MACHINES} machines and a registry`, { timeout: 1_800_000 }, () => {
  withRegistry('ask the hub for listings, and the registry for bytes', async () => {
    const pinned = `hf:${MODEL}@${hub.commitOf(MODEL)}`;
    report('pulling the model once', await once(() => pull(filler, pinned)));
    report('filling the registry', await once(() => filler.run('push', pinned)));

    const pulled = await perMachine(async (world) => {
      await expectWeights(succeeded(await pull(world, pinned)));
    });
    report('each machine, the hub in reach', pulled);
    expect(pulled.hubRequests).toBe(2);
    expect(pulled.hubBytes).toBeLessThan(10_000);
    // What it has, and each file.
    expect(pulled.registryRequests).toBe(1 + Object.keys(FILES).length);
    expect(pulled.registryBytes).toBeGreaterThan(BYTES);
    expect(pulled.registryBytes).toBeLessThan(BYTES + 10_000);

    const again = await perMachine(async (world) => {
      await expectWeights(succeeded(await pull(world, pinned)));
    });
    report('again', again);
    expect(again).toEqual({ hubRequests: 0, hubBytes: 0, registryRequests: 0, registryBytes: 0 });

    // The next revision has the same weights.
    hub.putRepo({ id: MODEL, files: { ...FILES, 'config.json': '{"model_type": "roberta"}' } });
    const next = `hf:${MODEL}@${hub.commitOf(MODEL)}`;
    succeeded(await filler.run('push', next));
    hub.addFault({ kind: { reset: true } });
    const changed = await perMachine(async (world) => {
      await expectWeights(succeeded(await pull(world, next)));
    });
    report('each machine, the next revision, the hub out of reach', changed);
    expect(changed.hubBytes).toBe(0);
    expect(changed.registryBytes).toBeLessThan(90_000);
  });
});

/** The same of one command. */
async function once(work: () => Promise<Run>): Promise<Traffic> {
  const before = await traffic();
  succeeded(await work());
  const after = await traffic();
  return {
    hubRequests: after.hubRequests - before.hubRequests,
    hubBytes: after.hubBytes - before.hubBytes,
    registryRequests: after.registryRequests - before.registryRequests,
    registryBytes: after.registryBytes - before.registryBytes,
  };
}

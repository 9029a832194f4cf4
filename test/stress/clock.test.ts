/** The wall clock jumps by a year, back or forth, while commands run or between them: nothing is lost by it. */
import { createHash, randomFillSync } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectSoundStore } from '../helpers/sound-store.js';

const MiB = 1024 * 1024;
const YEAR_MS = 365 * 86_400_000;
const SMALL = randomFillSync(new Uint8Array(MiB));
const LARGE = randomFillSync(new Uint8Array(24 * MiB));
const SIZE = SMALL.length + LARGE.length;

function preload(name: string): string {
  return `--import=${fileURLToPath(new URL(`preloads/${name}.mjs`, import.meta.url))}`;
}

function clock(...shifts: readonly number[]): Readonly<Record<string, string>> {
  return { NODE_OPTIONS: preload('wild-clock'), CLOCK_SHIFTS: shifts.join(',') };
}

/** As if the clock of the whole machine had jumped since: what lies there has other times relative to now. */
function jumped(byMs: number): Readonly<Record<string, string>> {
  const NODE_OPTIONS = `${preload('wild-clock')} ${preload('aged')}`;
  return { NODE_OPTIONS, CLOCK_SHIFTS: '0', AGED_MS: String(byMs) };
}

const CLOCKS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['a year ahead', clock(YEAR_MS)],
  ['a year behind', clock(-YEAR_MS)],
  ['jumping back and forth at every look', clock(YEAR_MS, 0, -YEAR_MS)],
];

/** On one connection, since another one may fetch again what the first was slow to bring. */
const PULL = ['pull', 'hf:org/model', '--connections', '1'] as const;

let world: World;
let hub: HfHub;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [{ id: 'org/model', files: { 'config.json': '{}', 'a.onnx': SMALL, 'b.onnx': LARGE } }],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function fetchedBytes(): number {
  return hub.requests
    .filter(({ server, method }) => server === 'cdn' && method === 'GET')
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

function inCache(area: string): Promise<readonly string[]> {
  return readdir(join(world.cacheDir, 'v1', area));
}

async function blobs(): Promise<readonly string[]> {
  const entries = await readdir(join(world.cacheDir, 'v1/blobs/sha256'), {
    recursive: true,
    withFileTypes: true,
  });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

async function expectTree({ exitCode, stdout, stderr }: Run): Promise<void> {
  expect(exitCode, stderr).toBe(0);
  expect(digestOf(await readFile(join(stdout, 'a.onnx')))).toBe(digestOf(SMALL));
  expect(digestOf(await readFile(join(stdout, 'b.onnx')))).toBe(digestOf(LARGE));
}

/** A pull that has the small files and a part of the large one, and was killed. */
async function interruptedPull(environment: Readonly<Record<string, string>> = {}): Promise<void> {
  hub.addFault({
    server: 'cdn',
    times: 1,
    matches: new RegExp(digestOf(LARGE)),
    kind: { stall: 20 * MiB },
  });
  // One connection, since another would take over what this one does not bring.
  const run = world.start({ environment }, ...PULL);
  await hub.stuck();
  run.signal('SIGKILL');
  await run.done;
  hub.clearFaults();
}

describe.each(CLOCKS)('with a clock %s', (_what, environment) => {
  it('commands do what they always do', async () => {
    const pull = (): Promise<Run> => world.runWith(environment, ...PULL);
    await expectTree(await pull());
    await expectTree(await pull());
    for (const args of [['path', 'hf:org/model'], ['verify'], ['list', '--json'], ['prune', '-y']]) {
      const { exitCode, stderr } = await world.runWith(environment, ...args);
      expect([args, exitCode, stderr.includes('error:')]).toEqual([args, 0, false]);
    }
    await expectTree(await world.run(...PULL));
    expect(fetchedBytes()).toBe(SIZE);
    await expectSoundStore(world);
  });

  it('a pull that was killed is resumed, and a prune in between takes nothing of it', async () => {
    await interruptedPull(environment);
    const [before, partials] = [await blobs(), await inCache('partials')];
    expect(before).toContain(digestOf(SMALL));
    expect(partials).toHaveLength(1);
    expect((await world.runWith(environment, 'prune', '-y')).exitCode).toBe(0);
    expect(await blobs()).toEqual(before);
    expect(await inCache('partials')).toEqual(partials);
    await expectTree(await world.runWith(environment, ...PULL));
    expect(fetchedBytes()).toBeLessThan(SIZE + LARGE.length);
  });

  it('a living pull is not taken for dead, neither by one that waits nor by a prune', async () => {
    let go: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (go = resolve));
    const stalling = await startHfHub({
      repos: [{ id: 'org/model', files: { 'config.json': '{}', 'a.onnx': SMALL, 'b.onnx': LARGE } }],
      sent: async ({ server, bytes }) => {
        if (server === 'cdn' && bytes >= 8 * MiB) await held;
      },
    });
    try {
      const own = { HF_ENDPOINT: stalling.endpoint };
      // One connection, so that nothing is sent for another one to take over.
      const owner = world.start({ environment: own }, ...PULL);
      await expect.poll(() => inCache('partials').catch(() => []), { timeout: 30_000 }).toHaveLength(1);
      const waiting = world.start({ environment: { ...environment, ...own } }, ...PULL);
      await waiting.said('Waiting for process');
      expect((await world.runWith(environment, 'prune', '--partials', '-y')).exitCode).toBe(0);
      go();
      await expectTree(await owner.done);
      await expectTree(await waiting.done);
      const sent = stalling.requests.filter(({ server }) => server === 'cdn');
      expect(sent.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(SIZE);
    } finally {
      go();
      await stalling.close();
    }
  });
});

describe('after the clock of the machine jumped', () => {
  it.each([
    ['back by a year, what seems to come from the future stays', -YEAR_MS, true],
    ['forth by a year, what nobody names seems old enough and goes', YEAR_MS, false],
  ])('%s', async (_what, byMs, stays) => {
    await interruptedPull();
    const pruned = await world.runWith(jumped(byMs), 'prune', '-y');
    expect(pruned.exitCode, pruned.stderr).toBe(0);
    expect((await blobs()).includes(digestOf(SMALL))).toBe(stays);
    // Either way only bytes that can be fetched again.
    await expectTree(await world.run(...PULL));
  });

  it.each([-YEAR_MS, YEAR_MS])('by %d ms, a stored model stays whole', async (byMs) => {
    await expectTree(await world.run(...PULL));
    const environment = jumped(byMs);
    expect((await world.runWith(environment, 'prune', '--partials', '-y')).exitCode).toBe(0);
    expect((await world.runWith(environment, 'verify')).exitCode).toBe(0);
    await expectTree(await world.runWith(environment, ...PULL));
    expect(fetchedBytes()).toBe(SIZE);
  });

  it('back, a model last used in what is the future now is not evicted by age', async () => {
    await expectTree(await world.runWith(clock(YEAR_MS), ...PULL));
    const evicting = await world.run('prune', '--older-than', '30d', '-y');
    expect(evicting.exitCode, evicting.stderr).toBe(0);
    expect((await world.run('path', 'hf:org/model')).exitCode).toBe(0);
  });
});

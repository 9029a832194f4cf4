/**
 * Power cuts: the program works on a disk that loses what nobody flushed, at any of its steps. Whatever is left, no
 * command hands out a damaged model, all of them say what is wrong, and a repair ends in the right bytes (promise 1).
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, afterEach, beforeEach, describe, expect } from 'vitest';
import type { Durability } from '../../src/store/layout.js';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { writeStandInOpenvino } from '../helpers/interpreter.js';
import { canCutPower, powerDisk, type DiskKind, type PowerDisk } from '../helpers/power-disk.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { whereKernelHas } from '../helpers/require.js';
import { runs, SEED, seededRandom } from '../helpers/stress.js';

const MiB = 1024 * 1024;
/** Bytes that no stale or empty block holds by chance. */
const bytesOf = (seed: string, size: number): Buffer => {
  const block = createHash('sha512').update(seed).digest();
  return Buffer.alloc(size, block);
};
const SHARED = bytesOf('shared', 300_000);
const FILES: Readonly<Record<string, Readonly<Record<string, Buffer>>>> = {
  'hf:org/base': { 'config.json': Buffer.from('{"base":1}'), 'model.onnx': SHARED },
  'hf:org/other': {
    'config.json': Buffer.from('{"other":1}'),
    'sub/copy.onnx': SHARED,
    'sub/more.bin': bytesOf('more', 70_001),
  },
  // Above the size that is fetched in one go, so that it has a journal.
  'hf:org/large': { 'config.json': Buffer.from('{"large":1}'), 'model.onnx': bytesOf('large', 40 * MiB) },
};
const LOCAL = 'bytes that only a real toolchain would look at';
const CONVERTED = { 'model.xml': Buffer.from('network\n'), 'model.bin': Buffer.from('weights\n') };
const DURABILITIES: readonly Durability[] = ['lazy', 'flush', 'trust'];

/** Changes of the disk that a first pull makes, about; every other command makes less. */
const STEPS = 140;

const afterCuts = whereKernelHas('root, loop devices and ext4', canCutPower);

let hub: HfHub;
let world: World;
let lostFiles = 0;
let roundsWithLoss = 0;
let rounds = 0;

beforeEach(async () => {
  hub = await startHfHub({
    repos: Object.entries(FILES).map(([reference, files]) => ({ id: reference.slice(3), files })),
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  const python = await writeStandInOpenvino(join(world.directory, 'python'));
  await writeFile(join(world.directory, 'model.onnx'), LOCAL);
  for (const durability of DURABILITIES) {
    const config = { durability, toolchains: { interpreters: { openvino: python } } };
    await writeFile(join(world.directory, `${durability}.json`), JSON.stringify(config));
  }
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

/** The program on one disk, with one durability. */
interface Machine {
  readonly disk: PowerDisk;
  readonly durability: Durability;
  readonly run: (...args: readonly string[]) => Promise<Run>;
  readonly runWith: (
    environment: Readonly<Record<string, string>>,
    ...args: readonly string[]
  ) => Promise<Run>;
}

async function machine(kind: DiskKind, durability: Durability): Promise<Machine> {
  const disk = await powerDisk(kind);
  const runWith: Machine['runWith'] = (environment, ...args) =>
    world.runWith(environment, '--config', `${durability}.json`, '--cache-dir', disk.directory, ...args);
  return { disk, durability, runWith, run: (...args) => runWith(disk.environment(), ...args) };
}

const CONVERSION = ['convert', './model.onnx'] as const;
type Commands = readonly (readonly string[])[];

/** A command, what the disk holds before it, and the models that are whole once it ended well. */
const ACTIONS: Readonly<
  Record<string, { before: Commands; command: readonly string[]; kept: readonly string[] }>
> = {
  'a first pull': { before: [], command: ['pull', 'hf:org/base'], kept: ['hf:org/base'] },
  'a pull of shared bytes': {
    before: [['pull', 'hf:org/base']],
    command: ['pull', 'hf:org/other'],
    kept: ['hf:org/base', 'hf:org/other'],
  },
  'a large file': { before: [], command: ['pull', 'hf:org/large'], kept: ['hf:org/large'] },
  'a stored pull': {
    before: [['pull', 'hf:org/base']],
    command: ['pull', 'hf:org/base'],
    kept: ['hf:org/base'],
  },
  'a pull by force': {
    before: [['pull', 'hf:org/base']],
    command: ['pull', 'hf:org/base', '--force'],
    kept: ['hf:org/base'],
  },
  'a conversion': { before: [], command: CONVERSION, kept: [] },
  'a removal': {
    before: [
      ['pull', 'hf:org/base'],
      ['pull', 'hf:org/other'],
    ],
    command: ['remove', 'hf:org/other', '-y'],
    kept: ['hf:org/base'],
  },
  'a removal with its bytes': {
    before: [
      ['pull', 'hf:org/base'],
      ['pull', 'hf:org/other'],
    ],
    command: ['remove', 'hf:org/other', '-y', '--prune'],
    kept: ['hf:org/base'],
  },
  'a prune': {
    before: [
      ['pull', 'hf:org/base'],
      ['pull', 'hf:org/other'],
      ['remove', 'hf:org/other', '-y'],
    ],
    command: ['prune', '-y'],
    kept: ['hf:org/base'],
  },
  'a verification': {
    before: [['pull', 'hf:org/base']],
    command: ['verify'],
    kept: ['hf:org/base'],
  },
};

/** No round may leave what is not the model's under its name. */
async function expectBytes(
  directory: string,
  files: Readonly<Record<string, Buffer>>,
  what: string,
): Promise<void> {
  const names = (await readdir(directory, { recursive: true, withFileTypes: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
  expect(names.sort(), what).toEqual(Object.keys(files).sort());
  for (const [name, bytes] of Object.entries(files)) {
    const found = await readFile(join(directory, name));
    expect(
      found.equals(bytes),
      `${what}: ${name} has ${found.length} of ${bytes.length} bytes, or others`,
    ).toBe(true);
  }
}

/** Blobs and documents that the cut left without their bytes. */
async function countLost(directory: string): Promise<number> {
  let lost = 0;
  const entries = await readdir(join(directory, 'v1'), { recursive: true, withFileTypes: true }).catch(
    () => [],
  );
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = await readFile(path);
    if (entry.parentPath.includes('/blobs/')) {
      if (createHash('sha256').update(bytes).digest('hex') !== entry.name) lost += 1;
    } else if (
      /\/(records|snapshots|refs)\b.*\.json$/.test(path) &&
      (bytes.length === 0 || bytes.includes(0))
    ) {
      lost += 1;
    }
  }
  rounds += 1;
  lostFiles += lost;
  if (lost > 0) roundsWithLoss += 1;
  return lost;
}

const listed = v.object({ models: v.array(v.object({ reference: v.string(), path: v.string() })) });

/** A model's files, whatever of its references is given. */
function filesOf(reference: string): Readonly<Record<string, Buffer>> {
  const files = FILES[reference.replace(/@.*/, '')];
  if (files !== undefined) return files;
  return reference.includes('+') ? CONVERTED : { 'model.onnx': Buffer.from(LOCAL) };
}

function expectToldWell(run: Run, codes: readonly number[], what: string): void {
  expect(codes, `${what}: ${run.stderr}`).toContain(run.exitCode);
  expect(run.stderr, what).not.toMatch(/^\s+at .+:\d+:\d+|Unexpected/m);
  if (run.exitCode !== 0) expect(run.stderr, what).toContain('hint: ');
}

/** What each command may do with what a cut left; those that hand out a model hand out right bytes. */
async function expectHonest(
  { run, durability }: Machine,
  kept: readonly string[],
  random: () => number,
  what: string,
): Promise<void> {
  const trusting = durability === 'trust';
  const check = async (
    command: readonly string[],
    codes: readonly number[],
    reference?: string,
  ): Promise<void> => {
    const told = await run(...command);
    const where = `${what}, then ${command.join(' ')}`;
    expectToldWell(told, codes, where);
    if (told.exitCode === 0 && reference !== undefined && !trusting)
      await expectBytes(told.stdout, filesOf(reference), where);
  };
  const looks: (() => Promise<void>)[] = [
    () => check(['list'], [0]),
    () => check(['show', 'hf:org/base', '--offline'], [0, 3, 6]),
    () => check(['verify'], [0, 6]),
    ...Object.keys(FILES).flatMap((reference) => {
      const sure = durability === 'flush' && kept.includes(reference);
      return [
        () => check(['path', reference], sure ? [0] : [0, 3, 6], reference),
        () => check(['pull', reference, '--offline'], sure ? [0] : [0, 5], reference),
      ];
    }),
    () => check(['pull', 'hf:org/base'], [0], 'hf:org/base'),
    () => check(CONVERSION, [0], './model.onnx+'),
  ];
  // The first command after a cut meets the damage; which that is, chance decides.
  for (let left = 4; left > 0; left -= 1) await looks[Math.floor(random() * looks.length)]?.();
}

/** Every model that is named ends with its bytes, and the store is sound. */
async function expectRepaired({ run }: Machine, what: string): Promise<void> {
  const repair = await run('verify', '--repair');
  expectToldWell(repair, repair.stderr.includes('make it again with `modeldl convert`') ? [6] : [0], what);
  const sound = await run('verify');
  expect(sound.exitCode, `${what}, repaired: ${sound.stderr}`).toBe(0);
  const { models } = v.parse(listed, JSON.parse((await run('list', '--json')).stdout));
  for (const { reference, path } of models) {
    if (!path.endsWith('model.onnx')) await expectBytes(path, filesOf(reference), `${what}, repaired`);
    else expect(await readFile(path, 'utf8'), what).toBe(LOCAL);
  }
  const pruned = await run('prune', '-y');
  expect(pruned.exitCode, `${what}, pruned: ${pruned.stderr}`).toBe(0);
  for (const [reference, files] of Object.entries(FILES)) {
    const pulled = await run('pull', reference);
    expect(pulled.exitCode, `${what}, pulled: ${pulled.stderr}`).toBe(0);
    await expectBytes(pulled.stdout, files, `${what}, pulled`);
  }
  const converted = await run(...CONVERSION);
  expect(converted.exitCode, `${what}, converted: ${converted.stderr}`).toBe(0);
  await expectBytes(converted.stdout, CONVERTED, `${what}, converted`);
}

async function expectDone(run: Promise<Run>, what: string): Promise<void> {
  const { exitCode, stderr } = await run;
  expect(exitCode, `${what}: ${stderr}`).toBe(0);
}

describe('after a power cut', () => {
  afterCuts('bytes that nobody flushed are gone, so these tests prove something', async () => {
    for (const kind of ['lossy', 'late'] as const) {
      const { disk, run } = await machine(kind, 'lazy');
      await expectDone(run('pull', 'hf:org/base'), kind);
      await disk.commit();
      await disk.cut();
      expect(await countLost(disk.directory), kind).toBeGreaterThan(0);
    }
  });

  for (const kind of ['lossy', 'late', 'ordered'] as const) {
    afterCuts(`what was done is there with \`flush\`, on a disk that is ${kind}`, async () => {
      const { disk, run } = await machine(kind, 'flush');
      for (const reference of Object.keys(FILES)) await expectDone(run('pull', reference), reference);
      await expectDone(run(...CONVERSION), 'convert');
      await disk.cut();
      await countLost(disk.directory);
      for (const [reference, files] of Object.entries(FILES)) {
        const found = await run('path', reference);
        expect(found.exitCode, found.stderr).toBe(0);
        await expectBytes(found.stdout, files, reference);
        // Bytes, names and listings: all that a pull without network needs.
        await expectDone(run('pull', reference, '--offline'), reference);
      }
      const converted = await run(...CONVERSION, '--json');
      expect(JSON.parse(converted.stdout)).toMatchObject({ models: [{ cached: true }] });
      await expectDone(run('remove', 'hf:org/base', '-y'), 'remove');
      await disk.cut();
      expect((await run('path', 'hf:org/base')).exitCode).toBe(3);
    });
  }

  afterCuts('a model that a later command of the same boot has seen is there', async () => {
    const { disk, run } = await machine('lossy', 'lazy');
    await expectDone(run('pull', 'hf:org/base'), 'pull');
    // What a branch stood at may be gone; the model goes by its commit.
    const pinned = `hf:org/base@${hub.commitOf('org/base')}`;
    await expectDone(run('path', pinned), 'path');
    await disk.cut();
    const found = await run('path', pinned);
    expect(found.exitCode, found.stderr).toBe(0);
    await expectBytes(found.stdout, filesOf('hf:org/base'), 'path');
  });

  const actions = Object.keys(ACTIONS);
  const kinds = ['lossy', 'late', 'ordered'] as const;
  for (const durability of DURABILITIES) {
    afterCuts(
      `at any step, with \`${durability}\`, no damaged model is handed out, and a repair restores it`,
      async () => {
        const count = runs(2, 70);
        for (let round = 0; round < count; round += 1) {
          const seed = SEED + round;
          const random = seededRandom(seed);
          const pick = <Item>(items: readonly Item[]): Item | undefined =>
            items[Math.floor(random() * items.length)];
          const name = actions[(seed + Math.floor(random() * 2)) % actions.length] ?? '';
          const action = ACTIONS[name];
          const kind = pick(kinds) ?? 'lossy';
          if (action === undefined) throw new Error(name);
          const what = `MODELDL_SEED=${seed} (${durability}, ${kind}, ${name})`;
          const subject = await machine(kind, durability);
          const { disk } = subject;
          for (const command of action.before) await expectDone(subject.run(...command), what);
          if (random() < 0.4) await disk.flush();
          const atStep = random() < 0.75;
          const commit = random() < 0.5;
          const environment = atStep
            ? disk.cuttingAt(1 + Math.floor(random() * STEPS), commit)
            : disk.environment();
          const { exitCode, stderr } = await subject.runWith(environment, ...action.command);
          expect([0, 137], `${what}: ${stderr}`).toContain(exitCode);
          if (exitCode === 0 && commit) await disk.commit();
          await disk.cut();
          await countLost(disk.directory);
          const earlier = action.before.flatMap(([verb, reference = '']) =>
            verb === 'pull' ? [reference] : [],
          );
          const kept = exitCode === 0 ? action.kept : action.kept.filter((model) => earlier.includes(model));
          await expectHonest(subject, name === 'a pull by force' && exitCode !== 0 ? [] : kept, random, what);
          await expectRepaired(subject, what);
          hub.clearRequests();
        }
      },
      runs(120_000, 3_600_000),
    );
  }
});

afterAll(() => {
  if (!canCutPower) return;
  process.stderr.write(
    `power cuts: ${lostFiles} files lost their bytes in ${roundsWithLoss} of ${rounds} rounds (MODELDL_SEED=${SEED})\n`,
  );
});

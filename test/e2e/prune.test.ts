/** What `modeldl prune` evicts, by the times of last use and by what models share. */
import { createHash } from 'node:crypto';
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inStore } from '../../src/store/layout.js';
import { publishModel } from '../../src/store/models.js';
import { createWorld, type World } from '../helpers/program.js';
import { keyOf, openedStore, putBlob, recordOf, type TestStore } from '../helpers/store.js';

const DAY_MS = 86_400_000;
/** In two of the models, so that removing one of these frees nothing of it. */
const SHARED = 's'.repeat(500);
/** Bytes of all three models on disk: 1,000 of each, and what two of them share. */
const ALL = 3500;

let world: World;
let store: TestStore;
let usedFiles: Map<string, string>;

beforeEach(async () => {
  world = await createWorld();
  store = await openedStore(world.cacheDir);
  usedFiles = new Map();
  // Not in the order of their names, which is how the store lists them.
  await put('org/b-month', 40, { own: 'b'.repeat(1000), shared: SHARED });
  await put('org/c-weeks', 20, { own: 'c'.repeat(1000), shared: SHARED });
  await put('org/a-today', 0.1, { own: 'a'.repeat(1000) });
});

afterEach(() => world.remove());

/** A model that was last used so many days ago; pulled long before, unless said otherwise. */
async function put(
  id: string,
  usedDaysAgo: number | 'never',
  files: Readonly<Record<string, string>>,
  pulledDaysAgo = 300,
): Promise<void> {
  for (const text of Object.values(files)) await putBlob(store, text);
  const key = keyOf(id);
  const pulledAt = new Date(Date.now() - pulledDaysAgo * DAY_MS).toISOString();
  const model = await publishModel(store, key, { ...recordOf(key, files), pulledAt });
  if ('missing' in model) throw new Error(`Missing blobs: ${model.missing.join(', ')}`);
  const name = createHash('sha256').update(model.path).digest('hex').slice(0, 32);
  const used = inStore(store, 'used', name);
  usedFiles.set(id, used);
  if (usedDaysAgo === 'never') await rm(used);
  else await markUsed(id, usedDaysAgo);
}

async function markUsed(id: string, daysAgo: number): Promise<void> {
  const time = new Date(Date.now() - daysAgo * DAY_MS);
  await utimes(usedFiles.get(id) ?? '', time, time);
}

interface Plan {
  readonly models: readonly { readonly reference: string }[];
  readonly bytes: number;
}

/** Ids that a plan evicts, in its order, and the bytes that it frees. */
async function planned(...flags: readonly string[]): Promise<{ ids: readonly string[]; bytes: number }> {
  const { stdout, stderr } = await world.run('prune', ...flags, '--dry-run', '--json');
  expect(stderr).toBe('');
  const { models, bytes } = JSON.parse(stdout) as Plan;
  return { ids: models.map(({ reference }) => idOf(reference)), bytes };
}

function idOf(reference: string): string {
  return reference.replace(/^hf:|@.*$/g, '');
}

async function stored(): Promise<readonly string[]> {
  const { stdout } = await world.run('list', '--quiet');
  return stdout.split('\n').filter(Boolean).map(idOf);
}

describe('modeldl prune evicts', () => {
  it.each<readonly [flags: string, ids: readonly string[], bytes: number]>([
    ['', [], 0],
    ['--older-than 41d', [], 0],
    ['--older-than 39d', ['org/b-month'], 1000],
    ['--older-than 19d', ['org/b-month', 'org/c-weeks'], 2500],
    ['--older-than 1h', ['org/b-month', 'org/c-weeks', 'org/a-today'], ALL],
    [`--max-size ${ALL}`, [], 0],
    [`--max-size ${ALL - 1}`, ['org/b-month'], 1000],
    ['--max-size 2500', ['org/b-month'], 1000],
    ['--max-size 2499', ['org/b-month', 'org/c-weeks'], 2500],
    ['--max-size 0', ['org/b-month', 'org/c-weeks', 'org/a-today'], ALL],
    // Both: what either would take.
    [`--older-than 39d --max-size ${ALL}`, ['org/b-month'], 1000],
    ['--older-than 41d --max-size 2500', ['org/b-month'], 1000],
    ['--older-than 39d --max-size 1000', ['org/b-month', 'org/c-weeks'], 2500],
    ['--older-than 19d --max-size 3000', ['org/b-month', 'org/c-weeks'], 2500],
  ])('with "%s": %j, %d bytes', async (flags, ids, bytes) => {
    expect(await planned(...flags.split(' ').filter(Boolean))).toEqual({ ids, bytes });
  });

  it('a model that was never used by when it was pulled', async () => {
    await put('org/d-never', 'never', { own: 'd'.repeat(1000) }, 30);
    expect((await planned('--older-than', '29d')).ids).toEqual(['org/b-month', 'org/d-never']);
    expect((await planned('--older-than', '31d')).ids).toEqual(['org/b-month']);
    expect((await planned('--max-size', '3499')).ids).toEqual(['org/b-month', 'org/d-never']);
  });

  it('the one that a later use made the oldest', async () => {
    await markUsed('org/b-month', 1);
    expect((await planned('--max-size', String(ALL - 1))).ids).toEqual(['org/c-weeks']);
    expect((await planned('--older-than', '19d')).ids).toEqual(['org/c-weeks']);
  });

  it('nothing that `path` just handed out', async () => {
    expect((await world.run('path', 'hf:org/b-month')).exitCode).toBe(0);
    expect((await planned('--older-than', '39d')).ids).toEqual([]);
  });

  it('no unfinished download but with --partials, and says how much stays', async () => {
    const partial = inStore(store, 'partials', 'a'.repeat(32));
    await mkdir(partial);
    await writeFile(join(partial, 'data'), 'half');
    const kept = 'Kept to be resumed: 1 unfinished download, 4 B; `--partials` removes them too';
    expect((await world.run('prune', '--dry-run')).stderr).toContain(kept);
    expect((await world.run('prune', '-y')).stderr).toContain(kept);
    const { stderr } = await world.run('prune', '-y', '--partials');
    expect(stderr).not.toContain('Kept');
    expect(stderr).toContain('Freed 4 B');
  });

  it('nothing with --dry-run, nothing off a terminal without -y, and with it what the plan said', async () => {
    const flags = ['prune', '--older-than', '19d'];
    const all = ['org/a-today', 'org/b-month', 'org/c-weeks'];
    expect((await world.run(...flags, '--dry-run', '-y')).stdout).toContain('2.4 KiB would be freed');
    expect(await stored()).toEqual(all);
    const asked = await world.run(...flags);
    expect([asked.exitCode, asked.stdout]).toEqual([2, '']);
    expect(asked.stderr).toContain('-y');
    expect(await stored()).toEqual(all);
    const done = await world.run(...flags, '-y', '--json');
    const { removed } = JSON.parse(done.stdout) as { removed: readonly string[] };
    expect(removed.map(idOf)).toEqual(['org/b-month', 'org/c-weeks']);
    expect(await stored()).toEqual(['org/a-today']);
  });
});

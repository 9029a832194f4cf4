/**
 * Each lock of `optimum` in its real environment: one Python process per lock exports a tiny model of each library and
 * one that only this lock takes, runs them beside the originals, and says what the committed table is made of. A further
 * environment adds some 300 MB to the 6.7 GB of the first. Where every test runs, the preferred and the oldest lock are
 * proven; that the table is of the locks as they are is asked of its versions (optimum-models.test.ts).
 */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { assetPath } from '../../converters/assets.js';
import { createWorld, type World } from '../helpers/program.js';
import { requirePeer } from '../helpers/require.js';
import { FULL } from '../helpers/stress.js';

const CACHE = join(
  process.env['MODELDL_TEST_CACHE'] ?? join(homedir(), '.cache', 'modeldl-test'),
  'converted',
);
const PROVE = fileURLToPath(new URL('../helpers/prove_lock.py', import.meta.url));
const MODELS = assetPath('requirements', 'optimum_models.py');
const INSTALL_MS = 1_800_000;
const PROVE_MS = 900_000;
/** Weights are random: rounding them to eight bits shows more than in a trained model. */
const INT8_DIFFERENCE = 0.1;

/** With the kind of tiny model that the lock is there for. */
const LOCKS = {
  optimum: 'llama',
  'optimum-5.0': 'gemma',
  'optimum-4.57': 'mt5',
  'optimum-4.53': 'nystromformer',
} as const;

const REDUCED: readonly string[] = ['optimum', 'optimum-4.53'];
const PROVEN = Object.entries(LOCKS).filter(([lock]) => FULL || REDUCED.includes(lock));

const proven = v.array(
  v.union([
    v.object({ kind: v.string(), error: v.string() }),
    v.object({
      kind: v.string(),
      quantized: v.array(v.string()),
      differences: v.object({ fp32: v.number(), int8: v.number() }),
    }),
  ]),
);

const run = promisify(execFile);
let world: World;

beforeAll(async () => {
  world = await createWorld({ MODELDL_CACHE_DIR: CACHE });
});

afterAll(async () => {
  await world.remove();
});

/** Several gigabytes are installed only where everything is required. */
function present(lock: string): boolean {
  if (process.env['MODELDL_TEST_REQUIRE'] === 'all') return true;
  try {
    // A name may begin another: what follows is a dash and twelve digits of a hash.
    return readdirSync(join(CACHE, 'v1', 'toolchains')).some(
      (entry) => entry.startsWith(`${lock}-`) && entry.length === lock.length + 13,
    );
  } catch {
    return false;
  }
}

function factsOf(lock: string): string {
  return join(world.directory, `${lock}.json`);
}

/** The environment's Python, installed where it is missing. */
async function pythonOf(lock: string): Promise<string> {
  const installed = await world.run('toolchain', 'install', lock);
  expect(installed.stderr).not.toContain('error:');
  return join(installed.stdout, 'bin', 'python');
}

describe('the lock', () => {
  for (const [lock, own] of PROVEN) {
    const test = requirePeer(`the toolchain ${lock}`, present(lock));
    test(
      `${lock} converts what each library makes, and ${own}`,
      async () => {
        const result = join(world.directory, `${lock}-proof.json`);
        const python = await pythonOf(lock);
        await run(python, ['-I', '-B', PROVE, lock, own, factsOf(lock), result], { maxBuffer: Infinity });
        const models = v.parse(proven, JSON.parse(await readFile(result, 'utf8')));
        expect(models.filter((model) => 'error' in model)).toEqual([]);
        expect(models.map(({ kind }) => kind)).toEqual([
          'bert',
          'sentence-transformers',
          'diffusion',
          'timm',
          own,
        ]);
        for (const model of models) {
          if ('error' in model) continue;
          expect(model.differences.fp32, model.kind).toBeLessThan(1e-4);
          expect(model.differences.int8, model.kind).toBeLessThan(INT8_DIFFERENCE);
          expect(model.quantized, model.kind).not.toEqual([]);
        }
      },
      INSTALL_MS + PROVE_MS,
    );
  }

  if (!FULL) return;
  const all = requirePeer('all toolchains of optimum', Object.keys(LOCKS).every(present));
  all('and the others say what the committed table says', async () => {
    const files = Object.keys(LOCKS).map(factsOf);
    const merged = await run('python3', ['-I', '-B', MODELS, 'merge', ...files], { maxBuffer: Infinity });
    expect(merged.stdout).toBe(await readFile(assetPath('optimum-models.json'), 'utf8'));
  });
});

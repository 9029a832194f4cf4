/** When the hub is asked, and what stands in for its answer (cli.md, "Freshness"). */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfFault, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';

const NAME = 'hf:org/model';

let hub: HfHub;
let world: World;
/** What main stood at when it was pulled, and the path that this printed. */
let commit: string;
let path: string;

beforeEach(async () => {
  hub = await startHfHub({ repos: [{ id: 'org/model', files: { 'config.json': '{"version":1}' } }] });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  commit = hub.commitOf('org/model');
  path = (await world.run('pull', NAME)).stdout;
  expect(await readFile(join(path, 'config.json'), 'utf8')).toBe('{"version":1}');
  // Main moves on: whoever asks the hub learns of it.
  hub.putRepo({ id: 'org/model', files: { 'config.json': '{"version":2}' } });
  hub.clearRequests();
});

afterEach(async () => {
  await world.remove();
  await hub.close();
});

const DOWN: HfFault = { kind: { reset: true } };

/** Retries would only wait. */
function pull(...args: readonly string[]): Promise<Run> {
  return world.run('pull', ...args, '--max-wait', '1ms', '--json');
}

function expectStored(run: Run, expected: { readonly stale: boolean }): void {
  expect(run.exitCode, run.stderr).toBe(0);
  const pulled = { path, revision: commit, cached: true, downloadedBytes: 0, ...expected };
  expect(JSON.parse(run.stdout)).toMatchObject({ ok: true, models: [pulled] });
}

describe('a floating reference', () => {
  it('is resolved on every pull, and is what the hub says', async () => {
    const run = await pull(NAME);
    expect(JSON.parse(run.stdout)).toMatchObject({
      models: [{ revision: hub.commitOf('org/model'), stale: false, cached: false }],
    });
    hub.clearRequests();
    const again = await pull(NAME);
    expect(JSON.parse(again.stdout)).toMatchObject({ models: [{ stale: false, cached: true }] });
    expect(hub.requests).toHaveLength(1);
  });

  it.each<readonly [string, HfFault]>([
    ['is unreachable', DOWN],
    ['is broken', { kind: { status: 503 } }],
    ['has had enough', { kind: { status: 429 } }],
  ])('means the stored revision while the hub %s, with a warning', async (_what, fault) => {
    hub.addFault(fault);
    const run = await pull(NAME);
    expectStored(run, { stale: true });
    expect(run.stderr).toMatch(
      new RegExp(`^warning: Hugging Face could not be reached, using the stored revision ${commit}: `, 'm'),
    );
    expect(hub.requests.length).toBeGreaterThan(0);
    const plain = await world.run('pull', NAME, '--max-wait', '1ms');
    expect([plain.exitCode, plain.stdout]).toEqual([0, path]);
  });

  it('is an error with --refresh while the hub is unreachable', async () => {
    hub.addFault(DOWN);
    const run = await pull(NAME, '--refresh');
    expect(run.exitCode).toBe(5);
    expect(JSON.parse(run.stdout)).toMatchObject({ ok: false, error: { code: 'NETWORK' }, models: [] });
  });

  it('is an error when the hub is unreachable and nothing is stored', async () => {
    hub.addFault(DOWN);
    expect((await pull('hf:org/other')).exitCode).toBe(5);
  });

  it.each([
    [401, 4],
    [403, 4],
    [404, 3],
  ])('that the hub answers with %d is never what is stored (exit %d)', async (status, exitCode) => {
    hub.addFault({ kind: { status } });
    const run = await pull(NAME);
    expect(run.exitCode).toBe(exitCode);
    expect(JSON.parse(run.stdout)).toMatchObject({ ok: false, models: [] });
  });

  it.each(['--prefer-offline', '--offline'])('needs no request with %s when it is stored', async (flag) => {
    expectStored(await pull(NAME, flag), { stale: false });
    expect(hub.requests).toEqual([]);
  });

  it('is asked for with --prefer-offline when it is not stored, and refused with --offline', async () => {
    hub.putRepo({ id: 'org/other', files: { 'config.json': '{}' } });
    expect((await pull('hf:org/other', '--offline')).exitCode).toBe(5);
    expect(hub.requests).toEqual([]);
    expect((await pull('hf:org/other', '--prefer-offline')).exitCode).toBe(0);
  });

  it('means for `path` and `show` what it last resolved to, without a request', async () => {
    expect((await world.run('path', NAME)).stdout).toBe(path);
    const shown = await world.run('show', NAME, '--json');
    expect(JSON.parse(shown.stdout)).toMatchObject({ models: [{ revision: commit }] });
    expect(hub.requests).toEqual([]);
    const newer = (await world.run('pull', NAME)).stdout;
    expect(newer).not.toBe(path);
    expect((await world.run('path', NAME)).stdout).toBe(newer);
  });
});

describe('a pinned revision that is stored', () => {
  it.each(['', '--refresh', '--offline'])('needs no request %s', async (flag) => {
    expectStored(await pull(`${NAME}@${commit}`, ...(flag === '' ? [] : [flag])), { stale: false });
    expect(hub.requests).toEqual([]);
  });
});

describe('a file or folder of this machine', () => {
  it.each([[[]], [['--offline']]])('is what it is now (%j)', async (flags) => {
    const file = join(world.directory, 'model.onnx');
    await writeFile(file, 'before');
    await world.run('pull', file);
    await writeFile(file, 'after an edit');
    const run = await world.run('pull', file, ...flags);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(await readFile(run.stdout, 'utf8')).toBe('after an edit');
  });
});

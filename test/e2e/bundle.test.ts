/** Bundles through the built program: made where there is network, brought to a machine that has none. */
import { spawnSync } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type Run, type World } from '../helpers/program.js';
import { expectRefusal } from '../helpers/refused.js';
import { requirePeer, whereKernelHas } from '../helpers/require.js';
import { PYTHON } from '../helpers/real-toolchain.js';
import { onnxGraph } from '../helpers/tiny-graphs.js';

const WEIGHTS = Buffer.alloc(9 * 1024 * 1024, 'weights');

/** Not even loopback is up in a network of its own. */
const canUnshare = spawnSync('unshare', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
const withoutNetwork = whereKernelHas('network namespaces', canUnshare);
const withToolchain = requirePeer('root, network namespaces and Python', canUnshare && PYTHON);

let hub: HfHub;
let world: World;
let island: World;

beforeEach(async () => {
  hub = await startHfHub({
    repos: [
      { id: 'org/one', license: 'mit', files: { 'config.json': '{}', 'model.safetensors': WEIGHTS } },
      { id: 'org/two', files: { 'config.json': '{"two":2}', 'model.onnx': 'two' } },
    ],
  });
  world = await createWorld({ HF_ENDPOINT: hub.endpoint });
  island = await createWorld();
});

afterEach(async () => {
  await Promise.all([world.remove(), island.remove(), hub.close()]);
});

/** On the machine without network. */
const alone = (...args: readonly string[]): Promise<Run> =>
  island.start({ under: ['unshare', '-n'] }, '--offline', ...args).done;
const documentOf = ({ stdout }: Run): Record<string, unknown> =>
  JSON.parse(stdout) as Record<string, unknown>;

describe('modeldl bundle', () => {
  withoutNetwork('brings what a lock names, and nothing is asked for afterwards', async () => {
    const list = 'models:\n  - org/one\n  - hf:org/two@main\n';
    for (const { directory } of [world, island])
      await writeFile(join(directory, 'modeldl.config.yaml'), list);
    expect((await world.run('lock')).exitCode).toBe(0);
    const planned = await world.run('bundle', 'create', '-o', 'models.tar', '--dry-run');
    expect(planned.stdout.split('\n')).toEqual([
      `hf:org/one@${hub.commitOf('org/one')}: pull, 9.0 MiB to fetch`,
      `hf:org/two@${hub.commitOf('org/two')}: pull, 12 B to fetch`,
    ]);
    const created = await world.run('bundle', 'create', '-o', 'models.tar');
    expect(created.exitCode, created.stderr).toBe(0);
    expect(created.stdout).toBe(join(world.directory, 'models.tar'));
    const [digest = 'none'] = /sha256:[0-9a-f]{64}/.exec(created.stderr) ?? [];
    await copyFile(created.stdout, join(island.directory, 'models.tar'));
    await copyFile(join(world.directory, 'modeldl.lock'), join(island.directory, 'modeldl.lock'));

    const shown = await alone('bundle', 'show', 'models.tar');
    expect(shown.stdout).toContain(digest);
    expect(shown.stdout).toMatch(/pulled +2 +9\.0 MiB +mit +hf:org\/one@/);
    const imported = await alone('bundle', 'import', 'models.tar', '--digest', digest);
    expect(imported.exitCode, imported.stderr).toBe(0);
    const synced = await alone('sync', '--frozen');
    expect(synced.exitCode, synced.stderr).toBe(0);
    expect(synced.stdout.split('\n').sort()).toEqual(imported.stdout.split('\n').sort());
    const pulled = await alone('pull', 'org/one', 'hf:org/two@main');
    expect(pulled.stdout).toBe(synced.stdout);
    expect(await readFile(join(pulled.stdout.split('\n')[1] ?? '', 'model.onnx'), 'utf8')).toBe('two');
    expect((await alone('verify')).exitCode).toBe(0);
    const again = documentOf(await alone('bundle', 'import', 'models.tar', '--json'));
    expect(again).toMatchObject({
      ok: true,
      digest,
      writtenBytes: 0,
      models: [{ stored: true }, { stored: true }],
    });
  });

  withToolchain(
    'brings a real toolchain, which converts without network',
    async () => {
      const { model } = onnxGraph();
      for (const { directory } of [world, island]) await writeFile(join(directory, 'tiny.onnx'), model);
      const created = await world.run(
        ...['bundle', 'create', 'org/two', '--toolchain', 'openvino', '-o', 'models.tar', '--json'],
      );
      expect(created.exitCode, created.stdout).toBe(0);
      await copyFile(join(world.directory, 'models.tar'), join(island.directory, 'models.tar'));
      const refused = await alone('convert', './tiny.onnx', '--precision', 'fp16', '--json');
      expect([refused.exitCode, documentOf(refused)['error']]).toEqual([
        9,
        expect.objectContaining({ hint: expect.stringContaining('modeldl bundle import') as unknown }),
      ]);
      const imported = await alone('bundle', 'import', 'models.tar', '--json');
      expect(documentOf(imported)).toMatchObject({ ok: true, toolchains: [{ name: 'openvino' }] });
      const converted = await alone('convert', './tiny.onnx', '--precision', 'fp16', '--json');
      expect(documentOf(converted)).toMatchObject({
        ok: true,
        models: [{ precision: 'fp16', check: { passed: true, compared: true } }],
      });
      const removed = documentOf(await alone('toolchain', 'remove', 'openvino', '--json'));
      expect(removed).toMatchObject({ ok: true });
      expect((await alone('toolchain', 'install', 'openvino')).exitCode).toBe(9);
    },
    1_800_000,
  );

  it('says what is wrong with a command line', async () => {
    const refusals: readonly (readonly [readonly string[], RegExp, RegExp])[] = [
      [['bundle', 'pack'], /Expected create, import or show, got pack/, /bundle --help/],
      [['bundle', 'create', 'org/one'], /Missing `--output`/, /modeldl bundle create -o models\.tar/],
      [['bundle', 'import'], /Missing a bundle/, /modeldl --offline bundle import/],
      [['bundle', 'show', 'a.tar', 'b.tar'], /takes one bundle/, /one command for each/],
      [['bundle', 'import', 'a.tar', '--dry-run'], /`--dry-run` is not for `bundle import`/, /--help/],
      [['bundle', 'create', '-o', 'a.tar', '--no-toolchains'], /`--no-toolchains` is not for/, /--help/],
      [
        ['bundle', 'create', 'org/one', '-o', 'a.tar', '--toolchain', 'torch'],
        /Unknown toolchain: torch/,
        /openvino/,
      ],
    ];
    for (const [args, message, hint] of refusals)
      await expectRefusal(world, args, { code: 'USAGE', message, hint });
  });

  it('tells which model could not be had, and makes no file', async () => {
    const args = ['bundle', 'create', 'org/one', 'org/none', '-o', 'models.tar'];
    const { error } = await expectRefusal(world, args, {
      code: 'AUTH',
      message: /org\/none/,
      hint: /log ?in|token/i,
    });
    expect(error.reference).toBe('org/none');
    const shown = await world.run('bundle', 'show', 'models.tar', '--json');
    expect(shown.exitCode).toBe(3);
  });
});

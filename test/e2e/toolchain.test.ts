/** Toolchains through the built program, made by an interpreter that is a shell script. */
import { existsSync } from 'node:fs';
import { access, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fakePython, type FakeOptions, writeScript } from '../helpers/interpreter.js';
import { createWorld, type Run, type World } from '../helpers/program.js';

const listed = v.object({ toolchains: v.array(v.looseObject({ name: v.string() })) });
let world: World;

beforeEach(async () => {
  world = await createWorld();
});

afterEach(async () => {
  await world.remove();
});

async function pathWith(options: FakeOptions = {}): Promise<{ PATH: string; pips: () => Promise<number> }> {
  const python = await fakePython(options);
  return {
    PATH: `${python.bin}:/bin`,
    pips: async () => (await python.calls()).filter((call) => call.includes(' pip install ')).length,
  };
}

function document(run: Run): unknown {
  return JSON.parse(run.stdout);
}

async function model(): Promise<string> {
  const file = join(world.directory, 'model.onnx');
  await writeFile(file, 'bytes that only a real toolchain would look at');
  return file;
}

describe('modeldl toolchain', () => {
  it('lists, installs and removes', async () => {
    const { PATH, pips } = await pathWith();
    const list = async (): Promise<unknown> =>
      v
        .parse(listed, document(await world.runWith({ PATH }, 'toolchain', 'list', '--json')))
        .toolchains.find(({ name }) => name === 'openvino');
    expect(await list()).toMatchObject({ state: 'missing' });
    const installed = await world.runWith({ PATH }, 'toolchain', 'install', 'openvino');
    expect(installed.exitCode).toBe(0);
    await access(join(installed.stdout, '.complete'));
    expect(await list()).toMatchObject({
      state: 'installed',
      directory: installed.stdout,
      versions: { nncf: '3.4.0' },
    });
    expect((await world.runWith({ PATH }, 'toolchain', 'install', 'openvino')).stdout).toBe(installed.stdout);
    expect(await pips()).toBe(1);
    const removed = await world.runWith({ PATH }, 'toolchain', 'remove', 'openvino', '--json');
    expect(document(removed)).toMatchObject({ ok: true, name: 'openvino' });
    expect((await world.runWith({ PATH }, 'toolchain', 'remove', 'openvino')).stderr).toBe(
      'Nothing to remove: openvino is not installed',
    );
    expect((await world.runWith({ PATH }, 'toolchain', 'list', 'openvino', '-q')).stdout).toBe('openvino');
    expect(await list()).toMatchObject({ state: 'missing' });
  });

  it('takes several names, and knows a mistyped one before it begins', async () => {
    const { PATH, pips } = await pathWith();
    const mistyped = await world.runWith({ PATH }, 'toolchain', 'install', 'openvino', 'torch');
    expect(mistyped.exitCode).toBe(2);
    expect(await pips()).toBe(0);
    // Twice is once.
    const installed = await world.runWith({ PATH }, 'toolchain', 'install', 'openvino', 'openvino', '--json');
    expect(document(installed)).toMatchObject({ ok: true, toolchains: [{ name: 'openvino' }] });
    expect(await pips()).toBe(1);
    const removed = await world.runWith({ PATH }, 'toolchain', 'remove', 'openvino');
    expect(removed.stderr).toMatch(/^Freed .* of openvino$/m);
  });

  it('installs from a folder of wheels without network, and says what a download needs', async () => {
    const { PATH, pips } = await pathWith();
    const config = join(world.directory, 'wheels.json');
    await writeFile(config, JSON.stringify({ toolchains: { wheels: './wheels' } }));
    const install = ['--config', config, '--offline', 'toolchain', 'install', 'openvino'];
    const absent = await world.runWith({ PATH }, ...install, '--json');
    expect(absent.exitCode).toBe(2);
    expect(document(absent)).toMatchObject({
      error: { code: 'CONFIG', file: join(world.directory, 'wheels') },
    });
    await mkdir(join(world.directory, 'wheels'));
    expect((await world.runWith({ PATH }, ...install)).exitCode).toBe(0);
    expect(await pips()).toBe(1);
    const nowhere = await world.runWith({ PATH }, 'toolchain', 'download', 'openvino');
    expect([nowhere.exitCode, nowhere.stderr]).toEqual([2, expect.stringContaining('-o ./wheels')]);
    const file = await world.runWith({ PATH }, 'toolchain', 'download', 'openvino', '-o', 'wheels.json');
    expect(file).toMatchObject({ exitCode: 2, stdout: '' });
    expect(file.stderr).toMatch(/^error: The output is not a directory: \S+wheels\.json$/m);
    expect(await pips()).toBe(1);
  });

  it('is installed once by two processes that want it at the same time', async () => {
    const { PATH, pips } = await pathWith({
      pip: ['until [ "$(grep -c "^-I -c" "$CALLS")" -ge 2 ]; do :; done'],
    });
    const runs = await Promise.all([
      world.runWith({ PATH }, 'toolchain', 'install', 'openvino'),
      world.runWith({ PATH }, 'toolchain', 'install', 'openvino'),
    ]);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    expect(runs[0].stdout).toBe(runs[1].stdout);
    expect(await pips()).toBe(1);
  });

  it.each([
    ['toolchain', 'remove', 'openvino'],
    ['prune', '--toolchains', '-y'],
  ])('%s %s is refused while a conversion runs in it', async (...command) => {
    const started = join(world.directory, 'started');
    // Until its input is closed, as workers do.
    const { PATH } = await pathWith({ worker: [`: > ${started}`, 'while read -r line; do :; done'] });
    const installed = await world.runWith({ PATH }, 'toolchain', 'install', 'openvino');
    const run = world.start(
      { environment: { PATH } },
      ...['convert', await model(), '--precision', 'fp16', '--no-check'],
    );
    await expect.poll(() => existsSync(started), { timeout: 30_000 }).toBe(true);
    const refused = await world.runWith({ PATH }, ...command, '--max-wait', '0s', '--json');
    expect(refused.exitCode, refused.stdout).toBe(10);
    expect(document(refused)).toMatchObject({ error: { code: 'BUSY' } });
    await access(join(installed.stdout, '.complete'));
    run.signal('SIGINT');
    await run.done;
    expect((await world.runWith({ PATH }, ...command)).exitCode).toBe(0);
    await expect(access(installed.stdout)).rejects.toThrow('ENOENT');
  });

  it.each([
    ['install', 'torch', 'Unknown toolchain: torch'],
    ['paint', 'openvino', 'Expected list, install, remove or download, got paint'],
    ['list', 'torch', 'Unknown toolchain: torch'],
  ])('%s %s is a usage error', async (action, name, message) => {
    const run = await world.run('toolchain', action, name);
    expect(run.exitCode).toBe(2);
    expect(run.stderr).toContain(message);
  });

  it('tells by the exit code and the log why it cannot be installed', async () => {
    const { PATH } = await pathWith({
      pip: ['echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."; exit 1'],
    });
    const run = await world.runWith({ PATH }, 'toolchain', 'install', 'openvino', '--json');
    expect(run.exitCode).toBe(6);
    const log = join(world.cacheDir, 'v1', 'logs', 'toolchain-openvino.log');
    expect(document(run)).toMatchObject({ ok: false, error: { code: 'INTEGRITY', file: log } });
    await access(log);
    expect(await readdir(join(world.cacheDir, 'v1', 'toolchains'))).toEqual([]);
  });
});

describe('a conversion without its toolchain', () => {
  it('prints at most a line of progress per 10 s off a terminal while it installs', async () => {
    const lines = Array.from({ length: 40 }, (_, index) => `echo "Collecting package-${index} (from x)"`);
    const { PATH } = await pathWith({ pip: [...lines, 'exit 1'] });
    const run = await world.runWith({ PATH }, 'convert', await model(), '--precision', 'fp16');
    expect(run.exitCode).toBe(9);
    expect(run.stderr.split('\n').filter((line) => line.startsWith('Installing')).length).toBeLessThan(3);
  });

  it.each([
    ['--no-install', []],
    ['the settings', ['toolchains.install=never']],
    ['--offline', []],
  ])('is refused because of %s, naming the command to run', async (flag, settings) => {
    const { PATH, pips } = await pathWith();
    const file = await model();
    if (settings.length > 0) {
      const [key = '', value = ''] = settings[0]?.split('=') ?? [];
      expect((await world.run('config', 'set', key, value)).exitCode).toBe(0);
    }
    const flags = flag.startsWith('--') ? [flag] : [];
    const run = await world.runWith({ PATH }, 'convert', file, '--precision', 'fp16', ...flags);
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain('run `modeldl toolchain install openvino` once with network');
    expect(await pips()).toBe(0);
    // Asking by name is consent.
    if (flag !== '--offline') {
      expect((await world.runWith({ PATH }, 'toolchain', 'install', 'openvino')).exitCode).toBe(0);
    }
  });

  it('names Python when there is none', async () => {
    const bin = join(world.directory, 'bin');
    await writeScript(join(bin, 'ls'), 'exit 0');
    const run = await world.runWith({ PATH: bin }, 'convert', await model(), '--precision', 'fp16');
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain('needs Python 3.10 to 3.14: none was found');
    expect(run.stderr).toContain('python3-venv');
    const converters = await world.runWith({ PATH: bin }, 'converters', '--json');
    expect(document(converters)).toMatchObject({
      converters: [
        ['optimum', 'optimum'],
        ['ultralytics', 'ultralytics'],
        ['openvino', 'openvino'],
        ['nncf', 'openvino'],
      ].map(([name, toolchain]) => ({
        name,
        ready: false,
        reason: expect.stringMatching(
          `^The toolchain \`${toolchain}\` needs Python 3\\.[0-9]+ to 3\\.14: none was found$`,
        ) as unknown,
      })),
    });
  });
});

describe('an interpreter of the user', () => {
  it.each([
    [
      'lacks openvino',
      '{"sitePackages":"/nowhere","versions":{"nncf":"3.4.0"}}',
      'lacks the Python package openvino',
    ],
    ['is no Python', 'usage: perl', 'it is no Python'],
  ])('that %s is a toolchain error without a traceback', async (_what, answer, message) => {
    const python = await writeScript(join(world.directory, 'python'), `echo '${answer}'`);
    const config = join(world.directory, 'own.json');
    await writeFile(config, JSON.stringify({ toolchains: { interpreters: { openvino: python } } }));
    const run = await world.run('--config', config, 'convert', await model(), '--precision', 'fp16');
    expect(run.exitCode).toBe(9);
    expect(run.stderr).toContain(message);
    expect(run.stderr).toContain('toolchains.interpreters.openvino');
    expect(run.stderr).not.toMatch(/Traceback|INTERNAL/);
  });
});

describe('modeldl converters', () => {
  const CONVERTERS = ['optimum', 'ultralytics', 'openvino', 'nncf'];

  it('reports openvino-node, for people and as data', async () => {
    const { PATH } = await pathWith();
    const lines = (await world.runWith({ PATH }, 'converters')).stdout.split('\n');
    expect(lines.at(-1)).toMatch(/^Optional: openvino-node/);
    expect(document(await world.runWith({ PATH }, 'converters', '--json'))).toMatchObject({
      ok: true,
      converters: CONVERTERS.map((name) => ({ name })),
      runtimes: [{ name: 'openvino-node', usable: expect.any(Boolean) as unknown }],
    });
    expect((await world.runWith({ PATH }, 'converters', '--quiet')).stdout).toBe(CONVERTERS.join('\n'));
  });

  it('says what the settings of one mean', async () => {
    const { stdout } = await world.run('converters', 'nncf');
    expect(stdout).toMatch(/^nncf$/m);
    expect(stdout).toMatch(/^ {2}group-size +weights that share a scale/m);
    expect(stdout).not.toMatch(/^optimum$/m);
    const unknown = await world.run('converters', 'nope');
    expect(unknown.exitCode).toBe(2);
    expect(unknown.stderr).toContain(`known converters: ${CONVERTERS.join(', ')}`);
  });
});

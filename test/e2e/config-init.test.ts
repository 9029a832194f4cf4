/** `modeldl config init` on a real terminal. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorld, type World } from '../helpers/program.js';
import { expectRefusal, type RefusalDocument } from '../helpers/refused.js';
import { onTerminal, openTerminal, type Terminal } from '../helpers/terminal.js';

let world: World;
let terminal: Terminal | undefined;

beforeEach(async () => {
  world = await createWorld();
});

afterEach(async () => {
  await terminal?.close();
  terminal = undefined;
  await world.remove();
});

/** Without the variable that would say where the cache is. */
async function open(...args: readonly string[]): Promise<Terminal> {
  terminal = await openTerminal(world, args, { MODELDL_CACHE_DIR: '' });
  return terminal;
}

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(join(world.directory, path), 'utf8'));
}

describe('modeldl config init on a terminal', () => {
  onTerminal(
    'asks, writes the project and the own file, and tells the commands that do the same',
    async () => {
      const shown = await open('config', 'init');
      await shown.waitFor('Precision of conversions');
      await shown.press('Down', 'Enter');
      await shown.waitFor('Device they are for');
      await shown.press('Down', 'Enter');
      await shown.waitFor('Cache directory');
      await shown.type('~/my models');
      await shown.press('Enter');
      await shown.waitFor('Hubs in use');
      await shown.press('Space', 'Up', 'Space', 'Enter');
      await shown.waitFor('Address of Intel Geti');
      await shown.type('geti.example');
      await shown.press('Enter');
      await shown.waitFor('An address such as');
      await shown.press('C-u');
      await shown.type('https://me:secret@geti.example\n');
      await shown.waitFor('without a login');
      await shown.press('C-u');
      await shown.type('https://geti.example');
      await shown.press('Enter');
      const { exitCode, stdout, screen, restored } = await shown.ended();
      expect({ exitCode, stdout, restored }).toEqual({
        exitCode: 0,
        stdout: join(world.directory, 'modeldl.config.json'),
        restored: true,
      });
      const cacheDir = join(world.directory, 'my models');
      expect(await readJson('modeldl.config.json')).toMatchObject({
        convert: { precision: 'int4', device: 'GPU' },
      });
      expect(await readJson('.config/modeldl/config.json')).toEqual({
        cacheDir,
        hubs: { geti: { endpoint: 'https://geti.example' } },
      });
      const said = screen.replace(/\n/g, '');
      expect(said).toContain(
        `modeldl config init --precision int4 --device GPU --no-input && modeldl config set cacheDir '${cacheDir}' && modeldl config set hubs.geti.endpoint https://geti.example`,
      );
      expect(said).toContain('modeldl login hf');
      expect(said).toContain('modeldl login geti');
      await expect(stat(cacheDir)).rejects.toThrow('ENOENT');
      const { stdout: listed } = await world.run('config', 'get', 'convert.device');
      expect(listed).toBe('GPU');
    },
  );

  onTerminal('leaves what is as it should be, and asks nothing that was said', async () => {
    const shown = await open('config', 'init', '--precision', 'fp16');
    await shown.waitFor('Device they are for');
    await shown.press('Enter');
    await shown.waitFor('Cache directory');
    await shown.press('Enter');
    await shown.waitFor('Hubs in use');
    await shown.press('Enter');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).not.toContain('Precision of conversions');
    expect(screen).toMatch(/modeldl config init --precision fp16 --device CPU --no-input$/m);
    await expect(stat(join(world.directory, '.config'))).rejects.toThrow('ENOENT');
  });

  onTerminal('takes no file for a cache, and writes nothing when it is left', async () => {
    await writeFile(join(world.directory, 'file'), '');
    const shown = await open('config', 'init', '--precision', 'fp16', '--device', 'npu');
    await shown.waitFor('Cache directory');
    await shown.type('file');
    await shown.press('Enter');
    await shown.waitFor('Not a directory');
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
    expect(await readdir(world.directory)).not.toContain('modeldl.config.json');
    await expect(stat(join(world.directory, '.config'))).rejects.toThrow('ENOENT');
  });

  onTerminal('changes no file of YAML, and asks for nothing that it would have to', async () => {
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    await writeFile(join(world.directory, '.config/modeldl/config.yaml'), 'jobs: 2\n');
    const shown = await open('config', 'init', '--precision', 'fp16', '--device', 'CPU');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).toContain('which is YAML');
    expect(await readFile(join(world.directory, '.config/modeldl/config.yaml'), 'utf8')).toBe('jobs: 2\n');
  });

  onTerminal('goes on where the address of one hub cannot be used, and lets it be said anew', async () => {
    await mkdir(join(world.directory, '.config/modeldl'), { recursive: true });
    const wrong = { hubs: { geti: { endpoint: 'http://geti.example' } } };
    await writeFile(join(world.directory, '.config/modeldl/config.json'), JSON.stringify(wrong));
    const { stdout, exitCode } = await world.run('hubs', '--json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      hubs: expect.arrayContaining([
        expect.objectContaining({
          name: 'geti',
          reachable: false,
          problem: expect.stringContaining('without encryption') as unknown,
        }),
        expect.objectContaining({ name: 'hf', problem: null }),
      ]) as unknown,
    });
    const shown = await open('config', 'init', '--precision', 'fp16', '--device', 'CPU');
    await shown.waitFor('Cache directory');
    await shown.press('Enter');
    await shown.waitFor('Hubs in use');
    await shown.press('Up', 'Space', 'Enter');
    await shown.waitFor('Address of Intel Geti');
    await shown.type('https://geti.example\n');
    expect((await shown.ended()).exitCode).toBe(0);
    expect(await readJson('.config/modeldl/config.json')).toEqual({
      hubs: { geti: { endpoint: 'https://geti.example' } },
    });
  });

  onTerminal('asks nothing where there is a project file already', async () => {
    await writeFile(join(world.directory, '.modeldlrc'), 'convert: { device: NPU }');
    const shown = await open('config', 'init');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(2);
    expect(screen).toContain('has a project file already');
    expect(await readdir(world.directory)).not.toContain('modeldl.config.json');
  });
});

describe('modeldl config set', () => {
  it('takes a path from where it is typed, whatever folder the file is in', async () => {
    for (const [key, value] of [
      ['cacheDir', 'models'],
      ['toolchains.wheels', '~/wheels'],
      ['toolchains.python', 'python3'],
      ['toolchains.interpreters.optimum-5.0', './venv/bin/python'],
    ] as const)
      expect((await world.run('config', 'set', key, value)).exitCode).toBe(0);
    expect(await readJson('.config/modeldl/config.json')).toEqual({
      cacheDir: join(world.directory, 'models'),
      toolchains: {
        wheels: join(world.directory, 'wheels'),
        python: 'python3',
        interpreters: { 'optimum-5.0': join(world.directory, 'venv/bin/python') },
      },
    });
    expect((await world.run('config', 'set', 'cacheDir', '')).exitCode).toBe(2);
    expect((await world.run('config', 'get', 'toolchains.interpreters.optimum-5.0')).exitCode).toBe(0);
    expect((await world.run('config', 'get', 'toolchains.interpreters.nncf')).exitCode).toBe(3);
  });
});

describe('modeldl config set of what may not be', () => {
  const set = (...args: readonly string[]): Promise<RefusalDocument> =>
    expectRefusal(world, ['config', 'set', ...args], {
      code: 'CONFIG',
      message: /Wrong value for `jobs`/,
      hint: /./,
    });

  it('speaks of the value, and changes nothing', async () => {
    const { error } = await set('jobs', 'many');
    expect(error.message).toBe('Wrong value for `jobs`: expected number, got "many"');
    expect(error.file).toBeUndefined();
    expect(await readdir(world.directory)).not.toContain('.config');
  });

  it('speaks of the file when that is what is wrong', async () => {
    const file = join(world.directory, '.config/modeldl/config.json');
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '{"jobs":"many"}');
    const { error } = await set('convert.precision', 'fp16');
    expect(error).toMatchObject({
      message: `Wrong value for \`jobs\` in ${file}: expected number, got "many"`,
      file,
    });
    expect((await world.run('config', 'set', 'jobs', '4')).exitCode).toBe(0);
    expect(await readJson('.config/modeldl/config.json')).toEqual({ jobs: 4 });
  });
});

describe('modeldl config init off a terminal', () => {
  it('writes the defaults, or what options say', async () => {
    const { stdout } = await world.run('config', 'init', '--device', 'hetero:gpu,cpu', '--json');
    expect(JSON.parse(stdout)).toEqual({ ok: true, path: join(world.directory, 'modeldl.config.json') });
    expect(await readJson('modeldl.config.json')).toMatchObject({
      convert: { precision: 'int8', device: 'HETERO:GPU,CPU', check: true, prebuilt: 'tell' },
    });
  });

  it.each([
    [['init', '--precision', 'int3'], /Unknown precision: int3/, /expected one of fp32/],
    [['init', '--device', 'TPU'], /Unknown device: TPU/, /HETERO:GPU,CPU/],
    [['list', '--device', 'CPU'], /are for `modeldl config init`/, /modeldl config set/],
    [['init', './project'], /Too many arguments for `modeldl config init`: \.\/project/, /--help/],
    [['get', 'jobs', 'cacheDir'], /Too many arguments for `modeldl config get`: cacheDir/, /--help/],
  ])('refuses %j', async (args, message, hint) => {
    await expectRefusal(world, ['config', ...args], { code: 'USAGE', message, hint });
    expect(await readdir(world.directory)).not.toContain('modeldl.config.json');
  });
});

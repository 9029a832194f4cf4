/** Completion in real shells, each in a pseudo terminal: what Tab inserts is run, and what the program then prints counts. */
import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openedStore, putConversion, putModel } from '../helpers/store.js';
import { createWorld, type World } from '../helpers/program.js';
import { requirePeer } from '../helpers/require.js';
import {
  hasShell,
  openShell,
  PROMPT,
  shellEnvironment,
  type Shell,
  type ShellName,
} from '../helpers/shell.js';
import { hasTmux } from '../helpers/tmux.js';

/** As a stranger may name a file: what a shell would run, were it not quoted. References write spaces as `%20`. */
const HOSTILE = 'a b$(>pwned)`>pwned`;>pwned;\'"!&|<>*?~{x,y}ü.onnx';
const SHELLS: readonly ShellName[] = ['bash', 'zsh', 'fish'];

let world: World;
let shell: Shell | undefined;

beforeEach(async () => {
  world = await createWorld();
});

afterEach(async () => {
  await shell?.close();
  shell = undefined;
  await world.remove();
});

async function pullFile(name: string): Promise<string> {
  await writeFile(join(world.directory, name), name);
  const { stdout, stderr, exitCode } = await world.run('pull', `./${name}`);
  expect(exitCode, stderr).toBe(0);
  return stdout;
}

describe.each(SHELLS)('in %s', (name) => {
  const inShell = requirePeer(`${name} and tmux`, hasShell[name] && hasTmux);

  inShell('commands, options and their choices are completed, and run', async () => {
    shell = await openShell(world, name);
    await shell.type('modeldl conv\t');
    await shell.waitFor(/ready> modeldl convert/);
    await shell.type('ers --q\t\n');
    await shell.waitFor(/modeldl converters --quiet/);
    await shell.waitFor(/^nncf$/m);
    await shell.type('modeldl convert --precision=mx\t --layout mod\t --progress n\t');
    await shell.waitFor(/--precision=mxfp4 +--layout model-download +--progress none/);
  });

  inShell('a stored reference is completed through its `:` and `@`, and names the model', async () => {
    const store = await openedStore(world.cacheDir);
    const model = await putModel(store, { 'model.onnx': 'x' });
    const converted = await putConversion(store, model, { precision: 'int8' });
    shell = await openShell(world, name);
    await shell.type('modeldl path hf:or\t@\t+int\t\n');
    await shell.waitFor(`${converted.directory}\n`);
    expect(await shell.screen()).toContain(`modeldl path hf:org/name@${model.record.revision}+int8-cpu`);
    await shell.type('modeldl path hf:org/name+\t\n');
    await shell.waitFor(new RegExp(`hf:org/name\\+int8-cpu *\\n${converted.directory}\n`));
  });

  inShell('a hostile name is inserted so that it is a name, and runs nothing', async () => {
    const path = await pullFile(HOSTILE);
    shell = await openShell(world, name);
    await shell.type('modeldl path file\t --quiet\n');
    // Long lines wrap: what is compared has no line ends.
    const shown = (): Promise<string> =>
      shell?.screen().then((text) => text.replace(/\s/g, '')) ?? Promise.reject(new Error('no shell'));
    await shell.waitFor(/ready> \n*$/);
    await expect.poll(shown, { timeout: 30_000 }).toContain(path.replace(/\s/g, ''));
    expect(await readdir(world.directory)).not.toContain('pwned');
  });

  inShell('what was typed is not run by Tab', async () => {
    await pullFile('model.onnx');
    shell = await openShell(world, name);
    await shell.type('modeldl path "$(touch pwned)" \t');
    await shell.type('`touch pwned` \t');
    await shell.press('C-u');
    await shell.type('modeldl hub\t\n');
    await shell.waitFor(/Hugging Face/);
    expect(await readdir(world.directory)).not.toContain('pwned');
  });

  inShell('paths are completed where paths are meant', async () => {
    await mkdir(join(world.directory, 'some folder'));
    await writeFile(join(world.directory, 'settings.json'), '{}');
    shell = await openShell(world, name);
    await shell.type('modeldl --config sett\t list\n');
    await shell.waitFor(/--config settings\.json +list/);
    await shell.waitFor('Nothing is stored yet');
    await shell.type('modeldl --config=sett\t list\t');
    await shell.waitFor(/--config=settings\.json +list/);
    await shell.press('C-u');
    await shell.type('modeldl pull ./sett\t -o some\t');
    await shell.waitFor(/\.\/settings\.json +-o some\\ folder\//);
    await shell.press('C-u');
    await shell.type('modeldl login hf --token-stdin 2>/dev/null <sett\t');
    await shell.waitFor(/<settings\.json/);
    await shell.press('C-u');
    // It would be read as a model of that name; what follows shows that Tab was answered.
    await shell.type('modeldl pull sett\t --dry\t');
    await shell.waitFor(/pull sett --dry-run/);
  });

  inShell('a scheme is followed by no space, and a broken configuration says nothing', async () => {
    await writeFile(join(world.directory, 'modeldl.config.json'), '{ "jobs": ');
    shell = await openShell(world, name);
    await shell.type('modeldl pull ultr\tyolo11n');
    const screen = await shell.waitFor(/modeldl pull ultralytics:yolo11n/);
    expect(screen).not.toMatch(/error|warning|Cannot/);
  });
});

describe('saved where shells look', () => {
  requirePeer('zsh and tmux', hasShell.zsh && hasTmux)('it is loaded at the first Tab', async () => {
    const folder = join(world.directory, 'functions');
    await mkdir(folder);
    await writeFile(join(folder, '_modeldl'), (await world.run('completion', 'zsh')).stdout);
    const startup = `PS1='${PROMPT}'\nfpath=(${folder} $fpath)\nautoload -U compinit && compinit -D -u\n`;
    shell = await openShell(world, 'zsh', startup);
    await shell.type('modeldl export --to \t');
    await shell.waitFor('modeldl export --to ollama');
    await shell.type('--qui\t');
    await shell.waitFor('modeldl export --to ollama --quiet');
  });
});

describe('the scripts', () => {
  it.each(SHELLS)('of %s is one that the shell reads', async (name) => {
    const { stdout, exitCode } = await world.run('completion', name);
    expect(exitCode).toBe(0);
    if (!hasShell[name]) return;
    const file = join(world.directory, 'script');
    await writeFile(file, stdout);
    const checked = await execa(name, ['-n', file], { reject: false });
    expect([checked.exitCode, checked.stderr]).toEqual([0, '']);
  });

  it('are named by --json, and an unknown shell is refused', async () => {
    const { stdout } = await world.run('completion', 'bash', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      shell: 'bash',
      script: expect.stringContaining('complete ') as unknown,
    });
    const { exitCode, stderr } = await world.run('completion', 'tcsh');
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Expected bash, zsh, fish, powershell, got tcsh');
    expect((await world.run('completion')).exitCode).toBe(2);
  });
});

describe('the answer', () => {
  it('makes no cache where none is', async () => {
    const { stdout, stderr, exitCode } = await world.run('__complete', 'zsh', 'path', '');
    expect([stdout, stderr, exitCode]).toEqual(['none', '', 0]);
    await expect(stat(world.cacheDir)).rejects.toThrow('ENOENT');
    const elsewhere = join(world.directory, 'elsewhere');
    await world.run('__complete', 'zsh', '--cache-dir', elsewhere, 'path', '');
    await expect(stat(elsewhere)).rejects.toThrow('ENOENT');
  });

  it.each([
    ['a file that is no JSON', { 'modeldl.config.json': '{ "jobs": ' }],
    ['an unknown key', { 'modeldl.config.json': '{ "jbos": 1 }' }],
    ['a file that is not trusted', { 'modeldl.config.json': '{ "cacheDir": "/nowhere" }' }],
    ['plugins that are not there', { '.config/modeldl/config.json': '{ "plugins": ["./none.js"] }' }],
    ['a broken user file', { '.config/modeldl/config.json': '[' }],
    [
      'a plugin that never ends',
      { '.config/modeldl/config.json': '{ "plugins": ["../../loop.js"] }', 'loop.js': 'for (;;);' },
    ],
  ])('knows what is stored beside %s', async (_what, files) => {
    await pullFile('model.onnx');
    for (const [path, text] of Object.entries(files)) {
      await mkdir(join(world.directory, path, '..'), { recursive: true });
      await writeFile(join(world.directory, path), text);
    }
    const { stdout, stderr, exitCode } = await world.runWith(
      { MODELDL_ADOPT: 'wrong' },
      '__complete',
      'zsh',
      'path',
      '',
    );
    expect([stderr, exitCode]).toEqual(['', 0]);
    expect(stdout).toContain('model.onnx');
  });

  it('loads no hub for stored references', async () => {
    await pullFile('model.onnx');
    const { PATH = '' } = process.env;
    const loaded = join(world.directory, 'loaded.mjs');
    // Prints the address of every module that is loaded.
    await writeFile(
      loaded,
      "import { register } from 'node:module';\nregister('data:text/javascript,' + encodeURIComponent(`import { writeSync } from 'node:fs'; export async function load(url, context, next) { writeSync(2, url + '\\\\n'); return next(url, context); }`));\n",
    );
    const look = async (...words: readonly string[]): Promise<string> => {
      const { stderr } = await execa(
        process.execPath,
        ['--import', loaded, 'dist/bin/modeldl.js', '__complete', 'fish', ...words],
        { env: { PATH, HOME: world.directory, MODELDL_CACHE_DIR: world.cacheDir }, extendEnv: false },
      );
      // The built program is in chunks, so what they hold tells which modules they are of.
      const chunks = stderr.split('\n').filter((address) => address.includes('/dist/'));
      const texts = await Promise.all(chunks.map((address) => readFile(fileURLToPath(address), 'utf8')));
      return texts.join('\n');
    };
    const HUB = 'https://huggingface.co';
    const HTTP = /["']user-agent["']/;
    expect(await look('login', '')).toContain(HUB);
    const code = await look('path', 'file:');
    expect(code).toContain('catalogue.jsonl');
    expect(code).not.toContain(HUB);
    expect(code).not.toMatch(HTTP);
  });

  it('is the same for fish by its own function', async () => {
    if (!hasShell.fish) return;
    const store = await openedStore(world.cacheDir);
    await putModel(store, { 'model.onnx': 'x' });
    const environment = await shellEnvironment(world);
    const { stdout } = await execa(
      'fish',
      [
        '--no-config',
        '-c',
        'modeldl completion fish | source; complete -C "modeldl show hf:"; complete -C "modeldl whoami "',
      ],
      { env: environment, extendEnv: false, cwd: world.directory },
    );
    expect(stdout.split('\n').map((line) => line.split('\t')[0])).toEqual(
      expect.arrayContaining(['hf:org/name', 'geti', 'ollama']),
    );
  });
});

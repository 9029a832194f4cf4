/** On a real terminal: what is asked, what is drawn, and how the terminal is left. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { startHfHub, type HfHub } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { COMMIT, openedStore, putConversion, putModel } from '../helpers/store.js';
import { onTerminal, openTerminal, type Terminal } from '../helpers/terminal.js';

const TOKEN = 'hf_madeupTokenOfNobody0123456789';

let world: World;
let hub: HfHub | undefined;
let terminal: Terminal | undefined;

beforeEach(async () => {
  world = await createWorld();
  await writeFile(join(world.directory, 'model.onnx'), 'not really a model');
  await writeFile(join(world.directory, 'other.onnx'), 'another one that is no model');
});

afterEach(async () => {
  await terminal?.close();
  await hub?.close();
  terminal = hub = undefined;
  await world.remove();
});

async function open(...args: readonly string[]): Promise<Terminal> {
  terminal = await openTerminal(world, args, hub === undefined ? {} : { HF_ENDPOINT: hub.endpoint });
  return terminal;
}

describe('modeldl pull on a terminal', () => {
  onTerminal('asks for a reference, and tells the command that needs no question', async () => {
    const shown = await open('pull');
    await shown.waitFor('Which model');
    await shown.type('./model.onnx');
    await shown.press('Enter');
    const { exitCode, stdout, screen, restored } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(await readFile(stdout, 'utf8')).toBe('not really a model');
    expect(screen).toContain('The same without questions: modeldl pull ./model.onnx');
    expect(restored).toBe(true);
  });

  onTerminal('does not take an empty answer', async () => {
    const shown = await open('pull');
    await shown.waitFor('Which model');
    await shown.press('Enter');
    await shown.waitFor('Name a model');
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
  });

  onTerminal('asks which of several quantizations, and fetches that one', async () => {
    hub = await startHfHub({
      repos: [{ id: 'org/llm', files: { 'm-Q4_K_M.gguf': 'four bits', 'm-Q8_0.gguf': 'eight bits' } }],
    });
    const shown = await open('pull', 'hf:org/llm', '-o', 'out');
    await shown.waitFor('Which quantization');
    await shown.press('Down', 'Enter');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).toContain('modeldl pull hf:org/llm -o out --quant Q8_0');
    expect(await readFile(join(world.directory, 'out/m-Q8_0.gguf'), 'utf8')).toBe('eight bits');
    await expect(stat(join(world.directory, 'out/m-Q4_K_M.gguf'))).rejects.toThrow('ENOENT');
  });
});

describe('modeldl remove on a terminal', () => {
  onTerminal('shows a checkbox with sizes, then the plan, and removes what was confirmed', async () => {
    const { stdout: kept } = await world.run('pull', './model.onnx');
    const { stdout: doomed } = await world.run('pull', './other.onnx');
    const shown = await open('remove');
    const choices = await shown.waitFor('Which models to remove');
    expect(choices).toMatch(/ 28 B {2}\S*other\.onnx/);
    // The list is in the order of `modeldl list`.
    const first = (await world.run('list', '--quiet')).stdout.split('\n')[0] ?? '';
    await shown.press(...(first.includes('other.onnx') ? [] : ['Down']), 'Space', 'Enter');
    await shown.waitFor('Remove 1 model (28 B)?');
    await shown.type('y');
    await shown.press('Enter');
    const { exitCode, screen, stdout } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(stdout).toContain('other.onnx');
    expect(screen.replace(/\n/g, '')).toMatch(/without questions: modeldl remove \S*other\.onnx\S* -y/);
    await expect(stat(doomed)).rejects.toThrow('ENOENT');
    expect((await stat(kept)).isFile()).toBe(true);
  });

  onTerminal('removes nothing when the answer is no', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    const shown = await open('remove', './model.onnx');
    await shown.waitFor('Remove 1 model');
    await shown.press('Enter');
    const { exitCode, screen, stdout } = await shown.ended();
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    expect(screen).toContain('Nothing was removed');
    expect((await stat(path)).isFile()).toBe(true);
  });

  onTerminal('of more models than a screen holds asks for a part of the name first', async () => {
    const store = await openedStore(world.cacheDir);
    for (let number = 10; number < 40; number += 1) {
      const key = { hub: 'hf', id: `org/model-${number}`, revision: COMMIT };
      await putModel(store, { 'model.onnx': String(number) }, key);
    }
    terminal = await openTerminal(world, ['remove'], {}, { columns: 50, lines: 24 });
    await terminal.waitFor('Part of the name (Enter: all 30 models)');
    await terminal.type('absent\n');
    await terminal.waitFor('None of 30 models is called so');
    await terminal.press('C-u');
    await terminal.type('Model-2\n');
    // Clipped in the list, and whole below it.
    const shown = await terminal.waitFor(/❯◯ .*…\n[\s\S]*hf:org\/model-20@0123456789abcdef/);
    expect(shown.match(/◯/g)).toHaveLength(10);
    await terminal.press('Space', 'Enter');
    await terminal.waitFor('Remove 1 model');
    await terminal.type('y\n');
    expect((await terminal.ended()).stdout).toBe(`hf:org/model-20@${COMMIT}`);
  });

  onTerminal('offers what its options name, and nothing of a cache below', async () => {
    const below = await openedStore(join(world.directory, 'below'));
    await putModel(below, { 'model.onnx': 'below' });
    const store = await openedStore(world.cacheDir);
    const model = await putModel(store, { 'model.onnx': 'x' });
    await putConversion(store, model, { precision: 'int8' });
    await putConversion(store, model, { precision: 'fp16' });
    const environment = { MODELDL_CACHE_READ_FROM: below.cacheDir };
    const offered = async (...args: readonly string[]): Promise<string> => {
      await terminal?.close();
      terminal = await openTerminal(world, ['remove', '--dry-run', ...args], environment);
      return terminal.waitFor('navigate');
    };
    const all = await offered();
    expect(all.match(/◯/g)).toHaveLength(3);
    const one = await offered('--precision', 'int8', '--device', 'cpu');
    expect(one).toMatch(/◯ .*\+int8-cpu\n/);
    expect(one.match(/◯/g)).toHaveLength(1);
    await terminal?.press('Space', 'Enter');
    expect((await terminal?.ended())?.stdout).toMatch(/\+int8-cpu {2}/);
    await terminal?.close();
    terminal = await openTerminal(world, ['remove', '--precision', 'int4'], environment);
    const { exitCode, screen } = await terminal.ended();
    expect([exitCode, screen.trim()]).toEqual([0, 'Nothing is stored that these options name']);
  });

  onTerminal('says that nothing is stored instead of asking', async () => {
    const shown = await open('remove');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).toContain('Nothing is stored');
  });
});

describe('modeldl prune on a terminal', () => {
  onTerminal('asks before it evicts models, and tells the command that does not ask', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    const shown = await open('prune', '--max-size', '1');
    await shown.waitFor(/Free 18 B\?/);
    await shown.type('y');
    await shown.press('Enter');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).toContain('The same without questions: modeldl prune --max-size 1 -y');
    await expect(stat(path)).rejects.toThrow('ENOENT');
  });

  onTerminal('keeps everything when the answer is no', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    const shown = await open('prune', '--max-size', '1');
    await shown.waitFor(/Free 18 B\?/);
    await shown.press('Enter');
    expect((await shown.ended()).screen).toContain('Nothing was removed');
    expect((await stat(path)).isFile()).toBe(true);
  });

  onTerminal(
    'without options asks what to free, and frees unfinished downloads that were chosen',
    async () => {
      await leaveUnfinishedDownload();
      const shown = await open('prune');
      await shown.waitFor('What to free beside unused files');
      await shown.press('Space', 'Enter');
      await shown.waitFor(/Free .*\?/);
      await shown.type('y');
      await shown.press('Enter');
      const { exitCode, screen } = await shown.ended();
      expect(exitCode).toBe(0);
      expect(screen).toContain('The same without questions: modeldl prune --partials -y');
      const { stdout } = await world.run('prune', '--partials', '--dry-run', '--json');
      expect(JSON.parse(stdout)).toMatchObject({ partials: { count: 0 } });
    },
  );

  onTerminal('tells the command of a plan that was asked for too', async () => {
    await leaveUnfinishedDownload();
    const shown = await open('prune', '--dry-run');
    await shown.waitFor('What to free beside unused files');
    await shown.press('Space', 'Enter');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen).toContain('The same without questions: modeldl prune --dry-run --partials');
  });
});

/** A pull that is interrupted in the middle of its only file. */
async function leaveUnfinishedDownload(): Promise<void> {
  hub = await startHfHub({
    repos: [{ id: 'org/name', files: { 'model.safetensors': Buffer.alloc(20_000_000, 7) } }],
  });
  hub.addFault({ server: 'cdn', method: 'GET', kind: { stall: 9_000_000 } });
  const shown = await open('pull', 'hf:org/name', '--connections', '1');
  await shown.waitFor(/model\.safetensors\s+4\d%/);
  await shown.press('C-c');
  const { exitCode, screen, restored } = await shown.ended();
  expect({ exitCode, restored }).toEqual({ exitCode: 130, restored: true });
  // What Ctrl-C echoes is gone with the bars.
  expect(screen.trim()).toMatch(/^error: Interrupted\n {2}hint: run the same command again to resume/);
  await shown.close();
}

describe('modeldl login on a terminal', () => {
  onTerminal('asks for the hub and a hidden token, which never reaches the screen', async () => {
    hub = await startHfHub({ repos: [], tokens: [{ token: TOKEN, user: 'somebody' }] });
    const shown = await open('login');
    await shown.waitFor('Which hub');
    await shown.press('Enter');
    await shown.waitFor('Token for hf');
    await shown.press('Enter');
    await shown.waitFor('Paste the token');
    await shown.type(TOKEN);
    await shown.press('Enter');
    const { exitCode, stdout, screen, sent } = await shown.ended();
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'somebody' });
    expect(sent).not.toContain(TOKEN);
    expect(sent).not.toContain(TOKEN.slice(0, 8));
    expect(screen).toContain('The same without questions: modeldl login hf --token-stdin < token.txt');
    const saved = await readFile(join(world.directory, '.config/modeldl/credentials.json'), 'utf8');
    expect(JSON.parse(saved)).toEqual({ hf: { origin: hub.endpoint, token: TOKEN } });
  });

  onTerminal('hides a token that is typed for --token-stdin too', async () => {
    hub = await startHfHub({ repos: [], tokens: [{ token: TOKEN, user: 'somebody' }] });
    const shown = await open('login', 'hf', '--token-stdin');
    await shown.waitFor('Token for hf');
    await shown.type(TOKEN);
    await shown.press('Enter');
    const { exitCode, sent } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(sent).not.toContain(TOKEN);
  });

  onTerminal('keeps nothing when the hub refuses the token, and does not repeat it', async () => {
    hub = await startHfHub({ repos: [], tokens: [] });
    const shown = await open('login', 'hf');
    await shown.waitFor('Token for hf');
    await shown.type(TOKEN);
    await shown.press('Enter');
    const { exitCode, sent } = await shown.ended();
    expect(exitCode).toBe(4);
    expect(sent).not.toContain(TOKEN);
    await expect(stat(join(world.directory, '.config/modeldl/credentials.json'))).rejects.toThrow('ENOENT');
  });
});

describe('nothing is asked on a terminal', () => {
  const rows: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>])[] = [
    ['with --no-input', ['pull', '--no-input'], {}],
    ['with --no-input before the command', ['--no-input', 'pull'], {}],
    ['with CI=true', ['pull'], { CI: 'true' }],
    ['with --json', ['pull', '--json'], {}],
  ];
  for (const [name, args, environment] of rows) {
    onTerminal(name, async () => {
      terminal = await openTerminal(world, args, environment);
      const { exitCode, stdout, screen } = await terminal.ended();
      expect(exitCode).toBe(2);
      expect(args.includes('--json') ? stdout : screen).toContain('Missing a reference');
      expect(screen).not.toContain('Which model');
    });
  }

  onTerminal('unless CI says that it is none', async () => {
    terminal = await openTerminal(world, ['pull'], { CI: 'false' });
    await terminal.waitFor('Which model');
    await terminal.press('C-c');
    expect((await terminal.ended()).exitCode).toBe(130);
  });
});

describe('progress on a terminal', () => {
  onTerminal('is a bar while bytes move, and leaves no trace when they are there', async () => {
    hub = await startHfHub({
      repos: [{ id: 'org/name', files: { 'model.safetensors': Buffer.alloc(20_000_000, 7) } }],
      bytesPerSecond: 15_000_000,
    });
    const shown = await open('pull', 'hf:org/name');
    const drawn = await shown.waitFor(/model\.safetensors +\d+% {2}.* of 19\.1 MiB/);
    expect(drawn).toMatch(/^total +\d+%/m);
    const { exitCode, screen, stdout, restored } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(screen.trim()).toBe('');
    expect(restored).toBe(true);
    expect((await stat(join(stdout, 'model.safetensors'))).size).toBe(20_000_000);
  });

  onTerminal('ends at Ctrl-C with the words how to resume, and the terminal as it was', async () => {
    await leaveUnfinishedDownload();
    hub?.clearFaults();
    hub?.clearRequests();
    const resumed = await world.runWith({ HF_ENDPOINT: hub?.endpoint ?? '' }, 'pull', 'hf:org/name');
    expect(resumed.exitCode).toBe(0);
    const ranges = hub?.requests.filter(({ server }) => server === 'cdn').map(({ headers }) => headers.range);
    expect(ranges?.every((range) => /^bytes=[1-9]\d*-/.test(range ?? ''))).toBe(true);
  });

  onTerminal('has no colour and no bar with --progress plain --color never', async () => {
    const shown = await open('pull', './missing.onnx', '--progress', 'plain', '--color', 'never');
    const { exitCode, screen, sent } = await shown.ended();
    expect(exitCode).toBe(3);
    expect(screen).toContain('error:');
    expect(sent).not.toContain('\u001b');
  });

  onTerminal('colours errors, unless NO_COLOR is set', async () => {
    const colored = await open('pull', './missing.onnx');
    expect((await colored.ended()).sent).toContain('\u001b[31merror:');
    await colored.close();
    terminal = await openTerminal(world, ['pull', './missing.onnx'], { NO_COLOR: '1' });
    const { sent } = await terminal.ended();
    expect(sent).toContain('error:');
    expect(sent).not.toContain('\u001b[31m');
  });
});

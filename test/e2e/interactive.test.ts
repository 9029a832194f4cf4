/** Questions on a real terminal: the jobs, models found while they are typed, conversions, and every way to leave. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { startHfHub, type HfHub, type HfHubOptions } from '../helpers/hf-hub.js';
import { createWorld, type World } from '../helpers/program.js';
import { requirePeer } from '../helpers/require.js';
import { hasTmux, openTerminal, type Terminal, type TerminalSize } from '../helpers/terminal.js';
import { onnxGraph } from '../helpers/tiny-graphs.js';

const onTerminal = requirePeer('tmux', hasTmux);
const KEYS = 'navigate';

let world: World;
let hub: HfHub | undefined;
let terminal: Terminal | undefined;
/** What the terminal is like, and where the hub is. */
let environment: Readonly<Record<string, string>>;
let size: TerminalSize;

beforeEach(async () => {
  world = await createWorld();
  await writeFile(join(world.directory, 'model.onnx'), onnxGraph().model);
  // Nobody listens there: a hub that is down.
  environment = { HF_ENDPOINT: 'http://127.0.0.1:1' };
  size = {};
});

afterEach(async () => {
  await terminal?.close();
  await hub?.close();
  terminal = hub = undefined;
  await world.remove();
});

async function open(...args: readonly string[]): Promise<Terminal> {
  terminal = await openTerminal(world, args, environment, size);
  return terminal;
}

async function startHub(options: Partial<HfHubOptions> = {}): Promise<HfHub> {
  hub = await startHfHub({
    repos: [
      {
        id: 'sentence-transformers/tiny-encoder',
        files: { 'README.md': '---\nlicense: apache-2.0\n---\n', 'model.onnx': Buffer.alloc(3_000_000, 7) },
      },
      { id: 'org/tiny-decoder', files: { 'model.onnx': 'small' } },
    ],
    ...options,
  });
  environment = { HF_ENDPOINT: hub.endpoint };
  return hub;
}

const searches = (): readonly string[] =>
  (hub?.requests ?? []).flatMap(({ url }) => /[?&]search=([^&]*)/.exec(url)?.[1] ?? []);

describe('modeldl alone on a terminal', () => {
  onTerminal('offers jobs, runs the one that is chosen as its command, and quits', async () => {
    await world.run('pull', './model.onnx');
    const shown = await open();
    await shown.waitFor(/What to do\n❯ Pull a model\n/);
    await shown.press('Down', 'Down', 'Enter');
    await shown.waitFor(
      /The same without questions: modeldl list[\s\S]*What to do[\s\S]*❯ See what is stored/,
    );
    await shown.type('q');
    await shown.waitFor('❯ Quit');
    await shown.press('Enter');
    const { exitCode, stdout, restored } = await shown.ended();
    expect({ exitCode, restored }).toEqual({ exitCode: 0, restored: true });
    expect(stdout).toContain('model.onnx');
  });

  onTerminal('leads back from a question that Escape leaves, and ends at Escape itself', async () => {
    const shown = await open('--offline');
    await shown.waitFor('What to do');
    await shown.press('Enter');
    await shown.waitFor('Which model');
    await shown.press('Escape');
    await shown.waitFor(/What to do[\s\S]*Which model[\s\S]*What to do/);
    await shown.press('Escape');
    const { exitCode, screen, restored } = await shown.ended();
    expect({ exitCode, restored }).toEqual({ exitCode: 0, restored: true });
    expect(screen).not.toContain('error');
  });
});

describe('modeldl pull without a model', () => {
  onTerminal('searches while the name is typed, tells size and licence, and fetches', async () => {
    await startHub();
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('encoder');
    await shown.waitFor('❯ hf:sentence-transformers/tiny-encoder');
    // Not one request for each letter: hf and openvino share this server.
    expect(searches()).toEqual(['encoder', 'encoder']);
    await shown.press('Enter');
    await shown.waitFor('Fetch 2.9 MiB?');
    await shown.press('Enter');
    const { exitCode, stdout, screen, restored } = await shown.ended();
    expect({ exitCode, restored }).toEqual({ exitCode: 0, restored: true });
    expect((await stat(join(stdout, 'model.onnx'))).size).toBe(3_000_000);
    expect(screen).toMatch(/2\.9 MiB to fetch, 2\.9 MiB in 2 files, licence apache-2\.0/);
    expect(screen).toContain(
      'The same without questions: modeldl pull hf:sentence-transformers/tiny-encoder',
    );
  });
});

describe('modeldl convert without a model', () => {
  onTerminal('asks for precision and device with sizes, and says why others cannot be chosen', async () => {
    const shown = await open('convert', '--dry-run', '--offline');
    await shown.waitFor(KEYS);
    await shown.type('./model.onnx');
    await shown.waitFor('❯ ./model.onnx');
    await shown.press('Enter');
    await shown.waitFor(/Precision\n/);
    const precisions = await shown.screen();
    await shown.press('Enter');
    await shown.waitFor(/Device\n/);
    const devices = await shown.screen();
    await shown.press('Enter');
    const end = await shown.ended();
    expect({ precisions, devices, end }).toEqual(1);
  });
});

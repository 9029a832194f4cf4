/** Questions on a real terminal: the jobs, models found while they are typed, conversions, and every way to leave. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, vi } from 'vitest';
import { startHfHub, type HfHub, type HfHubOptions } from '../helpers/hf-hub.js';
import { createWorld, PROGRAM, type World } from '../helpers/program.js';
import { hasProgram, requirePeer } from '../helpers/require.js';
import { onTerminal, openTerminal, type Terminal, type TerminalSize } from '../helpers/terminal.js';
import { onnxGraph } from '../helpers/tiny-graphs.js';

const withPython = requirePeer('python3', hasProgram('python3'));
const KEYS = 'navigate';
/** Runs the program with a pseudo terminal for input and talk alone, which goes away, or whose reader of results does. */
const LONE_TERMINAL = `
import json, os, pty, subprocess, sys
gone, *command = sys.argv[1:]
master, terminal = pty.openpty()
program = subprocess.Popen(command, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, start_new_session=True)
os.close(terminal)
said = b''
while b'navigate' not in said:
    said += os.read(master, 4096)
if gone == 'terminal':
    os.close(master)
else:
    program.stdout.close()
    os.write(master, b'./model.onnx\\r')
    try:
        while True:
            said += os.read(master, 4096)
    except OSError:
        pass
print(json.dumps([program.wait(), said.decode()]))
`;

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
        license: 'apache-2.0',
        task: 'feature-extraction',
        files: { 'model.onnx': Buffer.alloc(3_000_000, 7) },
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

  onTerminal('searches for words, and takes no option for one', async () => {
    const shown = await open('--offline');
    await shown.waitFor('What to do');
    await shown.type('Search');
    await shown.waitFor('❯ Search the hubs');
    await shown.press('Enter');
    await shown.waitFor('What to search for');
    await shown.type('face --hub\n');
    await shown.waitFor('Type words that the name has');
    await shown.press('C-u');
    await shown.type('face retail\n');
    await shown.waitFor(/modeldl --offline search face retail\n[\s\S]*What to do/);
    await shown.press('Escape');
    expect((await shown.ended()).stdout).toContain('omz:face-detection-retail-0004');
  });

  onTerminal('goes on after a job that failed, with the global options that were given', async () => {
    const shown = await open('--offline');
    await shown.waitFor('What to do');
    await shown.press('Enter');
    await shown.waitFor('Which model');
    await shown.type('./absent.onnx');
    await shown.waitFor('❯ ./absent.onnx');
    await shown.press('Enter');
    await shown.waitFor(/modeldl --offline pull \.\/absent\.onnx[\s\S]*error: [\s\S]*What to do/);
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
  });

  const silent: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>])[] = [
    ['with --no-input', ['--no-input'], {}],
    ['with CI=true', [], { CI: 'true' }],
    ['where TERM=dumb', [], { TERM: 'dumb' }],
  ];
  for (const [name, args, more] of silent) {
    onTerminal(`says its help and asks nothing ${name}`, async () => {
      environment = more;
      const { exitCode, stdout, screen, sent } = await (await open(...args)).ended();
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
      expect(screen).toContain('Usage: modeldl');
      expect(sent).not.toContain('\u001b');
    });
  }

  onTerminal('does not take the help of a command for its own', async () => {
    const { exitCode, screen } = await (await open('config')).ended();
    expect(exitCode).toBe(2);
    expect(screen).not.toContain('What to do');
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
    expect(screen).toMatch(/2\.9 MiB to fetch, 2\.9 MiB in 1 file, licence apache-2\.0/);
    expect(screen).toContain(
      'The same without questions: modeldl pull hf:sentence-transformers/tiny-encoder',
    );
  });

  onTerminal('takes an address that is pasted with its Enter', async () => {
    await startHub();
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type(`${hub?.endpoint ?? ''}/org/tiny-decoder/tree/main\n`);
    const { exitCode, stdout, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(await readFile(join(stdout, 'model.onnx'), 'utf8')).toBe('small');
    expect(screen).toContain(`modeldl pull ${hub?.endpoint ?? ''}/org/tiny-decoder/tree/main`);
    expect(screen).toContain(`hf:org/tiny-decoder@${hub?.commitOf('org/tiny-decoder') ?? ''}`);
    expect(searches()).toEqual([]);
  });

  onTerminal('searches for a word that Enter follows at once, and asks which', async () => {
    await startHub();
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('tiny\n');
    await shown.waitFor(/Which one of tiny\n❯ hf:/);
    await shown.press('C-c');
    const { exitCode, restored } = await shown.ended();
    expect({ exitCode, restored }).toEqual({ exitCode: 130, restored: true });
  });

  onTerminal('offers what is stored, and says which hub is down', async () => {
    const { stdout: path } = await world.run('pull', './model.onnx');
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('model');
    await shown.waitFor(/\n hf: \S/);
    expect(await shown.screen()).toMatch(/❯ \S*model\.onnx\S*\n/);
    await shown.press('Enter');
    const { exitCode, stdout } = await shown.ended();
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: path });
  });

  for (const option of ['--dry-run', '--yes']) {
    onTerminal(`asks for no confirmation with ${option}`, async () => {
      await startHub();
      const shown = await open('pull', option);
      await shown.waitFor(KEYS);
      await shown.type('encoder');
      await shown.waitFor('❯ hf:sentence');
      await shown.press('Enter');
      const { exitCode, screen } = await shown.ended();
      expect(exitCode).toBe(0);
      expect(screen).not.toContain('Fetch 2.9 MiB?');
      expect(screen).toContain(`modeldl pull ${option} hf:sentence-transformers/tiny-encoder`);
    });
  }

  onTerminal('goes back to the search from a model that is not wanted', async () => {
    await startHub();
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('encoder');
    await shown.waitFor('❯ hf:sentence');
    await shown.press('Enter');
    await shown.waitFor('Fetch 2.9 MiB?');
    await shown.type('n\n');
    await shown.waitFor(/Fetch 2\.9 MiB\? No\n\? Which model/);
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
    // What the files say of themselves is read by ranges before the question.
    const whole = hub?.requests.filter(
      ({ server, headers }) => server === 'cdn' && headers.range === undefined,
    );
    expect(whole).toEqual([]);
  });

  onTerminal('shows long names within the terminal, and what hubs say as text', async () => {
    const long = `${'very-long-'.repeat(15)}模型.onnx`;
    await writeFile(join(world.directory, long), 'x');
    expect((await world.run('pull', `./${long}`)).exitCode).toBe(0);
    await startHub({
      repos: [{ id: 'org/very-short', license: 'mit\u001b]0;owned\u0007\u202e', files: { 'a.onnx': 'x' } }],
    });
    size = { columns: 60, lines: 24 };
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('very');
    // The stored one first, in one line, and whole below the list.
    await shown.waitFor(/❯ file:\S{2,50}…\S*模型\.onnx@[0-9a-f]{8}…\n {2}hf:org\/very-short\n/);
    await shown.press('Down');
    await shown.waitFor(/❯ hf:org\/very-short\n[\s\S]*size unknown, mit\\x1b\]0;owned\\x07/);
    await shown.press('Up', 'Enter');
    const { exitCode, sent } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(sent).not.toContain('\u001b]0;owned');
    expect(sent).not.toContain('\u202e');
  });
});

describe('modeldl convert without a model', () => {
  onTerminal('asks for precision and device with sizes, and tells the command', async () => {
    const shown = await open('convert', '--dry-run', '--offline');
    await shown.waitFor(KEYS);
    await shown.type('./model.onnx\n');
    await shown.waitFor(/Precision\n {2}fp32 {3}about 159 B\n[\s\S]*❯ int8 {3}about 48 B\n {2}int4/);
    await shown.press('Down', 'Enter');
    // A rule of the converter, which `convert --precision int4 --device NPU` ends with.
    await shown.waitFor(/Device\n❯ CPU {4}about 32 B\n {2}GPU {4}about 32 B\n- NPU \(int4 on NPU: .*\)/);
    await shown.press('Down', 'Down', 'Up', 'Enter');
    const { exitCode, stdout, screen } = await shown.ended();
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/model\.onnx\+int4-gpu/);
    expect(screen).toMatch(/To fetch: .*at most .* for the toolchain openvino/);
    const command = 'modeldl convert --dry-run --offline ./model.onnx --precision int4 --device GPU';
    expect(screen).toContain(`The same without questions: ${command}`);
    expect((await world.run(...command.split(' ').slice(1))).stdout).toBe(stdout);
  });

  onTerminal('tells options before the `--` that ends them', async () => {
    const shown = await open('convert', '--dry-run', '--offline', '--');
    await shown.waitFor(KEYS);
    await shown.type('./model.onnx\n');
    await shown.waitFor(/Precision\n/);
    await shown.press('Enter');
    await shown.waitFor(/Device\n/);
    await shown.press('Enter');
    const { stdout, screen } = await shown.ended();
    const command = 'modeldl convert --dry-run --offline ./model.onnx --precision int8 --device CPU --';
    expect(screen).toContain(`The same without questions: ${command}`);
    expect((await world.run(...command.split(' ').slice(1))).stdout).toBe(stdout);
  });

  onTerminal('searches hubs too, and fetches no weights before it knows what for', async () => {
    await startHub();
    const shown = await open('convert', '--dry-run');
    await shown.waitFor(KEYS);
    await shown.type('encoder');
    await shown.waitFor('❯ hf:sentence-transformers/tiny-encoder');
    await shown.press('Enter');
    await shown.waitFor(/Precision\n/);
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
    expect(hub?.requests.filter(({ server }) => server === 'cdn')).toEqual([]);
  });

  onTerminal('asks nothing where nothing can be chosen, and says why', async () => {
    await writeFile(join(world.directory, 'notes.txt'), 'no model');
    const shown = await open('convert', '--offline');
    await shown.waitFor(KEYS);
    await shown.type('./notes.txt\n');
    const { exitCode, screen } = await shown.ended();
    expect(exitCode).toBe(9);
    expect(screen).not.toContain('Precision');
    expect(screen).toContain('notes.txt');
  });

  onTerminal('asks which quantization first, and only for what is not said', async () => {
    await startHub({
      repos: [{ id: 'org/llm', files: { 'm-Q4_K_M.gguf': 'four bits', 'm-Q8_0.gguf': 'eight bits' } }],
    });
    const shown = await open('convert', '--precision', 'int8', '--device', 'CPU');
    await shown.waitFor(KEYS);
    await shown.type('hf:org/llm\n');
    await shown.waitFor(/Which quantization\n❯ Q4_K_M {2}9 B/);
    await shown.press('C-c');
    expect((await shown.ended()).exitCode).toBe(130);
  });
});

describe('a terminal', () => {
  const sizes: readonly (readonly [number, number])[] = [
    [60, 24],
    [20, 12],
    [200, 50],
  ];
  for (const [columns, lines] of sizes) {
    onTerminal(`of ${columns} columns shows jobs, a search and a checkbox that can be used`, async () => {
      size = { columns, lines };
      await world.run('pull', './model.onnx');
      const shown = await open('--offline');
      await shown.waitFor(/What to do\n❯ Pull a model/);
      await shown.press('Enter');
      await shown.waitFor('Which model');
      await shown.type('onnx');
      await shown.waitFor(/stored, 159 B|stored,\n159 B/);
      await shown.press('Escape');
      await shown.waitFor(/Which model[\s\S]*❯ Pull a model/);
      await shown.type('rem');
      await shown.waitFor('❯ Remove models');
      await shown.press('Enter');
      await shown.waitFor(/159 B {2}/);
      await shown.press('Space', 'Enter');
      await shown.waitFor(/Remove 1 model/);
      await shown.press('C-c');
      const { exitCode, restored } = await shown.ended();
      expect({ exitCode, restored }).toEqual({ exitCode: 130, restored: true });
    });
  }

  onTerminal('that is resized midway shows the question once, as it is', async () => {
    await startHub();
    const before = 'hf:sentence-transformers/tiny-encoder';
    const shown = await open('pull');
    await shown.waitFor(KEYS);
    await shown.type('tiny');
    await shown.waitFor(/❯ hf:\S+\n {2}hf:/);
    await shown.resize(28, 30);
    await shown.waitFor(/❯ hf:sentence-transformers\/t\n/);
    const narrow = await shown.visible();
    expect(narrow.match(/Which model/g)).toHaveLength(1);
    await shown.resize(100, 40);
    // What scrolled away may have it still, so the screen itself is looked at.
    await vi.waitFor(
      async () => {
        const wide = await shown.visible();
        expect(wide.match(/Which model/g)).toHaveLength(1);
        expect(wide.split('\n').filter((line) => line.includes(before))).toHaveLength(1);
      },
      { timeout: 45_000, interval: 30 },
    );
    await shown.press('C-c');
    expect((await shown.ended()).restored).toBe(true);
  });

  for (const [name, args, more] of [
    ['NO_COLOR', [], { NO_COLOR: '1' }],
    ['--color never', ['--color', 'never'], {}],
  ] as const) {
    onTerminal(`has no colours with ${name}`, async () => {
      environment = { ...environment, ...more };
      const shown = await open('pull', '--offline', ...args);
      await shown.waitFor(KEYS);
      await shown.type('./model.onnx\n');
      const { exitCode, sent } = await shown.ended();
      expect(exitCode).toBe(0);
      // eslint-disable-next-line no-control-regex -- a sequence of the terminal is what is looked for
      expect(sent).not.toMatch(/\u001b\[[\d;]*m/);
    });
  }
});

describe('a terminal that nobody has in the foreground', () => {
  const run = async (gone: string, ...args: readonly string[]) => {
    const { stdout } = await execa(
      'python3',
      ['-c', LONE_TERMINAL, gone, process.execPath, PROGRAM, ...args],
      {
        cwd: world.directory,
        env: {
          ...{ PATH: process.env['PATH'], HOME: world.directory, TERM: 'xterm' },
          MODELDL_CACHE_DIR: world.cacheDir,
        },
        extendEnv: false,
      },
    );
    return v.parse(v.tuple([v.number(), v.string()]), JSON.parse(stdout));
  };

  for (const args of [[], ['pull', '--offline']]) {
    withPython(`ends \`modeldl ${args.join(' ')}\` as a hang-up does when it goes away`, async () => {
      // SIGHUP: nobody is there to be told, and Node.js would abort.
      expect((await run('terminal', ...args))[0]).toBe(-1);
    });
  }

  withPython('asks, tells and works where nobody reads the result, and no width is told', async () => {
    const [exitCode, said] = await run('reader', 'pull', '--offline');
    expect(exitCode).toBe(0);
    expect(said).toContain('The same without questions: modeldl pull --offline ./model.onnx');
    expect((await world.run('list', '-q')).stdout).toContain('model.onnx');
  });
});

describe('a question that is left', () => {
  const questions: readonly (readonly [string, readonly string[], string])[] = [
    ['jobs', [], 'What to do'],
    ['a model', ['pull', '--offline'], 'Which model'],
    ['a model to convert', ['convert', '--offline'], 'Which model to convert'],
    ['a quantization', ['pull', 'hf:org/llm'], 'Which quantization'],
    ['models to remove', ['remove'], 'Which models to remove'],
    ['a removal', ['remove', './model.onnx'], 'Remove 1 model'],
    ['an eviction', ['prune', '--max-size', '1'], 'Free '],
    ['a hub', ['login'], 'Which hub'],
    ['a token', ['login', 'hf'], 'Token for hf'],
  ];
  const keys = [
    ['Ctrl-C', 'C-c', 'Interrupted'],
    ['Escape', 'Escape', 'Interrupted'],
    ['Ctrl-D', 'C-d', 'The input ended before the question was answered'],
  ] as const;
  for (const [what, args, question] of questions) {
    onTerminal(`about ${what} ends with 130 at Ctrl-C, Escape and Ctrl-D, and nothing is done`, async () => {
      await startHub({ repos: [{ id: 'org/llm', files: { 'm-Q4_K_M.gguf': '4', 'm-Q8_0.gguf': '8' } }] });
      const { stdout: path } = await world.run('pull', './model.onnx');
      for (const [, key, said] of keys) {
        const shown = await open(...args);
        await shown.waitFor(question);
        await shown.press(key);
        const { exitCode, stdout, screen, restored } = await shown.ended();
        const quits = what === 'jobs' && key === 'Escape';
        expect({ key, exitCode, stdout, restored }).toEqual({
          ...{ key, stdout: '', restored: true },
          exitCode: quits ? 0 : 130,
        });
        if (!quits) expect(screen).toContain(`error: ${said}`);
        await shown.close();
      }
      expect((await stat(path)).isFile()).toBe(true);
    });
  }
});

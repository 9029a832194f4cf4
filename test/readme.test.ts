/** What the README says is what the program does. */
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hubs } from '../hubs/index.js';
import { COMMANDS } from '../src/cli/program.js';
import { DEFAULTS, knownKeys, leaves, needsTrust } from '../src/config/schema.js';
import { EXIT_CODES } from '../src/errors.js';
import { configurationSchema } from '../src/index.js';
import { settingsOf } from '../src/layout/settings.js';
import { OVMS_TASKS } from '../src/layout/tasks.js';
import { startHfHub, type HfHub } from './helpers/hf-hub.js';
import { createWorld, type World } from './helpers/program.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const DOCUMENTS = [
  'README.md',
  'CHANGELOG.md',
  'src/README.md',
  'hubs/README.md',
  'converters/README.md',
  '.github/CONTRIBUTING.md',
] as const;

let readme: string;

beforeAll(async () => {
  readme = await readFile(join(ROOT, 'README.md'), 'utf8');
});

function section(title: string): string {
  const [, after] = readme.split(`\n## ${title}\n`);
  if (after === undefined) throw new Error(`README.md has no section ${title}`);
  return after.split('\n## ')[0] ?? '';
}

/** Cells of the tables of a section, without their headers. */
function rows(title: string): readonly (readonly string[])[] {
  const lines = section(title).split('\n');
  return lines.flatMap((line, at) => {
    const isHeader = /^\| -/.test(lines[at + 1] ?? '');
    if (!line.startsWith('|') || /^\| -/.test(line) || isHeader) return [];
    const cells = line.replaceAll('\\|', '\u0000').split('|').slice(1, -1);
    return [cells.map((cell) => cell.trim().replaceAll('\u0000', '|'))];
  });
}

function codes(text: string | undefined): readonly string[] {
  return [...(text ?? '').matchAll(/`([^`]+)`/g)].map(([, code = '']) => code);
}

/** The keys of the schema; what every hub has alike is one row. */
function documentedKeys(): readonly string[] {
  const keys = knownKeys(configurationSchema()).filter((key) => key !== '$schema');
  return [...new Set(keys.map((key) => key.replace(/^hubs\.[^.]+\.mirrors$/, 'hubs.<name>.mirrors')))];
}

describe('the tables of the README', () => {
  it('exit codes are those of the program', () => {
    const said = rows('Exit codes').flatMap(([code, names = '']) =>
      names === '' ? [] : names.split(', ').map((name) => [name, Number(code)]),
    );
    expect(Object.fromEntries(said)).toEqual(EXIT_CODES);
  });

  it('commands are those of the program, with their other names', () => {
    const said = rows('Commands').map(([command]) => {
      const [usage = '', alias] = codes(command);
      return { name: usage.split(' ')[1], ...(alias === undefined ? {} : { alias }) };
    });
    expect(said).toEqual(
      COMMANDS.map(({ name, alias }) => ({ name, ...(alias === undefined ? {} : { alias }) })),
    );
  });

  it('commands are written with the arguments and options that they take', async () => {
    for (const [command] of rows('Commands')) {
      const [usage = ''] = codes(command);
      const [, name = '', ...words] = usage.split(' ');
      const entry = COMMANDS.find((candidate) => candidate.name === name);
      const declared = new Command(name);
      (await entry?.load())?.command.configure(declared);
      const { registeredArguments, options } = declared;
      const named = words.filter((word, at) => !word.startsWith('--') && !words[at - 1]?.startsWith('--'));
      const takesMany = named.some((word) => word.includes('...'));
      // The last of several words may be another thing than those before it.
      const most = registeredArguments.at(-1)?.variadic === true ? Infinity : registeredArguments.length;
      expect(named.length, usage).toBeLessThanOrEqual(most);
      if (takesMany) expect(registeredArguments.at(-1)?.variadic, usage).toBe(true);
      for (const option of words.filter((word) => word.startsWith('--')))
        expect(
          options.map(({ long }) => long),
          usage,
        ).toContain(option);
      const actions = named.find((word) => word.includes('|'))?.split('|');
      for (const action of actions ?? []) expect(registeredArguments[0]?.description).toContain(action);
    }
  });

  it('every hub has a reference', () => {
    const said = codes(
      rows('References')
        .map(([form]) => form)
        .join(' '),
    );
    for (const { syntax } of hubs) {
      const [scheme = ''] = syntax.schemes;
      expect(
        said.some((form) => form.startsWith(`${scheme}:`)),
        scheme,
      ).toBe(true);
    }
  });

  it('configuration keys are those of the schema, with their defaults', () => {
    const said = rows('Configuration').filter((cells) => cells.length === 3);
    const keys = said.flatMap(([key]) => codes(key));
    expect([...keys].sort()).toEqual([...documentedKeys()].sort());
    const defaults = said.flatMap(([key, value]) => codes(value).map((code) => [codes(key)[0], code]));
    expect(Object.fromEntries(defaults)).toEqual(
      Object.fromEntries(leaves(DEFAULTS).map(([key, value]) => [key, String(value)])),
    );
  });

  it('settings of model servers are those of the program, by task', () => {
    const [[, everywhere] = [], ...tasks] = rows('For a model server');
    const common = codes(everywhere);
    const said = tasks.map(([task, settings]) => [codes(task)[0], [...common, ...codes(settings)].sort()]);
    expect(Object.fromEntries(said)).toEqual(
      Object.fromEntries(
        OVMS_TASKS.filter((task) => task !== 'plain').map((task) => [
          task,
          [...settingsOf(task), 'ovms-task'].sort(),
        ]),
      ),
    );
  });

  it('keys that a project may set only when it is trusted are marked', () => {
    const said = rows('Configuration').filter((cells) => cells.length === 3);
    const marked = said.flatMap(([key = '']) =>
      [...key.matchAll(/`([^`]+)`( ¹)?/g)].map(([, name = '', mark]) => [name, mark !== undefined]),
    );
    expect(Object.fromEntries(marked)).toEqual(
      Object.fromEntries(documentedKeys().map((key) => [key, needsTrust(key, hubs)])),
    );
  });

  it('environment variables of hubs and sources are all there', async () => {
    const said = codes(
      rows('Configuration')
        .filter((cells) => cells.length === 2)
        .map(([name]) => name)
        .join(' '),
    );
    const declared = hubs.flatMap((hub) => [
      ...('credentials' in hub ? hub.credentials.environment : []),
      ...Object.values('settings' in hub ? hub.settings : {}).flatMap((setting: object) =>
        'environment' in setting && Array.isArray(setting.environment) ? setting.environment.map(String) : [],
      ),
    ]);
    const sources = [
      'src/index.ts',
      'src/user-directories.ts',
      'src/adopt.ts',
      'src/config/environment.ts',
      'src/cli/program.ts',
      'hubs/hf.ts',
      'hubs/ollama/daemon.ts',
    ];
    const texts = await Promise.all(sources.map((path) => readFile(join(ROOT, path), 'utf8')));
    const read = texts.flatMap((text) =>
      [
        ...text.matchAll(
          /'((?:MODELDL|HF|HUGGINGFACE|OLLAMA|XDG|SSL|NODE|HTTPS?|ALL|NO)_[A-Z_]+|CI|GITHUB_ACTIONS)'/g,
        ),
      ].map(([, name = '']) => name),
    );
    expect([...new Set(said)].sort()).toEqual([...new Set([...declared, ...read])].sort());
  });
});

describe('documents', () => {
  it.each(DOCUMENTS)('%s links to what exists, and names files that exist', async (path) => {
    const text = await readFile(join(ROOT, path), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, link = '']) =>
      join(path, '..', link),
    );
    const names = [...text.matchAll(/`((?:src|hubs|test|converters|bin)\/[\w./-]+\.\w+)`/g)].map(
      ([, name = '']) => name,
    );
    for (const file of [...links, ...names])
      await expect(stat(join(ROOT, file)), file).resolves.toBeDefined();
  });
});

describe('the program of the README', () => {
  let directory: string;
  let hub: HfHub;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'modeldl-readme-'));
    await mkdir(join(directory, 'node_modules'));
    await symlink(ROOT, join(directory, 'node_modules/modeldl'));
    const program = /```js\n([^]*?)```/.exec(section('From a program'))?.[1];
    await writeFile(join(directory, 'program.mjs'), program ?? 'throw new Error("no program")');
    hub = await startHfHub({
      repos: [{ id: 'org/name', files: { 'config.json': '{}', 'model.safetensors': 'x' } }],
    });
  });

  afterAll(async () => {
    await hub.close();
    await rm(directory, { recursive: true, force: true });
  });

  const start = (endpoint: string) =>
    execa(process.execPath, ['program.mjs'], {
      cwd: directory,
      env: { PATH: process.env['PATH'], HOME: directory, HF_ENDPOINT: endpoint },
      extendEnv: false,
      reject: false,
    });

  it('pulls, and tells what comes', async () => {
    const { stdout, stderr, exitCode } = await start(hub.endpoint);
    expect(stderr).toBe('config.json: 2 bytes');
    const [reference, path = ''] = stdout.split(' ');
    expect(reference).toBe(`hf:org/name@${hub.commitOf('org/name')}`);
    expect(await readFile(join(path, 'config.json'), 'utf8')).toBe('{}');
    expect(exitCode).toBe(0);
  });

  it('gives the error and its exit code', async () => {
    hub.addFault({ matches: /^\/api\//, kind: { status: 404, headers: { 'x-error-code': 'RepoNotFound' } } });
    const { stderr, exitCode } = await start(hub.endpoint);
    hub.clearFaults();
    expect(stderr).toMatch(/^(AUTH|NOT_FOUND) .*org\/name/);
    expect([EXIT_CODES.AUTH, EXIT_CODES.NOT_FOUND]).toContain(exitCode);
    const { stderr: refused, exitCode: config } = await start('not an address');
    expect(refused).toContain('HF_ENDPOINT');
    expect(config).toBe(EXIT_CODES.CONFIG);
  });

  it('stops when it is interrupted', async () => {
    await rm(join(directory, '.cache'), { recursive: true, force: true });
    hub.addFault({ matches: /config\.json/, kind: { stall: 1 } });
    const running = start(hub.endpoint);
    await hub.stuck();
    running.kill('SIGINT');
    const { stderr, exitCode } = await running;
    hub.clearFaults();
    expect(stderr).toContain('Interrupted');
    expect(exitCode).toBe(EXIT_CODES.INTERRUPTED);
  });
});

describe('the documents of the README', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
    await writeFile(join(world.directory, 'model.onnx'), 'x');
    await writeFile(join(world.directory, 'modeldl.config.yaml'), 'models: [./model.onnx]');
    await world.run('pull', './model.onnx');
  });
  afterAll(() => world.remove());

  const documents = () => new Map(rows('JSON').map(([command, ...cells]) => [command, cells.map(codes)]));

  // In this order: the last ones change what is there.
  it.each([
    ['`pull`', 'pull ./model.onnx'],
    ['`pull --dry-run`', 'pull ./model.onnx --dry-run'],
    ['`list`', 'list'],
    ['`list --usage`', 'list --usage'],
    ['`show`', 'show ./model.onnx'],
    ['`report`', 'report ./model.onnx -o report.html'],
    ['`path`', 'path ./model.onnx'],
    ['`verify`', 'verify'],
    ['`search`', 'search face-detection-retail-0004 --hub omz'],
    ['`hubs`', 'hubs'],
    ['`converters`', 'converters'],
    ['`toolchain list`', 'toolchain list'],
    ['`plugins`', 'plugins'],
    ['`lock`', 'lock'],
    ['`ci key`', 'ci key'],
    ['`bundle --dry-run`', 'bundle create ./model.onnx -o models.tar --dry-run'],
    ['`bundle create`', 'bundle create ./model.onnx -o models.tar'],
    ['`bundle show`', 'bundle show models.tar'],
    ['`bundle import`', 'bundle import models.tar'],
    ['`doctor`', 'doctor --offline'],
    ['`config list`', 'config list'],
    ['`config get`', 'config get convert.precision'],
    ['`config set`', 'config set jobs 2'],
    ['`config path`', 'config path'],
    ['`config trust`', 'config trust'],
    ['`completion`', 'completion zsh'],
    ['`logout`', 'logout hf'],
    ['`export --dry-run`', 'export ./model.onnx x.tar --dry-run'],
    ['`export`', 'export ./model.onnx x.tar'],
    ['`remove --dry-run`', 'remove ./model.onnx --dry-run'],
    ['`prune --dry-run`', 'prune --dry-run'],
    ['`remove`', 'remove ./model.onnx -y'],
    ['`prune`', 'prune -y'],
  ])('%s has the keys that are said', async (command, line) => {
    const { stdout } = await world.run(...line.split(' '), '--json');
    const { ok, ...document } = JSON.parse(stdout) as Record<string, unknown>;
    const [keys = [], items = []] = documents().get(command) ?? [];
    expect(ok).toBe(true);
    expect(Object.keys(document).sort()).toEqual([...keys].sort());
    const list = keys.map((key) => document[key]).find(Array.isArray) as readonly unknown[] | undefined;
    if (items.includes('list') || list?.[0] === undefined || typeof list[0] !== 'object') return;
    expect(Object.keys(list[0] ?? {}).sort()).toEqual([...items].sort());
  });

  it('are all there', () => {
    const said = new Set(
      [...documents().keys()].flatMap((cell) => codes(cell).map((code) => code.split(' ')[0])),
    );
    expect([...said].sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
  });
});

/** What the command-line contract names, as far as it exists today. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  pull: [
    ...[
      '--revision',
      '--include',
      '--exclude',
      '--all-files',
      '-o, --output',
      '--link',
      '--overwrite',
      '--jobs',
    ],
    ...['--limit-rate', '--force', '--unpack', '--dry-run', '--quant'],
  ],
  convert: [
    ...['--precision', '--device', '--task', '--converter', '-o, --output', '--calibration', '--set'],
    ...['--layout', '--ovms-version', '--name', '--prebuilt', '--no-prebuilt'],
    ...['--trust-remote-code', '--trust-pickle', '--no-check', '--no-install', '--dry-run', '--force'],
  ],
  export: ['--layout', '--overwrite', '--to', '--name', '--quant', '--dry-run', '--set', '--force'],
  list: ['--usage'],
  show: ['--precision', '--device', '--converter'],
  report: ['-o, --output', '--force'],
  path: ['--precision', '--device', '--converter'],
  remove: ['--precision', '--device', '--converter', '--prune'],
  prune: ['--older-than', '--max-size', '--partials', '--toolchains', '--ci'],
  sync: ['--frozen', '--summary'],
  ci: ['--file', '--prefix'],
  verify: ['--repair'],
  search: ['--hub', '--task', '--precision', '--library', '--license', '--sort', '--limit', '--timeout'],
  login: ['--token-stdin'],
  hubs: ['--check'],
  doctor: ['--timeout'],
};
const GLOBAL_OPTIONS = [
  ...[
    '--cache-dir',
    '--config',
    '--offline',
    '--prefer-offline',
    '--refresh',
    '--max-wait',
    '--no-space-check',
  ],
  ...[
    '--json',
    '-q, --quiet',
    '-v, --verbose',
    '--progress',
    '--color',
    '-y, --yes',
    '--no-input',
    '--version',
  ],
  '-h, --help',
];

describe('--help', () => {
  let world: World;

  beforeAll(async () => {
    world = await createWorld();
  });

  afterAll(() => world.remove());

  it.each(COMMANDS.map(({ name, alias }) => [name, alias] as const))(
    'of %s has every option of the contract, and an example',
    async (name, alias) => {
      const { stdout, stderr, exitCode } = await world.run(name, '--help');
      expect([exitCode, stderr]).toEqual([0, '']);
      for (const option of [...(OPTIONS[name] ?? []), ...GLOBAL_OPTIONS]) {
        expect(stdout).toMatch(new RegExp(`^ +(-\\w, )?${option}( |$)`, 'm'));
      }
      expect(stdout).toContain(`\n  modeldl ${name}`);
      if (alias !== undefined) expect((await world.run(alias, '--help')).stdout).toBe(stdout);
    },
  );
});

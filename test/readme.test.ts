/** What the README says is what the program does. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { converters } from '../converters/index.js';
import { hubs } from '../hubs/index.js';
import { EXIT_STATUSES, VARIABLES } from '../src/cli/manual/facts.js';
import { COMMANDS, rootCommand } from '../src/cli/program.js';
import { DEFAULTS, knownKeys, leaves, needsTrust } from '../src/config/schema.js';
import { PRECISIONS } from '../src/converter.js';
import { EXIT_CODES } from '../src/errors.js';
import { configurationSchema } from '../src/index.js';
import { settingsOf } from '../src/layout/settings.js';
import { OVMS_TASKS } from '../src/layout/tasks.js';
import { OVMS_VERSIONS } from '../src/layout/versions.js';
import { DOCTOR_TOPICS } from '../src/results.js';
import { SEARCH_ORDERS } from '../src/search.js';
import { fakeStream } from './helpers/fake-stream.js';
import { gguf } from './helpers/gguf.js';
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

function precisionsIn(text: string): readonly string[] {
  return PRECISIONS.filter((precision) => new RegExp(`\\b${precision}\\b`).test(text));
}

/** What every program here reads; the rules of the system say what they mean. */
const OF_THE_SYSTEM: readonly string[] = ['HOME', 'TMPDIR', 'TEMP', 'TMP'];

async function sourcesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(join(ROOT, directory), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
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

  it('exit codes are explained as in the manual', () => {
    const said = rows('Exit codes').map(([code, names, meaning]) => [Number(code), names, meaning]);
    expect(said).toEqual(EXIT_STATUSES.map(({ code, names, meaning }) => [code, names.join(', '), meaning]));
  });

  it('options of every command are those of the program, explained as in its help', () => {
    const root = rootCommand({ version: '1.2.3', stdout: fakeStream().stream }, () => undefined);
    const help = root.createHelp();
    const said = rows('Options').map(([option, what]) => ({ option: codes(option)[0], what }));
    expect(said).toEqual(
      help.visibleOptions(root).map((option) => {
        const choices = option.argChoices?.map((choice) => `\`${choice}\``).join(', ');
        const what = choices === undefined ? option.description : `${option.description}: ${choices}`;
        return { option: option.flags, what };
      }),
    );
  });

  it('filters and orders of searches are those of the hubs', () => {
    const said = rows('Searching').map(([hub, filters, orders = '']) => [
      codes(hub)[0],
      { filters: [...codes(filters)].sort(), orders: orders.split(', ').filter((order) => order !== '') },
    ]);
    const abilities = hubs.flatMap((hub) => {
      if (!('searches' in hub)) return [];
      const filters = hub.searches.filters.map((filter) => `--${filter}`).sort();
      return [[hub.name, { filters, orders: [...hub.searches.orders] }]] as const;
    });
    expect(Object.fromEntries(said)).toEqual(Object.fromEntries(abilities));
    const text = section('Searching');
    for (const order of SEARCH_ORDERS) expect(text).toContain(order);
  });

  it('converters are those of the program, with the precisions that they make', () => {
    const said = rows('Converting').map(([name, , makes = '']) => [codes(name)[0], precisionsIn(makes)]);
    expect(Object.fromEntries(said)).toEqual(
      Object.fromEntries(converters.map(({ name, makes }) => [name, precisionsIn(makes)])),
    );
  });

  it('topics of `doctor` are those of the program, of which models are named by references', () => {
    const said = rows('When something does not work').map(([topic]) => codes(topic)[0] ?? 'models');
    expect(said).toEqual(DOCTOR_TOPICS);
  });

  it('versions of the model server are those of the program', () => {
    const [, said = ''] =
      /`--ovms-version` chooses what the server's version reads: (.*), by default/.exec(
        section('For a model server'),
      ) ?? [];
    expect(said.split(/, | or /)).toEqual(OVMS_VERSIONS);
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

  it('environment variables are explained as in the manual', () => {
    const said = rows('Configuration').filter((cells) => cells.length === 2);
    expect(said.map(([names, what]) => [codes(names), what])).toEqual(VARIABLES);
  });

  it('environment variables of hubs and sources are all there', async () => {
    const said = VARIABLES.flatMap(([names]) => names);
    const declared = hubs.flatMap((hub) => [
      ...('credentials' in hub ? hub.credentials.environment : []),
      ...Object.values('settings' in hub ? hub.settings : {}).flatMap((setting: object) =>
        'environment' in setting && Array.isArray(setting.environment) ? setting.environment.map(String) : [],
      ),
    ]);
    const sources = (await Promise.all(['src', 'hubs', 'bin'].map(sourcesBelow))).flat();
    const texts = await Promise.all(sources.map((path) => readFile(path, 'utf8')));
    const read = texts.flatMap((text) =>
      [
        ...text.matchAll(/\benvironment\[\s*'(\w+)'\s*\]/g),
        ...text.matchAll(/'((?:MODELDL|HF|HUGGINGFACE|OLLAMA|XDG|HTTPS?|ALL|NO)_[A-Z_]+)'/g),
      ].map(([, name = '']) => name),
    );
    const own = read.filter((name) => !OF_THE_SYSTEM.includes(name) && name === name.toUpperCase());
    expect([...new Set(said)].sort()).toEqual([...new Set([...declared, ...own])].sort());
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
    const linear = { weights: [[1, 2]], bias: [0] };
    await mkdir(join(world.directory, 'linear'));
    await mkdir(join(world.directory, '.ollama/models'), { recursive: true });
    await writeFile(join(world.directory, 'linear/linear.json'), JSON.stringify(linear));
    await writeFile(join(world.directory, 'model.gguf'), gguf());
    await writeFile(join(world.directory, 'model.onnx'), 'x');
    await writeFile(join(world.directory, 'modeldl.config.yaml'), 'models: [./model.onnx]');
    await world.run('pull', './model.onnx');
    // A conversion without Python.
    await world.run('config', 'set', 'plugins', JSON.stringify([join(ROOT, 'examples/linear-converter')]));
  });
  afterAll(() => world.remove());

  const documents = () => new Map(rows('JSON').map(([command, ...cells]) => [command, cells]));

  /** What a cell names: each of the sets of keys that one of a list may have. */
  function keysIn(cell: string): readonly (readonly string[])[] {
    const [, others, more] = /^those of (`[^`]+`(?: or `[^`]+`)*)(?:, and (.*))?$/.exec(cell) ?? [];
    if (others === undefined) return [codes(cell)];
    return codes(others).flatMap((other) => {
      const [, items = ''] = documents().get(`\`${other}\``) ?? [];
      return keysIn(items).map((keys) => [...keys, ...codes(more)]);
    });
  }

  // In this order: the last ones change what is there.
  it.each([
    ['`pull`', 'pull ./model.onnx'],
    ['`pull --dry-run`', 'pull ./model.onnx --dry-run'],
    ['`convert --dry-run`', 'convert ./linear --precision fp32 --dry-run'],
    ['`convert`', 'convert ./linear --precision fp32'],
    ['`sync --dry-run`', 'sync --dry-run'],
    ['`sync`', 'sync'],
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
    ['`config init`', 'config init --precision fp16'],
    ['`completion`', 'completion zsh'],
    ['`logout`', 'logout hf'],
    ['`export --dry-run`', 'export ./model.onnx x.tar --dry-run'],
    ['`export`', 'export ./model.onnx x.tar'],
    ['`export --to`', 'export ./model.gguf --to ollama'],
    ['`remove --dry-run`', 'remove ./model.onnx --dry-run'],
    ['`prune --dry-run`', 'prune --dry-run'],
    ['`remove`', 'remove ./model.onnx -y'],
    ['`prune`', 'prune -y'],
  ])('%s has the keys that are said', async (command, line) => {
    if (command === '`config init`') await rm(join(world.directory, 'modeldl.config.yaml'));
    const { stdout } = await world.run(...line.split(' '), '--json');
    const { ok, ...document } = JSON.parse(stdout) as Record<string, unknown>;
    const [said = '', items = ''] = documents().get(command) ?? [];
    const keys = codes(said);
    expect(ok).toBe(true);
    expect(Object.keys(document).sort()).toEqual([...keys].sort());
    const list = keys.map((key) => document[key]).find(Array.isArray) as readonly unknown[] | undefined;
    if (list?.[0] === undefined || typeof list[0] !== 'object') return;
    const told = keysIn(items).map((alternative) => [...alternative].sort());
    expect(told).toContainEqual(Object.keys(list[0] ?? {}).sort());
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
  report: ['-o, --output', '--overwrite'],
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

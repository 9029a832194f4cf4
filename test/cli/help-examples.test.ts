/**
 * Every example that is printed by `--help` or stands in a README is run, without network, in a directory that has the
 * files it names: it may not find a model, but it is never a wrong command line.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { complete } from '../../src/cli/completion/answer.js';
import type { CliEnvironment } from '../../src/cli/command.js';
import { COMMANDS, runCli } from '../../src/cli/program.js';
import { EXIT_CODES } from '../../src/errors.js';
import { createModeldl } from '../../src/index.js';
import { fakeStream, type FakeStream } from '../helpers/fake-stream.js';
import { temporaryDirectory } from '../helpers/store.js';
import { commandsIn } from '../helpers/shell-words.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function world(argv: readonly string[]): Promise<string> {
  const directory = await temporaryDirectory();
  const list = 'models: [./model.onnx]\n';
  const files: Readonly<Record<string, string>> = {
    'model.onnx': 'x',
    'model.gguf': 'GGUF',
    'coco8.yaml': 'val: .\n',
    'startup-models.yaml': list,
    // Where one is, `config init` makes no other.
    ...(argv.includes('init') ? {} : { 'modeldl.config.yaml': list }),
  };
  await mkdir(join(directory, 'srv/wheels'), { recursive: true });
  // What agents may write to has to be there.
  if (argv[0] === 'mcp') await mkdir(join(directory, 'models'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  return directory;
}

/** @param directory of a run before, where that counts */
async function run(argv: readonly string[], directory?: string): Promise<Ran> {
  const place = directory ?? (await world(argv));
  const needsLock = argv.includes('--frozen') || argv[0] === 'ci' || argv[1] === 'create';
  if (needsLock && !existsSync(join(place, 'modeldl.lock')) && argv[0] !== 'lock') await run(['lock'], place);
  return runAt(place, argv);
}

async function runAt(directory: string, argv: readonly string[]): Promise<Ran> {
  const stdout = fakeStream();
  const stderr = fakeStream();
  const cli = environmentOf(directory, stdout, stderr);
  // What lies outside in an example lies inside here.
  const inside = argv.map((word) =>
    word
      .replace('/path/to/examples', join(ROOT, 'examples'))
      .replace(/^\/(opt|srv|cache|models)\b/, join(directory, '$1')),
  );
  const exitCode = await runCli(inside, cli);
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

function environmentOf(directory: string, stdout: FakeStream, stderr: FakeStream): CliEnvironment {
  return {
    stdin: Readable.from(['hf_madeupTokenOfNobody0123456789\n']),
    stdout: stdout.stream,
    stderr: stderr.stream,
    environment: {
      PATH: process.env['PATH'],
      HOME: directory,
      MODELDL_CACHE_DIR: join(directory, 'cache'),
      MODELDL_OFFLINE: '1',
      OLLAMA_MODELS: join(directory, 'ollama'),
    },
    cwd: directory,
    home: directory,
    version: '1.2.3',
    signal: new AbortController().signal,
    createModeldl,
  };
}

async function helpOf(name: string): Promise<string> {
  const { stdout, exitCode } = await run([name, '--help']);
  expect(exitCode).toBe(0);
  return stdout;
}

/** The lines below `Examples:`. */
function examplesOf(help: string): string {
  return /\nExamples?:\n([^]*)$/.exec(help)?.[1] ?? '';
}

/**
 * Wrong for lack of a terminal, of network, of a mirror, of a conversion or of the built program, which plugins import: the example is
 * right where these are.
 */
const LACKING = [
  /^error: Missing `--token-stdin`/,
  /^error: No hub can answer that/,
  /^error: No registry is a mirror/,
  /^error: Nothing in the bundle was converted/,
  /Cannot load the plugin/,
];

async function expectRuns(argv: readonly string[], directory?: string): Promise<void> {
  const { exitCode, stderr } = await run(argv, directory);
  const failed = exitCode === EXIT_CODES.USAGE || isBug(stderr);
  const wrong = failed && !LACKING.some((pattern) => pattern.test(stderr));
  expect(wrong ? stderr : '', argv.join(' ')).toBe('');
}

/** The exit code of a bug is that of failed checks as well. */
function isBug(stderr: string): boolean {
  return stderr.includes('this is a bug');
}

describe('the examples of --help', () => {
  it.each(['', ...COMMANDS.map(({ name }) => name)])('of `modeldl %s` run', async (name) => {
    const help = name === '' ? (await run(['--help'])).stdout : await helpOf(name);
    const examples = commandsIn(examplesOf(help));
    expect(examples.length).toBeGreaterThan(0);
    for (const argv of examples) await expectRuns(argv);
  });

  it.each(COMMANDS.map(({ name }) => name))('say what `modeldl %s` cannot do without', async (name) => {
    const { stderr } = await run([name]);
    const [usage = ''] = (await helpOf(name)).split('\n');
    // These ask for it on a terminal.
    const asks = ['pull', 'convert', 'remove', 'login'].includes(name);
    const needs = /^error: Missing |^Usage: /.test(stderr) && !asks && name !== 'search';
    expect(usage.includes('<')).toBe(needs);
  });

  it.each(['toolchain', 'config'])('of `modeldl %s` show each of its actions', async (name) => {
    const { candidates } = await complete([name, ''], environmentOf('/', fakeStream(), fakeStream()));
    const shown = commandsIn(examplesOf(await helpOf(name))).map((argv) =>
      argv.find((word, at) => at > 0 && !word.startsWith('-')),
    );
    expect(candidates.length).toBeGreaterThan(0);
    expect([...new Set(shown)].sort()).toEqual(candidates.map(({ value }) => value).sort());
  });
});

describe('the documents', async () => {
  const examples = (await readdir(join(ROOT, 'examples'))).map((name) => `examples/${name}/README.md`);
  const paths = [
    ...['README.md', 'hubs/README.md', 'converters/README.md', '.github/CONTRIBUTING.md'],
    ...examples.filter((path) => existsSync(join(ROOT, path))),
  ];

  it.each(paths)('%s has commands that run', async (path) => {
    const text = await readFile(join(ROOT, path), 'utf8');
    const blocks = [...text.matchAll(/^ *```(?:sh|bash|console|dockerfile|yaml)\n([^]*?)^ *```/gm)];
    for (const [, block = ''] of blocks) {
      const commands = commandsIn(block);
      const directory = await world(commands.flat());
      for (const argv of commands) await expectRuns(argv, directory);
    }
  });

  it.each(paths)('%s names commands and options that are there', async (path) => {
    const text = await readFile(join(ROOT, path), 'utf8');
    const prose = text.replace(/^ *```[^]*?^ *```/gm, '');
    const named = [...prose.matchAll(/`(modeldl [^`<…|[]+)`/g)].flatMap(([, code = '']) => commandsIn(code));
    for (const argv of named) {
      const { exitCode, stderr } = await run(argv);
      // A command may be named without what it needs.
      const wrong =
        exitCode === EXIT_CODES.USAGE &&
        !/^error: (Missing|Option .* argument missing|Expected .* got nothing|.* needs a confirmation)/.test(
          stderr,
        );
      expect(wrong || isBug(stderr) ? stderr : '', argv.join(' ')).toBe('');
    }
  });

  it('README.md names no option that the program does not have', async () => {
    const options = new Set(['--help', '--version']);
    for (const name of COMMANDS.map((entry) => entry.name))
      for (const [option] of (await helpOf(name)).matchAll(/--[a-z][a-z-]*/g)) options.add(option);
    const text = await readFile(join(ROOT, 'README.md'), 'utf8');
    const own = text.replace(/^.*(docker|npm|hf|omz_downloader) .*$/gm, '');
    const said = [...own.matchAll(/`(--[a-z][a-z-]*)/g)].map(([, option = '']) => option);
    expect(said.filter((option) => !options.has(option))).toEqual([]);
    expect(said.length).toBeGreaterThan(30);
  });
});

import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { COMMANDS, runCli } from '../../src/cli/program.js';
import { createModeldl } from '../../src/index.js';
import { fakeStream } from '../helpers/fake-stream.js';
import { openedStore, putConversion, putModel, temporaryDirectory } from '../helpers/store.js';

async function run(...argv: readonly string[]) {
  return runAt(await temporaryDirectory(), ...argv);
}

async function runAt(home: string, ...argv: readonly string[]) {
  const stdout = fakeStream();
  const stderr = fakeStream();
  const exitCode = await runCli(argv, {
    stdin: Readable.from([]),
    stdout: stdout.stream,
    stderr: stderr.stream,
    environment: { MODELDL_CACHE_DIR: `${home}/cache`, MODELDL_OFFLINE: '1' },
    cwd: home,
    home,
    version: '1.2.3',
    signal: new AbortController().signal,
    createModeldl,
  });
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

describe('with --progress json every line on stderr is an event', () => {
  const NOTHING = { type: 'note', message: expect.stringContaining('Nothing is stored yet') as string };
  const ABSENT = { type: 'error', code: 'NOT_FOUND', exitCode: 3, hint: expect.any(String) as string };

  it.each<readonly [readonly string[], readonly object[]]>([
    [['list', '--progress', 'json'], [NOTHING]],
    [['list', '--progress=json', '--quiet'], []],
    [['path', 'hf:org/none', '--progress', 'json'], [ABSENT]],
    [['path', 'hf:org/none', '--progress', 'json', '--json'], [ABSENT]],
    [['--progress', 'json', 'pul'], [{ type: 'error', code: 'USAGE', message: "Unknown command 'pul'" }]],
    [['list', '--progress=json', '--wrong'], [{ type: 'error', code: 'USAGE', exitCode: 2 }]],
    [
      ['pull', './none', './nothing', '--progress', 'json'],
      [
        { type: 'resolve' },
        { type: 'resolve' },
        { type: 'error', code: 'NOT_FOUND', reference: './none' },
        { type: 'error', code: 'NOT_FOUND', reference: './nothing' },
      ],
    ],
  ])('%j', async (argv, events) => {
    const { stderr } = await run(...argv);
    const lines = stderr.split('\n').slice(0, -1);
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(
      events.map((event) => expect.objectContaining(event) as unknown),
    );
  });

  it('as its fields are in the JSON document', async () => {
    const { stdout, stderr } = await run('path', 'hf:org/none', '--progress', 'json', '--json');
    const { error } = JSON.parse(stdout) as { readonly error: object };
    expect(JSON.parse(stderr)).toEqual({ type: 'error', ...error });
  });
});

describe('what cannot be read', () => {
  it.each<readonly [readonly string[], string, string]>([
    [['pul'], "Unknown command 'pul'", 'did you mean `modeldl pull`'],
    [['rn'], "Unknown command 'rn'", 'did you mean `modeldl rm`'],
    [['lsit'], "Unknown command 'lsit'", 'did you mean `modeldl list`'],
    [['version'], "Unknown command 'version'", 'did you mean `modeldl --version`'],
    [['org/name'], "Unknown command 'org/name'", 'did you mean `modeldl pull org/name`'],
    [['https://h/x?sig=abcdef'], "Unknown command 'https://h/x'", 'did you mean `modeldl pull https://h/x`'],
    [['frobnicate'], "Unknown command 'frobnicate'", 'hint: see `modeldl --help`'],
    [
      ['pull', '--ouput', 'x'],
      "Unknown option '--ouput'",
      'did you mean `--output`; see `modeldl pull --help`',
    ],
    [
      ['list', 'x'],
      "Too many arguments for 'list': expected 0 arguments but got 1",
      'see `modeldl list --help`',
    ],
    [['pull', 'x', '--jobs'], "Option '--jobs <n>' argument missing", 'see `modeldl pull --help`'],
    [
      ['list', '--progress', 'loud'],
      "argument 'loud' is invalid: allowed choices are auto",
      'see `modeldl list --help`',
    ],
    [['list', '--offline', '--refresh'], 'exclude each other', ''],
    [['pull', './x', '--jobs', '0'], 'Expected a number from 1 to 64 for --jobs, got 0', ''],
    [['pull', './x', '--limit-rate', 'fast'], 'Expected a size for --limit-rate, got fast', '20M'],
    [['pull', './x', '--limit-rate', '0'], 'at least one byte per second for --limit-rate, got 0', ''],
    [['pull'], 'Missing a reference', 'modeldl pull hf:org/name'],
    [['pull', './x', '-o', ''], 'The path after `--output` is empty', 'leave the option out'],
    [['convert', './x', '--output='], 'The path after `--output` is empty', 'leave the option out'],
    [['ci', 'key', '--file', ''], 'The path after `--file` is empty', 'leave the option out'],
    [['list', '--cache-dir', ''], 'The path after `--cache-dir` is empty', 'leave the option out'],
    [['config', 'path', '--config', ' '], 'The path after `--config` is empty', 'leave the option out'],
    [['toolchain'], "Missing required argument 'action'", 'see `modeldl toolchain --help`'],
  ])('%j exits 2', async (argv, message, hint) => {
    const { exitCode, stdout, stderr } = await run(...argv);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(`error: `);
    expect(stderr).toContain(message);
    expect(stderr).toContain(hint);
    expect(stderr).not.toContain('abcdef');
    expect(stderr).not.toMatch(/[.!]$/m);
    const json = await run(...argv, '--json');
    // An option that is cut short takes the next word for its value.
    if (argv.at(-1) !== '--jobs') {
      expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, error: { exitCode: 2 } });
      expect(json.stderr).toBe('');
    }
  });

  it('nothing at all shows the help on stderr', async () => {
    const { exitCode, stdout, stderr } = await run();
    expect([exitCode, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Usage: modeldl');
  });
});

describe('the table of commands', () => {
  it('--version prints the version', async () => {
    expect(await run('--version')).toEqual({ exitCode: 0, stdout: '1.2.3\n', stderr: '' });
  });

  it('--help names them all', async () => {
    const { exitCode, stdout } = await run('--help');
    expect(exitCode).toBe(0);
    for (const { name, alias, summary } of COMMANDS) {
      const line = alias === undefined ? name : `${name}|${alias}`;
      expect(stdout).toMatch(new RegExp(`^  ${line.replace('|', '\\|')} +${summary}$`, 'm'));
    }
  });
});

describe('a command that only looks makes no cache where none is', () => {
  it.each<readonly [string, number]>([
    ['list', 0],
    ['show hf:org/none', 3],
    ['path hf:org/none', 3],
    ['verify', 0],
    ['verify --repair', 0],
    ['remove hf:org/none -y', 3],
    ['config list', 0],
    ['config get jobs', 0],
    ['hubs', 0],
    ['converters', 0],
    ['logout hf', 0],
  ])('%s', async (line, exitCode) => {
    const home = await temporaryDirectory();
    const { stderr, ...ended } = await runAt(home, ...line.split(' '), '--cache-dir', `${home}/typo`);
    expect(ended.exitCode, stderr).toBe(exitCode);
    expect(stderr).not.toContain('read-only');
    expect([existsSync(`${home}/typo`), existsSync(`${home}/cache`)]).toEqual([false, false]);
  });

  it('and a pull makes one', async () => {
    const home = await temporaryDirectory();
    await runAt(home, 'pull', './none', '--cache-dir', 'new');
    expect(existsSync(`${home}/new/v1`)).toBe(true);
  });
});

describe('what verify --repair cannot repair', () => {
  it('is not told to be repaired by the same again', async () => {
    const home = await temporaryDirectory();
    const store = await openedStore(`${home}/cache`);
    const model = await putModel(store, { 'config.json': '{}' });
    const conversion = await putConversion(store, model, { precision: 'int8' });
    for (const file of [`${model.directory}/config.json`, `${conversion.directory}/openvino_model.xml`]) {
      await chmod(file, 0o644);
      await writeFile(file, '[]');
    }
    const { exitCode, stderr } = await runAt(home, 'verify', '--repair');
    expect(exitCode).toBe(6);
    const hints = stderr.split('\n').filter((line) => line.includes('hint: '));
    expect(hints).toEqual([
      expect.stringContaining('the warning says what hinders the repair'),
      expect.stringContaining('it was removed: make it again with `modeldl convert`'),
    ]);
  });
});

describe('without a command', () => {
  it('shows the help on stderr', async () => {
    for (const argv of [[], ['--quiet']]) {
      const { exitCode, stdout, stderr } = await run(...argv);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
      expect(stderr).toMatch(/^Usage: modeldl/);
      expect(stderr).not.toContain('outputHelp');
    }
  });

  it('says so in JSON, and nothing else', async () => {
    const { exitCode, stdout, stderr } = await run('--json');
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      error: { code: 'USAGE', message: 'Missing a command', hint: 'see `modeldl --help`' },
    });
  });
});
